//! The keys of requests that callers may repeat.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::{IdempotencyClaim, IdempotencyKey, IdempotencyRequest, StoredResponse};

/// The idempotency keys of API tokens, with the responses of their first requests.
#[async_trait]
pub trait IdempotencyKeys: Send + Sync {
    /// Claims a key for a request. Of any number of callers, one gets [`IdempotencyClaim::Claimed`].
    async fn claim(&self, request: &IdempotencyRequest) -> Result<IdempotencyClaim, StoreError>;

    /// Stores the response of the request that claimed the key.
    async fn finish(&self, key: &IdempotencyKey, response: &StoredResponse) -> Result<(), StoreError>;

    /// Releases a key whose request changed nothing.
    async fn release(&self, key: &IdempotencyKey) -> Result<(), StoreError>;

    /// Removes the keys that were claimed before a time. Returns their number.
    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError>;
}
