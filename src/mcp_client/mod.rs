//! A client of remote MCP servers (Model Context Protocol, streamable HTTP): it describes a server and lists its tools,
//! and [`proxy`] relays another client's messages.
//!
//! Since revision 2026-07-28 there are no sessions: every request names its revision. A server that does not know
//! `server/discover` of that revision is asked for a session, as the earlier revisions want it.
//!
//! Its requests are those of any connection: [`api::send`] refreshes the token, retries, and keeps to the connection's hosts
//! and limits. A library's client would need all of that around its
//! own: of `rmcp` only the types of two messages would be left.

mod message;
pub mod proxy;
mod refusal;
mod sse;

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;
use url::Url;

pub use refusal::{Refusal, RefusalCause, describe_refusal};

use crate::api::{self, ApiResponse, GrantToken, RetryLimits, SendError};
use crate::connector::ErrorClass;
use crate::http::{Request, Response};
use crate::model::{
    Grant, MCP_META_CAPABILITIES, MCP_META_CLIENT, MCP_META_REVISION, MCP_META_SERVER, MCP_SESSION_REVISIONS,
    MCP_STATELESS_REVISION,
};
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
    #[error("invalid answer to {method}: {reason}")]
    Malformed { method: &'static str, reason: String },
    #[error("the server speaks only revisions of MCP that integ does not know: {revisions}")]
    UnknownRevision { revisions: String },
    #[error("no answer")]
    Send(SendError),
}

/// Returns the request with which a server of the newest revision is asked what it is, without a token.
pub fn discover_probe(url: Url) -> Request {
    probe(url, "server/discover", &with_meta(json!({})), &Protocol::Stateless)
}

/// Returns the request with which the sessions of earlier revisions begin, without a token, if the answer to
/// [`discover_probe`] does not come from a server that understood it.
pub fn session_probe(url: Url, answer: &Response) -> Option<Request> {
    let is_understood = message::supported_revisions(answer).is_some();
    let protocol = Protocol::Session { revision: None, id: None };
    (!is_understood).then(|| probe(url, "initialize", &initialize_params(), &protocol))
}

fn probe(url: Url, method: &str, params: &Value, protocol: &Protocol) -> Request {
    let mut request = Request::new("POST", url);
    request.max_response_bytes = MAX_RESPONSE_BYTES;
    request.is_complete = Some(message::has_response);
    set_headers(&mut request, protocol, method);
    request.body("application/json", message::request(1, method, params).to_string().into_bytes())
}

/// Adds what every request of the stateless revision says.
fn with_meta(mut params: Value) -> Value {
    params["_meta"] = json!({
        MCP_META_REVISION: MCP_STATELESS_REVISION,
        MCP_META_CLIENT: client_info(),
        MCP_META_CAPABILITIES: {},
    });
    params
}

fn initialize_params() -> Value {
    json!({ "protocolVersion": MCP_SESSION_REVISIONS[0], "capabilities": {}, "clientInfo": client_info() })
}

fn client_info() -> Value {
    json!({ "name": "integ", "version": env!("CARGO_PKG_VERSION") })
}

/// Asks the server at `url` what it is and counts its tools. A session that this takes is ended.
///
/// # Errors
/// [`McpError`].
pub async fn inspect(
    workspace: &Workspace,
    session: &Session,
    token: &mut GrantToken,
    url: &str,
) -> Result<McpServer, McpError> {
    let mut client = McpClient { workspace, session, token, url, requests: 0, protocol: Protocol::Stateless };
    let server = client.inspect().await;
    client.end_session().await;
    server
}

/// How a server is spoken to.
enum Protocol {
    /// Every request names its revision.
    Stateless,
    /// The revision that was agreed upon, and the session's id if the server has sessions: every later request names them.
    Session { revision: Option<String>, id: Option<Secret> },
}

/// A conversation with a server.
struct McpClient<'a> {
    workspace: &'a Workspace,
    session: &'a Session,
    token: &'a mut GrantToken,
    url: &'a str,
    /// Requests sent: the number of the last one.
    requests: u64,
    protocol: Protocol,
}

