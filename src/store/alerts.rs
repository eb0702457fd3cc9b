//! The alerts that last.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::{Alert, AlertKey};

/// Which alerts were reported and last, so that one process of many reports each, once.
#[async_trait]
pub trait Alerts: Send + Sync {
    /// Stores the alerts that are over their thresholds and removes those that hold no longer, in one commit. Returns
    /// those that have begun, which the caller is to report.
    async fn settle(&self, alerts: &[Alert], now: Timestamp) -> Result<Vec<AlertKey>, StoreError>;
}
