//! Tokens of the HTTP API, their rate limits and their use.

use std::time::Duration;

use async_trait::async_trait;
use jiff::civil::Date;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::{Admission, ApiToken, ApiTokenHash, ApiTokenId, ApiUse, ApiUseCount, PresentedApiToken};

/// The outcome of storing a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiTokenWrite {
    Stored,
    /// Another token has the name.
    NameTaken,
    /// The token, or the one that is to create it, was changed or revoked in the meantime.
    Conflict,
}

/// A new text of a token.
#[derive(Clone, Debug)]
pub struct ApiTokenRotation {
    pub hash: ApiTokenHash,
    pub rotated_at: Timestamp,
    pub expires_at: Timestamp,
    /// Until when the present text is accepted as well; it ends at once if absent.
    pub previous_until: Option<Timestamp>,
}

/// The tokens of the HTTP API. What their holders present is never stored.
#[async_trait]
pub trait ApiTokens: Send + Sync {
    /// Returns all tokens, sorted by name.
    async fn list(&self) -> Result<Vec<ApiToken>, StoreError>;

    /// Returns the token with this id, whatever its status.
    async fn find(&self, id: &ApiTokenId) -> Result<Option<ApiToken>, StoreError>;

    /// Returns the token whose present or previous text has this digest, whatever its status, and those that led to it.
    async fn find_by_hash(&self, hash: &ApiTokenHash) -> Result<Option<PresentedApiToken>, StoreError>;

    /// Stores a new token.
    ///
    /// # Errors
    /// [`StoreError::ConnectionNotFound`] if one of its connections was removed.
    async fn insert(&self, token: &ApiToken, hash: &ApiTokenHash) -> Result<ApiTokenWrite, StoreError>;

    /// Writes name, scopes, connections, tier, rotation schedule, approvals and whether it is enabled of `new`, if the stored token
    /// still equals `old`, disregarding its last use.
    ///
    /// # Errors
    /// [`StoreError::ConnectionNotFound`] if one of its connections was removed.
    async fn replace(&self, old: &ApiToken, new: &ApiToken) -> Result<ApiTokenWrite, StoreError>;

    /// Replaces the text of a token and its expiry, and returns the token; `None` if it was revoked.
    async fn rotate(&self, id: &ApiTokenId, rotation: &ApiTokenRotation) -> Result<Option<ApiToken>, StoreError>;

    /// Deletes a token and those that it led to, and returns them, the token itself first.
    async fn revoke(&self, id: &ApiTokenId) -> Result<Vec<ApiToken>, StoreError>;

    /// Records that a token was used, unless it was within the last minute.
    async fn record_use(&self, id: &ApiTokenId, now: Timestamp) -> Result<(), StoreError>;

    /// Counts a request of the tokens that share a limit, unless `limit` requests were counted in the `window` that ends
    /// now. No window of this length has more, whichever processes count and however their requests lie in it. A request
    /// that is rejected is not counted and writes nothing. `now` is used to the microsecond. `None` if the token was
    /// revoked.
    async fn admit(
        &self,
        root: &ApiTokenId,
        now: Timestamp,
        limit: u32,
        window: Duration,
    ) -> Result<Option<Admission>, StoreError>;

    /// Adds to the numbers of uses; those of tokens that were revoked are dropped.
    async fn record_usage(&self, uses: &[ApiUse]) -> Result<(), StoreError>;

    /// Returns how often a token was used since a day, in the order of days.
    async fn usage(&self, id: &ApiTokenId, since: Date) -> Result<Vec<ApiUseCount>, StoreError>;
}
