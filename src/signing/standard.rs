//! Signatures of Standard Webhooks 1.0.0 (<https://github.com/standard-webhooks/standard-webhooks>, `spec/standard-webhooks.md`).
//!
//! What is signed is `ID.TIMESTAMP.BODY`, over the body's very bytes (section "Signature scheme"); the headers are
//! `webhook-id`, `webhook-timestamp` in Unix seconds, and `webhook-signature`, a list separated by spaces (section "Webhook
//! metadata"). Only the symmetric scheme `v1` is here: HMAC-SHA256 under a secret that is written `whsec_` and base64.
//!
//! An id with a dot in it could be signed as another id with another timestamp (`a.1`, 2, `x` as `a`, 1, `2.x`): no such
//! id is made, and none is accepted.

use std::fmt;

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::{Engine, alphabet};
use thiserror::Error;

use crate::clock::{self, Timestamp};
use crate::secret::{REDACTED, Secret};
use crate::{hash, hex};

/// The headers of a message.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the time of signing in Unix seconds.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures, each `v1,` and base64, separated by spaces.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// How far a timestamp may be from the receiver's clock, either way: what the reference libraries allow.
pub const TOLERANCE_SECS: i64 = 300;

/// Section "Signing secret": between 24 and 64 bytes. A longer one is no weaker.
const MIN_SECRET_BYTES: usize = 24;

const PREFIX: &str = "whsec_";

/// Some services write the version of the scheme before the secret, as before a signature.
const VERSION: &str = "v1,";

/// Whether a text is meant as a secret of this standard.
pub(crate) fn is_secret(text: &str) -> bool {
    text.strip_prefix(VERSION).unwrap_or(text).starts_with(PREFIX)
}

/// The bytes of a secret: base64 of either alphabet, with or without its padding, after the prefixes that are there.
pub(crate) fn key_bytes(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let text = text.strip_prefix(VERSION).unwrap_or(text);
    let text = text.strip_prefix(PREFIX).unwrap_or(text).trim_end_matches('=');
    let standard = text.replace('-', "+").replace('_', "/");
    SECRET_BASE64.decode(standard).ok()
}

/// Reads what tools of several languages write; stray bits at the end of it change no byte.
const SECRET_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The key that both sides have.
#[derive(Clone)]
pub struct SigningSecret(Secret<Vec<u8>>);

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningSecret({REDACTED})")
    }
}

/// What a receiver knows a message by, however often it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageId(String);

/// Why a text is not accepted as a signing secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SigningSecretError {
    #[error("it is not whsec_ and base64")]
    Malformed,
    #[error("it is shorter than {MIN_SECRET_BYTES} bytes")]
    TooShort,
}

/// Why a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StandardVerifyError {
    #[error("the delivery id is empty or contains an invalid character")]
    InvalidId,
    #[error("the timestamp is not a number of seconds")]
    InvalidTimestamp,
    #[error("the timestamp is more than {TOLERANCE_SECS} s from now")]
    TimestampOutOfTolerance,
    #[error("no signature matches")]
    SignatureMismatch,
}

impl SigningSecret {
    /// Reads `whsec_…`, also with a version before it, unpadded and in URL-safe base64.
    ///
    /// # Errors
    /// [`SigningSecretError`], also for a secret that is too short to be one.
    pub fn parse(text: &Secret) -> Result<Self, SigningSecretError> {
        let bytes = Secret::new(key_bytes(text.expose()).ok_or(SigningSecretError::Malformed)?);
        if bytes.expose().len() < MIN_SECRET_BYTES { Err(SigningSecretError::TooShort) } else { Ok(Self(bytes)) }
    }
}

impl MessageId {
    /// A new, unique one.
    pub fn random() -> Self {
        Self(format!("msg_{}", hex::encode(&clock::random::<16>())))
    }

    /// Reads the value of a `webhook-id` header: 1 to 256 characters.
    ///
    /// # Errors
    /// [`StandardVerifyError::InvalidId`] for anything but ASCII letters, digits, `_` and `-`.
    pub fn parse(text: &str) -> Result<Self, StandardVerifyError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let valid = (1..=256).contains(&text.len()) && text.chars().all(plain);
        if valid { Ok(Self(text.to_owned())) } else { Err(StandardVerifyError::InvalidId) }
    }

    /// Returns the value of the `webhook-id` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is signed before the body.
