//! How webhooks reach a connection: URL, secret, subscriptions, simulation.

use indexmap::IndexMap;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::super::base64_body::Base64Bytes;
use super::super::bounded::Bounded;
use super::super::call::Call;
use super::super::reply::{Created, JsonReply};
use super::{ApiRoute, DELETE, GET, POST, Unused};
use crate::error::Result;
use crate::model::SubscriptionId;
use crate::ops::webhooks::{
    self, SimulateEventsRequest, SimulationObserver, SimulationTarget, SubscribeRequest, UnsubscribeRequest,
    VerifyRequest,
};
use crate::signing::request::WebhookRequest;
use crate::view::schema::Time;
use crate::view::webhook::{
    SampleEventListView, SentEventView, SubscribedView, UnsubscribedView, VerificationView, WebhookSecretView,
    WebhookUrlView,
};
use crate::webhook::simulate::corrupt::Corruption;

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new(
            (GET, "/v1/connections/{connection}/webhook"),
            "webhook url",
            "Return the URL that the service calls",
            url,
        ),
        ApiRoute::new(
            (GET, "/v1/connections/{connection}/webhook/secret"),
            "webhook secret",
            "Return whether a signing secret is stored, without the secret",
            secret,
        ),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/subscriptions"),
            "webhook subscribe",
            "Register the webhook URL at the service",
            subscribe,
        ),
        ApiRoute::new(
            (DELETE, "/v1/connections/{connection}/subscriptions/{subscription}"),
            "webhook unsubscribe",
            "Remove a registration at the service",
            unsubscribe,
        ),
        ApiRoute::new(
            (GET, "/v1/connections/{connection}/samples"),
            "webhook samples",
            "List the event types that have a sample",
            samples,
        ),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/simulate"),
            "webhook simulate",
            "Send sample events to this server, signed as the service signs them",
            simulate,
        ),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/webhook-verifications"),
            "webhook verify",
            "Verify a captured request as the service's",
            verify,
        ),
    ]
}

async fn url(call: Call<Unused, Unused>) -> Result<JsonReply<WebhookUrlView>> {
    Ok(JsonReply(webhooks::show_webhook_url(&call.workspace, &call.connection()?).await?))
}

async fn secret(call: Call<Unused, Unused>) -> Result<JsonReply<WebhookSecretView>> {
    Ok(JsonReply(webhooks::show_webhook_secret(&call.workspace, &call.connection()?).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SubscribeBody {
    /// Event types; the connector's usual ones if empty.
    #[serde(default)]
    events: Vec<String>,
    /// Parameters that the subscription asks for.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, Value>")]
    input: IndexMap<String, Value>,
}

async fn subscribe(call: Call<Unused, SubscribeBody>) -> Result<Created<SubscribedView>> {
    let connection = call.connection()?;
    let location = format!("/v1/connections/{connection}");
    let SubscribeBody { events, input } = call.body;
    let request = SubscribeRequest { connection, url: None, events, input: input.into_iter().collect() };
    Ok(Created(location, Box::pin(webhooks::subscribe(&call.workspace, request)).await?))
}

async fn unsubscribe(call: Call<Unused, Unused>) -> Result<JsonReply<UnsubscribedView>> {
    let id = Some(SubscriptionId(call.path("subscription")?));
    let request = UnsubscribeRequest { connection: call.connection()?, id, all: false, local: false };
    Ok(JsonReply(Box::pin(webhooks::unsubscribe(&call.workspace, request)).await?))
}

async fn samples(call: Call<Unused, Unused>) -> Result<JsonReply<SampleEventListView>> {
    let connection = call.connection()?;
    call.workspace.connection(&connection).await?;
    Ok(JsonReply(webhooks::list_sample_events(&call.workspace, &connection).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SimulateBody {
    /// One of the connector's event types, or a pattern such as `invoice.*`.
    event: String,
    /// A payload to use instead of the sample's.
    data: Option<Value>,
    /// How many; one if absent.
    count: Option<Bounded<1, 100>>,
    /// Corrupt the request, so that the receiver must reject it.
    invalid: Option<Corruption>,
}

/// Events that were sent.
#[derive(JsonSchema, Serialize)]
struct SimulationView {
    /// Where they were sent.
    #[schemars(with = "String")]
    to: Url,
    sent: u64,
    /// Those that did not get the expected response.
    unexpected: u64,
    events: Vec<SentEventView>,
}

/// Collects the events that were sent.
#[derive(Default)]
struct SentEvents(Vec<SentEventView>);

impl SimulationObserver for SentEvents {
    fn starts(&mut self, _: &SimulationTarget) {}

    fn sent(&mut self, event: SentEventView) -> Result<()> {
        self.0.push(event);
        Ok(())
    }
}

async fn simulate(call: Call<Unused, SimulateBody>) -> Result<JsonReply<SimulationView>> {
    let source = call.connection()?;
    call.workspace.connection(&source).await?;
    let SimulateBody { event, data, count, invalid } = call.body;
    let request = SimulateEventsRequest {
        source,
        event,
        to: None,
        set: Vec::new(),
        data: data.map(|data| data.to_string().into_bytes()),
        secret: None,
        count: count.map_or(1, |count| count.get().into()),
        rate: None,
        corruption: invalid,
    };
    let mut sent = SentEvents::default();
    let result = Box::pin(webhooks::simulate_events(&call.workspace, request, &mut sent)).await?;
    Ok(JsonReply(SimulationView { to: result.to, sent: result.sent, unexpected: result.unexpected, events: sent.0 }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VerifyBody {
    /// As it was received, names and values.
    headers: Vec<(String, String)>,
    body_base64: Base64Bytes,
    #[serde(default = "post")]
    method: String,
    /// The URL that the service called; the connection's if absent.
    url: Option<String>,
    /// The time to verify it at; now if absent.
    #[schemars(with = "Option<Time>")]
    at: Option<Timestamp>,
}

fn post() -> String {
    "POST".to_owned()
}

async fn verify(call: Call<Unused, VerifyBody>) -> Result<JsonReply<VerificationView>> {
    let connection = call.connection()?;
    call.workspace.connection(&connection).await?;
    let VerifyBody { headers, body_base64, method, url, at } = call.body;
    let request = WebhookRequest { method, url: String::new(), headers, body: body_base64.0 };
    let request = VerifyRequest { connection, request, url, at };
    Ok(JsonReply(webhooks::verify_request(&call.workspace, request).await?))
}
