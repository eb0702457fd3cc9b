//! Verifies that a request is from the vendor, by a rule of the connector's file.
//!
//! Pure but for what is fetched: a certificate or a key set is given in [`VerificationKeys`]. Signatures are judged before
//! timestamps, in constant time, over the raw bytes; encodings are read strictly, so that one signature has one text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::slice;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, signature};
use serde_json::Value;
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::request::{HeaderLookup, WebhookRequest};
use super::standard;
use crate::clock::Timestamp;
use crate::connector::{
    Condition, Encoding, KeyEncoding, SignatureAlgorithm, SignatureLocation, SignatureScheme, TimeUnit, TimestampRule,
    ValueSelector, Values,
};
use crate::hex;
use crate::secret::Secret;

/// What a proof is judged with.
#[derive(Clone, Debug, Default)]
pub struct SigningContext {
    /// The secrets in force: several while one is replaced by another.
    pub secrets: Vec<Secret>,
    /// The connection's and the webhook's further values.
    pub values: Values,
}

/// What was fetched from the vendor to judge by.
#[derive(Clone, Debug, Default)]
pub struct VerificationKeys {
    /// Of the certificate: its public key, as DER of a `SubjectPublicKeyInfo`'s key bits, checked to be the vendor's.
    pub certificate_key: Option<Vec<u8>>,
    /// RSA keys of a JSON Web Key Set by their id: modulus and exponent.
    pub json_keys: BTreeMap<String, (Vec<u8>, Vec<u8>)>,
}

/// Why a request is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    #[error("no recognised signature")]
    Unsigned,
    #[error("header {0} appears more than once")]
    RepeatedHeader(String),
    #[error("no secret is stored to verify it with")]
    NoSecret,
    #[error("cannot verify it without {0}")]
    MissingInput(String),
    #[error("the signature is malformed")]
    MalformedSignature,
    #[error("no signature matches")]
    SignatureMismatch,
    #[error("the timestamp is not a valid time")]
    InvalidTimestamp,
    #[error("the timestamp is {0} s from now")]
    TimestampOutOfTolerance(u64),
    #[error("the body does not match the hash in the URL")]
    BodyHashMismatch,
    #[error("the signed token contradicts the request: {0}")]
    ClaimsMismatch(&'static str),
}

impl VerifyError {
    /// A word for logs and JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::RepeatedHeader(_) => "repeated_header",
            Self::NoSecret => "no_secret",
            Self::MissingInput(_) => "missing_input",
            Self::MalformedSignature => "malformed_signature",
            Self::SignatureMismatch => "signature",
            Self::InvalidTimestamp => "timestamp",
            Self::TimestampOutOfTolerance(_) => "timestamp_out_of_tolerance",
            Self::BodyHashMismatch => "body_hash",
            Self::ClaimsMismatch(_) => "claims",
        }
    }
}

/// A request with its body read once.
pub struct ParsedRequest<'a> {
    pub request: &'a WebhookRequest,
    /// The body as JSON, or a form as an object; null where it is neither.
    pub document: &'a Value,
    /// The events of a batch; the whole document where it is none.
    pub items: &'a [Value],
}

impl<'a> ParsedRequest<'a> {
    /// A request with an unparsed body, for proofs that do not need it.
    pub fn without_body(request: &'a WebhookRequest) -> Self {
        Self { request, document: &Value::Null, items: &[Value::Null] }
    }
}

impl Condition {
    /// Whether all of it holds of a request.
    pub(crate) fn matches(&self, request: &WebhookRequest, document: &Value) -> bool {
        let method = self.method.is_none_or(|method| method.as_str() == request.method);
        let fits = |want: &str, got: &str| want == "*" || want == got;
        method
            && self.headers.iter().all(|(name, want)| match want.strip_suffix('*') {
                // `application/json*` fits what follows too.
                Some(start) => request.single_header(name).is_some_and(|got| got.starts_with(start)),
                None => request.single_header(name) == Some(want),
            })
            && self.query.iter().all(|(name, want)| request.query(name).is_some_and(|got| fits(want, &got)))
            && self.body.iter().all(|(at, wants)| {
                let any = |want: &Value| want == "*";
                at.find(document).is_some_and(|got| wants.iter().any(|want| any(want) || want == got))
            })
    }
}

