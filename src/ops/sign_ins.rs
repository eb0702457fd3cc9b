//! Operations on sign-ins that one request begins and another finishes: for callers that are not at this machine.
//!
//! A caller names what to connect. The owner decides where credentials go: the requests here have no origin, OAuth client,
//! file or redirect URI, and hosts among their parameters must be public, or allowed by `http.allow`.

use std::collections::BTreeMap;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use thiserror::Error;
use url::Url;

use super::connections::connect_view;
use super::connectors::configured_params;
use super::{Effect, Operation, OperationScope, Reach};
use crate::connect::pending::{self, CallbackReply, SignInTarget, StartedSignIn};
use crate::connect::{ConnectError, ConnectRequest, ReconnectOptions, SignInOptions, reconnect_request};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::model::{ConnectLinkId, ConnectLinkMode, ConnectionName, SignIn, SignInId, SignInStatus, UserId};
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::view::sign_in::{FinishedSignInView, SignInView, StartedSignInView};

pub use crate::connect::pending::{workspace_of_callback, workspace_of_token};

const CONNECTIONS: OperationScope = OperationScope::Connections;

/// Finishing a sign-in, which the callback does: the browser has no token, and its proof is in the URL.
pub const FINISH: Operation = Operation::local("connect finish", CONNECTIONS, Effect::Write).reachable_by(Reach::Api);

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[
    Operation::local("connect start", CONNECTIONS, Effect::Write).reachable_by(Reach::Api),
    FINISH,
    // Asks the vendor whether a device code was entered, and stores the connection then.
    Operation::local("connect show", CONNECTIONS, Effect::Write).reachable_by(Reach::Api),
];

/// A sign-in to start.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StartSignInRequest {
    /// The service, as `integ connector list` names it. One of this, `url` and `reconnect`.
    pub connector: Option<String>,
    /// The URL of an MCP server.
    pub url: Option<String>,
    /// The connection to sign in for again. Its method, mode, parameters and scopes are used.
    #[serde(deserialize_with = "optional_text")]
    pub reconnect: Option<ConnectionName>,
    /// Name of the account. With a user, the connection is named after that user if absent.
    pub account: Option<String>,
    /// The authentication method; the connector's first if absent.
    pub auth: Option<String>,
    /// Scopes to request, instead of the connector's defaults.
    pub scopes: Vec<String>,
    /// Beside those that the connection has, or the defaults.
    pub added_scopes: Vec<String>,
    /// `scopes` may leave out what the connection was granted.
    pub drops_scopes: bool,
    /// Values that are not secret, such as a subdomain.
    pub params: BTreeMap<String, String>,
    /// Parts of a key, by the names of its fields. The text of a file, where the field is one.
    #[serde(deserialize_with = "secrets")]
    pub keys: BTreeMap<String, Secret>,
    /// A token of a service that has OAuth.
    #[serde(deserialize_with = "optional_secret")]
    pub token: Option<Secret>,
    /// The caller's own end user who owns the account.
    #[serde(deserialize_with = "optional_text")]
    pub user: Option<UserId>,
    /// Use the built-in emulation of the service.
    pub is_sandbox: bool,
    /// Enter a code on another screen.
    pub device: bool,
    /// Authenticate as the app itself, without a user.
    pub client_credentials: bool,
    /// Where the browser goes afterwards: an address of an origin in `serve.return_origins`.
    pub return_to: Option<String>,
}

fn optional_text<'de, T: FromStr, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let invalid = |text: &str| serde::de::Error::custom(format!("invalid value {text:?}"));
    text.map(|text| text.parse().map_err(|_| invalid(&text))).transpose()
}

fn optional_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::trimmed))
}

pub(super) fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Secret>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(texts.into_iter().map(|(name, text)| (name, Secret::trimmed(text))).collect())
}

/// A callback.
#[derive(Clone)]
pub struct FinishSignInRequest {
    /// The query of the URL, without its question mark. It holds the code.
    pub query: Secret,
}

/// What the browser is shown for a callback.
#[derive(Clone, Debug)]
pub enum SignInCallback {
    Finished(Box<FinishedSignInView>),
    /// The page that sends the URL's fragment on as a query:
    /// [`fragment_page`](crate::oauth::callback_listener::fragment_page).
    FragmentPage,
}

/// Why a sign-in cannot be started as it was asked for.
#[derive(Debug, Error)]
pub enum SignInRequestError {
    #[error("name one of `connector`, `url` and `reconnect`")]
    NoTarget,
    #[error("{url} is not an allowed address to return to")]
    ReturnNotAllowed { url: String, origin: String },
    #[error("the address to return to is not a URL: {reason}")]
    InvalidReturnAddress { reason: String },
    #[error("the server has no public URL")]
    NoPublicUrl,
}

