//! The requests of agents to `/mcp` of an HTTP server (MCP, "Streamable HTTP" transport).
//!
//! The server has checked host, origin and token, and each request brings the agent of its token: a session gives nobody
//! rights. It belongs to the token that began it all the same, so that nobody reads or ends another's.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

use super::handler::AgentHandler;
use super::output::LongResults;
use crate::http::serve::{Method, Request, StatusCode, StreamedResponse, plain, streamed};
use crate::ops::agents::{AgentEndpoint, AgentSession};

const SESSION_ID: &str = "mcp-session-id";

/// Sessions whose owners are known at most. The session of an agent that is forgotten ends.
const MAX_SESSIONS: usize = 10_000;

/// How often a stream that has nothing to send shows that it is open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Answers requests, in sessions that belong to API tokens.
pub(super) struct HttpEndpoint {
    service: StreamableHttpService<AgentHandler, LocalSessionManager>,
    owners: Mutex<HashMap<String, String>>,
    close: Box<dyn Fn() + Send + Sync>,
}

impl HttpEndpoint {
    pub(super) fn new() -> Self {
        let results = Arc::new(LongResults::default());
        // Host and origin were checked against the names of the server; the library's own list has loopback names alone.
        let config = StreamableHttpServerConfig::default()
            .disable_allowed_hosts()
            .with_legacy_session_mode(true)
            .with_json_response(true)
            .with_sse_keep_alive(Some(KEEP_ALIVE));
        let closing = config.cancellation_token.clone();
        let new = move || Ok(AgentHandler::remote(Arc::clone(&results)));
        let service = StreamableHttpService::new(new, Arc::new(LocalSessionManager::default()), config);
        Self { service, owners: Mutex::default(), close: Box::new(move || closing.cancel()) }
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, agent: AgentSession, mut request: Request<Bytes>) -> StreamedResponse {
        let owner = agent.token.as_ref().map(|token| token.id.to_string()).unwrap_or_default();
        let session = request.headers().get(SESSION_ID).map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
        if let Some(session) = &session
            && self.owners().get(session) != Some(&owner)
        {
            // As for a session that has ended: a client begins another one.
            return streamed(plain(StatusCode::NOT_FOUND, "Session not found"));
        }
        let is_end = request.method() == Method::DELETE;
        request.extensions_mut().insert(agent);
        let mut answer = self.service.handle(request.map(Full::new)).await;
        if let Some(session) = session.filter(|_| is_end) {
            self.owners().remove(&session);
            if answer.status() == StatusCode::ACCEPTED {
                // It has ended; some clients take 202 for a failure.
                *answer.status_mut() = StatusCode::NO_CONTENT;
            }
        }
        if let Some(begun) = answer.headers().get(SESSION_ID).and_then(|id| id.to_str().ok()) {
            let mut owners = self.owners();
            if owners.len() >= MAX_SESSIONS {
                owners.clear();
            }
            owners.insert(begun.to_owned(), owner);
        }
        streamed(answer)
    }
}

impl AgentEndpoint for HttpEndpoint {
    fn close(&self) {
        (self.close)();
    }

    fn respond(
        &self,
        agent: AgentSession,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = StreamedResponse> + Send + '_>> {
        Box::pin(self.answer(agent, request))
    }
}
