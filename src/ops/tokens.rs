//! Operations on credentials: valid tokens, headers and environment variables for other programs.
//!
//! A token that is still valid has a synchronous path, [`stored_token`], which needs neither a runtime nor the
//! connector's file: scripts ask for one in loops.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use thiserror::Error;

use super::{Effect, Operation, OperationScope, Reach};
use crate::env_variables::{Credential, ExplicitVariable, TOKEN, check_value, variables};
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::model::{ApiVerb, ConnectionName};
use crate::oauth::id_token::decode_claims;
use crate::oauth::refresh::{self, Freshness};
use crate::oauth::reveal::{ensure_revealable, revealed_grant};
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::vault::ConnectionWithGrant;
use crate::view::token::{CredentialVariablesView, CredentialView, TokenHeadersView, TokenView};

/// The operations of this module. All of them reveal credentials: a token of the HTTP API needs a scope of its own, and each
/// request is in the audit log.
pub const OPERATIONS: &[Operation] = &[
    // Runs a program. A caller of the API gets the credential for one of its own by `token`.
    Operation::local("exec", OperationScope::Tokens, Effect::Read).requires(ApiVerb::Reveal),
    Operation::local("token", OperationScope::Tokens, Effect::Read).reachable_by(Reach::Api).requires(ApiVerb::Reveal),
];

/// The requested token.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    pub connection: ConnectionName,
    /// Minimum remaining lifetime; two minutes, or a quarter of a shorter lifetime, if absent.
    pub min_ttl: Option<Duration>,
}

impl TokenRequest {
    fn freshness(&self) -> Freshness {
        self.min_ttl.map_or(Freshness::Usable, Freshness::MinTtl)
    }
}

/// Why a valid credential cannot be printed or written as a header.
#[derive(Debug, Error)]
pub enum TokenError {
    #[error("the token of {0} contains a line break or a control character")]
    Unprintable(ConnectionName, String),
    #[error("requests of {0} carry its credentials in the URL, not in a header")]
    NoHeader(ConnectionName),
    #[error("{0} has no valid ID token")]
    NoIdToken(ConnectionName, String),
    #[error("header {1:?} of {0} contains a line break or a control character")]
    UnprintableHeader(ConnectionName, String),
}

impl Remedy for TokenError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Unprintable(_, reconnect) => Diagnostic::new(Kind::Conflict, "unprintable_token").run(reconnect),
            Self::UnprintableHeader(name, _) => Diagnostic::new(Kind::Conflict, "unprintable_token")
                .run(format!("integ connector validate {}", name.connector())),
            Self::NoIdToken(name, reconnect) => {
                Diagnostic::new(Kind::AuthNeeded, "no_id_token").run(reconnect).connection(name)
            }
            Self::NoHeader(name) => {
                Diagnostic::new(Kind::Conflict, "no_header").run(format!("integ token {name} --format env"))
            }
        }
    }
}

/// Returns the stored token if it is valid for long enough, without network and without a runtime; [`access_token`]
/// refreshes it otherwise, and reads stores in PostgreSQL.
pub fn stored_token(workspace: &Workspace, request: &TokenRequest) -> Result<Option<Secret>> {
    if !workspace.has_vault() {
        return Ok(None);
    }
    let Some(store) = workspace.file_store_blocking()? else { return Ok(None) };
    let loaded = workspace.engine.token_vault.load_blocking(&store, &request.connection)?;
    // An unknown connection and an interrupted refresh are reported by the other way, which may take its time.
    let Some(loaded) = loaded.filter(|loaded| loaded.stored_grant.refresh_attempt.is_none()) else { return Ok(None) };
    ensure_revealable(&loaded.connection)?;
    if !refresh::is_fresh(workspace, &loaded, request.freshness())? {
        return Ok(None);
    }
    ensure_printable(&loaded)?;
    workspace.note_connection(&loaded.connection);
    Ok(Some(loaded.grant.access_token))
}

/// Returns a valid access token, refreshing it first if needed.
pub async fn access_token(workspace: &Workspace, request: TokenRequest) -> Result<Secret> {
    Ok(load_fresh(workspace, &request).await?.grant.access_token)
}

/// Returns a valid access token with its expiry, its scopes and the other parts of the credential.
pub async fn token(workspace: &Workspace, request: TokenRequest) -> Result<TokenView> {
    let loaded = load_fresh(workspace, &request).await?;
    let parts = Credential::from_connection(workspace, &loaded)?.parts;
    let ConnectionWithGrant { connection, grant, .. } = loaded;
    let now = workspace.clock.now().as_second();
    Ok(TokenView {
        connection: request.connection,
        token: grant.access_token,
        expires_at: grant.expires_at.map(|at| at.to_string()),
        expires_in: grant.expires_at.map(|at| at.as_second() - now),
        scopes: connection.scopes_granted.unwrap_or(connection.scopes_requested),
        parts,
    })
}

