//! API tokens for CI jobs, which present an identity token of their CI system in place of a stored secret.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use thiserror::Error;
use url::Url;

use super::{ConnectionNames, find_connections, parse_name, parse_scopes};
use crate::audit::AuditCaller;
use crate::clock::Timestamp;
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::http::{HttpError, Request, Route};
use crate::model::{
    ApiToken, ApiTokenId, ApiTokenName, ApiTokenText, ApiTokenTrust, ApprovalPolicy, AuditActor, ConnectionName,
    MAX_TRUST_NAME_BYTES, MAX_TRUSTED_LIFETIME, RateTier, TokenExchange, TokenExchangeResult,
};
use crate::oauth::issuer_keys::{IssuerKeys, IssuerKeysError};
use crate::ops::{Effect, Operation, OperationScope};
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::signing::identity_token::{IdentityClaims, IdentityToken, IdentityTokenError};
use crate::view::api_token::{
    ApiTokenLoginView, ApiTokenTrustListView, ApiTokenTrustView, NewApiTokenView, RemovedApiTokenTrustView,
};

const fn owner_operation(name: &'static str, effect: Effect) -> Operation {
    Operation::local(name, OperationScope::ApiTokens, effect)
}

/// The exchange of an identity token, as it is in the audit log.
pub(super) const LOGIN: Operation = owner_operation("api-token login", Effect::Write);

pub(super) const TRUST_ADD: Operation = owner_operation("api-token trust add", Effect::Write);
pub(super) const TRUST_LIST: Operation = owner_operation("api-token trust list", Effect::Read);
pub(super) const TRUST_REMOVE: Operation = owner_operation("api-token trust remove", Effect::Destroy);

/// The path of the API at which identity tokens are exchanged.
pub const EXCHANGE_PATH: &str = "/v1/api-token-exchanges";

/// Bytes of an answer of a CI system or of a server.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Why a trust cannot be added or removed.
#[derive(Debug, Error)]
pub enum ApiTokenTrustError {
    #[error("trust \"{0}\" not found")]
    NotFound(ApiTokenName),
    #[error("trust \"{0}\" already exists")]
    NameTaken(ApiTokenName),
    #[error("the name of a trust has at most {MAX_TRUST_NAME_BYTES} bytes")]
    NameTooLong,
    #[error("invalid issuer {0:?}")]
    InvalidIssuer(String),
    #[error("a trust needs a claim in addition to issuer and audience")]
    NoClaims,
    #[error("a trust needs a connection")]
    NoConnections,
    #[error("the tokens of a trust are valid for at least a minute and at most an hour")]
    InvalidLifetime,
}

impl Remedy for ApiTokenTrustError {
    fn diagnostic(&self) -> Diagnostic {
        let usage = |code, hint: &str| Diagnostic::new(Kind::Usage, code).hint(Hint::text(hint));
        match self {
            Self::NotFound(_) => Diagnostic::new(Kind::NotFound, "trust_not_found").run("integ api-token trust list"),
            Self::NameTaken(_) => Diagnostic::new(Kind::Usage, "name_taken").run("integ api-token trust list"),
            Self::NameTooLong => Diagnostic::new(Kind::Usage, "invalid_name"),
            Self::InvalidIssuer(_) => {
                usage("invalid_issuer", "give its https URL as in the claim `iss`, without a query or a fragment")
            }
            Self::NoClaims => usage("no_claims", "without one, every user of the CI system would be trusted"),
            Self::NoConnections => Diagnostic::new(Kind::Usage, "no_connections").run("integ status"),
            Self::InvalidLifetime => usage("invalid_time", "write a time such as 15m"),
        }
    }
}

/// Why an identity token is not exchanged.
#[derive(Debug, Error)]
pub enum TokenExchangeError {
    #[error("the identity token is not accepted")]
    Invalid { source: IdentityTokenError },
    #[error("no trust fits the issuer, the audience and the claims of the identity token")]
    Untrusted,
    #[error("the identity token was exchanged before")]
    Repeated,
    #[error(transparent)]
    Keys(#[from] IssuerKeysError),
}

impl TokenExchangeError {
    /// Whether the identity token is to blame.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Keys(_))
    }
}

