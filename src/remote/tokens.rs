//! Credentials of a server's connections. Each request is in its audit log.

use std::ffi::OsString;

use serde_json::{Value, json};

use super::{RemoteError, RemoteServer};
use crate::env_variables::variables;
use crate::error::Result;
use crate::model::ConnectionName;
use crate::ops::tokens::{self, CredentialStore, CredentialVariablesRequest, TokenRequest};
use crate::secret::Secret;
use crate::view::token::{
    CredentialHeaderListView, CredentialVariablesView, CredentialView, IdTokenView, TokenHeadersView, TokenView,
};

fn body(request: &TokenRequest) -> Value {
    match request.min_ttl {
        Some(least) => json!({ "min_ttl": least.as_secs() }),
        None => json!({}),
    }
}

impl RemoteServer {
    /// Returns a valid access token with what goes with it.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn token(&self, request: &TokenRequest) -> Result<TokenView, RemoteError> {
        self.post(&["connections", &request.connection.to_string(), "token"], &body(request)).await
    }

    /// Returns the headers that a request of the connection carries.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn token_headers(&self, request: &TokenRequest) -> Result<TokenHeadersView, RemoteError> {
        let path = ["connections", &request.connection.to_string(), "token-headers"];
        Ok(self.post::<CredentialHeaderListView>(&path, &body(request)).await?.into())
    }

    /// Returns the ID token.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn id_token(&self, request: &TokenRequest) -> Result<Secret, RemoteError> {
        let path = ["connections", &request.connection.to_string(), "id-token"];
        Ok(self.post::<IdTokenView>(&path, &body(request)).await?.id_token)
    }

    /// Returns the whole credential of a connection.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn credential(&self, request: &TokenRequest) -> Result<CredentialView, RemoteError> {
        self.post(&["connections", &request.connection.to_string(), "credential"], &body(request)).await
    }

    /// Returns the environment variables of one connection's credential. `inherited` are the program's other variables,
    /// which never leave this machine.
    ///
    /// # Errors
    /// [`RemoteError`], and variables that no program may get.
    pub async fn token_variables(
        &self,
        request: &TokenRequest,
        inherited: &[(OsString, OsString)],
    ) -> Result<CredentialVariablesView> {
        let (credential, conflicts) = self.credential(request).await?.into_credential();
        let secrets = credential.secrets.clone();
        let variables = variables(&[credential], &[], inherited, &conflicts)?;
        Ok(CredentialVariablesView { variables, secrets })
    }

    /// Returns the environment variables with fresh credentials for a program of this machine.
    ///
    /// # Errors
    /// [`RemoteError`], and variables that no program may get.
    pub async fn credential_variables(&self, request: CredentialVariablesRequest) -> Result<CredentialVariablesView> {
        tokens::compose_variables(&RemoteCredentials { server: self }, request).await
    }
}

/// The credentials of a server.
struct RemoteCredentials<'a> {
    server: &'a RemoteServer,
}

impl CredentialStore for RemoteCredentials<'_> {
    async fn credential(&self, name: &ConnectionName) -> Result<CredentialView> {
        Ok(self.server.credential(&TokenRequest { connection: name.clone(), min_ttl: None }).await?)
    }

    async fn has_connection(&self, name: &ConnectionName) -> Result<bool> {
        match self.server.credential(&TokenRequest { connection: name.clone(), min_ttl: None }).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
