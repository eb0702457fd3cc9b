//! What a page has: the session, the values of its address, and the API as its operator.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::body::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use url::form_urlencoded;

use super::action::FormAction;
use super::cookies::Notice;
use super::form::Form;
use super::session::SignedIn;
use super::values::clean;
use super::{Dashboard, DashboardRequest};
use crate::clock::Timestamp;
use crate::http::serve::Method;
use crate::model::Operator;
use crate::runtime::Workspace;
use crate::server::authentication::{Caller, Tenant};
use crate::server::operation::ApiRequest;
use crate::server::problem::{Problem, RequestError};
use crate::server::reply::Reply;
use crate::server::route::ApiRoute;
use crate::server::table::ApiRouteTable;

/// What is percent-encoded in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'@');

/// A request for a page of a signed-in operator.
pub(super) struct DashboardContext {
    pub(super) operator: Operator,
    /// When the session ends.
    pub(super) session_ends_at: Timestamp,
    pub(super) notice: Option<Notice>,
    pub(super) now: Timestamp,
    /// The present page with its query, without the base.
    pub(super) here: String,
    pub(super) base: String,
    pub(super) csrf: String,
    /// The last live event that the browser got.
    pub(super) last_event: Option<String>,
    tenant: Tenant,
    table: Arc<ApiRouteTable>,
    params: BTreeMap<String, String>,
    query: Vec<(String, String)>,
    request_id: String,
    peer: Option<std::net::SocketAddr>,
    public_url: String,
}

impl DashboardContext {
    pub(super) fn new(
        dashboard: &Dashboard,
        request: &DashboardRequest,
        signed_in: SignedIn,
        params: BTreeMap<String, String>,
    ) -> Self {
        let here = match request.query.is_empty() {
            true => request.path.clone(),
            false => format!("{}?{}", request.path, request.query),
        };
        let csrf = signed_in.csrf_token();
        let workspace = &signed_in.tenant.workspace;
        let public_url = workspace.engine.config.serve.public_url().map(|url| url.to_string()).unwrap_or_default();
        Self {
            now: workspace.clock.now(),
            operator: signed_in.operator,
            session_ends_at: signed_in.ends_at,
            notice: None,
            here,
            base: dashboard.base.clone(),
            csrf,
            last_event: request.last_event.clone(),
            tenant: signed_in.tenant,
            table: Arc::clone(&dashboard.table),
            params,
            query: request.pairs(),
            request_id: request.request_id.clone(),
            peer: request.peer.map(|pair| pair.remote),
            public_url,
        }
    }

    pub(super) fn workspace(&self) -> &Workspace {
        &self.tenant.workspace
    }

