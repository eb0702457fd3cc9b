//! `integ sync`, and the commands about what it keeps: `records`, `cursor`, `job`, `schedule`.

pub(super) mod cursor;
pub(super) mod job;
mod progress;
pub(super) mod records;
pub(super) mod schedule;
mod singer;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use thiserror::Error;

use self::progress::ProgressDisplay;
use super::table::{TableCell, relative, table, table_of_numbers};
use super::ui::{Tone, Ui, View};
use crate::clock::Timestamp;
use crate::error::{Diagnostic, Error, Hint, Kind, Remedy, Result};
use crate::model::ConnectionName;
use crate::runtime::App;
use crate::store::{RecordCounts, StoredStream, StreamParams, SyncMode, Traffic};
use crate::sync::{self, PlannedStream, SyncOutcome, SyncReport, SyncRequest};

/// Pull a service's data into the store: what is new of it
///
/// All streams of all connections, or those that are named. A run that was cut off goes on where it stood. `integ records`
/// reads what was pulled.
#[derive(Debug, Args)]
pub(super) struct SyncArgs {
    #[arg(value_name = "CONNECTION[/STREAM]", add = super::complete::streams())]
    targets: Vec<String>,
    /// All of it, with what is gone; or a stretch of time, beside the cursor
    #[arg(long, value_name = "MODE", default_value = "incremental")]
    mode: SyncModeArg,
    /// Where a backfill begins: 90s, 2h, 7d ago, or a date
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Where it ends
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// What a stream needs; kept for later runs. In place of a parent's values, the one record to list for
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", add = super::complete::stream_params())]
    params: Vec<String>,
    /// Mark records as deleted even if that is more than half of a stream
    #[arg(long)]
    allow_deletes: bool,
    /// Only what is due by `integ schedule`
    #[arg(long, conflicts_with_all = ["targets", "mode", "since", "until", "params", "dry_run", "allow_deletes"])]
    due: bool,
    /// Say what would be asked, and ask nothing
    #[arg(long)]
    dry_run: bool,
    /// Print what changed as messages for a program that loads them; `integ help sync` shows how
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["due", "dry_run"])]
    to: Option<OutputTargetArg>,
    /// What that program printed last: only what changed after it is sent
    #[arg(long, value_name = "FILE", requires = "to")]
    state: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputTargetArg {
    /// A target of the Singer specification
    Singer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SyncModeArg {
    Incremental,
    Full,
    Backfill,
}

impl From<SyncModeArg> for SyncMode {
    fn from(mode: SyncModeArg) -> Self {
        match mode {
            SyncModeArg::Incremental => Self::Incremental,
            SyncModeArg::Full => Self::Full,
            SyncModeArg::Backfill => Self::Backfill,
        }
    }
}

/// What is wrong with the arguments themselves, or names nothing.
#[derive(Debug, Error)]
enum SyncArgumentError {
    #[error("{text:?} is no time: write 90s, 15m, 2h, 7d, or a date like 2026-11-20T10:00:00Z")]
    Time { text: String },
    #[error("{text:?} is not NAME=VALUE")]
    InvalidPair { text: String },
    #[error("{text:?} names no stream: write CONNECTION/STREAM")]
    Target { text: String },
    #[error("--since and --until are for --mode backfill")]
    NoBackfill,
    #[error("a backfill needs --since")]
    NoSince,
    #[error("--since is after --until")]
    InvertedRange,
    #[error("{connection}/{stream} was never synced")]
    NeverSynced { connection: ConnectionName, stream: String },
    #[error("{connection}/{stream} has several lists, and none was named")]
    AmbiguousPartition { connection: ConnectionName, stream: String, example: String },
    #[error("{connection}/{stream} has no such list")]
    PartitionNotFound { connection: ConnectionName, stream: String },
    #[error("{text:?} is no cursor of {connection}/{stream}: its records have {example}")]
    Cursor { connection: ConnectionName, stream: String, text: String, example: &'static str },
    #[error("there is no cursor so far back: {there} are kept")]
    NoHistory { there: usize },
    #[error("{path:?} cannot be read as exported cursors")]
    Import { path: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("there is no job {id}")]
    JobNotFound { id: i64 },
    #[error("job {id} is not running")]
    NotRunning { id: i64 },
    #[error("{text:?} is no schedule: {why}")]
    Schedule { text: String, why: String },
    #[error("{name} has no schedule")]
    ScheduleNotFound { name: String },
    #[error("the output cannot be written")]
    Output { source: std::io::Error },
    #[error("a Singer tap is of one connection, and {there} are meant")]
    OneSource { there: usize },
    #[error("{path:?} cannot be read")]
    ReadState { path: String, source: std::io::Error },
    #[error("{path:?} holds no state that integ wrote")]
    State { path: String, source: serde_json::Error },
    #[error("a Parquet file is no text for a terminal")]
    Terminal { target: String },
}

impl Remedy for SyncArgumentError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Time { .. } => Diagnostic::new(Kind::Usage, "invalid_time"),
            Self::InvalidPair { .. } | Self::NoBackfill | Self::InvertedRange => {
                Diagnostic::new(Kind::Usage, "invalid_value")
            }
            Self::NoSince => Diagnostic::new(Kind::Usage, "invalid_value")
                .run("integ sync CONNECTION/STREAM --mode backfill --since 30d"),
            Self::Target { .. } => Diagnostic::new(Kind::Usage, "invalid_target"),
            Self::NeverSynced { connection, stream } => {
                Diagnostic::new(Kind::NotFound, "never_synced").run(format!("integ sync {connection}/{stream}"))
            }
            Self::AmbiguousPartition { connection, stream, example } => Diagnostic::new(Kind::Usage, "ambiguous").hint(
                Hint::new(format!("add {example}, or another of"), format!("integ cursor get {connection}/{stream}")),
            ),
            Self::PartitionNotFound { connection, stream } => {
                Diagnostic::new(Kind::NotFound, "unknown_list").run(format!("integ cursor get {connection}/{stream}"))
            }
            Self::Cursor { .. } => Diagnostic::new(Kind::Usage, "invalid_cursor"),
            Self::NoHistory { .. } => Diagnostic::new(Kind::NotFound, "no_history"),
            Self::Import { .. } => Diagnostic::new(Kind::Usage, "invalid_import"),
            Self::JobNotFound { .. } => Diagnostic::new(Kind::NotFound, "unknown_job").run("integ job list"),
            Self::NotRunning { .. } => Diagnostic::new(Kind::Failed, "not_running").run("integ job list"),
            Self::Schedule { .. } => Diagnostic::new(Kind::Usage, "invalid_schedule").hint(Hint::new(
                "write a cron expression such as '0 6 * * 1-5', or an interval:",
                "integ schedule set CONNECTION 'every 15m'",
            )),
            Self::ScheduleNotFound { .. } => {
                Diagnostic::new(Kind::NotFound, "unknown_schedule").run("integ schedule list")
            }
            Self::Output { .. } | Self::ReadState { .. } => Diagnostic::new(Kind::Failed, "io"),
            Self::OneSource { .. } => {
                Diagnostic::new(Kind::Usage, "invalid_value").run("integ sync CONNECTION --to singer")
            }
            Self::Terminal { target } => Diagnostic::new(Kind::Usage, "invalid_value")
                .run(format!("integ records {target} --format parquet > FILE")),
            Self::State { .. } => Diagnostic::new(Kind::Usage, "invalid_state")
                .hint(Hint::text("give what the target printed, or an empty file to send everything")),
        }
    }
}

