//! Workers per connection, as connections are added and removed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::{ConnectionId, ConnectionName};
use crate::runtime::Workspace;
use crate::runtime::worker::{LONGEST_SLEEP, NextWake, RunUntil, Running, Worker, run};
use crate::webhook::inbound::registry::TargetRegistry;
use crate::webhook::inbound::target::ReceiveTarget;

/// How often to check whether the work of another process can be taken over.
const TAKEOVER_INTERVAL: Duration = Duration::from_secs(2);

/// Starts the work of one connection.
#[async_trait]
pub(in crate::webhook) trait ConnectionWork<'a>: Send + Sync {
    /// The work's name, for the log.
    const NAME: &'static str;

    /// Makes the worker of a connection.
    ///
    /// # Errors
    /// The store's, and unknown connectors.
    async fn start(&self, target: &Arc<ReceiveTarget>) -> Result<StartedWork<'a>>;
}

/// What became of the start of a connection's work.
pub(in crate::webhook) enum StartedWork<'a> {
    Worker(Box<dyn Worker + 'a>),
    /// Another process does it.
    HeldElsewhere,
    /// There is nothing to do for this connection.
    NotNeeded,
}

/// Runs one worker for each connection of a workspace.
pub(in crate::webhook) struct ConnectionWorkers<'a, W> {
    work: W,
    workspace: &'a Workspace,
    registry: Arc<TargetRegistry>,
    changes: watch::Receiver<u64>,
    running: HashMap<ConnectionId, RunningWork>,
    /// Connections without work here, so long as they are in the registry.
    without_work: HashSet<ConnectionId>,
    /// Connections whose work another process does: it is taken over once that process has ended.
    held_elsewhere: HashSet<ConnectionId>,
    ends: Running<'a, (ConnectionId, Result<()>)>,
    /// Why a worker ended that was not stopped.
    failure: Option<Error>,
}

struct RunningWork {
    name: ConnectionName,
    stop: watch::Sender<bool>,
}

impl<'a, W: ConnectionWork<'a>> ConnectionWorkers<'a, W> {
    pub(in crate::webhook) fn new(work: W, workspace: &'a Workspace, registry: Arc<TargetRegistry>) -> Self {
        Self {
            work,
            workspace,
            changes: registry.changes(),
            registry,
            running: HashMap::new(),
            without_work: HashSet::new(),
            held_elsewhere: HashSet::new(),
            ends: Running::default(),
            failure: None,
        }
    }

    /// Starts the work of connections that are new, and stops that of removed ones. Returns the new connections whose work
    /// another process does.
    ///
    /// # Errors
    /// The store's, and unknown connectors.
    pub(in crate::webhook) async fn follow(&mut self) -> Result<Vec<ConnectionName>> {
        let targets = self.registry.of_workspace(&self.workspace.name);
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
        self.held_elsewhere.retain(|id| is_there(id, None));
        let mut elsewhere = Vec::new();
        for target in targets {
            let id = target.connection;
            if self.running.contains_key(&id) || self.without_work.contains(&id) {
                continue;
            }
            match self.work.start(&target).await? {
                StartedWork::Worker(worker) => {
                    if self.held_elsewhere.remove(&id) {
                        tracing::info!(connection = %target.name, "the {} is taken over", W::NAME);
                    }
                    self.begin(&target, worker);
                }
                StartedWork::HeldElsewhere => {
                    if self.held_elsewhere.insert(id) {
                        elsewhere.push(target.name.clone());
                    }
                }
                StartedWork::NotNeeded => _ = self.without_work.insert(id),
            }
        }
        Ok(elsewhere)
    }

    fn begin(&mut self, target: &ReceiveTarget, mut worker: Box<dyn Worker + 'a>) {
        let (id, name, workspace) = (target.connection, target.name.clone(), self.workspace);
        let (stop, mut stopped) = watch::channel(false);
        self.running.insert(id, RunningWork { name, stop });
        self.ends.push(Box::pin(async move {
            let stopped = async {
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            (id, run(&mut *worker, workspace, RunUntil::Stopped, stopped).await)
        }));
    }
}

#[async_trait]
impl<'a, W: ConnectionWork<'a>> Worker for ConnectionWorkers<'a, W> {
    fn name(&self) -> &'static str {
        W::NAME
    }

    async fn tick(&mut self, _: Timestamp) -> Result<NextWake> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut ends = std::mem::take(&mut self.ends);
        let followed = ends.beside(self.follow()).await;
        ends.append(std::mem::take(&mut self.ends));
        self.ends = ends;
        for name in followed? {
            tracing::info!(connection = %name, "another process does the {}", W::NAME);
        }
        Ok(NextWake::Idle)
    }

    /// Drives the workers, and resolves when the connections have changed or a worker has ended.
    async fn woken(&mut self) {
        tokio::select! {
            // The registry has the sender, so that the channel stays open.
            _ = self.changes.changed() => {}
            Some((id, result)) = self.ends.next() => {
                self.running.remove(&id);
                if let Err(error) = result {
                    self.failure.get_or_insert(error);
                }
            }
        }
    }

    fn poll_interval(&self) -> Duration {
        if self.held_elsewhere.is_empty() { LONGEST_SLEEP } else { TAKEOVER_INTERVAL }
    }

    async fn finish(&mut self) -> Result<()> {
        for running in self.running.values() {
            let _ = running.stop.send(true);
        }
        let mut finished = self.failure.take().map_or(Ok(()), Err);
        while let Some((_, result)) = self.ends.next().await {
            finished = finished.and(result);
        }
        finished
    }
}