fn signed_head(id: &MessageId, timestamp: i64) -> String {
    format!("{}.{timestamp}.", id.as_str())
}

/// The value of `webhook-signature`: one signature by each secret, for there are several while one is replaced by
/// another (section "Signature scheme").
pub fn sign(secrets: &[SigningSecret], id: &MessageId, at: Timestamp, body: &[u8]) -> String {
    let one = |secret: &SigningSecret| {
        let head = signed_head(id, at.as_second());
        format!("v1,{}", STANDARD.encode(hash::hmac_sha256(secret.0.expose(), &[head.as_bytes(), body])))
    };
    secrets.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Whether the headers of a message are of somebody who has one of the secrets, and fresh. Signatures are compared in
/// constant time, and before the timestamp is judged, so that a forger learns nothing of this clock.
///
/// # Errors
/// [`StandardVerifyError`].
pub fn verify(
    secrets: &[SigningSecret],
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<MessageId, StandardVerifyError> {
    let id = MessageId::parse(id)?;
    let digits = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: i64 = timestamp.parse().ok().filter(|_| digits).ok_or(StandardVerifyError::InvalidTimestamp)?;
    // `007` would be another text for the same number, and what was signed is the text.
    if seconds.to_string() != timestamp {
        return Err(StandardVerifyError::InvalidTimestamp);
    }
    let given = signatures.split(' ').filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok());
    let head = signed_head(&id, seconds);
    let parts = [head.as_bytes(), body];
    let right = |signature: &Vec<u8>| {
        secrets.iter().any(|secret| hash::verify_hmac_sha256(secret.0.expose(), &parts, signature))
    };
    if !given.into_iter().any(|signature| right(&signature)) {
        return Err(StandardVerifyError::SignatureMismatch);
    }
    let apart = seconds.checked_sub(now.as_second()).and_then(i64::checked_abs);
    if apart.is_none_or(|apart| apart > TOLERANCE_SECS) {
        Err(StandardVerifyError::TimestampOutOfTolerance)
    } else {
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The vector of the reference libraries' own tests.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret(text: &str) -> SigningSecret {
        SigningSecret::parse(&Secret::from(text)).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn check(timestamp: &str, signatures: &str, now: i64) -> Result<MessageId, StandardVerifyError> {
        verify(&[secret(SECRET)], ID, timestamp, signatures, BODY, at(now))
    }

    #[test]
    fn the_published_vector_is_signed_and_verified() {
        let id = MessageId::parse(ID).unwrap();
        assert_eq!(sign(&[secret(SECRET)], &id, at(TIMESTAMP), BODY), SIGNATURE);
        assert_eq!(check(&TIMESTAMP.to_string(), SIGNATURE, TIMESTAMP), Ok(id));
    }

    #[test]
    fn fault_058_a_secret_that_is_none_is_refused() {
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!"] {
            assert!(SigningSecret::parse(&Secret::from(bad)).is_err(), "{bad:?}");
        }
        assert_eq!(format!("{:?}", secret(SECRET)), "SigningSecret([redacted])");
    }

    #[test]
    fn fault_059_a_signature_is_whole_and_of_a_known_version_or_nothing() {
        let now = TIMESTAMP.to_string();
        for end in 0..SIGNATURE.len() {
            assert_eq!(check(&now, &SIGNATURE[..end], TIMESTAMP), Err(StandardVerifyError::SignatureMismatch), "{end}");
        }
        for bad in
            [SIGNATURE.replace("v1,", "v2,"), SIGNATURE.replace("v1,", ""), format!("{SIGNATURE}="), "v1,".into()]
        {
            assert_eq!(check(&now, &bad, TIMESTAMP), Err(StandardVerifyError::SignatureMismatch), "{bad}");
        }
        let mut digest = STANDARD.decode(&SIGNATURE[3..]).unwrap();
        for bit in 0..digest.len() * 8 {
            digest[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                check(&now, &format!("v1,{}", STANDARD.encode(&digest)), TIMESTAMP),
                Err(StandardVerifyError::SignatureMismatch)
            );
            digest[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(verify(&[], ID, &now, SIGNATURE, BODY, at(TIMESTAMP)), Err(StandardVerifyError::SignatureMismatch));
    }

    #[test]
    fn fault_060_a_timestamp_is_a_plain_number_within_five_minutes() {
        let id = MessageId::parse(ID).unwrap();
        for (apart, fresh) in [(-301, false), (-300, true), (300, true), (301, false)] {
            let found = check(&TIMESTAMP.to_string(), SIGNATURE, TIMESTAMP + apart);
            assert_eq!(found.is_ok(), fresh, "{apart}");
        }
        for extreme in [i64::MAX, 0, Timestamp::MAX.as_second()] {
            let secrets = [secret(SECRET)];
            let head = signed_head(&id, extreme);
            let tag = hash::hmac_sha256(secrets[0].0.expose(), &[head.as_bytes(), BODY]);
            let signature = format!("v1,{}", STANDARD.encode(tag));
            let found = verify(&secrets, id.as_str(), &extreme.to_string(), &signature, BODY, at(TIMESTAMP));
            assert_eq!(found, Err(StandardVerifyError::TimestampOutOfTolerance), "{extreme}");
        }
        for bad in ["", "+1", "-1", "1.0", "1e9", " 1", "01", "99999999999999999999", "-9223372036854775808", "١"] {
            assert_eq!(check(bad, SIGNATURE, TIMESTAMP), Err(StandardVerifyError::InvalidTimestamp), "{bad:?}");
        }
    }

    #[test]
    fn fault_061_any_secret_and_any_signature_may_be_the_right_one() {
        let (old, new) = (secret(SECRET), secret("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
        let id = MessageId::random();
        let both = sign(&[old.clone(), new.clone()], &id, at(TIMESTAMP), BODY);
        assert_eq!(both.split(' ').count(), 2);
        for known in [[old.clone()], [new.clone()]] {
            assert!(verify(&known, id.as_str(), &TIMESTAMP.to_string(), &both, BODY, at(TIMESTAMP)).is_ok());
        }
        let one = sign(&[new], &id, at(TIMESTAMP), BODY);
        assert!(verify(&[old], id.as_str(), &TIMESTAMP.to_string(), &one, BODY, at(TIMESTAMP)).is_err());
    }

    #[test]
    fn fault_063_and_064_an_id_has_no_dot_and_a_body_is_bytes() {
        for bad in ["", "a.1", "a b", "a\n", "é", &"a".repeat(257)] {
            assert_eq!(MessageId::parse(bad), Err(StandardVerifyError::InvalidId), "{bad:?}");
        }
        let (id, secrets) = (MessageId::random(), [secret(SECRET)]);
        for body in [&b""[..], b"\xff\xfe\x00", b" {} \r\n"] {
            let signature = sign(&secrets, &id, at(TIMESTAMP), body);
            let verify = |body: &[u8]| {
                verify(&secrets, id.as_str(), &TIMESTAMP.to_string(), &signature, body, at(TIMESTAMP)).is_ok()
            };
            assert!(verify(body) && !verify(&[body, b" "].concat()));
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_judged_without_a_panic(
            id in ".{0,40}", timestamp in "\\PC{0,25}", signature in "(v1,)?[A-Za-z0-9+/= ,]{0,60}", body: Vec<u8>, now in 0i64..=253_402_207_200,
        ) {
            let found = verify(&[secret(SECRET)], &id, &timestamp, &signature, &body, at(now));
            prop_assert!(found.is_err());
        }

        #[test]
        fn what_is_signed_is_verified_and_nothing_else_is(body: Vec<u8>, other: Vec<u8>, seconds in 1i64..=253_402_207_200) {
            let (id, secrets) = (MessageId::random(), [secret(SECRET)]);
            let signature = sign(&secrets, &id, at(seconds), &body);
            let verify = |seconds: i64, body: &[u8]| {
                verify(&secrets, id.as_str(), &seconds.to_string(), &signature, body, at(seconds))
            };
            prop_assert!(verify(seconds, &body).is_ok());
            prop_assert_eq!(verify(seconds - 1, &body), Err(StandardVerifyError::SignatureMismatch));
            prop_assert_eq!(verify(seconds, &other).is_ok(), other == body);
        }
    }
}
