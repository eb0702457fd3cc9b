//! `integ webhook listen`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use url::Url;

use super::super::table::fitted;
use super::super::ui::{Tone, Ui, escape};
use super::WebhookArgumentError;
use super::events::{self, EventShowArgs};
use super::keyboard::{self, KeyCommand, KeyboardInput};
use super::local_url::receiver_url;
use super::printer::{LinePrinter, OutputLine};
use crate::error::{Kind, Result};
use crate::http::Route;
use crate::jq::Expression;
use crate::model::ConnectionName;
use crate::model::matches_type;
use crate::near::closest;
use crate::runtime::App;
use crate::store::{EventId, EventInsertResult, EventStatus};
use crate::webhook::handle::{EventSelection, Handlers};
use crate::webhook::listen::{ListenEvent, ListenOptions, WebhookListener};
use crate::webhook::receive::{ReceiveOutcome, ReceivedEvent};
use crate::webhook::settings::DEFAULT_PORT;

/// Receive webhooks on this machine until Ctrl-C, and do something with each event
///
/// An event is answered for once it is in the store. With --sync, --exec, --forward-to or --append it is then handled, of each
/// connection in order; what fails is tried again, and what is left is handled at the next listen. In a terminal s shows
/// the newest event, r handles it again, 17s and 17r do so with event 17, and q quits.
#[derive(Debug, Args)]
pub(super) struct ListenArgs {
    /// All that can receive where none is named
    #[arg(add = crate::cli::complete::webhook_connections())]
    connections: Vec<String>,
    /// 0 takes any free port
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Listen on a further address of this machine, such as 0.0.0.0 in a container. Requests come unencrypted there
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// Send the exact request on, to a URL of this machine (`3000`, `localhost:3000/hooks`) or an https one
    #[arg(long, value_name = "URL", value_parser = receiver_url)]
    forward_to: Option<Url>,
    /// Run a command for each event: its payload on stdin, the rest in INTEG_EVENT_* variables of 4096 bytes at most
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// Write each event to a file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    append: Option<PathBuf>,
    /// Put what an event tells of a record into the store, or sync the stream that it is about
    #[arg(long)]
    sync: bool,
    /// Answer the service with what --forward-to answers, or --exec prints, if that comes in time: for Twilio's calls and
    /// Slack's commands
    #[arg(long)]
    reply: bool,
    /// Only events of these types; `charge.*` stands for all that begin so
    #[arg(long, value_name = "TYPE", value_delimiter = ',', add = crate::cli::complete::webhook_events())]
    events: Vec<String>,
    /// Only events of which this jq expression holds
    #[arg(long, value_name = "JQ")]
    filter: Option<String>,
    /// What the services call, such as a tunnel's address; kept for later
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// How often an event is tried before it is dead
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
    /// Print the secrets that services sign with
    #[arg(long)]
    print_secret: bool,
}

pub(super) fn run(app: &App, ui: &Ui, args: ListenArgs) -> Result<u8> {
    let names = args.connections.iter().map(|word| ui.project.resolve(word)).collect::<Result<Vec<_>, _>>()?;
    if let Some(url) = &args.forward_to {
        Route::Live.resolve(url)?;
    }
    let filter = args.filter.as_deref().map(Expression::parse).transpose()?;
    let mut handlers = Handlers::new(&app.config, EventSelection { types: args.events, filter });
    handlers.exec = args.exec;
    handlers.forward = args.forward_to;
    handlers.append = args.append;
    handlers.sync = args.sync;
    handlers.returns_response = args.reply;
    let plan = ListenOptions {
        connections: names,
        port: args.port,
        bind: args.bind,
        public_url: args.public_url,
        handlers,
        max_attempts: args.attempts,
        runs_maintenance: true,
    };
    app.run(async {
        // It ends in order: what is being answered is answered.
        let _hold = app.shutdown.hold();
        let listener = WebhookListener::start(app, &plan)?;
        let keys =
            if ui.json || ui.width.is_none() || !ui.terminal().interactive { None } else { KeyboardInput::start() };
        print_listening(ui, &listener, args.print_secret, keys.is_some())?;
        warn_of_unknown_types(ui, &listener, &plan.handlers.selection.types);
        let handles = !plan.handlers.is_empty();
        let screen = ListenDisplay { ui, app, handles, printer: LinePrinter::start(ui), seen: RefCell::default() };
        let stopped = async {
            tokio::select! {
                () = app.shutdown.requested() => {}
                () = screen.handle_keys(keys) => {}
            }
        };
        listener.run(stopped, |seen| screen.show(seen)).await;
        screen.end();
        Ok(Kind::Interrupted.exit_code())
    })
}

