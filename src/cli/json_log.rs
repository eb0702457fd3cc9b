//! The log as JSON: one object on each line of stderr, for programs that collect logs.
//!
//! Members: `time`, `level`, `message`, the members of the message, and those of what it happened in: `workspace`, and for
//! a request `request_id`, `operation` and `connection`.

use std::fmt::Debug;
use std::io::{self, Write};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;

/// Writes each event as an object.
pub(super) struct JsonLines;

/// The members of a span or an event, in their order.
#[derive(Default)]
struct Members(Map<String, Value>);

impl Members {
    fn set(&mut self, field: &Field, value: Value) {
        // An empty text says that there is none.
        if value != "" {
            self.0.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Members {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }
}

/// Puts a line together. What an event says itself comes before what its spans say.
fn line(time: &str, level: &str, event: Members, spans: impl Iterator<Item = Map<String, Value>>) -> String {
    let mut object = Map::new();
    object.insert("time".to_owned(), time.into());
    object.insert("level".to_owned(), level.to_ascii_lowercase().into());
    let Members(mut event) = event;
    object.insert("message".to_owned(), event.shift_remove("message").unwrap_or_default());
    for (name, value) in event.into_iter().chain(spans.flatten()) {
        object.entry(name).or_insert(value);
    }
    Value::Object(object).to_string()
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut members = Members::default();
        attributes.record(&mut members);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(members);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(members) = span.extensions_mut().get_mut::<Members>()
        {
            values.record(members);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut members = Members::default();
        event.record(&mut members);
        // From the innermost outward.
        let spans: Vec<Map<String, Value>> =
            context.event_scope(event).into_iter().flatten().fold(Vec::new(), |mut found, span| {
                found.extend(span.extensions().get::<Members>().map(|members| members.0.clone()));
                found
            });
        let time = Clock::system().now_millis().to_string();
        let text = line(&time, event.metadata().level().as_str(), members, spans.into_iter());
        // In one write, so that lines of several threads are not mixed.
        let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_holds_the_event_and_what_it_happened_in() {
        let object = |value: Value| value.as_object().cloned().unwrap();
        let event = Members(object(json!({ "status": 200, "message": "API request", "connection": "slack" })));
        let spans =
            [object(json!({ "connection": "other", "request_id": "req_1" })), object(json!({ "workspace": "w" }))];
        assert_eq!(
            line("2026-01-01T00:00:00Z", "INFO", event, spans.into_iter()),
            r#"{"time":"2026-01-01T00:00:00Z","level":"info","message":"API request","status":200,"connection":"slack","request_id":"req_1","workspace":"w"}"#
        );
    }
}
