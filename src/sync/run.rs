//! A run: the streams of a connection in order, each with its lock and its job.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::SyncError;
use super::ingest::commit_conditions;
use super::observer::SyncObserver;
use super::outcome::{SyncOutcome, SyncReport};
use super::partition::sync_partitions;
use super::selection::{
    SelectedStream, Selection, StreamObstacle, SyncRequest, depth, own_params, read_goal, select_streams,
};
use super::stream::{StreamRun, Tally};
use crate::api::GrantToken;
use crate::clock::Stopwatch;
use crate::consent;
use crate::error::{Error, Result};
use crate::model::{
    ConnectionName, ConsentPurpose, JobResult, JobStatus, NewJob, Notification, StoredStream, StreamParams,
};
use crate::oauth::refresh::{self, Freshness};
use crate::runtime::{Activity, BoxFuture, Session, Workspace};
use crate::store::{LockKey, Store};

/// Streams that are read side by side.
const CONCURRENT_STREAMS: usize = 4;

/// How a run ended that could be begun.
pub(super) enum RunEnd {
    /// What became of each stream.
    Finished(Vec<SyncReport>),
    /// A stream that was named cannot be synced.
    Refused(StreamObstacle),
}

/// Syncs streams of one connection. What goes wrong with a stream is in its report.
///
/// # Errors
/// [`SyncError`] for what is not there or not given, and whatever keeps the connection from being used.
pub async fn run(workspace: &Workspace, request: &SyncRequest, observer: &dyn SyncObserver) -> Result<Vec<SyncReport>> {
    match run_streams(workspace, request, observer).await? {
        RunEnd::Finished(reports) => Ok(reports),
        RunEnd::Refused(obstacle) => Err(obstacle.into()),
    }
}

/// Syncs as [`run`] does, and says by its result that a stream which was named cannot be synced.
pub(super) async fn run_streams(
    workspace: &Workspace,
    request: &SyncRequest,
    observer: &dyn SyncObserver,
) -> Result<RunEnd> {
    let session = workspace.session(refresh::load_grant(workspace, &request.connection).await?.connection).await?;
    consent::ensure(workspace, &session.connection, &ConsentPurpose::Sync).await?;
    let (selected, left_out) = match select_streams(workspace, &session, request).await? {
        Selection::Streams { selected, left_out } => (selected, left_out),
        Selection::Refused(obstacle) => return Ok(RunEnd::Refused(obstacle)),
    };
    let store = workspace.shared_store().await?;
    let token = GrantToken::from(&refresh::fresh_grant(workspace, &request.connection, Freshness::Usable).await?);
    let mut reports = Vec::new();
    for left_out in left_out {
        let outcome = SyncOutcome::NotStarted(left_out.obstacle.into());
        let report = SyncReport::empty(&request.connection, left_out.name, request.mode, outcome);
        observer.stream_finished(&report);
        reports.push(report);
    }
    let run = ConnectionRun { workspace, store, session: &session, request, token, observer, stop: false.into() };
    let depths: BTreeSet<usize> = selected.iter().map(|selected| depth(&session.connector, selected.name)).collect();
    for level in depths {
        let mut runs: Vec<BoxFuture<'_, SyncReport>> = Vec::new();
        for selected in selected.iter().filter(|selected| depth(&session.connector, selected.name) == level) {
            runs.push(Box::pin(async {
                observer.stream_started(&request.connection, selected.name);
                let (stopwatch, mut tally) = (Stopwatch::start(), Tally::default());
                let outcome = run.sync_stream(selected, &mut tally).await.unwrap_or_else(SyncOutcome::Failed);
                let report = report(&request.connection, selected, outcome, &tally, stopwatch.elapsed());
                observer.stream_finished(&report);
                report
            }));
        }
        reports.extend(stream::iter(runs).buffer_unordered(CONCURRENT_STREAMS).collect::<Vec<_>>().await);
    }
    Ok(RunEnd::Finished(reports))
}

/// One run of one connection.
struct ConnectionRun<'a> {
    workspace: &'a Workspace,
    store: Arc<dyn Store>,
    session: &'a Session,
    request: &'a SyncRequest,
    token: GrantToken,
    observer: &'a dyn SyncObserver,
    /// The vendor wants no more requests for now, or the token is not accepted: no other list is begun.
    stop: AtomicBool,
}

