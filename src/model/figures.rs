//! Figures of a workspace: what waits, and what was done in a time.

use std::collections::BTreeMap;

use super::audit::AuditOutcome;
use super::connection::ConnectionId;
use super::delivery::DeliveryStatus;
use super::event::EventStatus;
use super::job::JobStatus;
use crate::clock::Timestamp;

/// A queue at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    /// What waits, due or not.
    pub depth: u64,
    /// When the oldest item of those that wait was added.
    pub oldest_at: Option<Timestamp>,
    /// Since when the first item is due that is due; absent if all wait for a retry.
    pub overdue_since: Option<Timestamp>,
}

impl QueueState {
    /// Adds another queue.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let earlier = |one: Option<Timestamp>, other: Option<Timestamp>| one.into_iter().chain(other).min();
        Self {
            depth: self.depth + other.depth,
            oldest_at: earlier(self.oldest_at, other.oldest_at),
            overdue_since: earlier(self.overdue_since, other.overdue_since),
        }
    }
}

/// What waits in a workspace, and what became of what was begun since a time, by status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkspaceFigures {
    pub event_queues: BTreeMap<ConnectionId, QueueState>,
    /// Without what waits for endpoints that are disabled.
    pub delivery_queue: QueueState,
    pub events: Vec<(ConnectionId, EventStatus, u64)>,
    pub deliveries: Vec<(DeliveryStatus, u64)>,
    pub jobs: Vec<(ConnectionId, JobStatus, u64)>,
    /// Attempts to connect an account.
    pub connects: Vec<(AuditOutcome, u64)>,
}
