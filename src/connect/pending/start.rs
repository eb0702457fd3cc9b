//! The start: everything up to the page that the person opens.

use std::time::Duration;

use url::Url;

use super::details::{
    Exchange, PendingCode, PendingDetails, PendingDeviceCode, PendingStep, StoredGrantType, StoredSecret,
};
use super::{SignInError, new_token, token_hash};
use crate::clock::Timestamp;
use crate::connect::flow::{CallbackTarget, ConnectFlow, GrantSource, named_request};
use crate::connect::oauth::{self, PreparedGrant};
use crate::connect::save::save_connection;
use crate::connect::unattended::Unattended;
use crate::connect::{ConnectRequest, ConnectResult};
use crate::connector::{GrantType, ImplicitFlow, OAuth2};
use crate::error::Result;
use crate::model::sign_in::SIGN_IN_LIFETIME;
use crate::model::{ConnectLinkId, NewSignIn, SignInId};
use crate::oauth::{OAuthClient, authorize, device};
use crate::runtime::{Session, Workspace};
use crate::secret::Secret;

/// For how long a device code is polled for at most; vendors give 15 minutes.
const MAX_DEVICE_LIFETIME: Duration = Duration::from_secs(1800);

/// Where a sign-in leads.
#[derive(Clone, Debug)]
pub struct SignInTarget {
    /// The callback URL of the server.
    pub redirect_uri: Url,
    /// Where the browser goes afterwards. The caller has checked that it cannot be used as an open redirect.
    pub return_to: Option<Url>,
    /// The connect link that it was begun with: finishing uses it up.
    pub link: Option<ConnectLinkId>,
}

/// A sign-in that was begun.
#[derive(Debug)]
pub enum StartedSignIn {
    /// The person opens a page, which leads to the callback.
    Redirect { id: SignInId, authorization_url: Url, expires_at: Timestamp },
    /// The person enters a code on another screen, and [`super::poll`] asks whether it was done.
    DeviceCode {
        id: SignInId,
        user_code: String,
        verification_uri: Url,
        verification_uri_complete: Option<Url>,
        /// How often asking is of use.
        interval: Duration,
        expires_at: Timestamp,
    },
    /// No person was needed.
    Connected(Box<ConnectResult>),
}

/// Starts a sign-in that any process of this workspace can finish within ten minutes. Methods without a person, as those
/// with a key, are finished at once.
///
/// # Errors
/// Those of [`crate::connect::connect`]; for a value that is missing the one that names it. Nobody is asked.
pub async fn start(workspace: &Workspace, request: &ConnectRequest, target: &SignInTarget) -> Result<StartedSignIn> {
    let request = named_request(workspace, request).await?;
    let callback = CallbackTarget::AnyProcess(&target.redirect_uri);
    let mut flow = ConnectFlow::new(workspace, &request, &Unattended, callback).await?;
    let session = Box::pin(flow.new_session()).await?;
    match flow.grant_source(&session.auth) {
        GrantSource::OAuth(rules) => match oauth::grant_type(&flow, &rules) {
            GrantType::AuthorizationCode => Box::pin(start_code(&flow, session, &rules, target)).await,
            GrantType::DeviceCode => Box::pin(start_device_code(&flow, session, &rules, target)).await,
            GrantType::ClientCredentials | GrantType::JwtBearer | GrantType::Exchange => {
                Box::pin(connect_at_once(&flow, session, target)).await
            }
        },
        GrantSource::Fragment(fragment) => Box::pin(start_fragment(&flow, session, &fragment, target)).await,
        GrantSource::Key => Box::pin(connect_at_once(&flow, session, target)).await,
    }
}

/// Connects without a person. The use of a connect link is taken first, and given back if nothing was connected.
async fn connect_at_once(flow: &ConnectFlow<'_>, mut session: Session, target: &SignInTarget) -> Result<StartedSignIn> {
    let links = flow.workspace.store().await?.connect_links();
    let now = flow.workspace.clock.now();
    if let Some(link) = &target.link
        && !links.take_use(link, now).await?
    {
        return Err(SignInError::LinkUsed.into());
    }
    let connected = match flow.sign_in(&mut session, &mut None).await {
        Ok(grant) => Box::pin(save_connection(flow, session, grant)).await,
        Err(error) => Err(error),
    };
    if let (Err(_), Some(link)) = (&connected, &target.link) {
        links.return_use(link).await?;
    }
    Ok(StartedSignIn::Connected(Box::new(connected?)))
}

