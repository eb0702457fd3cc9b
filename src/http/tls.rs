//! Why a TLS connection was not made: certificates are named, and nothing that a repetition would not change is repeated.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};
use thiserror::Error as ThisError;

/// A handshake that failed, on either side.
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
#[error("{}", if *.is_certificate { format!("the certificate of {host} cannot be trusted: {why}") } else { format!("no TLS connection to {host}: {why}") })]
pub struct TlsError {
    pub host: String,
    /// Scheme, host and port.
    pub origin: String,
    pub is_certificate: bool,
    why: String,
    hint: Hint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    Authority,
    Name,
    Time,
    Scheme,
}

impl TlsError {
    /// Finds the TLS library's word among the causes of an error.
    pub(super) fn of(host: &str, origin: &str, error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        let found = loop {
            let error = next?;
            if let Some(found) = cause(error) {
                break found;
            }
            next = error.source();
        };
        let (is_certificate, why, hint) = match found {
            rustls::Error::InvalidCertificate(error) => certificate(error),
            rustls::Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::CertificateRequired) => {
                (false, "the server wants a certificate of the client".to_owned(), Hint::Scheme)
            }
            error => (false, error.to_string(), Hint::Scheme),
        };
        Some(Self { host: host.to_owned(), origin: origin.to_owned(), is_certificate, why, hint })
    }

    pub(super) fn hint(&self) -> String {
        let origin = &self.origin;
        match self.hint {
            Hint::Authority => format!(
                "if a proxy or an authority of your own issued it, name the authority's file, as in \
                 `SSL_CERT_FILE=/path/to/ca.pem curl -I {origin}`, and set SSL_CERT_FILE for integ as well"
            ),
            Hint::Name => format!("use a name that the certificate holds: `curl -vI {origin}` prints them"),
            Hint::Time => "compare the clock of this machine with the certificate's dates: `date -u`".to_owned(),
            Hint::Scheme => format!("see what answers there: `curl -vI {origin}`"),
        }
    }
}

/// The TLS library's error, which I/O errors wrap without naming it as their source.
fn cause<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(found) = error.downcast_ref::<rustls::Error>() {
        return Some(found);
    }
    let inner: &(dyn Error + 'static) = error.downcast_ref::<io::Error>()?.get_ref()?;
    cause(inner)
}

fn certificate(error: &CertificateError) -> (bool, String, Hint) {
    let (why, hint) = match error {
        CertificateError::UnknownIssuer => ("it is signed by an unknown authority".to_owned(), Hint::Authority),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ("it is for other names".to_owned(), Hint::Name)
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("it has expired".to_owned(), Hint::Time)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("it is not valid yet".to_owned(), Hint::Time)
        }
        // Such as a server's own certificate that is marked as an authority's.
        other => (other.to_string(), Hint::Authority),
    };
    (true, why, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_33_certificates_are_found_below_io_errors() {
        let wrapped = |error: rustls::Error| io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
        let of = |error| TlsError::of("as.example", "https://as.example:8443", &wrapped(error)).unwrap();
        let unknown = of(CertificateError::UnknownIssuer.into());
        assert_eq!(
            unknown.to_string(),
            "the certificate of as.example cannot be trusted: it is signed by an unknown authority"
        );
        assert!(unknown.hint().contains("SSL_CERT_FILE") && unknown.hint().contains("https://as.example:8443`,"));
        assert!(of(CertificateError::Expired.into()).hint().contains("date -u"));
        assert!(!of(rustls::Error::HandshakeNotComplete).is_certificate);
        assert_eq!(TlsError::of("h", "https://h", &io::Error::other("reset")), None);
    }
}
