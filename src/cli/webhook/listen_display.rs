//! What is shown while `integ webhook listen` receives.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;

use serde_json::json;

use super::super::table::fitted;
use super::super::ui::{Tone, Ui, escape};
use super::keyboard::{self, KeyCommand, KeyboardInput};
use super::printer::{LinePrinter, OutputLine};
use crate::error::Result;
use crate::model::event::EventInsertResult;
use crate::model::{EventId, EventStatus};
use crate::ops::webhooks::{self, ListenObserver, ListenStarted, UnknownEventType, WebhookOperationError};
use crate::runtime::Workspace;
use crate::view::listen::{ConfirmedEventView, HandledEventView, ListenEventView, ReceivedEventView};

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

impl ListenCounts {
    /// Counts an event. Returns whether it is news to a person, who has seen it come: that it could not be handled, or was
    /// handled again.
    fn count(&mut self, event: &ListenEventView) -> bool {
        match event {
            ListenEventView::Received(event) => {
                let is_new = matches!(event.inserted, EventInsertResult::New(_));
                self.received += u64::from(is_new);
                self.conflicts += u64::from(event.conflict);
                self.duplicates += u64::from(!is_new && !event.conflict);
                self.newest = Some(EventId(event.id));
            }
            ListenEventView::Rejected { .. } | ListenEventView::NotConfirmed { .. } => self.rejected += 1,
            ListenEventView::RejectedRequests { count, .. } => self.rejected += count,
            ListenEventView::Handled(event) if event.status == EventStatus::Processed => {
                self.handled += 1;
                return self.resent.remove(&EventId(event.id));
            }
            ListenEventView::Handled(event) => self.dead += u64::from(event.status == EventStatus::Dead),
            ListenEventView::Listening { .. }
            | ListenEventView::Handshake { .. }
            | ListenEventView::Confirmed(_)
            | ListenEventView::Paused { .. }
            | ListenEventView::Resumed { .. }
            | ListenEventView::Skipped { .. } => {}
        }
        true
    }
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
            self.ui.show_line(&json!(started.view(self.prints_secrets)))?;
        } else {
            self.print_urls(started, keys.is_some());
        }
        for unknown in &started.unknown_types {
            self.ui.warning(&unknown_type(unknown, &started.first_connector));
        }
        self.keys.replace(keys);
        Ok(())
    }

    fn happened(&self, event: ListenEventView) {
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

    fn show(&self, event: ListenEventView) {
        let is_news = self.seen.borrow_mut().count(&event);
        match event {
            ListenEventView::Skipped { lines } => self.printer.print(OutputLine::skipped(self.ui, lines)),
            event if self.ui.json => self.printer.print(OutputLine::Json(event)),
            event if is_news => self.print_row(&event),
            _ => {}
        }
    }

    fn print_row(&self, event: &ListenEventView) {
        let Some(row) = EventRow::new(event) else { return };
        let width = self.width();
        if self.seen.borrow_mut().head.replace(width) != Some(width) {
            let head = ["TIME", "CONNECTION", "TYPE", "ID", "RESOURCE", "STATE"];
            self.printer.print(OutputLine::Text(columns(self.ui, width, head, None)));
        }
        let EventRow { connection, what, id, resource, state, tone } = row;
        let time = self.workspace.engine.clock.now().to_string();
        let time = time.get(11..19).unwrap_or_default();
        let id = id.map(|id| id.to_string()).unwrap_or_default();
        let cells = [time, connection, &what, &id, resource, state];
        self.printer.print(OutputLine::Text(columns(self.ui, width, cells, tone)));
        if let ListenEventView::Handled(HandledEventView { error: Some(error), .. }) = event {
            let text = self.ui.paint(Tone::Dim, &fitted(&escape(error), width - TIME - GAP));
            self.printer.print(OutputLine::Text(format!("{:1$}{text}", "", TIME + GAP)));
        }
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

/// An event as a row of the table.
struct EventRow<'e> {
    connection: &'e str,
    /// The event's type, or what there is to say of it.
    what: Cow<'e, str>,
    id: Option<i64>,
    resource: &'e str,
    state: &'static str,
    tone: Option<Tone>,
}

impl<'e> EventRow<'e> {
    /// Absent for what is about the listener itself.
    fn new(event: &'e ListenEventView) -> Option<Self> {
        let row = |connection, what: &'e str, state, tone| Self {
            connection,
            what: what.into(),
            id: None,
            resource: "",
            state,
            tone: Some(tone),
        };
        Some(match event {
            ListenEventView::Listening { .. } | ListenEventView::Skipped { .. } => return None,
            ListenEventView::Received(event) => Self::of_received(event),
            ListenEventView::Handshake { connection, captured } => {
                let what = if *captured { "the secret that it brought is kept" } else { "" };
                Self { tone: None, ..row(connection, what, "handshake", Tone::Dim) }
            }
            ListenEventView::Rejected { connection, explanation, .. } => {
                row(connection.as_deref().unwrap_or("-"), explanation, "rejected", Tone::Bad)
            }
            ListenEventView::RejectedRequests { connection, reason, count } => Self {
                what: format!("{count} more requests: {reason}").into(),
                ..row(connection.as_deref().unwrap_or("-"), "", "rejected", Tone::Bad)
            },
            ListenEventView::Confirmed(event) => Self::of_confirmed(event, "verified", Tone::Good),
            ListenEventView::NotConfirmed { unconfirmed, .. } => Self::of_confirmed(unconfirmed, "rejected", Tone::Bad),
            ListenEventView::Handled(event) => {
                let (state, tone) = match event.status {
                    EventStatus::Processed => ("handled", Tone::Dim),
                    EventStatus::Dead => ("dead", Tone::Bad),
                    EventStatus::Pending | EventStatus::Failed => ("failed", Tone::Warn),
                };
                Self { id: Some(event.id), ..row(&event.connection, &event.kind, state, tone) }
            }
            ListenEventView::Paused { connection, error, .. } => row(connection, error, "paused", Tone::Warn),
            ListenEventView::Resumed { connection } => row(connection, "", "resumed", Tone::Good),
        })
    }

    fn of_received(event: &'e ReceivedEventView) -> Self {
        let (state, tone) = match event.inserted {
            EventInsertResult::New(_) if event.verified => ("verified", Tone::Good),
            EventInsertResult::New(_) => ("unverified", Tone::Warn),
            EventInsertResult::Requeued(_) => ("again", Tone::Good),
            EventInsertResult::Duplicate(_) => ("duplicate", Tone::Dim),
            EventInsertResult::Conflict(_)
            | EventInsertResult::TooManyConflicts(_)
            | EventInsertResult::Unconfirmed(_) => ("conflict", Tone::Warn),
        };
        Self {
            connection: &event.connection,
            what: event.kind.as_str().into(),
            id: Some(event.id),
            resource: event.resource.as_deref().unwrap_or_default(),
            state,
            tone: Some(tone),
        }
    }

    fn of_confirmed(event: &'e ConfirmedEventView, state: &'static str, tone: Tone) -> Self {
        Self {
            connection: &event.connection,
            what: event.kind.as_str().into(),
            id: Some(event.id),
            resource: event.error.as_deref().unwrap_or_default(),
            state,
            tone: Some(tone),
        }
    }
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
