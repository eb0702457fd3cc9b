//! Receiving in the foreground: the port, the inbox, the queues, and what there is to see of them.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use thiserror::Error;
use tokio::sync::{Notify, mpsc, watch};
use url::Url;

use super::confirm::Confirmer;
use super::flood::Flood;
use super::handle::{Choice, Handlers};
use super::inbox::Inbox;
use super::queue::{self, Queue};
use super::receive::{Outcome, Received, Receiver, Target, payload};
use super::retention::{prune_some, pruning};
use super::serve::{bind, port_of, serve};
use super::setup::Setup;
use super::subscription::{Renewed, renew_due};
use super::view::EventView;
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::connector::Proof;
use crate::error::{Diagnostic, Error, Hint, Kind, Remedy, Result};
use crate::http::loopback::BindError;
use crate::http::serve::Server;
use crate::http::{self, Route};
use crate::model::{ConnectionId, ConnectionName, Mode, Standing};
use crate::runtime::App;
use crate::store::{EventId, EventStatus};
use crate::sync::push::Pusher;
use crate::vault::Opened;

/// What is seen and not yet shown.
const MOST_SEEN: usize = 1024;

/// How long what is being answered, and then what is being handled, may still take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// How often secrets are read anew, which another process may have replaced.
const READ_AGAIN: Duration = Duration::from_secs(2);

/// How often what is over its time is looked for.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// How often it is seen whether a subscription is due.
const LOOK_AT_LEASES: Duration = Duration::from_secs(1);

/// What is fetched from a vendor to judge by comes within this, or the request is refused.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// What the user wants of it.
#[derive(Debug)]
pub struct Plan {
    /// All that can receive where none is named.
    pub connections: Vec<ConnectionName>,
    pub port: u16,
    /// A further address of this machine to listen on.
    pub bind: Option<IpAddr>,
    pub public_url: Option<String>,
    pub handlers: Handlers,
    pub most_attempts: u32,
    /// Whether it renews subscriptions and removes old events as well.
    pub looks_after: bool,
}

#[derive(Debug, Error)]
pub enum ListenError {
    #[error("no connection can receive webhooks")]
    Nobody,
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot serve on port {port}")]
    Port { port: u16, source: std::io::Error },
    #[error("the inbox cannot be started")]
    Inbox { source: std::io::Error },
    #[error("the lock of the handlers cannot be had")]
    Lock { source: std::io::Error },
}

impl Remedy for ListenError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Nobody => Diagnostic::new(Kind::NotFound, "no_connection").run("integ connect stripe --sandbox"),
            Self::Bind(_) | Self::Port { .. } => Diagnostic::new(Kind::Failed, "port_taken")
                .hint(Hint::new("take any free port:", "integ webhook listen --port 0")),
            Self::Inbox { .. } | Self::Lock { .. } => Diagnostic::new(Kind::Failed, "io"),
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Seen {
    Request(Outcome),
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
pub type LeftOut = (ConnectionName, Error);

/// A port that is open, and everything behind it.
pub struct Listener<'a> {
    pub setups: Vec<Setup>,
    /// Those that were left out, and why.
    pub left_out: Vec<LeftOut>,
    /// Connections whose events another process handles.
    pub handled_elsewhere: Vec<ConnectionName>,
    pub port: u16,
    app: &'a App,
    plan: &'a Plan,
    opened: Arc<Opened>,
    targets: Vec<Arc<Target>>,
    queues: Vec<Queue<'a>>,
    confirmers: Vec<Confirmer<'a>>,
    wakes: HashMap<ConnectionId, Arc<Notify>>,
    /// Wakes those who ask vendors about events.
    asks: HashMap<ConnectionId, Arc<Notify>>,
    names: HashMap<ConnectionName, ConnectionId>,
    server: Server,
    seen: mpsc::Receiver<Seen>,
}

