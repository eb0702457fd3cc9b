//! `integ cursor`: where syncs stand, and putting them elsewhere.

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{SyncArgumentError, SyncTarget, pairs};
use crate::cli::table::{relative, table};
use crate::cli::ui::{Ui, View};
use crate::connector::CursorFormat;
use crate::error::Result;
use crate::runtime::App;
use crate::store::{Partition, StoredStream, StreamParams};
use crate::sync::{CursorValue, find_stream};

/// See where syncs stand, and put them elsewhere
#[derive(Debug, Args)]
pub(in crate::cli) struct CursorArgs {
    #[command(subcommand)]
    command: CursorCommand,
}

#[derive(Debug, Subcommand)]
enum CursorCommand {
    /// Where each list of a stream stands
    Get {
        #[arg(value_name = "CONNECTION/STREAM", add = crate::cli::complete::synced_streams())]
        target: String,
        /// Where it stood before, the newest first
        #[arg(long)]
        history: bool,
    },
    /// Begin the next sync elsewhere; what changed since then is asked for
    Set {
        #[arg(value_name = "CONNECTION/STREAM", add = crate::cli::complete::synced_streams())]
        target: String,
        /// The cursor; with --back none
        #[arg(required_unless_present = "back", conflicts_with = "back")]
        cursor: Option<String>,
        /// So many cursors back
        #[arg(long, value_name = "N")]
        back: Option<usize>,
        #[command(flatten)]
        part: PartitionArgs,
    },
    /// Forget where a stream stands: the next sync lists all of it
    Clear {
        #[arg(value_name = "CONNECTION/STREAM", add = crate::cli::complete::synced_streams())]
        target: String,
        #[command(flatten)]
        part: PartitionArgs,
    },
    /// Print all cursors of a connection or a stream as JSON
    Export {
        #[arg(value_name = "CONNECTION[/STREAM]", add = crate::cli::complete::streams())]
        target: String,
    },
    /// Take what was exported, of the same connection or another of its connector
    Import {
        #[arg(add = crate::cli::complete::connections())]
        connection: String,
        /// A file, or - for stdin
        file: String,
    },
}

#[derive(Debug, Args)]
struct PartitionArgs {
    /// Which of several lists: the values that its parent gives it
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
}

#[derive(Serialize)]
struct PartitionView {
    list: StreamParams,
    cursor: Option<String>,
    synced_at: Option<String>,
    /// Whether a run was cut off, and goes on from its last page.
    under_way: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<FormerCursorView>>,
    #[serde(skip)]
    synced_in: Option<i64>,
}

#[derive(Serialize)]
struct FormerCursorView {
    cursor: Option<String>,
    replaced_at: String,
}

#[derive(Serialize)]
struct CursorListView {
    connection: String,
    stream: String,
    lists: Vec<PartitionView>,
}

impl View for CursorListView {
    fn text(&self, ui: &Ui) -> String {
        let list = |given: &StreamParams| {
            let texts: Vec<String> = given.iter().map(|(name, value)| format!("{name}={value}")).collect();
            if texts.is_empty() { "all".to_owned() } else { texts.join(" ") }
        };
        let none = || "-".to_owned();
        let mut rows = Vec::new();
        for view in &self.lists {
            let when = view.synced_in.map_or_else(none, relative);
            let state = if view.under_way { "cut off, goes on" } else { "" };
            rows.push(vec![
                list(&view.list).into(),
                view.cursor.clone().unwrap_or_else(none).into(),
                when.into(),
                state.into(),
            ]);
            for former in view.history.iter().flatten() {
                let until = format!("until {}", former.replaced_at);
                rows.push(vec!["".into(), former.cursor.clone().unwrap_or_else(none).into(), until.into(), "".into()]);
            }
        }
        table(ui, &["list", "cursor", "synced", ""], rows)
    }
}

