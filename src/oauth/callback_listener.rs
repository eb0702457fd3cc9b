//! The loopback redirect listener (RFC 8252 sections 7.3 and 8.3).
//!
//! It binds loopback addresses (both, where a name such as `localhost` may lead to either) unless the user names another
//! one, answers only
//! `GET` of its own paths under its own names, to processes of its own user and root, lets only a callback with the flow's
//! `state` end the flow, and closes its port when it is dropped. The browser waits for the outcome, so that the page says
//! what really happened.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::{mpsc, oneshot};
use url::Url;

use super::OAuthError;
use super::callback::{Callback, CallbackOutcome, ExpectedCallback, check_callback};
use super::outcome_page::{OutcomePage, notice};
use super::peer_guard::PeerGuard;
use super::start_page::StartPage;
use crate::connector::{LoopbackHost, Redirect};
use crate::http::is_loopback;
use crate::http::loopback::{self, ListenAddresses};
use crate::http::serve::{self, FullResponse, Method, Request, Server, StatusCode, header};

const PATH: &str = "/callback";

/// How long the browser waits for the outcome before its page says to look at the terminal.
const OUTCOME_WAIT: Duration = Duration::from_secs(60);

/// How long the last page may take to reach the browser, which is on this machine.
const LAST_PAGE_WAIT: Duration = Duration::from_secs(1);

/// What the user asked of the redirect.
#[derive(Clone, Debug, Default)]
pub struct RedirectOptions {
    pub port: Option<u16>,
    /// The registered URI, as typed; the listener's own if absent. A loopback one says what to bind, and any other is
    /// that of a tunnel which leads here.
    pub redirect_uri: Option<RedirectUri>,
    /// Listens at this address in place of loopback: in a container, loopback cannot be reached by a browser outside it.
    pub bind: Option<IpAddr>,
    /// Processes of other users may bring the callback. The caller sees to it that the flow has PKCE.
    pub allow_peer: bool,
}

/// A redirect URI letter by letter, which servers compare as text, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUri {
    text: String,
    url: Url,
}

impl std::str::FromStr for RedirectUri {
    type Err = url::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self { url: Url::parse(text)?, text: text.to_owned() })
    }
}

impl std::fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl RedirectUri {
    /// The port that the browser comes to, where that is this machine's.
    pub fn port(&self) -> Option<u16> {
        // An https URI of this machine is that of a proxy, which has the port already.
        (self.url.scheme() == "http" && is_loopback(&self.url)).then(|| self.url.port_or_known_default()).flatten()
    }

    /// Where its host may lead. A tunnel's own program is mostly given `localhost` and a port, which is as good as a name.
    fn addresses(&self) -> ListenAddresses {
        match self.url.host() {
            Some(url::Host::Ipv4(ip)) if ip.is_loopback() => ListenAddresses::Only(ip.into()),
            Some(url::Host::Ipv6(ip)) if ip.is_loopback() => ListenAddresses::Only(ip.into()),
            _ => ListenAddresses::Both,
        }
    }
}

/// A bound port that does not answer yet: the redirect URI is known before the flow's `state` is.
#[derive(Debug)]
pub struct BoundListener {
    listeners: Vec<TcpListener>,
    redirect_uri: String,
    callback_path: String,
    /// What a browser may call this listener (RFC 9110 section 7.2).
    allowed_hosts: Vec<String>,
    allow_peer: bool,
}

/// A listener that waits for the callback of one flow.
#[derive(Debug)]
pub struct CallbackListener {
    server: Server,
    callbacks: mpsc::Receiver<(Result<Callback, OAuthError>, OutcomeSender)>,
    start_page: Arc<StartPage>,
}

/// Shows the result in the waiting browser.
#[derive(Debug)]
pub struct OutcomeSender(oneshot::Sender<OutcomePage>);

impl OutcomeSender {
    /// Sends the last page to the person at the browser.
    pub fn send(self, page: OutcomePage) {
        // The browser may have closed: then there is nobody to answer.
        let _ = self.0.send(page);
    }
}

/// The browser that waits for the outcome, and the listener that it waits at.
#[derive(Debug)]
pub struct WaitingBrowser {
    listener: CallbackListener,
    reply: OutcomeSender,
}

