//! `integ mcp`.

mod install;
mod proxy;
mod serve;
mod stdio;

use clap::{Args, Subcommand};

use super::ui::Ui;
use crate::error::Result;
use crate::ops::agents::AgentServer;
use crate::runtime::Workspace;

/// Give agents your connections as tools, or remote MCP servers
#[derive(Debug, Args)]
pub(super) struct McpArgs {
    #[command(subcommand)]
    command: McpCommand,
}

#[derive(Debug, Subcommand)]
enum McpCommand {
    Serve(serve::AgentArgs),
    Proxy(proxy::ProxyArgs),
    Install(install::ClientInstallArgs),
    Uninstall(install::ClientUninstallArgs),
}

impl McpArgs {
    /// Whether the command works with connections of the environment, without a store.
    pub(super) fn works_without_store(&self) -> bool {
        matches!(self.command, McpCommand::Proxy(_))
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: McpArgs, agents: &dyn AgentServer) -> Result<u8> {
    match args.command {
        McpCommand::Serve(args) => serve::run(workspace, ui, args, agents),
        McpCommand::Proxy(args) => proxy::run(workspace, ui, args),
        McpCommand::Install(args) => install::run(workspace, ui, args),
        McpCommand::Uninstall(args) => install::uninstall(workspace, ui, &args),
    }
}
