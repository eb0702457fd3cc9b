//! Operations on services: actions and API paths.

use std::ops::ControlFlow;

use serde_json::{Map, Value, json};

use super::{Effect, Operation, OperationScope, Reach};
use crate::api::{self, ActionCall, ApiError, Input, PagePosition, PageToken, Parameters, PathCall};
use crate::connector::{Action, ActionBody, HttpMethod, NameCase};
use crate::error::Result;
use crate::http::Response;
use crate::model::{ApiVerb, ConnectionName};
use crate::oauth::refresh;
use crate::runtime::Workspace;
use crate::view::call::{ActionListView, CallResultView, CallableActionView, RequestPreviewView};

/// The operations of this module. Their effect is the greatest that any action or path can have.
pub const OPERATIONS: &[Operation] = &[
    Operation::local("call", OperationScope::Connections, Effect::Destroy)
        .reachable_by(Reach::Agent)
        .requires(ApiVerb::Call),
    Operation::local("api", OperationScope::Connections, Effect::Destroy)
        .reachable_by(Reach::Api)
        .requires(ApiVerb::Call),
];

/// Lists the actions of a connection.
///
/// # Errors
/// Unknown connections.
pub async fn list_actions(workspace: &Workspace, connection: ConnectionName) -> Result<ActionListView> {
    let connection = workspace.connection(&connection).await?;
    let connector = workspace.catalogue().get(connection.name.connector())?;
    Ok(ActionListView::new(&connection, &connector))
}

/// An action of a connection, with what is needed to parse its parameters.
#[derive(Clone, Debug)]
pub struct ConnectionAction {
    pub connection: ConnectionName,
    pub name: String,
    pub action: Action,
    /// How the API writes the names of parameters.
    pub names: NameCase,
}

impl ConnectionAction {
    /// Returns its view, from which [`Self::from_view`] makes an action with the same parameters.
    pub fn view(&self) -> CallableActionView {
        CallableActionView::new(self.connection.clone(), self.name.clone(), &self.action, self.names)
    }

    /// Returns what is needed to parse the parameters of an action on another machine.
    ///
    /// # Errors
    /// A view that describes no action.
    pub fn from_view(view: CallableActionView) -> Result<Self, serde_json::Error> {
        let action = view.to_action()?;
        Ok(Self { connection: view.connection, name: view.action, action, names: NameCase::Snake })
    }

    /// Returns the action's declared parameters, with the case in which the API writes their names.
    pub fn parameters(&self) -> Parameters<'_> {
        Parameters { action: &self.action, names: self.names }
    }

    /// Returns the error of parameters with these problems.
    pub fn invalid_parameters(&self, problems: Vec<String>) -> ApiError {
        ApiError::InvalidParameters {
            connection: self.connection.clone(),
            action: self.name.clone(),
            problems,
            usage: api::usage_command(&self.connection, &self.name, &self.action),
        }
    }
}

/// Finds an action of a connection.
///
/// # Errors
/// Unknown connections, and [`ApiError::UnknownAction`].
pub async fn find_action(workspace: &Workspace, connection: ConnectionName, action: &str) -> Result<ConnectionAction> {
    let connector = workspace.catalogue().get(workspace.connection(&connection).await?.name.connector())?;
    let (name, action) = api::find_action(&connector, action)?;
    Ok(ConnectionAction { connection, name: name.to_owned(), action: action.clone(), names: connector.api.names })
}

/// Returns what calling an action does at the service.
///
/// # Errors
/// Those of [`find_action`].
pub async fn action_effect(workspace: &Workspace, connection: ConnectionName, action: &str) -> Result<Effect> {
    Ok(find_action(workspace, connection, action).await?.action.effect())
}

/// An action to call.
#[derive(Clone, Debug)]
pub struct CallActionRequest {
    pub connection: ConnectionName,
    pub action: String,
    pub input: Input,
    /// The idempotency key; random if absent.
    pub idempotency_key: Option<String>,
}

impl CallActionRequest {
    fn call(&self) -> ActionCall<'_> {
        ActionCall {
            connection: &self.connection,
            action: &self.action,
            input: &self.input,
            idempotency_key: self.idempotency_key.as_deref(),
        }
    }
}

/// Calls an action. An error from the service is in the view.
///
/// # Errors
/// [`ApiError`] for everything that is wrong before anything is sent, and for a response that cannot be read.
pub async fn call_action(workspace: &Workspace, request: CallActionRequest) -> Result<CallResultView> {
    let completed = api::call(workspace, &request.call()).await?;
    if let Some(error) = api::malformed_response_error(&completed, &request.action) {
        return Err(error.into());
    }
    let answer = &completed.response;
    let refusal = answer
        .error_class
        .map(|class| api::refusal_error(&completed.session, &request.action, class, &answer.response));
    Ok(CallResultView::new(request.action, &completed, refusal))
}

/// Returns the request that [`call_action`] would send. Missing scopes are a warning in the view.
///
/// # Errors
/// Those of [`call_action`] before anything is sent.
pub async fn preview_action(workspace: &Workspace, request: CallActionRequest) -> Result<RequestPreviewView> {
    let (session, built, warning) = api::dry_run(workspace, &request.call()).await?;
    let grant = refresh::load_grant(workspace, &request.connection).await?.grant;
    Ok(RequestPreviewView { warning, ..RequestPreviewView::new(&session, &built, &grant)? })
}

