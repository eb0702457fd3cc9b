//! Connectors and OAuth apps.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::super::call::Call;
use super::super::page::{Cursor, CursorPage, Limit, PageQuery};
use super::super::problem::RequestError;
use super::super::reply::{Created, JsonReply};
use super::{ApiRoute, DELETE, GET, PATCH, POST, PUT, Unused};
use crate::connector::Descriptor;
use crate::error::Result;
use crate::model::ClientCredentials;
use crate::ops::connectors::{self, InstallFromUrlRequest, ValidateTarget};
use crate::ops::workspaces::{self, RemoveAppRequest, SetAppRequest};
use crate::secret::Secret;
use crate::view::connector::{
    ConnectorDetailView, ConnectorSummaryView, InstallReviewView, SearchResultsView, SetupGuideView, ValidationListView,
};
use crate::view::installed_connector::{InstalledConnectorView, RemovedConnectorView};
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
        ApiRoute::new(
            (POST, "/v1/connector-reviews"),
            "connector review",
            "Return what a connector's file at a URL can do, and its digest: the first step to install it",
            review,
        ),
        ApiRoute::new(
            (GET, "/v1/installed-connectors"),
            "connector installed",
            "List the connectors that were installed in this workspace",
            list_installed,
        ),
        ApiRoute::new(
            (POST, "/v1/installed-connectors"),
            "connector install-url",
            "Install the connector that was reviewed, in this workspace",
            install,
        ),
        ApiRoute::new(
            (GET, "/v1/installed-connectors/{connector}"),
            "connector installed",
            "Show who installed a connector, its version, configuration, connections and last error",
            show_installed,
        ),
        ApiRoute::new(
            (PATCH, "/v1/installed-connectors/{connector}"),
            "connector configure",
            "Replace the configuration of a connector",
            configure,
        ),
        ApiRoute::new(
            (DELETE, "/v1/installed-connectors/{connector}"),
            "connector uninstall",
            "Remove a connector from this workspace, unless it has connections",
            uninstall,
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

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReviewBody {
    /// The https URL of a connector's file. A private host must be in `http.allow`.
    url: String,
}

fn file_url(text: &str) -> Result<Url> {
    let invalid = |error: url::ParseError| RequestError::Value { at: " at url".to_owned(), reason: error.to_string() };
    Ok(text.parse().map_err(invalid)?)
}

async fn review(call: Call<Unused, ReviewBody>) -> Result<JsonReply<InstallReviewView>> {
    let url = file_url(&call.body.url)?;
    Ok(JsonReply(Box::pin(connectors::review_connector_url(&call.workspace, &url)).await?))
}

async fn list_installed(call: Call<PageQuery, Unused>) -> Result<JsonReply<CursorPage<InstalledConnectorView>>> {
    let PageQuery { limit, cursor } = call.query;
    let list = connectors::list_installed(&call.workspace).await?;
    Ok(JsonReply(CursorPage::of_list(list.connectors, cursor.as_ref(), limit, |row| row.connector.clone())?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InstallBody {
    /// The URL that was reviewed.
    url: String,
    /// The digest of the file that was reviewed: nothing is installed if the URL has another one now.
    sha256: String,
    /// Values of the connector's parameters, used where a sign-in gives none.
    #[serde(default)]
    configuration: BTreeMap<String, String>,
}

async fn install(call: Call<Unused, InstallBody>) -> Result<Created<InstalledConnectorView>> {
    let InstallBody { url, sha256, configuration } = call.body;
    let request = InstallFromUrlRequest {
        url: file_url(&url)?,
        sha256,
        configuration,
        installed_by: call.caller.actor().id().unwrap_or_default().to_owned(),
        user: call.caller.token().and_then(|token| token.user.clone()),
    };
    let view = Box::pin(connectors::install_connector_url(&call.workspace, request)).await?;
    Ok(Created(format!("/v1/installed-connectors/{}", view.connector), view))
}

async fn show_installed(call: Call<Unused, Unused>) -> Result<JsonReply<InstalledConnectorView>> {
    let id: String = call.path("connector")?;
    Ok(JsonReply(connectors::show_installed(&call.workspace, &id).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ConfigureBody {
    /// Values of the connector's parameters. Those that are left out are removed.
    configuration: BTreeMap<String, String>,
}

async fn configure(call: Call<Unused, ConfigureBody>) -> Result<JsonReply<InstalledConnectorView>> {
    let id: String = call.path("connector")?;
    Ok(JsonReply(connectors::configure_installed(&call.workspace, &id, call.body.configuration).await?))
}

async fn uninstall(call: Call<Unused, Unused>) -> Result<JsonReply<RemovedConnectorView>> {
    let id: String = call.path("connector")?;
    Ok(JsonReply(connectors::remove_installed(&call.workspace, &id).await?))
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
