//! Deletes records that the vendor no longer lists, and the records listed for them.

use super::jobs::progress;
use super::row::{get, number, signed};
use super::transaction::Transaction;
use super::upsert::{RecordVersions, end_list, mark_deleted};
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{CompletedList, JobId, PartitionId, RecordCounts, StreamId, SweepResult, Traffic};
use crate::store::StoreError;
use crate::store::sqlite::unpack;

/// Streams of up to this many records are swept without regard to the limit.
const UNGUARDED_RECORDS: u64 = 20;

/// Completes full lists; see [`crate::store::Records::sweep`].
pub(super) async fn sweep(
    transaction: &Transaction,
    job: JobId,
    stream: StreamId,
    lists: &[CompletedList],
    limit: Option<u64>,
    now: Timestamp,
) -> Result<SweepResult, StoreError> {
    let known = known(transaction, stream, lists).await?;
    transaction.run("SAVEPOINT sweep").await?;
    let deleted = tombstone_missing(transaction, stream, lists, now).await?;
    let before = limit.unwrap_or_default();
    let (missing, all) = (deleted + before, known + before);
    if limit.is_some() && all > UNGUARDED_RECORDS && deleted > 0 && missing * 2 > all {
        transaction.run("ROLLBACK TO SAVEPOINT sweep").await?;
        for list in lists {
            discard_list(transaction, list.partition).await?;
        }
        return Ok(SweepResult::Blocked { missing, known: all });
    }
    let counts = RecordCounts { deleted, ..RecordCounts::default() };
    progress(transaction, job, counts, Traffic::default()).await?;
    Ok(SweepResult::Done { deleted })
}

/// Returns the number of a stream's records that were there before any of these lists began.
async fn known(transaction: &Transaction, stream: StreamId, listed: &[CompletedList]) -> Result<u64, StoreError> {
    let begun = listed.iter().map(|read| read.start_version).max().unwrap_or(u64::MAX);
    let sql = "SELECT count(*) AS count FROM integ.records
               WHERE workspace_id = $1 AND stream_id = $2 AND deleted_at IS NULL AND added_version <= $3";
    let row = transaction.first(sql, &[&stream.0, &signed(begun)]).await?;
    row.map_or(Ok(0), |row| number(&row, "count"))
}

/// Marks records that are missing from full lists as deleted, with all that was listed for them, and moves the cursors.
/// Returns the number of records deleted.
async fn tombstone_missing(
    transaction: &Transaction,
    stream: StreamId,
    listed: &[CompletedList],
    now: Timestamp,
) -> Result<u64, StoreError> {
    // Taken before looking, so that no record is changed between the look and the deletion.
    let version = RecordVersions::read(transaction).await?.take(transaction).await?;
    let mut deleted = 0;
    for read in listed {
        deleted += tombstone(transaction, read, version, now).await?;
        end_list(transaction, read.partition, read.cursor.as_deref(), read.parent_version, now).await?;
    }
    // A deleted record may itself have had lists, and so on down a tree.
    loop {
        let orphans = orphans(transaction, stream).await?;
        if orphans.is_empty() {
            return Ok(deleted);
        }
        for partition in orphans {
            let all = CompletedList { partition, start_version: u64::MAX, cursor: None, parent_version: None };
            deleted += tombstone(transaction, &all, version, now).await?;
            // The list of one that comes back is read from its beginning: nothing of it is there any more.
            let sql = "UPDATE integ.partitions SET checkpoint = NULL, cursor = NULL, parent_version = NULL
                       WHERE workspace_id = $1 AND id = $2";
            transaction.execute(sql, &[&partition.0]).await?;
        }
    }
}

/// Discards the checkpoint of a partition's list and the ids that were seen in it.
pub(super) async fn discard_list(transaction: &Transaction, partition: PartitionId) -> Result<(), StoreError> {
    let sql = "UPDATE integ.partitions SET checkpoint = NULL WHERE workspace_id = $1 AND id = $2";
    transaction.execute(sql, &[&partition.0]).await?;
    discard_seen(transaction, partition).await
}

async fn discard_seen(transaction: &Transaction, partition: PartitionId) -> Result<(), StoreError> {
    let sql = "DELETE FROM integ.seen_ids WHERE workspace_id = $1 AND partition_id = $2";
    transaction.execute(sql, &[&partition.0]).await.map(drop)
}

pub(super) async fn has_orphans(transaction: &Transaction, stream: StreamId) -> Result<bool, StoreError> {
    Ok(!orphans(transaction, stream).await?.is_empty())
}

/// Returns the partitions of deleted records, as long as anything is left of them.
async fn orphans(transaction: &Transaction, stream: StreamId) -> Result<Vec<PartitionId>, StoreError> {
    let sql = "SELECT p.id FROM integ.partitions p
               JOIN integ.records r ON r.workspace_id = $1 AND r.id = p.parent_record_id
               WHERE p.workspace_id = $1 AND p.stream_id = $2 AND r.deleted_at IS NOT NULL AND (p.cursor IS NOT NULL
                   OR p.checkpoint IS NOT NULL OR p.parent_version IS NOT NULL
                   OR EXISTS (SELECT 1 FROM integ.records x
                       WHERE x.workspace_id = $1 AND x.partition_id = p.id AND x.deleted_at IS NULL))";
    transaction.query(sql, &[&stream.0]).await?.iter().map(|row| get(row, "id").map(PartitionId)).collect()
}

/// Marks the records that a full list of a partition did not meet as deleted, and discards the ids that were seen.
async fn tombstone(
    transaction: &Transaction,
    read: &CompletedList,
    version: u64,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let missing = missing(transaction, read).await?;
    if !missing.is_empty() {
        mark_deleted(transaction, &missing, version, now).await?;
    }
    discard_seen(transaction, read.partition).await?;
    Ok(missing.len() as u64)
}

/// Returns the stored records of a partition that were not seen in a list of it.
pub(super) async fn missing(transaction: &Transaction, read: &CompletedList) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT ids FROM integ.seen_ids WHERE workspace_id = $1 AND partition_id = $2";
    let mut seen: Vec<i64> = Vec::new();
    for row in transaction.query(sql, &[&read.partition.0]).await? {
        unpack(get(&row, "ids")?, |id| seen.push(id));
    }
    seen.sort_unstable();
    // In one row: a row for each record would take ten times the memory.
    let sql = "SELECT coalesce(array_agg(id), '{}') AS ids FROM integ.records
               WHERE workspace_id = $1 AND partition_id = $2 AND deleted_at IS NULL AND version <= $3";
    let values: [Value<'_>; 2] = [&read.partition.0, &signed(read.start_version)];
    let Some(row) = transaction.first(sql, &values).await? else { return Ok(Vec::new()) };
    let stored: Vec<i64> = get(&row, "ids")?;
    Ok(stored.into_iter().filter(|id| seen.binary_search(id).is_err()).collect())
}
