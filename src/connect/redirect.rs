//! The way back from the consent page: a listener on this machine, or a person who pastes the address.

use std::process::Child;
use std::time::Duration;

use url::Url;

use super::flow::Flow;
use super::talk::Interrupted;
use super::{ConnectError, Event, Question};
use crate::clock::Stopwatch;
use crate::connector::{LoopbackHost, Redirect};
use crate::error::{Error, Result};
use crate::http::{Request, Route};
use crate::oauth::authorize::{self, Pending};
use crate::oauth::callback::{Callback, Verdict, judge, pasted_query};
use crate::oauth::listener::{Bound, Browser};
use crate::runtime::Session;
use crate::sandbox;

/// The port in the redirect URI of a pasted callback, on which nothing listens.
const PASTE_PORT: u16 = 8910;

/// Where the callback comes to.
pub(super) enum Redirection {
    Listen(Bound),
    Paste(String),
}

impl Redirection {
    pub(super) fn uri(&self) -> &str {
        match self {
            Self::Listen(bound) => bound.redirect_uri(),
            Self::Paste(uri) => uri,
        }
    }
}

/// Waits until no browser can be expected to open the page any more: its command has failed, or has ended and some time has
/// passed in which a browser that it handed the page to would have opened it. Never ends once the page was opened.
async fn unvisited(browser: Option<Child>, visited: impl Fn() -> bool) {
    const HANDED_OVER: Duration = Duration::from_secs(5);
    const LOOK_AGAIN: Duration = Duration::from_millis(50);
    let Some(mut browser) = browser else { return };
    let mut ended = None;
    loop {
        if visited() {
            return std::future::pending().await;
        }
        match (browser.try_wait(), &ended) {
            (Ok(None), _) => {}
            (Ok(Some(status)), None) if status.success() => ended = Some(Stopwatch::start()),
            (Ok(Some(_)), Some(since)) if since.elapsed() < HANDED_OVER => {}
            _ => return,
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

impl Flow<'_> {
    pub(super) fn redirection(&self, declared: &Redirect, session: &Session) -> Result<Redirection> {
        let wish = &self.wish.redirect;
        if declared.https && session.route.is_vendor() && wish.redirect_uri.is_none() {
            return Err(ConnectError::HttpsOnly { requested: self.wish.requested() }.into());
        }
        let mut declared = declared.clone();
        if self.wish.sandbox {
            // No app is registered there, so that no port must be the registered one.
            declared.port = None;
        }
        if self.wish.paste {
            let uri = wish.redirect_uri.as_ref().map_or_else(
                || {
                    let host = if declared.host == LoopbackHost::Name { "localhost" } else { "127.0.0.1" };
                    format!("http://{host}:{}/callback", wish.port.or(declared.port).unwrap_or(PASTE_PORT))
                },
                ToString::to_string,
            );
            return Ok(Redirection::Paste(uri));
        }
        Ok(Redirection::Listen(Bound::bind(&declared, wish).map_err(|error| self.failed(error))?))
    }

    /// Shows the URL, gets a browser or a person to it, and waits for the callback. `token` is the parameter that holds
    /// what is waited for.
    pub(super) async fn receive(
        &self,
        redirect: Redirection,
        pending: &Pending,
        token: &str,
        session: &Session,
    ) -> Result<(Callback, Option<Browser>)> {
        authorize::check_openable(&pending.url).map_err(|error| self.failed(error))?;
        // Without PKCE anyone who knows `state` decides whose account is connected, and a code is worth as much to others.
        let sandbox = matches!(session.route, Route::Sandbox(_));
        if self.wish.redirect.allow_peer && !self.wish.paste && pending.verifier.is_none() && !sandbox {
            return Err(ConnectError::PeerCheckNeeded { requested: self.wish.requested() }.into());
        }
        self.talk.tell(&Event::Authorize { url: &pending.url, redirect_uri: &pending.redirect_uri });
        let bound = match redirect {
            Redirection::Paste(_) => return self.pasted(pending, token),
            Redirection::Listen(bound) => bound,
        };
        let in_fragment = session.auth.fragment.is_some();
        let listener = bound.listen(pending.expected.clone(), &pending.url, token, in_fragment);
        let mut listener = listener.map_err(|error| self.failed(error))?;
        let start = listener.start_url();
        let browser = self.wish.open_browser.then(|| self.talk.open_browser(start)).flatten();
        let visited = listener.visited();
        let consent = async {
            if !sandbox {
                return std::future::pending().await;
            }
            unvisited(browser, visited).await;
            self.talk.tell(&Event::SandboxConsented);
            self.consent(pending, &session.route).await
        };
        let (result, reply) = tokio::select! {
            received = listener.wait(self.wish.timeout) => received,
            // A sandbox that fails to consent ends the flow: nobody else will.
            failed = consent => return Err(failed),
            // Dropping the listener closes the port, and the verifier is wiped with the flow (fault 42).
            _ = tokio::signal::ctrl_c() => return Err(Interrupted.into()),
        };
        let browser = reply.map(|reply| listener.with(reply));
        match result {
            Ok(callback) => Ok((callback, browser)),
            Err(error) => {
                if let Some(browser) = browser {
                    let outcome = format!("{} was not connected. The terminal shows why.", session.connector.name);
                    browser.tell(&outcome).await;
                }
                Err(self.failed(error).into())
            }
        }
    }

    fn pasted(&self, pending: &Pending, token: &str) -> Result<(Callback, Option<Browser>)> {
        let pasted = self.talk.ask(&Question::Paste).map_err(ConnectError::from)?;
        let query = pasted_query(pasted.expose()).ok_or(ConnectError::BadPaste)?;
        match judge(&query, &pending.expected, token) {
            Verdict::Ends(result) => Ok((result.map_err(|error| self.failed(error))?, None)),
            Verdict::Ignored(_) => Err(ConnectError::BadPaste.into()),
        }
    }

    /// Follows the sandbox's consent page as a browser would: Allow, and the redirect to the listener. Ends where that fails.
    async fn consent(&self, pending: &Pending, route: &Route) -> Error {
        match self.allow(pending, route).await {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    }

    async fn allow(&self, pending: &Pending, route: &Route) -> Result<()> {
        let allow = Request::new("GET", sandbox::approve_url(&pending.url));
        let answer = self.app.http.send(allow, route).await?;
        let target = answer.header("location").and_then(|target| Url::parse(target).ok());
        let mut target = target.ok_or(ConnectError::NoConsent { status: answer.status })?;
        // What the listener's page does in a browser: a fragment is not sent.
        if let Some(fragment) = target.fragment().map(str::to_owned) {
            let query = target.query().map(|query| format!("{query}&{fragment}"));
            target.set_query(Some(&query.unwrap_or(fragment)));
            target.set_fragment(None);
        }
        // The listener answers after the exchange, and whoever waits for the callback ends this first: an answer that is read
        // here is a refusal.
        let answer = self.app.http.send(Request::new("GET", target), &Route::Live).await?;
        if !answer.is_success() {
            return Err(ConnectError::NoConsent { status: answer.status }.into());
        }
        Ok(())
    }
}
