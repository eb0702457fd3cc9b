//! `integ webhook prune`.

use std::time::Duration;

use clap::Args;

use super::super::ui::{Render, Ui};
use crate::cli::table::count;
use crate::cli::value_parser::duration;
use crate::error::Result;
use crate::ops::webhooks::{self, PruneEventsRequest};
use crate::runtime::Workspace;
use crate::view::webhook::{ConnectionPruneView, PruneListView};

/// Remove processed events after their retention period, as `listen` also does
///
/// Events that are not handled yet are kept, and so are delivery IDs that are needed to recognize a repeated event.
#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Only events of this connection (default: all)
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: Option<String>,
    /// Retention period (default: the setting webhooks.keep)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    keep: Option<Duration>,
    /// Also remove dead events
    #[arg(long)]
    dead: bool,
    /// Show what would be removed, without removing it
    #[arg(long)]
    dry_run: bool,
}

impl Render for PruneListView {
    fn text(&self, _ui: &Ui) -> String {
        let verb = if self.dry_run { "would be removed" } else { "removed" };
        let line = |pruned: &ConnectionPruneView| {
            let ids = if pruned.retains_ids { "; the delivery IDs are kept" } else { "" };
            format!("{}: {} {verb}{ids}", pruned.connection, count(pruned.events, "event"))
        };
        if self.pruned.is_empty() {
            return "No events.".to_owned();
        }
        self.pruned.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &PruneArgs) -> Result<u8> {
    let request = PruneEventsRequest {
        connection: args.connection.as_deref().map(|word| ui.project.resolve(word)).transpose()?,
        retention: args.keep,
        include_dead: args.dead,
        dry_run: args.dry_run,
    };
    ui.show(&workspace.run(webhooks::prune_events(workspace, request))?)?;
    Ok(0)
}
