//! Connect links.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::{ConnectLink, ConnectLinkId};

/// The connect links of a workspace. Only a hash of each secret is stored.
#[async_trait]
pub trait ConnectLinks: Send + Sync {
    /// Stores a link, and deletes those that ended a month ago.
    async fn add(&self, link: &ConnectLink, secret_hash: &[u8; 32]) -> Result<(), StoreError>;

    /// Returns all links, the newest first.
    async fn list(&self) -> Result<Vec<ConnectLink>, StoreError>;

    /// Returns a link.
    async fn get(&self, id: &ConnectLinkId) -> Result<Option<ConnectLink>, StoreError>;

    /// Returns the link with this hash of its secret, whether it can be used or not.
    async fn find_by_secret(&self, secret_hash: &[u8; 32]) -> Result<Option<ConnectLink>, StoreError>;

    /// Takes one use of a link, and returns whether there was one.
    async fn take_use(&self, id: &ConnectLinkId, now: Timestamp) -> Result<bool, StoreError>;

    /// Gives back a use that has connected nothing.
    async fn return_use(&self, id: &ConnectLinkId) -> Result<(), StoreError>;

    /// Revokes a link and the sign-ins that were begun with it. Returns whether it could be used before.
    async fn revoke(&self, id: &ConnectLinkId, now: Timestamp) -> Result<bool, StoreError>;
}
