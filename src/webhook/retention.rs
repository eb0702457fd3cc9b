//! What is removed when its time is over: events that were processed, in small batches.
//!
//! Of services whose requests say when they were made, the whole event goes. Of the others the id of the delivery stays for
//! good, without its content: nothing else would tell a request that somebody repeats from a new one (fault 65).

use crate::clock::Timestamp;
use crate::connector::Webhook;
use crate::error::Result;
use crate::model::{Connection, ConnectionId};
use crate::runtime::App;
use crate::store::{Pruning, Store, StoreError};

/// Events of one commit; so long nothing else is written.
const TOGETHER: u32 = 200;

/// What there is to remove of one connection at a moment.
pub fn pruning(connection: ConnectionId, rules: &Webhook, before: Timestamp) -> Pruning {
    let dated =
        |proof: &crate::connector::Proof| proof.timestamp.as_ref().is_some_and(|rule| rule.tolerance_secs.is_some());
    let keeps_ids = rules.proofs.is_empty() || !rules.proofs.iter().all(dated);
    Pruning { connection, before, keeps_ids, dead: false }
}

/// Removes some of it; whether there may be more.
///
/// # Errors
/// [`StoreError`].
pub fn prune_some(store: &Store, pruning: &Pruning) -> Result<(usize, bool), StoreError> {
    let pruned = store.events().prune(pruning, TOGETHER)?;
    Ok((pruned, pruned == TOGETHER as usize))
}

/// What became of a connection's events.
#[derive(Debug)]
pub struct Pruned {
    pub connection: Connection,
    pub events: u64,
    /// Whether the ids of the deliveries were kept.
    pub keeps_ids: bool,
}

/// Removes what came before a time, of one connection or of all; with `dead` also what was given up. Where `dry_run` it is
/// only counted.
///
/// # Errors
/// The store's.
pub fn prune(
    app: &App,
    only: Option<ConnectionId>,
    before: Timestamp,
    dead: bool,
    dry_run: bool,
) -> Result<Vec<Pruned>> {
    let mut done = Vec::new();
    if !app.has_vault() {
        return Ok(done);
    }
    let store = app.store()?;
    for connection in store.connections().list()? {
        if only.is_some_and(|id| id != connection.id) {
            continue;
        }
        let Ok(connector) = app.catalogue.get(connection.name.connector()) else { continue };
        let Some(rules) = &connector.webhook else { continue };
        let (mut events, processed) = (0, pruning(connection.id, rules, before));
        let kinds = [processed, Pruning { dead: true, ..processed }];
        for pruning in kinds.iter().take(if dead { 2 } else { 1 }) {
            if dry_run {
                events += store.events().count_old(pruning)?;
                continue;
            }
            loop {
                let (pruned, more) = prune_some(store, pruning)?;
                events += pruned as u64;
                if !more {
                    break;
                }
            }
        }
        done.push(Pruned { connection, events, keeps_ids: processed.keeps_ids });
    }
    Ok(done)
}
