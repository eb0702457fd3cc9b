//! The consent that something needs, and the error if it is not granted.

use thiserror::Error;

use super::{ConnectionId, ConnectionName, Consent, ConsentPurpose, ConsentState, UserId, consent_state};
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::files::shell_quoted;

/// A purpose that the user of a connection must allow when something is done or committed. A connection without a user
/// needs no consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentCondition {
    pub connection: ConnectionId,
    pub purpose: ConsentPurpose,
    /// Whether the settings require a consent; if not, only a revoked one forbids it.
    pub is_required: bool,
    /// The version of the policy that a consent must be to.
    pub policy_version: u32,
}

impl ConsentCondition {
    /// Returns the consent that allows it; `None` if none is required. `name` and `user` are the connection's.
    ///
    /// # Errors
    /// [`ConsentError`].
    pub fn check<'c>(
        &self,
        name: &ConnectionName,
        user: &UserId,
        consents: &'c [Consent],
    ) -> Result<Option<&'c Consent>, ConsentError> {
        let (state, consent) = consent_state(consents, name, &self.purpose, self.policy_version);
        let is_allowed = match state {
            ConsentState::Granted => true,
            ConsentState::Outdated | ConsentState::Missing => !self.is_required,
            ConsentState::Revoked => false,
        };
        if is_allowed {
            return Ok(consent);
        }
        Err(ConsentError { connection: name.clone(), user: user.clone(), purpose: self.purpose.clone(), state })
    }
}

/// A purpose that the user of a connection does not allow.
#[derive(Debug, Error)]
#[error("user {user} {} {purpose} on {connection}", reason(*.state))]
pub struct ConsentError {
    pub connection: ConnectionName,
    pub user: UserId,
    pub purpose: ConsentPurpose,
    /// Not granted.
    pub state: ConsentState,
}

fn reason(state: ConsentState) -> &'static str {
    match state {
        ConsentState::Revoked => "has revoked the consent to",
        ConsentState::Outdated => "has only consented to an older policy for",
        ConsentState::Missing | ConsentState::Granted => "has not consented to",
    }
}

impl Remedy for ConsentError {
    fn diagnostic(&self) -> Diagnostic {
        let quoted = |text: &str| shell_quoted(std::path::Path::new(text));
        let (user, connection) = (quoted(self.user.as_str()), &self.connection);
        let command = format!("integ consent grant {user} {} --resource {connection}", self.purpose);
        Diagnostic::new(Kind::AuthNeeded, "consent_required")
            .hint(Hint::new("record the user's consent once it is given:", command))
            .connection(connection)
    }
}
