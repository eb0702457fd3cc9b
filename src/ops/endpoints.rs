//! Operations on endpoints: the endpoints themselves, the messages sent to them, their deliveries, and the event types.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::{Effect, Operation, OperationScope, Reach};
use crate::clock::Timestamp;
use crate::endpoint::{self, EndpointChange, EndpointError, RetryFilter};
use crate::error::Result;
use crate::model::delivery::{DeliveryFilter, DeliveryId};
use crate::model::{EndpointId, EventPattern, EventType, EventTypeDefinition};
use crate::runtime::Workspace;
use crate::runtime::worker::{RunUntil, WorkerSet};
use crate::view::endpoint::{
    AttemptedView, DeliveryDetailView, DeliveryListView, DeliveryRetryView, DeliverySummaryView, DeliveryView,
    EndpointDetailView, EndpointListView, EndpointView, EventTypeListView, EventTypeRemovalView, EventTypeView,
    MessagePruneView, SentMessageView,
};
use crate::worker::deliver::{self, CompletedAttempt, DeliveryScope, DeliveryWorker};
use crate::worker::retention::{RetentionScope, RetentionWorker};

const fn operation(name: &'static str, effect: Effect, reach: Reach) -> Operation {
    Operation::local(name, OperationScope::Endpoints, effect).reachable_by(reach)
}

/// The operations of this module. URLs are checked before they are stored, and the egress guard checks each delivery.
pub const OPERATIONS: &[Operation] = &[
    operation("endpoint add", Effect::Write, Reach::Api),
    operation("endpoint list", Effect::Read, Reach::Agent),
    operation("endpoint show", Effect::Read, Reach::Agent),
    operation("endpoint update", Effect::Write, Reach::Api),
    operation("endpoint remove", Effect::Destroy, Reach::Api),
    operation("endpoint rotate", Effect::Write, Reach::Api),
    operation("endpoint enable", Effect::Write, Reach::Api),
    operation("endpoint disable", Effect::Write, Reach::Api),
    operation("endpoint send", Effect::Write, Reach::Api),
    operation("endpoint prune", Effect::Destroy, Reach::Local),
    operation("endpoint deliver", Effect::Write, Reach::Local),
    operation("endpoint deliveries", Effect::Read, Reach::Agent),
    operation("endpoint retry", Effect::Write, Reach::Api),
    operation("endpoint event add", Effect::Write, Reach::Api),
    operation("endpoint event list", Effect::Read, Reach::Agent),
    operation("endpoint event remove", Effect::Write, Reach::Api),
];

/// A new endpoint. Absent `settings` have defaults: all types, exponential backoff, 8 attempts within 3 days, 15 s per
/// attempt.
#[derive(Clone, Debug)]
pub struct AddEndpointRequest {
    pub url: Url,
    pub settings: EndpointChange,
}

/// Adds an endpoint, in a new workspace if needed, and returns its signing secret, once.
///
/// # Errors
/// [`EndpointError::InvalidUrl`], [`EndpointError::InvalidSetting`], [`EndpointError::Http`] for an address that the egress
/// guard refuses.
pub async fn add_endpoint(workspace: &Workspace, request: AddEndpointRequest) -> Result<EndpointDetailView> {
    let (endpoint, secret) = endpoint::add(workspace, &request.url, &request.settings).await?;
    let unmatched = unmatched_patterns(workspace, &endpoint.events).await?;
    Ok(EndpointDetailView::new(&endpoint, workspace.clock.now())
        .with_secret(&secret)
        .with_unmatched_patterns(unmatched))
}

/// Lists the endpoints.
///
/// # Errors
/// The vault's.
pub async fn list_endpoints(workspace: &Workspace) -> Result<EndpointListView> {
    let endpoints = if workspace.has_vault() { workspace.store().await?.endpoints().list().await? } else { Vec::new() };
    let now = workspace.clock.now();
    Ok(EndpointListView { endpoints: endpoints.iter().map(|one| EndpointView::new(one, now)).collect() })
}

/// Returns an endpoint with its delivery policy.
///
/// # Errors
/// [`EndpointError::EndpointNotFound`].
pub async fn show_endpoint(workspace: &Workspace, id: EndpointId) -> Result<EndpointDetailView> {
    Ok(EndpointDetailView::new(&endpoint::find(workspace, &id).await?, workspace.clock.now()))
}

/// Changes to an endpoint; absent values stay as they are.
#[derive(Clone, Debug)]
pub struct UpdateEndpointRequest {
    pub id: EndpointId,
    pub change: EndpointChange,
}

/// Changes an endpoint.
///
/// # Errors
/// [`EndpointError::EndpointNotFound`], and those of [`add_endpoint`].
pub async fn update_endpoint(workspace: &Workspace, request: UpdateEndpointRequest) -> Result<EndpointDetailView> {
    let endpoint = endpoint::update(workspace, &request.id, &request.change).await?;
    let unmatched = unmatched_patterns(workspace, &endpoint.events).await?;
    Ok(EndpointDetailView::new(&endpoint, workspace.clock.now()).with_unmatched_patterns(unmatched))
}

