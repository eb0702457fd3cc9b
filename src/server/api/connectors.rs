//! Connectors and OAuth apps.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::call::Call;
use super::super::page::{Cursor, CursorPage, Limit};
use super::super::reply::JsonReply;
use super::{ApiRoute, DELETE, GET, POST, PUT, Unused};
use crate::connector::Descriptor;
use crate::error::Result;
use crate::model::ClientCredentials;
use crate::ops::connectors::{self, ValidateTarget};
use crate::ops::workspaces::{self, RemoveAppRequest, SetAppRequest};
use crate::secret::Secret;
use crate::view::connector::{
    ConnectorDetailView, ConnectorSummaryView, SearchResultsView, SetupGuideView, ValidationListView,
};
use crate::view::workspace::{AppListView, AppScope, AppView, RemovedAppView};

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new((GET, "/v1/connectors"), "connector list", "List the connectors", list),
        ApiRoute::new((GET, "/v1/connectors/{connector}"), "connector show", "Show a connector", show),
        ApiRoute::new(
            (GET, "/v1/connectors/{connector}/descriptor"),
            "connector descriptor",
            "Return what a connector can do: actions, triggers, scopes, streams, authentication",
            descriptor,
        ),
        ApiRoute::new(
            (GET, "/v1/connectors/{connector}/setup"),
            "connector setup",
            "Return the steps to register an app with the service",
            setup,
        ),
        ApiRoute::new(
            (GET, "/v1/connector-search"),
            "connector search",
            "Search actions, triggers and streams",
            search,
        ),
        ApiRoute::new(
            (POST, "/v1/connector-validations"),
            "connector validate",
            "Find the mistakes in the text of a connector file",
            validate,
        ),
        ApiRoute::new((GET, "/v1/apps"), "app list", "List the OAuth apps, without their secrets", apps),
        ApiRoute::new(
            (PUT, "/v1/apps/{connector}"),
            "app set",
            "Store the client ID and secret of an OAuth app",
            set_app,
        ),
        ApiRoute::new((DELETE, "/v1/apps/{connector}"), "app remove", "Remove an OAuth app", remove_app),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Only connectors of this category.
    category: Option<String>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

async fn list(call: Call<ListQuery, Unused>) -> Result<JsonReply<CursorPage<ConnectorSummaryView>>> {
    let ListQuery { category, limit, cursor } = call.query;
    let list = connectors::list_connectors(&call.workspace, category).await?;
    Ok(JsonReply(CursorPage::of_list(list.connectors, cursor.as_ref(), limit, |connector| connector.id.clone())?))
}

async fn show(call: Call<Unused, Unused>) -> Result<JsonReply<ConnectorDetailView>> {
    let id: String = call.path("connector")?;
    Ok(JsonReply(connectors::show_connector(&call.workspace, &id).await?))
}

async fn descriptor(call: Call<Unused, Unused>) -> Result<JsonReply<Descriptor>> {
    let id: String = call.path("connector")?;
    Ok(JsonReply(connectors::describe_connector(&call.workspace, &id).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetupQuery {
    /// The authentication method; the connector's first if absent.
    auth: Option<String>,
}

async fn setup(call: Call<SetupQuery, Unused>) -> Result<JsonReply<SetupGuideView>> {
    let id: String = call.path("connector")?;
    Ok(JsonReply(connectors::setup_guide(&call.workspace, &id, call.query.auth.as_deref()).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchQuery {
    /// Words to search for; all must match.
    q: String,
}

async fn search(call: Call<SearchQuery, Unused>) -> Result<JsonReply<SearchResultsView>> {
    let words: Vec<String> = call.query.q.split_whitespace().map(str::to_owned).collect();
    Ok(JsonReply(connectors::search_connectors(&call.workspace, &words).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ValidateBody {
    /// The connector's id, which is the name of its file.
    id: String,
    /// The text of the file, in TOML.
    text: String,
}

async fn validate(call: Call<Unused, ValidateBody>) -> Result<JsonReply<ValidationListView>> {
    let ValidateBody { id, text } = call.body;
    let target = ValidateTarget::Text { name: format!("{id}.toml"), text };
    Ok(JsonReply(connectors::validate_connectors(&call.workspace, vec![target]).await?))
}

async fn apps(call: Call<Unused, Unused>) -> Result<JsonReply<AppListView>> {
    Ok(JsonReply(workspaces::list_apps(&call.workspace).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AppBody {
    client_id: String,
    /// Absent for a public client.
    client_secret: Option<String>,
}

async fn set_app(call: Call<Unused, AppBody>) -> Result<JsonReply<AppView>> {
    let connector: String = call.path("connector")?;
    let AppBody { client_id, client_secret } = call.body;
    // Also finds out whether there is such a connector.
    let server = workspaces::app_server(&call.workspace, &connector, Vec::new())?;
    let secret = client_secret.map(Secret::trimmed).filter(|secret| !secret.is_empty());
    let client = ClientCredentials { id: client_id.trim().to_owned(), secret };
    let request = SetAppRequest { connector, server, client, scope: AppScope::Workspace };
    Ok(JsonReply(workspaces::set_app(&call.workspace, request).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RemoveAppQuery {
    /// The server where it is registered, if the connector has several apps.
    issuer: Option<String>,
}

async fn remove_app(call: Call<RemoveAppQuery, Unused>) -> Result<JsonReply<RemovedAppView>> {
    let connector: String = call.path("connector")?;
    let request = RemoveAppRequest { connector, server: call.query.issuer, scope: AppScope::Workspace };
    Ok(JsonReply(workspaces::remove_app(&call.workspace, request).await?))
}
