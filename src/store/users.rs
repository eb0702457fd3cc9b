//! The caller's own end users, as the other aggregates name them.

use async_trait::async_trait;

use super::StoreError;
use crate::model::{ConnectionName, UserCounts, UserId};

/// The users of a workspace. They have no rows of their own: a user is there while something names them.
#[async_trait]
pub trait Users: Send + Sync {
    /// Returns the users in the order of their ids, or one user.
    async fn counts(&self, only: Option<&UserId>) -> Result<Vec<UserCounts>, StoreError>;

    /// Deletes everything that names a user but connections and audit entries, in one commit; also the bindings of
    /// connections that were the user's.
    async fn erase(&self, user: &UserId, connections: &[ConnectionName]) -> Result<(), StoreError>;

    /// Writes the store again without what was deleted, and empties its log. Returns whether it did: while other
    /// processes read the store, it cannot.
    async fn purge(&self) -> Result<bool, StoreError>;
}
