//! Gets grants from the vendor: with a code, a device, client credentials, a key, or the redirect's fragment.

use std::collections::BTreeMap;

use super::callback::CallbackMethod;
use super::flow::ConnectFlow;
use super::prompter::{ConnectInterrupted, with_countdown};
use super::resource::ResourceServer;
use super::save::USERINFO;
use super::{
    AppSource, ConnectError, ConnectEvent, ConnectRequest, DefaultAnswer, Previous, RegisteredApp, WaitsFor, apps,
    credential_input, find_client, follow_up, resource, scopes_dropped,
};
use crate::connector::scopes::{self, RequestedScopes};
use crate::connector::{
    AuthorizationServer, ClientAuth, ClientSecretPolicy, Connector, GrantType, ImplicitFlow, OAuth2, ScopeRule,
    authorization_server,
};
use crate::error::Result;
use crate::model::{ClientCredentials, Connection, Grant, RefreshMethod};
use crate::oauth::authorize::{PendingAuthorization, random_state};
use crate::oauth::callback::Callback;
use crate::oauth::callback_listener::WaitingBrowser;
use crate::oauth::lifetime::token_lifetime;
use crate::oauth::refresh::{add_seconds, current_client};
use crate::oauth::start_page::StartPageServer;
use crate::oauth::{OAuthClient, OAuthError, ServerMetadata, Tokens, authorize, device};
use crate::runtime::Session;
use crate::secret::Secret;
use crate::{env, sandbox};

/// Which grant the connection was made with, where that is not the connector's usual one: reconnecting uses it again.
pub(super) const GRANT_TYPE: &str = "grant_type";

/// A grant that can be asked for: with which client and keys, where, and what for.
pub(super) struct PreparedGrant {
    pub(super) kind: GrantType,
    pub(super) client: ClientCredentials,
    pub(super) fields: BTreeMap<String, Secret>,
    pub(super) asked: RequestedScopes,
    pub(super) redirect: Option<CallbackMethod>,
    /// The authorization server of a resource that is connected by its URL.
    resource: Option<ServerMetadata>,
    /// The server that the client is to be assigned to.
    unassigned: Option<(AppSource, AuthorizationServer)>,
    named: Vec<String>,
}

/// A grant with its place at the server.
pub(super) struct GrantContext<'c> {
    pub(super) kind: GrantType,
    pub(super) client: ClientCredentials,
    pub(super) fields: BTreeMap<String, Secret>,
    pub(super) is_resource: bool,
    pub(super) oauth_client: &'c OAuthClient<'c>,
}

/// Runs the grant that the request names, else the connector's usual one, and notes in the session what was in the answer.
pub(super) async fn grant(
    flow: &ConnectFlow<'_>,
    session: &mut Session,
    rules: &OAuth2,
    browser: &mut Option<WaitingBrowser>,
) -> Result<Grant> {
    let mut prepared = prepare(flow, session, rules).await?;
    let view = session.clone();
    let oauth_client = prepared.oauth_client(flow, &view).await?;
    prepared.settle_scopes(flow, session, rules, &oauth_client).await?;
    let kind = prepared.kind;
    let tokens = match prepared.redirect.take() {
        Some(redirect) => {
            let (tokens, callback) =
                authorization_code_grant(flow, &view, &oauth_client, redirect, &prepared.asked, browser).await?;
            keep_callback_values(&mut session.connection, rules, &callback);
            tokens
        }
        None if kind == GrantType::DeviceCode => device_code_grant(flow, &oauth_client, &prepared.asked).await?,
        None => {
            let scopes = &session.connection.scopes_requested;
            let tokens = match kind.presents_key() {
                true => oauth_client.present_key(scopes).await,
                false => oauth_client.request_client_credentials_token(scopes).await,
            };
            tokens.map_err(|error| flow.oauth_error(error))?
        }
    };
    let context = GrantContext {
        kind,
        is_resource: prepared.resource.is_some(),
        client: prepared.client,
        fields: prepared.fields,
        oauth_client: &oauth_client,
    };
    complete(flow, session, rules, context, tokens, browser).await
}

/// The kind of grant that the request names, else the connector's usual one.
pub(super) fn grant_type(flow: &ConnectFlow<'_>, rules: &OAuth2) -> GrantType {
    match (flow.request.sign_in.device, flow.request.client_credentials) {
        (true, _) => GrantType::DeviceCode,
        (false, true) => GrantType::ClientCredentials,
        (false, false) => usual_grant_type(rules),
    }
}

fn usual_grant_type(rules: &OAuth2) -> GrantType {
    rules.grants.first().copied().unwrap_or(GrantType::AuthorizationCode)
}

