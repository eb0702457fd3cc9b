//! A run: which streams of a connection, in which order, each with its lock and its job.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, StreamExt};

use super::partition::{PartitionReader, StreamTotals};
use super::request::ListRequestBuilder;
use super::selection::{SelectedStream, SyncRequest, depth, own_params, read_goal, select_streams};
use super::stream_reader::{StreamReader, SyncObserver};
use super::{SyncError, checkpoint};
use crate::api::GrantToken;
use crate::clock::{Stopwatch, Timestamp};
use crate::error::{Error, Result};
use crate::http::redact_url;
use crate::model::{
    ConnectionName, JobResult, JobStatus, NewJob, Notification, RecordCounts, StoredStream, StreamParams, SyncMode,
    Traffic,
};
use crate::oauth::refresh::{self, Freshness};
use crate::runtime::{BoxFuture, LockGuard, Session, Workspace};
use crate::store::{LockKey, Store};

/// Streams that are read side by side.
const CONCURRENT_STREAMS: usize = 4;

/// How a stream's run ended.
#[derive(Debug)]
pub enum SyncOutcome {
    Done,
    /// The vendor gave none of its lists.
    Skipped,
    /// The vendor's rate limit ended it, in order.
    RateLimited(Timestamp),
    Cancelled,
    Failed(Error),
    /// It was not begun: why.
    NotStarted(Error),
}

/// What the run of a stream stored, and how it ended.
#[derive(Debug)]
pub struct SyncReport {
    pub connection: ConnectionName,
    pub stream: String,
    pub mode: SyncMode,
    pub outcome: SyncOutcome,
    pub counts: RecordCounts,
    pub traffic: Traffic,
    /// Lists of which the vendor said that there is nothing, or nothing for this account.
    pub skipped_partitions: usize,
    pub duration_secs: f64,
}

impl SyncReport {
    /// The report of a request of which nothing could begin.
    pub fn failed(request: &SyncRequest, error: Error) -> Self {
        Self {
            connection: request.connection.clone(),
            stream: request.streams.first().cloned().unwrap_or_else(|| "*".to_owned()),
            mode: request.mode,
            outcome: SyncOutcome::Failed(error),
            counts: RecordCounts::default(),
            traffic: Traffic::default(),
            skipped_partitions: 0,
            duration_secs: 0.0,
        }
    }
}

/// What a run of a stream would ask first.
#[derive(Clone, Debug)]
pub struct PlannedStream {
    pub stream: String,
    pub mode: SyncMode,
    /// Lists there are of it so far.
    pub partition_count: usize,
    /// The cursor of the first of them.
    pub cursor: Option<String>,
    /// Method and URL, without secrets; absent where the parents are not known yet.
    pub request: Option<String>,
    /// Why it would be left out.
    pub skip_reason: Option<String>,
}

/// Syncs streams of one connection. What goes wrong with a stream is in its report.
///
/// # Errors
/// [`SyncError`] for what is not there or not given, and whatever keeps the connection from being used.
pub async fn run(workspace: &Workspace, request: &SyncRequest, observer: &dyn SyncObserver) -> Result<Vec<SyncReport>> {
    let session = workspace.session(refresh::load_grant(workspace, &request.connection).await?.connection).await?;
    let (selected, mut reports) = select_streams(workspace, &session, request).await?;
    let store = workspace.shared_store().await?;
    let token = GrantToken::from(&refresh::fresh_grant(workspace, &request.connection, Freshness::Usable).await?);
    let run = SyncRun { workspace, store, session: &session, request, token, observer, stop: AtomicBool::new(false) };
    for report in &reports {
        observer.stream_finished(report);
    }
    let depths: BTreeSet<usize> = selected.iter().map(|selected| depth(&session.connector, selected.name)).collect();
    for level in depths {
        let mut runs: Vec<BoxFuture<'_, SyncReport>> = Vec::new();
        for selected in selected.iter().filter(|selected| depth(&session.connector, selected.name) == level) {
            runs.push(Box::pin(run.stream(selected)));
        }
        reports.extend(stream::iter(runs).buffer_unordered(CONCURRENT_STREAMS).collect::<Vec<_>>().await);
    }
    Ok(reports)
}

