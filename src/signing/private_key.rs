//! Private keys in PEM: their kind, why one cannot be used, and JSON Web Signatures with them.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::ring::sign::{RsaSigningKey, any_supported_type};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use thiserror::Error;

use crate::connector::JwtAlgorithm;

/// Why a text is not a private key that can be used. The sentences continue "the private key is not valid:".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrivateKeyError {
    #[error("it is not a PEM file: there is no line `-----BEGIN PRIVATE KEY-----`")]
    NotPem,
    #[error("it is a {0}, not a private key")]
    OtherKind(&'static str),
    #[error("it is encrypted; remove the passphrase with `openssl pkey -in KEY -out PLAIN`")]
    Encrypted,
    #[error("it is an OpenSSH key; convert a copy with `ssh-keygen -p -m PEM -f COPY`")]
    OpenSsh,
    #[error("it contains more than one private key")]
    Several,
    #[error("its RSA key has fewer than 2048 bits")]
    TooSmall,
    #[error("it is damaged or of an unsupported type; supported are RSA, P-256, P-384 and Ed25519")]
    Unusable,
    #[error("it is {found}, and {} needs {}", algorithm.as_str(), key_for(*algorithm))]
    WrongAlgorithm { algorithm: JwtAlgorithm, found: &'static str },
}

/// A private key that can sign.
#[derive(Clone, Debug)]
pub struct PrivateKey {
    key: Arc<dyn SigningKey>,
    kind: KeyType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyType {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl KeyType {
    fn describe(self) -> &'static str {
        match self {
            Self::Rsa => "an RSA key",
            Self::P256 => "an EC key of P-256",
            Self::P384 => "an EC key of P-384",
            Self::P521 => "an EC key of P-521",
            Self::Ed25519 => "an Ed25519 key",
        }
    }
}

/// The key that an algorithm needs, in words.
fn key_for(algorithm: JwtAlgorithm) -> &'static str {
    match algorithm {
        JwtAlgorithm::Hs256 => "a secret",
        JwtAlgorithm::Rs256 | JwtAlgorithm::Rs384 | JwtAlgorithm::Rs512 | JwtAlgorithm::Ps256 => {
            KeyType::Rsa.describe()
        }
        JwtAlgorithm::Es256 => KeyType::P256.describe(),
        JwtAlgorithm::Es384 => KeyType::P384.describe(),
        JwtAlgorithm::EdDsa => KeyType::Ed25519.describe(),
    }
}

/// A PEM text as it was before somebody put it into an environment variable: with real line breaks.
pub fn normalize_pem(text: &str) -> String {
    let text = text.trim();
    if text.contains('\n') { text.to_owned() } else { text.replace("\\r", "").replace("\\n", "\n") }
}

/// What the sections of a PEM text are, by the words after `BEGIN`.
fn labels(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
}

impl PrivateKey {
    /// Reads a key in PEM: PKCS #8 (RFC 5958), PKCS #1 (RFC 8017) or SEC 1 (RFC 5915).
    ///
    /// # Errors
    /// [`PrivateKeyError`].
    pub fn from_pem(text: &str) -> Result<Self, PrivateKeyError> {
        let text = normalize_pem(text);
        let is_key = |label: &&str| label.ends_with("PRIVATE KEY");
        match labels(&text).filter(is_key).collect::<Vec<_>>().as_slice() {
            [] => {
                return Err(match labels(&text).next() {
                    Some("CERTIFICATE" | "TRUSTED CERTIFICATE") => PrivateKeyError::OtherKind("certificate"),
                    Some("PUBLIC KEY" | "RSA PUBLIC KEY") => PrivateKeyError::OtherKind("public key"),
                    Some("CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") => {
                        PrivateKeyError::OtherKind("certificate request")
                    }
                    _ => PrivateKeyError::NotPem,
                });
            }
            ["ENCRYPTED PRIVATE KEY"] => return Err(PrivateKeyError::Encrypted),
            ["OPENSSH PRIVATE KEY"] => return Err(PrivateKeyError::OpenSsh),
            // The older form says it in a header (RFC 1421 section 4.6.1.1).
            [_] if text.contains("Proc-Type: 4,ENCRYPTED") => return Err(PrivateKeyError::Encrypted),
            [_] => {}
            _ => return Err(PrivateKeyError::Several),
        }
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| PrivateKeyError::Unusable)?;
        let key = any_supported_type(&der).map_err(|_| match RsaSigningKey::new(&der) {
            // The library says why in words alone.
            Err(error) if error.to_string().contains("TooSmall") => PrivateKeyError::TooSmall,
            _ => PrivateKeyError::Unusable,
        })?;
        let kind = [
            (SignatureScheme::RSA_PKCS1_SHA256, KeyType::Rsa),
            (SignatureScheme::ECDSA_NISTP256_SHA256, KeyType::P256),
            (SignatureScheme::ECDSA_NISTP384_SHA384, KeyType::P384),
            (SignatureScheme::ECDSA_NISTP521_SHA512, KeyType::P521),
            (SignatureScheme::ED25519, KeyType::Ed25519),
        ];
        let kind = kind.into_iter().find(|(scheme, _)| key.choose_scheme(&[*scheme]).is_some());
        let (_, kind) = kind.ok_or(PrivateKeyError::Unusable)?;
        Ok(Self { key, kind })
    }

    pub(super) fn signing_key(&self) -> Arc<dyn SigningKey> {
        Arc::clone(&self.key)
    }

    /// Returns the algorithm to sign with: the one that is wanted, else the usual one for a key of this type.
    ///
    /// # Errors
    /// [`PrivateKeyError::WrongAlgorithm`].
    pub fn algorithm(&self, wanted: Option<JwtAlgorithm>) -> Result<JwtAlgorithm, PrivateKeyError> {
        let usual = match self.kind {
            KeyType::Rsa => JwtAlgorithm::Rs256,
            KeyType::P256 => JwtAlgorithm::Es256,
            KeyType::P384 => JwtAlgorithm::Es384,
            KeyType::Ed25519 => JwtAlgorithm::EdDsa,
            KeyType::P521 => return Err(PrivateKeyError::Unusable),
        };
        let algorithm = wanted.unwrap_or(usual);
        if key_for(algorithm) == self.kind.describe() {
            Ok(algorithm)
        } else {
            Err(PrivateKeyError::WrongAlgorithm { algorithm, found: self.kind.describe() })
        }
    }

    /// Signs a message as RFC 7518 section 3 writes signatures.
    ///
    /// # Errors
    /// [`PrivateKeyError::WrongAlgorithm`], [`PrivateKeyError::Unusable`].
    pub fn sign(&self, algorithm: JwtAlgorithm, message: &[u8]) -> Result<Vec<u8>, PrivateKeyError> {
        let algorithm = self.algorithm(Some(algorithm))?;
        let (scheme, part_bytes) = match algorithm {
            JwtAlgorithm::Hs256 => return Err(PrivateKeyError::Unusable),
            JwtAlgorithm::Rs256 => (SignatureScheme::RSA_PKCS1_SHA256, None),
            JwtAlgorithm::Rs384 => (SignatureScheme::RSA_PKCS1_SHA384, None),
            JwtAlgorithm::Rs512 => (SignatureScheme::RSA_PKCS1_SHA512, None),
            JwtAlgorithm::Ps256 => (SignatureScheme::RSA_PSS_SHA256, None),
            JwtAlgorithm::Es256 => (SignatureScheme::ECDSA_NISTP256_SHA256, Some(32)),
            JwtAlgorithm::Es384 => (SignatureScheme::ECDSA_NISTP384_SHA384, Some(48)),
            JwtAlgorithm::EdDsa => (SignatureScheme::ED25519, None),
        };
        let signer = self.key.choose_scheme(&[scheme]).ok_or(PrivateKeyError::Unusable)?;
        let signature = signer.sign(message).map_err(|_| PrivateKeyError::Unusable)?;
        match part_bytes {
            None => Ok(signature),
            Some(bytes) => fixed_width(&signature, bytes).ok_or(PrivateKeyError::Unusable),
        }
    }
}

