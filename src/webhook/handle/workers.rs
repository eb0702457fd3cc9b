//! Work that each connection has its own of, as connections come and go.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::sync::watch;

use crate::error::Result;
use crate::model::{ConnectionId, ConnectionName, WorkspaceName};
use crate::runtime::BoxFuture;
use crate::webhook::inbound::registry::TargetRegistry;
use crate::webhook::inbound::target::ReceiveTarget;

/// When work that could not be started is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Starts the work of one connection.
#[async_trait]
pub(in crate::webhook) trait ConnectionWork<'a>: Send + Sync {
    /// Starts it; it ends soon after `stop` holds, with what is begun finished.
    ///
    /// # Errors
    /// The store's, and unknown connectors.
    async fn start(&self, target: &Arc<ReceiveTarget>, stop: watch::Receiver<bool>) -> Result<StartedWork<'a>>;
}

/// What became of the start of a connection's work.
pub(in crate::webhook) enum StartedWork<'a> {
    Running(BoxFuture<'a, ()>),
    /// Another process does it.
    HeldElsewhere,
    /// There is nothing to do for this connection.
    NotNeeded,
}

/// The work of every connection of a workspace.
pub(in crate::webhook) struct ConnectionWorkers<'a, W> {
    work: W,
    workspace: WorkspaceName,
    registry: Arc<TargetRegistry>,
    changes: watch::Receiver<u64>,
    running: HashMap<ConnectionId, RunningWork>,
    /// Connections without work here, so long as they are in the registry.
    without_work: HashSet<ConnectionId>,
    ends: FuturesUnordered<BoxFuture<'a, ConnectionId>>,
}

struct RunningWork {
    name: ConnectionName,
    stop: watch::Sender<bool>,
}

impl<'a, W: ConnectionWork<'a>> ConnectionWorkers<'a, W> {
    pub(in crate::webhook) fn new(work: W, workspace: WorkspaceName, registry: Arc<TargetRegistry>) -> Self {
        Self {
            work,
            workspace,
            changes: registry.changes(),
            registry,
            running: HashMap::new(),
            without_work: HashSet::new(),
            ends: FuturesUnordered::new(),
        }
    }

    /// Starts the work of connections that are new, and lets that of removed ones end. Returns the new connections whose work
    /// another process does.
    ///
    /// # Errors
    /// The store's, and unknown connectors.
    pub(in crate::webhook) async fn follow(&mut self) -> Result<Vec<ConnectionName>> {
        let targets = self.registry.of_workspace(&self.workspace);
        let is_there = |id: &ConnectionId, name: Option<&ConnectionName>| {
            let target = targets.iter().find(|target| target.connection == *id);
            target.is_some_and(|target| name.is_none_or(|name| target.name == *name))
        };
        for (id, running) in &self.running {
            // Records are synced and vendors asked by name: under another one its work begins again.
            if !is_there(id, Some(&running.name)) {
                let _ = running.stop.send(true);
            }
        }
        self.without_work.retain(|id| is_there(id, None));
        let mut elsewhere = Vec::new();
        for target in targets {
            let id = target.connection;
            if self.running.contains_key(&id) || self.without_work.contains(&id) {
                continue;
            }
            let (stop, stopped) = watch::channel(false);
            match self.work.start(&target, stopped).await? {
                StartedWork::Running(work) => {
                    self.running.insert(id, RunningWork { name: target.name.clone(), stop });
                    self.ends.push(Box::pin(work.map(move |()| id)));
                }
                StartedWork::HeldElsewhere => {
                    self.without_work.insert(id);
                    elsewhere.push(target.name.clone());
                }
                StartedWork::NotNeeded => _ = self.without_work.insert(id),
            }
        }
        Ok(elsewhere)
    }

    /// Follows the connections until it is to stop; what is begun is finished.
    pub(in crate::webhook) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut has_failed = false;
        while !*stop.borrow() {
            tokio::select! {
                () = tokio::time::sleep(RETRY_AFTER), if has_failed => {}
                // The registry has the sender, so that the channel stays open.
                _ = self.changes.changed() => {}
                Some(ended) = self.ends.next() => {
                    self.running.remove(&ended);
                }
                _ = stop.changed() => break,
            }
            let followed = self.follow().await;
            has_failed = followed.is_err();
            match followed {
                Ok(elsewhere) => elsewhere.iter().for_each(|name| {
                    tracing::info!(connection = %name, "another process handles the events");
                }),
                Err(error) => tracing::warn!("events of a new connection cannot be handled now: {}", error.message()),
            }
        }
        for running in self.running.values() {
            let _ = running.stop.send(true);
        }
        while self.ends.next().await.is_some() {}
    }
}
