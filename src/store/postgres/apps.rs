//! OAuth apps: the clients that the user registered with vendors.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{SealedRow, get, get_seconds};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use crate::model::{ClientCredentials, OAuthApp};
use crate::secret::Secret;
use crate::store::{Apps, StoreError};

const CLIENT_SECRET: Column = column("apps", "client_secret");

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT connector, server, client_id, client_secret, updated_at FROM integ.apps WHERE workspace_id = $1 ",
            $rest
        )
    };
}

#[async_trait]
impl Apps for PostgresStore {
    async fn list(&self) -> Result<Vec<OAuthApp>, StoreError> {
        let rows = self.rows(select!("ORDER BY connector, server"), &[]).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn for_connector(&self, connector: &str) -> Result<Vec<OAuthApp>, StoreError> {
        let rows = self.rows(select!("AND connector = $2 ORDER BY server"), &[&connector]).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn set(&self, app: &OAuthApp) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        put(&transaction, app).await?;
        transaction.commit().await
    }

    async fn assign(&self, connector: &str, server: &str) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let sql = select!("AND connector = $2 AND server = '' FOR UPDATE");
        let Some(row) = transaction.first(sql, &[&connector]).await? else { return Ok(()) };
        let app = OAuthApp { server: Some(server.to_owned()), ..from_row(&transaction.sealer, &row)? };
        remove(&transaction, connector, "").await?;
        put(&transaction, &app).await?;
        transaction.commit().await
    }

    async fn remove(&self, connector: &str, server: Option<&str>) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        remove(&transaction, connector, server.unwrap_or_default()).await?;
        transaction.commit().await
    }
}

async fn put(transaction: &Transaction, app: &OAuthApp) -> Result<(), StoreError> {
    let server = app.server.as_deref().unwrap_or_default();
    let secret = app.client.secret.as_ref().map(Secret::expose);
    let secret = transaction.sealer.seal_optional(CLIENT_SECRET, (app.connector.as_str(), server), secret)?;
    let sql = "INSERT INTO integ.apps (workspace_id, connector, server, client_id, client_secret, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (workspace_id, connector, server) DO UPDATE SET client_id = excluded.client_id,
                   client_secret = excluded.client_secret, updated_at = excluded.updated_at";
    let updated_at = app.updated_at.as_second();
    transaction.execute(sql, &[&app.connector, &server, &app.client.id, &secret, &updated_at]).await.map(drop)
}

async fn remove(transaction: &Transaction, connector: &str, server: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM integ.apps WHERE workspace_id = $1 AND connector = $2 AND server = $3";
    transaction.execute(sql, &[&connector, &server]).await.map(drop)
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<OAuthApp, StoreError> {
    let (connector, server): (&str, &str) = (get(row, "connector")?, get(row, "server")?);
    let sealed = SealedRow::new(sealer, row, (connector, server));
    Ok(OAuthApp {
        connector: connector.to_owned(),
        server: Some(server.to_owned()).filter(|server| !server.is_empty()),
        client: ClientCredentials { id: get(row, "client_id")?, secret: sealed.text(CLIENT_SECRET)?.map(Secret::new) },
        updated_at: get_seconds(row, "updated_at")?,
    })
}
