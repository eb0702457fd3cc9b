//! What is gone: what a full list did not meet, and what was listed for records that are gone.

use rusqlite::{Connection, Transaction};

use super::StoreError;
use super::id_set::{IdSet, unpack};
use super::jobs::progress;
use super::records::{Records, end_list, next_version};
use crate::clock::Timestamp;
use crate::model::job::JobId;
use crate::model::record::{CompletedList, RecordCounts, SweepResult, Traffic};
use crate::model::stream::{PartitionId, StreamId};

/// Streams of so many records are swept whatever it takes.
const UNGUARDED_RECORDS: u64 = 20;

impl Records<'_> {
    /// Ends full lists of some partitions of a stream: what was not met in them is gone, and so is all that was listed for
    /// records that are. Then their cursors move.
    ///
    /// With `limit` nothing is deleted if that would be more than half of a stream of over 20 records, counting the
    /// `limit` records that earlier sweeps of the same run have taken; the lists are forgotten then.
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
                    forget(transaction, read.partition)?;
                }
                return Ok(SweepResult::Blocked { missing: taken, known: all });
            }
            transaction.execute_batch("RELEASE sweep")?;
            let counts = RecordCounts { deleted, ..RecordCounts::default() };
            progress(transaction, job, counts, Traffic::default())?;
            Ok(SweepResult::Done { deleted })
        })
    }

    /// Forgets how far a list of a partition has come, and what was met of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reset_list(&self, partition: PartitionId) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            forget(transaction, partition)?;
            transaction.execute("UPDATE partitions SET backfill_checkpoint = NULL WHERE id = ?1", [partition.0])?;
            Ok(())
        })
    }

    /// Begins a full list of a partition: what was met of it before is forgotten, and with it how far that list had come. The
    /// version that the store has now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin_list(&self, partition: PartitionId) -> Result<u64, StoreError> {
        let (begun, met_before): (u64, bool) = self.0.read(|sqlite| {
            let sql =
                "SELECT sequence, EXISTS (SELECT 1 FROM seen_ids WHERE partition_id = ?1) AS has_seen_ids FROM meta";
            Ok(sqlite
                .prepare_cached(sql)?
                .query_row([partition.0], |row| Ok((row.get("sequence")?, row.get("has_seen_ids")?)))?)
        })?;
        if met_before {
            // A list that goes on without what it met before would take all of that for gone.
            self.0.write(|transaction| forget(transaction, partition))?;
        }
        Ok(begun)
    }

    /// Whether a list that was read has not met all that is known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_missing(&self, read: &CompletedList) -> Result<bool, StoreError> {
        self.0.read(|sqlite| Ok(!missing(sqlite, read)?.is_empty()))
    }
}

/// The records of a stream that were there before any of these lists began.
fn known(sqlite: &Connection, stream: StreamId, listed: &[CompletedList]) -> Result<u64, StoreError> {
    let begun = listed.iter().map(|read| read.start_version).max().unwrap_or(u64::MAX);
    let sql = "SELECT count(*) FROM records WHERE stream_id = ?1 AND deleted_at IS NULL AND added_version <= ?2";
    let begun = i64::try_from(begun).unwrap_or(i64::MAX);
    Ok(sqlite.prepare_cached(sql)?.query_row((stream.0, begun), |row| row.get(0))?)
}

/// Marks as gone what is missing from full lists, with all that was listed for it, and moves their cursors. The number of
/// records that are gone by it.
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
    // What is gone may itself have had lists, and so on down a tree.
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

fn forget(transaction: &Transaction<'_>, partition: PartitionId) -> Result<(), StoreError> {
    transaction.execute("UPDATE partitions SET checkpoint = NULL WHERE id = ?1", [partition.0])?;
    transaction.execute("DELETE FROM seen_ids WHERE partition_id = ?1", [partition.0])?;
    Ok(())
}

/// The partitions of records that are gone, as long as anything is left of them.
fn orphans(sqlite: &Connection, stream: StreamId) -> Result<Vec<PartitionId>, StoreError> {
    let sql = "SELECT p.id FROM partitions p JOIN records r ON r.id = p.parent_record_id \
               WHERE p.stream_id = ?1 AND r.deleted_at IS NOT NULL AND (p.cursor IS NOT NULL OR p.checkpoint IS NOT NULL \
               OR p.parent_version IS NOT NULL \
               OR EXISTS (SELECT 1 FROM records x WHERE x.partition_id = p.id AND x.deleted_at IS NULL))";
    let mut statement = sqlite.prepare_cached(sql)?;
    let ids = statement.query_map([stream.0], |row| Ok(PartitionId(row.get(0)?)))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Marks what a full list of a partition did not meet as gone, and forgets what it met.
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

/// What is known of a partition and was not met in a list of it.
fn missing(sqlite: &Connection, read: &CompletedList) -> Result<Vec<i64>, StoreError> {
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
