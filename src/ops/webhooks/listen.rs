//! Receives webhooks until it is stopped.

use crate::error::Result;
use crate::model::{ConnectionName, HandlerKind, matches_type};
use crate::near::closest;
use crate::runtime::Workspace;
use crate::runtime::worker::WorkerSet;
use crate::view::listen::ListenEventView;
use crate::webhook::feed::ListenEvent;
use crate::webhook::inbound::outcome::ReceiveOutcome;
use crate::webhook::listen::{ListenOptions, WebhookListener};
use crate::webhook::settings::ReceiveAddress;
use crate::webhook::targets::SkippedConnection;
use crate::worker::retention::{RetentionScope, RetentionWorker};
use crate::worker::subscriptions::SubscriptionWorker;

/// A requested event type that no connector knows.
#[derive(Debug)]
pub struct UnknownEventType {
    pub kind: String,
    /// A known type with a similar name.
    pub suggestion: Option<String>,
}

/// A started listener: its connections and handlers.
#[derive(Debug)]
pub struct ListenStarted {
    pub urls: Vec<ReceiveAddress>,
    /// The handlers, each with its URL, command or file.
    pub handlers: Vec<(HandlerKind, String)>,
    /// Connections that cannot receive, and why.
    pub skipped: Vec<SkippedConnection>,
    /// Connections with events that another process handles.
    pub handled_elsewhere: Vec<ConnectionName>,
    /// Connections whose vendors are to be polled and have no log of deliveries.
    pub not_polled: Vec<ConnectionName>,
    /// Event types that would never be handled.
    pub unknown_types: Vec<UnknownEventType>,
    /// The connector of the first connection.
    pub first_connector: String,
}

impl ListenStarted {
    /// The first of the listener's events. It reveals the signing secrets only to those who may see them.
    pub fn view(&self, with_secrets: bool) -> ListenEventView {
        let urls = self.urls.iter().map(|url| (url.connection.to_string(), url.local.to_string())).collect();
        let secret = |url: &ReceiveAddress| Some((url.connection.to_string(), url.secret.as_ref()?.expose().clone()));
        let secrets = with_secrets.then(|| self.urls.iter().filter_map(secret).collect());
        let handlers = self.handlers.iter().map(|(kind, target)| (kind.as_str(), target.clone())).collect();
        ListenEventView::Listening { urls, handlers, secrets }
    }
}

/// Sees what a listener does.
pub trait ListenObserver {
    /// The port is open.
    ///
    /// # Errors
    /// An error ends the listener.
    fn started(&self, started: &ListenStarted) -> Result<()>;

    /// Whether the observer may see signing secrets.
    fn reveals_secrets(&self) -> bool;

    /// A request or event was received, rejected or handled.
    fn happened(&self, event: ListenEventView);
}

/// Receives the webhooks of connections until `stop` ends, and handles their events. Meanwhile, subscriptions are
/// renewed and old events are removed. Requests and handlers in progress are finished before it returns.
///
/// # Errors
/// [`crate::webhook::listen::ListenError`], errors that keep a named connection from receiving, and a damaged vault.
pub async fn listen(
    workspace: &Workspace,
    options: &ListenOptions,
    observer: &impl ListenObserver,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let mut listener = WebhookListener::start(workspace, options).await?;
    let started = ListenStarted {
        urls: listener.addresses()?,
        handlers: options.handlers.targets(),
        skipped: std::mem::take(&mut listener.service.skipped),
        handled_elsewhere: std::mem::take(&mut listener.service.handled_elsewhere),
        not_polled: std::mem::take(&mut listener.service.not_polled),
        unknown_types: unknown_types(&listener, &options.handlers.selection.types),
        first_connector: listener
            .service
            .settings
            .first()
            .map(|settings| settings.connector.id.clone())
            .unwrap_or_default(),
    };
    observer.started(&started)?;
    let workers = maintenance(workspace, &listener, options);
    listener.run(workers, stop, |event| report(event, observer)).await
}

/// The workers for the connections of a listener.
fn maintenance<'a>(workspace: &'a Workspace, listener: &WebhookListener<'_>, options: &ListenOptions) -> WorkerSet<'a> {
    let named = (!options.connections.is_empty())
        .then(|| listener.service.settings.iter().map(|settings| settings.connection.id).collect::<Vec<_>>());
    let mut workers = WorkerSet::new();
    workers.add(workspace, SubscriptionWorker::logging(workspace, named.clone()));
    workers.add(workspace, RetentionWorker::new(workspace, RetentionScope::Events(named)));
    workers
}

fn report(event: &ListenEvent, observer: &impl ListenObserver) {
    if let ListenEvent::Request(ReceiveOutcome::NotStored { connection, error }) = event {
        tracing::warn!("an event of {connection} could not be stored and was answered with 503: {error}");
    }
    ListenEventView::list(event, observer.reveals_secrets()).into_iter().for_each(|event| observer.happened(event));
}

/// Types of a service that leaves them to its users are not known, so that of those only a likely slip is named.
fn unknown_types(listener: &WebhookListener<'_>, wanted: &[String]) -> Vec<UnknownEventType> {
    let connectors = || listener.service.settings.iter().map(|settings| &settings.connector);
    let known: Vec<&str> = connectors().flat_map(|connector| connector.events.keys().map(String::as_str)).collect();
    let is_open = connectors().any(|connector| connector.actions.values().any(|action| action.anonymous));
    let unknown = wanted.iter().filter(|kind| !known.iter().any(|known| matches_type(kind, known)));
    unknown
        .map(|kind| {
            let other = known.iter().copied().filter(|known| !wanted.iter().any(|wanted| wanted == known));
            UnknownEventType { kind: kind.clone(), suggestion: closest(kind, other).map(str::to_owned) }
        })
        .filter(|unknown| unknown.suggestion.is_some() || !is_open)
        .collect()
}