impl ValueSelector {
    pub(crate) fn matches(&self, judged: &ParsedRequest<'_>, item: &Value) -> bool {
        self.when.as_ref().is_none_or(|when| when.matches(judged.request, item))
    }

    /// The value as text.
    pub(crate) fn text(&self, judged: &ParsedRequest<'_>, item: &Value) -> Option<String> {
        if !self.matches(judged, item) {
            return None;
        }
        if let Some(name) = &self.header {
            return judged.request.single_header(name).map(str::to_owned);
        }
        if let Some(name) = &self.query {
            return judged.request.query(name);
        }
        if let Some(at) = &self.at {
            return at.text(item);
        }
        if let Some(at) = &self.body {
            return at.text(judged.document);
        }
        if let Some(known) = &self.beside {
            return item.as_object()?.keys().find(|name| *name != known).cloned();
        }
        self.text.clone()
    }
}

impl SignatureLocation {
    /// Everything here in the form of this kind; absent where the place itself is.
    fn read(&self, judged: &ParsedRequest<'_>, item: &Value) -> Result<Option<Vec<String>>, VerifyError> {
        let text = if let Some(name) = &self.header {
            match judged.request.header(name) {
                HeaderLookup::Absent => return Ok(None),
                HeaderLookup::Several => return Err(VerifyError::RepeatedHeader(name.clone())),
                HeaderLookup::One(text) => text.to_owned(),
            }
        } else if let Some(name) = &self.query {
            let Some(text) = judged.request.query(name) else { return Ok(None) };
            text
        } else {
            let Some(text) = self.at.as_ref().and_then(|at| at.text(item)) else { return Ok(None) };
            text
        };
        let parts: Vec<&str> = match &self.separator {
            Some(separator) => text.split(separator.as_str()).collect(),
            None => vec![&text],
        };
        let read = |part: &&str| match &self.format {
            Some(format) => format.extract(part).map(str::to_owned),
            None => Some((*part).to_owned()),
        };
        Ok(Some(parts.iter().filter_map(read).collect()))
    }

    fn is_there(&self, judged: &ParsedRequest<'_>) -> bool {
        match (&self.header, &self.query) {
            (Some(name), _) => judged.request.header(name) != HeaderLookup::Absent,
            (_, Some(name)) => judged.request.query(name).is_some(),
            _ => judged.items.iter().any(|item| self.at.as_ref().is_some_and(|at| at.find(item).is_some())),
        }
    }
}

/// The proof that a request is judged by: the first whose signature it carries. It judges alone: where its key cannot be fetched
/// the request is refused, and no weaker proof beside it is asked.
pub fn find_scheme<'p>(proofs: &'p [SignatureScheme], judged: &ParsedRequest<'_>) -> Option<&'p SignatureScheme> {
    find_scheme_indexed(proofs, judged).map(|(_, proof)| proof)
}

/// The same, with its place in the file.
pub(crate) fn find_scheme_indexed<'p>(
    proofs: &'p [SignatureScheme],
    judged: &ParsedRequest<'_>,
) -> Option<(usize, &'p SignatureScheme)> {
    proofs.iter().enumerate().find(|(_, proof)| {
        let fits = proof.when.as_ref().is_none_or(|when| when.matches(judged.request, judged.document));
        fits && proof.signature.is_there(judged)
    })
}

/// The time that a request says, in Unix seconds; absent where the proof wants none.
pub(crate) fn claimed_timestamp(
    proof: &SignatureScheme,
    judged: &ParsedRequest<'_>,
    item: &Value,
) -> Option<Result<i64, VerifyError>> {
    let rule = proof.timestamp.as_ref()?;
    Some(read_timestamp(rule, judged, item).map(|(_, seconds)| seconds))
}

/// How many signatures of the proof's form a request carries.
pub(crate) fn count_signatures(
    proof: &SignatureScheme,
    judged: &ParsedRequest<'_>,
    item: &Value,
) -> Result<usize, VerifyError> {
    Ok(proof.signature.read(judged, item)?.map_or(0, |found| found.len()))
}

