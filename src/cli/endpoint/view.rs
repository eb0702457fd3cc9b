//! How endpoints, messages and deliveries are shown.

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::table::{TableCell, relative, table};
use crate::cli::ui::{Tone, Ui, View, escape};
use crate::clock::Timestamp;
use crate::endpoint::{CompletedAttempt, SentMessage};
use crate::model::EventPattern;
use crate::secret::Secret;
use crate::store::Endpoint;
use crate::store::outbox::{Delivery, DeliveryAttempt, DeliveryStatus};

/// An endpoint as `--json` shows it.
#[derive(Serialize)]
pub(super) struct EndpointView {
    endpoint: String,
    url: String,
    description: Option<String>,
    events: Vec<String>,
    status: &'static str,
    /// Why it is disabled, and since when.
    reason: Option<&'static str>,
    disabled_at: Option<String>,
    failing_since: Option<String>,
    paused_until: Option<String>,
    policy: &'static str,
    attempts: u32,
    ttl: u64,
    timeout: u64,
    rate: Option<String>,
    created_at: String,
    old_secret_until: Option<String>,
    #[serde(skip)]
    since: Option<i64>,
}

impl EndpointView {
    pub(super) fn new(endpoint: &Endpoint, now: Timestamp) -> Self {
        let standing = &endpoint.health;
        let rules = &endpoint.policy;
        let status = if standing.disabled.is_some() {
            "disabled"
        } else if standing.failing_since.is_some() {
            "failing"
        } else {
            "enabled"
        };
        let since = standing.disabled.map(|(_, at)| at).or(standing.failing_since);
        let unit = |secs| match secs {
            3600 => "h",
            60 => "m",
            _ => "s",
        };
        Self {
            endpoint: endpoint.id.to_string(),
            url: endpoint.url.to_string(),
            description: endpoint.description.clone(),
            events: match endpoint.events.as_slice() {
                [] => vec![EventPattern::All.to_string()],
                events => events.iter().map(EventPattern::to_string).collect(),
            },
            status,
            reason: standing.disabled.map(|(reason, _)| reason.as_str()),
            disabled_at: standing.disabled.map(|(_, at)| at.to_string()),
            failing_since: standing.failing_since.map(|at| at.to_string()),
            paused_until: standing.paused_until.filter(|until| *until > now).map(|until| until.to_string()),
            policy: rules.backoff.as_str(),
            attempts: rules.max_attempts,
            ttl: rules.ttl.as_secs(),
            timeout: rules.timeout.as_secs(),
            rate: rules.rate.map(|rate| format!("{}/{}", rate.units, unit(rate.secs))),
            created_at: endpoint.created_at.to_string(),
            old_secret_until: endpoint.overlap_until(now).map(|until| until.to_string()),
            since: since.map(|since| since.as_second() - now.as_second()),
        }
    }

    fn status(&self) -> TableCell {
        let tone = match self.status {
            "enabled" => Tone::Good,
            "failing" => Tone::Warn,
            _ => Tone::Bad,
        };
        let reason = self.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let since = self.since.map(|since| format!(", {}", relative(since))).unwrap_or_default();
        TableCell(format!("{}{reason}{since}", self.status), Some(tone))
    }
}

#[derive(Serialize)]
pub(super) struct EndpointListView {
    pub endpoints: Vec<EndpointView>,
}

impl View for EndpointListView {
    fn text(&self, ui: &Ui) -> String {
        if self.endpoints.is_empty() {
            return "No endpoints yet. `integ endpoint add https://HOST/PATH` adds one.".to_owned();
        }
        let row = |one: &EndpointView| {
            vec![one.endpoint.clone().into(), one.url.clone().into(), one.events.join(" ").into(), one.status()]
        };
        table(ui, &["endpoint", "url", "events", "status"], self.endpoints.iter().map(row).collect())
    }
}