impl Remedy for TokenExchangeError {
    fn diagnostic(&self) -> Diagnostic {
        let refused = |code| Diagnostic::new(Kind::AuthNeeded, code);
        match self {
            Self::Invalid { .. } => refused("invalid_identity_token"),
            Self::Untrusted => refused("untrusted_identity_token")
                .hint(Hint::new("at the machine of the server, see what is trusted:", "integ api-token trust list")),
            Self::Repeated => {
                refused("repeated_identity_token").hint(Hint::text("request another one from the CI system"))
            }
            Self::Keys(error) => error.diagnostic(),
        }
    }
}

/// A trust to add.
#[derive(Clone, Debug)]
pub struct AddApiTokenTrustRequest {
    pub name: String,
    /// As in the claim `iss`: `https://token.actions.githubusercontent.com`.
    pub issuer: String,
    pub audience: String,
    /// Claims that must have exactly these values.
    pub claims: BTreeMap<String, String>,
    pub scopes: Vec<String>,
    pub connections: Vec<ConnectionName>,
    pub approve: ApprovalPolicy,
    pub lifetime: Duration,
}

/// Trusts identity tokens of an issuer with an audience and claims.
///
/// # Errors
/// [`ApiTokenTrustError`], an unknown scope or connection.
pub async fn add_trust(workspace: &Workspace, request: AddApiTokenTrustRequest) -> Result<ApiTokenTrustView> {
    const SHORTEST: Duration = Duration::from_secs(60);
    let name = parse_name(&request.name)?;
    if name.as_str().len() > MAX_TRUST_NAME_BYTES {
        return Err(ApiTokenTrustError::NameTooLong.into());
    }
    check_issuer(&request.issuer)?;
    if request.claims.is_empty() {
        return Err(ApiTokenTrustError::NoClaims.into());
    }
    if !(SHORTEST..=MAX_TRUSTED_LIFETIME).contains(&request.lifetime) {
        return Err(ApiTokenTrustError::InvalidLifetime.into());
    }
    let scopes = parse_scopes(&request.scopes)?;
    let connections = find_connections(workspace, &request.connections).await?;
    let trust = ApiTokenTrust {
        name,
        issuer: request.issuer,
        audience: request.audience,
        claims: request.claims,
        scopes,
        connections: connections.ok_or(ApiTokenTrustError::NoConnections)?,
        approve: request.approve,
        lifetime: request.lifetime,
        created_at: workspace.clock.now(),
    };
    let store = workspace.store().await?;
    if !store.api_token_trusts().add(&trust).await? {
        return Err(ApiTokenTrustError::NameTaken(trust.name).into());
    }
    Ok(ConnectionNames::load(store).await?.trust_view(trust))
}

/// Checks that an issuer is a URL that can be asked for its keys.
fn check_issuer(issuer: &str) -> Result<(), ApiTokenTrustError> {
    let url = Url::parse(issuer).ok();
    let url = url.filter(|url| url.query().is_none() && url.fragment().is_none() && url.username().is_empty());
    match url.map(|url| Route::Live.resolve(&url)) {
        Some(Ok(_)) => Ok(()),
        _ => Err(ApiTokenTrustError::InvalidIssuer(issuer.to_owned())),
    }
}

/// Returns all trusts, sorted by name.
pub async fn list_trusts(workspace: &Workspace) -> Result<ApiTokenTrustListView> {
    if !workspace.has_vault() {
        return Ok(ApiTokenTrustListView { trusts: Vec::new() });
    }
    let store = workspace.store().await?;
    let names = ConnectionNames::load(store).await?;
    let trusts = store.api_token_trusts().list().await?;
    Ok(ApiTokenTrustListView { trusts: trusts.into_iter().map(|trust| names.trust_view(trust)).collect() })
}

/// Removes a trust, and revokes the tokens that came from it.
///
/// # Errors
/// [`ApiTokenTrustError::NotFound`].
pub async fn remove_trust(workspace: &Workspace, name: &str) -> Result<RemovedApiTokenTrustView> {
    let name = parse_name(name)?;
    let removed = match workspace.has_vault() {
        true => workspace.store().await?.api_token_trusts().remove(&name).await?,
        false => None,
    };
    let revoked_tokens = removed.ok_or_else(|| ApiTokenTrustError::NotFound(name.clone()))?;
    Ok(RemovedApiTokenTrustView { removed: name, revoked_tokens })
}

