//! `integ connector search`.

use clap::Args;

use super::super::table::{TableCell, table};
use super::super::ui::{Render, Ui};
use crate::error::Result;
use crate::ops::connectors::search_connectors;
use crate::runtime::Workspace;
use crate::view::connector::{SearchHitView, SearchResultsView};

/// Matches that a row of the table names; the JSON has them all.
const SHOWN: usize = 3;

/// Search the descriptions, actions, streams and scopes of connectors
#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    /// Words to search for; all must match
    #[arg(required = true)]
    words: Vec<String>,
}

impl Render for SearchResultsView {
    fn text(&self, ui: &Ui) -> String {
        if self.connectors.is_empty() {
            return String::new();
        }
        let row = |hit: &SearchHitView| -> Vec<TableCell> {
            vec![hit.id.clone().into(), hit.name.clone().into(), matched(hit).into()]
        };
        table(ui, &["connector", "service", "matches"], self.connectors.iter().map(row).collect())
    }
}

/// The best matches. That its own name or id matches, the row shows by itself.
fn matched(hit: &SearchHitView) -> String {
    let texts: Vec<String> = hit
        .matches
        .iter()
        .filter(|found| !matches!(found.field, "id" | "name"))
        .map(|found| match (&found.description, found.field) {
            (Some(description), field) => format!("{field} {}: {description}", found.name),
            (None, "category") => format!("category {}", found.name),
            (None, _) => found.name.trim_end_matches('.').to_owned(),
        })
        .collect();
    if texts.is_empty() {
        return hit.description.clone();
    }
    let more = texts.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("; {more} more") } else { String::new() };
    format!("{}{more}", texts[..texts.len().min(SHOWN)].join("; "))
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &SearchArgs) -> Result<u8> {
    let results = workspace.run(search_connectors(workspace, &args.words))?;
    for (id, reason) in &results.skipped {
        ui.warning(&format!("{id} was not searched: {reason}"));
    }
    ui.show(&results)?;
    if results.connectors.is_empty() {
        ui.note(
            "No connector matches all of these words. `integ connector list` lists every connector; `integ connector new` \
             writes a new one.",
        );
    }
    Ok(0)
}
