//! The callback from the consent page: through a local listener, or an address that the user pastes.

use std::process::Child;
use std::time::Duration;

use url::Url;

use super::flow::{CallbackTarget, ConnectFlow};
use super::guide::prompt_valid;
use super::prompter::{ConnectInterrupted, with_countdown};
use super::{ConnectError, ConnectEvent, PromptQuestion, SignInOptions, WaitsFor};
use crate::clock::Stopwatch;
use crate::connector::{LoopbackHost, Redirect};
use crate::error::{Error, Result};
use crate::http::{Client, Request, Route, is_loopback};
use crate::oauth::authorize::{self, PendingAuthorization};
use crate::oauth::callback::{Callback, CallbackOutcome, check_callback, parse_pasted_query};
use crate::oauth::callback_listener::{BoundListener, WaitingBrowser};
use crate::runtime::Session;
use crate::sandbox;

/// The port in the redirect URI of a pasted callback, on which nothing listens.
const PASTE_PORT: u16 = 8910;

/// How the callback comes.
pub(super) enum CallbackMethod {
    Listen(BoundListener),
    /// To a page that nothing of this flow serves: a person pastes its address, or another process gets it.
    Elsewhere(String),
}

impl CallbackMethod {
    pub(super) fn uri(&self) -> &str {
        match self {
            Self::Listen(bound) => bound.redirect_uri(),
            Self::Elsewhere(uri) => uri,
        }
    }
}

