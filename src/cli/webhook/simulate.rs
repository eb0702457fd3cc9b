//! `integ webhook simulate`.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use url::Url;

use super::super::table::table;
use super::super::ui::{Render, Ui, escape, escape_lines};
use super::error::WebhookArgumentError;
use super::input::{read, read_secret};
use super::local_url::receiver_url;
use crate::connector::Pointer;
use crate::error::{Kind, Result};
use crate::http::is_loopback;
use crate::ops::webhooks::{self, SimulateEventsRequest, SimulationObserver, SimulationResult, SimulationTarget};
use crate::runtime::Workspace;
use crate::view::webhook::{
    SampleEventListView, SendOutcomeView, SentEventView, SimulatedRequestView, WebhookEventTypeView,
};
use crate::webhook::simulate::corrupt::Corruption;

/// Send a test event, signed as the service signs it
///
/// Without an event, lists the available ones. The event is sent to `integ webhook listen`, or to --to. With --invalid,
/// the receiver must reject it: exit code 1 means that it accepted the event. Exit code 5 means that nothing listens
/// there.
#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// A connection, or a connector
    #[arg(add = crate::cli::complete::webhook_sources())]
    source: String,
    /// Event type to send, or a pattern such as 'invoice.*' for one event of each type (default: list the types)
    #[arg(add = crate::cli::complete::webhook_events())]
    event: Option<String>,
    /// URL to send to: a local one, or https
    #[arg(long, value_name = "URL", value_parser = receiver_url)]
    to: Option<Url>,
    /// Override a field of the body: `data.object.amount=500`, `/data/0=x`, or := for JSON
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Body to send instead of the sample's, from a file, - for stdin
    #[arg(long, value_name = "FILE|-", conflicts_with = "set")]
    data: Option<String>,
    /// Signing secret, from a file, - for stdin
    #[arg(long, value_name = "FILE|-")]
    secret_file: Option<String>,
    /// Number of events of each type
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,
    /// Events per second (default: one after another)
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// Corrupt the request
    #[arg(long, value_name = "FAULT")]
    invalid: Option<CorruptionArg>,
    /// Print the request, and do not send it
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CorruptionArg {
    /// Wrong signature
    Signature,
    /// Signed a day ago
    Timestamp,
    /// Signed a day ahead
    Future,
    /// Body changed after signing
    Body,
    /// Each event sent twice; a receiver must accept both and handle it once
    Duplicate,
}

impl From<CorruptionArg> for Corruption {
    fn from(fault: CorruptionArg) -> Self {
        match fault {
            CorruptionArg::Signature => Self::Signature,
            CorruptionArg::Timestamp => Self::PastTimestamp,
            CorruptionArg::Future => Self::FutureTimestamp,
            CorruptionArg::Body => Self::Body,
            CorruptionArg::Duplicate => Self::Duplicate,
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| format!("{text:?} is not a number of requests per second"))
}

impl Render for SampleEventListView {
    fn text(&self, ui: &Ui) -> String {
        let row = |item: &WebhookEventTypeView| vec![item.event.clone().into(), item.about.clone().into()];
        table(ui, &["event", "description"], self.events.iter().map(row).collect())
    }
}

impl Render for SimulatedRequestView {
    fn text(&self, _ui: &Ui) -> String {
        let mut lines = vec![format!("{} {}", self.method, escape(&self.url))];
        lines.extend(self.headers.iter().map(|(name, value)| format!("{}: {}", escape(name), escape(value))));
        lines.extend([String::new(), escape_lines(&self.body)]);
        lines.join("\n")
    }
}

/// What is said of simulated events.
struct SimulationDisplay<'a> {
    ui: &'a Ui,
    /// Whether the target is named: it was not given.
    names_target: bool,
}

