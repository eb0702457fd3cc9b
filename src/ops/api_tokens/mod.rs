//! Operations on the tokens of the HTTP API.
//!
//! Each takes the token that asks for it, if one does. A token sees and changes only itself and the tokens that it led to,
//! and gives no right that it does not have; the owner at the machine has every right.

mod authenticate;
mod error;
mod trusts;

use std::collections::BTreeSet;
use std::time::Duration;

pub use authenticate::{RATE_WINDOW, admit, authenticate, record_usage};
pub use error::ApiTokenError;
use jiff::tz::TimeZone;
pub use trusts::{
    AddApiTokenTrustRequest, ApiTokenLoginError, ApiTokenLoginRequest, ApiTokenTrustError, EXCHANGE_PATH,
    ExchangeTokenRequest, IdentitySource, TokenExchangeError, add_trust, exchange_token, list_trusts, log_in,
    remove_trust,
};

use super::{Effect, Operation, OperationScope, Reach};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::{
    API_SCOPES, ApiToken, ApiTokenId, ApiTokenName, ApiTokenText, ApprovalPolicy, ConnectionId, ConnectionName,
    ExcessRight, MAX_API_TOKEN_LIFETIME, RateTier, ScopeGrant, ScopeGroup, UserId,
};
use crate::runtime::Workspace;
use crate::store::{ApiTokenRotation, ApiTokenWrite, Store, StoreError};
use crate::view::api_token::{
    ApiScopeListView, ApiScopeView, ApiTokenListView, ApiTokenUsageView, ApiTokenView, NewApiTokenView,
    RevokedApiTokensView,
};

const fn operation(name: &'static str, effect: Effect) -> Operation {
    Operation::local(name, OperationScope::ApiTokens, effect).reachable_by(Reach::Api)
}

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[
    operation("api-token create", Effect::Write),
    operation("api-token list", Effect::Read),
    operation("api-token show", Effect::Read),
    operation("api-token scopes", Effect::Read),
    operation("api-token update", Effect::Write),
    Operation::local("api-token update --tier", OperationScope::ApiTokens, Effect::Write),
    operation("api-token rotate", Effect::Write),
    operation("api-token revoke", Effect::Destroy),
    operation("api-token usage", Effect::Read),
    trusts::LOGIN,
    trusts::TRUST_ADD,
    trusts::TRUST_LIST,
    trusts::TRUST_REMOVE,
];

/// How often a change is tried again that another one came before.
const MAX_TRIES: usize = 5;

/// A token to create.
#[derive(Clone, Debug)]
pub struct CreateApiTokenRequest {
    pub name: String,
    pub user: Option<UserId>,
    /// Scopes and groups of scopes, as `connections:read` and `read:*`.
    pub scopes: Vec<String>,
    /// The connections that it is limited to. If empty, those of its creator, or all of the workspace.
    pub connections: Vec<ConnectionName>,
    /// The creator's if absent, and free if the owner creates it.
    pub tier: Option<RateTier>,
    /// The setting `api_tokens.expires_days` if absent, or the rest of its creator's time if that is less.
    pub expires_in: Option<Duration>,
    /// After how long its rotation is due.
    pub rotate_after: Option<Duration>,
    /// Which of its requests need a person's approval; those of its creator's that do if absent.
    pub approve: Option<ApprovalPolicy>,
}

