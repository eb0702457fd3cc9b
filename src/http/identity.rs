//! Client certificates of TLS connections (RFC 8705).

use std::fmt;

use thiserror::Error;

use crate::hash;
use crate::secret::Secret;
use crate::signing::private_key::normalize_pem;

/// A certificate with its private key, as connections show it.
pub struct ClientIdentity {
    /// Distinguishes identities.
    pub(super) digest: [u8; 32],
    pub(super) identity: reqwest::Identity,
}

/// That a certificate and a key cannot be used for TLS.
#[derive(Debug, Error)]
#[error("the certificate and its key cannot be used for TLS")]
pub struct IdentityError {
    #[from]
    source: reqwest::Error,
}

impl ClientIdentity {
    /// Reads a certificate with the chain to its root, and its key, in PEM.
    ///
    /// # Errors
    /// `IdentityError`.
    pub fn from_pem(certificate: &Secret, key: &Secret) -> Result<Self, IdentityError> {
        let (certificate, key) = (normalize_pem(certificate.expose()), Secret::new(normalize_pem(key.expose())));
        let pem = Secret::new(format!("{certificate}\n{}\n", key.expose()));
        Ok(Self {
            digest: hash::sha256(pem.expose().as_bytes()),
            identity: reqwest::Identity::from_pem(pem.expose().as_bytes())?,
        })
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity")
    }
}
