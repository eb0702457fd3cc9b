//! What is done with events: which of them are chosen, and the handlers that each is given to.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use url::Url;

use super::append::AppendHandler;
use super::event_view::EventView;
use super::exec::ExecHandler;
use super::forward::ForwardHandler;
use super::handler::{EventHandler, EventInput, HANDLER_TIMEOUT, HandleError, HandlerOutcome};
use super::sync::SyncHandler;
use crate::config::Config;
use crate::connector::WebhookDefinition;
use crate::http::HttpError;
use crate::jq::Expression;
use crate::model::{RawRequest, StoredEvent, matches_any_type};
use crate::signing::request::WebhookRequest;
use crate::sync::ingest::EventIngest;
use crate::webhook::inbound::body;
use crate::webhook::inbound::delivery::payload;
use crate::webhook::inbound::handler_responses::HandlerResponse;
use crate::webhook::simulate::send::WebhookSender;

/// What the user wants done, and with which events.
#[derive(Debug)]
pub struct Handlers {
    pub exec: Option<String>,
    pub forward: Option<Url>,
    pub append: Option<PathBuf>,
    /// What it tells of a stream goes into the store.
    pub sync: bool,
    /// What the command prints, or the receiver answers, is the answer to the service.
    pub returns_response: bool,
    pub selection: EventSelection,
    sender: Arc<WebhookSender>,
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
            append: None,
            sync: false,
            returns_response: false,
            selection: choice,
            sender: Arc::new(WebhookSender::new(config, HANDLER_TIMEOUT)),
        }
    }

    /// Whether no handler is set.
    pub fn is_empty(&self) -> bool {
        self.exec.is_none() && self.forward.is_none() && self.append.is_none() && !self.sync
    }

    /// The handlers of one connection, in the order in which an event is given to them. `ingest` takes its events into the
    /// synced records.
    pub(super) fn for_connection<'a>(self: &Arc<Self>, ingest: Option<EventIngest<'a>>) -> ConnectionHandlers<'a> {
        let mut handlers: Vec<Box<dyn EventHandler + 'a>> = Vec::new();
        // First, so that a program that is run finds its records in the store.
        if let Some(ingest) = ingest {
            handlers.push(Box::new(SyncHandler { ingest }));
        }
        if let Some(path) = &self.append {
            handlers.push(Box::new(AppendHandler { path: path.clone() }));
        }
        let returns_response = self.returns_response;
        if let Some(command) = &self.exec {
            handlers.push(Box::new(ExecHandler { command: command.clone(), returns_response }));
        }
        if let Some(url) = &self.forward {
            let sender = Arc::clone(&self.sender);
            handlers.push(Box::new(ForwardHandler { url: url.clone(), returns_response, sender }));
        }
        ConnectionHandlers { wanted: Arc::clone(self), handlers }
    }
}

/// The handlers of one connection.
pub(super) struct ConnectionHandlers<'a> {
    wanted: Arc<Handlers>,
    handlers: Vec<Box<dyn EventHandler + 'a>>,
}

/// What became of an event that did not fail.
#[derive(Debug)]
pub(super) enum HandleOutcome {
    /// With what is to be answered, where the user wants that.
    Done(Option<HandlerResponse>),
    /// Nobody listens where it is to be sent on: that is no failure of this event's. What else is to be done was done.
    Unreachable(HandleError),
    /// It is not one of those that the user wants.
    Filtered,
    /// The stream is being synced by another process: nothing was done yet.
    Deferred,
}

impl ConnectionHandlers<'_> {
    /// Does what is still to be done with an event. What was done is noted in `done`, so that a second attempt repeats none
    /// of it.
    ///
    /// # Errors
    /// [`HandleError`] of the first handler that failed; the others were tried.
    pub(super) async fn handle(
        &self,
        event: &StoredEvent,
        raw: &RawRequest,
        rules: &WebhookDefinition,
        done: &mut u32,
    ) -> Result<HandleOutcome, HandleError> {
        let request = WebhookRequest::from_raw(raw);
        let payload = payload(rules, &request, raw.batch_item.as_deref());
        let document = EventView::stored(event, Some(&payload)).document();
        if !self.wanted.selection.matches(&document) {
            return Ok(HandleOutcome::Filtered);
        }
        let exact = body::exact_json(rules, &request);
        let exact_json = exact.as_deref();
        let input = EventInput { event, raw, request: &request, payload: &payload, document: &document, exact_json };
        let (mut failed, mut unreachable, mut answer) = (None, None, None);
        for handler in &self.handlers {
            let bit = handler.step() as u32;
            if *done & bit != 0 {
                continue;
            }
            match handler.handle(&input).await {
                Ok(HandlerOutcome::Done(answered)) => {
                    answer = answered.or(answer.take());
                    *done |= bit;
                }
                Ok(HandlerOutcome::Deferred) => return Ok(HandleOutcome::Deferred),
                Err(error @ HandleError::Forward(HttpError::Connect { .. })) => unreachable = Some(error),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        match (failed, unreachable) {
            (Some(error), _) => Err(error),
            (None, Some(error)) => Ok(HandleOutcome::Unreachable(error)),
            (None, None) => Ok(HandleOutcome::Done(answer)),
        }
    }
}
