//! The table of `webhook listen`: one row for each received, rejected or confirmed request.

use std::borrow::Cow;

use super::super::table::fitted;
use super::super::ui::{Tone, Ui, escape};
use crate::model::event::EventInsertResult;
use crate::view::listen::{ConfirmedEventView, ListenEventView, ReceivedEventView};

/// An event as a row of the table.
pub(super) struct EventRow<'e> {
    connection: &'e str,
    /// The event's type, or what there is to say of it.
    what: Cow<'e, str>,
    id: Option<i64>,
    resource: &'e str,
    state: &'static str,
    tone: Option<Tone>,
}

impl<'e> EventRow<'e> {
    /// Absent for what is about the listener itself, and for what handlers did.
    pub(super) fn new(event: &'e ListenEventView) -> Option<Self> {
        let row = |connection, what: &'e str, state, tone| Self {
            connection,
            what: what.into(),
            id: None,
            resource: "",
            state,
            tone: Some(tone),
        };
        Some(match event {
            ListenEventView::Listening { .. }
            | ListenEventView::Skipped { .. }
            | ListenEventView::Handled(_)
            | ListenEventView::Failed(_) => return None,
            ListenEventView::Received(event) => Self::of_received(event),
            ListenEventView::Handshake { connection, captured } => {
                let what = if *captured { "its secret is stored" } else { "" };
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
            ListenEventView::Connected { connection, public_url, .. } => {
                row(connection, public_url, "connected", Tone::Good)
            }
            ListenEventView::Disconnected { connection, error } => {
                row(connection, error.as_deref().unwrap_or_default(), "removed", Tone::Warn)
            }
            ListenEventView::PollFailed { connection, error } => row(connection, error, "no poll", Tone::Warn),
            ListenEventView::PollResumed { connection } => row(connection, "", "polled", Tone::Good),
            ListenEventView::Paused { connection, error, .. } => row(connection, error, "paused", Tone::Warn),
            ListenEventView::Resumed { connection } => row(connection, "", "resumed", Tone::Good),
        })
    }

    /// The row, with the time of day before it.
    pub(super) fn text(&self, ui: &Ui, width: usize, time: &str) -> String {
        let id = self.id.map(|id| id.to_string()).unwrap_or_default();
        let cells = [time, self.connection, &self.what, &id, self.resource, self.state];
        columns(ui, width, cells, self.tone)
    }

    /// The head of the table.
    pub(super) fn head(ui: &Ui, width: usize) -> String {
        columns(ui, width, ["TIME", "CONNECTION", "TYPE", "ID", "RESOURCE", "STATE"], None)
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

/// Columns of the time, of an event's number, of its state, and between any two.
pub(super) const TIME: usize = 8;
const ID: usize = 6;
const STATE: usize = 9;
pub(super) const GAP: usize = 2;

/// A row is never narrower.
pub(super) const LEAST_WIDTH: usize = 50;

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
