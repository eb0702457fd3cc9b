//! What follows a form, by its operation.

use std::collections::BTreeMap;

use maud::html;
use serde_json::Value;

use super::super::DashboardPage;
use super::super::components::{code, heading};
use super::super::context::{DashboardContext, segment};
use super::super::values::Fields;
use super::api_tokens::SECTION;
use super::connections::path;
use super::{bindings, calendar, connect_links, connectors, disconnections, endpoints, installed_connectors, users};

/// What follows a form.
pub(in crate::server::dashboard) enum FormOutcome {
    /// A page with a notice: the one that the form was on, unless another is named.
    Notice { text: String, to: Option<String> },
    /// A page that is shown once, such as that of a new token.
    Page(DashboardPage),
    /// A service's page.
    Leave { name: String, url: String },
}

/// A form whose action has succeeded.
pub(in crate::server::dashboard) struct Success<'f> {
    /// The path of the route.
    pub(in crate::server::dashboard) route: &'static str,
    pub(in crate::server::dashboard) operation: &'static str,
    /// The values in the path of the route.
    pub(in crate::server::dashboard) values: BTreeMap<&'static str, String>,
    pub(in crate::server::dashboard) fields: &'f [(String, String)],
    pub(in crate::server::dashboard) reply: Value,
}

impl Success<'_> {
    fn value(&self, name: &str) -> &str {
        self.values.get(name).map(String::as_str).unwrap_or_default()
    }

    fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Returns what follows it.
    pub(in crate::server::dashboard) fn outcome(&self, context: &DashboardContext) -> FormOutcome {
        if self.route == disconnections::PREVIEW.path {
            return FormOutcome::Page(disconnections::confirmation(context, self.reply.items("connections")));
        }
        let known = self.connection().or_else(|| self.data()).or_else(|| self.webhooks());
        let known = known.or_else(|| self.bindings(context)).or_else(|| self.endpoints(context));
        let known = known.or_else(|| self.connectors(context));
        known.or_else(|| self.governance(context)).or_else(|| self.calendar()).unwrap_or_else(|| stay("Done."))
    }

    fn connection(&self) -> Option<FormOutcome> {
        let (reply, name) = (&self.reply, self.value("connection"));
        Some(match self.operation {
            "connect start" => started(reply),
            "test" => stay(tested(reply)),
            "refresh" => stay(refreshed(reply)),
            "app set" => stay(format!("Stored the app {}. You can sign in now.", reply.text("client_id"))),
            "app remove" => stay("Removed the app."),
            "rename" => {
                let new = reply.text("connection");
                FormOutcome::Notice { text: format!("Renamed {name} to {new}."), to: Some(path(new)) }
            }
            "disconnect" => FormOutcome::Notice {
                text: match reply.text("result") {
                    "revoked" => format!("Disconnected {name}; its grant was revoked at the service."),
                    _ => format!("Disconnected {name}."),
                },
                to: Some("/dashboard/connections".to_owned()),
            },
            _ => return None,
        })
    }

    fn data(&self) -> Option<FormOutcome> {
        let reply = &self.reply;
        Some(stay(match self.operation {
            "sync" => synced(reply),
            "job retry" => match reply.items("streams").first() {
                Some(stream) => format!("Ran again: {}.", stream.text("status").replace('_', " ")),
                None => "Ran again.".to_owned(),
            },
            "job cancel" => "Cancelled the sync.".to_owned(),
            "schedule set" => format!("Set the schedule: {}.", reply.text("rule")),
            "schedule remove" => "Removed the schedule.".to_owned(),
            "cursor clear" => "Cleared the cursors: the next sync reads everything.".to_owned(),
            _ => return None,
        }))
    }

    fn webhooks(&self) -> Option<FormOutcome> {
        Some(stay(match self.operation {
            "webhook retry" if !self.field("since").is_empty() => replayed(&self.reply),
            "webhook subscribe" => "Registered at the service.".to_owned(),
            "webhook unsubscribe" => "Removed the registration at the service.".to_owned(),
            "webhook simulate" => simulated(&self.reply),
            "webhook retry" => "Queued to be handled again.".to_owned(),
            "webhook resolve" => "Resolved the conflict.".to_owned(),
            _ => return None,
        }))
    }

    fn bindings(&self, context: &DashboardContext) -> Option<FormOutcome> {
        let (reply, name) = (&self.reply, self.value("binding"));
        Some(match self.operation {
            "binding set" => stay(format!("Stored the binding: {}.", reply.text("outcome"))),
            "binding preview" => FormOutcome::Page(bindings::previewed(context, name, self.field("text"), reply)),
            "binding test" => FormOutcome::Page(bindings::tested(context, name, reply)),
            "binding retry" => {
                stay(format!("{} mapped, {} failed again.", reply.number("mapped"), reply.number("failed")))
            }
            "binding remove" => stay("Removed the binding."),
            "binding resolve" => stay("Resolved the conflict."),
            _ => return None,
        })
    }

    fn endpoints(&self, context: &DashboardContext) -> Option<FormOutcome> {
        let reply = &self.reply;
        Some(match self.operation {
            "endpoint add" => FormOutcome::Page(endpoints::secret(context, reply, "Endpoint added")),
            "endpoint rotate" => FormOutcome::Page(endpoints::secret(context, reply, "Secret replaced")),
            "endpoint update" => stay("Saved the endpoint."),
            "endpoint enable" => stay("Enabled the endpoint."),
            "endpoint disable" => stay("Disabled the endpoint."),
            "endpoint remove" => stay("Removed the endpoint."),
            "endpoint send" => stay(format!(
                "Sent {} to {}.",
                reply.text("type"),
                counted(reply.items("deliveries").len(), "endpoint")
            )),
            "endpoint retry" => stay("Queued to be delivered again."),
            _ => return None,
        })
    }

    fn connectors(&self, context: &DashboardContext) -> Option<FormOutcome> {
        let (reply, id) = (&self.reply, self.reply.text("connector"));
        Some(match self.operation {
            "connector review" => FormOutcome::Page(installed_connectors::reviewed(context, self.field("url"), reply)),
            "connector install-url" => {
                FormOutcome::Notice { text: format!("Installed {id}."), to: Some(installed_connectors::page_of(id)) }
            }
            "connector configure" => stay("Saved the configuration."),
            "connector uninstall" => {
                FormOutcome::Notice { text: format!("Uninstalled {id}."), to: Some(connectors::SECTION.to_owned()) }
            }
            _ => return None,
        })
    }

    fn calendar(&self) -> Option<FormOutcome> {
        let event = &self.reply["event"];
        let title = calendar::title_of(event);
        let text = match self.operation {
            "calendar create" => format!("Created {title}."),
            "calendar update" => format!("Saved {title}."),
            "calendar delete" => format!("Deleted {title}."),
            _ => return None,
        };
        let week = event.text("start").get(..10).map(|date| format!("?week={date}")).unwrap_or_default();
        Some(FormOutcome::Notice { text, to: Some(format!("{}{week}", calendar::SECTION)) })
    }

    fn governance(&self, context: &DashboardContext) -> Option<FormOutcome> {
        let reply = &self.reply;
        Some(match self.operation {
            "api-token create" => FormOutcome::Page(new_token(context, reply, "Token created")),
            "api-token rotate" => FormOutcome::Page(new_token(context, reply, "Token rotated")),
            "api-token update" => stay(format!("{} is {} now.", reply.text("name"), reply.text("status"))),
            "api-token revoke" => stay(format!("Revoked {}.", counted(reply.items("revoked").len(), "token"))),
            "approval grant" => stay("Allowed. The token can send the request again."),
            "approval deny" => stay("Denied."),
            "connect-link create" => FormOutcome::Page(connect_links::created(context, reply)),
            "connect-link revoke" => stay("Revoked the connect link."),
            "link add" => stay("Added the link."),
            "link remove" => stay("Removed the link."),
            "user delete" => FormOutcome::Notice {
                text: format!(
                    "Deleted the user {} with {}.",
                    reply.text("user"),
                    counted(reply.items("connections").len(), "connection")
                ),
                to: Some(users::SECTION.to_owned()),
            },
            "consent grant" => stay("Recorded the consent."),
            "consent revoke" => stay("Revoked the consent: what needs it stops now."),
            _ => return None,
        })
    }
}