/// One endpoint; with its secret where that is new.
#[derive(Serialize)]
pub(super) struct EndpointChangeView {
    #[serde(flatten)]
    endpoint: EndpointView,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl EndpointChangeView {
    pub(super) fn new(endpoint: &Endpoint, now: Timestamp) -> Self {
        Self { endpoint: EndpointView::new(endpoint, now), secret: None }
    }

    /// The one place that prints a secret, which was asked for.
    pub(super) fn with_secret(endpoint: &Endpoint, secret: &Secret, now: Timestamp) -> Self {
        Self { secret: Some(secret.expose().clone()), ..Self::new(endpoint, now) }
    }
}

impl View for EndpointChangeView {
    fn text(&self, ui: &Ui) -> String {
        let one = &self.endpoint;
        let time = |secs: u64| crate::duration::format(std::time::Duration::from_secs(secs));
        let mut rows: Vec<Vec<TableCell>> = vec![
            vec!["endpoint".into(), one.endpoint.clone().into()],
            vec!["url".into(), one.url.clone().into()],
            vec!["status".into(), one.status()],
            vec!["events".into(), one.events.join(" ").into()],
            vec![
                "retries".into(),
                format!("{}, {} attempts within {}", one.policy, one.attempts, time(one.ttl)).into(),
            ],
            vec!["timeout".into(), time(one.timeout).into()],
        ];
        let optional = [
            ("rate", &one.rate),
            ("description", &one.description),
            ("paused until", &one.paused_until),
            ("old secret until", &one.old_secret_until),
            ("secret", &self.secret),
        ];
        for (name, value) in optional {
            rows.extend(value.as_ref().map(|value| vec![name.into(), value.clone().into()]));
        }
        table(ui, &["what", ""], rows)
    }
}

#[derive(Serialize)]
pub(super) struct DeliveryView {
    delivery: String,
    message: String,
    #[serde(rename = "type")]
    kind: String,
    endpoint: String,
    status: &'static str,
    attempts: u32,
    next_attempt_at: Option<String>,
    expires_at: String,
    created_at: String,
    last_error: Option<String>,
    #[serde(skip)]
    tone: Tone,
    #[serde(skip)]
    next: Option<i64>,
}

impl DeliveryView {
    pub(super) fn new(delivery: &Delivery, now: Timestamp) -> Self {
        Self {
            delivery: delivery.id.to_string(),
            message: delivery.message.clone(),
            kind: delivery.kind.clone(),
            endpoint: delivery.endpoint.to_string(),
            status: delivery.status.as_str(),
            attempts: delivery.attempts,
            next_attempt_at: delivery.due_at.map(|due_at| due_at.to_string()),
            expires_at: delivery.expires_at.to_string(),
            created_at: delivery.created_at.to_string(),
            last_error: delivery.last_error.clone(),
            tone: tone(delivery.status),
            next: delivery.due_at.map(|due_at| due_at.as_second() - now.as_second()),
        }
    }

    fn row(&self) -> Vec<TableCell> {
        vec![
            self.delivery.clone().into(),
            self.kind.clone().into(),
            self.endpoint.clone().into(),
            TableCell(self.status.to_owned(), Some(self.tone)),
            self.attempts.to_string().into(),
            self.next
                .map_or_else(|| "-".to_owned(), |next| if next <= 0 { "now".to_owned() } else { relative(next) })
                .into(),
            TableCell(self.last_error.clone().unwrap_or_default(), Some(Tone::Dim)),
        ]
    }
}

const HEADINGS: [&str; 7] = ["delivery", "type", "endpoint", "status", "tries", "next", "error"];

fn tone(status: DeliveryStatus) -> Tone {
    match status {
        DeliveryStatus::Delivered => Tone::Good,
        DeliveryStatus::Pending => Tone::Dim,
        DeliveryStatus::Failed => Tone::Warn,
        DeliveryStatus::Dead => Tone::Bad,
    }
}

#[derive(Serialize)]
pub(super) struct DeliveryListView {
    pub deliveries: Vec<DeliveryView>,
}

impl View for DeliveryListView {
    fn text(&self, ui: &Ui) -> String {
        if self.deliveries.is_empty() {
            return "No such deliveries. `integ endpoint send TYPE` sends a message.".to_owned();
        }
        table(ui, &HEADINGS, self.deliveries.iter().map(DeliveryView::row).collect())
    }
}

#[derive(Serialize)]
pub(super) struct SentMessageView {
    message: String,
    #[serde(rename = "type")]
    kind: String,
    duplicate: bool,
    deliveries: Vec<DeliveryView>,
    disabled_endpoints: Vec<String>,
}

impl SentMessageView {
    pub(super) fn new(outgoing: &SentMessage, now: Timestamp) -> Self {
        Self {
            message: outgoing.message.clone(),
            kind: outgoing.kind.clone(),
            duplicate: outgoing.is_duplicate,
            deliveries: outgoing.deliveries.iter().map(|one| DeliveryView::new(one, now)).collect(),
            disabled_endpoints: outgoing.disabled.iter().map(ToString::to_string).collect(),
        }
    }
}

impl View for SentMessageView {
    fn text(&self, ui: &Ui) -> String {
        let known = if self.duplicate { ", which was sent before" } else { "" };
        if self.deliveries.is_empty() {
            return format!("{}{known}: no endpoint wants {}.", self.message, self.kind);
        }
        let rows = self.deliveries.iter().map(DeliveryView::row).collect();
        format!("{}{known}\n{}", self.message, table(ui, &HEADINGS, rows))
    }
}

#[derive(Serialize)]
struct AttemptView {
    started_at: String,
    duration_ms: u64,
    request_headers: serde_json::Map<String, Value>,
    response_status: Option<u16>,
    /// Its first kilobyte.
    response_body: Option<String>,
    error: Option<String>,
    #[serde(skip)]
    ago: i64,
}

/// A delivery with its attempts.
#[derive(Serialize)]
pub(super) struct DeliveryDetailView {
    #[serde(flatten)]
    delivery: DeliveryView,
    log: Vec<AttemptView>,
}

impl DeliveryDetailView {
    pub(super) fn new(delivery: &Delivery, attempts: &[DeliveryAttempt], now: Timestamp) -> Self {
        let view = |attempt: &DeliveryAttempt| AttemptView {
            started_at: attempt.started_at.to_string(),
            duration_ms: u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
            request_headers: attempt.request_headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect(),
            response_status: attempt.response_status,
            response_body: attempt.response_body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned()),
            error: attempt.error.clone(),
            ago: attempt.started_at.as_second() - now.as_second(),
        };
        Self { delivery: DeliveryView::new(delivery, now), log: attempts.iter().map(view).collect() }
    }
}

