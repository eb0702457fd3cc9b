//! Endpoints, the messages that are sent to them, and their deliveries.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::super::call::Call;
use super::super::page::{Cursor, CursorPage, Limit, PageQuery};
use super::super::reply::{Created, JsonReply, NoContent};
use super::{ApiRoute, DELETE, GET, PATCH, POST, Unused};
use crate::endpoint::{EndpointChange, RetryFilter};
use crate::error::Result;
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
    #[schemars(with = "Option<String>")]
    url: Option<Url>,
    /// Event types or patterns; all if empty.
    events: Option<Vec<EventPattern>>,
    description: Option<String>,
    backoff: Option<BackoffPolicy>,
    #[schemars(range(min = 1, max = 50))]
    max_attempts: Option<u32>,
    /// Seconds after which integ stops trying to deliver a message.
    #[schemars(range(min = 1, max = 2_592_000))]
    ttl_secs: Option<u32>,
    #[schemars(range(min = 1, max = 60))]
    timeout_secs: Option<u32>,
    rate: Option<Budget>,
}

impl From<SettingsBody> for EndpointChange {
    fn from(body: SettingsBody) -> Self {
        let secs = |seconds: u32| Duration::from_secs(seconds.into());
        Self {
            url: body.url,
            events: body.events,
            description: body.description,
            policy: body.backoff,
            max_attempts: body.max_attempts,
            ttl: body.ttl_secs.map(secs),
            timeout: body.timeout_secs.map(secs),
            rate: body.rate,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AddBody {
    /// An https URL.
    #[schemars(with = "String")]
    url: Url,
    /// Event types or patterns; all if absent.
    events: Option<Vec<EventPattern>>,
    description: Option<String>,
}

async fn add(call: Call<Unused, AddBody>) -> Result<Created<EndpointDetailView>> {
    let AddBody { url, events, description } = call.body;
    let settings = EndpointChange { events, description, ..EndpointChange::default() };
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
    let request = UpdateEndpointRequest { id, change: call.body.into() };
    Ok(JsonReply(endpoints::update_endpoint(&call.workspace, request).await?))
}

async fn remove(call: Call<Unused, Unused>) -> Result<NoContent> {
    endpoints::remove_endpoint(&call.workspace, endpoint_id(&call)?).await?;
    Ok(NoContent)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RotateBody {
    /// Seconds for which messages are also signed with the previous secret.
    #[serde(default)]
    #[schemars(range(max = 604_800))]
    overlap_secs: u32,
}

async fn rotate(call: Call<Unused, RotateBody>) -> Result<JsonReply<EndpointDetailView>> {
    let id = endpoint_id(&call)?;
    let request = RotateSecretRequest { id, overlap: Duration::from_secs(call.body.overlap_secs.into()) };
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
