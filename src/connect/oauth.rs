//! Grants from the vendor: by code, by device, by the client's own credentials, or in the redirect's fragment.

use std::collections::BTreeMap;

use super::flow::{Flow, USERINFO};
use super::redirect::Redirection;
use super::talk::Interrupted;
use super::{AppSource, ConnectError, Event, Question, Registered, apps, find_client, follow_up};
use crate::connector::scopes::{self, Asked};
use crate::connector::{AppServer, ClientSecretRule, Fragment, GrantKind, OAuth2, ScopeRule, app_server};
use crate::env;
use crate::error::Result;
use crate::model::{Client, Grant, Renewal};
use crate::oauth::access::{after, current_client};
use crate::oauth::callback::Callback;
use crate::oauth::lifetime::lifetime;
use crate::oauth::start::Handover;
use crate::oauth::{OAuthError, Party, Tokens, authorize, device};
use crate::runtime::Session;
use crate::sandbox;

/// Runs the grant that the wish names, else the connector's usual one, and notes in the session what came with it.
pub(super) async fn grant(flow: &Flow<'_>, session: &mut Session, rules: &OAuth2) -> Result<Grant> {
    let kind = if flow.wish.device {
        GrantKind::DeviceCode
    } else if flow.wish.client_credentials {
        GrantKind::ClientCredentials
    } else {
        rules.grants.first().copied().unwrap_or(GrantKind::AuthorizationCode)
    };
    let (client, unassigned) = flow.client(session, kind, Some(rules.client_secret))?;
    let named = flow.named_scopes(rules);
    let mut asked = scopes::to_ask(&rules.scope, &named);
    let for_people = rules.grants.iter().any(|kind| *kind != GrantKind::ClientCredentials);
    if kind == GrantKind::ClientCredentials && for_people && named.is_empty() {
        // The defaults are meant for a person's consent; a machine gets what its client is registered for.
        asked.clear();
    }
    let redirect = match kind {
        GrantKind::AuthorizationCode => Some(flow.redirection(&rules.redirect, session)?),
        GrantKind::DeviceCode | GrantKind::ClientCredentials => None,
    };
    let view = session.clone();
    let redirect_uri = redirect.as_ref().map(Redirection::uri);
    let party = Party::of(&view, flow.app, client.clone(), redirect_uri).await;
    let party = party.map_err(|error| flow.failed(error))?;
    if let Some((source, server)) = unassigned {
        apps::assign(flow.app, &session.connector.id, source, &server)?;
    }
    if rules.issuer.is_some() && flow.named_scopes(rules).is_empty() {
        scopes::leave_out_unlisted(&mut asked, &rules.scope, &party.endpoints.scopes);
    }
    let connection = &mut session.connection;
    connection.scopes_asked = asked.values().flatten().cloned().collect();
    let tokens = match redirect {
        Some(redirect) => {
            let (tokens, callback) = by_code(flow, &view, &party, redirect, &asked).await?;
            let kept = rules.callback_keep.iter();
            let found =
                kept.filter_map(|(name, parameter)| Some((name.clone(), callback.query.get(parameter)?.clone())));
            connection.kept.extend(found);
            tokens
        }
        None if kind == GrantKind::DeviceCode => by_device(flow, &party, &asked).await?,
        None => party.client_credentials(&connection.scopes_asked).await.map_err(|error| flow.failed(error))?,
    };
    // There is no user to ask about where a client stands for itself.
    let userinfo = party.endpoints.userinfo.as_ref().filter(|_| kind != GrantKind::ClientCredentials);
    connection.kept.extend(userinfo.map(|url| (USERINFO.to_owned(), url.to_string())));
    connection.kept.extend(tokens.kept.clone());
    if let (true, Some(param)) = (party.falls_back.get(), &rules.client_auth_param) {
        // What the server took is shown again by each refresh.
        connection.kept.insert(param.clone(), "post".to_owned());
    }
    connection.account.clone_from(&tokens.account);
    connection.scopes_granted = tokens.scopes.clone();
    let grant = flow.grant_of(tokens, client, kind);
    if let Some(declared) = &rules.follow_up {
        let kept = follow_up::choose(flow, session, declared, &grant).await?;
        session.connection.kept.extend(kept);
    }
    Ok(grant)
}

