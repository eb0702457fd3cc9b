//! `integ connector list`.

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::super::table::{TableCell, table};
use super::super::ui::{Render, Ui};
use crate::connector::CATEGORIES;
use crate::error::Result;
use crate::ops::connectors::list_connectors;
use crate::runtime::Workspace;
use crate::view::connector::{ConnectorListView, ConnectorSummaryView};

/// List the connectors
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only connectors of a category
    #[arg(long, value_name = "CATEGORY", value_parser = PossibleValuesParser::new(CATEGORIES))]
    category: Option<String>,
}

impl Render for ConnectorListView {
    fn text(&self, ui: &Ui) -> String {
        // Where everything comes with integ, saying so of each would be noise.
        let with_source = self.connectors.iter().any(|item| item.source != "built-in");
        let row = |item: &ConnectorSummaryView| -> Vec<TableCell> {
            let mut row: Vec<TableCell> = vec![
                item.id.clone().into(),
                item.name.clone().into(),
                item.auth.join(", ").into(),
                item.description.clone().into(),
            ];
            if with_source {
                row.insert(3, source_words(item.source, item.replaces_built_in).into());
            }
            row
        };
        let mut headings = vec!["connector", "service", "authentication", "description"];
        if with_source {
            headings.insert(3, "source");
        }
        let mut rows: Vec<Vec<TableCell>> = self.connectors.iter().map(row).collect();
        // A narrow terminal has the descriptions in place of the methods, which `connector show` lists.
        if ui.width.is_some_and(|width| width < 140) {
            headings.remove(2);
            rows.iter_mut().for_each(|row| drop(row.remove(2)));
        }
        table(ui, &headings, rows)
    }
}

/// Where a connector comes from, for people.
pub(super) fn source_words(source: &'static str, replaces_built_in: bool) -> &'static str {
    match source {
        "own" => "own file",
        _ if replaces_built_in => "installed, replaces the built-in",
        other => other,
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &ListArgs) -> Result<u8> {
    let list = workspace.run(list_connectors(workspace, args.category.clone()))?;
    if list.connectors.is_empty() {
        ui.note("No connectors in this category. `integ connector list` lists every connector.");
    }
    ui.show(&list)?;
    Ok(0)
}