/// Removes an endpoint with its secret and its deliveries, and returns what it was.
///
/// # Errors
/// [`EndpointError::EndpointNotFound`].
pub async fn remove_endpoint(workspace: &Workspace, id: EndpointId) -> Result<EndpointDetailView> {
    let endpoint = endpoint::find(workspace, &id).await?;
    endpoint::remove(workspace.store().await?, &endpoint).await?;
    Ok(EndpointDetailView::new(&endpoint, workspace.clock.now()))
}

/// A new signing secret.
#[derive(Clone, Debug)]
pub struct RotateSecretRequest {
    pub id: EndpointId,
    /// How long the previous secret is also used for signing.
    pub overlap: Duration,
}

/// Gives an endpoint a new signing secret and returns it, once.
///
/// # Errors
/// [`EndpointError::EndpointNotFound`].
pub async fn rotate_endpoint_secret(workspace: &Workspace, request: RotateSecretRequest) -> Result<EndpointDetailView> {
    let (endpoint, secret) = endpoint::rotate(workspace, &request.id, request.overlap).await?;
    Ok(EndpointDetailView::new(&endpoint, workspace.clock.now()).with_secret(&secret))
}

/// Enables an endpoint, and resets its failures.
///
/// # Errors
/// [`EndpointError::EndpointNotFound`].
pub async fn enable_endpoint(workspace: &Workspace, id: EndpointId) -> Result<EndpointDetailView> {
    Ok(EndpointDetailView::new(&endpoint::set_enabled(workspace, &id, true).await?, workspace.clock.now()))
}

/// Disables an endpoint: nothing is sent to it until it is enabled.
///
/// # Errors
/// [`EndpointError::EndpointNotFound`].
pub async fn disable_endpoint(workspace: &Workspace, id: EndpointId) -> Result<EndpointDetailView> {
    Ok(EndpointDetailView::new(&endpoint::set_enabled(workspace, &id, false).await?, workspace.clock.now()))
}

/// A message to send.
#[derive(Clone, Debug)]
pub struct SendMessageRequest {
    pub kind: EventType,
    /// JSON, whose bytes are sent as they are; an empty object if absent.
    pub data: Option<Vec<u8>>,
    /// A message with this id is sent once; a random id if absent.
    pub id: Option<String>,
    /// Send only to this endpoint, whatever types it is subscribed to.
    pub endpoint: Option<EndpointId>,
    /// How long to wait until each delivery was tried once; not at all if absent.
    pub wait: Option<Duration>,
}

/// Stores a message with a delivery for each endpoint that receives its type, in a new workspace if needed. The message
/// is durable when this returns.
///
/// # Errors
/// [`EndpointError::EndpointNotFound`] or [`EndpointError::Disabled`] for the endpoint that is named, [`EndpointError::InvalidJson`],
/// [`EndpointError::SchemaMismatch`], [`EndpointError::TooLarge`], [`EndpointError::InvalidMessageId`],
/// [`EndpointError::DuplicateMessageId`].
pub async fn send_message(workspace: &Workspace, request: SendMessageRequest) -> Result<SentMessageView> {
    let endpoint = match &request.endpoint {
        Some(id) => Some(endpoint::find(workspace, id).await?.id),
        None => None,
    };
    let data = request.data.as_deref().unwrap_or(b"{}");
    let store = workspace.store_or_new().await?;
    endpoint::catalogue::check(store, &request.kind, data).await?;
    let draft = endpoint::draft(request.kind, data, request.id.as_deref(), endpoint, workspace.clock.now_millis())?;
    let mut sent = endpoint::send(store, &draft).await?;
    if let Some(wait) = request.wait {
        sent.deliveries = deliver::wait_for_message(workspace, &sent.message, wait).await?;
    }
    Ok(SentMessageView::new(&sent, workspace.clock.now()))
}

/// Removes messages that were delivered or abandoned longer ago than `retention`; the setting `endpoints.keep` if
/// absent.
///
/// # Errors
/// The vault's.
pub async fn prune_messages(workspace: &Workspace, retention: Option<Duration>) -> Result<MessagePruneView> {
    /// Number of messages removed per transaction, so that others can write in between.
    const BATCH: usize = 1000;
    let retention = retention.unwrap_or(workspace.engine.config.endpoints.retention);
    let before = workspace.clock.now().checked_sub(retention).unwrap_or(Timestamp::MIN);
    let mut removed = 0;
    if workspace.has_vault() {
        loop {
            let batch = workspace.store().await?.outbox().prune(before, BATCH).await?;
            removed += batch;
            if batch < BATCH {
                break;
            }
        }
    }
    Ok(MessagePruneView { removed })
}

