//! Links between your entities and the objects of services.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{empty, heading, mark, next_page, section, table_of, time};
use super::super::context::DashboardContext;
use super::super::form::{Field, hidden};
use super::super::values::Fields;
use super::connections::path;
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[page!("/dashboard/links", list)];

const SECTION: &str = "/dashboard/links";

static ADD: FormAction = FormAction::post("/v1/links");
static REMOVE: FormAction = FormAction::delete("/v1/links");

/// Links of a page.
const PAGE_SIZE: &str = "30";

async fn list(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let filters = ["connection", "entity_type", "user"].map(|name| (name, context.query(name)));
    let is_filtered = filters.iter().any(|(_, value)| !value.is_empty());
    let mut query = filters.to_vec();
    query.extend([("limit", PAGE_SIZE), ("cursor", context.query("cursor"))]);
    let links = context.get("/v1/links", &[], &query).await?;
    let rows = links.items("data");
    let body = html! {
        (heading("Links", "Which object of a service is which of your own entities.", &html! {}))
        @if rows.is_empty() && !is_filtered {
            (empty("No links", &html! {
                p { "A link pairs an entity of yours, such as " code { "customer/42" } ", with an object of a service. Two-way bindings keep both the same; appointments that you create are linked by themselves." }
            }))
        } @else {
            form .filters method="get" action=(context.href(SECTION)) {
                (Field::new("connection", "Connection").value(context.query("connection")).text())
                (Field::new("entity_type", "Type of entity").value(context.query("entity_type")).text())
                (Field::new("user", "User").value(context.query("user")).text())
                button type="submit" { "Filter" }
            }
            @if rows.is_empty() { (empty("No link fits", &html! { p { a href=(context.href(SECTION)) { "Show all links" } } })) }
            @else { (table(context, rows)) (next_page(context, links.maybe("next_cursor"))) }
        }
        @if context.may(&ADD) { (section("Add a link", &adding(context))) }
    };
    Ok(DashboardPage { title: "Links".to_owned(), section: SECTION, body })
}

fn table(context: &DashboardContext, links: &[Value]) -> Markup {
    table_of(&["Yours", "The service's", "Connection", "Changed", "~Actions"], links, |one| {
        html! {
            td { (entity(one)) @if let Some(user) = one.maybe("user") { " " (mark(&format!("user {user}"))) } }
            td {
                (one.text("resource")) " " code { (one.text("object")) }
                @if let Some(other) = one.maybe("merged_into") { div .hint { "Merged into " code { (other) } } }
            }
            td { a href=(context.href(&path(one.text("connection")))) { (one.text("connection")) } }
            td .nowrap { (time(context, one.text("changed_at"))) }
            td {
                (context.form(&REMOVE, &[]).fields(html! {
                    (hidden("query.entity", &entity(one)))
                    (hidden("query.connection", one.text("connection")))
                    (hidden("query.resource", one.text("resource")))
                    (hidden("query.user", one.text("user")))
                }).link().button_about("Remove", &entity(one)))
            }
        }
    })
}

/// `TYPE/ID` of a link's entity.
fn entity(link: &Value) -> String {
    format!("{}/{}", link.text("entity_type"), link.text("entity_id"))
}

fn adding(context: &DashboardContext) -> Markup {
    let fields = html! {
        (Field::new("entity", "Your entity").hint("Its type and ID, such as customer/42.").required().text())
        (Field::new("connection", "Connection").required().text())
        (Field::new("resource", "Kind of object").hint("A stream, such as contacts.").required().text())
        (Field::new("object", "ID of the object").hint("As the service has it.").required().text())
    };
    context.form(&ADD, &[]).fields(fields).button("Add")
}
