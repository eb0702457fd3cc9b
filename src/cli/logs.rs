//! `integ logs`.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::table::{TableCell, relative, table};
use super::ui::{Render, Tone, Ui, is_reader_closed};
use super::value_parser;
use crate::error::Result;
use crate::model::{LogLevel, LogPosition};
use crate::ops::logs::{ListLogsRequest, LogFollower, list_logs};
use crate::runtime::Workspace;
use crate::view::log::{LogEntryView, LogListView};

/// Show what happened: changes, health checks, events, syncs and deliveries
///
/// The newest entry comes first; with --follow, the oldest. Entries come from the audit log, health checks, events,
/// jobs and deliveries, and are removed together with these. They contain no secrets.
#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// Only entries of this connection (default: all entries, also those of no connection)
    #[arg(value_name = "CONNECTION", add = super::complete::connections())]
    connection: Option<String>,
    /// Start: 90s, 2h, 7d ago, or a date
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Maximum number of entries
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "follow")]
    limit: u32,
    /// Wait for new entries until Ctrl-C; starts now, or at --since
    #[arg(short, long)]
    follow: bool,
}

/// How often the store is read for new entries.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &LogsArgs) -> Result<u8> {
    let connection = args.connection.as_deref().map(|word| ui.project.resolve(word)).transpose()?;
    let since = args.since.as_deref().map(|text| value_parser::time(workspace, text)).transpose()?;
    if args.follow {
        let mut follower = LogFollower::new(workspace, connection, since);
        workspace.run(follow(workspace, ui, &mut follower))?;
        return Ok(0);
    }
    let request = ListLogsRequest { connection, since, after: LogPosition::default(), limit: args.limit };
    let found = workspace.run(list_logs(workspace, &request))?;
    if ui.json {
        found.entries.iter().try_for_each(|entry| ui.show_line(&json!(entry)))?;
    } else {
        ui.show(&found)?;
    }
    Ok(0)
}

/// Prints new entries until the reader leaves or the user ends it.
async fn follow(workspace: &Workspace, ui: &Ui, follower: &mut LogFollower) -> Result<()> {
    while !is_reader_closed() {
        for entry in follower.poll(workspace).await? {
            if ui.json {
                ui.show_line(&json!(entry))?;
            } else {
                ui.raw(&format!("{}\n", line(ui, &entry)));
            }
        }
        workspace.clock.sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// An entry on a line of its own.
fn line(ui: &Ui, entry: &LogEntryView) -> String {
    let connection = entry.connection.as_deref().unwrap_or("-");
    let duration = entry.duration_ms.map(|millis| format!(" ({millis} ms)")).unwrap_or_default();
    let text = format!("{} {:<8} {connection} {}{duration}", entry.at, entry.source, what(entry));
    let text = super::ui::escape(&text);
    tone(entry.level).map_or_else(|| text.clone(), |tone| ui.paint(tone, &text))
}

fn tone(level: LogLevel) -> Option<Tone> {
    match level {
        LogLevel::Info => None,
        LogLevel::Warning => Some(Tone::Warn),
        LogLevel::Error => Some(Tone::Bad),
    }
}

/// What happened, in a few words.
fn what(entry: &LogEntryView) -> String {
    let mut text = format!("{}: {}", entry.subject, entry.outcome);
    if let Some(error) = &entry.error {
        text.push_str(&format!(", {error}"));
    }
    if let Some(request) = &entry.request_id {
        text.push_str(&format!(" [{request}]"));
    }
    text
}

impl Render for LogListView {
    fn text(&self, ui: &Ui) -> String {
        if self.entries.is_empty() {
            return "No log entries.".to_owned();
        }
        let row = |entry: &LogEntryView| -> Vec<TableCell> {
            vec![
                relative(entry.at.as_second() - self.listed_at.as_second()).into(),
                entry.source.to_string().into(),
                entry.connection.clone().unwrap_or_else(|| "-".to_owned()).into(),
                TableCell(what(entry), tone(entry.level)),
            ]
        };
        table(ui, &["at", "source", "connection", "what"], self.entries.iter().map(row).collect())
    }
}