impl WaitingBrowser {
    /// Shows the last page to the person at the browser, and closes the port.
    pub async fn show_outcome(self, page: OutcomePage) {
        self.reply.send(page);
        self.listener.server.finish(LAST_PAGE_WAIT).await;
    }
}

impl BoundListener {
    /// Takes the port: the requested one, that of the redirect URI, the one the vendor has registered, or any.
    ///
    /// # Errors
    /// [`OAuthError::Bind`] where the port is taken at one of the addresses that the redirect URI may lead to.
    pub fn bind(redirect: &Redirect, options: &RedirectOptions) -> Result<Self, OAuthError> {
        let given = options.redirect_uri.as_ref();
        let port = options.port.or_else(|| given.and_then(RedirectUri::port)).or(redirect.port).unwrap_or(0);
        let addresses = match (options.bind, given, redirect.host) {
            (Some(address), ..) => ListenAddresses::Only(address),
            (None, Some(uri), _) => uri.addresses(),
            (None, None, LoopbackHost::Name) => ListenAddresses::Both,
            (None, None, LoopbackHost::Address) => ListenAddresses::Only(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        };
        let listeners = loopback::bind(addresses, port).map_err(|source| OAuthError::Bind { source })?;
        let port = listeners.iter().find_map(|listener| listener.local_addr().ok()).map_or(port, |bound| bound.port());
        let mut hosts = ["127.0.0.1", "localhost", "[::1]"].map(|name| format!("{name}:{port}")).to_vec();
        let (redirect_uri, path) = match given {
            Some(uri) => {
                hosts.extend(uri.url.host_str().map(|host| match uri.url.port() {
                    Some(port) => format!("{host}:{port}"),
                    None => host.to_owned(),
                }));
                (uri.to_string(), uri.url.path().to_owned())
            }
            None => {
                let host = match redirect.host {
                    LoopbackHost::Address => "127.0.0.1",
                    LoopbackHost::Name => "localhost",
                };
                (format!("http://{host}:{port}{PATH}"), PATH.to_owned())
            }
        };
        Ok(Self { listeners, redirect_uri, callback_path: path, allowed_hosts: hosts, allow_peer: options.allow_peer })
    }

    /// Returns the redirect URI to send to the vendor: the registered one as it was typed, else the listener's own.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Starts to answer. `authorize` is what the start page leads to, `token` the parameter that holds what the flow waits
    /// for; `fragment` says that it comes in the URL's fragment, which only a script in the browser can read.
    ///
    /// # Errors
    /// [`OAuthError::Serve`].
    pub fn listen(
        self,
        expected: ExpectedCallback,
        authorize: &Url,
        token: &str,
        fragment: bool,
    ) -> Result<CallbackListener, OAuthError> {
        let failed = |source| OAuthError::Serve { source };
        let (sender, callbacks) = mpsc::channel(1);
        let address = self.listeners.first().ok_or(std::io::ErrorKind::AddrNotAvailable.into()).map_err(failed)?;
        let start = Arc::new(StartPage::new(address.local_addr().map_err(failed)?, authorize.clone()));
        let handler = Arc::new(CallbackHandler {
            path: self.callback_path,
            hosts: self.allowed_hosts,
            expected,
            code_param: token.to_owned(),
            is_fragment: fragment,
            guard: PeerGuard::new(self.allow_peer),
            start_page: Arc::clone(&start),
            sender,
        });
        let server = Server::start(self.listeners, move |request| {
            let handler = Arc::clone(&handler);
            async move { handler.respond(&request).await }
        });
        Ok(CallbackListener { server: server.map_err(failed)?, callbacks, start_page: start })
    }
}

impl CallbackListener {
    /// What a browser is started with: a page here that leads to the vendor's, once.
    pub fn start_url(&self) -> &Url {
        self.start_page.url()
    }

    /// Returns what says whether a browser has opened the start page.
    pub fn visit_probe(&self) -> impl Fn() -> bool + use<> {
        let start = Arc::clone(&self.start_page);
        move || start.is_used()
    }

