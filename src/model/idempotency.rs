//! Requests that a caller may repeat: the key that it gave, and the response that it gets again.

use crate::clock::Timestamp;

/// The key of a request of one API token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The id of the API token.
    pub caller: String,
    /// As the caller gave it.
    pub key: String,
}

/// What a caller learns when it repeats a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    pub status: u16,
    pub content_type: String,
    pub location: Option<String>,
    pub body: Vec<u8>,
}

/// The result of claiming a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdempotencyClaim {
    /// It is new, or its first request ended and had changed nothing: this request runs.
    Claimed,
    /// The first request is still running.
    Running,
    /// The key belongs to another request.
    OtherRequest,
    /// The first request has ended with this response.
    Done(StoredResponse),
    /// The first request began to change something, and its process ended before it responded.
    Interrupted,
}

/// How a key is claimed.
#[derive(Clone, Debug)]
pub struct IdempotencyRequest {
    pub key: IdempotencyKey,
    /// The id under which the audit log has this request.
    pub request_id: String,
    /// The digest of the method, the path, the query and the body.
    pub digest: [u8; 32],
    pub now: Timestamp,
    /// When the claim of a request that got no response ends.
    pub claimed_until: Timestamp,
}
