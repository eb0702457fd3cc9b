//! Deliveries of outbound messages: one for each endpoint, with a row for each attempt.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::endpoint::{DisabledReason, EndpointHealth, EndpointId};
use super::words::words;
use crate::clock::Timestamp;

/// The id of a delivery, shown as `dlv_42`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub i64);

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dlv_{}", self.0)
    }
}

impl FromStr for DeliveryId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix("dlv_").and_then(|number| number.parse().ok());
        number.map(Self).ok_or_else(|| format!("{text:?} is not a delivery ID (dlv_…)"))
    }
}

/// The status of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// Waits to be tried for the first time.
    Pending,
    /// Waits to be tried again.
    Failed,
    Delivered,
    /// Given up; `retry` brings it back.
    Dead,
}

words!(DeliveryStatus {
    Pending => "pending",
    Failed => "failed",
    Delivered => "delivered",
    Dead => "dead",
});

/// One attempt series of a message to one endpoint.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub id: DeliveryId,
    pub message: String,
    pub kind: String,
    pub endpoint: EndpointId,
    pub status: DeliveryStatus,
    /// Since it was begun, or brought back.
    pub attempts: u32,
    pub due_at: Option<Timestamp>,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
    pub last_error: Option<String>,
}

/// What became of a message that was to be sent.
#[derive(Clone, Debug)]
pub enum MessageInsertResult {
    /// It and its deliveries are durable. Disabled endpoints that would have wanted it get none.
    Stored { disabled_endpoints: Vec<EndpointId> },
    /// The same message is known; nothing is sent again.
    Duplicate,
    /// Its id is known with another type or other data; nothing was stored.
    Conflict,
}

/// One attempt, as the log keeps it.
#[derive(Clone, Debug, Default)]
pub struct DeliveryAttempt {
    pub started_at: Timestamp,
    pub duration: Duration,
    /// Without the signature's value.
    pub request_headers: Vec<(String, String)>,
    pub response_status: Option<u16>,
    /// The beginning of it.
    pub response_body: Option<Vec<u8>>,
    pub error: Option<String>,
}

/// What an attempt leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryUpdate {
    pub status: DeliveryStatus,
    /// When it is to be tried again; absent where it is not.
    pub due_at: Option<Timestamp>,
    pub endpoint_health: EndpointHealth,
}

/// An attempt that is to be recorded, with what follows from it.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    pub delivery: DeliveryId,
    pub attempt: DeliveryAttempt,
    /// The delivery's attempts and the endpoint's health that `update` was computed from.
    pub attempts_before: u32,
    pub health_before: EndpointHealth,
    pub update: DeliveryUpdate,
}

/// A delivery and its endpoint after an attempt was recorded.
#[derive(Clone, Debug)]
pub struct RecordedAttempt {
    pub delivery: Delivery,
    /// The state of the endpoint then.
    pub endpoint_health: EndpointHealth,
    /// What it was disabled for by this attempt.
    pub disabled_reason: Option<DisabledReason>,
}

/// Which deliveries to list.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    pub endpoint: Option<EndpointId>,
    pub message: Option<String>,
    pub status: Option<DeliveryStatus>,
    pub since: Option<Timestamp>,
    /// Only those with a smaller id: the next page of a list.
    pub before: Option<DeliveryId>,
    pub limit: u32,
}
