//! Explains in one sentence why a request got no response, from the errors of lower layers.

use std::error::Error as StdError;
use std::io;

use rustls::CertificateError;

use super::HttpError;

/// Why a server's certificate is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateProblem {
    /// No authority that this machine knows has signed it.
    UnknownAuthority,
    /// It has ended, or has not begun, by this machine's clock.
    ValidityPeriod {
        text: &'static str,
    },
    NameMismatch,
    Other(String),
}

impl std::fmt::Display for CertificateProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownAuthority => f.write_str("this machine does not know the authority that signed it"),
            Self::ValidityPeriod { text } => f.write_str(text),
            Self::NameMismatch => f.write_str("it was issued for another name"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// Turns an error of the client below into one that says who was asked and what went wrong.
pub(super) fn explain(error: &reqwest::Error, host: String, origin: String) -> HttpError {
    match (tls(error), error.is_connect()) {
        (Some(rustls::Error::InvalidCertificate(reason)), _) => {
            HttpError::Certificate { host, origin, distrust: distrust(reason) }
        }
        (Some(error), true) => HttpError::Tls { host, origin, reason: error.to_string() },
        (_, true) => HttpError::Connect { host, origin, reason: unreachable(error) },
        (_, false) => HttpError::ConnectionLost { host, reason: innermost(error) },
    }
}

/// The chain of an error's causes, itself first. An I/O error's own `source` leaves out the error that it carries.
fn causes<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    fn below<'e>(error: &&'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
        let error: &'e (dyn StdError + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(carried) => Some(carried),
            None => error.source(),
        }
    }
    std::iter::successors(Some(error), below)
}

fn tls(error: &reqwest::Error) -> Option<&rustls::Error> {
    causes(error).find_map(|error| error.downcast_ref())
}

fn distrust(reason: &CertificateError) -> CertificateProblem {
    match reason {
        CertificateError::UnknownIssuer => CertificateProblem::UnknownAuthority,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            CertificateProblem::ValidityPeriod { text: "it has expired, or this machine's clock is wrong" }
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateProblem::ValidityPeriod { text: "it is not valid yet, or this machine's clock is wrong" }
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateProblem::NameMismatch
        }
        // The error of the verifier below has no public type here; this one is that of most self-signed certificates.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => CertificateProblem::Other(
            "it is the certificate of an authority itself, which a server may not present".to_owned(),
        ),
        other => CertificateProblem::Other(other.to_string()),
    }
}

/// Why no connection was made.
fn unreachable(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no connection was made in time".to_owned();
    }
    let io = causes(error).filter_map(|error| error.downcast_ref::<io::Error>()).last();
    match io.map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => "it refused the connection".to_owned(),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => "it closed the connection".to_owned(),
        Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) => {
            "the network has no route to it".to_owned()
        }
        _ => dns_error(error).unwrap_or_else(|| innermost(error)),
    }
}

/// A failed look-up of a name, which the standard library reports as text alone.
fn dns_error(error: &reqwest::Error) -> Option<String> {
    const PREFIX: &str = "failed to lookup address information: ";
    let text = causes(error).map(ToString::to_string).find(|text| text.starts_with(PREFIX))?;
    let said = &text[PREFIX.len()..];
    Some(match said {
        // EAI_NONAME of glibc, musl and macOS.
        "Name or service not known" | "Name does not resolve" | "nodename nor servname provided, or not known" => {
            "its name was not found".to_owned()
        }
        said => format!("its name could not be looked up ({said})"),
    })
}

fn innermost(error: &reqwest::Error) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}
