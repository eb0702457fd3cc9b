//! HTTP: outgoing requests with their limits and redaction, and the small bounded server for loopback listeners.

mod classify;
mod client;
mod download;
pub mod egress;
pub mod loopback;
mod pace;
pub mod peer;
mod reach;
mod redact;
mod retry;
mod route;
pub mod serve;
mod tls;

use std::time::Duration;

use thiserror::Error;

pub use classify::classify;
pub use client::{Body, Client, Request, Response, basic};
pub use download::{DownloadError, download};
pub use pace::Pace;
pub use reach::{Reach, Trust, is_localhost, matches as host_matches};
pub use redact::{redact_url, scrub};
pub use retry::{Attempt, LONGEST_RETRY_AFTER, backoff};
pub use route::{Route, is_loopback};
pub use tls::TlsError;

use crate::error::{Kind, Remedy};

/// Why no answer came. What the vendor answers, whatever its status, is a [`Response`].
#[derive(Debug, Error)]
pub enum HttpError {
    /// `origin` is the scheme, host and port.
    #[error("{host} could not be reached: {why}")]
    Connect { host: String, origin: String, why: String },
    #[error("{0}")]
    Tls(TlsError),
    #[error("{host} did not answer within {} s", after.as_secs())]
    Timeout { host: String, after: Duration },
    #[error("the connection to {host} broke before the answer was complete: {why}")]
    Broken { host: String, why: String },
    #[error("the answer of {host} is larger than {limit} bytes")]
    TooLarge { host: String, limit: usize },
    #[error("{url} is not https, and {host} is not this machine")]
    Insecure { url: String, host: String },
    #[error("URLs of yours may lead to public addresses alone, and {0}")]
    Forbidden(#[from] egress::Refusal),
    #[error("the connector does not declare the host {host}")]
    Undeclared { host: String },
    #[error("{0}, and only a host that you type yourself may be one")]
    NotTyped(egress::Refusal),
    #[error("the request to {host} cannot be written")]
    Unwritable { host: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("no HTTP client can be made")]
    Client { source: reqwest::Error },
}

impl HttpError {
    /// Whether the peer may have acted on the request without our having its answer. An answer that is too large is
    /// one: nothing that is worth keeping is that long.
    pub fn may_have_been_used(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Broken { .. })
    }

    /// Whether the peer has answered, with more than is taken.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::TooLarge { .. })
    }
}

impl Remedy for HttpError {
    fn kind(&self) -> Kind {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Broken { .. } => Kind::Temporary,
            Self::Insecure { .. } | Self::Forbidden(_) | Self::Undeclared { .. } | Self::NotTyped(_) => Kind::Usage,
            Self::Tls(_) | Self::TooLarge { .. } | Self::Unwritable { .. } | Self::Client { .. } => Kind::Failed,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Connect { .. } | Self::Broken { .. } => "network",
            Self::Tls(_) => "tls",
            Self::Timeout { .. } => "timeout",
            Self::TooLarge { .. } => "answer_too_large",
            Self::Insecure { .. } => "insecure_url",
            Self::Forbidden(_) | Self::NotTyped(_) => "egress_refused",
            Self::Undeclared { .. } => "undeclared_host",
            Self::Unwritable { .. } | Self::Client { .. } => "http",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Connect { origin, .. } => {
                Some(format!("check the network and any HTTPS_PROXY, then try again: `curl -I {origin}`"))
            }
            Self::Tls(error) => Some(error.hint()),
            Self::Timeout { .. } => {
                Some("try again, or give it longer: `integ config set http.timeout 60s`".to_owned())
            }
            Self::Broken { .. } => Some("try again".to_owned()),
            Self::Insecure { .. } => {
                Some("use an https URL; plain http is for 127.0.0.1 and localhost only".to_owned())
            }
            Self::Forbidden(refusal) => {
                Some(format!("if it is meant to be called: `integ config set http.allow {}`", refusal.host))
            }
            Self::TooLarge { .. }
            | Self::Unwritable { .. }
            | Self::Client { .. }
            | Self::Undeclared { .. }
            | Self::NotTyped(_) => None,
        }
    }
}
