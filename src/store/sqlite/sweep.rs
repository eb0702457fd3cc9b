//! Sweeps: marking what a full list did not contain as deleted, with what was listed for deleted records.

use rusqlite::{Connection, Transaction};

use super::StoreError;
use super::id_set::{IdSet, unpack};
use super::jobs::progress;
use super::records::{Records, end_list, next_version};
use crate::clock::Timestamp;
use crate::model::job::JobId;
use crate::model::record::{CompletedList, RecordCounts, SweepResult, Traffic};
use crate::model::stream::{PartitionId, StreamId};

/// Streams of up to so many records are swept without a limit: half of a few is not suspicious.
const UNGUARDED_RECORDS: u64 = 20;

impl Records<'_> {
    /// Ends full lists of some partitions of a stream: marks the records that they did not contain as deleted, with all
    /// that was listed for them, and moves the cursors.
    ///
    /// With `limit` nothing is deleted if that would be more than half of a stream of over 20 records, counting the
    /// `limit` records that earlier sweeps of the same run have deleted; the lists start over then.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub fn sweep(
        &self,
        job: JobId,
        stream: StreamId,
        listed: &[CompletedList],
        limit: Option<u64>,
        now: Timestamp,
    ) -> Result<SweepResult, StoreError> {
        if listed.is_empty() && self.0.read(|sqlite| Ok(orphans(sqlite, stream)?.is_empty()))? {
            return Ok(SweepResult::Done { deleted: 0 });
        }
        self.0.write(|transaction| {
            let known = known(transaction, stream, listed)?;
            transaction.execute_batch("SAVEPOINT sweep")?;
            let deleted = tombstone_missing(transaction, stream, listed, now)?;
            let before = limit.unwrap_or_default();
            let (taken, all) = (deleted + before, known + before);
            if limit.is_some() && all > UNGUARDED_RECORDS && deleted > 0 && taken * 2 > all {
                transaction.execute_batch("ROLLBACK TO sweep; RELEASE sweep")?;
                for read in listed {
                    discard_list(transaction, read.partition)?;
                }
                return Ok(SweepResult::Blocked { missing: taken, known: all });
            }
            transaction.execute_batch("RELEASE sweep")?;
            let counts = RecordCounts { deleted, ..RecordCounts::default() };
            progress(transaction, job, counts, Traffic::default())?;
            Ok(SweepResult::Done { deleted })
        })
    }

    /// Drops the checkpoint of an unfinished list and the records seen in it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reset_list(&self, partition: PartitionId) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            discard_list(transaction, partition)?;
            transaction.execute("UPDATE partitions SET backfill_checkpoint = NULL WHERE id = ?1", [partition.0])?;
            Ok(())
        })
    }

    /// Begins a full list of a partition: drops the checkpoint of an unfinished one and the records seen in it. Returns
    /// the store's current version.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin_list(&self, partition: PartitionId) -> Result<u64, StoreError> {
        let (start_version, has_seen_ids): (u64, bool) = self.0.read(|sqlite| {
            let sql =
                "SELECT sequence, EXISTS (SELECT 1 FROM seen_ids WHERE partition_id = ?1) AS has_seen_ids FROM meta";
            Ok(sqlite
                .prepare_cached(sql)?
                .query_row([partition.0], |row| Ok((row.get("sequence")?, row.get("has_seen_ids")?)))?)
        })?;
        if has_seen_ids {
            // Both or neither: a list that went on without its seen records would count them as missing.
            self.0.write(|transaction| discard_list(transaction, partition))?;
        }
        Ok(start_version)
    }

    /// Whether a complete list lacks a known record.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_missing(&self, read: &CompletedList) -> Result<bool, StoreError> {
        self.0.read(|sqlite| Ok(!missing(sqlite, read)?.is_empty()))
    }
}

/// Counts the records of a stream that were added before the last of these lists began.
fn known(sqlite: &Connection, stream: StreamId, listed: &[CompletedList]) -> Result<u64, StoreError> {
    let start = listed.iter().map(|read| read.start_version).max().unwrap_or(u64::MAX);
    let sql = "SELECT count(*) FROM records WHERE stream_id = ?1 AND deleted_at IS NULL AND added_version <= ?2";
    let start = i64::try_from(start).unwrap_or(i64::MAX);
    Ok(sqlite.prepare_cached(sql)?.query_row((stream.0, start), |row| row.get(0))?)
}

