//! Renders endpoints, messages and deliveries as text.

use std::time::Duration;

use crate::cli::table::{TableCell, count, relative, remove_spare, table};
use crate::cli::ui::{Render, Tone, Ui, escape};
use crate::clock::Timestamp;
use crate::duration;
use crate::model::delivery::DeliveryStatus;
use crate::model::endpoint::DisabledReason;
use crate::view::endpoint::{
    AttemptedView, DeliveryAttemptView, DeliveryDetailView, DeliveryListView, DeliveryRetryView, DeliveryView,
    EndpointDetailView, EndpointListView, EndpointStatus, EndpointView, EventTypeListView, EventTypeView,
    MessagePruneView, SentMessageView,
};

const DELIVERY_HEADINGS: [&str; 7] = ["delivery", "type", "endpoint", "status", "attempts", "next", "error"];

fn seconds(at: Timestamp, as_of: Timestamp) -> i64 {
    at.as_second() - as_of.as_second()
}

fn words<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

fn status_cell(endpoint: &EndpointView) -> TableCell {
    let tone = match endpoint.status {
        EndpointStatus::Enabled => Tone::Good,
        EndpointStatus::Failing => Tone::Warn,
        EndpointStatus::Disabled => Tone::Bad,
    };
    let reason = match endpoint.disabled_reason {
        None => "",
        Some(DisabledReason::User) => " by you",
        Some(DisabledReason::Gone) => ": it answered 410",
        Some(DisabledReason::Failing) => ": five days without a success",
    };
    let since = endpoint.status_since().map(|at| format!(", {}", relative(seconds(at, endpoint.as_of))));
    TableCell(format!("{}{reason}{}", endpoint.status, since.unwrap_or_default()), Some(tone))
}

impl Render for EndpointListView {
    fn text(&self, ui: &Ui) -> String {
        if self.endpoints.is_empty() {
            return "No endpoints yet. `integ endpoint add https://HOST/PATH` adds one.".to_owned();
        }
        let row = |one: &EndpointView| {
            vec![one.endpoint.to_string().into(), one.url.clone().into(), words(&one.events).into(), status_cell(one)]
        };
        table(ui, &["endpoint", "url", "events", "status"], self.endpoints.iter().map(row).collect())
    }
}

impl Render for EndpointDetailView {
    fn text(&self, ui: &Ui) -> String {
        let one = &self.endpoint;
        let time = |secs: u64| duration::format(Duration::from_secs(secs));
        let mut rows: Vec<Vec<TableCell>> = vec![
            vec!["endpoint".into(), one.endpoint.to_string().into()],
            vec!["url".into(), one.url.clone().into()],
            vec!["status".into(), status_cell(one)],
            vec!["events".into(), words(&one.events).into()],
            vec![
                "retries".into(),
                format!("{}, {} attempts within {}", one.backoff, one.max_attempts, time(one.ttl_secs)).into(),
            ],
            vec!["timeout".into(), time(one.timeout_secs).into()],
        ];
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let optional = [
            ("rate", one.rate.clone()),
            ("description", one.description.clone()),
            ("paused until", text(one.paused_until)),
            ("old secret until", text(one.previous_secret_expires_at)),
            ("secret", self.secret.clone()),
        ];
        for (name, value) in optional {
            rows.extend(value.map(|value| vec![name.into(), value.into()]));
        }
        table(ui, &["property", "value"], rows)
    }
}

fn delivery_row(delivery: &DeliveryView) -> Vec<TableCell> {
    let tone = match delivery.status {
        DeliveryStatus::Delivered => Tone::Good,
        DeliveryStatus::Pending => Tone::Dim,
        DeliveryStatus::Failed => Tone::Warn,
        DeliveryStatus::Dead => Tone::Bad,
    };
    let next = match delivery.next_attempt_at.map(|at| seconds(at, delivery.as_of)) {
        None => "-".to_owned(),
        Some(next) if next <= 0 => "now".to_owned(),
        Some(next) => relative(next),
    };
    vec![
        delivery.delivery.to_string().into(),
        delivery.kind.clone().into(),
        delivery.endpoint.to_string().into(),
        TableCell(delivery.status.to_string(), Some(tone)),
        delivery.attempts.to_string().into(),
        next.into(),
        delivery.last_error.clone().unwrap_or_default().into(),
    ]
}

fn delivery_table(ui: &Ui, mut rows: Vec<Vec<TableCell>>) -> String {
    let mut headings = DELIVERY_HEADINGS.to_vec();
    remove_spare(ui, &mut headings, &mut rows, &["attempts", "next", "type"]);
    table(ui, &headings, rows)
}

impl Render for DeliveryListView {
    fn text(&self, ui: &Ui) -> String {
        if self.deliveries.is_empty() {
            return "No deliveries. `integ endpoint send TYPE` sends a message.".to_owned();
        }
        delivery_table(ui, self.deliveries.iter().map(delivery_row).collect())
    }
}

impl Render for SentMessageView {
    fn text(&self, ui: &Ui) -> String {
        let known = if self.duplicate { " (already sent)" } else { "" };
        if self.deliveries.is_empty() {
            return format!("{}{known}: no endpoint is subscribed to {}.", self.message, self.kind);
        }
        let rows = self.deliveries.iter().map(delivery_row).collect();
        format!("{}{known}\n{}", self.message, delivery_table(ui, rows))
    }
}

impl Render for DeliveryDetailView {
    fn text(&self, ui: &Ui) -> String {
        let as_of = self.delivery.as_of;
        let row = |attempt: &DeliveryAttemptView| {
            let status = attempt.response_status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            vec![
                relative(seconds(attempt.started_at, as_of)).into(),
                status.into(),
                format!("{} ms", attempt.duration_ms).into(),
                attempt.error.clone().unwrap_or_default().into(),
                attempt.response_body.clone().unwrap_or_default().into(),
            ]
        };
        let delivery = delivery_table(ui, vec![delivery_row(&self.delivery)]);
        let rows = self.attempt_log.iter().map(row).collect();
        let attempts = table(ui, &["attempt", "status", "time", "error", "response"], rows);
        format!("{delivery}\n\n{attempts}")
    }
}

impl Render for MessagePruneView {
    fn text(&self, _ui: &Ui) -> String {
        format!("Removed {}.", count(self.removed, "message"))
    }
}

impl Render for DeliveryRetryView {
    fn text(&self, _ui: &Ui) -> String {
        format!("{} will be sent again by `integ endpoint deliver`.", count(self.retried, "delivery"))
    }
}

impl Render for EventTypeListView {
    fn text(&self, ui: &Ui) -> String {
        if self.events.is_empty() {
            return "No event types. `integ endpoint event add invoice.paid` adds one.".to_owned();
        }
        let row = |item: &EventTypeView| {
            let sample = if item.sample.is_some() { "checked" } else { "-" };
            vec![item.event.clone().into(), item.description.clone().into(), sample.into()]
        };
        table(ui, &["type", "description", "data"], self.events.iter().map(row).collect())
    }
}

/// An attempt as a line for people.
pub(super) fn attempt_line(attempted: &AttemptedView) -> String {
    let error = attempted.error.as_ref().map(|error| format!("  {}", escape(error))).unwrap_or_default();
    let AttemptedView { delivery, kind, endpoint, status, duration_ms, .. } = attempted;
    format!("{delivery}  {kind}  {endpoint}  {status}  {duration_ms} ms{error}\n")
}
