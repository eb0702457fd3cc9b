//! `integ endpoint event`: the catalogue of the user's own event types.

use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;

use super::super::table::table;
use super::super::ui::{Ui, View};
use crate::endpoint::EndpointError;
use crate::error::Result;
use crate::model::EventType;
use crate::runtime::App;
use crate::store::EventTypeDefinition;

#[derive(Debug, Subcommand)]
pub(super) enum EventCommand {
    /// Add a type, or change it
    Add {
        /// Such as invoice.paid
        #[arg(value_name = "TYPE")]
        kind: EventType,
        /// What it tells, for whoever receives it
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
        /// A file with data as they are sent, as JSON; what is sent must have the same members; - for stdin
        #[arg(long, value_name = "FILE")]
        sample: Option<String>,
    },
    /// List the types
    List,
    /// Remove a type; what waits to be sent stays
    Remove {
        #[arg(value_name = "TYPE")]
        kind: EventType,
    },
}

#[derive(Serialize)]
struct EventTypeView {
    event: String,
    description: String,
    sample: Option<Value>,
}

#[derive(Serialize)]
struct EventTypeListView {
    events: Vec<EventTypeView>,
}

impl View for EventTypeListView {
    fn text(&self, ui: &Ui) -> String {
        if self.events.is_empty() {
            return "No event types. `integ endpoint event add invoice.paid` adds one.".to_owned();
        }
        let row = |item: &EventTypeView| {
            let sample = if item.sample.is_some() { "checked" } else { "-" };
            vec![item.event.clone().into(), item.description.clone().into(), sample.into()]
        };
        table(ui, &["type", "what", "data"], self.events.iter().map(row).collect())
    }
}

pub(super) fn run(app: &App, ui: &Ui, command: EventCommand) -> Result<()> {
    match command {
        EventCommand::Add { kind, description, sample } => {
            let sample = sample.as_deref().map(super::super::api::read_file).transpose();
            let sample = sample.map_err(|source| EndpointError::Read { source })?;
            let sample = sample.map(|bytes| serde_json::from_slice(&bytes)).transpose();
            let sample = sample.map_err(|source| EndpointError::InvalidJson { source })?;
            app.store_or_new()?.event_types().put(&EventTypeDefinition {
                kind: kind.to_string(),
                description,
                sample,
            })?;
            ui.note(&format!("Added {kind}."));
        }
        EventCommand::List => {
            let known = if app.has_vault() { app.store()?.event_types().list()? } else { Vec::new() };
            let view = |known: EventTypeDefinition| EventTypeView {
                event: known.kind,
                description: known.description,
                sample: known.sample,
            };
            ui.show(&EventTypeListView { events: known.into_iter().map(view).collect() })?;
        }
        EventCommand::Remove { kind } => {
            if !app.has_vault() || !app.store()?.event_types().remove(kind.as_str())? {
                return Err(EndpointError::UnknownEventType(kind.to_string()).into());
            }
            ui.note(&format!("Removed {kind}."));
        }
    }
    Ok(())
}
