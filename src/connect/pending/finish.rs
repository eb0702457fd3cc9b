//! The end: the callback, the exchange of its code, and the connection.

use std::collections::BTreeMap;

use url::form_urlencoded;

use super::details::{Exchange, PendingDetails, PendingStep};
use super::{SignInError, find, token_hash};
use crate::connect::flow::{CallbackTarget, ConnectFlow};
use crate::connect::oauth::{self, GrantContext};
use crate::connect::save::save_connection;
use crate::connect::unattended::Unattended;
use crate::connect::{ConnectError, ConnectResult};
use crate::connector::OAuth2;
use crate::error::{Error, Kind, Result};
use crate::http::HttpError;
use crate::model::{
    ConnectedAccount, Grant, SignIn, SignInFailure, SignInId, SignInResult, SignInStatus, TakeSignInResult,
};
use crate::oauth::callback::{Callback, CallbackOutcome, check_callback};
use crate::oauth::callback_listener::lacks_token;
use crate::oauth::device::{self, PollResult, SLOW_DOWN};
use crate::oauth::{OAuthClient, OAuthError, Tokens};
use crate::runtime::{Session, Workspace};
use crate::secret::Secret;

/// What a callback came to.
#[derive(Debug)]
pub enum CallbackReply {
    /// The sign-in has ended; its result may be a failure.
    Finished(Box<SignIn>),
    /// The token is in the URL's fragment. The browser is to be shown
    /// [`fragment_page`](crate::oauth::callback_listener::fragment_page), which calls again with it.
    Fragment,
}

/// Finishes the sign-in that a callback belongs to, whichever process began it. Its `state` is used up before the code is
/// exchanged: of any number of equal callbacks, one goes on.
///
/// The caller must not drop this when the browser leaves: the code would be lost.
///
/// # Errors
/// [`SignInError`] for a callback that ends no sign-in. Why a sign-in failed is its result.
pub async fn finish(workspace: &Workspace, query: &str) -> Result<CallbackReply> {
    let state = state_of(query).ok_or(SignInError::UnknownState)?;
    if !workspace.has_vault() {
        return Err(SignInError::UnknownState.into());
    }
    let sign_ins = workspace.store().await?.sign_ins();
    let found = sign_ins.find_by_state(&token_hash(&state)).await?.ok_or(SignInError::UnknownState)?;
    let now = workspace.clock.now();
    match found.status(now) {
        SignInStatus::Pending => {}
        SignInStatus::Expired => return Err(SignInError::Expired.into()),
        SignInStatus::Finishing | SignInStatus::Done | SignInStatus::Failed => return Err(SignInError::Used.into()),
    }
    let details = PendingDetails::read(&found)?;
    let (connector, auth) = details.auth();
    let connector = workspace.catalogue().get(connector)?;
    let (_, auth) = connector.auth_method(Some(auth))?;
    let token = details.token_param(auth);
    let is_fragment = matches!(details.step, PendingStep::Fragment { .. });
    if is_fragment && lacks_token(query, &token) && lacks_token(query, "error") {
        return Ok(CallbackReply::Fragment);
    }
    let callback = match check_callback(query, &details.expected(state), &token) {
        CallbackOutcome::Complete(result) => result,
        CallbackOutcome::Ignored(reason) => return Err(SignInError::InvalidCallback { reason }.into()),
    };
    let result = match sign_ins.take(&found.id, now).await? {
        TakeSignInResult::Claimed => Box::pin(connect_with_callback(workspace, details, callback)).await,
        TakeSignInResult::LinkUsed => Err(SignInError::LinkUsed.into()),
        TakeSignInResult::Used => return Err(SignInError::Used.into()),
        TakeSignInResult::Expired => return Err(SignInError::Expired.into()),
    };
    Ok(CallbackReply::Finished(Box::new(store_result(workspace, &found.id, result).await?)))
}