async fn by_code(
    flow: &Flow<'_>,
    session: &Session,
    party: &Party<'_>,
    redirect: Redirection,
    asked: &Asked,
) -> Result<(Tokens, Callback)> {
    let pending = authorize::request(party, redirect.uri(), asked).map_err(|error| flow.failed(error))?;
    let (callback, browser) = flow.receive(redirect, &pending, "code", session).await?;
    let exchanged = party.exchange_code(&callback.code, &pending.redirect_uri, pending.verifier.as_ref()).await;
    if let Some(browser) = browser {
        let outcome = match &exchanged {
            Ok(_) => connected(session),
            Err(_) => format!("{} was not connected. The terminal shows why.", session.connector.name),
        };
        browser.tell(&outcome).await;
    }
    Ok((exchanged.map_err(|error| flow.failed(error))?, callback))
}

fn connected(session: &Session) -> String {
    format!("{} is connected. You can close this page and go back to the terminal.", session.connector.name)
}

async fn by_device(flow: &Flow<'_>, party: &Party<'_>, asked: &Asked) -> Result<Tokens> {
    let authorization = device::start(party, asked).await.map_err(|error| flow.failed(error))?;
    let complete = authorization.verification_uri_complete.as_ref();
    flow.talk.tell(&Event::Device {
        verification_uri: authorization.verification_uri.as_str(),
        verification_uri_complete: complete.map(url::Url::as_str),
        user_code: &authorization.user_code,
        expires_in: authorization.expires_in.as_secs(),
    });
    let page = complete.unwrap_or(&authorization.verification_uri);
    // Lives until the flow has ended. Where it cannot be served no browser is opened: the page has been printed.
    let openable = flow.wish.open_browser && authorize::check_openable(page).is_ok();
    let handover = openable.then(|| Handover::start(page)).and_then(Result::ok);
    if let Some(handover) = &handover {
        flow.talk.open_browser(handover.url());
    }
    tokio::select! {
        tokens = device::poll(party, &authorization, flow.wish.timeout) => Ok(tokens.map_err(|error| flow.failed(error))?),
        _ = tokio::signal::ctrl_c() => Err(Interrupted.into()),
    }
}

/// A token that the vendor hands to the browser in the redirect's fragment.
pub(super) async fn fragment_grant(flow: &Flow<'_>, session: &mut Session, fragment: &Fragment) -> Result<Grant> {
    let (client, unassigned) = flow.client(session, GrantKind::AuthorizationCode, None)?;
    if let Some((source, server)) = unassigned {
        apps::assign(flow.app, &session.connector.id, source, &server)?;
    }
    let asked = scopes::to_ask(&fragment.scope, &flow.with_added(&fragment.scope, &flow.wish.scopes));
    session.connection.scopes_asked = asked.values().flatten().cloned().collect();
    let redirect = flow.redirection(&fragment.redirect, session)?;
    let mut values = session.values(None);
    values.set("client_id", &client.id);
    let pending = authorize::fragment_request(fragment, &values, &session.route, redirect.uri(), &asked);
    let pending = pending.map_err(|error| flow.failed(error))?;
    let (callback, browser) = flow.receive(redirect, &pending, &fragment.token, session).await?;
    if let Some(browser) = browser {
        browser.tell(&connected(session)).await;
    }
    Ok(Grant {
        access_token: callback.code,
        refresh_token: None,
        fields: BTreeMap::new(),
        client: Some(client),
        issued_at: flow.app.clock.now(),
        expires_at: None,
        refresh_expires_at: None,
        renewal: Renewal::None,
    })
}

