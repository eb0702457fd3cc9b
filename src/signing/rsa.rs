//! The RSA keys of a sandbox: the vendor's signing key with its certificate and key set, and the key with which a user
//! signs assertions.
//!
//! It follows from the store's seed, so that every process of a workspace has the same one and no two workspaces do. What
//! it signs is believed only where a connection's requests go to the sandbox: a live one fetches the vendor's own keys,
//! and wants a chain to a public root.

use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use num_bigint::BigUint;
use ring::{rand, signature};
use serde_json::{Value, json};

use crate::connector::JwtAlgorithm;
use crate::secret::Secret;

/// By which the key set names it.
pub const KEY_ID: &str = "sandbox";

/// F4, as everybody has it.
const EXPONENT: u32 = 65_537;

/// Half the bits of a key of 2048.
const PRIME_BYTES: usize = 128;

/// Finding the primes takes some tenths of a second: they are looked for when they are first needed.
#[derive(Clone, Debug)]
pub struct RsaKey {
    seed: Secret<[u8; 32]>,
    made: Arc<OnceLock<Option<Made>>>,
}

#[derive(Debug)]
struct Made {
    pair: signature::RsaKeyPair,
    modulus: BigUint,
    /// As PKCS #1 has it, in DER.
    der: Secret<Vec<u8>>,
}

impl RsaKey {
    /// The key that follows from a seed.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed: Secret::new(seed), made: Arc::default() }
    }

    /// PKCS #1 v1.5 over SHA-256 (RFC 8017 section 8.2).
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.made()?.sign(message)
    }

    /// As a JSON Web Key Set (RFC 7517).
    pub fn key_set(&self) -> Option<Value> {
        let part = |number: &BigUint| URL_SAFE_NO_PAD.encode(number.to_bytes_be());
        let (n, e) = (part(&self.made()?.modulus), part(&EXPONENT.into()));
        Some(json!({ "keys": [{ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID, "n": n, "e": e }] }))
    }

    /// As a certificate that it signed itself (RFC 5280 section 4.1), in PEM.
    pub fn certificate(&self) -> Option<String> {
        let made = self.made()?;
        let name = sequence(&[element(0x31, &sequence(&[COMMON_NAME.to_vec(), element(0x0c, b"integ sandbox")]))]);
        let validity = sequence(&[element(0x17, b"200101000000Z"), element(0x17, b"491231235959Z")]);
        let key = sequence(&[integer(&made.modulus), integer(&EXPONENT.into())]);
        let key = sequence(&[sequence(&[RSA_ENCRYPTION.to_vec(), NULL.to_vec()]), bits(&key)]);
        let names = element(0x04, &sequence(&[element(0x82, b"sandbox.invalid")]));
        let extensions = sequence(&[sequence(&[SUBJECT_ALT_NAME.to_vec(), names])]);
        let algorithm = sequence(&[SHA256_WITH_RSA.to_vec(), NULL.to_vec()]);
        let (version, serial) = (element(0xa0, &integer(&2_u32.into())), integer(&1_u32.into()));
        let extensions = element(0xa3, &extensions);
        let certificate =
            sequence(&[version, serial, algorithm.clone(), name.clone(), validity, name, key, extensions]);
        Some(pem("CERTIFICATE", &sequence(&[certificate.clone(), algorithm, bits(&made.sign(&certificate)?)])))
    }

    /// The private key itself (RFC 8017 appendix A.1.2), in PEM.
    pub fn private_key(&self) -> Option<String> {
        Some(pem("RSA PRIVATE KEY", self.made()?.der.expose()))
    }

    /// Whether a signature is the key's, in PKCS #1 v1.5 or PSS by the algorithm.
    pub fn verify(&self, algorithm: JwtAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        let rule = match algorithm {
            JwtAlgorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            JwtAlgorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            JwtAlgorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            JwtAlgorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            JwtAlgorithm::Hs256 | JwtAlgorithm::Es256 | JwtAlgorithm::Es384 | JwtAlgorithm::EdDsa => return false,
        };
        let Some(made) = self.made() else { return false };
        let key = signature::RsaPublicKeyComponents {
            n: made.modulus.to_bytes_be(),
            e: EXPONENT.to_be_bytes()[1..].to_vec(),
        };
        key.verify(rule, message, signature).is_ok()
    }

    fn made(&self) -> Option<&Made> {
        self.made.get_or_init(|| Made::from(self.seed.expose())).as_ref()
    }
}

