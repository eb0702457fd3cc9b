//! API tokens: who may use the API, for what, and until when.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{
    code, empty, heading, mark, next_page, number, property, section, state, table_of, time,
};
use super::super::context::{DashboardContext, segment};
use super::super::form::{Field, hidden, list_choice};
use super::super::values::Fields;
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[
    page!("/dashboard/api-tokens", list),
    page!("/dashboard/api-tokens/new", new),
    page!("/dashboard/api-tokens/{api_token}", show),
];

pub(super) const SECTION: &str = "/dashboard/api-tokens";

static CREATE: FormAction = FormAction::post("/v1/api-tokens");
static UPDATE: FormAction = FormAction::patch("/v1/api-tokens/{api_token}");
static ROTATE: FormAction = FormAction::post("/v1/api-tokens/{api_token}/rotate");
static REVOKE: FormAction = FormAction::delete("/v1/api-tokens/{api_token}");

async fn list(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let query = [("limit", "50"), ("cursor", context.query("cursor"))];
    let tokens = context.get("/v1/api-tokens", &[], &query).await?;
    let rows = tokens.items("data");
    let create = html! { @if context.may(&CREATE) { a .button .primary href=(context.href("/dashboard/api-tokens/new")) { "Create a token" } } };
    let body = html! {
        (heading("API tokens", "What your programs send to the HTTP API.", &create))
        @if rows.is_empty() {
            (empty("No API tokens", &html! {
                p { "A program that runs elsewhere uses the API of this server with a token. It has only the scopes and connections that you give it." }
                p { a href=(context.href("/docs")) { "The description of the API" } }
            }))
        } @else { (table(context, rows)) (next_page(context, tokens.maybe("next_cursor"))) }
    };
    Ok(DashboardPage { title: "API tokens".to_owned(), section: SECTION, body })
}

fn table(context: &DashboardContext, tokens: &[Value]) -> Markup {
    table_of(&["Token", "Status", "Scopes", "Last used", "Expires"], tokens, |token| {
        html! {
            td {
                a href=(context.href(&format!("{SECTION}/{}", segment(token.text("id"))))) { (token.text("name")) }
                @if let Some(user) = token.maybe("user") { " " (mark(&format!("user {user}"))) }
            }
            td { (state(token.text("status"))) }
            td { ul .scopes { @for scope in token.texts("scopes") { li { code { (scope) } } } } }
            td .nowrap { (time(context, token.text("last_used_at"))) }
            td .nowrap { (time(context, token.text("expires_at"))) }
        }
    })
}

const APPROVALS: [(&str, &str); 3] =
    [("none", "No request"), ("destroy", "What cannot be undone"), ("write", "Every change")];

async fn new(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let (scopes, connections) = tokio::join!(
        context.get("/v1/api-token-scopes", &[], &[]),
        context.get("/v1/connections", &[], &[("limit", "50")]),
    );
    let (scopes, connections) = (scopes?, connections?);
    let choice = |scope: &Value| {
        let label = html! { code { (scope.text("scope")) } " " span .dim { (scope.text("description")) } };
        list_choice("scopes", scope.text("scope"), &label, false)
    };
    let single = scopes.items("scopes").iter().filter(|scope| scope.text("scope") != "tokens:reveal");
    let fields = html! {
        (Field::new("name", "Name").hint("What uses it: a program, a server.").required().text())
        fieldset { legend { "Groups of scopes" } @for scope in scopes.items("groups") { (choice(scope)) } }
        fieldset { legend { "Scopes" } @for scope in single { (choice(scope)) } }
        @if !connections.items("data").is_empty() {
            fieldset {
                legend { "Only these connections" }
                p .hint { "All of the workspace if none is chosen." }
                @for one in connections.items("data") {
                    (list_choice("connections", one.text("connection"), &html! { (one.text("connection")) }, false))
                }
            }
        }
        (Field::new("expires_days", "Days until it expires").hint("365 if left empty.").number())
        (Field::new("approve", "Needs an approval").select(&APPROVALS))
    };
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "API tokens" } }
        (heading("Create a token", "Its text is shown once.", &html! {}))
        @if context.may(&CREATE) {
            (section("Rights", &context.form(&CREATE, &[]).fields(fields).primary().or_cancel(SECTION).button("Create")))
        } @else { (empty("Not allowed", &html! { p { "Only approvers create tokens." } })) }
    };
    Ok(DashboardPage { title: "Create a token".to_owned(), section: SECTION, body })
}

async fn show(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let values = [("api_token", context.param("api_token"))];
    let (token, usage) = tokio::join!(
        context.get("/v1/api-tokens/{api_token}", &values, &[]),
        context.get("/v1/api-tokens/{api_token}/usage", &values, &[]),
    );
    let (token, usage) = (token?, usage?);
    let is_enabled = token.text("status") != "disabled";
    let switch = if is_enabled { ("false", "Disable") } else { ("true", "Enable") };
    let actions = html! {
        (context.form(&UPDATE, &values).fields(hidden("enabled", switch.0)).button(switch.1))
        (context.form(&ROTATE, &values).fields(hidden("grace_secs", "3600")).button("Rotate"))
        (context.form(&REVOKE, &values).danger().returns_to(SECTION).button("Revoke"))
    };
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "API tokens" } }
        (heading(token.text("name"), "", &actions))
        p .hint { "Rotating makes a new text; the present one works for another hour. Revoking also revokes the tokens that it created." }
        (details(context, &token))
        (section("Requests of the last 30 days", &uses(&usage)))
    };
    Ok(DashboardPage { title: token.text("name").to_owned(), section: SECTION, body })
}

fn details(context: &DashboardContext, token: &Value) -> Markup {
    section(
        "Details",
        &html! {
            dl .properties {
                (property("Status", &state(token.text("status"))))
                (property("ID", &code(token.text("id"))))
                (property("Scopes", &html! { ul .scopes { @for scope in token.texts("scopes") { li { code { (scope) } } } } }))
                (property("Connections", &html! {
                    @if token["connections"].is_null() { "All" } @else { (token.texts("connections").join(", ")) }
                }))
                (property("Tier", &html! { (token.text("tier")) }))
                (property("Needs an approval", &html! { (token.text("approve")) }))
                (property("Created", &time(context, token.text("created_at"))))
                (property("Expires", &time(context, token.text("expires_at"))))
                (property("Last used", &time(context, token.text("last_used_at"))))
                @if let Some(due) = token.maybe("rotation_due_at") { (property("Rotation due", &time(context, due))) }
            }
        },
    )
}

fn uses(usage: &Value) -> Markup {
    let days = usage.items("counts");
    html! {
        @if days.is_empty() { p .hint { "None." } }
        @else {
            (table_of(&["Day", "Operation", "Outcome", ">Requests"], days.iter().take(60), |day| html! {
                td { (day.text("day")) } td { (day.text("operation")) } td { (state(day.text("outcome"))) }
                td .right { (number(day.number("count"))) }
            }))
        }
    }
}
