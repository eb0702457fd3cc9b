//! Views of endpoints, of the messages sent to them, and of the catalogue of event types.
//!
//! Times are RFC 3339 in UTC. `as_of` is not printed: it is the time that a person's "5 min ago" counts from.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::schema::Time;
use super::{optional_word, word, word_list};
use crate::clock::Timestamp;
use crate::endpoint::SentMessage;
use crate::model::delivery::{Delivery, DeliveryAttempt, DeliveryId, DeliveryStatus};
use crate::model::endpoint::BackoffPolicy;
use crate::model::{Budget, DisabledReason, Endpoint, EndpointId, EventPattern, EventType, EventTypeDefinition, words};
use crate::secret::Secret;
use crate::worker::deliver::CompletedAttempt;

/// Whether messages are sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointStatus {
    Enabled,
    /// Messages are sent, but no attempt has succeeded since the failures began.
    Failing,
    /// Nothing is sent until it is enabled.
    Disabled,
}

words!(EndpointStatus { Enabled => "enabled", Failing => "failing", Disabled => "disabled" });

/// An endpoint with its delivery policy.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct EndpointView {
    #[serde(serialize_with = "word")]
    pub endpoint: EndpointId,
    pub url: String,
    pub description: Option<String>,
    /// The patterns of the types that it receives; `*` for all.
    #[serde(serialize_with = "word_list")]
    pub events: Vec<EventPattern>,
    #[serde(serialize_with = "word")]
    pub status: EndpointStatus,
    #[serde(serialize_with = "optional_word")]
    pub disabled_reason: Option<DisabledReason>,
    #[schemars(with = "Option<Time>")]
    pub disabled_at: Option<Timestamp>,
    #[schemars(with = "Option<Time>")]
    pub failing_since: Option<Timestamp>,
    /// Until when the endpoint asked not to be called; absent afterwards.
    #[schemars(with = "Option<Time>")]
    pub paused_until: Option<Timestamp>,
    #[serde(serialize_with = "word")]
    pub backoff: BackoffPolicy,
    pub max_attempts: u32,
    pub ttl_secs: u64,
    /// Of one attempt.
    pub timeout_secs: u64,
    /// Requests in a unit of time: `10/s`, `100/m`, `5/h`.
    pub rate: Option<String>,
    #[schemars(with = "Time")]
    pub created_at: Timestamp,
    /// Until when the previous secret is also used for signing.
    #[schemars(with = "Option<Time>")]
    pub previous_secret_expires_at: Option<Timestamp>,
    #[serde(skip)]
    #[schemars(with = "Time")]
    pub as_of: Timestamp,
}

impl EndpointView {
    /// Creates the view of an endpoint; one without event patterns gets all events.
    pub fn new(endpoint: &Endpoint, as_of: Timestamp) -> Self {
        let health = &endpoint.health;
        let policy = &endpoint.policy;
        let status = match health.disabled {
            Some(_) => EndpointStatus::Disabled,
            None if health.failing_since.is_some() => EndpointStatus::Failing,
            None => EndpointStatus::Enabled,
        };
        Self {
            endpoint: endpoint.id.clone(),
            url: endpoint.url.to_string(),
            description: endpoint.description.clone(),
            events: match endpoint.events.as_slice() {
                [] => vec![EventPattern::all()],
                events => events.to_vec(),
            },
            status,
            disabled_reason: health.disabled.map(|(reason, _)| reason),
            disabled_at: health.disabled.map(|(_, at)| at),
            failing_since: health.failing_since,
            paused_until: health.paused_until.filter(|until| *until > as_of),
            backoff: policy.backoff,
            max_attempts: policy.max_attempts,
            ttl_secs: policy.ttl.as_secs(),
            timeout_secs: policy.timeout.as_secs(),
            rate: policy.rate.map(rate),
            created_at: endpoint.created_at,
            previous_secret_expires_at: endpoint.overlap_until(as_of),
            as_of,
        }
    }

    /// Since when the endpoint has been disabled or failing.
    pub fn status_since(&self) -> Option<Timestamp> {
        self.disabled_at.or(self.failing_since)
    }
}

fn rate(budget: Budget) -> String {
    let unit = match budget.secs {
        3600 => "h",
        60 => "m",
        _ => "s",
    };
    format!("{}/{unit}", budget.units)
}

/// All endpoints of a workspace.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct EndpointListView {
    pub endpoints: Vec<EndpointView>,
}

/// One endpoint, with its signing secret if that is new. It has no `Debug`, which would print the secret.
#[derive(JsonSchema, Serialize)]
pub struct EndpointDetailView {
    #[serde(flatten)]
    pub endpoint: EndpointView,
    /// The signing secret, which is returned only by the operation that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The patterns that match no type of the catalogue, which are most likely misspelled.
    #[serde(skip)]
    pub unmatched_patterns: Vec<EventPattern>,
}