/// A connection, and the stream of it that is named, if any.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SyncTarget {
    connection: ConnectionName,
    stream: Option<String>,
}

impl SyncTarget {
    fn parse(ui: &Ui, word: &str) -> Result<Self> {
        let (connection, stream) = match word.split_once('/') {
            Some((connection, stream)) => (connection, Some(stream.to_owned())),
            None => (word, None),
        };
        Ok(Self { connection: ui.project.resolve(connection)?, stream })
    }

    /// The stream that was synced of it.
    fn stored(app: &App, ui: &Ui, word: &str) -> Result<(Self, StoredStream)> {
        let target = Self::parse(ui, word)?;
        let Some(stream) = target.stream.clone() else {
            return Err(SyncArgumentError::Target { text: word.to_owned() }.into());
        };
        let connection = app.connection(&target.connection)?;
        if let Some(stored) = app.store()?.streams().find(connection.id, &stream)? {
            return Ok((target, stored));
        }
        // One that the connector has not is another mistake.
        let connector = app.catalogue.get(target.connection.connector())?;
        sync::find_stream(&connector, &stream)?;
        Err(SyncArgumentError::NeverSynced { connection: target.connection, stream }.into())
    }
}

/// A moment: so long ago, or a date.
fn parse_time(app: &App, text: &str) -> Result<Timestamp, SyncArgumentError> {
    crate::duration::parse_time(text, app.clock.now()).ok_or_else(|| SyncArgumentError::Time { text: text.to_owned() })
}