/// Asks the vendor, no more often than it allows, whether the code of a device sign-in was entered, and finishes the sign-in
/// if it was. Does nothing for other sign-ins.
///
/// # Errors
/// [`SignInError::NotFound`].
pub async fn poll(workspace: &Workspace, id: &SignInId) -> Result<SignIn> {
    let found = find(workspace, id).await?;
    let now = workspace.clock.now();
    if found.status(now) != SignInStatus::Pending || found.poll_interval.is_none() {
        return Ok(found);
    }
    let sign_ins = workspace.store().await?.sign_ins();
    if !sign_ins.claim_poll(id, workspace.clock.now_millis()).await? {
        return Ok(found);
    }
    match Box::pin(poll_device(workspace, id, PendingDetails::read(&found)?)).await {
        Ok(DevicePoll::Waiting) => Ok(found),
        Ok(DevicePoll::SlowDown) => {
            let seconds = u32::try_from(SLOW_DOWN.as_secs()).unwrap_or(u32::MAX);
            sign_ins.slow_down(id, seconds).await?;
            Ok(found)
        }
        Ok(DevicePoll::Connected(connected)) => store_result(workspace, id, Ok(*connected)).await,
        // The code may still be entered.
        Err(error) if error.kind() == Kind::Temporary && find(workspace, id).await?.taken_at.is_none() => Err(error),
        Err(error) => store_result(workspace, id, Err(error)).await,
    }
}

/// What asking about a device code came to.
enum DevicePoll {
    Waiting,
    SlowDown,
    Connected(Box<ConnectResult>),
}

async fn poll_device(workspace: &Workspace, id: &SignInId, details: PendingDetails) -> Result<DevicePoll> {
    let PendingDetails { request, draft, redirect_uri, step } = details;
    let PendingStep::DeviceCode(pending) = step else { return Ok(DevicePoll::Waiting) };
    let request = request.to_request()?;
    let mut flow =
        ConnectFlow::new(workspace, &request, &Unattended, CallbackTarget::AnyProcess(&redirect_uri)).await?;
    let mut session = draft.session(&mut flow).await?;
    let view = session.clone();
    let exchange = Resumed::new(&flow, &view, pending.exchange, None)?;
    let tokens = match device::poll_once(&exchange.oauth_client, &pending.device_code.0).await {
        Ok(PollResult::Granted(tokens)) => *tokens,
        Ok(PollResult::Pending) => return Ok(DevicePoll::Waiting),
        // A vendor that does not answer is asked less often as well.
        Ok(PollResult::SlowDown)
        | Err(OAuthError::ServerUnavailable { .. })
        | Err(OAuthError::Http(
            HttpError::Connect { .. } | HttpError::Timeout { .. } | HttpError::ConnectionLost { .. },
        )) => return Ok(DevicePoll::SlowDown),
        Err(error) => return Err(flow.oauth_error(error).into()),
    };
    match workspace.store().await?.sign_ins().take(id, workspace.clock.now()).await? {
        TakeSignInResult::Claimed => {}
        TakeSignInResult::LinkUsed => return Err(SignInError::LinkUsed.into()),
        TakeSignInResult::Used | TakeSignInResult::Expired => return Ok(DevicePoll::Waiting),
    }
    let grant = exchange.complete(&flow, &mut session, tokens).await?;
    Ok(DevicePoll::Connected(Box::new(Box::pin(save_connection(&flow, session, grant)).await?)))
}

