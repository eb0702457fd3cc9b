//! The session of the operator, and what serves it.

use maud::html;

use super::super::DashboardPage;
use super::super::components::{code, heading, property, section, time};
use super::super::context::DashboardContext;
use super::super::layout::sign_out;
use super::super::session::abilities;
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[page!("/dashboard/settings", show)];

const SECTION: &str = "/dashboard/settings";

async fn show(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let operator = &context.operator;
    let link = format!("integ dashboard link --as {}", operator.name);
    let body = html! {
        (heading("Settings", "", &html! {}))
        (section("Your session", &html! {
            dl .properties {
                (property("Signed in as", &html! { (operator.name) }))
                (property("Role", &html! { (operator.role) ", who can " (abilities(operator.role)) }))
                (property("Operator since", &time(context, &operator.created_at.to_string())))
                (property("Session ends", &html! { (time(context, &context.session_ends_at.to_string())) ", or after 2 hours without use" }))
            }
            p .hint { "For a session on another device, at the machine of the server: " (code(&link)) }
            (sign_out(context, ""))
        }))
        (section("Server", &html! {
            dl .properties {
                (property("Workspace", &html! { (context.workspace().name) }))
                (property("Version", &html! { "integ " (env!("CARGO_PKG_VERSION")) }))
                (property("API", &html! { a href=(context.href("/docs")) { (context.absolute("/v1")) } }))
            }
            p .hint { "Limits and retention are settings of the machine of the server: " (code("integ config show")) }
        }))
    };
    Ok(DashboardPage { title: "Settings".to_owned(), section: SECTION, body })
}
