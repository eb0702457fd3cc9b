//! The records that syncs stored, of one stream.

use std::io::Write;
use std::ops::ControlFlow;

use super::{StreamName, stored_stream};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::export::{Columns, ExportedRecord, RecordFormat, RecordWriter};
use crate::model::{BindingName, RecordId, StreamId};
use crate::ops::bindings::{MappingReport, RecordMapping, only_stream};
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
    /// Maps each record to the user's own shape; records that it fails on are left out and stored as its failures.
    pub binding: Option<BindingName>,
}

/// Returns the stream that a binding maps, of the only connection that has it.
///
/// # Errors
/// [`crate::ops::bindings::BindingOperationError`].
pub async fn stream_of_binding(workspace: &Workspace, binding: &BindingName) -> Result<StreamName> {
    only_stream(workspace, binding).await
}

/// Passes the records of a stream to `each`, one by one, until it breaks. The report is of the binding, if there is one.
pub async fn read_records(
    workspace: &Workspace,
    request: RecordsRequest,
    each: impl FnMut(ExportedRecord) -> Result<ControlFlow<()>>,
) -> Result<MappingReport> {
    let mut reader = RecordReader::open(workspace, &request).await?;
    reader.read(each).await
}

/// Writes the records of a stream in a format, and returns what they were written to, and the report of the binding.
///
/// # Errors
/// [`crate::export::ExportError`]; `RecordChanged` if a sync changed a record between the two times that a format with
/// columns reads it.
pub async fn write_records<W: Write + Send>(
    workspace: &Workspace,
    request: RecordsRequest,
    format: RecordFormat,
    out: W,
) -> Result<(W, MappingReport)> {
    RecordReader::open(workspace, &request).await?.write(format, out, |_| {}).await
}

/// Reads the records of one stream, as often as it is asked to.
pub(super) struct RecordReader<'a> {
    records: &'a dyn Records,
    stream: StreamId,
    /// The version after which changes are listed.
    since: Option<u64>,
    limit: usize,
    mapping: Option<RecordMapping<'a>>,
}

impl<'a> RecordReader<'a> {
    pub(super) async fn open(workspace: &'a Workspace, request: &RecordsRequest) -> Result<RecordReader<'a>> {
        let selection = request.selection;
        let stream = stored_stream(workspace, &request.stream).await?.id;
        let mapping = match &request.binding {
            Some(binding) => Some(RecordMapping::open(workspace, binding, &request.stream).await?),
            None => None,
        };
        let records = workspace.store().await?.records();
        let since = match selection.since {
            None => None,
            Some(RecordsSince::Version(version)) => Some(version),
            Some(RecordsSince::Time(time)) => Some(records.version_at(stream, time).await?),
        };
        Ok(Self { records, stream, since, limit: selection.limit.unwrap_or(usize::MAX), mapping })
    }

    /// Passes the records to `each`, one by one, until it breaks.
    pub(super) async fn read(
        &mut self,
        mut each: impl FnMut(ExportedRecord) -> Result<ControlFlow<()>>,
    ) -> Result<MappingReport> {
        let (mut last, mut remaining) = (None::<(u64, RecordId)>, self.limit);
        while remaining > 0 {
            let page = match self.since {
                Some(since) => self.records.changes(self.stream, since, last, BATCH_SIZE).await?,
                None => self.records.list(self.stream, last.map_or(RecordId(0), |(_, id)| id), BATCH_SIZE).await?,
            };
            let Some(end) = page.last() else { break };
            last = Some((end.version, end.id));
            let count = page.len();
            let mut flow = ControlFlow::Continue(());
            for mut stored in page.into_iter().take(remaining) {
                let change = self.since.map(|since| stored.change(since));
                if self.mapping.as_mut().is_none_or(|mapping| mapping.apply(&mut stored)) {
                    flow = each(ExportedRecord { change, stored })?;
                }
                if flow.is_break() {
                    break;
                }
            }
            if let Some(mapping) = &mut self.mapping {
                mapping.flush().await?;
            }
            if flow.is_break() {
                break;
            }
            remaining = remaining.saturating_sub(count);
        }
        Ok(self.mapping.as_mut().map(RecordMapping::take_report).unwrap_or_default())
    }

    /// Writes the records in a format; `progress` is given how many were written so far. A format with columns reads them
    /// twice: for the columns, and for the rows.
    pub(super) async fn write<W: Write + Send>(
        &mut self,
        format: RecordFormat,
        out: W,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<(W, MappingReport)> {
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
        let report = self.read(|record| {
            writer.add(record)?;
            written += 1;
            progress(written);
            Ok(ControlFlow::Continue(()))
        });
        let report = report.await?;
        Ok((writer.finish()?, report))
    }
}