/// Returns the headers that a request of the connection carries.
pub async fn token_headers(workspace: &Workspace, request: TokenRequest) -> Result<TokenHeadersView> {
    let loaded = load_fresh(workspace, &request).await?;
    let session = workspace.session(loaded.connection).await?;
    let headers = session.credential_headers(&loaded.grant)?;
    if headers.is_empty() {
        return Err(TokenError::NoHeader(request.connection).into());
    }
    // Names and values are templates of the connector's file.
    let is_forged = |(name, value): &&(String, Secret)| {
        name.contains([':', ' ']) || name.chars().chain(value.expose().chars()).any(char::is_control)
    };
    if let Some((header, _)) = headers.iter().find(is_forged) {
        return Err(TokenError::UnprintableHeader(request.connection, header.clone()).into());
    }
    Ok(TokenHeadersView { headers })
}

/// The part that holds the ID token of a connection that was signed in by OpenID Connect.
const ID_TOKEN: &str = "id_token";

/// Returns the ID token (OpenID Connect Core 1.0 section 2). One that has expired is refreshed with the access token.
///
/// # Errors
/// [`TokenError::NoIdToken`] if the service gave none, or no new one at the refresh.
pub async fn id_token(workspace: &Workspace, request: TokenRequest) -> Result<Secret> {
    let loaded = load_fresh(workspace, &request).await?;
    let missing =
        || TokenError::NoIdToken(request.connection.clone(), refresh::reconnect_command(&loaded.connection.name));
    let stored = loaded.grant.fields.get(ID_TOKEN).ok_or_else(missing)?;
    let least = request.min_ttl.unwrap_or_default();
    if lasts(workspace, stored, least) {
        return Ok(stored.clone());
    }
    let want = Freshness::NewerThan { than: loaded.stored_grant.generation };
    let refreshed = revealed_grant(workspace, &request.connection, want).await?;
    ensure_printable(&refreshed)?;
    let renewed = refreshed.grant.fields.get(ID_TOKEN).filter(|renewed| lasts(workspace, renewed, least));
    Ok(renewed.ok_or_else(missing)?.clone())
}

/// Returns whether an ID token is valid for this long. A token without an expiry time counts as expired.
fn lasts(workspace: &Workspace, id_token: &Secret, least: Duration) -> bool {
    let expiry = decode_claims(id_token.expose()).and_then(|claims| claims.get("exp")?.as_i64());
    let least = i64::try_from(least.as_secs()).unwrap_or(i64::MAX).max(1);
    expiry.is_some_and(|expiry| expiry.saturating_sub(workspace.clock.now().as_second()) >= least)
}

/// Returns the environment variables of one connection's credential. `inherited` are the program's other variables,
/// none of which is replaced.
pub async fn token_variables(
    workspace: &Workspace,
    request: TokenRequest,
    inherited: Vec<(OsString, OsString)>,
) -> Result<CredentialVariablesView> {
    let loaded = load_fresh(workspace, &request).await?;
    let others = workspace.store().await?.connections().names().await?;
    let credential = Credential::from_connection(workspace, &loaded)?;
    let secrets = credential.secrets.clone();
    let variables = variables(&[credential], &[], &inherited, &others)?;
    Ok(CredentialVariablesView { variables, secrets })
}

/// The value of a variable that the user chose. An account may contain a dot, so `slack@a.b` has two meanings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// The token of a connection.
    Token(ConnectionName),
    /// Another part of a connection's credential.
    Part(ConnectionName, String),
    /// The token of the connection if it exists, and the part otherwise.
    TokenOrPart(ConnectionName, (ConnectionName, String)),
}

/// A variable that the user chose.
#[derive(Clone, Debug)]
pub struct VariableRequest {
    pub variable: String,
    /// The source as the user wrote it, for messages.
    pub source_text: String,
    pub source: CredentialSource,
}

/// The credentials for a program.
#[derive(Clone, Debug)]
pub struct CredentialVariablesRequest {
    /// Connections whose whole credential is passed, under the variables of their connectors.
    pub connections: Vec<ConnectionName>,
    pub variables: Vec<VariableRequest>,
    /// The program's other variables.
    pub inherited: Vec<(OsString, OsString)>,
}

/// Returns the whole credential of a connection, for the environment of a program on another machine.
pub async fn credential(workspace: &Workspace, request: TokenRequest) -> Result<CredentialView> {
    let loaded = revealed_grant(workspace, &request.connection, request.freshness()).await?;
    let others = workspace.connection_names().await?;
    Ok(CredentialView::new(Credential::from_connection(workspace, &loaded)?, &others))
}