/// Creates a token, in a new workspace if needed, and returns its text, once.
///
/// # Errors
/// [`ApiTokenError::UnknownScope`], [`ApiTokenError::NameTaken`], [`ApiTokenError::ExceedsToken`] for a right that its creator
/// does not have.
pub async fn create_token(
    workspace: &Workspace,
    request: CreateApiTokenRequest,
    creator: Option<&ApiToken>,
) -> Result<NewApiTokenView> {
    let now = workspace.clock.now();
    let name = parse_name(&request.name)?;
    let scopes = parse_scopes(&request.scopes)?;
    let default = Duration::from_secs(u64::from(workspace.engine.config.api_tokens.expires_days) * 86_400);
    let mut expires_at = end_of_lifetime(now, request.expires_in.unwrap_or(default))?;
    let store = workspace.store_or_new().await?;
    let mut connections = find_connections(workspace, &request.connections).await?;
    if let Some(creator) = creator {
        connections = connections.or_else(|| creator.connections.clone());
        if request.expires_in.is_none() {
            expires_at = expires_at.min(creator.expires_at);
        }
    }
    let id = ApiTokenId::random();
    let token = ApiToken {
        name,
        user: request.user.or_else(|| creator?.user.clone()),
        scopes,
        connections,
        tier: request.tier.unwrap_or_else(|| creator.map_or(RateTier::Free, |creator| creator.tier)),
        created_at: now,
        rotated_at: now,
        expires_at,
        last_used_at: None,
        is_enabled: true,
        parent: creator.map(|creator| creator.id.clone()),
        root: creator.map_or_else(|| id.clone(), |creator| creator.root.clone()),
        rotate_after: request.rotate_after,
        approve: request.approve.or(creator.map(|creator| creator.approve)).unwrap_or_default(),
        trust: creator.and_then(|creator| creator.trust.clone()),
        id,
    };
    check_within(&token, creator)?;
    let text = ApiTokenText::random();
    match store.api_tokens().insert(&token, &text.hash()).await? {
        ApiTokenWrite::Stored => {}
        ApiTokenWrite::NameTaken => return Err(ApiTokenError::NameTaken(token.name).into()),
        ApiTokenWrite::Conflict => return Err(ApiTokenError::Conflict(request.name).into()),
    }
    Ok(NewApiTokenView { token: view(store, token, now).await?, text: text.secret().clone() })
}

/// Lists the tokens, sorted by name; for a token, itself and those that it led to.
///
/// # Errors
/// The vault's.
pub async fn list_tokens(workspace: &Workspace, actor: Option<&ApiToken>) -> Result<ApiTokenListView> {
    if !workspace.has_vault() {
        return Ok(ApiTokenListView { tokens: Vec::new() });
    }
    let store = workspace.store().await?;
    let visible = visible_tokens(store, actor).await?;
    let names = ConnectionNames::load(store).await?;
    let now = workspace.clock.now();
    Ok(ApiTokenListView { tokens: visible.into_iter().map(|token| names.view(token, now)).collect() })
}

/// Returns a token, which is given by its id or its name.
///
/// # Errors
/// [`ApiTokenError::NotFound`].
pub async fn show_token(workspace: &Workspace, token: &str, actor: Option<&ApiToken>) -> Result<ApiTokenView> {
    let found = find(workspace, token, actor).await?;
    view(workspace.store().await?, found, workspace.clock.now()).await
}

/// Lists the scopes and groups of scopes that a token can have, with what each allows.
pub fn list_scopes() -> ApiScopeListView {
    let scopes = API_SCOPES.iter().map(|(scope, description)| ApiScopeView {
        scope: ScopeGrant::Scope(*scope),
        description: (*description).to_owned(),
    });
    let groups = ScopeGroup::ALL
        .into_iter()
        .map(|group| ApiScopeView { scope: ScopeGrant::Group(group), description: group.description().to_owned() });
    ApiScopeListView { scopes: scopes.collect(), groups: groups.collect() }
}

/// The connections that a token is to be limited to.
#[derive(Clone, Debug)]
pub enum ConnectionLimit {
    All,
    Only(Vec<ConnectionName>),
}

/// Changes to a token; absent values stay as they are.
#[derive(Clone, Debug)]
pub struct UpdateApiTokenRequest {
    /// The id or the name.
    pub token: String,
    pub name: Option<String>,
    pub is_enabled: Option<bool>,
    pub scopes: Option<Vec<String>>,
    pub connections: Option<ConnectionLimit>,
    /// Only the owner at the machine sets it.
    pub tier: Option<RateTier>,
    /// After how long its rotation is due; none to remove the schedule.
    pub rotate_after: Option<Option<Duration>>,
    /// Which of its requests need a person's approval.
    pub approve: Option<ApprovalPolicy>,
}