/// The two numbers of an ECDSA signature side by side (RFC 7518 section 3.4), from the DER that TLS uses (RFC 3279 section
/// 2.2.3).
fn fixed_width(der: &[u8], bytes: usize) -> Option<Vec<u8>> {
    let [0x30, _, rest @ ..] = der else { return None };
    let number = |rest: &[u8]| -> Option<(Vec<u8>, usize)> {
        let [0x02, length, ..] = rest else { return None };
        let end = 2 + usize::from(*length);
        let number = rest.get(2..end)?;
        let number = &number[number.iter().take_while(|byte| **byte == 0).count()..];
        let padding = bytes.checked_sub(number.len())?;
        Some(([&vec![0; padding], number].concat(), end))
    };
    let (r, end) = number(rest)?;
    let (s, _) = number(rest.get(end..)?)?;
    Some([r, s].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_of_two_numbers_has_a_fixed_width() {
        let der = [0x30, 8, 0x02, 2, 0, 0x81, 0x02, 2, 0x01, 0x02];
        assert_eq!(fixed_width(&der, 4).unwrap(), [0, 0, 0, 0x81, 0, 0, 1, 2]);
        assert_eq!(fixed_width(&der, 1), None, "a number that does not fit");
        for broken in [&[][..], &[0x30], &[0x30, 2, 0x02, 9, 1], &[0x31, 8, 0x02, 1, 1, 0x02, 1, 1]] {
            assert_eq!(fixed_width(broken, 4), None);
        }
    }

    #[test]
    fn what_is_no_private_key_is_named() {
        let of = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        let error = |text: &str| PrivateKey::from_pem(text).unwrap_err();
        assert_eq!(error(""), PrivateKeyError::NotPem);
        assert_eq!(error("{\"type\":\"service_account\"}"), PrivateKeyError::NotPem);
        assert_eq!(error(&of("CERTIFICATE")), PrivateKeyError::OtherKind("certificate"));
        assert_eq!(error(&of("PUBLIC KEY")), PrivateKeyError::OtherKind("public key"));
        assert_eq!(error(&of("ENCRYPTED PRIVATE KEY")), PrivateKeyError::Encrypted);
        assert_eq!(error(&of("OPENSSH PRIVATE KEY")), PrivateKeyError::OpenSsh);
        assert_eq!(error(&(of("PRIVATE KEY") + &of("PRIVATE KEY"))), PrivateKeyError::Several);
        assert_eq!(error(&of("PRIVATE KEY")), PrivateKeyError::Unusable);
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----";
        assert_eq!(error(old), PrivateKeyError::Encrypted);
    }

    #[test]
    fn a_key_from_an_environment_variable_has_its_lines_again() {
        assert_eq!(
            normalize_pem(r"-----BEGIN X-----\nAA\r\n-----END X-----\n"),
            "-----BEGIN X-----\nAA\n-----END X-----\n"
        );
        assert_eq!(normalize_pem(" a\nb\\n "), "a\nb\\n");
    }
}
