//! Selects the OAuth client of a flow: from the arguments, the workspace's app, the global app, or the environment.

use crate::clock::Timestamp;
use crate::connector::AuthorizationServer;
use crate::env;
use crate::error::Result;
use crate::model::{ClientCredentials, OAuthApp};
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::store::Store;

/// Where a client was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppSource {
    Workspace,
    Global,
    Environment,
}

/// A client that is registered for a connector.
#[derive(Debug)]
pub struct RegisteredApp {
    pub client: ClientCredentials,
    pub source: AppSource,
    /// When it was stored; absent for the environment's.
    pub updated_at: Option<Timestamp>,
    /// It was registered without a server, and belongs to the first one that it is used at.
    pub is_unassigned: bool,
}

/// Returns the client registered for a connector at a server: the workspace's, then the global one, then
/// `<CONNECTOR>_CLIENT_ID` and `<CONNECTOR>_CLIENT_SECRET`. Absent `server` is the connector's own. The environment's client is
/// sent to another server only if a variable such as `OIDC_ISSUER` names that server. A connector that a caller of the API
/// installed has the workspace's clients alone.
///
/// # Errors
/// The vault's.
pub async fn find_client(
    workspace: &Workspace,
    connector: &str,
    server: Option<&AuthorizationServer>,
) -> Result<Option<RegisteredApp>> {
    let own = if workspace.has_vault() { Some(workspace.store().await?) } else { None };
    // Callers chose where what they installed sends a secret: it gets none that was meant for all workspaces.
    let is_from_caller = workspace.catalogue().is_of_workspace(connector);
    let global = if is_from_caller { None } else { workspace.engine.global_store().await? };
    for (store, source) in [(own, AppSource::Workspace), (global, AppSource::Global)] {
        let Some(store) = store else { continue };
        let mut apps = store.apps().for_connector(connector).await?;
        let url = server.map(|server| server.url.as_str());
        let exact = apps.iter().position(|app| app.server.as_deref() == url);
        let unassigned = exact.is_none();
        let is_open = server.is_some_and(|server| !server.has_default);
        let found = exact.or_else(|| apps.iter().position(|app| is_open && app.server.is_none()));
        if let Some(index) = found {
            let OAuthApp { client, updated_at, .. } = apps.swap_remove(index);
            return Ok(Some(RegisteredApp { client, source, updated_at: Some(updated_at), is_unassigned: unassigned }));
        }
    }
    if is_from_caller {
        return Ok(None);
    }
    let prefix = connector.to_ascii_uppercase().replace('-', "_");
    if let Some(AuthorizationServer { param, value, .. }) = server {
        let named = env::var_named(&format!("{prefix}_{}", param.to_ascii_uppercase()));
        let bare = |url: &str| url.trim().trim_end_matches('/').to_owned();
        if named.is_none_or(|named| bare(&named) != bare(value)) {
            return Ok(None);
        }
    }
    let id = env::var_named(&format!("{prefix}_CLIENT_ID")).map(|id| id.trim().to_owned());
    let secret = env::var_named(&format!("{prefix}_CLIENT_SECRET")).map(Secret::trimmed);
    let found = id.map(|id| RegisteredApp {
        client: ClientCredentials { id, secret },
        source: AppSource::Environment,
        updated_at: None,
        is_unassigned: false,
    });
    Ok(found)
}

/// Assigns an app that was registered without a server to the one that its secret is about to be sent to.
///
/// # Errors
/// The vault's.
pub(super) async fn assign(
    workspace: &Workspace,
    connector: &str,
    source: AppSource,
    server: &AuthorizationServer,
) -> Result<()> {
    let store: Option<&dyn Store> = match source {
        AppSource::Workspace => Some(workspace.store().await?),
        AppSource::Global => workspace.engine.global_store().await?,
        AppSource::Environment => None,
    };
    if let Some(store) = store {
        store.apps().assign(connector, &server.url).await?;
    }
    Ok(())
}