impl Remedy for SignInRequestError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NoTarget => Diagnostic::new(Kind::Usage, "no_target"),
            Self::InvalidReturnAddress { .. } => Diagnostic::new(Kind::Usage, "invalid_url"),
            Self::ReturnNotAllowed { origin, .. } => Diagnostic::new(Kind::Usage, "return_not_allowed")
                .hint(Hint::new("to allow it:", format!("integ config set serve.return_origins {origin}"))),
            Self::NoPublicUrl => {
                Diagnostic::new(Kind::Usage, "no_public_url").run("integ config set serve.public_url https://HOST")
            }
        }
    }
}

/// Starts a sign-in, which [`finish`] finishes in any process of this workspace. Nobody is asked anything: a missing value
/// is an error that names it.
///
/// # Errors
/// [`SignInRequestError`], and those of [`pending::start`].
pub async fn start(workspace: &Workspace, request: StartSignInRequest) -> Result<StartedSignInView> {
    let return_to = request.return_to.as_deref().map(parse_return_to).transpose()?;
    let request = connect_request(workspace, request).await?;
    start_request(workspace, &request, return_to, None).await
}

/// Starts a sign-in for a request that was checked.
pub(super) async fn start_request(
    workspace: &Workspace,
    request: &ConnectRequest,
    return_to: Option<Url>,
    link: Option<ConnectLinkId>,
) -> Result<StartedSignInView> {
    if let Some(url) = &return_to {
        check_return_to(workspace, url)?;
    }
    let redirect_uri = workspace.engine.config.serve.redirect_uri().ok_or(SignInRequestError::NoPublicUrl)?;
    let target = SignInTarget { redirect_uri, return_to, link };
    Ok(match Box::pin(pending::start(workspace, request, &target)).await? {
        StartedSignIn::Redirect { id, authorization_url, expires_at } => {
            // The emulator of a sandbox connection listens on loopback, where the person's browser may not be.
            let authorization_url = workspace.publish_sandbox_page(&authorization_url).to_string();
            StartedSignInView::Redirect { sign_in: id, authorization_url, expires_at }
        }
        StartedSignIn::DeviceCode {
            id,
            user_code,
            verification_uri,
            verification_uri_complete,
            interval,
            expires_at,
        } => StartedSignInView::DeviceCode {
            sign_in: id,
            user_code,
            verification_uri: workspace.publish_sandbox_page(&verification_uri).to_string(),
            verification_uri_complete: verification_uri_complete
                .map(|complete| workspace.publish_sandbox_page(&complete).to_string()),
            interval: interval.as_secs(),
            expires_at,
        },
        StartedSignIn::Connected(connected) => {
            StartedSignInView::Connected { connected: Box::new(connect_view(workspace, *connected).await) }
        }
    })
}

/// Refuses to send a browser anywhere else than to the owner's own pages.
/// Parses the address that a browser returns to; whether it is allowed is checked later.
///
/// # Errors
/// [`SignInRequestError::InvalidReturnAddress`].
pub fn parse_return_to(text: &str) -> Result<Url, SignInRequestError> {
    let invalid = |error: url::ParseError| SignInRequestError::InvalidReturnAddress { reason: error.to_string() };
    text.parse().map_err(invalid)
}

pub(super) fn check_return_to(workspace: &Workspace, url: &Url) -> Result<(), SignInRequestError> {
    if workspace.engine.config.serve.allows_return_to(url) {
        return Ok(());
    }
    let origin = url.origin().ascii_serialization();
    Err(SignInRequestError::ReturnNotAllowed { url: url.to_string(), origin })
}

/// The request of a caller who is not the owner.
async fn connect_request(workspace: &Workspace, request: StartSignInRequest) -> Result<ConnectRequest> {
    let sign_in = SignInOptions { device: request.device, ..SignInOptions::default() };
    // What the owner chose earlier stays as it is; what the caller chooses now is guarded.
    let is_guarded = request.url.is_some() || !request.params.is_empty() || !request.keys.is_empty();
    if let Some(name) = &request.reconnect {
        let options = ReconnectOptions {
            scopes: request.scopes,
            added_scopes: request.added_scopes,
            drops_scopes: request.drops_scopes,
            params: request.params,
            files: request.keys,
            sign_in,
            token: request.token,
            client: None,
        };
        let (request, is_pasted_token) = reconnect_request(workspace, name, &options).await?;
        if is_pasted_token && request.token.is_none() && !request.is_sandbox {
            return Err(ConnectError::missing_token(&request).into());
        }
        return Ok(ConnectRequest { is_guarded, ..request });
    }
    let connector = match (request.connector, &request.url) {
        (Some(connector), None) => connector,
        (None, Some(_)) => String::new(),
        _ => return Err(SignInRequestError::NoTarget.into()),
    };
    let params = configured_params(workspace, &connector, request.params).await?;
    let url = request.url.map(|url| crate::connect::parse_url(&url)).transpose()?;
    let account = match (request.account, &request.user) {
        (None, Some(user)) if url.is_none() => account_for_user(workspace, &connector, user).await?,
        (account, _) => account,
    };
    Ok(ConnectRequest {
        connector,
        url,
        account,
        auth: request.auth,
        scopes: request.scopes,
        added_scopes: request.added_scopes,
        drops_scopes: request.drops_scopes,
        params,
        files: request.keys,
        client_credentials: request.client_credentials,
        sign_in,
        token: request.token,
        user: request.user,
        is_sandbox: request.is_sandbox,
        is_guarded,
        ..ConnectRequest::default()
    })
}

