//! Renames a connection. Its tokens, records, cursors and events are kept.

use thiserror::Error;

use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::model::{Connection, ConnectionName};
use crate::oauth::refresh::lock_grant;
use crate::runtime::Workspace;

/// Why a connection cannot have a name.
#[derive(Debug, Error)]
pub enum RenameError {
    #[error("connection \"{0}\" already exists")]
    NameTaken(ConnectionName),
    #[error("the connection is already named {0}")]
    SameName(ConnectionName),
}

impl Remedy for RenameError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NameTaken(_) => Diagnostic::new(Kind::Usage, "name_taken").run("integ status"),
            Self::SameName(_) => Diagnostic::new(Kind::Usage, "same_name"),
        }
    }
}

/// Renames a connection to a name that is free. `name` is the account's name, or the connection's as a whole: `work`,
/// `slack@work`, `slack`.
///
/// # Errors
/// [`RenameError`], [`crate::model::NameError`], and the vault's.
pub async fn rename(workspace: &Workspace, connection: &ConnectionName, name: &str) -> Result<Connection> {
    let renamed = new_name(connection, name)?;
    if renamed == *connection {
        return Err(RenameError::SameName(renamed).into());
    }
    let found = workspace.connection(connection).await?;
    // A refresh that is on its way would look for the connection under the old name.
    let lock = lock_grant(workspace, &found).await?;
    let result = rename_locked(workspace, connection, renamed).await;
    lock.release().await;
    result
}

async fn rename_locked(
    workspace: &Workspace,
    connection: &ConnectionName,
    renamed: ConnectionName,
) -> Result<Connection> {
    let found = workspace.connection(connection).await?;
    let store = workspace.store().await?;
    if store.connections().find(&renamed).await?.is_some() {
        return Err(RenameError::NameTaken(renamed).into());
    }
    if let Some(warning) = workspace.engine.token_vault.rename(store, &found, &renamed).await? {
        tracing::warn!(%warning, "the tokens are in the encrypted store");
    }
    workspace.connection(&renamed).await
}

/// The connection's new name. The connector stays: `slack@work` becomes `slack@ops` by `ops` and by `slack@ops`, and `slack`
/// by `slack`.
fn new_name(connection: &ConnectionName, name: &str) -> Result<ConnectionName> {
    let connector = connection.connector();
    if name == connector {
        return Ok(ConnectionName::new(connector, None)?);
    }
    let account = name.strip_prefix(connector).and_then(|rest| rest.strip_prefix('@')).unwrap_or(name);
    Ok(ConnectionName::new(connector, Some(account))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_keeps_the_connector() {
        let renamed = |from: &str, to: &str| new_name(&from.parse().unwrap(), to).map(|name| name.to_string()).ok();
        assert_eq!(renamed("slack", "work").as_deref(), Some("slack@work"));
        assert_eq!(renamed("slack@ops", "slack@work").as_deref(), Some("slack@work"));
        assert_eq!(renamed("slack@ops", "slack").as_deref(), Some("slack"));
        assert_eq!(renamed("gmail", "me@example.com").as_deref(), Some("gmail@me@example.com"));
        for bad in ["", "a b", "slack@", "@work", "-x", "../x"] {
            assert_eq!(renamed("slack", bad), None, "{bad:?}");
        }
    }
}
