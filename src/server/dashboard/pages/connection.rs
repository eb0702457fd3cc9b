//! A connection: whether it works, its settings, and how it ends.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{
    Bar, StateTone, badge, bars, code, heading, number, property, section, state, table_of, time,
};
use super::super::context::{DashboardContext, segment};
use super::super::form::{Field, hidden};
use super::super::problem_page::sentence;
use super::super::values::Fields;
use super::connections::{SECTION, START, TEST, account, marks, path, trouble};
use super::disconnections::DISCONNECT;
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[
    page!("/dashboard/connections/{connection}", overview),
    page!("/dashboard/connections/{connection}/settings", settings),
    page!("/dashboard/connections/{connection}/reconnect", reconnect),
];

static REFRESH: FormAction = FormAction::post("/v1/connections/{connection}/refresh");
static RENAME: FormAction = FormAction::patch("/v1/connections/{connection}");

/// Checks that the chart shows.
const SHOWN_CHECKS: usize = 60;

/// Reads the connection of the page.
pub(super) async fn connection(context: &DashboardContext) -> Result<Value, Problem> {
    context.get("/v1/connections/{connection}", &[("connection", context.param("connection"))], &[]).await
}

/// The tabs of a connection: the end of the path, and the name.
const TABS: [(&str, &str); 5] = [
    ("", "Overview"),
    ("/data", "Data"),
    ("/webhooks", "Webhooks"),
    ("/activity", "Activity"),
    ("/settings", "Settings"),
];

/// The head of each page of a connection.
pub(super) fn head(context: &DashboardContext, view: &Value, tab: &str) -> Markup {
    let name = view.text("connection");
    let values = [("connection", name)];
    html! {
        p .crumbs { a href=(context.href(SECTION)) { "Connections" } }
        header .pagehead {
            div {
                h1 { (name) " " (state(view.text("status"))) }
                p .about { (view.text("name")) @if let Some(account) = account(view) { " · " (account) } " " (marks(view)) }
            }
            div .actions {
                (context.form(&TEST, &values).button("Test"))
                @if view.is("refreshable") { (context.form(&REFRESH, &values).button("Refresh token")) }
                @if context.may(&START) { a .button href=(context.href(&format!("{}/reconnect", path(name)))) { "Reconnect" } }
            }
        }
        (trouble(context, view))
        nav .tabs .under aria-label="Connection" {
            @for (end, label) in TABS {
                a href=(context.href(&format!("{}{end}", path(name)))) aria-current=[(end == tab).then_some("page")] { (label) }
            }
        }
    }
}

async fn overview(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let values = [("connection", context.param("connection"))];
    let (view, metrics, logs) = tokio::join!(
        connection(context),
        context.get("/v1/connections/{connection}/metrics", &values, &[]),
        context.get("/v1/connections/{connection}/logs", &values, &[("limit", "200")]),
    );
    let (view, metrics, logs) = (view?, metrics?, logs?);
    let body = html! {
        (head(context, &view, ""))
        (stats(&metrics))
        (health(&logs))
        (scopes(&view))
        (properties(context, &view))
        (errors(context, &metrics))
    };
    Ok(DashboardPage { title: view.text("connection").to_owned(), section: SECTION, body })
}

fn stats(metrics: &Value) -> Markup {
    let uptime = |window: &str| match metrics["uptime"][window]["ratio"].as_f64() {
        Some(ratio) => format!("{:.2} %", ratio * 100.0),
        None => "—".to_owned(),
    };
    let stat = |name: &str, value: &str| html! { div .stat { dt { (name) } dd { (value) } } };
    html! {
        dl .stats {
            (stat("Uptime, 1 day", &uptime("last_day")))
            (stat("Uptime, 30 days", &uptime("last_30_days")))
            (stat("Records", &number(metrics.number("records"))))
            (stat("Events, 1 day", &number(metrics["events"].number("received"))))
            (stat("Waiting events", &number(metrics["queue"].number("depth"))))
        }
    }
}

fn health(logs: &Value) -> Markup {
    let checks: Vec<&Value> = logs.items("data").iter().filter(|entry| entry.text("source") == "check").collect();
    let longest = checks.iter().map(|check| check.number("duration_ms")).max().unwrap_or(1).max(1);
    let bar = |check: &&Value| {
        let (outcome, duration) = (check.text("outcome"), check.number("duration_ms"));
        let tone = match outcome {
            "healthy" | "forbidden" | "unchecked" => StateTone::Good,
            "temporary" => StateTone::Warn,
            _ => StateTone::Bad,
        };
        let error = check.maybe("error").map(|error| format!(": {error}")).unwrap_or_default();
        Bar {
            share: duration as f64 / longest as f64,
            tone,
            about: format!("{} {}, {duration} ms{error}", check.text("at"), outcome.replace('_', " ")),
        }
    };
    let shown: Vec<Bar> = checks.iter().take(SHOWN_CHECKS).rev().map(bar).collect();
    let failed = shown.iter().filter(|bar| bar.tone == StateTone::Bad).count();
    let checks = if shown.len() == 1 { "1 check".to_owned() } else { format!("{} checks", shown.len()) };
    let label = format!("{checks}, {failed} failed; the height is the time that the service took");
    section(
        "Health",
        &html! {
            @if shown.is_empty() {
                p .hint { "Not checked yet. While the server runs, it checks regularly; Test checks now." }
            } @else {
                (bars(&label, &shown))
                p .hint { (label) ", " (longest) " ms at most." }
            }
        },
    )
}

