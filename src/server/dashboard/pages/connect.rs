//! The catalogue of services, and connecting an account of one.

use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{code, empty, heading, mark, search_form, section, state, web_link};
use super::super::context::{DashboardContext, segment};
use super::super::fix::fix;
use super::super::form::{Field, hidden, list_choice};
use super::super::problem_page::sentence;
use super::super::values::Fields;
use super::connections::{START, capital, path};
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[
    page!("/dashboard/connect", catalogue),
    page!("/dashboard/connect/{connector}", service),
    page!("/dashboard/connected", connected),
    page!("/dashboard/sign-ins/{sign_in}", sign_in),
];

const SECTION: &str = "/dashboard/connect";

static SET_APP: FormAction = FormAction::put("/v1/apps/{connector}");

/// The page that services lead back to.
const DONE: &str = "/dashboard/connected";

async fn catalogue(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let list = context.get("/v1/connectors", &[], &[("limit", "1000")]).await?;
    let connectors = list.items("data");
    let (wanted, category) = (context.query("q").trim().to_lowercase(), context.query("category"));
    let mut categories: Vec<&str> = connectors.iter().map(|one| one.text("category")).collect();
    categories.sort_unstable();
    categories.dedup();
    let fits = |one: &&Value| {
        let texts = [one.text("id"), one.text("name"), one.text("description"), one.text("category")];
        (category.is_empty() || one.text("category") == category)
            && (wanted.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&wanted)))
    };
    let found: Vec<&Value> = connectors.iter().filter(fits).collect();
    let about = "Choose a service. Each can be tried in the sandbox, without an account.";
    let body = html! {
        (heading("Connect a service", about, &html! {}))
        div .toolbar {
            nav .tabs aria-label="Category" {
                (tab(context, "", category))
                @for one in &categories { (tab(context, one, category)) }
            }
            (search_form(context, SECTION, "Search services", ("category", category)))
        }
        @if found.is_empty() {
            (empty("No service fits", &html! {
                p { "Any API with a key can be connected as " a href=(context.href("/dashboard/connect/api-key")) { "API key" }
                    ", and an MCP server by its URL: " (code("integ connect https://mcp.example.com/mcp")) }
            }))
        } @else {
            ul .grid { @for one in found { li { (tile(context, one)) } } }
        }
    };
    Ok(DashboardPage { title: "Connect a service".to_owned(), section: SECTION, body })
}

fn tab(context: &DashboardContext, category: &str, chosen: &str) -> Markup {
    let label = if category.is_empty() { "All".to_owned() } else { capital(&category.replace('_', " ")) };
    html! {
        a href=(context.with_query(&[("category", category)])) aria-current=[(category == chosen).then_some("true")] { (label) }
    }
}

fn tile(context: &DashboardContext, one: &Value) -> Markup {
    let source = one.text("source");
    html! {
        div .tile {
            a href=(context.href(&format!("/dashboard/connect/{}", segment(one.text("id"))))) { (one.text("name")) }
            p { (one.text("description")) }
            @if source != "built-in" { div { (mark(source)) } }
        }
    }
}

async fn service(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let values = [("connector", context.param("connector"))];
    let setup_query = [("auth", context.query("auth"))];
    let detail = context.get("/v1/connectors/{connector}", &values, &[]);
    let setup = context.get("/v1/connectors/{connector}/setup", &values, &setup_query);
    let apps = context.get("/v1/apps", &[], &[]);
    let (detail, setup, apps) = tokio::join!(detail, setup, apps);
    let (detail, setup, apps) = (detail?, setup?, apps?);
    let name = detail.text("name");
    let method = detail.items("auth_methods").iter().find(|one| one.text("auth") == setup.text("auth"));
    let method = method.cloned().unwrap_or_default();
    let is_sandbox = context.query("mode") != "live";
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "Connect a service" } }
        (heading(&format!("Connect {name}"), detail.text("description"), &html! { (web_link(detail.text("docs"), "Documentation")) }))
        nav .tabs .under aria-label="Mode" {
            a href=(context.with_query(&[("mode", "")])) aria-current=[is_sandbox.then_some("true")] { "Sandbox" }
            a href=(context.with_query(&[("mode", "live")])) aria-current=[(!is_sandbox).then_some("true")] { "Live account" }
        }
        div .columns {
            div {
                @if is_sandbox { (sandbox(context, &detail, &method)) } @else { (live(context, &detail, &method, &setup, &apps)) }
            }
            div { (capabilities(&detail)) }
        }
    };
    Ok(DashboardPage { title: format!("Connect {name}"), section: SECTION, body })
}