impl ConnectionNames {
    fn trust_view(&self, trust: ApiTokenTrust) -> ApiTokenTrustView {
        let connections =
            self.0.iter().filter(|(id, _)| trust.connections.contains(id)).map(|(_, name)| name.clone()).collect();
        ApiTokenTrustView::new(trust, connections)
    }
}

/// An identity token to exchange.
#[derive(Clone)]
pub struct ExchangeTokenRequest {
    pub identity_token: Secret,
    /// The address that the request came from.
    pub source: Option<String>,
    pub request_id: String,
}

/// Exchanges an identity token for an API token of the first workspace with a trust that fits.
///
/// # Errors
/// [`TokenExchangeError`]. Issuers that nobody trusts are not asked for keys.
pub async fn exchange_token(
    workspaces: &[Arc<Workspace>],
    keys: &IssuerKeys,
    request: ExchangeTokenRequest,
) -> Result<NewApiTokenView> {
    let invalid = |source| TokenExchangeError::Invalid { source };
    let identity = IdentityToken::parse(request.identity_token.expose()).map_err(invalid)?;
    let mut trusts = Vec::new();
    for workspace in workspaces.iter().filter(|workspace| workspace.has_vault()) {
        let all = workspace.store().await?.api_token_trusts().list().await?;
        let of_issuer = all.into_iter().filter(|trust| identity.issuer() == Some(trust.issuer.as_str()));
        trusts.extend(of_issuer.map(|trust| (workspace, trust)));
    }
    let Some((first, trust)) = trusts.first() else { return Err(TokenExchangeError::Untrusted.into()) };
    let published = keys.find(&trust.issuer, identity.key_id()).await.map_err(TokenExchangeError::Keys)?;
    let claims = identity.verify(&published, first.clock.now()).map_err(invalid)?;
    let fits = |trust: &ApiTokenTrust| claims.match_all(&trust.issuer, &trust.audience, &trust.claims);
    let fitting = trusts.iter().find(|(_, trust)| fits(trust) && !trust.connections.is_empty());
    let (workspace, trust) = fitting.ok_or(TokenExchangeError::Untrusted)?;
    let token = trusted_token(trust, workspace.clock.now())?;
    let caller = AuditCaller {
        actor: AuditActor::ApiToken(token.id.to_string()),
        source: request.source,
        request_id: Some(request.request_id),
        approval: None,
    };
    LOGIN.begin(workspace, caller).await?.run(store_token(workspace, trust, token, &claims)).await
}

/// Creates the API token of a trust.
fn trusted_token(trust: &ApiTokenTrust, now: Timestamp) -> Result<ApiToken> {
    let id = ApiTokenId::random();
    let suffix = id.as_str().trim_start_matches("tok_");
    Ok(ApiToken {
        name: parse_name(&format!("{} {suffix}", trust.name))?,
        user: None,
        scopes: trust.scopes.clone(),
        connections: Some(trust.connections.clone()),
        tier: RateTier::Free,
        created_at: now,
        rotated_at: now,
        expires_at: now.checked_add(trust.lifetime).unwrap_or(Timestamp::MAX),
        last_used_at: None,
        is_enabled: true,
        parent: None,
        root: id.clone(),
        rotate_after: None,
        approve: trust.approve,
        trust: Some(trust.name.clone()),
        id,
    })
}

async fn store_token(
    workspace: &Workspace,
    trust: &ApiTokenTrust,
    token: ApiToken,
    claims: &IdentityClaims,
) -> Result<NewApiTokenView> {
    if let Some(audit) = workspace.audit_entry() {
        audit.set_detail(&format!("trust {}, subject {}", trust.name, claims.subject().unwrap_or("unknown")));
    }
    let text = ApiTokenText::random();
    let (store, now) = (workspace.store().await?, workspace.clock.now());
    let exchange = TokenExchange {
        token,
        hash: text.hash(),
        identity_digest: claims.digest(),
        identity_accepted_until: claims.accepted_until(),
    };
    match store.api_token_trusts().exchange(&exchange, now).await? {
        TokenExchangeResult::Stored => {
            let names = ConnectionNames::load(store).await?;
            Ok(NewApiTokenView { token: names.view(exchange.token, now), text: text.secret().clone() })
        }
        TokenExchangeResult::Repeated => Err(TokenExchangeError::Repeated.into()),
        TokenExchangeResult::TrustRemoved => Err(TokenExchangeError::Untrusted.into()),
    }
}