/// What a run would ask, without asking.
///
/// # Errors
/// As [`run`].
pub async fn dry_run(workspace: &Workspace, request: &SyncRequest) -> Result<Vec<PlannedStream>> {
    let loaded = refresh::load_grant(workspace, &request.connection).await?;
    let token = GrantToken::from(&loaded);
    let session = workspace.session(loaded.connection).await?;
    let (selected, not_started) = select_streams(workspace, &session, request).await?;
    let store = workspace.store().await?;
    let now = workspace.engine.clock.now();
    let mut planned = Vec::new();
    for SelectedStream { name, stream, mode } in selected {
        let stored = store.streams().find(session.connection.id, name).await?;
        let params = own_params(stream, stored.as_ref(), request);
        let partitions = match &stored {
            Some(stored) => store.streams().partitions(stored.id).await?,
            None => Vec::new(),
        };
        let goal = read_goal(request, mode);
        let first = partitions.first();
        let partition = first
            .map(|partition| partition.params.clone())
            .or_else(|| (stream.parents.is_empty()).then(|| params.clone()));
        let cursor = first.and_then(|partition| partition.cursor.clone());
        let progress = checkpoint::first_checkpoint(stream, &goal, cursor.as_deref(), now);
        let first_request = partition.map(|params| {
            let list = ListRequestBuilder { session: &session, name, stream, params: &params, now };
            let first = list.page(&progress, &token.grant)?;
            let url = session.route.display_url(&first.url);
            Ok::<_, Error>(format!("{} {}", first.method, redact_url(&url, &first.secrets)))
        });
        planned.push(PlannedStream {
            stream: name.to_owned(),
            mode,
            partition_count: partitions.len(),
            cursor,
            request: first_request.transpose()?,
            skip_reason: None,
        });
    }
    planned.extend(not_started.into_iter().map(|report| PlannedStream {
        stream: report.stream,
        mode: report.mode,
        partition_count: 0,
        cursor: None,
        request: None,
        skip_reason: match report.outcome {
            SyncOutcome::NotStarted(why) => Some(why.message()),
            _ => None,
        },
    }));
    Ok(planned)
}

/// One run of one connection.
pub(super) struct SyncRun<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) store: Arc<dyn Store>,
    pub(super) session: &'a Session,
    pub(super) request: &'a SyncRequest,
    pub(super) token: GrantToken,
    observer: &'a dyn SyncObserver,
    /// The vendor wants no more requests for now, or the token is no good: nothing else is begun.
    pub(super) stop: AtomicBool,
}

