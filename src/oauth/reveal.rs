//! Grants whose secrets leave integ. Everything that hands out a credential loads it here, where the connection's policy is
//! checked; what only sends requests uses [`refresh`] itself.

use thiserror::Error;

use super::refresh::{self, Freshness};
use crate::error::{self, Diagnostic, Hint, Kind, Remedy};
use crate::model::{Connection, ConnectionName, RevealPolicy};
use crate::runtime::Workspace;
use crate::vault::ConnectionWithGrant;

/// The credential of a connection is not handed out.
#[derive(Debug, Error)]
#[error("{connection} is set to never reveal its credential")]
pub struct NeverRevealedError {
    pub connection: ConnectionName,
}

impl Remedy for NeverRevealedError {
    fn diagnostic(&self) -> Diagnostic {
        let call = format!("integ api {} PATH", self.connection);
        Diagnostic::new(Kind::Conflict, "never_revealed")
            .hint(Hint::new("send requests without seeing it:", call))
            .connection(&self.connection)
    }
}

/// Returns a connection with a grant that is valid for as long as requested, as [`refresh::fresh_grant`] does, to hand out.
///
/// # Errors
/// [`NeverRevealedError`], before anything is refreshed; those of [`refresh::fresh_grant`].
pub async fn revealed_grant(
    workspace: &Workspace,
    name: &ConnectionName,
    want: Freshness,
) -> error::Result<ConnectionWithGrant> {
    ensure_revealable(&workspace.connection(name).await?)?;
    let loaded = refresh::fresh_grant(workspace, name, want).await?;
    // The policy may have been set during the refresh.
    ensure_revealable(&loaded.connection)?;
    Ok(loaded)
}

/// Checks that the credential of a connection may be handed out.
///
/// # Errors
/// [`NeverRevealedError`].
pub fn ensure_revealable(connection: &Connection) -> Result<(), NeverRevealedError> {
    match connection.reveal {
        RevealPolicy::Allowed => Ok(()),
        RevealPolicy::Never => Err(NeverRevealedError { connection: connection.name.clone() }),
    }
}
