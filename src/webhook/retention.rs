//! Removes processed events after their retention period, in small batches.
//!
//! Of services whose requests say when they were made, the whole event goes. Of the others the id of the delivery stays for
//! good, without its content: nothing else would tell a request that somebody repeats from a new one (fault 65).

use crate::clock::Timestamp;
use crate::connector::WebhookDefinition;
use crate::error::Result;
use crate::model::{Connection, ConnectionId, PruneRequest};
use crate::runtime::Workspace;
use crate::store::{Store, StoreError};

/// Events of one commit; so long nothing else is written.
const BATCH_SIZE: u32 = 200;

/// What there is to remove of one connection at a moment.
pub fn pruning(connection: ConnectionId, rules: &WebhookDefinition, before: Timestamp) -> PruneRequest {
    let dated = |proof: &crate::connector::SignatureScheme| {
        proof.timestamp.as_ref().is_some_and(|rule| rule.tolerance_secs.is_some())
    };
    let keeps_ids = rules.proofs.is_empty() || !rules.proofs.iter().all(dated);
    PruneRequest { connection, before, keeps_ids, include_dead: false }
}

/// Removes some of it; whether there may be more.
///
/// # Errors
/// [`StoreError`].
pub async fn prune_some(store: &dyn Store, pruning: &PruneRequest) -> Result<(usize, bool), StoreError> {
    let pruned = store.events().prune(pruning, BATCH_SIZE).await?;
    Ok((pruned, pruned == BATCH_SIZE as usize))
}

/// What became of a connection's events.
#[derive(Debug)]
pub struct PruneResult {
    pub connection: Connection,
    pub events: u64,
    /// Whether the ids of the deliveries stay.
    pub are_ids_retained: bool,
}

/// Removes what was received before a time, of one connection or of all; with `dead` also what was given up. Where `dry_run` it is
/// only counted.
///
/// # Errors
/// The store's.
pub async fn prune(
    workspace: &Workspace,
    only: Option<ConnectionId>,
    before: Timestamp,
    dead: bool,
    dry_run: bool,
) -> Result<Vec<PruneResult>> {
    let mut done = Vec::new();
    if !workspace.has_vault() {
        return Ok(done);
    }
    let store = workspace.store().await?;
    for connection in store.connections().list().await? {
        if only.is_some_and(|id| id != connection.id) {
            continue;
        }
        let Ok(connector) = workspace.catalogue().get(connection.name.connector()) else { continue };
        let Some(rules) = &connector.webhook else { continue };
        let (mut events, processed) = (0, pruning(connection.id, rules, before));
        let kinds = [processed, PruneRequest { include_dead: true, ..processed }];
        for pruning in kinds.iter().take(if dead { 2 } else { 1 }) {
            if dry_run {
                events += store.events().count_prunable(pruning).await?;
                continue;
            }
            loop {
                let (pruned, more) = prune_some(store, pruning).await?;
                events += pruned as u64;
                if !more {
                    break;
                }
            }
        }
        done.push(PruneResult { connection, events, are_ids_retained: processed.keeps_ids });
    }
    Ok(done)
}
