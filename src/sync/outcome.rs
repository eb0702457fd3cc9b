//! The outcomes of the stages of a sync: closed enums for callers, and errors for users.
//!
//! | stage | ends with |
//! | --- | --- |
//! | the run of a stream (`run`, `partition`) | [`SyncOutcome`] |
//! | the list of a partition (`list`) | [`ListOutcome`] |
//! | one pass over the pages of a list (`pass`, `fetch`) | [`PassEnd`] |

use std::ops::ControlFlow;

use super::checkpoint::ListCompletion;
use super::selection::SyncRequest;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::model::{CompletedList, ConnectionName, JobStatus, RecordCounts, SyncMode, Traffic};

/// How the run of a stream ended.
#[derive(Debug)]
pub enum SyncOutcome {
    Done,
    /// The vendor gave none of its lists.
    Skipped,
    /// The vendor's rate limit ended it, in order; it is over at this time.
    RateLimited(Timestamp),
    Cancelled,
    /// Another process syncs the stream.
    Locked(Error),
    /// A full list lacks more records than may be marked as deleted: none was, and no cursor moved.
    DeletesBlocked(Error),
    Failed(Error),
    /// It was not begun: a scope or a parameter is missing.
    NotStarted(Error),
}

impl SyncOutcome {
    /// Returns the message, if it is an error.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Done | Self::Skipped | Self::RateLimited(_) | Self::Cancelled => None,
            Self::Locked(error) | Self::DeletesBlocked(error) | Self::Failed(error) | Self::NotStarted(error) => {
                Some(error)
            }
        }
    }

    /// Returns when the vendor's rate limit is over, if that ended the run.
    pub fn resumes_at(&self) -> Option<Timestamp> {
        match self {
            Self::RateLimited(resumes_at) => Some(*resumes_at),
            _ => None,
        }
    }

    /// The status of the job.
    pub(super) fn job_status(&self) -> JobStatus {
        match self {
            Self::Done => JobStatus::Done,
            Self::Skipped => JobStatus::Skipped,
            Self::RateLimited(_) => JobStatus::RateLimited,
            Self::Cancelled => JobStatus::Cancelled,
            Self::Locked(_) | Self::DeletesBlocked(_) | Self::Failed(_) | Self::NotStarted(_) => JobStatus::Failed,
        }
    }
}

/// What the run of a stream stored, and how it ended.
#[derive(Debug)]
pub struct SyncReport {
    pub connection: ConnectionName,
    pub stream: String,
    pub mode: SyncMode,
    pub outcome: SyncOutcome,
    pub counts: RecordCounts,
    pub traffic: Traffic,
    /// Lists of which the vendor said that there is nothing, or nothing for this account.
    pub skipped_partitions: usize,
    pub duration_secs: f64,
}

impl SyncReport {
    /// Creates the report of a stream of which nothing was asked.
    pub(super) fn empty(connection: &ConnectionName, stream: &str, mode: SyncMode, outcome: SyncOutcome) -> Self {
        Self {
            connection: connection.clone(),
            stream: stream.to_owned(),
            mode,
            outcome,
            counts: RecordCounts::default(),
            traffic: Traffic::default(),
            skipped_partitions: 0,
            duration_secs: 0.0,
        }
    }

    /// Creates the report of a request of which nothing could begin; its stream is `*` if none was named.
    pub fn failed(request: &SyncRequest, error: Error) -> Self {
        let stream = request.streams.first().map_or("*", String::as_str);
        Self::empty(&request.connection, stream, request.mode, SyncOutcome::Failed(error))
    }
}

/// How the reading of a partition's list ended.
#[derive(Debug)]
pub(super) enum ListOutcome {
    Read,
    /// All of it was listed: what was not met may be marked as deleted.
    FullyListed(CompletedList),
    /// The vendor has nothing to list here.
    Skipped,
    RateLimited(Timestamp),
    Cancelled,
    /// The sweep that an earlier run left undone would delete too much.
    DeletesBlocked(Error),
}

/// How one pass over the pages of a list ended.
#[derive(Debug)]
pub(super) enum PassEnd {
    /// Its last page was read.
    Complete(ListCompletion),
    /// The vendor no longer accepts the position.
    Expired(LostPosition),
    /// The vendor repeats pages, or ignores which one is requested.
    Repeated,
    /// The vendor has nothing to list here.
    Skipped,
    RateLimited(Timestamp),
    Cancelled,
    Failed(Error),
}

/// What the vendor no longer accepts of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LostPosition {
    /// The page token: the list can be read again from its first page.
    Page,
    /// The cursor or sync token that the list began with: everything has to be listed.
    Cursor,
}

/// A value to go on with, or how the pass ends.
pub(super) type Flow<T> = ControlFlow<PassEnd, T>;

/// Goes on with a value; an error ends the pass.
pub(super) fn or_fail<T>(result: Result<T, impl Into<Error>>) -> Flow<T> {
    match result {
        Ok(value) => ControlFlow::Continue(value),
        Err(error) => ControlFlow::Break(PassEnd::Failed(error.into())),
    }
}
