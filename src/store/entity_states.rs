//! What two-way bindings know of linked entities, and the writes that are under way.
//!
//! [`super::EventCreations`] also commits a key before a service is asked. The two are apart because their rows live
//! differently: a write is removed in the commit that stores its result, and holds what is needed to repeat a change or a
//! deletion of a binding. The key of an event is the event's id at some services; it stays for as long as the event, so
//! that a later attempt, with other content, finds it.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::{
    BindingId, BoundEntity, ConnectionId, EntityState, EntityWrite, Link, LinkId, LinkInsertResult, LinkedObject,
    OpenConflict,
};

/// The states of linked entities, and the writes that were begun and not ended. Both are deleted with their binding, a state
/// with its link and a write with its connection.
///
/// An entity has one write at a time. It is committed before a service is asked; what it came to is committed with its
/// removal. A write that is found later was interrupted.
#[async_trait]
pub trait EntityStates: Send + Sync {
    /// Returns the state of a linked entity; `None` if it was never pushed or given to the user's side.
    async fn find(&self, binding: BindingId, link: LinkId) -> Result<Option<EntityState>, StoreError>;

    /// Stores the state of a linked entity.
    async fn save(
        &self,
        binding: BindingId,
        link: LinkId,
        state: &EntityState,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Returns open conflicts of a binding, or of all, by their links.
    async fn conflicts(
        &self,
        binding: Option<BindingId>,
        limit: u32,
    ) -> Result<Vec<(BindingId, OpenConflict)>, StoreError>;

    /// Stores a write that begins. If there is one for this entity, that one stays. Returns the one that is stored.
    async fn begin_write(&self, write: &EntityWrite) -> Result<EntityWrite, StoreError>;

    /// Returns the write of an entity that was begun.
    async fn find_write(&self, of: &BoundEntity) -> Result<Option<EntityWrite>, StoreError>;

    /// Returns the writes of a binding that were begun, oldest first; of all bindings if none is given.
    async fn writes(&self, binding: Option<BindingId>, limit: u32) -> Result<Vec<EntityWrite>, StoreError>;

    /// Links the object that a write has created, stores its state, and removes the write, in one commit. A link that is in
    /// the way is returned, and nothing is stored.
    async fn end_creation(
        &self,
        write: &EntityWrite,
        object: LinkedObject,
        state: &EntityState,
        now: Timestamp,
    ) -> Result<LinkInsertResult, StoreError>;

    /// Stores the state that a write has led to, and removes the write, in one commit. Without a state it removes the link.
    async fn end_write(
        &self,
        write: &EntityWrite,
        state: Option<&EntityState>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Removes a write that was not done.
    async fn cancel_write(&self, write: &EntityWrite) -> Result<(), StoreError>;

    /// Returns the links of a connection's resource that a binding has a state of, or none yet, after a link.
    async fn linked(
        &self,
        binding: BindingId,
        connection: ConnectionId,
        resource: &str,
        after: LinkId,
        limit: u32,
    ) -> Result<Vec<(Link, Option<EntityState>)>, StoreError>;
}
