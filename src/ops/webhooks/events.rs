//! The events received: lists, shows, retries, resolves and prunes them.

use std::cmp::Reverse;
use std::time::Duration;

use super::WebhookOperationError;
use crate::clock::Timestamp;
use crate::connector::{SignatureAlgorithm, WebhookDefinition};
use crate::error::Result;
use crate::http::scrub;
use crate::model::event::{ConflictResolution, EventConflict, EventFilter, RawRequest, StoredEvent};
use crate::model::{ConnectionName, EventId, EventStatus, UserId};
use crate::runtime::Workspace;
use crate::secret::{REDACTED, Secret};
use crate::signing::request::WebhookRequest;
use crate::view::webhook::{
    ConflictResolutionView, ConflictingBodyView, ConnectionPruneView, EventDetailView, EventListView, EventRetryView,
    HandlerRunView, PruneListView, StoredEventView,
};
use crate::webhook::inbound::delivery::payload;
use crate::webhook::retention::{PruneResult, prune};
use crate::webhook::settings::{WebhookSettings, rules};

/// The events to list.
#[derive(Clone, Debug, Default)]
pub struct ListEventsRequest {
    /// All connections if absent.
    pub connection: Option<ConnectionName>,
    /// Only those of this user's connections.
    pub user: Option<UserId>,
    pub status: Option<EventStatus>,
    /// Types or patterns such as `charge.*`; all if empty.
    pub kinds: Vec<String>,
    /// Only those for which other bodies were received under the same delivery id.
    pub only_conflicts: bool,
    /// Only those received at this time or later.
    pub since: Option<Timestamp>,
    /// Only those with a smaller id: the next page of a list.
    pub before: Option<EventId>,
    /// Maximum number of events.
    pub limit: u32,
}

/// Which of the conflicting bodies become events.
#[derive(Clone, Copy, Debug)]
pub struct ResolveConflictRequest {
    pub id: EventId,
    pub resolution: ConflictResolution,
}

/// Which processed events to remove.
#[derive(Clone, Debug, Default)]
pub struct PruneEventsRequest {
    /// All connections if absent.
    pub connection: Option<ConnectionName>,
    /// How long events are kept; the setting `webhooks.keep` if absent.
    pub retention: Option<Duration>,
    /// Whether dead events are removed as well.
    pub include_dead: bool,
    /// Counts them without removing any.
    pub dry_run: bool,
}

/// Returns events without their payload, the newest first.
pub async fn list_events(workspace: &Workspace, request: ListEventsRequest) -> Result<EventListView> {
    let mut filter = EventFilter {
        connection: None,
        status: request.status,
        kinds: request.kinds,
        only_conflicts: request.only_conflicts,
        since: request.since,
        before: request.before,
        limit: request.limit,
    };
    let mut found = Vec::new();
    for connection in workspace.listed(request.connection.as_ref(), request.user.as_ref()).await? {
        filter.connection = connection;
        found.extend(workspace.store().await?.events().list(&filter).await?);
    }
    found.sort_by_key(|event| Reverse(event.id));
    found.truncate(usize::try_from(request.limit).unwrap_or(usize::MAX));
    let events = found.into_iter().map(|event| StoredEventView::new(event, None)).collect();
    Ok(EventListView { listed_at: workspace.clock.now(), events })
}

/// Returns an event with its payload, its request, and the other bodies under its delivery ID. Secrets in the headers
/// are redacted.
///
/// # Errors
/// [`WebhookOperationError::EventNotFound`]; [`WebhookOperationError::Pruned`] if its content was removed.
pub async fn show_event(workspace: &Workspace, id: EventId) -> Result<EventDetailView> {
    let (event, request) = find(workspace, id).await?;
    let connector = workspace.catalogue().get(event.connection.connector())?;
    let rules = rules(&connector)?;
    let headers = shown_headers(&request, rules, &secrets(workspace, &event).await);
    let payload = |raw: &RawRequest| payload(rules, &WebhookRequest::from_raw(raw), raw.batch_item.as_deref());
    let events = workspace.store().await?.events();
    let (conflicts, runs) = (events.conflicts(id).await?, events.handler_runs(id).await?);
    let other = |(index, other): (usize, &EventConflict)| ConflictingBodyView {
        number: index + 1,
        kind: other.kind.clone(),
        received_at: other.received_at,
        verification: other.verification,
        size: other.request.body.len(),
        payload: payload(&other.request),
    };
    Ok(EventDetailView {
        handled: runs.iter().map(HandlerRunView::new).collect(),
        other_bodies: conflicts.iter().enumerate().map(other).collect(),
        event: StoredEventView::new(event, Some(payload(&request))),
        query: request.query,
        headers,
        size: request.body.len(),
    })
}

