//! The outcomes of a request.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::delivery::payload;
use super::target::ReceiveTarget;
use crate::clock::Timestamp;
use crate::model::{ConnectionName, EventInsertResult, NewEvent};
use crate::signing::request::WebhookRequest;
use crate::signing::verify::VerifyError;

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookResponse {
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

/// The outcome of a request.
#[derive(Clone, Debug)]
pub enum ReceiveOutcome {
    Received {
        connection: ConnectionName,
        events: Vec<ReceivedEvent>,
    },
    Handshake {
        connection: ConnectionName,
        captured: bool,
    },
    Rejected {
        connection: ConnectionName,
        error: VerifyError,
    },
    Unreadable {
        connection: ConnectionName,
        /// `unreadable`, `too_large`, `too_slow` or `overloaded`.
        reason: &'static str,
        error: String,
    },
    /// It was good, and could not be stored.
    NotStored {
        connection: ConnectionName,
        error: String,
    },
    /// No connection has this path.
    UnknownUrl,
}

/// An event that was taken.
#[derive(Clone, Debug)]
pub struct ReceivedEvent {
    pub event: NewEvent,
    /// Where its payload is, if what is shown is chosen by that.
    pub source: Option<Arc<EventSource>>,
    pub received_at: Timestamp,
    pub inserted: EventInsertResult,
    /// Whether it is proved that the vendor sent it.
    pub verified: bool,
}

/// A request that was stored, and the connection that it came for.
pub struct EventSource {
    pub(super) request: WebhookRequest,
    pub(super) target: Arc<ReceiveTarget>,
}

impl fmt::Debug for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSource").field("connection", &self.target.name).finish_non_exhaustive()
    }
}

impl EventSource {
    /// Creates the source of what was fetched from the vendor.
    pub(in crate::webhook) fn new(request: WebhookRequest, target: Arc<ReceiveTarget>) -> Self {
        Self { request, target }
    }

    /// Parses one of its events again; `item` is the event within a batch.
    pub fn payload(&self, item: Option<&str>) -> Value {
        payload(&self.target.rules, &self.request, item)
    }
}
