//! The flow of `integ connect`: choose the authentication method, get a grant, identify the account, store it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::guide::prompt_valid;
use super::{
    ConnectError, ConnectPurpose, ConnectRequest, ConnectResult, PromptQuestion, Prompter, api_key, follow_up, oauth,
    resource,
};
use crate::connector::{AuthMethod, Connector, ConnectorError, GrantType, Param, parse_param};
use crate::error::Result;
use crate::health::{self, HealthOutcome};
use crate::http::Route;
use crate::model::{
    Account, Connection, ConnectionId, ConnectionMode, ConnectionName, Expiry, Grant, GrantStatus, NewConnection,
    RefreshMethod, connect_command,
};
use crate::oauth::AuthCapabilities;
use crate::oauth::callback_listener::WaitingBrowser;
use crate::oauth::outcome_page::{OutcomePage, SignInOutcome};
use crate::runtime::{Session, Workspace, live_route};
use crate::store::Store;
use crate::vault::ConnectionWithGrant;
use crate::{duration, sandbox};

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
    let from_url = match &request.url {
        Some(url) => Some(resource::request_for_url(workspace, request, url).await?),
        None => None,
    };
    let request = from_url.as_ref().unwrap_or(request);
    let connector = workspace.engine.catalogue.get(&request.connector)?;
    let name = ConnectionName::new(&connector.id, request.account.as_deref())?;
    // Before anybody consents to anything: can the grant be stored?
    let store = workspace.store_or_new().await?;
    store.ensure_writable().await?;
    let mode = request.mode();
    ensure_name_available(store, request, &name).await?;
    let before = store.connections().find(&name).await?;
    ensure_same_user(request, before.as_ref())?;
    let previous = match before.filter(|before| before.has_target(mode, request.origin.as_ref())) {
        Some(connection) => {
            let loaded = workspace.engine.token_vault.load(store, &name).await.ok().flatten();
            Some(Previous { connection, loaded })
        }
        None => None,
    };
    let mut flow = ConnectFlow {
        workspace,
        request,
        prompter,
        previous,
        capabilities: AuthCapabilities::default(),
        is_guided: AtomicBool::new(false),
    };
    let (auth_name, auth) = flow.choose_auth(&connector)?;
    flow.capabilities = AuthCapabilities::from_auth(auth);
    let params = flow.resolve_params(&connector, auth_name, auth)?;
    let route = match (&request.origin, request.is_sandbox) {
        (_, true) => workspace.sandbox_route(&connector, auth_name, name.account(), &params).await?,
        (Some(origin), false) => Route::Origin(origin.clone()),
        (None, false) => live_route(&connector, auth_name, auth, &params),
    };
    let connection = flow.draft_connection(name, auth_name, params);
    flow.ensure_same_resource(auth, &connection)?;
    let mut session = Session { connection, auth: auth.clone(), connector: connector.clone(), route };
    let mut browser = None;
    let result = match Box::pin(flow.sign_in(&mut session, auth, &mut browser)).await {
        Ok(grant) => Box::pin(save_connection(workspace, request, session, grant, flow.previous.as_ref())).await,
        Err(error) => Err(error),
    };
    // The browser waits until it is certain how it ended.
    if let Some(browser) = browser {
        browser.show_outcome(flow.outcome_page(&connector, outcome(workspace, &connector, &result))).await;
    }
    result
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

