//! What is shown while `integ webhook listen` receives.

use std::cell::RefCell;
use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::super::table::fitted;
use super::super::ui::{Tone, Ui, escape};
use super::keyboard::{self, KeyCommand, KeyboardInput};
use super::printer::{LinePrinter, OutputLine};
use crate::error::Result;
use crate::model::event::EventInsertResult;
use crate::model::{ConnectionName, EventId, EventStatus};
use crate::ops::webhooks::{self, ListenObserver, ListenStarted, UnknownEventType, WebhookOperationError};
use crate::runtime::Workspace;
use crate::webhook::listen::ListenEvent;
use crate::webhook::receive::{ReceiveOutcome, ReceivedEvent};

/// What was seen so far.
#[derive(Default)]
struct ListenCounts {
    received: u64,
    duplicates: u64,
    conflicts: u64,
    rejected: u64,
    handled: u64,
    dead: u64,
    newest: Option<EventId>,
    /// What a key had handled again, and was not yet.
    resent: HashSet<EventId>,
    /// The columns that the head of the table was fitted into.
    head: Option<usize>,
}

/// Shows what a listener does, and does what the keys ask for.
pub(super) struct ListenDisplay<'a> {
    ui: &'a Ui,
    workspace: &'a Workspace,
    /// Whether anything is done with events here.
    handles: bool,
    prints_secrets: bool,
    printer: LinePrinter,
    /// From the start of the listener until [`Self::handle_keys`] takes them.
    keys: RefCell<Option<KeyboardInput>>,
    seen: RefCell<ListenCounts>,
}

impl ListenObserver for ListenDisplay<'_> {
    fn started(&self, started: &ListenStarted) -> Result<()> {
        let interactive = !self.ui.json && self.ui.width.is_some() && self.ui.terminal().interactive;
        let keys = if interactive { KeyboardInput::start() } else { None };
        for (name, error) in &started.skipped {
            let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
            self.ui.warning(&format!("{name} is left out: {}{hint}", error.message()));
        }
        for name in &started.handled_elsewhere {
            self.ui.warning(&format!("another listener handles the events of {name}; here they are only received"));
        }
        if self.ui.json {
            self.ui.show_line(&listening_document(started, self.prints_secrets))?;
        } else {
            self.print_urls(started, keys.is_some());
        }
        for unknown in &started.unknown_types {
            self.ui.warning(&unknown_type(unknown, &started.first_connector));
        }
        self.keys.replace(keys);
        Ok(())
    }

    fn happened(&self, event: &ListenEvent) {
        self.show(event);
    }
}

impl<'a> ListenDisplay<'a> {
    pub(super) fn new(workspace: &'a Workspace, ui: &'a Ui, handles: bool, prints_secrets: bool) -> Self {
        let (printer, keys, seen) = (LinePrinter::start(ui), RefCell::default(), RefCell::default());
        Self { ui, workspace, handles, prints_secrets, printer, keys, seen }
    }

    fn print_urls(&self, started: &ListenStarted, has_keys: bool) {
        let width = started.urls.iter().map(|url| url.connection.to_string().len()).max().unwrap_or_default();
        for url in &started.urls {
            self.ui.raw(&format!("{:width$}  {}\n", url.connection.to_string(), url.public));
            if url.public != url.local {
                self.ui.raw(&format!("{:width$}  at {}\n", "", url.local));
            }
            if let Some(secret) = url.secret.as_ref().filter(|_| self.prints_secrets) {
                self.ui.raw(&format!("{:width$}  secret {}\n", "", secret.expose()));
            }
        }
        let example = started.urls.first().map(|url| &url.connection);
        let example = example.map(|name| format!("; `integ webhook simulate {name}` sends something"));
        self.ui.note(&format!("Ctrl-C ends it{}.", example.unwrap_or_default()));
        if has_keys {
            self.ui.note(keyboard::HELP);
        }
        self.ui.raw("\n");
    }

    /// Does what the keys ask for until one ends it; for ever if there are none.
    pub(super) async fn handle_keys(&self) {
        let keys = self.keys.take();
        let Some(mut keys) = keys else { return std::future::pending().await };
        while let Some(key) = keys.next().await {
            let newest = self.seen.borrow().newest;
            let (id, is_retry) = match key {
                KeyCommand::Quit => return,
                KeyCommand::Show(id) => (id.or(newest), false),
                KeyCommand::Retry(id) => (id.or(newest), true),
            };
            let done = match id {
                _ if is_retry && !self.handles => {
                    self.ui.note("Nothing is done with events here: see --sync, --exec, --forward-to and --append.");
                    continue;
                }
                None => {
                    self.ui.note("No event has come yet.");
                    continue;
                }
                Some(id) if is_retry => self.retry(id).await,
                Some(id) => self.show_event(id).await,
            };
            if let Err(error) = done {
                self.ui.error(&error);
            }
        }
        // Its terminal is closed, and a signal will say so.
        std::future::pending::<()>().await;
    }

    async fn show_event(&self, id: EventId) -> Result<()> {
        Ok(self.ui.show(&webhooks::show_event(self.workspace, id).await?)?)
    }