/// Exchanges what the callback brought, and stores the connection.
async fn connect_with_callback(
    workspace: &Workspace,
    details: PendingDetails,
    callback: Result<Callback, OAuthError>,
) -> Result<ConnectResult> {
    let PendingDetails { request, draft, redirect_uri, step } = details;
    let request = request.to_request()?;
    let mut flow =
        ConnectFlow::new(workspace, &request, &Unattended, CallbackTarget::AnyProcess(&redirect_uri)).await?;
    let mut session = draft.session(&mut flow).await?;
    let callback = callback.map_err(|error| flow.oauth_error(error))?;
    let grant = match step {
        PendingStep::Code(pending) => {
            let view = session.clone();
            let exchange = Resumed::new(&flow, &view, pending.exchange, Some(&pending.redirect_uri))?;
            let verifier = pending.verifier.as_ref().map(|verifier| &verifier.0);
            let exchanged = exchange.oauth_client.exchange_code(&callback.code, &pending.redirect_uri, verifier).await;
            let tokens = exchanged.map_err(|error| flow.oauth_error(error))?;
            oauth::keep_callback_values(&mut session.connection, exchange.rules, &callback);
            exchange.complete(&flow, &mut session, tokens).await?
        }
        PendingStep::Fragment { client } => oauth::implicit_token_grant(&flow, client.into(), callback),
        // Its callback is none of ours.
        PendingStep::DeviceCode(_) => return Err(SignInError::UnknownState.into()),
    };
    Box::pin(save_connection(&flow, session, grant)).await
}

/// The client at its server, as the process that began it had them.
struct Resumed<'v> {
    rules: &'v OAuth2,
    exchange: Exchange,
    fields: BTreeMap<String, Secret>,
    oauth_client: OAuthClient<'v>,
}

impl<'v> Resumed<'v> {
    fn new(
        flow: &ConnectFlow<'v>,
        view: &'v Session,
        mut exchange: Exchange,
        redirect_uri: Option<&str>,
    ) -> Result<Self, ConnectError> {
        let failed = |error| flow.oauth_error(error);
        let rules = view.auth.oauth2.as_ref().ok_or_else(|| failed(OAuthError::MissingEndpoint("token")))?;
        let fields: BTreeMap<_, _> =
            std::mem::take(&mut exchange.fields).into_iter().map(|(name, value)| (name, value.0)).collect();
        let server = exchange.server.clone();
        let client = exchange.client.credentials();
        let mut oauth_client =
            OAuthClient::for_server(view, flow.workspace, client, redirect_uri, server).map_err(failed)?;
        oauth_client.set_credential(view, &fields).map_err(failed)?;
        Ok(Self { rules, exchange, fields, oauth_client })
    }

    async fn complete(self, flow: &ConnectFlow<'_>, session: &mut Session, tokens: Tokens) -> Result<Grant> {
        let context = GrantContext {
            kind: self.exchange.kind.0,
            client: self.exchange.client.credentials(),
            fields: self.fields,
            is_resource: self.exchange.is_resource,
            oauth_client: &self.oauth_client,
        };
        oauth::complete(flow, session, self.rules, context, tokens, &mut None).await
    }
}

/// Stores how a sign-in ended, and returns it.
async fn store_result(workspace: &Workspace, id: &SignInId, result: Result<ConnectResult>) -> Result<SignIn> {
    let result = match result {
        Ok(ConnectResult { connection, missing_scopes, warnings }) => SignInResult::Connected(ConnectedAccount {
            connection: connection.name.to_string(),
            missing_scopes,
            warnings,
        }),
        Err(error) => SignInResult::Failed(failure(&error)),
    };
    workspace.store().await?.sign_ins().finish(id, &result, workspace.clock.now()).await?;
    find(workspace, id).await
}

/// A failure as it is stored.
fn failure(error: &Error) -> SignInFailure {
    let field = error.downcast_ref::<ConnectError>().and_then(ConnectError::field);
    let (field, choices) = field.map_or((None, &[][..]), |(field, choices)| (Some(field.to_owned()), choices));
    SignInFailure {
        code: error.code().to_owned(),
        message: error.on_one_line(),
        hint: error.hint().map(|hint| hint.to_string()),
        field,
        choices: choices.to_vec(),
    }
}

/// The `state` of a callback's query. A repeated one is refused later.
fn state_of(query: &str) -> Option<Secret> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "state").map(|(_, state)| Secret::new(state.into_owned()))
}
