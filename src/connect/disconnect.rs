//! Disconnects an account: revokes its grant at the vendor, then deletes the connection.

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Remedy, Result};
use crate::model::{ClientCredentials, Connection, ConnectionName, GrantStatus, words};
use crate::oauth::refresh::{lock_grant, reconnect_command};
use crate::oauth::revoke::{RevocationResult, revoke};
use crate::oauth::{AuthCapabilities, OAuthClient, OAuthError};
use crate::runtime::Workspace;
use crate::vault::ConnectionWithGrant;

/// What became of the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectResult {
    Revoked,
    AlreadyRevoked,
    /// The vendor offers no revocation: the grant lives until the user ends it there.
    NotRevocable,
    /// It is a key of the user's own, which integ has no right to destroy.
    KeyNotRevoked,
    /// It was only forgotten here, as asked.
    LocalOnly,
}

words!(DisconnectResult {
    Revoked => "revoked",
    AlreadyRevoked => "already_revoked",
    NotRevocable => "not_revocable",
    KeyNotRevoked => "key_not_revoked",
    LocalOnly => "local_only",
});

/// Why the grant is still live at the vendor; the connection stays.
#[derive(Debug, Error)]
#[error("cannot revoke the grant of {connection}")]
pub(super) struct DisconnectError {
    connection: ConnectionName,
    reconnect: String,
    source: OAuthError,
}

impl Remedy for DisconnectError {
    fn diagnostic(&self) -> Diagnostic {
        let local = format!("integ disconnect {} --local", self.connection);
        let forget = "remove it here only, and revoke its access in the service's settings:";
        let hint = self.source.hint_for(self.connection.connector(), &self.reconnect, &AuthCapabilities::default());
        let text = hint.map_or(forget.to_owned(), |hint| format!("{hint}; or {forget}"));
        self.source.diagnostic().hint(Hint::new(text, local)).connection(&self.connection)
    }
}

/// Revokes the grant, then forgets the connection. Where the vendor cannot be reached the connection stays, so that it
/// can be tried again (fault 27).
///
/// # Errors
/// What keeps the grant from being revoked, or the store's.
pub async fn disconnect(workspace: &Workspace, connection: Connection, local: bool) -> Result<DisconnectResult> {
    let _lock = lock_grant(workspace, &connection).await?;
    let name = connection.name.clone();
    let ended = if local { DisconnectResult::LocalOnly } else { revoke_grant(workspace, &name).await? };
    let connection = workspace.connection(&name).await?;
    if let Some(left) = workspace.engine.token_vault.remove(workspace.store().await?, &connection).await? {
        tracing::warn!(error = %left, "an entry of the OS keyring could not be deleted");
    }
    Ok(ended)
}

async fn revoke_grant(workspace: &Workspace, name: &ConnectionName) -> Result<DisconnectResult> {
    let Some(ConnectionWithGrant { connection, grant, .. }) =
        workspace.engine.token_vault.load(workspace.store().await?, name).await?
    else {
        return Ok(DisconnectResult::AlreadyRevoked);
    };
    if connection.grant_status == GrantStatus::Disconnected {
        return Ok(DisconnectResult::AlreadyRevoked);
    }
    let session = workspace.session(connection).await?;
    if session.auth.oauth2.is_none() {
        return Ok(DisconnectResult::KeyNotRevoked);
    }
    let client = grant.client.clone().unwrap_or(ClientCredentials { id: String::new(), secret: None });
    let reconnect = reconnect_command(&session.connection.name);
    let failed = |source| DisconnectError { connection: name.clone(), reconnect: reconnect.clone(), source };
    let oauth_client =
        OAuthClient::for_session(&session, workspace, client, None, &grant.fields).await.map_err(failed)?;
    Ok(match revoke(&oauth_client, &grant).await.map_err(failed)? {
        RevocationResult::Revoked => DisconnectResult::Revoked,
        RevocationResult::AlreadyRevoked => DisconnectResult::AlreadyRevoked,
        RevocationResult::Unsupported => DisconnectResult::NotRevocable,
    })
}
