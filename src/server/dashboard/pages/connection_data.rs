//! What is synced through a connection: streams with their cursors, jobs, schedules, and the records.

use std::io;

use hyper::body::Bytes;
use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{code, empty, heading, number, section, state, time};
use super::super::context::DashboardContext;
use super::super::form::{Field, hidden};
use super::super::problem_page::sentence;
use super::super::spreadsheet::without_formulas;
use super::super::values::Fields;
use super::connection::{connection, head, records_path};
use super::connections::{SECTION, path};
use super::{PageHandler, Shown, page};
use crate::error::Error;
use crate::export::ExportError;
use crate::http::serve::{FullResponse, Response, header};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[
    page!("/dashboard/connections/{connection}/data", data),
    page!("/dashboard/connections/{connection}/streams/{stream}", records),
    page!("/dashboard/connections/{connection}/streams/{stream}/records.csv", csv),
    page!("/dashboard/connections/{connection}/streams/{stream}/records.parquet", parquet),
];

pub(super) static SYNC: FormAction = FormAction::post("/v1/connections/{connection}/sync");
static SET_SCHEDULE: FormAction = FormAction::put("/v1/connections/{connection}/schedule");
static REMOVE_SCHEDULE: FormAction = FormAction::delete("/v1/connections/{connection}/schedule");
static CLEAR: FormAction = FormAction::delete("/v1/connections/{connection}/streams/{stream}/cursors");
static RETRY: FormAction = FormAction::post("/v1/jobs/{job}/retry");
static CANCEL: FormAction = FormAction::post("/v1/jobs/{job}/cancel");

/// Records that a page shows.
const PAGE_SIZE: &str = "50";

/// Columns of a table of records.
const COLUMNS: usize = 6;

/// Characters of a value in a table.
const VALUE_CHARS: usize = 80;

async fn data(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let name = context.param("connection");
    let values = [("connection", name)];
    let (view, stored, jobs, schedules) = tokio::join!(
        connection(context),
        context.get("/v1/connections/{connection}/streams", &values, &[]),
        context.get("/v1/jobs", &[], &[("connection", name), ("limit", "20")]),
        context.get("/v1/schedules", &[], &[("connection", name), ("limit", "100")]),
    );
    let (view, stored, jobs, schedules) = (view?, stored?, jobs?, schedules?);
    let connector = [("connector", view.text("connector"))];
    let declared = context.get("/v1/connectors/{connector}", &connector, &[]).await?;
    let body = html! {
        (head(context, &view, "/data"))
        @if declared.items("streams").is_empty() {
            (empty("Nothing to sync", &html! { p { (view.text("name")) " has no streams. Its API can be called all the same." } }))
        } @else {
            (streams(context, name, declared.items("streams"), stored.items("streams")))
            (schedule(context, name, schedules.items("data")))
        }
        (section("Latest syncs", &job_table(context, jobs.items("data"))))
    };
    Ok(DashboardPage { title: format!("Data of {name}"), section: SECTION, body })
}

fn streams(context: &DashboardContext, name: &str, declared: &[Value], stored: &[Value]) -> Markup {
    let of_stream = |stream: &str| stored.iter().find(|one| one.text("stream") == stream);
    section(
        "Streams",
        &html! {
            p { (context.form(&SYNC, &[("connection", name)]).primary().button("Sync all streams")) }
            div .table { table {
                thead { tr { th { "Stream" } th .right { "Records" } th { "Last full run" } th { span .visually-hidden { "Actions" } } } }
                tbody { @for one in declared {
                    @let stream = one.text("stream");
                    @let known = of_stream(stream);
                    tr {
                        td {
                            @if known.is_some() { a href=(context.href(&records_path(name, stream))) { (stream) } } @else { (stream) }
                            div .hint { (one.text("description")) }
                        }
                        td .right { @if let Some(known) = known { (number(known.number("records"))) } @else { "—" } }
                        td .nowrap { (time(context, known.map(|known| known.text("last_sync_at")).unwrap_or_default())) }
                        td .nowrap {
                            (context.form(&SYNC, &[("connection", name)]).fields(hidden("streams", stream)).button_about("Sync", stream))
                        }
                    }
                } }
            } }
        },
    )
}

