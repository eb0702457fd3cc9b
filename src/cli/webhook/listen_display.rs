//! The output of `integ webhook listen`.

use std::cell::RefCell;

use serde_json::json;

use super::super::ui::{Ui, escape};
use super::handled_lines::handled_lines;
use super::keyboard::{self, KeyCommand, KeyboardInput};
use super::listen_rows::{EventRow, GAP, LEAST_WIDTH, TIME};
use super::printer::{LinePrinter, OutputLine};
use crate::error::Result;
use crate::model::event::EventInsertResult;
use crate::model::{EventId, EventStatus};
use crate::ops::webhooks::{self, ListenObserver, ListenStarted, UnknownEventType, WebhookOperationError};
use crate::runtime::Workspace;
use crate::view::listen::ListenEventView;
use crate::webhook::settings::{ReceiveAddress, SecretSource};

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
    /// The columns that the head of the table was fitted into.
    head: Option<usize>,
}

impl ListenCounts {
    fn count(&mut self, event: &ListenEventView) {
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
            ListenEventView::Handled(event) | ListenEventView::Failed(event) if event.is_last => {
                self.handled += u64::from(event.event_status == EventStatus::Processed);
                self.dead += u64::from(event.event_status == EventStatus::Dead);
            }
            ListenEventView::Listening { .. }
            | ListenEventView::Handshake { .. }
            | ListenEventView::Handled(_)
            | ListenEventView::Failed(_)
            | ListenEventView::Connected { .. }
            | ListenEventView::Disconnected { .. }
            | ListenEventView::PollFailed { .. }
            | ListenEventView::PollResumed { .. }
            | ListenEventView::Confirmed(_)
            | ListenEventView::Paused { .. }
            | ListenEventView::Resumed { .. }
            | ListenEventView::Skipped { .. } => {}
        }
    }
}

/// Which signing secrets are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SecretDisplay {
    /// Output that goes to a file or a program holds none.
    Hidden,
    /// At a terminal those that serve for nothing but webhooks, to be pasted into the app that is developed.
    OfWebhooks,
    /// All, as requested.
    All,
}

/// Shows what a listener does, and does what the keys ask for.
pub(super) struct ListenDisplay<'a> {
    ui: &'a Ui,
    workspace: &'a Workspace,
    /// Whether anything is done with events here.
    handles: bool,
    secrets: SecretDisplay,
    /// Whether several connections are received for, so that lines name theirs.
    has_several: RefCell<bool>,
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
            self.ui.warning(&format!(
                "another listener is handling the events of {name}; this one stores what arrives, and takes over when that one ends"
            ));
        }
        for name in &started.not_polled {
            let connector = name.connector();
            self.ui.warning(&format!(
                "{name} is not polled: {connector} has no log of deliveries; its events come to its URL"
            ));
        }
        if self.ui.json {
            self.ui.show_line(&json!(started.view(self.secrets == SecretDisplay::All)))?;
        } else {
            self.print_urls(started, keys.is_some());
        }
        for unknown in &started.unknown_types {
            self.ui.warning(&unknown_type(unknown, &started.first_connector));
        }
        self.keys.replace(keys);
        Ok(())
    }

    fn reveals_secrets(&self) -> bool {
        self.secrets != SecretDisplay::Hidden
    }

    fn happened(&self, event: ListenEventView) {
        self.show(event);
    }
}

impl<'a> ListenDisplay<'a> {
    pub(super) fn new(workspace: &'a Workspace, ui: &'a Ui, handles: bool, prints_secrets: bool) -> Self {
        let secrets = match (prints_secrets, !ui.json && ui.width.is_some()) {
            (true, _) => SecretDisplay::All,
            (false, true) => SecretDisplay::OfWebhooks,
            (false, false) => SecretDisplay::Hidden,
        };
        let (printer, keys, seen) = (LinePrinter::start(ui), RefCell::default(), RefCell::default());
        Self { ui, workspace, handles, secrets, has_several: RefCell::default(), printer, keys, seen }
    }

