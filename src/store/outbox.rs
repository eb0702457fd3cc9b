//! The outbox: endpoints, the messages sent to them, and their deliveries.

use std::time::Duration;

use async_trait::async_trait;

use super::{Fence, StoreError};
use crate::clock::Timestamp;
use crate::model::delivery::{
    AttemptRecord, Delivery, DeliveryAttempt, DeliveryFilter, DeliveryId, MessageInsertResult, RecordedAttempt,
};
use crate::model::{Endpoint, EndpointId, EventTypeDefinition, Message};

/// The URLs that the user's own events are sent to.
#[async_trait]
pub trait Endpoints: Send + Sync {
    /// Returns all endpoints in the order in which they were added.
    async fn list(&self) -> Result<Vec<Endpoint>, StoreError>;

    /// Returns the endpoint with this id, also a disabled one.
    async fn get(&self, id: &EndpointId) -> Result<Option<Endpoint>, StoreError>;

    /// Stores a new endpoint under its own id.
    async fn add(&self, endpoint: &Endpoint) -> Result<(), StoreError>;

    /// Writes `new` if the stored endpoint still equals `old`, and returns whether it did.
    async fn replace(&self, old: &Endpoint, new: &Endpoint) -> Result<bool, StoreError>;

    /// Deletes an endpoint with all its deliveries, and returns whether there was one.
    async fn remove(&self, id: &EndpointId) -> Result<bool, StoreError>;
}

/// The types of the user's own events.
#[async_trait]
pub trait EventTypes: Send + Sync {
    /// Returns all types, sorted by name.
    async fn list(&self) -> Result<Vec<EventTypeDefinition>, StoreError>;

    /// Stores a type and replaces the one of the same name.
    async fn put(&self, definition: &EventTypeDefinition) -> Result<(), StoreError>;

    /// Removes a type, and returns whether there was one.
    async fn remove(&self, kind: &str) -> Result<bool, StoreError>;
}

/// Messages with one delivery for each endpoint that accepts them, and a row for each attempt.
///
/// A message and its deliveries are one commit. An attempt is recorded after its answer has come: a delivery whose sender
/// was killed in between is sent again under the same id.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Stores a message with a delivery for each enabled endpoint that accepts its type, or for `endpoint` alone.
    async fn insert(&self, message: &Message, endpoint: Option<&EndpointId>)
    -> Result<MessageInsertResult, StoreError>;

    /// Returns the deliveries that match, newest first.
    async fn list(&self, filter: &DeliveryFilter) -> Result<Vec<Delivery>, StoreError>;

    /// Returns the delivery with this id, whatever its status; its attempts are in [`Self::attempts`].
    async fn get(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError>;

    /// Returns the message with this id, or `None` once it was pruned.
    async fn message(&self, id: &str) -> Result<Option<Message>, StoreError>;

    /// Returns the attempts of a delivery, oldest first.
    async fn attempts(&self, id: DeliveryId) -> Result<Vec<DeliveryAttempt>, StoreError>;

    /// Returns the deliveries of an endpoint that are due, longest overdue first.
    async fn due(&self, endpoint: &EndpointId, now: Timestamp, limit: usize) -> Result<Vec<Delivery>, StoreError>;

    /// Returns when the next delivery to an enabled endpoint is due.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Records attempts in one commit. The caller has computed what follows from each attempt out of the delivery and the
    /// endpoint's health as it read them. Returns `None`, with nothing recorded, if any of them has changed since: the
    /// caller reads again. A delivery that was deleted is left out.
    async fn record_attempts(
        &self,
        attempts: &[AttemptRecord],
        fence: Fence,
    ) -> Result<Option<Vec<RecordedAttempt>>, StoreError>;

    /// Gives up deliveries without an attempt.
    async fn mark_dead(&self, ids: &[DeliveryId], error: &str, fence: Fence) -> Result<(), StoreError>;

    /// Makes deliveries due again, whatever their status, and returns them.
    async fn requeue(&self, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<Delivery>, StoreError>;

    /// Makes all failed and dead deliveries of an endpoint due again that were created at or after `since`, and returns
    /// their number.
    async fn requeue_failed(
        &self,
        endpoint: &EndpointId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<usize, StoreError>;

    /// Moves due times and pauses that are later than `longest` from now, which a clock that was set back leaves behind, to
    /// within `spread` from now. Returns the number of deliveries.
    async fn clamp_due_times(&self, now: Timestamp, longest: Duration, spread: Duration) -> Result<usize, StoreError>;

    /// Deletes up to `limit` messages from before `before` that have no pending delivery, and returns their number.
    async fn prune(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError>;
}
