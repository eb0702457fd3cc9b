//! `integ mcp proxy`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;

use super::stdio;
use crate::cli::ui::Ui;
use crate::cli::value_parser::duration;
use crate::error::{Kind, Result};
use crate::mcp_client::proxy::{ProxyEnd, ProxyOptions, ToolFilter};
use crate::ops::mcp;
use crate::runtime::Workspace;

/// Relay an MCP client on standard input and output to a remote server
///
/// MCP clients start it; `integ mcp install` writes it into their settings. Each request gets a valid token, refreshed
/// once for all clients, and no token is in a file or an argument. It survives server restarts: the session is
/// initialized again, and requests that only read are repeated. Calls that may have run are not repeated. If you must
/// sign in again, requests fail with the command for it, and work as soon as you have.
#[derive(Debug, Args)]
pub(super) struct ProxyArgs {
    /// The connection of the MCP server
    #[arg(add = crate::cli::complete::connections())]
    connection: String,
    /// Show and call only tools of these names; `*` matches any text. Repeatable
    #[arg(long = "allow-tool", value_name = "GLOB")]
    allow_tool: Vec<String>,
    /// Hide and refuse tools of these names, even if they are allowed. Repeatable
    #[arg(long = "ignore-tool", value_name = "GLOB")]
    ignore_tool: Vec<String>,
    /// How long a request waits for a server that cannot be reached
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    reconnect_timeout: Duration,
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: ProxyArgs) -> Result<u8> {
    let options = ProxyOptions {
        connection: ui.project.resolve(&args.connection)?,
        tools: ToolFilter { allow: args.allow_tool, ignore: args.ignore_tool },
        reconnect_timeout: args.reconnect_timeout,
    };
    if io::stdin().is_terminal() {
        ui.note("Reading JSON-RPC messages from the terminal, one a line. MCP clients start this command: `integ help mcp`.");
    }
    workspace.run_to_end(async {
        let (client, writer) = stdio::open();
        let end = Box::pin(mcp::relay(workspace, &options, client)).await?;
        writer.finish().await;
        Ok(match end {
            ProxyEnd::ClientClosed => 0,
            ProxyEnd::Stopped => Kind::Interrupted.exit_code(),
        })
    })
}
