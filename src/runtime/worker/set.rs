//! Several workers at once, of one workspace or of many.

use futures_util::FutureExt;
use futures_util::future::{Shared, join_all};
use tokio::sync::watch;
use tracing::Instrument;

use super::{RunUntil, Worker, run};
use crate::error::Result;
use crate::model::WorkspaceName;
use crate::runtime::Workspace;

/// Workers that run together, in one task.
///
/// A worker that ends with an error is not started again. The workers of its workspace are stopped, for they share the vault
/// that failed, and those of other workspaces go on.
#[derive(Default)]
pub struct WorkerSet<'a> {
    workspaces: Vec<(&'a Workspace, Vec<Box<dyn Worker + 'a>>)>,
}

/// How a worker of a set ended.
#[derive(Debug)]
pub struct WorkerEnd {
    pub workspace: WorkspaceName,
    /// The worker's [`name`](Worker::name).
    pub worker: &'static str,
    pub result: Result<()>,
}

impl<'a> WorkerSet<'a> {
    /// Creates a set without workers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a worker of a workspace.
    pub fn add(&mut self, workspace: &'a Workspace, worker: impl Worker + 'a) {
        let worker: Box<dyn Worker + 'a> = Box::new(worker);
        match self.workspaces.iter_mut().find(|(known, _)| std::ptr::eq(*known, workspace)) {
            Some((_, workers)) => workers.push(worker),
            None => self.workspaces.push((workspace, vec![worker])),
        }
    }

    /// Runs every worker until it is idle or stopped, and returns how each ended: by workspace, in the order in which they
    /// were added. When they are stopped they finish at the same time, so that one that hangs costs no other its time.
    pub async fn run(self, until: RunUntil, stop: impl Future<Output = ()> + Send) -> Vec<WorkerEnd> {
        let stop = stop.shared();
        let runs = self.workspaces.into_iter().map(|(workspace, workers)| {
            let stop = stop.clone();
            async move { run_workspace(workspace, workers, until, &stop).await }
        });
        join_all(runs).await.into_iter().flatten().collect()
    }
}

async fn run_workspace<'a>(
    workspace: &'a Workspace,
    workers: Vec<Box<dyn Worker + 'a>>,
    until: RunUntil,
    stop: &Shared<impl Future<Output = ()> + Send>,
) -> Vec<WorkerEnd> {
    let failed = watch::Sender::new(false);
    let runs = workers.into_iter().map(|mut worker| {
        let failed = &failed;
        async move {
            let mut failure = failed.subscribe();
            let stop_or_failure = async {
                tokio::select! {
                    () = stop.clone() => {}
                    _ = failure.wait_for(|failed| *failed) => {}
                }
            };
            let result = run(&mut *worker, workspace, until, stop_or_failure).await;
            if let Err(error) = &result {
                failed.send_replace(true);
                if until == RunUntil::Stopped {
                    let (name, why) = (worker.name(), error.on_one_line());
                    tracing::error!("{name} in workspace {} has ended: {why}", workspace.name);
                }
            }
            WorkerEnd { workspace: workspace.name.clone(), worker: worker.name(), result }
        }
        .instrument(tracing::trace_span!("worker", workspace = workspace.name.as_str()))
    });
    join_all(runs).await
}