/// Where a CI job gets its identity token.
#[derive(Clone)]
pub enum IdentitySource {
    Token(Secret),
    /// GitHub Actions gives jobs with `id-token: write` a URL and a token to request one with
    /// (<https://docs.github.com/en/actions/reference/security/oidc>).
    GitHubActions {
        url: Url,
        request_token: Secret,
    },
}

/// A sign-in of a CI job at a server.
#[derive(Clone)]
pub struct ApiTokenLoginRequest {
    pub server: Url,
    pub source: IdentitySource,
    /// The audience to request; the URL of the server if absent.
    pub audience: Option<String>,
}

/// Why a CI job cannot sign in.
#[derive(Debug, Error)]
pub enum ApiTokenLoginError {
    #[error("cannot get an identity token from GitHub Actions: it answered {status}")]
    NoIdentity { status: u16 },
    #[error("{server} refused: {reason}")]
    Refused { server: String, code: String, reason: String },
    #[error("{server} answered {status}, and no token")]
    Answer { server: String, status: u16 },
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl Remedy for ApiTokenLoginError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NoIdentity { .. } => Diagnostic::new(Kind::AuthNeeded, "no_identity_token")
                .hint(Hint::text("give the job the permission `id-token: write`")),
            Self::Refused { .. } => Diagnostic::new(Kind::AuthNeeded, "login_refused")
                .hint(Hint::new("at the machine of the server, see what is trusted:", "integ api-token trust list")),
            Self::Answer { .. } => Diagnostic::new(Kind::Rejected, "unexpected_answer"),
            Self::Http(error) => error.diagnostic(),
        }
    }
}

/// Signs a CI job in at a server, with the identity token of its CI system, and returns the API token.
///
/// # Errors
/// [`ApiTokenLoginError`].
pub async fn log_in(workspace: &Workspace, request: ApiTokenLoginRequest) -> Result<ApiTokenLoginView> {
    let server = request.server.as_str().trim_end_matches('/').to_owned();
    let identity_token = match request.source {
        IdentitySource::Token(token) => token,
        IdentitySource::GitHubActions { mut url, request_token } => {
            url.query_pairs_mut().append_pair("audience", request.audience.as_deref().unwrap_or(&server));
            github_token(workspace, url, &request_token).await?
        }
    };
    let mut url = request.server;
    url.set_path(&format!("{}{EXCHANGE_PATH}", url.path().trim_end_matches('/')));
    let body = json!({ "token": identity_token.expose() }).to_string().into_bytes();
    let request = Request { max_response_bytes: MAX_ANSWER_BYTES, ..Request::new("POST", url) };
    let response = workspace.engine.http.send(request.body("application/json", body), &Route::Live).await;
    let response = response.map_err(ApiTokenLoginError::Http)?;
    let answer = response.json().unwrap_or_default();
    if let (false, Some(code)) = (response.is_success(), answer["code"].as_str()) {
        let (code, reason) = (code.to_owned(), answer["detail"].as_str().unwrap_or(code).to_owned());
        return Err(ApiTokenLoginError::Refused { server, code, reason }.into());
    }
    let text = |name: &str| answer[name].as_str().map(str::to_owned);
    match (text("token"), text("id"), text("expires_at")) {
        (Some(token), Some(id), Some(expires_at)) if response.is_success() => {
            Ok(ApiTokenLoginView { server, id, expires_at, token: Secret::new(token) })
        }
        _ => Err(ApiTokenLoginError::Answer { server, status: response.status }.into()),
    }
}

async fn github_token(workspace: &Workspace, url: Url, request_token: &Secret) -> Result<Secret, ApiTokenLoginError> {
    let authorization = Secret::new(format!("Bearer {}", request_token.expose()));
    let request = Request { max_response_bytes: MAX_ANSWER_BYTES, ..Request::new("GET", url) };
    let response = workspace.engine.http.send(request.header("Authorization", authorization), &Route::Live).await?;
    let answer = response.json().filter(|_| response.is_success()).unwrap_or_default();
    let token = answer["value"].as_str().map(|token| Secret::new(token.to_owned()));
    token.ok_or(ApiTokenLoginError::NoIdentity { status: response.status })
}