fn sandbox(context: &DashboardContext, detail: &Value, method: &Value) -> Markup {
    let fields = html! {
        (common_fields(context, detail, method, true))
        (account_field())
        (scope_fields(method))
    };
    section(
        "Try it in the sandbox",
        &html! {
            p { "integ emulates " (detail.text("name")) " on this machine: sign-in, data, webhooks and failures. Nothing leaves it." }
            @if context.may(&START) {
                (context.form(&START, &[]).fields(fields).primary().button("Connect in the sandbox"))
            } @else { (not_allowed()) }
        },
    )
}

fn live(context: &DashboardContext, detail: &Value, method: &Value, setup: &Value, apps: &Value) -> Markup {
    let is_app = setup.text("kind") == "app";
    let app = apps.items("apps").iter().find(|app| app.text("connector") == detail.text("id"));
    let params = method.items("params").iter();
    let fields = html! {
        (common_fields(context, detail, method, false))
        @for param in params { (param_field(param)) }
        (account_field())
        (scope_fields(method))
    };
    let verb = if is_app { "Continue to sign in" } else { "Check and connect" };
    html! {
        @if detail.items("auth_methods").len() > 1 { (methods(context, detail, setup.text("auth"))) }
        (steps(context, setup, is_app, app))
        (section(if is_app { "Sign in" } else { "Enter the key" }, &html! {
            @if context.may(&START) {
                (context.form(&START, &[]).fields(fields).primary().button(verb))
            } @else { (not_allowed()) }
        }))
    }
}

fn not_allowed() -> Markup {
    html! { p .hint { "Your role does not allow connecting. Ask an editor." } }
}

fn methods(context: &DashboardContext, detail: &Value, chosen: &str) -> Markup {
    html! {
        nav .tabs aria-label="Authentication method" {
            @for method in detail.items("auth_methods") {
                @let name = method.text("auth");
                a href=(context.with_query(&[("auth", name)])) aria-current=[(name == chosen).then_some("true")] { (method.text("label")) }
            }
        }
        br;
    }
}

fn common_fields(context: &DashboardContext, detail: &Value, method: &Value, is_sandbox: bool) -> Markup {
    html! {
        (hidden("connector", detail.text("id")))
        (hidden("auth", method.text("auth")))
        (hidden("return_to", &context.absolute(DONE)))
        @if is_sandbox { (hidden("is_sandbox", "true")) }
    }
}

fn account_field() -> Markup {
    Field::new("account", "Name of the account")
        .hint("Only needed for a second account of the same service, such as work.")
        .text()
}

/// A value that the method asks for: keys are never shown again.
fn param_field(param: &Value) -> Markup {
    let name = param.text("name");
    let place = if param.is("secret") { format!("keys.{name}") } else { format!("params.{name}") };
    let choices = param.texts("choices");
    let mut field = Field::new(&place, param.text("prompt")).value(param.text("default"));
    if !param.is("optional") {
        field = field.required();
    }
    if !choices.is_empty() {
        let choices: Vec<(&str, &str)> = choices.iter().map(|choice| (*choice, *choice)).collect();
        return field.select(&choices);
    }
    if param.is("secret") { field.password() } else { field.text() }
}

fn scope_fields(method: &Value) -> Markup {
    let scopes = method.texts("default_scopes");
    html! {
        @if !scopes.is_empty() {
            fieldset {
                legend { "Scopes to ask for" }
                @for scope in scopes { (list_choice("scopes", scope, &html! { code { (scope) } }, true)) }
            }
        }
    }
}

/// What to do at the service first.
fn steps(context: &DashboardContext, setup: &Value, is_app: bool, app: Option<&Value>) -> Markup {
    let title = if is_app { "Register an app at the service" } else { "Create a key at the service" };
    let place = setup.maybe("setup_url");
    section(
        title,
        &html! {
            @if let (true, Some(app)) = (is_app, app) {
                p { "The app " (code(app.text("client_id"))) " is registered. You can sign in below." }
                @if context.may(&SET_APP) {
                    details { summary { "Replace its secret, or use another app" } (app_form(context, setup.text("connector"))) }
                }
            } @else {
                ol .steps {
                    @if let Some(url) = place {
                        li { "Open " (web_link(url, url)) @if let Some(note) = of_servers(setup.text("note")) { p .hint { (note) } } }
                    }
                    @if !setup.items("redirect_uris").is_empty() { li { "Enter the redirect URI " (code(&context.absolute("/oauth/callback"))) } }
                    @for setting in setup.texts("settings") {
                        @if let Some(setting) = of_servers(setting) { li { (capital(&setting)) } }
                    }
                    @if !setup.items("scopes").is_empty() {
                        li {
                            "Allow these scopes:"
                            ul .scopes { @for scope in setup.items("scopes") { li { code title=(scope.text("purpose")) { (scope.text("scope")) } } } }
                        }
                    }
                    @if is_app {
                        li {
                            "Enter the client ID and secret that the service shows"
                            @if context.may(&SET_APP) { (app_form(context, setup.text("connector"))) } @else { ": ask an editor." }
                        }
                    }
                }
            }
        },
    )
}

