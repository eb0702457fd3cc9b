//! What is done with an event: what it tells is synced, a line written, a program run, a request sent on.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;
use url::Url;

use super::event_view::EventView;
use crate::config::Config;
use crate::connector::WebhookDefinition;
use crate::http::HttpError;
use crate::jq::Expression;
use crate::json;
use crate::model::{RawRequest, StoredEvent, matches_type};
use crate::program::{self, ProgramError};
use crate::signing::request::WebhookRequest;
use crate::sync::ingest::{EventIngest, IngestResult};
use crate::webhook::inbound::body::{self, Content};
use crate::webhook::inbound::handler_responses::HandlerResponse;
use crate::webhook::inbound::receiver::payload;
use crate::webhook::simulate::send::WebhookSender;

/// How long a handler may take over one event.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of what a command prints that can be an answer.
const MAX_OUTPUT_BYTES: usize = 1024 * 1024;

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
    sender: WebhookSender,
}

/// Which events are shown and handled; all where nothing is said.
#[derive(Debug, Default)]
pub struct EventSelection {
    pub types: Vec<String>,
    pub filter: Option<Expression>,
}

/// One of the handlers; the number is its bit in what is stored of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandlerStep {
    Append = 1,
    Exec = 2,
    Forward = 4,
    Sync = 8,
}

/// What became of an event that did not fail.
#[derive(Debug)]
pub(in crate::webhook) enum HandleOutcome {
    /// With what is to be answered, where the user wants that.
    Done(Option<HandlerResponse>),
    /// Nobody listens where it is to be sent on: that is no failure of this event's. What else is to be done was done.
    Unreachable(HandleError),
    /// It is not one of those that the user wants.
    Filtered,
    /// The stream is being synced by another process: nothing was done yet.
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

impl EventSelection {
    /// Whether an event's JSON is of a selected type, of which none means all, and passes the filter.
    pub fn matches(&self, event: &Value) -> bool {
        let kind = event["type"].as_str().unwrap_or_default();
        let named = self.types.is_empty() || self.types.iter().any(|known| matches_type(known, kind));
        named && self.filter.as_ref().is_none_or(|filter| filter.matches(event))
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
            sender: WebhookSender::new(config, TIMEOUT),
        }
    }

    /// Whether no handler is set.
    pub fn is_empty(&self) -> bool {
        self.exec.is_none() && self.forward.is_none() && self.append.is_none() && !self.sync
    }

