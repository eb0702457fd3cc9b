//! `integ connector remove`.

use clap::Args;

use super::super::ui::{Render, Ui};
use crate::error::Result;
use crate::ops::connectors::{remove_connector, review_removal};
use crate::runtime::Workspace;
use crate::view::connector::ConnectorRemovalView;

/// Remove a connector that was installed
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Connector to remove
    #[arg(value_name = "ID", add = crate::cli::complete::installed_connectors())]
    connector: String,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
}

impl Render for ConnectorRemovalView {
    fn text(&self, _ui: &Ui) -> String {
        let again = if self.restores_built_in { "; the built-in one is in effect again" } else { "" };
        format!("Removed {}{again}", self.connector)
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &RemoveArgs) -> Result<u8> {
    let id = &args.connector;
    let lost = lost(&workspace.run(review_removal(workspace, id))?);
    if !args.yes && !ui.terminal().confirm(&lost)? {
        ui.note("Nothing was changed.");
        return Ok(1);
    }
    let removed = workspace.run(remove_connector(workspace, id))?;
    if args.yes && removed.connections.as_ref().is_none_or(|names| !names.is_empty()) {
        ui.note(&lost);
    }
    ui.show(&removed)?;
    Ok(0)
}

fn lost(removal: &ConnectorRemovalView) -> String {
    let id = &removal.connector;
    let then = if removal.restores_built_in {
        "they then use the built-in connector, with the grants they have"
    } else {
        "they stay, and cannot be used until it is installed again"
    };
    match removal.connections.as_deref() {
        None => format!("The vault is locked, so the connections that use {id} are unknown."),
        Some([]) => format!("This removes the connector {id}. No connection of this workspace uses it."),
        Some(names) => format!("The connector {id} is used by {}: {then}.", names.join(", ")),
    }
}
