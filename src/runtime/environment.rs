//! Connections from the environment, for a machine without a store: a bundle in `INTEG_BUNDLE`, and tokens in
//! `INTEG_TOKEN_<CONNECTION>`.
//!
//! They replace all stored connections, so a name never refers to one today and to the other tomorrow. They are put
//! into a store in memory, so that operations work as on a vault; what they write ends with the process.

use std::collections::BTreeMap;

use serde_json::Value;
use thiserror::Error;

use super::Engine;
use super::emulators::SEED_KEY;
use crate::bundle::{Bundle, BundleError};
use crate::clock::Timestamp;
use crate::connector::{AuthMethod, Connector, env_variable_name};
use crate::env;
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::model::{ConnectionMode, ConnectionName, Grant, NewConnection, RefreshMethod};
use crate::secret::Secret;
use crate::store::SqliteStore;

/// The connections of the environment, which replace stored ones.
#[derive(Clone, Debug)]
pub struct EnvironmentConnections {
    /// The text of `INTEG_BUNDLE`.
    bundle: Option<Secret>,
    /// Tokens by the name of their variable.
    tokens: BTreeMap<String, Secret>,
}

/// Why a connection of the environment cannot be used.
#[derive(Debug, Error)]
pub enum EnvironmentError {
    #[error("{variable} does not name a connector")]
    ConnectorNotFound { variable: String },
    #[error("{variable} is not enough to connect: {connector} also needs {missing}")]
    IncompleteCredential { variable: String, connector: String, missing: String },
    #[error("{variable} is set but empty")]
    EmptyVariable { variable: String },
    #[error("{variable} contains control characters or line breaks")]
    UnprintableToken { variable: String },
    #[error("this command needs a workspace, but the connections come from {}", variables.join(", "))]
    WorkspaceRequired { variables: Vec<String> },
}

impl Remedy for EnvironmentError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::ConnectorNotFound { .. } => Diagnostic::new(Kind::NotFound, "unknown_connector")
                .hint(Hint::new("INTEG_TOKEN_SLACK is that of slack; list the connectors:", "integ connector list")),
            Self::IncompleteCredential { connector, .. } => Diagnostic::new(Kind::Usage, "incomplete_credential")
                .hint(Hint::new("export the connection as a whole:", format!("integ export {connector} --to age1…"))),
            // A job without access to the secret, as of a pull request from a fork, must not go on with other connections.
            Self::EmptyVariable { variable } => Diagnostic::new(Kind::Usage, "empty_variable").hint(Hint::new(
                "give the job its secret, or to use the stored connections:",
                format!("unset {variable}"),
            )),
            Self::UnprintableToken { .. } => Diagnostic::new(Kind::Usage, "unprintable_token"),
            Self::WorkspaceRequired { variables } => {
                Diagnostic::new(Kind::Usage, "workspace_required").run(format!("unset {}", variables.join(" ")))
            }
        }
    }
}

impl EnvironmentConnections {
    /// Returns the connections of the environment; None if there are none, as on a machine with a store.
    ///
    /// # Errors
    /// [`EnvironmentError::EmptyVariable`].
    pub fn from_env() -> Result<Option<Self>, EnvironmentError> {
        if let Some(variable) = env::empty_connection_variable() {
            return Err(EnvironmentError::EmptyVariable { variable });
        }
        let environment =
            Self { bundle: env::secret(&env::BUNDLE), tokens: env::connection_tokens().into_iter().collect() };
        Ok((environment.bundle.is_some() || !environment.tokens.is_empty()).then_some(environment))
    }

    /// The names of the variables that are set.
    pub fn variables(&self) -> Vec<&str> {
        let bundle = self.bundle.iter().map(|_| env::BUNDLE.name);
        bundle.chain(self.tokens.keys().map(String::as_str)).collect()
    }

    /// Returns the error of a command that needs a workspace.
    pub fn workspace_required(&self) -> EnvironmentError {
        EnvironmentError::WorkspaceRequired { variables: self.variables().into_iter().map(str::to_owned).collect() }
    }

