//! Commits deliveries to the store, and wakes the dispatchers of their connections.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::Semaphore;

use super::target::ReceiveTarget;
use crate::model::{EventId, EventInsertResult, InboundDelivery};
use crate::runtime::Activity;
use crate::store::StoreError;

/// Deliveries that wait for their commit at a time; beyond them the vendor is asked to come again. A commit takes 256 of
/// them, so that none waits for more than a few.
const MAX_PENDING_COMMITS: usize = 1024;

/// Why a delivery is not in the store: the vendor is asked to send it again.
#[derive(Debug, Error)]
pub(super) enum CommitError {
    #[error("too many are waiting to be written")]
    Overloaded,
    #[error("another body was received with this id, and the service has not confirmed it yet")]
    Unconfirmed,
    #[error("too many conflicting bodies were received with its id; hint: integ webhook resolve {} --keep all", .0.0)]
    TooManyConflicts(EventId),
    /// The disk is full, most likely.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Commits deliveries, those of many requests in one commit.
pub(super) struct Inbox {
    commit_slots: Semaphore,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { commit_slots: Semaphore::new(MAX_PENDING_COMMITS) }
    }
}

impl Inbox {
    /// Stores the events of a delivery and wakes those who confirm and handle them. Returns the delivery with what became of
    /// each event, in order.
    pub(super) async fn commit(
        &self,
        target: &ReceiveTarget,
        delivery: InboundDelivery,
    ) -> Result<(InboundDelivery, Vec<EventInsertResult>), CommitError> {
        let Ok(_slot) = self.commit_slots.try_acquire() else { return Err(CommitError::Overloaded) };
        let delivery = Arc::new(delivery);
        let inserted = target.store.events().insert(Arc::clone(&delivery)).await?;
        target.signals.event_stored();
        for result in &inserted {
            let activity = match result {
                EventInsertResult::New(_) | EventInsertResult::Requeued(_) => Some(Activity::EventReceived),
                EventInsertResult::Duplicate(_) => Some(Activity::EventDuplicate),
                EventInsertResult::Conflict(_)
                | EventInsertResult::TooManyConflicts(_)
                | EventInsertResult::Unconfirmed(_) => None,
            };
            activity.into_iter().for_each(|activity| target.metrics.count(Some(target.connection), activity));
            match *result {
                EventInsertResult::Unconfirmed(_) => return Err(CommitError::Unconfirmed),
                EventInsertResult::TooManyConflicts(id) => return Err(CommitError::TooManyConflicts(id)),
                EventInsertResult::New(_)
                | EventInsertResult::Duplicate(_)
                | EventInsertResult::Requeued(_)
                | EventInsertResult::Conflict(_) => {}
            }
        }
        Ok((Arc::unwrap_or_clone(delivery), inserted))
    }
}