/// Waits until no browser can be expected to open the page any more: its command has failed, or has ended and some time has
/// passed in which a browser that it handed the page to would have opened it. Never ends once the page was opened.
async fn wait_until_unvisited(browser: Option<Child>, visited: impl Fn() -> bool) {
    const HANDOVER_TIMEOUT: Duration = Duration::from_secs(5);
    const POLL_INTERVAL: Duration = Duration::from_millis(50);
    let Some(mut browser) = browser else { return };
    let mut ended = None;
    loop {
        if visited() {
            return std::future::pending().await;
        }
        match (browser.try_wait(), &ended) {
            (Ok(None), _) => {}
            (Ok(Some(status)), None) if status.success() => ended = Some(Stopwatch::start()),
            (Ok(Some(_)), Some(since)) if since.elapsed() < HANDOVER_TIMEOUT => {}
            _ => return,
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

impl ConnectFlow<'_> {
    pub(super) fn callback_method(&self, declared: &Redirect, session: &Session) -> Result<CallbackMethod> {
        if let CallbackTarget::AnyProcess(uri) = self.callback {
            return self.server_callback(declared, session, uri);
        }
        let redirect_options = &self.request.sign_in.redirect;
        if declared.https && session.route.is_vendor() && redirect_options.redirect_uri.is_none() {
            return Err(ConnectError::HttpsRedirectRequired { command: self.request.command() }.into());
        }
        let mut declared = declared.clone();
        if self.request.is_sandbox {
            // No app is registered there, so that no port must be the registered one.
            declared.port = None;
        }
        if self.request.sign_in.is_paste {
            let uri = redirect_options.redirect_uri.as_ref().map_or_else(
                || {
                    let host = if declared.host == LoopbackHost::Name { "localhost" } else { "127.0.0.1" };
                    format!("http://{host}:{}/callback", redirect_options.port.or(declared.port).unwrap_or(PASTE_PORT))
                },
                ToString::to_string,
            );
            return Ok(CallbackMethod::Elsewhere(uri));
        }
        Ok(CallbackMethod::Listen(
            BoundListener::bind(&declared, redirect_options).map_err(|error| self.oauth_error(error))?,
        ))
    }

    /// The callback of the server. Vendors that know this machine only as `localhost` are given that name.
    fn server_callback(&self, declared: &Redirect, session: &Session, uri: &Url) -> Result<CallbackMethod> {
        if declared.https && session.route.is_vendor() && uri.scheme() != "https" {
            return Err(ConnectError::HttpsPublicUrlRequired { command: self.request.command() }.into());
        }
        let mut uri = uri.clone();
        if declared.host == LoopbackHost::Name && uri.scheme() == "http" && is_loopback(&uri) {
            let _ = uri.set_host(Some("localhost"));
        }
        Ok(CallbackMethod::Elsewhere(uri.to_string()))
    }

    /// Shows the URL, gets a browser or a person to it, and waits for the callback. `token` is the parameter that holds
    /// what is waited for.
    pub(super) async fn receive_callback(
        &self,
        redirect: CallbackMethod,
        pending: &PendingAuthorization,
        token: &str,
        session: &Session,
        browser: &mut Option<WaitingBrowser>,
    ) -> Result<Callback> {
        authorize::check_openable(&pending.url).map_err(|error| self.oauth_error(error))?;
        // Without PKCE anyone who knows `state` decides whose account is connected, and a code is worth as much to others.
        let sandbox = matches!(session.route, Route::Sandbox(_));
        let SignInOptions { is_paste, redirect: options, .. } = &self.request.sign_in;
        if options.allow_peer && !*is_paste && pending.verifier.is_none() && !sandbox {
            return Err(ConnectError::PeerCheckRequired { command: self.request.command() }.into());
        }
        self.prompter.notify(&ConnectEvent::Authorize {
            url: &pending.url,
            redirect_uri: &pending.redirect_uri,
            opens_browser: self.request.sign_in.open_browser,
        });
        let bound = match redirect {
            CallbackMethod::Elsewhere(_) => return self.read_pasted_callback(pending, token),
            CallbackMethod::Listen(bound) => bound,
        };
        let in_fragment = session.auth.fragment.is_some();
        let listener = bound.listen(pending.expected.clone(), &pending.url, token, in_fragment);
        let mut listener = listener.map_err(|error| self.oauth_error(error))?;
        let start = listener.start_url();
        let process = self.request.sign_in.open_browser.then(|| self.prompter.open_browser(start)).flatten();
        let visited = listener.visit_probe();
        let consent = async {
            if !sandbox {
                return std::future::pending().await;
            }
            wait_until_unvisited(process, visited).await;
            self.prompter.notify(&ConnectEvent::SandboxConsented);
            self.approve_in_sandbox(pending, &session.route).await
        };
        let limit = self.request.sign_in.timeout;
        let received = with_countdown(self.prompter, WaitsFor::Browser, limit, async {
            tokio::select! {
                received = listener.receive(limit) => Ok(received),
                // A sandbox that fails to consent ends the flow: nobody else will.
                failed = consent => Err(failed),
                // Dropping the listener closes the port, and the verifier is wiped with the flow (fault 42).
                () = self.workspace.engine.shutdown.requested() => Err(ConnectInterrupted.into()),
            }
        });
        let (result, reply) = received.await?;
        *browser = reply.map(|reply| listener.into_waiting_browser(reply));
        result.map_err(|error| self.oauth_error(error).into())
    }

    fn read_pasted_callback(&self, pending: &PendingAuthorization, token: &str) -> Result<Callback> {
        let received = prompt_valid(self.prompter, &PromptQuestion::CallbackUrl, |pasted| {
            let query = parse_pasted_query(pasted.expose()).ok_or(ConnectError::InvalidCallback)?;
            match check_callback(&query, &pending.expected, token) {
                CallbackOutcome::Complete(result) => Ok(result),
                CallbackOutcome::Ignored(_) => Err(ConnectError::InvalidCallback),
            }
        });
        received?.map_err(|error| self.oauth_error(error).into())
    }

    /// Follows the sandbox's consent page as a browser would: Allow, and the redirect to the listener. Ends where that fails.
    async fn approve_in_sandbox(&self, pending: &PendingAuthorization, route: &Route) -> Error {
        match self.submit_consent(pending, route).await {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    }

    async fn submit_consent(&self, pending: &PendingAuthorization, route: &Route) -> Result<()> {
        let http = &self.workspace.engine.http;
        let target = approve(http, &pending.url, route).await?;
        // The listener answers after the exchange, and the code that waits for the callback ends this first: an answer that is read
        // here is a refusal.
        let answer = http.send(Request::new("GET", target), &Route::Live).await?;
        if !answer.is_success() {
            return Err(ConnectError::SandboxConsentFailed { status: answer.status }.into());
        }
        Ok(())
    }
}

/// Consents at the sandbox's page, and returns the callback URL that a browser would be sent to. What is in its fragment is
/// in its query, where the callback's page would move it.
pub(super) async fn approve(http: &Client, authorization_url: &Url, route: &Route) -> Result<Url> {
    let allow = Request::new("GET", sandbox::approve_url(authorization_url));
    let answer = http.send(allow, route).await?;
    let target = answer.header("location").and_then(|target| Url::parse(target).ok());
    let mut target = target.ok_or(ConnectError::SandboxConsentFailed { status: answer.status })?;
    if let Some(fragment) = target.fragment().map(str::to_owned) {
        let query = target.query().map(|query| format!("{query}&{fragment}"));
        target.set_query(Some(&query.unwrap_or(fragment)));
        target.set_fragment(None);
    }
    Ok(target)
}
