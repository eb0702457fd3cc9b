//! `integ webhook events` and `show`.

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::table::{TableCell, relative, table};
use super::super::ui::{Tone, Ui, View, escape, harmless_json};
use super::{WebhookArgumentError, since};
use crate::connector::{SignatureAlgorithm, WebhookDefinition};
use crate::error::Result;
use crate::http::scrub;
use crate::runtime::App;
use crate::secret::{REDACTED, Secret};
use crate::signing::request::WebhookRequest;
use crate::store::{EventFilter, EventId, EventStatus, EventVerification, RawRequest, StoredEvent};
use crate::webhook::receive::payload;
use crate::webhook::settings::{WebhookSettings, rules};
use crate::webhook::view::EventView;

/// The events that came, the newest first
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: Option<String>,
    #[arg(long, value_name = "STATUS")]
    status: Option<EventStatusArg>,
    /// Only events of these types; `charge.*` stands for all that begin so
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', add = crate::cli::complete::webhook_events())]
    kinds: Vec<String>,
    /// Only events under whose id other bodies came; `webhook resolve` says which of them holds
    #[arg(long)]
    conflicts: bool,
    /// Not before: 90s, 2h, 7d, or a date
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

/// One event: what it tells, and the request it came with
#[derive(Debug, Args)]
pub(super) struct EventShowArgs {
    pub(super) id: i64,
    /// The exact body alone
    #[arg(long, conflicts_with = "headers")]
    pub(super) body: bool,
    /// The headers alone
    #[arg(long)]
    pub(super) headers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EventStatusArg {
    Pending,
    Processed,
    Failed,
    Dead,
}

impl From<EventStatusArg> for EventStatus {
    fn from(status: EventStatusArg) -> Self {
        match status {
            EventStatusArg::Pending => Self::Pending,
            EventStatusArg::Processed => Self::Processed,
            EventStatusArg::Failed => Self::Failed,
            EventStatusArg::Dead => Self::Dead,
        }
    }
}

#[derive(Serialize)]
struct EventListView(Vec<Value>, #[serde(skip)] Vec<Vec<String>>);

fn tone(status: &str) -> Option<Tone> {
    match status {
        "processed" => Some(Tone::Good),
        "failed" | "unverified" => Some(Tone::Warn),
        "dead" | "refused" => Some(Tone::Bad),
        _ => None,
    }
}

impl View for EventListView {
    fn text(&self, ui: &Ui) -> String {
        if self.1.is_empty() {
            return "No events.".to_owned();
        }
        // A narrow terminal shows what matters most.
        let columns = match ui.width {
            Some(0..60) => 4,
            _ => 7,
        };
        let headings = ["id", "type", "status", "came", "connection", "resource", "tries"];
        let row = |row: &Vec<String>| {
            let cells = row.iter().take(columns).enumerate();
            cells.map(|(at, text)| TableCell(text.clone(), if at == 2 { tone(text) } else { None })).collect()
        };
        table(ui, &headings[..columns], self.1.iter().map(row).collect())
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: &EventsArgs) -> Result<u8> {
    let connection = match &args.connection {
        Some(word) => Some(app.connection(&ui.project.resolve(word)?)?.id),
        None => None,
    };
    let filter = EventFilter {
        connection,
        status: args.status.map(EventStatus::from),
        kinds: args.kinds.clone(),
        only_conflicts: args.conflicts,
        since: args.since.as_deref().map(|text| since(app, text)).transpose()?,
        limit: args.limit,
    };
    let found = if app.has_vault() { app.store()?.events().list(&filter)? } else { Vec::new() };
    if ui.json {
        for event in &found {
            ui.show_line(&document(event, None))?;
        }
        return Ok(0);
    }
    let now = app.clock.now().as_second();
    let row = |event: &StoredEvent| {
        vec![
            event.id.0.to_string(),
            event.kind.clone(),
            state(event).to_owned(),
            relative(event.received_at.as_second() - now),
            event.connection.to_string(),
            event.resource.clone().unwrap_or_else(|| "-".to_owned()),
            event.attempts.to_string(),
        ]
    };
    ui.show(&EventListView(Vec::new(), found.iter().map(row).collect()))?;
    Ok(0)
}

/// The status in a table, where it matters more that nobody may act on the event.
fn state(event: &StoredEvent) -> &'static str {
    match event.verification {
        EventVerification::Unconfirmed => "unverified",
        EventVerification::Rejected => "refused",
        EventVerification::Verified | EventVerification::Unsigned => event.status.as_str(),
    }
}

/// An event, and what became of it.
fn document(event: &StoredEvent, payload: Option<&Value>) -> Value {
    let mut document = EventView::stored(event, payload).document();
    document["status"] = json!(event.status.as_str());
    document["proof"] = json!(event.verification.as_str());
    document["attempts"] = json!(event.attempts);
    document["error"] = json!(event.last_error);
    document["conflicts"] = json!(event.conflict_count);
    document
}

#[derive(Serialize)]
#[serde(transparent)]
struct EventDetailView(Value);

impl View for EventDetailView {
    fn text(&self, _ui: &Ui) -> String {
        let word = |name: &str| match &self.0[name] {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(escape(text)),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(if *truth { "yes" } else { "no" }.to_owned()),
            _ => None,
        };
        let names = [
            "id",
            "connection",
            "type",
            "status",
            "verified",
            "attempts",
            "error",
            "delivery_id",
            "account",
            "resource",
            "actor",
            "time",
            "received_at",
            "query",
            "conflicts",
        ];
        let mut lines: Vec<String> =
            names.iter().filter_map(|name| Some(format!("{:12} {}", name.replace('_', " "), word(name)?))).collect();
        lines.push(String::new());
        lines.push(harmless_json(&format!("{:#}", self.0["payload"])));
        for other in self.0["other_bodies"].as_array().into_iter().flatten() {
            let text = |name: &str| escape(other[name].as_str().unwrap_or_default());
            lines.push(format!(
                "\nOther body {}: {}, received at {}",
                other["number"],
                text("type"),
                text("received_at")
            ));
            lines.push(harmless_json(&format!("{:#}", other["payload"])));
        }
        if self.0["conflicts"] != 0 {
            lines.push(format!("\nhint: integ webhook resolve {} --keep all", self.0["id"]));
        }
        lines.join("\n")
    }
}

pub(super) fn show(app: &App, ui: &Ui, args: &EventShowArgs) -> Result<u8> {
    let missing = || WebhookArgumentError::EventNotFound { id: args.id };
    if !app.has_vault() {
        return Err(missing().into());
    }
    let events = app.store()?.events();
    let id = EventId(args.id);
    let (event, kept) = (
        events.get(id)?.ok_or_else(missing)?,
        events.raw_request(id)?.ok_or(WebhookArgumentError::Pruned { id: args.id })?,
    );
    if args.body {
        ui.show_bytes(&kept.body);
        return Ok(0);
    }
    let connector = app.catalogue.get(event.connection.connector())?;
    let rules = rules(&connector)?;
    let headers = headers(&kept, rules, &secrets(app, &event));
    if args.headers && !ui.json {
        for (name, value) in &headers {
            ui.raw(&format!("{}: {}\n", escape(name), escape(value)));
        }
        return Ok(0);
    }
    let told = |kept: &RawRequest| payload(rules, &WebhookRequest::from_raw(kept), kept.batch_item.as_deref());
    let others = events.conflicts(id)?;
    let others = others.iter().enumerate().map(|(index, other)| {
        json!({
            "number": index + 1, "type": other.kind, "received_at": other.received_at.to_string(),
            "proof": other.verification.as_str(), "size": other.request.body.len(), "payload": told(&other.request),
        })
    });
    let mut shown = document(&event, Some(&told(&kept)));
    shown["other_bodies"] = others.collect();
    shown["query"] = json!(kept.query);
    let pairs = headers.into_iter().map(|(name, value)| json!([name, value]));
    shown["headers"] = pairs.collect();
    shown["size"] = json!(kept.body.len());
    ui.show(&EventDetailView(shown))?;
    Ok(0)
}

/// What must not be shown of the headers: some services send the secret itself.
fn secrets(app: &App, event: &StoredEvent) -> Vec<Secret> {
    WebhookSettings::load(app, &event.connection).map(|setup| setup.keys.secrets).unwrap_or_default()
}

fn headers(kept: &RawRequest, rules: &WebhookDefinition, secrets: &[Secret]) -> Vec<(String, String)> {
    // A token is the secret itself, also one that is no longer known.
    let tokens = rules.proofs.iter().filter(|proof| proof.scheme == SignatureAlgorithm::Token);
    let tokens: Vec<&str> = tokens.filter_map(|proof| proof.signature.header.as_deref()).collect();
    let shown = |name: &str, value: &str| match tokens.iter().any(|token| token.eq_ignore_ascii_case(name)) {
        true => REDACTED.to_owned(),
        false => scrub(value, secrets),
    };
    kept.headers.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect()
}
