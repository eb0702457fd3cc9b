//! What is synced of a connection, and how far each list of it has come.

use rusqlite::{OptionalExtension, Row};

use super::row::{from_json, timestamp, to_json};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::model::connection::ConnectionId;
use crate::model::record::RecordId;
use crate::model::stream::{FormerCursor, Partition, PartitionId, StoredStream, StreamId, StreamParams};

/// Former cursors that are kept of each part.
const MAX_CURSOR_HISTORY: u32 = 20;

/// The streams of a store.
#[derive(Clone, Copy, Debug)]
pub struct Streams<'a>(pub(super) &'a Store);

impl Streams<'_> {
    /// The stream of this name, made where there is none.
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
            .ok_or_else(|| StoreError::IntegrityCheck(format!("the stream {name} was not kept")))
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
            let mut rows = statement.query([connection.0])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let params = from_json(&row.get::<_, String>(2)?)?;
                found.push(StoredStream { id: StreamId(row.get(0)?), name: row.get(1)?, params });
            }
            Ok(found)
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

    /// The part with these values, made where there is none; `parent` is the record that gives them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ensure_partition(
        &self,
        stream: StreamId,
        given: &StreamParams,
        parent: Option<RecordId>,
    ) -> Result<Partition, StoreError> {
        let json = to_json(given)?;
        let find = || {
            self.0.read(|sqlite| {
                let sql = "SELECT id, params, parent_version, cursor, checkpoint, backfill_checkpoint, synced_at, parent_record_id FROM partitions \
                           WHERE stream_id = ?1 AND params = ?2";
                let mut statement = sqlite.prepare_cached(sql)?;
                let mut rows = statement.query((stream.0, &json))?;
                let Some(row) = rows.next()? else { return Ok(None) };
                let known: Option<i64> = row.get(7)?;
                Ok(Some((part(row)?, known == parent.map(|parent| parent.0))))
            })
        };
        if let Some((part, true)) = find()? {
            return Ok(part);
        }
        self.0.write(|transaction| {
            let sql = "INSERT INTO partitions (stream_id, params, parent_record_id) VALUES (?1, ?2, ?3) \
                       ON CONFLICT DO UPDATE SET parent_record_id = excluded.parent_record_id";
            transaction.execute(sql, (stream.0, &json, parent.map(|parent| parent.0)))?;
            Ok(())
        })?;
        let found = find()?.map(|(part, _)| part);
        found.ok_or_else(|| StoreError::IntegrityCheck("a part of a stream was not kept".to_owned()))
    }

    /// # Errors
    /// [`StoreError`].
    pub fn partitions(&self, stream: StreamId) -> Result<Vec<Partition>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT id, params, parent_version, cursor, checkpoint, backfill_checkpoint, synced_at FROM partitions \
                       WHERE stream_id = ?1 ORDER BY id";
            let mut statement = sqlite.prepare_cached(sql)?;
            let mut rows = statement.query([stream.0])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(part(row)?);
            }
            Ok(found)
        })
    }

    /// Puts a part's cursor elsewhere, and forgets how far a list had come.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_cursor(&self, part: PartitionId, cursor: Option<&str>, now: Timestamp) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            keep_history(transaction, part, now)?;
            let sql = "UPDATE partitions SET cursor = ?2, checkpoint = NULL, parent_version = NULL WHERE id = ?1";
            transaction.execute(sql, (part.0, cursor))?;
            transaction.execute("DELETE FROM seen_ids WHERE partition_id = ?1", [part.0])?;
            Ok(())
        })
    }

    /// The newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn cursor_history(&self, part: PartitionId) -> Result<Vec<FormerCursor>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT cursor, replaced_at FROM cursor_history WHERE partition_id = ?1 ORDER BY id DESC";
            let mut statement = sqlite.prepare_cached(sql)?;
            let mut rows = statement.query([part.0])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(FormerCursor { cursor: row.get(0)?, replaced_at: timestamp(row.get(1)?)? });
            }
            Ok(found)
        })
    }

    /// When all of a connection's streams were last synced to the end: the newest such time.
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

/// Notes the present cursor among the former ones.
pub(super) fn keep_history(
    transaction: &rusqlite::Transaction<'_>,
    part: PartitionId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO cursor_history (partition_id, cursor, replaced_at) SELECT id, cursor, ?2 FROM partitions WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute((part.0, now.as_second()))?;
    let sql = "DELETE FROM cursor_history WHERE partition_id = ?1 AND id NOT IN \
               (SELECT id FROM cursor_history WHERE partition_id = ?1 ORDER BY id DESC LIMIT ?2)";
    transaction.prepare_cached(sql)?.execute((part.0, MAX_CURSOR_HISTORY))?;
    Ok(())
}

fn part(row: &Row<'_>) -> Result<Partition, StoreError> {
    Ok(Partition {
        id: PartitionId(row.get(0)?),
        params: from_json(&row.get::<_, String>(1)?)?,
        parent_version: row.get(2)?,
        cursor: row.get(3)?,
        checkpoint: row.get(4)?,
        backfill_checkpoint: row.get(5)?,
        synced_at: row.get::<_, Option<i64>>(6)?.map(timestamp).transpose()?,
    })
}
