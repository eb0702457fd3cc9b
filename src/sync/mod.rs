//! Syncs records from a service: only what is new, as fast as the vendor allows, and resumable at any point.
//!
//! A run (`run`) takes the streams that a request names (`selection`), parents before children. Each `partition` of a stream,
//! all of it or what belongs to one record of a parent, is one list: `stream_reader` reads it with a `pager`. `checkpoint` says, purely,
//! where a list begins and what follows a page; `request` builds the requests and `fetch` sends them; `document` and `record`
//! find the records in the responses.
//!
//! Invariants:
//! - The records of a page and its checkpoint are one commit: the cursor is never ahead of the records, and a process
//!   that dies loses at most the page it was reading.
//! - A cursor moves when a list is at its end. A backfill never moves it.
//! - Only a full list shows what was deleted, and only if each of its pages was read.
//! - One process at a time syncs a stream.

mod checkpoint;
mod cursor_value;
mod document;
mod fetch;
pub mod ingest;
mod page;
mod pager;
mod partition;
mod record;
mod request;
mod run;
mod schedule;
mod selection;
mod stream_reader;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use cursor_value::CursorValue;
pub use document::NotAList;
pub use page::{PageError, read_page};
pub use run::{PlannedStream, SyncOutcome, SyncReport, dry_run, run};
pub use schedule::{ScheduleRule, ScheduleRuleError};
pub use selection::{SyncRequest, find_stream};
pub use stream_reader::{StoredPage, SyncObserver};

use crate::api::PagingError;
use crate::clock::Timestamp;
use crate::connector::Pointer;
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::json::JsonError;
use crate::model::ConnectionName;

/// Why a stream cannot be synced, or its sync ended early.
#[derive(Debug, Error)]
pub enum SyncError {
    #[error("{connection} has nothing that can be synced")]
    NoStreams { connection: ConnectionName },
    #[error("{connector} has no stream {stream:?}")]
    UnknownStream { connector: String, stream: String, suggestion: Option<String> },
    #[error("{connection}/{stream} needs {}", missing.join(", "))]
    MissingParams { connection: ConnectionName, stream: String, missing: Vec<String> },
    #[error("{connection}/{stream} takes no parameter {param:?}")]
    UnknownParam { connection: ConnectionName, stream: String, param: String, suggestion: Option<String> },
    #[error("{connection}/{stream} cannot be asked for a stretch of time: {why}")]
    BackfillUnsupported { connection: ConnectionName, stream: String, why: &'static str },
    #[error("{connection}/{stream} is being synced by another process")]
    AlreadyRunning { connection: ConnectionName, stream: String },
    #[error("the rate limit of {connection} is used up; resumes at {resumes_at}")]
    RateLimited { connection: ConnectionName, resumes_at: Timestamp },
    #[error("the service repeats pages of {connection}/{stream} or ignores which page it is asked for")]
    RepeatedPage { connection: ConnectionName, stream: String },
    #[error("the answer for {connection}/{stream} is not a list: it has {why}")]
    NotAList { connection: ConnectionName, stream: String, why: String },
    #[error("the service is still preparing {connection}/{stream} (202)")]
    NotReady { connection: ConnectionName, stream: String },
    #[error("the next page of {connection}/{stream} cannot be found: {source}")]
    Paging { connection: ConnectionName, stream: String, source: PagingError },
    #[error(
        "{missing} of {known} records of {connection}/{stream} are missing from the service's list; none was marked as \
         deleted"
    )]
    DeletesBlocked { connection: ConnectionName, stream: String, missing: u64, known: u64, job: i64 },
    #[error("the service keeps losing the place in the list of {connection}/{stream}")]
    PageTokenExpired { connection: ConnectionName, stream: String },
    #[error("cannot read an answer for {connection}/{stream}")]
    NotJson { connection: ConnectionName, stream: String, source: JsonError },
    #[error("a record of {connection}/{stream} has nothing at {at}, which is its key")]
    MissingKey { connection: ConnectionName, stream: String, at: Pointer },
    #[error("the sync of {connection}/{stream} was cancelled")]
    Cancelled { connection: ConnectionName, stream: String },
}

impl Remedy for SyncError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NoStreams { connection } => Diagnostic::new(Kind::NotFound, "no_streams")
                .run(format!("integ connector show {}", connection.connector()))
                .connection(connection),
            Self::UnknownStream { suggestion: Some(likely), .. } => {
                Diagnostic::new(Kind::NotFound, "unknown_stream").hint(Hint::text(format!("did you mean {likely}?")))
            }
            Self::UnknownStream { connector, .. } => Diagnostic::new(Kind::NotFound, "unknown_stream")
                .hint(Hint::new("list the streams:", format!("integ connector show {connector}"))),
            Self::MissingParams { connection, stream, missing } => {
                let params: String = missing.iter().map(|name| format!(" -p {name}=VALUE")).collect();
                Diagnostic::new(Kind::Usage, "missing_parameters")
                    .run(format!("integ sync {connection}/{stream}{params}"))
                    .connection(connection)
            }
            Self::UnknownParam { connection, stream, suggestion: likely, .. } => {
                let param = likely.as_ref().map(|likely| format!(" -p {likely}=VALUE")).unwrap_or_default();
                Diagnostic::new(Kind::Usage, "invalid_parameters")
                    .run(format!("integ sync {connection}/{stream}{param}"))
                    .connection(connection)
            }
            Self::BackfillUnsupported { connection, stream, .. } => {
                Diagnostic::new(Kind::Usage, "backfill_unsupported")
                    .run(format!("integ sync {connection}/{stream} --mode full"))
                    .connection(connection)
            }
            Self::AlreadyRunning { connection, .. } => Diagnostic::new(Kind::Temporary, "sync_in_progress")
                .run(format!("integ job list {connection}"))
                .connection(connection),
            Self::RateLimited { connection, .. } => Diagnostic::new(Kind::Temporary, "rate_limited")
                .hint(Hint::new("go on from there then:", format!("integ sync {connection}")))
                .connection(connection),
            Self::RepeatedPage { connection, .. } => {
                Diagnostic::new(Kind::Failed, "repeated_page").connection(connection)
            }
            Self::NotAList { connection, .. } => Diagnostic::new(Kind::Failed, "not_a_list").connection(connection),
            Self::NotReady { connection, .. } => {
                Diagnostic::new(Kind::Temporary, "not_ready").hint(Hint::text("try again later")).connection(connection)
            }
            Self::Paging { connection, .. } => Diagnostic::new(Kind::Failed, "malformed_page").connection(connection),
            Self::DeletesBlocked { connection, job, .. } => Diagnostic::new(Kind::Failed, "deletes_blocked")
                .run(format!("integ job retry {job} --allow-deletes"))
                .connection(connection),
            Self::PageTokenExpired { connection, .. } => Diagnostic::new(Kind::Temporary, "page_token_expired")
                .hint(Hint::text("try again later"))
                .connection(connection),
            Self::NotJson { connection, source, .. } if source.is_temporary() => {
                Diagnostic::new(Kind::Temporary, "malformed_response")
                    .hint(Hint::text("try again later"))
                    .connection(connection)
            }
            Self::NotJson { connection, .. } => Diagnostic::new(Kind::Failed, "malformed_response")
                .run(format!("integ test {connection}"))
                .connection(connection),
            Self::MissingKey { connection, .. } => {
                Diagnostic::new(Kind::Failed, "missing_record_key").connection(connection)
            }
            Self::Cancelled { connection, .. } => Diagnostic::new(Kind::Failed, "cancelled").connection(connection),
        }
    }
}
