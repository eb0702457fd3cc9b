//! Which OAuth client a flow uses: what was given, the workspace's app, the global one, the environment's.

use crate::app::App;
use crate::connection::Client;
use crate::env;
use crate::error::Result;
use crate::secret::Secret;

/// Where a client was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppSource {
    Workspace,
    Global,
    Environment,
}

/// The client registered for a connector: the workspace's, then the global one, then `<CONNECTOR>_CLIENT_ID` and
/// `<CONNECTOR>_CLIENT_SECRET`.
///
/// # Errors
/// The vault's.
pub fn find_client(app: &App, connector: &str) -> Result<Option<(Client, AppSource)>> {
    if app.has_vault()
        && let Some(found) = app.store()?.apps().get(connector)?
    {
        return Ok(Some((found.client, AppSource::Workspace)));
    }
    if let Some(global) = app.global_store()?
        && let Some(found) = global.apps().get(connector)?
    {
        return Ok(Some((found.client, AppSource::Global)));
    }
    let prefix = connector.to_ascii_uppercase().replace('-', "_");
    let id = env::named(&format!("{prefix}_CLIENT_ID")).map(|id| id.trim().to_owned());
    let secret = env::named(&format!("{prefix}_CLIENT_SECRET")).map(Secret::trimmed);
    Ok(id.map(|id| (Client { id, secret }, AppSource::Environment)))
}
