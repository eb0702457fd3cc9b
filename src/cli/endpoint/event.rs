//! `integ endpoint event`: the catalogue of the user's event types.

use clap::Subcommand;

use crate::cli::input_file::read_input_file;
use crate::cli::ui::Ui;
use crate::endpoint::EndpointError;
use crate::error::Result;
use crate::model::EventType;
use crate::ops::endpoints::{self, AddEventTypeRequest};
use crate::runtime::Workspace;

#[derive(Debug, Subcommand)]
pub(super) enum EventCommand {
    /// Add or change a type
    Add {
        /// Name of the type, such as invoice.paid
        #[arg(value_name = "TYPE")]
        kind: EventType,
        /// Description for receivers
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
        /// File with sample data as JSON, whose members every message must have; - for stdin
        #[arg(long, value_name = "FILE")]
        sample: Option<String>,
    },
    /// List the types
    List,
    /// Remove a type; pending messages are still sent
    Remove {
        /// Name of the type
        #[arg(value_name = "TYPE")]
        kind: EventType,
    },
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, command: EventCommand) -> Result<()> {
    match command {
        EventCommand::Add { kind, description, sample } => {
            let sample = sample.as_deref().map(read_input_file).transpose();
            let sample = sample.map_err(|source| EndpointError::Read { source })?;
            let sample = sample.map(|bytes| serde_json::from_slice(&bytes)).transpose();
            let sample = sample.map_err(|source| EndpointError::InvalidJson { source })?;
            let added = workspace
                .run(endpoints::add_event_type(workspace, AddEventTypeRequest { kind, description, sample }))?;
            ui.note(&format!("Added {}.", added.event));
        }
        EventCommand::List => ui.show(&workspace.run(endpoints::list_event_types(workspace))?)?,
        EventCommand::Remove { kind } => {
            let removed = workspace.run(endpoints::remove_event_type(workspace, kind))?;
            ui.note(&format!("Removed {}.", removed.event));
        }
    }
    Ok(())
}
