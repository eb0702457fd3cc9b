//! What happened with a connection: who read its token, who changed what, and its log.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::components::{StateTone, badge, empty, next_page, section, state, table_of, time};
use super::super::context::{DashboardContext, segment};
use super::super::values::Fields;
use super::connection::{connection, head};
use super::connections::SECTION;
use super::{PageHandler, page};
use crate::model::ApiVerb;
use crate::ops::operations;
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[page!("/dashboard/connections/{connection}/activity", activity)];

/// Reads of the credential that the page lists.
const SHOWN_READS: &str = "20";

/// Returns the operations that hand out a credential, also those that only the owner at the machine runs.
fn revealing() -> impl Iterator<Item = &'static str> {
    operations().filter(|operation| operation.verb == ApiVerb::Reveal).map(|operation| operation.name)
}

/// Returns the latest entries of the audit log that say who read the credential, the newest first.
async fn credential_reads(context: &DashboardContext, name: &str) -> Result<Value, Problem> {
    let mut query = vec![("connection", name), ("limit", SHOWN_READS)];
    query.extend(revealing().map(|operation| ("operation", operation)));
    context.get("/v1/audit", &[], &query).await
}

async fn activity(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let name = context.param("connection");
    let values = [("connection", name)];
    let (view, reads, logs) = tokio::join!(
        connection(context),
        credential_reads(context, name),
        context.get(
            "/v1/connections/{connection}/logs",
            &values,
            &[("limit", "50"), ("cursor", context.query("cursor"))]
        ),
    );
    let (view, reads, logs) = (view?, reads?, logs?);
    let entries = logs.items("data");
    let body = html! {
        (head(context, &view, "/activity"))
        (section("Who read its token", &readers(context, name, reads.items("data"))))
        @if entries.is_empty() {
            (empty("Nothing happened yet", &html! { p { "Calls, syncs, checks and events of the connection are listed here." } }))
        } @else {
            (section("Log", &log_table(context, entries, false)))
            (next_page(context, logs.maybe("next_cursor")))
        }
    };
    Ok(DashboardPage { title: format!("Activity of {name}"), section: SECTION, body })
}

fn readers(context: &DashboardContext, connection: &str, entries: &[Value]) -> Markup {
    let operations = segment(&revealing().collect::<Vec<_>>().join(", "));
    let log = format!("/dashboard/audit?connection={}&operation={operations}", segment(connection));
    html! {
        @if entries.is_empty() {
            p .hint { "Nobody, over the API. The owner's own reads are recorded with audit.local = true." }
        } @else {
            (table_of(&["When", "Who", "By", "From", "Outcome"], entries, |entry| html! {
                td .nowrap { (time(context, entry.text("at"))) }
                td { (who(entry)) }
                td { code { (entry.text("operation")) } }
                td { (entry.text("source")) }
                td {
                    (state(entry.text("outcome")))
                    @if let Some(code) = entry.maybe("error_code") { div .hint { (code) } }
                }
            }))
            p { a href=(context.href(&log)) { "All of them in the audit log" } }
        }
    }
}

/// Who did what an entry of the audit log says.
pub(super) fn who(entry: &Value) -> Markup {
    let kind = entry.text("actor").replace('_', " ");
    html! { @match entry.maybe("actor_id") { Some(id) => { (id) " " span .dim { (kind) } }, None => (kind), } }
}

/// Entries of the log in a table.
pub(super) fn log_table(context: &DashboardContext, entries: &[Value], names_connection: bool) -> Markup {
    html! {
        div .table tabindex="0" { table {
            thead { tr {
                th { "When" } th { "What" } @if names_connection { th { "Connection" } }
                th { "Outcome" } th { "Who" } th .right { "Took" }
            } }
            tbody { @for entry in entries { tr {
                td .nowrap { (time(context, entry.text("at"))) }
                td {
                    (entry.text("subject")) " " span .dim { (entry.text("source")) }
                    @if let Some(error) = entry.maybe("error") { div .hint { (error) } }
                }
                @if names_connection { td { (entry.text("connection")) } }
                td { (badge(tone(entry), &entry.text("outcome").replace('_', " "))) }
                td { (entry.text("actor")) }
                td .right .nowrap { @if let Some(duration) = entry["duration_ms"].as_u64() { (duration) " ms" } }
            } } }
        } }
    }
}

fn tone(entry: &Value) -> StateTone {
    match entry.text("level") {
        "error" => StateTone::Bad,
        "warning" => StateTone::Warn,
        _ => StateTone::of(entry.text("outcome")),
    }
}