fn schedule(context: &DashboardContext, name: &str, own: &[Value]) -> Markup {
    let values = [("connection", name)];
    let fields = html! {
        (Field::new("rule", "When").hint("every 15m, every 2h, or a cron expression such as 0 6 * * *").required().text())
        (Field::new("stream", "Stream").hint("All streams if left empty.").text())
    };
    section(
        "Schedule",
        &html! {
            @for one in own {
                p {
                    (code(one.text("rule"))) " "
                    @if let Some(stream) = one.maybe("stream") { (stream) } @else { "all streams" }
                    ", next " (time(context, one.text("next_at"))) " "
                    (context.form(&REMOVE_SCHEDULE, &values).fields(hidden("query.stream", one.text("stream"))).link().button("Remove"))
                }
            }
            @if own.is_empty() { p .hint { "No schedule: it is synced when somebody asks." } }
            @if context.may(&SET_SCHEDULE) {
                details { summary { "Set a schedule" } (context.form(&SET_SCHEDULE, &values).fields(fields).button("Set the schedule")) }
            }
        },
    )
}

/// Syncs in a table, with what can be done about each.
pub(super) fn job_table(context: &DashboardContext, jobs: &[Value]) -> Markup {
    if jobs.is_empty() {
        return html! { p .hint { "No sync has run yet." } };
    }
    html! {
        div .table { table {
            thead { tr {
                th { "Sync" } th { "Status" } th { "Started" } th .right { "Added" } th .right { "Changed" } th .right { "Deleted" }
                th { span .visually-hidden { "Actions" } }
            } }
            tbody { @for job in jobs { (job_row(context, job)) } }
        } }
    }
}

fn job_row(context: &DashboardContext, job: &Value) -> Markup {
    let (id, status) = (job["id"].to_string(), job.text("status"));
    let values = [("job", id.as_str())];
    let name = format!("{}/{}", job.text("connection"), job.text("stream"));
    html! {
        tr {
            td {
                a href=(context.href(&records_path(job.text("connection"), job.text("stream")))) { (name) }
                div .hint { (job.text("mode")) " #" (id) }
                @if let Some(error) = job.maybe("error") { div .callout .bad { p { (sentence(error)) } } }
            }
            td { (state(status)) }
            td .nowrap {
                (time(context, job.text("started_at")))
                @if let Some(seconds) = job["duration_secs"].as_i64() { div .hint { (seconds) " s" } }
            }
            td .right { (number(job.number("added"))) }
            td .right { (number(job.number("changed"))) }
            td .right { (number(job.number("deleted"))) }
            td .nowrap {
                @match status {
                    "running" => (context.form(&CANCEL, &values).button_about("Cancel", &name)),
                    "failed" | "rate_limited" | "interrupted" | "cancelled" => (context.form(&RETRY, &values).button_about("Run again", &name)),
                    _ => {},
                }
            }
        }
    }
}

async fn records(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let (name, stream) = (context.param("connection"), context.param("stream"));
    let values = [("connection", name), ("stream", stream)];
    let since = context.query("since_version");
    let (list, cursors) = tokio::join!(
        context.get(
            "/v1/connections/{connection}/streams/{stream}/records",
            &values,
            &[("limit", PAGE_SIZE), ("since_version", since)]
        ),
        context.get("/v1/connections/{connection}/streams/{stream}/cursors", &values, &[]),
    );
    let (list, cursors) = (list?, cursors?);
    let records = list.items("data");
    let download = |format: &str| context.href(&format!("{}/records.{format}", records_path(name, stream)));
    let actions = html! {
        (context.form(&SYNC, &[("connection", name)]).fields(hidden("streams", stream)).button("Sync now"))
        @if !records.is_empty() {
            a .button href=(download("csv")) download { "Download CSV" }
            @if cfg!(feature = "parquet") { a .button href=(download("parquet")) download { "Download Parquet" } }
        }
    };
    let body = html! {
        p .crumbs { a href=(context.href(&format!("{}/data", path(name)))) { (name) } }
        (heading(stream, "", &actions))
        (cursor_list(context, &values, &cursors))
        @if records.is_empty() {
            (empty("No records", &html! { p { "Sync the stream to copy its records here." } }))
        } @else {
            (record_table(records))
            p .hint {
                "In the CSV, an apostrophe is before what a spreadsheet would run as a formula. The file of the API, and of "
                code { "integ records --format csv" } ", has none."
            }
            @if let Some(last) = records.last().filter(|_| records.len().to_string() == PAGE_SIZE) {
                nav .pager aria-label="Pages" {
                    a .button rel="next" href=(context.with_query(&[("since_version", &last["_version"].to_string())])) { "Next page" }
                }
            }
        }
    };
    Ok(DashboardPage { title: format!("{name}/{stream}"), section: SECTION, body })
}