    /// Returns the command that gives a connection a new credential, once the one from the environment no longer works.
    pub fn renewal_hint(&self, connection: &str) -> Hint {
        match self.bundle {
            Some(_) => Hint::new(
                "export it again where it is connected, and replace INTEG_BUNDLE:",
                format!("integ export {connection} --to age1…"),
            ),
            None => Hint::text(format!("replace the token in {}", self.variables().join(", "))),
        }
    }
}

impl Engine {
    /// Creates the store of the environment's connections. It blocks, because the identity may be in the OS keyring.
    ///
    /// # Errors
    /// [`BundleError`], [`EnvironmentError`], and the errors of the catalogue and of the identity.
    pub(super) fn open_environment(&self, environment: &EnvironmentConnections) -> Result<SqliteStore> {
        let now = self.clock.now();
        let (mut connections, mut seed) = (Vec::new(), None);
        if let Some(armored) = &environment.bundle {
            let identity = self.vault_opener().identity()?;
            let (identity, _) = identity.ok_or(BundleError::MissingIdentity)?;
            let bundle = Bundle::open(armored.expose(), &identity)?;
            connections = bundle.connections;
            seed = bundle.sandbox_seed.map(|seed| Value::String(seed.expose().clone()));
        }
        if !environment.tokens.is_empty() {
            let ids: Vec<String> = self.catalogue.ids().into_iter().map(|(id, _)| id).collect();
            for (variable, token) in &environment.tokens {
                let name = connection_of(variable, &ids)
                    .ok_or_else(|| EnvironmentError::ConnectorNotFound { variable: variable.clone() })?;
                let connector = self.catalogue.get(name.connector())?;
                let connection = token_connection(&connector, name, variable, token, now)?;
                connections.retain(|(bundled, _)| bundled.name != connection.0.name);
                connections.push(connection);
            }
        }
        let documents: Vec<_> = seed.into_iter().map(|seed| (SEED_KEY, seed)).collect();
        Ok(SqliteStore::in_memory(&connections, &documents, now)?)
    }
}

/// Returns the only connection that a variable can refer to: that of the connector with this ID, otherwise an account
/// of the connector with the longest matching ID. So a token is never sent to another service than the variable names.
fn connection_of(variable: &str, ids: &[String]) -> Option<ConnectionName> {
    let named = |id: &String| env_variable_name(env::TOKEN_PREFIX.trim_end_matches('_'), id);
    if let Some(id) = ids.iter().find(|id| named(id) == variable) {
        return ConnectionName::new(id, None).ok();
    }
    let accounts = ids.iter().filter_map(|id| Some((id, variable.strip_prefix(&format!("{}_", named(id)))?)));
    let (id, account) = accounts.max_by_key(|(id, _)| id.len())?;
    ConnectionName::new(id, Some(&account.to_ascii_lowercase())).ok()
}

/// Creates a live connection from a token.
fn token_connection(
    connector: &Connector,
    name: ConnectionName,
    variable: &str,
    token: &Secret,
    now: Timestamp,
) -> Result<(NewConnection, Grant)> {
    if token.expose().chars().any(char::is_control) {
        return Err(EnvironmentError::UnprintableToken { variable: variable.to_owned() }.into());
    }
    let (auth_name, auth) = match token_method(connector, token.expose()) {
        Some(found) => found,
        None => connector.auth_method(None)?,
    };
    let fields = auth.fields.keys().map(String::as_str).filter(|field| Some(*field) != auth.token_field());
    let params = connector.params(auth).filter(|(_, param)| param.default.is_none() && !param.optional);
    let missing: Vec<&str> = fields.chain(params.map(|(name, _)| name.as_str())).collect();
    if !missing.is_empty() {
        let (variable, connector) = (variable.to_owned(), connector.id.clone());
        return Err(EnvironmentError::IncompleteCredential { variable, connector, missing: missing.join(", ") }.into());
    }
    let connection = NewConnection {
        name,
        mode: ConnectionMode::Live,
        auth: auth_name.to_owned(),
        origin: None,
        params: BTreeMap::new(),
        metadata: BTreeMap::new(),
        account: None,
        user: None,
        scopes_requested: Vec::new(),
        scopes_granted: None,
        connected_at: now,
    };
    let grant = Grant {
        access_token: token.clone(),
        refresh_token: None,
        fields: auth.token_field().map(|field| (field.to_owned(), token.clone())).into_iter().collect(),
        client: None,
        issued_at: now,
        expires_at: None,
        refresh_expires_at: None,
        refresh_method: RefreshMethod::None,
    };
    Ok((connection, grant))
}

