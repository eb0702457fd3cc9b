//! Connections: their status, tests and tokens.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounded::{Bounded, few};
use super::super::call::Call;
use super::super::page::{Cursor, CursorPage, Limit};
use super::super::problem::RequestError;
use super::super::reply::JsonReply;
use super::{ApiRoute, DELETE, GET, PATCH, POST, Unused};
use crate::error::Result;
use crate::health::ConnectionStatus;
use crate::model::{ConnectionName, UserId};
use crate::ops::connections::{
    self, DisconnectRequest, ListConnectionsRequest, RefreshRequest, RenameRequest, StatusRequest, TestRequest,
};
use crate::ops::tokens::{self, TokenRequest};
use crate::view::connection::{
    ConnectionView, DisconnectPreviewListView, DisconnectView, RefreshListView, RenameView, StatusCountView,
    StatusView, TestListView,
};
use crate::view::token::{CredentialHeaderListView, CredentialView, IdTokenView, TokenView};

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
        ApiRoute::new(
            (GET, "/v1/disconnect-preview"),
            "status",
            "Show what disconnecting connections would delete and leave behind",
            preview_disconnect,
        ),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/test"),
            "test",
            "Check with the service that a connection works",
            test,
        ),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/refresh"),
            "refresh",
            "Refresh the token of a connection",
            refresh,
        ),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/token"),
            "token",
            "Return a valid access token, refreshing it first if needed",
            token,
        ),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/token-headers"),
            "token",
            "Return the headers that carry its credential",
            token_headers,
        ),
        ApiRoute::new((POST, "/v1/connections/{connection}/id-token"), "token", "Return its ID token", id_token),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/credential"),
            "token",
            "Return its whole credential, for the environment of a program",
            credential,
        ),
    ]
}

async fn status(call: Call<Unused, Unused>) -> Result<JsonReply<StatusCountView>> {
    let StatusView { workspace, summary, .. } = connections::status(&call.workspace, StatusRequest::default()).await?;
    Ok(JsonReply(StatusCountView { workspace, summary }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Only those of this user.
    user: Option<UserId>,
    /// Only those of this connector.
    connector: Option<String>,
    status: Option<ConnectionStatus>,
    /// Only those that contain this text in their name, service, account or user, in any case.
    #[serde(default)]
    q: String,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

async fn list(call: Call<ListQuery, Unused>) -> Result<JsonReply<CursorPage<ConnectionView>>> {
    let ListQuery { user, connector, status, q, limit, cursor } = call.query;
    let after = cursor.map(|cursor| cursor.key()).transpose()?;
    let most = usize::try_from(limit.with_next()).unwrap_or(usize::MAX);
    let request = ListConnectionsRequest { user, connector, status, text: q, after, limit: most };
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
    /// Remove the connection without revoking its grant.
    #[serde(default)]
    local: bool,
}

async fn disconnect(call: Call<DisconnectQuery, Unused>) -> Result<JsonReply<DisconnectView>> {
    let request = DisconnectRequest { connection: call.connection()?, local_only: call.query.local };
    Ok(JsonReply(Box::pin(connections::disconnect(&call.workspace, request)).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PreviewQuery {
    /// The name of a connection, repeated for several.
    #[serde(deserialize_with = "few")]
    #[schemars(length(min = 1, max = 50))]
    connection: Vec<ConnectionName>,
}

async fn preview_disconnect(call: Call<PreviewQuery, Unused>) -> Result<JsonReply<DisconnectPreviewListView>> {
    Ok(JsonReply(connections::preview_disconnect(&call.workspace, &call.query.connection).await?))
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
    /// Minimum number of seconds for which it must still be valid.
    min_ttl: Option<Bounded<0, { u32::MAX }>>,
}

async fn token(call: Call<Unused, TokenBody>) -> Result<JsonReply<TokenView>> {
    let request = token_request(&call)?;
    Ok(JsonReply(Box::pin(tokens::token(&call.workspace, request)).await?))
}

fn token_request(call: &Call<Unused, TokenBody>) -> Result<TokenRequest> {
    let min_ttl = call.body.min_ttl.map(Bounded::seconds);
    Ok(TokenRequest { connection: call.connection()?, min_ttl })
}

async fn token_headers(call: Call<Unused, TokenBody>) -> Result<JsonReply<CredentialHeaderListView>> {
    let request = token_request(&call)?;
    Ok(JsonReply(Box::pin(tokens::token_headers(&call.workspace, request)).await?.into()))
}

async fn id_token(call: Call<Unused, TokenBody>) -> Result<JsonReply<IdTokenView>> {
    let request = token_request(&call)?;
    Ok(JsonReply(IdTokenView { id_token: Box::pin(tokens::id_token(&call.workspace, request)).await? }))
}

async fn credential(call: Call<Unused, TokenBody>) -> Result<JsonReply<CredentialView>> {
    let request = token_request(&call)?;
    Ok(JsonReply(Box::pin(tokens::credential(&call.workspace, request)).await?))
}
