//! Your users, and what belongs to each.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{empty, heading, number, page_of, section, state, table_of, time};
use super::super::context::{DashboardContext, segment};
use super::super::form::checkbox;
use super::super::values::Fields;
use super::connections::path;
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[
    page!("/dashboard/users", list),
    page!("/dashboard/users/{user}", show),
    page!("/dashboard/users/{user}/delete", deletion),
];

pub(super) const SECTION: &str = "/dashboard/users";

static DELETE: FormAction = FormAction::delete("/v1/users/{user}");

/// Users of a page.
const PAGE_SIZE: usize = 50;

async fn list(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let users = context.get("/v1/users", &[], &[]).await?;
    let wanted = context.query("q").trim();
    let rows = users.items("users").iter();
    let found: Vec<&Value> = rows.filter(|one| one.text("user").contains(wanted)).collect();
    let (shown, pages) = page_of(context, &found, PAGE_SIZE);
    let body = html! {
        (heading("Users", "Your own end users, by the ID that your program gave.", &html! {}))
        @if users.items("users").is_empty() {
            (empty("No users", &html! {
                p { "A connection belongs to one of your users if it is made with " code { "--user ID" } " or by a connect link with one. Its consents and links are here, and all of it can be erased at once." }
                p { a .button href=(context.href("/dashboard/connect-links")) { "Make a connect link" } }
            }))
        } @else {
            form .filters method="get" action=(context.href(SECTION)) {
                (super::super::form::Field::new("q", "ID").value(wanted).text())
                button type="submit" { "Find" }
            }
            @if shown.is_empty() { (empty("No user fits", &html! { p { a href=(context.href(SECTION)) { "Show all users" } } })) }
            @else { (table(context, shown)) (pages) }
        }
    };
    Ok(DashboardPage { title: "Users".to_owned(), section: SECTION, body })
}

fn table(context: &DashboardContext, users: &[&Value]) -> Markup {
    table_of(&["User", ">Connections", ">Links", ">Consents"], users, |one| {
        html! {
            td { a href=(context.href(&user_path(one.text("user")))) { (one.text("user")) } }
            td .right { (number(one.number("connections"))) }
            td .right { (number(one.number("links"))) }
            td .right { (number(one.number("consents"))) }
        }
    })
}

/// The path of a user's page.
fn user_path(user: &str) -> String {
    format!("{SECTION}/{}", segment(user))
}

async fn show(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let user = context.param("user");
    let view = context.get("/v1/users/{user}", &[("user", user)], &[]).await?;
    let consents = view.items("consents");
    let delete = html! {
        @if context.may(&DELETE) { a .button .danger href=(context.href(&format!("{}/delete", user_path(user)))) { "Delete…" } }
    };
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "Users" } }
        (heading(user, "", &delete))
        (section("Connections", &html! {
            @if view.texts("connections").is_empty() { p .hint { "None." } }
            ul .plain { @for name in view.texts("connections") { li { a href=(context.href(&path(name))) { (name) } } } }
            p .hint { (number(view.number("records"))) " synced records, " (number(view.number("links"))) " links" }
        }))
        (section("Consents", &html! {
            @if consents.is_empty() { p .hint { "None." } } @else {
                (table_of(&["Purpose", "State", "Granted"], consents.iter().take(50), |one| html! {
                    td { (one.text("purpose")) } td { (state(one.text("state"))) } td .nowrap { (time(context, one.text("granted_at"))) }
                }))
            }
            p { a href=(context.href(&format!("/dashboard/consents?user={}", segment(user)))) { "All consents of the user" } }
        }))
    };
    Ok(DashboardPage { title: format!("User {user}"), section: SECTION, body })
}

async fn deletion(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let user = context.param("user");
    let view = context.get("/v1/users/{user}", &[("user", user)], &[]).await?;
    let fields = checkbox("query.force", "Also erase connections whose grants cannot be revoked", false);
    let body = html! {
        p .crumbs { a href=(context.href(&user_path(user))) { (user) } }
        (heading(&format!("Delete {user}?"), "", &html! {}))
        div .callout .bad {
            p { "This cannot be undone. It revokes the grants of the user at the services, and deletes:" }
            ul {
                li { "Connections: " (view.texts("connections").len()) ", with their events and " (number(view.number("records"))) " synced records" }
                li { "Links: " (number(view.number("links"))) }
                li { "Consents: " (view.items("consents").len()) }
            }
            p { "Only audit entries stay." }
        }
        @if context.may(&DELETE) {
            (context.form(&DELETE, &[("user", user)]).fields(fields).danger().or_cancel(user_path(user)).button(&format!("Delete {user}")))
        } @else { p .hint { "Your role does not allow it." } }
    };
    Ok(DashboardPage { title: format!("Delete {user}"), section: SECTION, body })
}
