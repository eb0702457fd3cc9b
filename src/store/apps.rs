//! OAuth apps: the clients that the user registered with vendors.

use rusqlite::{OptionalExtension, Row};

use super::row::timestamp;
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::connection::Client;
use crate::secret::Secret;

/// The apps of a store.
#[derive(Clone, Copy, Debug)]
pub struct Apps<'a>(pub(super) &'a Store);

/// The OAuth client registered for a connector.
#[derive(Clone, Debug)]
pub struct App {
    pub connector: String,
    pub client: Client,
    pub updated_at: Timestamp,
}

const SELECT: &str = "SELECT connector, client_id, client_secret, updated_at FROM apps";

impl Apps<'_> {
    /// All of them, by connector.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self) -> Result<Vec<App>, StoreError> {
        self.0.read(|sqlite| {
            let mut statement = sqlite.prepare(&format!("{SELECT} ORDER BY connector"))?;
            let mut rows = statement.query([])?;
            let mut apps = Vec::new();
            while let Some(row) = rows.next()? {
                apps.push(app(row)?);
            }
            Ok(apps)
        })
    }

    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, connector: &str) -> Result<Option<App>, StoreError> {
        self.0.read(|sqlite| {
            let mut statement = sqlite.prepare(&format!("{SELECT} WHERE connector = ?1"))?;
            statement.query_row([connector], |row| Ok(app(row))).optional()?.transpose()
        })
    }

    /// Puts the app in place of the connector's one, if it has one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set(&self, app: &App) -> Result<(), StoreError> {
        let secret = app.client.secret.as_ref().map(|secret| secret.expose().as_str());
        self.0.write(|transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO apps (connector, client_id, client_secret, updated_at) VALUES (?1, ?2, ?3, ?4)",
                (&app.connector, &app.client.id, secret, app.updated_at.as_second()),
            )?;
            Ok(())
        })
    }

    /// The app that was removed; absent where there was none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove(&self, connector: &str) -> Result<Option<App>, StoreError> {
        let app = self.get(connector)?;
        if app.is_some() {
            self.0.write(|transaction| {
                transaction.execute("DELETE FROM apps WHERE connector = ?1", [connector])?;
                Ok(())
            })?;
        }
        Ok(app)
    }
}

fn app(row: &Row<'_>) -> Result<App, StoreError> {
    Ok(App {
        connector: row.get(0)?,
        client: Client { id: row.get(1)?, secret: row.get::<_, Option<String>>(2)?.map(Secret::new) },
        updated_at: timestamp(row.get(3)?)?,
    })
}
