//! `integ test`.

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use thiserror::Error;

use super::status::NoConnectionsError;
use super::table::{TableCell, table};
use super::ui::{Tone, Ui, View};
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::health::{self, HealthOutcome, HealthReport, junit};
use crate::model::ConnectionName;
use crate::runtime::App;

/// Ask the services whether connections work
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    #[arg(add = super::complete::connections(), conflicts_with = "all")]
    pub connections: Vec<String>,
    /// Every connection; the same as naming none
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

#[derive(Serialize)]
struct TestView {
    connection: String,
    /// `sandbox`, or the origin that its traffic goes to.
    place: Option<String>,
    outcome: &'static str,
    healthy: bool,
    duration_ms: Option<u64>,
    account: Option<TestedAccountView>,
    missing_scopes: Vec<String>,
    http_status: Option<u16>,
    detail: Option<String>,
    hint: Option<String>,
}

#[derive(Serialize)]
struct TestedAccountView {
    id: String,
    name: Option<String>,
}

#[derive(Serialize)]
struct TestListView {
    tests: Vec<TestView>,
    healthy: usize,
    unhealthy: usize,
}

impl View for TestListView {
    fn text(&self, ui: &Ui) -> String {
        if self.tests.is_empty() {
            return "No connections to test. Try `integ connect slack --sandbox`.".to_owned();
        }
        let row = |test: &TestView| {
            let account =
                test.account.as_ref().map(|account| account.name.clone().unwrap_or_else(|| account.id.clone()));
            let missing = Some(test.missing_scopes.join(", ")).filter(|missing| !missing.is_empty());
            let notes = [
                test.place.clone(),
                test.detail.clone(),
                missing.map(|missing| format!("not granted: {missing}")),
                test.hint.clone(),
            ];
            vec![
                test.connection.clone().into(),
                account.unwrap_or_else(|| "-".to_owned()).into(),
                TableCell(test.outcome.replace('_', " "), Some(if test.healthy { Tone::Good } else { Tone::Bad })),
                test.duration_ms.map_or_else(|| "-".to_owned(), |duration| format!("{duration} ms")).into(),
                notes.into_iter().flatten().collect::<Vec<_>>().join("; ").into(),
            ]
        };
        table(ui, &["connection", "account", "result", "time", "notes"], self.tests.iter().map(row).collect())
    }
}

#[derive(Debug, Error)]
#[error("the report cannot be written as XML")]
struct ReportError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Remedy for ReportError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Failed, "report")
    }
}

pub(super) fn run(app: &App, ui: &mut Ui, args: &TestArgs) -> Result<u8> {
    let names: Vec<ConnectionName> = if !args.connections.is_empty() {
        args.connections.iter().map(|name| ui.project.resolve(name)).collect::<Result<_, _>>()?
    } else if app.has_vault() {
        app.store()?.connections().names()?
    } else {
        Vec::new()
    };
    let bar = progress(ui, names.len());
    let reports = app.run(health::check_all(app, &names, |report| {
        bar.set_message(report.connection.to_string());
        bar.inc(1);
    }));
    bar.finish_and_clear();
    let reports = reports?;
    if args.format == TestFormat::Junit {
        let xml = junit::write(&reports).map_err(|error| ReportError(Box::new(error)))?;
        ui.raw(&xml);
    } else {
        ui.json |= args.format == TestFormat::Json;
        let healthy = reports.iter().filter(|report| report.outcome.is_healthy()).count();
        let unhealthy = reports.len() - healthy;
        ui.show(&TestListView { tests: reports.iter().map(|report| view(app, report)).collect(), healthy, unhealthy })?;
    }
    if reports.is_empty() {
        return Err(NoConnectionsError::of(app).into());
    }
    Ok(exit_code(&reports))
}

/// Shown while it runs, on a terminal; elsewhere the result alone says enough.
fn progress(ui: &Ui, total: usize) -> ProgressBar {
    if !ui.stderr_is_terminal || ui.json || total < 2 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total as u64);
    if let Ok(style) = ProgressStyle::with_template("{pos}/{len} {bar:30} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn view(app: &App, report: &HealthReport) -> TestView {
    TestView {
        connection: report.connection.to_string(),
        place: app.connection(&report.connection).ok().and_then(|connection| connection.target()),
        outcome: report.outcome.as_str(),
        healthy: report.outcome.is_healthy(),
        duration_ms: report.duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        account: report
            .account
            .as_ref()
            .map(|account| TestedAccountView { id: account.id.clone(), name: account.name.clone() }),
        missing_scopes: report.missing_scopes.clone(),
        http_status: report.http_status,
        detail: report.error_message.clone(),
        hint: report.hint.clone(),
    }
}

fn exit_code(reports: &[HealthReport]) -> u8 {
    let unhealthy: Vec<HealthOutcome> =
        reports.iter().map(|report| report.outcome).filter(|outcome| !outcome.is_healthy()).collect();
    match unhealthy.as_slice() {
        [] => 0,
        all if all.iter().all(|outcome| *outcome == HealthOutcome::NeedsReauth) => Kind::AuthNeeded.exit_code(),
        _ => Kind::Unhealthy.exit_code(),
    }
}
