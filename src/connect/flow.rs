//! The flow of `integ connect`: choose the authentication method, get a grant, identify the account, store it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use url::Url;

use super::guide::prompt_valid;
use super::save::save_connection;
use super::{ConnectError, ConnectRequest, ConnectResult, PromptQuestion, Prompter, api_key, oauth, resource};
use crate::connector::{AuthMethod, Connector, ConnectorError, GrantType, ImplicitFlow, OAuth2, Param, parse_param};
use crate::error::Result;
use crate::http::Route;
use crate::model::connection::GUARDED_HOSTS;
use crate::model::{
    Connection, ConnectionId, ConnectionMode, ConnectionName, Expiry, Grant, GrantStatus, RevealPolicy,
};
use crate::oauth::AuthCapabilities;
use crate::oauth::callback_listener::WaitingBrowser;
use crate::oauth::outcome_page::{OutcomePage, SignInOutcome};
use crate::runtime::{Session, Workspace, live_route};
use crate::sandbox;
use crate::store::Store;
use crate::vault::ConnectionWithGrant;

/// One run of `integ connect`: its environment, its request, and the person who can be asked.
pub(super) struct ConnectFlow<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) request: &'a ConnectRequest,
    pub(super) prompter: &'a dyn Prompter,
    /// The connection of this name, if it has the same target: settings that the request leaves out stay as they were.
    pub(super) previous: Option<Previous>,
    /// The capabilities of the chosen method, for hints.
    pub(super) capabilities: AuthCapabilities,
    /// The setup steps have been shown.
    pub(super) is_guided: AtomicBool,
    /// Where the callback comes to.
    pub(super) callback: CallbackTarget<'a>,
}

/// Where the callback of a sign-in comes to.
#[derive(Clone, Copy, Debug)]
pub(super) enum CallbackTarget<'a> {
    /// To a listener of this process, or to the person who pastes it.
    ThisProcess,
    /// To this URL, where any process may receive it.
    AnyProcess(&'a Url),
}

/// Where a grant comes from.
pub(super) enum GrantSource {
    OAuth(Box<OAuth2>),
    /// The redirect's fragment.
    Fragment(Box<ImplicitFlow>),
    /// The user.
    Key,
}

/// A connection that is connected again, as it was before.
pub(super) struct Previous {
    pub(super) connection: Connection,
    /// Absent where the keyring does not give its tokens, which is not a reason not to connect again.
    pub(super) loaded: Option<ConnectionWithGrant>,
}

/// Connects an account. What is granted is stored before anything else is done with it.
///
/// # Errors
/// Whatever stops the flow; nothing is then changed in the vault.
pub async fn connect(
    workspace: &Workspace,
    request: &ConnectRequest,
    prompter: &dyn Prompter,
) -> Result<ConnectResult> {
    let request = named_request(workspace, request).await?;
    let mut flow = ConnectFlow::new(workspace, &request, prompter, CallbackTarget::ThisProcess).await?;
    let mut session = Box::pin(flow.new_session()).await?;
    let connector = session.connector.clone();
    let mut browser = None;
    let result = match Box::pin(flow.sign_in(&mut session, &mut browser)).await {
        Ok(grant) => Box::pin(save_connection(&flow, session, grant)).await,
        Err(error) => Err(error),
    };
    // The browser waits until it is certain how it ended.
    if let Some(browser) = browser {
        browser.show_outcome(flow.outcome_page(&connector, outcome(workspace, &connector, &result))).await;
    }
    result
}

/// The request for a connector by its id: one for a URL is for the connector of such servers.
pub(super) async fn named_request<'r>(
    workspace: &Workspace,
    request: &'r ConnectRequest,
) -> Result<Cow<'r, ConnectRequest>> {
    Ok(match &request.url {
        Some(url) => Cow::Owned(resource::request_for_url(workspace, request, url).await?),
        None => Cow::Borrowed(request),
    })
}

/// The result, as the browser shows it.
fn outcome(workspace: &Workspace, connector: &Connector, result: &Result<ConnectResult>) -> SignInOutcome {
    match result {
        Ok(ConnectResult { connection, .. }) => SignInOutcome::Connected {
            connection: connection.name.to_string(),
            account: connection.account.as_ref().map(|account| account.name.clone().unwrap_or(account.id.clone())),
        },
        Err(error) => {
            let is_usual = workspace.name.as_str() == workspace.engine.config.workspace;
            let hint = error.hint();
            let hint = if is_usual { hint } else { hint.map(|hint| hint.in_workspace(workspace.name.as_str())) };
            let reason = error.on_one_line();
            // The page's title says so already.
            let title = format!("cannot connect {}: ", connector.id);
            SignInOutcome::Failed { reason: reason.strip_prefix(&title).unwrap_or(&reason).to_owned(), hint }
        }
    }
}