impl View for DeliveryDetailView {
    fn text(&self, ui: &Ui) -> String {
        let row = |attempt: &AttemptView| {
            let status = attempt.response_status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            vec![
                relative(attempt.ago).into(),
                status.into(),
                format!("{} ms", attempt.duration_ms).into(),
                attempt.error.clone().unwrap_or_default().into(),
                TableCell(attempt.response_body.clone().unwrap_or_default(), Some(Tone::Dim)),
            ]
        };
        let delivery = table(ui, &HEADINGS, vec![self.delivery.row()]);
        let log = table(ui, &["attempt", "status", "time", "error", "answer"], self.log.iter().map(row).collect());
        format!("{delivery}\n\n{log}")
    }
}

#[derive(Serialize)]
pub(super) struct MessagePruneView {
    pub removed: usize,
}

impl View for MessagePruneView {
    fn text(&self, _ui: &Ui) -> String {
        format!("{} messages were removed.", self.removed)
    }
}

#[derive(Serialize)]
pub(super) struct DeliveryRetryView {
    pub retried: usize,
}

impl View for DeliveryRetryView {
    fn text(&self, _ui: &Ui) -> String {
        format!("{} deliveries are due again; `integ endpoint deliver` sends them.", self.retried)
    }
}

/// An attempt as a line of JSON.
pub(super) fn attempted(one: &CompletedAttempt) -> Value {
    let delivery = &one.recorded.delivery;
    json!({
        "event": "attempted", "delivery": delivery.id.to_string(), "message": delivery.message,
        "type": delivery.kind, "endpoint": delivery.endpoint.as_str(), "status": delivery.status.as_str(),
        "attempts": delivery.attempts, "response_status": one.attempt.response_status,
        "duration_ms": u64::try_from(one.attempt.duration.as_millis()).unwrap_or(u64::MAX),
        "next_attempt_at": delivery.due_at.map(|at| at.to_string()), "error": one.attempt.error,
        "disabled": one.recorded.disabled_reason.map(crate::store::DisabledReason::as_str),
    })
}

/// An attempt as a line for people.
pub(super) fn line(one: &CompletedAttempt) -> String {
    let delivery = &one.recorded.delivery;
    let error = one.attempt.error.as_ref().map(|error| format!("  {}", escape(error))).unwrap_or_default();
    format!(
        "{}  {}  {}  {}  {} ms{error}\n",
        delivery.id,
        delivery.kind,
        delivery.endpoint,
        delivery.status.as_str(),
        one.attempt.duration.as_millis()
    )
}
