//! The HTTP side of the server: judges a request by its head, runs its operation, and responds.
//!
//! The order is: host and origin, route, API token, rate limit, scope, and only then the body and the connection. A request
//! that fails early costs no more than the checks before it, and learns nothing of what lies behind them.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::agents::{AGENT_PATH, AgentDoor};
use super::authentication::{AuthenticatedToken, Caller, Tenant, authenticate};
use super::dashboard::{Dashboard, DashboardRequest};
use super::forwarded::ReverseProxy;
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
use crate::http::serve::{
    BodyReadError, FullResponse, Method, Request, RequestHandler, Response, StreamedBody, header, streamed,
};
use crate::ops::Reach;
use crate::ops::agents::AgentSession;
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
    proxy: ReverseProxy,
    pages: PublicPages,
    agents: AgentDoor,
    dashboard: Arc<Dashboard>,
    concurrency: Arc<Semaphore>,
}

/// A request that was judged by its head.
pub(super) enum Admitted {
    Webhook(Arc<WebhookHandler>, AdmittedRequest),
    Public(PublicRequest),
    Dashboard(Box<DashboardRequest>, OwnedSemaphorePermit),
    Api(Box<ApiRequest>, OwnedSemaphorePermit),
    Agent(Box<AgentSession>, Box<Parts>),
}

impl HttpServer {
    pub(super) fn new(
        tenants: Vec<Tenant>,
        hosts: ServerHosts,
        proxy: ReverseProxy,
        routes: ApiRouteTable,
        pages: PublicPages,
        agents: AgentDoor,
        settings: &ServeConfig,
    ) -> Self {
        let concurrency = Arc::new(Semaphore::new(MAX_CONCURRENT));
        let routes = Arc::new(routes);
        let dashboard = Arc::new(Dashboard::new(tenants.clone(), Arc::clone(&routes), settings));
        Self { tenants, routes, hosts, proxy, pages, agents, dashboard, concurrency }
    }

    /// Finishes a response of the API or of a page: adds the id under which the request is in the logs and in the audit log,
    /// and the path of the proxy to where it leads.
    fn complete<B>(&self, mut response: Response<B>, id: &str) -> Response<B> {
        let headers = response.headers_mut();
        if let Ok(value) = header::HeaderValue::try_from(id) {
            headers.insert(REQUEST_ID, value);
        }
        let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        let below = location.filter(|path| path.starts_with('/')).map(|path| format!("{}{path}", self.proxy.base_path));
        if let Some(value) = below.and_then(|path| header::HeaderValue::try_from(path).ok()) {
            headers.insert(header::LOCATION, value);
        }
        response
    }

    /// Judges a request to the API by its head.
    async fn admit_api(&self, head: &Parts, request_id: &str) -> Result<Admitted, Problem> {
        self.hosts.check(head)?;
        if let Some(request) = self.pages.find(head) {
            return Ok(Admitted::Public(request));
        }
        if let Some(request) = DashboardRequest::of(head, request_id) {
            return Ok(Admitted::Dashboard(Box::new(request), self.permit().ok_or_else(overloaded)?));
        }
        let path = head.uri.path();
        if path == AGENT_PATH {
            let agent = self.agents.admit(&self.tenants, head).await?;
            return Ok(Admitted::Agent(Box::new(agent), Box::new(head.clone())));
        }
        let found = self.routes.find(&head.method, path);
        if matches!(found, Err(NoRoute::Path)) && !path.starts_with("/v1/") {
            return Err(RequestError::UnknownPath.into());
        }
        let (tenant, AuthenticatedToken { token, access }) = authenticate(&self.tenants, &head.headers).await?;
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
            workspace: Arc::new(tenant.workspace.limited_to(access)),
            caller: Arc::new(Caller::ApiToken(Box::new(token))),
            path: found.path,
            query: head.uri.query().unwrap_or_default().to_owned(),
            idempotency_key: idempotency::key_of(head)?,
            if_match: head.headers.get(header::IF_MATCH).map(|value| value.as_bytes().to_vec()),
            content_type: head.headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes().to_vec()),
            rate: None,
        };
        let request = request.authorize().await?;
        Ok(Admitted::Api(Box::new(request), self.permit().ok_or_else(overloaded)?))
    }

    /// Returns what a request is answered with; None if too many are being answered.
    fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.concurrency).try_acquire_owned().ok()
    }
}

fn overloaded() -> Problem {
    Problem::from(RequestError::Overloaded).with_header(header::RETRY_AFTER, &1)
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
    type Body = StreamedBody;

    async fn admit(&self, mut head: Parts) -> Result<((String, Admitted), usize), FullResponse> {
        self.proxy.resolve(&mut head);
        let request_id = format!("req_{}", hex::encode(&random::<12>()));
        let path = head.uri.path();
        if path.starts_with("/webhooks/") {
            let handlers = self.tenants.iter().map(|tenant| &tenant.webhooks);
            let Some(handler) = handlers.clone().find(|handler| handler.receives(path)).or(handlers.clone().next())
            else {
                return Err(self.complete(Problem::from(RequestError::UnknownPath).into_http(), &request_id));
            };
            let handler = Arc::clone(handler);
            let (admitted, most) = handler.admit(head).await?;
            return Ok(((request_id, Admitted::Webhook(handler, admitted)), most));
        }
        match self.admit_api(&head, &request_id).await {
            Ok(admitted) => Ok(((request_id, admitted), MAX_BODY_BYTES)),
            Err(problem) => Err(self.complete(problem.into_http(), &request_id)),
        }
    }

    async fn respond(
        &self,
        (id, admitted): (String, Admitted),
        body: Result<Bytes, BodyReadError>,
    ) -> Response<StreamedBody> {
        let unread = |unread: BodyReadError| match unread {
            BodyReadError::TooLarge(limit) => RequestError::TooLarge { limit },
            BodyReadError::TooSlow => RequestError::TooSlow,
            BodyReadError::Overloaded => RequestError::Overloaded,
        };
        let response = match admitted {
            Admitted::Webhook(handler, admitted) => return streamed(handler.respond(admitted, body).await),
            Admitted::Public(request) => streamed(self.pages.respond(request, &body.unwrap_or_default(), &id).await),
            Admitted::Api(request, permit) => streamed(match body.map_err(unread) {
                Ok(body) => request.run(body, permit).await,
                Err(error) => Problem::from(error).into_http(),
            }),
            Admitted::Dashboard(request, permit) => {
                let response = match body {
                    Ok(body) => Arc::clone(&self.dashboard).respond(*request, body).await,
                    Err(unread) => unread.answer(),
                };
                drop(permit);
                streamed(response)
            }
            Admitted::Agent(agent, head) => match body.map_err(unread) {
                Ok(body) => self.agents.respond(*agent, Request::from_parts(*head, body)).await,
                Err(error) => streamed(Problem::from(error).into_http()),
            },
        };
        self.complete(response, &id)
    }
}

/// The address of a caller, as in logs.
pub(super) fn source_text(source: Option<SocketAddr>) -> Option<String> {
    source.map(|address| address.ip().to_string())
}
