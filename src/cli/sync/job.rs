//! `integ job`: runs of syncs, those under way and those that ended.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{SyncArgumentError, execute, grouped, show as show_reports};
use crate::cli::table::{TableCell, relative, table};
use crate::cli::ui::{Tone, Ui, View};
use crate::error::Result;
use crate::runtime::App;
use crate::store::{Job, JobId, JobStatus, RecordCounts, Traffic};
use crate::sync::{SyncRequest, is_running};

/// See how syncs went, repeat one, end one
#[derive(Debug, Args)]
pub(in crate::cli) struct JobArgs {
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    /// The runs of syncs, the newest first
    List {
        #[arg(add = crate::cli::complete::connections())]
        connection: Option<String>,
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
    /// All that is known of a run
    Show { id: i64 },
    /// Run the sync of a job again
    Retry {
        id: i64,
        /// Mark records as deleted even if that is more than half of the stream
        #[arg(long)]
        allow_deletes: bool,
    },
    /// End a run after the page that it is at; what it brought stays
    Cancel { id: i64 },
}

#[derive(Serialize)]
struct JobView {
    id: i64,
    connection: String,
    stream: String,
    mode: &'static str,
    state: &'static str,
    since: Option<String>,
    until: Option<String>,
    started_at: String,
    ended_at: Option<String>,
    seconds: Option<i64>,
    resumes_at: Option<String>,
    #[serde(flatten)]
    counts: RecordCounts,
    #[serde(flatten)]
    traffic: Traffic,
    error: Option<String>,
    code: Option<String>,
    #[serde(skip)]
    started_in: i64,
}

#[derive(Serialize)]
struct JobListView {
    jobs: Vec<JobView>,
}

fn tone(state: &str) -> Option<Tone> {
    match state {
        "done" => Some(Tone::Good),
        "failed" | "interrupted" => Some(Tone::Bad),
        "limited" | "cancelled" | "skipped" => Some(Tone::Warn),
        _ => None,
    }
}

impl View for JobListView {
    fn text(&self, ui: &Ui) -> String {
        if self.jobs.is_empty() {
            return "Nothing was synced yet. Try `integ sync`.".to_owned();
        }
        let row = |job: &JobView| {
            let records = job.counts.added + job.counts.changed + job.counts.deleted + job.counts.unchanged;
            vec![
                job.id.to_string().into(),
                format!("{}/{}", job.connection, job.stream).into(),
                TableCell(job.state.to_owned(), tone(job.state)),
                job.mode.into(),
                relative(job.started_in).into(),
                job.seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s")).into(),
                grouped(records).into(),
            ]
        };
        table(ui, &["id", "stream", "state", "mode", "began", "took", "records"], self.jobs.iter().map(row).collect())
    }
}

impl View for JobView {
    fn text(&self, ui: &Ui) -> String {
        let mut rows: Vec<Vec<TableCell>> = vec![
            vec!["stream".into(), format!("{}/{}", self.connection, self.stream).into()],
            vec!["state".into(), TableCell(self.state.to_owned(), tone(self.state))],
            vec!["mode".into(), self.mode.into()],
            vec!["began".into(), format!("{} ({})", self.started_at, relative(self.started_in)).into()],
        ];
        let mut add = |name: &str, value: Option<String>| {
            rows.extend(value.map(|value| vec![name.into(), value.into()]));
        };
        add("since", self.since.clone());
        add("until", self.until.clone());
        add("took", self.seconds.map(|seconds| format!("{seconds} s")));
        add("resumes", self.resumes_at.clone());
        let numbers = [
            ("added", self.counts.added),
            ("changed", self.counts.changed),
            ("deleted", self.counts.deleted),
            ("unchanged", self.counts.unchanged),
            ("requests", self.traffic.requests),
            ("retries", self.traffic.retries),
            ("bytes", self.traffic.bytes),
        ];
        for (name, number) in numbers {
            add(name, Some(grouped(number)));
        }
        add("error", self.error.clone());
        add("code", self.code.clone());
        table(ui, &["job", &self.id.to_string()], rows)
    }
}

fn view(app: &App, job: Job) -> JobView {
    let now = app.clock.now();
    // A job does not know that its process died: whoever holds the stream's lock is alive.
    let cut_off = job.status == JobStatus::Running && !is_running(app, job.stream_id);
    let ended = job.ended_at.map(|at| at.as_second() - job.started_at.as_second());
    JobView {
        id: job.id.0,
        connection: job.connection.to_string(),
        stream: job.stream,
        mode: job.mode.as_str(),
        state: if cut_off { "interrupted" } else { job.status.as_str() },
        since: job.since,
        until: job.until,
        started_at: job.started_at.to_string(),
        ended_at: job.ended_at.map(|at| at.to_string()),
        seconds: ended,
        resumes_at: job.resumes_at.map(|at| at.to_string()),
        counts: job.counts,
        traffic: job.traffic,
        error: job.error,
        code: job.error_code,
        started_in: job.started_at.as_second() - now.as_second(),
    }
}

pub(in crate::cli) fn run(app: &App, ui: &Ui, args: &JobArgs) -> Result<u8> {
    match &args.command {
        JobCommand::List { connection, limit } => {
            let connection = match connection {
                Some(word) => Some(app.connection(&ui.project.resolve(word)?)?.id),
                None => None,
            };
            let jobs = if app.has_vault() { app.store()?.jobs().list(connection, *limit)? } else { Vec::new() };
            ui.show(&JobListView { jobs: jobs.into_iter().map(|job| view(app, job)).collect() })?;
            Ok(0)
        }
        JobCommand::Show { id } => {
            ui.show(&view(app, find(app, *id)?))?;
            Ok(0)
        }
        JobCommand::Retry { id, allow_deletes } => {
            let job = find(app, *id)?;
            let time = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
            let order = SyncRequest {
                connection: job.connection,
                streams: vec![job.stream],
                mode: job.mode,
                since: time(&job.since),
                until: time(&job.until),
                params: crate::store::StreamParams::new(),
                allow_deletes: *allow_deletes,
            };
            let reports = execute(app, ui, &[order])?;
            show_reports(app, ui, reports)
        }
        JobCommand::Cancel { id } => {
            let job = find(app, *id)?;
            if !is_running(app, job.stream_id) || !app.store()?.jobs().request_cancel(job.id)? {
                return Err(SyncArgumentError::NotRunning { id: *id }.into());
            }
            ui.note(&format!("Job {id} ends after the page that it is at."));
            Ok(0)
        }
    }
}

fn find(app: &App, id: i64) -> Result<Job> {
    let job = if app.has_vault() { app.store()?.jobs().get(JobId(id))? } else { None };
    job.ok_or_else(|| SyncArgumentError::JobNotFound { id }.into())
}
