//! Streams, their partitions and cursors.

use rusqlite::{OptionalExtension, Row};

use super::row::{collect, get_json, get_optional_seconds, get_seconds, timestamp, to_json};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::model::connection::ConnectionId;
use crate::model::record::RecordId;
use crate::model::stream::{FormerCursor, Partition, PartitionId, StoredStream, StreamId, StreamParams};

/// Former cursors that are stored for each partition.
const MAX_CURSOR_HISTORY: u32 = 20;

/// The streams of a store.
#[derive(Clone, Copy, Debug)]
pub struct Streams<'a>(pub(super) &'a Store);

impl Streams<'_> {
    /// The stream of this name, created if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ensure(&self, connection: ConnectionId, name: &str) -> Result<StoredStream, StoreError> {
        if let Some(stream) = self.find(connection, name)? {
            return Ok(stream);
        }
        self.0.write(|transaction| {
            let sql = "INSERT INTO streams (connection_id, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            transaction.execute(sql, (connection.0, name))?;
            Ok(())
        })?;
        self.find(connection, name)?
            .ok_or_else(|| StoreError::IntegrityCheck(format!("the stream {name} was not stored")))
    }

    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, connection: ConnectionId, name: &str) -> Result<Option<StoredStream>, StoreError> {
        Ok(self.list(connection)?.into_iter().find(|stream| stream.name == name))
    }

    /// # Errors
    /// [`StoreError`].
    pub fn list(&self, connection: ConnectionId) -> Result<Vec<StoredStream>, StoreError> {
        self.0.read(|sqlite| {
            let mut statement =
                sqlite.prepare_cached("SELECT id, name, params FROM streams WHERE connection_id = ?1 ORDER BY name")?;
            collect(statement.query([connection.0])?, from_row)
        })
    }

    /// # Errors
    /// [`StoreError`].
    pub fn set_params(&self, stream: StreamId, params: &StreamParams) -> Result<(), StoreError> {
        let params = to_json(params)?;
        self.0.write(|transaction| {
            transaction.execute("UPDATE streams SET params = ?2 WHERE id = ?1", (stream.0, params))?;
            Ok(())
        })
    }

    /// The partition with these parameters, created if there is none; `parent` is the record that gives them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ensure_partition(
        &self,
        stream: StreamId,
        params: &StreamParams,
        parent: Option<RecordId>,
    ) -> Result<Partition, StoreError> {
        let json = to_json(params)?;
        let find = || {
            self.0.read(|sqlite| {
                let sql = "SELECT id, params, parent_version, cursor, checkpoint, backfill_checkpoint, synced_at, \
                           parent_record_id FROM partitions WHERE stream_id = ?1 AND params = ?2";
                let mut statement = sqlite.prepare_cached(sql)?;
                let mut rows = statement.query((stream.0, &json))?;
                let Some(row) = rows.next()? else { return Ok(None) };
                let known_parent: Option<i64> = row.get("parent_record_id")?;
                Ok(Some((partition_from_row(row)?, known_parent == parent.map(|parent| parent.0))))
            })
        };
        if let Some((partition, true)) = find()? {
            return Ok(partition);
        }
        self.0.write(|transaction| {
            let sql = "INSERT INTO partitions (stream_id, params, parent_record_id) VALUES (?1, ?2, ?3) \
                       ON CONFLICT DO UPDATE SET parent_record_id = excluded.parent_record_id";
            transaction.execute(sql, (stream.0, &json, parent.map(|parent| parent.0)))?;
            Ok(())
        })?;
        let found = find()?.map(|(partition, _)| partition);
        found.ok_or_else(|| StoreError::IntegrityCheck("a partition of a stream was not stored".to_owned()))
    }

    /// # Errors
    /// [`StoreError`].
    pub fn partitions(&self, stream: StreamId) -> Result<Vec<Partition>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT id, params, parent_version, cursor, checkpoint, backfill_checkpoint, synced_at \
                       FROM partitions WHERE stream_id = ?1 ORDER BY id";
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(statement.query([stream.0])?, partition_from_row)
        })
    }

    /// Sets a partition's cursor; an unfinished list starts over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_cursor(&self, partition: PartitionId, cursor: Option<&str>, now: Timestamp) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            push_history(transaction, partition, now)?;
            let sql = "UPDATE partitions SET cursor = ?2, checkpoint = NULL, parent_version = NULL WHERE id = ?1";
            transaction.execute(sql, (partition.0, cursor))?;
            transaction.execute("DELETE FROM seen_ids WHERE partition_id = ?1", [partition.0])?;
            Ok(())
        })
    }

    /// The newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn cursor_history(&self, partition: PartitionId) -> Result<Vec<FormerCursor>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT cursor, replaced_at FROM cursor_history WHERE partition_id = ?1 ORDER BY id DESC";
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(statement.query([partition.0])?, |row| {
                Ok(FormerCursor { cursor: row.get("cursor")?, replaced_at: get_seconds(row, "replaced_at")? })
            })
        })
    }

    /// The last time at which a stream of the connection was synced to the end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn last_synced(&self, connection: ConnectionId) -> Result<Option<Timestamp>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT max(p.synced_at) FROM partitions p JOIN streams s ON s.id = p.stream_id \
                       WHERE s.connection_id = ?1";
            let newest: Option<i64> =
                sqlite.prepare_cached(sql)?.query_row([connection.0], |row| row.get(0)).optional()?.flatten();
            Ok(newest.map(timestamp).transpose()?)
        })
    }
}

/// Adds the current cursor to the history.
pub(super) fn push_history(
    transaction: &rusqlite::Transaction<'_>,
    partition: PartitionId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO cursor_history (partition_id, cursor, replaced_at) \
               SELECT id, cursor, ?2 FROM partitions WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute((partition.0, now.as_second()))?;
    let sql = "DELETE FROM cursor_history WHERE partition_id = ?1 AND id NOT IN \
               (SELECT id FROM cursor_history WHERE partition_id = ?1 ORDER BY id DESC LIMIT ?2)";
    transaction.prepare_cached(sql)?.execute((partition.0, MAX_CURSOR_HISTORY))?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> Result<StoredStream, StoreError> {
    Ok(StoredStream { id: StreamId(row.get("id")?), name: row.get("name")?, params: get_json(row, "params")? })
}

fn partition_from_row(row: &Row<'_>) -> Result<Partition, StoreError> {
    Ok(Partition {
        id: PartitionId(row.get("id")?),
        params: get_json(row, "params")?,
        parent_version: row.get("parent_version")?,
        cursor: row.get("cursor")?,
        checkpoint: row.get("checkpoint")?,
        backfill_checkpoint: row.get("backfill_checkpoint")?,
        synced_at: get_optional_seconds(row, "synced_at")?,
    })
}
