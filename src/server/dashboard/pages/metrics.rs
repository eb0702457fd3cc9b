//! Metrics of the workspace.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::components::{Bar, StateTone, bars, heading, number, page_of, section, state, table_of};
use super::super::context::DashboardContext;
use super::super::values::Fields;
use super::connections::path;
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[page!("/dashboard/metrics", overview)];

const SECTION: &str = "/dashboard/metrics";

/// Connections of a page.
const PAGE_SIZE: usize = 25;

async fn overview(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let metrics = context.get("/v1/metrics", &[], &[]).await?;
    let body = html! {
        (heading("Metrics", "Of the last day. Prometheus reads them at /metrics.", &html! {}))
        (counts(&metrics))
        (section("Calls to services", &latency(&metrics)))
        (section("By connection", &by_connection(context, metrics.items("by_connection"))))
    };
    Ok(DashboardPage { title: "Metrics".to_owned(), section: SECTION, body })
}

fn percent(value: &Value) -> String {
    value.as_f64().map_or_else(|| "—".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0))
}

fn counts(metrics: &Value) -> Markup {
    let count = |group: &str, name: &str| number(metrics[group].number(name));
    let stat = |name: &str, value: String| html! { div .stat { dt { (name) } dd { (value) } } };
    html! {
        dl .stats {
            (stat("Connections", count("connections", "total")))
            (stat("Checks that passed", percent(&metrics["checks"]["success_rate"])))
            (stat("Events received", count("events", "received")))
            (stat("Events that failed", count("events", "failed")))
            (stat("Events dead", count("events", "dead")))
            (stat("Events waiting", count("inbox", "depth")))
            (stat("Syncs done", count("syncs", "done")))
            (stat("Syncs failed", count("syncs", "failed")))
            (stat("Sign-ins that succeeded", percent(&metrics["connects"]["success_rate"])))
            (stat("Delivered", count("deliveries", "delivered")))
            (stat("Deliveries waiting", count("outbox", "depth")))
        }
    }
}

/// The durations of calls of all connections since the process started.
fn latency(metrics: &Value) -> Markup {
    let mut buckets: Vec<(String, i64)> = Vec::new();
    for connection in metrics.items("by_connection") {
        for (index, bucket) in connection["process"]["calls"].items("latency").iter().enumerate() {
            let label = match bucket["up_to_ms"].as_i64() {
                Some(most) => format!("up to {most} ms"),
                None => "longer".to_owned(),
            };
            match buckets.get_mut(index) {
                Some((_, count)) => *count += bucket.number("count"),
                None => buckets.push((label, bucket.number("count"))),
            }
        }
    }
    let total: i64 = buckets.iter().map(|(_, count)| count).sum();
    let most = buckets.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let bar = |(label, count): &(String, i64)| {
        let tone = if *count == 0 { StateTone::Dim } else { StateTone::Busy };
        Bar { share: *count as f64 / most as f64, tone, about: format!("{label}: {count}") }
    };
    let shown: Vec<Bar> = buckets.iter().map(bar).collect();
    html! {
        @if total == 0 { p .hint { "None since the server started." } }
        @else {
            (bars(&format!("{total} calls by their duration, the shortest first"), &shown))
            p .hint { (number(total)) " calls since the server started, from the fastest to the slowest." }
        }
    }
}

fn by_connection(context: &DashboardContext, connections: &[Value]) -> Markup {
    let (shown, pages) = page_of(context, connections, PAGE_SIZE);
    html! {
        @if connections.is_empty() { p .hint { "No connections yet." } }
        @else {
            (table_of(&["Connection", "Status", ">Uptime", ">Events", ">Waiting", ">Syncs failed"], shown, |one| html! {
                td { a href=(context.href(&path(one.text("connection")))) { (one.text("connection")) } }
                td { (state(one.text("status"))) }
                td .right { (percent(&one["uptime"]["ratio"])) }
                td .right { (number(one["events"].number("received"))) }
                td .right { (number(one["queue"].number("depth"))) }
                td .right { (number(one["syncs"].number("failed"))) }
            }))
            (pages)
        }
    }
}
