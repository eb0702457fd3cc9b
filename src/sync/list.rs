//! Reads the list of one partition from its checkpoint to its end, in as many passes as needed.
//!
//! A list changes while it is read, and the vendor may forget the position in it. What is read must still be complete, as
//! what a full list does not hold is marked as deleted:
//!
//! - **Restart.** If the vendor no longer accepts the page token, the same list is read again from its first page; what was
//!   met stays met. If it no longer accepts the cursor, everything is listed, and the report says so. After four passes the
//!   sync gives up until the next run.
//! - **Second pass.** Pages that are counted move when a record before them is deleted: a record may slip from page 2 to
//!   page 1 between the two requests. So if such a list has several pages and a stored record was not met in it, it is read
//!   once more, and only what neither pass met is missing.
//! - **Verification.** If a page held nothing but records that were met before, the list was shifted while it was read, or
//!   the vendor ignores which page it is asked for. It is read once more; if that happens again, the sync fails and the next
//!   run begins the list again.
//! - **Sweep.** At the end the partition's checkpoint says that a sweep is due, and `partition` sweeps all lists of the
//!   stream together: what was not met is marked as deleted, and the cursors move, in one commit. If the process dies
//!   before, the next run sweeps first.
//!
//! # Example
//!
//! The store holds A to F at version 40; F was deleted at the vendor, which lists two records a page. B is deleted between
//! the first request and the second.
//!
//! | step | request | answer | met since version 40 | checkpoint that is saved |
//! | --- | --- | --- | --- | --- |
//! | first pass | page 1 | A B | A B | page 2 |
//! | | page 2 | D E (C is on page 1 now) | A B D E | page 3 |
//! | | page 3 | nothing | A B D E | second pass, page 1 |
//! | C and F are missing: second pass | page 1 | A C | A B C D E | page 2 |
//! | | page 2 | D E | A B C D E | page 3 |
//! | | page 3 | nothing | A B C D E | sweep is due |
//! | sweep | | | | none; the cursor has moved |
//!
//! F is marked as deleted. B was met in the first pass, so that it stays until the next full list.

use std::ops::ControlFlow;

use super::SyncError;
use super::checkpoint::{AfterFullList, Checkpoint, ListCompletion, ListPlan, ReadGoal};
use super::fetch::Fetcher;
use super::ingest::{SweepEnd, sweep};
use super::outcome::{ListOutcome, LostPosition, PassEnd};
use super::page::PageReader;
use super::pass::ListPass;
use super::request::ListRequestBuilder;
use super::stream::StreamRun;
use crate::clock::Timestamp;
use crate::connector::{Pagination, PaginationKind};
use crate::error::Result;
use crate::model::{CompletedList, Partition, StreamParams, SyncMode};

/// Times that a list is restarted because the vendor lost the position.
const MAX_RESTARTS: u32 = 3;

/// Whether a list was read a second time because a page of it held nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verification {
    NotNeeded,
    Running,
}

