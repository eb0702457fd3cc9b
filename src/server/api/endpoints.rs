//! Endpoints, the messages that are sent to them, and their deliveries.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::super::bounded::Bounded;
use super::super::call::Call;
use super::super::page::{Cursor, CursorPage, Limit, PageQuery};
use super::super::problem::RequestError;
use super::super::reply::{Created, JsonReply, NoContent};
use super::{ApiRoute, DELETE, GET, PATCH, POST, Unused};
use crate::endpoint::{EndpointChange, RetryFilter};
use crate::error::{Error, Result};
use crate::model::{
    BackoffPolicy, Budget, DeliveryFilter, DeliveryId, DeliveryStatus, EndpointId, EventPattern, EventType,
};
use crate::ops::endpoints::{
    self, AddEndpointRequest, AddEventTypeRequest, RetryDeliveriesRequest, RotateSecretRequest, SendMessageRequest,
    UpdateEndpointRequest,
};
use crate::view::endpoint::{
    DeliveryDetailView, DeliveryRetryView, DeliveryView, EndpointDetailView, EndpointView, EventTypeView,
    SentMessageView,
};
use crate::view::schema::Time;

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new((GET, "/v1/endpoints"), "endpoint list", "List the endpoints", list),
        ApiRoute::new((POST, "/v1/endpoints"), "endpoint add", "Add an endpoint", add),
        ApiRoute::new((GET, "/v1/endpoints/{endpoint}"), "endpoint show", "Show an endpoint", show),
        ApiRoute::new((PATCH, "/v1/endpoints/{endpoint}"), "endpoint update", "Change an endpoint", update),
        ApiRoute::new((DELETE, "/v1/endpoints/{endpoint}"), "endpoint remove", "Remove an endpoint", remove),
        ApiRoute::new(
            (POST, "/v1/endpoints/{endpoint}/rotate"),
            "endpoint rotate",
            "Replace the signing secret of an endpoint",
            rotate,
        ),
        ApiRoute::new((POST, "/v1/endpoints/{endpoint}/enable"), "endpoint enable", "Enable an endpoint", enable),
        ApiRoute::new((POST, "/v1/endpoints/{endpoint}/disable"), "endpoint disable", "Disable an endpoint", disable),
        ApiRoute::new(
            (POST, "/v1/messages"),
            "endpoint send",
            "Send a message to every endpoint subscribed to its type",
            send,
        ),
        ApiRoute::new((GET, "/v1/deliveries"), "endpoint deliveries", "List deliveries, the newest first", deliveries),
        ApiRoute::new((GET, "/v1/deliveries/{delivery}"), "endpoint deliveries", "Show a delivery", delivery),
        ApiRoute::new((POST, "/v1/deliveries/{delivery}/retry"), "endpoint retry", "Retry a delivery", retry),
        ApiRoute::new(
            (POST, "/v1/delivery-retries"),
            "endpoint retry",
            "Retry the deliveries that have failed since a time",
            retry_failed,
        ),
        ApiRoute::new((GET, "/v1/event-types"), "endpoint event list", "List your event types", event_types),
        ApiRoute::new(
            (POST, "/v1/event-types"),
            "endpoint event add",
            "Describe one of your event types",
            add_event_type,
        ),
        ApiRoute::new(
            (DELETE, "/v1/event-types/{event_type}"),
            "endpoint event remove",
            "Remove an event type",
            remove_event_type,
        ),
    ]
}

async fn list(call: Call<PageQuery, Unused>) -> Result<JsonReply<CursorPage<EndpointView>>> {
    let PageQuery { limit, cursor } = call.query;
    let endpoints = endpoints::list_endpoints(&call.workspace).await?.endpoints;
    Ok(JsonReply(CursorPage::of_list(endpoints, cursor.as_ref(), limit, |endpoint| endpoint.endpoint.to_string())?))
}