/// Returns the exact body of an event's request.
///
/// # Errors
/// As [`show_event`].
pub async fn read_event_body(workspace: &Workspace, id: EventId) -> Result<Vec<u8>> {
    Ok(find(workspace, id).await?.1.body)
}

/// Queues events to be handled again, by the running listener or the next one.
///
/// # Errors
/// As [`show_event`]; then none is queued.
pub async fn retry_events(workspace: &Workspace, ids: Vec<EventId>) -> Result<EventRetryView> {
    for id in &ids {
        find(workspace, *id).await?;
    }
    let retried = if ids.is_empty() {
        0
    } else {
        workspace.store().await?.events().requeue(&ids, workspace.clock.now_millis()).await?
    };
    Ok(EventRetryView { retried })
}

/// Decides which of the bodies received under one delivery ID are events.
///
/// # Errors
/// [`WebhookOperationError::EventNotFound`], [`WebhookOperationError::NoConflict`], and
/// [`WebhookOperationError::BodyNotFound`].
pub async fn resolve_conflict(
    workspace: &Workspace,
    request: ResolveConflictRequest,
) -> Result<ConflictResolutionView> {
    let ResolveConflictRequest { id, resolution } = request;
    if !workspace.has_vault() {
        return Err(WebhookOperationError::EventNotFound { id }.into());
    }
    let events = workspace.store().await?.events();
    let event = events.get(id).await?.ok_or(WebhookOperationError::EventNotFound { id })?;
    if event.conflict_count == 0 {
        return Err(WebhookOperationError::NoConflict { id }.into());
    }
    let created = events.resolve_conflict(id, resolution, workspace.clock.now_millis()).await?;
    let created = created.ok_or(WebhookOperationError::BodyNotFound { id, bodies: event.conflict_count })?;
    Ok(ConflictResolutionView { id: id.0, events: created.iter().map(|id| id.0).collect() })
}

/// Removes processed events after their retention time, connection by connection.
pub async fn prune_events(workspace: &Workspace, request: PruneEventsRequest) -> Result<PruneListView> {
    let connection = workspace.connection_id(request.connection.as_ref()).await?;
    let retention = request.retention.unwrap_or(workspace.engine.config.webhooks.retention);
    let before = workspace.clock.now_millis().checked_sub(retention).unwrap_or(Timestamp::MIN);
    let pruned = prune(workspace, connection, before, request.include_dead, request.dry_run).await?;
    let view = |pruned: PruneResult| ConnectionPruneView {
        connection: pruned.connection.name.to_string(),
        events: pruned.events,
        retains_ids: pruned.are_ids_retained,
    };
    Ok(PruneListView { pruned: pruned.into_iter().map(view).collect(), dry_run: request.dry_run })
}

/// An event with its request.
async fn find(workspace: &Workspace, id: EventId) -> Result<(StoredEvent, RawRequest)> {
    if !workspace.has_vault() {
        return Err(WebhookOperationError::EventNotFound { id }.into());
    }
    let events = workspace.store().await?.events();
    let names = workspace.connection_names().await?;
    let event = events.get(id).await?.filter(|event| names.contains(&event.connection));
    let event = event.ok_or(WebhookOperationError::EventNotFound { id })?;
    let request = events.raw_request(id).await?.ok_or(WebhookOperationError::Pruned { id })?;
    Ok((event, request))
}

/// Header values to redact: some services send the secret itself.
async fn secrets(workspace: &Workspace, event: &StoredEvent) -> Vec<Secret> {
    WebhookSettings::load(workspace, &event.connection).await.map(|settings| settings.keys.secrets).unwrap_or_default()
}

fn shown_headers(request: &RawRequest, rules: &WebhookDefinition, secrets: &[Secret]) -> Vec<(String, String)> {
    // A token is the secret itself, also one that is no longer known.
    let tokens = rules.proofs.iter().filter(|proof| proof.scheme == SignatureAlgorithm::Token);
    let tokens: Vec<&str> = tokens.filter_map(|proof| proof.signature.header.as_deref()).collect();
    let shown = |name: &str, value: &str| match tokens.iter().any(|token| token.eq_ignore_ascii_case(name)) {
        true => REDACTED.to_owned(),
        false => scrub(value, secrets),
    };
    request.headers.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect()
}
