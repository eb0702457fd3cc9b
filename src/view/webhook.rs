//! Webhooks of services: their URLs, secrets and subscriptions, and the events received. Times are RFC 3339.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::schema::{Time, tag};
use crate::clock::Timestamp;
use crate::connector::{SignatureCoverage, SignedPart};
use crate::model::event::StoredEvent;
use crate::model::subscription::Subscription;
use crate::model::{ConnectionName, EventStatus, EventVerification, HandlerKind, HandlerRun};
use crate::webhook::backfill::BackfilledEvent;
use crate::webhook::inbound::explain::{CheckStatus, VerificationReport};
use crate::webhook::replay::ReplayResult;
use crate::webhook::settings::SecretSource;
use crate::webhook::simulate::burst::SentRequest;
use crate::webhook::simulate::corrupt::Corruption;
use crate::webhook::subscription::{LeaseStatus, lease};

/// Writes a closed enum as its word.
fn word<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The same of one that may be absent.
pub(super) fn optional_word<S: Serializer>(value: &Option<impl Display>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// The URL to register at the vendor, and what else to enter there.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct WebhookUrlView {
    pub connection: String,
    pub connector: String,
    /// The URL that the vendor calls. Its path is secret.
    pub url: String,
    /// The local URL that it must forward to.
    pub local_url: String,
    /// Whether `url` is public, as given by the user, and not a local address.
    pub is_public: bool,
    /// The connector's instructions.
    pub setup: String,
    pub params: Vec<WebhookParamView>,
    pub events: Vec<WebhookEventTypeView>,
    /// Whether integ can register the URL by the vendor's API.
    pub can_subscribe: bool,
    pub subscriptions: Vec<SubscriptionView>,
}

/// A value needed to receive webhooks.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct WebhookParamView {
    pub name: String,
    pub prompt: String,
    pub secret: bool,
    pub optional: bool,
    /// Whether there is a value.
    pub known: bool,
}

/// An event type of a connector.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct WebhookEventTypeView {
    pub event: String,
    pub about: String,
}

/// The signing secret of a connection.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct WebhookSecretView {
    pub connection: String,
    /// Absent if there is no secret.
    #[serde(serialize_with = "optional_word")]
    pub source: Option<SecretSource>,
    /// Whether the vendor signs with a secret of this connection.
    pub supports_secret: bool,
    /// How many secrets are valid now.
    pub active_secrets: usize,
    /// The names of the values stored.
    pub params: Vec<String>,
    /// The valid secret, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// A subscription, with no secret and without the URL, whose path is one.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct SubscriptionView {
    pub id: i64,
    #[serde(serialize_with = "word")]
    pub status: LeaseStatus,
    pub events: Vec<String>,
    pub params: BTreeMap<String, Value>,
    #[schemars(with = "Time")]
    pub created_at: Timestamp,
    #[schemars(with = "Option<Time>")]
    pub expires_at: Option<Timestamp>,
    #[schemars(with = "Option<Time>")]
    pub renews_at: Option<Timestamp>,
    pub error: Option<String>,
    /// The command that fixes it.
    pub hint: Option<String>,
    #[serde(skip)]
    pub is_problem: bool,
    /// Seconds until it is renewed.
    #[serde(skip)]
    pub renews_in: Option<i64>,
}

impl SubscriptionView {
    /// Creates the view of a subscription, with its renewal and problems as of `now`.
    pub fn new(row: &Subscription, now: Timestamp) -> Self {
        let lease = lease(row, now);
        let (error, hint) = lease.note.unzip();
        Self {
            id: row.id.0,
            status: lease.status,
            events: row.request.events.clone(),
            params: row.request.params.clone(),
            created_at: row.created_at,
            expires_at: row.expires_at,
            renews_at: lease.renews_at,
            renews_in: lease.renews_at.map(|at| at.as_second() - now.as_second()),
            error,
            hint,
            is_problem: lease.is_problem,
        }
    }
}

/// A new or existing subscription.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SubscribedView {
    pub connection: String,
    pub url: String,
    /// `false` if it was registered before.
    pub is_new: bool,
    pub subscription: SubscriptionView,
    /// Event types that the connector does not know.
    #[serde(skip)]
    pub unknown_events: Vec<String>,
}

/// The IDs of subscriptions that were ended.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct UnsubscribedView {
    pub connection: String,
    pub unsubscribed: Vec<i64>,
    /// Whether they were only removed locally.
    pub local: bool,
}

/// Events, the newest first.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct EventListView {
    #[serde(skip)]
    #[schemars(with = "Time")]
    pub listed_at: Timestamp,
    pub events: Vec<StoredEventView>,
}

/// An event with its status.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct StoredEventView {
    pub id: i64,
    pub connection: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub delivery_id: String,
    pub account: Option<String>,
    pub resource: Option<String>,
    pub actor: Option<String>,
    /// When it happened, as the vendor says.
    #[schemars(with = "Option<Time>")]
    pub time: Option<Timestamp>,
    #[schemars(with = "Time")]
    pub received_at: Timestamp,
    /// Whether the vendor is proven to have sent it.
    pub verified: bool,
    /// The vendor's payload; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    #[serde(serialize_with = "word")]
    pub status: EventStatus,
    #[serde(serialize_with = "word")]
    pub verification: EventVerification,
    /// Number of handling attempts.
    pub attempts: u32,
    pub error: Option<String>,
    /// Number of other bodies received under its delivery ID.
    pub conflicts: u32,
}

