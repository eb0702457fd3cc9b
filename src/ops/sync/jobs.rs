//! Jobs: the runs of syncs.

use std::cmp::Reverse;

use super::SyncOperationError;
use super::run::run_all;
use crate::error::Result;
use crate::model::{ConnectionName, Job, JobId, JobStatus, StreamParams, UserId};
use crate::runtime::Workspace;
use crate::store::LockKey;
use crate::sync::{SyncObserver, SyncRequest};
use crate::view::sync::{JobListView, JobView, JobViewStatus, SyncListView};

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobListRequest {
    /// Absent for all connections.
    pub connection: Option<ConnectionName>,
    /// Only those of this user's connections.
    pub user: Option<UserId>,
    /// Only those with a smaller id: the next page of a list.
    pub before: Option<JobId>,
    /// Maximum number of jobs.
    pub limit: u32,
}

/// Jobs, newest first.
pub async fn list_jobs(workspace: &Workspace, request: JobListRequest) -> Result<JobListView> {
    let mut jobs = Vec::new();
    for connection in workspace.listed(request.connection.as_ref(), request.user.as_ref()).await? {
        for job in workspace.store().await?.jobs().list(connection, request.before, request.limit).await? {
            jobs.push(view(workspace, job).await?);
        }
    }
    jobs.sort_by_key(|job| Reverse(job.id));
    jobs.truncate(usize::try_from(request.limit).unwrap_or(usize::MAX));
    Ok(JobListView { jobs })
}

/// One job.
pub async fn show_job(workspace: &Workspace, id: JobId) -> Result<JobView> {
    view(workspace, find(workspace, id).await?).await
}

/// Syncs the stream of a job again, with its mode and range.
pub async fn retry_job(workspace: &Workspace, id: JobId, observer: &dyn SyncObserver) -> Result<SyncListView> {
    retry(workspace, id, false, observer).await
}

/// Like [`retry_job`], but a full sync may mark any number of records as deleted. For the owner only.
pub async fn retry_job_allowing_deletes(
    workspace: &Workspace,
    id: JobId,
    observer: &dyn SyncObserver,
) -> Result<SyncListView> {
    retry(workspace, id, true, observer).await
}

async fn retry(
    workspace: &Workspace,
    id: JobId,
    allow_deletes: bool,
    observer: &dyn SyncObserver,
) -> Result<SyncListView> {
    let job = find(workspace, id).await?;
    let time = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
    let request = SyncRequest {
        connection: job.connection,
        streams: vec![job.stream],
        mode: job.mode,
        since: time(&job.since),
        until: time(&job.until),
        params: StreamParams::new(),
        allow_deletes,
    };
    run_all(workspace, &[request], observer).await
}

/// Asks a running job to end after its current page; stored records are kept.
pub async fn cancel_job(workspace: &Workspace, id: JobId) -> Result<JobView> {
    let job = find(workspace, id).await?;
    if !is_running(workspace, &job).await? || !workspace.store().await?.jobs().request_cancel(job.id).await? {
        return Err(SyncOperationError::JobNotRunning { id: id.0 }.into());
    }
    view(workspace, job).await
}

/// Returns whether a process is syncing the stream. A live process holds the lock; the store does not know of dead
/// ones.
async fn is_running(workspace: &Workspace, job: &Job) -> Result<bool> {
    workspace.is_locked(LockKey::Stream(job.stream_id)).await
}

async fn find(workspace: &Workspace, id: JobId) -> Result<Job> {
    let job = if workspace.has_vault() { workspace.store().await?.jobs().get(id).await? } else { None };
    let names = workspace.connection_names().await?;
    job.filter(|job| names.contains(&job.connection)).ok_or_else(|| SyncOperationError::JobNotFound { id: id.0 }.into())
}

async fn view(workspace: &Workspace, job: Job) -> Result<JobView> {
    Ok(JobView {
        id: job.id.0,
        status: status(workspace, &job).await?,
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
        as_of: workspace.clock.now(),
    })
}

async fn status(workspace: &Workspace, job: &Job) -> Result<JobViewStatus> {
    Ok(match job.status {
        JobStatus::Running if is_running(workspace, job).await? => JobViewStatus::Running,
        JobStatus::Running => JobViewStatus::Interrupted,
        JobStatus::Done => JobViewStatus::Done,
        JobStatus::Skipped => JobViewStatus::Skipped,
        JobStatus::Failed => JobViewStatus::Failed,
        JobStatus::RateLimited => JobViewStatus::RateLimited,
        JobStatus::Cancelled => JobViewStatus::Cancelled,
    })
}
