//! Pulling a vendor's data in: what is new of it, as fast as the vendor allows, without ever losing the place.
//!
//! A run (`run`) takes the streams that an order means (`order`), parents before children. Each of the `parts` of a
//! stream, all of it or what belongs to one record of a parent, is one list (`list`), read by a `walk`. `plan` says, purely, where a list
//! begins and what follows a page; `ask` makes requests of that, `fetch` sends them; `document` and `record` make records
//! of the answers.
//!
//! Invariants:
//! - The records of a page and the place behind it are one commit: the cursor is never ahead of the records, and a process
//!   that dies loses at most the page it was reading.
//! - A cursor moves when a list is at its end. A backfill never moves it.
//! - What is gone is told by a full list alone, and only when each of its pages was read.
//! - One process at a time syncs a stream.

mod ask;
mod document;
mod fetch;
mod list;
mod moment;
mod order;
mod page;
mod parts;
mod plan;
pub mod push;
mod record;
mod run;
mod schedule;
#[cfg(test)]
mod tests;
mod walk;

use thiserror::Error;

pub use document::NotAList;
pub use list::Watch;
pub use moment::Moment;
pub use order::{Order, find_stream};
pub use page::{PageError, read_page};
pub use run::{Outcome, Planned, Report, check, is_running, run};
pub use schedule::{Rule, RuleError};

use crate::api::PagingError;
use crate::clock::Timestamp;
use crate::connector::Pointer;
use crate::error::{Kind, Remedy};
use crate::json::JsonError;
use crate::model::ConnectionName;

