//! Webhook events that were received.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::call::Call;
use super::super::page::{Cursor, CursorPage, Limit};
use super::super::reply::{JsonReply, Octets};
use super::{ApiRoute, GET, POST, Unused};
use crate::error::Result;
use crate::model::{ConflictResolution, ConnectionName, EventId, EventStatus, UserId};
use crate::ops::webhooks::{self, ListEventsRequest, ResolveConflictRequest};
use crate::view::schema::Time;
use crate::view::webhook::{ConflictResolutionView, EventDetailView, EventRetryView, StoredEventView};

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
    #[schemars(range(min = 1))]
    number: Option<usize>,
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
        ConflictChoiceBody::Number => ConflictResolution::KeepNumber(call.body.number.unwrap_or(1)),
    };
    Ok(JsonReply(webhooks::resolve_conflict(&call.workspace, ResolveConflictRequest { id, resolution }).await?))
}
