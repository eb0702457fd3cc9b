//! Outbound webhooks: the user's own events, sent to endpoints and signed by Standard Webhooks.
//!
//! `send` keeps a message with one delivery for each endpoint that wants it, in one commit. The `worker` then sends
//! what is due, and [`schedule`] says what an attempt leads to. A receiver gets each message at least once: one that was
//! sent while nobody could note its answer is sent again, under the same id and with a fresh timestamp.
//!
//! Invariants:
//! - Nothing is sent unsigned, nor to an address that the egress guard refuses, and no redirect is followed.
//! - A delivery is delivered, dead, or due at a time that is not further away than the longest wait.
//! - An endpoint that is slow or dead holds up nobody but itself.

mod attempt;
pub mod catalogue;
mod manage;
pub mod schedule;
mod send;
mod worker;

use std::path::PathBuf;

use thiserror::Error;

pub use attempt::LONGEST_TIMEOUT;
pub use manage::{Change, add, find, new_secret, remove, rotate, set_enabled, update};
pub use send::{Bulk, Order, Outgoing, order, retry, retry_all, send};
pub use worker::{Attempted, Summary, Until, Work, deliver, wait};

use crate::error::{Kind, Remedy};
use crate::http::HttpError;
use crate::store::outbox::DeliveryId;
use crate::store::{EndpointId, StoreError};

#[derive(Debug, Error)]
pub enum EndpointError {
    #[error("there is no endpoint {0}")]
    NoEndpoint(String),
    #[error("{0:?} is no delivery's id: dlv_…")]
    DeliveryId(String),
    #[error("there is no delivery {0}")]
    NoDelivery(DeliveryId),
    #[error("{0} cannot be an endpoint: {1}")]
    Url(String, &'static str),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{0} is disabled, and nothing is sent to it")]
    Disabled(EndpointId),
    #[error("{what} is {given}, and may be {expected}")]
    Rule { what: &'static str, given: String, expected: &'static str },
    #[error("the data are no JSON")]
    Data { source: serde_json::Error },
    #[error("the data are not as those of {kind}: {}", problems.join("; "))]
    Shape { kind: String, problems: Vec<String> },
    #[error("there is no event type {0}")]
    NoType(String),
    #[error("the data cannot be read")]
    Read { source: std::io::Error },
    #[error("the message would have {size} bytes, more than {most}")]
    TooLarge { size: usize, most: usize },
    #[error("{0:?} is no message's id: letters, digits, - and _")]
    MessageId(String),
    #[error("a message {0} was sent before, with another type or other data")]
    Conflict(String),
    #[error("another process delivers in this workspace")]
    Busy,
    #[error("{} cannot be locked", path.display())]
    Lock { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Remedy for EndpointError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoEndpoint(_) | Self::NoDelivery(_) | Self::NoType(_) => Kind::NotFound,
            Self::Url(..)
            | Self::Rule { .. }
            | Self::Data { .. }
            | Self::Shape { .. }
            | Self::TooLarge { .. }
            | Self::MessageId(_)
            | Self::DeliveryId(_) => Kind::Usage,
            Self::Http(error) => error.kind(),
            Self::Disabled(_) | Self::Read { .. } | Self::Conflict(_) | Self::Lock { .. } => Kind::Failed,
            Self::Busy => Kind::Temporary,
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoEndpoint(_) => "unknown_endpoint",
            Self::NoDelivery(_) => "unknown_delivery",
            Self::Url(..) => "invalid_url",
            Self::Http(error) => error.code(),
            Self::Disabled(_) => "endpoint_disabled",
            Self::Rule { .. } => "invalid_rule",
            Self::Data { .. } => "invalid_json",
            Self::Shape { .. } => "invalid_data",
            Self::NoType(_) => "unknown_event_type",
            Self::Read { .. } | Self::Lock { .. } => "io",
            Self::TooLarge { .. } => "message_too_large",
            Self::MessageId(_) => "invalid_message_id",
            Self::DeliveryId(_) => "invalid_delivery_id",
            Self::Conflict(_) => "message_conflict",
            Self::Busy => "busy",
            Self::Store(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoEndpoint(_) => "integ endpoint list".to_owned(),
            Self::NoDelivery(_) | Self::DeliveryId(_) => "integ endpoint deliveries".to_owned(),
            Self::Url(..) => "integ endpoint add https://HOST/PATH".to_owned(),
            Self::Http(error) => return error.hint(),
            Self::Disabled(id) => format!("integ endpoint enable {id}"),
            Self::Rule { .. } => "integ endpoint add --help".to_owned(),
            Self::Data { .. } | Self::Read { .. } | Self::TooLarge { .. } => {
                "integ endpoint send TYPE --data FILE, which holds JSON".to_owned()
            }
            Self::Shape { .. } | Self::NoType(_) => "integ endpoint event list".to_owned(),
            Self::MessageId(_) => "leave --id out for a new one".to_owned(),
            Self::Conflict(id) => format!("integ endpoint deliveries {id}"),
            Self::Busy => "try again when it has ended; `integ endpoint deliveries` shows what it does".to_owned(),
            Self::Lock { .. } => "integ config path".to_owned(),
            Self::Store(error) => return error.hint(),
        })
    }
}
