//! Endpoints: where your own events are sent, and what became of each delivery.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{code, empty, heading, next_page, number, property, section, state, table_of, time};
use super::super::context::{DashboardContext, segment};
use super::super::form::{Field, hidden};
use super::super::problem_page::sentence;
use super::super::values::Fields;
use super::delivery_chart::{chart, of_last_day};
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[
    page!("/dashboard/endpoints", list),
    page!("/dashboard/endpoints/{endpoint}", show),
    page!("/dashboard/deliveries/{delivery}", delivery),
];

pub(super) const SECTION: &str = "/dashboard/endpoints";

static ADD: FormAction = FormAction::post("/v1/endpoints");
static UPDATE: FormAction = FormAction::patch("/v1/endpoints/{endpoint}");
static REMOVE: FormAction = FormAction::delete("/v1/endpoints/{endpoint}");
static ROTATE: FormAction = FormAction::post("/v1/endpoints/{endpoint}/rotate");
static ENABLE: FormAction = FormAction::post("/v1/endpoints/{endpoint}/enable");
static DISABLE: FormAction = FormAction::post("/v1/endpoints/{endpoint}/disable");
static SEND: FormAction = FormAction::post("/v1/messages");
static RETRY: FormAction = FormAction::post("/v1/deliveries/{delivery}/retry");

async fn list(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let query = [("limit", "50"), ("cursor", context.query("cursor"))];
    let (endpoints, latest) = tokio::join!(context.get("/v1/endpoints", &[], &query), of_last_day(context, ""));
    let (endpoints, latest) = (endpoints?, latest?);
    let rows = endpoints.items("data");
    let fields = html! {
        (Field::new("url", "URL").hint("https, and public.").required().text())
        (Field::new("events", "Event types").hint("One on each line, such as invoice.paid or invoice.*; all if left empty.").area(3))
        (Field::new("description", "Description").text())
    };
    let body = html! {
        (heading("Endpoints", "URLs that your own events are sent to, signed as Standard Webhooks.", &html! {}))
        @if rows.is_empty() {
            (empty("No endpoints", &html! {
                p { "Your program sends an event once; integ signs it and delivers it to each endpoint that wants it, again and again until it is received." }
            }))
        } @else {
            (section("Deliveries", &chart(context, &latest)))
            (table(context, rows))
            (next_page(context, endpoints.maybe("next_cursor")))
        }
        @if context.may(&ADD) { (section("Add an endpoint", &context.form(&ADD, &[]).fields(fields).primary().button("Add"))) }
    };
    Ok(DashboardPage { title: "Endpoints".to_owned(), section: SECTION, body })
}

fn path(id: &str) -> String {
    format!("{SECTION}/{}", segment(id))
}

fn table(context: &DashboardContext, endpoints: &[Value]) -> Markup {
    table_of(&["Endpoint", "Status", "Events", "Created"], endpoints, |one| {
        html! {
            td {
                a href=(context.href(&path(one.text("endpoint")))) { (one.text("url")) }
                @if let Some(about) = one.maybe("description") { div .hint { (about) } }
            }
            td { (state(one.text("status"))) }
            td { ul .scopes { @for event in one.texts("events") { li { code { (event) } } } } }
            td .nowrap { (time(context, one.text("created_at"))) }
        }
    })
}

async fn show(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let id = context.param("endpoint");
    let values = [("endpoint", id)];
    let query = [("endpoint", id), ("limit", "40"), ("cursor", context.query("cursor"))];
    let (endpoint, deliveries, latest, types) = tokio::join!(
        context.get("/v1/endpoints/{endpoint}", &values, &[]),
        context.get("/v1/deliveries", &[], &query),
        of_last_day(context, id),
        context.get("/v1/event-types", &[], &[("limit", "100")]),
    );
    let (endpoint, deliveries, latest, types) = (endpoint?, deliveries?, latest?, types?);
    let is_disabled = endpoint.text("status") == "disabled";
    let actions = html! {
        @if is_disabled { (context.form(&ENABLE, &values).primary().button("Enable")) } @else { (context.form(&DISABLE, &values).button("Disable")) }
        (context.form(&ROTATE, &values).fields(hidden("overlap_secs", "86400")).button("Rotate the secret"))
        (context.form(&REMOVE, &values).danger().returns_to(SECTION).button("Remove"))
    };
    let rows = deliveries.items("data");
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "Endpoints" } }
        (heading(endpoint.text("url"), endpoint.text("description"), &actions))
        (trouble(context, &endpoint))
        (section("Deliveries", &html! {
            (chart(context, &latest))
            (delivery_table(context, rows))
        }))
        (next_page(context, deliveries.maybe("next_cursor")))
        (test_send(context, id, types.items("data")))
        (settings(context, &values, &endpoint))
    };
    Ok(DashboardPage { title: endpoint.text("url").to_owned(), section: SECTION, body })
}

fn trouble(context: &DashboardContext, endpoint: &Value) -> Markup {
    html! {
        @if let Some(reason) = endpoint.maybe("disabled_reason") {
            div .callout .bad { p { "Disabled " (time(context, endpoint.text("disabled_at"))) ": " (reason.replace('_', " ")) ". Nothing is sent until it is enabled." } }
        } @else if let Some(since) = endpoint.maybe("failing_since") {
            div .callout .warn { p { "No attempt has succeeded since " (time(context, since)) "." } }
        }
    }
}

