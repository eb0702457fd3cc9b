//! The streams of connections, and the position of each of their lists.

use std::collections::HashMap;

use async_trait::async_trait;
use rusqlite::{Connection, Transaction};

use super::row::{Row, collect, first, get_json, get_optional_seconds, get_seconds, query, to_json};
use super::{SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::{
    ConnectionId, FormerCursor, Partition, PartitionId, RecordId, StoredStream, StreamId, StreamParams,
};
use crate::store::Streams;

/// Former cursors that are kept of each partition.
const MAX_CURSOR_HISTORY: u32 = 20;

macro_rules! select_partitions {
    ($rest:literal) => {
        concat!(
            "SELECT id, params, parent_version, cursor, checkpoint, backfill_checkpoint, synced_at, parent_record_id \
             FROM partitions ",
            $rest
        )
    };
}

#[async_trait]
impl Streams for SqliteStore {
    async fn ensure(&self, connection: ConnectionId, name: &str) -> Result<StoredStream, StoreError> {
        // Nearly always there is one, and a read waits for no commit.
        if let Some(stream) = Streams::find(self, connection, name).await? {
            return Ok(stream);
        }
        let name = name.to_owned();
        self.write(move |transaction| {
            let sql = "INSERT INTO streams (connection_id, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            transaction.execute(sql, (connection.0, &name))?;
            find(transaction, connection, &name)?
                .ok_or_else(|| StoreError::IntegrityCheck(format!("the stream {name} was not stored")))
        })
        .await
    }

    async fn find(&self, connection: ConnectionId, name: &str) -> Result<Option<StoredStream>, StoreError> {
        let name = name.to_owned();
        self.read(move |sqlite| find(sqlite, connection, &name)).await
    }

    async fn list(&self, connection: ConnectionId) -> Result<Vec<StoredStream>, StoreError> {
        self.read(move |sqlite| list(sqlite, connection)).await
    }

    async fn list_of_each(&self, connections: &[ConnectionId]) -> Result<Vec<Vec<StoredStream>>, StoreError> {
        let connections = connections.to_vec();
        self.read(move |sqlite| connections.into_iter().map(|connection| list(sqlite, connection)).collect()).await
    }

    async fn set_params(&self, stream: StreamId, params: &StreamParams) -> Result<(), StoreError> {
        let params = to_json(params)?;
        self.write(move |transaction| {
            transaction.execute("UPDATE streams SET params = ?2 WHERE id = ?1", (stream.0, &params))?;
            Ok(())
        })
        .await
    }

    async fn ensure_partition(
        &self,
        stream: StreamId,
        params: &StreamParams,
        parent: Option<RecordId>,
    ) -> Result<Partition, StoreError> {
        let json = to_json(params)?;
        let wanted = json.clone();
        let found = self.read(move |sqlite| find_partition(sqlite, stream, &wanted)).await?;
        if let Some((partition, known_parent)) = found
            && known_parent == parent
        {
            return Ok(partition);
        }
        self.write(move |transaction| {
            let sql = "INSERT INTO partitions (stream_id, params, parent_record_id) VALUES (?1, ?2, ?3) \
                       ON CONFLICT DO UPDATE SET parent_record_id = excluded.parent_record_id";
            transaction.execute(sql, (stream.0, &json, parent.map(|parent| parent.0)))?;
            let stored = find_partition(transaction, stream, &json)?.map(|(partition, _)| partition);
            stored.ok_or_else(|| StoreError::IntegrityCheck("a partition of a stream was not stored".to_owned()))
        })
        .await
    }

    async fn partitions(&self, stream: StreamId) -> Result<Vec<Partition>, StoreError> {
        self.read(move |sqlite| {
            let mut statement = sqlite.prepare_cached(select_partitions!("WHERE stream_id = ?1 ORDER BY id"))?;
            collect(query(&mut statement, [stream.0])?, partition_from_row)
        })
        .await
    }

    async fn set_cursor(&self, partition: PartitionId, cursor: Option<&str>, now: Timestamp) -> Result<(), StoreError> {
        let cursor = cursor.map(str::to_owned);
        self.write(move |transaction| {
            keep_history(transaction, partition, now)?;
            let sql = "UPDATE partitions SET cursor = ?2, checkpoint = NULL, parent_version = NULL WHERE id = ?1";
            transaction.execute(sql, (partition.0, &cursor))?;
            transaction.execute("DELETE FROM seen_ids WHERE partition_id = ?1", [partition.0])?;
            Ok(())
        })
        .await
    }

    async fn cursor_history(&self, partition: PartitionId) -> Result<Vec<FormerCursor>, StoreError> {
        self.read(move |sqlite| {
            let sql = "SELECT cursor, replaced_at FROM cursor_history WHERE partition_id = ?1 ORDER BY id DESC";
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(query(&mut statement, [partition.0])?, |row| {
                Ok(FormerCursor { cursor: row.get("cursor")?, replaced_at: get_seconds(row, "replaced_at")? })
            })
        })
        .await
    }

    async fn last_synced(&self) -> Result<HashMap<ConnectionId, Timestamp>, StoreError> {
        self.read(|sqlite| {
            let sql = "SELECT s.connection_id, max(p.synced_at) AS synced_at FROM partitions p \
                       JOIN streams s ON s.id = p.stream_id WHERE p.synced_at IS NOT NULL GROUP BY s.connection_id";
            let mut statement = sqlite.prepare_cached(sql)?;
            let mut rows = query(&mut statement, [])?;
            let mut newest = HashMap::new();
            while let Some(row) = rows.next()? {
                newest.insert(ConnectionId(row.get("connection_id")?), get_seconds(&row, "synced_at")?);
            }
            Ok(newest)
        })
        .await
    }
}

fn list(sqlite: &Connection, connection: ConnectionId) -> Result<Vec<StoredStream>, StoreError> {
    let sql = "SELECT id, name, params FROM streams WHERE connection_id = ?1 ORDER BY name";
    let mut statement = sqlite.prepare_cached(sql)?;
    collect(query(&mut statement, [connection.0])?, from_row)
}

fn find(sqlite: &Connection, connection: ConnectionId, name: &str) -> Result<Option<StoredStream>, StoreError> {
    let sql = "SELECT id, name, params FROM streams WHERE connection_id = ?1 AND name = ?2";
    let mut statement = sqlite.prepare_cached(sql)?;
    first(query(&mut statement, (connection.0, name))?, from_row)
}

/// Returns the partition with these values, and the record that gives them.
fn find_partition(
    sqlite: &Connection,
    stream: StreamId,
    params: &str,
) -> Result<Option<(Partition, Option<RecordId>)>, StoreError> {
    let mut statement = sqlite.prepare_cached(select_partitions!("WHERE stream_id = ?1 AND params = ?2"))?;
    let mut rows = query(&mut statement, (stream.0, params))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let parent = row.get::<Option<i64>>("parent_record_id")?.map(RecordId);
    Ok(Some((partition_from_row(&row)?, parent)))
}

/// Adds the current cursor to the former ones.
pub(super) fn keep_history(
    transaction: &Transaction<'_>,
    partition: PartitionId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO cursor_history (partition_id, cursor, replaced_at) SELECT id, cursor, ?2 FROM partitions WHERE id = ?1";
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
