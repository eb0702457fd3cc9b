//! Records as an Apache Parquet file (<https://parquet.apache.org/docs/file-format/>).

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError as Source;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use thiserror::Error;

use super::columns::{ColumnType, Columns};
use crate::clock::Timestamp;
use crate::error::{Diagnostic, Hint, Kind as ErrorKind, Remedy};
use crate::json::{Json, JsonType};
use crate::model::StoredRecord;

/// Records' text in a row group, which is held in memory until it is written.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// Why records cannot be written as Parquet.
#[derive(Debug, Error)]
pub enum ParquetError {
    #[error("the file cannot be written")]
    Write { source: Source },
    #[error("{name:?} of a record changed while it was exported: the stream is being synced")]
    RecordChanged { name: String },
}

impl From<Source> for ParquetError {
    fn from(source: Source) -> Self {
        Self::Write { source }
    }
}

impl ParquetError {
    /// Whether nobody reads any more.
    pub fn is_broken_pipe(&self) -> bool {
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            if error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
            {
                return true;
            }
            source = error.source();
        }
        false
    }
}

impl Remedy for ParquetError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Write { .. } => Diagnostic::new(ErrorKind::Failed, "io"),
            Self::RecordChanged { .. } => Diagnostic::new(ErrorKind::Temporary, "records_changed")
                .hint(Hint::new("try again when no sync of it is running:", "integ job list")),
        }
    }
}

/// A file under way: a column for each of `_key`, `_version`, `_first_seen_at`, `_changed_at`, `_deleted_at`, for each member
/// at the records' top, and for `_record`, the whole of it as JSON.
pub struct ParquetFile<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Columns,
    group: Vec<StoredRecord>,
    bytes: usize,
}

