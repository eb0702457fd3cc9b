//! Receiving in the foreground: the port, the inbox, the queues, and what there is to see of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use futures_util::future::{JoinAll, join_all};
use thiserror::Error;
use tokio::sync::{Notify, mpsc, watch};
use url::Url;

use super::handle::confirm::Confirmer;
use super::handle::dispatch::HandlerQueue;
use super::handle::event_view::EventView;
use super::handle::{EventSelection, Handlers};
use super::inbound::receiver::{ReceiveOutcome, ReceivedEvent, Receiver, payload};
use super::inbound::server::{bind, port_of, serve};
use super::inbound::target::ReceiveTarget;
use super::inbound::throttle::OutcomeThrottle;
use super::retention::{prune_some, pruning};
use super::settings::WebhookSettings;
use super::subscription::{RenewalResult, renew_due};
use crate::clock::{Stopwatch, Timestamp};
use crate::connector::SignatureScheme;
use crate::error::{Diagnostic, Error, Hint, Kind, Remedy, Result};
use crate::http::loopback::BindError;
use crate::http::serve::Server;
use crate::http::{self, Route};
use crate::model::{ConnectionId, ConnectionMode, ConnectionName, EventId, EventStatus, GrantStatus};
use crate::runtime::{BoxFuture, Workspace};
use crate::store::{LockKey, Store};
use crate::sync::ingest::EventIngest;

/// What is seen and not yet shown.
const EVENT_CHANNEL_CAPACITY: usize = 1024;

/// How long what is being answered, and then what is being handled, may still take at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// How often secrets are read again, which another process may have replaced.
const KEY_RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// How often what is over its time is looked for.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// How often it is seen whether a subscription is due.
const LEASE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What is fetched from a vendor to judge by comes within this, or the request is refused.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// What the user wants of it.
#[derive(Debug)]
pub struct ListenOptions {
    /// All that can receive where none is named.
    pub connections: Vec<ConnectionName>,
    pub port: u16,
    /// A further address of this machine to listen on.
    pub bind: Option<IpAddr>,
    pub public_url: Option<String>,
    pub handlers: Handlers,
    pub max_attempts: u32,
    /// Whether it renews subscriptions and removes old events as well.
    pub runs_maintenance: bool,
}

/// Why receiving webhooks cannot start.
#[derive(Debug, Error)]
pub enum ListenError {
    #[error("no connection can receive webhooks")]
    NoConnections,
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot serve on port {port}")]
    Port { port: u16, source: std::io::Error },
}

impl Remedy for ListenError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NoConnections => {
                Diagnostic::new(Kind::NotFound, "no_connection").run("integ connect stripe --sandbox")
            }
            Self::Bind(_) | Self::Port { .. } => Diagnostic::new(Kind::Failed, "port_in_use")
                .hint(Hint::new("take any free port:", "integ webhook listen --port 0")),
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum ListenEvent {
    Request(ReceiveOutcome),
    Handled {
        connection: ConnectionName,
        id: EventId,
        kind: String,
        status: EventStatus,
        attempts: u32,
        error: Option<String>,
    },
    /// Nobody listens where events are to be sent on: they wait, and no attempt counts.
    Paused {
        connection: ConnectionName,
        id: EventId,
        error: String,
    },
    /// Somebody listens there again.
    Resumed {
        connection: ConnectionName,
    },
    /// The vendor said whether it sent an event.
    Confirmed {
        connection: ConnectionName,
        id: EventId,
        kind: String,
        verified: bool,
        error: Option<String>,
    },
    /// More requests were refused for one reason than are worth a line each.
    Summary {
        connection: Option<ConnectionName>,
        reason: &'static str,
        count: u64,
    },
}

/// A connection that cannot receive, and why.
pub type SkippedConnection = (ConnectionName, Error);

/// A port that is open, and everything behind it.
pub struct WebhookListener<'a> {
    pub setups: Vec<WebhookSettings>,
    /// Those that were left out, and why.
    pub skipped: Vec<SkippedConnection>,
    /// Connections whose events another process handles.
    pub handled_elsewhere: Vec<ConnectionName>,
    pub port: u16,
    workspace: &'a Workspace,
    options: &'a ListenOptions,
    store: Arc<dyn Store>,
    targets: Vec<Arc<ReceiveTarget>>,
    queues: Vec<HandlerQueue<'a>>,
    confirmers: Vec<Confirmer<'a>>,
    handler_wakeups: HashMap<ConnectionId, Arc<Notify>>,
    /// Wakes those who ask vendors about events.
    confirm_wakeups: HashMap<ConnectionId, Arc<Notify>>,
    names: HashMap<ConnectionName, ConnectionId>,
    server: Server,
    events: mpsc::Receiver<ListenEvent>,
}

