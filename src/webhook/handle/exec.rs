//! Runs the user's command for each event.

use async_trait::async_trait;
use serde_json::Value;

use super::handler::{EventHandler, EventInput, HANDLER_TIMEOUT, HandleError, HandlerOutcome, HandlerStep};
use crate::model::{RawRequest, StoredEvent};
use crate::program;
use crate::signing::request::WebhookRequest;
use crate::webhook::inbound::body::{self, Content};
use crate::webhook::inbound::handler_responses::HandlerResponse;

/// Bytes of what a command prints that can be an answer.
const MAX_OUTPUT_BYTES: usize = 1024 * 1024;

/// A command that gets the payload on its stdin; what it prints is the answer, if one is wanted.
pub(super) struct ExecHandler {
    pub(super) command: String,
    pub(super) returns_response: bool,
}

#[async_trait]
impl EventHandler for ExecHandler {
    fn step(&self) -> HandlerStep {
        HandlerStep::Exec
    }

    async fn handle(&self, input: &EventInput<'_>) -> Result<HandlerOutcome, HandleError> {
        let variables = variables(input.event, input.raw);
        let stdin = stdin(input.request, input.raw, input.payload, input.exact_json);
        if !self.returns_response {
            program::run(&self.command, HANDLER_TIMEOUT, variables, &stdin).await?;
            return Ok(HandlerOutcome::Done(None));
        }
        let printed = program::output(&self.command, HANDLER_TIMEOUT, variables, &stdin, MAX_OUTPUT_BYTES).await?;
        let body = String::from_utf8_lossy(&printed).into_owned();
        let response = HandlerResponse { status: 200, content_type: None, body };
        Ok(HandlerOutcome::Done((!response.body.is_empty()).then_some(response)))
    }
}

/// Returns what a command gets on stdin: JSON as the service wrote it, text as it is, and anything else byte for byte.
fn stdin(request: &WebhookRequest, raw: &RawRequest, payload: &Value, exact: Option<&str>) -> Vec<u8> {
    if let Some(exact) = exact {
        return exact.as_bytes().to_vec();
    }
    match (body::content(request, body::MAX_DECODED_BYTES), payload) {
        (Ok(Content::Bytes(bytes)), _) if raw.batch_item.is_none() => bytes.into_owned(),
        (_, Value::String(text)) => text.clone().into_bytes(),
        (_, other) => other.to_string().into_bytes(),
    }
}

/// What a program gets besides the payload; no secret is among it.
fn variables(event: &StoredEvent, raw: &RawRequest) -> Vec<(String, String)> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let time = event.occurred_at.unwrap_or(event.received_at).to_string();
    let values = [
        ("ID", event.id.0.to_string()),
        ("CONNECTION", event.connection.to_string()),
        ("CONNECTOR", event.connection.connector().to_owned()),
        ("TYPE", event.kind.clone()),
        ("DELIVERY_ID", event.delivery_id.clone()),
        ("ACCOUNT", text(&event.account)),
        ("RESOURCE", text(&event.resource)),
        ("ACTOR", text(&event.actor)),
        ("TIME", time),
        ("QUERY", raw.query.clone()),
        ("ATTEMPT", (event.attempts + 1).to_string()),
    ];
    values.into_iter().map(|(name, value)| (format!("INTEG_EVENT_{name}"), value)).collect()
}
