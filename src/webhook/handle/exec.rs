//! Runs the user's command for each event.

use async_trait::async_trait;
use serde_json::Value;

use super::handler::{EventHandler, EventInput, HANDLER_TIMEOUT, HandleError, HandlerOutcome, HandlerResult};
use crate::model::{HandlerKind, RawRequest, StoredEvent};
use crate::program::{self, ProgramError};
use crate::signing::request::WebhookRequest;
use crate::webhook::inbound::body::{self, Content};
use crate::webhook::inbound::handler_responses::{HandlerResponse, MAX_RESPONSE_BYTES};

/// A command that gets the payload on its stdin; what it prints on stdout is the answer, if one is wanted.
pub(super) struct ExecHandler {
    pub(super) command: String,
}

#[async_trait]
impl EventHandler for ExecHandler {
    fn kind(&self) -> HandlerKind {
        HandlerKind::Exec
    }

    fn target(&self) -> String {
        self.command.clone()
    }

    async fn handle(&self, input: &EventInput<'_>) -> HandlerResult {
        let variables = variables(input.event, input.raw);
        let stdin = stdin(input.request, input.raw, input.payload, input.exact_json);
        // One more than an answer may have, to know one that is too long.
        let most = if input.wants_response { MAX_RESPONSE_BYTES + 1 } else { 0 };
        let (ended, output) = program::run_captured(&self.command, HANDLER_TIMEOUT, variables, &stdin, most).await;
        let status = match &ended {
            Ok(()) => Some(0),
            Err(ProgramError::Failed { status, .. }) => status.code(),
            Err(_) => None,
        };
        let has_answer = (1..=MAX_RESPONSE_BYTES).contains(&output.stdout.len());
        let response = HandlerResponse { status: 200, content_type: None, body: output.stdout };
        let outcome = ended.map(|()| HandlerOutcome::Done(has_answer.then_some(response))).map_err(HandleError::Exec);
        HandlerResult { outcome, status, output: output.printed }
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
