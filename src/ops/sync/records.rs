//! The records that syncs stored.

use std::ops::ControlFlow;

use super::{StreamName, stored_stream};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::RecordId;
use crate::runtime::Workspace;
use crate::view::sync::RecordView;

/// Number of records that are read from the store at once, so that memory stays flat.
const BATCH_SIZE: u32 = 500;

/// Where a list of changes begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordsSince {
    /// After this version.
    Version(u64),
    /// At this time.
    Time(Timestamp),
}

/// Which records to read.
#[derive(Clone, Debug)]
pub struct RecordsRequest {
    pub stream: StreamName,
    /// What changed since, oldest change first and deleted records included. Absent for all records that are not deleted,
    /// in the order in which they were first stored.
    pub since: Option<RecordsSince>,
    /// Number of records at most.
    pub limit: Option<usize>,
}

/// Hands the records of a stream to `each`, one after the other, until it breaks.
pub async fn read_records(
    workspace: &Workspace,
    request: RecordsRequest,
    mut each: impl FnMut(RecordView) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let stream = stored_stream(workspace, &request.stream).await?.id;
    let records = workspace.store().await?.records();
    let since = match request.since {
        None => None,
        Some(RecordsSince::Version(version)) => Some(version),
        Some(RecordsSince::Time(time)) => Some(records.version_at(stream, time).await?),
    };
    let (mut last, mut remaining) = (None::<(u64, RecordId)>, request.limit.unwrap_or(usize::MAX));
    while remaining > 0 {
        let page = match since {
            Some(since) => records.changes(stream, since, last, BATCH_SIZE).await?,
            None => records.list(stream, last.map_or(RecordId(0), |(_, id)| id), BATCH_SIZE).await?,
        };
        let Some(end) = page.last() else { break };
        last = Some((end.version, end.id));
        let count = page.len();
        for stored in page.into_iter().take(remaining) {
            let change = since.map(|since| stored.change(since));
            if each(RecordView { change, stored })?.is_break() {
                return Ok(());
            }
        }
        remaining = remaining.saturating_sub(count);
    }
    Ok(())
}
