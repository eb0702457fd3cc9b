//! The webhooks of a connection: where the service sends them, how they are verified, and simulated ones.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{code, empty, property, section, state, time};
use super::super::context::DashboardContext;
use super::super::form::{Field, hidden};
use super::super::problem_page::sentence;
use super::super::values::Fields;
use super::connection::{connection, head};
use super::connections::SECTION;
use super::events::event_table;
use super::{PageHandler, page};
use crate::model::EventStatus;
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[page!("/dashboard/connections/{connection}/webhooks", webhooks)];

static SUBSCRIBE: FormAction = FormAction::post("/v1/connections/{connection}/subscriptions");
static UNSUBSCRIBE: FormAction = FormAction::delete("/v1/connections/{connection}/subscriptions/{subscription}");
static REPLAY: FormAction = FormAction::post("/v1/connections/{connection}/event-replays");
static SIMULATE: FormAction = FormAction::post("/v1/connections/{connection}/simulate");

async fn webhooks(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let name = context.param("connection");
    let values = [("connection", name)];
    let (view, url, secret, samples, events) = tokio::join!(
        connection(context),
        context.get("/v1/connections/{connection}/webhook", &values, &[]),
        context.get("/v1/connections/{connection}/webhook/secret", &values, &[]),
        context.get("/v1/connections/{connection}/samples", &values, &[]),
        context.get("/v1/events", &[], &[("connection", name), ("limit", "20")]),
    );
    let (view, events) = (view?, events?);
    let body = html! {
        (head(context, &view, "/webhooks"))
        @match url {
            Ok(url) => (receiving(context, name, &url, secret.as_ref().ok())),
            Err(problem) => (empty("No webhooks", &html! { p { (sentence(&problem.view.detail)) } })),
        }
        @if !events.items("data").is_empty() { (replay(context, name)) }
        @if let Ok(samples) = &samples { (simulation(context, name, samples.items("events"))) }
        (section("Latest events", &event_table(context, events.items("data"))))
    };
    Ok(DashboardPage { title: format!("Webhooks of {name}"), section: SECTION, body })
}

fn receiving(context: &DashboardContext, name: &str, url: &Value, secret: Option<&Value>) -> Markup {
    let subscriptions = url.items("subscriptions");
    html! {
        (section("Receive webhooks", &html! {
            dl .properties {
                (property("URL for the service", &code(url.text("url"))))
                @if let Some(secret) = secret.filter(|secret| secret.is("supports_secret")) {
                    (property("Signing secret", &html! {
                        @if secret.number("active_secrets") > 0 { "Stored" } @else { (state("missing")) " " (code(&format!("integ webhook secret {name} --set -"))) }
                    }))
                }
            }
            @if !url.is("is_public") {
                p .hint { "The service cannot reach this address. Serve at a public one: " (code("integ config set serve.public_url https://HOST")) }
            }
            @if let Some(setup) = url.maybe("setup") { p { (setup) } }
        }))
        @if url.is("can_subscribe") || !subscriptions.is_empty() {
            (section("Registrations at the service", &html! {
                @for one in subscriptions { (subscription(context, name, one)) }
                @if subscriptions.is_empty() { p .hint { "None." } }
                @if url.is("can_subscribe") && context.may(&SUBSCRIBE) { (registration(context, name, url)) }
            }))
        }
    }
}

fn subscription(context: &DashboardContext, name: &str, one: &Value) -> Markup {
    let id = one["id"].to_string();
    html! {
        p {
            (state(one.text("status"))) " " (one.texts("events").join(", ")) " "
            @if let Some(at) = one.maybe("expires_at") { span .dim { "expires " } (time(context, at)) " " }
            (context.form(&UNSUBSCRIBE, &[("connection", name), ("subscription", &id)]).link().button_about("Remove", &id))
        }
        @if let Some(error) = one.maybe("error") { div .callout .bad { p { (sentence(error)) } } }
    }
}

fn registration(context: &DashboardContext, name: &str, url: &Value) -> Markup {
    let known: Vec<&str> = url.items("events").iter().map(|event| event.text("event")).collect();
    let hint = format!("One on each line; the usual ones if left empty. Known: {}", known.join(", "));
    let fields = Field::new("events", "Event types").hint(&hint).area(3);
    html! {
        details {
            summary { "Register at the service" }
            (context.form(&SUBSCRIBE, &[("connection", name)]).fields(fields).button("Register"))
        }
    }
}

/// The ranges that can be replayed: hours back from now, and what they are called.
const RANGES: [(i64, &str); 4] =
    [(1, "The last hour"), (24, "The last day"), (24 * 7, "The last 7 days"), (24 * 30, "The last 30 days")];

fn replay(context: &DashboardContext, name: &str) -> Markup {
    if !context.may(&REPLAY) {
        return html! {};
    }
    let since = |hours: i64| {
        context.now.saturating_sub(jiff::SignedDuration::from_hours(hours)).unwrap_or(context.now).to_string()
    };
    let ranges = RANGES.map(|(hours, label)| (since(hours), label));
    let mut statuses = vec![("", "Any")];
    statuses.extend(EventStatus::ALL.map(|status| (status.as_str(), status.as_str())));
    let fields = html! {
        (hidden("limit", "1000"))
        (Field::new("since", "Received in").required().select(&ranges))
        (Field::new("status", "Status").select(&statuses))
        (Field::new("type", "Type").hint("Such as charge.*; all if left empty.").text())
    };
    section(
        "Replay events",
        &html! {
            p { "Queues events to be handled again, as they were at first." }
            details { summary { "Choose a range" } (context.form(&REPLAY, &[("connection", name)]).fields(fields).button("Replay")) }
        },
    )
}

fn simulation(context: &DashboardContext, name: &str, samples: &[Value]) -> Markup {
    if samples.is_empty() || !context.may(&SIMULATE) {
        return html! {};
    }
    let choices: Vec<(&str, String)> = samples
        .iter()
        .map(|sample| (sample.text("event"), format!("{} — {}", sample.text("event"), sample.text("about"))))
        .collect();
    let corruptions = [
        ("", "As the service would"),
        ("signature", "With a wrong signature"),
        ("timestamp", "With an old timestamp"),
        ("body", "With a changed body"),
        ("duplicate", "Twice"),
    ];
    let fields = html! {
        (Field::new("event", "Event").required().select(&choices))
        (Field::new("invalid", "How").select(&corruptions))
        (Field::new("data", "Payload").hint("JSON in place of the sample's.").area(4))
    };
    section(
        "Simulate an event",
        &html! {
            p { "Sends a sample event to this server, signed as the service signs it." }
            (context.form(&SIMULATE, &[("connection", name)]).fields(fields).button("Send"))
        },
    )
}