/// Whether a request is the vendor's, by the first proof that it fits.
///
/// # Errors
/// [`VerifyError`].
pub fn verify(
    proofs: &[SignatureScheme],
    judged: &ParsedRequest<'_>,
    keys: &SigningContext,
    trust: &VerificationKeys,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let proof = find_scheme(proofs, judged).ok_or(VerifyError::Unsigned)?;
    if let Some(name) = &proof.body_hash {
        let given = judged.request.query(name).ok_or(VerifyError::BodyHashMismatch)?;
        let right = hex::encode(digest::digest(&digest::SHA256, &judged.request.body).as_ref());
        if !bool::from(given.as_bytes().ct_eq(right.as_bytes())) {
            return Err(VerifyError::BodyHashMismatch);
        }
    }
    // What each item has must be right in each item.
    let whole = slice::from_ref(judged.document);
    let items = if proof.signature.at.is_some() { judged.items } else { whole };
    if items.is_empty() {
        return Err(VerifyError::Unsigned);
    }
    let check = |judged: &ParsedRequest<'_>| {
        items.iter().try_for_each(|item| SignatureVerifier { proof, judged, item, keys, trust, now }.run())
    };
    match check(judged) {
        Err(VerifyError::SignatureMismatch) if proof.any_port => {
            let url = toggle_default_port(&judged.request.url).ok_or(VerifyError::SignatureMismatch)?;
            check(&ParsedRequest { request: &WebhookRequest { url, ..judged.request.clone() }, ..*judged })
        }
        checked => checked,
    }
}

/// What a repetition of this request is known by beside its id: the bytes that were signed. `index` is the event's among
/// those of the request.
pub(crate) fn signed_digest(
    proof: &SignatureScheme,
    judged: &ParsedRequest<'_>,
    values: &Values,
    index: usize,
) -> Option<[u8; 32]> {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&index.to_be_bytes());
    let timestamp = match &proof.timestamp {
        Some(rule) => Some(read_timestamp(rule, judged, judged.document).ok()?.0),
        None => None,
    };
    // Without the secret, which changes while the bytes of the vendor stay.
    let nobody = Secret::empty();
    context.update(&signing_input(proof, judged, judged.document, values, Some(&nobody), timestamp.as_deref()).ok()?);
    context.finish().as_ref().try_into().ok()
}

/// The time that a request says, as it is written.
pub(crate) fn timestamp_text(proof: &SignatureScheme, judged: &ParsedRequest<'_>) -> Option<String> {
    read_timestamp(proof.timestamp.as_ref()?, judged, judged.document).ok().map(|(text, _)| text)
}

/// The URL without its port, or with its scheme's where it has none. Read as text: it is what was signed.
fn toggle_default_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // The colons of an IPv6 address stand in brackets.
    let after = authority.rfind(']').unwrap_or_default();
    match (authority.get(after..)?.find(':'), scheme) {
        (Some(at), _) => Some(format!("{scheme}://{}{path}", &authority[..after + at])),
        (None, "https") => Some(format!("{scheme}://{authority}:443{path}")),
        (None, "http") => Some(format!("{scheme}://{authority}:80{path}")),
        (None, _) => None,
    }
}

/// The timestamp as it is written, and in Unix seconds.
fn read_timestamp(
    rule: &TimestampRule,
    judged: &ParsedRequest<'_>,
    item: &Value,
) -> Result<(String, i64), VerifyError> {
    let found = rule.place.read(judged, item)?.unwrap_or_default();
    let [text] = found.as_slice() else { return Err(VerifyError::InvalidTimestamp) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = || text.parse::<i64>().ok().filter(|_| digits).ok_or(VerifyError::InvalidTimestamp);
    let seconds = match rule.unit {
        TimeUnit::Seconds => number()?,
        TimeUnit::Milliseconds => number()? / 1000,
        TimeUnit::Date => text.parse::<Timestamp>().map_err(|_| VerifyError::InvalidTimestamp)?.as_second(),
    };
    Ok((text.clone(), seconds))
}

/// One proof of one request.
struct SignatureVerifier<'a> {
    proof: &'a SignatureScheme,
    judged: &'a ParsedRequest<'a>,
    item: &'a Value,
    keys: &'a SigningContext,
    trust: &'a VerificationKeys,
    now: Timestamp,
}

