//! Whether the user of a connection allows what is about to be done with it.

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::files::shell_quoted;
use crate::model::{Connection, ConnectionName, ConsentFilter, ConsentPurpose, ConsentState, UserId, consent_state};
use crate::runtime::Workspace;

/// Consents of one user and purpose that are looked at. There is rarely more than one for each connection.
const MAX_CONSENTS: u32 = 1000;

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

/// Checks that the user of a connection allows a purpose: there is a consent if the settings require one, and none of the
/// connection's was revoked without another one in its place. A connection without a user needs no consent.
///
/// # Errors
/// [`ConsentError`]; the store's.
pub async fn ensure(workspace: &Workspace, connection: &Connection, purpose: &ConsentPurpose) -> Result<()> {
    let Some(user) = &connection.user else { return Ok(()) };
    let settings = &workspace.engine.config.consents;
    let filter = ConsentFilter { user: Some(user.clone()), purpose: Some(purpose.clone()), ..Default::default() };
    let consents = workspace.store().await?.consents().list(&filter, MAX_CONSENTS).await?;
    let (state, consent) = consent_state(&consents, &connection.name, purpose, settings.policy_version);
    let is_required = settings.required.contains(purpose);
    let is_allowed = match state {
        ConsentState::Granted => true,
        ConsentState::Outdated | ConsentState::Missing => !is_required,
        ConsentState::Revoked => false,
    };
    if !is_allowed {
        let (connection, user, purpose) = (connection.name.clone(), user.clone(), purpose.clone());
        return Err(ConsentError { connection, user, purpose, state }.into());
    }
    if let (Some(consent), Some(audit)) = (consent, workspace.audit_entry()) {
        audit.set_consent(&consent.id);
    }
    Ok(())
}
