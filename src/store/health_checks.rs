//! The history of health checks.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::{ConnectionId, HealthCheck, HealthCheckId, StoredHealthCheck};

/// What health checks found. [`super::Connections::record_check`] adds the checks that say something of a connection's
/// health, in the commit that changes it.
#[async_trait]
pub trait HealthChecks: Send + Sync {
    /// Adds a check that leaves the connection's health as it is: one that was not made because it was known before that
    /// it would fail. Nothing is added if the connection was removed.
    async fn append(&self, connection: ConnectionId, check: &HealthCheck) -> Result<(), StoreError>;

    /// Returns checks of all connections or of one, the newest first; with `before`, those with a smaller id.
    async fn list(
        &self,
        connection: Option<ConnectionId>,
        before: Option<HealthCheckId>,
        limit: u32,
    ) -> Result<Vec<StoredHealthCheck>, StoreError>;

    /// Returns the checks of a connection since a time, the oldest first.
    async fn since(&self, connection: ConnectionId, since: Timestamp) -> Result<Vec<HealthCheck>, StoreError>;

    /// Returns the checks of connections as [`Self::since`] does, each since its own time, in the order of the connections.
    async fn since_of_each(
        &self,
        connections: &[(ConnectionId, Timestamp)],
    ) -> Result<Vec<Vec<HealthCheck>>, StoreError> {
        let mut found = Vec::with_capacity(connections.len());
        for (connection, since) in connections {
            found.push(self.since(*connection, *since).await?);
        }
        Ok(found)
    }

    /// Removes those of the oldest `limit` checks that are older than a time, and returns how many.
    async fn prune(&self, before: Timestamp, limit: u32) -> Result<usize, StoreError>;
}
