//! How often tokens are used: requests are counted in memory and stored together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::http::serve::StatusCode;
use crate::model::{ApiOutcome, ApiTokenId, ApiUse};
use crate::ops::api_tokens::record_usage;
use crate::runtime::Workspace;
use crate::runtime::worker::{NextWake, Worker};

/// How often counts are stored. A process that is killed loses those of so long: they are statistics, and the audit log has
/// each request.
const INTERVAL: Duration = Duration::from_secs(5);

/// Requests that are not stored yet.
#[derive(Debug, Default)]
pub(super) struct UsageLog(Mutex<Vec<ApiUse>>);

impl UsageLog {
    /// Notes a request and what it led to.
    pub(super) fn record(&self, token: &ApiTokenId, at: Timestamp, operation: &str, outcome: ApiOutcome) {
        let request = ApiUse { token: token.clone(), at, operation: operation.to_owned(), outcome };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }

    fn take(&self) -> Vec<ApiUse> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a status says of a request.
pub(super) fn outcome_of(status: StatusCode) -> ApiOutcome {
    match status {
        StatusCode::TOO_MANY_REQUESTS => ApiOutcome::RateLimited,
        StatusCode::FORBIDDEN => ApiOutcome::Denied,
        status if status.is_success() => ApiOutcome::Succeeded,
        _ => ApiOutcome::Failed,
    }
}

/// Stores the requests of a workspace's tokens.
pub(super) struct UsageWriter<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) log: Arc<UsageLog>,
}

#[async_trait]
impl Worker for UsageWriter<'_> {
    fn name(&self) -> &'static str {
        "usage of API tokens"
    }

    async fn tick(&mut self, _: Timestamp) -> Result<NextWake> {
        self.finish().await?;
        Ok(NextWake::Idle)
    }

    async fn finish(&mut self) -> Result<()> {
        let uses = self.log.take();
        if uses.is_empty() { Ok(()) } else { record_usage(self.workspace, &uses).await }
    }

    fn poll_interval(&self) -> Duration {
        INTERVAL
    }
}