fn print_listening(ui: &Ui, listener: &WebhookListener<'_>, print_secret: bool, keys: bool) -> Result<()> {
    for (name, error) in &listener.skipped {
        let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        ui.warning(&format!("{name} is left out: {}{hint}", error.message()));
    }
    for name in &listener.handled_elsewhere {
        ui.warning(&format!("another listener handles the events of {name}; here they are only received"));
    }
    let addresses = listener.urls()?;
    let secret = |name: &ConnectionName| {
        let setup = listener.setups.iter().find(|setup| setup.name() == name)?;
        Some(setup.keys.secrets.first()?.expose().clone())
    };
    if ui.json {
        let urls = addresses.iter().map(|(name, local, _)| (name.to_string(), Value::from(local.as_str())));
        let mut line = json!({ "event": "listening", "urls": serde_json::Map::from_iter(urls) });
        if print_secret {
            let secrets = addresses.iter().filter_map(|(name, ..)| Some((name.to_string(), secret(name)?)));
            line["secrets"] =
                secrets.map(|(name, secret)| (name, Value::from(secret))).collect::<serde_json::Map<_, _>>().into();
        }
        return Ok(ui.show_line(&line)?);
    }
    let width = addresses.iter().map(|(name, ..)| name.to_string().len()).max().unwrap_or_default();
    for (name, local, public) in &addresses {
        ui.raw(&format!("{:width$}  {public}\n", name.to_string()));
        if public != local {
            ui.raw(&format!("{:width$}  at {local}\n", ""));
        }
        if let Some(secret) = secret(name).filter(|_| print_secret) {
            ui.raw(&format!("{:width$}  secret {secret}\n", ""));
        }
    }
    let example = addresses.first().map(|(name, ..)| format!("; `integ webhook simulate {name}` sends something"));
    ui.note(&format!("Ctrl-C ends it{}.", example.unwrap_or_default()));
    if keys {
        ui.note(keyboard::HELP);
    }
    ui.raw("\n");
    Ok(())
}

/// Warns of types that no connection has: nothing would ever be handled. Types of a service that leaves them to its users are
/// not known, so that only a likely slip is named.
fn warn_of_unknown_types(ui: &Ui, listener: &WebhookListener<'_>, wanted: &[String]) {
    let connectors = || listener.setups.iter().map(|setup| &setup.connector);
    let known: Vec<&str> = connectors().flat_map(|connector| connector.events.keys().map(String::as_str)).collect();
    let is_open = connectors().any(|connector| connector.actions.values().any(|action| action.anonymous));
    for kind in wanted.iter().filter(|kind| !known.iter().any(|known| matches_type(kind, known))) {
        let likely = closest(kind, known.iter().copied().filter(|known| !wanted.iter().any(|other| other == known)));
        match likely {
            Some(likely) => ui.warning(&format!("no event type {kind:?} is known; did you mean {likely:?}?")),
            None if is_open => {}
            None => {
                let first = connectors().next().map(|connector| connector.id.as_str()).unwrap_or_default();
                ui.warning(&format!("no event type {kind:?} is known; hint: integ webhook simulate {first}"));
            }
        }
    }
}

/// What was seen so far.
#[derive(Default)]
struct ListenCounts {
    received: u64,
    duplicates: u64,
    conflicts: u64,
    refused: u64,
    handled: u64,
    dead: u64,
    newest: Option<EventId>,
    /// What a key had handled again, and was not yet.
    resent: HashSet<EventId>,
    /// The columns that the head of the table was fitted into.
    head: Option<usize>,
}