impl<'a> Listener<'a> {
    /// Opens the port. Must be called inside the runtime.
    ///
    /// # Errors
    /// [`ListenError`], and what stops a connection that was named from receiving.
    pub fn start(app: &'a App, plan: &'a Plan) -> Result<Self> {
        let (mut setups, left_out) = setups(app, plan)?;
        // Tunnels are started with a port alone, and lead to `localhost`.
        let listeners = bind(plan.bind, plan.port).map_err(ListenError::Bind)?;
        let port = port_of(&listeners).map_err(|source| ListenError::Port { port: plan.port, source })?;
        let opened = app.opened()?;
        let webhooks = opened.store.webhooks();
        for setup in &mut setups {
            if let Some(base) = &plan.public_url {
                let url = setup.public_url(base)?;
                webhooks.set_public_url(setup.connection.id, Some(url.as_str()))?;
                setup.kept.public_url = Some(url.to_string());
            }
        }
        let ids: Vec<ConnectionId> = setups.iter().map(|setup| setup.connection.id).collect();
        webhooks.set_port(&ids, port)?;
        let handled = !plan.handlers.is_empty();
        // What comes while a subscription is made is left to whoever listens next.
        let awaits = handled || !plan.looks_after;
        let mut targets = Vec::new();
        for setup in &setups {
            targets.push(Arc::new(setup.target(&app.config.webhooks, setup.url(port)?, route(app, setup)?, awaits)?));
        }
        let (told, seen) = mpsc::channel(MOST_SEEN);
        let receiver = receiver(app, &opened, targets.clone(), plan.handlers.choice.filter.is_some())?;
        let answers = (handled && plan.handlers.answers).then(Arc::default);
        let server = serve(listeners, port, receiver, told.clone(), answers.clone())?;
        let (mut queues, mut handled_elsewhere, mut wakes) = (Vec::new(), Vec::new(), HashMap::new());
        for setup in setups.iter().filter(|_| handled) {
            let lock =
                queue::lock(app, "events", setup.connection.id).map_err(|source| ListenError::Lock { source })?;
            let Some(lock) = lock else {
                handled_elsewhere.push(setup.name().clone());
                continue;
            };
            let wake = Arc::new(Notify::new());
            wakes.insert(setup.connection.id, Arc::clone(&wake));
            queues.push(Queue {
                connection: setup.connection.id,
                name: setup.name().clone(),
                rules: setup.rules()?.clone(),
                opened: Arc::clone(&opened),
                clock: app.clock.clone(),
                handlers: &plan.handlers,
                pusher: plan.handlers.sync.then(|| pusher(app, &opened, setup)),
                most_attempts: plan.most_attempts,
                wake,
                told: told.clone(),
                answers: answers.clone(),
                unreached: Cell::new(0),
                _lock: lock,
            });
        }
        let (confirmers, asks) = confirmers(app, &opened, &targets, &wakes, &told)?;
        let names = setups.iter().map(|setup| (setup.name().clone(), setup.connection.id)).collect();
        Ok(Self {
            setups,
            left_out,
            handled_elsewhere,
            port,
            app,
            plan,
            opened,
            targets,
            queues,
            confirmers,
            wakes,
            asks,
            names,
            server,
            seen,
        })
    }

    /// Receives until `stop`, then ends in order: what is being answered is answered, what is being handled is handled.
    pub async fn run(self, stop: impl Future<Output = ()>, mut told: impl FnMut(&Seen)) {
        let Self { app, plan, opened, targets, queues, confirmers, wakes, asks, names, server, mut seen, .. } = self;
        let (stopping, stopped) = watch::channel(false);
        let mut confirming = std::pin::pin!(join_all(confirmers.iter().map(|asking| asking.work(stopped.clone()))));
        let mut flood = Flood::default();
        let mut working = std::pin::pin!(join_all(queues.iter().map(|queue| queue.work(stopped.clone()))));
        let mut leases = std::pin::pin!(look_after(app, plan, &opened, &targets, stopped.clone()));
        let mut stop = std::pin::pin!(stop);
        let mut again = tokio::time::interval(READ_AGAIN);
        let mut show = |happened: Option<&Seen>| {
            // Nothing came for a while: what was held back is told in sum.
            let Some(happened) = happened else {
                flood.over().iter().for_each(&mut told);
                return;
            };
            if let Seen::Request(Outcome::Received { connection, .. }) = happened
                && let Some(id) = names.get(connection)
            {
                wakes.get(id).into_iter().chain(asks.get(id)).for_each(|wake| wake.notify_one());
            }
            if matches!(happened, Seen::Request(outcome) if flood.holds_back(outcome)) {
                return;
            }
            if let Some(chosen) = chosen(&plan.handlers.choice, &targets, happened) {
                told(&chosen);
            }
        };
        loop {
            tokio::select! {
                Some(happened) = seen.recv() => show(Some(&happened)),
                _ = &mut working, if !queues.is_empty() => break,
                _ = &mut confirming, if !confirmers.is_empty() => break,
                () = &mut leases => break,
                _ = again.tick() => {
                    show(None);
                    targets.iter().for_each(|target| read_again(&opened, &app.clock, target));
                }
                () = &mut stop => break,
            }
        }
        let mut closing = std::pin::pin!(server.finish(LAST_ANSWERS));
        loop {
            tokio::select! {
                Some(happened) = seen.recv() => show(Some(&happened)),
                () = &mut closing => break,
            }
        }
        let _ = stopping.send(true);
        // A vendor that is being asked is not left in the middle.
        let _ = tokio::time::timeout(LAST_ANSWERS, leases).await;
        if !confirmers.is_empty() {
            let _ = tokio::time::timeout(LAST_ANSWERS, confirming).await;
        }
        let mut handling = std::pin::pin!(tokio::time::timeout(LAST_ANSWERS, working));
        while !queues.is_empty() {
            tokio::select! {
                Some(happened) = seen.recv() => show(Some(&happened)),
                _ = &mut handling => break,
            }
        }
        while let Ok(happened) = seen.try_recv() {
            show(Some(&happened));
        }
        show(None);
    }
}