/// Changes a token. A token that asks for it can only take rights away.
///
/// # Errors
/// [`ApiTokenError::NotFound`], [`ApiTokenError::NameTaken`], [`ApiTokenError::UnknownScope`], [`ApiTokenError::TierIsLocal`],
/// [`ApiTokenError::ExceedsToken`], [`ApiTokenError::NoConnections`] for a token that would be enabled without any.
pub async fn update_token(
    workspace: &Workspace,
    request: UpdateApiTokenRequest,
    actor: Option<&ApiToken>,
) -> Result<ApiTokenView> {
    if actor.is_some() && request.tier.is_some() {
        return Err(ApiTokenError::TierIsLocal.into());
    }
    let store = workspace.store().await?;
    for _ in 0..MAX_TRIES {
        let old = find(workspace, &request.token, actor).await?;
        let new = changed(workspace, &old, &request).await?;
        if actor.is_some() {
            check_within(&new, Some(&old))?;
        } else if let Some(parent) = &old.parent
            && let Some(parent) = store.api_tokens().find(parent).await?
        {
            // An owner who has shortened the creator's life need not shorten this one's to change its name.
            let comparable = ApiToken { expires_at: new.expires_at.min(parent.expires_at), ..new.clone() };
            check_within(&comparable, Some(&parent))?;
        }
        match store.api_tokens().replace(&old, &new).await? {
            ApiTokenWrite::Stored => return view(store, new, workspace.clock.now()).await,
            ApiTokenWrite::NameTaken => return Err(ApiTokenError::NameTaken(new.name).into()),
            ApiTokenWrite::Conflict => {}
        }
    }
    Err(ApiTokenError::Conflict(request.token).into())
}

/// Returns a token with the changes of a request.
async fn changed(workspace: &Workspace, old: &ApiToken, request: &UpdateApiTokenRequest) -> Result<ApiToken> {
    let mut new = old.clone();
    if let Some(name) = &request.name {
        new.name = parse_name(name)?;
    }
    if let Some(scopes) = &request.scopes {
        new.scopes = parse_scopes(scopes)?;
    }
    match &request.connections {
        Some(ConnectionLimit::All) => new.connections = None,
        Some(ConnectionLimit::Only(names)) => new.connections = find_connections(workspace, names).await?,
        None => {}
    }
    new.tier = request.tier.unwrap_or(new.tier);
    new.rotate_after = request.rotate_after.unwrap_or(new.rotate_after);
    new.approve = request.approve.unwrap_or(new.approve);
    new.is_enabled = request.is_enabled.unwrap_or(new.is_enabled);
    let is_empty = new.connections.as_ref().is_some_and(Vec::is_empty);
    if is_empty && request.is_enabled == Some(true) {
        return Err(ApiTokenError::NoConnections(new.name).into());
    }
    Ok(new)
}

/// A new text for a token.
#[derive(Clone, Debug)]
pub struct RotateApiTokenRequest {
    /// The id or the name.
    pub token: String,
    /// For how long the present text is accepted as well.
    pub grace: Duration,
    /// For how long the new text is valid; as long as the present one was made for if absent.
    pub expires_in: Option<Duration>,
}

