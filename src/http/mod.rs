//! HTTP: outgoing requests with their limits and redaction, and the small bounded server.

mod allowed_hosts;
mod challenge;
mod classify;
mod client;
mod download;
pub mod egress;
pub mod html;
mod identity;
pub mod loopback;
pub mod peer;
mod rate_limit;
mod redact;
mod retry;
mod route;
pub mod serve;
mod streaming;
mod transport_error;

use std::time::Duration;

use thiserror::Error;

pub use allowed_hosts::{AllowedHosts, HostTrust, matches as host_matches};
pub use challenge::Challenge;
pub use classify::classify;
pub use client::{Body, Client, Request, Response, basic};
pub use download::{DownloadError, download};
pub use egress::is_localhost;
pub use identity::ClientIdentity;
pub use rate_limit::RateLimiter;
pub use redact::{redact_body, redact_header, redact_json, redact_url, scrub};
pub use retry::{MAX_RETRY_AFTER, MIN_RETRY_AFTER, RetryAttempt, backoff, pause};
pub use route::{Route, SANDBOX_ORIGIN, is_loopback};
pub use streaming::StreamingResponse;
pub use transport_error::CertificateProblem;

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::size;

/// Why no answer came. What the vendor answers, whatever its status, is a [`Response`].
#[derive(Debug, Error)]
pub enum HttpError {
    /// `origin` is the scheme, host and port that were asked.
    #[error("cannot reach {host}: {reason}")]
    Connect { host: String, origin: String, reason: String },
    #[error("the certificate of {host} is not trusted: {distrust}")]
    Certificate { host: String, origin: String, distrust: CertificateProblem },
    #[error("TLS handshake with {host} failed: {reason}")]
    Tls { host: String, origin: String, reason: String },
    #[error("{host} did not answer within {} s", after.as_secs())]
    Timeout { host: String, after: Duration },
    #[error("the connection to {host} broke before the answer was complete: {reason}")]
    ConnectionLost { host: String, reason: String },
    #[error("the answer of {host} is larger than {}", size::format(*limit))]
    TooLarge {
        host: String,
        limit: usize,
        /// Whether the limit is that of the settings.
        is_configurable: bool,
    },
    #[error("{url} is not https, and {host} is not this machine")]
    Insecure { url: String, host: String },
    #[error("only public addresses are allowed")]
    EgressRefused(#[from] egress::EgressRefusal),
    #[error("the connector does not declare the host {host}")]
    Undeclared { host: String },
    #[error("{0}; only a host that you type yourself may be private")]
    SpecialAddress(egress::EgressRefusal),
    #[error("cannot send the request to {host}")]
    InvalidRequest { host: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("cannot create the HTTP client")]
    Client { source: reqwest::Error },
}

impl HttpError {
    /// Whether the peer may have acted on the request without our having its answer. An answer that is too large is
    /// one: nothing that is worth keeping is that long.
    pub fn may_have_been_used(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::ConnectionLost { .. })
    }

    /// Whether the peer has answered, with more than is taken.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::TooLarge { .. })
    }
}

impl Remedy for HttpError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Connect { origin, .. } => Diagnostic::new(Kind::Temporary, "network")
                .hint(Hint::new("check the network and any HTTPS_PROXY, then try again:", format!("curl -I {origin}"))),
            Self::Certificate { distrust: CertificateProblem::ValidityPeriod { .. }, .. } => {
                Diagnostic::new(Kind::Rejected, "certificate").hint(Hint::new("check the clock:", "date"))
            }
            Self::Certificate { origin, distrust: CertificateProblem::UnknownAuthority, .. } => {
                Diagnostic::new(Kind::Rejected, "certificate").hint(Hint::new(
                    "set SSL_CERT_FILE to a PEM file with that authority's certificate, then check with",
                    format!("curl -I {origin}"),
                ))
            }
            Self::Certificate { origin, .. } => Diagnostic::new(Kind::Rejected, "certificate").hint(presented(origin)),
            Self::Tls { origin, .. } => Diagnostic::new(Kind::Rejected, "tls").hint(presented(origin)),
            Self::Timeout { .. } => Diagnostic::new(Kind::Temporary, "timeout")
                .hint(Hint::new("try again, or give it longer:", "integ config set http.timeout 60s")),
            Self::ConnectionLost { .. } => Diagnostic::new(Kind::Temporary, "network").hint(Hint::text("try again")),
            Self::TooLarge { limit, is_configurable: true, .. } => Diagnostic::new(Kind::Rejected, "answer_too_large")
                .run(format!("integ config set http.largest_answer {}", size::format(limit.saturating_mul(4)))),
            Self::TooLarge { .. } => Diagnostic::new(Kind::Rejected, "answer_too_large"),
            Self::Insecure { .. } => Diagnostic::new(Kind::Usage, "insecure_url")
                .hint(Hint::text("use an https URL; plain http is for 127.0.0.1 and localhost only")),
            Self::EgressRefused(refusal) => Diagnostic::new(Kind::Usage, "egress_refused")
                .hint(Hint::new("to allow it:", format!("integ config set http.allow {}", refusal.host))),
            Self::SpecialAddress(_) => Diagnostic::new(Kind::Usage, "egress_refused"),
            Self::Undeclared { .. } => Diagnostic::new(Kind::Usage, "undeclared_host"),
            Self::InvalidRequest { .. } | Self::Client { .. } => Diagnostic::new(Kind::Failed, "http"),
        }
    }
}

fn presented(origin: &str) -> Hint {
    Hint::new("see what the server presents:", format!("curl -Iv {origin}"))
}
