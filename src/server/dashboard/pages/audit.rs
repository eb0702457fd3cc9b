//! The audit log, and its verification.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::super::DashboardPage;
use super::super::components::{StateTone, badge, empty, heading, next_page, number, section, state, table_of, time};
use super::super::context::DashboardContext;
use super::super::form::Field;
use super::super::icons::Icon;
use super::super::values::Fields;
use super::connection_activity::who;
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] =
    &[page!("/dashboard/audit", list), page!("/dashboard/audit/verification", verification)];

const SECTION: &str = "/dashboard/audit";

async fn list(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let value = |name| context.query(name);
    let mut query = ["connection", "user", "actor", "cursor"].map(|name| (name, value(name))).to_vec();
    query.extend(value("operation").split(',').map(|operation| ("operation", operation.trim())));
    query.push(("limit", "40"));
    let log = context.get("/v1/audit", &[], &query).await?;
    let rows = log.items("data");
    let verify = html! { a .button href=(context.href("/dashboard/audit/verification")) { "Verify the log" } };
    let body = html! {
        (heading("Audit log", "Who did what, on which connection, from where. Entries are chained by their hashes.", &verify))
        form .filters method="get" action=(context.href(SECTION)) {
            (Field::new("connection", "Connection").value(value("connection")).text())
            (Field::new("operation", "Operations, such as sync, test").value(value("operation")).text())
            (Field::new("user", "User").value(value("user")).text())
            (Field::new("actor", "Who").value(value("actor")).text())
            button type="submit" { (Icon::Search.svg()) "Filter" }
        }
        @if rows.is_empty() { (empty("No entries", &html! { p { "Nothing that fits is in the log." } })) }
        @else { (table(context, rows)) (next_page(context, log.maybe("next_cursor"))) }
    };
    Ok(DashboardPage { title: "Audit log".to_owned(), section: SECTION, body })
}

fn table(context: &DashboardContext, entries: &[Value]) -> Markup {
    table_of(&[">#", "When", "Who", "What", "Connection", "From", "Outcome"], entries, |entry| {
        html! {
            td .right { (entry.number("sequence")) }
            td .nowrap { (time(context, entry.text("at"))) }
            td { (who(entry)) }
            td { (entry.text("operation")) @if let Some(detail) = entry.maybe("detail") { div .hint { (detail) } } }
            td { (entry.text("connection")) @if let Some(user) = entry.maybe("user") { div .hint { "user " (user) } } }
            td { (entry.text("source")) }
            td { (state(entry.text("outcome"))) @if let Some(code) = entry.maybe("error_code") { div .hint { (code) } } }
        }
    })
}

async fn verification(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let report = context.post("/v1/audit-verifications", &[], &json!({})).await?;
    let problems = report.items("problems");
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "Audit log" } }
        (heading("Verification of the log", "", &html! {}))
        @if problems.is_empty() {
            div .callout .good { p { "The " (number(report.number("entries"))) " entries from " (report.number("first")) " to " (report.number("last")) " are complete and unchanged." } }
        } @else {
            div .callout .bad {
                p { "The log was changed:" }
                ul { @for problem in problems { li { "entry " (problem.number("sequence")) ": " (problem.text("kind").replace('_', " ")) } } }
            }
        }
        (section("Cut off at the end?", &html! {
            p { "A chain alone cannot show that its last entries are missing. Store a signed checkpoint elsewhere, and compare:" }
            pre { "integ audit export > audit.ndjson\ninteg audit verify --checkpoint audit.ndjson" }
            p { (badge(StateTone::Dim, "no checkpoint was compared")) }
        }))
    };
    Ok(DashboardPage { title: "Verification of the log".to_owned(), section: SECTION, body })
}
