//! Records as comma-separated values (RFC 4180).

use std::collections::HashMap;
use std::io::{self, Write};

use super::columns::Columns;
use super::shape::{CHANGE, ExportedRecord, METADATA, members};
use super::writer::ExportError;
use crate::json::{Json, JsonType};

/// A table that is being written.
pub(super) struct CsvFile<W: Write> {
    writer: csv::Writer<W>,
    /// The place of each member's column.
    columns: HashMap<String, usize>,
}

impl<W: Write> CsvFile<W> {
    pub(super) fn new(out: W, columns: Columns, changes: bool) -> Result<Self, ExportError> {
        let mut writer = csv::Writer::from_writer(out);
        let own = changes.then_some(CHANGE).into_iter().chain(METADATA);
        writer.write_record(columns.0.keys().map(String::as_str).chain(own)).map_err(io_error)?;
        let columns = columns.0.into_keys().enumerate().map(|(at, name)| (name, at)).collect();
        Ok(Self { writer, columns })
    }

    pub(super) fn add(&mut self, record: &ExportedRecord) -> Result<(), ExportError> {
        let mut cells = vec![String::new(); self.columns.len()];
        for (name, value) in members(&record.stored.json) {
            let Some(at) = self.columns.get(name.as_ref()) else {
                return Err(ExportError::RecordChanged { name: name.into_owned() });
            };
            cells[*at] = cell(value);
        }
        cells.extend(record.metadata_cells());
        self.writer.write_record(cells).map_err(io_error)?;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<W, ExportError> {
        self.writer.flush()?;
        self.writer.into_inner().map_err(|error| ExportError::from(io::Error::other(error.error().to_string())))
    }
}

/// The crate's own conversion hides the kind, by which a closed pipe is recognised.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(source) => source,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

/// A text without its quotes, anything else as JSON; null is empty.
fn cell(value: Json<'_>) -> String {
    match value.kind() {
        JsonType::Null => String::new(),
        JsonType::String => value.string().unwrap_or_default().into_owned(),
        _ => value.as_str().to_owned(),
    }
}
