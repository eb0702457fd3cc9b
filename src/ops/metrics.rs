//! Metrics: how connections and their queues are doing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Effect, Operation, OperationScope, Reach};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::health::{StatusSummary, status_of};
use crate::model::{
    AuditOutcome, Connection, ConnectionAccess, ConnectionId, ConnectionName, DeliveryStatus, EventFilter, EventStatus,
    HealthCheck, JobStatus, QueueState, Uptime, WorkspaceFigures,
};
use crate::runtime::{Activity, Counters, Workspace};
use crate::view::metrics::{
    CheckCountsView, ConnectCountsView, ConnectionErrorView, ConnectionFiguresView, ConnectionMetricsView,
    DeliveryCountsView, EventCountsView, ProcessView, QueueView, SyncCountsView, UptimeView, UptimesView,
    WorkspaceMetricsView, rate,
};
use crate::view::user::UserSummaryView;

/// The operations of this module.
pub const OPERATIONS: &[Operation] =
    &[Operation::local("metrics", OperationScope::Metrics, Effect::Read).reachable_by(Reach::Api)];

/// The time that counts are of, unless the caller says otherwise.
const DEFAULT_PERIOD: Duration = DAY;

const DAY: Duration = Duration::from_secs(86_400);

/// For how long the result of a check holds at least: checks by hand are rarer than those of the worker.
const MIN_VALIDITY: Duration = Duration::from_secs(3600);

/// Connections with figures of their own in the metrics of a workspace.
const MAX_CONNECTIONS: usize = 1000;

/// Errors that the metrics of a connection list.
const MAX_ERRORS: usize = 5;

/// Returns the metrics of a connection, with counts since a time, or of the last day.
///
/// # Errors
/// Unknown connections.
pub async fn connection_metrics(
    workspace: &Workspace,
    name: &ConnectionName,
    since: Option<Timestamp>,
) -> Result<ConnectionMetricsView> {
    let connection = workspace.connection(name).await?;
    let now = workspace.clock.now_millis();
    let since = since.unwrap_or_else(|| before(now, DEFAULT_PERIOD));
    let store = workspace.store().await?;
    let validity = validity(workspace, &connection);
    let from = before(now, 30 * DAY).min(since);
    let checks = store.health_checks().since(connection.id, before(from, validity)).await?;
    let uptime = |period| Uptime::compute(&checks, before(now, period), now, validity).map(UptimeView::from);
    let mut records = 0;
    for stream in store.streams().list(connection.id).await? {
        records += store.records().count(stream.id).await?;
    }
    let figures = store.figures().read_figures(since, now).await?;
    let counters = workspace.metrics().snapshot().remove(&Some(connection.id)).unwrap_or_default();
    Ok(ConnectionMetricsView {
        uptime: UptimesView { last_day: uptime(DAY), last_7_days: uptime(7 * DAY), last_30_days: uptime(30 * DAY) },
        checks: CheckCountsView::new(newer(&checks, since)),
        events: events(&figures, |id| id == connection.id),
        queue: QueueView::new(figures.event_queues.get(&connection.id).copied().unwrap_or_default(), now),
        syncs: syncs(&figures, |id| id == connection.id),
        records,
        errors: latest_errors(workspace, &connection, &checks).await?,
        process: ProcessView::from(&counters),
        status: status_of(&connection, now).0,
        connection: connection.name,
        measured_at: now,
        since,
    })
}

