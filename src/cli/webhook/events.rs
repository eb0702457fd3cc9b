//! `integ webhook events`.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::super::table::{TableCell, relative, remove_spare, table};
use super::super::ui::{Render, Tone, Ui};
use crate::cli::value_parser;
use crate::error::Result;
use crate::model::{EventStatus, EventVerification, UserId};
use crate::ops::webhooks::{self, ListEventsRequest};
use crate::runtime::Workspace;
use crate::view::webhook::{EventListView, StoredEventView};

/// List received events, newest first
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Only events of this connection (default: all)
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: Option<String>,
    /// Only events of this user's connections (default: all)
    #[arg(long, value_name = "ID")]
    user: Option<UserId>,
    /// Only events with this status (default: any)
    #[arg(long, value_name = "STATUS")]
    status: Option<EventStatusArg>,
    /// Only events of these types; `*` matches any text, as in 'charge.*' and '*.failed'
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', add = crate::cli::complete::webhook_events())]
    kinds: Vec<String>,
    /// Only events for which different bodies were received under one ID; decide with `webhook resolve`
    #[arg(long)]
    conflicts: bool,
    /// Start: 90s, 2h, 7d ago, or a date
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Maximum number of events
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
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

impl Render for EventListView {
    fn text(&self, ui: &Ui) -> String {
        if self.events.is_empty() {
            return "No events.".to_owned();
        }
        let mut headings = vec!["id", "type", "status", "received", "connection", "resource", "attempts"];
        let now = self.listed_at.as_second();
        let row = |event: &StoredEventView| {
            vec![
                event.id.to_string().into(),
                event.kind.clone().into(),
                state(event),
                relative(event.received_at.as_second() - now).into(),
                event.connection.clone().into(),
                event.resource.clone().unwrap_or_else(|| "-".to_owned()).into(),
                event.attempts.to_string().into(),
            ]
        };
        let mut rows: Vec<Vec<TableCell>> = self.events.iter().map(row).collect();
        remove_spare(ui, &mut headings, &mut rows, &["attempts", "resource", "connection"]);
        let table = table(ui, &headings, rows);
        let dead = self.events.iter().find(|event| event.status == EventStatus::Dead);
        match dead {
            None => table,
            Some(event) => format!(
                "{table}\n\nDead events are not retried by themselves:\n  \
                 integ webhook show {0}   # why it failed\n  integ webhook retry {0}  # handle it again",
                event.id
            ),
        }
    }
}

/// The status in a table, which shows first that the event is not to be trusted.
fn state(event: &StoredEventView) -> TableCell {
    let (word, tone) = match (event.verification, event.status) {
        (EventVerification::Unconfirmed, _) => ("unconfirmed", Some(Tone::Warn)),
        (EventVerification::Rejected, _) => ("rejected", Some(Tone::Bad)),
        (_, status @ EventStatus::Processed) => (status.as_str(), Some(Tone::Good)),
        (_, status @ EventStatus::Failed) => (status.as_str(), Some(Tone::Warn)),
        (_, status @ EventStatus::Dead) => (status.as_str(), Some(Tone::Bad)),
        (_, status @ EventStatus::Pending) => (status.as_str(), None),
    };
    TableCell(word.to_owned(), tone)
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &EventsArgs) -> Result<u8> {
    let request = ListEventsRequest {
        before: None,
        connection: args.connection.as_deref().map(|word| ui.project.resolve(word)).transpose()?,
        user: args.user.clone(),
        status: args.status.map(EventStatus::from),
        kinds: args.kinds.clone(),
        only_conflicts: args.conflicts,
        since: args.since.as_deref().map(|text| value_parser::time(workspace, text)).transpose()?,
        limit: args.limit,
    };
    let found = workspace.run(webhooks::list_events(workspace, request))?;
    if ui.json {
        found.events.iter().try_for_each(|event| ui.show_line(&json!(event)))?;
    } else {
        ui.show(&found)?;
    }
    Ok(0)
}
