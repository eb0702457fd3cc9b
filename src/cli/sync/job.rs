//! `integ job`.

use clap::{Args, Subcommand};

use super::number::grouped;
use super::progress::ProgressDisplay;
use super::report;
use crate::cli::table::{TableCell, relative, table};
use crate::cli::ui::{Render, Tone, Ui};
use crate::cli::value_parser::job_number;
use crate::error::Result;
use crate::model::UserId;
use crate::model::job::JobId;
use crate::ops::sync::{JobListRequest, cancel_job, list_jobs, retry_job, retry_job_allowing_deletes, show_job};
use crate::runtime::Workspace;
use crate::view::sync::{JobListView, JobView, JobViewStatus};

/// List, retry and cancel sync jobs
#[derive(Debug, Args)]
pub(in crate::cli) struct JobArgs {
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    /// List sync jobs, newest first
    List {
        /// Connection whose jobs to list (default: all)
        #[arg(add = crate::cli::complete::connections())]
        connection: Option<String>,
        /// Only jobs of this user's connections (default: all)
        #[arg(long, value_name = "ID")]
        user: Option<UserId>,
        /// Maximum number of jobs
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
    /// Show the details of a job
    Show {
        /// Number of the job, as `integ job list` prints it
        #[arg(value_parser = job_number, add = crate::cli::complete::jobs())]
        id: i64,
    },
    /// Run the sync of a job again
    Retry {
        /// Number of the job, as `integ job list` prints it
        #[arg(value_parser = job_number, add = crate::cli::complete::jobs())]
        id: i64,
        /// Mark records as deleted even if that is more than half of the stream
        #[arg(long)]
        allow_deletes: bool,
    },
    /// Cancel a job after its current page; the records that it stored stay
    Cancel {
        /// Number of the job, as `integ job list` prints it
        #[arg(value_parser = job_number, add = crate::cli::complete::jobs())]
        id: i64,
    },
}

pub(in crate::cli) fn run(workspace: &Workspace, ui: &Ui, args: &JobArgs) -> Result<u8> {
    match &args.command {
        JobCommand::List { connection, user, limit } => {
            let connection = connection.as_deref().map(|word| ui.project.resolve(word)).transpose()?;
            let request = JobListRequest { connection, user: user.clone(), before: None, limit: *limit };
            ui.show(&workspace.run(list_jobs(workspace, request))?)?;
        }
        JobCommand::Show { id } => ui.show(&workspace.run(show_job(workspace, JobId(*id)))?)?,
        JobCommand::Retry { id, allow_deletes } => {
            let (id, progress) = (JobId(*id), ProgressDisplay::new(ui));
            let reports = match allow_deletes {
                true => workspace.run(retry_job_allowing_deletes(workspace, id, &progress))?,
                false => workspace.run(retry_job(workspace, id, &progress))?,
            };
            return report::show(ui, &reports);
        }
        JobCommand::Cancel { id } => {
            workspace.run(cancel_job(workspace, JobId(*id)))?;
            ui.note(&format!("Job {id} ends after its current page."));
        }
    }
    Ok(0)
}

fn tone(status: JobViewStatus) -> Option<Tone> {
    match status {
        JobViewStatus::Done => Some(Tone::Good),
        JobViewStatus::Failed | JobViewStatus::Interrupted => Some(Tone::Bad),
        JobViewStatus::RateLimited | JobViewStatus::Cancelled | JobViewStatus::Skipped => Some(Tone::Warn),
        JobViewStatus::Running => None,
    }
}

/// When the job began, from now.
fn began(job: &JobView) -> String {
    relative(job.started_at.as_second() - job.as_of.as_second())
}

impl Render for JobListView {
    fn text(&self, ui: &Ui) -> String {
        if self.jobs.is_empty() {
            return "Nothing has been synced yet. Try `integ sync`.".to_owned();
        }
        let row = |job: &JobView| {
            let records = job.counts.added + job.counts.changed + job.counts.deleted + job.counts.unchanged;
            vec![
                job.id.to_string().into(),
                format!("{}/{}", job.connection, job.stream).into(),
                TableCell(job.status.as_str().replace('_', " "), tone(job.status)),
                job.mode.as_str().into(),
                began(job).into(),
                job.duration_secs.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s")).into(),
                grouped(records).into(),
            ]
        };
        table(
            ui,
            &["id", "stream", "status", "mode", "started", "duration", "records"],
            self.jobs.iter().map(row).collect(),
        )
    }
}

impl Render for JobView {
    fn text(&self, ui: &Ui) -> String {
        let mut rows: Vec<Vec<TableCell>> = vec![
            vec!["stream".into(), format!("{}/{}", self.connection, self.stream).into()],
            vec!["status".into(), TableCell(self.status.to_string(), tone(self.status))],
            vec!["mode".into(), self.mode.as_str().into()],
            vec!["started".into(), format!("{} ({})", self.started_at, began(self)).into()],
        ];
        let mut add = |name: &str, value: Option<String>| {
            rows.extend(value.map(|value| vec![name.into(), value.into()]));
        };
        add("since", self.since.clone());
        add("until", self.until.clone());
        add("duration", self.duration_secs.map(|seconds| format!("{seconds} s")));
        add("resumes", self.resumes_at.map(|at| at.to_string()));
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
        add("code", self.error_code.clone());
        table(ui, &["job", &self.id.to_string()], rows)
    }
}