impl<'a> WebhookListener<'a> {
    /// Opens the port. Must be called inside the runtime.
    ///
    /// # Errors
    /// [`ListenError`], and what stops a connection that was named from receiving.
    pub async fn start(workspace: &'a Workspace, plan: &'a ListenOptions) -> Result<Self> {
        let (mut setups, left_out) = load_settings(workspace, plan).await?;
        // Tunnels are started with a port alone, and lead to `localhost`.
        let listeners = bind(plan.bind, plan.port).map_err(ListenError::Bind)?;
        let port = port_of(&listeners).map_err(|source| ListenError::Port { port: plan.port, source })?;
        let store = workspace.shared_store().await?;
        let webhooks = store.webhooks();
        for setup in &mut setups {
            if let Some(base) = &plan.public_url {
                let url = setup.public_url(base)?;
                webhooks.set_public_url(setup.connection.id, Some(url.as_str())).await?;
                setup.stored.public_url = Some(url.to_string());
            }
        }
        let ids: Vec<ConnectionId> = setups.iter().map(|setup| setup.connection.id).collect();
        webhooks.set_port(&ids, port).await?;
        let handled = !plan.handlers.is_empty();
        // What comes while a subscription is made is left to whoever listens next.
        let awaits = handled || !plan.runs_maintenance;
        let mut targets = Vec::new();
        for setup in &setups {
            targets.push(Arc::new(setup.target(
                &workspace.engine.config.webhooks,
                setup.url(port)?,
                route(workspace, setup).await?,
                awaits,
            )?));
        }
        let (sender, events) = mpsc::channel(EVENT_CHANNEL_CAPACITY);
        let receiver = receiver(workspace, &store, targets.clone(), plan.handlers.selection.filter.is_some());
        let answers = (handled && plan.handlers.returns_response).then(Arc::default);
        let server = serve(listeners, port, receiver, sender.clone(), answers.clone())?;
        let (mut queues, mut handled_elsewhere, mut wakes) = (Vec::new(), Vec::new(), HashMap::new());
        for setup in setups.iter().filter(|_| handled) {
            let Some(lock) = workspace.try_lock(LockKey::Events(setup.connection.id)).await? else {
                handled_elsewhere.push(setup.name().clone());
                continue;
            };
            let wake = Arc::new(Notify::new());
            wakes.insert(setup.connection.id, Arc::clone(&wake));
            queues.push(HandlerQueue {
                connection: setup.connection.id,
                name: setup.name().clone(),
                rules: setup.rules()?.clone(),
                store: Arc::clone(&store),
                clock: workspace.engine.clock.clone(),
                handlers: &plan.handlers,
                pusher: plan.handlers.sync.then(|| event_ingest(workspace, &store, setup)),
                max_attempts: plan.max_attempts,
                wake,
                events: sender.clone(),
                answers: answers.clone(),
                unreachable_count: AtomicU32::new(0),
                lock,
            });
        }
        let (confirmers, asks) = confirmers(workspace, &store, &targets, &wakes, &sender).await?;
        let names = setups.iter().map(|setup| (setup.name().clone(), setup.connection.id)).collect();
        Ok(Self {
            setups,
            skipped: left_out,
            handled_elsewhere,
            port,
            workspace,
            options: plan,
            store,
            targets,
            queues,
            confirmers,
            handler_wakeups: wakes,
            confirm_wakeups: asks,
            names,
            server,
            events,
        })
    }

