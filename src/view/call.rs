//! Views of calls: the actions of a connection, the result of one, and a request that would be sent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::problem::ProblemView;
use super::word;
use crate::api::{ApiError, CompletedCall, PagePosition};
use crate::connector::{Action, ActionParam, Connector, NameCase, ParamKind};
use crate::error::Result;
use crate::http::{Request, redact_url, scrub};
use crate::json;
use crate::model::{Connection, ConnectionName, Grant};
use crate::runtime::Session;
use crate::secret::REDACTED;

/// An action of a connection's connector.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct ActionSummaryView {
    pub action: String,
    pub description: String,
    pub required: Vec<String>,
    /// Groups of parameters; one of each group is required.
    pub one_of: Vec<Vec<String>>,
    pub optional: Vec<String>,
    pub scopes: Vec<String>,
    /// Whether the connection's authentication method allows it.
    pub is_granted: bool,
}

impl ActionSummaryView {
    fn new(name: &str, action: &Action, connection: &Connection) -> Self {
        let params = |required: bool| {
            let params = action.params.iter().filter(move |(_, param)| param.required == required);
            params.map(|(name, _)| name.clone()).collect()
        };
        Self {
            action: name.to_owned(),
            description: action.about.clone(),
            required: params(true),
            one_of: action.one_of.clone(),
            optional: params(false),
            scopes: action.scopes.clone(),
            is_granted: action.auth.is_empty() || action.auth.contains(&connection.auth),
        }
    }
}

/// The actions of a connection.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct ActionListView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub connector: String,
    pub actions: Vec<ActionSummaryView>,
}

impl ActionListView {
    /// Creates the view of a connector's actions. Each says whether the connection's authentication method allows it.
    pub fn new(connection: &Connection, connector: &Connector) -> Self {
        let actions = connector.actions.iter().map(|(name, action)| ActionSummaryView::new(name, action, connection));
        Self { connection: connection.name.clone(), connector: connector.id.clone(), actions: actions.collect() }
    }
}

/// An action of a connection with its parameters.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct CallableActionView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub action: String,
    pub description: String,
    pub parameters: Vec<ActionParameterView>,
    /// Groups of parameters; one of each group is required.
    pub one_of: Vec<Vec<String>>,
}

/// A parameter of an action.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct ActionParameterView {
    pub name: String,
    /// Its name as the API writes it, which is accepted as well.
    pub api_name: Option<String>,
    pub description: String,
    #[serde(rename = "type")]
    pub kind: ParamKind,
    pub required: bool,
    pub choices: Vec<String>,
    pub default: Option<Value>,
    /// Whether a plain text is accepted for an object, which is built from it.
    pub accepts_text: bool,
}

impl CallableActionView {
    /// Creates the view of an action. `names` is how the API writes the names of parameters.
    pub fn new(connection: ConnectionName, name: String, action: &Action, names: NameCase) -> Self {
        let parameter = |(name, param): (&String, &ActionParam)| {
            let own = param.to.as_ref().map(ToString::to_string).and_then(|to| Some(to.strip_prefix('/')?.to_owned()));
            let api_name = own.unwrap_or_else(|| names.apply(name));
            ActionParameterView {
                api_name: (api_name != *name).then_some(api_name),
                name: name.clone(),
                description: param.about.clone(),
                kind: param.kind,
                required: param.required,
                choices: param.choices.clone(),
                default: param.default.clone(),
                accepts_text: param.wrap.is_some(),
            }
        };
        Self {
            connection,
            action: name,
            description: action.about.clone(),
            parameters: action.params.iter().map(parameter).collect(),
            one_of: action.one_of.clone(),
        }
    }

    /// Returns an action with these parameters, to parse values for.
    ///
    /// # Errors
    /// Parameters that no action can have.
    pub fn to_action(&self) -> Result<Action, serde_json::Error> {
        let params = self.parameters.iter().map(|parameter| {
            let mut param = json!({
                "about": parameter.description,
                "type": parameter.kind,
                "required": parameter.required,
                "choices": parameter.choices,
                "default": parameter.default,
            });
            if let Some(name) = &parameter.api_name {
                param["to"] = Value::String(format!("/{name}"));
            }
            if parameter.accepts_text {
                param["wrap"] = json!("{value}");
            }
            (parameter.name.clone(), param)
        });
        serde_json::from_value(json!({
            "about": self.description,
            "path": "/",
            "params": params.collect::<Map<_, _>>(),
            "one_of": self.one_of,
        }))
    }
}

/// A service's response to a request.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct ServiceResponseView {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// The body, if it is JSON and not wanted as it is.
    pub json: Option<Value>,
    /// The body in base64, if it is not JSON or is wanted as it is.
    pub body_base64: Option<String>,
    /// What the next page is requested with; null on the last one.
    #[schemars(with = "Option<Map<String, Value>>")]
    pub next_page: Option<PagePosition>,
    /// What a response means that rejects the request, if it is wanted as it is.
    pub refusal: Option<ProblemView>,
}

/// What a service answered to an action.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
pub struct CallResultView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub action: String,
    pub http_status: u16,
    /// Of the last attempt.
    pub duration_ms: u64,
    /// Values of the response, by the names in the connector's file.
    pub result: Map<String, Value>,
    /// The response as JSON, otherwise as text; null if it is empty.
    pub response: Value,
    /// The error in the response, if the service rejected the call.
    #[serde(skip)]
    pub refusal: Option<ApiError>,
}

impl CallResultView {
    /// Creates the view of a response. `refusal` is the error that the service answered with, if it did.
    pub fn new(action: String, completed: &CompletedCall, refusal: Option<ApiError>) -> Self {
        let answer = &completed.response.response;
        let text = || answer.text().unwrap_or_else(|_| String::from_utf8_lossy(&answer.body)).into_owned();
        let response = match answer.json() {
            Some(document) => document,
            None if answer.body.is_empty() => Value::Null,
            None => Value::String(text()),
        };
        let named = completed.action.result.iter();
        let result = named.filter_map(|(name, at)| Some((name.clone(), at.find(&response)?.clone()))).collect();
        Self {
            connection: completed.session.connection.name.clone(),
            action,
            http_status: answer.status,
            duration_ms: u64::try_from(completed.response.duration.as_millis()).unwrap_or(u64::MAX),
            result,
            response,
            refusal,
        }
    }
}

/// A request that would be sent, without its secrets.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
pub struct RequestPreviewView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub method: String,
    pub url: String,
    pub headers: Map<String, Value>,
    /// The JSON of the body, else its text, or its size if it is neither; null if there is none.
    pub body: Value,
    /// Why the service would probably refuse it.
    #[serde(skip)]
    pub warning: Option<ApiError>,
}

impl RequestPreviewView {
    /// Describes a request of a session that carries the credentials of a grant.
    ///
    /// # Errors
    /// Those of the headers that carry the credentials.
    pub fn new(session: &Session, request: &Request, grant: &Grant) -> Result<Self> {
        let secrets = &request.secrets;
        let credentials = session.credential_headers(grant)?;
        let mut headers = Map::new();
        for (name, value) in &request.headers {
            let is_credential = credentials.iter().any(|(credential, _)| credential.eq_ignore_ascii_case(name));
            let shown = if is_credential { REDACTED.to_owned() } else { scrub(value.expose(), secrets) };
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
        Ok(Self {
            connection: session.connection.name.clone(),
            method: request.method.to_owned(),
            url: redact_url(&session.route.display_url(&request.url), secrets),
            headers,
            body,
            warning: None,
        })
    }
}
