//! Connections, their grants and their OAuth apps.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Fence, StoreError};
use crate::clock::Timestamp;
use crate::model::{
    Account, Connection, ConnectionId, ConnectionName, ConnectionTransition, Grant, GrantStatus, GrantWriteResult,
    HealthCheck, NewConnection, OAuthApp, RevealPolicy, SecretStorage, StoredGrant,
};

/// The connections of a workspace, with what is known of their health.
///
/// Writes that may change a connection's health compare it before and after in the same transaction, and return the
/// transition. Of any number of processes that record the same failure, exactly one therefore gets the transition.
#[async_trait]
pub trait Connections: Send + Sync {
    /// Returns all connections, sorted by name.
    async fn list(&self) -> Result<Vec<Connection>, StoreError>;

    /// Returns the names of all connections, sorted.
    async fn names(&self) -> Result<Vec<ConnectionName>, StoreError>;

    /// Returns the connection of this name, if there is one.
    async fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, StoreError>;

    /// Returns a connection and its grant from one snapshot.
    async fn find_with_grant(
        &self,
        name: &ConnectionName,
    ) -> Result<Option<(Connection, Option<StoredGrant>)>, StoreError>;

    /// Stores a connected account with its grant.
    ///
    /// A connection of the same name, mode and origin keeps its id and everything that belongs to it; its grant is replaced
    /// and its errors are cleared. One of another mode or origin is deleted with everything that belongs to it, in the
    /// same transaction. A new connection's secrets belong in `storage`; for [`SecretStorage::Keyring`] they are in the
    /// store until [`Grants::move_to_keyring`].
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] where the connection of this name must not be replaced.
    async fn connect(
        &self,
        new: &NewConnection,
        grant: &Grant,
        storage: SecretStorage,
    ) -> Result<(Connection, Option<ConnectionTransition>), StoreError>;

    /// Renames a connection. Everything that belongs to it stays.
    ///
    /// # Errors
    /// [`StoreError::ConnectionNotFound`]; [`StoreError::NameTaken`] if there is a connection of this name.
    async fn rename(&self, id: ConnectionId, name: &ConnectionName) -> Result<(), StoreError>;

    /// Deletes a connection and everything that belongs to it.
    ///
    /// # Errors
    /// [`StoreError::ConnectionNotFound`].
    async fn remove(&self, id: ConnectionId) -> Result<(), StoreError>;

    /// Sets the status of a connection's grant and its reason, which `None` clears.
    ///
    /// # Errors
    /// [`StoreError::ConnectionNotFound`].
    async fn set_grant_status(
        &self,
        id: ConnectionId,
        status: GrantStatus,
        reason: Option<&str>,
    ) -> Result<Option<ConnectionTransition>, StoreError>;

    /// Records the result of a health check, and adds it to the history. A passed check clears earlier errors; a failed one
    /// adds to their count. That the token was refused holds until a check passes, because a check that fails for another
    /// reason says nothing about the grant.
    ///
    /// # Errors
    /// [`StoreError::ConnectionNotFound`].
    async fn record_check(
        &self,
        id: ConnectionId,
        check: &HealthCheck,
    ) -> Result<Option<ConnectionTransition>, StoreError>;

    /// Stores what a check or a refresh learned about the connection; `None` leaves a value as it is.
    ///
    /// # Errors
    /// [`StoreError::ConnectionNotFound`].
    async fn update_metadata(
        &self,
        id: ConnectionId,
        account: Option<&Account>,
        scopes_granted: Option<&[String]>,
        metadata: Option<&BTreeMap<String, String>>,
    ) -> Result<Option<ConnectionTransition>, StoreError>;

    /// Sets whether the credential of a connection may be handed out.
    ///
    /// # Errors
    /// [`StoreError::ConnectionNotFound`].
    async fn set_reveal_policy(&self, id: ConnectionId, policy: RevealPolicy) -> Result<(), StoreError>;

    /// Records a refresh or a call that failed for a temporary reason.
    ///
    /// # Errors
    /// [`StoreError::ConnectionNotFound`].
    async fn record_failure(&self, id: ConnectionId, error: &str) -> Result<Option<ConnectionTransition>, StoreError>;
}

/// The secrets of connections.
///
/// A grant has a generation, which increases with every new grant. A writer names the generation that it replaces, and
/// writes nothing if another was faster ([`GrantWriteResult::Superseded`]) or if its lock was taken over
/// ([`StoreError::LeaseLost`]). A refresh marker is committed before a grant is sent to the vendor: if it is still there
/// after a crash, the vendor may have used the grant up.
#[async_trait]
pub trait Grants: Send + Sync {
    /// Returns the grant of a connection. Its secrets are left out if only the OS keyring holds them.
    async fn get(&self, id: ConnectionId) -> Result<Option<StoredGrant>, StoreError>;

    /// Sets the refresh marker of this generation.
    async fn begin_refresh(
        &self,
        id: ConnectionId,
        generation: u64,
        at: Timestamp,
        fence: Fence,
    ) -> Result<GrantWriteResult, StoreError>;

    /// Clears the refresh marker: the vendor certainly did not use the grant up.
    async fn cancel_refresh(
        &self,
        id: ConnectionId,
        generation: u64,
        fence: Fence,
    ) -> Result<GrantWriteResult, StoreError>;

    /// Replaces the grant of this generation, clears the refresh marker and sets the connection's grant status to active.
    /// The secrets are written to the store, wherever they belong; [`Self::move_to_keyring`] moves them on.
    async fn replace(
        &self,
        id: ConnectionId,
        generation: u64,
        grant: &Grant,
        fence: Fence,
    ) -> Result<(GrantWriteResult, Option<ConnectionTransition>), StoreError>;

    /// Removes the secrets of this generation, which an entry of the OS keyring holds now.
    async fn move_to_keyring(&self, id: ConnectionId, generation: u64) -> Result<GrantWriteResult, StoreError>;

    /// Writes the secrets of this generation, whose entry in the OS keyring may be deleted afterwards.
    async fn move_to_store(
        &self,
        id: ConnectionId,
        generation: u64,
        grant: &Grant,
    ) -> Result<GrantWriteResult, StoreError>;

    /// Marks every grant as one of which the OS keyring may hold an entry, before the first entry is written.
    async fn mark_all_in_keyring(&self) -> Result<(), StoreError>;

    /// Records that the OS keyring holds no entry of this connection; its secrets are in the store.
    async fn clear_in_keyring(&self, id: ConnectionId) -> Result<(), StoreError>;

    /// Returns all grants with their connections, sorted by name.
    async fn list(&self) -> Result<Vec<(Connection, StoredGrant)>, StoreError>;

    /// Returns the connections whose grants came from a backup and were not refreshed since.
    async fn restored(&self) -> Result<Vec<ConnectionId>, StoreError>;
}

/// OAuth apps: the clients that the user registered with vendors.
#[async_trait]
pub trait Apps: Send + Sync {
    /// Returns all apps, sorted by connector and server.
    async fn list(&self) -> Result<Vec<OAuthApp>, StoreError>;

    /// Returns the apps of one connector, sorted by server.
    async fn for_connector(&self, connector: &str) -> Result<Vec<OAuthApp>, StoreError>;

    /// Stores an app and replaces the one of the same connector and server.
    async fn set(&self, app: &OAuthApp) -> Result<(), StoreError>;

    /// Assigns the connector's app that has no server yet to this server.
    async fn assign(&self, connector: &str, server: &str) -> Result<(), StoreError>;

    /// Removes the app of a connector at a server.
    async fn remove(&self, connector: &str, server: Option<&str>) -> Result<(), StoreError>;
}