impl SignatureVerifier<'_> {
    fn run(&self) -> Result<(), VerifyError> {
        let given = self.proof.signature.read(self.judged, self.item)?.ok_or(VerifyError::Unsigned)?;
        if given.is_empty() {
            return Err(VerifyError::MalformedSignature);
        }
        let timestamp = match &self.proof.timestamp {
            Some(rule) => Some(read_timestamp(rule, self.judged, self.item)?),
            None => None,
        };
        self.signed(&given, timestamp.as_ref().map(|(text, _)| text.as_str()))?;
        if let (Some((_, at)), Some(rule)) = (timestamp, &self.proof.timestamp)
            && let Some(tolerance) = rule.tolerance_secs
        {
            let away = at.abs_diff(self.now.as_second());
            if away > u64::from(tolerance) {
                return Err(VerifyError::TimestampOutOfTolerance(away));
            }
        }
        Ok(())
    }

    fn signed(&self, given: &[String], timestamp: Option<&str>) -> Result<(), VerifyError> {
        match self.proof.scheme {
            SignatureAlgorithm::RsaSha256 => {
                let key =
                    self.trust.certificate_key.as_ref().ok_or(VerifyError::MissingInput("certificate".to_owned()))?;
                let message = signing_input(self.proof, self.judged, self.item, &self.keys.values, None, timestamp)?;
                let key = signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, key);
                self.any(given, |given| key.verify(&message, given).is_ok())
            }
            SignatureAlgorithm::JwtRs256 | SignatureAlgorithm::JwtHs256 => {
                super::jwt::verify(self.proof, given, self.keys, self.trust, self.now)
            }
            SignatureAlgorithm::Token => {
                let keys = self.secret_keys()?;
                let same = |given: &String| keys.iter().any(|(_, key)| constant_time_eq(given.as_bytes(), key));
                if given.iter().any(same) { Ok(()) } else { Err(VerifyError::SignatureMismatch) }
            }
            SignatureAlgorithm::HmacSha1
            | SignatureAlgorithm::HmacSha256
            | SignatureAlgorithm::HmacSha512
            | SignatureAlgorithm::Sha256
            | SignatureAlgorithm::Ed25519 => {
                for (secret, key) in self.secret_keys()? {
                    let message =
                        signing_input(self.proof, self.judged, self.item, &self.keys.values, Some(secret), timestamp)?;
                    let right = |given: &[u8]| is_valid_signature(self.proof.scheme, &key, &message, given);
                    match self.any(given, right) {
                        Err(VerifyError::SignatureMismatch) => {}
                        judged => return judged,
                    }
                }
                Err(VerifyError::SignatureMismatch)
            }
        }
    }

    /// Whether any of the signatures, decoded, is right.
    fn any(&self, given: &[String], right: impl Fn(&[u8]) -> bool) -> Result<(), VerifyError> {
        let decoded: Vec<Vec<u8>> = given.iter().filter_map(|text| decode(self.proof.encoding, text)).collect();
        match decoded.as_slice() {
            [] => Err(VerifyError::MalformedSignature),
            all if all.iter().any(|given| right(given)) => Ok(()),
            _ => Err(VerifyError::SignatureMismatch),
        }
    }

    /// Each secret in force with the bytes of its key. An empty one proves nothing.
    fn secret_keys(&self) -> Result<Vec<(&Secret, Vec<u8>)>, VerifyError> {
        secret_keys(self.proof, self.keys)
    }
}

