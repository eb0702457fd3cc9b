//! State shared by all stages of a stream's run: input, output, and counts.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::SyncError;
use super::checkpoint::ReadGoal;
use super::observer::SyncObserver;
use super::selection::SyncRequest;
use crate::api::GrantToken;
use crate::connector::Stream;
use crate::model::{ConnectionName, JobId, RecordCounts, StreamId, Traffic};
use crate::runtime::{Session, Workspace};
use crate::store::{CommitConditions, RecordHasher, Store};

/// One run of one stream. It does not change but for its tally.
pub(super) struct StreamRun<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) store: &'a dyn Store,
    /// The stream's lock, which is held while it runs, and the consent that it needs.
    pub(super) conditions: CommitConditions,
    pub(super) session: &'a Session,
    pub(super) request: &'a SyncRequest,
    pub(super) token: &'a GrantToken,
    pub(super) name: &'a str,
    pub(super) stream: &'a Stream,
    pub(super) id: StreamId,
    pub(super) goal: &'a ReadGoal,
    pub(super) job: JobId,
    pub(super) hasher: RecordHasher,
    pub(super) observer: &'a dyn SyncObserver,
    /// Of all streams of the connection: the vendor wants no more requests for now, or the token is not accepted, so that
    /// no other list is begun.
    pub(super) stop: &'a AtomicBool,
    pub(super) tally: Mutex<Tally>,
}

/// What a run has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) counts: RecordCounts,
    /// Of the pages that were stored.
    pub(super) traffic: Traffic,
    /// What was asked without bringing a page.
    pub(super) unpaged_traffic: Traffic,
    /// Records that sweeps have marked as deleted.
    pub(super) deleted_by_sweeps: u64,
    /// Whether a list was read from a cursor on, or not at all as it would hold nothing new.
    pub(super) used_cursor: bool,
    /// Lists that the vendor gave, or that had nothing new.
    pub(super) listed_partitions: usize,
    /// Lists that the vendor has not, or not for this account.
    pub(super) skipped_partitions: usize,
}

impl StreamRun<'_> {
    pub(super) fn connection(&self) -> &ConnectionName {
        &self.session.connection.name
    }

    pub(super) fn error(&self, make: impl FnOnce(ConnectionName, String) -> SyncError) -> SyncError {
        make(self.connection().clone(), self.name.to_owned())
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_unpaged_traffic(&self, traffic: Traffic) {
        self.tally().unpaged_traffic += traffic;
    }

    pub(super) fn note(&self, text: &str) {
        self.observer.note(self.connection(), self.name, text);
    }
}
