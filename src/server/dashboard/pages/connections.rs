//! All connections: which need attention and why, and what fixes them.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{StateTone, badge, empty, heading, mark, next_page, number, search_form, state, time};
use super::super::context::{DashboardContext, segment};
use super::super::fix::fix;
use super::super::form::{EACH, EACH_FIELD};
use super::super::problem_page::sentence;
use super::super::values::Fields;
use super::disconnections::{DISCONNECT, PREVIEW};
use super::{PageHandler, page};
use crate::health::ConnectionStatus;
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[page!("/dashboard/connections", list)];

pub(super) const SECTION: &str = "/dashboard/connections";

pub(super) static TEST: FormAction = FormAction::post("/v1/connections/{connection}/test");
pub(super) static START: FormAction = FormAction::post("/v1/connections");

static REFRESH: FormAction = FormAction::post("/v1/connections/{connection}/refresh");

/// The form of the chosen connections.
const CHOSEN: &str = "chosen";

/// Connections of a page.
const PAGE_SIZE: &str = "25";

async fn list(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let mut query = ["status", "q", "cursor"].map(|name| (name, context.query(name))).to_vec();
    query.push(("limit", PAGE_SIZE));
    let (counts, page) = tokio::join!(context.get("/v1/status", &[], &[]), context.get("/v1/connections", &[], &query));
    let (counts, page) = (counts?, page?);
    let connect = html! {
        @if context.may(&START) { a .button .primary href=(context.href("/dashboard/connect")) { "Connect a service" } }
    };
    let body = html! {
        (heading("Connections", "", &connect))
        @if counts.number("total") == 0 { (nothing(context)) }
        @else { (filters(context, &counts)) (found(context, &page)) }
    };
    Ok(DashboardPage { title: "Connections".to_owned(), section: SECTION, body })
}

fn nothing(context: &DashboardContext) -> Markup {
    empty(
        "No connections yet",
        &html! {
            p {
                "A connection is one account at a service. Your programs get its fresh token, its records and its webhooks from "
                "integ, and you see here whether it works."
            }
            @if context.may(&START) {
                p { "Try one without an account: the sandbox emulates each service on this machine." }
                p { a .button .primary href=(context.href("/dashboard/connect")) { "Choose a service" } }
            }
        },
    )
}

fn filters(context: &DashboardContext, counts: &Value) -> Markup {
    let chosen = context.query("status");
    let tab = |status: &str, label: &str, count: i64| {
        html! {
            a href=(context.with_query(&[("status", status), ("cursor", "")])) aria-current=[(status == chosen).then_some("true")] {
                (label) " " span .count { (number(count)) }
            }
        }
    };
    html! {
        div .toolbar {
            nav .tabs aria-label="Status" {
                (tab("", "All", counts.number("total")))
                @for status in ConnectionStatus::ALL.map(ConnectionStatus::as_str) {
                    @let count = counts.number(status);
                    @if count > 0 || status == chosen { (tab(status, &capital(&status.replace('_', " ")), count)) }
                }
            }
            (search_form(context, SECTION, "Search connections", ("status", chosen)))
        }
    }
}

/// Returns a text with a capital first letter.
pub(super) fn capital(text: &str) -> String {
    if text == "crm" {
        return "CRM".to_owned();
    }
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

fn found(context: &DashboardContext, page: &Value) -> Markup {
    let shown = page.items("data");
    if shown.is_empty() {
        return empty("No connection fits", &html! { p { a href=(context.href(SECTION)) { "Show all connections" } } });
    }
    html! {
        @if shown.len() > 1 && context.may(&TEST) { (together(context)) }
        ul .rows {
            @for one in shown { li { (row(context, one)) } }
        }
        (next_page(context, page.maybe("next_cursor")))
    }
}

/// What can be done with the chosen connections at once.
fn together(context: &DashboardContext) -> Markup {
    let each = [("connection", EACH)];
    let form = context.form(&TEST, &each).named(CHOSEN).or(&REFRESH, &each, "Refresh tokens");
    let form = if context.may(&DISCONNECT) { form.or_together(&PREVIEW, "connection", "Disconnect…") } else { form };
    html! { div .together { span .dim { "Chosen connections:" } (form.fields(html! {}).button("Test")) } }
}

fn row(context: &DashboardContext, one: &Value) -> Markup {
    let name = one.text("connection");
    let path = path(name);
    let missing = one.texts("missing_scopes");
    html! {
        div .row .choosable[context.may(&TEST)] {
            @if context.may(&TEST) {
                input .choose type="checkbox" name=(EACH_FIELD) value=(name) form=(CHOSEN) aria-label={ "Choose " (name) };
            }
            div .rowmain {
                a .rowname href=(context.href(&path)) { (name) }
                (marks(one))
                span .dim { (one.text("name")) @if let Some(account) = account(one) { " · " (account) } }
            }
            div .rowstate {
                (state(one.text("status")))
                @if !missing.is_empty() { (badge(StateTone::Warn, &scopes_missing(missing.len()))) }
            }
            div .rowmeta {
                span { span .dim { "Synced " } (time(context, one.text("last_sync_at"))) }
                span { span .dim { "Checked " } (time(context, one.text("last_checked_at"))) }
            }
            div .actions { (context.form(&TEST, &[("connection", name)]).button_about("Test", name)) }
        }
        (trouble(context, one))
    }
}

fn scopes_missing(count: usize) -> String {
    if count == 1 { "1 scope missing".to_owned() } else { format!("{count} scopes missing") }
}

/// What is wrong with a connection in full, and its fix.
pub(super) fn trouble(context: &DashboardContext, one: &Value) -> Markup {
    let healthy = matches!(one.text("status"), "active" | "expiring");
    let error = one.maybe("reason").or_else(|| one.maybe("last_error")).filter(|_| !healthy);
    let missing = one.texts("missing_scopes");
    html! {
        @if let Some(error) = error {
            div .callout .bad {
                p { (sentence(error)) }
                @if let Some(hint) = one.maybe("hint") { (fix(context, hint)) }
            }
        } @else if !missing.is_empty() {
            div .callout .warn {
                p { "Not granted: " @for scope in &missing { code { (scope) } " " } }
                @if let Some(hint) = one.maybe("hint") { (fix(context, hint)) }
            }
        }
    }
}

/// What sets a connection apart: the sandbox, another origin, a user.
pub(super) fn marks(one: &Value) -> Markup {
    html! {
        @if one.text("mode") == "sandbox" { (mark("sandbox")) }
        @if let Some(user) = one.maybe("user") { (mark(&format!("user {user}"))) }
    }
}

/// The account of a connection.
pub(super) fn account(one: &Value) -> Option<&str> {
    one["account"].maybe("name").or_else(|| one["account"].maybe("id"))
}

/// The path of a connection's page.
pub(super) fn path(name: &str) -> String {
    format!("/dashboard/connections/{}", segment(name))
}
