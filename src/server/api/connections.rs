//! Connections: their status, tests, tokens, and calls to their services.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::call::Call;
use super::super::page::{Cursor, CursorPage, Limit};
use super::super::problem::RequestError;
use super::super::reply::JsonReply;
use super::{ApiRoute, DELETE, GET, PATCH, POST, Unused};
use crate::connector::HttpMethod;
use crate::error::Result;
use crate::health::{ConnectionStatus, StatusSummary};
use crate::http::serve::header::{HeaderName, HeaderValue};
use crate::model::UserId;
use crate::ops::Effect;
use crate::ops::calls::{self, CallActionRequest, CallPathRequest};
use crate::ops::connections::{
    self, DisconnectRequest, ListConnectionsRequest, RefreshRequest, RenameRequest, StatusRequest, TestRequest,
};
use crate::ops::tokens::{self, TokenRequest};
use crate::view::call::{ActionListView, CallResultView, RequestPreviewView};
use crate::view::connection::{ConnectionView, DisconnectView, RefreshListView, RenameView, TestListView};
use crate::view::token::TokenView;

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new((GET, "/v1/status"), "status", "Count the connections by status", status),
        ApiRoute::new((GET, "/v1/connections"), "status", "List the connections", list),
        ApiRoute::new((GET, "/v1/connections/{connection}"), "status", "Show a connection", show),
        ApiRoute::new((PATCH, "/v1/connections/{connection}"), "rename", "Rename a connection", rename),
        ApiRoute::new(
            (DELETE, "/v1/connections/{connection}"),
            "disconnect",
            "Revoke a connection's grant, and delete the connection with everything that belongs to it",
            disconnect,
        ),
        ApiRoute::new((POST, "/v1/connections/{connection}/test"), "test", "Ask the service whether it works", test),
        ApiRoute::new((POST, "/v1/connections/{connection}/refresh"), "refresh", "Refresh its token", refresh),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/token"),
            "token",
            "Return a valid access token, refreshing it first if needed",
            token,
        ),
        ApiRoute::new((GET, "/v1/connections/{connection}/actions"), "call", "List its actions", actions),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/actions/{action}"),
            "call",
            "Call an action of its service",
            call_action,
        )
        .with_effect(call_effect),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/action-previews/{action}"),
            "call",
            "Return the request of an action without sending it",
            preview_action,
        )
        .with_effect(|_: Call<Unused, ActionBody>| async { Ok(Effect::Read) }),
        ApiRoute::new((POST, "/v1/connections/{connection}/request"), "api", "Send a request to its API", request)
            .with_effect(request_effect),
    ]
}

