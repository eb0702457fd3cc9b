//! SHA-256 and HMAC-SHA256 for integ's own keys, IDs, tokens and digests.
//!
//! This crate hashes, authenticates and signs with `ring` alone, here and in [`signing`](crate::signing): rustls links it in
//! any case, it verifies every kind of signature that services use, and its inner loops are assembly. RustCrypto's crates
//! were rejected: age links some of them, but not those for SHA-1, Ed25519 and RSA, of which the last leaks keys through
//! timing (RUSTSEC-2023-0071).

use ring::{digest, hmac};
use subtle::ConstantTimeEq;

/// Returns the SHA-256 digest (FIPS 180-4).
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha256_of_parts(&[bytes])
}

/// Returns the SHA-256 digest of the parts, one after another with nothing between them.
pub(crate) fn sha256_of_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    array(context.finish().as_ref())
}

/// Computes the SHA-256 digest of parts that come one by one.
pub(crate) struct Sha256(digest::Context);

impl Sha256 {
    /// Begins with no parts.
    pub(crate) fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Adds a part, with nothing between it and the one before.
    pub(crate) fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// Returns the digest of all parts.
    pub(crate) fn finish(self) -> [u8; 32] {
        array(self.0.finish().as_ref())
    }
}

/// Returns the HMAC-SHA256 tag (RFC 2104) of the parts, one after another with nothing between them.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    array(context.sign().as_ref())
}

/// Whether `tag` is the HMAC-SHA256 tag of the parts. The time that it takes does not depend on where the tags differ.
pub(crate) fn verify_hmac_sha256(key: &[u8], parts: &[&[u8]], tag: &[u8]) -> bool {
    hmac_sha256(key, parts).ct_eq(tag).into()
}

/// SHA-256 is 32 bytes long.
fn array(bytes: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    array.copy_from_slice(bytes);
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn the_published_vectors_are_computed() {
        // FIPS 180-4, "abc", and RFC 4231, test case 2.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex::encode(&sha256(b"abc")), digest);
        assert_eq!(hex::encode(&sha256_of_parts(&[b"a", b"", b"bc"])), digest);
        let tag = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        assert_eq!(hex::encode(&hmac_sha256(b"Jefe", &parts)), tag);
    }

    #[test]
    fn a_tag_of_another_message_key_or_length_is_refused() {
        let tag = hmac_sha256(b"key", &[b"text"]);
        assert!(verify_hmac_sha256(b"key", &[b"te", b"xt"], &tag));
        assert!(!verify_hmac_sha256(b"key", &[b"test"], &tag));
        assert!(!verify_hmac_sha256(b"kez", &[b"text"], &tag));
        for length in 0..tag.len() {
            assert!(!verify_hmac_sha256(b"key", &[b"text"], &tag[..length]), "{length}");
        }
    }
}
