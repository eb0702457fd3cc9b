//! The operation that exports connections for a machine without a store.

use std::time::Duration;

use super::{Effect, Operation, OperationScope};
use crate::bundle::{Bundle, PortableLifetime, portable_grant};
use crate::clock::Timestamp;
use crate::connector::{AuthMethod, ConnectorSource};
use crate::error::Result;
use crate::model::{ApiVerb, Connection, ConnectionMode, ConnectionName, Grant, NewConnection};
use crate::oauth::refresh::{self, Freshness};
use crate::oauth::reveal::revealed_grant;
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::view::bundle::{BundleLifetime, BundleView, BundledConnectionView};

/// The operations of this module. A bundle holds keys.
pub const OPERATIONS: &[Operation] =
    &[Operation::local("export", OperationScope::Tokens, Effect::Read).requires(ApiVerb::Reveal)];

/// Minimum remaining lifetime of a token that cannot be renewed: less would expire before a job starts.
const MIN_LIFETIME: Duration = Duration::from_secs(60);

/// The connections to export, and who can open the bundle.
#[derive(Clone, Debug)]
pub struct ExportRequest {
    pub connections: Vec<ConnectionName>,
    /// Age public keys, `age1…`.
    pub recipients: Vec<String>,
}

/// Exports connections as a bundle. Access tokens that the reader cannot renew are refreshed first if half of their life
/// is over; refresh tokens that may rotate are left out.
///
/// # Errors
/// A connection without a valid token; an invalid recipient.
pub async fn export(workspace: &Workspace, request: ExportRequest) -> Result<BundleView> {
    let now = workspace.clock.now();
    let mut names = request.connections;
    names.sort();
    names.dedup();
    let (mut connections, mut views, mut sandbox_seed) = (Vec::new(), Vec::new(), None);
    for name in &names {
        let (connection, grant, lifetime) = portable_connection(workspace, name).await?;
        if connection.mode == ConnectionMode::Sandbox && sandbox_seed.is_none() {
            let seed = workspace.sandbox_seed().await?;
            sandbox_seed = Some(Secret::new(String::from_utf8_lossy(&seed).into_owned()));
        }
        views.push(BundledConnectionView {
            connection: name.clone(),
            target: connection.target(),
            lifetime: lifetime_view(lifetime),
            works_until: works_until(lifetime).map(|at| at.to_string()),
            works_for: works_until(lifetime).map(|at| at.as_second() - now.as_second()),
            needs_connector_file: needs_connector_file(workspace, name.connector())?,
        });
        connections.push((new_connection(connection), grant));
    }
    let bundle = Bundle { created_at: now, connections, sandbox_seed }.seal(&request.recipients)?;
    Ok(BundleView { bundle, recipients: request.recipients, connections: views })
}

/// Returns a connection with the part of its grant that may be exported, refreshed first if needed.
async fn portable_connection(
    workspace: &Workspace,
    name: &ConnectionName,
) -> Result<(Connection, Grant, PortableLifetime)> {
    let loaded = revealed_grant(workspace, name, Freshness::Usable).await?;
    let connector = workspace.catalogue().get(name.connector())?;
    let (_, auth) = connector.auth_method(Some(&loaded.connection.auth))?;
    let rotation = auth.oauth2.as_ref().map(|rules| rules.rotation(&loaded.connection.params)).unwrap_or_default();
    let client = match loaded.grant.is_refreshable() {
        true => Some(refresh::current_client(workspace, &connector, auth, &loaded.connection, &loaded.grant).await?),
        false => None,
    };
    let is_key = |name: &str| is_presented_key(auth, name);
    let (grant, lifetime) = portable_grant(&loaded.grant, rotation, client.clone(), is_key);
    if !matches!(lifetime, PortableLifetime::Until(_)) {
        return Ok((loaded.connection, grant, lifetime));
    }
    // The reader has nothing but this token: it gets one that lasts, or none.
    let half = loaded.connection.expiry.lifetime_secs().map(|seconds| Duration::from_secs(u64::from(seconds) / 2));
    let min_ttl = half.filter(|_| loaded.grant.is_refreshable()).unwrap_or(MIN_LIFETIME);
    let loaded = revealed_grant(workspace, name, Freshness::MinTtl(min_ttl)).await?;
    let (grant, lifetime) = portable_grant(&loaded.grant, rotation, client, is_key);
    Ok((loaded.connection, grant, lifetime))
}

/// Returns whether a field is only used to request tokens, not for API requests.
fn is_presented_key(auth: &AuthMethod, name: &str) -> bool {
    let is_shown = auth.tls.as_ref().is_some_and(|tls| tls.certificate == name || tls.key == name);
    auth.oauth2.is_some() && auth.fields.contains_key(name) && !is_shown
}

/// Returns whether the connector must be installed on the machine that opens the bundle.
fn needs_connector_file(workspace: &Workspace, connector: &str) -> Result<bool> {
    let (_, source) = workspace.catalogue().text(connector)?;
    Ok(source != ConnectorSource::BuiltIn)
}

fn new_connection(connection: Connection) -> NewConnection {
    NewConnection {
        name: connection.name,
        mode: connection.mode,
        auth: connection.auth,
        origin: connection.origin,
        params: connection.params,
        metadata: connection.metadata,
        account: connection.account,
        user: None,
        scopes_requested: connection.scopes_requested,
        scopes_granted: connection.scopes_granted,
        connected_at: connection.connected_at,
    }
}

fn lifetime_view(lifetime: PortableLifetime) -> BundleLifetime {
    match lifetime {
        PortableLifetime::Until(_) => BundleLifetime::Expires,
        PortableLifetime::UntilRevoked => BundleLifetime::UntilRevoked,
        PortableLifetime::Renewable { .. } => BundleLifetime::Renewed,
    }
}

fn works_until(lifetime: PortableLifetime) -> Option<Timestamp> {
    match lifetime {
        PortableLifetime::Until(at) => Some(at),
        PortableLifetime::Renewable { until } => until,
        PortableLifetime::UntilRevoked => None,
    }
}