async fn status(call: Call<Unused, Unused>) -> Result<JsonReply<StatusSummary>> {
    Ok(JsonReply(connections::status(&call.workspace, StatusRequest::default()).await?.summary))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Only those of this user of yours.
    user: Option<UserId>,
    /// Only those of this connector.
    connector: Option<String>,
    status: Option<ConnectionStatus>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

async fn list(call: Call<ListQuery, Unused>) -> Result<JsonReply<CursorPage<ConnectionView>>> {
    let ListQuery { user, connector, status, limit, cursor } = call.query;
    let after = cursor.map(|cursor| cursor.key()).transpose()?;
    let most = usize::try_from(limit.with_next()).unwrap_or(usize::MAX);
    let request = ListConnectionsRequest { user, connector, status, after, limit: most };
    let found = connections::list(&call.workspace, request).await?;
    Ok(JsonReply(CursorPage::new(found, limit, |view| view.connection.to_string())))
}

async fn show(call: Call<Unused, Unused>) -> Result<JsonReply<ConnectionView>> {
    let request = StatusRequest { connections: vec![call.connection()?], ..StatusRequest::default() };
    let mut found = connections::status(&call.workspace, request).await?.connections;
    found.pop().map(JsonReply).ok_or_else(|| RequestError::UnknownPath.into())
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RenameBody {
    /// The new account name, or the whole name of the connection.
    name: String,
}

async fn rename(call: Call<Unused, RenameBody>) -> Result<JsonReply<RenameView>> {
    let request = RenameRequest { connection: call.connection()?, name: call.body.name };
    Ok(JsonReply(connections::rename(&call.workspace, request).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DisconnectQuery {
    /// Forget the connection without revoking its grant.
    #[serde(default)]
    local: bool,
}

async fn disconnect(call: Call<DisconnectQuery, Unused>) -> Result<JsonReply<DisconnectView>> {
    let request = DisconnectRequest { connection: call.connection()?, local_only: call.query.local };
    Ok(JsonReply(Box::pin(connections::disconnect(&call.workspace, request)).await?))
}

/// Nobody follows a test over HTTP.
struct Unobserved;

impl connections::TestObserver for Unobserved {
    fn started(&self, _: usize) {}

    fn tested(&self, _: &crate::model::ConnectionName) {}
}

async fn test(call: Call<Unused, Unused>) -> Result<JsonReply<TestListView>> {
    let request = TestRequest { connections: vec![call.connection()?] };
    Ok(JsonReply(Box::pin(connections::test(&call.workspace, request, &Unobserved)).await?))
}

async fn refresh(call: Call<Unused, Unused>) -> Result<JsonReply<RefreshListView>> {
    let request = RefreshRequest::Named(vec![call.connection()?]);
    Ok(JsonReply(Box::pin(connections::refresh(&call.workspace, request)).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    /// Seconds that it must still be valid for.
    #[schemars(range(max = 31_536_000))]
    min_ttl: Option<u32>,
}

async fn token(call: Call<Unused, TokenBody>) -> Result<JsonReply<TokenView>> {
    let min_ttl = call.body.min_ttl.map(|seconds| Duration::from_secs(seconds.into()));
    let request = TokenRequest { connection: call.connection()?, min_ttl };
    Ok(JsonReply(Box::pin(tokens::token(&call.workspace, request)).await?))
}

async fn actions(call: Call<Unused, Unused>) -> Result<JsonReply<ActionListView>> {
    Ok(JsonReply(calls::list_actions(&call.workspace, call.connection()?).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ActionBody {
    /// Parameters by name, as `GET /v1/connections/{connection}/actions` lists them.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, Value>")]
    input: IndexMap<String, Value>,
    /// For actions of services that take one.
    idempotency_key: Option<String>,
}

fn action_request(call: &Call<Unused, ActionBody>) -> Result<CallActionRequest> {
    Ok(CallActionRequest {
        connection: call.connection()?,
        action: call.path("action")?,
        input: call.body.input.clone().into_iter().collect(),
        idempotency_key: call.body.idempotency_key.clone(),
    })
}

async fn call_action(call: Call<Unused, ActionBody>) -> Result<JsonReply<CallResultView>> {
    let request = action_request(&call)?;
    Ok(JsonReply(Box::pin(calls::call_action(&call.workspace, request)).await?))
}

async fn call_effect(call: Call<Unused, ActionBody>) -> Result<Effect> {
    let action: String = call.path("action")?;
    calls::action_effect(&call.workspace, call.connection()?, &action).await
}

async fn preview_action(call: Call<Unused, ActionBody>) -> Result<JsonReply<RequestPreviewView>> {
    let request = action_request(&call)?;
    Ok(JsonReply(Box::pin(calls::preview_action(&call.workspace, request)).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RequestBody {
    method: Option<HttpMethod>,
    /// A path of the API, or a whole URL of one of its hosts.
    path: String,
    /// Members of the JSON or form that is sent, or of the query where there is a body or the method has none.
    #[serde(default)]
    fields: Map<String, Value>,
    /// A body as it is.
    body: Option<Value>,
    /// Headers beside the connection's own.
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    idempotency_key: Option<String>,
}

/// A service's response.
#[derive(JsonSchema, Serialize)]
struct ServiceResponseView {
    status: u16,
    headers: Vec<(String, String)>,
    /// The body, if it is JSON.
    json: Option<Value>,
    /// The body in base64, if it is not.
    body_base64: Option<String>,
}

fn path_request(call: Call<Unused, RequestBody>) -> Result<CallPathRequest> {
    let connection = call.connection()?;
    let RequestBody { method, path, fields, body, headers, idempotency_key } = call.body;
    let is_value = |text: &String| HeaderValue::try_from(text.as_str()).is_ok();
    let is_header = |(name, value): (&String, &String)| HeaderName::try_from(name.as_str()).is_ok() && is_value(value);
    if !headers.iter().all(is_header) || !idempotency_key.iter().all(is_value) {
        let reason = "a name or value is not one of a header".to_owned();
        return Err(RequestError::Body { at: " at headers".to_owned(), reason }.into());
    }
    Ok(CallPathRequest {
        connection,
        method,
        path,
        fields,
        body: body.map(|body| body.to_string().into_bytes()),
        headers: headers.into_iter().collect(),
        idempotency_key,
        paginate: false,
    })
}

async fn request_effect(call: Call<Unused, RequestBody>) -> Result<Effect> {
    Ok(path_request(call)?.effective_method().effect())
}

async fn request(call: Call<Unused, RequestBody>) -> Result<JsonReply<ServiceResponseView>> {
    let workspace = Arc::clone(&call.workspace);
    let mut view = None;
    Box::pin(calls::call_path(&workspace, path_request(call)?, |response| {
        let json = serde_json::from_slice(&response.body).ok();
        view = Some(ServiceResponseView {
            status: response.status,
            headers: response.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body_base64: json.is_none().then(|| STANDARD.encode(&response.body)),
            json,
        });
        Ok(ControlFlow::Break(()))
    }))
    .await?;
    view.map(JsonReply).ok_or_else(|| RequestError::UnknownPath.into())
}