/// Cursors on their way elsewhere. The shape is stable.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CursorExport {
    format_version: u32,
    connector: String,
    streams: Vec<ExportedStream>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportedStream {
    stream: String,
    #[serde(default)]
    params: StreamParams,
    lists: Vec<ExportedPartition>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportedPartition {
    list: StreamParams,
    cursor: Option<String>,
}

pub(in crate::cli) fn run(app: &App, ui: &Ui, args: &CursorArgs) -> Result<u8> {
    match &args.command {
        CursorCommand::Get { target, history } => get(app, ui, target, *history),
        CursorCommand::Set { target, cursor, back, part } => set(app, ui, target, cursor.as_deref(), *back, part),
        CursorCommand::Clear { target, part } => clear(app, ui, target, part),
        CursorCommand::Export { target } => export(app, ui, target),
        CursorCommand::Import { connection, file } => import(app, ui, connection, file),
    }
}

fn get(app: &App, ui: &Ui, word: &str, history: bool) -> Result<u8> {
    let (target, stream) = SyncTarget::stored(app, ui, word)?;
    let streams = app.store()?.streams();
    let now = app.clock.now().as_second();
    let mut lists = Vec::new();
    for part in streams.partitions(stream.id)? {
        let former = if history { Some(streams.cursor_history(part.id)?) } else { None };
        let view = |former: crate::store::FormerCursor| FormerCursorView {
            cursor: former.cursor,
            replaced_at: former.replaced_at.to_string(),
        };
        lists.push(PartitionView {
            under_way: part.checkpoint.is_some(),
            synced_at: part.synced_at.map(|at| at.to_string()),
            synced_in: part.synced_at.map(|at| at.as_second() - now),
            cursor: part.cursor,
            list: part.params,
            history: former.map(|former| former.into_iter().map(view).collect()),
        });
    }
    ui.show(&CursorListView { connection: target.connection.to_string(), stream: stream.name, lists })?;
    Ok(0)
}

/// The lists of a stream that the arguments mean.
fn chosen(app: &App, target: &SyncTarget, stream: &StoredStream, args: &PartitionArgs) -> Result<Vec<Partition>> {
    let wanted = pairs(&args.params)?;
    let mut parts = app.store()?.streams().partitions(stream.id)?;
    parts.retain(|part| wanted.iter().all(|(name, value)| part.params.get(name) == Some(value)));
    if parts.is_empty() {
        let (connection, stream) = (target.connection.clone(), stream.name.clone());
        return Err(SyncArgumentError::PartitionNotFound { connection, stream }.into());
    }
    Ok(parts)
}

fn set(app: &App, ui: &Ui, word: &str, cursor: Option<&str>, back: Option<usize>, args: &PartitionArgs) -> Result<u8> {
    let (target, stream) = SyncTarget::stored(app, ui, word)?;
    let parts = chosen(app, &target, &stream, args)?;
    let [part] = parts.as_slice() else {
        let example =
            parts[0].params.iter().map(|(name, value)| format!("-p {name}={value}")).collect::<Vec<_>>().join(" ");
        let (connection, stream) = (target.connection, stream.name);
        return Err(SyncArgumentError::AmbiguousPartition { connection, stream, example }.into());
    };
    let streams = app.store()?.streams();
    let cursor = match (cursor, back) {
        (Some(cursor), _) => {
            check(app, &target, &stream, cursor)?;
            Some(cursor.to_owned())
        }
        (None, back) => {
            let history = streams.cursor_history(part.id)?;
            let at = back.unwrap_or(1).saturating_sub(1);
            let there = history.len();
            history.into_iter().nth(at).ok_or(SyncArgumentError::NoHistory { there })?.cursor
        }
    };
    streams.set_cursor(part.id, cursor.as_deref(), app.clock.now())?;
    let text = cursor.unwrap_or_else(|| "its beginning".to_owned());
    ui.note(&format!("The next sync of {}/{} begins at {text}.", target.connection, stream.name));
    Ok(0)
}

/// Whether a text is of the form that the stream's records have; a token is the vendor's, and nobody knows its form.
fn check(app: &App, target: &SyncTarget, stream: &StoredStream, cursor: &str) -> Result<()> {
    let connector = app.catalogue.get(target.connection.connector())?;
    let (_, declared) = find_stream(&connector, &stream.name)?;
    let Some(rule) = &declared.incremental else { return Ok(()) };
    if CursorValue::parse(&rule.format, cursor).is_some() {
        return Ok(());
    }
    let example = match rule.format {
        CursorFormat::Rfc3339 => "2026-11-20T10:00:00Z",
        CursorFormat::Rfc2822 => "Fri, 20 Nov 2026 10:00:00 +0000",
        CursorFormat::Date => "2026-11-20",
        CursorFormat::Unix => "1700000000",
        CursorFormat::UnixMs => "1700000000000",
        CursorFormat::Integer | CursorFormat::Text | CursorFormat::Strftime(_) => "a number",
    };
    let (connection, stream, text) = (target.connection.clone(), stream.name.clone(), cursor.to_owned());
    Err(SyncArgumentError::Cursor { connection, stream, text, example }.into())
}

fn clear(app: &App, ui: &Ui, word: &str, args: &PartitionArgs) -> Result<u8> {
    let (target, stream) = SyncTarget::stored(app, ui, word)?;
    for part in chosen(app, &target, &stream, args)? {
        app.store()?.streams().set_cursor(part.id, None, app.clock.now())?;
    }
    ui.note(&format!("The next sync of {}/{} lists all of it.", target.connection, stream.name));
    Ok(0)
}

fn export(app: &App, ui: &Ui, word: &str) -> Result<u8> {
    let target = SyncTarget::parse(ui, word)?;
    let connection = app.connection(&target.connection)?;
    let streams = app.store()?.streams();
    let wanted = |stream: &StoredStream| target.stream.as_ref().is_none_or(|name| *name == stream.name);
    let mut exported = Vec::new();
    for stream in streams.list(connection.id)?.into_iter().filter(wanted) {
        let parts = streams.partitions(stream.id)?.into_iter();
        let lists = parts.map(|part| ExportedPartition { list: part.params, cursor: part.cursor }).collect();
        exported.push(ExportedStream { stream: stream.name, params: stream.params, lists });
    }
    let connector = target.connection.connector().to_owned();
    ui.show_document(&json!(CursorExport { format_version: 1, connector, streams: exported }).to_string())?;
    Ok(0)
}

fn import(app: &App, ui: &Ui, word: &str, file: &str) -> Result<u8> {
    let name = ui.project.resolve(word)?;
    let connection = app.connection(&name)?;
    let wrong = |source| SyncArgumentError::Import { path: file.to_owned(), source };
    let bytes = crate::cli::input_file::read_input_file(file).map_err(|error| wrong(error.into()))?;
    let exported: CursorExport = serde_json::from_slice(&bytes).map_err(|error| wrong(error.into()))?;
    if exported.connector != name.connector() || exported.format_version != 1 {
        let what = format!("it is of the connector {}, version {}", exported.connector, exported.format_version);
        return Err(wrong(what.into()).into());
    }
    let connector = app.catalogue.get(name.connector())?;
    // All is looked at before anything is changed.
    for stream in &exported.streams {
        find_stream(&connector, &stream.stream)?;
    }
    let streams = app.store()?.streams();
    let mut lists = 0;
    for exported in exported.streams {
        let stream = streams.ensure(connection.id, &exported.stream)?;
        streams.set_params(stream.id, &exported.params)?;
        for list in exported.lists {
            let part = streams.ensure_partition(stream.id, &list.list, None)?;
            streams.set_cursor(part.id, list.cursor.as_deref(), app.clock.now())?;
            lists += 1;
        }
    }
    ui.note(&format!("{lists} cursors of {name} were taken."));
    Ok(0)
}
