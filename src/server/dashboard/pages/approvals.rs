//! Approvals: requests of API tokens that wait for a person's yes.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{code, empty, heading, next_page, property, section, state, time};
use super::super::context::{DashboardContext, segment};
use super::super::form::hidden;
use super::super::tree::tree;
use super::super::values::Fields;
use super::connections::path;
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] =
    &[page!("/dashboard/approvals", list), page!("/dashboard/approvals/{approval}", show)];

const SECTION: &str = "/dashboard/approvals";

static GRANT: FormAction = FormAction::post("/v1/approvals/{approval}/grant");
static DENY: FormAction = FormAction::post("/v1/approvals/{approval}/deny");

async fn list(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let is_all = context.query("status") == "all";
    let status = if is_all { "" } else { "pending" };
    let query = [("status", status), ("limit", "50"), ("cursor", context.query("cursor"))];
    let approvals = context.get("/v1/approvals", &[], &query).await?;
    let rows = approvals.items("data");
    let tab = |value: &str, label: &str, is_chosen: bool| {
        html! { a href=(context.with_query(&[("status", value), ("cursor", "")])) aria-current=[is_chosen.then_some("true")] { (label) } }
    };
    let body = html! {
        (heading("Approvals", "Requests of API tokens that wait for a person.", &html! {}))
        nav .tabs .under aria-label="Status" { (tab("", "Waiting", !is_all)) (tab("all", "All", is_all)) }
        @if rows.is_empty() {
            (empty("No request waits", &html! {
                p { "A token can be made to need a person's yes for what it changes, such as an agent's. Each approval is for one exact request." }
            }))
        } @else {
            div .table { table {
                thead { tr { th { "Request" } th { "Token" } th { "Status" } th { "Asked" } th { "Expires" } } }
                tbody { @for one in rows { (row(context, one)) } }
            } }
            (next_page(context, approvals.maybe("next_cursor")))
        }
    };
    Ok(DashboardPage { title: "Approvals".to_owned(), section: SECTION, body })
}

fn row(context: &DashboardContext, one: &Value) -> Markup {
    html! {
        tr {
            td { a href=(context.href(&format!("{SECTION}/{}", segment(one.text("approval"))))) { (one.text("summary")) } }
            td { (token(one)) }
            td { (state(one.text("status"))) }
            td .nowrap { (time(context, one.text("requested_at"))) }
            td .nowrap { (time(context, one.text("expires_at"))) }
        }
    }
}

fn effect(one: &Value) -> &'static str {
    match one.text("effect") {
        "read" => "only reads",
        "destroy" => "deletes something for good",
        _ => "changes something",
    }
}

fn token(one: &Value) -> &str {
    one.maybe("token_name").unwrap_or(one.text("token"))
}

async fn show(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let values = [("approval", context.param("approval"))];
    let one = context.get("/v1/approvals/{approval}", &values, &[]).await?;
    let status = one.text("status");
    let is_open = matches!(status, "pending" | "granted" | "denied");
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "Approvals" } }
        (heading(one.text("operation"), one.text("summary"), &state(status)))
        (section("What would be done", &html! {
            p { (token(&one)) " asks for a request that " strong { (effect(&one)) } "." }
            (tree(&one["request"], ""))
        }))
        @if is_open { (decision(context, &values, status)) }
        (details(context, &one))
    };
    Ok(DashboardPage { title: one.text("operation").to_owned(), section: SECTION, body })
}

fn decision(context: &DashboardContext, values: &[(&'static str, &str)], status: &str) -> Markup {
    section(
        "Decide",
        &html! {
            @if context.may(&GRANT) {
                p { "Only a request that is the same in every byte that matters uses the approval." }
                div .actions {
                    @if status != "granted" {
                        (context.form(&GRANT, values).primary().button("Allow once"))
                        (context.form(&GRANT, values).fields(hidden("window_secs", "3600")).button("Allow for an hour"))
                    }
                    @if status != "denied" { (context.form(&DENY, values).danger().button("Deny")) }
                }
            } @else { p .hint { "Only approvers decide." } }
        },
    )
}

fn details(context: &DashboardContext, one: &Value) -> Markup {
    section(
        "Details",
        &html! {
            dl .properties {
                (property("Token", &code(one.text("token"))))
                @if let Some(name) = one.maybe("connection") { (property("Connection", &html! { a href=(context.href(&path(name))) { (name) } })) }
                (property("Asked", &time(context, one.text("requested_at"))))
                (property("Expires", &time(context, one.text("expires_at"))))
                @if let Some(at) = one.maybe("decided_at") { (property("Decided", &time(context, at))) }
                @if let Some(at) = one.maybe("used_at") { (property("Used", &time(context, at))) }
            }
        },
    )
}
