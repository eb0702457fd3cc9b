//! Writes records to a file in any format.

use std::io::{self, Write};

use thiserror::Error;

use super::columns::Columns;
use super::csv::CsvFile;
#[cfg(feature = "parquet")]
use super::parquet::ParquetFile;
use super::shape::ExportedRecord;
use crate::error::{Diagnostic, Hint, Kind, Remedy};

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFormat {
    /// A JSON object a line.
    Jsonl,
    /// A JSON array of objects, one a line.
    Json,
    /// A table with a heading; nested values are JSON.
    Csv,
    /// A typed table (<https://parquet.apache.org>).
    Parquet,
}

impl RecordFormat {
    /// Returns the extension of the files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// Whether a file begins with its columns, so that all records are read before the first is written.
    pub fn has_columns(self) -> bool {
        matches!(self, Self::Csv | Self::Parquet)
    }
}

/// Why records cannot be written.
#[derive(Debug, Error)]
pub enum ExportError {
    #[error("cannot write the records")]
    Write { source: io::Error },
    #[error("field {name:?} changed while it was exported: the stream is being synced")]
    RecordChanged { name: String },
    #[error("this build of integ cannot write Parquet files")]
    ParquetNotBuilt,
}

impl From<io::Error> for ExportError {
    fn from(source: io::Error) -> Self {
        Self::Write { source }
    }
}

impl ExportError {
    /// Whether the reader has closed.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Write { source } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl Remedy for ExportError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Write { source } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Diagnostic::new(Kind::Failed, "disk_full"),
                _ => Diagnostic::new(Kind::Failed, "io"),
            },
            Self::RecordChanged { .. } => {
                Diagnostic::new(Kind::Temporary, "record_changed").hint(Hint::text("try again once the sync has ended"))
            }
            Self::ParquetNotBuilt => Diagnostic::new(Kind::Usage, "parquet_not_built")
                .hint(Hint::new("install it with them:", "cargo install --path . --features parquet")),
        }
    }
}

/// Writes records of one stream, one after the other.
pub struct RecordWriter<W: Write + Send>(Output<W>);

enum Output<W: Write + Send> {
    Lines(W),
    List {
        out: W,
        is_empty: bool,
    },
    Csv(CsvFile<W>),
    #[cfg(feature = "parquet")]
    Parquet(ParquetFile<W>),
}

impl<W: Write + Send> RecordWriter<W> {
    /// Begins a file. `columns` are those of all records that follow, and are empty for a format without; `changes` says
    /// whether each record comes with what happened to it.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn new(format: RecordFormat, out: W, columns: Columns, changes: bool) -> Result<Self, ExportError> {
        let output = match format {
            RecordFormat::Jsonl => Output::Lines(out),
            RecordFormat::Json => Output::List { out, is_empty: true },
            RecordFormat::Csv => Output::Csv(CsvFile::new(out, columns, changes)?),
            #[cfg(feature = "parquet")]
            RecordFormat::Parquet => Output::Parquet(ParquetFile::new(out, columns, changes)?),
            #[cfg(not(feature = "parquet"))]
            RecordFormat::Parquet => return Err(ExportError::ParquetNotBuilt),
        };
        Ok(Self(output))
    }

    /// # Errors
    /// [`ExportError`].
    pub fn add(&mut self, record: ExportedRecord) -> Result<(), ExportError> {
        match &mut self.0 {
            Output::Lines(out) => writeln!(out, "{}", record.json())?,
            Output::List { out, is_empty } => {
                let separator = if std::mem::take(is_empty) { "[\n" } else { ",\n" };
                write!(out, "{separator}{}", record.json())?;
            }
            Output::Csv(file) => file.add(&record)?,
            #[cfg(feature = "parquet")]
            Output::Parquet(file) => file.add(record)?,
        }
        Ok(())
    }

    /// Writes the file's end, and hands back what it was written to.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn finish(self) -> Result<W, ExportError> {
        let mut out = match self.0 {
            Output::Lines(out) => out,
            Output::List { mut out, is_empty } => {
                writeln!(out, "{}\n]", if is_empty { "[" } else { "" })?;
                out
            }
            Output::Csv(file) => file.finish()?,
            #[cfg(feature = "parquet")]
            Output::Parquet(file) => file.finish()?,
        };
        out.flush()?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::shape::tests::stored;

    fn written(format: RecordFormat, records: &[&str], changes: bool) -> Result<String, ExportError> {
        let mut columns = Columns::default();
        records.iter().for_each(|json| columns.add(json));
        let mut writer = RecordWriter::new(format, Vec::new(), columns, changes)?;
        for json in records {
            let stored = stored(json);
            writer.add(ExportedRecord { change: changes.then(|| stored.change(7)), stored })?;
        }
        Ok(String::from_utf8(writer.finish()?).unwrap())
    }

    const TIMES: &str = "1970-01-01T00:00:00Z,1970-01-01T00:00:00Z,";

    #[test]
    fn a_table_has_the_members_that_the_lines_have() {
        let records = [r#"{"id":1,"t":"a,\"b\"\n","_key":null}"#, r#"{"id":2.10,"x":{"y":[1]}}"#, "7"];
        let csv = written(RecordFormat::Csv, &records, false).unwrap();
        let heading = "id,t,__key,x,_record,_key,_version,_first_seen_at,_changed_at,_deleted_at";
        let rows = [
            format!("1,\"a,\"\"b\"\"\n\",,,,\"k\"\"1\",7,{TIMES}"),
            format!("2.10,,,\"{{\"\"y\"\":[1]}}\",,\"k\"\"1\",7,{TIMES}"),
            format!(",,,,7,\"k\"\"1\",7,{TIMES}"),
        ];
        assert_eq!(csv, format!("{heading}\n{}\n", rows.join("\n")));
        let csv = written(RecordFormat::Csv, &["{}"], true).unwrap();
        let heading = "_change,_key,_version,_first_seen_at,_changed_at,_deleted_at";
        assert_eq!(csv, format!("{heading}\nchanged,\"k\"\"1\",7,{TIMES}\n"));
    }

    #[test]
    fn a_list_is_json_however_many_records_there_are() {
        for count in 0..3 {
            let list = written(RecordFormat::Json, &["{}"; 3][..count], false).unwrap();
            let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
            assert_eq!(list.len(), count);
        }
        assert_eq!(written(RecordFormat::Jsonl, &[], false).unwrap(), "");
    }

    #[test]
    fn a_member_that_was_not_there_before_is_noticed() {
        let mut formats = vec![RecordFormat::Csv];
        if cfg!(feature = "parquet") {
            formats.push(RecordFormat::Parquet);
        }
        for format in formats {
            let mut columns = Columns::default();
            columns.add(r#"{"id":1}"#);
            let mut writer = RecordWriter::new(format, Vec::new(), columns, false).unwrap();
            let added = writer.add(ExportedRecord { change: None, stored: stored(r#"{"id":1,"new":2}"#) });
            let ended = added.and_then(|()| writer.finish());
            assert!(matches!(ended, Err(ExportError::RecordChanged { name }) if name == "new"), "{format:?}");
        }
    }
}
