//! Metrics in the text format of Prometheus, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).
//!
//! Labels have few values: connections by name, of which there are a thousand at most, and closed sets of words. Gauges are
//! read from the store, so that they are the same from each process. Counters are of the process that answers.

use std::fmt::{self, Write as _};

use super::metrics::{ConnectionFiguresView, QueueView, WorkspaceMetricsView};
use crate::health::ConnectionStatus;

/// The content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric is, as its `TYPE` line says.
#[derive(Clone, Copy)]
enum MetricType {
    Counter,
    Gauge,
    Histogram,
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// A text of metrics.
#[derive(Default)]
struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a metric. Its samples follow.
    fn begin(&mut self, name: &str, kind: MetricType, help: &str) {
        let _ = writeln!(
            self.text,
            "# HELP {name} {}\n# TYPE {name} {kind}",
            help.replace('\\', "\\\\").replace('\n', "\\n")
        );
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escape(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl fmt::Display) {
        self.begin(name, MetricType::Gauge, help);
        self.sample(name, &[], value);
    }

    fn gauges(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.begin(name, MetricType::Gauge, help);
        values.iter().for_each(|(word, value)| self.sample(name, &[(label, word)], value));
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Returns the metrics of a workspace as text.
pub fn exposition(metrics: &WorkspaceMetricsView) -> String {
    let mut text = Exposition::default();
    connections(&mut text, metrics);
    queues(&mut text, metrics);
    recent_counts(&mut text, metrics);
    process_counters(&mut text, metrics);
    calls(&mut text, &metrics.by_connection);
    text.text
}

fn connections(text: &mut Exposition, metrics: &WorkspaceMetricsView) {
    let summary = &metrics.connections;
    let statuses = [
        ("active", summary.active),
        ("expiring", summary.expiring),
        ("needs_reauth", summary.needs_reauth),
        ("error", summary.error),
        ("disconnected", summary.disconnected),
    ];
    let statuses = statuses.map(|(word, count)| (word, count as u64));
    text.gauges("integ_connections", "Connections by status.", "status", &statuses);
    text.gauge("integ_users", "Users with a connection.", metrics.users.users);
    text.gauge(
        "integ_connections_per_user",
        "Connections of users, per user with a connection.",
        metrics.users.connections_per_user,
    );
    let (up, uptime) = ("integ_connection_up", "integ_connection_uptime_ratio");
    text.begin(up, MetricType::Gauge, "Whether a connection works: 1 if it is active or expiring.");
    for one in &metrics.by_connection {
        let is_up = matches!(one.status, ConnectionStatus::Active | ConnectionStatus::Expiring);
        text.sample(up, &[("connection", &one.connection.to_string())], u8::from(is_up));
    }
    text.begin(uptime, MetricType::Gauge, "Share of the last day for which a connection worked, by its health checks.");
    for one in &metrics.by_connection {
        if let Some(known) = one.uptime {
            text.sample(uptime, &[("connection", &one.connection.to_string())], known.ratio);
        }
    }
}

fn queues(text: &mut Exposition, metrics: &WorkspaceMetricsView) {
    let queues: Vec<_> = [("inbox", Some(metrics.inbox)), ("outbox", metrics.outbox)]
        .into_iter()
        .filter_map(|(name, queue)| Some((name, queue?)))
        .collect();
    let of =
        |value: fn(&QueueView) -> u64| queues.iter().map(|(name, queue)| (*name, value(queue))).collect::<Vec<_>>();
    let depth = of(|queue| queue.depth);
    text.gauges("integ_queue_depth", "Events and deliveries that wait, due or not.", "queue", &depth);
    let age = of(|queue| queue.age_secs);
    text.gauges("integ_queue_age_seconds", "Age of the oldest item that waits.", "queue", &age);
    let overdue = of(|queue| queue.overdue_secs);
    text.gauges("integ_queue_overdue_seconds", "For how long the first due item has been due.", "queue", &overdue);
}

/// What the store knows of the last time. These go down as well, so that they are no counters.
fn recent_counts(text: &mut Exposition, metrics: &WorkspaceMetricsView) {
    let (checks, events, syncs) = (&metrics.checks, &metrics.events, &metrics.syncs);
    let counts = [("passed", checks.passed), ("failed", checks.failed)];
    text.gauges("integ_recent_health_checks", "Health checks of the last day.", "outcome", &counts);
    let counts = [
        ("processed", events.processed),
        ("pending", events.pending),
        ("failed", events.failed),
        ("dead", events.dead),
    ];
    text.gauges("integ_recent_events", "Events received in the last day.", "status", &counts);
    let counts = [
        ("done", syncs.done),
        ("failed", syncs.failed),
        ("rate_limited", syncs.rate_limited),
        ("cancelled", syncs.cancelled),
        ("running", syncs.running),
    ];
    text.gauges("integ_recent_syncs", "Sync jobs started in the last day.", "status", &counts);
    if let Some(deliveries) = &metrics.deliveries {
        let counts = [
            ("delivered", deliveries.delivered),
            ("pending", deliveries.pending),
            ("failed", deliveries.failed),
            ("dead", deliveries.dead),
        ];
        text.gauges("integ_recent_deliveries", "Deliveries created in the last day.", "status", &counts);
    }
    if let Some(connects) = &metrics.connects {
        let counts = [("succeeded", connects.succeeded), ("failed", connects.failed)];
        text.gauges("integ_recent_connects", "Attempts to connect an account in the last day.", "outcome", &counts);
    }
}

/// A counter of connections: its name, its help, and its value for each outcome.
type ConnectionCounter = (&'static str, &'static str, fn(&ConnectionFiguresView) -> Vec<(&'static str, u64)>);

const CONNECTION_COUNTERS: [ConnectionCounter; 3] = [
    ("integ_events_total", "Events received by this process, and attempts to handle them.", |one| {
        vec![
            ("received", one.process.events_received),
            ("duplicate", one.process.events_duplicate),
            ("processed", one.process.events_processed),
            ("failed", one.process.events_failed),
        ]
    }),
    ("integ_syncs_total", "Sync jobs that ended in this process.", |one| {
        vec![("done", one.process.syncs_done), ("failed", one.process.syncs_failed)]
    }),
    ("integ_refreshes_total", "Refreshes of grants by this process.", |one| {
        vec![("done", one.process.refreshes_done), ("failed", one.process.refreshes_failed)]
    }),
];

fn process_counters(text: &mut Exposition, metrics: &WorkspaceMetricsView) {
    for (name, help, values) in CONNECTION_COUNTERS {
        text.begin(name, MetricType::Counter, help);
        for one in &metrics.by_connection {
            let connection = one.connection.to_string();
            for (outcome, value) in values(one) {
                text.sample(name, &[("connection", &connection), ("outcome", outcome)], value);
            }
        }
    }
    if let Some(attempts) = &metrics.delivery_attempts {
        let name = "integ_delivery_attempts_total";
        text.begin(name, MetricType::Counter, "Attempts of this process to deliver messages to endpoints.");
        attempts.iter().for_each(|(outcome, value)| text.sample(name, &[("outcome", outcome)], value));
    }
}

fn calls(text: &mut Exposition, connections: &[ConnectionFiguresView]) {
    let name = "integ_service_calls_total";
    text.begin(name, MetricType::Counter, "Calls of this process to services, by class of the response's status.");
    for one in connections {
        let connection = one.connection.to_string();
        for (status, value) in &one.process.calls.by_status {
            text.sample(name, &[("connection", &connection), ("status", status)], value);
        }
    }
    let name = "integ_service_call_duration_seconds";
    text.begin(name, MetricType::Histogram, "Duration of calls to services.");
    for one in connections {
        let (connection, calls) = (one.connection.to_string(), &one.process.calls);
        let mut cumulative = 0;
        for bucket in &calls.latency {
            cumulative += bucket.count;
            let bound = bucket.up_to_ms.map_or_else(|| "+Inf".to_owned(), |millis| (millis as f64 / 1e3).to_string());
            text.sample(&format!("{name}_bucket"), &[("connection", &connection), ("le", &bound)], cumulative);
        }
        if !calls.latency.is_empty() {
            text.sample(&format!("{name}_sum"), &[("connection", &connection)], calls.total_ms as f64 / 1e3);
            text.sample(&format!("{name}_count"), &[("connection", &connection)], calls.total);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::health::StatusSummary;
    use crate::model::ConnectionId;
    use crate::runtime::{Activity, ProcessMetrics};
    use crate::view::metrics::{
        CheckCountsView, ConnectCountsView, DeliveryCountsView, EventCountsView, ProcessView, SyncCountsView,
        UptimeView,
    };
    use crate::view::user::UserSummaryView;

    fn metrics() -> WorkspaceMetricsView {
        let process = ProcessMetrics::default();
        let id = Some(ConnectionId(1));
        process.record_call(ConnectionId(1), Some(200), Duration::from_millis(30));
        process.record_call(ConnectionId(1), None, Duration::from_secs(31));
        process.count(id, Activity::EventReceived);
        let one = |name: &str, process| ConnectionFiguresView {
            connection: name.parse().unwrap(),
            status: ConnectionStatus::Active,
            uptime: Some(UptimeView { ratio: 0.75, observed_secs: 60 }),
            checks: CheckCountsView::default(),
            events: EventCountsView::default(),
            queue: QueueView::default(),
            syncs: SyncCountsView::default(),
            process,
        };
        let at = Timestamp::from_second(1_795_000_000).unwrap();
        WorkspaceMetricsView {
            measured_at: at,
            since: at,
            connections: StatusSummary { total: 2, active: 2, ..StatusSummary::default() },
            users: UserSummaryView::new(2, 3),
            checks: CheckCountsView { passed: 3, failed: 1, success_rate: Some(0.75) },
            events: EventCountsView::default(),
            inbox: QueueView { depth: 4, age_secs: 90, overdue_secs: 60 },
            syncs: SyncCountsView::default(),
            connects: Some(ConnectCountsView::default()),
            deliveries: Some(DeliveryCountsView::default()),
            outbox: Some(QueueView::default()),
            delivery_attempts: Some(BTreeMap::from([("delivered", 7)])),
            by_connection: vec![
                one("slack@work", ProcessView::from(&process.snapshot()[&id])),
                one("github", ProcessView::default()),
            ],
        }
    }

    /// Every line is a comment or a sample, each metric has one `HELP` and one `TYPE` before its samples, its samples
    /// follow each other, and no series is there twice.
    #[test]
    fn the_text_follows_the_format() {
        let text = exposition(&metrics());
        assert!(text.ends_with('\n'));
        let (mut types, mut series, mut current) = (BTreeMap::new(), BTreeSet::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                current = rest.split(' ').next().unwrap().to_owned();
                assert!(rest.len() > current.len() + 1, "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, current);
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
            } else {
                let (name_and_labels, value) = line.rsplit_once(' ').unwrap();
                let name = name_and_labels.split('{').next().unwrap();
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                let base = base.filter(|base| types.get(*base).is_some_and(|kind| kind == "histogram")).unwrap_or(name);
                assert_eq!(base, current, "{line}");
                assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(series.insert(name_and_labels.to_owned()), "{line}");
                assert_eq!(types[base] == "counter", base.ends_with("_total"), "{line}");
            }
        }
    }

    #[test]
    fn counters_gauges_and_histograms_have_their_values() {
        let text = exposition(&metrics());
        for line in [
            "integ_connections{status=\"active\"} 2",
            "integ_connections_per_user 1.5",
            "integ_connection_up{connection=\"slack@work\"} 1",
            "integ_connection_uptime_ratio{connection=\"slack@work\"} 0.75",
            "integ_queue_depth{queue=\"inbox\"} 4",
            "integ_queue_overdue_seconds{queue=\"inbox\"} 60",
            "integ_recent_health_checks{outcome=\"passed\"} 3",
            "integ_events_total{connection=\"slack@work\",outcome=\"received\"} 1",
            "integ_delivery_attempts_total{outcome=\"delivered\"} 7",
            "integ_service_calls_total{connection=\"slack@work\",status=\"none\"} 1",
            "integ_service_call_duration_seconds_bucket{connection=\"slack@work\",le=\"0.05\"} 1",
            "integ_service_call_duration_seconds_bucket{connection=\"slack@work\",le=\"30\"} 1",
            "integ_service_call_duration_seconds_bucket{connection=\"slack@work\",le=\"+Inf\"} 2",
            "integ_service_call_duration_seconds_sum{connection=\"slack@work\"} 31.03",
            "integ_service_call_duration_seconds_count{connection=\"slack@work\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_label_cannot_end_early() {
        let mut text = Exposition::default();
        text.sample("a", &[("label", "x\"} 1\nb\\")], 2);
        assert_eq!(text.text, "a{label=\"x\\\"} 1\\nb\\\\\"} 2\n");
    }
}
