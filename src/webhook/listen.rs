//! Receiving in the foreground: a port, the work on the events that come by it, and what there is to see of both.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use thiserror::Error;
use tokio::sync::oneshot;
use url::Url;

use super::feed::{ActivityFeed, ActivityReader, ListenEvent};
use super::handle::confirm::Confirming;
use super::handle::dispatch::Dispatching;
use super::handle::event_view::EventView;
use super::handle::workers::ConnectionWorkers;
use super::handle::{EventSelection, Handlers};
use super::inbound::outcome::{ReceiveOutcome, ReceivedEvent};
use super::inbound::receiver::Receiver;
use super::inbound::registry::TargetRegistry;
use super::inbound::server::{bind, port_of, serve};
use super::settings::WebhookSettings;
use super::targets::{SkippedConnection, TargetLoader, load_settings};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::http;
use crate::http::loopback::BindError;
use crate::http::serve::Server;
use crate::model::ConnectionName;
use crate::runtime::Workspace;
use crate::runtime::worker::{RunUntil, WorkerSet};

/// How long requests may still take to be answered at the end. The workers' time begins after it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What is fetched from a vendor to judge by comes within this, or the request is refused.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// What the user wants of it.
#[derive(Debug)]
pub struct ListenOptions {
    /// All that can receive where none is named, also those that are connected later.
    pub connections: Vec<ConnectionName>,
    pub port: u16,
    /// A further address of this machine to listen on.
    pub bind: Option<IpAddr>,
    pub public_url: Option<String>,
    pub handlers: Arc<Handlers>,
    pub max_attempts: u32,
    /// Whether events that nothing handles here stay pending for the next listener.
    pub leaves_events_pending: bool,
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

/// A port that is open, and everything behind it. The parts share the registry of connections and borrow nothing from each
/// other.
pub struct WebhookListener<'a> {
    pub settings: Vec<WebhookSettings>,
    /// Those that were left out, and why.
    pub skipped: Vec<SkippedConnection>,
    /// Connections whose events another process handles.
    pub handled_elsewhere: Vec<ConnectionName>,
    pub port: u16,
    workspace: &'a Workspace,
    handlers: Arc<Handlers>,
    server: Server,
    reader: ActivityReader,
    targets: TargetLoader<'a>,
    dispatchers: ConnectionWorkers<'a, Dispatching<'a>>,
    confirmers: ConnectionWorkers<'a, Confirming<'a>>,
}

impl<'a> WebhookListener<'a> {
    /// Opens the port. Must be called inside the runtime.
    ///
    /// # Errors
    /// [`ListenError`], and what stops a connection that was named from receiving.
    pub async fn start(workspace: &'a Workspace, options: &ListenOptions) -> Result<Self> {
        let (mut settings, mut skipped) = load_settings(workspace, &options.connections).await?;
        if settings.is_empty() {
            return Err(skipped.pop().map_or_else(|| ListenError::NoConnections.into(), |(_, error)| error));
        }
        // Tunnels are started with a port alone, and lead to `localhost`.
        let listeners = bind(options.bind, options.port).map_err(ListenError::Bind)?;
        let unusable = |source| ListenError::Port { port: options.port, source };
        let port = port_of(&listeners).map_err(unusable)?;
        let (handlers, registry) = (Arc::clone(&options.handlers), Arc::new(TargetRegistry::default()));
        let mut targets = TargetLoader {
            workspace,
            registry: Arc::clone(&registry),
            names: options.connections.clone(),
            port,
            public_url: options.public_url.clone(),
            // Events that arrive while a subscription is made are left to the next listener.
            has_handlers: !handlers.is_empty() || options.leaves_events_pending,
            known: HashMap::new(),
        };
        targets.add(&mut settings).await?;
        let (feed, reader) = ActivityFeed::new();
        let answers = (!handlers.is_empty() && handlers.returns_response).then(Arc::default);
        let dispatching = Dispatching {
            workspace,
            handlers: Arc::clone(&handlers),
            max_attempts: options.max_attempts,
            feed: Arc::clone(&feed),
            answers: answers.clone(),
        };
        let mut dispatchers = ConnectionWorkers::new(dispatching, workspace, Arc::clone(&registry));
        let handled_elsewhere = dispatchers.follow().await?;
        let confirming = Confirming { workspace, feed: Arc::clone(&feed) };
        let mut confirmers = ConnectionWorkers::new(confirming, workspace, Arc::clone(&registry));
        confirmers.follow().await?;
        let receiver = Receiver::new(
            Arc::clone(&registry),
            workspace.engine.clock.clone(),
            http::Client::new(FETCH_TIMEOUT),
            handlers.selection.filter.is_some(),
        );
        let server = serve(listeners, receiver, feed, answers).map_err(unusable)?;
        Ok(Self {
            settings,
            skipped,
            handled_elsewhere,
            port,
            workspace,
            handlers,
            server,
            reader,
            targets,
            dispatchers,
            confirmers,
        })
    }

