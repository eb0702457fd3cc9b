//! Reconnects a connection with the same settings, to the same account.

use std::collections::BTreeMap;

use super::oauth::GRANT_TYPE;
use super::{ConnectError, ConnectPurpose, ConnectRequest, ConnectResult, PromptQuestion, Prompter, SignInOptions};
use crate::connector::{AuthMethod, GrantType};
use crate::error::Result;
use crate::model::{ClientCredentials, Connection, ConnectionMode, ConnectionName, Grant, RefreshMethod};
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::vault::ConnectionWithGrant;

/// What the user wants to be different from the last time.
#[derive(Clone, Debug, Default)]
pub struct ReconnectOptions {
    /// In place of the requested scopes of the connection.
    pub scopes: Vec<String>,
    /// In addition to the requested scopes of the connection.
    pub added_scopes: Vec<String>,
    /// `scopes` may leave out what the connection was granted, without a question.
    pub drops_scopes: bool,
    /// In place of the connection's own.
    pub params: BTreeMap<String, String>,
    /// What `--param NAME=@FILE` read, by name.
    pub files: BTreeMap<String, Secret>,
    pub sign_in: SignInOptions,
    pub token: Option<Secret>,
    /// In place of the app that the connection was made with.
    pub client: Option<ClientCredentials>,
}

/// Signs in again for a connection, with the authentication method, grant, mode, origin, parameters and scopes that it has.
///
/// # Errors
/// Those of [`super::connect`]; [`ConnectError::AccountMismatch`] for a sign-in as another account. The connection is then
/// as it was.
pub async fn reconnect(
    workspace: &Workspace,
    name: &ConnectionName,
    options: &ReconnectOptions,
    prompter: &dyn Prompter,
) -> Result<ConnectResult> {
    let (mut request, is_pasted_token) = reconnect_request(workspace, name, options).await?;
    if is_pasted_token && request.token.is_none() && !request.is_sandbox {
        let question = PromptQuestion::Text {
            prompt: "Access token",
            example: None,
            is_secret: true,
            flag_hint: "--with-token and the token on stdin, or INTEG_TOKEN",
        };
        request.token = Some(prompter.prompt(&question).map_err(ConnectError::from)?);
    }
    Box::pin(super::connect(workspace, &request, prompter)).await
}

/// Returns the request that connects a connection as it is, and whether its token was given by hand.
///
/// # Errors
/// An unknown connection, connector or authentication method; the vault's.
pub async fn reconnect_request(
    workspace: &Workspace,
    name: &ConnectionName,
    options: &ReconnectOptions,
) -> Result<(ConnectRequest, bool)> {
    let connection = workspace.connection(name).await?;
    let connector = workspace.catalogue().get(name.connector())?;
    let (_, auth) = connector.auth_method(Some(&connection.auth))?;
    // The settings are kept even if the keyring has lost the tokens.
    let loaded = workspace.engine.token_vault.load(workspace.store().await?, name).await.ok().flatten();
    let is_pasted = |grant: &Grant| grant.client.is_none() && grant.refresh_method == RefreshMethod::None;
    let is_pasted_token = auth.oauth2.is_some() && loaded.as_ref().is_some_and(|loaded| is_pasted(&loaded.grant));
    Ok((request_for(&connection, auth, loaded.as_ref(), options), is_pasted_token))
}

fn request_for(
    connection: &Connection,
    auth: &AuthMethod,
    loaded: Option<&ConnectionWithGrant>,
    options: &ReconnectOptions,
) -> ConnectRequest {
    let grant_type: Option<GrantType> = connection.metadata.get(GRANT_TYPE).and_then(|word| word.parse().ok());
    let sign_in = SignInOptions {
        device: options.sign_in.device || (grant_type == Some(GrantType::DeviceCode) && !options.sign_in.is_paste),
        ..options.sign_in.clone()
    };
    let open_fields = auth.fields.iter().filter(|(_, field)| !field.secret).map(|(name, _)| name);
    let mut params: BTreeMap<String, String> =
        open_fields.filter_map(|name| Some((name.clone(), loaded?.grant.fields.get(name)?.expose().clone()))).collect();
    params.extend(options.params.clone());
    ConnectRequest {
        connector: connection.name.connector().to_owned(),
        url: None,
        account: connection.name.account().map(str::to_owned),
        auth: Some(connection.auth.clone()),
        scopes: options.scopes.clone(),
        added_scopes: options.added_scopes.clone(),
        drops_scopes: options.drops_scopes,
        params,
        files: options.files.clone(),
        client_credentials: grant_type == Some(GrantType::ClientCredentials),
        sign_in,
        token: options.token.clone(),
        client: options.client.clone(),
        origin: connection.origin.clone(),
        user: connection.user.clone(),
        is_sandbox: connection.mode == ConnectionMode::Sandbox,
        is_guarded: false,
        purpose: ConnectPurpose::Reconnect,
    }
}
