//! Jobs: the runs of syncs.

use super::SyncOperationError;
use super::run::run_all;
use crate::error::Result;
use crate::model::ConnectionName;
use crate::runtime::Workspace;
use crate::store::{Job, JobId, JobStatus, StreamParams};
use crate::sync::{SyncObserver, SyncRequest, is_running};
use crate::view::sync::{JobListView, JobView, JobViewStatus, SyncListView};

/// Which jobs to list.
#[derive(Clone, Debug)]
pub struct JobListRequest {
    /// Absent for all connections.
    pub connection: Option<ConnectionName>,
    /// Number of jobs at most.
    pub limit: u32,
}

/// Which job to run again.
#[derive(Clone, Copy, Debug)]
pub struct RetryJobRequest {
    pub id: JobId,
    /// Lets a full sync mark more than half of the stream as deleted.
    pub allow_deletes: bool,
}

/// Jobs, newest first.
pub async fn list_jobs(workspace: &Workspace, request: JobListRequest) -> Result<JobListView> {
    let connection = request.connection.map(|name| workspace.connection(&name)).transpose()?.map(|found| found.id);
    let jobs =
        if workspace.has_vault() { workspace.store()?.jobs().list(connection, request.limit)? } else { Vec::new() };
    Ok(JobListView { jobs: jobs.into_iter().map(|job| view(workspace, job)).collect() })
}

/// One job.
pub async fn show_job(workspace: &Workspace, id: JobId) -> Result<JobView> {
    Ok(view(workspace, find(workspace, id)?))
}

/// Syncs the stream of a job again, with its mode and range.
pub async fn retry_job(
    workspace: &Workspace,
    request: RetryJobRequest,
    observer: &dyn SyncObserver,
) -> Result<SyncListView> {
    let job = find(workspace, request.id)?;
    let time = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
    let request = SyncRequest {
        connection: job.connection,
        streams: vec![job.stream],
        mode: job.mode,
        since: time(&job.since),
        until: time(&job.until),
        params: StreamParams::new(),
        allow_deletes: request.allow_deletes,
    };
    run_all(workspace, &[request], observer).await
}

/// Asks a running job to end after its current page; what it stored stays.
pub async fn cancel_job(workspace: &Workspace, id: JobId) -> Result<JobView> {
    let job = find(workspace, id)?;
    if !is_running(workspace, job.stream_id) || !workspace.store()?.jobs().request_cancel(job.id)? {
        return Err(SyncOperationError::JobNotRunning { id: id.0 }.into());
    }
    Ok(view(workspace, job))
}

fn find(workspace: &Workspace, id: JobId) -> Result<Job> {
    let job = if workspace.has_vault() { workspace.store()?.jobs().get(id)? } else { None };
    job.ok_or_else(|| SyncOperationError::JobNotFound { id: id.0 }.into())
}

fn view(workspace: &Workspace, job: Job) -> JobView {
    JobView {
        id: job.id.0,
        status: status(workspace, &job),
        connection: job.connection,
        stream: job.stream,
        mode: job.mode,
        since: job.since,
        until: job.until,
        started_at: job.started_at,
        ended_at: job.ended_at,
        duration_secs: job.ended_at.map(|at| at.as_second() - job.started_at.as_second()),
        resumes_at: job.resumes_at,
        counts: job.counts,
        traffic: job.traffic,
        error: job.error,
        error_code: job.error_code,
        as_of: workspace.engine.clock.now(),
    }
}

fn status(workspace: &Workspace, job: &Job) -> JobViewStatus {
    match job.status {
        // The store does not know that a process died: one that lives holds the stream's lock.
        JobStatus::Running if !is_running(workspace, job.stream_id) => JobViewStatus::Interrupted,
        JobStatus::Running => JobViewStatus::Running,
        JobStatus::Done => JobViewStatus::Done,
        JobStatus::Skipped => JobViewStatus::Skipped,
        JobStatus::Failed => JobViewStatus::Failed,
        JobStatus::RateLimited => JobViewStatus::RateLimited,
        JobStatus::Cancelled => JobViewStatus::Cancelled,
    }
}
