//! Letting an account go: revoked at the vendor, then forgotten here.

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Remedy, Result};
use crate::model::{Client, Connection, ConnectionName, Standing};
use crate::oauth::access::{lock, reconnect_command};
use crate::oauth::revoke::{Revoked, revoke};
use crate::oauth::{OAuthError, Offers, Party};
use crate::runtime::App;
use crate::vault::Loaded;

/// What became of the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Revoked,
    AlreadyGone,
    /// The vendor has no way to revoke it: it lives until the user ends it there.
    StillLive,
    /// It is a key of the user's own, which integ has no right to destroy.
    KeyKept,
    /// It was only forgotten here, as asked.
    Local,
}

/// Why the grant is still live at the vendor; the connection is kept.
#[derive(Debug, Error)]
#[error("the grant of {connection} could not be revoked")]
pub(super) struct DisconnectError {
    connection: ConnectionName,
    reconnect: String,
    source: OAuthError,
}

impl Remedy for DisconnectError {
    fn diagnostic(&self) -> Diagnostic {
        let local = format!("integ disconnect {} --local", self.connection);
        let forget = "forget it here, and end it in the service's own settings:";
        let hint = self.source.hint_for(self.connection.connector(), &self.reconnect, &Offers::default());
        let text = hint.map_or(forget.to_owned(), |hint| format!("{hint}; or {forget}"));
        self.source.diagnostic().hint(Hint::new(text, local)).connection(&self.connection)
    }
}

/// Revokes the grant, then forgets the connection. Where the vendor cannot be reached the connection stays, so that it
/// can be tried again (fault 27).
///
/// # Errors
/// What keeps the grant from being revoked, or the store's.
pub async fn disconnect(app: &App, connection: Connection, local: bool) -> Result<Ended> {
    let _lock = lock(app, &connection).await?;
    let name = connection.name.clone();
    let ended = if local { Ended::Local } else { end(app, &name).await? };
    let connection = app.connection(&name)?;
    if let Some(left) = app.custodian().forget(app.store()?, &connection)? {
        tracing::warn!(error = %left, "an entry of the OS keyring could not be deleted");
    }
    Ok(ended)
}

async fn end(app: &App, name: &ConnectionName) -> Result<Ended> {
    let Some(Loaded { connection, grant, .. }) = app.custodian().load(app.store()?, name)? else {
        return Ok(Ended::AlreadyGone);
    };
    if connection.standing == Standing::Disconnected {
        return Ok(Ended::AlreadyGone);
    }
    let session = app.session(connection)?;
    if session.auth.oauth2.is_none() {
        return Ok(Ended::KeyKept);
    }
    let client = grant.client.clone().unwrap_or(Client { id: String::new(), secret: None });
    let reconnect = reconnect_command(&session.connection);
    let failed = |source| DisconnectError { connection: name.clone(), reconnect: reconnect.clone(), source };
    let party = Party::of(&session, app, client, None).await.map_err(failed)?;
    Ok(match revoke(&party, &grant).await.map_err(failed)? {
        Revoked::Done => Ended::Revoked,
        Revoked::AlreadyGone => Ended::AlreadyGone,
        Revoked::Unsupported => Ended::StillLive,
    })
}
