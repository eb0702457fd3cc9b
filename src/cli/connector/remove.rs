//! `integ connector remove`.

use clap::Args;
use serde::Serialize;

use super::super::ui::{Ui, View};
use super::users;
use crate::connector::BUILT_IN;
use crate::error::Result;
use crate::runtime::App;

/// Take away a connector that was installed
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    #[arg(value_name = "ID", add = crate::cli::complete::installed_connectors())]
    connector: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Serialize)]
struct ConnectorRemovalView {
    removed: String,
    /// A built-in connector of this id is in effect again.
    built_in_again: bool,
    /// Connections of this workspace that used it; absent where the vault does not open.
    connections: Option<Vec<String>>,
}

impl View for ConnectorRemovalView {
    fn text(&self, _ui: &Ui) -> String {
        let again = if self.built_in_again { "; the built-in one is in effect again" } else { "" };
        format!("Removed {}{again}", self.removed)
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: &RemoveArgs) -> Result<u8> {
    let id = &args.connector;
    app.catalogue.check_removable(id)?;
    let built_in_again = BUILT_IN.iter().any(|(known, _)| known == id);
    let connections = users(app, id);
    let lost = lost(id, built_in_again, connections.as_deref());
    if !args.yes && !ui.terminal().confirm(&lost)? {
        ui.note("Nothing was changed.");
        return Ok(1);
    }
    app.catalogue.remove(id)?;
    if args.yes && connections.as_ref().is_none_or(|names| !names.is_empty()) {
        ui.note(&lost);
    }
    ui.show(&ConnectorRemovalView { removed: id.clone(), built_in_again, connections })?;
    Ok(0)
}

fn lost(id: &str, built_in_again: bool, connections: Option<&[String]>) -> String {
    let then = if built_in_again {
        "they then use the built-in connector, with the grants they have"
    } else {
        "they stay, and cannot be used until it is installed again"
    };
    match connections {
        None => format!("The vault does not open: nobody can say which connections use {id}."),
        Some([]) => format!("This removes the connector {id}. No connection of this workspace uses it."),
        Some(names) => format!("The connector {id} is used by {}: {then}.", names.join(", ")),
    }
}
