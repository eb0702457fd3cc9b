//! The OAuth client that a connection's grant was issued to, with its current secret.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::connector::{AuthMethod, Connector, authorization_server};
use crate::error;
use crate::model::{ClientCredentials, Connection, Grant};
use crate::runtime::Workspace;

/// The parameters that name the connection's authorization server: an issuer that a resource's metadata named counts as
/// one that the user gave.
fn server_params(connection: &Connection) -> Cow<'_, BTreeMap<String, String>> {
    const ISSUER: &str = "issuer";
    match connection.metadata.get(ISSUER) {
        Some(issuer) if !connection.params.contains_key(ISSUER) => {
            let mut params = connection.params.clone();
            params.insert(ISSUER.to_owned(), issuer.clone());
            Cow::Owned(params)
        }
        _ => Cow::Borrowed(&connection.params),
    }
}

/// The client that the grant was issued to, with the secret that it has today at the connection's server.
///
/// # Errors
/// The vault's errors.
pub async fn current_client(
    workspace: &Workspace,
    connector: &Connector,
    auth: &AuthMethod,
    connection: &Connection,
    grant: &Grant,
) -> error::Result<ClientCredentials> {
    let issued_to = grant.client.clone().unwrap_or(ClientCredentials { id: String::new(), secret: None });
    let server = authorization_server(connector, auth, &server_params(connection)).map(|server| server.url);
    let mut stores = vec![workspace.store().await?];
    stores.extend(workspace.engine.global_store().await?);
    for store in stores {
        let apps = store.apps().for_connector(&connector.id).await?;
        let current = |found: &crate::model::OAuthApp| {
            found.server == server && found.client.id == issued_to.id && found.client.secret.is_some()
        };
        if let Some(found) = apps.into_iter().find(current) {
            return Ok(found.client);
        }
    }
    Ok(issued_to)
}