fn pairs(texts: &[String]) -> Result<StreamParams, SyncArgumentError> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(SyncArgumentError::InvalidPair { text: text.clone() }),
    };
    texts.iter().map(pair).collect()
}

pub(super) fn run(app: &App, ui: &Ui, args: &SyncArgs) -> Result<u8> {
    if args.due {
        return schedule::run_due(app, ui);
    }
    let orders = sync_requests(app, ui, args)?;
    if args.dry_run {
        return dry_run(app, ui, &orders);
    }
    if args.to.is_some() {
        return singer::run(app, ui, &orders, args.state.as_deref());
    }
    let reports = execute(app, ui, &orders)?;
    show(app, ui, reports)
}

/// What the arguments ask for, one order for each connection.
fn sync_requests(app: &App, ui: &Ui, args: &SyncArgs) -> Result<Vec<SyncRequest>> {
    let time = |text: &Option<String>| text.as_deref().map(|text| parse_time(app, text)).transpose();
    let (since, until) = (time(&args.since)?, time(&args.until)?);
    match args.mode {
        SyncModeArg::Backfill if since.is_none() => return Err(SyncArgumentError::NoSince.into()),
        SyncModeArg::Backfill if until.is_some() && until <= since => {
            return Err(SyncArgumentError::InvertedRange.into());
        }
        SyncModeArg::Incremental | SyncModeArg::Full if since.or(until).is_some() => {
            return Err(SyncArgumentError::NoBackfill.into());
        }
        _ => {}
    }
    let params = pairs(&args.params)?;
    let mut wanted: BTreeMap<ConnectionName, Vec<String>> = BTreeMap::new();
    if args.targets.is_empty() && app.has_vault() {
        for name in app.store()?.connections().names()? {
            if app.catalogue.get(name.connector()).is_ok_and(|connector| !connector.streams.is_empty()) {
                wanted.insert(name, Vec::new());
            }
        }
    }
    let mut whole = Vec::new();
    for word in &args.targets {
        let target = SyncTarget::parse(ui, word)?;
        app.connection(&target.connection)?;
        let streams = wanted.entry(target.connection.clone()).or_default();
        match target.stream {
            Some(stream) if !streams.contains(&stream) => streams.push(stream),
            Some(_) => {}
            None => whole.push(target.connection),
        }
    }
    for connection in whole {
        wanted.insert(connection, Vec::new());
    }
    let order = |(connection, streams)| SyncRequest {
        connection,
        streams,
        mode: args.mode.into(),
        since,
        until,
        params: params.clone(),
        allow_deletes: args.allow_deletes,
    };
    Ok(wanted.into_iter().map(order).collect())
}

/// Runs orders one after the other; a connection that cannot be used is reported as its streams are.
fn execute(app: &App, ui: &Ui, orders: &[SyncRequest]) -> Result<Vec<SyncReport>> {
    let mut reports = Vec::new();
    for order in orders {
        let progress = ProgressDisplay::new(ui, &order.connection);
        let result = app.run(sync::run(app, order, &progress));
        progress.finish();
        match result {
            Ok(done) => reports.extend(done),
            // The only one: its error is the command's.
            Err(error) if orders.len() == 1 => return Err(error),
            Err(error) => reports.push(SyncReport::failed(order, error)),
        }
    }
    Ok(reports)
}

#[derive(Serialize)]
struct SyncReportView {
    connection: String,
    stream: String,
    mode: &'static str,
    status: &'static str,
    #[serde(flatten)]
    counts: RecordCounts,
    #[serde(flatten)]
    traffic: Traffic,
    /// Lists that the service did not give.
    skipped: usize,
    seconds: f64,
    resumes_at: Option<String>,
    error: Option<String>,
    code: Option<String>,
    hint: Option<String>,
}