fn cursor_list(context: &DashboardContext, values: &[(&'static str, &str)], cursors: &Value) -> Markup {
    let partitions = cursors.items("partitions");
    section(
        "Cursor",
        &html! {
            @if partitions.is_empty() { p .hint { "None: the next sync reads everything." } }
            @for partition in partitions.iter().take(20) {
                p {
                    @if let Some(params) = partition["partition"].as_object().filter(|params| !params.is_empty()) {
                        @for (name, value) in params { code { (name) "=" (plain(value)) } " " }
                    }
                    @if let Some(cursor) = partition.maybe("cursor") { (code(cursor)) } @else { span .dim { "none" } }
                    " " span .dim { "synced " } (time(context, partition.text("synced_at")))
                    @if partition.is("in_progress") { " " (state("interrupted")) }
                }
            }
            @if partitions.len() > 20 { p .hint { "and " (partitions.len() - 20) " more" } }
            @if !partitions.is_empty() { p { (context.form(&CLEAR, values).link().button("Clear, so that the next sync reads everything")) } }
        },
    )
}

/// A value of a record in a few characters.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() <= VALUE_CHARS { text } else { text.chars().take(VALUE_CHARS).chain(['…']).collect() }
}

/// The members that most records have, in the order of the first one.
fn columns(records: &[Value]) -> Vec<&str> {
    let first = records.first().and_then(Value::as_object);
    let simple = |value: &Value| !value.is_object() && !value.is_array();
    let names = first.into_iter().flatten().filter(|(name, value)| !name.starts_with('_') && simple(value));
    names.map(|(name, _)| name.as_str()).take(COLUMNS).collect()
}

fn record_table(records: &[Value]) -> Markup {
    let columns = columns(records);
    html! {
        div .table tabindex="0" { table {
            thead { tr { th { "Key" } @for column in &columns { th { (column) } } th { span .visually-hidden { "State" } } } }
            tbody { @for record in records { tr {
                td { code { (plain(&record["_key"])) } }
                @for column in &columns { td { (plain(&record[*column])) } }
                td { @if record["_deleted_at"].is_string() { (state("deleted")) } }
            } } }
        } }
    }
}

/// People open it in a spreadsheet; programs get the file of the API, which has every value as it is.
async fn csv(context: &DashboardContext) -> Result<Shown, Problem> {
    let bytes = without_formulas(&file(context, "csv").await?);
    let bytes = bytes.map_err(|error| Error::from(ExportError::from(io::Error::other(error))))?;
    Ok(attachment(context, bytes, "csv", "text/csv; charset=utf-8"))
}

async fn parquet(context: &DashboardContext) -> Result<Shown, Problem> {
    Ok(attachment(context, file(context, "parquet").await?, "parquet", "application/vnd.apache.parquet"))
}

/// Reads all records of the stream as a file.
async fn file(context: &DashboardContext, format: &str) -> Result<Bytes, Problem> {
    let values = [("connection", context.param("connection")), ("stream", context.param("stream"))];
    context.bytes("/v1/connections/{connection}/streams/{stream}/file", &values, &[("format", format)]).await
}

fn attachment(context: &DashboardContext, bytes: Bytes, format: &str, content_type: &'static str) -> Shown {
    let stream = context.param("stream");
    let mut response: FullResponse = Response::new(bytes.into());
    let name: String = stream.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    if let Ok(value) = header::HeaderValue::try_from(format!("attachment; filename=\"{name}.{format}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    crate::server::reply::protect(headers);
    Shown::Other(response)
}
