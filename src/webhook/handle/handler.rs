//! What one handler is: it gets an event and does one thing with it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use thiserror::Error;

use crate::http::HttpError;
use crate::model::{RawRequest, StoredEvent};
use crate::program::ProgramError;
use crate::signing::request::WebhookRequest;
use crate::webhook::inbound::handler_responses::HandlerResponse;

/// How long a handler may take over one event.
pub(super) const HANDLER_TIMEOUT: Duration = Duration::from_secs(30);

/// Does one thing with each event.
#[async_trait]
pub(super) trait EventHandler: Send + Sync {
    /// Which one it is.
    fn step(&self) -> HandlerStep;

    /// Does it with one event.
    async fn handle(&self, input: &EventInput<'_>) -> Result<HandlerOutcome, HandleError>;
}

/// One of the handlers; the number is its bit in what is stored of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandlerStep {
    Append = 1,
    Exec = 2,
    Forward = 4,
    Sync = 8,
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
}

/// What a handler that did not fail has done.
#[derive(Debug)]
pub(super) enum HandlerOutcome {
    /// With what is to be answered, if the user wants that.
    Done(Option<HandlerResponse>),
    /// Nothing yet: another process is doing something that must end first.
    Deferred,
}

/// An error of one handler of an event.
#[derive(Debug, Error)]
pub enum HandleError {
    #[error("{} cannot be written", path.display())]
    Append { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Exec(#[from] ProgramError),
    #[error("{url} answered with status {status}")]
    Status { url: String, status: u16 },
    #[error(transparent)]
    Forward(#[from] HttpError),
    #[error("{0}")]
    Sync(String),
}