    /// Receives until `stop`, with `workers` beside its own, then ends in order: what is being answered is answered, what is
    /// being handled is handled.
    ///
    /// # Errors
    /// A worker's, if the vault is damaged: nothing can be received then.
    pub async fn run(
        self,
        mut workers: WorkerSet<'a>,
        stop: impl Future<Output = ()>,
        mut show_event: impl FnMut(&ListenEvent),
    ) -> Result<()> {
        let Self { workspace, handlers, server, mut reader, targets, dispatchers, confirmers, .. } = self;
        let mut show = |event: &ListenEvent| {
            if let Some(selected) = select_events(&handlers.selection, event) {
                show_event(&selected);
            }
        };
        workers.add(workspace, targets);
        workers.add(workspace, dispatchers);
        workers.add(workspace, confirmers);
        let (closed, stop_workers) = oneshot::channel::<()>();
        let closing = async move {
            stop.await;
            // Handlers go on meanwhile: an answer may wait for one.
            server.finish(ANSWER_TIMEOUT).await;
            drop(closed);
        };
        let working = workers.run(RunUntil::Stopped, stop_workers.map(|_| ()));
        let (mut closing, mut working) = (pin!(closing.fuse()), pin!(working));
        let ends = loop {
            tokio::select! {
                event = reader.next() => show(&event),
                () = &mut closing => {}
                ends = &mut working => break ends,
            }
        };
        reader.drain().iter().for_each(show);
        ends.into_iter().try_for_each(|end| end.result)
    }

    /// Each connection with its address on this machine and the one that its vendor calls.
    ///
    /// # Errors
    /// What is no address.
    pub fn urls(&self) -> Result<Vec<(ConnectionName, Url, Url)>> {
        let urls = |settings: &WebhookSettings| {
            Ok((settings.name().clone(), settings.local_url(self.port)?, settings.url(self.port)?))
        };
        self.settings.iter().map(urls).collect()
    }
}

/// What of it is to be shown: a request's events as far as they are chosen.
fn select_events<'e>(selection: &EventSelection, event: &'e ListenEvent) -> Option<Cow<'e, ListenEvent>> {
    let ListenEvent::Request(ReceiveOutcome::Received { connection, events }) = event else {
        return Some(Cow::Borrowed(event));
    };
    if selection.types.is_empty() && selection.filter.is_none() {
        return Some(Cow::Borrowed(event));
    }
    let is_selected = |received: &&ReceivedEvent| {
        let payload = received.source.as_ref().map(|source| source.payload(received.event.batch_item.as_deref()));
        selection.matches(&EventView::received(connection, received, payload.as_ref()).document())
    };
    let events: Vec<_> = events.iter().filter(is_selected).cloned().collect();
    if events.is_empty() {
        return None;
    }
    Some(Cow::Owned(ListenEvent::Request(ReceiveOutcome::Received { connection: connection.clone(), events })))
}
