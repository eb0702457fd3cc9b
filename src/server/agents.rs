//! The door of agents: requests to `/mcp`, with API tokens that name their connections.

use std::sync::Arc;

use hyper::body::Bytes;
use hyper::http::request::Parts;

use super::authentication::{Tenant, authenticate, bearer};
use super::http::source_text;
use super::problem::{Problem, RequestError};
use super::usage::outcome_of;
use crate::http::peer::SocketPair;
use crate::http::serve::{Request, StatusCode, StreamedResponse, header};
use crate::model::{ApiScope, ApiVerb, ApprovalPolicy, ConnectionAccess, OperationScope};
use crate::ops::agents::{AgentEndpoint, AgentSession, allowed_effects};
use crate::ops::api_tokens;
use crate::secret::Secret;

/// The path of the MCP server.
pub(super) const AGENT_PATH: &str = "/mcp";

/// The name under which the requests of agents are counted.
const OPERATION: &str = "mcp serve";

/// The scope without which an agent has no tools.
const SCOPE: ApiScope = ApiScope::new(OperationScope::Connections, ApiVerb::Call);

/// Admits the requests of agents, and passes them on.
pub(super) struct AgentDoor(Arc<dyn AgentEndpoint>);

impl AgentDoor {
    pub(super) fn new(endpoint: Box<dyn AgentEndpoint>) -> Self {
        Self(endpoint.into())
    }

    pub(super) fn endpoint(&self) -> Arc<dyn AgentEndpoint> {
        Arc::clone(&self.0)
    }

    /// Judges a request by its head, and returns the agent that it comes from. Its token is limited to named connections or to
    /// a user, and has the scope for calls; further scopes allow it to write, and to ask for the approval of what destroys.
    ///
    /// # Errors
    /// [`RequestError::NoToken`], [`RequestError::InvalidToken`], [`RequestError::RateLimited`], [`RequestError::MissingScope`],
    /// [`RequestError::NoNamedConnections`].
    pub(super) async fn admit(&self, tenants: &[Tenant], head: &Parts) -> Result<AgentSession, Problem> {
        let (tenant, caller) = authenticate(tenants, &head.headers).await?;
        let workspace = &tenant.workspace;
        let Some(rate) = api_tokens::admit(workspace, &caller.token).await? else {
            return Err(RequestError::InvalidToken.into());
        };
        let result = if !rate.is_allowed {
            let wait = rate.resets_at.duration_since(workspace.clock.now_micros());
            let seconds = u64::try_from(wait.as_secs()).unwrap_or(0) + 1;
            let problem = Problem::from(RequestError::RateLimited { limit: rate.limit });
            Err(problem.with_header(header::RETRY_AFTER, &seconds))
        } else if !caller.token.allows(&SCOPE) {
            let challenge = format!("Bearer realm=\"integ\", error=\"insufficient_scope\", scope=\"{SCOPE}\"");
            let problem = Problem::from(RequestError::MissingScope { scope: SCOPE.to_string() });
            Err(problem.with_header(header::WWW_AUTHENTICATE, &challenge))
        } else if caller.access == ConnectionAccess::All {
            Err(RequestError::NoNamedConnections.into())
        } else {
            Ok(())
        };
        let status = result.as_ref().map_or_else(|problem: &Problem| problem.status, |()| StatusCode::OK);
        tenant.usage.record(&caller.token.id, workspace.clock.now(), OPERATION, outcome_of(status));
        result?;
        let presented = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        tenant.credentials.remember(presented.map(Secret::from));
        Ok(AgentSession {
            workspace: Arc::new(workspace.limited_to(caller.access)),
            allowed: allowed_effects(&caller.token),
            approve: caller.token.approve.max(ApprovalPolicy::Destroy),
            token: Some(Arc::new(caller.token)),
            source: source_text(head.extensions.get::<SocketPair>().map(|pair| pair.remote)),
            credentials: Arc::clone(&tenant.credentials),
        })
    }

    /// Answers a request of an agent.
    pub(super) async fn respond(&self, agent: AgentSession, mut request: Request<Bytes>) -> StreamedResponse {
        // It has been checked, and is nothing that anybody behind this needs.
        request.headers_mut().remove(header::AUTHORIZATION);
        self.0.respond(agent, request).await
    }
}
