//! An event as programs see it: in filters, files, stdout and the API.

use serde::Serialize;
use serde_json::Value;

use crate::model::{ConnectionName, EventVerification, StoredEvent};
use crate::webhook::inbound::outcome::ReceivedEvent;

/// Times are RFC 3339.
#[derive(Debug, Serialize)]
pub struct EventView<'a> {
    id: i64,
    connection: String,
    #[serde(rename = "type")]
    kind: &'a str,
    delivery_id: &'a str,
    account: Option<&'a str>,
    resource: Option<&'a str>,
    actor: Option<&'a str>,
    /// When it happened, as the vendor says.
    time: Option<String>,
    received_at: String,
    /// Whether it is proved that the vendor sent it.
    verified: bool,
    /// The vendor's document; absent if it was not requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a Value>,
}

impl<'a> EventView<'a> {
    /// Creates the view of a stored event; `None` leaves the payload out.
    pub fn stored(event: &'a StoredEvent, payload: Option<&'a Value>) -> Self {
        Self {
            id: event.id.0,
            connection: event.connection.to_string(),
            kind: &event.kind,
            delivery_id: &event.delivery_id,
            account: event.account.as_deref(),
            resource: event.resource.as_deref(),
            actor: event.actor.as_deref(),
            time: event.occurred_at.map(|at| at.to_string()),
            received_at: event.received_at.to_string(),
            verified: event.verification == EventVerification::Verified,
            payload,
        }
    }

    /// One that has just come.
    pub fn received(connection: &ConnectionName, received: &'a ReceivedEvent, payload: Option<&'a Value>) -> Self {
        let ReceivedEvent { event, received_at, inserted: taken, verified, .. } = received;
        Self {
            id: taken.id().0,
            connection: connection.to_string(),
            kind: &event.kind,
            delivery_id: &event.delivery_id,
            account: event.account.as_deref(),
            resource: event.resource.as_deref(),
            actor: event.actor.as_deref(),
            time: event.occurred_at.map(|at| at.to_string()),
            received_at: received_at.to_string(),
            verified: *verified,
            payload,
        }
    }

    /// Returns the view as a JSON object.
    pub fn document(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