impl ConnectFlow<'_> {
    /// Gets a grant from the vendor, or a key from the user. `browser` is set once one waits for the outcome.
    async fn sign_in(
        &self,
        session: &mut Session,
        auth: &AuthMethod,
        browser: &mut Option<WaitingBrowser>,
    ) -> Result<Grant> {
        match (&auth.oauth2, &auth.fragment) {
            // With a key of the user's, what `--with-token` gives is that key.
            (Some(rules), _) if self.request.token.is_none() || auth.main_field().is_some() => {
                oauth::grant(self, session, rules, browser).await
            }
            (_, Some(fragment)) if self.request.token.is_none() => {
                oauth::implicit_grant(self, session, fragment, browser).await
            }
            _ => api_key::grant(self, session).await,
        }
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

    fn prompt_param(
        &self,
        name: &str,
        param: &Param,
        parse: impl Fn(&str) -> Result<String, ConnectError>,
    ) -> Result<String, ConnectError> {
        if !self.prompter.is_interactive() {
            return Err(ConnectError::MissingParam {
                command: self.request.command(),
                name: name.to_owned(),
                prompt: param.prompt.clone(),
            });
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
    fn draft_connection(&self, name: ConnectionName, auth: &str, params: BTreeMap<String, String>) -> Connection {
        Connection {
            id: ConnectionId(0),
            name,
            mode: if self.request.is_sandbox { ConnectionMode::Sandbox } else { ConnectionMode::Live },
            auth: auth.to_owned(),
            origin: self.request.origin.clone(),
            params,
            metadata: BTreeMap::new(),
            account: None,
            user: self.request.user.clone(),
            scopes_requested: Vec::new(),
            scopes_granted: None,
            grant_status: GrantStatus::Active,
            status_reason: None,
            connected_at: self.workspace.engine.clock.now(),
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

/// Stores the grant. A name that belongs to another account already is left to it.
async fn save_connection(
    workspace: &Workspace,
    request: &ConnectRequest,
    mut session: Session,
    mut grant: Grant,
    before: Option<&Previous>,
) -> Result<ConnectResult> {
    let store = workspace.store().await?;
    let mut warnings = Vec::new();
    let existing = store.connections().find(&session.connection.name).await?;
    let taken = existing
        .filter(|existing| existing.has_target(request.mode(), request.origin.as_ref()) && existing.account.is_some());
    let mut account = None;
    let has_userinfo = session.connection.metadata.contains_key(USERINFO);
    if taken.is_some() || has_userinfo || session.auth.is_key() {
        let (report, _) = health::probe_grant(workspace, &session, &grant).await?;
        if has_userinfo && report.outcome == HealthOutcome::NeedsReauth {
            // The token was given a moment ago: it is meant for another audience, as those for an API of one's own are. The
            // endpoint says nothing of this grant, and is not asked again.
            session.connection.metadata.remove(USERINFO);
        }
        if report.outcome == HealthOutcome::NeedsReauth && session.auth.is_key() {
            // A key that the service refuses was mistyped; a grant that was just given is stored whatever a check says.
            let why = report.error_message.unwrap_or_default();
            return Err(ConnectError::KeyRejected { command: request.command(), why }.into());
        }
        account = report.account.filter(|_| report.outcome.is_healthy());
        if let (Some(existing), Some(found)) = (taken, &account)
            && Some(&found.id) != existing.account.as_ref().map(|account| &account.id)
        {
            let name = available_name(workspace, request, &session.connection.name, found).await?;
            let expected = existing.account.map(|account| account.name.unwrap_or(account.id)).unwrap_or_default();
            if request.purpose == ConnectPurpose::Reconnect {
                return Err(account_mismatch(request, existing.name, &name, &expected, found).into());
            }
            warnings.push(format!(
                "{} is connected to another account ({expected}), so this one is stored as {name}",
                existing.name
            ));
            session.connection.name = name;
        }
    }
    let connection = session.connection;
    if let Some(before) = before.filter(|before| before.connection.name == connection.name) {
        let loaded = before.loaded.as_ref();
        warnings
            .extend(loaded.and_then(|before| reuse_refresh_token(&mut grant, before, &connection, account.as_ref())));
    }
    warnings.extend(expiry_warning(&connection.name, &grant));
    let new = NewConnection {
        name: connection.name.clone(),
        mode: connection.mode,
        auth: connection.auth,
        origin: connection.origin,
        params: connection.params,
        metadata: connection.metadata,
        account: connection.account,
        user: connection.user,
        scopes_requested: connection.scopes_requested,
        scopes_granted: connection.scopes_granted,
        connected_at: workspace.engine.clock.now(),
    };
    let existing = store.connections().find(&new.name).await?;
    warnings.extend(existing.as_ref().and_then(|existing| changed_resource_warning(&session.auth, existing, &new)));
    let elsewhere = existing.filter(|found| !found.has_target(new.mode, new.origin.as_ref()));
    let saved = workspace.engine.token_vault.connect(store, &new, &grant).await?;
    workspace.notify_transition(saved.transition);
    warnings.extend(elsewhere.as_ref().map(removal_warning));
    warnings.extend(saved.warning.map(|warning| warning.to_string()));
    let report = health::check(workspace, &new.name).await?;
    if !report.outcome.is_healthy() {
        let why = report.error_message.clone().unwrap_or_else(|| report.outcome.as_str().to_owned());
        warnings.push(format!("{} is connected, but its health check failed: {why}", new.name));
    }
    warnings.extend(unlisted_scopes_warning(&session.connector, &new.scopes_requested));
    let connection = workspace.connection(&new.name).await?;
    Ok(ConnectResult { connection, missing_scopes: report.missing_scopes, warnings })
}

/// The outcome for a connection with another target and the same name.
fn removal_warning(removed: &Connection) -> String {
    let (name, target) = (&removed.name, removed.target().unwrap_or_default());
    format!("the connection {name} ({target}) was removed with its records, cursors, events, schedules and webhooks")
}

/// The error of a sign-in as another account than the one that was to be reconnected.
fn account_mismatch(
    request: &ConnectRequest,
    name: ConnectionName,
    free: &ConnectionName,
    expected: &str,
    found: &Account,
) -> ConnectError {
    ConnectError::AccountMismatch {
        name,
        expected: expected.into(),
        found: found.name.as_deref().unwrap_or(&found.id).into(),
        connect: connect_command(free, request.mode(), request.origin.as_ref()).into(),
    }
}

/// Says so if the connection that is replaced is of another resource of the same account, such as another site.
fn changed_resource_warning(auth: &AuthMethod, existing: &Connection, new: &NewConnection) -> Option<String> {
    let follow_up = auth.oauth2.as_ref()?.follow_up.as_ref()?;
    if !existing.has_target(new.mode, new.origin.as_ref()) {
        return None;
    }
    let before = follow_up::resource_id(follow_up, &existing.metadata)?;
    let now = follow_up::resource_id(follow_up, &new.metadata)?;
    (now != before).then(|| {
        format!(
            "{} was connected to another {}; its records and cursors are still those of that one",
            new.name, follow_up.choose_by
        )
    })
}

/// Keeps the refresh token of a grant that the same account gave to the same client before: some servers give one with the
/// first consent alone, and it stays good. Says so if it does.
fn reuse_refresh_token(
    grant: &mut Grant,
    before: &ConnectionWithGrant,
    connection: &Connection,
    account: Option<&Account>,
) -> Option<String> {
    let client = |grant: &Grant| grant.client.as_ref().map(|client| client.id.clone());
    let is_same = account.is_some_and(|account| before.connection.account.as_ref().map(|a| &a.id) == Some(&account.id))
        && client(grant) == client(&before.grant)
        && connection.auth == before.connection.auth;
    // One that was refused, or whose answer was lost, may be dead.
    let is_good =
        before.connection.grant_status == GrantStatus::Active && before.stored_grant.refresh_attempt.is_none();
    if grant.refresh_method != RefreshMethod::None
        || !before.grant.refresh_method.has_refresh_token()
        || !is_same
        || !is_good
    {
        return None;
    }
    grant.refresh_token = before.grant.refresh_token.clone();
    grant.refresh_expires_at = before.grant.refresh_expires_at;
    grant.refresh_method = before.grant.refresh_method;
    Some("the service returned no new refresh token; the old one stays in use".to_owned())
}

/// Says when a grant ends that nothing can renew.
fn expiry_warning(name: &ConnectionName, grant: &Grant) -> Option<String> {
    let lifetime = grant.lifetime().filter(|_| !grant.is_refreshable())?;
    let lifetime = duration::format(Duration::from_secs(lifetime.into()));
    Some(format!("the service gave no refresh token: {name} must be reconnected in {lifetime}"))
}

/// The value that discovery gives for the health check of OpenID servers.
pub(super) const USERINFO: &str = "userinfo_endpoint";

/// Scopes that the connector does not list: a slip, or newer than its file.
fn unlisted_scopes_warning(connector: &Connector, asked: &[String]) -> Option<String> {
    let strange: Vec<&str> =
        asked.iter().filter(|scope| !connector.scopes.contains_key(*scope)).map(String::as_str).collect();
    if strange.is_empty() || connector.scopes.is_empty() {
        return None;
    }
    let command = format!("integ connector show {}", connector.id);
    Some(format!("the connector does not list what was asked for: {} (`{command}` does)", strange.join(", ")))
}

/// `slack@acme-inc`, from the account's name, else its id; numbered where that is taken by yet another account.
async fn available_name(
    workspace: &Workspace,
    request: &ConnectRequest,
    name: &ConnectionName,
    account: &Account,
) -> Result<ConnectionName> {
    let text = account.name.as_deref().unwrap_or(&account.id);
    let mut slug: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || ".@_".contains(c) { c } else { '-' })
        .collect();
    slug = slug.trim_matches(|c: char| !c.is_ascii_alphanumeric()).chars().take(60).collect();
    if slug.is_empty() {
        "other".clone_into(&mut slug);
    }
    for number in 1.. {
        let label = if number == 1 { slug.clone() } else { format!("{slug}-{number}") };
        let candidate = ConnectionName::new(name.connector(), Some(&label))?;
        let existing = workspace.store().await?.connections().find(&candidate).await?;
        let same = |existing: &Connection| {
            existing.has_target(request.mode(), request.origin.as_ref())
                && existing.account.as_ref().is_none_or(|known| known.id == account.id)
        };
        if existing.is_none_or(|existing| same(&existing)) {
            return Ok(candidate);
        }
    }
    Ok(name.clone())
}