/// What is shown while it listens.
struct ListenDisplay<'a> {
    ui: &'a Ui,
    app: &'a App,
    /// Whether anything is done with events here.
    handles: bool,
    printer: LinePrinter,
    seen: RefCell<ListenCounts>,
}

impl ListenDisplay<'_> {
    /// Does what the keys ask for until one ends it; for ever where there are none.
    async fn handle_keys(&self, keys: Option<KeyboardInput>) {
        let Some(mut keys) = keys else { return std::future::pending().await };
        while let Some(key) = keys.next().await {
            let newest = self.seen.borrow().newest;
            let done = match key {
                KeyCommand::Quit => return,
                KeyCommand::Show(id) => id.or(newest).map(|id| {
                    let shown = EventShowArgs { id: id.0, body: false, headers: false };
                    events::show(self.app, self.ui, &shown)
                }),
                KeyCommand::Retry(_) if !self.handles => {
                    self.ui.note("Nothing is done with events here: see --sync, --exec, --forward-to and --append.");
                    continue;
                }
                KeyCommand::Retry(id) => id.or(newest).map(|id| self.resend(id)),
            };
            match done {
                Some(Err(error)) => self.ui.error(&error),
                Some(Ok(_)) => {}
                None => self.ui.note("No event has come yet."),
            }
        }
        // Its terminal has gone, and a signal will say so.
        std::future::pending::<()>().await;
    }

    fn resend(&self, id: EventId) -> Result<u8> {
        let events = self.app.store()?.events();
        if events.requeue(&[id], self.app.clock.now_millis())? == 0 {
            return Err(WebhookArgumentError::EventNotFound { id: id.0 }.into());
        }
        self.seen.borrow_mut().resent.insert(id);
        self.ui.note(&format!("Event {} will be handled again.", id.0));
        Ok(0)
    }

    fn show(&self, seen: &ListenEvent) {
        match seen {
            ListenEvent::Request(ReceiveOutcome::Received { connection, events }) => {
                for received in events {
                    self.received(connection, received);
                }
            }
            ListenEvent::Request(ReceiveOutcome::Handshake { connection, captured }) => {
                let document =
                    json!({ "event": "handshake", "connection": connection.to_string(), "captured": captured });
                let what = if *captured { "the secret that it brought is kept" } else { "" };
                self.line(&document, [&connection.to_string(), what, "", ""], "handshake", None);
            }
            ListenEvent::Request(ReceiveOutcome::Rejected { connection, error: why }) => {
                self.refused(Some(connection), why.as_str(), &why.to_string());
            }
            ListenEvent::Request(ReceiveOutcome::Unreadable { connection, reason, error: why }) => {
                let hint =
                    if *reason == "too_large" { "; hint: integ config set webhooks.max_body 100MiB" } else { "" };
                self.refused_because(Some(connection), reason, &format!("{why}{hint}"), true);
            }
            ListenEvent::Paused { connection, id, error } => self.paused(connection, *id, error),
            ListenEvent::Resumed { connection } => {
                let document = json!({ "event": "resumed", "connection": connection.to_string() });
                self.line(&document, [&connection.to_string(), "", "", ""], "resumed", Some(Tone::Good));
            }
            ListenEvent::Request(ReceiveOutcome::NotStored { connection, error: why }) => {
                tracing::warn!("an event of {connection} could not be kept, and was answered with 503: {why}");
                self.refused(Some(connection), "not_stored", why);
            }
            ListenEvent::Request(ReceiveOutcome::UnknownUrl) => {
                self.refused(None, "unknown_url", "no connection has this URL")
            }
            ListenEvent::Confirmed { connection, id, kind, verified, error } => {
                self.confirmed(connection, *id, kind, *verified, error.as_deref());
            }
            ListenEvent::Summary { connection, reason, count } => {
                self.seen.borrow_mut().refused += count;
                let name = connection.as_ref().map(ToString::to_string);
                let document = json!({ "event": "refused", "connection": name, "reason": reason, "count": count });
                let name = name.unwrap_or_else(|| "-".to_owned());
                let what = format!("{count} more requests: {reason}");
                self.line(&document, [&name, &what, "", ""], "refused", Some(Tone::Bad));
            }
            ListenEvent::Handled { connection, id, kind, status, attempts, error } => {
                let (state, tone) = match status {
                    EventStatus::Processed => ("handled", Tone::Dim),
                    EventStatus::Dead => ("dead", Tone::Bad),
                    EventStatus::Pending | EventStatus::Failed => ("failed", Tone::Warn),
                };
                let mut tally = self.seen.borrow_mut();
                tally.handled += u64::from(*status == EventStatus::Processed);
                tally.dead += u64::from(*status == EventStatus::Dead);
                drop(tally);
                let document = json!({
                    "event": "handled", "connection": connection.to_string(), "id": id.0, "type": kind,
                    "status": status.as_str(), "attempts": attempts, "error": error,
                });
                // A person has seen it come; what is news is that it could not be handled, or was handled again.
                let asked = *status == EventStatus::Processed && self.seen.borrow_mut().resent.remove(id);
                if *status == EventStatus::Processed && !asked && !self.ui.json {
                    return;
                }
                self.line(&document, [&connection.to_string(), kind, &id.0.to_string(), ""], state, Some(tone));
                if let Some(error) = error.as_ref().filter(|_| !self.ui.json) {
                    let width = self.width() - TIME - GAP;
                    let said = self.ui.paint(Tone::Dim, &fitted(&escape(error), width));
                    self.printer.print(OutputLine::Text(format!("{:1$}{said}", "", TIME + GAP)));
                }
            }
        }
    }

    fn paused(&self, connection: &ConnectionName, id: EventId, error: &str) {
        let document = json!({ "event": "paused", "connection": connection.to_string(), "id": id.0, "error": error });
        self.line(&document, [&connection.to_string(), error, "", ""], "paused", Some(Tone::Warn));
    }

    fn confirmed(&self, connection: &ConnectionName, id: EventId, kind: &str, verified: bool, error: Option<&str>) {
        let (event, tone) = if verified { ("verified", Tone::Good) } else { ("refused", Tone::Bad) };
        let mut document = json!({
            "event": event, "connection": connection.to_string(), "id": id.0, "type": kind,
            "verified": verified, "error": error,
        });
        if !verified {
            document["reason"] = json!("not_confirmed");
            self.seen.borrow_mut().refused += 1;
        }
        let cells = [&connection.to_string(), kind, &id.0.to_string(), error.unwrap_or_default()];
        self.line(&document, cells, event, Some(tone));
    }

    fn received(&self, connection: &ConnectionName, received: &ReceivedEvent) {
        let ReceivedEvent { event, inserted: taken, verified, .. } = received;
        let (state, tone) = match taken {
            EventInsertResult::New(_) if *verified => ("verified", Tone::Good),
            EventInsertResult::New(_) => ("unverified", Tone::Warn),
            EventInsertResult::Requeued(_) => ("again", Tone::Good),
            EventInsertResult::Duplicate(_) => ("duplicate", Tone::Dim),
            EventInsertResult::Conflict(_)
            | EventInsertResult::TooManyConflicts(_)
            | EventInsertResult::Unconfirmed(_) => ("conflict", Tone::Warn),
        };
        let (is_new, is_conflict) =
            (matches!(taken, EventInsertResult::New(_)), matches!(taken, EventInsertResult::Conflict(_)));
        let mut tally = self.seen.borrow_mut();
        tally.received += u64::from(is_new);
        tally.conflicts += u64::from(is_conflict);
        tally.duplicates += u64::from(!is_new && !is_conflict);
        tally.newest = Some(taken.id());
        drop(tally);
        let id = taken.id().0;
        let mut document = json!({
            "event": "received", "connection": connection.to_string(), "id": id, "type": event.kind,
            "delivery_id": event.delivery_id, "verified": verified, "duplicate": matches!(taken, EventInsertResult::Duplicate(_) | EventInsertResult::Requeued(_)),
        });
        if is_conflict {
            // The same id with another body: `webhook resolve` says which of them holds.
            document["conflict"] = json!(true);
        }
        if matches!(taken, EventInsertResult::Requeued(_)) {
            document["restarted"] = json!(true);
        }
        let resource = event.resource.as_deref().unwrap_or_default();
        self.line(&document, [&connection.to_string(), &event.kind, &id.to_string(), resource], state, Some(tone));
    }

    fn refused(&self, connection: Option<&ConnectionName>, reason: &str, why: &str) {
        self.refused_because(connection, reason, why, false);
    }

    /// `explains`: the reason alone does not say what to do.
    fn refused_because(&self, connection: Option<&ConnectionName>, reason: &str, why: &str, explains: bool) {
        self.seen.borrow_mut().refused += 1;
        let name = connection.map(ToString::to_string);
        let mut document = json!({ "event": "refused", "connection": name, "reason": reason });
        if explains {
            document["message"] = json!(why);
        }
        let name = name.unwrap_or_else(|| "-".to_owned());
        self.line(&document, [&name, why, "", ""], "refused", Some(Tone::Bad));
    }

    fn line(&self, document: &Value, cells: [&str; 4], state: &str, tone: Option<Tone>) {
        if self.ui.json {
            return self.printer.print(OutputLine::Json(document.clone()));
        }
        let width = self.width();
        if self.seen.borrow_mut().head.replace(width) != Some(width) {
            let head = ["TIME", "CONNECTION", "TYPE", "ID", "RESOURCE", "STATE"];
            self.printer.print(OutputLine::Text(columns(self.ui, width, head, None)));
        }
        let time = self.app.clock.now().to_string();
        let time = time.get(11..19).unwrap_or_default();
        let [connection, kind, id, resource] = cells;
        let cells = [time, connection, kind, id, resource, state];
        self.printer.print(OutputLine::Text(columns(self.ui, width, cells, tone)));
    }

    fn width(&self) -> usize {
        self.ui.width_now().unwrap_or(120).max(LEAST_WIDTH)
    }

    fn end(self) {
        self.printer.finish();
        let ListenCounts { received, duplicates, conflicts, refused, handled, dead, .. } = &*self.seen.borrow();
        let mut text = format!("{received} received, {duplicates} again, {refused} refused");
        if *conflicts > 0 {
            text.push_str(&format!(", {conflicts} in conflict (`integ webhook events --conflicts`)"));
        }
        if *handled + *dead > 0 {
            text.push_str(&format!(", {handled} handled, {dead} dead"));
        }
        self.ui.note(&format!("{text}."));
    }
}

