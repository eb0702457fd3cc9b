//! The local page that a browser is started with.
//!
//! The authorization URL holds the flow's `state`, and every user of a machine can read every process's arguments. Who
//! knows `state` can end the flow with an account of their own (RFC 9700 section 4.7). So a browser is started with an
//! address of integ's own listener, which redirects to the true one: once, and to processes of the same user alone, so that
//! the address is worth nothing to those who read it. A private file would do as well (Jupyter does so), but browsers in a
//! sandbox (snap, flatpak), on the Windows side of WSL or outside a container cannot read it; the listener is what they
//! must reach anyway. The URL that is printed for the user stays the vendor's.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::body::Bytes;
use url::Url;

use super::OAuthError;
use super::outcome_page::notice;
use super::peer_guard::PeerGuard;
use crate::clock;
use crate::hex;
use crate::http::loopback::{self, ListenAddresses};
use crate::http::serve::{FullResponse, Method, Request, Server, StatusCode, header};

/// Leads one browser to a URL.
#[derive(Debug)]
pub(super) struct StartPage {
    url: Url,
    target: Url,
    is_used: AtomicBool,
}

impl StartPage {
    /// A page at an unguessable path of a listener.
    pub(super) fn new(address: SocketAddr, target: Url) -> Self {
        // What listens everywhere is reached at loopback.
        let ip = if address.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { address.ip() };
        let address = SocketAddr::new(ip, address.port());
        let name = hex::encode(&clock::random::<16>());
        let mut url = target.clone();
        if let Ok(own) = Url::parse(&format!("http://{address}/start/{name}")) {
            url = own;
        }
        Self { url, target, is_used: AtomicBool::new(false) }
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn path(&self) -> &str {
        self.url.path()
    }

    pub(super) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }

    /// The redirect, the first time. The caller knows who asks.
    pub(super) fn respond(&self) -> FullResponse {
        if self.is_used.swap(true, Ordering::Relaxed) {
            return notice(StatusCode::GONE, "This link has already been used. Open the address that integ printed.");
        }
        let mut answer = notice(StatusCode::FOUND, "Continue in the browser.");
        match header::HeaderValue::from_str(self.target.as_str()) {
            Ok(target) => answer.headers_mut().insert(header::LOCATION, target),
            Err(_) => return notice(StatusCode::NOT_FOUND, "Open the address that integ printed."),
        };
        answer
    }
}

/// A start page on a port of its own, for flows that listen for nothing: the device code's page may hold the user code,
/// with which a stranger could answer first, and from an account of theirs.
#[derive(Debug)]
pub struct StartPageServer {
    page: Arc<StartPage>,
    _server: Server,
}

impl StartPageServer {
    /// Serves it until it is dropped. Must be called inside the runtime.
    ///
    /// # Errors
    /// [`OAuthError::Bind`], [`OAuthError::Serve`].
    pub fn start(target: &Url) -> Result<Self, OAuthError> {
        let failed = |source| OAuthError::Serve { source };
        let listeners = loopback::bind(ListenAddresses::Only(Ipv4Addr::LOCALHOST.into()), 0);
        let listeners = listeners.map_err(|source| OAuthError::Bind { source })?;
        let address = listeners.first().ok_or(std::io::ErrorKind::AddrNotAvailable.into()).map_err(failed)?;
        let address = address.local_addr().map_err(failed)?;
        let start = Arc::new(StartPage::new(address, target.clone()));
        let (served, guard) = (Arc::clone(&start), Arc::new(PeerGuard::new(false)));
        let server = Server::start(listeners, move |request: Request<Bytes>| {
            let (start, guard) = (Arc::clone(&served), Arc::clone(&guard));
            async move {
                // A page of another site that was rebound to this address names another host.
                let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
                let own = host == Some(address.to_string().as_str());
                if !own || request.method() != Method::GET || request.uri().path() != start.path() {
                    return notice(StatusCode::NOT_FOUND, "Page not found.");
                }
                if !guard.allows(&request, true).await {
                    return notice(StatusCode::FORBIDDEN, "integ only accepts connections from its own user.");
                }
                start.respond()
            }
        });
        Ok(Self { page: start, _server: server.map_err(failed)? })
    }

    /// Returns the URL to open in the browser, which redirects to the target once.
    pub fn url(&self) -> &Url {
        self.page.url()
    }
}
