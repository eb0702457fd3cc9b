//! Operators: who uses the dashboard, as the audit log has it, and how the owner of the machine adds and removes them.
//!
//! The list of operators has no route: a token or an operator that could change it could make more of itself. The log says
//! who has signed in, and what the owner has changed.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::components::{code, empty, heading, number, property, section, table_of, time};
use super::super::context::DashboardContext;
use super::super::session::abilities;
use super::super::values::Fields;
use super::connection_activity::who;
use super::{PageHandler, page};
use crate::model::OperatorRole;
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[page!("/dashboard/operators", list)];

const SECTION: &str = "/dashboard/operators";

/// The operation of a sign-in.
const SIGN_IN: &str = "dashboard sign-in";

/// The operations that change who may sign in.
const CHANGES: [&str; 4] = ["dashboard", "dashboard link", "operator set", "operator remove"];

/// Entries of the log that the page is made from.
const READ_ENTRIES: &str = "200";

/// Changes that the page lists.
const SHOWN_CHANGES: usize = 20;

/// What the owner of the machine runs.
const COMMANDS: [(&str, &str); 4] = [
    ("List them", "integ operator list"),
    ("Let someone sign in", "integ dashboard link --as NAME --role viewer"),
    ("Change a role", "integ operator set NAME --role editor"),
    ("Remove someone", "integ operator remove NAME"),
];

/// The sign-ins of an operator.
struct SignIns<'v> {
    latest: &'v Value,
    count: i64,
}

async fn list(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let mut query = vec![("limit", READ_ENTRIES), ("operation", SIGN_IN)];
    query.extend(CHANGES.map(|operation| ("operation", operation)));
    let log = context.get("/v1/audit", &[], &query).await?;
    let (sign_ins, changes): (Vec<&Value>, Vec<&Value>) = log
        .items("data")
        .iter()
        .filter(|one| one.text("outcome") == "done")
        .partition(|one| one.text("operation") == SIGN_IN);
    let body = html! {
        (heading("Operators", "People who use the dashboard.", &html! {}))
        (section("Signed in lately", &people(context, &sign_ins)))
        (section("Add and remove operators", &html! {
            p { "Only the owner of the machine of the server changes operators, so that nobody can give themselves rights. The list there has each one's role and open sessions; a link signs in once, and who is removed is signed out at once." }
            dl .properties { @for (about, command) in COMMANDS { (property(about, &code(command))) } }
        }))
        (section("Roles", &html! {
            dl .properties { @for role in OperatorRole::ALL { (property(role.as_str(), &html! { "Can " (abilities(role)) "." })) } }
        }))
        @if !changes.is_empty() { (section("Latest changes", &change_table(context, &changes))) }
    };
    Ok(DashboardPage { title: "Operators".to_owned(), section: SECTION, body })
}

/// Each operator among the latest sign-ins, which are the newest first.
fn people(context: &DashboardContext, sign_ins: &[&Value]) -> Markup {
    let mut people: BTreeMap<&str, SignIns<'_>> = BTreeMap::new();
    for one in sign_ins {
        people.entry(one.text("actor_id")).or_insert(SignIns { latest: one, count: 0 }).count += 1;
    }
    html! {
        @if people.is_empty() { (empty("Nobody", &html! { p { "A link of " code { "integ dashboard link" } " signs someone in." } })) }
        @else {
            (table_of(&["Operator", "Last sign-in", "From", ">Sign-ins"], &people, |(name, one)| html! {
                td { (name) @if *name == context.operator.name.as_str() { " " span .dim { "you" } } }
                td .nowrap { (time(context, one.latest.text("at"))) }
                td { (one.latest.text("source")) }
                td .right { (number(one.count)) }
            }))
        }
    }
}

fn change_table(context: &DashboardContext, changes: &[&Value]) -> Markup {
    table_of(&["When", "Command", "What", "Who"], changes.iter().take(SHOWN_CHANGES), |one| {
        html! {
            td .nowrap { (time(context, one.text("at"))) }
            td .nowrap { code { (one.text("operation")) } }
            td { (one.text("detail")) }
            td { (who(one)) }
        }
    })
}
