//! Outbound webhooks: the user's events, sent to endpoints with Standard Webhooks signatures.
//!
//! `send` stores a message with one delivery for each endpoint that receives its type, in one commit. A worker then sends
//! what is due by a [`DeliverySender`], and [`retry_schedule`] decides what an attempt leads to. A receiver gets each message
//! at least once: one whose answer could not be recorded is sent again, under the same id and with a fresh timestamp.
//!
//! Invariants:
//! - Nothing is sent unsigned, nor to an address that the egress guard refuses, and no redirect is followed.
//! - A delivery is delivered, dead, or due at a time that is not further away than the longest wait.
//! - An endpoint that is slow or dead holds up nobody but itself.

mod attempt;
pub mod catalogue;
mod manage;
pub mod retry_schedule;
mod send;

use thiserror::Error;

pub use attempt::{DeliverySender, MAX_TIMEOUT};
pub use manage::{EndpointChange, add, find, new_secret, remove, rotate, set_enabled, update};
pub use send::{MessageDraft, RetryFilter, SentMessage, draft, retry, retry_all, send};

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::http::HttpError;
use crate::model::EndpointId;
use crate::model::delivery::DeliveryId;
use crate::store::StoreError;

/// Why an operation on endpoints, messages or deliveries failed.
#[derive(Debug, Error)]
pub enum EndpointError {
    #[error("endpoint {0} not found")]
    EndpointNotFound(String),
    #[error("{0:?} is not a delivery ID (dlv_…)")]
    InvalidDeliveryId(String),
    #[error("delivery {0} not found")]
    DeliveryNotFound(DeliveryId),
    #[error("{0} cannot be an endpoint: {1}")]
    InvalidUrl(String, &'static str),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{0} is disabled; nothing is sent to it")]
    Disabled(EndpointId),
    #[error("{what} is {value}; it must be {expected}")]
    InvalidSetting { what: &'static str, value: String, expected: &'static str },
    #[error("the data is not JSON")]
    InvalidJson { source: serde_json::Error },
    #[error("the data does not match event type {kind}: {}", problems.join("; "))]
    SchemaMismatch { kind: String, problems: Vec<String> },
    #[error("event type \"{0}\" not found")]
    UnknownEventType(String),
    #[error("cannot read the data")]
    Read { source: std::io::Error },
    #[error("the message would have {size} bytes, more than {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("{0:?} is not a message ID: use letters, digits, - and _")]
    InvalidMessageId(String),
    #[error("message \"{0}\" was already sent with another type or other data")]
    DuplicateMessageId(String),
    #[error("another process is already delivering in this workspace")]
    AlreadyRunning,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Remedy for EndpointError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::EndpointNotFound(_) => {
                Diagnostic::new(Kind::NotFound, "endpoint_not_found").run("integ endpoint list")
            }
            Self::DeliveryNotFound(_) => {
                Diagnostic::new(Kind::NotFound, "delivery_not_found").run("integ endpoint deliveries")
            }
            Self::InvalidUrl(..) => {
                Diagnostic::new(Kind::Usage, "invalid_url").run("integ endpoint add https://HOST/PATH")
            }
            Self::Http(error) => error.diagnostic(),
            Self::Disabled(id) => {
                Diagnostic::new(Kind::Conflict, "endpoint_disabled").run(format!("integ endpoint enable {id}"))
            }
            Self::InvalidSetting { .. } => {
                Diagnostic::new(Kind::Usage, "invalid_setting").run("integ endpoint add --help")
            }
            Self::InvalidJson { .. } => Diagnostic::new(Kind::Usage, "invalid_json").hint(send_json()),
            Self::SchemaMismatch { .. } => {
                Diagnostic::new(Kind::Usage, "invalid_data").run("integ endpoint event list")
            }
            Self::UnknownEventType(_) => {
                Diagnostic::new(Kind::NotFound, "unknown_event_type").run("integ endpoint event list")
            }
            Self::Read { .. } => Diagnostic::new(Kind::Failed, "io").hint(send_json()),
            Self::TooLarge { .. } => Diagnostic::new(Kind::Usage, "message_too_large").hint(send_json()),
            Self::InvalidMessageId(_) => {
                Diagnostic::new(Kind::Usage, "invalid_message_id").hint(Hint::text("leave --id out for a new one"))
            }
            Self::InvalidDeliveryId(_) => {
                Diagnostic::new(Kind::Usage, "invalid_delivery_id").run("integ endpoint deliveries")
            }
            Self::DuplicateMessageId(id) => {
                Diagnostic::new(Kind::Conflict, "message_conflict").run(format!("integ endpoint deliveries {id}"))
            }
            Self::AlreadyRunning => Diagnostic::new(Kind::Temporary, "busy")
                .hint(Hint::new("try again when it has ended; see what it does:", "integ endpoint deliveries")),
            Self::Store(error) => error.diagnostic(),
        }
    }
}

fn send_json() -> Hint {
    Hint::new("give a file that holds JSON:", "integ endpoint send TYPE --data FILE")
}