/// Renews the subscriptions of these connections in time, and removes what is over its time, until it is told to stop.
async fn look_after(
    app: &App,
    plan: &Plan,
    opened: &Arc<Opened>,
    targets: &[Arc<Target>],
    mut stop: watch::Receiver<bool>,
) {
    let mut tidied: Option<Stopwatch> = None;
    let connections: Vec<ConnectionId> = targets.iter().map(|target| target.connection).collect();
    while !*stop.borrow() {
        if plan.looks_after && tidied.is_none_or(|tidied| tidied.elapsed() >= TIDY_EVERY) {
            tidied = if tidy(app, opened, targets).await { None } else { Some(Stopwatch::start()) };
        }
        let renewed = if plan.looks_after { renew_due(app, Some(&connections)).await } else { Ok(Vec::new()) };
        match renewed {
            Ok(renewed) => {
                for Renewed { connection, id, result } in renewed {
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
            () = tokio::time::sleep(LOOK_AT_LEASES) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Removes some of what is over its time; whether there may be more.
async fn tidy(app: &App, opened: &Arc<Opened>, targets: &[Arc<Target>]) -> bool {
    let before = app.clock.now().checked_sub(app.config.webhooks.keep).unwrap_or(Timestamp::MIN);
    let mut more = false;
    for target in targets {
        let (opened, pruning) = (Arc::clone(opened), pruning(target.connection, &target.rules, before));
        let pruned = tokio::task::spawn_blocking(move || prune_some(&opened.store, &pruning)).await;
        match pruned {
            Ok(Ok((_, left))) => more |= left,
            Ok(Err(error)) => tracing::warn!("old events of {} cannot be removed now: {error}", target.name),
            Err(_) => {}
        }
    }
    more
}

/// The connections that receive, and those that cannot.
fn setups(app: &App, plan: &Plan) -> Result<(Vec<Setup>, Vec<LeftOut>)> {
    let mut left_out = Vec::new();
    if !plan.connections.is_empty() {
        let named = plan.connections.iter().map(|name| {
            let setup = Setup::of(app, name)?;
            setup.check()?;
            Ok(setup)
        });
        return Ok((named.collect::<Result<_>>()?, left_out));
    }
    let all = if app.has_vault() { app.store()?.connections().list()? } else { Vec::new() };
    let mut setups = Vec::new();
    for connection in all.into_iter().filter(|connection| connection.standing != Standing::Disconnected) {
        let connector = app.catalogue.get(connection.name.connector())?;
        if connector.webhook.is_none() {
            continue;
        }
        let setup = Setup::of(app, &connection.name).and_then(|setup| {
            setup.check()?;
            Ok(setup)
        });
        match setup {
            Ok(setup) => setups.push(setup),
            Err(error) => left_out.push((connection.name, error)),
        }
    }
    if setups.is_empty() {
        return Err(left_out.pop().map_or_else(|| ListenError::Nobody.into(), |(_, error)| error));
    }
    Ok((setups, left_out))
}

/// What the vendor's certificates and keys are fetched through, where any are.
pub(super) fn route(app: &App, setup: &Setup) -> Result<Route> {
    if setup.rules()?.proofs.iter().any(Proof::needs_fetched_key) || setup.connection.mode == Mode::Live {
        return Ok(app.session(setup.connection.clone())?.route);
    }
    // Nothing of a sandbox is ever fetched from the vendor.
    Ok(Route::Sandbox(setup.local_url(0)?))
}

fn pusher<'a>(app: &'a App, opened: &Arc<Opened>, setup: &Setup) -> Pusher<'a> {
    Pusher::new(app, Arc::clone(opened), setup.name().clone(), setup.connector.clone())
}

type Asking<'a> = (Vec<Confirmer<'a>>, HashMap<ConnectionId, Arc<Notify>>);

/// Those who ask the vendors about events, and what wakes them.
fn confirmers<'a>(
    app: &'a App,
    opened: &Arc<Opened>,
    targets: &[Arc<Target>],
    wakes: &HashMap<ConnectionId, Arc<Notify>>,
    told: &mpsc::Sender<Seen>,
) -> Result<Asking<'a>> {
    let (mut confirmers, mut asks) = (Vec::new(), HashMap::new());
    for target in targets {
        let Some(rules) = &target.rules.confirm else { continue };
        let lock = queue::lock(app, "confirm", target.connection).map_err(|source| ListenError::Lock { source })?;
        let Some(lock) = lock else { continue };
        let came = Arc::new(Notify::new());
        asks.insert(target.connection, Arc::clone(&came));
        confirmers.push(Confirmer {
            app,
            target: Arc::clone(target),
            rules: rules.clone(),
            opened: Arc::clone(opened),
            came,
            wake: wakes.get(&target.connection).cloned(),
            told: told.clone(),
            _lock: lock,
        });
    }
    Ok((confirmers, asks))
}

