//! Cursors: the position up to which each partition of a stream has been synced.

use super::{StreamName, SyncOperationError, SyncTarget, stored_stream};
use crate::connector::CursorFormat;
use crate::error::Result;
use crate::model::{ConnectionName, FormerCursor, Partition, StoredStream, StreamParams};
use crate::runtime::Workspace;
use crate::sync::{CursorValue, find_stream};
use crate::view::sync::{
    CursorChangeView, CursorExport, CursorImportView, CursorListView, ExportedPartition, ExportedStream,
    FormerCursorView, PartitionView,
};

/// Which cursors to list.
#[derive(Clone, Debug)]
pub struct CursorListRequest {
    pub stream: StreamName,
    /// Whether to list replaced cursors as well.
    pub history: bool,
}

/// A cursor to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewCursor {
    Value(String),
    /// 1 is the cursor before the current one.
    Former(usize),
}

/// Which cursor to set.
#[derive(Clone, Debug)]
pub struct SetCursorRequest {
    pub stream: StreamName,
    /// Values of the partition; those that are given must name exactly one.
    pub partition: StreamParams,
    pub cursor: NewCursor,
}

/// Which cursors to clear.
#[derive(Clone, Debug)]
pub struct ClearCursorsRequest {
    pub stream: StreamName,
    /// Values of the partitions; all partitions if empty.
    pub partition: StreamParams,
}

/// Cursors to import.
#[derive(Clone, Debug)]
pub struct ImportCursorsRequest {
    pub connection: ConnectionName,
    pub export: CursorExport,
}

/// The cursor of each partition of a stream.
pub async fn list_cursors(workspace: &Workspace, request: CursorListRequest) -> Result<CursorListView> {
    let stream = stored_stream(workspace, &request.stream).await?;
    let streams = workspace.store().await?.streams();
    let mut partitions = Vec::new();
    for partition in streams.partitions(stream.id).await? {
        let former = if request.history { Some(streams.cursor_history(partition.id).await?) } else { None };
        let view = |former: FormerCursor| FormerCursorView { cursor: former.cursor, replaced_at: former.replaced_at };
        partitions.push(PartitionView {
            in_progress: partition.checkpoint.is_some(),
            synced_at: partition.synced_at,
            cursor: partition.cursor,
            partition: partition.params,
            history: former.map(|former| former.into_iter().map(view).collect()),
        });
    }
    let StreamName { connection, stream } = request.stream;
    Ok(CursorListView { connection, stream, partitions, as_of: workspace.clock.now() })
}

/// Sets the cursor of one partition: the next sync requests changes since then.
pub async fn set_cursor(workspace: &Workspace, request: SetCursorRequest) -> Result<CursorChangeView> {
    let stored = stored_stream(workspace, &request.stream).await?;
    let partitions = matching_partitions(workspace, &request.stream, &stored, &request.partition).await?;
    let [partition] = partitions.as_slice() else {
        let values = partitions.into_iter().next().map(|partition| partition.params).unwrap_or_default();
        return Err(SyncOperationError::AmbiguousPartition { stream: request.stream, values }.into());
    };
    let streams = workspace.store().await?.streams();
    let cursor = match request.cursor {
        NewCursor::Value(cursor) => {
            check_cursor(workspace, &request.stream, &cursor)?;
            Some(cursor)
        }
        NewCursor::Former(back) => {
            let history = streams.cursor_history(partition.id).await?;
            let count = history.len();
            let former = history.into_iter().nth(back.saturating_sub(1));
            former.ok_or(SyncOperationError::NoHistory { count })?.cursor
        }
    };
    streams.set_cursor(partition.id, cursor.as_deref(), workspace.clock.now()).await?;
    let StreamName { connection, stream } = request.stream;
    Ok(CursorChangeView { connection, stream, cursor })
}

/// Clears the cursors of a stream: the next sync lists everything.
pub async fn clear_cursors(workspace: &Workspace, request: ClearCursorsRequest) -> Result<CursorChangeView> {
    let stored = stored_stream(workspace, &request.stream).await?;
    for partition in matching_partitions(workspace, &request.stream, &stored, &request.partition).await? {
        workspace.store().await?.streams().set_cursor(partition.id, None, workspace.clock.now()).await?;
    }
    let StreamName { connection, stream } = request.stream;
    Ok(CursorChangeView { connection, stream, cursor: None })
}

