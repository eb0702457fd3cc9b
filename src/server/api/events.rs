//! Webhook events that were received.

use indexmap::IndexMap;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::bounded::Bounded;
use super::super::call::Call;
use super::super::page::{Cursor, CursorPage, Limit};
use super::super::reply::{JsonReply, Octets};
use super::{ApiRoute, GET, POST, Unused};
use crate::error::Result;
use crate::model::{ConflictResolution, ConnectionName, EventId, EventStatus, UserId};
use crate::ops::webhooks::{
    self, BackfillEventsRequest, ListEventsRequest, PruneEventsRequest, ResolveConflictRequest,
};
use crate::view::schema::Time;
use crate::view::webhook::{
    BackfilledEventView, ConflictResolutionView, EventDetailView, EventRetryView, PruneListView, StoredEventView,
};

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new((GET, "/v1/events"), "webhook events", "List the events, the newest first", list),
        ApiRoute::new((GET, "/v1/events/{event}"), "webhook show", "Show an event with its payload and request", show),
        ApiRoute::new(
            (GET, "/v1/events/{event}/body"),
            "webhook show --body",
            "Return the exact body of an event",
            body,
        ),
        ApiRoute::new((POST, "/v1/events/{event}/retry"), "webhook retry", "Queue an event to be handled again", retry),
        ApiRoute::new(
            (POST, "/v1/events/{event}/resolve"),
            "webhook resolve",
            "Decide which bodies are events, if several were received under one delivery id",
            resolve,
        ),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/event-replays"),
            "webhook retry",
            "Queue the events since a time to be handled again",
            replay,
        ),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/event-backfills"),
            "webhook backfill",
            "Fetch missed events from the service",
            backfill,
        ),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/event-prunes"),
            "webhook prune",
            "Remove events that were processed",
            prune,
        ),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Only those of this connection.
    connection: Option<ConnectionName>,
    /// Only those of connections of this user.
    user: Option<UserId>,
    status: Option<EventStatus>,
    /// A type, or a pattern such as `charge.*`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Only those for which other bodies were received under the same delivery id.
    #[serde(default)]
    conflicts: bool,
    /// Only those received at this time or later.
    #[schemars(with = "Option<Time>")]
    since: Option<Timestamp>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

async fn list(call: Call<ListQuery, Unused>) -> Result<JsonReply<CursorPage<StoredEventView>>> {
    let ListQuery { connection, user, status, kind, conflicts, since, limit, cursor } = call.query;
    let request = ListEventsRequest {
        connection,
        user,
        status,
        kinds: kind.into_iter().collect(),
        only_conflicts: conflicts,
        since,
        before: cursor.map(|cursor| cursor.key().map(EventId)).transpose()?,
        limit: limit.with_next(),
    };
    let events = webhooks::list_events(&call.workspace, request).await?.events;
    Ok(JsonReply(CursorPage::new(events, limit, |event| event.id.to_string())))
}

fn event_id<B>(call: &Call<Unused, B>) -> Result<EventId> {
    Ok(EventId(call.path("event")?))
}

async fn show(call: Call<Unused, Unused>) -> Result<JsonReply<EventDetailView>> {
    Ok(JsonReply(webhooks::show_event(&call.workspace, event_id(&call)?).await?))
}

async fn body(call: Call<Unused, Unused>) -> Result<Octets> {
    Ok(Octets(webhooks::read_event_body(&call.workspace, event_id(&call)?).await?))
}

