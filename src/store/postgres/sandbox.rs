//! The sandbox's JSON documents, by key.

use async_trait::async_trait;
use serde_json::Value as Json;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{SealedRow, get, to_json};
use super::seal::{Column, Sealer, column};
use crate::store::{Sandbox, StoreError};

const VALUE: Column = column("sandbox_state", "value");

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT key, value FROM integ.sandbox_state WHERE workspace_id = $1 ", $rest)
    };
}

#[async_trait]
impl Sandbox for PostgresStore {
    async fn get(&self, key: &str) -> Result<Option<Json>, StoreError> {
        let row = self.row(select!("AND key = $2"), &[&key]).await?;
        row.map_or(Ok(None), |row| document(&self.sealer, &row))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Json)>, StoreError> {
        let rows = self.rows(select!("AND starts_with(key, $2) ORDER BY key"), &[&prefix]).await?;
        let entry = |row: &Row| Ok((get(row, "key")?, document(&self.sealer, row)?.unwrap_or_default()));
        rows.iter().map(entry).collect()
    }

    async fn replace(&self, key: &str, old: Option<&Json>, new: Option<&Json>) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        let row = transaction.first(select!("AND key = $2 FOR UPDATE"), &[&key]).await?;
        // Values are compared, not their texts: an object whose keys come in another order is the same document.
        let stored = row.map_or(Ok(None), |row| document(&transaction.sealer, &row))?;
        if stored.as_ref() != old {
            return Ok(false);
        }
        let sealed = new.map(|new| transaction.sealer.seal(VALUE, key, to_json(new)?)).transpose()?;
        let changed = match (sealed, old) {
            (Some(sealed), Some(_)) => {
                let sql = "UPDATE integ.sandbox_state SET value = $3 WHERE workspace_id = $1 AND key = $2";
                transaction.execute(sql, &[&key, &sealed]).await?
            }
            (Some(sealed), None) => {
                // Another process may have added one since.
                let sql = "INSERT INTO integ.sandbox_state (workspace_id, key, value) VALUES ($1, $2, $3)
                           ON CONFLICT (workspace_id, key) DO NOTHING";
                transaction.execute(sql, &[&key, &sealed]).await?
            }
            (None, Some(_)) => {
                let sql = "DELETE FROM integ.sandbox_state WHERE workspace_id = $1 AND key = $2";
                transaction.execute(sql, &[&key]).await?
            }
            (None, None) => 1,
        };
        transaction.commit().await?;
        Ok(changed == 1)
    }

    async fn clear(&self, prefix: &str) -> Result<usize, StoreError> {
        let sql = "DELETE FROM integ.sandbox_state WHERE workspace_id = $1 AND starts_with(key, $2)";
        Ok(usize::try_from(self.execute(sql, &[&prefix]).await?).unwrap_or(usize::MAX))
    }
}

fn document(sealer: &Sealer, row: &Row) -> Result<Option<Json>, StoreError> {
    SealedRow::new(sealer, row, get::<&str>(row, "key")?).json(VALUE)
}