impl<W: Write + Send> ParquetFile<W> {
    /// Begins a file of records whose members are all in `columns`.
    ///
    /// # Errors
    /// [`ParquetError::Write`].
    pub fn new(out: W, columns: Columns) -> Result<Self, ParquetError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            // No two are alike.
            .set_column_dictionary_enabled("_record".into(), false)
            .set_created_by(concat!("integ ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = SerializedFileWriter::new(out, Arc::new(schema(&columns)?), Arc::new(properties))?;
        Ok(Self { writer, columns, group: Vec::new(), bytes: 0 })
    }

    /// # Errors
    /// [`ParquetError`].
    pub fn add(&mut self, record: StoredRecord) -> Result<(), ParquetError> {
        self.bytes += record.json.len();
        self.group.push(record);
        if self.bytes >= GROUP_BYTES { self.write_group() } else { Ok(()) }
    }

    /// Writes what is left, and the file's end.
    ///
    /// # Errors
    /// [`ParquetError`].
    pub fn finish(mut self) -> Result<(), ParquetError> {
        self.write_group()?;
        self.writer.close()?;
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        self.bytes = 0;
        let records = std::mem::take(&mut self.group);
        if records.is_empty() {
            return Ok(());
        }
        let parsed: Vec<HashMap<Cow<'_, str>, Json<'_>>> =
            records.iter().map(|record| Json::from_validated(&record.json).members().collect()).collect();
        let mut group = self.writer.next_row_group()?;
        let of_all = |text: fn(&StoredRecord) -> &str| records.iter().map(|record| Some(text(record).into())).collect();
        let times = |time: fn(&StoredRecord) -> Option<Timestamp>| {
            records.iter().map(|record| time(record).map(Timestamp::as_millisecond)).collect()
        };
        put::<ByteArrayType, _>(&mut group, of_all(|record| &record.key))?;
        let versions = records.iter().map(|record| i64::try_from(record.version).ok()).collect();
        put::<Int64Type, _>(&mut group, versions)?;
        put::<Int64Type, _>(&mut group, times(|record| Some(record.first_seen_at)))?;
        put::<Int64Type, _>(&mut group, times(|record| Some(record.changed_at)))?;
        put::<Int64Type, _>(&mut group, times(|record| record.deleted_at))?;
        for (name, types) in &self.columns.0 {
            let cells = parsed.iter().map(|members| members.get(name.as_str()).copied());
            match types.column_type() {
                ColumnType::Text => {
                    put::<ByteArrayType, _>(&mut group, read(name, cells, |cell| Some(cell.string()?.as_ref().into()))?)
                }
                ColumnType::Json => {
                    put::<ByteArrayType, _>(&mut group, read(name, cells, |cell| Some(cell.as_str().into()))?)
                }
                ColumnType::Integer => {
                    put::<Int64Type, _>(&mut group, read(name, cells, |cell| cell.as_str().parse().ok())?)
                }
                ColumnType::Number => {
                    put::<DoubleType, _>(&mut group, read(name, cells, |cell| cell.as_str().parse().ok())?)
                }
                ColumnType::Boolean => put::<BoolType, _>(&mut group, read(name, cells, truth)?),
            }?;
        }
        put::<ByteArrayType, _>(&mut group, of_all(|record| &record.json))?;
        group.close()?;
        Ok(())
    }
}

fn schema(columns: &Columns) -> Result<Type, Source> {
    let field = |name: &str, physical, logical, repetition| {
        let field = Type::primitive_type_builder(name, physical).with_logical_type(logical).with_repetition(repetition);
        field.build().map(Arc::new)
    };
    let text = Some(LogicalType::String);
    let time = Some(LogicalType::timestamp(true, TimeUnit::MILLIS));
    let mut fields = vec![
        field("_key", Physical::BYTE_ARRAY, text.clone(), Repetition::OPTIONAL)?,
        field("_version", Physical::INT64, None, Repetition::OPTIONAL)?,
        field("_first_seen_at", Physical::INT64, time.clone(), Repetition::OPTIONAL)?,
        field("_changed_at", Physical::INT64, time.clone(), Repetition::OPTIONAL)?,
        field("_deleted_at", Physical::INT64, time, Repetition::OPTIONAL)?,
    ];
    for (name, types) in &columns.0 {
        let (physical, logical) = match types.column_type() {
            ColumnType::Text | ColumnType::Json => (Physical::BYTE_ARRAY, text.clone()),
            ColumnType::Integer => (Physical::INT64, None),
            ColumnType::Number => (Physical::DOUBLE, None),
            ColumnType::Boolean => (Physical::BOOLEAN, None),
        };
        fields.push(field(name, physical, logical, Repetition::OPTIONAL)?);
    }
    fields.push(field("_record", Physical::BYTE_ARRAY, text, Repetition::OPTIONAL)?);
    Type::group_type_builder("record").with_fields(fields).build()
}

/// Writes a column: a cell for each record, some of them empty.
fn put<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    cells: Vec<Option<T::T>>,
) -> Result<(), Source> {
    let levels: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
    let values: Vec<T::T> = cells.into_iter().flatten().collect();
    let Some(mut column) = group.next_column()? else { return Ok(()) };
    column.typed::<T>().write_batch(&values, Some(&levels), None)?;
    column.close()
}

/// The cells of a column as values of its type. Null is an empty one.
fn read<'r, T>(
    name: &str,
    cells: impl Iterator<Item = Option<Json<'r>>>,
    read: impl Fn(Json<'r>) -> Option<T>,
) -> Result<Vec<Option<T>>, ParquetError> {
    let changed = || ParquetError::RecordChanged { name: name.to_owned() };
    let cells = cells.map(|cell| cell.filter(|cell| !cell.is_null()));
    cells.map(|cell| cell.map(|cell| read(cell).ok_or_else(changed)).transpose()).collect()
}

fn truth(cell: Json<'_>) -> Option<bool> {
    (cell.kind() == JsonType::Bool).then(|| cell.as_str() == "true")
}