/// Returns the sentences of a note that are not about sign-ins from the command line, which has a redirect URI of its own.
fn of_servers(note: &str) -> Option<String> {
    let is_of_servers = |sentence: &&str| !["--", "127.0.0.1", "localhost"].iter().any(|word| sentence.contains(word));
    let sentences: String = note.split_inclusive(". ").filter(is_of_servers).collect();
    Some(sentences.trim().to_owned()).filter(|sentences| !sentences.is_empty())
}

/// What an app is stored with. The secret is never shown again.
fn app_form(context: &DashboardContext, connector: &str) -> Markup {
    let fields = html! {
        (Field::new("client_id", "Client ID").required().text())
        (Field::new("client_secret", "Client secret").hint("Left empty for a public client. It is stored encrypted and never shown again.").password())
    };
    context.form(&SET_APP, &[("connector", connector)]).fields(fields).button("Store the app")
}

fn capabilities(detail: &Value) -> Markup {
    let list = |title: &str, items: &[Value], name: &str, about: &str| {
        html! {
            @if !items.is_empty() {
                details {
                    summary { (title) " " span .count { (items.len()) } }
                    dl .properties {
                        @for item in items.iter().take(40) { div { dt { code { (item.text(name)) } } dd { (item.text(about)) } } }
                    }
                }
            }
        }
    };
    section(
        "What it can do",
        &html! {
            (list("Streams to sync", detail.items("streams"), "stream", "description"))
            (list("Actions to call", detail.items("actions"), "action", "description"))
            (list("Scopes", detail.items("scopes"), "scope", "purpose"))
            @if !detail.items("webhook_signatures").is_empty() {
                p { "Webhooks are verified: " @for one in detail.items("webhook_signatures") { code { (one.text("scheme")) } " " } }
            }
            @if !detail.texts("limits").is_empty() {
                p .hint { "Limits: " (detail.texts("limits").join("; ")) }
            }
        },
    )
}

async fn connected(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    ended(context, context.query("sign_in")).await
}

async fn sign_in(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    ended(context, context.param("sign_in")).await
}

/// Shows how a sign-in ended, or what it waits for.
async fn ended(context: &DashboardContext, id: &str) -> Result<DashboardPage, Problem> {
    let view = context.get("/v1/sign-ins/{sign_in}", &[("sign_in", id)], &[]).await?;
    let name = view.text("connection");
    let (title, content) = match (view.text("status"), view["error"].maybe("message")) {
        ("done", _) => (format!("{name} is connected"), next_steps(context, &view, name)),
        (_, Some(error)) => (
            format!("{name} is not connected"),
            html! {
                div .callout .bad role="alert" {
                    p { (sentence(error)) }
                    @if let Some(hint) = view["error"].maybe("hint") { (fix(context, hint)) }
                }
                p { a .button href=(context.href(SECTION)) { "Choose a service" } }
            },
        ),
        (status, None) => (
            format!("{name} waits for you"),
            html! {
                p { (state(status)) " Finish the sign-in at the service, then look again." }
                p { a .button .primary href=(context.href(&context.here)) { "Look again" } }
            },
        ),
    };
    let body = html! { (heading(&title, "", &html! {})) (content) };
    Ok(DashboardPage { title, section: SECTION, body })
}

fn next_steps(context: &DashboardContext, view: &Value, name: &str) -> Markup {
    let page = |tab: &str| context.href(&format!("{}{tab}", path(name)));
    let missing = view.texts("missing_scopes");
    html! {
        @for warning in view.texts("warnings") { div .callout .warn { p { (sentence(warning)) } } }
        @if !missing.is_empty() {
            div .callout .warn { p { "Not granted: " @for scope in missing { code { (scope) } " " } } }
        }
        p { "Your programs get its token with " (code(&format!("integ token {name}"))) "." }
        div .actions {
            a .button .primary href=(page("")) { "Open the connection" }
            a .button href=(page("/data")) { "Sync its data" }
            a .button href=(page("/webhooks")) { "Receive its webhooks" }
        }
    }
}