/// A path of a service's API to call.
#[derive(Clone, Debug)]
pub struct CallPathRequest {
    pub connection: ConnectionName,
    /// POST if there are fields or a body, else GET, if absent.
    pub method: Option<HttpMethod>,
    /// Follows the API's base.
    pub path: String,
    /// Sent in the body as the API writes it; in the query of a GET, or beside a body.
    pub fields: Map<String, Value>,
    /// Sent as JSON.
    pub body: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
    /// The idempotency key; random if absent.
    pub idempotency_key: Option<String>,
    /// Request all pages.
    pub paginate: bool,
}

impl CallPathRequest {
    /// Returns the method that is sent.
    pub fn effective_method(&self) -> HttpMethod {
        let has_content = self.body.is_some() || !self.fields.is_empty();
        self.method.unwrap_or(if has_content { HttpMethod::Post } else { HttpMethod::Get })
    }
}

/// Returns what a request to a path for a page may do at the service. One that asks to be taken as another destroys.
///
/// # Errors
/// Unknown connections.
pub async fn request_effect(
    workspace: &Workspace,
    request: &CallPathRequest,
    position: &PagePosition,
) -> Result<Effect> {
    let connector = workspace.catalogue().get(workspace.connection(&request.connection).await?.name.connector())?;
    if asks_for_another_method(request, position) {
        return Ok(Effect::Destroy);
    }
    let effect = |path: &str| api::path_effect(&connector, request.effective_method(), path);
    Ok(match &position.page_token {
        // It takes the place of the path.
        Some(PageToken::Url(url)) => effect(&request.path).max(effect(url.as_str())),
        _ => effect(&request.path),
    })
}

/// Whether anything of a request asks the service to take it as one with another method.
fn asks_for_another_method(request: &CallPathRequest, position: &PagePosition) -> bool {
    const FORM: &str = "application/x-www-form-urlencoded";
    const JSON: &str = "application/json";
    let is_found =
        |query: &str, content_type: &str, body: &[u8]| api::method_override([], query, content_type, body).is_some();
    let query_of = |path: &str| path.split_once('?').map_or(String::new(), |(_, query)| query.to_owned());
    let names = request.headers.iter().map(|(name, _)| name.as_str());
    let (fields, body) = (Value::Object(request.fields.clone()), request.body.as_deref().unwrap_or_default());
    let content_types = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let in_page = match &position.page_token {
        Some(PageToken::Url(url)) => is_found(url.query().unwrap_or_default(), FORM, &[]),
        Some(PageToken::Query(name, value)) => {
            let pair = json!({ name.as_str(): value });
            is_found("", JSON, pair.to_string().as_bytes())
        }
        Some(PageToken::Body(at, value)) => {
            let mut document = Value::Null;
            at.set(&mut document, value.clone());
            is_found("", JSON, document.to_string().as_bytes())
        }
        Some(PageToken::Count(_)) | None => false,
    };
    api::method_override(names, &query_of(&request.path), FORM, &api::form(&fields)).is_some()
        || is_found("", JSON, fields.to_string().as_bytes())
        || is_found("", JSON, body)
        || content_types.into_iter().any(|(_, content_type)| is_found("", content_type, body))
        || in_page
}

/// Calls a path, and passes each page to `on_page` as it arrives, until that breaks. An error response is also passed
/// on, and is then returned as an error.
///
/// # Errors
/// [`ApiError`], and those of `on_page`.
pub async fn call_path(
    workspace: &Workspace,
    request: CallPathRequest,
    on_page: impl FnMut(&Response) -> Result<ControlFlow<()>> + Send,
) -> Result<()> {
    let sent = PreparedPath::new(workspace, request).await?;
    api::fetch(workspace, &sent.call(), on_page).await
}

/// Calls a path for one page, at a position that the page before led to. A caller who asks for each page follows
/// [`FetchedPage::next`](api::FetchedPage::next).
///
/// # Errors
/// [`ApiError`]. An error response is in the page.
pub async fn call_page(
    workspace: &Workspace,
    request: CallPathRequest,
    position: &PagePosition,
) -> Result<api::FetchedPage> {
    let sent = PreparedPath::new(workspace, request).await?;
    api::fetch_page(workspace, &sent.call(), position).await
}

/// A request with its fields where the API has them.
struct PreparedPath {
    request: CallPathRequest,
    method: HttpMethod,
    query: Vec<(String, String)>,
    body: Option<(String, Vec<u8>)>,
}

impl PreparedPath {
    async fn new(workspace: &Workspace, mut request: CallPathRequest) -> Result<Self> {
        let method = request.effective_method();
        let connector = workspace.connection(&request.connection).await?.name;
        let format = workspace.catalogue().get(connector.connector())?.api.body;
        let body = request.body.take();
        let has_fields = !request.fields.is_empty();
        let is_in_query = body.is_some() || method.is_bodiless() || format == ActionBody::Query;
        let document = Value::Object(std::mem::take(&mut request.fields));
        let query: Vec<(String, String)> = if is_in_query {
            url::form_urlencoded::parse(&api::form(&document)).into_owned().collect()
        } else {
            Vec::new()
        };
        let json = |bytes| ("application/json".to_owned(), bytes);
        let body = match body {
            Some(bytes) => Some(json(bytes)),
            None if is_in_query || !has_fields => None,
            None if format == ActionBody::Form => {
                Some(("application/x-www-form-urlencoded".to_owned(), api::form(&document)))
            }
            None => Some(json(document.to_string().into_bytes())),
        };
        Ok(Self { request, method, query, body })
    }

    fn call(&self) -> PathCall<'_> {
        PathCall {
            connection: &self.request.connection,
            method: self.method,
            path: &self.request.path,
            query: &self.query,
            headers: &self.request.headers,
            body: self.body.clone(),
            idempotency_key: self.request.idempotency_key.as_deref(),
            paginate: self.request.paginate,
        }
    }
}