/// The settings of an endpoint; what is absent keeps its value.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SettingsBody {
    /// An https URL.
    url: Option<String>,
    /// Event types or patterns; all if empty.
    events: Option<Vec<EventPattern>>,
    description: Option<String>,
    backoff: Option<BackoffPolicy>,
    max_attempts: Option<Bounded<1, 50>>,
    /// Seconds after which integ stops trying to deliver a message.
    ttl_secs: Option<Bounded<1, 2_592_000>>,
    timeout_secs: Option<Bounded<1, 60>>,
    rate: Option<RateBody>,
}

/// At most so many requests in so many seconds.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RateBody {
    units: Bounded<1, 1_000_000>,
    secs: Bounded<1, 86_400>,
    /// Requests that may be sent at once; all of them if absent.
    burst: Option<Bounded<1, 1_000_000>>,
}

impl From<RateBody> for Budget {
    fn from(rate: RateBody) -> Self {
        Self { units: rate.units.get(), secs: rate.secs.get(), burst: rate.burst.map(Bounded::get) }
    }
}

fn endpoint_url(text: &str) -> Result<Url> {
    let invalid = |error: url::ParseError| RequestError::Value { at: " at url".to_owned(), reason: error.to_string() };
    Ok(text.parse().map_err(invalid)?)
}

impl TryFrom<SettingsBody> for EndpointChange {
    type Error = Error;

