//! Messages: the user's own events, as they are sent to endpoints.

use super::event_type::EventType;
use crate::clock::Timestamp;

/// What is sent, as it is signed.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: String,
    pub kind: EventType,
    pub body: Vec<u8>,
    pub created_at: Timestamp,
}
