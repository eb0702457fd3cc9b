//! Syncs of all connections: what is stored, what runs, what is scheduled.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::components::{code, empty, heading, mark, next_page, number, page_of, section, table_of, time};
use super::super::context::DashboardContext;
use super::super::values::Fields;
use super::connection::records_path;
use super::connection_data::job_table;
use super::connections::path;
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[page!("/dashboard/sync", overview)];

const SECTION: &str = "/dashboard/sync";

/// Streams of a page.
const PAGE_SIZE: usize = 25;

async fn overview(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let (streams, jobs, schedules) = tokio::join!(
        context.get("/v1/streams", &[], &[]),
        context.get("/v1/jobs", &[], &[("limit", "25"), ("cursor", context.query("cursor"))]),
        context.get("/v1/schedules", &[], &[("limit", "20")]),
    );
    let (streams, jobs, schedules) = (streams?, jobs?, schedules?);
    let is_empty = streams.items("streams").is_empty() && jobs.items("data").is_empty();
    let body = html! {
        (heading("Sync", "Records of services, copied here and updated.", &html! {}))
        @if is_empty {
            (empty("Nothing is synced yet", &html! {
                p { "A stream is a kind of record, such as issues or contacts. A sync copies what is new and marks what was deleted; a schedule repeats it." }
                p { "Open the Data tab of a connection to sync its streams." }
                p { a .button href=(context.href("/dashboard/connections")) { "Choose a connection" } }
            }))
        } @else {
            (stored(context, streams.items("streams")))
            @if !schedules.items("data").is_empty() { (section("Schedules", &schedule_table(context, &schedules))) }
            (section("Latest syncs", &job_table(context, jobs.items("data"))))
            (next_page(context, jobs.maybe("next_cursor")))
        }
    };
    Ok(DashboardPage { title: "Sync".to_owned(), section: SECTION, body })
}

fn stored(context: &DashboardContext, streams: &[Value]) -> Markup {
    let (shown, pages) = page_of(context, streams, PAGE_SIZE);
    section(
        "Streams",
        &html! {
            (table_of(&["Stream", ">Records", ">Deleted", "Last full run"], shown, |one| html! {
                td {
                    a href=(context.href(&records_path(one.text("connection"), one.text("stream")))) {
                        (one.text("connection")) "/" (one.text("stream"))
                    }
                    @if one.text("mode") == "sandbox" { " " (mark("sandbox")) }
                }
                td .right { (number(one.number("records"))) }
                td .right { (number(one.number("deleted"))) }
                td .nowrap { (time(context, one.text("last_sync_at"))) }
            }))
            (pages)
        },
    )
}

fn schedule_table(context: &DashboardContext, schedules: &Value) -> Markup {
    html! {
        (table_of(&["What", "When", "Next", "Last"], schedules.items("data"), |one| html! {
            td {
                a href=(context.href(&format!("{}/data", path(one.text("connection"))))) {
                    (one.text("connection")) @if let Some(stream) = one.maybe("stream") { "/" (stream) }
                }
            }
            td { (code(one.text("rule"))) }
            td .nowrap { (time(context, one.text("next_at"))) }
            td .nowrap { (time(context, one.text("last_at"))) }
        }))
        @if schedules["next_cursor"].is_string() { p .hint { "There are more; the Data tab of each connection lists its own." } }
    }
}
