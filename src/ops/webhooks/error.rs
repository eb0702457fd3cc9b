//! What these operations refuse to do.

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::model::{ConnectionName, EventId};

/// Why an operation on webhooks cannot be done.
#[derive(Debug, Error)]
pub enum WebhookOperationError {
    #[error("the secret of {connection} is made by the vendor, not by integ")]
    VendorManagedSecret { connection: ConnectionName },
    #[error("webhooks of {connection} are verified without a secret")]
    SecretUnsupported { connection: ConnectionName },
    #[error("event {} not found", id.0)]
    EventNotFound { id: EventId },
    #[error("event {} has no conflicting bodies", id.0)]
    NoConflict { id: EventId },
    #[error("event {} has {bodies} conflicting bodies; that number is out of range", id.0)]
    BodyNotFound { id: EventId, bodies: u32 },
    #[error("the content of event {} has been removed: its retention period has ended", id.0)]
    Pruned { id: EventId },
}

impl Remedy for WebhookOperationError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::VendorManagedSecret { connection } => Diagnostic::new(Kind::Usage, "vendor_managed_secret")
                .run(format!("integ webhook secret {connection} --set FILE")),
            Self::SecretUnsupported { connection } => {
                Diagnostic::new(Kind::Usage, "secret_unsupported").run(format!("integ webhook url {connection}"))
            }
            Self::EventNotFound { .. } => {
                Diagnostic::new(Kind::NotFound, "event_not_found").hint(Hint::run("integ webhook events"))
            }
            Self::NoConflict { .. } => {
                Diagnostic::new(Kind::NotFound, "no_conflict").run("integ webhook events --conflicts")
            }
            Self::BodyNotFound { id, .. } => {
                Diagnostic::new(Kind::NotFound, "body_not_found").run(format!("integ webhook show {}", id.0))
            }
            Self::Pruned { .. } => {
                Diagnostic::new(Kind::NotFound, "event_pruned").run("integ config get webhooks.keep")
            }
        }
    }
}
