//! `integ webhook`.

mod backfill;
mod events;
mod keyboard;
mod listen;
mod local_url;
mod printer;
mod prune;
mod public_url;
mod replay;
mod resolve;
mod secret;
mod simulate;
mod subscribe;
mod verify;

use clap::{Args, Subcommand};
use thiserror::Error;

use super::ui::Ui;
use super::words::ParsedWords;
use crate::api::{self, ApiError, Input, Parameters};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::runtime::App;
use crate::webhook::settings::WebhookSettings;

/// Receive webhooks without losing one, see what came, and send events that nobody sent
#[derive(Debug, Args)]
pub(super) struct WebhookArgs {
    #[command(subcommand)]
    command: WebhookCommand,
}

#[derive(Debug, Subcommand)]
enum WebhookCommand {
    Url(public_url::UrlArgs),
    Secret(secret::SecretArgs),
    Listen(Box<listen::ListenArgs>),
    Simulate(Box<simulate::SimulateArgs>),
    Verify(verify::VerifyArgs),
    Subscribe(subscribe::SubscribeArgs),
    Unsubscribe(subscribe::UnsubscribeArgs),
    Events(events::EventsArgs),
    Show(events::EventShowArgs),
    Resolve(resolve::ResolveArgs),
    Retry(replay::RetryArgs),
    Replay(replay::ReplayArgs),
    Backfill(backfill::BackfillArgs),
    Prune(prune::PruneArgs),
}

/// What is wrong with the arguments themselves.
#[derive(Debug, Error)]
enum WebhookArgumentError {
    #[error("{path:?} cannot be read")]
    Read { path: String, source: std::io::Error },
    #[error("{path:?} is empty")]
    Empty { path: String },
    #[error("{text:?} is not NAME=VALUE")]
    Pair { text: String },
    #[error("{name} is a secret, which is no value of a flag")]
    SecretFlag { connection: String, name: String },
    #[error("{text:?} is no time: write 90s, 15m, 2h, 7d, or a date like 2026-11-20T10:00:00Z")]
    Time { text: String },
    #[error("the vendor makes the secret of {connection}: none of your own would be right")]
    VendorManagedSecret { connection: String },
    #[error("what comes for {connection} is proven without a secret of its own")]
    SecretUnsupported { connection: String },
    #[error("there is no event {id}")]
    EventNotFound { id: i64 },
    #[error("event {id} has no other body under its delivery id")]
    NoConflict { id: i64 },
    #[error("event {id} has {bodies} other bodies, and none of this number")]
    BodyNotFound { id: i64, bodies: u32 },
    #[error("the content of event {id} was removed: its time was over")]
    Pruned { id: i64 },
    #[error("{text:?} is no HTTP request")]
    Request { text: String },
}

impl Remedy for WebhookArgumentError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Read { .. } => Diagnostic::new(Kind::Usage, "io"),
            Self::Empty { .. } => Diagnostic::new(Kind::Usage, "empty_input"),
            Self::Pair { .. } => Diagnostic::new(Kind::Usage, "invalid_value"),
            Self::SecretFlag { connection, name } => {
                Diagnostic::new(Kind::Usage, "secret_on_command_line").hint(Hint::new(
                    format!("give it in a file, or as {name}=- on stdin:"),
                    format!("integ webhook secret {connection} --param {name}=@FILE"),
                ))
            }
            Self::Time { .. } => Diagnostic::new(Kind::Usage, "invalid_time"),
            Self::VendorManagedSecret { connection } => Diagnostic::new(Kind::Usage, "vendors_secret")
                .run(format!("integ webhook secret {connection} --set FILE")),
            Self::SecretUnsupported { connection } => {
                Diagnostic::new(Kind::Usage, "no_secret_taken").run(format!("integ webhook url {connection}"))
            }
            Self::EventNotFound { .. } => Diagnostic::new(Kind::NotFound, "unknown_event").run("integ webhook events"),
            Self::NoConflict { .. } => {
                Diagnostic::new(Kind::NotFound, "no_conflict").run("integ webhook events --conflicts")
            }
            Self::BodyNotFound { id, .. } => {
                Diagnostic::new(Kind::NotFound, "unknown_body").run(format!("integ webhook show {id}"))
            }
            Self::Pruned { .. } => {
                Diagnostic::new(Kind::NotFound, "event_pruned").run("integ config show webhooks.keep")
            }
            Self::Request { .. } => Diagnostic::new(Kind::Usage, "invalid_request").run("integ help webhook verify"),
        }
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: WebhookArgs) -> Result<u8> {
    match args.command {
        WebhookCommand::Url(args) => public_url::run(app, ui, &args),
        WebhookCommand::Secret(args) => secret::run(app, ui, &args),
        WebhookCommand::Listen(args) => listen::run(app, ui, *args),
        WebhookCommand::Simulate(args) => simulate::run(app, ui, &args),
        WebhookCommand::Verify(args) => verify::run(app, ui, &args),
        WebhookCommand::Subscribe(args) => subscribe::run(app, ui, &args),
        WebhookCommand::Unsubscribe(args) => subscribe::end(app, ui, &args),
        WebhookCommand::Events(args) => events::run(app, ui, &args),
        WebhookCommand::Show(args) => events::show(app, ui, &args),
        WebhookCommand::Resolve(args) => resolve::run(app, ui, &args),
        WebhookCommand::Retry(args) => replay::retry(app, ui, &args),
        WebhookCommand::Replay(args) => replay::run(app, ui, &args),
        WebhookCommand::Backfill(args) => backfill::run(app, ui, &args),
        WebhookCommand::Prune(args) => prune::run(app, ui, &args),
    }
}

/// The content of a file, or of stdin for `-`.
fn read(path: &str) -> Result<Vec<u8>, WebhookArgumentError> {
    super::input_file::read_input_file(path)
        .map_err(|source| WebhookArgumentError::Read { path: path.to_owned(), source })
}

/// The same as a secret, with no white space around it.
fn read_secret(path: &str) -> Result<crate::secret::Secret, WebhookArgumentError> {
    let bytes = read(path)?;
    let text = String::from_utf8(bytes).map_err(|error| WebhookArgumentError::Read {
        path: path.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error()),
    })?;
    let secret = crate::secret::Secret::trimmed(text);
    if secret.is_empty() { Err(WebhookArgumentError::Empty { path: path.to_owned() }) } else { Ok(secret) }
}

/// The words of `-p` as parameters of one of the connector's actions; none if the connector names no action for it.
fn input(setup: &WebhookSettings, action: Option<&str>, words: &[String], command: &str) -> Result<Input> {
    let Some(action) = action else { return Ok(Input::default()) };
    let (name, action) = api::find_action(&setup.connector, action)?;
    let ParsedWords { input, problems, .. } =
        ParsedWords::read(Parameters { action, names: setup.connector.api.names }, words);
    if problems.is_empty() {
        return Ok(input);
    }
    let usage = format!("integ webhook {command} {} -p NAME=VALUE", setup.name());
    Err(ApiError::InvalidParameters { connection: setup.name().clone(), action: name.to_owned(), problems, usage }
        .into())
}

/// A moment: so long ago, or a date.
fn since(app: &App, text: &str) -> Result<crate::clock::Timestamp, WebhookArgumentError> {
    crate::duration::parse_time(text, app.clock.now())
        .ok_or_else(|| WebhookArgumentError::Time { text: text.to_owned() })
}