    fn try_from(body: SettingsBody) -> Result<Self> {
        Ok(Self {
            url: body.url.as_deref().map(endpoint_url).transpose()?,
            events: body.events,
            description: body.description,
            policy: body.backoff,
            max_attempts: body.max_attempts.map(Bounded::get),
            ttl: body.ttl_secs.map(Bounded::seconds),
            timeout: body.timeout_secs.map(Bounded::seconds),
            rate: body.rate.map(Budget::from),
        })
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AddBody {
    /// An https URL.
    url: String,
    /// Event types or patterns; all if absent.
    events: Option<Vec<EventPattern>>,
    description: Option<String>,
}

async fn add(call: Call<Unused, AddBody>) -> Result<Created<EndpointDetailView>> {
    let AddBody { url, events, description } = call.body;
    let settings = EndpointChange { events, description, ..EndpointChange::default() };
    let url = endpoint_url(&url)?;
    let view = endpoints::add_endpoint(&call.workspace, AddEndpointRequest { url, settings }).await?;
    Ok(Created(format!("/v1/endpoints/{}", view.endpoint.endpoint), view))
}

fn endpoint_id<Q, B>(call: &Call<Q, B>) -> Result<EndpointId> {
    call.path("endpoint")
}

async fn show(call: Call<Unused, Unused>) -> Result<JsonReply<EndpointDetailView>> {
    Ok(JsonReply(endpoints::show_endpoint(&call.workspace, endpoint_id(&call)?).await?))
}

async fn update(call: Call<Unused, SettingsBody>) -> Result<JsonReply<EndpointDetailView>> {
    let id = endpoint_id(&call)?;
    let request = UpdateEndpointRequest { id, change: call.body.try_into()? };
    Ok(JsonReply(endpoints::update_endpoint(&call.workspace, request).await?))
}

async fn remove(call: Call<Unused, Unused>) -> Result<NoContent> {
    endpoints::remove_endpoint(&call.workspace, endpoint_id(&call)?).await?;
    Ok(NoContent)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RotateBody {
    /// Seconds for which messages are also signed with the previous secret; none if absent.
    overlap_secs: Option<Bounded<0, 604_800>>,
}

async fn rotate(call: Call<Unused, RotateBody>) -> Result<JsonReply<EndpointDetailView>> {
    let id = endpoint_id(&call)?;
    let request = RotateSecretRequest { id, overlap: call.body.overlap_secs.map_or(Duration::ZERO, Bounded::seconds) };
    Ok(JsonReply(endpoints::rotate_endpoint_secret(&call.workspace, request).await?))
}

async fn enable(call: Call<Unused, Unused>) -> Result<JsonReply<EndpointDetailView>> {
    Ok(JsonReply(endpoints::enable_endpoint(&call.workspace, endpoint_id(&call)?).await?))
}

async fn disable(call: Call<Unused, Unused>) -> Result<JsonReply<EndpointDetailView>> {
    Ok(JsonReply(endpoints::disable_endpoint(&call.workspace, endpoint_id(&call)?).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MessageBody {
    #[serde(rename = "type")]
    kind: EventType,
    #[serde(default)]
    data: Value,
    /// An id of your own: a message with the same id is sent only once.
    id: Option<String>,
    /// Send it to this endpoint only.
    endpoint: Option<EndpointId>,
}

async fn send(call: Call<Unused, MessageBody>) -> Result<Created<SentMessageView>> {
    let MessageBody { kind, data, id, endpoint } = call.body;
    let data = Some(data.to_string().into_bytes());
    let request = SendMessageRequest { kind, data, id, endpoint, wait: None };
    let view = endpoints::send_message(&call.workspace, request).await?;
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("message", &view.message).finish();
    Ok(Created(format!("/v1/deliveries?{query}"), view))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeliveriesQuery {
    endpoint: Option<EndpointId>,
    /// The id of a message.
    message: Option<String>,
    status: Option<DeliveryStatus>,
    /// Only those of messages created at this time or later.
    #[schemars(with = "Option<Time>")]
    since: Option<Timestamp>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

async fn deliveries(call: Call<DeliveriesQuery, Unused>) -> Result<JsonReply<CursorPage<DeliveryView>>> {
    let DeliveriesQuery { endpoint, message, status, since, limit, cursor } = call.query;
    let before = cursor.map(|cursor| cursor.key()).transpose()?;
    let filter = DeliveryFilter { endpoint, message, status, since, before, limit: limit.with_next() };
    let deliveries = endpoints::list_deliveries(&call.workspace, filter).await?.deliveries;
    Ok(JsonReply(CursorPage::new(deliveries, limit, |delivery| delivery.delivery.to_string())))
}

fn delivery_id(call: &Call<Unused, Unused>) -> Result<DeliveryId> {
    call.path("delivery")
}

async fn delivery(call: Call<Unused, Unused>) -> Result<JsonReply<DeliveryDetailView>> {
    Ok(JsonReply(endpoints::show_delivery(&call.workspace, delivery_id(&call)?).await?))
}

async fn retry(call: Call<Unused, Unused>) -> Result<JsonReply<DeliveryRetryView>> {
    let request = RetryDeliveriesRequest::Deliveries(vec![delivery_id(&call)?]);
    Ok(JsonReply(endpoints::retry_deliveries(&call.workspace, request).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RetryBody {
    endpoint: Option<EndpointId>,
    /// Deliveries of messages created at this time or later.
    #[schemars(with = "Time")]
    since: Timestamp,
}

async fn retry_failed(call: Call<Unused, RetryBody>) -> Result<JsonReply<DeliveryRetryView>> {
    let RetryBody { endpoint, since } = call.body;
    let request = RetryDeliveriesRequest::Failed(RetryFilter { endpoint, since });
    Ok(JsonReply(endpoints::retry_deliveries(&call.workspace, request).await?))
}

async fn event_types(call: Call<PageQuery, Unused>) -> Result<JsonReply<CursorPage<EventTypeView>>> {
    let PageQuery { limit, cursor } = call.query;
    let types = endpoints::list_event_types(&call.workspace).await?.events;
    Ok(JsonReply(CursorPage::of_list(types, cursor.as_ref(), limit, |known| known.event.clone())?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EventTypeBody {
    #[serde(rename = "type")]
    kind: EventType,
    description: String,
    sample: Option<Value>,
}

async fn add_event_type(call: Call<Unused, EventTypeBody>) -> Result<Created<EventTypeView>> {
    let EventTypeBody { kind, description, sample } = call.body;
    let location = format!("/v1/event-types/{kind}");
    let request = AddEventTypeRequest { kind, description, sample };
    Ok(Created(location, endpoints::add_event_type(&call.workspace, request).await?))
}

async fn remove_event_type(call: Call<Unused, Unused>) -> Result<NoContent> {
    endpoints::remove_event_type(&call.workspace, call.path("event_type")?).await?;
    Ok(NoContent)
}
