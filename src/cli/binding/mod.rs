//! `integ binding`.

mod render;
mod two_way;

use clap::{Args, Subcommand};
use thiserror::Error;

use super::input_file::read_input_file;
use super::ui::{Ui, is_reader_closed};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::model::{BindingName, BindingOrigin, Entity, SyncSide};
use crate::ops::bindings::{
    self, BindingChoice, BindingText, ImportBindingsRequest, PreviewBindingRequest, PushEntitiesRequest, Resolution,
    ResolveEntityRequest, SetBindingRequest, SyncBindingRequest,
};
use crate::runtime::Workspace;

/// Map records and events to a shape of your own
///
/// A binding is a text with a line for each field, such as `email = .properties.email`; `integ help mapping` explains it. It is
/// applied by `integ records --binding` and `integ webhook listen --binding`.
#[derive(Debug, Args)]
pub(super) struct BindingArgs {
    #[command(subcommand)]
    command: BindingCommand,
}

#[derive(Debug, Subcommand)]
enum BindingCommand {
    /// List bindings
    List,
    /// Show a binding and its failures
    Show {
        /// Binding to show
        #[arg(add = super::complete::bindings())]
        name: BindingName,
    },
    /// Add or replace a binding
    Set {
        /// Name of the binding
        #[arg(add = super::complete::bindings())]
        name: BindingName,
        /// Stream or event type to map, of all connections of the service unless you name an account
        #[arg(long, value_name = "CONNECTION/STREAM|CONNECTION#EVENT")]
        from: Option<BindingOrigin>,
        /// File with its text; - for stdin
        #[arg(required_unless_present = "template")]
        file: Option<String>,
        /// Template of the connector: contact, ticket, payment, message or event
        #[arg(long, value_name = "TEMPLATE", requires = "from", conflicts_with = "file")]
        template: Option<String>,
    },
    /// Remove a binding
    Remove {
        /// Binding to remove
        #[arg(add = super::complete::bindings())]
        name: BindingName,
    },
    /// Show how a binding maps stored records or events, field by field
    Preview {
        /// Binding to preview
        #[arg(required_unless_present_all = ["from", "file"], add = super::complete::bindings())]
        name: Option<BindingName>,
        /// File with a text to try instead of the stored one; - for stdin
        #[arg(long, value_name = "FILE")]
        file: Option<String>,
        /// Stream or event type to try the text on, if no binding is named
        #[arg(long, value_name = "CONNECTION/STREAM|CONNECTION#EVENT", requires = "file", conflicts_with = "name")]
        from: Option<BindingOrigin>,
        /// Only records or events of this connection (default: all)
        #[arg(long, value_name = "CONNECTION", add = super::complete::connections())]
        connection: Option<String>,
        /// Number of records or events
        #[arg(long, value_name = "N", default_value_t = 3)]
        limit: u32,
    },
    /// Run the examples of bindings; exits with 6 if one fails
    Test {
        /// Bindings to test (default: all)
        #[arg(value_name = "NAME", add = super::complete::bindings())]
        names: Vec<BindingName>,
    },
    /// Print bindings as JSON, for `integ binding import`
    Export {
        /// Bindings to export (default: all)
        #[arg(value_name = "NAME", add = super::complete::bindings())]
        names: Vec<BindingName>,
    },
    /// Add or replace bindings from an export, all or none
    Import {
        /// File to read; - for stdin
        file: String,
    },
    /// Send changes of your entities to the service
    ///
    /// FILE has one JSON object per line: {"entity": "customer/42", "document": {…}}. For a new entity, an object and a link
    /// are created. For a linked entity, changed fields are written, merged with changes at the service. Use "deleted": true
    /// instead of a document to delete an entity, and "object" to link it with an existing object.
    Push {
        /// Two-way binding
        #[arg(add = super::complete::bindings())]
        name: BindingName,
        /// File with entities, one per line; - for stdin
        file: String,
        /// Connection to write to (default: the only one of the service)
        #[arg(long, value_name = "CONNECTION", add = super::complete::connections())]
        connection: Option<String>,
        /// Print what would be done, without writing
        #[arg(long)]
        dry_run: bool,
    },
    /// Update both sides of a two-way binding
    ///
    /// Syncs the stream, writes pending changes to the service, and prints entities that changed at the service. With --json,
    /// each line has the document that your side should store.
    Sync {
        /// Two-way binding
        #[arg(add = super::complete::bindings())]
        name: BindingName,
        /// Connection to sync with (default: the only one of the service)
        #[arg(long, value_name = "CONNECTION", add = super::complete::connections())]
        connection: Option<String>,
        /// Sync in full, which also detects deletions
        #[arg(long)]
        full: bool,
        /// Also print objects that are not linked with an entity
        #[arg(long)]
        new: bool,
        /// Print what would be done with the stored records, without syncing or writing
        #[arg(long)]
        dry_run: bool,
    },
    /// List conflicts, and creations that were interrupted
    Conflicts {
        /// Binding (default: all)
        #[arg(add = super::complete::bindings())]
        name: Option<BindingName>,
    },
    /// Resolve a conflict of an entity
    #[command(group = clap::ArgGroup::new("decision").required(true).args(["take", "set", "object", "again"]))]
    Resolve {
        /// Two-way binding
        #[arg(add = super::complete::bindings())]
        name: BindingName,
        /// Entity with the conflict
        #[arg(value_name = "TYPE/ID")]
        entity: Entity,
        /// Side whose values to use: ours or theirs
        #[arg(long, value_name = "SIDE")]
        take: Option<SyncSide>,
        /// Fields to resolve (default: all in conflict)
        #[arg(long, value_name = "FIELD", requires = "take")]
        field: Vec<String>,
        /// Value for both sides, as JSON or text
        #[arg(long, value_name = "FIELD=VALUE")]
        set: Option<String>,
        /// Object that was created by the interrupted creation
        #[arg(long, value_name = "ID")]
        object: Option<String>,
        /// Repeat the interrupted creation, if it created nothing
        #[arg(long)]
        again: bool,
        /// Connection of the entity (default: the only one of the service)
        #[arg(long, value_name = "CONNECTION", add = super::complete::connections())]
        connection: Option<String>,
    },
    /// Retry what a binding could not map, after the binding or the data has changed
    ///
    /// Records that are mapped are printed as `integ records` prints them; events are queued for `integ webhook listen`.
    Retry {
        /// Binding whose failures to retry
        #[arg(add = super::complete::bindings())]
        name: BindingName,
    },
}