async fn start_code(
    flow: &ConnectFlow<'_>,
    mut session: Session,
    rules: &OAuth2,
    target: &SignInTarget,
) -> Result<StartedSignIn> {
    let mut prepared = oauth::prepare(flow, &mut session, rules).await?;
    let view = session.clone();
    let oauth_client = prepared.oauth_client(flow, &view).await?;
    prepared.settle_scopes(flow, &mut session, rules, &oauth_client).await?;
    let redirect_uri = prepared.redirect.as_ref().map_or_else(|| target.redirect_uri.as_str(), |found| found.uri());
    let state = new_token(&flow.workspace.name);
    let pending = authorize::authorization_request(&oauth_client, redirect_uri, state.clone(), &prepared.asked);
    let pending = pending.map_err(|error| flow.oauth_error(error))?;
    let exchange = exchange(&oauth_client, prepared);
    let code = PendingCode::new(exchange, pending.redirect_uri, pending.verifier, pending.expected);
    redirect(flow, &session, target, state, pending.url, PendingStep::Code(code)).await
}

async fn start_fragment(
    flow: &ConnectFlow<'_>,
    mut session: Session,
    fragment: &ImplicitFlow,
    target: &SignInTarget,
) -> Result<StartedSignIn> {
    let state = new_token(&flow.workspace.name);
    let (client, _, pending) = oauth::implicit_request(flow, &mut session, fragment, state.clone()).await?;
    let step = PendingStep::Fragment { client: client.into() };
    redirect(flow, &session, target, state, pending.url, step).await
}

/// Stores a sign-in that waits for its callback.
async fn redirect(
    flow: &ConnectFlow<'_>,
    session: &Session,
    target: &SignInTarget,
    state: Secret,
    authorization_url: Url,
    step: PendingStep,
) -> Result<StartedSignIn> {
    authorize::check_openable(&authorization_url).map_err(|error| flow.oauth_error(error))?;
    let details = PendingDetails::new(flow, session, &target.redirect_uri, step);
    let new = NewSignIn {
        state_hash: Some(token_hash(&state)),
        ..new_sign_in(flow, session, target, &details, SIGN_IN_LIFETIME)?
    };
    flow.workspace.store().await?.sign_ins().begin(&new).await?;
    Ok(StartedSignIn::Redirect { id: new.id, authorization_url, expires_at: new.expires_at })
}

async fn start_device_code(
    flow: &ConnectFlow<'_>,
    mut session: Session,
    rules: &OAuth2,
    target: &SignInTarget,
) -> Result<StartedSignIn> {
    let mut prepared = oauth::prepare(flow, &mut session, rules).await?;
    let view = session.clone();
    let oauth_client = prepared.oauth_client(flow, &view).await?;
    prepared.settle_scopes(flow, &mut session, rules, &oauth_client).await?;
    let authorization = device::request_device_code(&oauth_client, &prepared.asked).await;
    let authorization = authorization.map_err(|error| flow.oauth_error(error))?;
    let step = PendingStep::DeviceCode(PendingDeviceCode {
        exchange: exchange(&oauth_client, prepared),
        device_code: StoredSecret(authorization.device_code),
    });
    let details = PendingDetails::new(flow, &session, &target.redirect_uri, step);
    let lifetime = authorization.expires_in.min(MAX_DEVICE_LIFETIME);
    let new = NewSignIn {
        poll_interval: Some(authorization.interval),
        ..new_sign_in(flow, &session, target, &details, lifetime)?
    };
    flow.workspace.store().await?.sign_ins().begin(&new).await?;
    Ok(StartedSignIn::DeviceCode {
        id: new.id,
        user_code: authorization.user_code,
        verification_uri: authorization.verification_uri,
        verification_uri_complete: authorization.verification_uri_complete,
        interval: authorization.interval,
        expires_at: new.expires_at,
    })
}

fn exchange(oauth_client: &OAuthClient<'_>, prepared: PreparedGrant) -> Exchange {
    Exchange {
        kind: StoredGrantType(prepared.kind),
        is_resource: prepared.is_resource(),
        server: oauth_client.server.clone(),
        client: prepared.client.into(),
        fields: prepared.fields.into_iter().map(|(name, value)| (name, StoredSecret(value))).collect(),
    }
}

fn new_sign_in(
    flow: &ConnectFlow<'_>,
    session: &Session,
    target: &SignInTarget,
    details: &PendingDetails,
    lifetime: Duration,
) -> Result<NewSignIn> {
    let now = flow.workspace.clock.now();
    Ok(NewSignIn {
        id: SignInId::random(),
        state_hash: None,
        connection: session.connection.name.clone(),
        details: details.to_json()?,
        poll_interval: None,
        user: flow.request.user.clone(),
        link: target.link.clone(),
        return_to: target.return_to.clone(),
        created_at: now,
        expires_at: now.checked_add(lifetime).unwrap_or(Timestamp::MAX),
    })
}
