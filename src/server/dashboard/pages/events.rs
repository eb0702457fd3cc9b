//! Webhook events: the live list, and one event with its payload, request, and attempts.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{
    StateTone, badge, code, empty, heading, next_page, number, property, section, state, table_of, time,
};
use super::super::context::DashboardContext;
use super::super::form::{Field, hidden};
use super::super::icons::Icon;
use super::super::live;
use super::super::problem_page::sentence;
use super::super::tree::tree;
use super::super::values::Fields;
use super::connections::path;
use super::{PageHandler, Shown, page};
use crate::model::EventStatus;
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[
    page!("/dashboard/events", list),
    page!("/dashboard/events/{event}", show),
    page!("/dashboard/live/events", stream),
];

const SECTION: &str = "/dashboard/events";

static RETRY: FormAction = FormAction::post("/v1/events/{event}/retry");
static RESOLVE: FormAction = FormAction::post("/v1/events/{event}/resolve");

/// Events of a page.
const PAGE_SIZE: &str = "50";

/// The values of the query that choose events.
fn chosen(context: &DashboardContext) -> [(&str, &str); 4] {
    let value = |name| context.query(name);
    [
        ("connection", value("connection")),
        ("status", value("status")),
        ("type", value("type")),
        ("conflicts", value("conflicts")),
    ]
}

async fn list(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let mut query = chosen(context).to_vec();
    query.extend([("limit", PAGE_SIZE), ("cursor", context.query("cursor"))]);
    let events = context.get("/v1/events", &[], &query).await?;
    let rows = events.items("data");
    let is_filtered = chosen(context).iter().any(|(_, value)| !value.is_empty());
    let is_first = context.query("cursor").is_empty();
    let live = html! { @if is_first { span .live { "Live" } } };
    let body = html! {
        (heading("Events", "Webhooks that services sent.", &live))
        @if rows.is_empty() && !is_filtered {
            (empty("No events yet", &html! {
                p { "A service calls the webhook URL of a connection when something happens. integ verifies the call, stores it, and hands it on." }
                p { "To see one now, open the Webhooks tab of a connection and simulate an event." }
                p { a .button href=(context.href("/dashboard/connections")) { "Choose a connection" } }
            }))
        } @else {
            (filters(context))
            @if rows.is_empty() { (empty("No event fits", &html! { p { a href=(context.href(SECTION)) { "Show all events" } } })) }
            @else { (live_table(context, rows, is_first)) (next_page(context, events.maybe("next_cursor"))) }
        }
    };
    Ok(DashboardPage { title: "Events".to_owned(), section: SECTION, body })
}

fn filters(context: &DashboardContext) -> Markup {
    let mut statuses = vec![("", "Any")];
    statuses.extend(EventStatus::ALL.map(|status| (status.as_str(), status.as_str())));
    html! {
        form .filters method="get" action=(context.href(SECTION)) {
            (Field::new("connection", "Connection").value(context.query("connection")).text())
            (Field::new("status", "Status").value(context.query("status")).select(&statuses))
            (Field::new("type", "Type, such as charge.*").value(context.query("type")).text())
            button type="submit" { (Icon::Search.svg()) "Filter" }
        }
    }
}

fn live_table(context: &DashboardContext, events: &[Value], is_live: bool) -> Markup {
    let here = context.with_query(&[("cursor", "")]);
    let query = here.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default();
    let source = is_live.then(|| format!("{}{query}", context.href("/dashboard/live/events")));
    html! {
        div .table { table {
            (table_head())
            tbody data-live=[source] aria-live=[is_live.then_some("off")] { @for event in events { (row(context, event)) } }
        } }
    }
}

/// Events in a table.
pub(super) fn event_table(context: &DashboardContext, events: &[Value]) -> Markup {
    html! {
        @if events.is_empty() { p .hint { "No event yet." } }
        @else { div .table { table { (table_head()) tbody { @for event in events { (row(context, event)) } } } } }
    }
}

fn table_head() -> Markup {
    html! { thead { tr { th { "Event" } th { "Connection" } th { "Status" } th { "Received" } th .right { "Attempts" } } } }
}

fn row(context: &DashboardContext, event: &Value) -> Markup {
    let id = event["id"].to_string();
    html! {
        tr data-id=(id) {
            td {
                a href=(context.href(&format!("{SECTION}/{id}"))) { (event.text("type")) }
                @if let Some(resource) = event.maybe("resource") { " " span .dim { (resource) } }
                @if let Some(error) = event.maybe("error") { div .hint { (error) } }
            }
            td { a href=(context.href(&path(event.text("connection")))) { (event.text("connection")) } }
            td .nowrap {
                (state(event.text("status"))) " "
                @if !event.is("verified") { (badge(StateTone::Warn, "not verified")) }
                @if event.number("conflicts") > 0 { (badge(StateTone::Warn, "conflict")) }
            }
            td .nowrap { (time(context, event.text("received_at"))) }
            td .right { (number(event.number("attempts"))) }
        }
    }
}

