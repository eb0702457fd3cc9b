//! The filters and handlers for events.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use super::append::AppendHandler;
use super::event_view::EventView;
use super::exec::ExecHandler;
use super::forward::{ForwardHandler, is_reserved_header};
use super::handler::{
    EventHandler, EventInput, HANDLER_TIMEOUT, HandleError, HandlerOutcome, HandlerResult, completed_bit,
};
use super::mapped::map_event;
use super::sync::SyncHandler;
use crate::clock::{Clock, Stopwatch};
use crate::config::Config;
use crate::connector::WebhookDefinition;
use crate::consent;
use crate::error::on_one_line;
use crate::http::HttpError;
use crate::jq::Expression;
use crate::mapping::BoundMapper;
use crate::model::{Connection, ConsentPurpose, HandlerKind, HandlerRun, RawRequest, StoredEvent, matches_any_type};
use crate::runtime::Workspace;
use crate::signing::request::WebhookRequest;
use crate::sync::ingest::EventIngest;
use crate::webhook::inbound::body;
use crate::webhook::inbound::delivery::payload;
use crate::webhook::inbound::handler_responses::{HandlerResponse, ReplyMode};
use crate::webhook::inbound::target::ReceiveTarget;
use crate::webhook::simulate::send::WebhookSender;

/// What the user wants done, and with which events.
#[derive(Debug)]
pub struct Handlers {
    pub exec: Option<String>,
    pub forward: Option<Url>,
    /// Headers that requests get which are sent on.
    pub forward_headers: Arc<[(String, String)]>,
    pub append: Option<PathBuf>,
    /// Stores the record that the event contains.
    pub sync: bool,
    /// Whether what the command prints, or the receiver answers, is the answer to the service.
    pub replies: ReplyMode,
    /// Whether the events of a connection are handled one after another, in the order of arrival.
    pub order: HandlingOrder,
    pub selection: EventSelection,
    /// What maps events before handlers get them; the first one that is for an event.
    pub bindings: Vec<BoundMapper>,
    sender: Arc<WebhookSender>,
}

/// In which order the events of one connection are handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandlingOrder {
    /// Several at once, and one that fails holds up no other.
    #[default]
    Unordered,
    /// One after another, in the order of arrival: one that fails is handled again before those behind it.
    Arrival,
}

/// Which events are shown and handled; all where nothing is said.
#[derive(Debug, Default)]
pub struct EventSelection {
    pub types: Vec<String>,
    pub filter: Option<Expression>,
}

impl EventSelection {
    /// Whether an event's JSON is of a selected type, of which none means all, and passes the filter.
    pub fn matches(&self, event: &Value) -> bool {
        let kind = event["type"].as_str().unwrap_or_default();
        matches_any_type(&self.types, kind) && self.filter.as_ref().is_none_or(|filter| filter.matches(event))
    }
}

impl Handlers {
    /// Creates handlers of which none is set yet.
    pub fn new(config: &Config, choice: EventSelection) -> Self {
        Self {
            exec: None,
            forward: None,
            forward_headers: Arc::default(),
            append: None,
            sync: false,
            replies: ReplyMode::default(),
            order: HandlingOrder::default(),
            selection: choice,
            bindings: Vec::new(),
            sender: Arc::new(WebhookSender::new(config, HANDLER_TIMEOUT)),
        }
    }

    /// Whether no handler is set.
    pub fn is_empty(&self) -> bool {
        self.exec.is_none() && self.forward.is_none() && self.append.is_none() && !self.sync
    }

    /// Returns the handlers that are set, each with what it is given events for.
    pub fn targets(self: &Arc<Self>) -> Vec<(HandlerKind, String)> {
        let mut targets = Vec::new();
        if self.sync {
            targets.push((HandlerKind::Sync, super::sync::TARGET.to_owned()));
        }
        let others = self.for_connection(None).handlers;
        targets.extend(others.iter().map(|handler| (handler.kind(), handler.target())));
        targets
    }

    /// The first of the headers to add that no request of this connector may get.
    pub(in crate::webhook) fn reserved_header(&self, rules: &WebhookDefinition) -> Option<&str> {
        self.forward_headers.iter().map(|(name, _)| name.as_str()).find(|name| is_reserved_header(name, rules))
    }

    /// The handlers of one connection, in the order in which an event is given to them. `ingest` takes its events into the
    /// synced records.
    pub(super) fn for_connection<'a>(self: &Arc<Self>, ingest: Option<EventIngest<'a>>) -> ConnectionHandlers<'a> {
        let mut handlers: Vec<Box<dyn EventHandler + 'a>> = Vec::new();
        // First, so that a program that is run finds its records in the store.
        if let Some(ingest) = ingest {
            handlers.push(Box::new(SyncHandler { ingest, turn: Mutex::default() }));
        }
        if let Some(path) = &self.append {
            handlers.push(Box::new(AppendHandler { path: path.clone() }));
        }
        if let Some(command) = &self.exec {
            handlers.push(Box::new(ExecHandler { command: command.clone() }));
        }
        if let Some(url) = &self.forward {
            let (sender, headers) = (Arc::clone(&self.sender), Arc::clone(&self.forward_headers));
            handlers.push(Box::new(ForwardHandler { url: url.clone(), headers, sender }));
        }
        ConnectionHandlers { wanted: Arc::clone(self), handlers, subject: None }
    }
}

/// The handlers of one connection.
pub(super) struct ConnectionHandlers<'a> {
    wanted: Arc<Handlers>,
    handlers: Vec<Box<dyn EventHandler + 'a>>,
    /// The connection, if it has a user whose consent counts.
    subject: Option<(&'a Workspace, Connection)>,
}

