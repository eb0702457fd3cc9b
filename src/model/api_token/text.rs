//! The text of an API token: a prefix that scanners of secrets recognize, 256 random bits, and a checksum.
//!
//! `integ_`, 43 digits of base 62, and 6 digits of the CRC-32 of those 43, as in GitHub's tokens
//! (<https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/>). A scanner finds a
//! token with [`API_TOKEN_PATTERN`], and the checksum says offline whether it is one.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::clock;
use crate::hash::sha256;
use crate::secret::Secret;

/// What every token begins with.
pub const API_TOKEN_PREFIX: &str = "integ_";

/// The regular expression of tokens, for scanners of secrets.
pub const API_TOKEN_PATTERN: &str = "integ_[0-9A-Za-z]{49}";

/// Digits of the random part: 62^43 is the first power of 62 above 2^256.
const RANDOM_DIGITS: usize = 43;

/// Digits of the checksum: 62^6 is above 2^32.
const CHECKSUM_DIGITS: usize = 6;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The text of a token, which its holder presents.
#[derive(Clone, Debug)]
pub struct ApiTokenText(Secret);

/// The SHA-256 digest of a token's text. A token has 256 random bits, so that a digest without salt or stretching cannot be
/// searched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ApiTokenHash([u8; 32]);

impl ApiTokenText {
    /// Makes a new token.
    pub fn random() -> Self {
        Self::from_bits(&Zeroizing::new(clock::random::<32>()))
    }

    /// Writes 256 bits as a token.
    fn from_bits(bits: &[u8; 32]) -> Self {
        let digits = base62::<RANDOM_DIGITS>(bits);
        let checksum = base62::<CHECKSUM_DIGITS>(&crc32(&*digits).to_be_bytes());
        let parts = [API_TOKEN_PREFIX.as_bytes(), &*digits, &*checksum];
        let mut text = String::with_capacity(parts.iter().map(|part| part.len()).sum());
        text.extend(parts.into_iter().flatten().map(|byte| char::from(*byte)));
        Self(Secret::new(text))
    }

    /// Reads a token; absent if the text has another form or another checksum.
    pub fn parse(text: &str) -> Option<Self> {
        let (digits, checksum) = text.strip_prefix(API_TOKEN_PREFIX)?.as_bytes().split_at_checked(RANDOM_DIGITS)?;
        let is_plain = digits.iter().chain(checksum).all(u8::is_ascii_alphanumeric);
        let is_token = is_plain && checksum == *base62::<CHECKSUM_DIGITS>(&crc32(digits).to_be_bytes());
        is_token.then(|| Self(text.into()))
    }

    /// The text itself, to be shown once.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// Returns what is stored of it.
    pub fn hash(&self) -> ApiTokenHash {
        ApiTokenHash(sha256(self.0.expose().as_bytes()))
    }
}

impl ApiTokenHash {
    /// Reads a stored digest.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the digest as it is stored.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether the two are equal. The time that it takes does not depend on where they differ.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for ApiTokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiTokenHash")
    }
}

/// Writes a number, most significant byte first, in `N` digits with leading zeros.
fn base62<const N: usize>(number: &[u8]) -> Zeroizing<[u8; N]> {
    let mut rest = Zeroizing::new(number.to_vec());
    let mut digits = Zeroizing::new([DIGITS[0]; N]);
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0;
        for byte in rest.iter_mut() {
            let value = remainder * 256 + u16::from(*byte);
            // Below 256, because the remainder is below 62.
            *byte = (value / 62) as u8;
            remainder = value % 62;
        }
        *digit = DIGITS[usize::from(remainder)];
    }
    digits
}

/// CRC-32 as in zlib and gzip (RFC 1952 section 8).
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_form_is_the_published_one() {
        let zero = ApiTokenText::from_bits(&[0; 32]);
        let most = ApiTokenText::from_bits(&[0xff; 32]);
        // Computed with Python's integers and zlib.
        assert_eq!(*zero.secret().expose(), format!("integ_{}2CZclj", "0".repeat(43)));
        assert_eq!(most.secret().expose(), "integ_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp13sRzl1");
        let pattern = length_of(API_TOKEN_PATTERN);
        for text in [zero, most, ApiTokenText::random()] {
            let text = text.secret().expose();
            assert!(text.len() == pattern && text[6..].bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text}");
        }
    }

    /// The length that the pattern gives.
    fn length_of(pattern: &str) -> usize {
        let (prefix, count) = pattern.strip_suffix('}').unwrap().split_once("[0-9A-Za-z]{").unwrap();
        prefix.len() + count.parse::<usize>().unwrap()
    }

    #[test]
    fn two_tokens_differ_and_are_not_printed() {
        let (one, other) = (ApiTokenText::random(), ApiTokenText::random());
        assert!(!one.hash().matches(&other.hash()) && one.hash().matches(&one.clone().hash()));
        assert_eq!(format!("{one:?} {:?}", one.hash()), "ApiTokenText([redacted]) ApiTokenHash");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bits: [u8; 32]) {
            let token = ApiTokenText::from_bits(&bits);
            let read = ApiTokenText::parse(token.secret().expose()).unwrap();
            prop_assert_eq!(read.hash(), token.hash());
        }

        #[test]
        fn one_wrong_character_is_noticed(bits: [u8; 32], at in 0_usize..55, other in "[ -~]") {
            let token = ApiTokenText::from_bits(&bits);
            let mut text = token.secret().expose().clone();
            prop_assume!(text[at..=at] != other);
            text.replace_range(at..=at, &other);
            prop_assert!(ApiTokenText::parse(&text).is_none());
        }

        #[test]
        fn no_other_text_is_read(text in "\\PC{0,80}", rest in "[0-9A-Za-z]{0,60}") {
            prop_assert!(ApiTokenText::parse(&text).is_none());
            let parsed = ApiTokenText::parse(&format!("{API_TOKEN_PREFIX}{rest}"));
            prop_assert!(parsed.is_none() || rest.len() == RANDOM_DIGITS + CHECKSUM_DIGITS);
        }
    }
}