/// `1 event`, `2 events`.
fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn count_of(reply: &Value, name: &str) -> usize {
    usize::try_from(reply.number(name)).unwrap_or_default()
}

/// How many events of a range were queued again.
fn replayed(reply: &Value) -> String {
    let more =
        if reply["next_cursor"].is_null() { "" } else { " There are older ones: replay again once these are handled." };
    format!("Queued {} to be handled again.{more}", counted(count_of(reply, "retried"), "event"))
}

/// The page that the form was on, with a notice.
fn stay(text: impl Into<String>) -> FormOutcome {
    FormOutcome::Notice { text: text.into(), to: None }
}

/// The page of a token's text, which is shown only here.
fn new_token(context: &DashboardContext, reply: &Value, title: &str) -> DashboardPage {
    let body = html! {
        (heading(title, reply.text("name"), &html! {}))
        div .callout .warn { p { "Copy it now: it is stored only as a hash and is never shown again." } }
        p { (code(reply.text("token"))) }
        p { "Send it as " code { "Authorization: Bearer …" } " to " (code(&context.absolute("/v1"))) "." }
        p { a .button href=(context.href(SECTION)) { "All API tokens" } }
    };
    DashboardPage { title: title.to_owned(), section: SECTION, body }
}

fn started(reply: &Value) -> FormOutcome {
    match reply.text("next") {
        "redirect" => {
            let url = reply.text("authorization_url").to_owned();
            let host = url::Url::parse(&url).ok().and_then(|url| url.host_str().map(str::to_owned));
            FormOutcome::Leave { name: host.unwrap_or_else(|| "the service".to_owned()), url }
        }
        "device_code" => FormOutcome::Notice {
            text: format!("Enter the code {} at {}.", reply.text("user_code"), reply.text("verification_uri")),
            to: Some(format!("/dashboard/sign-ins/{}", segment(reply.text("sign_in")))),
        },
        _ => {
            let name = reply["connected"]["connection"].text("connection");
            FormOutcome::Notice { text: format!("Connected {name}."), to: Some(path(name)) }
        }
    }
}

