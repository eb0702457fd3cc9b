//! Syncs: now, when due, and as a dry run.

use std::collections::BTreeMap;
use std::future;

use super::{SyncOperationError, SyncTarget};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::{ConnectionName, StreamParams, SyncMode};
use crate::runtime::Workspace;
use crate::runtime::worker::{self, RunUntil};
use crate::sync::{self, PlannedStream, SyncObserver, SyncOutcome, SyncReport, SyncRequest};
use crate::view::sync::{PlannedStreamView, SyncListView, SyncPlanView, SyncReportView, SyncStatus};
use crate::worker::schedule::{ScheduleWorker, ScheduledSync};

/// What to request for each stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncRange {
    /// Changes since the last sync.
    Incremental,
    /// Everything, which also detects deletions.
    Full,
    /// Changes in a time range; the cursor is not moved. It ends now if no end is given.
    Backfill { since: Timestamp, until: Option<Timestamp> },
}

/// Which streams to sync, and how.
#[derive(Clone, Debug)]
pub struct SyncStreamsRequest {
    /// Every connection that has streams if empty.
    pub targets: Vec<SyncTarget>,
    pub range: SyncRange,
    /// Parameters of the streams, which later syncs use too.
    pub params: StreamParams,
}

/// Syncs streams, one connection after the other, and reports on each. A failure of one of several connections is in its
/// report; that of the only one is returned. A full sync that would mark more than half of a stream as deleted fails.
pub async fn sync_streams(
    workspace: &Workspace,
    request: SyncStreamsRequest,
    observer: &dyn SyncObserver,
) -> Result<SyncListView> {
    run_all(workspace, &connection_requests(workspace, request, false).await?, observer).await
}

/// Like [`sync_streams`], but full syncs may mark any number of records as deleted.
///
/// A separate operation for the owner only: anyone who may sync could set a field of the request.
pub async fn sync_streams_allowing_deletes(
    workspace: &Workspace,
    request: SyncStreamsRequest,
    observer: &dyn SyncObserver,
) -> Result<SyncListView> {
    run_all(workspace, &connection_requests(workspace, request, true).await?, observer).await
}

/// Syncs what is due by the schedules. Each schedule is advanced before its sync starts, so that only one process runs
/// it. Without reports, nothing was due.
pub async fn sync_due(workspace: &Workspace, observer: &dyn SyncObserver) -> Result<SyncListView> {
    let mut results = Vec::new();
    let report = |ended: ScheduledSync| results.push((ended.request, ended.result));
    let now = workspace.clock.now();
    let mut worker = ScheduleWorker::one_shot(workspace, now, observer, Box::new(report));
    worker::run(&mut worker, workspace, RunUntil::Idle, future::pending()).await?;
    drop(worker);
    list_view(workspace, results)
}

/// The first request that a sync would make of each stream, without making it.
pub async fn plan_sync(workspace: &Workspace, request: SyncStreamsRequest) -> Result<SyncPlanView> {
    let mut streams = Vec::new();
    for request in connection_requests(workspace, request, false).await? {
        let view = |planned: PlannedStream| PlannedStreamView {
            connection: request.connection.clone(),
            stream: planned.stream,
            mode: planned.mode,
            partitions: planned.partition_count,
            cursor: planned.cursor,
            request: planned.request,
            skip_reason: planned.skip_reason,
        };
        streams.extend(sync::dry_run(workspace, &request).await?.into_iter().map(view));
    }
    Ok(SyncPlanView { streams })
}

/// One request for each connection, ordered by name. `allow_deletes` lets a full sync mark more than half of a stream as
/// deleted.
pub(super) async fn connection_requests(
    workspace: &Workspace,
    request: SyncStreamsRequest,
    allow_deletes: bool,
) -> Result<Vec<SyncRequest>> {
    let SyncStreamsRequest { targets, range, params } = request;
    let (mode, since, until) = match range {
        SyncRange::Incremental => (SyncMode::Incremental, None, None),
        SyncRange::Full => (SyncMode::Full, None, None),
        SyncRange::Backfill { since, until } if until.is_some_and(|until| until <= since) => {
            return Err(SyncOperationError::InvertedRange.into());
        }
        SyncRange::Backfill { since, until } => (SyncMode::Backfill, Some(since), until),
    };
    let of_connection = |(connection, streams)| SyncRequest {
        connection,
        streams,
        mode,
        since,
        until,
        params: params.clone(),
        allow_deletes,
    };
    Ok(streams_by_connection(workspace, targets).await?.into_iter().map(of_connection).collect())
}

