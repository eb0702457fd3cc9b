//! A request to store: its events, headers and exact body.

use serde_json::Value;

use super::{body, event};
use crate::clock::Timestamp;
use crate::connector::WebhookDefinition;
use crate::hash;
use crate::model::{ConnectionId, EventVerification, InboundDelivery, NewEvent, RawRequest};
use crate::signing::request::WebhookRequest;

/// Headers that carry the vendor's credentials to us are of no use later.
const DROPPED_HEADERS: &[&str] = &["authorization", "cookie", "proxy-authorization"];

/// A requested delivery, with the events of a batch as JSON. Its body is not the one that the vendor sends, so that
/// its ids alone say what arrived.
pub(in crate::webhook) fn fetched_delivery(
    connection: ConnectionId,
    needs_handling: bool,
    request: WebhookRequest,
    read: Vec<(event::ParsedEvent, Option<String>)>,
    now: Timestamp,
) -> InboundDelivery {
    let new = |(event, item)| NewEvent { digest: None, ..new_event(event, item, &request.body) };
    let events = read.into_iter().map(new);
    let events = events.collect();
    delivery(connection, needs_handling, request, events, now)
}

pub(super) fn delivery(
    connection: ConnectionId,
    handled: bool,
    request: WebhookRequest,
    events: Vec<NewEvent>,
    now: Timestamp,
) -> InboundDelivery {
    let mut headers = request.headers;
    headers.retain(|(name, _)| !DROPPED_HEADERS.contains(&name.to_ascii_lowercase().as_str()));
    let query = request.url.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
    let proof = EventVerification::Verified;
    InboundDelivery {
        connection,
        received_at: now,
        headers,
        query,
        body: request.body,
        events,
        verification: proof,
        needs_handling: handled,
    }
}

/// `item` is the event within a batch; else it is the whole body.
pub(in crate::webhook) fn new_event(event: event::ParsedEvent, item: Option<String>, body: &[u8]) -> NewEvent {
    let text = item.as_ref().map_or(body, String::as_bytes);
    NewEvent {
        delivery_id: event.delivery_id,
        has_delivery_id: event.has_stable_id,
        digest: Some(hash::sha256(text)),
        signed_digest: None,
        kind: event.kind,
        account: event.account,
        resource: event.resource,
        actor: event.actor,
        occurred_at: event.time,
        batch_item: item,
        merged: None,
    }
}

/// The events of a request that was stored, parsed again.
pub fn payload(rules: &WebhookDefinition, request: &WebhookRequest, item: Option<&str>) -> Value {
    match item {
        Some(text) => crate::json::parse(text).unwrap_or_default(),
        None => event::document(&rules.event, request).unwrap_or_default(),
    }
}

/// The JSON of an event's payload: as the service wrote it, where the event is the whole of a JSON body.
pub fn payload_json(rules: &WebhookDefinition, raw: &RawRequest) -> String {
    let request = WebhookRequest::from_raw(raw);
    let exact = || body::exact_json(rules, &request).filter(|_| raw.batch_item.is_none());
    exact().unwrap_or_else(|| payload(rules, &request, raw.batch_item.as_deref()).to_string())
}
