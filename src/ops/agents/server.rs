//! What serves agents. `main` gives the command line and the HTTP server the program that does.

use std::pin::Pin;

use hyper::body::Bytes;

use super::AgentSession;
use crate::error::Result;
use crate::http::serve::{Request, StreamedResponse};
use crate::mcp_client::proxy::ClientChannel;

/// A program that serves agents.
pub trait AgentServer: Sync {
    /// Serves a client that sends lines, until it closes its end or a stop is requested.
    ///
    /// # Errors
    /// None of the client's: what goes wrong is answered to it.
    fn serve_client<'a>(
        &'a self,
        agent: AgentSession,
        client: ClientChannel,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

    /// Creates what answers the requests of agents to an HTTP server, which checks their host, origin and token.
    fn endpoint(&self) -> Box<dyn AgentEndpoint>;
}

/// Answers the requests of agents to an HTTP server.
pub trait AgentEndpoint: Send + Sync {
    /// Ends the streams that are open, and begins no more.
    fn close(&self);

    /// Answers a request of an agent. A session belongs to the API token that began it.
    fn respond(
        &self,
        agent: AgentSession,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = StreamedResponse> + Send + '_>>;
}
