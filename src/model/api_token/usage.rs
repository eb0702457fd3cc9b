//! How often API tokens are used.

use jiff::civil::Date;

use super::ApiTokenId;
use crate::clock::Timestamp;
use crate::model::words::words;

/// Whether one more request of a token is within its rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    pub is_allowed: bool,
    /// Requests in a window.
    pub limit: u32,
    /// Further requests that the window has room for.
    pub remaining: u32,
    /// When the window has room for one more request than now; for a rejected request, when it can be repeated.
    pub resets_at: Timestamp,
}

/// What a request to the API led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApiOutcome {
    Succeeded,
    Failed,
    /// The token lacks a scope, or may not use the connection.
    Denied,
    /// The rate limit was exceeded.
    RateLimited,
}

words!(ApiOutcome {
    Succeeded => "succeeded",
    Failed => "failed",
    Denied => "denied",
    RateLimited => "rate_limited",
});

/// A request that a token made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUse {
    pub token: ApiTokenId,
    pub at: Timestamp,
    /// The name of the operation: `status`, `webhook retry`.
    pub operation: String,
    pub outcome: ApiOutcome,
}

/// How many requests of a token a day had, by operation and outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUseCount {
    /// In UTC.
    pub day: Date,
    pub operation: String,
    pub outcome: ApiOutcome,
    pub count: u64,
}
