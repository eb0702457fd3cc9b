//! `integ mcp serve`.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::stdio;
use crate::cli::ui::Ui;
use crate::error::Result;
use crate::model::{ApprovalPolicy, ConnectionAccess, Effect};
use crate::ops::agents::{AgentOptions, AgentServer, AgentSession};
use crate::runtime::Workspace;

/// Serve connections as tools to an MCP client on standard input and output
///
/// MCP clients start it; `integ mcp install` writes it into their settings. The agent gets the named connections alone, and
/// never a credential: what looks like one is masked in every result. It can read. --allow write lets it write, --allow
/// destroy lets it ask for what cannot be undone: each such call needs a person's approval. Every call is in `integ audit list`.
/// The same server is at /mcp of `integ serve`, with API tokens.
#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    /// Connection that the agent may use; repeatable
    #[arg(long = "connection", value_name = "CONNECTION", required = true, add = crate::cli::complete::connections())]
    connections: Vec<String>,
    /// What the agent may do beside reading; repeatable (default: nothing)
    #[arg(long, value_name = "EFFECT")]
    allow: Vec<AllowedEffect>,
    /// Ask for an approval of each call that writes, too
    #[arg(long)]
    approve: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AllowedEffect {
    /// Create and change
    Write,
    /// Delete, pay and the like, each call with a person's approval
    Destroy,
}

impl From<AllowedEffect> for Effect {
    fn from(effect: AllowedEffect) -> Self {
        match effect {
            AllowedEffect::Write => Self::Write,
            AllowedEffect::Destroy => Self::Destroy,
        }
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: AgentArgs, agents: &dyn AgentServer) -> Result<u8> {
    let options = AgentOptions {
        connections: args.connections.iter().map(|word| ui.project.resolve(word)).collect::<Result<_, _>>()?,
        allowed: args.allow.into_iter().map(Effect::from).collect(),
        approve: if args.approve { ApprovalPolicy::Write } else { ApprovalPolicy::Destroy },
    };
    if io::stdin().is_terminal() {
        ui.note("Reading JSON-RPC messages from the terminal, one a line. MCP clients start this command: `integ help agents`.");
    }
    let shared = Arc::new(workspace.limited_to(ConnectionAccess::All));
    workspace.run_to_end(async {
        let agent = AgentSession::local(&shared, options).await?;
        let (client, writer) = stdio::open();
        agents.serve_client(agent, client).await?;
        writer.finish().await;
        Ok(0)
    })
}
