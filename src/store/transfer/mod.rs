//! Carries a whole workspace from one store to another: `vault move`, and backups of a workspace in PostgreSQL.
//!
//! A store gives the rows of a table as plain values, in the order of their keys and some at a time, and takes them, each time in
//! one commit. What a store derives from them it makes itself. Ids stay the same.
//!
//! A copy that was cut off goes on after the last row of each table that the target has: the rows before it were committed. Both
//! stores give the same digest for equal rows. Once all is written, the target is read again, and a table whose digest is not
//! that of the source fails the copy. That also notices a source that was changed between two attempts.

mod tables;

use std::mem;

use zeroize::Zeroize;

pub use self::tables::TRANSFER_TABLES;
pub(in crate::store) use self::tables::*;
use super::postgres::{PostgresReader, PostgresStore};
use super::sqlite::{SqliteReader, SqliteStore};
use super::{MalformedValue, StoreError};
use crate::hash::Sha256;

/// Rows that are read and written at a time, unless they have more than [`CHUNK_BYTES`].
pub(in crate::store) const CHUNK_ROWS: u32 = 1000;

/// Bytes after which no further row is read with others. A row may have more: the body of an event.
pub(in crate::store) const CHUNK_BYTES: u32 = 4 << 20;

/// What a column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferType {
    Integer,
    /// 0 or 1.
    Flag,
    Text,
    Bytes,
}

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferColumn {
    pub name: &'static str,
    pub kind: TransferType,
    pub is_optional: bool,
}

/// A table of a workspace. Its first columns are its key; a table without a key has one row.
#[derive(Debug, PartialEq, Eq)]
pub struct TransferTable {
    pub name: &'static str,
    pub key_length: usize,
    pub columns: &'static [TransferColumn],
}

impl TransferTable {
    /// Returns the names of the columns of the key.
    pub(in crate::store) fn key(&self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().take(self.key_length).map(|column| column.name)
    }

    /// Whether its rows are those of another table, whose references it adds.
    pub(in crate::store) fn is_added_later(&self) -> bool {
        *self == PARTITION_PARENTS || *self == API_TOKEN_PARENTS
    }

    /// Returns the place of a column.
    ///
    /// # Errors
    /// There is none of this name.
    pub(in crate::store) fn position(&self, column: &str) -> Result<usize, StoreError> {
        let position = self.columns.iter().position(|found| found.name == column);
        Ok(position.ok_or_else(|| MalformedValue::EnumValue(format!("{}.{column}", self.name)))?)
    }
}

/// A value of a row. Texts and bytes are in the order of their bytes, as both stores sort keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransferValue {
    #[default]
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl TransferValue {
    fn size(&self) -> usize {
        match self {
            Self::Null => 1,
            Self::Integer(_) => 9,
            Self::Text(text) => 9 + text.len(),
            Self::Bytes(bytes) => 9 + bytes.len(),
        }
    }

    /// Whether a column may have it.
    fn fits(&self, column: &TransferColumn) -> bool {
        match (self, column.kind) {
            (Self::Null, _) => column.is_optional,
            (Self::Integer(number), TransferType::Flag) => (0..=1).contains(number),
            (Self::Integer(_), TransferType::Integer)
            | (Self::Text(_), TransferType::Text)
            | (Self::Bytes(_), TransferType::Bytes) => true,
            _ => false,
        }
    }

    /// Adds the value to a digest: its type, its length, and its bytes.
    fn digest(&self, digest: &mut Sha256) {
        match self {
            Self::Null => digest.update(&[0]),
            Self::Integer(number) => {
                digest.update(&[1]);
                digest.update(&number.to_be_bytes());
            }
            Self::Text(text) => {
                digest.update(&[2]);
                digest.update(&(text.len() as u64).to_be_bytes());
                digest.update(text.as_bytes());
            }
            Self::Bytes(bytes) => {
                digest.update(&[3]);
                digest.update(&(bytes.len() as u64).to_be_bytes());
                digest.update(bytes);
            }
        }
    }
}

impl Zeroize for TransferValue {
    fn zeroize(&mut self) {
        match mem::take(self) {
            Self::Text(mut text) => text.zeroize(),
            Self::Bytes(mut bytes) => bytes.zeroize(),
            Self::Null | Self::Integer(_) => {}
        }
    }
}

/// A row: a value for each column of its table. It may have secrets, and its memory is wiped.
#[derive(Debug, PartialEq, Eq)]
pub struct TransferRow(Vec<TransferValue>);

