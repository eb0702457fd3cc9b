//! Stored data: the synced streams, and the number of records of each.

use super::{StreamName, SyncOperationError, SyncTarget, stored_stream};
use crate::error::Result;
use crate::model::{Connection, StoredStream, UserId};
use crate::runtime::Workspace;
use crate::view::records::{StoredStreamListView, StoredStreamView};

/// Returns the streams of all connections that were synced before; none if the workspace has no vault yet.
pub async fn list_synced_streams(workspace: &Workspace) -> Result<Vec<StreamName>> {
    let streams = target_streams(workspace, &[]).await?;
    Ok(streams.into_iter().map(|(connection, stream)| stream_name(&connection, stream)).collect())
}

/// Counts the records of the streams that targets mean, or of all streams if there are none; only those of a user's
/// connections if one is given.
///
/// # Errors
/// An unknown connection; a stream that was named and never synced.
pub async fn list_stored_streams(
    workspace: &Workspace,
    targets: &[SyncTarget],
    user: Option<&UserId>,
) -> Result<StoredStreamListView> {
    let mut view = StoredStreamListView {
        workspace: workspace.name.clone(),
        streams: Vec::new(),
        records: 0,
        as_of: workspace.clock.now(),
    };
    let mut streams = target_streams(workspace, targets).await?;
    streams.retain(|(connection, _)| user.is_none_or(|user| connection.user.as_ref() == Some(user)));
    if streams.is_empty() {
        return Ok(view);
    }
    let totals = workspace.store().await?.records().totals().await?;
    for (connection, stream) in streams {
        let total = totals.get(&stream.id).copied().unwrap_or_default();
        view.records += total.records;
        view.streams.push(StoredStreamView {
            mode: connection.mode,
            target: connection.target(),
            connection: connection.name,
            stream: stream.name,
            records: total.records,
            deleted: total.deleted,
            last_sync_at: total.synced_at,
        });
    }
    Ok(view)
}

/// The names of the stored streams that targets mean, or of all if there are none.
///
/// # Errors
/// Those of [`list_stored_streams`]; [`SyncOperationError::NothingStored`].
pub(super) async fn required_streams(workspace: &Workspace, targets: &[SyncTarget]) -> Result<Vec<StreamName>> {
    let streams = target_streams(workspace, targets).await?;
    if streams.is_empty() {
        let connection = targets.first().map(|target| target.connection.clone());
        return Err(SyncOperationError::NothingStored { connection }.into());
    }
    Ok(streams.into_iter().map(|(connection, stream)| stream_name(&connection, stream)).collect())
}

fn stream_name(connection: &Connection, stream: StoredStream) -> StreamName {
    StreamName { connection: connection.name.clone(), stream: stream.name }
}

/// The stored streams that targets mean, each once, ordered by connection and stream; all of them without targets.
async fn target_streams(workspace: &Workspace, targets: &[SyncTarget]) -> Result<Vec<(Connection, StoredStream)>> {
    for target in targets {
        let connection = workspace.connection(&target.connection).await?.name;
        if let Some(stream) = target.stream.clone() {
            stored_stream(workspace, &StreamName { connection, stream }).await?;
        }
    }
    let mut found = Vec::new();
    if !workspace.has_vault() {
        return Ok(found);
    }
    let store = workspace.store().await?;
    let mut connections = workspace.connections().await?;
    connections.retain(|known| targets.is_empty() || targets.iter().any(|target| target.connection == known.name));
    let ids: Vec<_> = connections.iter().map(|connection| connection.id).collect();
    let stored = store.streams().list_of_each(&ids).await?;
    for (connection, streams) in connections.into_iter().zip(stored) {
        let meant: Vec<&SyncTarget> = targets.iter().filter(|target| target.connection == connection.name).collect();
        let is_meant = |stream: &StoredStream| {
            targets.is_empty()
                || meant.iter().any(|target| target.stream.as_ref().is_none_or(|name| *name == stream.name))
        };
        let streams = streams.into_iter().filter(is_meant);
        found.extend(streams.map(|stream| (connection.clone(), stream)));
    }
    Ok(found)
}
