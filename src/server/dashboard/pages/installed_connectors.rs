//! Connectors of this workspace: what the file at a URL can do, who installed it, and its configuration.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{code, heading, property, section, table_of, time};
use super::super::context::{DashboardContext, segment};
use super::super::form::{Field, hidden};
use super::super::problem_page::sentence;
use super::super::values::Fields;
use super::connections::path;
use super::connectors::SECTION;
use crate::server::problem::Problem;

static REVIEW: FormAction = FormAction::post("/v1/connector-reviews");
static INSTALL: FormAction = FormAction::post("/v1/installed-connectors");
static CONFIGURE: FormAction = FormAction::patch("/v1/installed-connectors/{connector}");
static UNINSTALL: FormAction = FormAction::delete("/v1/installed-connectors/{connector}");

/// Returns the path of the page of a connector.
pub(super) fn page_of(connector: &str) -> String {
    format!("{SECTION}/{}", segment(connector))
}

/// Reads the connectors that were installed in this workspace.
pub(super) async fn installed(context: &DashboardContext) -> Result<Value, Problem> {
    context.get("/v1/installed-connectors", &[], &[("limit", "1000")]).await
}

/// What was installed in this workspace, also if its file cannot be used.
pub(super) fn installed_table(context: &DashboardContext, installed: &[Value]) -> Markup {
    html! {
        @if !installed.is_empty() {
            (section("Installed in this workspace", &html! {
                (table_of(&["Connector", "From", "By", "When", ">Connections"], installed, |one| html! {
                    @let id = one.text("connector");
                    td .nowrap { a href=(context.href(&page_of(id))) { (id) } }
                    td {
                        (one.text("source"))
                        @if let Some(error) = one.maybe("last_error") { div .hint { (sentence(error)) } }
                    }
                    td { (one.text("installed_by")) }
                    td .nowrap { (time(context, one.text("installed_at"))) }
                    td .right { (one.items("connections").len()) }
                }))
            }))
        }
    }
}

/// Asks for the URL of a file, and shows what it can do before anything is installed.
pub(super) fn install_form(context: &DashboardContext) -> Markup {
    let url = Field::new("url", "URL of the connector's file")
        .hint("https; a private host must be in http.allow. Nothing is installed before you have seen what it can do.");
    section(
        "Install from a URL",
        &html! {
            (context.form(&REVIEW, &[]).fields(url.required().text()).button("Review"))
            p .hint { "For all workspaces, at the machine of the server: " (code("integ connector install URL")) }
        },
    )
}

/// The page of a file that was reviewed. Its button installs the file of this digest, and no other.
pub(super) fn reviewed(context: &DashboardContext, url: &str, review: &Value) -> DashboardPage {
    let name = review.text("name");
    let fields = html! { (hidden("url", url)) (hidden("sha256", review.text("sha256"))) };
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "Connectors" } }
        (heading(&format!("Install {name}?"), review.text("description"), &html! {}))
        @if let Some(replaced) = review.maybe("replaces") {
            div .callout .warn {
                p { "It replaces " (replaced) "." }
                @if !review.texts("added").is_empty() {
                    p { "What that one cannot do:" }
                    ul { @for added in review.texts("added") { li { (added) } } }
                }
            }
        }
        (origin(review))
        (hosts(review))
        (rights(review))
        @if context.may(&INSTALL) {
            p { "Install it only if you trust these hosts: credentials of its connections are sent to them." }
            (context.form(&INSTALL, &[]).fields(fields).primary().or_cancel(SECTION).button("Install"))
        } @else { p .hint { "Your role does not allow installing it. Ask an editor." } }
    };
    DashboardPage { title: format!("Install {name}?"), section: SECTION, body }
}

fn origin(review: &Value) -> Markup {
    section(
        "File",
        &html! {
            dl .properties {
                (property("ID", &code(review.text("id"))))
                (property("URL", &html! { (review.text("source")) }))
                (property("SHA-256", &code(review.text("sha256"))))
            }
        },
    )
}

fn hosts(review: &Value) -> Markup {
    section(
        "Hosts that it calls",
        &html! {
            @if review.items("hosts").is_empty() { p .hint { "None." } }
            dl .properties {
                @for host in review.items("hosts") {
                    (property(host.text("host"), &html! {
                        (host.texts("uses").join(", "))
                        @if let Some(decider) = host.maybe("decided_by") { div .hint { "Decided by " (decider) } }
                    }))
                }
            }
        },
    )
}

