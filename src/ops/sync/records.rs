//! The records that syncs stored, of one stream.

use std::io::Write;
use std::ops::ControlFlow;

use super::{StreamName, stored_stream};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::export::{Columns, ExportedRecord, RecordFormat, RecordWriter};
use crate::model::{RecordId, StreamId};
use crate::runtime::Workspace;
use crate::store::Records;

/// Number of records read from the store per query, which limits memory.
const BATCH_SIZE: u32 = 500;

/// The start of a list of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordsSince {
    /// After this version.
    Version(u64),
    /// At this time.
    Time(Timestamp),
}

/// Which records of a stream to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordSelection {
    /// Changes since then, oldest first and including deleted records. If absent, all records that are not deleted, in
    /// the order in which they were first stored.
    pub since: Option<RecordsSince>,
    /// Maximum number of records.
    pub limit: Option<usize>,
}

/// Which records to read.
#[derive(Clone, Debug)]
pub struct RecordsRequest {
    pub stream: StreamName,
    pub selection: RecordSelection,
}

/// Passes the records of a stream to `each`, one by one, until it breaks.
pub async fn read_records(
    workspace: &Workspace,
    request: RecordsRequest,
    each: impl FnMut(ExportedRecord) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let reader = RecordReader::open(workspace, &request.stream, request.selection).await?;
    reader.read(each).await
}

/// Writes the records of a stream in a format, and returns what they were written to.
///
/// # Errors
/// [`crate::export::ExportError`]; `RecordChanged` if a sync changed a record between the two times that a format with
/// columns reads it.
pub async fn write_records<W: Write + Send>(
    workspace: &Workspace,
    request: RecordsRequest,
    format: RecordFormat,
    out: W,
) -> Result<W> {
    RecordReader::open(workspace, &request.stream, request.selection).await?.write(format, out, |_| {}).await
}

/// Reads the records of one stream, as often as it is asked to.
pub(super) struct RecordReader<'a> {
    records: &'a dyn Records,
    stream: StreamId,
    /// The version after which changes are listed.
    since: Option<u64>,
    limit: usize,
}

impl<'a> RecordReader<'a> {
    pub(super) async fn open(
        workspace: &'a Workspace,
        stream: &StreamName,
        selection: RecordSelection,
    ) -> Result<RecordReader<'a>> {
        let stream = stored_stream(workspace, stream).await?.id;
        let records = workspace.store().await?.records();
        let since = match selection.since {
            None => None,
            Some(RecordsSince::Version(version)) => Some(version),
            Some(RecordsSince::Time(time)) => Some(records.version_at(stream, time).await?),
        };
        Ok(Self { records, stream, since, limit: selection.limit.unwrap_or(usize::MAX) })
    }

    /// Passes the records to `each`, one by one, until it breaks.
    pub(super) async fn read(&self, mut each: impl FnMut(ExportedRecord) -> Result<ControlFlow<()>>) -> Result<()> {
        let (mut last, mut remaining) = (None::<(u64, RecordId)>, self.limit);
        while remaining > 0 {
            let page = match self.since {
                Some(since) => self.records.changes(self.stream, since, last, BATCH_SIZE).await?,
                None => self.records.list(self.stream, last.map_or(RecordId(0), |(_, id)| id), BATCH_SIZE).await?,
            };
            let Some(end) = page.last() else { break };
            last = Some((end.version, end.id));
            let count = page.len();
            for stored in page.into_iter().take(remaining) {
                let change = self.since.map(|since| stored.change(since));
                if each(ExportedRecord { change, stored })?.is_break() {
                    return Ok(());
                }
            }
            remaining = remaining.saturating_sub(count);
        }
        Ok(())
    }

    /// Writes the records in a format; `progress` is given how many were written so far. A format with columns reads them
    /// twice: for the columns, and for the rows.
    pub(super) async fn write<W: Write + Send>(
        &self,
        format: RecordFormat,
        out: W,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<W> {
        let mut columns = Columns::default();
        if format.has_columns() {
            self.read(|record| {
                columns.add(&record.stored.json);
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        }
        let mut writer = RecordWriter::new(format, out, columns, self.since.is_some())?;
        let mut written = 0;
        self.read(|record| {
            writer.add(record)?;
            written += 1;
            progress(written);
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(writer.finish()?)
    }
}
