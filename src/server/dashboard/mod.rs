//! The dashboard: what an operator sees in a browser. Pages are rendered here; they need no script, and are better with it.
//!
//! The dashboard is a client of the API, in the same process. A page reads with [`DashboardContext::get`], and a form is sent to
//! the route that it names ([`form`], [`submit`]): both run as requests to `/v1` do, with the role of the operator in place of
//! the scopes of a token, and with the same audit entries. Nothing can be done here that has no route there.
//!
//! 1. `session` finds out who asks, by the cookie of a session, and checks that forms are this page's own.
//! 2. `Dashboard::respond` finds the page, which returns a title and its content; [`layout`] puts them into a document.
//! 3. `submit` turns the fields of a form into the query and the body of its route, calls it, and leads back with a notice.
//!
//! # A new page
//!
//! Write `pages/NAME.rs` with `PAGES`, a list of paths and functions from a [`DashboardContext`] to a [`DashboardPage`]; add it to
//! `pages::all` and, if it has a place of its own, to `layout::SECTIONS`. Read values with [`values::Fields`], show them with
//! [`components`], and make each form with [`DashboardContext::form`], which leaves out what the operator's role may not do. Texts are
//! escaped by maud, and cleaned of invisible characters when they are read. The tests in `tests/it/dashboard` find pages by
//! their links, and check each of them.

mod action;
mod assets;
mod components;
mod context;
mod cookies;
mod fix;
mod form;
mod icons;
mod layout;
mod live;
mod pages;
mod problem_page;
mod session;
mod spreadsheet;
mod submit;
mod tree;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::http::request::Parts;
use maud::{Markup, html};
use url::form_urlencoded;

use self::context::DashboardContext;
use self::cookies::{Cookies, Notice};
use self::pages::PageHandler;
use self::session::SignedIn;
use super::authentication::Tenant;
use super::problem::{Problem, RequestError};
use super::table::ApiRouteTable;
use crate::config::ServeConfig;
use crate::http::peer::SocketPair;
use crate::http::serve::{FullResponse, Method, StatusCode, header};
use crate::ops::operators::BrowserSource;

/// The beginning of all paths of the dashboard.
pub(super) const DASHBOARD: &str = "/dashboard";

/// The content of a page.
pub(super) struct DashboardPage {
    /// As in the title of the window, and the heading unless the page has its own.
    title: String,
    /// The path of the section that it is in: `/dashboard/connections`.
    section: &'static str,
    body: Markup,
}

/// The dashboard of the workspaces that are served.
pub(super) struct Dashboard {
    tenants: Vec<Tenant>,
    table: Arc<ApiRouteTable>,
    pages: matchit::Router<PageHandler>,
    cookies: Cookies,
    /// The path that a proxy has the server below: what links begin with.
    base: String,
    /// Whether browsers reach it only from this machine.
    is_local: bool,
}

/// A request for a page or of a form.
pub(super) struct DashboardRequest {
    method: Method,
    path: String,
    query: String,
    cookies: String,
    origin: Option<String>,
    /// `Sec-Fetch-Site`, of browsers that say where a request comes from.
    fetch_site: Option<String>,
    /// Whether a script asks, which shows the result itself.
    is_script: bool,
    last_event: Option<String>,
    peer: Option<SocketPair>,
    request_id: String,
}

impl DashboardRequest {
    /// Takes what is needed of a request, if it is one of the dashboard.
    pub(super) fn of(head: &Parts, request_id: &str) -> Option<Self> {
        let path = head.uri.path();
        let rest = path.strip_prefix(DASHBOARD)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Some(Self {
            method: head.method.clone(),
            path: path.to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            cookies: text("cookie").unwrap_or_default(),
            origin: text("origin"),
            fetch_site: text("sec-fetch-site"),
            is_script: text("accept").is_some_and(|accept| accept.starts_with("application/json")),
            last_event: text("last-event-id"),
            peer: head.extensions.get::<SocketPair>().copied(),
            request_id: request_id.to_owned(),
        })
    }

    /// Whether a form is sent by a page of this server. Browsers name the origin of every form; [`ServerHosts::check`] has
    /// refused others' by now.
    ///
    /// [`ServerHosts::check`]: super::hosts::ServerHosts::check
    fn is_own_form(&self) -> bool {
        self.origin.is_some() && self.fetch_site.as_deref().is_none_or(|site| site == "same-origin")
    }

