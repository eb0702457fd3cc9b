//! `integ records`: synced records as a list, as output, and as files.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::arguments::SyncArgumentError;
use super::number::grouped;
use super::stored;
use super::target::parse_target;
use crate::cli::ui::{Ui, escape_lines, harmless_json, is_reader_closed};
use crate::cli::value_parser;
use crate::error::{Kind, Result};
use crate::export::{ExportError, RecordFormat};
use crate::model::{BindingName, UserId};
use crate::ops::bindings::MappingReport;
use crate::ops::sync::{
    RecordSelection, RecordsRequest, RecordsSince, StreamName, SyncTarget, WriteFilesRequest, read_records,
    stream_of_binding, write_records,
};
use crate::runtime::Workspace;

/// List, print and export synced records
///
/// Lists the stored streams, or prints the records of one. A record has the service's members, followed by integ's:
/// _key, _version, _first_seen_at, _changed_at and _deleted_at; in tables they are columns. With --since, prints only
/// changes, oldest first, with _change: added, changed or deleted. Pass the last _version to the next --since.
#[derive(Debug, Args)]
pub(in crate::cli) struct RecordsArgs {
    /// Stream to print, or connections to list; with --output, connections and streams to write (default: all)
    #[arg(value_name = "CONNECTION[/STREAM]", add = crate::cli::complete::synced_targets())]
    targets: Vec<String>,
    /// List only streams of this user's connections (default: all)
    #[arg(long, value_name = "ID", conflicts_with_all = ["binding", "format", "since", "limit", "output"])]
    user: Option<UserId>,
    /// Format of the records (default: jsonl)
    #[arg(long, value_name = "FORMAT")]
    format: Option<RecordFormatArg>,
    /// Only changes since a version or a time (2h, 7d, "2026-11-28 03:00"), deleted records included
    #[arg(long, value_name = "VERSION|TIME")]
    since: Option<String>,
    /// Maximum number of records of each stream (default: all)
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Binding that maps each record to a shape of your own; `integ help mapping` shows how. Records that it fails on are left
    /// out, and wait for `integ binding retry`
    #[arg(long, value_name = "NAME", add = crate::cli::complete::bindings())]
    binding: Option<BindingName>,
    /// Write the records of each stream to DIR/CONNECTION/STREAM.FORMAT, replacing existing files
    #[arg(short, long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    output: Option<PathBuf>,
    /// Allow --output to a folder that contains other files
    #[arg(long, requires = "output")]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RecordFormatArg {
    /// One record per line
    Jsonl,
    /// One JSON array
    Json,
    /// A table with a column for each top-level member
    Csv,
    /// A typed table for databases; _record is the whole record
    Parquet,
}

impl From<RecordFormatArg> for RecordFormat {
    fn from(format: RecordFormatArg) -> Self {
        match format {
            RecordFormatArg::Jsonl => Self::Jsonl,
            RecordFormatArg::Json => Self::Json,
            RecordFormatArg::Csv => Self::Csv,
            RecordFormatArg::Parquet => Self::Parquet,
        }
    }
}

pub(in crate::cli) fn run(workspace: &Workspace, ui: &Ui, args: &RecordsArgs) -> Result<u8> {
    let parse = |word: &String| parse_target(&ui.project, word);
    let mut targets = args.targets.iter().map(parse).collect::<Result<Vec<SyncTarget>>>()?;
    if let (Some(binding), []) = (&args.binding, targets.as_slice()) {
        let StreamName { connection, stream } = workspace.run(stream_of_binding(workspace, binding))?;
        targets.push(SyncTarget { connection, stream: Some(stream) });
    }
    let since = match &args.since {
        None => None,
        Some(text) => Some(match text.parse() {
            Ok(version) => RecordsSince::Version(version),
            Err(_) => RecordsSince::Time(value_parser::time(workspace, text)?),
        }),
    };
    let selection = RecordSelection { since, limit: args.limit };
    let format = args.format.map_or(RecordFormat::Jsonl, RecordFormat::from);
    if let Some(folder) = args.output.clone() {
        let binding = args.binding.clone();
        let request = WriteFilesRequest { targets, selection, format, folder, force: args.force, binding };
        return stored::write_files(workspace, ui, request, &args.targets);
    }
    match targets.as_slice() {
        [SyncTarget { connection, stream: Some(stream) }] if args.user.is_none() => {
            let stream = StreamName { connection: connection.clone(), stream: stream.clone() };
            print(workspace, ui, RecordsRequest { stream, selection, binding: args.binding.clone() }, format)
        }
        connections
            if args.format.is_none()
                && args.binding.is_none()
                && selection == RecordSelection::default()
                && connections.iter().all(|target| target.stream.is_none()) =>
        {
            stored::list(workspace, ui, connections, args.user.as_ref())
        }
        _ => Err(SyncArgumentError::NoSingleStream { targets: args.targets.clone() }.into()),
    }
}

/// Prints the records of one stream.
fn print(workspace: &Workspace, ui: &Ui, request: RecordsRequest, format: RecordFormat) -> Result<u8> {
    let binding = request.binding.clone();
    if ui.json {
        let report = workspace.run(read_records(workspace, request, |record| {
            ui.show_text(&record.json())?;
            Ok(if is_reader_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        }))?;
        return Ok(report_mapping(ui, binding.as_ref(), &report));
    }
    let is_terminal = ui.width.is_some();
    if format == RecordFormat::Parquet && is_terminal {
        return Err(SyncArgumentError::Terminal { target: request.stream.to_string() }.into());
    }
    let written = match is_terminal {
        true => {
            let out = TerminalText { format, line: Vec::new() };
            workspace.run(write_records(workspace, request, format, out)).map(|(_, report)| report)
        }
        false => {
            let out = io::BufWriter::new(io::stdout());
            workspace.run(write_records(workspace, request, format, out)).map(|(_, report)| report)
        }
    };
    match written {
        Err(error) if error.downcast_ref::<ExportError>().is_some_and(ExportError::is_broken_pipe) => Ok(0),
        written => written.map(|report| report_mapping(ui, binding.as_ref(), &report)),
    }
}

/// Says how many records a binding failed on, and returns the exit code.
fn report_mapping(ui: &Ui, binding: Option<&BindingName>, report: &MappingReport) -> u8 {
    let (Some(binding), Some(first)) = (binding, &report.first_failure) else { return 0 };
    let total = report.mapped + report.failed;
    ui.warning(&format!(
        "{} of {} records could not be mapped, the first of them {first}\nhint: integ binding show {binding}",
        grouped(report.failed),
        grouped(total)
    ));
    Kind::Partial.exit_code()
}

/// Text of the service's that a terminal is sent, line by line and harmless.
struct TerminalText {
    format: RecordFormat,
    /// What was written of the line that has not ended yet.
    line: Vec<u8>,
}

impl TerminalText {
    fn print_line(&mut self) -> io::Result<()> {
        let line = String::from_utf8_lossy(&self.line);
        let harmless = match self.format {
            RecordFormat::Jsonl | RecordFormat::Json => harmless_json(&line),
            RecordFormat::Csv | RecordFormat::Parquet => escape_lines(&line),
        };
        io::stdout().lock().write_all(harmless.as_bytes())?;
        self.line.clear();
        Ok(())
    }
}

impl Write for TerminalText {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.print_line()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().lock().flush()
    }
}
