//! What is done with an event: what it tells is synced, a line written, a program run, a request sent on.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;
use url::Url;

use super::answers::HandlerAnswer;
use super::body::{self, Content};
use super::receive::payload;
use super::send::Sender;
use super::view::EventView;
use crate::config::Config;
use crate::connector::Webhook;
use crate::http::HttpError;
use crate::jq::Expression;
use crate::json;
use crate::model::matches_type;
use crate::program::{self, ProgramError};
use crate::signing::request::Request;
use crate::store::{Kept, StoredEvent};
use crate::sync::push::{Pusher, Told};

/// How long a handler may take over one event.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of what a command prints that can be an answer.
const MOST_PRINTED: usize = 1024 * 1024;

/// What the user wants done, and with which events.
#[derive(Debug)]
pub struct Handlers {
    pub exec: Option<String>,
    pub forward: Option<Url>,
    pub append: Option<PathBuf>,
    /// What it tells of a stream goes into the store.
    pub sync: bool,
    /// What the command prints, or the receiver answers, is the answer to the service.
    pub answers: bool,
    pub choice: Choice,
    sender: Sender,
}

/// Which events are shown and handled; all where nothing is said.
#[derive(Debug, Default)]
pub struct Choice {
    pub kinds: Vec<String>,
    pub filter: Option<Expression>,
}

/// One of the handlers; the number is its bit in what is kept of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Append = 1,
    Exec = 2,
    Forward = 4,
    Sync = 8,
}

/// What became of an event that did not fail.
#[derive(Debug)]
pub(super) enum Handled {
    /// With what is to be answered, where the user wants that.
    Done(Option<HandlerAnswer>),
    /// Nobody listens where it is to be sent on: that is no failure of this event's. What else is to be done was done.
    Unreachable(HandleError),
    /// It is not one of those that the user wants.
    NotChosen,
    /// The stream is being synced by another process: nothing was done yet.
    NotNow,
}

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

impl Choice {
    pub fn admits(&self, event: &Value) -> bool {
        let kind = event["type"].as_str().unwrap_or_default();
        let named = self.kinds.is_empty() || self.kinds.iter().any(|known| matches_type(known, kind));
        named && self.filter.as_ref().is_none_or(|filter| filter.admits(event))
    }
}

impl Handlers {
    pub fn new(config: &Config, choice: Choice) -> Self {
        Self {
            exec: None,
            forward: None,
            append: None,
            sync: false,
            answers: false,
            choice,
            sender: Sender::new(config, TIMEOUT),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.exec.is_none() && self.forward.is_none() && self.append.is_none() && !self.sync
    }

    /// Does what is still to be done with an event. What was done is noted in `done`, so that a second attempt repeats none
    /// of it.
    ///
    /// # Errors
    /// [`HandleError`] of the first handler that failed; the others were tried.
    pub(super) async fn handle(
        &self,
        event: &StoredEvent,
        kept: &Kept,
        rules: &Webhook,
        pusher: Option<&Pusher<'_>>,
        done: &mut u32,
    ) -> Result<Handled, HandleError> {
        let request = Request::stored(kept);
        let payload = payload(rules, &request, kept.item.as_deref());
        let document = EventView::stored(event, Some(&payload)).document();
        if !self.choice.admits(&document) {
            return Ok(Handled::NotChosen);
        }
        let exact = body::exact_json(rules, &request);
        let (mut failed, mut unreachable, mut answer) = (None, None, None);
        // First, so that a program that is run finds what it told of in the store.
        for step in [Step::Sync, Step::Append, Step::Exec, Step::Forward] {
            if *done & step as u32 != 0 {
                continue;
            }
            let result = match step {
                Step::Sync => match sync(pusher, event, &payload).await {
                    Ok(Told::Busy) => return Ok(Handled::NotNow),
                    Ok(Told::Done) => Ok(()),
                    Err(error) => Err(error),
                },
                Step::Append => self.append(&line(&document, exact.as_deref())),
                Step::Exec => self
                    .exec(event, kept, &input(&request, kept, &payload, exact.as_deref()))
                    .await
                    .map(|answered| answer = answered),
                // A batch is one request: it is sent on once.
                Step::Forward if kept.first => {
                    self.forward(&request).await.map(|answered| answer = answered.or(answer.take()))
                }
                Step::Forward => Ok(()),
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
            (None, Some(error)) => Ok(Handled::Unreachable(error)),
            (None, None) => Ok(Handled::Done(answer)),
        }
    }

    fn append(&self, line: &str) -> Result<(), HandleError> {
        let Some(path) = &self.append else { return Ok(()) };
        append(path, line).map_err(|source| HandleError::Append { path: path.clone(), source })
    }

    /// Runs the command with the payload on its stdin; what it printed is the answer, where one is wanted.
    async fn exec(&self, event: &StoredEvent, kept: &Kept, input: &[u8]) -> Result<Option<HandlerAnswer>, HandleError> {
        let Some(command) = &self.exec else { return Ok(None) };
        let variables = variables(event, kept);
        if !self.answers {
            program::run(command, TIMEOUT, variables, input).await?;
            return Ok(None);
        }
        let printed = program::output(command, TIMEOUT, variables, input, MOST_PRINTED).await?;
        let body = String::from_utf8_lossy(&printed).into_owned();
        Ok((!body.is_empty()).then_some(HandlerAnswer { status: 200, content_type: None, body }))
    }

    async fn forward(&self, request: &Request) -> Result<Option<HandlerAnswer>, HandleError> {
        let Some(url) = &self.forward else { return Ok(None) };
        let answer = self.sender.send(url, request).await?;
        if answer.is_success() {
            let body = String::from_utf8_lossy(&answer.response.body).into_owned();
            let content_type = answer.response.header("content-type").map(str::to_owned);
            return Ok(self.answers.then_some(HandlerAnswer { status: answer.status, content_type, body }));
        }
        let url = crate::http::redact_url(url, &[]);
        Err(HandleError::Status { url, status: answer.status })
    }
}

async fn sync(pusher: Option<&Pusher<'_>>, event: &StoredEvent, payload: &Value) -> Result<Told, HandleError> {
    let Some(pusher) = pusher else { return Ok(Told::Done) };
    pusher.tell(event, payload).await.map_err(|error| HandleError::Sync(error.message()))
}

/// Returns what a command gets on stdin: JSON as the service wrote it, text as it is, and anything else byte for byte.
fn input(request: &Request, kept: &Kept, payload: &Value, exact: Option<&str>) -> Vec<u8> {
    if let Some(exact) = exact {
        return exact.as_bytes().to_vec();
    }
    match (body::content(request, body::LARGEST_DECODED), payload) {
        (Ok(Content::Bytes(bytes)), _) if kept.item.is_none() => bytes.into_owned(),
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

/// What a program is told beside the payload; no secret is among it.
fn variables(event: &StoredEvent, kept: &Kept) -> Vec<(String, String)> {
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
        ("QUERY", kept.query.clone()),
        ("ATTEMPT", (event.attempts + 1).to_string()),
    ];
    values.into_iter().map(|(name, value)| (format!("INTEG_EVENT_{name}"), value)).collect()
}