/// Reads the list of a partition to its end. `parent_version` is the version of the record that it is listed for.
///
/// # Errors
/// What the user is shown: the vendor's refusals, answers that are not lists, the store's errors.
pub(super) async fn read_list(
    run: &StreamRun<'_>,
    mut partition: Partition,
    parent_version: Option<u64>,
) -> Result<ListOutcome> {
    let now = run.workspace.clock.now();
    let mut checkpoint = match resume(run, &mut partition, now).await? {
        ControlFlow::Continue(checkpoint) => checkpoint,
        ControlFlow::Break(outcome) => return Ok(outcome),
    };
    if checkpoint.since.is_some() && run.goal.mode == SyncMode::Incremental {
        run.tally().used_cursor = true;
    }
    let params = &partition.params;
    let list = ListRequestBuilder { session: run.session, name: run.name, stream: run.stream, params, now };
    let fetcher = Fetcher { run, list: &list };
    let reader = PageReader {
        connection: run.connection(),
        connector: &run.session.connector,
        name: run.name,
        stream: run.stream,
        pages: list.pages(),
        added: list.added()?,
        omitted: list.omitted()?,
        hasher: run.hasher,
    };
    let (id, cursor) = (partition.id, partition.cursor.as_deref());
    let plan = ListPlan { stream: run.stream, goal: run.goal, partition: id, cursor, parent_version, now };
    // Also at a list that goes on where another run left it, whichever pass that was.
    let mut after_full_list = match list.pages() {
        Some(pages) if is_unstable_paging(pages) => AfterFullList::ReadAgain,
        _ => AfterFullList::Sweep,
    };
    let mut verification = Verification::NotNeeded;
    for _ in 0..=MAX_RESTARTS {
        let pass = ListPass { fetcher, reader: &reader, plan: &plan, after_full_list };
        checkpoint = match pass.run(checkpoint.clone(), run.token.clone()).await {
            PassEnd::Complete(ListCompletion::CursorMoved) => return Ok(ListOutcome::Read),
            PassEnd::Complete(ListCompletion::FullyListed(listed)) => return Ok(ListOutcome::FullyListed(listed)),
            PassEnd::Complete(ListCompletion::FullyListedOnce(listed, second)) => {
                if !run.store.records().has_missing(&listed).await? {
                    return Ok(ListOutcome::FullyListed(listed));
                }
                after_full_list = AfterFullList::Sweep;
                *second
            }
            PassEnd::Complete(ListCompletion::Unverified(second)) if verification == Verification::NotNeeded => {
                verification = Verification::Running;
                after_full_list = AfterFullList::Sweep;
                *second
            }
            PassEnd::Complete(ListCompletion::Unverified(_)) | PassEnd::Repeated => {
                run.store.records().reset_list(partition.id).await?;
                let repeated = |connection, stream| SyncError::RepeatedPage { connection, stream };
                return Err(run.error(repeated).into());
            }
            PassEnd::Expired(LostPosition::Page) => checkpoint.rewind(),
            PassEnd::Expired(LostPosition::Cursor) => {
                note_lost_cursor(run, &partition.params);
                let now = run.workspace.clock.now();
                begin(run, &partition, Checkpoint::first(run.stream, &ReadGoal::ALL, None, now)).await?
            }
            PassEnd::Skipped => return Ok(ListOutcome::Skipped),
            PassEnd::RateLimited(resumes_at) => return Ok(ListOutcome::RateLimited(resumes_at)),
            PassEnd::Cancelled => return Ok(ListOutcome::Cancelled),
            PassEnd::Failed(error) => return Err(error),
        };
    }
    Err(run.error(|connection, stream| SyncError::PageTokenExpired { connection, stream }).into())
}

/// The checkpoint to begin with: the stored one if it belongs to this request, else a new one. A sweep that a run
/// before left undone comes first, and moves the partition's cursor; if it is blocked, nothing is read.
async fn resume(
    run: &StreamRun<'_>,
    partition: &mut Partition,
    now: Timestamp,
) -> Result<ControlFlow<ListOutcome, Checkpoint>> {
    let first = |partition: &Partition| Checkpoint::first(run.stream, run.goal, partition.cursor.as_deref(), now);
    let stored = match run.goal.mode {
        SyncMode::Backfill => &partition.backfill_checkpoint,
        SyncMode::Incremental | SyncMode::Full => &partition.checkpoint,
    };
    let stored = stored.as_ref().and_then(|json| serde_json::from_str::<Checkpoint>(json).ok());
    let fresh = first(partition);
    let Some(stored) = stored.filter(|stored| !stored.needs_verification && stored.is_resumable(run.goal, &fresh))
    else {
        return Ok(ControlFlow::Continue(begin(run, partition, fresh).await?));
    };
    if !stored.pending_sweep {
        return Ok(ControlFlow::Continue(stored));
    }
    let listed = CompletedList {
        partition: partition.id,
        start_version: stored.start_version,
        cursor: stored.next_cursor.clone(),
        parent_version: stored.parent_version,
    };
    match sweep(run, &[listed]).await? {
        SweepEnd::Blocked(error) => Ok(ControlFlow::Break(ListOutcome::DeletesBlocked(error))),
        SweepEnd::Done => {
            partition.cursor = stored.next_cursor;
            Ok(ControlFlow::Continue(begin(run, partition, first(partition)).await?))
        }
    }
}

/// Begins a list; what was met of one that was begun before is forgotten.
async fn begin(run: &StreamRun<'_>, partition: &Partition, checkpoint: Checkpoint) -> Result<Checkpoint> {
    if !checkpoint.is_sweeping(run.stream, run.goal) {
        return Ok(checkpoint);
    }
    let start_version = run.store.records().begin_list(partition.id).await?;
    Ok(Checkpoint { start_version, ..checkpoint })
}

fn note_lost_cursor(run: &StreamRun<'_>, params: &StreamParams) {
    // For people: `channel=C1`.
    let values: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let partition = if values.is_empty() { String::new() } else { format!(" of {}", values.join(" ")) };
    run.note(&format!("the cursor{partition} has expired; listing everything again"));
}

/// Whether records move from page to page while a list is read: those with a page number, and those of unknown kind.
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
