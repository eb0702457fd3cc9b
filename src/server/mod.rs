//! `integ serve`: the HTTP API, the webhook URLs and the workers of workspaces, in one process.
//!
//! `ApiRoute`s are rows of a table (`api`): method, path, operation, shapes, handler. One path through
//! `http` leads to them all, so that no route can leave out authentication, the rate limit or the audit log:
//!
//! 1. `forwarded` finds the caller behind trusted proxies. `http::HttpServer` checks host and origin, finds the route, and authenticates the token (`authentication`), which
//!    names the workspace and the connections that the request may use.
//! 2. `operation::ApiRequest` checks the scope that the operation needs and counts the request. Then its body is read, and
//!    a request that needs a person's approval (`approval`) uses it up, or waits for it.
//! 3. `call::Call` parses path, query and body; the handler calls the operation in `ops` and returns its view. The audit
//!    log has the request before anything is changed or returned.
//! 4. Failures become problem details (`problem`).
//!
//! `openapi` describes the same table. Requests of agents to `/mcp` pass the same checks in `agents`, and go to the MCP server,
//! which `main` gives to this one.

mod agents;
mod api;
mod approval;
mod authentication;
mod base64_body;
mod bounded;
mod call;
mod dashboard;
mod docs;
mod forwarded;
mod hosts;
mod http;
mod idempotency;
mod openapi;
mod openapi_schemas;
mod operation;
mod page;
mod problem;
mod public;
mod reply;
mod route;
mod sandbox_pages;
mod service_manager;
mod sign_in_pages;
mod table;
mod token_exchange;
mod usage;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use self::agents::AgentDoor;
use self::authentication::Tenant;
use self::forwarded::ReverseProxy;
use self::hosts::ServerHosts;
use self::http::HttpServer;
use self::public::PublicPages;
use self::service_manager::ServiceManager;
use self::table::ApiRouteTable;
use self::usage::{UsageLog, UsageWriter};
use crate::error::Result;
use crate::http::serve;
use crate::ops::agents::{AgentServer, CredentialRegistry};
use crate::ops::serving::{self, ServeError, ServeObserver, ServeRequest, WorkspaceServer};
use crate::runtime::Workspace;
use crate::runtime::worker::{RunUntil, WorkerSet};
use crate::view::listen::ListenEventView;
use crate::view::serving::ServingView;
use crate::webhook::listen::{EventDisplay, ListenOptions, WebhookService};
use crate::worker::alerts::AlertWorker;
use crate::worker::deliver::{DeliveryScope, DeliveryWorker};
use crate::worker::health::HealthWorker;
use crate::worker::refresh::RefreshWorker;
use crate::worker::retention::{RetentionScope, RetentionWorker};
use crate::worker::schedule::ScheduleWorker;
use crate::worker::subscriptions::SubscriptionWorker;

/// How long requests may still take to be answered at the end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// The HTTP server, as a part of the program.
#[derive(Clone, Copy)]
pub struct ApiServer {
    /// What answers the requests of agents.
    pub agents: &'static dyn AgentServer,
}

impl WorkspaceServer for ApiServer {
    fn serve<'a>(
        &'a self,
        workspaces: &'a [Arc<Workspace>],
        request: ServeRequest,
        observer: &'a dyn ServeObserver,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>> {
        Box::pin(run(workspaces, request, observer, self.agents))
    }
}

