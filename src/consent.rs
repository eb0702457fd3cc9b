//! Whether the user of a connection allows what is about to be done with it.

use crate::error::Result;
pub use crate::model::ConsentError;
use crate::model::{Connection, ConnectionId, ConsentCondition, ConsentFilter, ConsentPurpose};
use crate::runtime::Workspace;

/// Consents of one user and purpose that are looked at. There is rarely more than one for each connection.
const MAX_CONSENTS: u32 = 1000;

/// Returns what the settings ask of the consents to a purpose.
pub fn condition(workspace: &Workspace, connection: ConnectionId, purpose: ConsentPurpose) -> ConsentCondition {
    let settings = &workspace.engine.config.consents;
    let is_required = settings.required.contains(&purpose);
    ConsentCondition { connection, purpose, is_required, policy_version: settings.policy_version }
}

/// Checks that the user of a connection allows a purpose: there is a consent if the settings require one, and none of the
/// connection's was revoked without another one in its place. A connection without a user needs no consent.
///
/// # Errors
/// [`ConsentError`]; the store's.
pub async fn ensure(workspace: &Workspace, connection: &Connection, purpose: &ConsentPurpose) -> Result<()> {
    let Some(user) = &connection.user else { return Ok(()) };
    let filter = ConsentFilter { user: Some(user.clone()), purpose: Some(purpose.clone()), ..Default::default() };
    let consents = workspace.store().await?.consents().list(&filter, MAX_CONSENTS).await?;
    let allowing = condition(workspace, connection.id, purpose.clone()).check(&connection.name, user, &consents)?;
    if let (Some(consent), Some(audit)) = (allowing, workspace.audit_entry()) {
        audit.set_consent(&consent.id);
    }
    Ok(())
}