/// Marks what is missing from full lists as deleted, with all that was listed for it, and moves their cursors. Returns
/// the number of deleted records.
fn tombstone_missing(
    transaction: &Transaction<'_>,
    stream: StreamId,
    listed: &[CompletedList],
    now: Timestamp,
) -> Result<u64, StoreError> {
    let version = next_version(transaction)?;
    let mut deleted = 0;
    for read in listed {
        deleted += tombstone(transaction, read, version, now)?;
        end_list(transaction, read.partition, read.cursor.as_deref(), read.parent_version, now)?;
    }
    // A deleted record may be the parent of partitions, and their records of others.
    loop {
        let orphans = orphans(transaction, stream)?;
        if orphans.is_empty() {
            return Ok(deleted);
        }
        for partition in orphans {
            let all = CompletedList { partition, start_version: u64::MAX, cursor: None, parent_version: None };
            deleted += tombstone(transaction, &all, version, now)?;
            // If the parent comes back, its list is read from the beginning: none of its records is left.
            let sql = "UPDATE partitions SET checkpoint = NULL, cursor = NULL, parent_version = NULL WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute([partition.0])?;
        }
    }
}

fn discard_list(transaction: &Transaction<'_>, partition: PartitionId) -> Result<(), StoreError> {
    transaction.execute("UPDATE partitions SET checkpoint = NULL WHERE id = ?1", [partition.0])?;
    transaction.execute("DELETE FROM seen_ids WHERE partition_id = ?1", [partition.0])?;
    Ok(())
}

/// The partitions of deleted records that still have records, a cursor or a checkpoint.
fn orphans(sqlite: &Connection, stream: StreamId) -> Result<Vec<PartitionId>, StoreError> {
    let sql = "SELECT p.id FROM partitions p JOIN records r ON r.id = p.parent_record_id \
               WHERE p.stream_id = ?1 AND r.deleted_at IS NOT NULL AND (p.cursor IS NOT NULL OR p.checkpoint IS NOT NULL \
               OR p.parent_version IS NOT NULL \
               OR EXISTS (SELECT 1 FROM records x WHERE x.partition_id = p.id AND x.deleted_at IS NULL))";
    let mut statement = sqlite.prepare_cached(sql)?;
    let ids = statement.query_map([stream.0], |row| Ok(PartitionId(row.get(0)?)))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Marks what a full list of a partition did not contain as deleted, and drops the records seen in it.
fn tombstone(transaction: &Connection, read: &CompletedList, version: u64, now: Timestamp) -> Result<u64, StoreError> {
    let missing = missing(transaction, read)?;
    let sql =
        "UPDATE records SET deleted_at = ?3, changed_at = ?3, version = ?2, vendor_updated_at = NULL WHERE id = ?1";
    let mut update = transaction.prepare_cached(sql)?;
    for id in &missing {
        update.execute((id, version, now.as_second()))?;
    }
    transaction.prepare_cached("DELETE FROM seen_ids WHERE partition_id = ?1")?.execute([read.partition.0])?;
    Ok(missing.len() as u64)
}

/// The records of a partition that its full list did not contain.
fn missing(sqlite: &Connection, read: &CompletedList) -> Result<Vec<i64>, StoreError> {
    let seen = seen_ids(sqlite, read.partition)?;
    let sql = "SELECT id FROM records WHERE partition_id = ?1 AND deleted_at IS NULL AND version <= ?2";
    let mut statement = sqlite.prepare_cached(sql)?;
    // SQLite's integers end where i64's do.
    let mut rows = statement.query((read.partition.0, i64::try_from(read.start_version).unwrap_or(i64::MAX)))?;
    let mut missing = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        if !seen.holds(id) {
            missing.push(id);
        }
    }
    Ok(missing)
}

fn seen_ids(sqlite: &Connection, partition: PartitionId) -> Result<IdSet, StoreError> {
    let mut statement = sqlite.prepare_cached("SELECT ids FROM seen_ids WHERE partition_id = ?1")?;
    let mut rows = statement.query([partition.0])?;
    let mut seen = IdSet::default();
    while let Some(row) = rows.next()? {
        unpack(row.get_ref(0)?.as_blob().unwrap_or_default(), |id| seen.add(id));
    }
    Ok(seen)
}
