//! `integ metrics`.

use clap::{Args, ValueEnum};

use super::table::{TableCell, count, relative, table};
use super::ui::{Render, Tone, Ui};
use super::value_parser;
use crate::error::Result;
use crate::health::ConnectionStatus;
use crate::ops::metrics::{connection_metrics, workspace_metrics};
use crate::runtime::Workspace;
use crate::view::metrics::{
    CheckCountsView, ConnectionFiguresView, ConnectionMetricsView, EventCountsView, QueueView, SyncCountsView,
    UptimeView, WorkspaceMetricsView,
};
use crate::view::prometheus::exposition;

/// Show uptime, queues, and counts of events, syncs and deliveries (no network)
///
/// Uptime is computed from the health checks of `integ serve` and `integ test`. Counters of a running `integ serve`,
/// such as calls by status, are at its /metrics.
#[derive(Debug, Args)]
pub(super) struct MetricsArgs {
    /// Connection to show (default: the workspace)
    #[arg(value_name = "CONNECTION", add = super::complete::connections())]
    connection: Option<String>,
    /// Start of the time to count: 90s, 2h, 7d ago, or a date (default: a day ago)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Format of the output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: MetricsFormat,
}

/// How metrics are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum MetricsFormat {
    #[default]
    Table,
    /// Prometheus text format, for the whole workspace
    Prometheus,
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &MetricsArgs) -> Result<u8> {
    let since = args.since.as_deref().map(|text| value_parser::time(workspace, text)).transpose()?;
    match (&args.connection, args.format) {
        // Its gauges are of the last day, as their help says.
        (_, MetricsFormat::Prometheus) if !ui.json => {
            ui.raw(&exposition(&workspace.run(workspace_metrics(workspace, None))?));
        }
        (Some(connection), _) => {
            let connection = ui.project.resolve(connection)?;
            ui.show(&workspace.run(connection_metrics(workspace, &connection, since))?)?;
        }
        (None, _) => ui.show(&workspace.run(workspace_metrics(workspace, since))?)?,
    }
    Ok(0)
}

fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.2} %", ratio * 100.0))
}

fn uptime(uptime: Option<UptimeView>) -> String {
    percent(uptime.map(|uptime| uptime.ratio))
}

fn checks(checks: &CheckCountsView) -> String {
    format!("{} passed, {} failed", checks.passed, checks.failed)
}

fn events(events: &EventCountsView) -> String {
    format!(
        "{} received, {} processed, {} pending, {} failed, {} dead",
        events.received, events.processed, events.pending, events.failed, events.dead
    )
}

fn syncs(syncs: &SyncCountsView) -> String {
    let mut text = format!("{} done, {} failed", syncs.done, syncs.failed);
    for (number, word) in
        [(syncs.rate_limited, "rate-limited"), (syncs.cancelled, "cancelled"), (syncs.running, "running")]
    {
        if number > 0 {
            text.push_str(&format!(", {number} {word}"));
        }
    }
    text
}

fn queue(queue: &QueueView) -> String {
    match (queue.depth, queue.overdue_secs) {
        (0, _) => "empty".to_owned(),
        (depth, 0) => format!("{depth} waiting"),
        (depth, overdue) => {
            format!("{depth} waiting, the first due {}", relative(-i64::try_from(overdue).unwrap_or(i64::MAX)))
        }
    }
}

fn status_cell(status: ConnectionStatus) -> TableCell {
    TableCell(status.as_str().replace('_', " "), Some(if status.is_healthy() { Tone::Good } else { Tone::Bad }))
}

fn lines(rows: &[(&str, String)]) -> String {
    rows.iter().map(|(name, value)| format!("{name:<13}{value}")).collect::<Vec<_>>().join("\n")
}

impl Render for ConnectionMetricsView {
    fn text(&self, _ui: &Ui) -> String {
        let periods = &self.uptime;
        let (day, week, month) = (uptime(periods.last_day), uptime(periods.last_7_days), uptime(periods.last_30_days));
        let mut rows = vec![
            ("connection", self.connection.to_string()),
            ("status", self.status.as_str().replace('_', " ")),
            ("uptime", format!("{day} (1 day), {week} (7 days), {month} (30 days)")),
            ("checks", checks(&self.checks)),
            ("events", events(&self.events)),
            ("queue", queue(&self.queue)),
            ("syncs", syncs(&self.syncs)),
            ("records", self.records.to_string()),
        ];
        for error in &self.errors {
            let ago = relative(error.at.as_second() - self.measured_at.as_second());
            rows.push((error.source, format!("{ago}: {}", error.message)));
        }
        lines(&rows)
    }
}

impl Render for WorkspaceMetricsView {
    fn text(&self, ui: &Ui) -> String {
        let users = &self.users;
        let summary = &self.connections;
        let healthy = summary.active + summary.expiring;
        let mut rows = vec![
            ("connections", format!("{}, {healthy} healthy", summary.total)),
            (
                "users",
                match users.users {
                    0 => "0".to_owned(),
                    number => format!("{number}, {} each on average", count(users.connections_per_user, "connection")),
                },
            ),
            ("checks", checks(&self.checks)),
            ("events", events(&self.events)),
            ("inbox", queue(&self.inbox)),
            ("syncs", syncs(&self.syncs)),
        ];
        if let Some(connects) = &self.connects {
            rows.insert(1, ("connects", format!("{} succeeded, {} failed", connects.succeeded, connects.failed)));
        }
        if let Some(deliveries) = &self.deliveries {
            let text = format!(
                "{} created, {} delivered, {} pending, {} failed, {} dead",
                deliveries.created, deliveries.delivered, deliveries.pending, deliveries.failed, deliveries.dead
            );
            rows.push(("deliveries", text));
        }
        rows.extend(self.outbox.as_ref().map(|outbox| ("outbox", queue(outbox))));
        let mut text = lines(&rows);
        if !self.by_connection.is_empty() {
            let row = |one: &ConnectionFiguresView| -> Vec<TableCell> {
                vec![
                    one.connection.to_string().into(),
                    status_cell(one.status),
                    uptime(one.uptime).into(),
                    format!("{}/{}", one.checks.passed, one.checks.passed + one.checks.failed).into(),
                    format!("{}/{}", one.events.processed, one.events.received).into(),
                    format!("{}/{}", one.syncs.done, one.syncs.started).into(),
                    one.queue.depth.to_string().into(),
                ]
            };
            let headings = ["connection", "status", "uptime", "checks", "events", "syncs", "queue"];
            let rows = table(ui, &headings, self.by_connection.iter().map(row).collect());
            text = format!("{text}\n\n{rows}");
        }
        text
    }
}