fn scopes(view: &Value) -> Markup {
    let (granted, missing) = (view.texts("scopes"), view.texts("missing_scopes"));
    html! {
        @if !granted.is_empty() || !missing.is_empty() {
            (section("Scopes", &html! {
                ul .scopes {
                    @for scope in &missing { li { (badge(StateTone::Warn, "missing")) " " code { (scope) } } }
                    @for scope in &granted { li { code { (scope) } } }
                }
            }))
        }
    }
}

fn properties(context: &DashboardContext, view: &Value) -> Markup {
    let text = |text: &str| html! { (text) };
    section(
        "Details",
        &html! {
            dl .properties {
                (property("Authentication", &text(&view.text("auth").replace('_', " "))))
                (property("Mode", &text(view.text("mode"))))
                @if let Some(origin) = view.maybe("origin") { (property("Origin", &text(origin))) }
                @if let Some(id) = view["account"].maybe("id") { (property("Account ID", &code(id))) }
                @if let Some(user) = view.maybe("user") { (property("User", &code(user))) }
                (property("Connected", &time(context, view.text("connected_at"))))
                (property("Last check", &time(context, view.text("last_checked_at"))))
                (property("Last sync", &time(context, view.text("last_sync_at"))))
                @if let Some(at) = view.maybe("expires_at") { (property("Token expires", &time(context, at))) }
                @if let Some(at) = view.maybe("refresh_expires_at") { (property("Refresh token expires", &time(context, at))) }
                (property("Credential", &text(if view.text("reveal") == "never" { "Never handed out" } else { "May be handed out" })))
            }
        },
    )
}

fn errors(context: &DashboardContext, metrics: &Value) -> Markup {
    let errors = metrics.items("errors");
    html! {
        @if !errors.is_empty() {
            (section("Latest errors", &html! {
                (table_of(&["When", "Of", "Error"], errors.iter().take(10), |error| html! {
                    td .nowrap { (time(context, error.text("at"))) }
                    td .nowrap { (error.text("source")) }
                    td { (sentence(error.text("message"))) }
                }))
            }))
        }
    }
}

async fn settings(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let view = connection(context).await?;
    let name = view.text("connection");
    let rename =
        Field::new("name", "New name").hint("The account's name, or the whole name as slack@work.").required().text();
    let body = html! {
        (head(context, &view, "/settings"))
        (section("Rename", &html! {
            p { "Programs that name this connection need the new name." }
            @if context.may(&RENAME) {
                (context.form(&RENAME, &[("connection", name)]).fields(rename).button("Rename"))
            } @else { p .hint { "Your role does not allow it." } }
        }))
        (section("Credential", &html! {
            p { @if view.text("reveal") == "never" { "The credential is never handed out." } @else { "Programs may read the credential." } }
            p .hint { "To change that, at the machine of the server: " (code(&format!("integ reveal {name} never"))) }
        }))
        (section("Disconnect", &html! {
            p { "Revokes the grant at the service, and deletes what is stored of the connection." }
            @if context.may(&DISCONNECT) {
                a .button .danger href=(context.href(&format!("{}/disconnect", path(name)))) { "Disconnect…" }
            } @else { p .hint { "Your role does not allow it." } }
        }))
    };
    Ok(DashboardPage { title: format!("Settings of {name}"), section: SECTION, body })
}

async fn reconnect(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let view = connection(context).await?;
    let name = view.text("connection");
    let mut missing = view.texts("missing_scopes");
    // What a failure has named.
    missing.extend(context.query("add").split([' ', ',']).filter(|scope| !scope.is_empty()));
    missing.dedup();
    let fields = html! {
        (hidden("reconnect", name))
        (hidden("return_to", &context.absolute("/dashboard/connected")))
        @for scope in &missing {
            label .check { input type="checkbox" name="added_scopes" value=(scope) checked; " Ask for " code { (scope) } }
        }
    };
    let body = html! {
        p .crumbs { a href=(context.href(&path(name))) { (name) } }
        (heading(&format!("Reconnect {name}"), "", &html! {}))
        (trouble(context, &view))
        (section("Sign in again", &html! {
            p { "Signs in as before: the same account, method and scopes. Records, events and settings stay." }
            @if context.may(&START) {
                (context.form(&START, &[]).fields(fields).primary().or_cancel(path(name)).button("Continue"))
            } @else { p .hint { "Your role does not allow it." } }
        }))
    };
    Ok(DashboardPage { title: format!("Reconnect {name}"), section: SECTION, body })
}

/// The path of a stream's records.
pub(super) fn records_path(connection: &str, stream: &str) -> String {
    format!("{}/streams/{}", path(connection), segment(stream))
}