    fn print_urls(&self, started: &ListenStarted, has_keys: bool) {
        self.has_several.replace(started.urls.len() > 1);
        let width = started.urls.iter().map(|url| url.connection.to_string().len()).max().unwrap_or_default();
        for url in &started.urls {
            self.ui.raw(&format!("{:width$}  {}\n", url.connection.to_string(), url.public));
            if url.public != url.local {
                self.ui.raw(&format!("{:width$}  at {}\n", "", url.local));
            }
            let ReceiveAddress { secret, source, .. } = url;
            if let Some(line) = self.secret_line(secret.as_ref().map(|secret| secret.expose().as_str()), *source) {
                self.ui.raw(&format!("{:width$}  {line}\n", ""));
            }
        }
        for (kind, target) in &started.handlers {
            self.ui.raw(&format!("{:width$}  → {kind} {}\n", "", escape(target)));
        }
        let example = started.urls.first().map(|url| &url.connection);
        let example = example.map(|name| format!("; `integ webhook simulate {name}` sends something"));
        self.ui.note(&format!("Ctrl-C ends it{}.", example.unwrap_or_default()));
        if has_keys {
            self.ui.note(keyboard::HELP);
        }
        self.ui.raw("\n");
    }

    /// What is said of the secret that a service signs with; nothing where it may not be shown.
    fn secret_line(&self, secret: Option<&str>, source: Option<SecretSource>) -> Option<String> {
        let secret = secret?;
        match (self.secrets, source) {
            (SecretDisplay::Hidden, _) => None,
            (SecretDisplay::OfWebhooks, Some(SecretSource::Connection)) => {
                Some("signed with a credential of the connection (--print-secret shows it)".to_owned())
            }
            (SecretDisplay::OfWebhooks | SecretDisplay::All, _) => Some(format!("signing secret {secret}")),
        }
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
                    self.ui.note(
                        "Events are only stored here: to handle them, add --sync, --exec, --forward-to or --append.",
                    );
                    continue;
                }
                None => {
                    self.ui.note("No event has been received yet.");
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
        self.ui.note(&format!("Event {} will be handled again.", id.0));
        Ok(())
    }

    fn show(&self, event: ListenEventView) {
        self.seen.borrow_mut().count(&event);
        match event {
            ListenEventView::Skipped { lines } => self.printer.print(OutputLine::skipped(self.ui, lines)),
            event if self.ui.json => self.printer.print(OutputLine::Json(self.without_secret(event))),
            event => self.print_lines(&event),
        }
    }

    /// In JSON, a secret is present only if requested.
    fn without_secret(&self, mut event: ListenEventView) -> ListenEventView {
        if let ListenEventView::Connected { secret, .. } = &mut event
            && self.secrets != SecretDisplay::All
        {
            *secret = None;
        }
        event
    }

    fn print_lines(&self, event: &ListenEventView) {
        let (width, now) = (self.width(), self.workspace.clock.now_millis());
        let text = now.to_string();
        let time = text.get(11..19).unwrap_or_default();
        if let ListenEventView::Handled(handled) | ListenEventView::Failed(handled) = event {
            let lines = handled_lines(self.ui, width, (time, now), *self.has_several.borrow(), handled);
            lines.into_iter().for_each(|line| self.printer.print(OutputLine::Text(line)));
            return;
        }
        let Some(row) = EventRow::new(event) else { return };
        if self.seen.borrow_mut().head.replace(width) != Some(width) {
            self.printer.print(OutputLine::Text(EventRow::head(self.ui, width)));
        }
        self.printer.print(OutputLine::Text(row.text(self.ui, width, time)));
        if let ListenEventView::Connected { public_url, secret, source, .. } = event {
            self.has_several.replace(true);
            let secret = self.secret_line(secret.as_deref(), *source);
            for line in [Some(public_url.clone()), secret].into_iter().flatten() {
                self.printer.print(OutputLine::Text(format!("{:1$}{line}", "", TIME + GAP)));
            }
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

fn unknown_type(UnknownEventType { kind, suggestion }: &UnknownEventType, connector: &str) -> String {
    match suggestion {
        Some(likely) => format!("no event type {kind:?} is known; did you mean {likely:?}?"),
        None => format!("no event type {kind:?} is known; hint: integ webhook simulate {connector}"),
    }
}
