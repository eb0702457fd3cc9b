//! `integ call`.

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::table::table;
use super::ui::{Ui, View};
use super::words::ParsedWords;
use crate::api::{self, ActionCall, ApiError, CompletedCall, Input, Parameters};
use crate::connector::Action;
use crate::error::Result;
use crate::http::{Request, redact_url, scrub};
use crate::json;
use crate::model::ConnectionName;
use crate::oauth::refresh;
use crate::runtime::{App, Session};
use crate::secret::REDACTED;

/// Do something at a service: send a message, create an issue
///
/// Without an action, lists those there are. A value is a text (`text=Hello`), a member of an object (`metadata.order=7`),
/// JSON (`blocks:=[...]`) or a file's content (`text=@note.txt`); an array is given by repeating its name.
#[derive(Debug, Args)]
pub(super) struct CallArgs {
    #[arg(add = super::complete::connections())]
    pub connection: String,
    #[arg(add = super::complete::actions())]
    pub action: Option<String>,
    /// The action's parameters
    #[arg(value_name = "NAME=VALUE", add = super::complete::action_params())]
    pub params: Vec<String>,
    /// Print the request, without its secrets, and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// By which the service knows a repetition; a random one where absent
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

#[derive(Serialize)]
struct ActionSummaryView {
    action: String,
    about: String,
    required: Vec<String>,
    /// Groups of which one each is needed.
    one_of: Vec<Vec<String>>,
    optional: Vec<String>,
    scopes: Vec<String>,
    /// Whether this connection's way of authenticating may do it.
    available: bool,
}

#[derive(Serialize)]
struct ActionListView {
    connection: String,
    connector: String,
    actions: Vec<ActionSummaryView>,
}

impl View for ActionListView {
    fn text(&self, ui: &Ui) -> String {
        if self.actions.is_empty() {
            return format!("The connector of {} describes no actions; `integ api` calls any path.", self.connection);
        }
        let row = |item: &ActionSummaryView| {
            let about = if item.available { item.about.clone() } else { format!("{} (not by this key)", item.about) };
            let groups = item.one_of.iter().map(|group| group.join("|"));
            let needs: Vec<String> = item.required.iter().cloned().chain(groups).collect();
            vec![item.action.clone().into(), about.into(), needs.join(" ").into()]
        };
        let actions = table(ui, &["action", "what", "needs"], self.actions.iter().map(row).collect());
        format!("{actions}\n\n`integ connector show {} ACTION` tells of all its parameters.", self.connector)
    }
}

#[derive(Serialize)]
struct CallResultView {
    connection: String,
    action: String,
    http_status: u16,
    duration_ms: u64,
    /// The values of the answer that the connector's file names.
    result: Map<String, Value>,
    answer: Value,
}

impl View for CallResultView {
    fn text(&self, _ui: &Ui) -> String {
        if self.result.is_empty() {
            return match &self.answer {
                Value::Null => format!("Done ({}).", self.http_status),
                Value::String(text) => super::ui::escape_lines(text),
                answer => super::ui::harmless_json(&format!("{answer:#}")),
            };
        }
        let width = self.result.keys().map(String::len).max().unwrap_or_default();
        let line = |(name, value): (&String, &Value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name:width$}  {}", super::ui::escape(&text))
        };
        self.result.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[derive(Serialize)]
pub(super) struct RequestPreview {
    connection: String,
    method: &'static str,
    url: String,
    headers: Map<String, Value>,
    body: Value,
}

impl View for RequestPreview {
    fn text(&self, _ui: &Ui) -> String {
        let mut lines = vec![format!("{} {}", self.method, self.url)];
        lines
            .extend(self.headers.iter().map(|(name, value)| format!("{name}: {}", value.as_str().unwrap_or_default())));
        match &self.body {
            Value::Null => {}
            Value::String(text) => lines.extend([String::new(), super::ui::escape_lines(text)]),
            body => lines.extend([String::new(), super::ui::harmless_json(&format!("{body:#}"))]),
        }
        lines.join("\n")
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: &CallArgs) -> Result<u8> {
    let name = ui.project.resolve(&args.connection)?;
    let Some(action) = &args.action else {
        ui.show(&actions(app, &name)?)?;
        return Ok(0);
    };
    let input = input(app, &name, action, &args.params)?;
    let order =
        ActionCall { connection: &name, action, input: &input, idempotency_key: args.idempotency_key.as_deref() };
    app.run(async {
        if args.dry_run {
            let (session, request, warning) = api::dry_run(app, &order)?;
            if let Some(warning) = warning {
                ui.warning(&warning.to_string());
            }
            ui.show(&request_preview(&session, &request, &refresh::load_grant(app, &name)?.grant)?)?;
            return Ok(0);
        }
        let done = api::call(app, &order).await?;
        if let Some(unreadable) = api::malformed_response_error(&done, action) {
            return Err(unreadable.into());
        }
        let refusal = done
            .response
            .error_class
            .map(|class| api::refusal_error(&done.session, action, class, &done.response.response));
        if refusal.is_none() || ui.json {
            ui.show(&called(&name, action, &done))?;
        }
        refusal.map_or(Ok(0), |refusal| Err(refusal.into()))
    })
}

/// The words of the command line as the action's parameters.
fn input(app: &App, connection: &ConnectionName, action: &str, words: &[String]) -> Result<Input> {
    let connector = app.catalogue.get(app.connection(connection)?.name.connector())?;
    let (name, action) = api::find_action(&connector, action)?;
    let parameters = Parameters { action, names: connector.api.names };
    let input = ParsedWords::read(parameters, words).complete(parameters);
    Ok(input.map_err(|problems| ApiError::InvalidParameters {
        connection: connection.clone(),
        action: name.to_owned(),
        problems,
        usage: api::usage_command(connection, name, action),
    })?)
}

fn actions(app: &App, name: &ConnectionName) -> Result<ActionListView> {
    let connection = app.connection(name)?;
    let connector = app.catalogue.get(connection.name.connector())?;
    let item = |(name, action): (&String, &Action)| {
        let named = |required: bool| {
            let params = action.params.iter().filter(move |(_, param)| param.required == required);
            params.map(|(name, _)| name.clone()).collect()
        };
        ActionSummaryView {
            action: name.clone(),
            about: action.about.clone(),
            required: named(true),
            one_of: action.one_of.clone(),
            optional: named(false),
            scopes: action.scopes.clone(),
            available: action.auth.is_empty() || action.auth.contains(&connection.auth),
        }
    };
    let id = connector.id.clone();
    Ok(ActionListView {
        connection: name.to_string(),
        connector: id,
        actions: connector.actions.iter().map(item).collect(),
    })
}

fn called(name: &ConnectionName, action: &str, done: &CompletedCall) -> CallResultView {
    let response = &done.response.response;
    let text = || response.text().unwrap_or_else(|_| String::from_utf8_lossy(&response.body)).into_owned();
    let answer = match response.json() {
        Some(document) => document,
        None if response.body.is_empty() => Value::Null,
        None => Value::String(text()),
    };
    let found = done.action.result.iter().filter_map(|(name, at)| Some((name.clone(), at.find(&answer)?.clone())));
    CallResultView {
        connection: name.to_string(),
        action: action.to_owned(),
        http_status: response.status,
        duration_ms: u64::try_from(done.response.duration.as_millis()).unwrap_or(u64::MAX),
        result: found.collect(),
        answer,
    }
}

/// The request as it may be shown.
pub(super) fn request_preview(
    session: &Session,
    request: &Request,
    grant: &crate::model::Grant,
) -> Result<RequestPreview> {
    let secrets = &request.secrets;
    let carriers: Vec<String> = session.credential_headers(grant)?.into_iter().map(|(name, _)| name).collect();
    let mut headers = Map::new();
    for (name, value) in &request.headers {
        let secret = carriers.iter().any(|carrier| carrier.eq_ignore_ascii_case(name));
        let shown = if secret { REDACTED.to_owned() } else { scrub(value.expose(), secrets) };
        headers.insert(name.clone(), Value::String(shown));
    }
    let mut body = Value::Null;
    if let Some(sent) = &request.body {
        headers.insert("content-type".to_owned(), Value::String(sent.content_type.clone()));
        body = match std::str::from_utf8(sent.bytes.expose()) {
            Ok("") => Value::Null,
            Ok(text) => {
                let shown = scrub(text, secrets);
                json::parse(&shown).unwrap_or(Value::String(shown))
            }
            Err(_) => Value::String(format!("[{} bytes]", sent.bytes.expose().len())),
        };
    }
    Ok(RequestPreview {
        connection: session.connection.name.to_string(),
        method: request.method,
        url: redact_url(&session.route.display_url(&request.url), secrets),
        headers,
        body,
    })
}
