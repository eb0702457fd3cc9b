//! Writes of a refresh, repeated while the store cannot be reached: a failover takes seconds.
//!
//! Both may be repeated although the first try was committed and only its acknowledgement was lost. The marker is set to
//! what it is, and a grant that was saved is found to have taken its own place.

use std::future::Future;
use std::time::Duration;

use crate::clock::{Stopwatch, Timestamp};
use crate::model::{Connection, ConnectionId, Grant, GrantWriteResult};
use crate::store::{Fence, Store, StoreError};
use crate::vault::{GrantSaveResult, TokenVault};

/// How long a write is repeated. Afterwards the lease of the connection's lock has expired, and another may have begun.
const STORE_PATIENCE: Duration = Duration::from_secs(50);

/// Time between two tries.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// Commits the marker that the grant is being presented. Without it nothing is presented.
///
/// # Errors
/// The store's.
pub(super) async fn begin_refresh(
    store: &dyn Store,
    id: ConnectionId,
    generation: u64,
    at: Timestamp,
    fence: Fence,
) -> Result<GrantWriteResult, StoreError> {
    retry(|| store.grants().begin_refresh(id, generation, at, fence)).await
}

/// Saves the grant of an answer, which is nowhere else.
///
/// # Errors
/// The store's.
pub(super) async fn save_grant(
    token_vault: &TokenVault,
    store: &dyn Store,
    connection: &Connection,
    generation: u64,
    grant: &Grant,
    fence: Fence,
) -> Result<GrantSaveResult, StoreError> {
    retry(|| token_vault.save(store, connection, generation, grant, fence)).await
}

/// Repeats a write while the store may be failing over.
async fn retry<T, F>(mut write: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let started = Stopwatch::start();
    loop {
        match write().await {
            Err(StoreError::Unreachable(_) | StoreError::Contended(_)) if started.elapsed() < STORE_PATIENCE => {
                // A promotion takes seconds.
                tokio::time::sleep(RETRY_DELAY).await;
            }
            result => return result,
        }
    }
}
