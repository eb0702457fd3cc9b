//! Connectors and OAuth apps.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::call::Call;
use super::super::page::{Cursor, CursorPage, Limit};
use super::super::reply::JsonReply;
use super::{ApiRoute, GET, POST, Unused};
use crate::connector::Descriptor;
use crate::error::Result;
use crate::ops::connectors::{self, ValidateTarget};
use crate::ops::workspaces;
use crate::view::connector::{
    ConnectorDetailView, ConnectorSummaryView, SearchResultsView, SetupGuideView, ValidationListView,
};
use crate::view::workspace::AppListView;

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
