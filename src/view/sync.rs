//! Views of syncs, and of cursors, jobs and schedules.
//!
//! Times are RFC 3339 in UTC. `as_of` is not printed: it is the time that a person's "5 min ago" counts from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::{Time, whole_number};
use super::word;
use crate::clock::Timestamp;
use crate::error::Kind;
use crate::model::job::SyncMode;
use crate::model::record::{RecordCounts, Traffic};
use crate::model::stream::StreamParams;
use crate::model::{ConnectionName, WorkspaceName, words};

/// How the sync of a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncStatus {
    Done,
    /// The service has none of its partitions for this account.
    Skipped,
    /// The service's rate limit ended it; it resumes from the last page.
    RateLimited,
    Cancelled,
    Failed,
    /// It could not start: a scope or parameter is missing.
    NotStarted,
}

words!(SyncStatus {
    Done => "done",
    Skipped => "skipped",
    RateLimited => "rate_limited",
    Cancelled => "cancelled",
    Failed => "failed",
    NotStarted => "not_started",
});

/// The sync of one stream.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SyncReportView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    /// `*` if the connection could not be used at all.
    pub stream: String,
    #[serde(serialize_with = "word")]
    pub mode: SyncMode,
    #[serde(serialize_with = "word")]
    pub status: SyncStatus,
    #[serde(flatten)]
    pub counts: RecordCounts,
    #[serde(flatten)]
    pub traffic: Traffic,
    /// Partitions that the service does not have, or not for this account.
    pub skipped: usize,
    pub duration_secs: f64,
    /// When the rate limit is over.
    #[schemars(with = "Option<Time>")]
    pub resumes_at: Option<Timestamp>,
    pub error: Option<String>,
    pub error_code: Option<&'static str>,
    pub hint: Option<String>,
    #[serde(skip)]
    pub error_kind: Option<Kind>,
}

/// The sync of several streams, ordered by connection and stream.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SyncListView {
    #[serde(serialize_with = "word")]
    pub workspace: WorkspaceName,
    pub streams: Vec<SyncReportView>,
    #[serde(skip)]
    #[schemars(with = "Time")]
    pub as_of: Timestamp,
}

/// What the sync of one stream would request.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct PlannedStreamView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub stream: String,
    #[serde(serialize_with = "word")]
    pub mode: SyncMode,
    /// Number of partitions that are known.
    pub partitions: usize,
    /// The cursor of the first partition.
    pub cursor: Option<String>,
    /// Method and URL of the first request, without secrets; absent until the parents' records are known.
    pub request: Option<String>,
    /// Why the stream would not be synced.
    pub skip_reason: Option<String>,
}

/// What a sync would request.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SyncPlanView {
    pub streams: Vec<PlannedStreamView>,
}

/// A cursor that a later one replaced.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct FormerCursorView {
    pub cursor: Option<String>,
    #[schemars(with = "Time")]
    pub replaced_at: Timestamp,
}

/// The cursor of one partition.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct PartitionView {
    /// The values of the parent's record that the partition is listed for; empty if the stream has only one.
    pub partition: StreamParams,
    /// Absent if the next sync lists everything.
    pub cursor: Option<String>,
    #[schemars(with = "Option<Time>")]
    pub synced_at: Option<Timestamp>,
    /// Whether a sync was interrupted and resumes from its last page.
    pub in_progress: bool,
    /// Newest first; present if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<FormerCursorView>>,
}

/// The cursors of a stream.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct CursorListView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub stream: String,
    pub partitions: Vec<PartitionView>,
    #[serde(skip)]
    #[schemars(with = "Time")]
    pub as_of: Timestamp,
}

/// The cursor from which the next sync of a stream begins.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct CursorChangeView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub stream: String,
    /// Absent if the next sync lists everything.
    pub cursor: Option<String>,
}

/// The cursors of a connection in a form that another store can import. The shape is stable.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CursorExport {
    #[serde(deserialize_with = "whole_number")]
    pub format_version: u32,
    pub connector: String,
    pub streams: Vec<ExportedStream>,
}

impl CursorExport {
    /// The version of the format that this program writes and reads.
    pub const VERSION: u32 = 1;
}

/// The cursors of one stream in an export.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedStream {
    pub stream: String,
    #[serde(default)]
    pub params: StreamParams,
    pub partitions: Vec<ExportedPartition>,
}

/// The cursor of one partition in an export.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedPartition {
    pub partition: StreamParams,
    pub cursor: Option<String>,
}

/// An import of cursors.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct CursorImportView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    /// Number of cursors that were set.
    pub imported: usize,
}

/// The status of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobViewStatus {
    Running,
    /// Its process ended early; the next sync resumes from the last page.
    Interrupted,
    Done,
    /// The service has none of its partitions for this account.
    Skipped,
    Failed,
    RateLimited,
    Cancelled,
}

words!(JobViewStatus {
    Running => "running",
    Interrupted => "interrupted",
    Done => "done",
    Skipped => "skipped",
    Failed => "failed",
    RateLimited => "rate_limited",
    Cancelled => "cancelled",
});

/// One run of the sync of a stream.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct JobView {
    pub id: i64,
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub stream: String,
    #[serde(serialize_with = "word")]
    pub mode: SyncMode,
    #[serde(serialize_with = "word")]
    pub status: JobViewStatus,
    /// The range of a backfill.
    pub since: Option<String>,
    pub until: Option<String>,
    #[schemars(with = "Time")]
    pub started_at: Timestamp,
    #[schemars(with = "Option<Time>")]
    pub ended_at: Option<Timestamp>,
    pub duration_secs: Option<i64>,
    /// When the rate limit is over.
    #[schemars(with = "Option<Time>")]
    pub resumes_at: Option<Timestamp>,
    #[serde(flatten)]
    pub counts: RecordCounts,
    #[serde(flatten)]
    pub traffic: Traffic,
    pub error: Option<String>,
    pub error_code: Option<String>,
    #[serde(skip)]
    #[schemars(with = "Time")]
    pub as_of: Timestamp,
}

/// Jobs, newest first.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct JobListView {
    pub jobs: Vec<JobView>,
}

/// A schedule of a connection or of one of its streams.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ScheduleView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    /// Absent for all streams.
    pub stream: Option<String>,
    /// `every 15m`, or a cron expression.
    pub rule: String,
    /// Maximum delay of a run, in seconds.
    pub jitter_secs: u32,
    #[schemars(with = "Time")]
    pub next_at: Timestamp,
    #[schemars(with = "Option<Time>")]
    pub last_at: Option<Timestamp>,
    #[serde(skip)]
    #[schemars(with = "Time")]
    pub as_of: Timestamp,
}

/// Schedules, the next to run first.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ScheduleListView {
    pub schedules: Vec<ScheduleView>,
}