#[derive(Serialize)]
struct SyncListView {
    workspace: String,
    streams: Vec<SyncReportView>,
    #[serde(skip)]
    resumes_in: Option<i64>,
}

impl View for SyncListView {
    fn text(&self, ui: &Ui) -> String {
        if self.streams.is_empty() {
            return "Nothing to sync. Try `integ connect github --sandbox`, then `integ sync github`.".to_owned();
        }
        let row = |view: &SyncReportView| {
            let tone = match view.status {
                "done" => Tone::Good,
                "limited" | "left" | "skipped" => Tone::Warn,
                _ => Tone::Bad,
            };
            let number = |number: u64| TableCell(grouped(number), (number == 0).then_some(Tone::Dim));
            vec![
                format!("{}/{}", view.connection, view.stream).into(),
                TableCell(view.status.to_owned(), Some(tone)),
                number(view.counts.added),
                number(view.counts.changed),
                number(view.counts.deleted),
                number(view.counts.unchanged),
                number(view.traffic.requests),
                format!("{:.1} s", view.seconds).into(),
            ]
        };
        let mut headings = vec!["stream", "status", "added", "changed", "deleted", "unchanged", "requests", "time"];
        let mut rows: Vec<Vec<TableCell>> = self.streams.iter().map(row).collect();
        // A name in two lines is worse than a number less.
        for spare in ["requests", "time", "unchanged"] {
            if ui.width.is_some_and(|width| width < needed(&headings, &rows))
                && let Some(at) = headings.iter().position(|heading| *heading == spare)
            {
                headings.remove(at);
                rows.iter_mut().for_each(|row| _ = row.remove(at));
            }
        }
        let numbers = 2..headings.len();
        table_of_numbers(ui, &headings, rows, numbers)
    }
}

impl SyncListView {
    /// Says what did not go as it should, beside the table.
    fn remark(&self, ui: &Ui) {
        for view in &self.streams {
            let name = format!("{}/{}", view.connection, view.stream);
            if let Some(error) = &view.error {
                let hint = view.hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
                ui.warning(&format!("{name}: {error}{hint}"));
            } else if view.status == "skipped" {
                let lists = if view.skipped == 1 {
                    "its list".to_owned()
                } else {
                    format!("any of its {} lists", view.skipped)
                };
                ui.warning(&format!("{name}: the service does not give {lists}; nothing was synced"));
            } else if view.skipped > 0 {
                let lists = if view.skipped == 1 { "1 list".to_owned() } else { format!("{} lists", view.skipped) };
                ui.note(&format!("{name}: the service does not give {lists}."));
            }
        }
        if let Some(seconds) = self.resumes_in {
            ui.note(&format!("The rate limit is used up; it resumes {}, where it stands.", relative(seconds)));
        }
    }
}