/// Replaces the text of a token and returns the new one, once. A token that rotates itself or one that it led to does not
/// make it valid for longer than itself.
///
/// # Errors
/// [`ApiTokenError::NotFound`], [`ApiTokenError::TooLong`], [`ApiTokenError::ExceedsToken`] for an expiry after its creator's.
pub async fn rotate_token(
    workspace: &Workspace,
    request: RotateApiTokenRequest,
    actor: Option<&ApiToken>,
) -> Result<NewApiTokenView> {
    let store = workspace.store().await?;
    let now = workspace.clock.now();
    let old = find(workspace, &request.token, actor).await?;
    let parent = match &old.parent {
        Some(parent) => store.api_tokens().find(parent).await?,
        None => None,
    };
    let lifetime = old.expires_at.duration_since(old.rotated_at).unsigned_abs();
    let mut expires_at = end_of_lifetime(now, request.expires_in.unwrap_or(lifetime))?;
    for limit in [actor, parent.as_ref()].into_iter().flatten() {
        if limit.expires_at < expires_at && request.expires_in.is_some() {
            let right = ExcessRight::Expiry(limit.expires_at);
            return Err(ApiTokenError::ExceedsToken { id: limit.id.clone(), right }.into());
        }
        expires_at = expires_at.min(limit.expires_at);
    }
    let previous_until = if request.grace.is_zero() { None } else { Some(end_of_lifetime(now, request.grace)?) };
    let text = ApiTokenText::random();
    let rotation = ApiTokenRotation {
        hash: text.hash(),
        rotated_at: now,
        expires_at,
        // The present text does not outlive its own expiry.
        previous_until: previous_until.map(|until| until.min(old.expires_at)),
    };
    let rotated = store.api_tokens().rotate(&old.id, &rotation).await?;
    let rotated = rotated.ok_or(ApiTokenError::NotFound(request.token))?;
    Ok(NewApiTokenView { token: view(store, rotated, now).await?, text: text.secret().clone() })
}

/// Revokes a token and those that it led to: they are deleted at once, with their usage.
///
/// # Errors
/// [`ApiTokenError::NotFound`].
pub async fn revoke_token(
    workspace: &Workspace,
    token: &str,
    actor: Option<&ApiToken>,
) -> Result<RevokedApiTokensView> {
    let found = find(workspace, token, actor).await?;
    let store = workspace.store().await?;
    let names = ConnectionNames::load(store).await?;
    let now = workspace.clock.now();
    let revoked = store.api_tokens().revoke(&found.id).await?;
    Ok(RevokedApiTokensView { revoked: revoked.into_iter().map(|token| names.view(token, now)).collect() })
}

/// Returns the tokens that would be revoked with a token, itself first. It changes nothing.
///
/// # Errors
/// [`ApiTokenError::NotFound`].
pub async fn preview_revocation(workspace: &Workspace, token: &str) -> Result<RevokedApiTokensView> {
    let found = find(workspace, token, None).await?;
    let store = workspace.store().await?;
    let names = ConnectionNames::load(store).await?;
    let now = workspace.clock.now();
    let mut led_to = visible_tokens(store, Some(&found)).await?;
    led_to.sort_by_key(|token| token.id != found.id);
    Ok(RevokedApiTokensView { revoked: led_to.into_iter().map(|token| names.view(token, now)).collect() })
}

/// Returns how often a token was used since a time, by day in UTC, operation and outcome.
///
/// # Errors
/// [`ApiTokenError::NotFound`].
pub async fn token_usage(
    workspace: &Workspace,
    token: &str,
    since: Timestamp,
    actor: Option<&ApiToken>,
) -> Result<ApiTokenUsageView> {
    let found = find(workspace, token, actor).await?;
    let since = since.to_zoned(TimeZone::UTC).date();
    let counts = workspace.store().await?.api_tokens().usage(&found.id, since).await?;
    Ok(ApiTokenUsageView::new(found, since, counts))
}

/// Returns the tokens that an actor may see: all of them for the owner, else the actor itself and those that it led to.
pub(super) async fn visible_tokens(store: &dyn Store, actor: Option<&ApiToken>) -> Result<Vec<ApiToken>> {
    let all = store.api_tokens().list().await?;
    let Some(actor) = actor else { return Ok(all) };
    let mut visible: BTreeSet<ApiTokenId> = BTreeSet::from([actor.id.clone()]);
    let is_made_by = |token: &ApiToken, visible: &BTreeSet<ApiTokenId>| {
        token.parent.as_ref().is_some_and(|parent| visible.contains(parent))
    };
    // A chain is as long as the number of tokens at most.
    for _ in 0..all.len() {
        let made: Vec<_> =
            all.iter().filter(|token| is_made_by(token, &visible)).map(|token| token.id.clone()).collect();
        let before = visible.len();
        visible.extend(made);
        if visible.len() == before {
            break;
        }
    }
    Ok(all.into_iter().filter(|token| visible.contains(&token.id)).collect())
}

