//! Client certificates in PEM: whether one is valid now and belongs to a key.

use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use thiserror::Error;
use webpki::{EndEntityCert, Error as ChainError, KeyUsage};

use super::private_key::{PrivateKey, normalize_pem};
use crate::clock::Timestamp;

/// Why a text is not a certificate that can be used. The sentences continue "the certificate is not valid:".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    #[error("it is not a PEM file: there is no line `-----BEGIN CERTIFICATE-----`")]
    NotPem,
    #[error("it is a private key, not a certificate")]
    PrivateKey,
    #[error("it is damaged, or of X.509 version 1")]
    Unusable,
    #[error("it expired on {0}")]
    Expired(String),
    #[error("it is not valid before {0}")]
    NotYetValid(String),
    #[error("it does not belong to the private key")]
    OtherKey,
}

/// Reads the certificates of a PEM text, the client's own first.
///
/// # Errors
/// [`CertificateError`].
pub fn from_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let text = normalize_pem(text);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let chain = chain.map_err(|_| CertificateError::Unusable)?;
    match chain.first() {
        None if text.contains("PRIVATE KEY-----") => Err(CertificateError::PrivateKey),
        None => Err(CertificateError::NotPem),
        Some(_) => Ok(chain),
    }
}

/// Checks that the first certificate of a chain is in force at `now`.
///
/// # Errors
/// [`CertificateError`].
pub fn check_validity(chain: &[CertificateDer<'_>], now: Timestamp) -> Result<(), CertificateError> {
    let leaf = chain.first().ok_or(CertificateError::NotPem)?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::Unusable)?;
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let date = |time: UnixTime| {
        let second = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_second(second).map_or_else(|_| "an unknown date".to_owned(), |time| time.to_string())
    };
    // The dates are looked at before the issuer, which no root of this machine need know.
    let verified =
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[], &[], time, KeyUsage::client_auth(), None, None);
    match verified {
        Err(ChainError::CertExpired { not_after, .. }) => Err(CertificateError::Expired(date(not_after))),
        Err(ChainError::CertNotValidYet { not_before, .. }) => Err(CertificateError::NotYetValid(date(not_before))),
        Err(ChainError::InvalidCertValidity) => Err(CertificateError::Unusable),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Returns when the first certificate of a chain expires; `None` if it cannot be read.
pub fn expires_at(chain: &[CertificateDer<'_>]) -> Option<Timestamp> {
    let leaf = EndEntityCert::try_from(chain.first()?).ok()?;
    // The library names the date of a certificate that has expired, and at this time every one has.
    let time = UnixTime::since_unix_epoch(Duration::from_secs(LAST_SECOND));
    let verified =
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[], &[], time, KeyUsage::client_auth(), None, None);
    match verified {
        Err(ChainError::CertExpired { not_after, .. }) => {
            Timestamp::from_second(i64::try_from(not_after.as_secs()).ok()?).ok()
        }
        Ok(_) | Err(_) => None,
    }
}

/// The end of the year 9999, the last time that a certificate can name.
const LAST_SECOND: u64 = 253_402_300_799;

/// Checks that the first certificate of a chain has the public key of a private key.
///
/// # Errors
/// [`CertificateError::OtherKey`].
pub fn check_key(chain: &[CertificateDer<'static>], key: &PrivateKey) -> Result<(), CertificateError> {
    match CertifiedKey::new(chain.to_vec(), key.signing_key()).keys_match() {
        Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(CertificateError::OtherKey),
        Err(TlsError::InvalidCertificate(_)) => Err(CertificateError::Unusable),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::rsa::RsaKey;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_certificate_is_in_force_and_belongs_to_its_key() {
        let (key, other) = (RsaKey::new([1; 32]), RsaKey::new([2; 32]));
        let chain = from_pem(&key.certificate().unwrap()).unwrap();
        assert_eq!(check_validity(&chain, at(1_800_000_000)), Ok(()));
        assert!(matches!(check_validity(&chain, at(1_500_000_000)), Err(CertificateError::NotYetValid(_))));
        let expired = check_validity(&chain, at(2_600_000_000)).unwrap_err();
        assert_eq!(expired.to_string(), "it expired on 2049-12-31T23:59:59Z");
        assert_eq!(expires_at(&chain).unwrap().to_string(), "2049-12-31T23:59:59Z");
        assert_eq!(expires_at(&[]), None);
        let pem = |key: &RsaKey| PrivateKey::from_pem(&key.private_key().unwrap()).unwrap();
        assert_eq!(check_key(&chain, &pem(&key)), Ok(()));
        assert_eq!(check_key(&chain, &pem(&other)), Err(CertificateError::OtherKey));
    }

    #[test]
    fn what_is_no_certificate_is_named() {
        assert_eq!(from_pem("x").unwrap_err(), CertificateError::NotPem);
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(from_pem(key).unwrap_err(), CertificateError::PrivateKey);
        let chain = from_pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert_eq!(check_validity(&chain, at(0)), Err(CertificateError::Unusable));
    }
}