/// The same of a proof. A key that is made without a secret has an empty one.
pub(crate) fn secret_keys<'k>(
    proof: &SignatureScheme,
    keys: &'k SigningContext,
) -> Result<Vec<(&'k Secret, Vec<u8>)>, VerifyError> {
    static NONE: Secret = Secret::empty();
    let fixed = proof.key.as_ref().is_some_and(|template| !template.placeholders().any(|name| name == "secret"));
    let secrets = if fixed { slice::from_ref(&NONE) } else { keys.secrets.as_slice() };
    let mut found = Vec::new();
    for secret in secrets {
        let text = match &proof.key {
            Some(template) => {
                let mut values = keys.values.clone();
                values.set("secret", secret.expose());
                template.fill(&values).map_err(|_| VerifyError::NoSecret)?
            }
            None => secret.expose().clone(),
        };
        let key = match proof.key_encoding {
            KeyEncoding::Utf8 => Some(text.into_bytes()),
            KeyEncoding::Hex => hex::decode(&text),
            KeyEncoding::Whsec => standard::key_bytes(&text),
        };
        found.extend(key.filter(|key| !key.is_empty()).map(|key| (secret, key)));
    }
    if found.is_empty() { Err(VerifyError::NoSecret) } else { Ok(found) }
}

fn is_valid_signature(scheme: SignatureAlgorithm, key: &[u8], message: &[u8], given: &[u8]) -> bool {
    match scheme {
        SignatureAlgorithm::HmacSha1 => {
            hmac::verify(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key), message, given).is_ok()
        }
        SignatureAlgorithm::HmacSha256 => hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), message, given).is_ok(),
        SignatureAlgorithm::HmacSha512 => hmac::verify(&hmac::Key::new(hmac::HMAC_SHA512, key), message, given).is_ok(),
        SignatureAlgorithm::Sha256 => digest::digest(&digest::SHA256, message).as_ref().ct_eq(given).into(),
        SignatureAlgorithm::Ed25519 => {
            signature::UnparsedPublicKey::new(&signature::ED25519, key).verify(message, given).is_ok()
        }
        SignatureAlgorithm::RsaSha256
        | SignatureAlgorithm::JwtRs256
        | SignatureAlgorithm::JwtHs256
        | SignatureAlgorithm::Token => false,
    }
}

/// Compares texts of any lengths in constant time.
pub(crate) fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    let hashed = |bytes: &[u8]| digest::digest(&digest::SHA256, bytes);
    hashed(a).as_ref().ct_eq(hashed(b).as_ref()).into()
}

/// The bytes that are signed. Those of the body alone are not copied: bodies may be large.
pub(crate) fn signing_input<'r>(
    proof: &SignatureScheme,
    judged: &ParsedRequest<'r>,
    item: &Value,
    values: &Values,
    secret: Option<&Secret>,
    timestamp: Option<&str>,
) -> Result<Cow<'r, [u8]>, VerifyError> {
    let request = judged.request;
    let Some(template) = &proof.base else { return Ok(Cow::Borrowed(&request.body)) };
    let owned = |text: String| Some(Cow::Owned(text.into_bytes()));
    let filled = template.fill_bytes(|name| match name {
        "body" => Some(Cow::Borrowed(request.body.as_slice())),
        "url" => Some(Cow::Borrowed(request.url.as_bytes())),
        "method" => Some(Cow::Borrowed(request.method.as_bytes())),
        "form" => Some(Cow::Owned(sorted_form(&request.body))),
        "crc32" => owned(crc32(&request.body).to_string()),
        "timestamp" => owned(timestamp?.to_owned()),
        "secret" => owned(secret?.expose().clone()),
        name => match proof.values.get(name) {
            Some(find) => owned(find.text(judged, item)?),
            None => owned(values.get(name)?.to_owned()),
        },
    });
    filled.map(Cow::Owned).map_err(|error| VerifyError::MissingInput(error.to_string()))
}

/// CRC-32 as in zlib and gzip (RFC 1952 section 8), by the library that unpacks those.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// A form's names, each with its value, sorted and written without anything between them.
fn sorted_form(body: &[u8]) -> Vec<u8> {
    let mut pairs: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    pairs.sort();
    pairs.dedup();
    pairs.into_iter().flat_map(|(name, value)| [name, value].concat().into_bytes()).collect()
}

/// Only the one text that a value has: hexadecimal in lower case, base64 with its padding and no stray bits.
fn decode(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Hex => hex::decode(text),
        Encoding::Base64 => STANDARD.decode(text).ok(),
    }
}
