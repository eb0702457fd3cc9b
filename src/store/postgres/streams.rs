//! The streams of connections, and the position of each of their lists.

use std::collections::HashMap;

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::error::is_missing_reference;
use super::row::{SealedRow, get, get_seconds, optional_number, optional_seconds, to_json};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{
    ConnectionId, FormerCursor, Partition, PartitionId, RecordId, StoredStream, StreamId, StreamParams,
};
use crate::store::{StoreError, Streams};

/// Former cursors that are stored of each partition.
const MAX_CURSOR_HISTORY: i64 = 20;

const STREAM_PARAMS: Column = column("streams", "params");
const PARAMS: Column = column("partitions", "params");
const FORMER_CURSOR: Column = column("cursor_history", "cursor");
pub(super) const CURSOR: Column = column("partitions", "cursor");
pub(super) const CHECKPOINT: Column = column("partitions", "checkpoint");
pub(super) const BACKFILL_CHECKPOINT: Column = column("partitions", "backfill_checkpoint");

macro_rules! select_partitions {
    ($rest:literal) => {
        concat!(
            "SELECT id, params, parent_version, cursor, checkpoint, backfill_checkpoint, synced_at, parent_record_id
             FROM integ.partitions WHERE workspace_id = $1 ",
            $rest
        )
    };
}

const FIND: &str = "SELECT id, name, params FROM integ.streams
                    WHERE workspace_id = $1 AND connection_id = $2 AND name = $3";

const FIND_PARTITION: &str = select_partitions!("AND stream_id = $2 AND params_hash = $3");

#[async_trait]
impl Streams for PostgresStore {
    async fn ensure(&self, connection: ConnectionId, name: &str) -> Result<StoredStream, StoreError> {
        // Nearly always there is one, and a read waits for no commit.
        if let Some(stream) = Streams::find(self, connection, name).await? {
            return Ok(stream);
        }
        let transaction = self.begin().await?;
        let id = transaction.next_id("streams").await?;
        let sql = "INSERT INTO integ.streams (workspace_id, id, connection_id, name) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (workspace_id, connection_id, name) DO NOTHING";
        let inserted = transaction.execute(sql, &[&id, &connection.0, &name]).await;
        if inserted.as_ref().is_err_and(is_missing_reference) {
            return Err(StoreError::ConnectionNotFound);
        }
        inserted?;
        let row = transaction.first(FIND, &[&connection.0, &name]).await?.ok_or(StoreError::ConnectionNotFound)?;
        let stream = from_row(&transaction.sealer, &row)?;
        transaction.commit().await?;
        Ok(stream)
    }

    async fn find(&self, connection: ConnectionId, name: &str) -> Result<Option<StoredStream>, StoreError> {
        let row = self.row(FIND, &[&connection.0, &name]).await?;
        row.map(|row| from_row(&self.sealer, &row)).transpose()
    }

    async fn list(&self, connection: ConnectionId) -> Result<Vec<StoredStream>, StoreError> {
        let sql =
            "SELECT id, name, params FROM integ.streams WHERE workspace_id = $1 AND connection_id = $2 ORDER BY name";
        let rows = self.rows(sql, &[&connection.0]).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn set_params(&self, stream: StreamId, params: &StreamParams) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let params = transaction.sealer.seal(STREAM_PARAMS, stream.0, to_json(params)?)?;
        let sql = "UPDATE integ.streams SET params = $3 WHERE workspace_id = $1 AND id = $2";
        transaction.execute(sql, &[&stream.0, &params]).await?;
        transaction.commit().await
    }

    async fn ensure_partition(
        &self,
        stream: StreamId,
        params: &StreamParams,
        parent: Option<RecordId>,
    ) -> Result<Partition, StoreError> {
        let json = to_json(params)?;
        let hash = params_hash(&self.sealer, stream, &json);
        let parent = parent.map(|parent| parent.0);
        if let Some(row) = self.row(FIND_PARTITION, &[&stream.0, &hash]).await?
            && get::<Option<i64>>(&row, "parent_record_id")? == parent
        {
            return partition_from_row(&self.sealer, &row);
        }
        let transaction = self.begin().await?;
        let id = transaction.next_id("partitions").await?;
        let sealed = transaction.sealer.seal(PARAMS, id, json)?;
        let sql = "INSERT INTO integ.partitions (workspace_id, id, stream_id, params_hash, params, parent_record_id)
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (workspace_id, stream_id, params_hash)
                   DO UPDATE SET parent_record_id = excluded.parent_record_id";
        let values: [Value<'_>; 5] = [&id, &stream.0, &hash, &sealed, &parent];
        transaction.execute(sql, &values).await?;
        let row = transaction.first(FIND_PARTITION, &[&stream.0, &hash]).await?;
        let row = row.ok_or_else(|| StoreError::IntegrityCheck("a partition of a stream was not stored".to_owned()))?;
        let partition = partition_from_row(&transaction.sealer, &row)?;
        transaction.commit().await?;
        Ok(partition)
    }

    async fn partitions(&self, stream: StreamId) -> Result<Vec<Partition>, StoreError> {
        let rows = self.rows(select_partitions!("AND stream_id = $2 ORDER BY id"), &[&stream.0]).await?;
        rows.iter().map(|row| partition_from_row(&self.sealer, row)).collect()
    }

    async fn set_cursor(&self, partition: PartitionId, cursor: Option<&str>, now: Timestamp) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let former = cursor_for_update(&transaction, partition).await?;
        add_history(&transaction, partition, former.as_deref(), now).await?;
        let cursor = transaction.sealer.seal_optional(CURSOR, partition.0, cursor)?;
        let sql = "UPDATE integ.partitions SET cursor = $3, checkpoint = NULL, parent_version = NULL
                   WHERE workspace_id = $1 AND id = $2";
        transaction.execute(sql, &[&partition.0, &cursor]).await?;
        let sql = "DELETE FROM integ.seen_ids WHERE workspace_id = $1 AND partition_id = $2";
        transaction.execute(sql, &[&partition.0]).await?;
        transaction.commit().await
    }

