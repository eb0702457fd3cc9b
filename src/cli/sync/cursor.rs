//! `integ cursor`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::arguments::{SyncArgumentError, parse_pairs};
use super::target::{parse_stream, parse_target};
use crate::cli::table::{count, relative, table};
use crate::cli::ui::{Render, Ui};
use crate::error::Result;
use crate::model::stream::StreamParams;
use crate::ops::sync::{
    ClearCursorsRequest, CursorListRequest, ImportCursorsRequest, NewCursor, SetCursorRequest, clear_cursors,
    export_cursors, import_cursors, list_cursors, set_cursor,
};
use crate::runtime::Workspace;
use crate::view::sync::{CursorExport, CursorListView};

/// Show and edit sync cursors
#[derive(Debug, Args)]
pub(in crate::cli) struct CursorArgs {
    #[command(subcommand)]
    command: CursorCommand,
}

#[derive(Debug, Subcommand)]
enum CursorCommand {
    /// Show the cursor of each partition of a stream
    Get {
        /// Stream whose cursors to show
        #[arg(value_name = "CONNECTION/STREAM", add = crate::cli::complete::synced_streams())]
        target: String,
        /// Show earlier cursors too, newest first
        #[arg(long)]
        history: bool,
    },
    /// Set a cursor: the next sync requests changes since then
    Set {
        /// Stream whose cursor to set
        #[arg(value_name = "CONNECTION/STREAM", add = crate::cli::complete::synced_streams())]
        target: String,
        /// The new cursor; omit it with --back
        #[arg(required_unless_present = "back", conflicts_with = "back")]
        cursor: Option<String>,
        /// Go back this many cursors
        #[arg(long, value_name = "N")]
        back: Option<usize>,
        #[command(flatten)]
        partition: PartitionArgs,
    },
    /// Clear cursors: the next sync lists everything
    Clear {
        /// Stream whose cursors to clear
        #[arg(value_name = "CONNECTION/STREAM", add = crate::cli::complete::synced_streams())]
        target: String,
        #[command(flatten)]
        partition: PartitionArgs,
    },
    /// Print all cursors of a connection or a stream as JSON
    Export {
        /// Connection or stream whose cursors to print
        #[arg(value_name = "CONNECTION[/STREAM]", add = crate::cli::complete::streams())]
        target: String,
    },
    /// Import cursors that were exported from this connection or another one of the same connector
    Import {
        /// Connection whose cursors to set
        #[arg(add = crate::cli::complete::connections())]
        connection: String,
        /// A file, or - for stdin
        file: String,
    },
}

#[derive(Debug, Args)]
struct PartitionArgs {
    /// Value that selects a partition, such as channel=C1; repeatable
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
}

pub(in crate::cli) fn run(workspace: &Workspace, ui: &Ui, args: &CursorArgs) -> Result<u8> {
    match &args.command {
        CursorCommand::Get { target, history } => {
            let request = CursorListRequest { stream: parse_stream(&ui.project, target)?, history: *history };
            ui.show(&workspace.run(list_cursors(workspace, request))?)?;
        }
        CursorCommand::Set { target, cursor, back, partition } => {
            let cursor = match cursor {
                Some(cursor) => NewCursor::Value(cursor.clone()),
                None => NewCursor::Former(back.unwrap_or(1)),
            };
            let (stream, partition) = (parse_stream(&ui.project, target)?, parse_pairs(&partition.params)?);
            let set = workspace.run(set_cursor(workspace, SetCursorRequest { stream, partition, cursor }))?;
            let start = set.cursor.unwrap_or_else(|| "its beginning".to_owned());
            ui.note(&format!("The next sync of {}/{} starts at {start}.", set.connection, set.stream));
        }
        CursorCommand::Clear { target, partition } => {
            let (stream, partition) = (parse_stream(&ui.project, target)?, parse_pairs(&partition.params)?);
            let cleared = workspace.run(clear_cursors(workspace, ClearCursorsRequest { stream, partition }))?;
            ui.note(&format!("The next sync of {}/{} lists everything.", cleared.connection, cleared.stream));
        }
        CursorCommand::Export { target } => {
            let export = workspace.run(export_cursors(workspace, parse_target(&ui.project, target)?))?;
            ui.show_document(&json!(export).to_string())?;
        }
        CursorCommand::Import { connection, file } => {
            let connection = ui.project.resolve(connection)?;
            workspace.run(workspace.connection(&connection))?;
            let request = ImportCursorsRequest { connection, export: read_export(file)? };
            let done = workspace.run(import_cursors(workspace, request))?;
            ui.note(&format!("Imported {} of {}.", count(done.imported, "cursor"), done.connection));
        }
    }
    Ok(0)
}

fn read_export(file: &str) -> Result<CursorExport, SyncArgumentError> {
    let failed = |source| SyncArgumentError::Import { path: file.to_owned(), source };
    let bytes = crate::cli::input_file::read_input_file(file).map_err(|error| failed(error.into()))?;
    serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))
}

impl Render for CursorListView {
    fn text(&self, ui: &Ui) -> String {
        let name = |values: &StreamParams| {
            let texts: Vec<String> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
            if texts.is_empty() { "all".to_owned() } else { texts.join(" ") }
        };
        let none = || "-".to_owned();
        let mut rows = Vec::new();
        for view in &self.partitions {
            let synced = view.synced_at.map(|at| relative(at.as_second() - self.as_of.as_second()));
            let status = if view.in_progress { "interrupted, will resume" } else { "" };
            rows.push(vec![
                name(&view.partition).into(),
                view.cursor.clone().unwrap_or_else(none).into(),
                synced.unwrap_or_else(none).into(),
                status.into(),
            ]);
            for former in view.history.iter().flatten() {
                let until = format!("until {}", former.replaced_at);
                rows.push(vec!["".into(), former.cursor.clone().unwrap_or_else(none).into(), until.into(), "".into()]);
            }
        }
        table(ui, &["partition", "cursor", "synced", "state"], rows)
    }
}
