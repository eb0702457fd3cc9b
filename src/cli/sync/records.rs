//! `integ records`: what was synced, as JSON, CSV or Parquet.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use clap::{Args, ValueEnum};
use indexmap::IndexMap;

use super::arguments::SyncArgumentError;
use super::target::parse_stream;
use crate::cli::ui::{Ui, escape, harmless_json, is_reader_closed};
use crate::cli::value_parser;
use crate::error::Result;
#[cfg(feature = "parquet")]
use crate::export::{Columns, ParquetError, ParquetFile};
use crate::json::{Json, JsonType};
use crate::ops::sync::{RecordsRequest, RecordsSince, read_records};
use crate::runtime::Workspace;
use crate::view::sync::RecordView;

/// Read what was pulled of a stream
///
/// Records are printed as the service wrote them, in the order in which they came. With --since, what changed since: each
/// with what happened to it and its version, oldest first; the last version is where the next one begins.
#[derive(Debug, Args)]
pub(in crate::cli) struct RecordsArgs {
    /// Stream whose records to print
    #[arg(value_name = "CONNECTION/STREAM", add = crate::cli::complete::synced_streams())]
    target: String,
    /// Format of the output
    #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
    format: RecordFormat,
    /// Print what changed since a version, a time (2h, 7d) or a date
    #[arg(long, value_name = "VERSION|TIME")]
    since: Option<String>,
    /// Number of records at most (default: all)
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RecordFormat {
    /// One record a line
    Jsonl,
    /// One list
    Json,
    /// A column for each member at a record's top
    Csv,
    /// The same with types, for databases; `_record` holds the whole record
    Parquet,
}

/// The records to print; formats with columns read them twice.
struct RecordSource<'a> {
    workspace: &'a Workspace,
    request: RecordsRequest,
}

impl RecordSource<'_> {
    fn read(&self, each: impl FnMut(RecordView) -> Result<ControlFlow<()>>) -> Result<()> {
        self.workspace.run(read_records(self.workspace, self.request.clone(), each))
    }
}

pub(in crate::cli) fn run(workspace: &Workspace, ui: &Ui, args: &RecordsArgs) -> Result<u8> {
    let stream = parse_stream(&ui.project, &args.target)?;
    let since = match &args.since {
        None => None,
        Some(text) => Some(match text.parse() {
            Ok(version) => RecordsSince::Version(version),
            Err(_) => RecordsSince::Time(value_parser::time(workspace, text)?),
        }),
    };
    let source = RecordSource { workspace, request: RecordsRequest { stream, since, limit: args.limit } };
    if ui.json {
        source.read(|record| {
            ui.show_text(&printed(&record)?)?;
            Ok(if is_reader_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        return Ok(0);
    }
    if args.format == RecordFormat::Parquet && ui.width.is_some() {
        return Err(SyncArgumentError::Terminal { target: args.target.clone() }.into());
    }
    let mut out = BufWriter::new(io::stdout().lock());
    match args.format {
        RecordFormat::Jsonl => source.read(|record| flow(writeln!(out, "{}", line(ui, record)?)))?,
        RecordFormat::Json => json_list(ui, &source, &mut out)?,
        RecordFormat::Csv => csv(ui, &source, &mut out)?,
        RecordFormat::Parquet => parquet(&source)?,
    }
    flow(out.flush()).map(|_| 0)
}

/// Whether to go on after a write: a closed pipe is not a failure.
pub(super) fn flow(result: io::Result<()>) -> Result<ControlFlow<()>> {
    match result {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(source) => Err(SyncArgumentError::Output { source }.into()),
    }
}

/// A record with what is known of it, on one line.
fn printed(record: &RecordView) -> Result<String> {
    let failed = |error: serde_json::Error| SyncArgumentError::Output { source: error.into() };
    Ok(serde_json::to_string(record).map_err(failed)?)
}

/// A record as the service wrote it; of a change, what is known of it as well.
fn line(ui: &Ui, record: RecordView) -> Result<String> {
    let text = if record.change.is_some() { printed(&record)? } else { record.stored.json };
    Ok(if ui.width.is_some() { harmless_json(&text) } else { text })
}

fn json_list(ui: &Ui, source: &RecordSource<'_>, out: &mut impl Write) -> Result<()> {
    let mut separator = "[\n";
    source.read(|record| {
        let separator = std::mem::replace(&mut separator, ",\n");
        flow(write!(out, "{separator}{}", line(ui, record)?))
    })?;
    let empty = if separator == "[\n" { "[" } else { "" };
    flow(writeln!(out, "{empty}\n]")).map(|_| ())
}

/// Reads twice: for the names of the columns, and for the rows.
fn csv(ui: &Ui, source: &RecordSource<'_>, out: &mut impl Write) -> Result<()> {
    let shown = |text: String| if ui.width.is_some() { escape(&text) } else { text };
    let mut names = Vec::new();
    let mut known = BTreeSet::new();
    source.read(|record| {
        for name in members(&record).into_keys() {
            if !known.contains(name.as_ref()) {
                known.insert(name.clone().into_owned());
                names.push(name.into_owned());
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut writer = csv::Writer::from_writer(out);
    let change = source.request.since.map(|_| ["change", "version"]);
    let heading = change.into_iter().flatten().map(str::to_owned).chain(names.iter().cloned().map(shown));
    if flow(writer.write_record(heading).map_err(csv_error))?.is_break() {
        return Ok(());
    }
    source.read(|record| {
        let members = members(&record);
        let mut cells: Vec<String> = Vec::with_capacity(names.len() + 2);
        if let Some(change) = record.change {
            cells.extend([change.to_string(), record.stored.version.to_string()]);
        }
        cells.extend(
            names.iter().map(|name| members.get(name.as_str()).map(|value| shown(cell(*value))).unwrap_or_default()),
        );
        flow(writer.write_record(cells).map_err(csv_error))
    })?;
    flow(writer.flush()).map(|_| ())
}

#[cfg(not(feature = "parquet"))]
fn parquet(_source: &RecordSource<'_>) -> Result<()> {
    Err(SyncArgumentError::NoParquet.into())
}

/// Reads twice: for the types of the columns, and for the rows.
#[cfg(feature = "parquet")]
fn parquet(source: &RecordSource<'_>) -> Result<()> {
    let mut columns = Columns::default();
    source.read(|record| {
        columns.add(&record.stored.json);
        Ok(ControlFlow::Continue(()))
    })?;
    let write = || {
        let mut file = ParquetFile::new(io::stdout(), columns)?;
        source.read(|record| {
            file.add(record.stored)?;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(file.finish()?)
    };
    match write() {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        written => written,
    }
}

#[cfg(feature = "parquet")]
fn is_broken_pipe(error: &crate::error::Error) -> bool {
    error.downcast_ref::<ParquetError>().is_some_and(ParquetError::is_broken_pipe)
}

/// The crate's own conversion hides the kind, by which a closed pipe is recognised.
fn csv_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(source) => source,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

/// The members of a record, each as it was written; a record that is not an object is a member `_record`.
fn members(record: &RecordView) -> IndexMap<Cow<'_, str>, Json<'_>> {
    let json = Json::from_validated(&record.stored.json);
    if json.kind() == JsonType::Object { json.members().collect() } else { [(Cow::Borrowed("_record"), json)].into() }
}

/// A text without its quotes, anything else as JSON; null is empty.
fn cell(value: Json<'_>) -> String {
    match value.kind() {
        JsonType::Null => String::new(),
        JsonType::String => value.string().unwrap_or_default().into_owned(),
        _ => value.as_str().to_owned(),
    }
}