    /// Does what is still to be done with an event. What was done is noted in `done`, so that a second attempt repeats none
    /// of it.
    ///
    /// # Errors
    /// [`HandleError`] of the first handler that failed; the others were tried.
    pub(in crate::webhook) async fn handle(
        &self,
        event: &StoredEvent,
        raw: &RawRequest,
        rules: &WebhookDefinition,
        pusher: Option<&EventIngest<'_>>,
        done: &mut u32,
    ) -> Result<HandleOutcome, HandleError> {
        let request = WebhookRequest::from_raw(raw);
        let payload = payload(rules, &request, raw.batch_item.as_deref());
        let document = EventView::stored(event, Some(&payload)).document();
        if !self.selection.matches(&document) {
            return Ok(HandleOutcome::Filtered);
        }
        let exact = body::exact_json(rules, &request);
        let (mut failed, mut unreachable, mut answer) = (None, None, None);
        // First, so that a program that is run finds its records in the store.
        for step in [HandlerStep::Sync, HandlerStep::Append, HandlerStep::Exec, HandlerStep::Forward] {
            if *done & step as u32 != 0 {
                continue;
            }
            let result = match step {
                HandlerStep::Sync => match sync(pusher, event, &payload).await {
                    Ok(IngestResult::RetryLater) => return Ok(HandleOutcome::Deferred),
                    Ok(IngestResult::Done) => Ok(()),
                    Err(error) => Err(error),
                },
                HandlerStep::Append => self.append(&line(&document, exact.as_deref())),
                HandlerStep::Exec => self
                    .exec(event, raw, &input(&request, raw, &payload, exact.as_deref()))
                    .await
                    .map(|answered| answer = answered),
                // A batch is one request: it is sent on once.
                HandlerStep::Forward if raw.is_first_of_request => {
                    self.forward(&request).await.map(|answered| answer = answered.or(answer.take()))
                }
                HandlerStep::Forward => Ok(()),
            };
            match result {
                Ok(()) => *done |= step as u32,
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

    fn append(&self, line: &str) -> Result<(), HandleError> {
        let Some(path) = &self.append else { return Ok(()) };
        append(path, line).map_err(|source| HandleError::Append { path: path.clone(), source })
    }

    /// Runs the command with the payload on its stdin; what it printed is the answer, where one is wanted.
    async fn exec(
        &self,
        event: &StoredEvent,
        raw: &RawRequest,
        input: &[u8],
    ) -> Result<Option<HandlerResponse>, HandleError> {
        let Some(command) = &self.exec else { return Ok(None) };
        let variables = variables(event, raw);
        if !self.returns_response {
            program::run(command, TIMEOUT, variables, input).await?;
            return Ok(None);
        }
        let printed = program::output(command, TIMEOUT, variables, input, MAX_OUTPUT_BYTES).await?;
        let body = String::from_utf8_lossy(&printed).into_owned();
        Ok((!body.is_empty()).then_some(HandlerResponse { status: 200, content_type: None, body }))
    }

    async fn forward(&self, request: &WebhookRequest) -> Result<Option<HandlerResponse>, HandleError> {
        let Some(url) = &self.forward else { return Ok(None) };
        let answer = self.sender.send(url, request).await?;
        if answer.is_success() {
            let body = String::from_utf8_lossy(&answer.response.body).into_owned();
            let content_type = answer.response.header("content-type").map(str::to_owned);
            return Ok(self.returns_response.then_some(HandlerResponse { status: answer.status, content_type, body }));
        }
        let url = crate::http::redact_url(url, &[]);
        Err(HandleError::Status { url, status: answer.status })
    }
}

async fn sync(
    pusher: Option<&EventIngest<'_>>,
    event: &StoredEvent,
    payload: &Value,
) -> Result<IngestResult, HandleError> {
    let Some(pusher) = pusher else { return Ok(IngestResult::Done) };
    pusher.ingest(event, payload).await.map_err(|error| HandleError::Sync(error.message()))
}

/// Returns what a command gets on stdin: JSON as the service wrote it, text as it is, and anything else byte for byte.
fn input(request: &WebhookRequest, raw: &RawRequest, payload: &Value, exact: Option<&str>) -> Vec<u8> {
    if let Some(exact) = exact {
        return exact.as_bytes().to_vec();
    }
    match (body::content(request, body::MAX_DECODED_BYTES), payload) {
        (Ok(Content::Bytes(bytes)), _) if raw.batch_item.is_none() => bytes.into_owned(),
        (_, Value::String(text)) => text.clone().into_bytes(),
        (_, other) => other.to_string().into_bytes(),
    }
}

/// An event as a line of JSON, its payload as the service wrote it.
fn line(document: &Value, exact: Option<&str>) -> String {
    let (Some(exact), Some(members)) = (exact, document.as_object()) else { return document.to_string() };
    let others: Vec<String> = members
        .iter()
        .filter(|(name, _)| *name != "payload")
        .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
        .collect();
    format!("{{{},\"payload\":{}}}", others.join(","), json::minified(exact))
}

/// One line, written at once and on the disk when this returns.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut options = File::options();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_data()
}

/// What a program gets besides the payload; no secret is among it.
fn variables(event: &StoredEvent, raw: &RawRequest) -> Vec<(String, String)> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let time = event.occurred_at.unwrap_or(event.received_at).to_string();
    let values = [
        ("ID", event.id.0.to_string()),
        ("CONNECTION", event.connection.to_string()),
        ("CONNECTOR", event.connection.connector().to_owned()),
        ("TYPE", event.kind.clone()),
        ("DELIVERY_ID", event.delivery_id.clone()),
        ("ACCOUNT", text(&event.account)),
        ("RESOURCE", text(&event.resource)),
        ("ACTOR", text(&event.actor)),
        ("TIME", time),
        ("QUERY", raw.query.clone()),
        ("ATTEMPT", (event.attempts + 1).to_string()),
    ];
    values.into_iter().map(|(name, value)| (format!("INTEG_EVENT_{name}"), value)).collect()
}
