//! Records as an Apache Parquet file (<https://parquet.apache.org/docs/file-format/>).

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError as Source;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::columns::{ColumnType, Columns};
use super::shape::{self, CHANGE, CHANGED_AT, DELETED_AT, ExportedRecord, FIRST_SEEN_AT, KEY, RECORD, VERSION};
use super::time_text::TimeText;
use super::writer::ExportError;
use crate::clock::Timestamp;
use crate::json::{Json, JsonType};

/// Records' text in a row group, which is held in memory until it is written.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

impl From<Source> for ExportError {
    fn from(error: Source) -> Self {
        let source = match error {
            // As it came, so that a closed pipe and a full disk are recognised.
            Source::External(source) => match source.downcast::<io::Error>() {
                Ok(source) => *source,
                Err(source) => io::Error::other(source),
            },
            error => io::Error::other(error),
        };
        Self::Write { source }
    }
}

/// A Parquet file that is being written: a column for each member at the top of the records, integ's own, and `_record`, the
/// whole record.
pub(super) struct ParquetFile<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Columns,
    changes: bool,
    group: Vec<ExportedRecord>,
    bytes: usize,
}

impl<W: Write + Send> ParquetFile<W> {
    /// Begins a file of records that have all their members in `columns`.
    pub(super) fn new(out: W, mut columns: Columns, changes: bool) -> Result<Self, ExportError> {
        // Every record is in a column of this name.
        columns.0.shift_remove(RECORD);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            // No two are alike.
            .set_column_dictionary_enabled(RECORD.into(), false)
            .set_created_by(concat!("integ ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = SerializedFileWriter::new(out, Arc::new(schema(&columns, changes)?), Arc::new(properties))?;
        Ok(Self { writer, columns, changes, group: Vec::new(), bytes: 0 })
    }

    pub(super) fn add(&mut self, record: ExportedRecord) -> Result<(), ExportError> {
        self.bytes += record.stored.json.len();
        self.group.push(record);
        if self.bytes >= GROUP_BYTES { self.write_group() } else { Ok(()) }
    }

    /// Writes what is left, and the file's end.
    pub(super) fn finish(mut self) -> Result<W, ExportError> {
        self.write_group()?;
        Ok(self.writer.into_inner()?)
    }

    fn write_group(&mut self) -> Result<(), ExportError> {
        self.bytes = 0;
        let records = std::mem::take(&mut self.group);
        if records.is_empty() {
            return Ok(());
        }
        let parsed = records.iter().map(|record| self.members(record)).collect::<Result<Vec<_>, _>>()?;
        let mut group = self.writer.next_row_group()?;
        for (name, types) in &self.columns.0 {
            let cells = parsed.iter().map(|members| members.get(name.as_str()).copied());
            match types.column_type() {
                ColumnType::Text => {
                    put::<ByteArrayType, _>(&mut group, read(name, cells, |cell| Some(cell.string()?.as_ref().into()))?)
                }
                ColumnType::Json => {
                    put::<ByteArrayType, _>(&mut group, read(name, cells, |cell| Some(cell.as_str().into()))?)
                }
                ColumnType::Date => put::<Int32Type, _>(&mut group, read(name, cells, days)?),
                ColumnType::Time => put::<Int64Type, _>(&mut group, read(name, cells, micros)?),
                ColumnType::Integer => {
                    put::<Int64Type, _>(&mut group, read(name, cells, |cell| cell.as_str().parse().ok())?)
                }
                ColumnType::Number => {
                    put::<DoubleType, _>(&mut group, read(name, cells, |cell| cell.as_str().parse().ok())?)
                }
                ColumnType::Boolean => put::<BoolType, _>(&mut group, read(name, cells, truth)?),
            }?;
        }
        put_metadata(&mut group, &records, self.changes)?;
        group.close()?;
        Ok(())
    }

    /// The members of a record that is an object, by the names of their columns.
    fn members<'r>(&self, record: &'r ExportedRecord) -> Result<HashMap<Cow<'r, str>, Json<'r>>, ExportError> {
        let mut found = HashMap::new();
        for (name, value) in shape::members(&record.stored.json) {
            if name == RECORD {
                continue;
            }
            if !self.columns.0.contains_key(name.as_ref()) {
                return Err(ExportError::RecordChanged { name: name.into_owned() });
            }
            found.insert(name, value);
        }
        Ok(found)
    }
}

/// Writes the columns of integ's own, as [`schema`] declares them.
fn put_metadata<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    records: &[ExportedRecord],
    changes: bool,
) -> Result<(), Source> {
    let times = |time: fn(&ExportedRecord) -> Option<Timestamp>| {
        records.iter().map(|record| time(record).map(Timestamp::as_microsecond)).collect()
    };
    if changes {
        let words = records.iter().map(|record| record.change.map(|change| change.as_str().into()));
        put::<ByteArrayType, _>(group, words.collect())?;
    }
    put::<ByteArrayType, _>(group, records.iter().map(|record| Some(record.stored.key.as_str().into())).collect())?;
    put::<Int64Type, _>(group, records.iter().map(|record| i64::try_from(record.stored.version).ok()).collect())?;
    put::<Int64Type, _>(group, times(|record| Some(record.stored.first_seen_at)))?;
    put::<Int64Type, _>(group, times(|record| Some(record.stored.changed_at)))?;
    put::<Int64Type, _>(group, times(|record| record.stored.deleted_at))?;
    put::<ByteArrayType, _>(group, records.iter().map(|record| Some(record.stored.json.as_str().into())).collect())
}