impl Drop for TransferRow {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

impl TransferRow {
    /// Takes the values of a row of a table.
    ///
    /// # Errors
    /// [`StoreError::IntegrityCheck`] for a value that the column cannot have.
    pub fn new(table: &TransferTable, values: Vec<TransferValue>) -> Result<Self, StoreError> {
        let row = Self(values);
        let misfit = table.columns.iter().zip(&row.0).find(|(column, value)| !value.fits(column));
        match misfit {
            None if row.0.len() == table.columns.len() => Ok(row),
            misfit => {
                let column = misfit.map_or("", |(column, _)| column.name);
                Err(StoreError::IntegrityCheck(format!("a value of {}.{column} does not fit", table.name)))
            }
        }
    }

    /// Returns the values, in the order of the table's columns.
    pub fn values(&self) -> &[TransferValue] {
        &self.0
    }

    /// Returns the key.
    pub fn key(&self, table: &TransferTable) -> TransferKey {
        TransferKey(self.0.iter().take(table.key_length).cloned().collect())
    }

    /// Returns the value of a column, and leaves NULL in its place.
    pub(in crate::store) fn take(&mut self, table: &TransferTable, column: &str) -> Result<TransferValue, StoreError> {
        let position = table.position(column)?;
        Ok(self.0.get_mut(position).map(mem::take).unwrap_or_default())
    }

    /// Returns the value of a column.
    pub(in crate::store) fn get(&self, table: &TransferTable, column: &str) -> Result<&TransferValue, StoreError> {
        let position = table.position(column)?;
        Ok(self.0.get(position).unwrap_or(&TransferValue::Null))
    }

    /// Returns the number of bytes that it takes, roughly.
    pub(in crate::store) fn size(&self) -> usize {
        self.0.iter().map(TransferValue::size).sum()
    }
}

/// The key of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransferKey(pub(in crate::store) Vec<TransferValue>);

/// How many rows a table has, and the digest of all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSummary {
    pub table: &'static str,
    pub rows: u64,
    /// SHA-256 of the rows in the order of their keys.
    pub digest: [u8; 32],
}

/// Adds up a [`TableSummary`].
struct SummaryBuilder {
    table: &'static TransferTable,
    rows: u64,
    digest: Sha256,
}

impl SummaryBuilder {
    fn new(table: &'static TransferTable) -> Self {
        let mut digest = Sha256::new();
        TransferValue::Text(table.name.to_owned()).digest(&mut digest);
        Self { table, rows: 0, digest }
    }

    fn add(&mut self, rows: &[TransferRow]) {
        self.rows += rows.len() as u64;
        rows.iter().flat_map(TransferRow::values).for_each(|value| value.digest(&mut self.digest));
    }

    fn finish(self) -> TableSummary {
        TableSummary { table: self.table.name, rows: self.rows, digest: self.digest.finish() }
    }
}

/// The numbers of a workspace that only grow, so that none is given out twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct WorkspaceCounters {
    /// The store's version.
    pub(in crate::store) version: u64,
    /// The last id that was given out, by the names of tables.
    pub(in crate::store) ids: Vec<(&'static str, i64)>,
}

/// The tables whose ids are counted.
pub(in crate::store) const COUNTED_TABLES: &[&str] = &[
    "attempts",
    "binding_failures",
    "bindings",
    "connections",
    "consents",
    "cursor_history",
    "deliveries",
    "entity_writes",
    "event_conflicts",
    "events",
    "health_checks",
    "jobs",
    "links",
    "partitions",
    "records",
    "schedules",
    "seen_ids",
    "streams",
    "subscriptions",
];

/// A workspace as it is at one moment, from which rows are read.
#[derive(Debug)]
pub enum WorkspaceReader {
    Sqlite(SqliteReader),
    Postgres(PostgresReader),
}

impl WorkspaceReader {
    /// Reads the rows of a table after a key, or from the first one on; none once there are no more.
    ///
    /// # Errors
    /// [`StoreError::IntegrityCheck`] for a value that the column cannot have.
    pub async fn read(
        &mut self,
        table: &'static TransferTable,
        after: Option<&TransferKey>,
    ) -> Result<Vec<TransferRow>, StoreError> {
        // Its one row was read.
        if table.key_length == 0 && after.is_some() {
            return Ok(Vec::new());
        }
        match self {
            Self::Sqlite(reader) => reader.read_rows(table, after).await,
            Self::Postgres(reader) => reader.read_rows(table, after).await,
        }
    }

    /// Returns the number of rows of each table with their digests.
    pub async fn summaries(&mut self) -> Result<Vec<TableSummary>, StoreError> {
        let mut summaries = Vec::with_capacity(TRANSFER_TABLES.len());
        for table in TRANSFER_TABLES {
            summaries.push(self.summary(table).await?);
        }
        Ok(summaries)
    }

