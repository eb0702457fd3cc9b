//! Connectors: what each service can do, what it asks for, and its limits.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::components::{StateTone, badge, code, empty, heading, mark, property, section, table_of, web_link};
use super::super::context::{DashboardContext, segment};
use super::super::icons::Icon;
use super::super::values::Fields;
use super::connections::{START, capital};
use super::installed_connectors::{self, install_form, installed, installed_table};
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] =
    &[page!("/dashboard/connectors", list), page!("/dashboard/connectors/{connector}", show)];

pub(super) const SECTION: &str = "/dashboard/connectors";

/// Actions, streams and scopes of a page, of each kind.
const MAX_ITEMS: usize = 120;

async fn list(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let wanted = context.query("q").trim();
    let (list, installed) = tokio::join!(context.get("/v1/connectors", &[], &[("limit", "1000")]), installed(context));
    let (list, installed) = (list?, installed?);
    let found = match wanted {
        "" => None,
        wanted => Some(context.get("/v1/connector-search", &[], &[("q", wanted)]).await?),
    };
    let rows = found.as_ref().map_or_else(|| list.items("data"), |found| found.items("connectors"));
    let body = html! {
        (heading("Connectors", "The services that integ knows: each is a file, built in or installed.", &html! {}))
        div .toolbar {
            form .search method="get" action=(context.href(SECTION)) role="search" {
                label .visually-hidden for="search" { "Search actions, triggers and streams" }
                (Icon::Search.svg())
                input #search type="search" name="q" value=(wanted) placeholder="Search what they can do" autocomplete="off" data-hotkey="/";
                button .visually-hidden type="submit" { "Search" }
            }
        }
        @if rows.is_empty() { (empty("No connector fits", &html! { p { a href=(context.href(SECTION)) { "Show all connectors" } } })) }
        @else { (table(context, rows)) }
        (installed_table(context, installed.items("data")))
        (install_form(context))
    };
    Ok(DashboardPage { title: "Connectors".to_owned(), section: SECTION, body })
}

fn table(context: &DashboardContext, connectors: &[Value]) -> Markup {
    table_of(&["Connector", "Category", "What it is"], connectors, |one| {
        html! {
            td .nowrap {
                a href=(context.href(&installed_connectors::page_of(one.text("id")))) { (one.text("name")) }
                @if let Some(source) = one.maybe("source").filter(|source| *source != "built-in") { " " (mark(source)) }
            }
            td .nowrap { (capital(&one.text("category").replace('_', " "))) }
            td {
                (one.text("description"))
                @for found in one.items("matches").iter().take(4) {
                    div .hint { (found.text("in")) " " code { (found.text("name")) } " " (found.text("description")) }
                }
            }
        }
    })
}

async fn show(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let id = context.param("connector");
    let values = [("connector", id)];
    let (detail, installed) = tokio::join!(context.get("/v1/connectors/{connector}", &values, &[]), installed(context));
    let installed = installed?;
    let own = installed.items("data").iter().find(|one| one.text("connector") == id);
    let detail = match (detail, own) {
        // Its file cannot be used, which its overview says.
        (Err(_), Some(own)) => return Ok(unusable(context, own)),
        (detail, _) => detail?,
    };
    let name = detail.text("name");
    let connect = html! {
        @if context.may(&START) {
            a .button .primary href=(context.href(&format!("/dashboard/connect/{}", segment(detail.text("id"))))) { "Connect" }
        }
    };
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "Connectors" } }
        (heading(name, detail.text("description"), &connect))
        @if let Some(own) = own { (installed_connectors::overview(context, own)) }
        (about(&detail))
        (authentication(&detail))
        (items("Streams", "What can be synced.", detail.items("streams"), "stream", "description"))
        (items("Actions", "What can be called.", detail.items("actions"), "action", "description"))
        (items("Scopes", "What it can ask for.", detail.items("scopes"), "scope", "purpose"))
        (items("Templates", "With what a binding can begin.", detail.items("templates"), "template", "description"))
    };
    Ok(DashboardPage { title: name.to_owned(), section: SECTION, body })
}

/// The page of an installed connector whose file cannot be used.
fn unusable(context: &DashboardContext, own: &Value) -> DashboardPage {
    let name = own.text("connector");
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "Connectors" } }
        (heading(name, "", &html! {}))
        (installed_connectors::overview(context, own))
    };
    DashboardPage { title: name.to_owned(), section: SECTION, body }
}

fn about(detail: &Value) -> Markup {
    section(
        "Details",
        &html! {
            dl .properties {
                (property("ID", &code(detail.text("id"))))
                (property("Category", &html! { (capital(&detail.text("category").replace('_', " "))) }))
                (property("Source", &html! { (detail.text("source")) @if detail.is("replaces_built_in") { " " (mark("replaces the built-in one")) } }))
                (property("Documentation", &web_link(detail.text("docs"), detail.text("docs"))))
                @if let Some(health) = detail.maybe("health") { (property("Check", &html! { code { (health) } })) }
                @if !detail.texts("limits").is_empty() {
                    (property("Limits", &html! { @for limit in detail.texts("limits") { div { (limit) } } }))
                }
                @for signature in detail.items("webhook_signatures") {
                    (property("Webhook signature", &html! {
                        code { (signature.text("scheme")) } " covers " (signature.texts("covers").join(", "))
                        @if signature.is("is_confirmed") { " " (badge(StateTone::Dim, "the service is asked back")) }
                    }))
                }
                @if !detail.texts("unverified").is_empty() {
                    (property("Not confirmed", &html! { @for one in detail.texts("unverified") { div .hint { (one) } } }))
                }
            }
        },
    )
}

fn authentication(detail: &Value) -> Markup {
    section(
        "Authentication",
        &html! {
            dl .properties {
                @for method in detail.items("auth_methods") {
                    (property(method.text("label"), &html! {
                        (method.text("kind").replace('_', " "))
                        @if !method.texts("default_scopes").is_empty() {
                            ul .scopes { @for scope in method.texts("default_scopes") { li { code { (scope) } } } }
                        }
                        @if let Some(url) = method.maybe("setup_url") { div .hint { "Set up at " (web_link(url, url)) } }
                    }))
                }
            }
        },
    )
}

fn items(title: &str, about: &str, list: &[Value], name: &str, description: &str) -> Markup {
    html! {
        @if !list.is_empty() {
            (section(title, &html! {
                p .hint { (about) }
                dl .properties {
                    @for item in list.iter().take(MAX_ITEMS) { (property(item.text(name), &html! { (item.text(description)) })) }
                }
                @if list.len() > MAX_ITEMS { p .hint { "and " (list.len() - MAX_ITEMS) " more" } }
            }))
        }
    }
}