    /// Receives until `stop`, then ends in order: what is being answered is answered, what is being handled is handled.
    pub async fn run(self, stop: impl Future<Output = ()>, mut show_event: impl FnMut(&ListenEvent)) {
        let Self {
            workspace,
            options,
            store,
            targets,
            queues,
            confirmers,
            handler_wakeups,
            confirm_wakeups,
            names,
            server,
            mut events,
            ..
        } = self;
        let (stopping, stopped) = watch::channel(false);
        let mut confirming = run_all(&confirmers, |confirmer| Box::pin(confirmer.run(stopped.clone())));
        let mut flood = OutcomeThrottle::default();
        let mut working = run_all(&queues, |queue| Box::pin(queue.run(stopped.clone())));
        let mut leases = std::pin::pin!(run_maintenance(workspace, options, &store, &targets, stopped.clone()));
        let mut stop = std::pin::pin!(stop);
        let mut again = tokio::time::interval(KEY_RELOAD_INTERVAL);
        let mut show = |happened: Option<&ListenEvent>| {
            // Nothing came for a while: what was held back is summed up.
            let Some(happened) = happened else {
                flood.drain_summaries().iter().for_each(&mut show_event);
                return;
            };
            if let ListenEvent::Request(ReceiveOutcome::Received { connection, .. }) = happened
                && let Some(id) = names.get(connection)
            {
                handler_wakeups.get(id).into_iter().chain(confirm_wakeups.get(id)).for_each(|wake| wake.notify_one());
            }
            if matches!(happened, ListenEvent::Request(outcome) if flood.suppresses(outcome)) {
                return;
            }
            if let Some(selected) = select_events(&options.handlers.selection, &targets, happened) {
                show_event(&selected);
            }
        };
        loop {
            tokio::select! {
                Some(happened) = events.recv() => show(Some(&happened)),
                _ = &mut working, if !queues.is_empty() => break,
                _ = &mut confirming, if !confirmers.is_empty() => break,
                () = &mut leases => break,
                _ = again.tick() => {
                    show(None);
                    for target in &targets {
                        target.reload_keys(&*store, &workspace.engine.clock).await;
                    }
                }
                () = &mut stop => break,
            }
        }
        let mut closing = std::pin::pin!(server.finish(SHUTDOWN_TIMEOUT));
        loop {
            tokio::select! {
                Some(happened) = events.recv() => show(Some(&happened)),
                () = &mut closing => break,
            }
        }
        let _ = stopping.send(true);
        // A vendor that is being asked is not left in the middle.
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, leases).await;
        if !confirmers.is_empty() {
            let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, confirming).await;
        }
        let mut handling = std::pin::pin!(tokio::time::timeout(SHUTDOWN_TIMEOUT, working));
        while !queues.is_empty() {
            tokio::select! {
                Some(happened) = events.recv() => show(Some(&happened)),
                _ = &mut handling => break,
            }
        }
        while let Ok(happened) = events.try_recv() {
            show(Some(&happened));
        }
        show(None);
    }
}

/// Runs all of them until each has ended.
fn run_all<'a, T>(workers: &'a [T], run: impl Fn(&'a T) -> BoxFuture<'a, ()>) -> JoinAll<BoxFuture<'a, ()>> {
    join_all(workers.iter().map(run))
}

/// Renews the subscriptions of these connections in time, and removes what is over its time, until it is to stop.
async fn run_maintenance(
    workspace: &Workspace,
    plan: &ListenOptions,
    store: &Arc<dyn Store>,
    targets: &[Arc<ReceiveTarget>],
    mut stop: watch::Receiver<bool>,
) {
    let mut tidied: Option<Stopwatch> = None;
    let connections: Vec<ConnectionId> = targets.iter().map(|target| target.connection).collect();
    while !*stop.borrow() {
        if plan.runs_maintenance && tidied.is_none_or(|tidied| tidied.elapsed() >= PRUNE_INTERVAL) {
            tidied = if prune(workspace, store, targets).await { None } else { Some(Stopwatch::start()) };
        }
        let renewed =
            if plan.runs_maintenance { renew_due(workspace, Some(&connections)).await } else { Ok(Vec::new()) };
        match renewed {
            Ok(renewed) => {
                for RenewalResult { connection, id, result } in renewed {
                    match result {
                        Ok(until) => {
                            tracing::info!(%connection, subscription = id.0, ?until, "a subscription was renewed");
                        }
                        Err(error) => tracing::warn!(
                            "subscription {id} of {connection} could not be renewed: {}; hint: integ refresh {connection}",
                            error.message()
                        ),
                    }
                }
            }
            Err(error) => tracing::warn!("subscriptions cannot be looked after now: {}", error.message()),
        }
        tokio::select! {
            () = tokio::time::sleep(LEASE_CHECK_INTERVAL) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Removes some of what is over its time; whether there may be more.
async fn prune(workspace: &Workspace, store: &Arc<dyn Store>, targets: &[Arc<ReceiveTarget>]) -> bool {
    let before =
        workspace.engine.clock.now().checked_sub(workspace.engine.config.webhooks.retention).unwrap_or(Timestamp::MIN);
    let mut more = false;
    for target in targets {
        match prune_some(&**store, &pruning(target.connection, &target.rules, before)).await {
            Ok((_, left)) => more |= left,
            Err(error) => tracing::warn!("old events of {} cannot be removed now: {error}", target.name),
        }
    }
    more
}

/// The connections that receive, and those that cannot.
async fn load_settings(
    workspace: &Workspace,
    plan: &ListenOptions,
) -> Result<(Vec<WebhookSettings>, Vec<SkippedConnection>)> {
    let mut left_out = Vec::new();
    if !plan.connections.is_empty() {
        let mut setups = Vec::new();
        for name in &plan.connections {
            let setup = WebhookSettings::load(workspace, name).await?;
            setup.check()?;
            setups.push(setup);
        }
        return Ok((setups, left_out));
    }
    let all = if workspace.has_vault() { workspace.store().await?.connections().list().await? } else { Vec::new() };
    let mut setups = Vec::new();
    for connection in all.into_iter().filter(|connection| connection.grant_status != GrantStatus::Disconnected) {
        let connector = workspace.engine.catalogue.get(connection.name.connector())?;
        if connector.webhook.is_none() {
            continue;
        }
        let setup = WebhookSettings::load(workspace, &connection.name).await.and_then(|setup| {
            setup.check()?;
            Ok(setup)
        });
        match setup {
            Ok(setup) => setups.push(setup),
            Err(error) => left_out.push((connection.name, error)),
        }
    }
    if setups.is_empty() {
        return Err(left_out.pop().map_or_else(|| ListenError::NoConnections.into(), |(_, error)| error));
    }
    Ok((setups, left_out))
}

/// What the vendor's certificates and keys are fetched through, where any are.
pub(super) async fn route(workspace: &Workspace, setup: &WebhookSettings) -> Result<Route> {
    if setup.rules()?.proofs.iter().any(SignatureScheme::needs_fetched_key)
        || setup.connection.mode == ConnectionMode::Live
    {
        return Ok(workspace.session(setup.connection.clone()).await?.route);
    }
    // Nothing of a sandbox is ever fetched from the vendor.
    Ok(Route::Sandbox(setup.local_url(0)?))
}

fn event_ingest<'a>(workspace: &'a Workspace, store: &Arc<dyn Store>, setup: &WebhookSettings) -> EventIngest<'a> {
    EventIngest::new(workspace, Arc::clone(store), setup.name().clone(), setup.connector.clone())
}

type Confirmers<'a> = (Vec<Confirmer<'a>>, HashMap<ConnectionId, Arc<Notify>>);