/// Collects what is needed to ask for a grant: keys, server, client, redirect URI.
pub(super) async fn prepare(flow: &ConnectFlow<'_>, session: &mut Session, rules: &OAuth2) -> Result<PreparedGrant> {
    let kind = grant_type(flow, rules);
    let fields = credential_input::collect(flow, session).await?;
    let found = resource::discover(flow, session, rules).await?;
    let mut scope = rules.scope.clone();
    scope.default.extend(found.iter().flat_map(|found| found.scopes.clone()));
    let named = flow.named_scopes(&scope);
    let mut asked = scopes::requested(&scope, &named);
    let (client, unassigned, redirect) =
        client_and_redirect(flow, session, rules, kind, found.as_ref(), &asked).await?;
    let for_people = rules.grants.iter().any(|kind| kind.needs_person());
    if kind == GrantType::ClientCredentials && for_people && named.is_empty() {
        // The defaults are meant for a person's consent; a machine gets what its client is registered for.
        asked.clear();
    }
    let resource = found.map(|found| found.metadata);
    Ok(PreparedGrant { kind, client, fields, asked, redirect, resource, unassigned, named })
}

impl PreparedGrant {
    pub(super) fn is_resource(&self) -> bool {
        self.resource.is_some()
    }

    /// The client at its server, whose endpoints are found now. `view` is the session that templates read.
    pub(super) async fn oauth_client<'v>(
        &self,
        flow: &ConnectFlow<'v>,
        view: &'v Session,
    ) -> Result<OAuthClient<'v>, ConnectError> {
        let redirect_uri = self.redirect.as_ref().map(CallbackMethod::uri);
        let client = self.client.clone();
        let oauth_client = match &self.resource {
            Some(server) => OAuthClient::for_server(view, flow.workspace, client, redirect_uri, server.clone()),
            None => OAuthClient::for_session(view, flow.workspace, client, redirect_uri, &self.fields).await,
        };
        oauth_client.map_err(|error| flow.oauth_error(error))
    }

    /// Decides what is asked for, notes it in the session and shows it.
    pub(super) async fn settle_scopes(
        &mut self,
        flow: &ConnectFlow<'_>,
        session: &mut Session,
        rules: &OAuth2,
        oauth_client: &OAuthClient<'_>,
    ) -> Result<()> {
        if let Some((source, server)) = self.unassigned.take() {
            apps::assign(flow.workspace, &session.connector.id, source, &server).await?;
        }
        if rules.issuer.is_some() && self.named.is_empty() && !self.is_resource() {
            scopes::retain_listed(&mut self.asked, &rules.scope, &oauth_client.server.scopes_supported);
        }
        flow.confirm_dropped_scopes(&session.connector, &self.asked)?;
        let connection = &mut session.connection;
        let is_usual = self.kind == usual_grant_type(rules);
        connection.metadata.extend((!is_usual).then(|| (GRANT_TYPE.to_owned(), self.kind.as_str().to_owned())));
        connection.metadata.extend(scopes::further_lists(&rules.scope, &self.asked));
        connection.scopes_requested = self.asked.values().flatten().cloned().collect();
        if self.kind.needs_person() {
            flow.show_scopes(&session.connector, &self.client.id, &self.asked);
        }
        Ok(())
    }
}

/// Notes in a connection the values of the callback that its connector keeps.
pub(super) fn keep_callback_values(connection: &mut Connection, rules: &OAuth2, callback: &Callback) {
    let kept = rules.callback_keep.iter();
    let found = kept.filter_map(|(name, parameter)| Some((name.clone(), callback.query.get(parameter)?.clone())));
    connection.metadata.extend(found);
}

/// Makes a grant of the tokens, notes in the session what the service sent with them, and finds what they give access to.
pub(super) async fn complete(
    flow: &ConnectFlow<'_>,
    session: &mut Session,
    rules: &OAuth2,
    context: GrantContext<'_>,
    tokens: Tokens,
    browser: &mut Option<WaitingBrowser>,
) -> Result<Grant> {
    let GrantContext { kind, client, fields, is_resource, oauth_client } = context;
    // A client that acts for itself has no user to ask about.
    let has_user = kind.needs_person() && !is_resource;
    let userinfo = oauth_client.server.userinfo_endpoint.as_ref().filter(|_| has_user);
    let connection = &mut session.connection;
    connection.metadata.extend(userinfo.map(|url| (USERINFO.to_owned(), url.to_string())));
    note_tokens(connection, oauth_client, &tokens);
    let grant = flow.grant_from_tokens(tokens, client, kind, fields);
    if let Some(declared) = &rules.follow_up {
        let kept = follow_up::select_resource(flow, session, declared, &grant, browser).await?;
        session.connection.metadata.extend(kept);
    }
    Ok(grant)
}

