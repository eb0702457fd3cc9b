//! The consent pages of the sandbox, for browsers on other machines: the emulated services listen on loopback. Only the pages
//! that a sign-in of this server leads to are shown, and only while its emulator runs.

use std::sync::Arc;

use hyper::body::Bytes;
use hyper::http::request::Parts;

use super::problem::{Problem, RequestError};
use crate::error::Result;
use crate::http::serve::{FullResponse, Method, StatusCode, header, page};
use crate::http::{Request, Route};
use crate::runtime::Workspace;

/// The beginning of the paths of these pages.
pub(super) const SANDBOX_PATH: &str = "/sandbox/";

/// A request for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SandboxPageRequest {
    is_post: bool,
    emulator: String,
    path: String,
    query: Option<String>,
    content_type: String,
}

impl SandboxPageRequest {
    /// Reads the head of a request. `rest` is its path below [`SANDBOX_PATH`].
    pub(super) fn new(head: &Parts, rest: &str) -> Self {
        let (emulator, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Self {
            is_post: head.method == Method::POST,
            emulator: emulator.to_owned(),
            path: path.to_owned(),
            query: head.uri.query().map(str::to_owned),
            content_type: content_type.unwrap_or_default().to_owned(),
        }
    }
}

/// The pages of the workspaces that are served.
pub(super) struct SandboxPages {
    pub(super) workspaces: Vec<Arc<Workspace>>,
}

impl SandboxPages {
    pub(super) async fn respond(&self, request: SandboxPageRequest, body: &Bytes) -> FullResponse {
        let SandboxPageRequest { is_post, emulator, path, query, content_type } = request;
        let published = self.workspaces.iter().find_map(|workspace| {
            Some((workspace, workspace.published_sandbox_page(&emulator, &path, query.as_deref())?))
        });
        let Some((workspace, url)) = published else { return Problem::from(RequestError::UnknownPath).into_http() };
        let mut sent = Request::new(if is_post { "POST" } else { "GET" }, url);
        if is_post {
            sent = sent.body(&content_type, body.to_vec());
        }
        match shown(workspace, sent).await {
            Ok(response) => response,
            Err(error) => Problem::from(error).into_http(),
        }
    }
}

/// Returns the page of an emulator.
async fn shown(workspace: &Workspace, request: Request) -> Result<FullResponse> {
    let response = workspace.engine.http.send(request, &Route::Live).await?;
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let text = String::from_utf8_lossy(&response.body);
    let content_type = response.header("content-type").unwrap_or("text/plain; charset=utf-8");
    let policy = response.header("content-security-policy").unwrap_or("default-src 'none'");
    let mut shown = page(status, content_type, &text, policy);
    let location = response.header("location").and_then(|location| header::HeaderValue::try_from(location).ok());
    if let Some(location) = location {
        shown.headers_mut().insert(header::LOCATION, location);
    }
    Ok(shown)
}
