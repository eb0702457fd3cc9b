//! The state of the sandbox between commands.

use async_trait::async_trait;
use serde_json::Value;

use super::StoreError;

/// Returns the key of the sandbox's state of a connector, which all its connections share.
pub fn state_key(connector: &str) -> String {
    format!("state/{connector}")
}

/// The sandbox's JSON documents, by key.
#[async_trait]
pub trait Sandbox: Send + Sync {
    /// Returns the document under this key, if there is one.
    async fn get(&self, key: &str) -> Result<Option<Value>, StoreError>;

    /// Returns the entries whose keys begin with `prefix`, sorted by key.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Value)>, StoreError>;

    /// Writes `new` if the entry still equals `old`, and returns whether it did. `None` is an entry that does not exist.
    async fn replace(&self, key: &str, old: Option<&Value>, new: Option<&Value>) -> Result<bool, StoreError>;

    /// Deletes the entries whose keys begin with `prefix`, and returns their number.
    async fn clear(&self, prefix: &str) -> Result<usize, StoreError>;
}