    async fn summary(&mut self, table: &'static TransferTable) -> Result<TableSummary, StoreError> {
        let mut summary = SummaryBuilder::new(table);
        let mut after = None;
        loop {
            let rows = self.read(table, after.as_ref()).await?;
            let Some(last) = rows.last() else { return Ok(summary.finish()) };
            after = Some(last.key(table));
            summary.add(&rows);
        }
    }

    async fn counters(&mut self) -> Result<WorkspaceCounters, StoreError> {
        match self {
            Self::Sqlite(reader) => reader.counters().await,
            Self::Postgres(reader) => reader.counters().await,
        }
    }
}

/// A store that rows are read from, or a new one that they are written to, which nobody else uses until all of them are there.
#[derive(Clone, Copy, Debug)]
pub enum TransferStore<'a> {
    Sqlite(&'a SqliteStore),
    Postgres(&'a PostgresStore),
}

impl TransferStore<'_> {
    /// Writes rows of a table in one commit. They come after all rows that the table has.
    pub async fn write(&self, table: &'static TransferTable, rows: Vec<TransferRow>) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.write_rows(table, rows).await,
            Self::Postgres(store) => store.write_rows(table, rows).await,
        }
    }

    /// Returns the key of the last row of a table that was written, after which a copy that was cut off goes on. References
    /// that are added later are added again.
    pub async fn last_key(&self, table: &'static TransferTable) -> Result<Option<TransferKey>, StoreError> {
        if table.key_length == 0 || table.is_added_later() {
            return Ok(None);
        }
        match self {
            Self::Sqlite(store) => store.last_key(table).await,
            Self::Postgres(store) => store.last_key(table).await,
        }
    }

    /// Returns what it has by now, whatever is written meanwhile.
    pub async fn reader(&self) -> Result<WorkspaceReader, StoreError> {
        Ok(match self {
            Self::Sqlite(store) => WorkspaceReader::Sqlite(store.reader().await?),
            Self::Postgres(store) => WorkspaceReader::Postgres(store.reader().await?),
        })
    }

    async fn raise_counters(&self, counters: &WorkspaceCounters) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.raise_counters(counters).await,
            Self::Postgres(store) => store.raise_counters(counters).await,
        }
    }
}

/// How far a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferProgress {
    /// So many rows of a table were read from the source, and are in the target.
    Copied { table: &'static str, rows: u64 },
    /// A table of the target was read again, and is equal.
    Verified { table: &'static str, rows: u64 },
}

/// Copies all rows of a workspace into a new store, or the rest of them into one that has a part of them, and compares both.
///
/// # Errors
/// [`StoreError::TransferDiffers`] if the target then has other rows than the source: it was not new, or the source was changed
/// since the copy was begun. The target is to be deleted.
pub async fn copy_workspace(
    source: &mut WorkspaceReader,
    target: TransferStore<'_>,
    mut progress: impl FnMut(TransferProgress) + Send,
) -> Result<Vec<TableSummary>, StoreError> {
    let mut summaries = Vec::with_capacity(TRANSFER_TABLES.len());
    for table in TRANSFER_TABLES {
        summaries.push(copy_table(source, target, table, &mut progress).await?);
    }
    target.raise_counters(&source.counters().await?).await?;
    let mut copy = target.reader().await?;
    for (table, expected) in TRANSFER_TABLES.iter().zip(&summaries) {
        let found = copy.summary(table).await?;
        if found != *expected {
            return Err(StoreError::TransferDiffers { table: table.name, expected: expected.rows, found: found.rows });
        }
        progress(TransferProgress::Verified { table: table.name, rows: found.rows });
    }
    Ok(summaries)
}

async fn copy_table(
    source: &mut WorkspaceReader,
    target: TransferStore<'_>,
    table: &'static TransferTable,
    progress: &mut (impl FnMut(TransferProgress) + Send),
) -> Result<TableSummary, StoreError> {
    let written = target.last_key(table).await?;
    let mut summary = SummaryBuilder::new(table);
    let mut rows = source.read(table, None).await?;
    while let Some(last) = rows.last() {
        let last = last.key(table);
        summary.add(&rows);
        // Those that an earlier attempt has written are only part of the digest.
        let is_new = |row: &TransferRow| written.as_ref().is_none_or(|written| row.key(table) > *written);
        let new: Vec<TransferRow> = rows.into_iter().filter(is_new).collect();
        let write = async move { if new.is_empty() { Ok(()) } else { target.write(table, new).await } };
        let (wrote, next) = tokio::join!(write, source.read(table, Some(&last)));
        wrote?;
        rows = next?;
        progress(TransferProgress::Copied { table: table.name, rows: summary.rows });
    }
    Ok(summary.finish())
}