/// Refuses to give a connection of one of the caller's users to another one.
fn ensure_same_user(request: &ConnectRequest, before: Option<&Connection>) -> Result<(), ConnectError> {
    let before = before.filter(|before| before.has_target(request.mode(), request.origin.as_ref()));
    match (before, &request.user) {
        (Some(before), Some(user)) => match &before.user {
            Some(current) if current != user => Err(ConnectError::OtherUser {
                name: before.name.clone(),
                user: current.clone(),
                command: request.command_as("NAME"),
            }),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Refuses a name that belongs to a live connection with another target, before anybody consents.
async fn ensure_name_available(store: &dyn Store, request: &ConnectRequest, name: &ConnectionName) -> Result<()> {
    let mode = request.mode();
    let is_free =
        |existing: &Connection| existing.has_target(mode, request.origin.as_ref()) || existing.is_replaceable_by(mode);
    let Some(existing) = store.connections().find(name).await?.filter(|existing| !is_free(existing)) else {
        return Ok(());
    };
    let word = if request.is_sandbox { "sandbox" } else { "other" };
    let base = name.account().map_or_else(|| word.to_owned(), |account| format!("{account}-{word}"));
    let mut account = base.clone();
    for number in 2.. {
        let candidate = ConnectionName::new(name.connector(), Some(&account))?;
        if store.connections().find(&candidate).await?.is_none_or(|existing| is_free(&existing)) {
            break;
        }
        account = format!("{base}-{number}");
    }
    let command = ConnectRequest {
        connector: request.connector.clone(),
        url: request.url.clone(),
        account: Some(account),
        auth: request.auth.clone(),
        origin: request.origin.clone(),
        is_sandbox: request.is_sandbox,
        ..ConnectRequest::default()
    };
    let target = existing.target().map(|target| format!(" ({target})")).unwrap_or_default();
    Err(ConnectError::NameTaken { name: name.clone(), target, command: command.command().command }.into())
}

impl<'a> ConnectFlow<'a> {
    /// Begins a flow: checks that the grant can be stored under this name, before anybody consents to anything.
    pub(super) async fn new(
        workspace: &'a Workspace,
        request: &'a ConnectRequest,
        prompter: &'a dyn Prompter,
        callback: CallbackTarget<'a>,
    ) -> Result<Self> {
        let connector = workspace.catalogue().get(&request.connector)?;
        let name = ConnectionName::new(&connector.id, request.account.as_deref())?;
        if let Some(audit) = workspace.audit_entry() {
            audit.add_connection(&name, request.user.as_ref());
        }
        let store = workspace.store_or_new().await?;
        store.ensure_writable().await?;
        ensure_name_available(store, request, &name).await?;
        let before = store.connections().find(&name).await?;
        ensure_same_user(request, before.as_ref())?;
        let previous = match before.filter(|before| before.has_target(request.mode(), request.origin.as_ref())) {
            Some(connection) => {
                let loaded = workspace.engine.token_vault.load(store, &name).await.ok().flatten();
                Some(Previous { connection, loaded })
            }
            None => None,
        };
        Ok(Self {
            workspace,
            request,
            prompter,
            previous,
            capabilities: AuthCapabilities::default(),
            is_guided: AtomicBool::new(false),
            callback,
        })
    }

    /// Chooses the method and its parameters, and returns the connection as it will be, with its route.
    pub(super) async fn new_session(&mut self) -> Result<Session> {
        let connector = self.workspace.catalogue().get(&self.request.connector)?;
        let name = ConnectionName::new(&connector.id, self.request.account.as_deref())?;
        let (auth_name, auth) = self.choose_auth(&connector)?;
        self.set_capabilities(auth);
        let params = self.resolve_params(&connector, auth_name, auth)?;
        let connection = self.draft_connection(name, auth_name, params);
        self.ensure_same_resource(auth, &connection)?;
        self.session_of(Arc::clone(&connector), connection).await
    }

    /// Returns the session of a connection that is not stored yet.
    pub(super) async fn session_of(&self, connector: Arc<Connector>, connection: Connection) -> Result<Session> {
        let auth = connector.auth_method(Some(&connection.auth))?.1.clone();
        let (name, params) = (&connection.name, &connection.params);
        let route = match (&self.request.origin, self.request.is_sandbox) {
            (_, true) => self.workspace.sandbox_route(&connector, &connection.auth, name.account(), params).await?,
            (Some(origin), false) => Route::Origin(origin.clone()),
            (None, false) => {
                let source = self.workspace.engine.param_source(connection.is_guarded());
                live_route(&connector, &connection.auth, &auth, params, source)
            }
        };
        Ok(Session { connection, auth, connector, route })
    }

    /// Gets a grant from the vendor, or a key from the user. `browser` is set once one waits for the outcome.
    pub(super) async fn sign_in(&self, session: &mut Session, browser: &mut Option<WaitingBrowser>) -> Result<Grant> {
        match self.grant_source(&session.auth) {
            GrantSource::OAuth(rules) => oauth::grant(self, session, &rules, browser).await,
            GrantSource::Fragment(fragment) => oauth::implicit_grant(self, session, &fragment, browser).await,
            GrantSource::Key => api_key::grant(self, session).await,
        }
    }

    /// Where the grant comes from.
    pub(super) fn grant_source(&self, auth: &AuthMethod) -> GrantSource {
        match (&auth.oauth2, &auth.fragment) {
            // With a key of the user's, what `--with-token` gives is that key.
            (Some(rules), _) if self.request.token.is_none() || auth.main_field().is_some() => {
                GrantSource::OAuth(Box::new(rules.clone()))
            }
            (_, Some(fragment)) if self.request.token.is_none() => GrantSource::Fragment(Box::new(fragment.clone())),
            _ => GrantSource::Key,
        }
    }

    /// Notes what the chosen method offers, for hints.
    pub(super) fn set_capabilities(&mut self, auth: &AuthMethod) {
        self.capabilities = AuthCapabilities::from_auth(auth);
    }

    /// Whether values of the environment of this process belong to the person who connects.
    pub(super) fn reads_environment(&self) -> bool {
        matches!(self.callback, CallbackTarget::ThisProcess)
    }

    /// The last page of this sign-in.
    pub(super) fn outcome_page(&self, connector: &Connector, outcome: SignInOutcome) -> OutcomePage {
        OutcomePage { service: connector.name.clone(), is_sandbox: self.request.is_sandbox, outcome }
    }

    /// Returns the method that the request names, the one used before, or the first that fits the request.
    fn choose_auth<'c>(&self, connector: &'c Connector) -> Result<(&'c str, &'c AuthMethod)> {
        let request = self.request;
        if request.auth.is_some() {
            return connector.auth_method(request.auth.as_deref()).map_err(|error| match error {
                ConnectorError::UnknownAuthMethod { auth, known, .. } => {
                    // The command without the method that is not one.
                    let command = ConnectRequest { auth: None, ..request.clone() }.command();
                    ConnectError::UnknownAuth { command, auth, known }.into()
                }
                error => error.into(),
            });
        }
        let grants = |auth: &AuthMethod, kind| auth.oauth2.as_ref().is_some_and(|rules| rules.grants.contains(&kind));
        let fits = |auth: &AuthMethod| {
            if request.sign_in.device {
                grants(auth, GrantType::DeviceCode)
            } else if request.client_credentials {
                grants(auth, GrantType::ClientCredentials)
            } else {
                request.token.is_none() || auth.is_key()
            }
        };
        let before = self.previous.as_ref().and_then(|before| connector.auth.get_key_value(&before.connection.auth));
        let mut ways = before.into_iter().chain(&connector.auth);
        match ways.find(|(_, auth)| fits(auth)) {
            Some((name, auth)) => Ok((name.as_str(), auth)),
            // A token of an OAuth-only service can be pasted too: it then lives as long as it lives.
            None if request.token.is_some() => Ok(connector.auth_method(None)?),
            None => {
                let what =
                    if request.sign_in.device { "the device code grant" } else { "the client credentials grant" };
                Err(ConnectError::UnsupportedGrant { command: request.command(), grant: what }.into())
            }
        }
    }

    /// Returns the parameters of the method: those given, the sandbox's own, the defaults, and for the rest the user is asked.
    fn resolve_params(
        &self,
        connector: &Connector,
        auth_name: &str,
        auth: &AuthMethod,
    ) -> Result<BTreeMap<String, String>> {
        let mut params =
            if self.request.is_sandbox { sandbox::sandbox_params(connector, auth) } else { BTreeMap::new() };
        if let Some(before) = &self.previous {
            let still_known = before
                .connection
                .params
                .iter()
                .filter(|(name, _)| connector.params(auth).any(|(known, _)| known == *name));
            params.extend(still_known.map(|(name, value)| (name.clone(), value.clone())));
        }
        params.extend(explicit_params(connector, auth_name, auth, self.request)?);
        for (name, param) in connector.params(auth) {
            if let Some(value) = params.get(name) {
                if !param.choices.is_empty() && !param.choices.contains(value) {
                    return Err(ConnectError::InvalidChoice {
                        command: self.request.command(),
                        name: name.clone(),
                        value: value.clone(),
                        choices: param.choices.clone(),
                    }
                    .into());
                }
            } else if let Some(default) = &param.default {
                params.insert(name.clone(), default.clone());
            } else if !param.optional {
                if auth.presents_fields() {
                    // What is asked for is found where the key is made.
                    self.show_setup(connector, auth_name)?;
                }
                let parse = |text: &str| parse_given_param(connector, auth_name, auth, self.request, name, text);
                params.insert(name.clone(), self.prompt_param(name, param, parse)?);
            }
        }
        Ok(params)
    }

    /// The error of a value that the user would be asked for.
    pub(super) fn missing_param(&self, name: &str, prompt: &str) -> ConnectError {
        let (command, name, prompt) = (self.request.command(), name.to_owned(), prompt.to_owned());
        ConnectError::MissingParam { command, name, prompt }
    }

    fn prompt_param(
        &self,
        name: &str,
        param: &Param,
        parse: impl Fn(&str) -> Result<String, ConnectError>,
    ) -> Result<String, ConnectError> {
        if !self.prompter.is_interactive() {
            return Err(self.missing_param(name, &param.prompt));
        }
        if !param.choices.is_empty() {
            return Ok(param.choices[self.prompter.select(&param.prompt, &param.choices)?].clone());
        }
        let missing = format!("--param {name}=VALUE");
        let example = param.example.as_deref();
        let question = PromptQuestion::Text { prompt: &param.prompt, example, is_secret: false, flag_hint: &missing };
        prompt_valid(self.prompter, &question, |value| parse(value.expose()))
    }

    /// Returns the connection as it will be, to build requests with before it is stored.
    pub(super) fn draft_connection(
        &self,
        name: ConnectionName,
        auth: &str,
        params: BTreeMap<String, String>,
    ) -> Connection {
        // Callers chose the hosts of what they installed.
        let is_guarded = self.request.is_guarded
            || self.workspace.catalogue().is_of_workspace(name.connector())
            || self.previous.as_ref().is_some_and(|before| !self.reads_environment() && before.connection.is_guarded());
        let metadata = is_guarded.then(|| (GUARDED_HOSTS.to_owned(), "true".to_owned())).into_iter().collect();
        Connection {
            id: ConnectionId(0),
            name,
            mode: if self.request.is_sandbox { ConnectionMode::Sandbox } else { ConnectionMode::Live },
            auth: auth.to_owned(),
            origin: self.request.origin.clone(),
            params,
            metadata,
            account: None,
            user: self.request.user.clone(),
            reveal: RevealPolicy::default(),
            scopes_requested: Vec::new(),
            scopes_granted: None,
            grant_status: GrantStatus::Active,
            status_reason: None,
            connected_at: self.workspace.clock.now(),
            expiry: Expiry::default(),
            last_check: None,
            error_count: 0,
            last_error: None,
        }
    }
}

/// What `--param` gives. What is not a secret of a key may be given so too; it is stored with the key, not here.
fn explicit_params(
    connector: &Connector,
    auth_name: &str,
    auth: &AuthMethod,
    request: &ConnectRequest,
) -> Result<BTreeMap<String, String>, ConnectError> {
    let chooses = auth.oauth2.as_ref().and_then(|rules| rules.follow_up.as_ref()).map(|follow_up| &follow_up.choose_by);
    let declared = connector.params(auth).map(|(name, _)| name);
    let known: Vec<String> = declared.chain(chooses).chain(auth.fields.keys()).cloned().collect();
    if let Some(name) = request.params.keys().chain(request.files.keys()).find(|name| !known.contains(name)) {
        return Err(ConnectError::UnknownParam { command: request.command(), name: name.clone(), known });
    }
    let is_secret = |name: &&String| auth.fields.get(*name).is_some_and(|field| field.secret || field.kind.is_file());
    if let Some(name) = request.params.keys().find(is_secret) {
        return Err(ConnectError::SecretInArguments { command: request.command(), name: name.clone() });
    }
    let files = request.files.iter().map(|(name, text)| (name, text.expose()));
    let params = request.params.iter().chain(files).filter(|(name, _)| !auth.fields.contains_key(*name));
    params
        .map(|(name, value)| Ok((name.clone(), parse_given_param(connector, auth_name, auth, request, name, value)?)))
        .collect()
}

/// Parses a value that the user gave for a parameter, with [`parse_param`].
pub(super) fn parse_given_param(
    connector: &Connector,
    auth_name: &str,
    auth: &AuthMethod,
    request: &ConnectRequest,
    name: &str,
    given: &str,
) -> Result<String, ConnectError> {
    let param = connector.params(auth).find(|(known, _)| *known == name).map(|(_, param)| param);
    parse_param(connector, auth_name, auth, name, given).map_err(|expected| ConnectError::InvalidParam {
        command: request.command(),
        name: name.into(),
        value: given.into(),
        expected,
        example: param.and_then(|param| param.example.clone().or_else(|| param.default.clone())),
    })
}
