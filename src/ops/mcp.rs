//! Operations that give remote MCP servers to clients on this machine.

use super::{Effect, Operation, OperationScope};
use crate::error::Result;
use crate::mcp_client::proxy::{self, ClientChannel, ProxyEnd, ProxyOptions};
use crate::runtime::Workspace;

/// The operations of this module. A tool of a server may do anything.
pub const OPERATIONS: &[Operation] = &[Operation::local("mcp proxy", OperationScope::Connections, Effect::Destroy)];

/// Relays a client's messages to the server of a connection until the client closes its end, or stopping is asked for.
///
/// # Errors
/// Unknown connections, and those that are not MCP servers. What goes wrong later is answered to the client.
pub async fn relay(workspace: &Workspace, options: &ProxyOptions, client: ClientChannel) -> Result<ProxyEnd> {
    proxy::run(workspace, options, client, workspace.engine.shutdown.requested()).await
}
