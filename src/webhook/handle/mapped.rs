//! What the user's bindings make of events before handlers get them.

use serde_json::Value;

use super::event_view::EventView;
use super::handler::{EventInput, HandleError};
use crate::clock::Timestamp;
use crate::json;
use crate::mapping::{BoundMapper, failure_text};
use crate::model::{BindingInput, BindingResults, BoundInput, ConnectionName, RawRequest, StoredEvent, matches_type};
use crate::webhook::inbound::delivery::payload_json;
use crate::webhook::inbound::target::ReceiveTarget;

/// An event in the user's own shape.
#[derive(Debug)]
pub(super) struct MappedEvent {
    json: String,
    value: Value,
    document: Value,
}

impl MappedEvent {
    /// The event with what the binding made of it in the place of its payload.
    pub(super) fn input<'e>(&'e self, original: &EventInput<'e>) -> EventInput<'e> {
        EventInput {
            payload: &self.value,
            document: &self.document,
            exact_json: Some(&self.json),
            mapped: Some(&self.json),
            ..*original
        }
    }
}

/// Maps an event by the first binding that is for it; `None` if there is none. A failure is stored in the store.
///
/// # Errors
/// [`HandleError::Binding`].
pub(super) async fn map_event(
    bindings: &[BoundMapper],
    target: &ReceiveTarget,
    event: &StoredEvent,
    raw: &RawRequest,
    now: Timestamp,
) -> Result<Option<MappedEvent>, HandleError> {
    let Some(bound) = bindings.iter().find(|bound| is_for(bound, &event.connection, &event.kind)) else {
        return Ok(None);
    };
    let input = BoundInput::Event(event.id);
    let mapped = bound.mapper.map(&payload_json(&target.rules, raw)).map_err(|failures| failure_text(&failures));
    let (results, mapped) = match mapped {
        Ok(json) => {
            let succeeded = if event.attempts > 0 { vec![input] } else { Vec::new() };
            (BindingResults { failed: Vec::new(), succeeded }, Ok(json))
        }
        Err(reason) => {
            let error = HandleError::Binding { name: bound.binding.name.clone(), reason: reason.clone() };
            (BindingResults { failed: vec![(input, reason)], succeeded: Vec::new() }, Err(error))
        }
    };
    if (!results.failed.is_empty() || !results.succeeded.is_empty())
        && let Err(error) = target.store.bindings().record_results(bound.binding.id, results, now).await
    {
        // The event itself says that it failed.
        tracing::warn!("a failure of the binding {} could not be stored: {error}", bound.binding.name);
    }
    let json = mapped?;
    let value = json::parse(&json).unwrap_or_default();
    let document = EventView::stored(event, Some(&value)).document();
    Ok(Some(MappedEvent { json, value, document }))
}

fn is_for(bound: &BoundMapper, connection: &ConnectionName, kind: &str) -> bool {
    let origin = &bound.binding.origin;
    match &origin.input {
        BindingInput::Event(wanted) => origin.includes(connection) && matches_type(wanted, kind),
        BindingInput::Stream(_) => false,
    }
}
