//! `integ connector search`.

use clap::Args;
use serde::Serialize;

use super::super::table::{TableCell, table};
use super::super::ui::{Ui, View};
use super::word;
use crate::connector::{Connector, SearchHit, SearchMatch, search};
use crate::error::{Error, Result};
use crate::runtime::App;

/// Matches that a row of the table names; the JSON has them all.
const SHOWN: usize = 3;

/// Find connectors by words, in what they are, can do and ask for
#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    /// Words, all of which must be found
    #[arg(required = true)]
    words: Vec<String>,
}

#[derive(Serialize)]
struct MatchView {
    #[serde(rename = "in")]
    place: &'static str,
    name: String,
    about: Option<String>,
}

#[derive(Serialize)]
struct SearchHitView {
    id: String,
    name: String,
    category: String,
    description: String,
    matches: Vec<MatchView>,
}

#[derive(Serialize)]
struct SearchResultsView {
    connectors: Vec<SearchHitView>,
}

impl View for SearchResultsView {
    fn text(&self, ui: &Ui) -> String {
        if self.connectors.is_empty() {
            return String::new();
        }
        let row = |hit: &SearchHitView| -> Vec<TableCell> {
            vec![hit.id.clone().into(), hit.name.clone().into(), matched(hit).into()]
        };
        table(ui, &["connector", "service", "what matches"], self.connectors.iter().map(row).collect())
    }
}

/// The best matches. That its own name or id matches, the row shows by itself.
fn matched(hit: &SearchHitView) -> String {
    let told: Vec<String> = hit
        .matches
        .iter()
        .filter(|found| !matches!(found.place, "id" | "name"))
        .map(|found| match (&found.about, found.place) {
            (Some(about), place) => format!("{place} {}: {about}", found.name),
            (None, "category") => format!("category {}", found.name),
            (None, _) => found.name.trim_end_matches('.').to_owned(),
        })
        .collect();
    if told.is_empty() {
        return hit.description.clone();
    }
    let more = told.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("; {more} more") } else { String::new() };
    format!("{}{more}", told[..told.len().min(SHOWN)].join("; "))
}

pub(super) fn run(app: &App, ui: &Ui, args: &SearchArgs) -> Result<u8> {
    let mut connectors: Vec<Connector> = Vec::new();
    for (id, _) in app.catalogue.ids() {
        match app.catalogue.get(&id) {
            Ok(connector) => connectors.push(connector),
            Err(error) => ui.warning(&format!("{id} was not searched: {}", Error::from(error).message())),
        }
    }
    let connectors: Vec<SearchHitView> = search(&connectors, &args.words).iter().map(view).collect();
    let none = connectors.is_empty();
    ui.show(&SearchResultsView { connectors })?;
    if none {
        ui.note(
            "No connector has all of these words. `integ connector list` shows them all, `integ connector new` makes \
             another.",
        );
    }
    Ok(0)
}

fn view(hit: &SearchHit<'_>) -> SearchHitView {
    let connector = hit.connector;
    let found = |found: &SearchMatch| MatchView {
        place: found.field.as_str(),
        name: found.name.clone(),
        about: found.description.clone(),
    };
    SearchHitView {
        id: connector.id.clone(),
        name: connector.name.clone(),
        category: word(connector.category),
        description: connector.description.clone(),
        matches: hit.matches.iter().map(found).collect(),
    }
}
