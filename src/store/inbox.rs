//! The inbox: webhook URLs of connections, subscriptions at vendors, and received events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Fence, StoreError};
use crate::clock::Timestamp;
use crate::model::{
    AttemptResult, ConflictResolution, ConnectionId, ConnectionTransition, DueEvents, EventConflict, EventFilter,
    EventId, EventInsertResult, EventProgress, EventVerification, HandlerRun, InboundDelivery, PruneRequest,
    QueuedEvent, RawRequest, StoredEvent, Subscription, SubscriptionId, SubscriptionRequest, SubscriptionResult,
    Webhook,
};
use crate::secret::Secret;

/// How webhooks reach each connection, and the secrets that verify them.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// Returns the webhook of a connection with its secrets; `None` before [`Self::ensure`] has created it.
    async fn get(&self, id: ConnectionId) -> Result<Option<Webhook>, StoreError>;

    /// Returns the webhooks of all connections that have one.
    async fn list(&self) -> Result<Vec<Webhook>, StoreError>;

    /// Returns the webhook of a connection; creates it with this path if there is none.
    async fn ensure(&self, id: ConnectionId, path: &str) -> Result<Webhook, StoreError>;

    /// Sets the current secret. The previous one stays valid until `overlap_until`.
    async fn rotate_secret(
        &self,
        id: ConnectionId,
        secret: &Secret,
        overlap_until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Sets the URL that the vendor calls, with or without the path of the connection; `None` removes it.
    async fn set_public_url(&self, id: ConnectionId, url: Option<&str>) -> Result<(), StoreError>;

    /// Records the local port that was last listened on for these connections.
    async fn set_port(&self, ids: &[ConnectionId], port: u16) -> Result<(), StoreError>;

    /// Adds parameters and overwrites those of the same names.
    async fn add_params(&self, id: ConnectionId, params: &BTreeMap<String, String>) -> Result<(), StoreError>;

    /// Replaces all parameters.
    async fn set_params(&self, id: ConnectionId, params: &BTreeMap<String, String>) -> Result<(), StoreError>;
}

/// The subscriptions that were created at vendors.
///
/// Writes that may change the connection's health return the transition; see [`super::Connections`].
#[async_trait]
pub trait Subscriptions: Send + Sync {
    /// Returns all subscriptions, or those of one connection, oldest first.
    async fn list(&self, connection: Option<ConnectionId>) -> Result<Vec<Subscription>, StoreError>;

    /// Returns the subscription with this id, whatever its status.
    async fn get(&self, id: SubscriptionId) -> Result<Option<Subscription>, StoreError>;

    /// Records that the vendor is about to be asked, so that what an interrupted process may have created is known.
    async fn begin(
        &self,
        request: &SubscriptionRequest,
        now: Timestamp,
        fence: Fence,
    ) -> Result<SubscriptionId, StoreError>;

    /// Stores the vendor's answer. `replaces` is the subscription that this one takes the place of, which is to be deleted.
    /// `params` are values of the webhook's parameters and are stored in the same commit.
    async fn activate(
        &self,
        subscription: &Subscription,
        result: &SubscriptionResult,
        params: &BTreeMap<String, String>,
        replaces: Option<SubscriptionId>,
        now: Timestamp,
        fence: Fence,
    ) -> Result<Option<ConnectionTransition>, StoreError>;

    /// Records that renewing or deleting it failed.
    async fn record_failure(
        &self,
        subscription: &Subscription,
        error: &str,
        now: Timestamp,
    ) -> Result<Option<ConnectionTransition>, StoreError>;

    /// Records that it is to be deleted, before the vendor is asked.
    async fn mark_deleting(&self, subscription: &Subscription) -> Result<Option<ConnectionTransition>, StoreError>;

    /// Deletes a subscription from the store. It asks nothing of the vendor.
    async fn delete(&self, subscription: &Subscription) -> Result<Option<ConnectionTransition>, StoreError>;
}

/// The events that were received, each once.
#[async_trait]
pub trait Events: Send + Sync {
    /// Stores the events of one request. The result has one entry for each event of the delivery, in order.
    async fn insert(&self, delivery: Arc<InboundDelivery>) -> Result<Vec<EventInsertResult>, StoreError>;

