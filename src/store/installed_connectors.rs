//! Connectors that were installed in a workspace.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::StoreError;
use crate::model::InstalledConnector;

/// The connectors that callers of the API installed.
#[async_trait]
pub trait InstalledConnectors: Send + Sync {
    /// Stores an installed connector in place of the one of its id, unless there are `most` others. Returns whether it did.
    async fn add(&self, connector: &InstalledConnector, most: u32) -> Result<bool, StoreError>;

    /// Returns all, in the order of their ids.
    async fn list(&self) -> Result<Vec<InstalledConnector>, StoreError>;

    /// Returns the one of this id.
    async fn get(&self, connector: &str) -> Result<Option<InstalledConnector>, StoreError>;

    /// Replaces the configuration. Returns whether the connector is installed.
    async fn configure(&self, connector: &str, configuration: &BTreeMap<String, String>) -> Result<bool, StoreError>;

    /// Removes the row of a connector, and returns whether there was one.
    async fn remove(&self, connector: &str) -> Result<bool, StoreError>;
}