fn rights(review: &Value) -> Markup {
    let list = |items: Vec<&str>| {
        html! {
            @if items.is_empty() { span .dim { "None" } }
            @else { ul .scopes { @for item in items { li { code { (item) } } } } }
        }
    };
    section(
        "What it asks for",
        &html! {
            dl .properties {
                (property("Scopes", &list(review.texts("scopes"))))
                (property("Secrets", &list(review.texts("secrets"))))
                (property("Variables of exec", &list(review.texts("variables"))))
            }
            @for scope in review.items("default_scopes") {
                p .hint {
                    code { (scope.text("scope")) } " is asked for by default"
                    @if let Some(purpose) = scope.maybe("purpose") { ": " (purpose) }
                }
            }
        },
    )
}

/// What is known of an installed connector, and what can be done with it.
pub(super) fn overview(context: &DashboardContext, one: &Value) -> Markup {
    html! {
        @if let Some(error) = one.maybe("last_error") { div .callout .bad { p { "Last error: " (sentence(error)) } } }
        (installation(context, one))
        (configuration(context, one))
        (removal(context, one))
    }
}

fn installation(context: &DashboardContext, one: &Value) -> Markup {
    let connections = one.texts("connections");
    section(
        "Installation",
        &html! {
            dl .properties {
                (property("Installed", &time(context, one.text("installed_at"))))
                (property("By", &html! {
                    (one.text("installed_by")) @if let Some(user) = one.maybe("user") { " for the user " (code(user)) }
                }))
                (property("From", &html! { (one.text("source")) }))
                (property("SHA-256", &code(one.text("sha256"))))
                (property("Connections", &html! {
                    @if connections.is_empty() { span .dim { "None" } }
                    @else { (connection_links(context, &connections)) }
                }))
            }
        },
    )
}

fn connection_links(context: &DashboardContext, names: &[&str]) -> Markup {
    html! { ul .scopes { @for name in names { li { a href=(context.href(&path(name))) { (name) } } } } }
}

/// A form with a field for each parameter. A value that is left empty is removed.
fn configuration(context: &DashboardContext, one: &Value) -> Markup {
    let fields = html! {
        // The route replaces the whole, which may have no value.
        (hidden("configuration", "{}"))
        @for param in one.items("parameters") { (parameter(param, &one["configuration"])) }
    };
    html! {
        @if !one.items("parameters").is_empty() {
            (section("Configuration", &html! {
                p .hint { "Used when an account is connected without values of its own." }
                @if context.may(&CONFIGURE) {
                    (context.form(&CONFIGURE, &[("connector", one.text("connector"))]).fields(fields).button("Save"))
                } @else { (values(&one["configuration"])) }
            }))
        }
    }
}

fn parameter(param: &Value, configuration: &Value) -> Markup {
    let (name, default) = (format!("configuration.{}", param.text("name")), param.text("default"));
    let hint = if default.is_empty() { String::new() } else { format!("{default} if left empty.") };
    let field = Field::new(&name, param.text("prompt")).hint(&hint).value(configuration.text(param.text("name")));
    let mut choices: Vec<(&str, &str)> = param.texts("choices").into_iter().map(|choice| (choice, choice)).collect();
    if choices.is_empty() {
        return field.text();
    }
    choices.insert(0, ("", "Not configured"));
    field.select(&choices)
}

fn values(configuration: &Value) -> Markup {
    let members = configuration.as_object().into_iter().flatten();
    html! {
        dl .properties {
            @for (name, value) in members { (property(name, &html! { (value.as_str().unwrap_or_default()) })) }
        }
    }
}

fn removal(context: &DashboardContext, one: &Value) -> Markup {
    let connections = one.texts("connections");
    html! {
        @if context.may(&UNINSTALL) {
            (section("Uninstall", &html! {
                @if connections.is_empty() {
                    p { "Removes the connector from this workspace." }
                    (context.form(&UNINSTALL, &[("connector", one.text("connector"))]).danger().button("Uninstall"))
                } @else {
                    p { "Its connections do not work without it. Disconnect them first:" }
                    (connection_links(context, &connections))
                }
            }))
        }
    }
}