impl EndpointDetailView {
    /// Creates the view without the signing secret and without unmatched patterns.
    pub fn new(endpoint: &Endpoint, as_of: Timestamp) -> Self {
        Self { endpoint: EndpointView::new(endpoint, as_of), secret: None, unmatched_patterns: Vec::new() }
    }

    /// Adds the new secret, the only one that a view reveals.
    #[must_use]
    pub fn with_secret(self, secret: &Secret) -> Self {
        Self { secret: Some(secret.expose().clone()), ..self }
    }

    /// Adds the patterns that match no type of the catalogue.
    #[must_use]
    pub fn with_unmatched_patterns(self, unmatched_patterns: Vec<EventPattern>) -> Self {
        Self { unmatched_patterns, ..self }
    }
}

/// A message on its way to one endpoint.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DeliveryView {
    #[serde(serialize_with = "word")]
    pub delivery: DeliveryId,
    pub message: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(serialize_with = "word")]
    pub endpoint: EndpointId,
    #[serde(serialize_with = "word")]
    pub status: DeliveryStatus,
    pub attempts: u32,
    #[schemars(with = "Option<Time>")]
    pub next_attempt_at: Option<Timestamp>,
    #[schemars(with = "Time")]
    pub expires_at: Timestamp,
    #[schemars(with = "Time")]
    pub created_at: Timestamp,
    pub last_error: Option<String>,
    #[serde(skip)]
    #[schemars(with = "Time")]
    pub as_of: Timestamp,
}

impl DeliveryView {
    /// Creates the view of a delivery without its attempts.
    pub fn new(delivery: &Delivery, as_of: Timestamp) -> Self {
        Self {
            delivery: delivery.id,
            message: delivery.message.clone(),
            kind: delivery.kind.clone(),
            endpoint: delivery.endpoint.clone(),
            status: delivery.status,
            attempts: delivery.attempts,
            next_attempt_at: delivery.due_at,
            expires_at: delivery.expires_at,
            created_at: delivery.created_at,
            last_error: delivery.last_error.clone(),
            as_of,
        }
    }
}

/// Deliveries, the newest first.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DeliveryListView {
    pub deliveries: Vec<DeliveryView>,
}

/// One attempt of a delivery.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DeliveryAttemptView {
    #[schemars(with = "Time")]
    pub started_at: Timestamp,
    pub duration_ms: u64,
    /// Without the value of the signature.
    pub request_headers: Map<String, Value>,
    pub response_status: Option<u16>,
    /// The first kilobyte.
    pub response_body: Option<String>,
    pub error: Option<String>,
}

impl DeliveryAttemptView {
    fn new(attempt: &DeliveryAttempt) -> Self {
        let header = |(name, value): &(String, String)| (name.clone(), json!(value));
        Self {
            started_at: attempt.started_at,
            duration_ms: millis(attempt),
            request_headers: attempt.request_headers.iter().map(header).collect(),
            response_status: attempt.response_status,
            response_body: attempt.response_body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned()),
            error: attempt.error.clone(),
        }
    }
}

fn millis(attempt: &DeliveryAttempt) -> u64 {
    u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX)
}

/// A delivery with its attempts, the oldest first.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DeliveryDetailView {
    #[serde(flatten)]
    pub delivery: DeliveryView,
    pub attempt_log: Vec<DeliveryAttemptView>,
}

impl DeliveryDetailView {
    /// Creates the view of a delivery with its attempts, which are given oldest first.
    pub fn new(delivery: &Delivery, attempts: &[DeliveryAttempt], as_of: Timestamp) -> Self {
        Self {
            delivery: DeliveryView::new(delivery, as_of),
            attempt_log: attempts.iter().map(DeliveryAttemptView::new).collect(),
        }
    }
}

/// A message that was stored, with its deliveries.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SentMessageView {
    pub message: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// A message with this id was stored before; it is not sent again.
    pub duplicate: bool,
    pub deliveries: Vec<DeliveryView>,
    /// Disabled endpoints that would have received it.
    #[serde(serialize_with = "word_list")]
    pub disabled_endpoints: Vec<EndpointId>,
}

impl SentMessageView {
    /// Creates the view of a stored message with its deliveries.
    pub fn new(message: &SentMessage, as_of: Timestamp) -> Self {
        Self {
            message: message.message.clone(),
            kind: message.kind.clone(),
            duplicate: message.is_duplicate,
            deliveries: message.deliveries.iter().map(|one| DeliveryView::new(one, as_of)).collect(),
            disabled_endpoints: message.disabled.clone(),
        }
    }
}

/// How many messages a prune removed.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct MessagePruneView {
    pub removed: usize,
}

/// How many deliveries are due again.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct DeliveryRetryView {
    pub retried: usize,
}

