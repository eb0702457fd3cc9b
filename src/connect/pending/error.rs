//! Why a callback or an id leads to no sign-in that can be finished.

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::model::SignInId;

/// Why a sign-in cannot be finished or shown.
#[derive(Debug, Error)]
pub enum SignInError {
    #[error("no sign-in waits for this callback")]
    UnknownState,
    #[error("this sign-in is already complete")]
    Used,
    #[error("this sign-in has expired")]
    Expired,
    #[error("this callback does not complete the sign-in: {reason}")]
    InvalidCallback { reason: &'static str },
    #[error("sign-in {id} not found")]
    NotFound { id: SignInId },
    #[error("the connect link has been used or revoked")]
    LinkUsed,
    #[error("{url:?} is not a page of this process's sandbox")]
    NotSandbox { url: String },
    #[error("the sign-in was stored by another version of integ")]
    Malformed { source: serde_json::Error },
}

impl Remedy for SignInError {
    fn diagnostic(&self) -> Diagnostic {
        let again = || Hint::text("start the sign-in again");
        match self {
            Self::UnknownState => Diagnostic::new(Kind::NotFound, "unknown_state").hint(again()),
            Self::Used => Diagnostic::new(Kind::Usage, "sign_in_used").hint(again()),
            Self::Expired => Diagnostic::new(Kind::Usage, "sign_in_expired").hint(again()),
            Self::InvalidCallback { .. } => Diagnostic::new(Kind::Usage, "invalid_callback"),
            Self::NotFound { .. } => Diagnostic::new(Kind::NotFound, "sign_in_not_found")
                .hint(Hint::text("results are stored for an hour; list the connections instead")),
            Self::LinkUsed => Diagnostic::new(Kind::Usage, "connect_link_used").hint(Hint::text("ask for a new link")),
            Self::NotSandbox { .. } => Diagnostic::new(Kind::Usage, "not_sandbox"),
            Self::Malformed { .. } => Diagnostic::new(Kind::Failed, "malformed_sign_in").hint(again()),
        }
    }
}