impl Made {
    /// A key from a seed (RFC 8017 section 3.2). `ring` checks that its parts fit together.
    fn from(seed: &[u8; 32]) -> Option<Self> {
        let (a, b) = (prime(seed, 0), prime(seed, 1));
        let (p, q) = if a > b { (a, b) } else { (b, a) };
        let one = BigUint::from(1_u32);
        let (p_1, q_1) = (&p - &one, &q - &one);
        let d = BigUint::from(EXPONENT).modinv(&(&p_1 * &q_1))?;
        let modulus = &p * &q;
        let zero = BigUint::default();
        let (dp, dq, inverse) = (&d % &p_1, &d % &q_1, q.modinv(&p)?);
        let parts = [&zero, &modulus, &EXPONENT.into(), &d, &p, &q, &dp, &dq, &inverse];
        let der = Secret::new(sequence(&parts.map(integer)));
        let pair = signature::RsaKeyPair::from_der(der.expose()).ok()?;
        Some(Self { pair, modulus, der })
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut signed = vec![0; self.pair.public().modulus_len()];
        self.pair.sign(&signature::RSA_PKCS1_SHA256, &rand::SystemRandom::new(), message, &mut signed).ok()?;
        Some(signed)
    }
}

/// The first prime after a number that follows from the seed.
fn prime(seed: &[u8; 32], which: u8) -> BigUint {
    let block = |part: usize| {
        let number = [which, u8::try_from(part).unwrap_or_default()];
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, seed);
        ring::hmac::sign(&key, &number).as_ref().to_vec()
    };
    let mut bytes: Vec<u8> = (0..PRIME_BYTES / 32).flat_map(block).collect();
    // Its two highest bits make the product of two as long as it should be; it is odd.
    bytes[0] |= 0xc0;
    bytes[PRIME_BYTES - 1] |= 1;
    let small: Vec<u32> = (3..2000).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0)).collect();
    let mut number = BigUint::from_bytes_be(&bytes);
    let zero = BigUint::default();
    loop {
        let fits = &number % EXPONENT != BigUint::from(1_u32);
        if fits && small.iter().all(|small| &number % *small != zero) && is_prime(&number) {
            return number;
        }
        number += 2_u32;
    }
}

/// Miller and Rabin's test (FIPS 186-5 appendix B.3.1) by the first eight primes: for a random number of this size one
/// round is right but for one case in 2^100.
fn is_prime(number: &BigUint) -> bool {
    let one = BigUint::from(1_u32);
    let less = number - &one;
    let twos = less.trailing_zeros().unwrap_or_default();
    let odd = &less >> twos;
    [2_u32, 3, 5, 7, 11, 13, 17, 19].iter().all(|base| {
        let mut power = BigUint::from(*base).modpow(&odd, number);
        if power == one || power == less {
            return true;
        }
        (1..twos).any(|_| {
            power = &power * &power % number;
            power == less
        })
    })
}

// Object identifiers and NULL, in DER.
const RSA_ENCRYPTION: [u8; 11] = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const SHA256_WITH_RSA: [u8; 11] = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const COMMON_NAME: [u8; 5] = [0x06, 3, 0x55, 4, 3];
const SUBJECT_ALT_NAME: [u8; 5] = [0x06, 3, 0x55, 0x1d, 17];
const NULL: [u8; 2] = [0x05, 0];

/// A PEM text (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).filter_map(|at| text.get(at..text.len().min(at + 64))).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// An element of DER (ITU-T X.690): its tag, its length, its content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let head = match (length, content.len()) {
        (_, 0) => vec![tag, 0],
        ([short], _) if *short < 0x80 => vec![tag, *short],
        // A length has eight bytes at most.
        (long, _) => [&[tag, 0x80 | u8::try_from(long.len()).unwrap_or_default()], long].concat(),
    };
    [&head, content].concat()
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

fn integer(number: &BigUint) -> Vec<u8> {
    let bytes = number.to_bytes_be();
    // What begins with a one would be negative.
    let sign: &[u8] = if bytes[0] & 0x80 == 0 { &[] } else { &[0] };
    element(0x02, &[sign, &bytes].concat())
}

fn bits(content: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0], content].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_judged_prime_as_they_are() {
        // 561 and 3215031751 deceive weaker tests; the last two are a Mersenne prime and a product of two others.
        let mersenne = |power: u32| (BigUint::from(1_u32) << power) - 1_u32;
        for prime in [BigUint::from(104_729_u32), BigUint::from(2_147_483_647_u32), mersenne(521)] {
            assert!(is_prime(&prime), "{prime}");
        }
        for product in [BigUint::from(3_215_031_751_u32), mersenne(127) * mersenne(89), mersenne(523)] {
            assert!(!is_prime(&product), "{product}");
        }
    }
}