/// Sends events that arrive, as rows of the table.
async fn stream(context: &DashboardContext) -> Result<Shown, Problem> {
    let mut query = chosen(context).to_vec();
    query.push(("limit", "20"));
    let rows = live::LiveRows { path: "/v1/events", query: &query, key: "id" };
    live::respond(context, rows, |event| row(context, event)).await
}

async fn show(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let values = [("event", context.param("event"))];
    let event = context.get("/v1/events/{event}", &values, &[]).await?;
    let kind = event.text("type");
    let actions = context.form(&RETRY, &values).button("Handle again");
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "Events" } }
        (heading(kind, "", &actions))
        @if let Some(error) = event.maybe("error") { div .callout .bad { p { (sentence(error)) } } }
        (details(context, &event))
        (conflicts(context, &event))
        (section("Payload", &payload(context, &event)))
        (section("Attempts", &attempts(context, event.items("handled"))))
        (section("Request", &headers(&event)))
    };
    Ok(DashboardPage { title: format!("{kind} #{}", context.param("event")), section: SECTION, body })
}

fn details(context: &DashboardContext, event: &Value) -> Markup {
    section(
        "Details",
        &html! {
            dl .properties {
                (property("Status", &state(event.text("status"))))
                (property("Verification", &state(event.text("verification"))))
                (property("Connection", &html! { a href=(context.href(&path(event.text("connection")))) { (event.text("connection")) } }))
                (property("Delivery ID", &code(event.text("delivery_id"))))
                @if let Some(account) = event.maybe("account") { (property("Account", &code(account))) }
                @if let Some(resource) = event.maybe("resource") { (property("Resource", &code(resource))) }
                (property("Received", &time(context, event.text("received_at"))))
                @if let Some(at) = event.maybe("time") { (property("Happened", &time(context, at))) }
            }
        },
    )
}

fn conflicts(context: &DashboardContext, event: &Value) -> Markup {
    let others = event.items("other_bodies");
    if others.is_empty() {
        return html! {};
    }
    let values = [("event", context.param("event"))];
    let keep = |choice: &str, label: &str| context.form(&RESOLVE, &values).fields(hidden("keep", choice)).button(label);
    section(
        "Other bodies under the same delivery ID",
        &html! {
            p { "The service sent different bodies with one ID. Choose which of them are events." }
            @for other in others {
                details { summary { "Body " (other.number("number")) ", " (other.number("size")) " bytes, " (time(context, other.text("received_at"))) }
                    (tree(&other["payload"], "")) }
            }
            div .actions { (keep("first", "Keep the first")) (keep("all", "Keep all")) }
        },
    )
}

fn payload(context: &DashboardContext, event: &Value) -> Markup {
    let wanted = context.query("find");
    html! {
        form .filters method="get" {
            (Field::new("find", "Find in the payload").value(wanted).text())
            button type="submit" { (Icon::Search.svg()) "Find" }
        }
        (tree(&event["payload"], wanted))
    }
}

fn attempts(context: &DashboardContext, handled: &[Value]) -> Markup {
    html! {
        @if handled.is_empty() { p .hint { "Nothing has handled it. " code { "integ serve --exec" } " or " code { "--forward" } " hands events to a program." } }
        @else {
            (table_of(&["Attempt", "Handler", "Result", ">Took"], handled, |run| html! {
                td .nowrap { (run.number("attempt")) " " span .dim { (time(context, run.text("started_at"))) } }
                td { (run.text("handler")) @if let Some(status) = run["status"].as_i64() { " " span .dim { (status) } } }
                td {
                    @match run.maybe("error") { Some(error) => { (state("failed")) " " (error) }, None => (state("done")), }
                    @if let Some(output) = run.maybe("output") { pre { (output) } }
                }
                td .right .nowrap { (run.number("duration_ms")) " ms" }
            }))
        }
    }
}

fn headers(event: &Value) -> Markup {
    html! {
        @if let Some(query) = event.maybe("query") { p { "Query: " code { (query) } } }
        p .hint { (number(event.number("size"))) " bytes. Secrets are left out." }
        (table_of(&["Header", "Value"], event.items("headers"), |header| html! {
            td .nowrap { code { (header[0].as_str().unwrap_or_default()) } }
            td { code { (header[1].as_str().unwrap_or_default()) } }
        }))
    }
}