impl StoredEventView {
    /// Creates the view of an event. Lists leave the payload out.
    pub fn new(event: StoredEvent, payload: Option<Value>) -> Self {
        Self {
            id: event.id.0,
            connection: event.connection.to_string(),
            kind: event.kind,
            delivery_id: event.delivery_id,
            account: event.account,
            resource: event.resource,
            actor: event.actor,
            time: event.occurred_at,
            received_at: event.received_at,
            verified: event.verification == EventVerification::Verified,
            payload,
            status: event.status,
            verification: event.verification,
            attempts: event.attempts,
            error: event.last_error,
            conflicts: event.conflict_count,
        }
    }
}

/// An event with its request.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct EventDetailView {
    #[serde(flatten)]
    pub event: StoredEventView,
    /// What each handler did in each attempt, in order.
    pub handled: Vec<HandlerRunView>,
    pub other_bodies: Vec<ConflictingBodyView>,
    pub query: String,
    /// Names and values as received, in order; secrets are redacted.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body.
    pub size: usize,
}

/// The result of one handler in one attempt.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct HandlerRunView {
    /// From 1; restarts at 1 if the event is queued again.
    pub attempt: u32,
    #[serde(serialize_with = "word")]
    pub handler: HandlerKind,
    #[schemars(with = "Time")]
    pub started_at: Timestamp,
    pub duration_ms: u64,
    /// The HTTP status of the response, or the exit code of the command.
    pub status: Option<i32>,
    /// Why it failed; absent if it did not.
    pub error: Option<String>,
    /// The first 4 KiB of the response or output of a failed handler.
    pub output: Option<String>,
}

impl HandlerRunView {
    /// Creates the view of a run.
    pub fn new(run: &HandlerRun) -> Self {
        Self {
            attempt: run.attempt,
            handler: run.handler,
            started_at: run.started_at,
            duration_ms: millis(run.duration),
            status: run.status,
            error: run.error.clone(),
            output: (!run.output.is_empty()).then(|| String::from_utf8_lossy(&run.output).into_owned()),
        }
    }
}

/// Another body received under the delivery ID of an event.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConflictingBodyView {
    /// From 1, for `webhook resolve`.
    pub number: usize,
    #[serde(rename = "type")]
    pub kind: String,
    #[schemars(with = "Time")]
    pub received_at: Timestamp,
    #[serde(serialize_with = "word")]
    pub verification: EventVerification,
    /// Bytes of the body.
    pub size: usize,
    pub payload: Value,
}

/// How many events were queued again.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct EventRetryView {
    pub retried: usize,
}

/// The events created from conflicting bodies.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConflictResolutionView {
    pub id: i64,
    pub events: Vec<i64>,
}

/// Events that were removed, or would be.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct PruneListView {
    pub pruned: Vec<ConnectionPruneView>,
    pub dry_run: bool,
}

/// The events of one connection that were removed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConnectionPruneView {
    pub connection: String,
    pub events: u64,
    /// Whether the IDs of their deliveries are kept, to recognize duplicates.
    pub retains_ids: bool,
}

/// A replayed event.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(tag = "event", rename = "replayed")]
#[schemars(transform = |schema: &mut Schema| tag(schema, "replayed"))]
pub struct ReplayedEventView {
    pub id: i64,
    #[serde(rename = "type")]
    pub kind: String,
    pub connection: String,
    pub delivery_id: String,
    /// Whether it was signed again; otherwise it has its original signature.
    pub re_signed: bool,
    /// The HTTP status of the response.
    pub status: Option<u16>,
    /// Why there was no response.
    pub error: Option<String>,
    /// Whether the receiver accepted it.
    #[serde(skip)]
    pub is_success: bool,
}

impl ReplayedEventView {
    /// Creates the view of a replayed event with the receiver's status or the reason why there is none.
    pub fn new(replayed: &ReplayResult) -> Self {
        let response = replayed.response.as_ref();
        Self {
            id: replayed.id.0,
            kind: replayed.kind.clone(),
            connection: replayed.connection.to_string(),
            delivery_id: replayed.delivery_id.clone(),
            re_signed: replayed.is_resigned,
            status: response.ok().map(|response| response.status),
            error: response.err().map(ToString::to_string),
            is_success: response.is_ok_and(crate::webhook::simulate::send::TimedResponse::is_success),
        }
    }
}

/// An event fetched from the vendor.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(tag = "event", rename = "backfilled")]
#[schemars(transform = |schema: &mut Schema| tag(schema, "backfilled"))]
pub struct BackfilledEventView {
    pub connection: String,
    /// Absent with `--dry-run`.
    pub id: Option<i64>,
    #[serde(rename = "type")]
    pub kind: String,
    pub delivery_id: String,
    #[schemars(with = "Option<Time>")]
    pub time: Option<Timestamp>,
    pub resource: Option<String>,
    /// Whether it was already stored.
    pub duplicate: bool,
}

