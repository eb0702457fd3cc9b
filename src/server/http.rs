//! The HTTP side of the server: judges a request by its head, runs its operation, and responds.
//!
//! The order is: host and origin, route, API token, rate limit, scope, and only then the body and the connection. A request
//! that fails early costs no more than the checks before it, and learns nothing of what lies behind them.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::authentication::{Tenant, authenticate};
use super::dashboard::{Dashboard, DashboardRequest};
use super::hosts::ServerHosts;
use super::idempotency;
use super::operation::ApiRequest;
use super::problem::{Problem, RequestError};
use super::public::{PublicPages, PublicRequest};
use super::table::{ApiRouteTable, NoRoute};
use crate::clock::random;
use crate::config::ServeConfig;
use crate::hex;
use crate::http::peer::SocketPair;
use crate::http::serve::{BodyReadError, FullResponse, Method, RequestHandler, header};
use crate::ops::Reach;
use crate::webhook::inbound::receiver::AdmittedRequest;
use crate::webhook::inbound::server::WebhookHandler;

/// Bytes of a body of the API.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Requests to the API that are answered at once; further ones get 503.
const MAX_CONCURRENT: usize = 512;

pub(super) const REQUEST_ID: &str = "x-request-id";

/// Answers the requests to a server: the API, the webhook URLs, and the public pages.
pub(super) struct HttpServer {
    pub(super) tenants: Vec<Tenant>,
    pub(super) routes: Arc<ApiRouteTable>,
    hosts: ServerHosts,
    pages: PublicPages,
    dashboard: Arc<Dashboard>,
    concurrency: Arc<Semaphore>,
}

/// A request that was judged by its head.
pub(super) enum Admitted {
    Webhook(Arc<WebhookHandler>, AdmittedRequest),
    Public(PublicRequest),
    Dashboard(Box<DashboardRequest>, OwnedSemaphorePermit),
    Api(Box<ApiRequest>, OwnedSemaphorePermit),
}

impl HttpServer {
    pub(super) fn new(
        tenants: Vec<Tenant>,
        hosts: ServerHosts,
        routes: ApiRouteTable,
        pages: PublicPages,
        settings: &ServeConfig,
    ) -> Self {
        let concurrency = Arc::new(Semaphore::new(MAX_CONCURRENT));
        let routes = Arc::new(routes);
        let dashboard = Dashboard::new(tenants.clone(), Arc::clone(&routes), settings, hosts.clone());
        Self { tenants, routes, hosts, pages, dashboard: Arc::new(dashboard), concurrency }
    }

    /// Judges a request to the API by its head.
    async fn admit_api(&self, head: &Parts, request_id: &str) -> Result<Admitted, Problem> {
        self.hosts.check(&head.headers)?;
        if let Some(request) = self.pages.find(head) {
            return Ok(Admitted::Public(request));
        }
        if let Some(request) = DashboardRequest::of(head, request_id) {
            return Ok(Admitted::Dashboard(Box::new(request), self.permit()?));
        }
        let path = head.uri.path();
        let found = self.routes.find(&head.method, path);
        if matches!(found, Err(NoRoute::Path)) && !path.starts_with("/v1/") {
            return Err(RequestError::UnknownPath.into());
        }
        let (tenant, authenticated) = authenticate(&self.tenants, &head.headers).await?;
        let found = found.map_err(|missing| match missing {
            NoRoute::Path => RequestError::UnknownPath.into(),
            NoRoute::Method(methods) => {
                let method = head.method.to_string();
                Problem::from(RequestError::MethodNotAllowed { method }).with_header(header::ALLOW, &list(&methods))
            }
        })?;
        if self.routes.routes()[found.index].operation.reach < Reach::Api {
            // Only operators have it.
            return Err(RequestError::UnknownPath.into());
        }
        let request = ApiRequest {
            table: Arc::clone(&self.routes),
            usage: Arc::clone(&tenant.usage),
            route: found.index,
            request_id: request_id.to_owned(),
            source: head.extensions.get::<SocketPair>().map(|pair| pair.remote),
            workspace: Arc::new(tenant.workspace.limited_to(authenticated.access)),
            caller: Arc::new(authenticated.caller),
            path: found.path,
            query: head.uri.query().unwrap_or_default().to_owned(),
            idempotency_key: idempotency::key_of(head)?,
            if_match: head.headers.get(header::IF_MATCH).map(|value| value.as_bytes().to_vec()),
            content_type: head.headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes().to_vec()),
            rate: None,
        };
        let request = request.authorize().await?;
        Ok(Admitted::Api(Box::new(request), self.permit()?))
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = Arc::clone(&self.concurrency).try_acquire_owned();
        permit.map_err(|_| Problem::from(RequestError::Overloaded).with_header(header::RETRY_AFTER, &1))
    }
}

/// Methods as in `Allow`. `HEAD` is answered where `GET` is.
fn list(methods: &[Method]) -> String {
    let mut names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if methods.contains(&Method::GET) {
        names.push("HEAD");
    }
    names.join(", ")
}

impl RequestHandler for HttpServer {
    type Admitted = (String, Admitted);

    async fn admit(&self, head: Parts) -> Result<((String, Admitted), usize), FullResponse> {
        let request_id = format!("req_{}", hex::encode(&random::<12>()));
        let path = head.uri.path();
        if path.starts_with("/webhooks/") {
            let handlers = self.tenants.iter().map(|tenant| &tenant.webhooks);
            let Some(handler) = handlers.clone().find(|handler| handler.receives(path)).or(handlers.clone().next())
            else {
                return Err(with_id(Problem::from(RequestError::UnknownPath).into_http(), &request_id));
            };
            let handler = Arc::clone(handler);
            let (admitted, most) = handler.admit(head).await?;
            return Ok(((request_id, Admitted::Webhook(handler, admitted)), most));
        }
        match self.admit_api(&head, &request_id).await {
            Ok(admitted) => Ok(((request_id, admitted), MAX_BODY_BYTES)),
            Err(problem) => Err(with_id(problem.into_http(), &request_id)),
        }
    }

    async fn respond(&self, (id, admitted): (String, Admitted), body: Result<Bytes, BodyReadError>) -> FullResponse {
        let response = match admitted {
            Admitted::Webhook(handler, admitted) => return handler.respond(admitted, body).await,
            Admitted::Public(request) => self.pages.respond(request, &body.unwrap_or_default(), &id).await,
            Admitted::Dashboard(request, permit) => {
                let response = match body {
                    Ok(body) => Arc::clone(&self.dashboard).respond(*request, body).await,
                    Err(unread) => unread.answer(),
                };
                drop(permit);
                response
            }
            Admitted::Api(request, permit) => {
                let body = body.map_err(|unread| match unread {
                    BodyReadError::TooLarge(limit) => RequestError::TooLarge { limit },
                    BodyReadError::TooSlow => RequestError::TooSlow,
                    BodyReadError::Overloaded => RequestError::Overloaded,
                });
                match body {
                    Ok(body) => request.run(body, permit).await,
                    Err(error) => Problem::from(error).into_http(),
                }
            }
        };
        with_id(response, &id)
    }
}

/// Adds the id under which the request is in the logs and in the audit log.
fn with_id(mut response: FullResponse, id: &str) -> FullResponse {
    if let Ok(value) = header::HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// The address of a caller, as in logs.
pub(super) fn source_text(source: Option<SocketAddr>) -> Option<String> {
    source.map(|address| address.ip().to_string())
}