/// The streams that are named of each connection; none for all of them.
async fn streams_by_connection(
    workspace: &Workspace,
    targets: Vec<SyncTarget>,
) -> Result<BTreeMap<ConnectionName, Vec<String>>> {
    let mut named: BTreeMap<ConnectionName, Vec<String>> = BTreeMap::new();
    if targets.is_empty() {
        for name in workspace.connection_names().await? {
            if workspace.catalogue().get(name.connector()).is_ok_and(|connector| !connector.streams.is_empty()) {
                named.insert(name, Vec::new());
            }
        }
    }
    let mut whole = Vec::new();
    for target in targets {
        workspace.connection(&target.connection).await?;
        let streams = named.entry(target.connection.clone()).or_default();
        match target.stream {
            Some(stream) if !streams.contains(&stream) => streams.push(stream),
            Some(_) => {}
            None => whole.push(target.connection),
        }
    }
    // A connection that is named without a stream means all of them, whatever else is named of it.
    named.extend(whole.into_iter().map(|connection| (connection, Vec::new())));
    Ok(named)
}

pub(super) async fn run_all(
    workspace: &Workspace,
    requests: &[SyncRequest],
    observer: &dyn SyncObserver,
) -> Result<SyncListView> {
    let mut results = Vec::new();
    for request in requests {
        let result = sync::run(workspace, request, observer).await;
        observer.connection_finished();
        results.push((request.clone(), result));
    }
    list_view(workspace, results)
}

/// What syncs came to. A failure of one of several connections is in its report; that of the only one is returned.
fn list_view(workspace: &Workspace, results: Vec<(SyncRequest, Result<Vec<SyncReport>>)>) -> Result<SyncListView> {
    let is_only_one = results.len() == 1;
    let mut reports = Vec::new();
    for (request, result) in results {
        match result {
            Ok(done) => reports.extend(done),
            Err(error) if is_only_one => return Err(error),
            Err(error) => reports.push(SyncReport::failed(&request, error)),
        }
    }
    // Streams run concurrently and end in any order.
    reports.sort_by_cached_key(|report| (report.connection.to_string(), report.stream.clone()));
    let streams = reports.into_iter().map(view).collect();
    Ok(SyncListView { workspace: workspace.name.clone(), streams, as_of: workspace.clock.now() })
}

fn view(report: SyncReport) -> SyncReportView {
    let status = match &report.outcome {
        SyncOutcome::Done => SyncStatus::Done,
        SyncOutcome::Skipped => SyncStatus::Skipped,
        SyncOutcome::RateLimited(_) => SyncStatus::RateLimited,
        SyncOutcome::Cancelled => SyncStatus::Cancelled,
        SyncOutcome::Locked(_) | SyncOutcome::DeletesBlocked(_) | SyncOutcome::Failed(_) => SyncStatus::Failed,
        SyncOutcome::NotStarted(_) => SyncStatus::NotStarted,
    };
    let error = report.outcome.error();
    SyncReportView {
        status,
        resumes_at: report.outcome.resumes_at(),
        error: error.map(Error::on_one_line),
        error_code: error.map(Error::code),
        hint: error.and_then(Error::hint).map(|hint| hint.to_string()),
        error_kind: error.map(Error::kind),
        connection: report.connection,
        stream: report.stream,
        mode: report.mode,
        counts: report.counts,
        traffic: report.traffic,
        skipped: report.skipped_partitions,
        duration_secs: (report.duration_secs * 1000.0).round() / 1000.0,
    }
}