    /// Returns the events that match, newest first.
    async fn list(&self, filter: &EventFilter) -> Result<Vec<StoredEvent>, StoreError>;

    /// Returns up to 100 events after an event that were received at or after `since`, oldest first.
    async fn after(
        &self,
        event: EventId,
        connection: Option<ConnectionId>,
        since: Timestamp,
    ) -> Result<Vec<StoredEvent>, StoreError>;

    /// Returns the event with this id; its content is in [`Self::raw_request`].
    async fn get(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError>;

    /// Returns the event of a vendor's delivery id.
    async fn find(&self, connection: ConnectionId, delivery: &str) -> Result<Option<EventId>, StoreError>;

    /// Returns the request that an event came in, or `None` once it was pruned.
    async fn raw_request(&self, id: EventId) -> Result<Option<RawRequest>, StoreError>;

    /// Returns what [`Self::get`] and [`Self::raw_request`] do, or `None` if either is missing.
    async fn get_with_request(&self, id: EventId) -> Result<Option<(StoredEvent, RawRequest)>, StoreError>;

    /// Returns the events of a connection that wait to be handled, due or not, in the order of arrival.
    async fn queued(&self, connection: ConnectionId, limit: u32) -> Result<Vec<QueuedEvent>, StoreError>;

    /// Returns the events of a connection that are to be handled at `now`, up to `limit` of each kind. One that is to wait
    /// for longer than `longest` was stored while the clock was fast, and is due.
    async fn due(
        &self,
        connection: ConnectionId,
        now: Timestamp,
        longest: Duration,
        limit: u32,
    ) -> Result<DueEvents, StoreError>;

    /// Returns one event, if it waits to be handled.
    async fn find_queued(&self, id: EventId) -> Result<Option<QueuedEvent>, StoreError>;

    /// Returns what handlers did with an event, in the order of the attempts. Old runs of one with many are not kept.
    async fn handler_runs(&self, id: EventId) -> Result<Vec<HandlerRun>, StoreError>;

    /// Records attempts to handle events and what each handler did, in one commit.
    async fn record_attempts(&self, attempts: &[AttemptResult], fence: Fence) -> Result<(), StoreError>;

    /// Records which handlers have completed an event after an attempt that does not count, and why or until when it waits.
    async fn record_progress(&self, progress: &EventProgress, fence: Fence) -> Result<(), StoreError>;

    /// Returns the events of a connection that the vendor must still confirm, oldest first.
    async fn unconfirmed(&self, connection: ConnectionId, limit: u32) -> Result<Vec<EventId>, StoreError>;

    /// Records whether the vendor confirmed an event. A rejected event is dead.
    async fn set_verification(
        &self,
        id: EventId,
        verification: EventVerification,
        error: Option<&str>,
    ) -> Result<(), StoreError>;

    /// Makes events due again from the first handler and returns their number. An event whose content was pruned is left
    /// out; one that the vendor rejected must be confirmed again.
    async fn requeue(&self, ids: &[EventId], now: Timestamp) -> Result<usize, StoreError>;

    /// Returns the bodies that arrived under an event's delivery id beside its own, in the order of arrival.
    async fn conflicts(&self, id: EventId) -> Result<Vec<EventConflict>, StoreError>;

    /// Makes events of the bodies that are kept, which then wait to be handled, deletes the others, and returns the new
    /// events. Returns `None`, with nothing changed, if no body has the number.
    async fn resolve_conflict(
        &self,
        id: EventId,
        resolution: ConflictResolution,
        now: Timestamp,
    ) -> Result<Option<Vec<EventId>>, StoreError>;

    /// Prunes up to `limit` processed events and returns their number. The events of one request are pruned together,
    /// once all of them are processed; an event with conflicts is kept until they are resolved.
    async fn prune(&self, request: &PruneRequest, limit: u32) -> Result<usize, StoreError>;

    /// Returns how many events [`Self::prune`] would prune.
    async fn count_prunable(&self, request: &PruneRequest) -> Result<u64, StoreError>;
}
