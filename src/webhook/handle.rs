//! What is done with an event: what it tells is synced, a line written, a program run, a request sent on.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;
use url::Url;

use super::receive::payload;
use super::request::Request;
use super::send::Sender;
use super::view::EventView;
use crate::config::Config;
use crate::connector::Webhook;
use crate::http::HttpError;
use crate::jq::Expression;
use crate::program::{self, ProgramError};
use crate::store::{Kept, StoredEvent};
use crate::sync::push::{Pusher, Told};

/// How long a handler may take over one event.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What the user wants done, and with which events.
#[derive(Debug)]
pub struct Handlers {
    pub exec: Option<String>,
    pub forward: Option<Url>,
    pub append: Option<PathBuf>,
    /// What it tells of a stream goes into the store.
    pub sync: bool,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    Done,
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
        let named = self.kinds.is_empty() || self.kinds.iter().any(|known| matches_kind(known, kind));
        named && self.filter.as_ref().is_none_or(|filter| filter.admits(event))
    }
}

/// `charge.*` stands for all that begin so.
fn matches_kind(known: &str, kind: &str) -> bool {
    known.strip_suffix('*').map_or(known == kind, |start| kind.starts_with(start))
}

impl Handlers {
    pub fn new(config: &Config, choice: Choice) -> Self {
        Self { exec: None, forward: None, append: None, sync: false, choice, sender: Sender::new(config, TIMEOUT) }
    }

    pub fn is_empty(&self) -> bool {
        self.exec.is_none() && self.forward.is_none() && self.append.is_none() && !self.sync
    }

    /// Does what is still to be done with an event. What was done is noted in `done`, so that a second attempt repeats none
    /// of it.
    ///
    /// # Errors
    /// [`HandleError`] of the first handler that failed; the others were tried.
    pub async fn handle(
        &self,
        event: &StoredEvent,
        kept: &Kept,
        rules: &Webhook,
        pusher: Option<&Pusher<'_>>,
        done: &mut u32,
    ) -> Result<Handled, HandleError> {
        let request = Request {
            method: "POST".to_owned(),
            url: String::new(),
            headers: kept.headers.clone(),
            body: kept.body.clone(),
        };
        let payload = payload(rules, &request, kept.item.as_deref());
        let document = EventView::stored(event, Some(&payload)).document();
        if !self.choice.admits(&document) {
            return Ok(Handled::NotChosen);
        }
        let mut failed = None;
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
                Step::Append => self.append(&document),
                Step::Exec => self.exec(event, &payload).await,
                // A batch is one request: it is sent on once.
                Step::Forward if kept.first => self.forward(&request).await,
                Step::Forward => Ok(()),
            };
            match result {
                Ok(()) => *done |= step as u32,
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(Handled::Done), Err)
    }

    fn append(&self, document: &Value) -> Result<(), HandleError> {
        let Some(path) = &self.append else { return Ok(()) };
        append(path, document).map_err(|source| HandleError::Append { path: path.clone(), source })
    }

    async fn exec(&self, event: &StoredEvent, payload: &Value) -> Result<(), HandleError> {
        let Some(command) = &self.exec else { return Ok(()) };
        let input = match payload {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Ok(program::run(command, TIMEOUT, variables(event), input.as_bytes()).await?)
    }

    async fn forward(&self, request: &Request) -> Result<(), HandleError> {
        let Some(url) = &self.forward else { return Ok(()) };
        let answer = self.sender.send(url, request).await?;
        if answer.is_success() {
            return Ok(());
        }
        let url = crate::http::redact_url(url, &[]);
        Err(HandleError::Status { url, status: answer.status })
    }
}

async fn sync(pusher: Option<&Pusher<'_>>, event: &StoredEvent, payload: &Value) -> Result<Told, HandleError> {
    let Some(pusher) = pusher else { return Ok(Told::Done) };
    pusher.tell(event, payload).await.map_err(|error| HandleError::Sync(error.message()))
}

/// One line, written at once and on the disk when this returns.
fn append(path: &Path, document: &Value) -> io::Result<()> {
    let mut options = File::options();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(format!("{document}\n").as_bytes())?;
    file.sync_data()
}

/// What a program is told beside the payload; no secret is among it.
fn variables(event: &StoredEvent) -> Vec<(String, String)> {
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
        ("ATTEMPT", (event.attempts + 1).to_string()),
    ];
    values.into_iter().map(|(name, value)| (format!("INTEG_EVENT_{name}"), value)).collect()
}