impl SimulationObserver for SimulationDisplay<'_> {
    fn starts(&mut self, target: &SimulationTarget) {
        if target.is_secret_generated {
            self.ui.note(
                "Signed with a secret that was made up: --secret-file or INTEG_WEBHOOK_SECRET gives the receiver's.",
            );
        }
        if self.names_target {
            self.ui.note(&format!("To {}", target.to));
        }
    }

    fn sent(&mut self, event: SentEventView) -> Result<()> {
        if self.ui.json {
            return Ok(self.ui.show_line(&json!(event))?);
        }
        let line = match &event.outcome {
            SendOutcomeView::Answered { duration_ms, is_success, message, .. } => {
                let message = message.as_ref().filter(|_| !is_success);
                let message = message.map(|message| format!("  {}", escape(message))).unwrap_or_default();
                let word = if *is_success { "accepted" } else { "rejected" };
                let status = event.status.unwrap_or_default();
                format!("{}  {status} {word}  {duration_ms:.1} ms{message}", event.kind)
            }
            SendOutcomeView::Unanswered { error } => format!("{}  no answer: {}", event.kind, escape(error)),
        };
        self.ui.raw(&format!("{line}\n"));
        Ok(())
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &SimulateArgs) -> Result<u8> {
    let source = ui.project.resolve(&args.source)?;
    let Some(event) = args.event.clone() else {
        ui.show(&workspace.run(webhooks::list_sample_events(workspace, &source))?)?;
        return Ok(0);
    };
    let request = SimulateEventsRequest {
        source,
        event,
        to: args.to.clone(),
        set: args.set.iter().map(|pair| parse_override(pair)).collect::<Result<_, _>>()?,
        data: args.data.as_deref().map(read).transpose()?,
        secret: args.secret_file.as_deref().map(read_secret).transpose()?,
        count: args.count,
        rate: args.rate,
        corruption: args.invalid.map(Corruption::from),
    };
    let mut display = SimulationDisplay { ui, names_target: args.to.is_none() && !ui.json && !args.dry_run };
    if args.dry_run {
        let preview = workspace.run(webhooks::preview_simulation(workspace, request, &mut display))?;
        match ui.json || ui.width.is_some() {
            true => ui.show(&preview)?,
            // A line break at the end would be a part of the body that was not signed.
            false => ui.raw(&preview.text(ui)),
        }
        return Ok(0);
    }
    let should_be_rejected = request.corruption.is_some_and(Corruption::should_be_rejected);
    let result = workspace.run(webhooks::simulate_events(workspace, request, &mut display))?;
    Ok(summarize(ui, &result, should_be_rejected))
}

/// Says how it went, and returns the exit code.
fn summarize(ui: &Ui, result: &SimulationResult, should_be_rejected: bool) -> u8 {
    let SimulationResult { sent, unexpected, .. } = *result;
    if sent > 1 {
        ui.note(&format!("{sent} sent, {} as expected, {unexpected} not.", sent - unexpected));
    }
    if result.first_error.is_some() && is_loopback(&result.to) {
        ui.note(&format!("hint: integ webhook listen {}", result.connector));
    } else if unexpected > 0 && should_be_rejected {
        ui.note("The receiver accepted a request that it should have rejected.");
    }
    match unexpected {
        0 => 0,
        _ if unexpected == result.unreached => Kind::Temporary.exit_code(),
        _ => Kind::Failed.exit_code(),
    }
}

/// `data.object.amount=500`, `/data/0=x`, `tags:=["a"]`.
fn parse_override(pair: &str) -> Result<(Pointer, Value), WebhookArgumentError> {
    let wrong = || WebhookArgumentError::Pair { text: pair.to_owned() };
    let (path, text) = pair.split_once('=').ok_or_else(wrong)?;
    let (path, value) = match path.strip_suffix(':') {
        Some(path) => (path, serde_json::from_str(text).map_err(|_| wrong())?),
        None => (path, Value::String(text.to_owned())),
    };
    let pointer = if path.starts_with('/') {
        path.to_owned()
    } else {
        path.split('.').map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
    };
    Ok((Pointer::parse(&pointer).map_err(|_| wrong())?, value))
}
