//! What is gone: what a full list did not meet, and what was listed for records that are gone.

use rusqlite::{Connection, Transaction};

use super::StoreError;
use super::ids::{Bits, unpack};
use super::jobs::{JobId, progress};
use super::records::{Counts, Records, Traffic, next_version};
use super::streams::{PartId, StreamId};
use crate::clock::Timestamp;

/// A part whose full list was read to its end.
#[derive(Clone, Copy, Debug)]
pub struct FullList {
    pub part: PartId,
    /// The store's version when the list began: what changed later came by another way, and is not missing from it.
    pub begun: u64,
}

impl Records<'_> {
    /// Ends full lists of some parts of a stream: what was not met in them is gone, and so is all that was listed for
    /// records that are. The number of records that are gone by it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub fn sweep(&self, job: JobId, stream: StreamId, listed: &[FullList], now: Timestamp) -> Result<u64, StoreError> {
        if listed.is_empty() && self.0.read(|sqlite| Ok(orphans(sqlite, stream)?.is_empty()))? {
            return Ok(0);
        }
        self.0.write(|transaction| {
            let version = next_version(transaction)?;
            let mut gone = 0;
            for read in listed {
                gone += bury(transaction, *read, version, now)?;
                let sql = "UPDATE parts SET progress = NULL WHERE id = ?1";
                transaction.prepare_cached(sql)?.execute([read.part.0])?;
            }
            // What is gone may itself have had lists, and so on down a tree.
            loop {
                let orphans = orphans(transaction, stream)?;
                if orphans.is_empty() {
                    break;
                }
                for part in orphans {
                    gone += bury(transaction, FullList { part, begun: u64::MAX }, version, now)?;
                    // The list of one that comes back is read from its beginning: nothing of it is there any more.
                    let sql = "UPDATE parts SET progress = NULL, cursor = NULL, parent_version = NULL WHERE id = ?1";
                    transaction.prepare_cached(sql)?.execute([part.0])?;
                }
            }
            let counts = Counts { deleted: gone, ..Counts::default() };
            progress(transaction, job, counts, Traffic::default())?;
            Ok(gone)
        })
    }

    /// Begins a full list of a part: what was met of it before is forgotten, and with it how far that list had come. The
    /// version that the store has now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin_list(&self, part: PartId) -> Result<u64, StoreError> {
        let (begun, met_before): (u64, bool) = self.0.read(|sqlite| {
            let sql = "SELECT sequence, EXISTS (SELECT 1 FROM sightings WHERE part_id = ?1) FROM meta";
            Ok(sqlite.prepare_cached(sql)?.query_row([part.0], |row| Ok((row.get(0)?, row.get(1)?)))?)
        })?;
        if met_before {
            self.0.write(|transaction| {
                // A list that goes on without what it met before would take all of that for gone.
                transaction.execute("UPDATE parts SET progress = NULL WHERE id = ?1", [part.0])?;
                transaction.execute("DELETE FROM sightings WHERE part_id = ?1", [part.0])?;
                Ok(())
            })?;
        }
        Ok(begun)
    }

    /// Whether a list that was read has not met all that is known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn misses_any(&self, read: FullList) -> Result<bool, StoreError> {
        self.0.read(|sqlite| Ok(!missing(sqlite, read)?.is_empty()))
    }
}

/// The parts of records that are gone, as long as anything is left of them.
fn orphans(sqlite: &Connection, stream: StreamId) -> Result<Vec<PartId>, StoreError> {
    let sql = "SELECT p.id FROM parts p JOIN records r ON r.id = p.parent_id \
               WHERE p.stream_id = ?1 AND r.deleted_at IS NOT NULL AND (p.cursor IS NOT NULL OR p.progress IS NOT NULL \
               OR p.parent_version IS NOT NULL \
               OR EXISTS (SELECT 1 FROM records x WHERE x.part_id = p.id AND x.deleted_at IS NULL))";
    let mut statement = sqlite.prepare_cached(sql)?;
    let ids = statement.query_map([stream.0], |row| Ok(PartId(row.get(0)?)))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Marks what a full list of a part did not meet as gone, and forgets what it met.
fn bury(transaction: &Transaction<'_>, read: FullList, version: u64, now: Timestamp) -> Result<u64, StoreError> {
    let missing = missing(transaction, read)?;
    let sql = "UPDATE records SET deleted_at = ?3, changed_at = ?3, version = ?2, told_at = NULL WHERE id = ?1";
    let mut update = transaction.prepare_cached(sql)?;
    for id in &missing {
        update.execute((id, version, now.as_second()))?;
    }
    transaction.prepare_cached("DELETE FROM sightings WHERE part_id = ?1")?.execute([read.part.0])?;
    Ok(missing.len() as u64)
}

/// What is known of a part and was not met in a list of it.
fn missing(sqlite: &Connection, read: FullList) -> Result<Vec<i64>, StoreError> {
    let met = met(sqlite, read.part)?;
    let sql = "SELECT id FROM records WHERE part_id = ?1 AND deleted_at IS NULL AND version <= ?2";
    let mut statement = sqlite.prepare_cached(sql)?;
    // SQLite's integers end where i64's do.
    let mut rows = statement.query((read.part.0, i64::try_from(read.begun).unwrap_or(i64::MAX)))?;
    let mut missing = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        if !met.holds(id) {
            missing.push(id);
        }
    }
    Ok(missing)
}

fn met(sqlite: &Connection, part: PartId) -> Result<Bits, StoreError> {
    let mut statement = sqlite.prepare_cached("SELECT ids FROM sightings WHERE part_id = ?1")?;
    let mut rows = statement.query([part.0])?;
    let mut met = Bits::default();
    while let Some(row) = rows.next()? {
        unpack(row.get_ref(0)?.as_blob().unwrap_or_default(), |id| met.add(id));
    }
    Ok(met)
}