impl ConnectionRun<'_> {
    /// Syncs a stream under its lock, and notes the job's beginning and end. `tally` is what it did.
    ///
    /// # Errors
    /// The store's, if the job could not be noted.
    async fn sync_stream(&self, selected: &SelectedStream<'_>, tally: &mut Tally) -> Result<SyncOutcome> {
        let store = &*self.store;
        let stored = store.streams().ensure(self.session.connection.id, selected.name).await?;
        let Some(lock) = self.workspace.try_lock(LockKey::Stream(stored.id)).await? else {
            let (connection, stream) = (self.request.connection.clone(), stored.name);
            return Ok(SyncOutcome::Locked(SyncError::AlreadyRunning { connection, stream }.into()));
        };
        let params = own_params(selected.stream, Some(&stored), self.request);
        self.remember_params(&stored, &params).await?;
        let goal = read_goal(self.request, selected.mode);
        // Hooks run when it begins, not at each sync.
        let was_blocked = store.jobs().last_error_code(stored.id).await?.as_deref() == Some("deletes_blocked");
        let job = NewJob {
            stream: stored.id,
            mode: selected.mode,
            since: goal.since.map(|time| time.to_string()),
            until: goal.until.map(|time| time.to_string()),
            started_at: self.workspace.clock.now(),
        };
        let run = StreamRun {
            workspace: self.workspace,
            store,
            conditions: commit_conditions(self.workspace, self.session.connection.id, &lock),
            session: self.session,
            request: self.request,
            token: &self.token,
            name: selected.name,
            stream: selected.stream,
            id: stored.id,
            goal: &goal,
            job: store.jobs().begin(&job).await?,
            hasher: store.record_hasher(),
            observer: self.observer,
            stop: &self.stop,
            tally: Mutex::default(),
        };
        let outcome = sync_partitions(&run, &params).await.unwrap_or_else(SyncOutcome::Failed);
        let job = run.job;
        *tally = run.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(overlooked) = selected.stream.overlooks.as_ref().filter(|_| tally.used_cursor) {
            let name = self.request.connection.to_string();
            self.observer.note(&self.request.connection, selected.name, &overlooked.replace("{name}", &name));
        }
        if let (SyncOutcome::DeletesBlocked(error), false) = (&outcome, was_blocked) {
            let (connection, now) = (&self.session.connection, self.workspace.clock.now());
            let (reason, workspace) = (error.message(), &self.workspace.name);
            let notification = Notification::deletes_blocked(connection, selected.name, &reason, workspace, now);
            self.workspace.notify(notification);
        }
        let result = JobResult {
            id: job,
            status: outcome.job_status(),
            error: outcome.error().map(Error::message),
            error_code: outcome.error().map(|error| error.code().to_owned()),
            resumes_at: outcome.resumes_at(),
            traffic: tally.unpaged_traffic,
            ended_at: self.workspace.clock.now(),
        };
        store.jobs().end(&result).await?;
        let activity = match result.status {
            JobStatus::Done | JobStatus::Skipped => Some(Activity::SyncDone),
            JobStatus::Failed | JobStatus::RateLimited => Some(Activity::SyncFailed),
            JobStatus::Running | JobStatus::Cancelled => None,
        };
        let connection = Some(self.session.connection.id);
        activity.into_iter().for_each(|activity| self.workspace.metrics().count(connection, activity));
        lock.release().await;
        Ok(outcome)
    }

    /// Stores the parameters that the user gave, for later syncs.
    async fn remember_params(&self, stored: &StoredStream, params: &StreamParams) -> Result<()> {
        let mut remembered = stored.params.clone();
        let given = params.iter().filter(|(name, _)| self.request.params.contains_key(*name));
        remembered.extend(given.map(|(name, value)| (name.clone(), value.clone())));
        if remembered != stored.params {
            self.store.streams().set_params(stored.id, &remembered).await?;
        }
        Ok(())
    }
}

fn report(
    connection: &ConnectionName,
    selected: &SelectedStream<'_>,
    outcome: SyncOutcome,
    tally: &Tally,
    duration: Duration,
) -> SyncReport {
    let mut traffic = tally.traffic;
    traffic += tally.unpaged_traffic;
    SyncReport {
        counts: tally.counts,
        traffic,
        skipped_partitions: tally.skipped_partitions,
        duration_secs: duration.as_secs_f64(),
        ..SyncReport::empty(connection, selected.name, selected.mode, outcome)
    }
}