async fn retry(call: Call<Unused, Unused>) -> Result<JsonReply<EventRetryView>> {
    Ok(JsonReply(webhooks::retry_events(&call.workspace, vec![event_id(&call)?]).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResolveBody {
    keep: ConflictChoiceBody,
    /// The body to keep, with `number`: counted from 1, in the order of receipt.
    number: Option<Bounded<1, 1000>>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ConflictChoiceBody {
    First,
    All,
    Number,
}

async fn resolve(call: Call<Unused, ResolveBody>) -> Result<JsonReply<ConflictResolutionView>> {
    let id = event_id(&call)?;
    let resolution = match call.body.keep {
        ConflictChoiceBody::First => ConflictResolution::KeepFirst,
        ConflictChoiceBody::All => ConflictResolution::KeepAll,
        ConflictChoiceBody::Number => {
            ConflictResolution::KeepNumber(call.body.number.map_or(1, |number| number.get() as usize))
        }
    };
    Ok(JsonReply(webhooks::resolve_conflict(&call.workspace, ResolveConflictRequest { id, resolution }).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    /// Only events received at this time or later.
    #[schemars(with = "Time")]
    since: Timestamp,
    status: Option<EventStatus>,
    /// A type, or a pattern such as `charge.*`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Events that are queued at most, the newest first.
    #[serde(default)]
    limit: Limit,
    /// The `next_cursor` of the request before.
    cursor: Option<Cursor>,
}

/// Events that were queued to be handled again.
#[derive(JsonSchema, Serialize)]
struct EventReplayView {
    retried: usize,
    /// The cursor of older events; null if there are none.
    next_cursor: Option<String>,
}

/// Where events go is the owner's to say: they are handled again as they were at first.
async fn replay(call: Call<Unused, ReplayBody>) -> Result<JsonReply<EventReplayView>> {
    let connection = call.connection()?;
    let ReplayBody { since, status, kind, limit, cursor } = call.body;
    let request = ListEventsRequest {
        connection: Some(connection),
        user: None,
        status,
        kinds: kind.into_iter().collect(),
        only_conflicts: false,
        since: Some(since),
        before: cursor.map(|cursor| cursor.key().map(EventId)).transpose()?,
        limit: limit.with_next(),
    };
    let events = webhooks::list_events(&call.workspace, request).await?.events;
    let CursorPage { data, next_cursor } = CursorPage::new(events, limit, |event| event.id.to_string());
    let ids = data.iter().map(|event| EventId(event.id)).collect();
    let retried = webhooks::retry_events(&call.workspace, ids).await?.retried;
    Ok(JsonReply(EventReplayView { retried, next_cursor }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BackfillBody {
    #[schemars(with = "Time")]
    since: Timestamp,
    /// Now if absent.
    #[schemars(with = "Option<Time>")]
    until: Option<Timestamp>,
    /// New events that are stored at most.
    #[serde(default)]
    limit: Limit,
    /// Parameters of the service's API that no subscription gives.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, Value>")]
    input: IndexMap<String, Value>,
    /// Find events and store none.
    #[serde(default)]
    dry_run: bool,
}

/// Events that were fetched from a service.
#[derive(JsonSchema, Serialize)]
struct BackfilledEventListView {
    events: Vec<BackfilledEventView>,
    dry_run: bool,
}

async fn backfill(call: Call<Unused, BackfillBody>) -> Result<JsonReply<BackfilledEventListView>> {
    let connection = call.connection()?;
    let BackfillBody { since, until, limit, input, dry_run } = call.body;
    let request = BackfillEventsRequest {
        connection,
        since,
        until,
        limit: Some(limit.get().into()),
        input: input.into_iter().collect(),
        dry_run,
    };
    let mut events = Vec::new();
    let backfilling = webhooks::backfill_events(&call.workspace, request, |event| {
        events.push(event);
        Ok(())
    });
    Box::pin(backfilling).await?;
    Ok(JsonReply(BackfilledEventListView { events, dry_run }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PruneBody {
    /// For how many days events are stored; as the settings say if absent.
    keep_days: Option<Bounded<3, 36_500>>,
    /// Remove dead events as well.
    #[serde(default)]
    include_dead: bool,
    /// Count them without removing any.
    #[serde(default)]
    dry_run: bool,
}

async fn prune(call: Call<Unused, PruneBody>) -> Result<JsonReply<PruneListView>> {
    let PruneBody { keep_days, include_dead, dry_run } = &call.body;
    // Services send again for three days: what is removed earlier would come back as new.
    let retention = keep_days.map(Bounded::days);
    let request = PruneEventsRequest {
        connection: Some(call.connection()?),
        retention,
        include_dead: *include_dead,
        dry_run: *dry_run,
    };
    Ok(JsonReply(webhooks::prune_events(&call.workspace, request).await?))
}
