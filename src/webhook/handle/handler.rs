//! Handlers: each does one thing with an event.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::connector::WebhookDefinition;
use crate::http::HttpError;
use crate::model::{BindingName, HandlerKind, RawRequest, StoredEvent};
use crate::program::ProgramError;
use crate::signing::request::WebhookRequest;
use crate::signing::verify::SigningContext;
use crate::webhook::inbound::handler_responses::HandlerResponse;

/// How long a handler may take over one event.
pub(super) const HANDLER_TIMEOUT: Duration = Duration::from_secs(30);

/// Does one thing with each event.
#[async_trait]
pub(super) trait EventHandler: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> HandlerKind;

    /// What it is given events for: a URL, a command, a file.
    fn target(&self) -> String;

    /// Does it with one event.
    async fn handle(&self, input: &EventInput<'_>) -> HandlerResult;
}

/// Returns a handler's bit in the set that is stored of an event.
pub(super) const fn completed_bit(handler: HandlerKind) -> u32 {
    match handler {
        HandlerKind::Append => 1,
        HandlerKind::Exec => 2,
        HandlerKind::Forward => 4,
        HandlerKind::Sync => 8,
    }
}

/// An event with everything that handlers read of it.
pub(super) struct EventInput<'e> {
    pub(super) event: &'e StoredEvent,
    pub(super) raw: &'e RawRequest,
    pub(super) request: &'e WebhookRequest,
    pub(super) payload: &'e Value,
    /// The event as programs see it.
    pub(super) document: &'e Value,
    /// The payload letter by letter, if the whole body is JSON.
    pub(super) exact_json: Option<&'e str>,
    /// What a binding made of the payload, which handlers are given in its place.
    pub(super) mapped: Option<&'e str>,
    /// What the connector's file says of webhooks.
    pub(super) rules: &'e WebhookDefinition,
    /// What the request can be signed with again.
    pub(super) keys: &'e SigningContext,
    pub(super) now: Timestamp,
    /// Whether the service waits for what the handler answers.
    pub(super) wants_response: bool,
}

/// The result of one handler's work.
#[derive(Debug)]
pub(super) struct HandlerResult {
    pub(super) outcome: Result<HandlerOutcome, HandleError>,
    /// The HTTP status of the answer, or the command's exit code.
    pub(super) status: Option<i32>,
    /// The first bytes of what was answered or printed.
    pub(super) output: Vec<u8>,
}

impl From<Result<HandlerOutcome, HandleError>> for HandlerResult {
    fn from(outcome: Result<HandlerOutcome, HandleError>) -> Self {
        Self { outcome, status: None, output: Vec::new() }
    }
}

/// What a handler that did not fail has done.
#[derive(Debug)]
pub(super) enum HandlerOutcome {
    /// With what is to be answered, if the service waits for that.
    Done(Option<HandlerResponse>),
    /// It had nothing to do: another event of the same request was handled for all of them.
    Covered,
    /// Nothing yet: another process is doing something that must end first.
    Deferred,
}

/// An error of one handler of an event.
#[derive(Debug, Error)]
pub enum HandleError {
    #[error("cannot write {}", path.display())]
    Append { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Exec(#[from] ProgramError),
    #[error("{url} answered {status}")]
    Status { url: String, status: u16 },
    #[error(transparent)]
    Forward(#[from] HttpError),
    #[error("{0}")]
    Sync(String),
    /// The connection's user does not allow it.
    #[error("{0}")]
    Consent(String),
    #[error("binding {name} cannot map the event: {reason}")]
    Binding { name: BindingName, reason: String },
}