    /// Returns a value of the page's path.
    pub(super) fn param(&self, name: &str) -> &str {
        self.params.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Returns a value of the page's query; empty if there is none.
    pub(super) fn query(&self, name: &str) -> &str {
        let found = self.query.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Returns the address of a page for a link: `path` begins with `/dashboard`.
    pub(super) fn href(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Returns the absolute URL of a page, for a service that leads back to it.
    pub(super) fn absolute(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.trim_end_matches('/'))
    }

    /// Returns the address of the present page with other values in its query; an empty one is left out.
    pub(super) fn with_query(&self, changes: &[(&str, &str)]) -> String {
        let path = self.here.split('?').next().unwrap_or_default();
        let others = self.query.iter().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        let others = others.map(|(name, value)| (name.as_str(), value.as_str()));
        let pairs = others.chain(changes.iter().copied()).filter(|(_, value)| !value.is_empty());
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let path = self.href(path);
        if query.is_empty() { path } else { format!("{path}?{query}") }
    }

    /// Returns the route of an action.
    ///
    /// # Panics
    /// If there is none: a mistake in the page.
    pub(super) fn route(&self, action: &FormAction) -> (usize, &ApiRoute) {
        let mut routes = self.table.routes().iter().enumerate();
        let found = routes.find(|(_, route)| route.method == action.method && route.path == action.path);
        found.unwrap_or_else(|| panic!("the API has no route {} {}", action.method, action.path))
    }

    /// Whether the operator's role allows an action.
    pub(super) fn may(&self, action: &FormAction) -> bool {
        self.operator.role.allows(self.route(action).1.operation.api_scope())
    }

    /// Begins a form for an action; `values` are those of the names in its path.
    pub(super) fn form(&self, action: &'static FormAction, values: &[(&'static str, &str)]) -> Form<'_> {
        Form::new(self, action, values)
    }

    /// Reads from the API.
    ///
    /// # Errors
    /// The problem that the API returns.
    pub(super) fn get<'c>(
        &'c self,
        path: &'static str,
        values: &[(&'static str, &str)],
        query: &[(&str, &str)],
    ) -> impl Future<Output = Result<Value, Problem>> + Send + use<'c> {
        let pairs = query.iter().filter(|(_, value)| !value.is_empty());
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let (route, _) = self.route(&FormAction::get(path));
        let reply = self.request(route, owned(values), query, Bytes::new());
        async move { Ok(json(&reply.await?)) }
    }

    /// Reads a file from the API.
    ///
    /// # Errors
    /// The problem that the API returns.
    pub(super) async fn bytes(
        &self,
        path: &'static str,
        values: &[(&'static str, &str)],
        query: &[(&str, &str)],
    ) -> Result<Bytes, Problem> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let (route, _) = self.route(&FormAction::get(path));
        Ok(self.request(route, owned(values), query, Bytes::new()).await?.body)
    }

    /// Sends a request to the API that has a body: to preview or verify something on a page.
    ///
    /// # Errors
    /// The problem that the API returns.
    pub(super) async fn post(
        &self,
        path: &'static str,
        values: &[(&'static str, &str)],
        body: &Value,
    ) -> Result<Value, Problem> {
        let (route, _) = self.route(&FormAction::post(path));
        let reply = self.request(route, owned(values), String::new(), Bytes::from(body.to_string())).await?;
        Ok(json(&reply))
    }

    /// Sends a request to the route at a place in the table.
    ///
    /// # Errors
    /// The problem that the API returns.
    pub(super) async fn request(
        &self,
        route: usize,
        path: BTreeMap<&'static str, String>,
        query: String,
        body: Bytes,
    ) -> Result<Reply, Problem> {
        let request = ApiRequest {
            table: Arc::clone(&self.table),
            usage: Arc::clone(&self.tenant.usage),
            route,
            request_id: self.request_id.clone(),
            source: self.peer,
            workspace: Arc::clone(&self.tenant.workspace),
            caller: Arc::new(Caller::Operator(self.operator.clone())),
            path,
            query,
            idempotency_key: None,
            if_match: None,
            content_type: (!body.is_empty()).then(|| b"application/json".to_vec()),
            rate: None,
        };
        Box::pin(async move { request.authorize().await?.reply(body).await }).await
    }

    /// Finds the route of a method and a path of the API.
    pub(super) fn find(
        &self,
        method: &Method,
        path: &str,
    ) -> Result<(usize, BTreeMap<&'static str, String>), RequestError> {
        let found = self.table.find(method, path).map_err(|_| RequestError::UnknownPath)?;
        Ok((found.index, found.path))
    }

    pub(super) fn route_at(&self, index: usize) -> &ApiRoute {
        &self.table.routes()[index]
    }
}

fn owned(values: &[(&'static str, &str)]) -> BTreeMap<&'static str, String> {
    values.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// Reads the JSON of a reply; null if it has none.
pub(super) fn json(reply: &Reply) -> Value {
    let mut value = serde_json::from_slice(&reply.body).unwrap_or_default();
    clean(&mut value);
    value
}

/// Encodes a text as a segment of a path.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}