/// Loads credentials for a program: those of a workspace, or of a server.
pub trait CredentialStore: Sync {
    /// Returns the fresh credential of a connection.
    ///
    /// # Errors
    /// Unknown connections, credentials that are never revealed, and refreshes that fail.
    fn credential(&self, name: &ConnectionName) -> impl Future<Output = Result<CredentialView>> + Send;

    /// Returns whether there is a connection of this name.
    ///
    /// # Errors
    /// The store's.
    fn has_connection(&self, name: &ConnectionName) -> impl Future<Output = Result<bool>> + Send;
}

/// The credentials of a workspace.
struct WorkspaceCredentials<'a>(&'a Workspace);

impl CredentialStore for WorkspaceCredentials<'_> {
    async fn credential(&self, name: &ConnectionName) -> Result<CredentialView> {
        credential(self.0, TokenRequest { connection: name.clone(), min_ttl: None }).await
    }

    async fn has_connection(&self, name: &ConnectionName) -> Result<bool> {
        Ok(self.0.connection_names().await?.contains(name))
    }
}

/// Returns the environment variables with fresh credentials for a program.
pub async fn credential_variables(
    workspace: &Workspace,
    request: CredentialVariablesRequest,
) -> Result<CredentialVariablesView> {
    compose_variables(&WorkspaceCredentials(workspace), request).await
}

/// Returns the environment variables with the credentials of a store.
pub(crate) async fn compose_variables(
    store: &impl CredentialStore,
    request: CredentialVariablesRequest,
) -> Result<CredentialVariablesView> {
    let mut credentials = CredentialLoader { store, loaded: BTreeMap::new(), conflicts: Vec::new() };
    let mut explicit = Vec::new();
    for variable in request.variables {
        explicit.push(credentials.explicit(variable).await?);
    }
    for name in &request.connections {
        credentials.load(name).await?;
    }
    let CredentialLoader { mut loaded, conflicts, .. } = credentials;
    let secrets = loaded.values().flat_map(|credential| credential.secrets.clone()).collect();
    let whole: Vec<Credential> = request.connections.iter().filter_map(|name| loaded.remove(name)).collect();
    let variables = variables(&whole, &explicit, &request.inherited, &conflicts)?;
    Ok(CredentialVariablesView { variables, secrets })
}

/// The credentials of a request, each loaded once.
struct CredentialLoader<'a, S> {
    store: &'a S,
    loaded: BTreeMap<ConnectionName, Credential>,
    /// Connections whose variables no part of these credentials may take.
    conflicts: Vec<ConnectionName>,
}

impl<S: CredentialStore> CredentialLoader<'_, S> {
    async fn load(&mut self, name: &ConnectionName) -> Result<&Credential> {
        if !self.loaded.contains_key(name) {
            let (credential, conflicts) = self.store.credential(name).await?.into_credential();
            self.loaded.insert(name.clone(), credential);
            self.conflicts.extend(conflicts);
        }
        Ok(&self.loaded[name])
    }

    async fn explicit(&mut self, request: VariableRequest) -> Result<ExplicitVariable> {
        let VariableRequest { variable, source_text, source } = request;
        let (name, part) = match source {
            CredentialSource::Token(name) => (name, TOKEN.to_owned()),
            CredentialSource::TokenOrPart(name, _) if self.store.has_connection(&name).await? => {
                (name, TOKEN.to_owned())
            }
            CredentialSource::TokenOrPart(_, part) => part,
            CredentialSource::Part(name, part) => (name, part),
        };
        let value = self.load(&name).await?.part(&part)?.clone();
        check_value(&name, &part, &value)?;
        Ok(ExplicitVariable { variable, source: source_text, value })
    }
}

async fn load_fresh(workspace: &Workspace, request: &TokenRequest) -> Result<ConnectionWithGrant> {
    let loaded = revealed_grant(workspace, &request.connection, request.freshness()).await?;
    ensure_printable(&loaded)?;
    Ok(loaded)
}

/// Checks that the token is one line. Other parts are checked where they are printed; keys have several.
fn ensure_printable(loaded: &ConnectionWithGrant) -> Result<(), TokenError> {
    if loaded.grant.access_token.expose().chars().any(char::is_control) {
        let reconnect = refresh::reconnect_command(&loaded.connection.name);
        return Err(TokenError::Unprintable(loaded.connection.name.clone(), reconnect));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_agent_gets_credentials_and_api_tokens_need_a_scope_of_its_own_for_them() {
        assert!(OPERATIONS.iter().all(|operation| operation.reach < Reach::Agent), "{OPERATIONS:?}");
        assert!(OPERATIONS.iter().all(|operation| operation.verb == ApiVerb::Reveal), "{OPERATIONS:?}");
    }
}
