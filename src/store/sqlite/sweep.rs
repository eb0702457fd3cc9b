//! Deletes records that the vendor no longer lists, and the records listed for them.

use rusqlite::{Connection, Transaction};

use super::StoreError;
use super::id_set::{IdSet, unpack};
use super::jobs::progress;
use super::records::{end_list, next_version};
use crate::clock::Timestamp;
use crate::model::{CompletedList, JobId, PartitionId, RecordCounts, StreamId, SweepResult, Traffic};

/// Streams of up to this many records are swept without regard to the limit.
const UNGUARDED_RECORDS: u64 = 20;

/// Completes full lists; see [`crate::store::Records::sweep`].
pub(super) fn sweep(
    transaction: &Transaction<'_>,
    job: JobId,
    stream: StreamId,
    lists: &[CompletedList],
    limit: Option<u64>,
    now: Timestamp,
) -> Result<SweepResult, StoreError> {
    let known = known(transaction, stream, lists)?;
    transaction.execute_batch("SAVEPOINT sweep")?;
    let deleted = tombstone_missing(transaction, stream, lists, now)?;
    let before = limit.unwrap_or_default();
    let (missing, all) = (deleted + before, known + before);
    if limit.is_some() && all > UNGUARDED_RECORDS && deleted > 0 && missing * 2 > all {
        transaction.execute_batch("ROLLBACK TO sweep; RELEASE sweep")?;
        for list in lists {
            discard_list(transaction, list.partition)?;
        }
        return Ok(SweepResult::Blocked { missing, known: all });
    }
    transaction.execute_batch("RELEASE sweep")?;
    let counts = RecordCounts { deleted, ..RecordCounts::default() };
    progress(transaction, job, counts, Traffic::default())?;
    Ok(SweepResult::Done { deleted })
}

/// Returns the number of a stream's records that were there before any of these lists began.
fn known(sqlite: &Connection, stream: StreamId, listed: &[CompletedList]) -> Result<u64, StoreError> {
    let begun = listed.iter().map(|read| read.start_version).max().unwrap_or(u64::MAX);
    let sql = "SELECT count(*) FROM records WHERE stream_id = ?1 AND deleted_at IS NULL AND added_version <= ?2";
    let begun = i64::try_from(begun).unwrap_or(i64::MAX);
    Ok(sqlite.prepare_cached(sql)?.query_row((stream.0, begun), |row| row.get(0))?)
}

/// Marks records that are missing from full lists as deleted, with all that was listed for them, and moves the cursors.
/// Returns the number of records deleted.
fn tombstone_missing(
    transaction: &Transaction<'_>,
    stream: StreamId,
    listed: &[CompletedList],
    now: Timestamp,
) -> Result<u64, StoreError> {
    let version = next_version(transaction)?;
    let mut gone = 0;
    for read in listed {
        gone += tombstone(transaction, read, version, now)?;
        end_list(transaction, read.partition, read.cursor.as_deref(), read.parent_version, now)?;
    }
    // A deleted record may itself have had lists, and so on down a tree.
    loop {
        let orphans = orphans(transaction, stream)?;
        if orphans.is_empty() {
            return Ok(gone);
        }
        for partition in orphans {
            let all = CompletedList { partition, start_version: u64::MAX, cursor: None, parent_version: None };
            gone += tombstone(transaction, &all, version, now)?;
            // The list of one that comes back is read from its beginning: nothing of it is there any more.
            let sql = "UPDATE partitions SET checkpoint = NULL, cursor = NULL, parent_version = NULL WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute([partition.0])?;
        }
    }
}

/// Discards the checkpoint of a partition's list and the ids that were seen in it.
pub(super) fn discard_list(transaction: &Transaction<'_>, partition: PartitionId) -> Result<(), StoreError> {
    transaction.execute("UPDATE partitions SET checkpoint = NULL WHERE id = ?1", [partition.0])?;
    transaction.execute("DELETE FROM seen_ids WHERE partition_id = ?1", [partition.0])?;
    Ok(())
}

pub(super) fn has_orphans(sqlite: &Connection, stream: StreamId) -> Result<bool, StoreError> {
    Ok(!orphans(sqlite, stream)?.is_empty())
}

/// Returns the partitions of deleted records, as long as anything is left of them.
fn orphans(sqlite: &Connection, stream: StreamId) -> Result<Vec<PartitionId>, StoreError> {
    let sql = "SELECT p.id FROM partitions p JOIN records r ON r.id = p.parent_record_id \
               WHERE p.stream_id = ?1 AND r.deleted_at IS NOT NULL AND (p.cursor IS NOT NULL OR p.checkpoint IS NOT NULL \
               OR p.parent_version IS NOT NULL \
               OR EXISTS (SELECT 1 FROM records x WHERE x.partition_id = p.id AND x.deleted_at IS NULL))";
    let mut statement = sqlite.prepare_cached(sql)?;
    let ids = statement.query_map([stream.0], |row| Ok(PartitionId(row.get(0)?)))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Marks the records that a full list of a partition did not meet as deleted, and discards the ids that were seen.
fn tombstone(transaction: &Connection, read: &CompletedList, version: u64, now: Timestamp) -> Result<u64, StoreError> {
    let missing = missing(transaction, read)?;
    let sql = "UPDATE records SET deleted_at = ?3, changed_at = ?3, version = ?2, vendor_updated_at = NULL, vendor_event_id = NULL WHERE id = ?1";
    let mut update = transaction.prepare_cached(sql)?;
    for id in &missing {
        update.execute((id, version, now.as_second()))?;
    }
    transaction.prepare_cached("DELETE FROM seen_ids WHERE partition_id = ?1")?.execute([read.partition.0])?;
    Ok(missing.len() as u64)
}

/// Returns the stored records of a partition that were not seen in a list of it.
pub(super) fn missing(sqlite: &Connection, read: &CompletedList) -> Result<Vec<i64>, StoreError> {
    let met = seen_ids(sqlite, read.partition)?;
    let sql = "SELECT id FROM records WHERE partition_id = ?1 AND deleted_at IS NULL AND version <= ?2";
    let mut statement = sqlite.prepare_cached(sql)?;
    // SQLite's integers end where i64's do.
    let mut rows = statement.query((read.partition.0, i64::try_from(read.start_version).unwrap_or(i64::MAX)))?;
    let mut missing = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        if !met.holds(id) {
            missing.push(id);
        }
    }
    Ok(missing)
}

fn seen_ids(sqlite: &Connection, partition: PartitionId) -> Result<IdSet, StoreError> {
    let mut statement = sqlite.prepare_cached("SELECT ids FROM seen_ids WHERE partition_id = ?1")?;
    let mut rows = statement.query([partition.0])?;
    let mut met = IdSet::default();
    while let Some(row) = rows.next()? {
        unpack(row.get_ref(0)?.as_blob().unwrap_or_default(), |id| met.add(id));
    }
    Ok(met)
}
