//! The connections that receive webhooks, as they are added and removed.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use super::target::ReceiveTarget;
use crate::model::{ConnectionId, WorkspaceName};
use crate::signing::verify::constant_time_eq;

/// Where webhooks come to.
pub const PREFIX: &str = "/webhooks/";

/// The targets of a connector: there may be thousands, of which one is added or replaced.
type ConnectorTargets = HashMap<(WorkspaceName, ConnectionId), Arc<ReceiveTarget>>;

/// The targets of any number of workspaces. A receiver finds a request's target here each time, so that a change counts from
/// the next request on.
#[derive(Default)]
pub struct TargetRegistry {
    /// By connector.
    targets: RwLock<HashMap<String, ConnectorTargets>>,
    /// Counts the changes.
    changes: watch::Sender<u64>,
}

impl TargetRegistry {
    /// Returns the target of a path, `/webhooks/CONNECTOR/SECRET`, which may be below a path of the user's proxy and end with
    /// a slash. The secret is compared in constant time.
    pub fn find(&self, path: &str) -> Option<Arc<ReceiveTarget>> {
        let (_, own) = path.rsplit_once(PREFIX)?;
        let (connector, secret) = own.strip_suffix('/').unwrap_or(own).split_once('/')?;
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        let mut targets = targets.get(connector)?.values();
        targets.find(|target| constant_time_eq(target.path.as_bytes(), secret.as_bytes())).cloned()
    }

    /// Returns the target of a connection.
    pub fn of_connection(&self, workspace: &WorkspaceName, connection: ConnectionId) -> Option<Arc<ReceiveTarget>> {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        let key = (workspace.clone(), connection);
        targets.values().find_map(|targets| targets.get(&key)).cloned()
    }

    /// Returns the targets of a workspace, in no particular order.
    pub fn of_workspace(&self, workspace: &WorkspaceName) -> Vec<Arc<ReceiveTarget>> {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        let all = targets.values().flat_map(HashMap::values);
        all.filter(|target| target.workspace == *workspace).cloned().collect()
    }

    /// Adds a target, in place of an earlier one of the same connection.
    pub fn insert(&self, target: ReceiveTarget) {
        self.change(|targets| {
            let key = (target.workspace.clone(), target.connection);
            remove(targets, &key);
            targets.entry(target.connector.clone()).or_default().insert(key, Arc::new(target));
        });
    }

    /// Removes the target of a connection: its URL is unknown from now on.
    pub fn remove(&self, workspace: &WorkspaceName, connection: ConnectionId) {
        self.change(|targets| remove(targets, &(workspace.clone(), connection)));
    }

    /// Returns what sees each later change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<String, ConnectorTargets>)) {
        change(&mut self.targets.write().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|changes| *changes += 1);
    }
}

fn remove(targets: &mut HashMap<String, ConnectorTargets>, key: &(WorkspaceName, ConnectionId)) {
    for targets in targets.values_mut() {
        targets.remove(key);
    }
}