impl McpClient<'_> {
    async fn inspect(&mut self) -> Result<McpServer, McpError> {
        match self.discover().await? {
            Some(server) => Ok(server),
            None => self.inspect_session().await,
        }
    }

    /// Asks a server without sessions. Returns nothing if it has sessions: such a server refuses the request, in a way that no
    /// revision fixed.
    async fn discover(&mut self) -> Result<Option<McpServer>, McpError> {
        let found = match self.request("server/discover", json!({})).await {
            Ok(found) => found,
            Err(McpError::Refused(answer))
                if matches!(answer.error_class, Some(ErrorClass::Fail | ErrorClass::NotFound)) =>
            {
                return match message::supported_revisions(&answer.response) {
                    Some(revisions) if !has_sessions(&revisions) => Err(unknown_revision(&revisions)),
                    _ => Ok(None),
                };
            }
            Err(McpError::Rpc { .. } | McpError::Malformed { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let revisions = message::texts(&found, "/supportedVersions");
        if !revisions.iter().any(|revision| revision == MCP_STATELESS_REVISION) {
            return if has_sessions(&revisions) { Ok(None) } else { Err(unknown_revision(&revisions)) };
        }
        let info = found.get("_meta").and_then(|meta| meta.get(MCP_META_SERVER));
        // Drafts of the revision had it in the result itself.
        let info = info.or_else(|| found.get("serverInfo")).cloned().unwrap_or_default();
        self.describe(&found, &info, MCP_STATELESS_REVISION).await.map(Some)
    }

    async fn inspect_session(&mut self) -> Result<McpServer, McpError> {
        self.protocol = Protocol::Session { revision: None, id: None };
        let begun = self.request("initialize", initialize_params()).await?;
        let agreed = message::cut(begun.get("protocolVersion").and_then(Value::as_str).unwrap_or_default());
        if !MCP_SESSION_REVISIONS.contains(&agreed.as_str()) {
            return Err(unknown_revision(&[agreed]));
        }
        if let Protocol::Session { revision, .. } = &mut self.protocol {
            *revision = Some(agreed.clone());
        }
        self.post("notifications/initialized", &message::notification("notifications/initialized")).await?;
        self.describe(&begun, &begun["serverInfo"], &agreed).await
    }

    async fn describe(&mut self, found: &Value, info: &Value, revision: &str) -> Result<McpServer, McpError> {
        let text = |name: &str| message::cut(info.get(name).and_then(Value::as_str).unwrap_or_default());
        let has_tools = found.pointer("/capabilities/tools").is_some();
        let tools = if has_tools { self.count_tools().await? } else { 0 };
        Ok(McpServer { name: text("name"), version: text("version"), protocol_version: revision.to_owned(), tools })
    }

    async fn count_tools(&mut self) -> Result<usize, McpError> {
        const METHOD: &str = "tools/list";
        let malformed = |reason: &str| McpError::Malformed { method: METHOD, reason: reason.to_owned() };
        let mut count = 0;
        let mut cursors = HashSet::new();
        let mut params = json!({});
        for _ in 0..MAX_PAGES {
            let page = self.request(METHOD, params).await?;
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

    async fn request(&mut self, method: &'static str, mut params: Value) -> Result<Value, McpError> {
        self.requests += 1;
        let id = self.requests;
        if matches!(self.protocol, Protocol::Stateless) {
            params = with_meta(params);
        }
        let answer = self.post(method, &message::request(id, method, &params)).await?;
        if let Protocol::Session { id: known, .. } = &mut self.protocol
            && method == "initialize"
        {
            *known = answer.response.header("mcp-session-id").map(Secret::from);
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
        let Self { workspace, session, url, protocol, .. } = self;
        let build = |grant: &Grant| {
            let mut request = session.request_to("POST", url, grant)?;
            request.max_response_bytes = MAX_RESPONSE_BYTES;
            request.is_complete = Some(message::has_response);
            set_headers(&mut request, protocol, method);
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
        if !matches!(self.protocol, Protocol::Session { id: Some(_), .. }) {
            return;
        }
        let Ok(mut request) = self.session.request_to("DELETE", self.url, &self.token.grant) else { return };
        request.body = None;
        set_headers(&mut request, &self.protocol, "");
        let sent = self.workspace.engine.http.send(request, &self.session.route);
        if let Ok(Err(error)) = tokio::time::timeout(SESSION_END_TIMEOUT, sent).await {
            tracing::debug!(%error, "the MCP session was not ended");
        }
    }
}

fn set_headers(request: &mut Request, protocol: &Protocol, method: &str) {
    request.set_header("accept", Secret::from(ACCEPT));
    match protocol {
        Protocol::Stateless => {
            request.set_header("mcp-protocol-version", Secret::from(MCP_STATELESS_REVISION));
            request.set_header("mcp-method", Secret::from(method));
        }
        Protocol::Session { revision, id } => {
            if let Some(revision) = revision {
                request.set_header("mcp-protocol-version", Secret::from(revision.as_str()));
            }
            if let Some(id) = id {
                request.set_header("mcp-session-id", id.clone());
            }
        }
    }
}

fn has_sessions(revisions: &[String]) -> bool {
    revisions.iter().any(|revision| MCP_SESSION_REVISIONS.contains(&revision.as_str()))
}

fn unknown_revision(revisions: &[String]) -> McpError {
    McpError::UnknownRevision { revisions: message::cut(&revisions.join(", ")) }
}
