//! `integ records`: what was pulled.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};

use clap::{Args, ValueEnum};
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::{SyncArgumentError, SyncTarget, parse_time};
use crate::cli::ui::{Ui, escape, harmless_json, is_reader_closed};
use crate::error::{Error, Result};
use crate::export::{Columns, ParquetError, ParquetFile};
use crate::json::{Json, JsonType};
use crate::runtime::App;
use crate::store::{RecordId, StoredRecord, StreamId};

/// Records that are taken from the store at once.
const BATCH_SIZE: u32 = 500;

/// Read what was pulled of a stream
///
/// Records are printed as the service wrote them, in the order in which they came. With --since, what changed since: each
/// with what happened to it and its version, oldest first; the last version is where the next one begins.
#[derive(Debug, Args)]
pub(in crate::cli) struct RecordsArgs {
    #[arg(value_name = "CONNECTION/STREAM", add = crate::cli::complete::synced_streams())]
    target: String,
    #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
    format: RecordFormat,
    /// What changed since a version, a time (2h, 7d) or a date
    #[arg(long, value_name = "VERSION|TIME")]
    since: Option<String>,
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

/// Reads a stream page by page, so that memory stays flat.
struct RecordReader<'a> {
    app: &'a App,
    stream: StreamId,
    since: Option<u64>,
    limit: usize,
}

impl RecordReader<'_> {
    /// Each record, until one says that it is enough.
    fn each(&self, mut each: impl FnMut(&StoredRecord) -> Result<bool>) -> Result<u8> {
        let records = self.app.store()?.records();
        let (mut last, mut left) = (None::<(u64, RecordId)>, self.limit);
        while left > 0 {
            let page = match self.since {
                Some(since) => records.changes(self.stream, since, last, BATCH_SIZE)?,
                None => records.list(self.stream, last.map_or(RecordId(0), |(_, id)| id), BATCH_SIZE)?,
            };
            let Some(end) = page.last() else { break };
            last = Some((end.version, end.id));
            for record in page.iter().take(left) {
                if !each(record)? {
                    return Ok(0);
                }
            }
            left = left.saturating_sub(page.len());
        }
        Ok(0)
    }
}

pub(in crate::cli) fn run(app: &App, ui: &Ui, args: &RecordsArgs) -> Result<u8> {
    let (_, stream) = SyncTarget::stored(app, ui, &args.target)?;
    let since = match &args.since {
        None => None,
        Some(text) => Some(match text.parse() {
            Ok(version) => version,
            Err(_) => app.store()?.records().version_at(stream.id, parse_time(app, text)?)?,
        }),
    };
    let reading = RecordReader { app, stream: stream.id, since, limit: args.limit.unwrap_or(usize::MAX) };
    if ui.json {
        return reading.each(|record| {
            ui.show_text(&described(record, since))?;
            Ok(!is_reader_closed())
        });
    }
    if args.format == RecordFormat::Parquet && ui.width.is_some() {
        return Err(SyncArgumentError::Terminal { target: args.target.clone() }.into());
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let written = match args.format {
        RecordFormat::Jsonl => reading.each(|record| wrote(writeln!(out, "{}", line(ui, record, since)))),
        RecordFormat::Json => {
            let mut separator = "[\n";
            reading.each(|record| {
                wrote(write!(out, "{}{}", std::mem::replace(&mut separator, ",\n"), line(ui, record, since)))
            })?;
            let empty = if separator == "[\n" { "[" } else { "" };
            wrote(writeln!(out, "{empty}\n]")).map(|_| 0)
        }
        RecordFormat::Csv => csv(ui, &reading, &mut out),
        RecordFormat::Parquet => parquet(&reading),
    };
    written?;
    wrote(out.flush())?;
    Ok(0)
}

/// Whether somebody still reads: one who has gone is no failure.
pub(super) fn wrote(result: io::Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(source) => Err(SyncArgumentError::Output { source }.into()),
    }
}

/// A record as the vendor wrote it; of a change, what happened to it as well.
fn line(ui: &Ui, record: &StoredRecord, since: Option<u64>) -> String {
    let text = match since {
        None => record.json.clone(),
        Some(_) => described(record, since),
    };
    if ui.width.is_some() { harmless_json(&text) } else { text }
}

/// A record as the vendor wrote it, with what is known of it.
fn described(record: &StoredRecord, since: Option<u64>) -> String {
    let mut described = Map::new();
    if let Some(since) = since {
        described.insert("change".to_owned(), json!(record.change(since).as_str()));
    }
    described.insert("key".to_owned(), json!(record.key));
    described.insert("version".to_owned(), json!(record.version));
    described.insert("first_seen_at".to_owned(), json!(record.first_seen_at.to_string()));
    described.insert("changed_at".to_owned(), json!(record.changed_at.to_string()));
    described.insert("deleted_at".to_owned(), json!(record.deleted_at.map(|at| at.to_string())));
    let described = Value::Object(described).to_string();
    format!("{},\"record\":{}}}", described.trim_end_matches('}'), record.json)
}

/// Two readings: one for the names of the columns, one for the rows.
fn csv(ui: &Ui, reading: &RecordReader<'_>, out: &mut impl Write) -> Result<u8> {
    let shown = |text: String| if ui.width.is_some() { escape(&text) } else { text };
    let mut names = Vec::new();
    let mut known = BTreeSet::new();
    reading.each(|record| {
        for name in members(record).into_keys() {
            if !known.contains(name.as_ref()) {
                known.insert(name.clone().into_owned());
                names.push(name.into_owned());
            }
        }
        Ok(true)
    })?;
    let mut writer = csv::Writer::from_writer(out);
    let change = reading.since.map(|_| ["change", "version"]);
    let heading = change.into_iter().flatten().map(str::to_owned).chain(names.iter().cloned().map(shown));
    wrote(writer.write_record(heading).map_err(csv_error))?;
    reading.each(|record| {
        let members = members(record);
        let mut cells: Vec<String> = Vec::with_capacity(names.len() + 2);
        if let Some(since) = reading.since {
            cells.extend([record.change(since).to_string(), record.version.to_string()]);
        }
        cells.extend(
            names.iter().map(|name| members.get(name.as_str()).map(|value| shown(cell(*value))).unwrap_or_default()),
        );
        wrote(writer.write_record(cells).map_err(csv_error))
    })?;
    wrote(writer.flush()).map(|_| 0)
}

/// Two readings as well: one for the types of the columns.
fn parquet(reading: &RecordReader<'_>) -> Result<u8> {
    let mut columns = Columns::default();
    reading.each(|record| {
        columns.add(&record.json);
        Ok(true)
    })?;
    let write = || {
        let mut file = ParquetFile::new(io::stdout(), columns)?;
        reading.each(|record| {
            file.add(record.clone())?;
            Ok(true)
        })?;
        Ok(file.finish()?)
    };
    match write() {
        Err(error) if is_broken_pipe(&error) => Ok(0),
        written => written.map(|()| 0),
    }
}

fn is_broken_pipe(error: &Error) -> bool {
    error.downcast_ref::<ParquetError>().is_some_and(ParquetError::is_broken_pipe)
}

/// The crate's own conversion hides the kind, by which a reader who has gone is known.
fn csv_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(source) => source,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

/// The members of a record, each as it was written; a record that is not an object is a member `_record`.
fn members(record: &StoredRecord) -> IndexMap<Cow<'_, str>, Json<'_>> {
    let json = Json::from_validated(&record.json);
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
