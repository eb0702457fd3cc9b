//! Connect links: URLs with which someone else connects an account, once.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{code, empty, heading, mark, page_of, section, state, table_of, time};
use super::super::context::DashboardContext;
use super::super::form::{Field, checkbox};
use super::super::values::Fields;
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[page!("/dashboard/connect-links", list)];

const SECTION: &str = "/dashboard/connect-links";

static CREATE: FormAction = FormAction::post("/v1/connect-links");
static REVOKE: FormAction = FormAction::delete("/v1/connect-links/{connect_link}");

/// Connect links of a page.
const PAGE_SIZE: usize = 25;

/// For how long a link can be valid.
const LIFETIMES: [(&str, &str); 4] =
    [("86400", "1 day"), ("3600", "1 hour"), ("259200", "3 days"), ("604800", "7 days")];

async fn list(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let (links, connectors) = tokio::join!(
        context.get("/v1/connect-links", &[], &[]),
        context.get("/v1/connectors", &[], &[("limit", "1000")])
    );
    let (links, connectors) = (links?, connectors?);
    let (rows, pages) = page_of(context, links.items("connect_links"), PAGE_SIZE);
    let body = html! {
        (heading("Connect links", "Someone else connects their account with one, without signing in here.", &html! {}))
        @if rows.is_empty() {
            (empty("No connect links", &html! {
                p { "Send a link to the person who owns the account. It shows what is asked for, works once, and expires." }
            }))
        } @else { (table(context, rows)) (pages) }
        @if context.may(&CREATE) { (section("Create a link", &creation(context, connectors.items("data")))) }
    };
    Ok(DashboardPage { title: "Connect links".to_owned(), section: SECTION, body })
}

fn table(context: &DashboardContext, links: &[Value]) -> Markup {
    table_of(&["Service", "Status", "Created", "Expires", "~Actions"], links, |one| {
        html! {
            td {
                (one.text("connector")) @if let Some(account) = one.maybe("account") { "@" (account) }
                @if one.text("mode") == "sandbox" { " " (mark("sandbox")) }
                @if let Some(user) = one.maybe("user") { " " (mark(&format!("user {user}"))) }
                div .hint { (one.text("connect_link")) }
            }
            td { (state(one.text("status"))) }
            td .nowrap { (time(context, one.text("created_at"))) }
            td .nowrap { (time(context, one.text("expires_at"))) }
            td {
                @if one.text("status") == "active" {
                    (context.form(&REVOKE, &[("connect_link", one.text("connect_link"))]).link().button_about("Revoke", one.text("connect_link")))
                }
            }
        }
    })
}

fn creation(context: &DashboardContext, connectors: &[Value]) -> Markup {
    let services: Vec<(&str, &str)> = connectors.iter().map(|one| (one.text("id"), one.text("name"))).collect();
    let fields = html! {
        (Field::new("connector", "Service").required().select(&services))
        (Field::new("user", "User").hint("Your own ID of the person who owns the account.").text())
        (Field::new("account", "Name of the account").hint("Only needed for a second account of the same service.").text())
        (Field::new("lifetime_secs", "Valid for").select(&LIFETIMES))
        (checkbox("is_sandbox", "Use the sandbox, without a real account", false))
        (checkbox("popup", "Open it in a pop-up window of your own page", false))
    };
    context.form(&CREATE, &[]).fields(fields).primary().button("Create")
}

/// The page of a new link, whose URL is shown only here.
pub(super) fn created(context: &DashboardContext, reply: &Value) -> DashboardPage {
    let url = reply.text("url");
    let button =
        format!("<a href=\"{url}\" target=\"_blank\" rel=\"noopener\">Connect {}</a>", reply.text("connector"));
    let body = html! {
        (heading("Connect link created", reply.text("connector"), &html! {}))
        div .callout .warn { p { "Copy it now: its secret is never shown again." } }
        p { (code(url)) }
        p { "Works once, and expires " (time(context, reply.text("expires_at"))) "." }
        (section("As a button of your page", &html! { (code(&button)) }))
        p { a .button href=(context.href(SECTION)) { "All connect links" } }
    };
    DashboardPage { title: "Connect link created".to_owned(), section: SECTION, body }
}