/// Finds a token by its id or its name among those that an actor may see.
async fn find(workspace: &Workspace, token: &str, actor: Option<&ApiToken>) -> Result<ApiToken> {
    let not_found = || ApiTokenError::NotFound(token.to_owned());
    if !workspace.has_vault() {
        return Err(not_found().into());
    }
    let visible = visible_tokens(workspace.store().await?, actor).await?;
    let found = visible.into_iter().find(|one| one.id.as_str() == token || one.name.as_str() == token);
    Ok(found.ok_or_else(not_found)?)
}

/// Refuses a token with a right that the one which creates or changes it does not have.
fn check_within(token: &ApiToken, limits: Option<&ApiToken>) -> Result<(), ApiTokenError> {
    let Some(limits) = limits else { return Ok(()) };
    match token.excess_over(limits) {
        Some(right) => Err(ApiTokenError::ExceedsToken { id: limits.id.clone(), right }),
        None => Ok(()),
    }
}

fn parse_name(text: &str) -> Result<ApiTokenName, ApiTokenError> {
    text.parse().map_err(|_| ApiTokenError::InvalidName(text.to_owned()))
}

/// Reads scopes and groups, sorted, each once.
///
/// # Errors
/// [`ApiTokenError::UnknownScope`], [`ApiTokenError::NoScopes`].
pub fn parse_scopes(texts: &[String]) -> Result<Vec<ScopeGrant>, ApiTokenError> {
    let grants: BTreeSet<ScopeGrant> = texts
        .iter()
        .map(|text| ScopeGrant::known(text))
        .collect::<Result<_, _>>()
        .map_err(ApiTokenError::UnknownScope)?;
    if grants.is_empty() { Err(ApiTokenError::NoScopes) } else { Ok(grants.into_iter().collect()) }
}

/// Returns the end of a lifetime that begins now.
fn end_of_lifetime(now: Timestamp, lifetime: Duration) -> Result<Timestamp, ApiTokenError> {
    if lifetime.is_zero() {
        return Err(ApiTokenError::InvalidLifetime("0s".to_owned()));
    }
    let end = (lifetime <= MAX_API_TOKEN_LIFETIME).then(|| now.checked_add(lifetime).ok()).flatten();
    end.ok_or(ApiTokenError::TooLong)
}

/// Returns the ids of connections, sorted; `None` if no connection is named.
async fn find_connections(workspace: &Workspace, names: &[ConnectionName]) -> Result<Option<Vec<ConnectionId>>> {
    let mut ids = BTreeSet::new();
    for name in names {
        ids.insert(workspace.connection(name).await?.id);
    }
    Ok(Some(ids.into_iter().collect::<Vec<_>>()).filter(|ids| !ids.is_empty()))
}

/// The names of connections, by id.
struct ConnectionNames(Vec<(ConnectionId, ConnectionName)>);

impl ConnectionNames {
    async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let all = store.connections().list().await?;
        Ok(Self(all.into_iter().map(|connection| (connection.id, connection.name)).collect()))
    }

    fn view(&self, token: ApiToken, now: Timestamp) -> ApiTokenView {
        let named = |ids: &Vec<ConnectionId>| {
            self.0.iter().filter(|(id, _)| ids.contains(id)).map(|(_, name)| name.clone()).collect()
        };
        let connections = token.connections.as_ref().map(named);
        ApiTokenView::new(token, connections, now)
    }
}

async fn view(store: &dyn Store, token: ApiToken, now: Timestamp) -> Result<ApiTokenView> {
    Ok(ConnectionNames::load(store).await?.view(token, now))
}