/// Returns the account name of a user's connection: of the one that the user has, else a free one after the user's id. Without
/// it, the second user to connect a service would be refused the name of the first.
pub(super) async fn account_for_user(workspace: &Workspace, connector: &str, user: &UserId) -> Result<Option<String>> {
    let known = match workspace.has_vault() {
        true => workspace.store().await?.connections().list().await?,
        false => Vec::new(),
    };
    if let Some(own) = known.iter().find(|one| one.name.connector() == connector && one.user.as_ref() == Some(user)) {
        return Ok(own.name.account().map(str::to_owned));
    }
    let letter = |c: char| if c.is_ascii_alphanumeric() || "._-@".contains(c) { c } else { '-' };
    let slug: String = user.as_str().chars().map(letter).collect();
    let slug: String = slug.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).chars().take(60).collect();
    let slug = if slug.is_empty() { "user".to_owned() } else { slug };
    let numbered = (2..).map(|number| format!("{slug}-{number}"));
    for account in std::iter::once(slug.clone()).chain(numbered) {
        let name = ConnectionName::new(connector, Some(&account))?;
        if !known.iter().any(|one| one.name == name) {
            return Ok(Some(account));
        }
    }
    Ok(Some(slug))
}

/// Finishes the sign-in of a callback. The caller has chosen the workspace by [`workspace_of_callback`], and must not drop
/// this when the browser leaves.
///
/// # Errors
/// [`SignInError`](pending::SignInError) for a callback that ends no sign-in. Why a sign-in failed is in the view.
pub async fn finish(workspace: &Workspace, request: FinishSignInRequest) -> Result<SignInCallback> {
    Ok(match Box::pin(pending::finish(workspace, request.query.expose())).await? {
        CallbackReply::Fragment => SignInCallback::FragmentPage,
        CallbackReply::Finished(sign_in) => {
            let view = SignInView::new(&sign_in, workspace.clock.now());
            let return_to = return_url(&sign_in, &view);
            let opener_origin = opener_origin(workspace, &sign_in).await?;
            SignInCallback::Finished(Box::new(FinishedSignInView { sign_in: view, return_to, opener_origin }))
        }
    })
}

/// The origin of the page with the connect button that led here, if one did.
async fn opener_origin(workspace: &Workspace, sign_in: &SignIn) -> Result<Option<String>> {
    let Some(link) = &sign_in.link else { return Ok(None) };
    let link = workspace.store().await?.connect_links().get(link).await?;
    let is_popup = link.is_some_and(|link| link.display == ConnectLinkMode::Popup);
    Ok(sign_in.return_to.as_ref().filter(|_| is_popup).map(|url| url.origin().ascii_serialization()))
}

/// The return address with the sign-in and its status. The rest is for those who may ask for it.
fn return_url(sign_in: &SignIn, view: &SignInView) -> Option<String> {
    let mut url = sign_in.return_to.clone()?;
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("sign_in", sign_in.id.as_str()).append_pair("status", view.status.as_str());
        match &view.error {
            Some(error) => query.append_pair("error", &error.code),
            None => query.append_pair("connection", &view.connection),
        };
    }
    Some(url.to_string())
}

/// Returns a sign-in and how it ended. Of a device code, the vendor is asked first, no more often than it allows.
///
/// # Errors
/// [`SignInError::NotFound`](pending::SignInError::NotFound).
pub async fn show(workspace: &Workspace, id: &SignInId) -> Result<SignInView> {
    let now = workspace.clock.now();
    let found = pending::find(workspace, id).await?;
    let is_device = found.poll_interval.is_some() && found.status(now) == SignInStatus::Pending;
    let found = if is_device { Box::pin(pending::poll(workspace, id)).await? } else { found };
    Ok(SignInView::new(&found, workspace.clock.now()))
}