impl SyncRun<'_> {
    async fn stream(&self, selected: &SelectedStream<'_>) -> SyncReport {
        self.observer.stream_started(&self.request.connection, selected.name);
        let stopwatch = Stopwatch::start();
        let mut stream_totals = StreamTotals::default();
        let outcome = match self.locked(selected, &mut stream_totals).await {
            Ok(()) if stream_totals.is_skipped() => SyncOutcome::Skipped,
            Ok(()) => SyncOutcome::Done,
            Err(error) => match error.downcast_ref::<SyncError>() {
                Some(SyncError::RateLimited { resumes_at, .. }) => SyncOutcome::RateLimited(*resumes_at),
                Some(SyncError::Cancelled { .. }) => SyncOutcome::Cancelled,
                _ => SyncOutcome::Failed(error),
            },
        };
        let report = SyncReport {
            connection: self.request.connection.clone(),
            stream: selected.name.to_owned(),
            mode: selected.mode,
            outcome,
            counts: stream_totals.totals.counts,
            traffic: stream_totals.totals.traffic,
            skipped_partitions: stream_totals.skipped,
            duration_secs: stopwatch.elapsed().as_secs_f64(),
        };
        self.observer.stream_finished(&report);
        report
    }

    /// Holds the stream's lock, and notes the job's beginning and end.
    async fn locked(&self, selected: &SelectedStream<'_>, stream_totals: &mut StreamTotals) -> Result<()> {
        let store = &*self.store;
        let stream = store.streams().ensure(self.session.connection.id, selected.name).await?;
        let lock = lock(self.workspace, &self.request.connection, &stream).await?;
        let params = own_params(selected.stream, Some(&stream), self.request);
        let remembered: StreamParams =
            params.iter().filter(|(name, _)| self.request.params.contains_key(*name)).map(own_pair).collect();
        if remembered.iter().any(|(name, value)| stream.params.get(name) != Some(value)) {
            let mut params = stream.params.clone();
            params.extend(remembered);
            store.streams().set_params(stream.id, &params).await?;
        }
        let goal = read_goal(self.request, selected.mode);
        // Hooks run when it begins, not at each sync.
        let was_blocked = store.jobs().last_error_code(stream.id).await?.as_deref() == Some("deletes_blocked");
        let job = store
            .jobs()
            .begin(&NewJob {
                stream: stream.id,
                mode: selected.mode,
                since: goal.since.map(|time| time.to_string()),
                until: goal.until.map(|time| time.to_string()),
                started_at: self.workspace.engine.clock.now(),
            })
            .await?;
        let reader = StreamReader {
            workspace: self.workspace,
            store,
            fence: lock.fence(),
            session: self.session,
            name: selected.name,
            stream: selected.stream,
            id: stream.id,
            read_goal: &goal,
            job,
            hasher: store.record_hasher(),
            observer: self.observer,
            unpaged_traffic: Mutex::default(),
            allow_deletes: self.request.allow_deletes,
            deleted_count: AtomicU64::new(0),
            used_cursor: AtomicBool::new(false),
        };
        let partitions = PartitionReader { run: self, reader: &reader, params };
        let result = partitions.read_all(stream_totals).await;
        let unpaged = *reader.unpaged_traffic.lock().unwrap_or_else(PoisonError::into_inner);
        stream_totals.totals.traffic.add(unpaged);
        let (state, resumes_at) = job_status(&result, stream_totals);
        let error = result.as_ref().err().filter(|_| state == JobStatus::Failed);
        if let Some(overlooked) = selected.stream.overlooks.as_ref().filter(|_| reader.used_cursor.into_inner()) {
            let name = self.request.connection.to_string();
            self.observer.note(&self.request.connection, selected.name, &overlooked.replace("{name}", &name));
        }
        if let Some(SyncError::DeletesBlocked { .. }) = error.and_then(Error::downcast_ref)
            && !was_blocked
        {
            let reason = error.map(Error::message).unwrap_or_default();
            let (connection, now) = (&self.session.connection, self.workspace.engine.clock.now());
            self.workspace.notify(Notification::deletes_blocked(
                connection,
                selected.name,
                &reason,
                &self.workspace.name,
                now,
            ));
        }
        store
            .jobs()
            .end(&JobResult {
                id: job,
                status: state,
                error: error.map(Error::message),
                error_code: error.map(|error| error.code().to_owned()),
                resumes_at,
                traffic: unpaged,
                ended_at: self.workspace.engine.clock.now(),
            })
            .await?;
        lock.release().await;
        result
    }
}

/// How a job ended, and when a limited one can go on.
fn job_status(result: &Result<()>, stream_totals: &StreamTotals) -> (JobStatus, Option<Timestamp>) {
    match result.as_ref().map_err(|error| error.downcast_ref::<SyncError>()) {
        Ok(()) if stream_totals.is_skipped() => (JobStatus::Skipped, None),
        Ok(()) => (JobStatus::Done, None),
        Err(Some(SyncError::RateLimited { resumes_at, .. })) => (JobStatus::RateLimited, Some(*resumes_at)),
        Err(Some(SyncError::Cancelled { .. })) => (JobStatus::Cancelled, None),
        Err(_) => (JobStatus::Failed, None),
    }
}

/// Takes the lock of a stream.
///
/// # Errors
/// [`SyncError::AlreadyRunning`] if somebody syncs it.
pub(super) async fn lock(
    workspace: &Workspace,
    connection: &ConnectionName,
    stream: &StoredStream,
) -> Result<LockGuard> {
    let running = || SyncError::AlreadyRunning { connection: connection.clone(), stream: stream.name.clone() }.into();
    workspace.try_lock(LockKey::Stream(stream.id)).await?.ok_or_else(running)
}

fn own_pair((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}