/// Returns the metrics of a workspace, with counts since a time, or of the last day. Those of a caller who may use only
/// some connections are of these.
pub async fn workspace_metrics(workspace: &Workspace, since: Option<Timestamp>) -> Result<WorkspaceMetricsView> {
    let now = workspace.clock.now_millis();
    let since = since.unwrap_or_else(|| before(now, DEFAULT_PERIOD));
    let connections = workspace.connections().await?;
    let figures = match workspace.has_vault() {
        true => workspace.store().await?.figures().read_figures(since, now).await?,
        false => WorkspaceFigures::default(),
    };
    let counters = workspace.metrics().snapshot();
    let allowed: BTreeSet<ConnectionId> = connections.iter().map(|connection| connection.id).collect();
    let mut statuses = StatusSummary::default();
    connections.iter().for_each(|connection| statuses.add(status_of(connection, now).0));
    let mut by_connection = Vec::new();
    let listed = &connections[..connections.len().min(MAX_CONNECTIONS)];
    let checks = checks_of(workspace, listed, (since, now)).await?;
    for (connection, checks) in listed.iter().zip(checks) {
        by_connection.push(connection_figures(workspace, connection, &figures, &counters, &checks, (since, now)));
    }
    let sum = |checks: CheckCountsView, one: &ConnectionFiguresView| checks.with(one.checks);
    let inbox = figures.event_queues.iter().filter(|(id, _)| allowed.contains(id));
    let inbox = inbox.fold(QueueState::default(), |sum, (_, queue)| sum.with(*queue));
    let is_whole = *workspace.access() == ConnectionAccess::All;
    Ok(WorkspaceMetricsView {
        measured_at: now,
        since,
        connections: statuses,
        users: users(&connections),
        checks: by_connection.iter().fold(CheckCountsView::default(), sum),
        events: events(&figures, |id| allowed.contains(&id)),
        inbox: QueueView::new(inbox, now),
        syncs: syncs(&figures, |id| allowed.contains(&id)),
        connects: is_whole.then(|| connects(&figures)),
        deliveries: is_whole.then(|| deliveries(&figures)),
        outbox: is_whole.then(|| QueueView::new(figures.delivery_queue, now)),
        delivery_attempts: is_whole.then(|| delivery_attempts(counters.get(&None))),
        by_connection,
    })
}

/// Returns the checks of connections that their figures are computed from.
async fn checks_of(
    workspace: &Workspace,
    connections: &[Connection],
    (since, now): (Timestamp, Timestamp),
) -> Result<Vec<Vec<HealthCheck>>> {
    if connections.is_empty() {
        return Ok(Vec::new());
    }
    let from = |connection: &Connection| before(before(now, DAY), validity(workspace, connection)).min(since);
    let wanted: Vec<_> = connections.iter().map(|connection| (connection.id, from(connection))).collect();
    Ok(workspace.store().await?.health_checks().since_of_each(&wanted).await?)
}

fn connection_figures(
    workspace: &Workspace,
    connection: &Connection,
    figures: &WorkspaceFigures,
    counters: &BTreeMap<Option<ConnectionId>, Counters>,
    checks: &[HealthCheck],
    (since, now): (Timestamp, Timestamp),
) -> ConnectionFiguresView {
    let queue = figures.event_queues.get(&connection.id).copied().unwrap_or_default();
    ConnectionFiguresView {
        connection: connection.name.clone(),
        status: status_of(connection, now).0,
        uptime: Uptime::compute(checks, before(now, DAY), now, validity(workspace, connection)).map(UptimeView::from),
        checks: CheckCountsView::new(newer(checks, since)),
        events: events(figures, |id| id == connection.id),
        queue: QueueView::new(queue, now),
        syncs: syncs(figures, |id| id == connection.id),
        process: counters.get(&Some(connection.id)).map(ProcessView::from).unwrap_or_default(),
    }
}

fn before(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_sub(duration).unwrap_or(Timestamp::MIN)
}

/// For how long what a check of a connection found holds: one that was missed does not make a gap.
fn validity(workspace: &Workspace, connection: &Connection) -> Duration {
    let interval = workspace.engine.config.health.interval_of(&connection.name);
    interval.map_or(MIN_VALIDITY, |interval| (2 * interval).max(MIN_VALIDITY))
}

fn newer(checks: &[HealthCheck], since: Timestamp) -> &[HealthCheck] {
    &checks[checks.partition_point(|check| check.at < since)..]
}