/// The client to sign in with, the server that it is to be assigned to, and where the callback comes to.
async fn client_and_redirect(
    flow: &ConnectFlow<'_>,
    session: &mut Session,
    rules: &OAuth2,
    kind: GrantType,
    found: Option<&ResourceServer>,
    asked: &RequestedScopes,
) -> Result<(ClientCredentials, Option<(AppSource, AuthorizationServer)>, Option<CallbackMethod>)> {
    if let Some(found) = found {
        // A registration holds for one redirect URI.
        let redirect = flow.callback_method(&rules.redirect, session)?;
        let scopes: Vec<String> = asked.values().flatten().cloned().collect();
        let client = resource::client(flow, session, found, redirect.uri(), &scopes).await?;
        return Ok((client, None, Some(redirect)));
    }
    let (client, unassigned) = if rules.needs_client() {
        // A key is shown in place of a secret.
        let shows_none = rules.client_auth == ClientAuth::None && rules.key_grant().is_none();
        let policy = Some(rules.client_secret).filter(|_| rules.sends_client_secret() || shows_none);
        flow.client(session, kind, policy).await?
    } else {
        (ClientCredentials { id: String::new(), secret: None }, None)
    };
    let redirect = match kind {
        GrantType::AuthorizationCode => Some(flow.callback_method(&rules.redirect, session)?),
        GrantType::DeviceCode | GrantType::ClientCredentials | GrantType::JwtBearer | GrantType::Exchange => None,
    };
    Ok((client, unassigned, redirect))
}

/// Notes in a connection what the server accepted, and what was sent with the tokens.
fn note_tokens(connection: &mut Connection, oauth_client: &OAuthClient<'_>, tokens: &Tokens) {
    connection.metadata.extend(tokens.metadata.clone());
    let uses_post = oauth_client.uses_post_fallback.load(std::sync::atomic::Ordering::Relaxed);
    if let (true, Some(param)) = (uses_post, &oauth_client.rules.client_auth_param) {
        // It is shown again by each refresh.
        connection.metadata.insert(param.clone(), "post".to_owned());
    }
    connection.account.clone_from(&tokens.account);
    connection.scopes_granted.clone_from(&tokens.scopes);
}

async fn authorization_code_grant(
    flow: &ConnectFlow<'_>,
    session: &Session,
    oauth_client: &OAuthClient<'_>,
    redirect: CallbackMethod,
    asked: &RequestedScopes,
    browser: &mut Option<WaitingBrowser>,
) -> Result<(Tokens, Callback)> {
    let pending = authorize::authorization_request(oauth_client, redirect.uri(), random_state(), asked)
        .map_err(|error| flow.oauth_error(error))?;
    let callback = flow.receive_callback(redirect, &pending, "code", session, browser).await?;
    let exchanged = oauth_client.exchange_code(&callback.code, &pending.redirect_uri, pending.verifier.as_ref()).await;
    Ok((exchanged.map_err(|error| flow.oauth_error(error))?, callback))
}

async fn device_code_grant(
    flow: &ConnectFlow<'_>,
    oauth_client: &OAuthClient<'_>,
    asked: &RequestedScopes,
) -> Result<Tokens> {
    let authorization =
        device::request_device_code(oauth_client, asked).await.map_err(|error| flow.oauth_error(error))?;
    let complete = authorization.verification_uri_complete.as_ref();
    flow.prompter.notify(&ConnectEvent::DeviceCode {
        verification_uri: authorization.verification_uri.as_str(),
        verification_uri_complete: complete.map(url::Url::as_str),
        user_code: &authorization.user_code,
        expires_in: authorization.expires_in.as_secs(),
    });
    let page = complete.unwrap_or(&authorization.verification_uri);
    // Lives until the flow has ended. Where it cannot be served no browser is opened: the page has been printed.
    let openable = flow.request.sign_in.open_browser && authorize::check_openable(page).is_ok();
    let handover = openable.then(|| StartPageServer::start(page)).and_then(Result::ok);
    if let Some(handover) = &handover {
        flow.prompter.open_browser(handover.url());
    }
    let limit = flow.request.sign_in.timeout;
    let shown = limit.min(authorization.expires_in);
    with_countdown(flow.prompter, WaitsFor::DeviceCode, shown, async {
        tokio::select! {
            tokens = device::poll(oauth_client, &authorization, limit) => Ok(tokens.map_err(|error| flow.oauth_error(error))?),
            () = flow.workspace.engine.shutdown.requested() => Err(ConnectInterrupted.into()),
        }
    })
    .await
}

