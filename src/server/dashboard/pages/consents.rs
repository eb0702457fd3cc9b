//! Consents: what your users allow, and what is missing.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{StateTone, badge, empty, heading, section, state, table_of, time};
use super::super::context::DashboardContext;
use super::super::form::Field;
use super::super::values::Fields;
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[page!("/dashboard/consents", list)];

const SECTION: &str = "/dashboard/consents";

static GRANT: FormAction = FormAction::post("/v1/consents");
static REVOKE: FormAction = FormAction::delete("/v1/consents/{consent}");

const TYPES: [(&str, &str); 4] = [
    ("third_party", "Third party"),
    ("data_sharing", "Data sharing"),
    ("data_processing", "Data processing"),
    ("marketing", "Marketing"),
];

async fn list(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let user = context.query("user");
    let (status, consents) = tokio::join!(
        context.get("/v1/consent-status", &[], &[("user", user)]),
        context.get("/v1/consents", &[], &[("user", user), ("limit", "50")]),
    );
    let (status, consents) = (status?, consents?);
    let body = html! {
        (heading("Consents", "What your users allow you to do with their accounts.", &html! {}))
        (compliance(&status))
        @if consents.items("data").is_empty() {
            (empty("No consents", &html! {
                p { "A consent records that a user allowed a purpose, such as sync, on their connections. Purposes in " code { "consents.required" } " are refused without one." }
            }))
        } @else { (section("Recorded", &table(context, consents.items("data")))) }
        @if context.may(&GRANT) { (section("Record a consent", &granting(context))) }
    };
    Ok(DashboardPage { title: "Consents".to_owned(), section: SECTION, body })
}

fn compliance(status: &Value) -> Markup {
    let required = status.texts("required");
    let missing: Vec<&Value> =
        status.items("consents").iter().filter(|row| row.is("required") && row.text("state") != "granted").collect();
    section(
        "Compliance",
        &html! {
            p {
                "Policy version " (status.number("policy_version")) ". "
                @if required.is_empty() { "No purpose needs a consent." } @else { "Needed for: " (required.join(", ")) "." }
            }
            @if missing.is_empty() { p { (badge(StateTone::Good, "Nothing is missing")) } }
            @else {
                (table_of(&["User", "Resource", "Purpose", "State"], missing.iter().take(50), |row| html! {
                    td { (row.text("user")) } td { (row.text("resource")) } td { (row.text("purpose")) } td { (state(row.text("state"))) }
                }))
            }
        },
    )
}

fn table(context: &DashboardContext, consents: &[Value]) -> Markup {
    table_of(&["User", "Purpose", "Resource", "State", "Granted", "~Actions"], consents, |one| {
        html! {
            td { a href=(context.with_query(&[("user", one.text("user"))])) { (one.text("user")) } }
            td { (one.text("purpose")) @if let Some(about) = one.maybe("description") { div .hint { (about) } } }
            td { @match one.maybe("resource_id") { Some(id) => { (one.text("resource_type")) " " (id) }, None => span .dim { "everything" } } }
            td { (state(one.text("state"))) }
            td .nowrap { (time(context, one.text("granted_at"))) }
            td {
                @if one["revoked_at"].is_null() {
                    (context.form(&REVOKE, &[("consent", one.text("id"))]).danger().button_about("Revoke", one.text("id")))
                }
            }
        }
    })
}

fn granting(context: &DashboardContext) -> Markup {
    let fields = html! {
        (Field::new("user", "User").hint("Your own ID of the user.").required().text())
        (Field::new("purpose", "Purpose").hint("sync, webhooks, deliver, call, or one of your own.").required().text())
        (Field::new("resource", "Resource").hint("A connection, or connector:slack; everything of the user's if left empty.").text())
        (Field::new("type", "Type").select(&TYPES))
        (Field::new("description", "What the user agreed to").text())
    };
    context.form(&GRANT, &[]).fields(fields).button("Record")
}