/// What became of an event that did not fail.
#[derive(Debug)]
pub(super) enum HandleOutcome {
    /// With what is to be answered, where the user wants that.
    Done(Option<HandlerResponse>),
    /// Nothing listens at the forwarding target, which is not a failure of this event. The other handlers have completed.
    Unreachable(HandleError),
    /// It is not one of those that the user wants.
    Filtered,
    /// The stream is being synced by another process: nothing was done yet.
    Deferred,
}

/// What became of an event, and what each handler did.
#[derive(Debug)]
pub(super) struct HandledBy {
    pub(super) result: Result<HandleOutcome, HandleError>,
    /// Those that have done with it, as a set of bits.
    pub(super) completed: u32,
    /// Each that ran, with what it was given the event for.
    pub(super) runs: Vec<(HandlerRun, String)>,
}

impl<'a> ConnectionHandlers<'a> {
    /// Checks before each event that the connection's user allows what handlers do with it.
    pub(super) fn with_consent_of(self, workspace: &'a Workspace, connection: Connection) -> Self {
        Self { subject: Some((workspace, connection)), ..self }
    }

    async fn ensure_consent(&self, purpose: &ConsentPurpose) -> Result<(), HandleError> {
        let Some((workspace, connection)) = &self.subject else { return Ok(()) };
        let checked = consent::ensure(workspace, connection, purpose).await;
        checked.map_err(|error| HandleError::Consent(error.on_one_line()))
    }

    /// Gives an event to a handler, if the connection's user allows it.
    async fn give(&self, handler: &dyn EventHandler, input: &EventInput<'_>) -> HandlerResult {
        let purpose = match handler.kind() {
            HandlerKind::Sync => ConsentPurpose::Sync,
            HandlerKind::Append | HandlerKind::Exec | HandlerKind::Forward => ConsentPurpose::Deliver,
        };
        match self.ensure_consent(&purpose).await {
            Ok(()) => handler.handle(input).await,
            Err(error) => Err(error).into(),
        }
    }

    /// Does what is still to be done with an event: what is in `completed` was done by an earlier attempt. A handler that
    /// fails keeps no other from its work, and the error is that of the first that failed.
    pub(super) async fn handle(
        &self,
        (event, raw): (&StoredEvent, &RawRequest),
        target: &ReceiveTarget,
        mut completed: u32,
        wants_response: bool,
        clock: &Clock,
    ) -> HandledBy {
        let (rules, keys) = (&target.rules, target.signing_context());
        let request = WebhookRequest::from_raw(raw);
        let payload = payload(rules, &request, raw.batch_item.as_deref());
        let document = EventView::stored(event, Some(&payload)).document();
        let (mut runs, attempt) = (Vec::new(), event.attempts.saturating_add(1));
        if !self.wanted.selection.matches(&document) {
            return HandledBy { result: Ok(HandleOutcome::Filtered), completed, runs };
        }
        if let Err(error) = self.ensure_consent(&ConsentPurpose::Webhooks).await {
            return HandledBy { result: Err(error), completed, runs };
        }
        let exact = body::exact_json(rules, &request);
        let mapped = map_event(&self.wanted.bindings, target, event, raw, clock.now()).await;
        let input = EventInput {
            event,
            raw,
            request: &request,
            payload: &payload,
            document: &document,
            exact_json: exact.as_deref(),
            mapped: None,
            rules,
            keys: &keys,
            now: clock.now(),
            wants_response,
        };
        let mapped_input = mapped.as_ref().ok().and_then(Option::as_ref).map(|mapped| mapped.input(&input));
        let (mut failed, mut unreachable, mut answer) = (None, None, None);
        for handler in &self.handlers {
            let bit = completed_bit(handler.kind());
            // Synced records keep the service's own shape.
            let is_mapped = handler.kind() != HandlerKind::Sync;
            if completed & bit != 0 {
                continue;
            }
            if let (true, Err(error)) = (is_mapped, &mapped) {
                runs.push((unmapped_run(handler.kind(), attempt, error, clock), handler.target()));
                continue;
            }
            let given = mapped_input.as_ref().filter(|_| is_mapped).unwrap_or(&input);
            let (started_at, stopwatch) = (clock.now_millis(), Stopwatch::start());
            let HandlerResult { outcome, status, output } = self.give(&**handler, given).await;
            let error = outcome.as_ref().err().map(|error| on_one_line(error));
            match outcome {
                Ok(HandlerOutcome::Done(answered)) => {
                    answer = answered.or(answer.take());
                    completed |= bit;
                }
                Ok(HandlerOutcome::Covered) => {
                    completed |= bit;
                    continue;
                }
                Ok(HandlerOutcome::Deferred) => {
                    return HandledBy { result: Ok(HandleOutcome::Deferred), completed, runs };
                }
                Err(error @ HandleError::Forward(HttpError::Connect { .. })) => unreachable = Some(error),
                Err(error) => _ = failed.get_or_insert(error),
            }
            let (handler, target) = (handler.kind(), handler.target());
            let duration = stopwatch.elapsed();
            runs.push((HandlerRun { handler, attempt, started_at, duration, status, error, output }, target));
        }
        let failed = failed.or(mapped.err());
        let result = match (failed, unreachable) {
            (Some(error), _) => Err(error),
            (None, Some(error)) => Ok(HandleOutcome::Unreachable(error)),
            (None, None) => Ok(HandleOutcome::Done(answer)),
        };
        HandledBy { result, completed, runs }
    }
}

/// The run of a handler that got nothing, because the binding failed.
fn unmapped_run(handler: HandlerKind, attempt: u32, error: &HandleError, clock: &Clock) -> HandlerRun {
    let (started_at, error) = (clock.now_millis(), Some(on_one_line(error)));
    HandlerRun { handler, attempt, started_at, duration: Duration::ZERO, status: None, error, output: Vec::new() }
}