async fn run(
    workspaces: &[Arc<Workspace>],
    request: ServeRequest,
    observer: &dyn ServeObserver,
    agents: &dyn AgentServer,
) -> Result<()> {
    let Some(engine) = workspaces.first().map(|workspace| Arc::clone(&workspace.engine)) else { return Ok(()) };
    let settings = &engine.config.serve;
    let address = settings.bind;
    let mut workers = WorkerSet::new();
    let (mut tenants, mut displays) = (Vec::new(), Vec::new());
    for workspace in workspaces {
        serving::prepare(workspace).await?;
        workspace.serve_sandbox_pages();
        let (tenant, display) = start_workspace(workspace, &request, address.port(), &mut workers).await?;
        tenants.push(tenant);
        displays.push(display);
    }
    let hosts = ServerHosts::new(address, settings.public_url.as_ref(), &settings.hosts);
    let base_path = settings.base_path().to_owned();
    let proxy = ReverseProxy { trusted: settings.trusted_proxies.clone(), base_path: base_path.clone() };
    let table = ApiRouteTable::new();
    let pages = PublicPages::new(&table, &base_path, workspaces.to_vec());
    let door = AgentDoor::new(agents.endpoint());
    let endpoint = door.endpoint();
    let handler = HttpServer::new(tenants, hosts, proxy, table, pages, door, settings);
    let server = serve::Server::start_public(request.listeners, handler);
    let server = server.map_err(|source| ServeError::Bind { address, source })?;
    let manager = ServiceManager::from_env();
    let names = workspaces.iter().map(|workspace| workspace.name.clone()).collect();
    observer.started(ServingView { url: format!("http://{address}"), workspaces: names })?;
    manager.ready(&format!("Serving http://{address}"));
    let (closed, stop_workers) = oneshot::channel::<()>();
    let closing = async {
        engine.shutdown.requested().await;
        manager.stopping();
        // Streams of agents have no end of their own.
        endpoint.close();
        server.finish(ANSWER_TIMEOUT).await;
        drop(closed);
    };
    let working = workers.run(RunUntil::Stopped, stop_workers.map(|_| ()));
    let showing = join_all(displays.iter_mut().map(|display| show_events(display, observer)));
    let watched = keep_alive(&manager);
    let (mut closing, mut working, mut showing) = (pin!(closing.fuse()), pin!(working), pin!(showing.fuse()));
    let mut watched = pin!(watched.fuse());
    let ends = loop {
        tokio::select! {
            () = &mut closing => {}
            _ = &mut showing => {}
            () = &mut watched => {}
            ends = &mut working => break ends,
        }
    };
    ends.into_iter().try_for_each(|end| end.result)
}

/// Lets the service manager know that this process is alive, as often as it wants. It runs in the task that drives the
/// workers: where that hangs, the manager hears nothing and restarts the service.
async fn keep_alive(manager: &ServiceManager) {
    let Some(interval) = manager.watchdog_interval() else { return };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        manager.alive();
    }
}

/// Starts what a workspace has beside the API: its webhook URLs and its workers.
async fn start_workspace<'a>(
    workspace: &'a Arc<Workspace>,
    request: &ServeRequest,
    port: u16,
    workers: &mut WorkerSet<'a>,
) -> Result<(Tenant, EventDisplay)> {
    let options = ListenOptions {
        connections: Vec::new(),
        port,
        bind: None,
        public_url: workspace.engine.config.serve.public_url.as_ref().map(ToString::to_string),
        handlers: Arc::clone(&request.handlers),
        max_attempts: request.max_attempts,
        poll: None,
        leaves_events_pending: request.handlers.is_empty(),
    };
    let service = WebhookService::start(workspace, &options, port).await?;
    let webhooks = service.requests();
    let display = service.start_workers(workers);
    workers.add(workspace, RefreshWorker::logging(workspace));
    workers.add(workspace, HealthWorker::logging(workspace));
    workers.add(workspace, SubscriptionWorker::logging(workspace, None));
    workers.add(workspace, ScheduleWorker::logging(workspace));
    workers.add(workspace, DeliveryWorker::new(workspace, DeliveryScope::All, Box::new(|_| {})));
    workspace.set_handles_events(!request.handlers.is_empty());
    workers.add(workspace, AlertWorker::new(workspace));
    workers.add(workspace, RetentionWorker::new(workspace, RetentionScope::All));
    let usage = Arc::new(UsageLog::default());
    workers.add(workspace, UsageWriter { workspace, log: Arc::clone(&usage) });
    let credentials = Arc::new(CredentialRegistry::new(Arc::clone(workspace)));
    Ok((Tenant { workspace: Arc::clone(workspace), webhooks, usage, credentials }, display))
}

async fn show_events(display: &mut EventDisplay, observer: &dyn ServeObserver) {
    loop {
        display
            .show_next(&mut |event| {
                ListenEventView::list(event, false).into_iter().for_each(|event| observer.happened(event));
            })
            .await;
    }
}
