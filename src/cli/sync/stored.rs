//! `integ records` without a stream: lists stored data, and writes it to files.

use indicatif::{ProgressBar, ProgressStyle};

use super::arguments::SyncArgumentError;
use super::number::grouped;
use crate::cli::table::{TableCell, relative, table_of_numbers};
use crate::cli::ui::{Render, Tone, Ui};
use crate::error::{Error, Kind, Result};
use crate::model::UserId;
use crate::ops::sync::{
    StreamName, SyncOperationError, SyncTarget, WriteFilesRequest, WriteObserver, list_stored_streams,
    write_record_files,
};
use crate::runtime::Workspace;
use crate::view::records::{StoredStreamListView, StoredStreamView, WrittenStreamListView, WrittenStreamView};

/// Lists what is stored of connections and streams, of all if none is named.
pub(super) fn list(workspace: &Workspace, ui: &Ui, targets: &[SyncTarget], user: Option<&UserId>) -> Result<u8> {
    let view = workspace.run(list_stored_streams(workspace, targets, user))?;
    if view.streams.is_empty() && !ui.json && user.is_some() {
        ui.note("Nothing of this user has been synced yet.");
        return Ok(0);
    }
    if view.streams.is_empty() && !ui.json {
        let connection = targets.first().map(|target| format!(" {}", target.connection)).unwrap_or_default();
        let of = if connection.is_empty() { workspace.workspace_note() } else { format!(" of{connection}") };
        ui.note(&format!("Nothing{of} has been synced yet. Try `integ sync{connection}`."));
        return Ok(0);
    }
    ui.show(&view)?;
    Ok(0)
}

/// Writes a file for each stream. `words` are the targets as they were typed.
pub(super) fn write_files(workspace: &Workspace, ui: &Ui, request: WriteFilesRequest, words: &[String]) -> Result<u8> {
    let progress = WriteProgress::new(ui);
    let written = workspace.run(write_record_files(workspace, request, &progress));
    progress.end();
    let view = written.map_err(|error| with_force(error, words))?;
    ui.show(&view)?;
    if !ui.json {
        for stream in &view.streams {
            if let Some(error) = &stream.error {
                ui.warning(&format!("{}/{}: {error}", stream.connection, stream.stream));
            }
            if stream.unmapped > 0 {
                let (connection, name, count) = (&stream.connection, &stream.stream, grouped(stream.unmapped));
                ui.warning(&format!(
                    "{connection}/{name}: {count} records could not be mapped and are not in the file"
                ));
            }
        }
    }
    let code = exit_code(&view.streams);
    let is_partial = code == 0 && view.streams.iter().any(|stream| stream.unmapped > 0);
    Ok(if is_partial { Kind::Partial.exit_code() } else { code })
}

/// The refusal of a folder that holds other files, with the command that uses it nevertheless.
fn with_force(error: Error, words: &[String]) -> Error {
    match error.downcast_ref::<SyncOperationError>() {
        Some(SyncOperationError::ForeignFolder { folder }) => {
            SyncArgumentError::ForeignFolder { folder: folder.clone(), targets: words.to_vec() }.into()
        }
        _ => error,
    }
}

/// 0, the kind of all failures if every stream failed alike, else that some failed.
fn exit_code(streams: &[WrittenStreamView]) -> u8 {
    let kinds: Vec<Kind> = streams.iter().filter_map(|stream| stream.error_kind).collect();
    match kinds.first() {
        None => 0,
        Some(first) if kinds.len() == streams.len() && kinds.iter().all(|kind| kind == first) => first.exit_code(),
        Some(_) => Kind::Partial.exit_code(),
    }
}

impl Render for StoredStreamListView {
    fn text(&self, ui: &Ui) -> String {
        let has_notes = self.streams.iter().any(|stream| stream.target.is_some());
        let row = |stream: &StoredStreamView| {
            let ago = stream.last_sync_at.map(|at| relative(at.as_second() - self.as_of.as_second()));
            let mut row = vec![
                stream.connection.to_string().into(),
                stream.stream.clone().into(),
                number(stream.records),
                number(stream.deleted),
                ago.unwrap_or_else(|| "never".to_owned()).into(),
            ];
            if has_notes {
                row.push(stream.target.clone().unwrap_or_default().into());
            }
            row
        };
        let mut headings = vec!["connection", "stream", "records", "deleted", "last synced"];
        if has_notes {
            headings.push("notes");
        }
        table_of_numbers(ui, &headings, self.streams.iter().map(row).collect(), 2..4)
    }
}

impl Render for WrittenStreamListView {
    fn text(&self, ui: &Ui) -> String {
        let row = |stream: &WrittenStreamView| {
            let file = match &stream.error {
                None => stream.file.clone().into(),
                Some(_) => TableCell("not written".to_owned(), Some(Tone::Bad)),
            };
            vec![
                format!("{}/{}", stream.connection, stream.stream).into(),
                number(stream.records),
                number(stream.bytes),
                file,
            ]
        };
        table_of_numbers(ui, &["stream", "records", "bytes", "file"], self.streams.iter().map(row).collect(), 1..3)
    }
}

fn number(number: u64) -> TableCell {
    TableCell(grouped(number), (number == 0).then_some(Tone::Dim))
}

/// A line on a terminal that says which stream is being written; elsewhere the table says enough.
struct WriteProgress(ProgressBar);

impl WriteProgress {
    fn new(ui: &Ui) -> Self {
        if !ui.animates || ui.json || ui.quiet {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(super::progress::REDRAW);
        Self(bar)
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

impl WriteObserver for WriteProgress {
    fn stream_started(&self, stream: &StreamName) {
        self.0.set_prefix(stream.to_string());
        self.0.set_message(stream.to_string());
    }

    fn records_written(&self, count: u64) {
        if count.is_multiple_of(1_000) {
            self.0.set_message(format!("{}  {} records", self.0.prefix(), grouped(count)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_whether_all_streams_failed() {
        let view = |error_kind| WrittenStreamView {
            connection: "github".parse().unwrap(),
            stream: "issues".to_owned(),
            file: String::new(),
            records: 0,
            unmapped: 0,
            bytes: 0,
            error: None,
            error_code: None,
            error_kind,
        };
        assert_eq!(exit_code(&[view(None), view(None)]), 0);
        assert_eq!(exit_code(&[view(None), view(Some(Kind::Failed))]), 8);
        assert_eq!(exit_code(&[view(Some(Kind::Failed)), view(Some(Kind::Failed))]), 1);
        assert_eq!(exit_code(&[view(Some(Kind::Temporary)), view(Some(Kind::Failed))]), 8);
    }
}
