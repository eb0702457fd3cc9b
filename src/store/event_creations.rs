//! Calendar events that are created for the user's entities.
//!
//! The writes of two-way bindings are elsewhere ([`super::EntityStates`], which says why).

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::calendar::EventCreationAttempt;
use crate::model::{ConnectionId, Entity};

/// The keys by which services know the events of entities.
///
/// A key is committed before the service is asked, and is the same for every attempt: if the answer is lost, the event
/// is found again by it. It stays until the event is deleted.
#[async_trait]
pub trait EventCreations: Send + Sync {
    /// Stores an attempt. If there is one for this entity, that one stays, and its window becomes large enough for both.
    /// Returns the one that is stored.
    async fn begin(
        &self,
        connection: ConnectionId,
        entity: &Entity,
        attempt: &EventCreationAttempt,
        now: Timestamp,
    ) -> Result<EventCreationAttempt, StoreError>;

    /// Returns the attempt of an entity.
    async fn find(&self, connection: ConnectionId, entity: &Entity)
    -> Result<Option<EventCreationAttempt>, StoreError>;

    /// Removes an attempt, unless it has another key by now. Returns whether it was there.
    async fn remove(&self, connection: ConnectionId, entity: &Entity, key: &str) -> Result<bool, StoreError>;
}