/// Columns of the time, of an event's number, of its state, and between any two.
const TIME: usize = 8;
const ID: usize = 6;
const STATE: usize = 9;
const GAP: usize = 2;

/// A row is never narrower.
const LEAST_WIDTH: usize = 50;

/// One row; what is too long ends in an ellipsis, so that rows stay rows. A text without a number and a resource beside it
/// has their place too.
fn columns(ui: &Ui, width: usize, cells: [&str; 6], tone: Option<Tone>) -> String {
    let rest = width - (TIME + ID + STATE) - 5 * GAP;
    let (connection, resource) = (rest * 3 / 10, rest * 3 / 10);
    let mut widths = [TIME, connection, rest - connection - resource, ID, resource, STATE];
    if cells[3].is_empty() && cells[4].is_empty() {
        widths[2] += GAP + ID + GAP + resource;
        (widths[3], widths[4]) = (0, 0);
    }
    let mut row = String::new();
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate().filter(|(_, (_, width))| *width > 0) {
        let text = fitted(&escape(cell), width);
        let pad = width.saturating_sub(text.chars().count());
        let text = match tone.filter(|_| at == 5) {
            Some(tone) => ui.paint(tone, &text),
            None => text,
        };
        row.push_str(&text);
        row.push_str(&" ".repeat(pad + GAP));
    }
    row.trim_end().to_owned()
}
