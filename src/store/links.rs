//! Pairs of a user's entity and a service's object.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::{ConnectionId, Link, LinkFilter, LinkId, LinkInsertResult, MergedObject, NewLink};

/// The links of a workspace.
///
/// A user's entity has one object of each resource of a connection, and an object has one entity: an insert that would
/// break either stores nothing and says what is there. Links belong to their connection, whatever its name, and are
/// deleted with it.
#[async_trait]
pub trait Links: Send + Sync {
    /// Stores links in one commit, each unless one of its keys is taken; the results are in their order.
    async fn insert(&self, links: Vec<NewLink>, now: Timestamp) -> Result<Vec<LinkInsertResult>, StoreError>;

    /// Returns up to `limit` links that match, after a link, in the order in which they were added.
    async fn list(&self, filter: &LinkFilter, after: LinkId, limit: u32) -> Result<Vec<Link>, StoreError>;

    /// Removes a link, and returns whether it was there.
    async fn remove(&self, id: LinkId) -> Result<bool, StoreError>;

    /// Moves links to the ids that their objects have now, and returns how many changed. If several links lead to one
    /// object then, the first one gets it, and the others are marked as merged into it.
    async fn follow(
        &self,
        connection: ConnectionId,
        merged: Vec<MergedObject>,
        now: Timestamp,
    ) -> Result<usize, StoreError>;
}
