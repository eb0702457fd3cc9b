//! `integ connector list`.

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;

use super::super::table::{TableCell, table};
use super::super::ui::{Ui, View};
use super::{source_words, word};
use crate::connector::{CATEGORIES, ConnectorSource};
use crate::error::{Error, Result};
use crate::runtime::App;

/// All connectors
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only those of a category
    #[arg(long, value_name = "CATEGORY", value_parser = PossibleValuesParser::new(CATEGORIES), hide_possible_values = true)]
    category: Option<String>,
}

#[derive(Serialize)]
struct ConnectorSummaryView {
    id: String,
    name: String,
    category: String,
    auth: Vec<String>,
    description: String,
    source: &'static str,
    replaces_built_in: bool,
}

#[derive(Serialize)]
struct ConnectorListView {
    connectors: Vec<ConnectorSummaryView>,
}

impl View for ConnectorListView {
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
        let mut headings = vec!["connector", "service", "ways", "what"];
        if with_source {
            headings.insert(3, "source");
        }
        table(ui, &headings, self.connectors.iter().map(row).collect())
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: &ListArgs) -> Result<u8> {
    let item = |(id, source): (String, ConnectorSource)| {
        let (name, category, description, auth) = match app.catalogue.get(&id) {
            Ok(connector) => {
                let auth = connector.auth.keys().cloned().collect();
                (connector.name, word(connector.category), connector.description, auth)
            }
            Err(error) => (id.clone(), "invalid".to_owned(), Error::from(error).message(), Vec::new()),
        };
        let replaces_built_in = source.replaces_built_in();
        ConnectorSummaryView { id, name, category, auth, description, source: source.as_str(), replaces_built_in }
    };
    let mut connectors: Vec<ConnectorSummaryView> = app.catalogue.ids().into_iter().map(item).collect();
    if let Some(category) = &args.category {
        connectors.retain(|item| item.category == *category);
    }
    if connectors.is_empty() {
        ui.note("No connector is of this category. `integ connector list` shows them all.");
    }
    ui.show(&ConnectorListView { connectors })?;
    Ok(0)
}
