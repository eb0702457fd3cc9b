//! `integ mcp install` and `integ mcp uninstall`.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::serve::AllowedEffect;
use crate::cli::ui::{Render, Ui, escape_lines};
use crate::error::{Error, Result};
use crate::mcp_client::proxy::ToolFilter;
use crate::mcp_settings::{ClientProgram, SettingsScope};
use crate::model::Effect;
use crate::ops::mcp::{
    InstallRequest, SettingsChange, UninstallRequest, apply_change, preview_install, preview_uninstall,
};
use crate::runtime::Workspace;
use crate::view::mcp::ServerEntryView;

/// Add a connection to the settings of Claude Code, Codex or VS Code
///
/// The client then starts `integ mcp serve` with this connection alone; with that of a remote MCP server, `integ mcp proxy`. No token is written. The change to the file is shown first, and the rest
/// of the file stays as it is, including comments. User settings contain the full path of integ, because programs
/// started by a desktop have another PATH; project settings contain `integ`, for everyone who shares them.
#[derive(Debug, Args)]
pub(super) struct ClientInstallArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Show and call only tools of these names of a remote server; `*` matches any text. Repeatable
    #[arg(long = "allow-tool", value_name = "GLOB")]
    allow_tool: Vec<String>,
    /// Hide and refuse tools of these names, even if they are allowed. Repeatable
    #[arg(long = "ignore-tool", value_name = "GLOB")]
    ignore_tool: Vec<String>,
    /// What the client's agent may do beside reading, as for `mcp serve`. Repeatable
    #[arg(long, value_name = "EFFECT")]
    allow: Vec<AllowedEffect>,
}

/// Remove a server that `mcp install` added from a client's settings
#[derive(Debug, Args)]
pub(super) struct ClientUninstallArgs {
    #[command(flatten)]
    target: TargetArgs,
}

/// Which entry of which file.
#[derive(Debug, Args)]
struct TargetArgs {
    /// Client to edit the settings of
    client: ClientName,
    /// The connection
    #[arg(add = crate::cli::complete::connections())]
    connection: String,
    /// Settings to edit: those of the user, or of the project in the current folder
    #[arg(long, value_name = "SCOPE", default_value = "user")]
    scope: ScopeName,
    /// Name of the server in the client (default: the connection's account, such as `linear` for mcp@linear)
    #[arg(long)]
    name: Option<String>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
    /// Show what would change, without changing it
    #[arg(long, action = ArgAction::SetTrue)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ClientName {
    ClaudeCode,
    Codex,
    #[value(name = "vscode")]
    VsCode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ScopeName {
    User,
    Project,
}

impl From<ClientName> for ClientProgram {
    fn from(name: ClientName) -> Self {
        match name {
            ClientName::ClaudeCode => Self::ClaudeCode,
            ClientName::Codex => Self::Codex,
            ClientName::VsCode => Self::VsCode,
        }
    }
}

impl From<ScopeName> for SettingsScope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::User => Self::User,
            ScopeName::Project => Self::Project,
        }
    }
}

impl Render for ServerEntryView {
    fn text(&self, _ui: &Ui) -> String {
        match (self.is_change, self.is_written) {
            (false, _) => format!("{} needs no change", escape_lines(&self.path)),
            (true, true) => format!("Wrote {}", escape_lines(&self.path)),
            (true, false) => format!("{} would be changed", escape_lines(&self.path)),
        }
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: ClientInstallArgs) -> Result<u8> {
    let TargetArgs { client, scope, name, .. } = &args.target;
    let request = InstallRequest {
        client: (*client).into(),
        scope: (*scope).into(),
        connection: ui.project.resolve(&args.target.connection)?,
        name: name.clone(),
        tools: ToolFilter { allow: args.allow_tool, ignore: args.ignore_tool },
        allowed: args.allow.into_iter().map(Effect::from).collect(),
        folder: current_folder(),
    };
    let change = workspace.run(preview_install(workspace, &request))?;
    finish(ui, &args.target, change)
}

pub(super) fn uninstall(_workspace: &Workspace, ui: &Ui, args: &ClientUninstallArgs) -> Result<u8> {
    let TargetArgs { client, scope, name, .. } = &args.target;
    let request = UninstallRequest {
        client: (*client).into(),
        scope: (*scope).into(),
        connection: ui.project.resolve(&args.target.connection)?,
        name: name.clone(),
        folder: current_folder(),
    };
    finish(ui, &args.target, preview_uninstall(&request)?)
}

fn current_folder() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
}

/// Shows a change, asks, and writes it.
fn finish(ui: &Ui, args: &TargetArgs, change: SettingsChange) -> Result<u8> {
    if args.dry_run || !change.edit.is_change() {
        if change.edit.is_change() && !ui.json {
            ui.note(&review(&change));
        }
        ui.show(&change.view)?;
        return Ok(0);
    }
    let terminal = ui.terminal();
    if !ui.json && (args.yes || !terminal.interactive) {
        ui.note(&review(&change));
    }
    if !args.yes && !terminal.confirm(&escape_lines(&review(&change))).map_err(Error::from)? {
        ui.note("Nothing was changed.");
        return Ok(1);
    }
    ui.show(&apply_change(change)?)?;
    Ok(0)
}

/// The file and the lines that change.
fn review(change: &SettingsChange) -> String {
    format!("{}\n{}", change.view.path, change.edit.diff())
}
