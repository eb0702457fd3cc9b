//! Operations on syncs: streams, records, cursors, jobs and schedules.

mod cursors;
mod error;
mod files;
mod jobs;
mod records;
mod run;
mod schedules;
mod singer;
mod stored;

use std::fmt;

pub use cursors::{
    ClearCursorsRequest, CursorListRequest, ImportCursorsRequest, NewCursor, SetCursorRequest, clear_cursors,
    export_cursors, import_cursors, list_cursors, set_cursor,
};
pub use error::SyncOperationError;
pub use files::{WriteFilesRequest, WriteObserver, write_record_files};
pub use jobs::{JobListRequest, cancel_job, list_jobs, retry_job, retry_job_allowing_deletes, show_job};
pub use records::{RecordSelection, RecordsRequest, RecordsSince, read_records, stream_of_binding, write_records};
pub use run::{SyncRange, SyncStreamsRequest, plan_sync, sync_due, sync_streams, sync_streams_allowing_deletes};
pub use schedules::{SetScheduleRequest, list_schedules, remove_schedule, set_schedule};
pub use singer::{SingerRequest, SingerTarget, sync_to_singer};
pub use stored::{list_stored_streams, list_synced_streams};

use super::{Effect, Operation, OperationScope, Reach};
use crate::error::Result;
use crate::model::{ConnectionName, StoredStream};
use crate::runtime::Workspace;
use crate::sync::find_stream;

const SYNC: OperationScope = OperationScope::Sync;

/// The operations of this module.
///
/// Operations that lift the limit on deletions are for the owner only. So are `sync --to`, which may lift it and writes
/// to a local program, and `records --output`, which writes files.
pub const OPERATIONS: &[Operation] = &[
    Operation::local("sync", SYNC, Effect::Write).reachable_by(Reach::Agent),
    Operation::local("sync --dry-run", SYNC, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("sync --due", SYNC, Effect::Write).reachable_by(Reach::Agent),
    Operation::local("sync --allow-deletes", SYNC, Effect::Write),
    Operation::local("sync --to", SYNC, Effect::Write),
    Operation::local("records", SYNC, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("records --output", SYNC, Effect::Read),
    Operation::local("cursor get", SYNC, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("cursor set", SYNC, Effect::Write).reachable_by(Reach::Api),
    Operation::local("cursor clear", SYNC, Effect::Write).reachable_by(Reach::Api),
    Operation::local("cursor export", SYNC, Effect::Read).reachable_by(Reach::Api),
    Operation::local("cursor import", SYNC, Effect::Write).reachable_by(Reach::Api),
    Operation::local("job list", SYNC, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("job show", SYNC, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("job retry", SYNC, Effect::Write).reachable_by(Reach::Api),
    Operation::local("job retry --allow-deletes", SYNC, Effect::Write),
    Operation::local("job cancel", SYNC, Effect::Write).reachable_by(Reach::Api),
    Operation::local("schedule set", SYNC, Effect::Write).reachable_by(Reach::Api),
    Operation::local("schedule list", SYNC, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("schedule remove", SYNC, Effect::Write).reachable_by(Reach::Api),
];

/// A connection, or one of its streams: `github`, `github/issues`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncTarget {
    pub connection: ConnectionName,
    /// Absent for all streams.
    pub stream: Option<String>,
}

impl fmt::Display for SyncTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stream {
            Some(stream) => write!(f, "{}/{stream}", self.connection),
            None => write!(f, "{}", self.connection),
        }
    }
}

/// A stream of a connection: `github/issues`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamName {
    pub connection: ConnectionName,
    pub stream: String,
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.connection, self.stream)
    }
}

/// A stream that was synced before.
///
/// # Errors
/// [`SyncOperationError::NeverSynced`], and [`crate::sync::SyncError::UnknownStream`] if the connector has no such stream.
pub(super) async fn stored_stream(workspace: &Workspace, name: &StreamName) -> Result<StoredStream> {
    let connection = workspace.connection(&name.connection).await?;
    if let Some(stored) = workspace.store().await?.streams().find(connection.id, &name.stream).await? {
        return Ok(stored);
    }
    let connector = workspace.catalogue().get(name.connection.connector())?;
    let required = find_stream(&connector, &name.stream)?.1.required_params().map(str::to_owned).collect();
    Err(SyncOperationError::NeverSynced { stream: name.clone(), required }.into())
}