/// A token that the vendor hands to the browser in the redirect's fragment.
pub(super) async fn implicit_grant(
    flow: &ConnectFlow<'_>,
    session: &mut Session,
    fragment: &ImplicitFlow,
    browser: &mut Option<WaitingBrowser>,
) -> Result<Grant> {
    let (client, redirect, pending) = implicit_request(flow, session, fragment, random_state()).await?;
    let callback = flow.receive_callback(redirect, &pending, &fragment.token, session, browser).await?;
    Ok(implicit_token_grant(flow, client, callback))
}

/// The request for a token in the fragment, with its client and the way of its callback.
pub(super) async fn implicit_request(
    flow: &ConnectFlow<'_>,
    session: &mut Session,
    fragment: &ImplicitFlow,
    state: Secret,
) -> Result<(ClientCredentials, CallbackMethod, PendingAuthorization)> {
    let (client, unassigned) = flow.client(session, GrantType::AuthorizationCode, None).await?;
    if let Some((source, server)) = unassigned {
        apps::assign(flow.workspace, &session.connector.id, source, &server).await?;
    }
    let asked = scopes::requested(&fragment.scope, &flow.named_scopes(&fragment.scope));
    flow.confirm_dropped_scopes(&session.connector, &asked)?;
    session.connection.scopes_requested = asked.values().flatten().cloned().collect();
    let redirect = flow.callback_method(&fragment.redirect, session)?;
    let mut values = session.values(None);
    values.set("client_id", &client.id);
    let pending = authorize::implicit_request(fragment, &values, &session.route, redirect.uri(), state, &asked);
    let pending = pending.map_err(|error| flow.oauth_error(error))?;
    flow.show_scopes(&session.connector, &client.id, &asked);
    Ok((client, redirect, pending))
}

/// The grant of a token that came in the fragment.
pub(super) fn implicit_token_grant(flow: &ConnectFlow<'_>, client: ClientCredentials, callback: Callback) -> Grant {
    Grant {
        access_token: callback.code,
        refresh_token: None,
        fields: BTreeMap::new(),
        client: Some(client),
        issued_at: flow.workspace.clock.now(),
        expires_at: None,
        refresh_expires_at: None,
        refresh_method: RefreshMethod::None,
    }
}

