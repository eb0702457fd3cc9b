//! Alerts: what fails, waits too long or expires soon, as the hooks of `[notify]` get it.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::components::{StateTone, badge, code, empty, heading, page_of, table_of};
use super::super::context::{DashboardContext, segment};
use super::super::problem_page::sentence;
use super::super::values::Fields;
use super::connections::{capital, path};
use super::{PageHandler, api_tokens, endpoints, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[page!("/dashboard/alerts", list)];

const SECTION: &str = "/dashboard/alerts";

/// Alerts of a page.
const PAGE_SIZE: usize = 50;

async fn list(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let report = context.get("/v1/alerts", &[], &[]).await?;
    let (alerts, pages) = page_of(context, report.items("alerts"), PAGE_SIZE);
    let about = "What fails, waits too long or expires soon. Each is listed until it is over.";
    let body = html! {
        (heading("Alerts", about, &html! {}))
        @if alerts.is_empty() {
            (empty("No alerts", &html! { p { "Connections, queues and endpoints work, and nothing expires soon." } }))
        } @else { (table(context, alerts)) (pages) }
        @if report.is("has_hook") {
            p .hint { "Each is reported once to the hooks of [notify]." }
        } @else {
            p .hint {
                "They are reported nowhere else. To change that: " (code("integ config set notify.command PROGRAM"))
            }
        }
        p .hint { "The thresholds are those of [alerts]: " (code("integ config set alerts.queue_age 15m")) }
    };
    Ok(DashboardPage { title: "Alerts".to_owned(), section: SECTION, body })
}

fn table(context: &DashboardContext, alerts: &[Value]) -> Markup {
    table_of(&["What", "Of", "Why"], alerts, |alert| {
        html! {
            td .nowrap { (badge(tone(alert), &alert.text("kind").replace('_', " "))) }
            td .nowrap { a href=(context.href(&cause_of(alert))) { (subject(alert)) } }
            td { (sentence(alert.text("reason"))) }
        }
    })
}

fn tone(alert: &Value) -> StateTone {
    match alert.text("kind") {
        "needs_reauth" | "failure" | "endpoint_disabled" => StateTone::Bad,
        _ => StateTone::Warn,
    }
}

fn subject(alert: &Value) -> String {
    match (alert.text("kind"), alert.text("subject")) {
        ("queue_age" | "error_rate", queue @ ("inbox" | "outbox")) => capital(queue),
        (_, name) => name.to_owned(),
    }
}

/// Returns the path of the page that shows the cause of an alert.
fn cause_of(alert: &Value) -> String {
    match (alert.text("kind"), alert.text("subject"), alert.maybe("connection")) {
        (_, _, Some(connection)) => path(connection),
        ("endpoint_disabled", endpoint, _) => format!("{}/{}", endpoints::SECTION, segment(endpoint)),
        ("api_token_expiring", ..) => api_tokens::SECTION.to_owned(),
        (_, "inbox", _) => "/dashboard/events".to_owned(),
        _ => endpoints::SECTION.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_alert_leads_to_its_cause() {
        for (kind, subject, connection, page) in [
            ("needs_reauth", "slack@work", Some("slack@work"), "/dashboard/connections/slack@work"),
            ("endpoint_disabled", "ep_1", None, "/dashboard/endpoints/ep_1"),
            ("queue_age", "inbox", None, "/dashboard/events"),
            ("error_rate", "outbox", None, "/dashboard/endpoints"),
            ("api_token_expiring", "inbox", None, "/dashboard/api-tokens"),
        ] {
            let alert = json!({ "kind": kind, "subject": subject, "connection": connection });
            assert_eq!(cause_of(&alert), page, "{alert}");
        }
    }
}
