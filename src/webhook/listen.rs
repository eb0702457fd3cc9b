//! Receives webhooks: the processing of requests and events, and, for `integ webhook listen`, a port of its own.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use thiserror::Error;
use tokio::sync::oneshot;

use super::feed::{ActivityFeed, ActivityReader, ListenEvent};
use super::handle::confirm::Confirming;
use super::handle::dispatch::Dispatching;
use super::handle::event_view::EventView;
use super::handle::workers::ConnectionWorkers;
use super::handle::{EventSelection, Handlers};
use super::inbound::handler_responses::{HandlerResponses, ReplyMode};
use super::inbound::outcome::{ReceiveOutcome, ReceivedEvent};
use super::inbound::receiver::Receiver;
use super::inbound::registry::TargetRegistry;
use super::inbound::server::{WebhookHandler, bind, port_of};
use super::poll::Polling;
use super::settings::{ReceiveAddress, WebhookSettings};
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
    /// How often the logs of vendors are polled for events; absent for never.
    pub poll: Option<Duration>,
    /// Whether events that nothing handles here stay pending for the next listener.
    pub leaves_events_pending: bool,
}

/// Why receiving webhooks cannot start.
#[derive(Debug, Error)]
pub enum ListenError {
    #[error("no connection can receive webhooks")]
    NoConnections,
    #[error("{connection} has no log of deliveries that integ can poll")]
    NothingToPoll { connection: ConnectionName },
    #[error(
        "the header {name:?} of {connector} cannot be replaced: it belongs to the connection, the body or the signature"
    )]
    ReservedHeader { name: String, connector: String },
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
            Self::NothingToPoll { connection } => Diagnostic::new(Kind::Usage, "poll_unsupported")
                .hint(Hint::new("the service sends its events to a URL:", format!("integ webhook url {connection}"))),
            Self::ReservedHeader { .. } => Diagnostic::new(Kind::Usage, "reserved_header"),
            Self::Bind(_) | Self::Port { .. } => Diagnostic::new(Kind::Failed, "port_in_use")
                .hint(Hint::new("use any free port:", "integ webhook listen --port 0")),
        }
    }
}

/// What receives and handles the webhooks of a workspace, without the port. The parts share the registry of connections
/// and borrow nothing from each other.
pub struct WebhookService<'a> {
    pub settings: Vec<WebhookSettings>,
    /// Those that were left out, and why.
    pub skipped: Vec<SkippedConnection>,
    /// Connections with events that another process handles.
    pub handled_elsewhere: Vec<ConnectionName>,
    /// Connections whose vendors are to be polled and have no log of deliveries.
    pub not_polled: Vec<ConnectionName>,
    workspace: &'a Workspace,
    handlers: Arc<Handlers>,
    requests: Arc<WebhookHandler>,
    reader: ActivityReader,
    targets: TargetLoader<'a>,
    dispatchers: ConnectionWorkers<'a, Dispatching<'a>>,
    confirmers: ConnectionWorkers<'a, Confirming<'a>>,
    pollers: Option<ConnectionWorkers<'a, Polling<'a>>>,
}

impl<'a> WebhookService<'a> {
    /// Prepares to receive the webhooks of a workspace's connections on a port, also of those that are connected later.
    /// Must be called inside the runtime.
    ///
    /// # Errors
    /// [`ListenError`], and what stops a connection that was named from receiving.
    pub async fn start(workspace: &'a Workspace, options: &ListenOptions, port: u16) -> Result<Self> {
        let loaded = load_settings(workspace, &options.connections).await?;
        Self::with_settings(workspace, options, loaded, port).await
    }

    async fn with_settings(
        workspace: &'a Workspace,
        options: &ListenOptions,
        (mut settings, skipped): (Vec<WebhookSettings>, Vec<SkippedConnection>),
        port: u16,
    ) -> Result<Self> {
        let not_polled = check_options(options, &settings)?;
        let (handlers, registry) = (Arc::clone(&options.handlers), Arc::new(TargetRegistry::default()));
        let (feed, reader) = ActivityFeed::new();
        let mut targets = TargetLoader {
            workspace,
            feed: Arc::clone(&feed),
            registry: Arc::clone(&registry),
            names: options.connections.clone(),
            port,
            public_url: options.public_url.clone(),
            // Events that arrive while a subscription is made are left to the next listener.
            has_handlers: !handlers.is_empty() || options.leaves_events_pending,
            known: HashMap::new(),
            declared: HashMap::new(),
        };
        targets.add(&mut settings).await?;
        let answers = !handlers.is_empty() && handlers.replies != ReplyMode::None;
        let answers = answers.then(|| Arc::new(HandlerResponses::new(handlers.replies)));
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
        let is_filtered = handlers.selection.filter.is_some();
        let polling =
            options.poll.map(|interval| Polling { workspace, feed: Arc::clone(&feed), interval, is_filtered });
        let mut pollers = polling.map(|polling| ConnectionWorkers::new(polling, workspace, Arc::clone(&registry)));
        if let Some(pollers) = &mut pollers {
            pollers.follow().await?;
        }
        let receiver = Receiver::new(
            Arc::clone(&registry),
            workspace.clock.clone(),
            http::Client::new(FETCH_TIMEOUT),
            is_filtered,
        );
        Ok(Self {
            settings,
            skipped,
            handled_elsewhere,
            not_polled,
            workspace,
            handlers,
            requests: Arc::new(WebhookHandler::new(receiver, feed, answers)),
            reader,
            targets,
            dispatchers,
            confirmers,
            pollers,
        })
    }

