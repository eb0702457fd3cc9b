//! Reads one list of a stream from its checkpoint to its end, and restarts it if the vendor loses the position.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::SyncError;
use super::checkpoint::{self, Checkpoint, ReadGoal, is_resumable, is_sweeping};
use super::fetch::PageFetchError;
use super::pager::{Pager, PagerEnd};
use super::request::ListRequestBuilder;
use crate::api::GrantToken;
use crate::clock::Timestamp;
use crate::connector::{Pagination, PaginationKind, Stream};
use crate::error::{Error, Result};
use crate::model::{
    CompletedList, ConnectionName, JobId, Partition, RecordCounts, StreamId, SweepResult, SyncMode, Traffic,
};
use crate::runtime::{Session, Workspace};
use crate::store::{Fence, RecordHasher, Store};

/// Times that a list is restarted because the vendor lost the position.
const MAX_RESTARTS: u32 = 3;

/// All there is.
const ALL: ReadGoal = ReadGoal { mode: SyncMode::Full, since: None, until: None };

/// Follows the progress of syncs. Streams run concurrently, so that calls for different streams are mixed.
pub trait SyncObserver: Sync {
    /// The sync of a stream begins; its lock is not taken yet.
    fn stream_started(&self, _connection: &ConnectionName, _stream: &str) {}
    /// A page is stored.
    fn page_stored(&self, _connection: &ConnectionName, _stream: &str, _page: StoredPage) {}
    /// Something that the user should know, in a sentence.
    fn note(&self, _connection: &ConnectionName, _stream: &str, _text: &str) {}
    /// The sync of a stream has ended. A stream that could not be started is reported only here.
    fn stream_finished(&self, _report: &super::SyncReport) {}
    /// All streams of a connection have ended.
    fn connection_finished(&self) {}
}

/// A page that was stored.
#[derive(Clone, Copy, Debug)]
pub struct StoredPage {
    pub counts: RecordCounts,
    pub traffic: Traffic,
    /// Requests that the vendor still allows, if it says so.
    pub requests_left: Option<u64>,
}

/// What is read of one stream.
pub(super) struct StreamReader<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) store: &'a dyn Store,
    /// Of the stream's lock, which is held while this reads.
    pub(super) fence: Fence,
    pub(super) session: &'a Session,
    pub(super) name: &'a str,
    pub(super) stream: &'a Stream,
    pub(super) id: StreamId,
    pub(super) read_goal: &'a ReadGoal,
    pub(super) job: JobId,
    pub(super) hasher: RecordHasher,
    pub(super) observer: &'a dyn SyncObserver,
    /// What was asked without bringing a page.
    pub(super) unpaged_traffic: Mutex<Traffic>,
    /// Whether a sweep may take more than half of the stream.
    pub(super) allow_deletes: bool,
    /// Records that sweeps of this run have taken.
    pub(super) deleted_count: AtomicU64,
    /// Whether a list was read from a cursor on, or not at all as it would hold nothing new.
    pub(super) used_cursor: AtomicBool,
}

/// What the reading of one partition, or of all of them, stored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) counts: RecordCounts,
    pub(super) traffic: Traffic,
}

/// How the reading of a partition ended.
#[derive(Clone, Debug)]
pub(super) enum PartitionOutcome {
    Read,
    /// All of it was listed: what was not met may be marked as deleted.
    FullyListed(CompletedList),
    /// The vendor has nothing to list here.
    Skipped,
}

