//! OAuth apps: the clients that the user registered with vendors.

use rusqlite::Row;

use super::row::{collect, get_seconds};
use super::{Store, StoreError};
use crate::model::app::OAuthApp;
use crate::model::grant::ClientCredentials;
use crate::secret::Secret;

/// The apps of a store.
#[derive(Clone, Copy, Debug)]
pub struct Apps<'a>(pub(super) &'a Store);

const SELECT: &str = "SELECT connector, server, client_id, client_secret, updated_at FROM apps";

impl Apps<'_> {
    /// All of them, by connector and server.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self) -> Result<Vec<OAuthApp>, StoreError> {
        self.0.read(|sqlite| {
            let mut statement = sqlite.prepare(&format!("{SELECT} ORDER BY connector, server"))?;
            collect(statement.query([])?, from_row)
        })
    }

    /// Those of one connector, by server.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn for_connector(&self, connector: &str) -> Result<Vec<OAuthApp>, StoreError> {
        let mut apps = self.list()?;
        apps.retain(|app| app.connector == connector);
        Ok(apps)
    }

    /// Stores an app, replacing the one of the same connector and server.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set(&self, app: &OAuthApp) -> Result<(), StoreError> {
        let secret = app.client.secret.as_ref().map(|secret| secret.expose().as_str());
        let server = app.server.as_deref().unwrap_or_default();
        self.0.write(|transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO apps (connector, server, client_id, client_secret, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                (&app.connector, server, &app.client.id, secret, app.updated_at.as_second()),
            )?;
            Ok(())
        })
    }

    /// Assigns the connector's app that has no server yet to this one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn assign(&self, connector: &str, server: &str) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            transaction.execute(
                "UPDATE OR REPLACE apps SET server = ?2 WHERE connector = ?1 AND server = ''",
                [connector, server],
            )?;
            Ok(())
        })
    }

    /// Removes the app of a connector at a server.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove(&self, connector: &str, server: Option<&str>) -> Result<(), StoreError> {
        let server = server.unwrap_or_default();
        self.0.write(|transaction| {
            transaction.execute("DELETE FROM apps WHERE connector = ?1 AND server = ?2", [connector, server])?;
            Ok(())
        })
    }
}

fn from_row(row: &Row<'_>) -> Result<OAuthApp, StoreError> {
    Ok(OAuthApp {
        connector: row.get("connector")?,
        server: Some(row.get::<_, String>("server")?).filter(|server| !server.is_empty()),
        client: ClientCredentials {
            id: row.get("client_id")?,
            secret: row.get::<_, Option<String>>("client_secret")?.map(Secret::new),
        },
        updated_at: get_seconds(row, "updated_at")?,
    })
}
