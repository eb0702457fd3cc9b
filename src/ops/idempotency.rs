//! Requests that a caller may repeat: the first one runs, a repetition gets its response.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::{IdempotencyClaim, IdempotencyKey, IdempotencyRequest, StoredResponse};
use crate::runtime::Workspace;

/// After so long, a request whose process ended before it responded may be taken over by a repetition.
const CLAIM_DURATION: Duration = Duration::from_secs(5 * 60);

/// Claims the key of a request with this digest, which the audit log has under its id.
pub async fn claim_key(
    workspace: &Workspace,
    key: IdempotencyKey,
    request_id: &str,
    digest: [u8; 32],
) -> Result<IdempotencyClaim> {
    let now = workspace.clock.now_millis();
    let claimed_until = now.checked_add(CLAIM_DURATION).unwrap_or(Timestamp::MAX);
    let request = IdempotencyRequest { key, request_id: request_id.to_owned(), digest, now, claimed_until };
    Ok(workspace.store().await?.idempotency_keys().claim(&request).await?)
}

/// Stores the response of the request that claimed the key. Without one, the request may be sent again.
pub async fn finish_key(workspace: &Workspace, key: &IdempotencyKey, response: Option<&StoredResponse>) -> Result<()> {
    let keys = workspace.store().await?.idempotency_keys();
    match response {
        Some(response) => keys.finish(key, response).await?,
        None => keys.release(key).await?,
    }
    Ok(())
}
