//! `integ test`.

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use thiserror::Error;

use super::backend::Backend;
use super::junit;
use super::status::NoConnectionsError;
use super::table::{TableCell, TableNote, table, with_notes};
use super::ui::{Render, Tone, Ui};
use crate::env;
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::health::HealthOutcome;
use crate::model::ConnectionName;
use crate::ops::connections::{StatusRequest, TestObserver, TestRequest};
use crate::view::connection::{McpServerView, TestListView, TestView};

/// Check with the services that connections work
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// Connections to test (default: all)
    #[arg(value_name = "CONNECTION", add = super::complete::connections(), conflicts_with = "all")]
    pub connections: Vec<String>,
    /// Test every connection, which is also the default
    #[arg(long)]
    pub all: bool,
    /// How to print the results
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: TestFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TestFormat {
    Table,
    Json,
    Junit,
}

impl Render for TestListView {
    fn text(&self, ui: &Ui) -> String {
        if self.tests.is_empty() {
            return "No connections to test. Try `integ connect slack --sandbox`.".to_owned();
        }
        let row = |test: &TestView| {
            let account =
                test.account.as_ref().map(|account| account.name.clone().unwrap_or_else(|| account.id.clone()));
            vec![
                test.connection.to_string().into(),
                account.unwrap_or_else(|| "-".to_owned()).into(),
                TableCell(
                    test.outcome.as_str().replace('_', " "),
                    Some(if test.healthy { Tone::Good } else { Tone::Bad }),
                ),
                test.duration_ms.map_or_else(|| "-".to_owned(), |duration| format!("{duration} ms")).into(),
                test.target.as_deref().unwrap_or("live").into(),
            ]
        };
        let note = |test: &TestView| {
            let missing = Some(test.missing_scopes.join(", ")).filter(|missing| !missing.is_empty());
            let server = test.mcp_server.as_ref().map(describe_server);
            // The line begins with the name.
            let name = format!("{} ", test.connection);
            let error = test.error_message.as_ref().map(|error| error.strip_prefix(&name).unwrap_or(error).to_owned());
            let found = [server, error, missing.map(|missing| format!("not granted: {missing}"))];
            let text = found.into_iter().flatten().collect::<Vec<_>>().join("; ");
            let is_empty = text.is_empty() && test.hint.is_none();
            (!is_empty).then(|| TableNote { subject: test.connection.to_string(), text, command: test.hint.clone() })
        };
        let mut headings = vec!["connection", "account", "result", "time", "mode"];
        let mut rows: Vec<Vec<TableCell>> = self.tests.iter().map(row).collect();
        if self.tests.iter().all(|test| test.target.is_none()) {
            headings.pop();
            rows.iter_mut().for_each(|row| drop(row.pop()));
        }
        with_notes(ui, table(ui, &headings, rows), &self.tests.iter().filter_map(note).collect::<Vec<_>>())
    }
}

/// `Linear 1.0, MCP 2025-11-25, 23 tools`.
fn describe_server(server: &McpServerView) -> String {
    let name = [&*server.name, &*server.version].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    let tools = if server.tools == 1 { "1 tool".to_owned() } else { format!("{} tools", server.tools) };
    let parts = [name.join(" "), format!("MCP {}", server.protocol_version), tools];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

#[derive(Debug, Error)]
#[error("cannot write the report as XML")]
struct ReportError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Remedy for ReportError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Failed, "report_failed")
    }
}

/// A progress bar on a terminal; elsewhere the result alone says enough.
struct TestProgress {
    is_shown: bool,
    bar: ProgressBar,
}

impl TestProgress {
    fn new(ui: &Ui) -> Self {
        Self { is_shown: ui.animates && !ui.json && !ui.quiet, bar: ProgressBar::hidden() }
    }
}

impl TestObserver for TestProgress {
    fn started(&self, total: usize) {
        self.bar.set_length(total as u64);
        if !self.is_shown || total < 2 {
            return;
        }
        if let Ok(style) = ProgressStyle::with_template("{pos}/{len} {bar:30} {msg}") {
            self.bar.set_style(if env::is_utf8_locale() { style } else { style.progress_chars("##-") });
        }
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
    }

    fn tested(&self, connection: &ConnectionName) {
        self.bar.set_message(connection.to_string());
        self.bar.inc(1);
    }
}

pub(super) fn run(backend: &Backend, ui: &mut Ui, args: &TestArgs) -> Result<u8> {
    let connections = args.connections.iter().map(|word| ui.project.resolve(word)).collect::<Result<Vec<_>, _>>()?;
    let progress = TestProgress::new(ui);
    let view = backend.test(TestRequest { connections }, &progress);
    progress.bar.finish_and_clear();
    let view = view?;
    if args.format == TestFormat::Junit {
        ui.raw(&junit::to_xml(&view.tests).map_err(|error| ReportError(Box::new(error)))?);
    } else {
        ui.json |= args.format == TestFormat::Json;
        ui.show(&view)?;
    }
    if view.tests.is_empty() {
        let workspace = match &backend.server {
            Some(_) => backend.status(StatusRequest::default())?.workspace,
            None => backend.workspace.name.clone(),
        };
        return Err(NoConnectionsError::new(workspace, backend).into());
    }
    Ok(exit_code(&view))
}

fn exit_code(view: &TestListView) -> u8 {
    let outcomes = view.tests.iter().map(|test| test.outcome);
    let unhealthy: Vec<HealthOutcome> = outcomes.filter(|outcome| !outcome.is_healthy()).collect();
    match unhealthy.as_slice() {
        [] => 0,
        all if all.iter().all(|outcome| *outcome == HealthOutcome::NeedsReauth) => Kind::AuthNeeded.exit_code(),
        _ => Kind::Unhealthy.exit_code(),
    }
}
