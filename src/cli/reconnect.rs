//! `integ reconnect`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::client_secret::client;
use super::sign_in::SignInArgs;
use super::ui::{Ui, escape};
use crate::connect::ReconnectOptions;
use crate::error::{Kind, Result};
use crate::ops::connections::{self, ReconnectRequest, ReconnectSelection};
use crate::runtime::Workspace;
use crate::view::connection::{ConnectEventView, ReconnectListView, ReconnectView};

/// Sign in again for connections that stopped working
///
/// Each keeps its authentication method, mode, origin, parameters, scopes and account; signing in as another account
/// changes nothing. A named connection is reconnected even if it works. --all reconnects those that `integ status`
/// shows as needing it. Without a name, the only connection that needs it is reconnected. Sandbox connections need no
/// browser.
#[derive(Debug, Args)]
pub(super) struct ReconnectArgs {
    /// Connections to reconnect (default: the one that needs it)
    #[arg(value_name = "CONNECTION", add = super::complete::connections())]
    connections: Vec<String>,
    /// Reconnect every connection that needs it
    #[arg(long, conflicts_with_all = ["connections", "scopes", "added_scopes", "params", "with_token"])]
    all: bool,
    /// Client id of another app to sign in with
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    client_id: Option<String>,
    /// File with that app's client secret, or - for stdin (default: `INTEG_CLIENT_SECRET`)
    #[arg(long, value_name = "FILE", requires = "client_id")]
    client_secret_file: Option<PathBuf>,
    #[command(flatten)]
    sign_in: SignInArgs,
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: ReconnectArgs) -> Result<u8> {
    let selection = match (args.all, args.connections.as_slice()) {
        (true, _) => ReconnectSelection::All,
        (false, []) => ReconnectSelection::Broken,
        (false, words) => {
            ReconnectSelection::Named(words.iter().map(|word| ui.project.resolve(word)).collect::<Result<_, _>>()?)
        }
    };
    let terminal = ui.terminal();
    let client = client(args.client_id, args.client_secret_file.as_deref())?;
    let options = ReconnectOptions { client, ..args.sign_in.into_options(workspace, &terminal)? };
    let request = ReconnectRequest { selection, options };
    let view = workspace.run(connections::reconnect(workspace, request, &terminal))?;
    show(ui, &view)?;
    Ok(exit_code(&view))
}

fn show(ui: &Ui, view: &ReconnectListView) -> Result<()> {
    for reconnected in &view.reconnected {
        for warning in &reconnected.warnings {
            ui.warning(warning);
        }
        if !reconnected.missing_scopes.is_empty() {
            let missing = reconnected.missing_scopes.join(", ");
            ui.warning(&format!("{}: not granted: {missing}", reconnected.connection));
        }
    }
    if ui.json {
        ui.show_line(&json!(ConnectEventView::Reconnected(view.clone())))?;
        return Ok(());
    }
    if view.reconnected.is_empty() {
        ui.raw(match view.untouched {
            0 => "No connections yet.\n",
            _ => "No connection needs to be reconnected; see `integ status`.\n",
        });
    }
    for reconnected in &view.reconnected {
        ui.raw(&format!("{}\n", line(reconnected)));
    }
    Ok(())
}

fn line(view: &ReconnectView) -> String {
    let target = view.target.as_ref().map(|target| format!(" ({target})")).unwrap_or_default();
    let name = &view.connection;
    match &view.error {
        Some(error) => format!("{name}{target}: failed: {}", escape(error)),
        None => {
            let account = view.account.as_ref().map(|account| account.name.as_ref().unwrap_or(&account.id));
            let account = account.map(|account| format!(" as {}", escape(account))).unwrap_or_default();
            format!("Reconnected {name}{account}{target}")
        }
    }
}

/// The code of the first failure if everything failed.
fn exit_code(view: &ReconnectListView) -> u8 {
    let kinds: Vec<Option<Kind>> = view.reconnected.iter().map(|reconnected| reconnected.error_kind).collect();
    match kinds.iter().flatten().next() {
        None => 0,
        Some(first) if kinds.iter().all(Option::is_some) => first.exit_code(),
        Some(_) => Kind::Partial.exit_code(),
    }
}