fn schema(columns: &Columns, changes: bool) -> Result<Type, Source> {
    let field = |name: &str, physical, logical| {
        let field = Type::primitive_type_builder(name, physical).with_logical_type(logical);
        field.with_repetition(Repetition::OPTIONAL).build().map(Arc::new)
    };
    let text = || Some(LogicalType::String);
    let time = || Some(LogicalType::timestamp(true, TimeUnit::MICROS));
    let mut fields = Vec::new();
    for (name, types) in &columns.0 {
        let (physical, logical) = match types.column_type() {
            ColumnType::Text | ColumnType::Json => (Physical::BYTE_ARRAY, text()),
            ColumnType::Date => (Physical::INT32, Some(LogicalType::Date)),
            ColumnType::Time => (Physical::INT64, time()),
            ColumnType::Integer => (Physical::INT64, None),
            ColumnType::Number => (Physical::DOUBLE, None),
            ColumnType::Boolean => (Physical::BOOLEAN, None),
        };
        fields.push(field(name, physical, logical)?);
    }
    if changes {
        fields.push(field(CHANGE, Physical::BYTE_ARRAY, text())?);
    }
    fields.push(field(KEY, Physical::BYTE_ARRAY, text())?);
    fields.push(field(VERSION, Physical::INT64, None)?);
    for name in [FIRST_SEEN_AT, CHANGED_AT, DELETED_AT] {
        fields.push(field(name, Physical::INT64, time())?);
    }
    fields.push(field(RECORD, Physical::BYTE_ARRAY, text())?);
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
) -> Result<Vec<Option<T>>, ExportError> {
    let changed = || ExportError::RecordChanged { name: name.to_owned() };
    let cells = cells.map(|cell| cell.filter(|cell| !cell.is_null()));
    cells.map(|cell| cell.map(|cell| read(cell).ok_or_else(changed)).transpose()).collect()
}

fn truth(cell: Json<'_>) -> Option<bool> {
    (cell.kind() == JsonType::Bool).then(|| cell.as_str() == "true")
}

fn days(cell: Json<'_>) -> Option<i32> {
    match TimeText::read(cell.as_str())? {
        TimeText::Date(days) => Some(days),
        TimeText::Instant(_) | TimeText::Finer => None,
    }
}

fn micros(cell: Json<'_>) -> Option<i64> {
    match TimeText::read(cell.as_str())? {
        TimeText::Instant(micros) => Some(micros),
        TimeText::Date(_) | TimeText::Finer => None,
    }
}