fn tested(reply: &Value) -> String {
    let Some(test) = reply.items("tests").first() else { return "Tested.".to_owned() };
    let name = test.text("connection");
    match (test.is("healthy"), test.maybe("error_message")) {
        (true, _) => format!("{name} works: the service answered in {} ms.", test.number("duration_ms")),
        (false, Some(error)) => format!("{name} does not work: {error}"),
        (false, None) => format!("{name} does not work: {}.", test.text("outcome")),
    }
}

fn refreshed(reply: &Value) -> String {
    let Some(refresh) = reply.items("refreshed").first() else { return "Refreshed.".to_owned() };
    let name = refresh.text("connection");
    match (refresh.text("outcome"), refresh.maybe("error")) {
        ("refreshed", _) => format!("Refreshed the token of {name}."),
        ("still_valid", _) => format!("The token of {name} is still valid."),
        (_, Some(error)) => format!("{name} was not refreshed: {error}"),
        (outcome, None) => format!("{name} was not refreshed: {outcome}."),
    }
}

fn synced(reply: &Value) -> String {
    let streams = reply["result"].items("streams");
    if reply["result"].is_null() {
        return "The sync goes on; its jobs show the progress.".to_owned();
    }
    let sum = |name: &str| streams.iter().map(|stream| stream.number(name)).sum::<i64>();
    let counts = format!("{} added, {} changed, {} deleted", sum("added"), sum("changed"), sum("deleted"));
    let failed = streams.iter().find(|stream| stream.maybe("error").is_some());
    match failed {
        Some(stream) => format!("{counts}. {}: {}", stream.text("stream"), stream.text("error")),
        None => format!("Synced {}: {counts}.", counted(streams.len(), "stream")),
    }
}

fn simulated(reply: &Value) -> String {
    let (sent, unexpected) = (counted(count_of(reply, "sent"), "event"), reply.number("unexpected"));
    let error = reply.items("events").iter().find_map(|event| event.maybe("error"));
    match (unexpected, error) {
        (0, _) => format!("Sent {sent}; each was answered as it should be."),
        (_, Some(error)) => {
            format!("Sent {sent}, of which {unexpected} were not answered as they should be: {error}")
        }
        (_, None) => format!("Sent {sent}, of which {unexpected} were not answered as they should be."),
    }
}