impl ConnectFlow<'_> {
    /// An error of the protocol, with the connector of the flow.
    pub(super) fn oauth_error(&self, source: OAuthError) -> ConnectError {
        ConnectError::OAuth {
            command: self.request.command(),
            offers: Box::new(self.capabilities.clone()),
            source: Box::new(source),
        }
    }

    /// A grant from the vendor's response, with the keys that requested it.
    fn grant_from_tokens(
        &self,
        tokens: Tokens,
        client: ClientCredentials,
        kind: GrantType,
        keys: BTreeMap<String, Secret>,
    ) -> Grant {
        let now = self.workspace.clock.now();
        let expires_at = token_lifetime(&tokens, None, now).and_then(|seconds| add_seconds(now, seconds));
        Grant {
            refresh_method: match (kind, &tokens.refresh_token) {
                (GrantType::ClientCredentials, _) => RefreshMethod::ClientCredentials,
                (GrantType::JwtBearer | GrantType::Exchange, _) => RefreshMethod::Key,
                (_, Some(_)) => RefreshMethod::RefreshToken,
                (_, None) => RefreshMethod::None,
            },
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            fields: tokens.secrets.into_iter().chain(keys).collect(),
            client: Some(client).filter(|client| !client.id.is_empty()),
            issued_at: now,
            expires_at,
            refresh_expires_at: tokens.refresh_expires_in.and_then(|seconds| add_seconds(now, seconds)),
        }
    }

    /// The OAuth client: given, the sandbox's, the connection's own, registered for the server, or asked for; and the server
    /// that a registered one is to be assigned to. `rule` is absent where the flow shows no secret.
    async fn client(
        &self,
        session: &Session,
        kind: GrantType,
        rule: Option<ClientSecretPolicy>,
    ) -> Result<(ClientCredentials, Option<(AppSource, AuthorizationServer)>)> {
        let Session { connector, auth, connection, .. } = session;
        let server = authorization_server(connector, auth, &connection.params);
        let mut unassigned = None;
        let found = match &self.request.client {
            Some(client) => Some(client.clone()),
            None if self.request.is_sandbox => {
                let (id, secret) = sandbox::sandbox_client(connector, &self.workspace.sandbox_seed().await?);
                Some(ClientCredentials { id, secret: Some(secret) })
            }
            None => {
                let registered = find_client(self.workspace, &connector.id, server.as_ref()).await?;
                // The secret of an app must not go to a server that a caller names.
                let registered = registered.filter(|app| !(self.request.is_guarded && app.is_unassigned));
                match self.previous_client(session, server.as_ref(), registered.as_ref()).await? {
                    Some(own) => Some(own),
                    None => registered.map(|found| {
                        unassigned =
                            server.clone().filter(|_| found.is_unassigned).map(|server| (found.source, server));
                        found.client
                    }),
                }
            }
        };
        let is_required = match rule {
            None => false,
            Some(ClientSecretPolicy::Required) => true,
            Some(ClientSecretPolicy::Optional) => kind == GrantType::ClientCredentials,
            Some(ClientSecretPolicy::OptionalForDevice) => kind != GrantType::DeviceCode,
        };
        let rule = if is_required { Some(ClientSecretPolicy::Required) } else { rule };
        let mut client = match found {
            Some(client) => client,
            None if self.prompter.is_interactive() => self.register_app(session, server.as_ref(), rule).await?,
            None => {
                let requested = self.request.command();
                return Err(match server {
                    Some(server) => ConnectError::MissingAppForServer { command: requested, server: Box::new(server) },
                    None => ConnectError::MissingApp { command: requested },
                }
                .into());
            }
        };
        if client.id.is_empty() {
            return Err(ConnectError::MissingApp { command: self.request.command() }.into());
        }
        if client.secret.is_none() && !self.request.is_sandbox && self.reads_environment() {
            client.secret = env::secret(&env::CLIENT_SECRET);
        }
        if is_required && client.secret.is_none() {
            return Err(ConnectError::MissingClientSecret { command: self.request.command() }.into());
        }
        Ok((client, unassigned))
    }

    /// The client that the connection was made with, with the secret that it has today; absent where the connection is to
    /// lead to another server now, and where an app was registered for the same server since.
    async fn previous_client(
        &self,
        session: &Session,
        server: Option<&AuthorizationServer>,
        registered: Option<&RegisteredApp>,
    ) -> Result<Option<ClientCredentials>> {
        let Some(before) = &self.previous else { return Ok(None) };
        let Session { connector, auth, .. } = session;
        let is_newer = registered.is_some_and(|app| {
            !app.is_unassigned && app.updated_at.is_some_and(|updated_at| updated_at > before.connection.connected_at)
        });
        let known = authorization_server(connector, auth, &before.connection.params);
        let same_server = known.as_ref().map(|known| &known.url) == server.map(|server| &server.url);
        let grant = before.loaded.as_ref().map(|loaded| &loaded.grant).filter(|grant| grant.client.is_some());
        let Some(grant) = grant.filter(|_| !is_newer && same_server) else { return Ok(None) };
        current_client(self.workspace, connector, auth, &before.connection, grant).await.map(Some)
    }

    /// The scopes that the user names now, else those of the last time, with those that are added.
    fn named_scopes(&self, rule: &ScopeRule) -> Vec<String> {
        let ConnectRequest { scopes, added_scopes, .. } = self.request;
        let named = match &self.previous {
            Some(Previous { connection, .. }) if scopes.is_empty() => {
                scopes::named_before(rule, &connection.scopes_requested, &connection.metadata)
            }
            _ => scopes.clone(),
        };
        if added_scopes.is_empty() { named } else { scopes::extended(rule, &named, added_scopes) }
    }

    /// Sees to it that `--scope` drops nothing by surprise: what the connection was granted and the request leaves out is
    /// shown and confirmed.
    fn confirm_dropped_scopes(&self, connector: &Connector, asked: &RequestedScopes) -> Result<(), ConnectError> {
        let Some(Previous { connection, .. }) = &self.previous else { return Ok(()) };
        if self.request.scopes.is_empty() || self.request.drops_scopes {
            return Ok(());
        }
        let asked: Vec<String> = asked.values().flatten().cloned().collect();
        let before = connection.scopes_granted.as_ref().unwrap_or(&connection.scopes_requested);
        let dropped = scopes::missing(connector, before, Some(&asked));
        if dropped.is_empty() {
            return Ok(());
        }
        if self.prompter.is_interactive() {
            let loss = format!("{} would no longer have: {}", connection.name, dropped.join(", "));
            if self.prompter.confirm(&loss, DefaultAnswer::No)? {
                return Ok(());
            }
        }
        Err(scopes_dropped(self.request, &connection.name, &asked, before, dropped))
    }
}
