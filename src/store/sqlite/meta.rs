//! The single row of facts about the store.

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::row::{Row, first, get_optional_seconds, get_seconds, query, timestamp};
use super::{SqliteStore, StoreError, audit};
use crate::clock::{self, Timestamp};
use crate::hex;
use crate::store::{StoreBackend, StoreDetails, sqlite_version};

/// What the store says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Committed writes.
    pub sequence: u64,
    pub created_at: Timestamp,
    /// When it was made from a backup; its grants may have been used up since.
    pub restored_at: Option<Timestamp>,
}

impl SqliteStore {
    /// Returns what the store says of itself. Blocks.
    pub fn meta(&self) -> Result<Meta, StoreError> {
        self.read_blocking(|connection| {
            let mut statement = connection.prepare("SELECT sequence, created_at, restored_at FROM meta")?;
            first(query(&mut statement, [])?, from_row)?.ok_or_else(|| rusqlite::Error::QueryReturnedNoRows.into())
        })
    }

    /// Returns the backend of the store. Blocks.
    pub fn details(&self) -> Result<StoreDetails, StoreError> {
        let Meta { created_at, restored_at, .. } = self.meta()?;
        Ok(StoreDetails {
            backend: StoreBackend::Sqlite,
            version: sqlite_version().to_owned(),
            url: None,
            created_at,
            restored_at,
            read_only: self.is_read_only(),
        })
    }

    /// Returns the latest time at which anything about a connection was recorded. Blocks.
    pub fn last_activity(&self) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT max(at) FROM (
                       SELECT created_at AS at FROM meta UNION ALL SELECT connected_at FROM connections
                       UNION ALL SELECT checked_at FROM connections UNION ALL SELECT issued_at FROM grants
                       UNION ALL SELECT refresh_started_at FROM grants)";
        let newest: Option<i64> =
            self.read_blocking(|connection| Ok(connection.query_row(sql, [], |row| row.get(0))?))?;
        Ok(newest.map(timestamp).transpose()?)
    }
}

fn from_row(row: &Row<'_>) -> Result<Meta, StoreError> {
    Ok(Meta {
        sequence: row.get("sequence")?,
        created_at: get_seconds(row, "created_at")?,
        restored_at: get_optional_seconds(row, "restored_at")?,
    })
}

/// A name that no other store has.
pub(super) fn new_vault_id() -> String {
    hex::encode(&clock::random::<8>())
}

pub(super) fn insert(connection: &Connection, now: Timestamp) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO meta (only_row, vault_id, created_at) VALUES (1, ?1, ?2)",
        (new_vault_id(), now.as_second()),
    )?;
    audit::create(connection)
}

/// The sequence number and the vault's id; absent where the row is, which no store of ours lacks.
pub(super) fn identify(connection: &Connection) -> Result<(u64, String), StoreError> {
    connection
        .query_row("SELECT sequence, vault_id FROM meta", [], |row| Ok((row.get("sequence")?, row.get("vault_id")?)))
        .optional()?
        .ok_or_else(|| StoreError::IntegrityCheck("its table `meta` is empty".to_owned()))
}

pub(super) fn raise_sequence(transaction: &Transaction<'_>) -> Result<u64, StoreError> {
    let mut statement = transaction.prepare_cached("UPDATE meta SET sequence = sequence + 1 RETURNING sequence")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}