/// The cursors of a connection or of one stream, to be imported elsewhere.
pub async fn export_cursors(workspace: &Workspace, target: SyncTarget) -> Result<CursorExport> {
    let connection = workspace.connection(&target.connection).await?;
    let streams = workspace.store().await?.streams();
    let is_asked = |stream: &StoredStream| target.stream.as_ref().is_none_or(|name| *name == stream.name);
    let mut exported = Vec::new();
    for stream in streams.list(connection.id).await?.into_iter().filter(is_asked) {
        let partitions = streams.partitions(stream.id).await?.into_iter();
        let partitions = partitions
            .map(|partition| ExportedPartition { partition: partition.params, cursor: partition.cursor })
            .collect();
        exported.push(ExportedStream { stream: stream.name, params: stream.params, partitions });
    }
    let connector = target.connection.connector().to_owned();
    Ok(CursorExport { format_version: CursorExport::VERSION, connector, streams: exported })
}

/// Sets the cursors of an export, of the same connection or another of its connector. Nothing is changed if one of the
/// streams is unknown.
pub async fn import_cursors(workspace: &Workspace, request: ImportCursorsRequest) -> Result<CursorImportView> {
    let ImportCursorsRequest { connection: name, export } = request;
    let connection = workspace.connection(&name).await?;
    if export.connector != name.connector() || export.format_version != CursorExport::VERSION {
        let CursorExport { connector, format_version: version, .. } = export;
        return Err(SyncOperationError::ExportMismatch { connection: name, connector, version }.into());
    }
    let connector = workspace.catalogue().get(name.connector())?;
    for stream in &export.streams {
        find_stream(&connector, &stream.stream)?;
    }
    let streams = workspace.store().await?.streams();
    let mut imported = 0;
    for exported in export.streams {
        let stream = streams.ensure(connection.id, &exported.stream).await?;
        streams.set_params(stream.id, &exported.params).await?;
        for ExportedPartition { partition, cursor } in exported.partitions {
            let partition = streams.ensure_partition(stream.id, &partition, None).await?;
            streams.set_cursor(partition.id, cursor.as_deref(), workspace.clock.now()).await?;
            imported += 1;
        }
    }
    Ok(CursorImportView { connection: name, imported })
}

/// The partitions of a stream that have these values; at least one.
async fn matching_partitions(
    workspace: &Workspace,
    name: &StreamName,
    stored: &StoredStream,
    values: &StreamParams,
) -> Result<Vec<Partition>> {
    let mut partitions = workspace.store().await?.streams().partitions(stored.id).await?;
    partitions.retain(|partition| values.iter().all(|(name, value)| partition.params.get(name) == Some(value)));
    if partitions.is_empty() {
        return Err(SyncOperationError::PartitionNotFound { stream: name.clone() }.into());
    }
    Ok(partitions)
}

/// Checks that a cursor has the form of the stream's records. A sync token is opaque: any text may be one.
fn check_cursor(workspace: &Workspace, name: &StreamName, cursor: &str) -> Result<()> {
    let connector = workspace.catalogue().get(name.connection.connector())?;
    let (_, declared) = find_stream(&connector, &name.stream)?;
    let Some(rule) = &declared.incremental else { return Ok(()) };
    if CursorValue::parse(&rule.format, cursor).is_some() {
        return Ok(());
    }
    let example = match rule.format {
        CursorFormat::Rfc3339 => "2026-11-20T10:00:00Z",
        CursorFormat::Rfc2822 => "Fri, 20 Nov 2026 10:00:00 +0000",
        CursorFormat::Date => "2026-11-20",
        CursorFormat::Unix => "1700000000",
        CursorFormat::UnixMs => "1700000000000",
        CursorFormat::Integer | CursorFormat::Text | CursorFormat::Strftime(_) => "a number",
    };
    Err(SyncOperationError::InvalidCursor { stream: name.clone(), text: cursor.to_owned(), example }.into())
}