/// The method with the token's prefix, else the first that takes only a token.
fn token_method<'c>(connector: &'c Connector, token: &str) -> Option<(&'c str, &'c AuthMethod)> {
    let keys = || {
        let methods = connector.auth.iter().map(|(name, auth)| (name.as_str(), auth));
        methods.filter_map(|(name, auth)| Some((name, auth, auth.fields.get(auth.token_field()?)?)))
    };
    let by_prefix = keys().find(|(.., field)| field.prefixes.iter().any(|prefix| token.starts_with(prefix.as_str())));
    let found =
        by_prefix.or_else(|| keys().find(|(_, auth, field)| field.prefixes.is_empty() && auth.fields.len() == 1));
    // A token that is none of these may be one of OAuth, which has no form of its own.
    let is_oauth = |auth: &AuthMethod| auth.oauth2.is_some() && auth.fields.is_empty();
    let oauth = || connector.auth.iter().find(|(_, auth)| is_oauth(auth)).map(|(name, auth)| (name.as_str(), auth));
    found
        .map(|(name, auth, _)| (name, auth))
        .or_else(oauth)
        .or_else(|| keys().next().map(|(name, auth, _)| (name, auth)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::Catalogue;

    fn ids() -> Vec<String> {
        ["google", "google-calendar", "slack"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_variable_means_one_connection_and_never_one_of_another_service() {
        let name = |variable: &str| connection_of(variable, &ids()).map(|name| name.to_string());
        assert_eq!(name("INTEG_TOKEN_SLACK").as_deref(), Some("slack"));
        assert_eq!(name("INTEG_TOKEN_SLACK_WORK").as_deref(), Some("slack@work"));
        assert_eq!(name("INTEG_TOKEN_GOOGLE_CALENDAR").as_deref(), Some("google-calendar"), "not google@calendar");
        assert_eq!(name("INTEG_TOKEN_GOOGLE_CALENDAR_A").as_deref(), Some("google-calendar@a"));
        assert_eq!(name("INTEG_TOKEN_GOOGLE_CAL").as_deref(), Some("google@cal"));
        for unknown in ["INTEG_TOKEN_", "INTEG_TOKEN_SLAC", "INTEG_TOKEN_SLACK_", "INTEG_TOKEN_SLACKER"] {
            assert_eq!(name(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_token_alone_makes_a_connection_where_it_is_the_whole_credential() {
        let catalogue = Catalogue::new(std::path::Path::new("/nonexistent"));
        let make = |id: &str, token: &str| {
            let connector = catalogue.get(id).unwrap();
            let name = ConnectionName::new(id, None).unwrap();
            token_connection(&connector, name, "INTEG_TOKEN_X", &token.into(), Timestamp::UNIX_EPOCH)
        };
        let (github, grant) = make("github", "ghp_x").unwrap();
        assert_eq!((github.auth.as_str(), grant.fields.len(), grant.is_refreshable()), ("token", 1, false));
        assert!(
            make("slack", "xoxb-1").is_ok() && make("gmail", "ya29.x").is_ok() && make("stripe", "sk_test_x").is_ok()
        );
        let code = |id, token| make(id, token).unwrap_err().code();
        assert_eq!(code("twilio", "x"), "incomplete_credential");
        assert_eq!(code("github", "ghp_x\ny"), "unprintable_token");
    }
}
