//! What these operations refuse to do.

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::model::{ConnectionName, EventId};

/// Why an operation on webhooks cannot be done.
#[derive(Debug, Error)]
pub enum WebhookOperationError {
    #[error("the vendor makes the secret of {connection}: none of your own would be right")]
    VendorManagedSecret { connection: ConnectionName },
    #[error("what comes for {connection} is proven without a secret of its own")]
    SecretUnsupported { connection: ConnectionName },
    #[error("there is no event {}", id.0)]
    EventNotFound { id: EventId },
    #[error("event {} has no other body under its delivery id", id.0)]
    NoConflict { id: EventId },
    #[error("event {} has {bodies} other bodies, and none of this number", id.0)]
    BodyNotFound { id: EventId, bodies: u32 },
    #[error("the content of event {} was removed: its time was over", id.0)]
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
                Diagnostic::new(Kind::NotFound, "event_pruned").run("integ config show webhooks.keep")
            }
        }
    }
}
