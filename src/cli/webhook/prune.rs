//! `integ webhook prune`.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::super::ui::{Ui, View};
use crate::cli::value_parser::duration;
use crate::error::Result;
use crate::runtime::App;
use crate::webhook::retention::prune;

/// Remove events that were processed and are over their time, as `listen` does by itself
///
/// What waits to be handled stays, and so do the ids of deliveries whose age nothing else tells.
#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: Option<String>,
    /// Kept for no longer than this; the setting webhooks.keep where not said
    #[arg(long, value_name = "TIME", value_parser = duration)]
    keep: Option<Duration>,
    /// Also events that are dead
    #[arg(long)]
    dead: bool,
    /// Remove nothing, and say what would be
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct ConnectionPruneView {
    connection: String,
    events: u64,
    /// Whether the ids of the deliveries stay.
    keeps_ids: bool,
}

#[derive(Serialize)]
struct PruneListView {
    pruned: Vec<ConnectionPruneView>,
    dry_run: bool,
}

impl View for PruneListView {
    fn text(&self, _ui: &Ui) -> String {
        let verb = if self.dry_run { "would be removed" } else { "removed" };
        let line = |one: &ConnectionPruneView| {
            let ids = if one.keeps_ids { "; the ids stay" } else { "" };
            format!("{}: {} events {verb}{ids}", one.connection, one.events)
        };
        if self.pruned.is_empty() {
            return "No events.".to_owned();
        }
        self.pruned.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: &PruneArgs) -> Result<u8> {
    let connection = match &args.connection {
        Some(word) => Some(app.connection(&ui.project.resolve(word)?)?.id),
        None => None,
    };
    let keep = args.keep.unwrap_or(app.config.webhooks.retention);
    let before = app.clock.now().checked_sub(keep).unwrap_or(crate::clock::Timestamp::MIN);
    let pruned = prune(app, connection, before, args.dead, args.dry_run)?;
    let one = |pruned: crate::webhook::retention::PruneResult| ConnectionPruneView {
        connection: pruned.connection.name.to_string(),
        events: pruned.events,
        keeps_ids: pruned.are_ids_retained,
    };
    ui.show(&PruneListView { pruned: pruned.into_iter().map(one).collect(), dry_run: args.dry_run })?;
    Ok(0)
}