fn receiver(app: &App, opened: &Arc<Opened>, targets: Vec<Arc<Target>>, is_filtered: bool) -> Result<Receiver> {
    let inbox = Inbox::start(Arc::clone(opened)).map_err(|source| ListenError::Inbox { source })?;
    let store = Arc::clone(opened);
    let now = app.clock.clone();
    let capture = move |target: &Target, secret: &crate::secret::Secret| {
        let now = now.now();
        let kept = store.store.webhooks().rotate_secret(target.connection, secret, now, now);
        kept.map_err(|error| error.to_string())
    };
    let (store, clock) = (Arc::clone(opened), app.clock.clone());
    let recall = move |target: &Target| read_again(&store, &clock, target);
    let http = http::Client::new(FETCH_TIMEOUT);
    Ok(Receiver::new(targets, inbox, app.clock.clone(), http, is_filtered, capture, recall))
}

/// Secrets and values that another process has put in force meanwhile, and secrets whose time is over.
fn read_again(opened: &Opened, clock: &Clock, target: &Target) {
    let Ok(Some(row)) = opened.store.webhooks().get(target.connection) else { return };
    let secrets = row.secrets(clock.now());
    let mut keys = target.keys.lock().unwrap_or_else(PoisonError::into_inner);
    if !secrets.is_empty() && keys.secrets != secrets {
        keys.secrets = secrets;
    }
    keys.values.extend(&row.params);
}

/// What of it is to be shown: a request's events as far as they are chosen.
fn chosen<'s>(choice: &Choice, targets: &[Arc<Target>], happened: &'s Seen) -> Option<Cow<'s, Seen>> {
    let Seen::Request(Outcome::Received { connection, events }) = happened else {
        return Some(Cow::Borrowed(happened));
    };
    if choice.kinds.is_empty() && choice.filter.is_none() {
        return Some(Cow::Borrowed(happened));
    }
    let target = targets.iter().find(|target| target.name == *connection);
    let admitted = |received: &&Received| {
        let source = target.zip(received.source.as_ref());
        let read = source.map(|(target, request)| payload(&target.rules, request, received.event.item.as_deref()));
        choice.admits(&EventView::received(connection, received, read.as_ref()).document())
    };
    let events: Vec<_> = events.iter().filter(admitted).cloned().collect();
    if events.is_empty() {
        return None;
    }
    Some(Cow::Owned(Seen::Request(Outcome::Received { connection: connection.clone(), events })))
}

impl Listener<'_> {
    /// Each connection with its address on this machine and the one that its vendor calls.
    ///
    /// # Errors
    /// What is no address.
    pub fn addresses(&self) -> Result<Vec<(ConnectionName, Url, Url)>> {
        let one = |setup: &Setup| Ok((setup.name().clone(), setup.local_url(self.port)?, setup.url(self.port)?));
        self.setups.iter().map(one).collect()
    }
}
