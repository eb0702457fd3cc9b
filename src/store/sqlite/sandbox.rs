//! What the emulated vendors remember between two commands: JSON by key.

use rusqlite::{Connection as Sqlite, OptionalExtension, Transaction};
use serde_json::Value;

use super::row::{collect, from_json, get_json, to_json};
use super::{Store, StoreError};

/// The key of what the emulation of a connector's vendor remembers, for all connections of that connector.
pub fn state_key(connector: &str) -> String {
    format!("state/{connector}")
}

/// The sandbox's part of a store.
#[derive(Clone, Copy, Debug)]
pub struct Sandbox<'a>(pub(super) &'a Store);

impl Sandbox<'_> {
    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, key: &str) -> Result<Option<Value>, StoreError> {
        self.0.read(|sqlite| get(sqlite, key))
    }

    /// The entries whose keys begin with `prefix`, by key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self, prefix: &str) -> Result<Vec<(String, Value)>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT key, value FROM sandbox_state WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key";
            let mut statement = sqlite.prepare(sql)?;
            collect(statement.query([prefix])?, |row| Ok((row.get("key")?, get_json(row, "value")?)))
        })
    }

    /// # Errors
    /// [`StoreError`].
    pub fn put(&self, key: &str, value: &Value) -> Result<(), StoreError> {
        self.0.write(|transaction| put(transaction, key, value))
    }

    /// Reads, changes and writes an entry as one step that no other process comes between. An entry that is left as
    /// `None` is removed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn update<T>(&self, key: &str, change: impl FnOnce(&mut Option<Value>) -> T) -> Result<T, StoreError> {
        self.0.write(|transaction| {
            let mut value = get(transaction, key)?;
            let outcome = change(&mut value);
            match &value {
                Some(value) => put(transaction, key, value)?,
                None => {
                    transaction.execute("DELETE FROM sandbox_state WHERE key = ?1", [key])?;
                }
            }
            Ok(outcome)
        })
    }

    /// Removes the entries whose keys begin with `prefix`; the number of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn clear(&self, prefix: &str) -> Result<usize, StoreError> {
        self.0.write(|transaction| {
            Ok(transaction.execute("DELETE FROM sandbox_state WHERE substr(key, 1, length(?1)) = ?1", [prefix])?)
        })
    }
}

fn get(sqlite: &Sqlite, key: &str) -> Result<Option<Value>, StoreError> {
    let mut statement = sqlite.prepare_cached("SELECT value FROM sandbox_state WHERE key = ?1")?;
    let text: Option<String> = statement.query_row([key], |row| row.get(0)).optional()?;
    text.map(|text| from_json(&text)).transpose()
}

fn put(transaction: &Transaction<'_>, key: &str, value: &Value) -> Result<(), StoreError> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO sandbox_state (key, value) VALUES (?1, ?2)")?
        .execute((key, to_json(value)?))?;
    Ok(())
}
