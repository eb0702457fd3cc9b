//! A client of remote MCP servers (Model Context Protocol, streamable HTTP): it initializes a session and lists the tools.
//!
//! Its requests are those of any connection: [`api::send`] refreshes the token, retries, and keeps to the connection's hosts
//! and limits. A library's client would need all of that around its
//! own: of `rmcp` only the types of two messages would be left.

mod message;
mod sse;

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;
use url::Url;

use crate::api::{self, ApiResponse, GrantToken, RetryLimits, SendError};
use crate::http::Request;
use crate::model::{Grant, MCP_REVISIONS};
use crate::runtime::{Session, Workspace};
use crate::secret::Secret;

/// What servers may answer with, in every request.
const ACCEPT: &str = "application/json, text/event-stream";

/// The largest answer that is read, in bytes.
const MAX_RESPONSE_BYTES: usize = 4 << 20;

/// Pages of a list: a server that goes on for longer repeats itself.
const MAX_PAGES: u64 = 100;

/// Tries of one request, and the longest wait between two.
const MAX_ATTEMPTS: u32 = 3;
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// How long the end of a session may take. Nothing depends on it.
const SESSION_END_TIMEOUT: Duration = Duration::from_secs(2);

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpServer {
    pub name: String,
    pub version: String,
    /// The revision of the protocol that was agreed upon.
    pub protocol_version: String,
    /// How many tools it lists.
    pub tools: usize,
}

/// Why a server could not be asked.
#[derive(Debug, Error)]
pub enum McpError {
    #[error("the server refused the request: status {}", .0.response.status)]
    Refused(Box<ApiResponse>),
    #[error("the server refused {method}: {message} ({code})")]
    Rpc { method: &'static str, code: i64, message: String },
    #[error("the answer to {method} cannot be used: {reason}")]
    Malformed { method: &'static str, reason: String },
    #[error("the server speaks revision {revision:?} of MCP, which integ does not know")]
    UnknownRevision { revision: String },
    #[error("no answer came")]
    Send(SendError),
}

/// The request with which every session begins, for a server that is asked without a token.
pub fn initialize_request(url: Url) -> Request {
    let mut request = Request::new("POST", url).header("accept", Secret::from(ACCEPT));
    request.max_response_bytes = MAX_RESPONSE_BYTES;
    request.is_complete = Some(message::has_response);
    let body = message::request(1, "initialize", &initialize_params());
    request.body("application/json", body.to_string().into_bytes())
}

fn initialize_params() -> Value {
    json!({
        "protocolVersion": MCP_REVISIONS[0],
        "capabilities": {},
        "clientInfo": { "name": "integ", "version": env!("CARGO_PKG_VERSION") },
    })
}

/// Initializes a session with the server at `url`, lists its tools and ends the session.
///
/// # Errors
/// [`McpError`].
pub async fn inspect(
    workspace: &Workspace,
    session: &Session,
    token: &mut GrantToken,
    url: &str,
) -> Result<McpServer, McpError> {
    let mut client = McpClient { workspace, session, token, url, requests: 0, revision: None, session_id: None };
    let server = client.inspect().await;
    client.end_session().await;
    server
}

/// One session with a server.
struct McpClient<'a> {
    workspace: &'a Workspace,
    session: &'a Session,
    token: &'a mut GrantToken,
    url: &'a str,
    /// Requests sent: the number of the last one.
    requests: u64,
    /// The revision that was agreed upon, and the session's id if the server has sessions: every later request names them.
    revision: Option<String>,
    session_id: Option<Secret>,
}

impl McpClient<'_> {
    async fn inspect(&mut self) -> Result<McpServer, McpError> {
        let begun = self.request("initialize", &initialize_params()).await?;
        let text = |at: &str| message::cut(begun.pointer(at).and_then(Value::as_str).unwrap_or_default());
        let revision = text("/protocolVersion");
        if !MCP_REVISIONS.contains(&revision.as_str()) {
            return Err(McpError::UnknownRevision { revision });
        }
        self.revision = Some(revision.clone());
        self.post("notifications/initialized", &message::notification("notifications/initialized")).await?;
        let has_tools = begun.pointer("/capabilities/tools").is_some();
        let tools = if has_tools { self.count_tools().await? } else { 0 };
        Ok(McpServer {
            name: text("/serverInfo/name"),
            version: text("/serverInfo/version"),
            protocol_version: revision,
            tools,
        })
    }

    async fn count_tools(&mut self) -> Result<usize, McpError> {
        const METHOD: &str = "tools/list";
        let malformed = |reason: &str| McpError::Malformed { method: METHOD, reason: reason.to_owned() };
        let mut count = 0;
        let mut cursors = HashSet::new();
        let mut params = json!({});
        for _ in 0..MAX_PAGES {
            let page = self.request(METHOD, &params).await?;
            let tools = page.get("tools").and_then(Value::as_array).ok_or_else(|| malformed("it lists no tools"))?;
            count += tools.len();
            let Some(cursor) = page.get("nextCursor").and_then(Value::as_str) else { return Ok(count) };
            if !cursors.insert(cursor.to_owned()) {
                return Err(malformed("it repeats a page"));
            }
            params = json!({ "cursor": cursor });
        }
        Err(malformed("it does not end"))
    }

    async fn request(&mut self, method: &'static str, params: &Value) -> Result<Value, McpError> {
        self.requests += 1;
        let id = self.requests;
        let answer = self.post(method, &message::request(id, method, params)).await?;
        if let Some(id) = answer.response.header("mcp-session-id").filter(|_| method == "initialize") {
            self.session_id = Some(Secret::from(id));
        }
        message::result(&answer.response, id, method)
    }

    async fn post(&mut self, method: &'static str, message: &Value) -> Result<ApiResponse, McpError> {
        let limits = RetryLimits {
            max_attempts: MAX_ATTEMPTS,
            max_wait: MAX_RETRY_DELAY,
            is_idempotent: true,
            cost: self.session.connector.rate.cost_of(None),
        };
        let Self { workspace, session, url, revision, session_id, .. } = self;
        let build = |grant: &Grant| {
            let mut request = session.request_to("POST", url, grant)?;
            request.max_response_bytes = MAX_RESPONSE_BYTES;
            request.is_complete = Some(message::has_response);
            set_headers(&mut request, revision.as_deref(), session_id.as_ref());
            Ok(request.body("application/json", message.to_string().into_bytes()))
        };
        tracing::debug!(method, "MCP request");
        let answer = api::send(workspace, session, self.token, limits, build).await.map_err(McpError::Send)?;
        if answer.error_class.is_some() {
            return Err(McpError::Refused(Box::new(answer)));
        }
        Ok(answer)
    }

    /// Ends the session at the server, which may refuse it.
    async fn end_session(&self) {
        let Some(id) = &self.session_id else { return };
        let Ok(mut request) = self.session.request_to("DELETE", self.url, &self.token.grant) else { return };
        request.body = None;
        set_headers(&mut request, self.revision.as_deref(), Some(id));
        let sent = self.workspace.engine.http.send(request, &self.session.route);
        if let Ok(Err(error)) = tokio::time::timeout(SESSION_END_TIMEOUT, sent).await {
            tracing::debug!(%error, "the MCP session was not ended");
        }
    }
}

fn set_headers(request: &mut Request, revision: Option<&str>, session_id: Option<&Secret>) {
    request.set_header("accept", Secret::from(ACCEPT));
    if let Some(revision) = revision {
        request.set_header("mcp-protocol-version", Secret::from(revision));
    }
    if let Some(id) = session_id {
        request.set_header("mcp-session-id", id.clone());
    }
}