fn delivery_table(context: &DashboardContext, deliveries: &[Value]) -> Markup {
    html! {
        @if deliveries.is_empty() { p .hint { "Nothing was sent yet." } }
        @else {
            div .table tabindex="0" { table {
                thead { tr { th { "Event" } th { "Status" } th .right { "Attempts" } th { "Created" } th { "Next attempt" } th { span .visually-hidden { "Actions" } } } }
                tbody { @for one in deliveries {
                    @let id = id_of(one);
                    tr {
                        td {
                            a href=(context.href(&format!("/dashboard/deliveries/{}", segment(&id)))) { (one.text("type")) }
                            @if let Some(error) = one.maybe("last_error") { div .hint { (error) } }
                        }
                        td { (state(one.text("status"))) }
                        td .right { (number(one.number("attempts"))) }
                        td .nowrap { (time(context, one.text("created_at"))) }
                        td .nowrap { (time(context, one.text("next_attempt_at"))) }
                        td { @if one.text("status") != "delivered" { (context.form(&RETRY, &[("delivery", &id)]).button_about("Deliver again", &id)) } }
                    }
                } }
            } }
        }
    }
}

/// The id of a delivery, which is a text or a number.
fn id_of(one: &Value) -> String {
    one["delivery"].as_str().map_or_else(|| one["delivery"].to_string(), str::to_owned)
}

fn test_send(context: &DashboardContext, id: &str, types: &[Value]) -> Markup {
    let known: Vec<&str> = types.iter().map(|one| one.text("event")).collect();
    let hint =
        if known.is_empty() { "Such as invoice.paid.".to_owned() } else { format!("Known: {}", known.join(", ")) };
    let fields = html! {
        (hidden("endpoint", id))
        (Field::new("type", "Event type").hint(&hint).value("test.sent").required().text())
        (Field::new("data", "Data").hint("JSON.").value("{\"test\": true}").area(3))
    };
    html! { @if context.may(&SEND) { (section("Send a test event", &context.form(&SEND, &[]).fields(fields).button("Send"))) } }
}

fn settings(context: &DashboardContext, values: &[(&'static str, &str)], endpoint: &Value) -> Markup {
    let (timeout, attempts) =
        (endpoint.number("timeout_secs").to_string(), endpoint.number("max_attempts").to_string());
    let events = endpoint.texts("events").join("\n");
    let fields = html! {
        (Field::new("url", "URL").value(endpoint.text("url")).required().text())
        (Field::new("events", "Event types").hint("One on each line.").value(&events).area(3))
        (Field::new("description", "Description").value(endpoint.text("description")).text())
        (Field::new("max_attempts", "Attempts at most").value(&attempts).number())
        (Field::new("timeout_secs", "Seconds until an attempt fails").value(&timeout).number())
        (Field::new("rate", "Requests at most").hint("Such as 10/s or 100/m.").value(endpoint.text("rate")).text())
    };
    html! {
        @if context.may(&UPDATE) { (section("Settings", &context.form(&UPDATE, values).fields(fields).button("Save"))) }
    }
}

async fn delivery(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let values = [("delivery", context.param("delivery"))];
    let one = context.get("/v1/deliveries/{delivery}", &values, &[]).await?;
    let body = html! {
        p .crumbs { a href=(context.href(&path(one.text("endpoint")))) { "Endpoint" } }
        (heading(one.text("type"), "", &context.form(&RETRY, &values).button("Deliver again")))
        (section("Details", &html! {
            dl .properties {
                (property("Status", &state(one.text("status"))))
                (property("Message", &code(one.text("message"))))
                (property("Created", &time(context, one.text("created_at"))))
                (property("Expires", &time(context, one.text("expires_at"))))
            }
        }))
        @for (index, attempt) in one.items("attempt_log").iter().rev().enumerate() {
            (section(&format!("Attempt {}", one.items("attempt_log").len() - index), &attempt_view(context, attempt)))
        }
    };
    Ok(DashboardPage { title: one.text("type").to_owned(), section: SECTION, body })
}

fn attempt_view(context: &DashboardContext, attempt: &Value) -> Markup {
    html! {
        p {
            @match attempt["response_status"].as_i64() { Some(status) => { "Answered with " (status) }, None => "No answer", }
            ", " (time(context, attempt.text("started_at"))) ", " (number(attempt.number("duration_ms"))) " ms"
        }
        @if let Some(error) = attempt.maybe("error") { div .callout .bad { p { (sentence(error)) } } }
        @if let Some(body) = attempt.maybe("response_body") { pre { (body) } }
        details {
            summary { "Request headers" }
            dl .properties { @for (name, value) in attempt["request_headers"].as_object().into_iter().flatten() {
                (property(name, &html! { code { (value.as_str().unwrap_or_default()) } }))
            } }
        }
    }
}

/// The page of a secret, which is shown only here.
pub(super) fn secret(context: &DashboardContext, reply: &Value, title: &str) -> DashboardPage {
    let body = html! {
        (heading(title, reply.text("url"), &html! {}))
        @if let Some(secret) = reply.maybe("secret") {
            div .callout .warn { p { "Copy the signing secret now: it is not shown again. The receiver verifies events with it." } }
            p { (code(secret)) }
        }
        p { a .button href=(context.href(&path(reply.text("endpoint")))) { "Open the endpoint" } }
    };
    DashboardPage { title: title.to_owned(), section: SECTION, body }
}
