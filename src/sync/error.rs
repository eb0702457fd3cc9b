//! Why a stream cannot be synced.

use thiserror::Error;

use crate::api::PagingError;
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
    #[error("unknown parameter {param:?} for {connection}/{stream}")]
    UnknownParam { connection: ConnectionName, stream: String, param: String, suggestion: Option<String> },
    #[error("{connection}/{stream} cannot be backfilled: {why}")]
    BackfillUnsupported { connection: ConnectionName, stream: String, why: &'static str },
    #[error("{connection}/{stream} is being synced by another process")]
    AlreadyRunning { connection: ConnectionName, stream: String },
    #[error("the service repeats pages of {connection}/{stream} or ignores which page it is asked for")]
    RepeatedPage { connection: ConnectionName, stream: String },
    #[error("the answer for {connection}/{stream} is not a list: it has {why}")]
    NotAList { connection: ConnectionName, stream: String, why: String },
    #[error("the service is still preparing {connection}/{stream} (202)")]
    NotReady { connection: ConnectionName, stream: String },
    #[error("cannot find the next page of {connection}/{stream}")]
    Paging { connection: ConnectionName, stream: String, source: PagingError },
    #[error(
        "{missing} of {known} records of {connection}/{stream} are missing from the service's list; none was marked as \
         deleted"
    )]
    DeletesBlocked { connection: ConnectionName, stream: String, missing: u64, known: u64, job: i64 },
    #[error("the cursor of {connection}/{stream} keeps expiring")]
    PageTokenExpired { connection: ConnectionName, stream: String },
    #[error("cannot read an answer for {connection}/{stream}")]
    NotJson { connection: ConnectionName, stream: String, source: JsonError },
    #[error("a record of {connection}/{stream} has no key at {at}")]
    MissingKey { connection: ConnectionName, stream: String, at: Pointer },
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
            Self::RepeatedPage { connection, .. } => {
                Diagnostic::new(Kind::Rejected, "repeated_page").connection(connection)
            }
            Self::NotAList { connection, .. } => Diagnostic::new(Kind::Rejected, "not_a_list").connection(connection),
            Self::NotReady { connection, .. } => {
                Diagnostic::new(Kind::Temporary, "not_ready").hint(Hint::text("try again later")).connection(connection)
            }
            Self::Paging { connection, .. } => Diagnostic::new(Kind::Rejected, "malformed_page").connection(connection),
            Self::DeletesBlocked { connection, job, .. } => Diagnostic::new(Kind::Conflict, "deletes_blocked")
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
            Self::NotJson { connection, .. } => Diagnostic::new(Kind::Rejected, "malformed_response")
                .run(format!("integ test {connection}"))
                .connection(connection),
            Self::MissingKey { connection, .. } => {
                Diagnostic::new(Kind::Rejected, "missing_record_key").connection(connection)
            }
        }
    }
}