impl StreamReader<'_> {
    pub(super) fn connection(&self) -> &ConnectionName {
        &self.session.connection.name
    }

    pub(super) fn error(&self, make: impl FnOnce(ConnectionName, String) -> SyncError) -> Error {
        make(self.connection().clone(), self.name.to_owned()).into()
    }

    pub(super) fn add_unpaged_traffic(&self, traffic: Traffic) {
        self.unpaged_traffic.lock().unwrap_or_else(PoisonError::into_inner).add(traffic);
    }

    /// Reads a partition to its end, from its checkpoint.
    pub(super) async fn read(
        &self,
        partition: &Partition,
        parent_version: Option<u64>,
        token: &GrantToken,
        totals: &mut Totals,
    ) -> Result<PartitionOutcome> {
        let now = self.workspace.engine.clock.now();
        let list = ListRequestBuilder {
            session: self.session,
            name: self.name,
            stream: self.stream,
            params: &partition.params,
            now,
        };
        let mut partition = partition.clone();
        let mut progress = self.resume(&mut partition, now, totals).await?;
        if progress.since.is_some() && self.read_goal.mode == SyncMode::Incremental {
            self.used_cursor.store(true, Ordering::Relaxed);
        }
        // Also at a list that goes on where another run left it, whichever look that was.
        let mut needs_second_pass = list.pages().is_some_and(is_unstable_paging);
        let mut was_verified = false;
        for _ in 0..=MAX_RESTARTS {
            let pager = Pager { reader: self, list: &list, partition: &partition, parent_version, needs_second_pass };
            match pager.run(progress.clone(), token.clone(), totals).await {
                Ok(PagerEnd::Read) => return Ok(PartitionOutcome::Read),
                Ok(PagerEnd::Listed(read, None)) => return Ok(PartitionOutcome::FullyListed(read)),
                // Pages that are counted move when something before them goes: what was not met may have slipped from one
                // page to the one before while that was read.
                Ok(PagerEnd::Listed(read, Some(second))) => {
                    if !self.store.records().has_missing(&read).await? {
                        return Ok(PartitionOutcome::FullyListed(read));
                    }
                    (progress, needs_second_pass) = (*second, false);
                }
                // Records that move while a list is read are met twice, but not a second time.
                Ok(PagerEnd::NeedsVerification(second)) if !was_verified => {
                    (progress, needs_second_pass, was_verified) = (*second, false, true);
                }
                Ok(PagerEnd::NeedsVerification(_)) => {
                    self.reset_list(&partition).await?;
                    return Err(self.error(|connection, stream| SyncError::RepeatedPage { connection, stream }));
                }
                // The same list from its beginning: what was met of it stays so.
                Err(PageFetchError::Expired { page: true }) => {
                    progress =
                        Checkpoint { page_token: None, record_count: 0, tie: None, last_page_hash: None, ..progress };
                }
                Err(PageFetchError::Expired { page: false }) => {
                    progress = self.restart(&partition, self.all(&partition)).await?;
                }
                Err(PageFetchError::Skipped) => return Ok(PartitionOutcome::Skipped),
                Err(PageFetchError::Failed(error)) => {
                    if matches!(error.downcast_ref(), Some(SyncError::RepeatedPage { .. })) {
                        self.reset_list(&partition).await?;
                    }
                    return Err(error);
                }
                Err(PageFetchError::WriterStopped) => break,
            }
        }
        Err(self.error(|connection, stream| SyncError::PageTokenExpired { connection, stream }))
    }

    /// The checkpoint to begin with: the stored one if it belongs to what is asked for now, else a new one. A sweep that a
    /// run before left undone comes first, and moves the partition's cursor.
    async fn resume(&self, partition: &mut Partition, now: Timestamp, totals: &mut Totals) -> Result<Checkpoint> {
        let first = |partition: &Partition| {
            checkpoint::first_checkpoint(self.stream, self.read_goal, partition.cursor.as_deref(), now)
        };
        let is_backfill = self.read_goal.mode == SyncMode::Backfill;
        let stored = if is_backfill { &partition.backfill_checkpoint } else { &partition.checkpoint };
        let stored = stored.as_ref().and_then(|json| serde_json::from_str::<Checkpoint>(json).ok());
        let fresh = first(partition);
        match stored.filter(|stored| !stored.needs_verification && is_resumable(self.read_goal, stored, &fresh)) {
            Some(stored) if stored.pending_sweep => {
                let listed = CompletedList {
                    partition: partition.id,
                    start_version: stored.start_version,
                    cursor: stored.next_cursor.clone(),
                    parent_version: stored.parent_version,
                };
                self.sweep(vec![listed], totals).await?;
                partition.cursor = stored.next_cursor;
                self.restart(partition, first(partition)).await
            }
            Some(stored) => Ok(stored),
            None => self.restart(partition, fresh).await,
        }
    }

    /// Ends full lists: what was not met in them is deleted, and their cursors move.
    ///
    /// # Errors
    /// [`SyncError::DeletesBlocked`] where that would take too much; the lists are forgotten then, and nothing else is changed.
    pub(super) async fn sweep(&self, listed: Vec<CompletedList>, totals: &mut Totals) -> Result<()> {
        let (job, stream, now) = (self.job, self.id, self.workspace.engine.clock.now());
        let limit = (!self.allow_deletes).then(|| self.deleted_count.load(Ordering::Relaxed));
        match self.store.records().sweep(job, stream, &listed, limit, now, self.fence).await? {
            SweepResult::Done { deleted } => {
                self.deleted_count.fetch_add(deleted, Ordering::Relaxed);
                totals.counts.deleted += deleted;
                Ok(())
            }
            SweepResult::Blocked { missing, known } => {
                let job = self.job.0;
                let blocked =
                    |connection, stream| SyncError::DeletesBlocked { connection, stream, missing, known, job };
                Err(self.error(blocked))
            }
        }
    }

    /// Forgets how far a list has come: the next run begins it again.
    async fn reset_list(&self, partition: &Partition) -> Result<()> {
        Ok(self.store.records().reset_list(partition.id).await?)
    }

    /// Begins a list; what was met of one that was begun before is forgotten.
    async fn restart(&self, partition: &Partition, progress: Checkpoint) -> Result<Checkpoint> {
        if !is_sweeping(self.stream, &progress, self.read_goal) {
            return Ok(progress);
        }
        let start_version = self.store.records().begin_list(partition.id).await?;
        Ok(Checkpoint { start_version, ..progress })
    }

    /// All of it, where its cursor is lost.
    fn all(&self, partition: &Partition) -> Checkpoint {
        let partition_text =
            if partition.params.is_empty() { String::new() } else { format!(" of {}", params_text(&partition.params)) };
        self.observer.note(
            self.connection(),
            self.name,
            &format!("the vendor no longer knows the cursor{partition_text}: everything is listed again"),
        );
        checkpoint::first_checkpoint(self.stream, &ALL, None, self.workspace.engine.clock.now())
    }
}

impl Traffic {
    pub(super) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.retries += other.retries;
        self.bytes += other.bytes;
    }
}

/// Whether records move from page to page while a list is read: those that are counted, and those that nobody knows of.
fn is_unstable_paging(pages: &Pagination) -> bool {
    match pages.kind {
        PaginationKind::Page
        | PaginationKind::Offset
        | PaginationKind::LinkHeader
        | PaginationKind::NextUrl
        | PaginationKind::Links => true,
        PaginationKind::None | PaginationKind::Cursor | PaginationKind::LastRecord | PaginationKind::MaxRecord => false,
    }
}

/// Values for people: `channel=C1`.
pub(super) fn params_text(params: &crate::model::StreamParams) -> String {
    params.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}
