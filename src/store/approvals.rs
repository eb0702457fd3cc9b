//! Approvals.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::{Approval, ApprovalClaim, ApprovalDecision, ApprovalId};

/// What persons allowed API tokens to do, one exact request each. Those that ended are removed after 30 days.
#[async_trait]
pub trait Approvals: Send + Sync {
    /// Uses the granted approval of the same token and digest, in one transaction: of any number of requests, one gets an
    /// approval that was granted once. Otherwise returns the approval that is waited for, which is `new` if there is none.
    async fn claim(&self, new: &Approval, now: Timestamp) -> Result<ApprovalClaim, StoreError>;

    /// Returns up to `limit` approvals, the newest first, after one of them if it is given.
    async fn list(&self, after: Option<&ApprovalId>, limit: u32) -> Result<Vec<Approval>, StoreError>;

    /// Returns the approval with this id.
    async fn find(&self, id: &ApprovalId) -> Result<Option<Approval>, StoreError>;

    /// Records a decision about an approval that is still open, and returns the approval; `None` if it is not open.
    async fn decide(
        &self,
        id: &ApprovalId,
        decision: ApprovalDecision,
        now: Timestamp,
    ) -> Result<Option<Approval>, StoreError>;
}
