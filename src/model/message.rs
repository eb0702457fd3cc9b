//! Messages: the user's events, as sent to endpoints.

use serde_json::Value;

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

impl Message {
    /// Returns whether a stored body is that of the same message: types and data are equal, whenever each was created.
    pub fn is_same(&self, other_body: &[u8]) -> bool {
        let read = |body: &[u8]| serde_json::from_slice::<Value>(body).ok();
        let (Some(own), Some(other)) = (read(&self.body), read(other_body)) else { return false };
        own["type"] == other["type"] && own["data"] == other["data"]
    }
}
