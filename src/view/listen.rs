//! What a webhook listener reports while it runs: one event per line, with its kind in the member `event`.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

use super::schema::Time;
use super::webhook::{millis, optional_word};
use super::word;
use crate::clock::Timestamp;
use crate::model::event::EventInsertResult;
use crate::model::{ConnectionName, EventStatus, HandlerKind, HandlerRun};
use crate::webhook::feed::{HandledReport, ListenEvent};
use crate::webhook::inbound::outcome::{ReceiveOutcome, ReceivedEvent};
use crate::webhook::settings::SecretSource;

/// An event of a listener.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ListenEventView {
    /// The port is open.
    Listening {
        /// The addresses on this machine, by connection.
        urls: IndexMap<String, String>,
        /// The handlers: `append`, `exec`, `forward` or `sync`, each with its URL, command or file.
        handlers: IndexMap<&'static str, String>,
        /// The valid signing secrets by connection, if requested.
        #[serde(skip_serializing_if = "Option::is_none")]
        secrets: Option<IndexMap<String, String>>,
    },
    /// A request was accepted and its event is stored.
    Received(ReceivedEventView),
    /// The vendor checked the URL.
    Handshake {
        connection: String,
        /// Whether it contained a secret, which is stored.
        captured: bool,
    },
    /// A request was rejected.
    Rejected {
        /// Absent if no connection has the URL.
        connection: Option<String>,
        /// Why, as a word.
        reason: &'static str,
        /// Why, as a sentence, if the word is not enough.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// Why, as a sentence.
        #[serde(skip)]
        explanation: String,
    },
    /// Several requests were rejected for the same reason.
    #[serde(rename = "rejected")]
    RejectedRequests { connection: Option<String>, reason: &'static str, count: u64 },
    /// The vendor confirmed that it sent an event.
    #[serde(rename = "verified")]
    Confirmed(ConfirmedEventView),
    /// The vendor did not confirm that it sent an event.
    #[serde(rename = "rejected")]
    NotConfirmed {
        #[serde(flatten)]
        unconfirmed: ConfirmedEventView,
        reason: &'static str,
    },
    /// A handler finished with an event.
    Handled(HandledEventView),
    /// A handler failed.
    Failed(HandledEventView),
    /// A connection was added while the listener runs.
    Connected {
        connection: String,
        /// The address on this machine.
        url: String,
        public_url: String,
        /// The valid signing secret, if requested.
        #[serde(skip_serializing_if = "Option::is_none")]
        secret: Option<String>,
        #[serde(skip)]
        source: Option<SecretSource>,
    },
    /// A connection was removed from the listener.
    Disconnected {
        connection: String,
        /// Why; absent if it was disconnected.
        error: Option<String>,
    },
    /// The vendor's delivery log cannot be read; it is retried.
    PollFailed { connection: String, error: String },
    /// The vendor's delivery log can be read again.
    PollResumed { connection: String },
    /// Nothing listens at the forwarding URL: events wait, and no attempt counts.
    Paused { connection: String, id: i64, error: String },
    /// The forwarding URL responds again.
    Resumed { connection: String },
    /// Lines were left out because the reader was too slow; the events are stored.
    Skipped { lines: u64 },
}

/// An event that was received.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ReceivedEventView {
    pub connection: String,
    pub id: i64,
    #[serde(rename = "type")]
    pub kind: String,
    pub delivery_id: String,
    /// Whether the vendor is proven to have sent it.
    pub verified: bool,
    /// Whether it was received before.
    pub duplicate: bool,
    /// Whether its delivery ID was received before with another body; see `webhook resolve`.
    #[serde(skip_serializing_if = "is_false")]
    pub conflict: bool,
    /// Whether it was dead and will be handled again.
    #[serde(skip_serializing_if = "is_false")]
    pub restarted: bool,
    #[serde(skip)]
    pub resource: Option<String>,
    #[serde(skip)]
    pub inserted: EventInsertResult,
}

/// An event that the vendor was asked about.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConfirmedEventView {
    pub connection: String,
    pub id: i64,
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether the vendor sent it.
    pub verified: bool,
    pub error: Option<String>,
}

