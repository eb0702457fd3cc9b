//! Counters of what this process has done for a workspace since it started. What all processes did is in the store.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::{ConnectionId, words};

/// Connections with counters of their own; those beyond are not counted. Each takes some hundred bytes.
const MAX_CONNECTIONS: usize = 10_000;

/// Upper bounds of the buckets of a call's duration, in milliseconds. One more bucket has what is slower.
pub const LATENCY_BOUNDS_MS: [u64; 10] = [25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

/// What is counted, beside calls to services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    EventReceived,
    /// It was received before.
    EventDuplicate,
    EventProcessed,
    /// An attempt failed, and another follows.
    EventFailed,
    EventDead,
    SyncDone,
    SyncFailed,
    RefreshDone,
    /// The vendor refused the grant, or the refresh failed for another reason.
    RefreshFailed,
    DeliveryDone,
    /// An attempt failed, and another follows.
    DeliveryFailed,
    DeliveryDead,
}

words!(Activity {
    EventReceived => "event_received",
    EventDuplicate => "event_duplicate",
    EventProcessed => "event_processed",
    EventFailed => "event_failed",
    EventDead => "event_dead",
    SyncDone => "sync_done",
    SyncFailed => "sync_failed",
    RefreshDone => "refresh_done",
    RefreshFailed => "refresh_failed",
    DeliveryDone => "delivery_done",
    DeliveryFailed => "delivery_failed",
    DeliveryDead => "delivery_dead",
});

/// The status of a service's response, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusClass {
    Success,
    Redirect,
    RateLimited,
    ClientError,
    ServerError,
    /// There was no response.
    None,
}

words!(StatusClass {
    Success => "2xx",
    Redirect => "3xx",
    RateLimited => "429",
    ClientError => "4xx",
    ServerError => "5xx",
    None => "none",
});

impl StatusClass {
    /// Returns the class of a status; `None` is the class of no response.
    pub fn of(status: Option<u16>) -> Self {
        match status {
            None => Self::None,
            Some(429) => Self::RateLimited,
            Some(..300) => Self::Success,
            Some(..400) => Self::Redirect,
            Some(..500) => Self::ClientError,
            Some(500..) => Self::ServerError,
        }
    }
}

/// How many calls took how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencyHistogram {
    /// A count for each of [`LATENCY_BOUNDS_MS`], and one for what is slower.
    pub buckets: [u64; LATENCY_BOUNDS_MS.len() + 1],
    pub sum: Duration,
}

impl LatencyHistogram {
    fn record(&mut self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.buckets[LATENCY_BOUNDS_MS.partition_point(|bound| *bound < millis)] += 1;
        self.sum += duration;
    }

    /// Returns the number of calls.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// The calls of a connection to its service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallCounters {
    pub by_status: BTreeMap<StatusClass, u64>,
    pub latency: LatencyHistogram,
}

/// The counters of one connection, or of what belongs to none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub activity: BTreeMap<Activity, u64>,
    pub calls: CallCounters,
}

/// The counters of a workspace in this process.
#[derive(Debug, Default)]
pub struct ProcessMetrics(Mutex<BTreeMap<Option<ConnectionId>, Counters>>);

impl ProcessMetrics {
    /// Counts a call to a connection's service, with the status of the response.
    pub fn record_call(&self, connection: ConnectionId, status: Option<u16>, duration: Duration) {
        self.update(Some(connection), |counters| {
            *counters.calls.by_status.entry(StatusClass::of(status)).or_default() += 1;
            counters.calls.latency.record(duration);
        });
    }

    /// Counts one more of something. What belongs to no connection is counted for the workspace.
    pub fn count(&self, connection: Option<ConnectionId>, activity: Activity) {
        self.update(connection, |counters| *counters.activity.entry(activity).or_default() += 1);
    }

    /// Returns the counters so far, by connection.
    pub fn snapshot(&self) -> BTreeMap<Option<ConnectionId>, Counters> {
        self.lock().clone()
    }

    fn update(&self, connection: Option<ConnectionId>, update: impl FnOnce(&mut Counters)) {
        let mut counters = self.lock();
        if counters.len() < MAX_CONNECTIONS || counters.contains_key(&connection) {
            update(counters.entry(connection).or_default());
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<ConnectionId>, Counters>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_status_and_duration() {
        let metrics = ProcessMetrics::default();
        let connection = ConnectionId(7);
        for (status, millis) in [(Some(200), 25), (Some(204), 26), (Some(429), 1), (Some(503), 31_000), (None, 0)] {
            metrics.record_call(connection, status, Duration::from_millis(millis));
        }
        let counters = &metrics.snapshot()[&Some(connection)];
        let by_status: Vec<_> =
            counters.calls.by_status.iter().map(|(class, count)| (class.as_str(), *count)).collect();
        assert_eq!(by_status, [("2xx", 2), ("429", 1), ("5xx", 1), ("none", 1)]);
        assert_eq!(counters.calls.latency.buckets, [3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(counters.calls.latency.count(), 5);
        assert_eq!(counters.calls.latency.sum, Duration::from_millis(31_052));
    }

    #[test]
    fn the_number_of_connections_is_bounded() {
        let metrics = ProcessMetrics::default();
        for id in 0..MAX_CONNECTIONS + 10 {
            metrics.count(Some(ConnectionId(i64::try_from(id).unwrap())), Activity::SyncDone);
        }
        metrics.count(Some(ConnectionId(0)), Activity::SyncDone);
        let snapshot = metrics.snapshot();
        assert_eq!(snapshot.len(), MAX_CONNECTIONS);
        assert_eq!(snapshot[&Some(ConnectionId(0))].activity[&Activity::SyncDone], 2);
    }
}
