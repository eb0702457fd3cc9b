//! OAuth apps: the clients that the user registered with vendors.

use async_trait::async_trait;

use super::row::{Row, collect, get_seconds, query};
use super::{SqliteStore, StoreError};
use crate::model::{ClientCredentials, OAuthApp};
use crate::secret::Secret;
use crate::store::Apps;

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT connector, server, client_id, client_secret, updated_at FROM apps ", $rest)
    };
}

#[async_trait]
impl Apps for SqliteStore {
    async fn list(&self) -> Result<Vec<OAuthApp>, StoreError> {
        self.read(|sqlite| {
            let mut statement = sqlite.prepare(select!("ORDER BY connector, server"))?;
            collect(query(&mut statement, [])?, from_row)
        })
        .await
    }

    async fn for_connector(&self, connector: &str) -> Result<Vec<OAuthApp>, StoreError> {
        let connector = connector.to_owned();
        self.read(move |sqlite| {
            let mut statement = sqlite.prepare(select!("WHERE connector = ?1 ORDER BY server"))?;
            collect(query(&mut statement, [&connector])?, from_row)
        })
        .await
    }

    async fn set(&self, app: &OAuthApp) -> Result<(), StoreError> {
        let app = app.clone();
        self.write(move |transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO apps (connector, server, client_id, client_secret, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                (
                    &app.connector,
                    app.server.as_deref().unwrap_or_default(),
                    &app.client.id,
                    app.client.secret.as_ref().map(|secret| secret.expose().as_str()),
                    app.updated_at.as_second(),
                ),
            )?;
            Ok(())
        })
        .await
    }

    async fn assign(&self, connector: &str, server: &str) -> Result<(), StoreError> {
        let (connector, server) = (connector.to_owned(), server.to_owned());
        self.write(move |transaction| {
            let sql = "UPDATE OR REPLACE apps SET server = ?2 WHERE connector = ?1 AND server = ''";
            transaction.execute(sql, [&connector, &server])?;
            Ok(())
        })
        .await
    }

    async fn remove(&self, connector: &str, server: Option<&str>) -> Result<(), StoreError> {
        let (connector, server) = (connector.to_owned(), server.unwrap_or_default().to_owned());
        self.write(move |transaction| {
            transaction.execute("DELETE FROM apps WHERE connector = ?1 AND server = ?2", [&connector, &server])?;
            Ok(())
        })
        .await
    }
}

fn from_row(row: &Row<'_>) -> Result<OAuthApp, StoreError> {
    Ok(OAuthApp {
        connector: row.get("connector")?,
        server: Some(row.get::<String>("server")?).filter(|server| !server.is_empty()),
        client: ClientCredentials {
            id: row.get("client_id")?,
            secret: row.get::<Option<String>>("client_secret")?.map(Secret::new),
        },
        updated_at: get_seconds(row, "updated_at")?,
    })
}