/// The result of one handler for an event.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct HandledEventView {
    pub connection: String,
    pub id: i64,
    #[serde(rename = "type")]
    pub kind: String,
    pub delivery_id: String,
    /// `append`, `exec`, `forward` or `sync`; absent if another event of the request was handled for all of them.
    #[serde(serialize_with = "optional_word")]
    pub handler: Option<HandlerKind>,
    /// The URL, command or file.
    pub target: Option<String>,
    /// The HTTP status of the response, or the exit code of the command.
    pub status: Option<i32>,
    pub duration_ms: u64,
    /// From 1.
    pub attempt: u32,
    /// Maximum number of attempts.
    pub attempts: u32,
    /// When it is retried, if this handler failed and the event is not dead.
    #[schemars(with = "Option<Time>")]
    pub next_attempt_at: Option<Timestamp>,
    /// The status of the event after all its handlers.
    #[serde(serialize_with = "word")]
    pub event_status: EventStatus,
    pub error: Option<String>,
    /// The first 4 KiB of a command's output, or of a failed URL's response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Whether it is the last handler of this attempt.
    #[serde(skip)]
    pub is_last: bool,
}

impl HandledEventView {
    fn list(report: &HandledReport) -> Vec<ListenEventView> {
        let view = |handled: Option<&(HandlerRun, String)>| {
            let (run, target) = handled.map(|(run, target)| (run, target)).unzip();
            let error = run.and_then(|run| run.error.clone());
            let is_shown = |run: &&HandlerRun| run.handler == HandlerKind::Exec || run.error.is_some();
            let output = run.filter(is_shown).map(|run| String::from_utf8_lossy(&run.output).into_owned());
            let view = Self {
                connection: report.connection.to_string(),
                id: report.id.0,
                kind: report.kind.clone(),
                delivery_id: report.delivery_id.clone(),
                handler: run.map(|run| run.handler),
                target: target.cloned(),
                status: run.and_then(|run| run.status),
                duration_ms: run.map(|run| millis(run.duration)).unwrap_or_default(),
                attempt: report.attempt,
                attempts: report.max_attempts,
                next_attempt_at: report.next_attempt_at.filter(|_| error.is_some()),
                event_status: report.status,
                error,
                output: output.filter(|output| !output.is_empty()),
                is_last: report.runs.last().is_none_or(|last| handled.is_some_and(|this| std::ptr::eq(this, last))),
            };
            if view.error.is_none() { ListenEventView::Handled(view) } else { ListenEventView::Failed(view) }
        };
        match report.runs.as_slice() {
            [] => vec![view(None)],
            runs => runs.iter().map(|handled| view(Some(handled))).collect(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

impl ListenEventView {
    /// What happened, an entry for each event of a request and each handler of an event.
    pub fn list(event: &ListenEvent, with_secrets: bool) -> Vec<Self> {
        let view = match event {
            ListenEvent::Request(outcome) => return Self::of_request(outcome),
            ListenEvent::Handled(report) => return HandledEventView::list(report),
            ListenEvent::Connected(address) => Self::Connected {
                connection: address.connection.to_string(),
                url: address.local.to_string(),
                public_url: address.public.to_string(),
                secret: address.secret.as_ref().filter(|_| with_secrets).map(|secret| secret.expose().clone()),
                source: address.source,
            },
            ListenEvent::Disconnected { connection, error } => {
                Self::Disconnected { connection: connection.to_string(), error: error.clone() }
            }
            ListenEvent::PollFailed { connection, error } => {
                Self::PollFailed { connection: connection.to_string(), error: error.clone() }
            }
            ListenEvent::PollResumed { connection } => Self::PollResumed { connection: connection.to_string() },
            ListenEvent::Paused { connection, id, error } => {
                Self::Paused { connection: connection.to_string(), id: id.0, error: error.clone() }
            }
            ListenEvent::Resumed { connection } => Self::Resumed { connection: connection.to_string() },
            ListenEvent::Confirmed { connection, id, kind, verified, error } => {
                let event = ConfirmedEventView {
                    connection: connection.to_string(),
                    id: id.0,
                    kind: kind.clone(),
                    verified: *verified,
                    error: error.clone(),
                };
                match verified {
                    true => Self::Confirmed(event),
                    false => Self::NotConfirmed { unconfirmed: event, reason: "not_confirmed" },
                }
            }
            ListenEvent::Summary { connection, reason, count } => {
                let connection = connection.as_ref().map(ToString::to_string);
                Self::RejectedRequests { connection, reason, count: *count }
            }
            ListenEvent::Skipped { lines } => Self::Skipped { lines: *lines },
        };
        vec![view]
    }

    fn of_request(outcome: &ReceiveOutcome) -> Vec<Self> {
        let rejected = |connection: Option<&ConnectionName>, reason, explanation| Self::Rejected {
            connection: connection.map(ToString::to_string),
            reason,
            message: None,
            explanation,
        };
        let view = match outcome {
            ReceiveOutcome::Received { connection, events } => {
                let view = |event| Self::Received(ReceivedEventView::new(connection, event));
                return events.iter().map(view).collect();
            }
            ReceiveOutcome::Handshake { connection, captured } => {
                Self::Handshake { connection: connection.to_string(), captured: *captured }
            }
            ReceiveOutcome::Rejected { connection, error } => {
                rejected(Some(connection), error.as_str(), error.to_string())
            }
            ReceiveOutcome::Unreadable { connection, reason, error } => {
                let hint =
                    if *reason == "too_large" { "; hint: integ config set webhooks.max_body 100MiB" } else { "" };
                let explanation = format!("{error}{hint}");
                let connection = Some(connection.to_string());
                Self::Rejected { connection, reason, message: Some(explanation.clone()), explanation }
            }
            ReceiveOutcome::NotStored { connection, error } => rejected(Some(connection), "not_stored", error.clone()),
            ReceiveOutcome::UnknownUrl => rejected(None, "unknown_url", "no connection has this URL".to_owned()),
        };
        vec![view]
    }
}

impl ReceivedEventView {
    fn new(connection: &ConnectionName, received: &ReceivedEvent) -> Self {
        use EventInsertResult::{Conflict, Duplicate, Requeued};
        let ReceivedEvent { event, inserted, verified, .. } = received;
        let inserted = *inserted;
        Self {
            connection: connection.to_string(),
            id: inserted.id().0,
            kind: event.kind.clone(),
            delivery_id: event.delivery_id.clone(),
            verified: *verified,
            duplicate: matches!(inserted, Duplicate(_) | Requeued(_)),
            conflict: matches!(inserted, Conflict(_)),
            restarted: matches!(inserted, Requeued(_)),
            resource: event.resource.clone(),
            inserted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventId;

    fn json(event: &ListenEvent) -> String {
        serde_json::to_string(&ListenEventView::list(event, false)).unwrap()
    }

    #[test]
    fn members_are_where_programs_look_for_them() {
        let name: ConnectionName = "stripe".parse().unwrap();
        let confirmed = |verified, error| {
            let (connection, id, kind) = (name.clone(), EventId(7), "charge.paid".to_owned());
            json(&ListenEvent::Confirmed { connection, id, kind, verified, error })
        };
        assert_eq!(
            confirmed(true, None),
            r#"[{"event":"verified","connection":"stripe","id":7,"type":"charge.paid","verified":true,"error":null}]"#
        );
        assert!(confirmed(false, Some("no".to_owned())).ends_with(r#""error":"no","reason":"not_confirmed"}]"#));
        assert_eq!(
            json(&ListenEvent::Request(ReceiveOutcome::UnknownUrl)),
            r#"[{"event":"rejected","connection":null,"reason":"unknown_url"}]"#
        );
        assert_eq!(
            json(&ListenEvent::Summary { connection: Some(name), reason: "signature", count: 9 }),
            r#"[{"event":"rejected","connection":"stripe","reason":"signature","count":9}]"#
        );
    }
}