impl BackfilledEventView {
    /// Creates the view of an event that a backfill found at the vendor.
    pub fn new(connection: &ConnectionName, found: &BackfilledEvent) -> Self {
        Self {
            connection: connection.to_string(),
            id: found.inserted.map(|inserted| inserted.id().0),
            kind: found.event.kind.clone(),
            delivery_id: found.event.delivery_id.clone(),
            time: found.event.time,
            resource: found.event.resource.clone(),
            duplicate: found.is_duplicate,
        }
    }
}

/// Event types with a sample.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SampleEventListView {
    pub connector: String,
    pub events: Vec<WebhookEventTypeView>,
}

/// A simulated request that was not sent.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SimulatedRequestView {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// A simulated event that was sent.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(tag = "event", rename = "sent")]
#[schemars(transform = |schema: &mut Schema| tag(schema, "sent"))]
pub struct SentEventView {
    /// From 1; the second of a pair of duplicates has the first's.
    pub number: u64,
    #[serde(rename = "type")]
    pub kind: String,
    pub delivery_id: Option<String>,
    /// How it was corrupted.
    #[serde(serialize_with = "optional_word")]
    pub invalid: Option<Corruption>,
    /// The HTTP status of the response.
    pub status: Option<u16>,
    #[serde(flatten)]
    pub outcome: SendOutcomeView,
}

/// The outcome of a request.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(untagged)]
pub enum SendOutcomeView {
    Answered {
        /// Milliseconds until the complete response arrived.
        duration_ms: f64,
        /// The body of the response, as JSON or text.
        response: Option<Value>,
        #[serde(skip)]
        is_success: bool,
        /// The error message in the response.
        #[serde(skip)]
        message: Option<String>,
    },
    Unanswered {
        error: String,
    },
}

impl SentEventView {
    /// Creates the view of a sample event that was sent. `event` is its type.
    pub fn new(event: &str, corruption: Option<Corruption>, sent: &SentRequest) -> Self {
        Self {
            number: sent.number,
            kind: event.to_owned(),
            delivery_id: sent.delivery_id.clone(),
            invalid: corruption,
            status: sent.response.as_ref().ok().map(|response| response.status),
            outcome: match &sent.response {
                Ok(response) => SendOutcomeView::Answered {
                    duration_ms: response.duration.as_secs_f64() * 1000.0,
                    response: response.document(),
                    is_success: response.is_success(),
                    message: response.error_message(),
                },
                Err(error) => SendOutcomeView::Unanswered { error: error.to_string() },
            },
        }
    }
}

/// Whether a captured request is the vendor's.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct VerificationView {
    pub connection: String,
    pub accepted: bool,
    /// Why it is rejected, as a word.
    pub reason: Option<&'static str>,
    /// Why it is rejected, as a sentence.
    pub message: Option<String>,
    pub checks: Vec<VerificationCheckView>,
    /// The parts of the event that the signature covers; absent if there is none.
    pub covers: Option<Vec<SignedPart>>,
    /// Whether the vendor is asked before the event counts as verified.
    pub confirmed_later: bool,
    /// The command that verifies the request as of its signing time, if only its age is wrong.
    pub hint: Option<String>,
    #[serde(skip)]
    pub coverage: Option<SignatureCoverage>,
    /// When it was signed, if only its age is wrong.
    #[serde(skip)]
    #[schemars(with = "Option<Time>")]
    pub stale_since: Option<Timestamp>,
    pub events: Vec<ParsedEventView>,
}

/// One check of a request.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct VerificationCheckView {
    pub check: &'static str,
    #[serde(serialize_with = "word")]
    pub status: CheckStatus,
    pub message: String,
}

/// An event in a request.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ParsedEventView {
    #[serde(rename = "type")]
    pub kind: String,
    pub delivery_id: String,
    pub resource: Option<String>,
}

impl VerificationView {
    /// Creates the view of the verification of a captured request.
    pub fn new(connection: &ConnectionName, report: VerificationReport) -> Self {
        let stale_since = if report.is_stale() { report.signed_at } else { None };
        let check = |check: crate::webhook::inbound::explain::VerificationCheck| VerificationCheckView {
            check: check.name,
            status: check.status,
            message: check.detail,
        };
        let event = |event: crate::webhook::inbound::event::ParsedEvent| ParsedEventView {
            kind: event.kind,
            delivery_id: event.delivery_id,
            resource: event.resource,
        };
        Self {
            connection: connection.to_string(),
            accepted: report.error.is_none(),
            reason: report.error.as_ref().map(crate::signing::verify::VerifyError::as_str),
            message: report.error.as_ref().map(ToString::to_string),
            checks: report.checks.into_iter().map(check).collect(),
            covers: report.coverage.as_ref().map(|coverage| coverage.parts.clone()),
            confirmed_later: report.is_confirmed_later,
            hint: None,
            coverage: report.coverage,
            stale_since,
            events: report.events.into_iter().map(event).collect(),
        }
    }
}