    fn source(&self) -> BrowserSource {
        let address = super::http::source_text(self.peer.map(|pair| pair.remote));
        BrowserSource { address, request_id: self.request_id.clone() }
    }

    fn pairs(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.query.as_bytes()).into_owned().collect()
    }
}

impl Dashboard {
    pub(super) fn new(tenants: Vec<Tenant>, table: Arc<ApiRouteTable>, settings: &ServeConfig) -> Self {
        let is_behind_proxy = settings.public_url.is_some() || !settings.trusted_proxies.is_empty();
        Self {
            tenants,
            table,
            pages: pages::router(),
            cookies: Cookies::new(settings),
            base: settings.base_path().to_owned(),
            is_local: !is_behind_proxy && settings.bind.ip().is_loopback(),
        }
    }

    /// Answers a request to its end, also if the browser leaves.
    pub(super) async fn respond(self: Arc<Self>, request: DashboardRequest, body: Bytes) -> FullResponse {
        let task = tokio::spawn(async move { self.answer(request, &body).await });
        task.await.unwrap_or_else(|_| Problem::from(RequestError::Panicked).into_http())
    }

    async fn answer(&self, request: DashboardRequest, body: &Bytes) -> FullResponse {
        let rest = request.path.strip_prefix(DASHBOARD).unwrap_or_default();
        if let Some(name) = rest.strip_prefix("/assets/") {
            return assets::respond(name);
        }
        let is_read = [Method::GET, Method::HEAD].contains(&request.method);
        if !is_read && request.method != Method::POST {
            let method = request.method.to_string();
            let problem = Problem::from(RequestError::MethodNotAllowed { method });
            return problem.with_header(header::ALLOW, &"GET, HEAD, POST").into_http();
        }
        if !is_read && !request.is_own_form() {
            return session::refused_form(self);
        }
        if rest == session::SIGN_IN {
            return if is_read { self.show_link(&request).await } else { self.sign_in(&request, body).await };
        }
        let Some(signed_in) = self.signed_in(&request).await else {
            return session::signed_out(self, request.is_script);
        };
        match (is_read, rest) {
            (false, session::SIGN_OUT) => self.sign_out(&request, signed_in, body).await,
            (false, _) => submit::respond(self, &request, signed_in, body).await,
            (true, _) => self.show(&request, signed_in).await,
        }
    }

    async fn show(&self, request: &DashboardRequest, signed_in: SignedIn) -> FullResponse {
        let path = if request.path == DASHBOARD { pages::HOME } else { request.path.trim_end_matches('/') };
        let found = self.pages.at(path).ok();
        let params = found.as_ref().map(|found| pages::decoded(&found.params)).unwrap_or_default();
        let mut context = self.context(request, signed_in, params);
        context.notice = Notice::of(&request.cookies);
        let shown = match found {
            Some(found) => (found.value)(&context).await,
            None => Err(RequestError::UnknownPath.into()),
        };
        let had_notice = context.notice.is_some();
        let response = match shown {
            Ok(pages::Shown::Page(page)) => page_reply(StatusCode::OK, &layout::document(&context, &page)),
            Ok(pages::Shown::Other(response)) => response,
            Err(problem) => problem_page::respond(&context, &problem),
        };
        if had_notice { self.cookies.without_notice(response) } else { response }
    }

    fn context(
        &self,
        request: &DashboardRequest,
        signed_in: SignedIn,
        params: BTreeMap<String, String>,
    ) -> DashboardContext {
        DashboardContext::new(self, request, signed_in, params)
    }
}

/// A page, which no cache keeps. It loads only what is served here.
fn page_reply(status: StatusCode, document: &Markup) -> FullResponse {
    const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
                          form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let mut response = crate::http::serve::page(status, "text/html; charset=utf-8", &document.0, POLICY);
    let headers = response.headers_mut();
    // With no-referrer, browsers would leave out the origin of forms (Fetch, section 3.1).
    headers.insert(header::REFERRER_POLICY, header::HeaderValue::from_static("same-origin"));
    let opener = header::HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener, header::HeaderValue::from_static("same-origin"));
    response
}

/// Leads a browser to a path after a form; the server puts the path of a proxy before it.
fn see_other(path: &str) -> FullResponse {
    let mut response = page_reply(StatusCode::SEE_OTHER, &html! { p { "Continue at " (path) } });
    if let Ok(location) = header::HeaderValue::try_from(path) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