#[derive(Debug, Error)]
pub enum SyncError {
    #[error("{connection} has nothing that can be synced")]
    NoStreams { connection: ConnectionName },
    #[error("{connector} has no stream {stream:?}")]
    UnknownStream { connector: String, stream: String, likely: Option<String> },
    #[error("{connection}/{stream} needs {}", missing.join(", "))]
    MissingParams { connection: ConnectionName, stream: String, missing: Vec<String> },
    #[error("{connection}/{stream} takes no parameter {param:?}")]
    UnknownParam { connection: ConnectionName, stream: String, param: String, likely: Option<String> },
    #[error("{connection}/{stream} cannot be asked for a stretch of time: {why}")]
    NoBackfill { connection: ConnectionName, stream: String, why: &'static str },
    #[error("{connection}/{stream} is being synced by another process")]
    Busy { connection: ConnectionName, stream: String },
    #[error("the rate limit of {connection} is used up; resumes at {resumes_at}")]
    Limited { connection: ConnectionName, resumes_at: Timestamp },
    #[error("the service repeats pages of {connection}/{stream} or ignores which page it is asked for")]
    Repeated { connection: ConnectionName, stream: String },
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
    SweepHeld { connection: ConnectionName, stream: String, missing: u64, known: u64, job: i64 },
    #[error("the service keeps losing the place in the list of {connection}/{stream}")]
    PlaceLost { connection: ConnectionName, stream: String },
    #[error("cannot read an answer for {connection}/{stream}")]
    NotJson { connection: ConnectionName, stream: String, source: JsonError },
    #[error("a record of {connection}/{stream} has nothing at {at}, which is its key")]
    Keyless { connection: ConnectionName, stream: String, at: Pointer },
    #[error("the sync of {connection}/{stream} was cancelled")]
    Cancelled { connection: ConnectionName, stream: String },
    #[error("the lock {path} cannot be had")]
    Lock { path: String, source: std::io::Error },
}

impl Remedy for SyncError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoStreams { .. } | Self::UnknownStream { .. } => Kind::NotFound,
            Self::MissingParams { .. } | Self::UnknownParam { .. } | Self::NoBackfill { .. } => Kind::Usage,
            Self::Busy { .. } | Self::Limited { .. } | Self::PlaceLost { .. } | Self::NotReady { .. } => {
                Kind::Temporary
            }
            Self::NotJson { source, .. } if source.is_temporary() => Kind::Temporary,
            Self::NotJson { .. }
            | Self::Repeated { .. }
            | Self::NotAList { .. }
            | Self::Paging { .. }
            | Self::SweepHeld { .. }
            | Self::Keyless { .. }
            | Self::Cancelled { .. }
            | Self::Lock { .. } => Kind::Failed,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoStreams { .. } => "no_streams",
            Self::UnknownStream { .. } => "unknown_stream",
            Self::MissingParams { .. } => "missing_parameters",
            Self::UnknownParam { .. } => "invalid_parameters",
            Self::NoBackfill { .. } => "no_backfill",
            Self::Busy { .. } => "locked_by_another",
            Self::Limited { .. } => "rate_limited",
            Self::Repeated { .. } => "repeated_page",
            Self::NotAList { .. } => "not_a_list",
            Self::NotReady { .. } => "not_ready",
            Self::Paging { .. } => "malformed_page",
            Self::SweepHeld { .. } => "sweep_held",
            Self::PlaceLost { .. } => "place_lost",
            Self::NotJson { .. } => "malformed_answer",
            Self::Keyless { .. } => "record_without_key",
            Self::Cancelled { .. } => "cancelled",
            Self::Lock { .. } => "io",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoStreams { connection } => Some(format!("integ connector show {}", connection.connector())),
            Self::UnknownStream { likely: Some(likely), .. } => Some(format!("did you mean {likely}?")),
            Self::UnknownStream { connector, .. } => {
                Some(format!("`integ connector show {connector}` lists the streams"))
            }
            Self::MissingParams { connection, stream, missing } => {
                let params: String = missing.iter().map(|name| format!(" -p {name}=VALUE")).collect();
                Some(format!("integ sync {connection}/{stream}{params}"))
            }
            Self::UnknownParam { connection, stream, likely, .. } => Some(match likely {
                Some(likely) => format!("integ sync {connection}/{stream} -p {likely}=VALUE"),
                None => format!("integ sync {connection}/{stream}"),
            }),
            Self::NoBackfill { connection, stream, .. } => {
                Some(format!("integ sync {connection}/{stream} --mode full"))
            }
            Self::Busy { connection, .. } => Some(format!("integ job list {connection}")),
            Self::Limited { connection, .. } => {
                Some(format!("it goes on where it stands: `integ sync {connection}` then"))
            }
            Self::SweepHeld { job, .. } => Some(format!("integ job retry {job} --allow-deletes")),
            Self::PlaceLost { .. } | Self::NotReady { .. } => Some("try again later".to_owned()),
            Self::NotJson { source, .. } if source.is_temporary() => Some("try again later".to_owned()),
            Self::NotJson { connection, .. } => Some(format!("integ test {connection}")),
            Self::Repeated { .. }
            | Self::NotAList { .. }
            | Self::Paging { .. }
            | Self::Keyless { .. }
            | Self::Cancelled { .. }
            | Self::Lock { .. } => None,
        }
    }

    fn connection(&self) -> Option<String> {
        match self {
            Self::NoStreams { connection }
            | Self::MissingParams { connection, .. }
            | Self::UnknownParam { connection, .. }
            | Self::NoBackfill { connection, .. }
            | Self::Busy { connection, .. }
            | Self::Limited { connection, .. }
            | Self::Repeated { connection, .. }
            | Self::NotAList { connection, .. }
            | Self::NotReady { connection, .. }
            | Self::Paging { connection, .. }
            | Self::SweepHeld { connection, .. }
            | Self::PlaceLost { connection, .. }
            | Self::NotJson { connection, .. }
            | Self::Keyless { connection, .. }
            | Self::Cancelled { connection, .. } => Some(connection.to_string()),
            Self::UnknownStream { .. } | Self::Lock { .. } => None,
        }
    }
}
