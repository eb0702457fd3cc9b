//! What the server answers without an API token: the description of the API, its page, and whether the server works.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::http::request::Parts;
use serde_json::{Value, json};

use super::docs;
use super::http::source_text;
use super::openapi;
use super::problem::{Problem, RequestError};
use super::reply::{JSON, Reply};
use super::sandbox_pages::{SANDBOX_PATH, SandboxPageRequest, SandboxPages};
use super::sign_in_pages::SignInPages;
use super::table::ApiRouteTable;
use super::token_exchange::TokenExchanges;
use crate::http::html;
use crate::http::peer::SocketPair;
use crate::http::serve::{FullResponse, Method, StatusCode, header, page};
use crate::ops::api_tokens::EXCHANGE_PATH;
use crate::ops::serving;
use crate::runtime::Workspace;

/// Pages that never change while the server runs, and the checks of its health.
pub(super) struct PublicPages {
    openapi: Bytes,
    docs: String,
    workspaces: Vec<Arc<Workspace>>,
    sign_ins: SignInPages,
    exchanges: TokenExchanges,
    sandbox: SandboxPages,
}

/// A request for a public page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicRequest {
    /// The query of an OAuth callback, and where it came from.
    Callback {
        query: String,
        source: Option<String>,
    },
    /// The secret of a connect link, and where it was opened.
    ConnectLink {
        secret: String,
        source: Option<String>,
    },
    /// A page of the emulation of a service.
    Sandbox(SandboxPageRequest),
    /// The exchange of an identity token, and where it came from.
    TokenExchange {
        source: Option<IpAddr>,
    },
    OpenApi,
    Docs,
    Live,
    Ready,
    /// A public page, asked for with another method than these.
    WrongMethod(&'static str),
}

/// The path of the OAuth callback.
const CALLBACK: &str = "/oauth/callback";

/// The beginning of the paths of connect links.
const CONNECT_LINK: &str = "/connect/";

/// The paths of the public pages.
pub(super) const PUBLIC_PATHS: &[(&str, PublicRequest)] = &[
    ("/openapi.json", PublicRequest::OpenApi),
    ("/docs", PublicRequest::Docs),
    ("/v1/health/live", PublicRequest::Live),
    ("/v1/health/ready", PublicRequest::Ready),
];

impl PublicPages {
    pub(super) fn new(table: &ApiRouteTable, base_path: &str, workspaces: Vec<Arc<Workspace>>) -> Self {
        let document = openapi::document(table, base_path);
        let sign_ins = SignInPages { workspaces: workspaces.clone() };
        let exchanges = TokenExchanges::new(workspaces.clone());
        let sandbox = SandboxPages { workspaces: workspaces.clone() };
        let openapi = document.to_string().into();
        Self { docs: docs::page(&document), openapi, workspaces, sign_ins, exchanges, sandbox }
    }

    /// Finds the public page of a request.
    pub(super) fn find(&self, head: &Parts) -> Option<PublicRequest> {
        let path = head.uri.path();
        let is_read = head.method == Method::GET || head.method == Method::HEAD;
        if path == CALLBACK {
            let query = head.uri.query().unwrap_or_default().to_owned();
            let source = source_text(head.extensions.get::<SocketPair>().map(|pair| pair.remote));
            let is_get = head.method == Method::GET;
            return Some(if is_get {
                PublicRequest::Callback { query, source }
            } else {
                PublicRequest::WrongMethod("GET")
            });
        }
        if let Some(secret) = path.strip_prefix(CONNECT_LINK) {
            let is_known = head.method == Method::GET || head.method == Method::POST;
            let secret = secret.to_owned();
            let source = source_text(head.extensions.get::<SocketPair>().map(|pair| pair.remote));
            return Some(if is_known {
                PublicRequest::ConnectLink { secret, source }
            } else {
                PublicRequest::WrongMethod("GET, POST")
            });
        }
        if let Some(rest) = path.strip_prefix(SANDBOX_PATH) {
            let is_known = head.method == Method::GET || head.method == Method::POST;
            let request = SandboxPageRequest::new(head, rest);
            return Some(if is_known {
                PublicRequest::Sandbox(request)
            } else {
                PublicRequest::WrongMethod("GET, POST")
            });
        }
        if path == EXCHANGE_PATH {
            let source = head.extensions.get::<SocketPair>().map(|pair| pair.remote.ip());
            return Some(if head.method == Method::POST {
                PublicRequest::TokenExchange { source }
            } else {
                PublicRequest::WrongMethod("POST")
            });
        }
        let (_, request) = PUBLIC_PATHS.iter().find(|(known, _)| *known == path)?;
        Some(if is_read { request.clone() } else { PublicRequest::WrongMethod("GET, HEAD") })
    }

    pub(super) async fn respond(&self, request: PublicRequest, body: &Bytes, request_id: &str) -> FullResponse {
        match request {
            PublicRequest::Callback { query, source } => {
                self.sign_ins.callback(query, source, request_id.to_owned()).await
            }
            PublicRequest::ConnectLink { secret, source } => {
                self.sign_ins.connect_link(secret, body, source, request_id.to_owned()).await
            }
            PublicRequest::Sandbox(request) => self.sandbox.respond(request, body).await,
            PublicRequest::TokenExchange { source } => self.exchanges.respond(source, body, request_id).await,
            PublicRequest::OpenApi => {
                let reply =
                    Reply { status: StatusCode::OK, content_type: JSON, body: self.openapi.clone(), location: None };
                reply.into_http()
            }
            PublicRequest::Docs => page(StatusCode::OK, "text/html; charset=utf-8", &self.docs, &html::policy()),
            PublicRequest::Live => health(StatusCode::OK, &json!({ "status": "ok" })),
            PublicRequest::Ready => self.ready().await,
            PublicRequest::WrongMethod(allowed) => {
                let problem = Problem::from(RequestError::MethodNotAllowed { method: "this method".to_owned() });
                problem.with_header(header::ALLOW, &allowed).into_http()
            }
        }
    }

    /// Ready is a server whose stores can be written.
    async fn ready(&self) -> FullResponse {
        for workspace in &self.workspaces {
            if let Err(error) = serving::check_readiness(workspace).await {
                let reason = format!("workspace {}: {}", workspace.name, error.code());
                return health(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "unavailable", "reason": reason }));
            }
        }
        health(StatusCode::OK, &json!({ "status": "ok" }))
    }
}

fn health(status: StatusCode, body: &Value) -> FullResponse {
    Reply { status, content_type: JSON, body: body.to_string().into(), location: None }.into_http()
}
