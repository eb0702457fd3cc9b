//! The MCP server: actions of connections, records and events for agents, over standard input and output or HTTP.
//!
//! [`McpToolServer`] serves a client on this machine (`stdio`) and answers the requests to `/mcp` of `integ serve` (`http`). Both
//! lead to `handler::AgentHandler`, which speaks the protocol and decides nothing: what an agent may do is in
//! [`crate::ops::agents`].
//!
//! 1. `toolbox` offers the actions as tools, or tools to search for them if there are many; `local_tools` and `resources` offer
//!    what is stored here.
//! 2. A call goes to [`crate::ops::agents::AgentSession::call`]: permission, approval, audit entry, the request to the service.
//! 3. `output` masks every credential of the workspace in what is returned, and cuts it. Nothing else leaves.

mod handler;
mod http;
mod local_tools;
mod output;
mod resources;
mod stdio;
mod toolbox;

use std::pin::Pin;

use crate::error::Result;
use crate::mcp_client::proxy::ClientChannel;
use crate::ops::agents::{AgentEndpoint, AgentServer, AgentSession};

/// The MCP server, as a part of the program.
#[derive(Clone, Copy, Debug)]
pub struct McpToolServer;

impl AgentServer for McpToolServer {
    fn serve_client<'a>(
        &'a self,
        agent: AgentSession,
        client: ClientChannel,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(stdio::serve(agent, client))
    }

    fn endpoint(&self) -> Box<dyn AgentEndpoint> {
        Box::new(http::HttpEndpoint::new())
    }
}