/// Those who ask the vendors about events, and what wakes them.
async fn confirmers<'a>(
    workspace: &'a Workspace,
    store: &Arc<dyn Store>,
    targets: &[Arc<ReceiveTarget>],
    wakes: &HashMap<ConnectionId, Arc<Notify>>,
    sender: &mpsc::Sender<ListenEvent>,
) -> Result<Confirmers<'a>> {
    let (mut confirmers, mut asks) = (Vec::new(), HashMap::new());
    for target in targets {
        let Some(rules) = &target.rules.confirm else { continue };
        let Some(lock) = workspace.try_lock(LockKey::Confirmations(target.connection)).await? else { continue };
        let came = Arc::new(Notify::new());
        asks.insert(target.connection, Arc::clone(&came));
        confirmers.push(Confirmer {
            workspace,
            target: Arc::clone(target),
            rules: rules.clone(),
            store: Arc::clone(store),
            event_arrived: came,
            wake: wakes.get(&target.connection).cloned(),
            events: sender.clone(),
            _lock: lock,
        });
    }
    Ok((confirmers, asks))
}

fn receiver(
    workspace: &Workspace,
    store: &Arc<dyn Store>,
    targets: Vec<Arc<ReceiveTarget>>,
    is_filtered: bool,
) -> Receiver {
    let http = http::Client::new(FETCH_TIMEOUT);
    Receiver::new(targets, Arc::clone(store), workspace.engine.clock.clone(), http, is_filtered)
}

/// What of it is to be shown: a request's events as far as they are chosen.
fn select_events<'s>(
    choice: &EventSelection,
    targets: &[Arc<ReceiveTarget>],
    happened: &'s ListenEvent,
) -> Option<Cow<'s, ListenEvent>> {
    let ListenEvent::Request(ReceiveOutcome::Received { connection, events }) = happened else {
        return Some(Cow::Borrowed(happened));
    };
    if choice.types.is_empty() && choice.filter.is_none() {
        return Some(Cow::Borrowed(happened));
    }
    let target = targets.iter().find(|target| target.name == *connection);
    let admitted = |received: &&ReceivedEvent| {
        let source = target.zip(received.source.as_ref());
        let read =
            source.map(|(target, request)| payload(&target.rules, request, received.event.batch_item.as_deref()));
        choice.matches(&EventView::received(connection, received, read.as_ref()).document())
    };
    let events: Vec<_> = events.iter().filter(admitted).cloned().collect();
    if events.is_empty() {
        return None;
    }
    Some(Cow::Owned(ListenEvent::Request(ReceiveOutcome::Received { connection: connection.clone(), events })))
}

impl WebhookListener<'_> {
    /// Each connection with its address on this machine and the one that its vendor calls.
    ///
    /// # Errors
    /// What is no address.
    pub fn urls(&self) -> Result<Vec<(ConnectionName, Url, Url)>> {
        let one =
            |setup: &WebhookSettings| Ok((setup.name().clone(), setup.local_url(self.port)?, setup.url(self.port)?));
        self.setups.iter().map(one).collect()
    }
}