    async fn cursor_history(&self, partition: PartitionId) -> Result<Vec<FormerCursor>, StoreError> {
        let sql = "SELECT id, cursor, replaced_at FROM integ.cursor_history
                   WHERE workspace_id = $1 AND partition_id = $2 ORDER BY id DESC";
        let former = |row: &Row| {
            let cursor = SealedRow::new(&self.sealer, row, get::<i64>(row, "id")?).text(FORMER_CURSOR)?;
            Ok(FormerCursor { cursor, replaced_at: get_seconds(row, "replaced_at")? })
        };
        self.rows(sql, &[&partition.0]).await?.iter().map(former).collect()
    }

    async fn last_synced(&self) -> Result<HashMap<ConnectionId, Timestamp>, StoreError> {
        let sql = "SELECT s.connection_id, max(p.synced_at) AS synced_at FROM integ.partitions p
                   JOIN integ.streams s ON s.workspace_id = $1 AND s.id = p.stream_id
                   WHERE p.workspace_id = $1 AND p.synced_at IS NOT NULL GROUP BY s.connection_id";
        let newest = |row: &Row| Ok((ConnectionId(get(row, "connection_id")?), get_seconds(row, "synced_at")?));
        self.rows(sql, &[]).await?.iter().map(newest).collect()
    }
}

/// Returns the cursor of a partition, which nobody else changes until the transaction ends.
pub(super) async fn cursor_for_update(
    transaction: &Transaction,
    partition: PartitionId,
) -> Result<Option<String>, StoreError> {
    let row = transaction.first(select_partitions!("AND id = $2 FOR NO KEY UPDATE"), &[&partition.0]).await?;
    row.map_or(Ok(None), |row| SealedRow::new(&transaction.sealer, &row, partition.0).text(CURSOR))
}

/// Adds a cursor that is replaced to the former ones.
pub(super) async fn add_history(
    transaction: &Transaction,
    partition: PartitionId,
    cursor: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let id = transaction.next_id("cursor_history").await?;
    let cursor = transaction.sealer.seal_optional(FORMER_CURSOR, id, cursor)?;
    let sql = "INSERT INTO integ.cursor_history (workspace_id, id, partition_id, cursor, replaced_at)
               SELECT $1, $2, p.id, $4, $5 FROM integ.partitions p WHERE p.workspace_id = $1 AND p.id = $3";
    transaction.execute(sql, &[&id, &partition.0, &cursor, &now.as_second()]).await?;
    let sql = "DELETE FROM integ.cursor_history WHERE workspace_id = $1 AND partition_id = $2 AND id NOT IN
               (SELECT id FROM integ.cursor_history WHERE workspace_id = $1 AND partition_id = $2
                ORDER BY id DESC LIMIT $3)";
    transaction.execute(sql, &[&partition.0, &MAX_CURSOR_HISTORY]).await.map(drop)
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<StoredStream, StoreError> {
    let id: i64 = get(row, "id")?;
    let params = SealedRow::new(sealer, row, id).json_or_default(STREAM_PARAMS)?;
    Ok(StoredStream { id: StreamId(id), name: get(row, "name")?, params })
}

fn partition_from_row(sealer: &Sealer, row: &Row) -> Result<Partition, StoreError> {
    let id: i64 = get(row, "id")?;
    let sealed = SealedRow::new(sealer, row, id);
    Ok(Partition {
        id: PartitionId(id),
        params: sealed.json_or_default(PARAMS)?,
        parent_version: optional_number(row, "parent_version")?,
        cursor: sealed.text(CURSOR)?,
        checkpoint: sealed.text(CHECKPOINT)?,
        backfill_checkpoint: sealed.text(BACKFILL_CHECKPOINT)?,
        synced_at: optional_seconds(row, "synced_at")?,
    })
}

/// Returns what a partition is found by.
pub(super) fn params_hash(sealer: &Sealer, stream: StreamId, params: &str) -> Vec<u8> {
    sealer.short_hash("partitions", &[&stream.0.to_be_bytes(), params.as_bytes()])
}