fn events(figures: &WorkspaceFigures, is_meant: impl Fn(ConnectionId) -> bool) -> EventCountsView {
    let mut counts = EventCountsView::default();
    let meant = figures.events.iter().filter(|(id, ..)| is_meant(*id));
    meant.for_each(|(_, status, count)| counts.add(*status, *count));
    counts
}

fn syncs(figures: &WorkspaceFigures, is_meant: impl Fn(ConnectionId) -> bool) -> SyncCountsView {
    let mut counts = SyncCountsView::default();
    let meant = figures.jobs.iter().filter(|(id, ..)| is_meant(*id));
    meant.for_each(|(_, status, count)| counts.add(*status, *count));
    counts
}

fn deliveries(figures: &WorkspaceFigures) -> DeliveryCountsView {
    let mut counts = DeliveryCountsView::default();
    figures.deliveries.iter().for_each(|(status, count)| counts.add(*status, *count));
    counts
}

fn delivery_attempts(counters: Option<&Counters>) -> BTreeMap<&'static str, u64> {
    let of = |activity| counters.and_then(|counters| counters.activity.get(&activity)).copied().unwrap_or_default();
    BTreeMap::from([
        (DeliveryStatus::Delivered.as_str(), of(Activity::DeliveryDone)),
        (DeliveryStatus::Failed.as_str(), of(Activity::DeliveryFailed)),
        (DeliveryStatus::Dead.as_str(), of(Activity::DeliveryDead)),
    ])
}

fn connects(figures: &WorkspaceFigures) -> ConnectCountsView {
    let count = |is_meant: fn(AuditOutcome) -> bool| {
        figures.connects.iter().filter(|(outcome, _)| is_meant(*outcome)).map(|(_, count)| count).sum::<u64>()
    };
    let succeeded = count(|outcome| outcome == AuditOutcome::Done);
    let failed = count(|outcome| matches!(outcome, AuditOutcome::Refused | AuditOutcome::Failed));
    ConnectCountsView { succeeded, failed, success_rate: rate(succeeded, failed) }
}

fn users(connections: &[Connection]) -> UserSummaryView {
    let of_users = connections.iter().filter_map(|connection| connection.user.as_ref());
    let count = of_users.clone().count() as u64;
    UserSummaryView::new(of_users.collect::<BTreeSet<_>>().len() as u64, count)
}

/// Returns the latest errors of checks, syncs and events.
async fn latest_errors(
    workspace: &Workspace,
    connection: &Connection,
    checks: &[HealthCheck],
) -> Result<Vec<ConnectionErrorView>> {
    const JOBS: u32 = 100;
    let store = workspace.store().await?;
    let error = |at, source, message: &Option<String>| {
        message.as_ref().map(|message| ConnectionErrorView { at, source, message: message.clone() })
    };
    let checks = checks.iter().rev().filter_map(|check| error(check.at, "check", &check.error));
    let mut errors: Vec<_> = checks.take(MAX_ERRORS).collect();
    let jobs = store.jobs().list(Some(connection.id), None, JOBS).await?;
    let failed = jobs.iter().filter(|job| matches!(job.status, JobStatus::Failed | JobStatus::RateLimited));
    errors.extend(failed.filter_map(|job| error(job.started_at, "sync", &job.error)).take(MAX_ERRORS));
    for status in [EventStatus::Failed, EventStatus::Dead] {
        let limit = u32::try_from(MAX_ERRORS).unwrap_or(u32::MAX);
        let filter = EventFilter { connection: Some(connection.id), status: Some(status), limit, ..Default::default() };
        let events = store.events().list(&filter).await?;
        errors.extend(events.iter().filter_map(|event| error(event.received_at, "event", &event.last_error)));
    }
    errors.sort_by_key(|error| Reverse(error.at));
    errors.truncate(MAX_ERRORS);
    Ok(errors)
}
