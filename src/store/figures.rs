//! Figures over all aggregates of a workspace.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::WorkspaceFigures;

/// Figures for monitoring, which read across the other aggregates.
#[async_trait]
pub trait Figures: Send + Sync {
    /// Returns the queues at `now`, and what was begun since a time, from one snapshot. Rows that were added while the clock
    /// was wrong may be missing from the counts.
    async fn read_figures(&self, since: Timestamp, now: Timestamp) -> Result<WorkspaceFigures, StoreError>;
}
