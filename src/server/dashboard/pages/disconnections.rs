//! Disconnecting one connection or several: what is lost is shown before.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{empty, heading, number};
use super::super::context::DashboardContext;
use super::super::form::{EACH, EACH_FIELD, checkbox, list_choice};
use super::super::values::Fields;
use super::connections::{SECTION, account, path};
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[page!("/dashboard/connections/{connection}/disconnect", one)];

pub(super) static PREVIEW: FormAction = FormAction::get("/v1/disconnect-preview");
pub(super) static DISCONNECT: FormAction = FormAction::delete("/v1/connections/{connection}");

async fn one(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let previews = context.get("/v1/disconnect-preview", &[], &[("connection", context.param("connection"))]).await?;
    Ok(confirmation(context, previews.items("connections")))
}

/// The page that asks before connections are disconnected.
pub(super) fn confirmation(context: &DashboardContext, previews: &[Value]) -> DashboardPage {
    let title = match previews {
        [one] => format!("Disconnect {}", one.text("connection")),
        _ => format!("Disconnect {} connections", previews.len()),
    };
    let (back, label) = match previews {
        [one] => (path(one.text("connection")), one.text("connection")),
        _ => (SECTION.to_owned(), "Connections"),
    };
    let local = match previews {
        [_] => "Only forget it here; the grant stays valid at the service",
        _ => "Only forget them here; the grants stay valid at the services",
    };
    let local = checkbox("query.local", local, false);
    let fields = html! { (list(context, previews)) (local) };
    let form = match previews {
        [one] => context.form(&DISCONNECT, &[("connection", one.text("connection"))]),
        _ => context.form(&DISCONNECT, &[("connection", EACH)]),
    };
    let body = html! {
        p .crumbs { a href=(context.href(&back)) { (label) } }
        (heading(&format!("{title}?"), "", &html! {}))
        div .callout .bad {
            p {
                "This cannot be undone. It ends each grant at its service, so that no program can use it, and deletes all records, "
                "cursors, schedules, received events, links and results of bindings that belong to it."
            }
            p { "Only audit entries stay. Webhook subscriptions stay registered at the service." }
        }
        @if context.may(&DISCONNECT) {
            (form.fields(fields).danger().returns_to(SECTION).or_cancel(back).button(&title))
        } @else {
            (list(context, previews))
            (empty("Not allowed", &html! { p { "Your role does not allow disconnecting." } }))
        }
    };
    DashboardPage { title, section: SECTION, body }
}

/// What is lost with each connection. Of several, each can still be left out.
fn list(context: &DashboardContext, previews: &[Value]) -> Markup {
    let is_choice = previews.len() > 1 && context.may(&DISCONNECT);
    html! {
        ul .rows {
            @for one in previews {
                @let name = one.text("connection");
                li .loss {
                    @if is_choice { (list_choice(EACH_FIELD, name, &html! { strong { (name) } }, true)) } @else { strong { (name) } }
                    @if let Some(account) = account(one) { span .dim { (account) } }
                    span { (losses(one)) }
                }
            }
        }
    }
}

/// `200 records, 3 waiting events`.
fn losses(one: &Value) -> String {
    let counted = |name: &str, singular: &str, plural: &str| match one.number(name) {
        0 => None,
        1 => Some(format!("1 {singular}")),
        count => Some(format!("{} {plural}", number(count))),
    };
    let parts = [
        counted("records", "synced record", "synced records"),
        counted("waiting_events", "waiting event", "waiting events"),
        counted("subscriptions", "webhook subscription", "webhook subscriptions"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "No records, no waiting events".to_owned() } else { parts.join(", ") }
}
