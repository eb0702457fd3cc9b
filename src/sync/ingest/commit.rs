//! Commits records to the store: pages, sweeps, pushed records.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::super::SyncError;
use super::super::observer::StoredPage;
use super::super::stream::StreamRun;
use crate::consent;
use crate::error::{Error, Result};
use crate::model::{
    CompletedList, ConnectionId, ConsentPurpose, NewPage, PushedRecord, RecordChange, SweepResult, Traffic,
};
use crate::runtime::{LockGuard, Workspace};
use crate::store::{CommitConditions, Store};

/// Pages that wait to be written, and KiB of them: more are not fetched ahead.
const MAX_QUEUED_PAGES: usize = 16;
const MAX_QUEUED_KIB: u32 = 2048;

/// A page on its way to the store, and who waits for it.
struct QueuedPage {
    page: NewPage,
    stored: oneshot::Sender<()>,
    /// Its share of the room in the queue.
    _room: OwnedSemaphorePermit,
}

/// The end of a queue where pages are put in. The queue is at its end once this is dropped.
pub(in super::super) struct PageQueue {
    pages: mpsc::Sender<QueuedPage>,
    /// KiB of answers that may wait.
    room: Arc<Semaphore>,
}

/// The end of a queue where pages are taken out and stored: all that wait at once, so that an fsync and the pages of the
/// indexes serve several.
pub(in super::super) struct PageWriter<'a> {
    run: &'a StreamRun<'a>,
    pages: mpsc::Receiver<QueuedPage>,
}

/// What became of a page that was put into the queue.
pub(in super::super) enum PageReceipt {
    /// It will be stored; the channel says when it is.
    Queued(oneshot::Receiver<()>),
    /// The writer has ended: the job was cancelled, or the store failed.
    Refused,
}

/// How a writer ended that stored all that it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum WriteEnd {
    /// With the queue.
    Drained,
    /// The job was cancelled.
    Cancelled,
}

/// Returns what must hold when records of a connection are stored: the lock of their stream, and the user's consent.
pub(in super::super) fn commit_conditions(
    workspace: &Workspace,
    connection: ConnectionId,
    lock: &LockGuard,
) -> CommitConditions {
    CommitConditions { fence: lock.fence(), consent: consent::condition(workspace, connection, ConsentPurpose::Sync) }
}

/// Creates the queue of pages from the reader of a list to the store.
pub(in super::super) fn page_queue<'a>(run: &'a StreamRun<'a>) -> (PageQueue, PageWriter<'a>) {
    let (sender, receiver) = mpsc::channel(MAX_QUEUED_PAGES);
    let queue = PageQueue { pages: sender, room: Arc::new(Semaphore::new(MAX_QUEUED_KIB as usize)) };
    (queue, PageWriter { run, pages: receiver })
}

impl PageQueue {
    /// Puts a page into the queue, once there is room for it.
    pub(in super::super) async fn push(&self, page: NewPage) -> PageReceipt {
        let (stored, receipt) = oneshot::channel();
        let kib = u32::try_from(page.traffic.bytes / 1024).unwrap_or(MAX_QUEUED_KIB).clamp(1, MAX_QUEUED_KIB);
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(kib).await else { return PageReceipt::Refused };
        match self.pages.send(QueuedPage { page, stored, _room: room }).await {
            Ok(()) => PageReceipt::Queued(receipt),
            Err(_) => PageReceipt::Refused,
        }
    }
}

impl PageWriter<'_> {
    /// Stores pages until the queue is at its end or the job is cancelled.
    ///
    /// # Errors
    /// The store's, and a consent that is missing.
    pub(in super::super) async fn write(mut self) -> Result<WriteEnd> {
        let run = self.run;
        let mut queued = Vec::new();
        while self.pages.recv_many(&mut queued, MAX_QUEUED_PAGES).await > 0 {
            let mut traffic = Traffic::default();
            let (mut pages, mut waiting) = (Vec::new(), Vec::new());
            for QueuedPage { page, stored, _room } in queued.drain(..) {
                traffic += page.traffic;
                pages.push(page);
                waiting.push((stored, _room));
            }
            let (counts, is_cancelled) = run.store.records().commit_pages(pages, &run.conditions).await?;
            {
                let mut tally = run.tally();
                tally.counts += counts;
                tally.traffic += traffic;
            }
            let requests_left = run.workspace.rate_limiter(run.session).remaining();
            run.observer.page_stored(run.connection(), run.name, StoredPage { counts, traffic, requests_left });
            for (stored, _room) in waiting {
                // Most readers do not wait for it.
                let _ = stored.send(());
            }
            if is_cancelled {
                return Ok(WriteEnd::Cancelled);
            }
        }
        Ok(WriteEnd::Drained)
    }
}

/// How a sweep ended.
#[derive(Debug)]
pub(in super::super) enum SweepEnd {
    Done,
    /// It would delete too much: the lists are forgotten, and nothing else is changed. The error is for the user.
    Blocked(Error),
}

/// Ends full lists: what was not met in them is deleted, and their cursors move.
///
/// # Errors
/// The store's.
pub(in super::super) async fn sweep(run: &StreamRun<'_>, lists: &[CompletedList]) -> Result<SweepEnd> {
    let limit = (!run.request.allow_deletes).then(|| run.tally().deleted_by_sweeps);
    let now = run.workspace.clock.now();
    match run.store.records().sweep(run.job, run.id, lists, limit, now, &run.conditions).await? {
        SweepResult::Done { deleted } => {
            let mut tally = run.tally();
            tally.deleted_by_sweeps += deleted;
            tally.counts.deleted += deleted;
            Ok(SweepEnd::Done)
        }
        SweepResult::Blocked { missing, known } => {
            let job = run.job.0;
            let blocked = |connection, stream| SyncError::DeletesBlocked { connection, stream, missing, known, job };
            Ok(SweepEnd::Blocked(run.error(blocked).into()))
        }
    }
}

/// Stores a record that an event brought. Returns `None` if it is unchanged.
///
/// # Errors
/// The store's, and a consent that is missing.
pub(super) async fn push(
    store: &dyn Store,
    record: PushedRecord,
    conditions: &CommitConditions,
) -> Result<Option<RecordChange>> {
    Ok(store.records().push(record, conditions).await?)
}
