//! The process that `tests/campaigns/workspaces` kills: it receives, syncs, delivers and refreshes for several workspaces.
//!
//!     workspaces NAME PORT FILE [NAME PORT FILE]...
//!
//! Each workspace of `INTEG_HOME` listens on its port, and appends its events to its file. SIGTERM and SIGINT end the process
//! in order: exit code 0.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use integ::config::Folders;
use integ::error::Result;
use integ::model::WorkspaceName;
use integ::notify::Notifier;
use integ::runtime::worker::WorkerSet;
use integ::runtime::{Engine, RuntimeError, Workspace};
use integ::secret::Secret;
use integ::vault::{PassphrasePrompt, PassphraseSource};
use integ::webhook::handle::{EventSelection, Handlers};
use integ::webhook::listen::{ListenOptions, WebhookListener};
use integ::worker::deliver::{DeliveryScope, DeliveryWorker};
use integ::worker::refresh::RefreshWorker;
use integ::worker::retention::{RetentionScope, RetentionWorker};
use integ::worker::schedule::ScheduleWorker;
use integ::worker::subscriptions::SubscriptionWorker;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// How often an event is tried before it is dead: more often than the process can be killed within one.
const MAX_ATTEMPTS: u32 = 100;

/// How long blocking work may take after everything has ended.
const BLOCKING_TIMEOUT: Duration = Duration::from_secs(5);

struct Nobody;

impl PassphraseSource for Nobody {
    fn ask(&self, _: PassphrasePrompt) -> io::Result<Option<Secret>> {
        Ok(None)
    }
}

/// A workspace and where it receives.
struct Tenant {
    workspace: Workspace,
    options: ListenOptions,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{}", error.on_one_line());
            ExitCode::FAILURE
        }
    }
}

/// Runs until a signal, and returns whether everything ended well.
fn run(arguments: &[String]) -> Result<bool> {
    let folders = Folders::from_env()?;
    let config = integ::config::load(&folders.config_file())?;
    let notifier = Box::new(Notifier::new(&config));
    let engine = Arc::new(Engine::new(folders, config, Box::new(Nobody), notifier));
    // Tasks of the runtime outlive every borrow.
    let tenants: &'static [Tenant] = Box::leak(tenants(&engine, arguments)?.into());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|source| RuntimeError::Runtime { source })?;
    let has_ended_well = runtime.block_on(async {
        tokio::spawn(stop_on_signals(Arc::clone(&engine)));
        let mut tasks = JoinSet::new();
        for tenant in tenants {
            tasks.spawn(serve(tenant));
        }
        let mut has_ended_well = true;
        while let Some(ended) = tasks.join_next().await {
            has_ended_well &= ended.is_ok_and(|well| well);
            // Nothing ends before it is stopped, unless it failed.
            engine.shutdown.request();
        }
        engine.shutdown.released().await;
        has_ended_well
    });
    runtime.shutdown_timeout(BLOCKING_TIMEOUT);
    Ok(has_ended_well)
}

fn tenants(engine: &Arc<Engine>, arguments: &[String]) -> Result<Vec<Tenant>> {
    let tenant = |words: &[String]| {
        let [name, port, file] = words else { unreachable!("chunks of three") };
        let mut handlers = Handlers::new(&engine.config, EventSelection::default());
        handlers.sync = true;
        handlers.append = Some(PathBuf::from(file));
        let options = ListenOptions {
            connections: Vec::new(),
            port: port.parse().unwrap_or_default(),
            bind: None,
            public_url: None,
            handlers: Arc::new(handlers),
            max_attempts: MAX_ATTEMPTS,
            poll: None,
            leaves_events_pending: false,
        };
        Ok(Tenant { workspace: Workspace::new(Arc::clone(engine), name.parse::<WorkspaceName>()?), options })
    };
    arguments.chunks_exact(3).map(tenant).collect()
}

async fn stop_on_signals(engine: Arc<Engine>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => engine.shutdown.request(),
            _ = terminate.recv() => engine.shutdown.request(),
        }
    }
}

/// Receives the webhooks of a workspace and runs every worker of it until it is stopped. Returns whether all of them ended
/// well.
async fn serve(Tenant { workspace, options }: &'static Tenant) -> bool {
    let ended = async {
        let listener = WebhookListener::start(workspace, options).await?;
        listener.run(workers(workspace), workspace.engine.shutdown.requested(), |_| {}).await
    };
    match ended.await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!("{} cannot go on: {}", workspace.name, error.on_one_line());
            false
        }
    }
}

fn workers(workspace: &Workspace) -> WorkerSet<'_> {
    let mut workers = WorkerSet::new();
    workers.add(workspace, DeliveryWorker::new(workspace, DeliveryScope::All, Box::new(|_| {})));
    workers.add(workspace, RefreshWorker::logging(workspace));
    workers.add(workspace, ScheduleWorker::logging(workspace));
    workers.add(workspace, SubscriptionWorker::logging(workspace, None));
    workers.add(workspace, RetentionWorker::new(workspace, RetentionScope::All));
    workers
}
