//! The sandbox's JSON documents, by key.

use async_trait::async_trait;
use rusqlite::{Connection as Sqlite, OptionalExtension, Transaction};
use serde_json::Value;

use super::row::{collect, from_json, get_json, query, to_json};
use super::{SqliteStore, StoreError};
use crate::store::Sandbox;

#[async_trait]
impl Sandbox for SqliteStore {
    async fn get(&self, key: &str) -> Result<Option<Value>, StoreError> {
        let key = key.to_owned();
        self.read(move |sqlite| find(sqlite, &key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Value)>, StoreError> {
        let prefix = prefix.to_owned();
        self.read(move |sqlite| {
            let sql = "SELECT key, value FROM sandbox_state WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key";
            let mut statement = sqlite.prepare(sql)?;
            collect(query(&mut statement, [&prefix])?, |row| Ok((row.get("key")?, get_json(row, "value")?)))
        })
        .await
    }

    async fn replace(&self, key: &str, old: Option<&Value>, new: Option<&Value>) -> Result<bool, StoreError> {
        let (key, old, new) = (key.to_owned(), old.cloned(), new.cloned());
        self.write(move |transaction| replace(transaction, &key, old.as_ref(), new.as_ref())).await
    }

    async fn clear(&self, prefix: &str) -> Result<usize, StoreError> {
        let prefix = prefix.to_owned();
        self.write(move |transaction| {
            let sql = "DELETE FROM sandbox_state WHERE substr(key, 1, length(?1)) = ?1";
            Ok(transaction.execute(sql, [&prefix])?)
        })
        .await
    }
}

fn find(sqlite: &Sqlite, key: &str) -> Result<Option<Value>, StoreError> {
    let mut statement = sqlite.prepare_cached("SELECT value FROM sandbox_state WHERE key = ?1")?;
    let text: Option<String> = statement.query_row([key], |row| row.get(0)).optional()?;
    text.map(|text| from_json(&text)).transpose()
}

/// Stores a document of a store that is being made.
pub(super) fn insert(transaction: &Transaction<'_>, key: &str, document: &Value) -> Result<(), StoreError> {
    replace(transaction, key, None, Some(document)).map(drop)
}

fn replace(
    transaction: &Transaction<'_>,
    key: &str,
    old: Option<&Value>,
    new: Option<&Value>,
) -> Result<bool, StoreError> {
    // Values are compared, not their texts: an object whose keys come in another order is the same document.
    if find(transaction, key)?.as_ref() != old {
        return Ok(false);
    }
    match new {
        Some(new) => transaction
            .prepare_cached("INSERT OR REPLACE INTO sandbox_state (key, value) VALUES (?1, ?2)")?
            .execute((key, to_json(new)?))?,
        None => transaction.prepare_cached("DELETE FROM sandbox_state WHERE key = ?1")?.execute([key])?,
    };
    Ok(true)
}