impl BindingArgs {
    /// Whether the command may make the workspace.
    pub(super) fn makes_workspace(&self) -> bool {
        matches!(self.command, BindingCommand::Set { .. } | BindingCommand::Import { .. })
    }
}

/// A file of the command line that cannot be used.
#[derive(Debug, Error)]
enum BindingFileError {
    #[error("cannot read {file:?}")]
    Read { file: String, source: std::io::Error },
    #[error("{file:?} is not UTF-8 text")]
    Text { file: String },
}

impl Remedy for BindingFileError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Read { .. } => Diagnostic::new(Kind::Failed, "io"),
            Self::Text { .. } => Diagnostic::new(Kind::Usage, "invalid_binding").hint(Hint::text("save it as UTF-8")),
        }
    }
}

fn read_text(file: &str) -> Result<String, BindingFileError> {
    let bytes = read_input_file(file).map_err(|source| BindingFileError::Read { file: file.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|_| BindingFileError::Text { file: file.to_owned() })
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: BindingArgs) -> Result<u8> {
    match args.command {
        BindingCommand::List => ui.show(&workspace.run(bindings::list_bindings(workspace))?)?,
        BindingCommand::Show { name } => ui.show(&workspace.run(bindings::show_binding(workspace, name))?)?,
        BindingCommand::Set { name, from, file, template } => {
            let text = match (template, file) {
                (Some(template), _) => BindingText::Template(template),
                (None, file) => BindingText::Text(read_text(file.as_deref().unwrap_or("-"))?),
            };
            let request = SetBindingRequest { name, origin: from, text };
            let set = workspace.run(bindings::set_binding(workspace, request))?;
            ui.show(&set)?;
            if set.failed_examples > 0 {
                let (count, name) = (set.failed_examples, &set.summary.name);
                ui.warning(&format!("{count} examples fail: `integ binding test {name}`"));
            }
        }
        BindingCommand::Remove { name } => ui.show(&workspace.run(bindings::remove_binding(workspace, name))?)?,
        BindingCommand::Preview { name, file, from, connection, limit } => {
            let text = file.as_deref().map(read_text).transpose()?;
            let binding = match (name, from, text) {
                (Some(name), _, None) => BindingChoice::Stored(name),
                (Some(name), _, Some(text)) => BindingChoice::Changed { name, text },
                (None, Some(origin), Some(text)) => BindingChoice::Text { origin, text },
                // The parser asks for one of these.
                (None, ..) => return Ok(Kind::Usage.exit_code()),
            };
            let connection = connection.as_deref().map(|word| ui.project.resolve(word)).transpose()?;
            let request = PreviewBindingRequest { binding, connection, limit };
            ui.show(&workspace.run(bindings::preview_binding(workspace, request))?)?;
        }
        BindingCommand::Test { names } => {
            let tested = workspace.run(bindings::test_bindings(workspace, names))?;
            ui.show(&tested)?;
            return Ok(if tested.failed > 0 { Kind::Unhealthy.exit_code() } else { 0 });
        }
        BindingCommand::Export { names } => {
            let export = workspace.run(bindings::export_bindings(workspace, names))?;
            // It is JSON in any case.
            ui.show_document(&serde_json::json!(export).to_string())?;
        }
        BindingCommand::Import { file } => {
            let request = ImportBindingsRequest { text: read_text(&file)? };
            ui.show(&workspace.run(bindings::import_bindings(workspace, request))?)?;
        }
        BindingCommand::Push { name, file, connection, dry_run } => {
            let connection = connection.as_deref().map(|word| ui.project.resolve(word)).transpose()?;
            let request = PushEntitiesRequest { name, connection, text: read_text(&file)?, is_dry_run: dry_run };
            return two_way::push(workspace, ui, request);
        }
        BindingCommand::Sync { name, connection, full, new, dry_run } => {
            let connection = connection.as_deref().map(|word| ui.project.resolve(word)).transpose()?;
            let request = SyncBindingRequest { name, connection, is_full: full, with_new: new, is_dry_run: dry_run };
            return two_way::sync(workspace, ui, request);
        }
        BindingCommand::Conflicts { name } => ui.show(&workspace.run(bindings::list_conflicts(workspace, name))?)?,
        BindingCommand::Resolve { name, entity, take, field, set, object, again: _, connection } => {
            let connection = connection.as_deref().map(|word| ui.project.resolve(word)).transpose()?;
            let resolution = match (take, set, object) {
                (Some(side), ..) => Resolution::Side { side, fields: field },
                (None, Some(set), _) => two_way::value(&set),
                (None, None, Some(object)) => Resolution::Created { object },
                (None, None, None) => Resolution::NotCreated,
            };
            return two_way::resolve(workspace, ui, ResolveEntityRequest { name, connection, entity, resolution });
        }
        BindingCommand::Retry { name } => return retry(workspace, ui, name),
    }
    Ok(0)
}

/// Tries again what failed: records to stdout, the counts to stderr.
fn retry(workspace: &Workspace, ui: &Ui, name: BindingName) -> Result<u8> {
    let view = workspace.run(bindings::retry_binding(workspace, name, |record| {
        // A failure is done with once it is mapped, whether or not somebody still reads.
        if !is_reader_closed() {
            ui.show_text(&record.json())?;
        }
        Ok(())
    }))?;
    ui.note(&render::retry_line(&view));
    Ok(if view.failed > 0 { Kind::Partial.exit_code() } else { 0 })
}
