//! The `integ` program: everything is in the library. The command line and the servers do not know each other.

use std::process::ExitCode;

use integ::mcp_server::McpToolServer;
use integ::server::ApiServer;

fn main() -> ExitCode {
    integ::cli::run(&ApiServer { agents: &McpToolServer }, &McpToolServer)
}
