//! Views of metrics. Ages are seconds, durations of calls milliseconds, ratios from 0 to 1.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::schema::Time;
use super::user::UserSummaryView;
use super::word;
use crate::clock::Timestamp;
use crate::health::{ConnectionStatus, StatusSummary};
use crate::model::{ConnectionName, DeliveryStatus, EventStatus, HealthCheck, JobStatus, QueueState, Uptime};
use crate::runtime::{Activity, CallCounters, Counters, LATENCY_BOUNDS_MS, StatusClass};

/// The share of a time for which a connection worked.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct UptimeView {
    pub ratio: f64,
    /// Seconds about which something is known; the ratio is of these.
    pub observed_secs: u64,
}

impl From<Uptime> for UptimeView {
    fn from(uptime: Uptime) -> Self {
        // Six places: half a minute of a year.
        Self { ratio: (uptime.ratio * 1e6).round() / 1e6, observed_secs: uptime.observed.as_secs() }
    }
}

/// The uptime of a connection. Null where nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize)]
pub struct UptimesView {
    pub last_day: Option<UptimeView>,
    pub last_7_days: Option<UptimeView>,
    pub last_30_days: Option<UptimeView>,
}

/// Health checks, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize)]
pub struct CheckCountsView {
    pub passed: u64,
    pub failed: u64,
    /// The share that passed; null without checks.
    pub success_rate: Option<f64>,
}

impl CheckCountsView {
    /// Counts checks.
    pub fn new(checks: &[HealthCheck]) -> Self {
        let passed = checks.iter().filter(|check| check.outcome.is_healthy()).count() as u64;
        let failed = checks.len() as u64 - passed;
        Self { passed, failed, success_rate: rate(passed, failed) }
    }

    /// Adds other checks.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let (passed, failed) = (self.passed + other.passed, self.failed + other.failed);
        Self { passed, failed, success_rate: rate(passed, failed) }
    }
}

/// The share of what succeeded, to four places; `None` of nothing.
pub(crate) fn rate(succeeded: u64, failed: u64) -> Option<f64> {
    let total = succeeded + failed;
    (total > 0).then(|| (succeeded as f64 / total as f64 * 1e4).round() / 1e4)
}

/// Events that were received, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct EventCountsView {
    pub received: u64,
    pub processed: u64,
    pub pending: u64,
    /// Failed, and tried again.
    pub failed: u64,
    pub dead: u64,
}

impl EventCountsView {
    /// Counts more events with a status.
    pub fn add(&mut self, status: EventStatus, count: u64) {
        self.received += count;
        *match status {
            EventStatus::Processed => &mut self.processed,
            EventStatus::Pending => &mut self.pending,
            EventStatus::Failed => &mut self.failed,
            EventStatus::Dead => &mut self.dead,
        } += count;
    }
}

/// Deliveries that were created, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct DeliveryCountsView {
    pub created: u64,
    pub delivered: u64,
    pub pending: u64,
    /// Failed, and tried again.
    pub failed: u64,
    pub dead: u64,
}

impl DeliveryCountsView {
    /// Counts more deliveries with a status.
    pub fn add(&mut self, status: DeliveryStatus, count: u64) {
        self.created += count;
        *match status {
            DeliveryStatus::Delivered => &mut self.delivered,
            DeliveryStatus::Pending => &mut self.pending,
            DeliveryStatus::Failed => &mut self.failed,
            DeliveryStatus::Dead => &mut self.dead,
        } += count;
    }
}

/// Sync jobs that were started, by how they ended. Of each stream, the last hundred jobs are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct SyncCountsView {
    pub started: u64,
    /// Those that were skipped included.
    pub done: u64,
    pub failed: u64,
    pub rate_limited: u64,
    pub cancelled: u64,
    /// Also those whose process was killed.
    pub running: u64,
}

impl SyncCountsView {
    /// Counts more jobs with a status.
    pub fn add(&mut self, status: JobStatus, count: u64) {
        self.started += count;
        *match status {
            JobStatus::Done | JobStatus::Skipped => &mut self.done,
            JobStatus::Failed => &mut self.failed,
            JobStatus::RateLimited => &mut self.rate_limited,
            JobStatus::Cancelled => &mut self.cancelled,
            JobStatus::Running => &mut self.running,
        } += count;
    }
}

/// What waits to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct QueueView {
    pub depth: u64,
    /// The age of the oldest item that waits, due or not; 0 of an empty queue.
    pub age_secs: u64,
    /// For how long the first due item has been due; 0 if nothing is due.
    pub overdue_secs: u64,
}

impl QueueView {
    /// Creates the view of a queue at a moment.
    pub fn new(queue: QueueState, now: Timestamp) -> Self {
        let age = |since: Option<Timestamp>| {
            let seconds = since.map_or(0, |since| now.as_second() - since.as_second());
            u64::try_from(seconds).unwrap_or_default()
        };
        Self { depth: queue.depth, age_secs: age(queue.oldest_at), overdue_secs: age(queue.overdue_since) }
    }
}