    /// Returns what answers the requests to its webhook URLs.
    pub fn requests(&self) -> Arc<WebhookHandler> {
        Arc::clone(&self.requests)
    }

    /// Gives its workers to `workers`, and returns what shows its events.
    pub fn start_workers(self, workers: &mut WorkerSet<'a>) -> EventDisplay {
        let Self { workspace, handlers, reader, targets, dispatchers, confirmers, pollers, .. } = self;
        workers.add(workspace, targets);
        workers.add(workspace, dispatchers);
        workers.add(workspace, confirmers);
        if let Some(pollers) = pollers {
            workers.add(workspace, pollers);
        }
        EventDisplay { handlers, reader }
    }
}

/// The events of a service that are to be shown.
pub struct EventDisplay {
    handlers: Arc<Handlers>,
    reader: ActivityReader,
}

impl EventDisplay {
    /// Waits for the next event and shows it, if it is one of those that were chosen.
    pub async fn show_next(&mut self, show: &mut (impl FnMut(&ListenEvent) + ?Sized)) {
        let event = self.reader.next().await;
        self.show(&event, show);
    }

    /// Shows the events that are left once the workers have ended.
    pub fn show_rest(&mut self, show: &mut (impl FnMut(&ListenEvent) + ?Sized)) {
        for event in self.reader.drain() {
            self.show(&event, show);
        }
    }

    fn show(&self, event: &ListenEvent, show: &mut (impl FnMut(&ListenEvent) + ?Sized)) {
        if let Some(selected) = select_events(&self.handlers.selection, event) {
            show(&selected);
        }
    }
}

/// A port that is open, and the service behind it.
pub struct WebhookListener<'a> {
    pub service: WebhookService<'a>,
    pub port: u16,
    server: Server,
}

impl<'a> WebhookListener<'a> {
    /// Opens the port. Must be called inside the runtime.
    ///
    /// # Errors
    /// [`ListenError`], and what stops a connection that was named from receiving.
    pub async fn start(workspace: &'a Workspace, options: &ListenOptions) -> Result<Self> {
        let (settings, mut skipped) = load_settings(workspace, &options.connections).await?;
        if settings.is_empty() {
            return Err(skipped.pop().map_or_else(|| ListenError::NoConnections.into(), |(_, error)| error));
        }
        check_options(options, &settings)?;
        // Tunnels are started with a port alone, and lead to `localhost`.
        let listeners = bind(options.bind, options.port).map_err(ListenError::Bind)?;
        let unusable = |source| ListenError::Port { port: options.port, source };
        let port = port_of(&listeners).map_err(unusable)?;
        let service = WebhookService::with_settings(workspace, options, (settings, skipped), port).await?;
        let server = Server::start_public(listeners, service.requests()).map_err(unusable)?;
        Ok(Self { service, port, server })
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
        let Self { service, server, .. } = self;
        let mut display = service.start_workers(&mut workers);
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
                () = display.show_next(&mut show_event) => {}
                () = &mut closing => {}
                ends = &mut working => break ends,
            }
        };
        display.show_rest(&mut show_event);
        ends.into_iter().try_for_each(|end| end.result)
    }

    /// Returns the addresses of each connection.
    ///
    /// # Errors
    /// What is not an address.
    pub fn addresses(&self) -> Result<Vec<ReceiveAddress>> {
        self.service.settings.iter().map(|settings| Ok(settings.address(self.port)?)).collect()
    }
}

/// Checks what can be checked before anything begins. Returns the connections that cannot be polled.
fn check_options(options: &ListenOptions, settings: &[WebhookSettings]) -> Result<Vec<ConnectionName>, ListenError> {
    let rules = || settings.iter().filter_map(|settings| Some((settings, settings.connector.webhook.as_ref()?)));
    for (settings, rules) in rules() {
        if let Some(name) = options.handlers.reserved_header(rules) {
            let (name, connector) = (name.to_owned(), settings.connector.id.clone());
            return Err(ListenError::ReservedHeader { name, connector });
        }
    }
    if options.poll.is_none() {
        return Ok(Vec::new());
    }
    let without: Vec<&WebhookSettings> =
        rules().filter(|(_, rules)| rules.backfill.is_none()).map(|(settings, _)| settings).collect();
    match without.first() {
        Some(first) if without.len() == settings.len() => {
            Err(ListenError::NothingToPoll { connection: first.name().clone() })
        }
        _ => Ok(without.iter().map(|settings| settings.name().clone()).collect()),
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