/// Sends what is due, in a new workspace if needed, until nothing is due or `stop` is ready, and removes messages after
/// their retention period. `on_attempt` sees each attempt once it is recorded.
///
/// # Errors
/// [`EndpointError::AlreadyRunning`] if another process delivers in this workspace.
pub async fn deliver_messages(
    workspace: &Workspace,
    until: RunUntil,
    stop: impl Future<Output = ()> + Send,
    mut on_attempt: impl FnMut(&AttemptedView) + Send,
) -> Result<DeliverySummaryView> {
    workspace.store_or_new().await?;
    let report = |completed: CompletedAttempt| on_attempt(&AttemptedView::new(&completed));
    let worker = DeliveryWorker::try_start(workspace, DeliveryScope::All, Box::new(report)).await?;
    let mut worker = worker.ok_or(EndpointError::AlreadyRunning)?;
    let mut workers = WorkerSet::new();
    workers.add(workspace, &mut worker);
    workers.add(workspace, RetentionWorker::new(workspace, RetentionScope::Messages));
    for end in workers.run(until, stop).await {
        end.result?;
    }
    let summary = worker.summary();
    Ok(DeliverySummaryView { delivered: summary.delivered, failed: summary.failed, dead: summary.dead })
}

/// Lists deliveries, the newest first.
///
/// # Errors
/// [`EndpointError::EndpointNotFound`] for the endpoint that the filter names.
pub async fn list_deliveries(workspace: &Workspace, filter: DeliveryFilter) -> Result<DeliveryListView> {
    if let Some(id) = &filter.endpoint {
        endpoint::find(workspace, id).await?;
    }
    let now = workspace.clock.now();
    let deliveries =
        if workspace.has_vault() { workspace.store().await?.outbox().list(&filter).await? } else { Vec::new() };
    Ok(DeliveryListView { deliveries: deliveries.iter().map(|one| DeliveryView::new(one, now)).collect() })
}

/// Returns a delivery with its attempts.
///
/// # Errors
/// [`EndpointError::DeliveryNotFound`].
pub async fn show_delivery(workspace: &Workspace, id: DeliveryId) -> Result<DeliveryDetailView> {
    let outbox = workspace.store().await?.outbox();
    let delivery = outbox.get(id).await?.ok_or(EndpointError::DeliveryNotFound(id))?;
    Ok(DeliveryDetailView::new(&delivery, &outbox.attempts(id).await?, workspace.clock.now()))
}

/// The deliveries to send again.
#[derive(Clone, Debug)]
pub enum RetryDeliveriesRequest {
    /// These, whatever their status.
    Deliveries(Vec<DeliveryId>),
    /// All failed and dead deliveries.
    Failed(RetryFilter),
}

/// Makes deliveries due again: the same messages with the same IDs.
///
/// # Errors
/// [`EndpointError::DeliveryNotFound`], [`EndpointError::EndpointNotFound`], [`EndpointError::Disabled`]; no delivery is due
/// again then.
pub async fn retry_deliveries(workspace: &Workspace, request: RetryDeliveriesRequest) -> Result<DeliveryRetryView> {
    let now = workspace.clock.now_millis();
    let retried = match request {
        RetryDeliveriesRequest::Deliveries(ids) => endpoint::retry(workspace.store().await?, &ids, now).await?.len(),
        RetryDeliveriesRequest::Failed(filter) => {
            if let Some(id) = &filter.endpoint {
                endpoint::find(workspace, id).await?;
            }
            endpoint::retry_all(workspace.store().await?, &filter, now).await?
        }
    };
    Ok(DeliveryRetryView { retried })
}

/// A type of the user's events, new or replacing the one with its name.
#[derive(Clone, Debug)]
pub struct AddEventTypeRequest {
    pub kind: EventType,
    pub description: String,
    /// Sample data whose members every message of this type must have; any data is allowed if absent.
    pub sample: Option<Value>,
}

/// Adds a type to the catalogue, or replaces it, in a new workspace if needed.
///
/// # Errors
/// The vault's.
pub async fn add_event_type(workspace: &Workspace, request: AddEventTypeRequest) -> Result<EventTypeView> {
    let AddEventTypeRequest { kind, description, sample } = request;
    let definition = EventTypeDefinition { kind: kind.to_string(), description, sample };
    workspace.store_or_new().await?.event_types().put(&definition).await?;
    Ok(definition.into())
}

/// Lists the catalogue of event types.
///
/// # Errors
/// The vault's.
pub async fn list_event_types(workspace: &Workspace) -> Result<EventTypeListView> {
    let definitions =
        if workspace.has_vault() { workspace.store().await?.event_types().list().await? } else { Vec::new() };
    Ok(EventTypeListView { events: definitions.into_iter().map(EventTypeView::from).collect() })
}

/// Removes a type from the catalogue; its pending messages are still sent.
///
/// # Errors
/// [`EndpointError::UnknownEventType`].
pub async fn remove_event_type(workspace: &Workspace, kind: EventType) -> Result<EventTypeRemovalView> {
    if !workspace.has_vault() || !workspace.store().await?.event_types().remove(kind.as_str()).await? {
        return Err(EndpointError::UnknownEventType(kind.to_string()).into());
    }
    Ok(EventTypeRemovalView { event: kind })
}

/// The patterns that match no type of the catalogue; none if the catalogue is empty.
async fn unmatched_patterns(workspace: &Workspace, patterns: &[EventPattern]) -> Result<Vec<EventPattern>> {
    let types = workspace.store().await?.event_types().list().await?;
    Ok(endpoint::catalogue::unmatched(&types, patterns).into_iter().cloned().collect())
}