    /// The first callback that belongs to the flow.
    ///
    /// # Errors
    /// What the callback says, or [`OAuthError::TimedOut`].
    pub async fn receive(&mut self, limit: Duration) -> (Result<Callback, OAuthError>, Option<OutcomeSender>) {
        let received = tokio::time::timeout(limit, self.callbacks.recv()).await;
        // Later requests are answered that the sign-in is complete.
        self.callbacks.close();
        match received {
            Ok(Some((result, reply))) => (result, Some(reply)),
            Ok(None) | Err(_) => (Err(OAuthError::TimedOut { retry_after: limit }), None),
        }
    }

    /// Keeps the browser's connection until it has got the outcome.
    pub fn into_waiting_browser(self, reply: OutcomeSender) -> WaitingBrowser {
        WaitingBrowser { listener: self, reply }
    }
}

struct CallbackHandler {
    path: String,
    hosts: Vec<String>,
    expected: ExpectedCallback,
    code_param: String,
    is_fragment: bool,
    guard: PeerGuard,
    start_page: Arc<StartPage>,
    sender: mpsc::Sender<(Result<Callback, OAuthError>, OutcomeSender)>,
}

impl CallbackHandler {
    async fn respond(&self, request: &Request<Bytes>) -> FullResponse {
        let mut named = request.headers().get_all(header::HOST).iter();
        let host = named.next().and_then(|host| host.to_str().ok());
        if named.next().is_some()
            || !host.is_some_and(|host| self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)))
        {
            return notice(StatusCode::FORBIDDEN, "integ does not answer for this host name.");
        }
        if request.method() != Method::GET {
            let mut answer = notice(StatusCode::METHOD_NOT_ALLOWED, "integ answers only GET requests here.");
            answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET"));
            return answer;
        }
        let starts = request.uri().path() == self.start_page.path();
        if request.uri().path() != self.path && !starts {
            return notice(StatusCode::NOT_FOUND, "Page not found.");
        }
        // Before anything of the query is believed or anything is shown: state and code may be known to a stranger.
        if !self.guard.allows(request, starts).await {
            return notice(
                StatusCode::FORBIDDEN,
                "integ only accepts connections from its own user. The terminal has details.",
            );
        }
        if starts {
            return self.start_page.respond();
        }
        let query = request.uri().query().unwrap_or_default();
        if self.is_fragment && lacks_token(query, &self.code_param) {
            return fragment_page();
        }
        match check_callback(query, &self.expected, &self.code_param) {
            CallbackOutcome::Ignored(why) => {
                notice(StatusCode::BAD_REQUEST, &format!("This link does not belong to the current sign-in: {why}."))
            }
            CallbackOutcome::Complete(result) => self.deliver(result).await,
        }
    }

    async fn deliver(&self, result: Result<Callback, OAuthError>) -> FullResponse {
        let (reply, outcome) = oneshot::channel();
        // The channel holds one and is read once: a second callback finds it full or closed (fault 40).
        if self.sender.try_send((result, OutcomeSender(reply))).is_err() {
            return notice(StatusCode::CONFLICT, "This sign-in is already complete.");
        }
        match tokio::time::timeout(OUTCOME_WAIT, outcome).await {
            Ok(Ok(page)) => page.response(),
            Ok(Err(_)) | Err(_) => {
                notice(StatusCode::OK, "The sign-in goes on in the terminal. You can close this page.")
            }
        }
    }
}

/// Returns whether the token of a callback is still in the URL's fragment, which only a script in the browser can read.
pub fn lacks_token(query: &str, token: &str) -> bool {
    !query.split('&').any(|pair| pair.split('=').next() == Some(token))
}

/// The page that sends the fragment on as a query; the script is fixed and bears the page's only permission to run.
pub fn fragment_page() -> FullResponse {
    const SCRIPT: &str = "location.replace(location.pathname+'?'+location.search.slice(1)+'&'+location.hash.slice(1))";
    const POLICY: &str = "default-src 'none'; script-src 'sha256-SCRIPT_HASH'";
    let body = format!("<!doctype html><meta charset=utf-8><title>integ</title><script>{SCRIPT}</script>");
    let policy = POLICY.replace("SCRIPT_HASH", &script_hash(SCRIPT));
    serve::page(StatusCode::OK, "text/html; charset=utf-8", &body, &policy)
}

fn script_hash(script: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(crate::hash::sha256(script.as_bytes()))
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
