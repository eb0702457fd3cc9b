//! What the server answers without an API token: the description of the API, its page, and whether the server works.

use std::sync::Arc;

use hyper::body::Bytes;
use hyper::http::request::Parts;
use serde_json::{Value, json};

use super::docs;
use super::openapi;
use super::problem::{Problem, RequestError};
use super::reply::{JSON, Reply};
use super::table::RouteTable;
use crate::http::html;
use crate::http::serve::{FullResponse, Method, StatusCode, header, page};
use crate::ops::serving;
use crate::runtime::Workspace;

/// Pages that never change while the server runs, and the checks of its health.
pub(super) struct PublicPages {
    openapi: Bytes,
    docs: String,
    workspaces: Vec<Arc<Workspace>>,
}

/// A request for a public page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PublicRequest {
    OpenApi,
    Docs,
    Live,
    Ready,
    /// A public page, asked for with another method than `GET` and `HEAD`.
    WrongMethod,
}

/// The paths of the public pages.
pub(super) const PUBLIC_PATHS: &[(&str, PublicRequest)] = &[
    ("/openapi.json", PublicRequest::OpenApi),
    ("/docs", PublicRequest::Docs),
    ("/v1/health/live", PublicRequest::Live),
    ("/v1/health/ready", PublicRequest::Ready),
];

impl PublicPages {
    pub(super) fn new(table: &RouteTable, workspaces: Vec<Arc<Workspace>>) -> Self {
        let document = openapi::document(table);
        Self { docs: docs::page(&document), openapi: document.to_string().into(), workspaces }
    }

    /// Finds the public page of a request.
    pub(super) fn find(&self, head: &Parts) -> Option<PublicRequest> {
        let (_, request) = PUBLIC_PATHS.iter().find(|(path, _)| *path == head.uri.path())?;
        let is_read = head.method == Method::GET || head.method == Method::HEAD;
        Some(if is_read { *request } else { PublicRequest::WrongMethod })
    }

    pub(super) async fn respond(&self, request: PublicRequest) -> FullResponse {
        match request {
            PublicRequest::OpenApi => {
                let reply =
                    Reply { status: StatusCode::OK, content_type: JSON, body: self.openapi.clone(), location: None };
                reply.into_http()
            }
            PublicRequest::Docs => page(StatusCode::OK, "text/html; charset=utf-8", &self.docs, &html::policy()),
            PublicRequest::Live => health(StatusCode::OK, json!({ "status": "ok" })),
            PublicRequest::Ready => self.ready().await,
            PublicRequest::WrongMethod => {
                let problem = Problem::from(RequestError::MethodNotAllowed { method: "it".to_owned() });
                problem.with_header(header::ALLOW, "GET, HEAD").into_http()
            }
        }
    }

    /// Ready is a server whose stores can be written.
    async fn ready(&self) -> FullResponse {
        for workspace in &self.workspaces {
            if let Err(error) = serving::check_readiness(workspace).await {
                let reason = format!("workspace {}: {}", workspace.name, error.code());
                return health(StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "unavailable", "reason": reason }));
            }
        }
        health(StatusCode::OK, json!({ "status": "ok" }))
    }
}

fn health(status: StatusCode, body: Value) -> FullResponse {
    Reply { status, content_type: JSON, body: body.to_string().into(), location: None }.into_http()
}
