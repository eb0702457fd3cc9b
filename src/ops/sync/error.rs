//! Why an operation on syncs cannot be done.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::{StreamName, SyncTarget};
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::files::shell_quoted;
use crate::model::ConnectionName;
use crate::model::stream::StreamParams;

/// Why an operation on syncs cannot be done.
#[derive(Debug, Error)]
pub enum SyncOperationError {
    #[error("the backfill ends before it begins")]
    InvertedRange,
    #[error("{stream} has never been synced")]
    NeverSynced {
        stream: StreamName,
        /// The parameters that a sync of it needs.
        required: Vec<String>,
    },
    #[error("nothing{} has been synced yet", connection.as_ref().map(|name| format!(" of {name}")).unwrap_or_default())]
    NothingStored {
        /// Absent if no connection was named.
        connection: Option<ConnectionName>,
    },
    #[error("{} contains files that integ did not create", folder.display())]
    ForeignFolder { folder: PathBuf },
    #[error("cannot write into {}", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("{stream} has several partitions; name one")]
    AmbiguousPartition {
        stream: StreamName,
        /// The values of one of the partitions.
        values: StreamParams,
    },
    #[error("{stream} has no such partition")]
    PartitionNotFound { stream: StreamName },
    #[error("invalid cursor {text:?} for {stream}: expected one like {example}")]
    InvalidCursor { stream: StreamName, text: String, example: &'static str },
    #[error("only {count} earlier cursors are stored")]
    NoHistory { count: usize },
    #[error("the exported cursors belong to connector {connector}, version {version}, not to {connection}")]
    ExportMismatch { connection: ConnectionName, connector: String, version: u32 },
    #[error("job {id} not found")]
    JobNotFound { id: i64 },
    #[error("job {id} is not running")]
    JobNotRunning { id: i64 },
    #[error("invalid schedule {text:?}: {reason}")]
    InvalidSchedule { text: String, reason: String },
    #[error("{target} has no schedule")]
    ScheduleNotFound { target: SyncTarget },
    #[error("Singer output takes one connection, not {count}")]
    SeveralConnections { count: usize },
}

impl Remedy for SyncOperationError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::InvertedRange => Diagnostic::new(Kind::Usage, "invalid_value"),
            Self::NeverSynced { stream, required } => {
                let params: String = required.iter().map(|name| format!(" -p {name}=VALUE")).collect();
                Diagnostic::new(Kind::NotFound, "never_synced").run(format!("integ sync {stream}{params}"))
            }
            Self::NothingStored { connection } => {
                let target = connection.as_ref().map(|connection| format!(" {connection}")).unwrap_or_default();
                Diagnostic::new(Kind::NotFound, "never_synced").run(format!("integ sync{target}"))
            }
            Self::ForeignFolder { .. } => Diagnostic::new(Kind::Usage, "folder_not_empty"),
            Self::Folder { folder, .. } => {
                Diagnostic::new(Kind::Failed, "io").run(format!("ls -ld {}", shell_quoted(folder)))
            }
            Self::AmbiguousPartition { stream, values } => {
                let params: Vec<String> = values.iter().map(|(name, value)| format!("-p {name}={value}")).collect();
                let text = format!("add {}, or another of", params.join(" "));
                Diagnostic::new(Kind::Usage, "ambiguous_partition")
                    .hint(Hint::new(text, format!("integ cursor get {stream}")))
            }
            Self::PartitionNotFound { stream } => {
                Diagnostic::new(Kind::NotFound, "partition_not_found").run(format!("integ cursor get {stream}"))
            }
            Self::InvalidCursor { .. } => Diagnostic::new(Kind::Usage, "invalid_cursor"),
            Self::NoHistory { .. } => Diagnostic::new(Kind::NotFound, "no_history"),
            Self::ExportMismatch { .. } => Diagnostic::new(Kind::Usage, "invalid_import"),
            Self::JobNotFound { .. } => Diagnostic::new(Kind::NotFound, "job_not_found").run("integ job list"),
            Self::JobNotRunning { .. } => Diagnostic::new(Kind::Conflict, "not_running").run("integ job list"),
            Self::InvalidSchedule { .. } => Diagnostic::new(Kind::Usage, "invalid_schedule").hint(Hint::new(
                "write a cron expression such as '0 6 * * 1-5', or an interval:",
                "integ schedule set CONNECTION 'every 15m'",
            )),
            Self::ScheduleNotFound { .. } => {
                Diagnostic::new(Kind::NotFound, "schedule_not_found").run("integ schedule list")
            }
            Self::SeveralConnections { .. } => {
                Diagnostic::new(Kind::Usage, "invalid_value").run("integ sync CONNECTION --to singer")
            }
        }
    }
}