/// Calls to services since this process started.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize)]
pub struct CallCountsView {
    pub total: u64,
    /// By class of status: `2xx`, `3xx`, `4xx`, `429`, `5xx`, and `none` for no response.
    pub by_status: BTreeMap<&'static str, u64>,
    /// The duration of all calls together.
    pub total_ms: u64,
    /// Calls that took so many milliseconds at most, from the shortest; the last has no bound. Not cumulative.
    pub latency: Vec<LatencyBucketView>,
}

/// Calls of a range of durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct LatencyBucketView {
    pub up_to_ms: Option<u64>,
    pub count: u64,
}

impl From<&CallCounters> for CallCountsView {
    fn from(calls: &CallCounters) -> Self {
        let total = calls.latency.count();
        let sum = u64::try_from(calls.latency.sum.as_millis()).unwrap_or(u64::MAX);
        let bounds = LATENCY_BOUNDS_MS.into_iter().map(Some).chain([None]);
        let bucket = |(up_to_ms, count): (Option<u64>, &u64)| LatencyBucketView { up_to_ms, count: *count };
        Self {
            total,
            by_status: StatusClass::ALL
                .into_iter()
                .map(|class| (class.as_str(), calls.by_status.get(&class).copied().unwrap_or_default()))
                .collect(),
            total_ms: sum,
            latency: bounds.zip(&calls.latency.buckets).map(bucket).collect(),
        }
    }
}

/// What this process has done since it started.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize)]
pub struct ProcessView {
    pub events_received: u64,
    pub events_duplicate: u64,
    pub events_processed: u64,
    /// Attempts that failed, those that left an event dead included.
    pub events_failed: u64,
    pub syncs_done: u64,
    pub syncs_failed: u64,
    pub refreshes_done: u64,
    pub refreshes_failed: u64,
    pub calls: CallCountsView,
}

impl From<&Counters> for ProcessView {
    fn from(counters: &Counters) -> Self {
        let of = |activity| counters.activity.get(&activity).copied().unwrap_or_default();
        Self {
            events_received: of(Activity::EventReceived),
            events_duplicate: of(Activity::EventDuplicate),
            events_processed: of(Activity::EventProcessed),
            events_failed: of(Activity::EventFailed) + of(Activity::EventDead),
            syncs_done: of(Activity::SyncDone),
            syncs_failed: of(Activity::SyncFailed),
            refreshes_done: of(Activity::RefreshDone),
            refreshes_failed: of(Activity::RefreshFailed),
            calls: CallCountsView::from(&counters.calls),
        }
    }
}

/// An error of a connection.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct ConnectionErrorView {
    #[schemars(with = "Time")]
    pub at: Timestamp,
    /// What failed: `check`, `sync`, or `event`.
    pub source: &'static str,
    pub message: String,
}

/// The metrics of a connection. Counts are of the time since `since`, but for those of the process.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConnectionMetricsView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    #[schemars(with = "Time")]
    pub measured_at: Timestamp,
    #[schemars(with = "Time")]
    pub since: Timestamp,
    #[serde(serialize_with = "word")]
    pub status: ConnectionStatus,
    pub uptime: UptimesView,
    pub checks: CheckCountsView,
    pub events: EventCountsView,
    pub queue: QueueView,
    pub syncs: SyncCountsView,
    /// Stored records of all streams, without deleted ones.
    pub records: u64,
    /// The latest errors, newest first.
    pub errors: Vec<ConnectionErrorView>,
    /// Since the process that answers was started.
    pub process: ProcessView,
}

/// Attempts to connect an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize)]
pub struct ConnectCountsView {
    pub succeeded: u64,
    pub failed: u64,
    /// Null without attempts.
    pub success_rate: Option<f64>,
}

/// A connection among the metrics of its workspace.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConnectionFiguresView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    #[serde(serialize_with = "word")]
    pub status: ConnectionStatus,
    /// Of the last day; null if nothing is known.
    pub uptime: Option<UptimeView>,
    pub checks: CheckCountsView,
    pub events: EventCountsView,
    pub queue: QueueView,
    pub syncs: SyncCountsView,
    pub process: ProcessView,
}

/// The metrics of a workspace. Counts are of the time since `since`, but for those of the process.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct WorkspaceMetricsView {
    #[schemars(with = "Time")]
    pub measured_at: Timestamp,
    #[schemars(with = "Time")]
    pub since: Timestamp,
    pub connections: StatusSummary,
    pub users: UserSummaryView,
    pub checks: CheckCountsView,
    pub events: EventCountsView,
    /// Events that wait to be handled.
    pub inbox: QueueView,
    pub syncs: SyncCountsView,
    /// Null for a caller who may use only some connections, as for the next three.
    pub connects: Option<ConnectCountsView>,
    pub deliveries: Option<DeliveryCountsView>,
    /// Deliveries that wait to be sent to endpoints that are enabled.
    pub outbox: Option<QueueView>,
    /// Attempts of this process to deliver, by outcome: `delivered`, `failed`, `dead`.
    pub delivery_attempts: Option<BTreeMap<&'static str, u64>>,
    /// Sorted by name; the first thousand.
    pub by_connection: Vec<ConnectionFiguresView>,
}