impl Flow<'_> {
    /// An error of the protocol, with the connector whose flow it ended.
    pub(super) fn failed(&self, source: OAuthError) -> ConnectError {
        ConnectError::OAuth { requested: self.wish.requested(), offers: self.offers.clone(), source: Box::new(source) }
    }

    fn grant_of(&self, tokens: Tokens, client: Client, kind: GrantKind) -> Grant {
        let now = self.app.clock.now();
        let expires_at = lifetime(&tokens, None, now).and_then(|seconds| after(now, seconds));
        Grant {
            renewal: match (kind, &tokens.refresh_token) {
                (GrantKind::ClientCredentials, _) => Renewal::ClientCredentials,
                (_, Some(_)) => Renewal::RefreshToken,
                (_, None) => Renewal::None,
            },
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            fields: tokens.secrets,
            client: Some(client),
            issued_at: now,
            expires_at,
            refresh_expires_at: tokens.refresh_lifetime.and_then(|seconds| after(now, seconds)),
        }
    }

    /// The OAuth client: given, the sandbox's, the connection's own, registered for the server, or asked for; and the server
    /// that a registered one is to be assigned to. `rule` is absent where the flow shows no secret.
    fn client(
        &self,
        session: &Session,
        kind: GrantKind,
        rule: Option<ClientSecretRule>,
    ) -> Result<(Client, Option<(AppSource, AppServer)>)> {
        let Session { connector, auth, connection, .. } = session;
        let server = app_server(connector, auth, &connection.params);
        let mut unassigned = None;
        let found = match &self.wish.client {
            Some(client) => Some(client.clone()),
            None if self.wish.sandbox => {
                let (id, secret) = sandbox::sandbox_client(connector, &self.app.sandbox_seed()?);
                Some(Client { id, secret: Some(secret) })
            }
            None => {
                let registered = find_client(self.app, &connector.id, server.as_ref())?;
                match self.own_client(session, server.as_ref(), registered.as_ref())? {
                    Some(own) => Some(own),
                    None => registered.map(|found| {
                        unassigned = server.clone().filter(|_| found.unassigned).map(|server| (found.source, server));
                        found.client
                    }),
                }
            }
        };
        let mut client = match found {
            Some(client) => client,
            None if self.talk.is_interactive() => self.ask_client()?,
            None => {
                let requested = self.wish.requested();
                return Err(match server {
                    Some(server) => ConnectError::NoAppAt { requested, server: Box::new(server) },
                    None => ConnectError::NoApp { requested },
                }
                .into());
            }
        };
        if client.id.is_empty() {
            return Err(ConnectError::NoApp { requested: self.wish.requested() }.into());
        }
        if client.secret.is_none() && !self.wish.sandbox {
            client.secret = env::secret(&env::CLIENT_SECRET);
        }
        let required = match rule {
            None => false,
            Some(ClientSecretRule::Required) => true,
            Some(ClientSecretRule::Optional) => kind == GrantKind::ClientCredentials,
            Some(ClientSecretRule::OptionalForDevice) => kind != GrantKind::DeviceCode,
        };
        if required && client.secret.is_none() {
            return Err(ConnectError::NoSecret { requested: self.wish.requested() }.into());
        }
        Ok((client, unassigned))
    }

    /// The client that the connection was made with, with the secret that it has today; absent where the connection is to
    /// lead to another server now, and where an app was registered for the same server since.
    fn own_client(
        &self,
        session: &Session,
        server: Option<&AppServer>,
        registered: Option<&Registered>,
    ) -> Result<Option<Client>> {
        let Some(before) = &self.before else { return Ok(None) };
        let Session { connector, auth, .. } = session;
        let is_newer = registered.is_some_and(|app| {
            !app.unassigned && app.updated_at.is_some_and(|updated_at| updated_at > before.connection.connected_at)
        });
        let known = app_server(connector, auth, &before.connection.params);
        let same_server = known.as_ref().map(|known| &known.url) == server.map(|server| &server.url);
        if before.grant.client.is_none() || is_newer || !same_server {
            return Ok(None);
        }
        current_client(self.app, connector, auth, &before.connection, &before.grant).map(Some)
    }

    /// The scopes that the user names now, else those of the last time, with those that are added. Where a request has
    /// several lists, what was kept does not say which scope was in which.
    fn named_scopes(&self, rules: &OAuth2) -> Vec<String> {
        let named = match &self.before {
            Some(before) if self.wish.scopes.is_empty() && rules.scope.also.is_empty() => {
                &before.connection.scopes_asked
            }
            _ => &self.wish.scopes,
        };
        self.with_added(&rules.scope, named)
    }

    fn with_added(&self, rule: &ScopeRule, named: &[String]) -> Vec<String> {
        let added = &self.wish.added_scopes;
        if added.is_empty() {
            return named.to_vec();
        }
        let before = self.before.as_ref().map(|before| &before.connection.scopes_asked);
        let base = if self.wish.scopes.is_empty() { before.map_or(&[][..], Vec::as_slice) } else { named };
        scopes::to_add(rule, base, added)
    }

    fn ask_client(&self) -> Result<Client, ConnectError> {
        let ask = |prompt, secret, missing| self.talk.ask(&Question::Text { prompt, example: None, secret, missing });
        let id = ask("Client ID of your app", false, "--client-id ID")?;
        let secret = ask("Client secret (empty for none)", true, "--client-secret-file FILE")?;
        Ok(Client { id: id.expose().clone(), secret: Some(secret).filter(|secret| !secret.is_empty()) })
    }
}
