//! Jobs: runs of a sync, with their mode, outcome and counts.

use super::name::ConnectionName;
use super::record::{RecordCounts, Traffic};
use super::stream::StreamId;
use super::words::words;
use crate::clock::Timestamp;

/// The id of a job within its workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub i64);

/// What a sync asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// What is new; all of it where there is no cursor yet.
    #[default]
    Incremental,
    /// All of it; what is no longer listed is gone.
    Full,
    /// A range of time; the cursor stays where it is.
    Backfill,
}

words!(SyncMode { Incremental => "incremental", Full => "full", Backfill => "backfill" });

/// Whether a job is running, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStatus {
    /// Under way, or cut off: a job does not know that its process died.
    Running,
    Done,
    /// The vendor gave none of its lists.
    Skipped,
    Failed,
    /// The vendor's rate limit ended it.
    RateLimited,
    Cancelled,
}

words!(JobStatus {
    Running => "running",
    Done => "done",
    Skipped => "skipped",
    Failed => "failed",
    RateLimited => "rate_limited",
    Cancelled => "cancelled",
});

/// What a job is to do.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub stream: StreamId,
    pub mode: SyncMode,
    pub since: Option<String>,
    pub until: Option<String>,
    pub started_at: Timestamp,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub struct JobResult {
    pub id: JobId,
    pub status: JobStatus,
    pub error: Option<String>,
    /// The error's code.
    pub error_code: Option<String>,
    pub resumes_at: Option<Timestamp>,
    /// What was asked without bringing a page.
    pub traffic: Traffic,
    pub ended_at: Timestamp,
}

/// One run of a sync, with its mode, its counts and how it ended.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    pub connection: ConnectionName,
    pub stream_id: StreamId,
    pub stream: String,
    pub mode: SyncMode,
    pub status: JobStatus,
    pub since: Option<String>,
    pub until: Option<String>,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub resumes_at: Option<Timestamp>,
    pub counts: RecordCounts,
    pub traffic: Traffic,
    pub error: Option<String>,
    pub error_code: Option<String>,
}