/// The columns that a table takes where nothing of it is broken.
fn needed(headings: &[&str], rows: &[Vec<TableCell>]) -> usize {
    let column = |(at, heading): (usize, &&str)| {
        let cells = rows.iter().map(|row| row[at].0.chars().count());
        cells.chain([heading.len()]).max().unwrap_or_default() + 2
    };
    headings.iter().enumerate().map(column).sum()
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn show(app: &App, ui: &Ui, reports: Vec<SyncReport>) -> Result<u8> {
    let code = exit_code(&reports);
    let synced = synced(app, reports);
    ui.show(&synced)?;
    if !ui.json {
        synced.remark(ui);
    }
    Ok(code)
}

fn synced(app: &App, mut reports: Vec<SyncReport>) -> SyncListView {
    // Not in the order in which they happened to end.
    reports.sort_by_cached_key(|report| (report.connection.to_string(), report.stream.clone()));
    let now = app.clock.now().as_second();
    let resumes = |report: &SyncReport| match report.outcome {
        SyncOutcome::RateLimited(at) => Some(at.as_second() - now),
        _ => None,
    };
    let resumes_in = reports.iter().filter_map(resumes).max();
    SyncListView { workspace: app.workspace.to_string(), streams: reports.into_iter().map(view).collect(), resumes_in }
}

fn view(report: SyncReport) -> SyncReportView {
    let (error, resumes_at) = match &report.outcome {
        SyncOutcome::Failed(error) | SyncOutcome::NotStarted(error) => (Some(error), None),
        SyncOutcome::RateLimited(at) => (None, Some(at.to_string())),
        SyncOutcome::Done | SyncOutcome::Skipped | SyncOutcome::Cancelled => (None, None),
    };
    let (code, hint) =
        (error.map(|error| error.code().to_owned()), error.and_then(Error::hint).map(|hint| hint.to_string()));
    let error = error.map(Error::on_one_line);
    SyncReportView {
        connection: report.connection.to_string(),
        stream: report.stream,
        mode: report.mode.as_str(),
        status: report.outcome.as_str(),
        counts: report.counts,
        traffic: report.traffic,
        skipped: report.skipped_partitions,
        seconds: (report.duration_secs * 1000.0).round() / 1000.0,
        resumes_at,
        error,
        code,
        hint,
    }
}

/// 0 where all that was begun is done, the kind of the failure where all of it failed alike, else that some did. What was
/// left out or not given is a failure where nothing else of the connection was synced.
fn exit_code(reports: &[SyncReport]) -> u8 {
    let is_idle = |outcome: &SyncOutcome| matches!(outcome, SyncOutcome::NotStarted(_) | SyncOutcome::Skipped);
    let idle: Vec<bool> = reports
        .iter()
        .map(|report| {
            let mut own = reports.iter().filter(|other| other.connection == report.connection);
            is_idle(&report.outcome) && !own.all(|other| is_idle(&other.outcome))
        })
        .collect();
    let kind = |report: &SyncReport| match &report.outcome {
        SyncOutcome::Done => None,
        SyncOutcome::RateLimited(_) => Some(Kind::Temporary),
        SyncOutcome::Cancelled | SyncOutcome::Skipped => Some(Kind::Failed),
        SyncOutcome::Failed(error) | SyncOutcome::NotStarted(error) => Some(error.kind()),
    };
    let reports = || reports.iter().zip(&idle).filter(|(_, idle)| !**idle).map(|(report, _)| report);
    let begun = reports().count();
    let kinds: Vec<Kind> = reports().filter_map(kind).collect();
    match kinds.first() {
        None => 0,
        Some(first) if kinds.len() == begun && kinds.iter().all(|kind| kind == first) => first.exit_code(),
        // A limit is no failure of what was done: the rest comes later.
        Some(_) if kinds.iter().all(|kind| *kind == Kind::Temporary) => Kind::Temporary.exit_code(),
        Some(_) => Kind::Partial.exit_code(),
    }
}

#[derive(Serialize)]
struct PlannedStreamView {
    connection: String,
    stream: String,
    mode: &'static str,
    lists: usize,
    cursor: Option<String>,
    request: Option<String>,
    left: Option<String>,
}

#[derive(Serialize)]
struct SyncPlanView {
    streams: Vec<PlannedStreamView>,
}

impl View for SyncPlanView {
    fn text(&self, ui: &Ui) -> String {
        let row = |view: &PlannedStreamView| {
            let asks = view.left.as_ref().map(|why| format!("left out: {why}"));
            let asks = asks.or_else(|| view.request.clone()).unwrap_or_else(|| "once its parents are known".to_owned());
            vec![
                format!("{}/{}", view.connection, view.stream).into(),
                view.mode.into(),
                view.lists.to_string().into(),
                view.cursor.clone().unwrap_or_else(|| "-".to_owned()).into(),
                asks.into(),
            ]
        };
        table(ui, &["stream", "mode", "lists", "cursor", "asks first"], self.streams.iter().map(row).collect())
    }
}

fn dry_run(app: &App, ui: &Ui, orders: &[SyncRequest]) -> Result<u8> {
    let mut streams = Vec::new();
    for order in orders {
        let planned = app.run(async { sync::dry_run(app, order) })?;
        let view = |planned: PlannedStream| PlannedStreamView {
            connection: order.connection.to_string(),
            stream: planned.stream,
            mode: planned.mode.as_str(),
            lists: planned.partition_count,
            cursor: planned.cursor,
            request: planned.request,
            left: planned.skip_reason,
        };
        streams.extend(planned.into_iter().map(view));
    }
    ui.show(&SyncPlanView { streams })?;
    Ok(0)
}
