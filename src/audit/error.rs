//! Why the audit log cannot be written or relied on.

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::store::StoreError;

/// Why the audit log cannot be written or relied on.
#[derive(Debug, Error)]
pub enum AuditError {
    #[error("cannot write the audit log")]
    Write { source: StoreError },
    #[error("the checkpoint belongs to the audit log of another workspace")]
    ForeignCheckpoint,
    #[error("cannot read the checkpoint: {reason}")]
    InvalidCheckpoint { reason: String },
}

impl Remedy for AuditError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Write { source } => {
                let source = source.diagnostic();
                Diagnostic::new(source.kind, "audit_unavailable").maybe_hint(source.hint)
            }
            Self::ForeignCheckpoint => Diagnostic::new(Kind::Unhealthy, "foreign_checkpoint"),
            Self::InvalidCheckpoint { .. } => Diagnostic::new(Kind::Usage, "invalid_checkpoint")
                .hint(Hint::new("write the output of this to a file:", "integ audit export")),
        }
    }
}