/// Number of attempts of a run by status.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct DeliverySummaryView {
    pub delivered: u64,
    /// To be tried again.
    pub failed: u64,
    /// Given up.
    pub dead: u64,
}

/// The name of the line that reports an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryEvent {
    Attempted,
}

words!(DeliveryEvent { Attempted => "attempted" });

/// An attempt that a run recorded: one line of its output.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AttemptedView {
    #[serde(serialize_with = "word")]
    pub event: DeliveryEvent,
    #[serde(serialize_with = "word")]
    pub delivery: DeliveryId,
    pub message: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(serialize_with = "word")]
    pub endpoint: EndpointId,
    #[serde(serialize_with = "word")]
    pub status: DeliveryStatus,
    pub attempts: u32,
    pub response_status: Option<u16>,
    pub duration_ms: u64,
    #[schemars(with = "Option<Time>")]
    pub next_attempt_at: Option<Timestamp>,
    pub error: Option<String>,
    /// Why this attempt disabled the endpoint.
    #[serde(rename = "disabled", serialize_with = "optional_word")]
    pub disabled_reason: Option<DisabledReason>,
}

impl AttemptedView {
    /// Creates the view of an attempt; status and next time are those of the delivery after it.
    pub fn new(completed: &CompletedAttempt) -> Self {
        let delivery = &completed.recorded.delivery;
        Self {
            event: DeliveryEvent::Attempted,
            delivery: delivery.id,
            message: delivery.message.clone(),
            kind: delivery.kind.clone(),
            endpoint: delivery.endpoint.clone(),
            status: delivery.status,
            attempts: delivery.attempts,
            response_status: completed.attempt.response_status,
            duration_ms: millis(&completed.attempt),
            next_attempt_at: delivery.due_at,
            error: completed.attempt.error.clone(),
            disabled_reason: completed.recorded.disabled_reason,
        }
    }
}

/// A type of the user's own events.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct EventTypeView {
    pub event: String,
    pub description: String,
    /// Sample data whose members every message of this type must have.
    pub sample: Option<Value>,
}

impl From<EventTypeDefinition> for EventTypeView {
    fn from(definition: EventTypeDefinition) -> Self {
        Self { event: definition.kind, description: definition.description, sample: definition.sample }
    }
}

/// The catalogue of event types.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct EventTypeListView {
    pub events: Vec<EventTypeView>,
}

/// A type that was removed from the catalogue.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct EventTypeRemovalView {
    #[serde(serialize_with = "word")]
    pub event: EventType,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::endpoint::{DeliveryPolicy, EndpointHealth};

    fn secs(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).unwrap()
    }

    fn endpoint(health: EndpointHealth) -> Endpoint {
        let policy = DeliveryPolicy {
            backoff: BackoffPolicy::Linear,
            max_attempts: 3,
            ttl: Duration::from_secs(90),
            timeout: Duration::from_secs(5),
            rate: Some(Budget { units: 10, secs: 60, burst: None }),
        };
        let url = "https://example.com/hook".parse().unwrap();
        Endpoint { health, ..Endpoint::new(url, Secret::new("whsec_x".to_owned()), policy, secs(0)) }
    }

    #[test]
    fn the_status_of_an_endpoint_follows_from_its_health() {
        let view = |health| EndpointView::new(&endpoint(health), secs(100));
        assert_eq!(view(EndpointHealth::default()).status, EndpointStatus::Enabled);
        let failing = EndpointHealth { failing_since: Some(secs(7)), ..EndpointHealth::default() };
        assert_eq!((view(failing).status, view(failing).status_since()), (EndpointStatus::Failing, Some(secs(7))));
        let disabled = EndpointHealth { disabled: Some((DisabledReason::Gone, secs(9))), ..failing };
        assert_eq!((view(disabled).status, view(disabled).status_since()), (EndpointStatus::Disabled, Some(secs(9))));
    }

    #[test]
    fn an_endpoint_is_serialized_with_units_in_the_keys_and_without_its_secret() {
        let paused = |until| EndpointHealth { paused_until: Some(secs(until)), ..EndpointHealth::default() };
        let json = serde_json::to_value(EndpointDetailView::new(&endpoint(paused(100)), secs(100))).unwrap();
        let picked =
            ["events", "backoff", "max_attempts", "ttl_secs", "timeout_secs", "rate", "paused_until", "secret"];
        assert_eq!(
            picked.map(|key| json[key].clone()),
            [json!(["*"]), json!("linear"), json!(3), json!(90), json!(5), json!("10/m"), json!(null), json!(null)]
        );
        let json = serde_json::to_value(EndpointView::new(&endpoint(paused(101)), secs(100))).unwrap();
        assert_eq!(json["paused_until"], "1970-01-01T00:01:41Z");
    }
}
