//! Syncs a connection and sends changes to a Singer target.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::run::{connection_requests, run_all};
use super::{SyncOperationError, SyncStreamsRequest};
use crate::error::Result;
use crate::export::singer::{SingerState, SingerStream};
use crate::runtime::Workspace;
use crate::sync::{SyncObserver, SyncRequest, find_stream};
use crate::view::sync::SyncListView;

/// What to sync, and the state of the target.
#[derive(Clone, Debug)]
pub struct SingerRequest {
    /// Streams of one connection.
    pub sync: SyncStreamsRequest,
    /// Lets a full sync mark more than half of a stream as deleted.
    pub allow_deletes: bool,
    /// The last state that the target printed; without it, everything is sent.
    pub state: Option<SingerState>,
}

/// Receives the messages.
pub trait SingerTarget {
    /// The sync has ended. `is_state_ignored` if the state is of another connection or another store, so that everything
    /// is sent.
    fn synced(&mut self, reports: &SyncListView, is_state_ignored: bool);

    /// Takes one message, a JSON object on one line; breaks if the target reads no further.
    fn message(&mut self, message: &str) -> Result<ControlFlow<()>>;

    /// Flushes buffered messages, at the end of each stream.
    fn flush(&mut self) -> Result<ControlFlow<()>>;
}

/// Syncs streams of one connection, then sends what changed since the state: for each stream a SCHEMA, its RECORDs and
/// STATEs.
pub async fn sync_to_singer(
    workspace: &Workspace,
    request: SingerRequest,
    observer: &dyn SyncObserver,
    target: &mut impl SingerTarget,
) -> Result<SyncListView> {
    let requests = connection_requests(workspace, request.sync, request.allow_deletes).await?;
    let [sync] = requests.as_slice() else {
        return Err(SyncOperationError::SeveralConnections { count: requests.len() }.into());
    };
    let reports = run_all(workspace, &requests, observer).await?;
    let (vault_id, connection) = (workspace.store().await?.id().to_owned(), sync.connection.to_string());
    let mut state = match request.state {
        Some(state) if state.belongs_to(workspace.store().await?, &connection).await? => {
            target.synced(&reports, false);
            state
        }
        other => {
            target.synced(&reports, other.is_some());
            SingerState { store_id: vault_id, connection, bookmarks: BTreeMap::new() }
        }
    };
    send_changes(workspace, sync, &mut state, target).await?;
    Ok(reports)
}

async fn send_changes(
    workspace: &Workspace,
    request: &SyncRequest,
    state: &mut SingerState,
    target: &mut impl SingerTarget,
) -> Result<()> {
    let store = workspace.store().await?;
    let connector = workspace.catalogue().get(request.connection.connector())?;
    let connection = workspace.connection(&request.connection).await?;
    for stored in store.streams().list(connection.id).await? {
        if !request.streams.is_empty() && !request.streams.contains(&stored.name) {
            continue;
        }
        // A stream that the connector no longer declares has no key to send.
        let Ok((name, stream)) = find_stream(&connector, &stored.name) else { continue };
        let source = SingerStream { store, id: stored.id, name, stream };
        let reads_on =
            source.send(state, |message| Ok::<_, crate::error::Error>(target.message(message)?.is_continue())).await?;
        if !reads_on || target.flush()?.is_break() {
            break;
        }
    }
    Ok(())
}