    async fn retry(&self, id: EventId) -> Result<()> {
        if webhooks::retry_events(self.workspace, vec![id]).await?.retried == 0 {
            return Err(WebhookOperationError::EventNotFound { id }.into());
        }
        self.seen.borrow_mut().resent.insert(id);
        self.ui.note(&format!("Event {} will be handled again.", id.0));
        Ok(())
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
                self.rejected(Some(connection), why.as_str(), &why.to_string());
            }
            ListenEvent::Request(ReceiveOutcome::Unreadable { connection, reason, error: why }) => {
                let hint =
                    if *reason == "too_large" { "; hint: integ config set webhooks.max_body 100MiB" } else { "" };
                self.rejected_because(Some(connection), reason, &format!("{why}{hint}"), true);
            }
            ListenEvent::Paused { connection, id, error } => self.paused(connection, *id, error),
            ListenEvent::Resumed { connection } => {
                let document = json!({ "event": "resumed", "connection": connection.to_string() });
                self.line(&document, [&connection.to_string(), "", "", ""], "resumed", Some(Tone::Good));
            }
            ListenEvent::Request(ReceiveOutcome::NotStored { connection, error: why }) => {
                tracing::warn!("an event of {connection} could not be kept, and was answered with 503: {why}");
                self.rejected(Some(connection), "not_stored", why);
            }
            ListenEvent::Request(ReceiveOutcome::UnknownUrl) => {
                self.rejected(None, "unknown_url", "no connection has this URL");
            }
            ListenEvent::Confirmed { connection, id, kind, verified, error } => {
                self.confirmed(connection, *id, kind, *verified, error.as_deref());
            }
            ListenEvent::Summary { connection, reason, count } => {
                self.seen.borrow_mut().rejected += count;
                let name = connection.as_ref().map(ToString::to_string);
                let document = json!({ "event": "rejected", "connection": name, "reason": reason, "count": count });
                let name = name.unwrap_or_else(|| "-".to_owned());
                let what = format!("{count} more requests: {reason}");
                self.line(&document, [&name, &what, "", ""], "rejected", Some(Tone::Bad));
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
        let (event, tone) = if verified { ("verified", Tone::Good) } else { ("rejected", Tone::Bad) };
        let mut document = json!({
            "event": event, "connection": connection.to_string(), "id": id.0, "type": kind,
            "verified": verified, "error": error,
        });
        if !verified {
            document["reason"] = json!("not_confirmed");
            self.seen.borrow_mut().rejected += 1;
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

    fn rejected(&self, connection: Option<&ConnectionName>, reason: &str, why: &str) {
        self.rejected_because(connection, reason, why, false);
    }

    /// `explains`: the reason alone does not say what to do.
    fn rejected_because(&self, connection: Option<&ConnectionName>, reason: &str, why: &str, explains: bool) {
        self.seen.borrow_mut().rejected += 1;
        let name = connection.map(ToString::to_string);
        let mut document = json!({ "event": "rejected", "connection": name, "reason": reason });
        if explains {
            document["message"] = json!(why);
        }
        let name = name.unwrap_or_else(|| "-".to_owned());
        self.line(&document, [&name, why, "", ""], "rejected", Some(Tone::Bad));
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
        let time = self.workspace.engine.clock.now().to_string();
        let time = time.get(11..19).unwrap_or_default();
        let [connection, kind, id, resource] = cells;
        let cells = [time, connection, kind, id, resource, state];
        self.printer.print(OutputLine::Text(columns(self.ui, width, cells, tone)));
    }

    fn width(&self) -> usize {
        self.ui.width_now().unwrap_or(120).max(LEAST_WIDTH)
    }

    pub(super) fn end(self) {
        self.printer.finish();
        let ListenCounts { received, duplicates, conflicts, rejected, handled, dead, .. } = &*self.seen.borrow();
        let mut text = format!("{received} received, {duplicates} duplicates, {rejected} rejected");
        if *conflicts > 0 {
            text.push_str(&format!(", {conflicts} in conflict (`integ webhook events --conflicts`)"));
        }
        if *handled + *dead > 0 {
            text.push_str(&format!(", {handled} handled, {dead} dead"));
        }
        self.ui.note(&format!("{text}."));
    }
}

fn listening_document(started: &ListenStarted, prints_secrets: bool) -> Value {
    let urls = started.urls.iter().map(|url| (url.connection.to_string(), Value::from(url.local.as_str())));
    let mut line = json!({ "event": "listening", "urls": Map::from_iter(urls) });
    if prints_secrets {
        let secrets = started
            .urls
            .iter()
            .filter_map(|url| Some((url.connection.to_string(), Value::from(url.secret.as_ref()?.expose().clone()))));
        line["secrets"] = Map::from_iter(secrets).into();
    }
    line
}

fn unknown_type(UnknownEventType { kind, suggestion }: &UnknownEventType, connector: &str) -> String {
    match suggestion {
        Some(likely) => format!("no event type {kind:?} is known; did you mean {likely:?}?"),
        None => format!("no event type {kind:?} is known; hint: integ webhook simulate {connector}"),
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
