//! What was pulled: records as the vendor wrote them, and what changed of them when.
//!
//! Invariant: the records of a page, and how far the list has come by it, are one commit ([`Records::commit`]), which pages
//! that wait for each other share.

use rusqlite::{CachedStatement, OptionalExtension, Row, Transaction};

use super::ids::pack;
use super::row::timestamp;
use super::streams::keep_history;
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::json;
use crate::model::record::{Change, Counts, Hash, Known, NewPage, NewRecord, Place, Pushed, RecordId, StoredRecord};
use crate::model::stream::{PartId, StreamId};

/// The records of a store.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a>(pub(super) &'a Store);

/// Where a record belongs.
#[derive(Clone, Copy)]
struct Slot {
    stream: StreamId,
    part: PartId,
    now: Timestamp,
    /// Whether it was met in a full list.
    sweeping: bool,
}

const COLUMNS: &str = "id, key, json, version, added, first_seen_at, changed_at, deleted_at";

const WHOLE: &str = "records JOIN bodies ON record_id = id";

impl Records<'_> {
    /// Keeps pages: the records of each, how far its list has come, and the job's counts, all in one commit. True beside
    /// the counts where somebody wants the job to end.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was kept then.
    pub fn commit(&self, pages: &[NewPage]) -> Result<(Counts, bool), StoreError> {
        self.0.write(|transaction| {
            let version = next_version(transaction)?;
            let (mut all, mut cancelled) = (Counts::default(), false);
            for page in pages {
                let counts = keep(transaction, page, version)?;
                cancelled |= super::jobs::progress(transaction, page.job, counts, page.traffic)?;
                all += counts;
            }
            Ok((all, cancelled))
        })
    }

    /// Keeps a record that the vendor sent, beside every cursor. What became of it; absent where it was so before.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was kept then.
    pub fn push(&self, pushed: &Pushed) -> Result<Option<Change>, StoreError> {
        self.0.write(|transaction| {
            let slot = Slot { stream: pushed.stream, part: pushed.part, now: pushed.now, sweeping: false };
            let version = next_version(transaction)?;
            let (id, outcome) = put(&mut Statements::prepare(transaction)?, slot, &pushed.record, version, false)?;
            let sql = "UPDATE records SET told_at = ?2, deleted_as = ?3 WHERE id = ?1";
            let deleted_as = pushed.at.as_ref().filter(|_| pushed.record.deleted);
            transaction.prepare_cached(sql)?.execute((id, pushed.told_at.as_millisecond(), deleted_as))?;
            if !pushed.record.deleted {
                // A full list that was cut off may have gone past its place.
                let sql = "INSERT INTO sightings (part_id, ids) \
                           SELECT id, ?2 FROM parts WHERE id = ?1 AND progress IS NOT NULL";
                transaction.prepare_cached(sql)?.execute((slot.part.0, pack(&[id])))?;
            }
            Ok(match outcome {
                Put::Added => Some(Change::Added),
                Put::Changed => Some(Change::Changed),
                Put::Deleted => Some(Change::Deleted),
                Put::Unchanged => None,
            })
        })
    }

    /// A record by its key, also one that is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, stream: StreamId, key: &str) -> Result<Option<Known>, StoreError> {
        self.0.read(|sqlite| {
            let sql = format!(
                "SELECT {COLUMNS}, part_id, told_at, deleted_as FROM {WHOLE} WHERE stream_id = ?1 AND key = ?2"
            );
            let mut statement = sqlite.prepare_cached(&sql)?;
            let mut rows = statement.query((stream.0, key))?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let record = stored(row)?;
            let told_at: Option<i64> = row.get(9)?;
            let told_at = told_at.and_then(|at| Timestamp::from_millisecond(at).ok());
            let as_of = told_at.unwrap_or(record.changed_at);
            Ok(Some(Known { record, part: PartId(row.get(8)?), as_of, deleted_as: row.get(10)? }))
        })
    }

    /// Which of these keys are known, and not as gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn known(&self, stream: StreamId, keys: &[String]) -> Result<Vec<bool>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT 1 FROM records WHERE stream_id = ?1 AND key = ?2 AND deleted_at IS NULL";
            let mut statement = sqlite.prepare_cached(sql)?;
            keys.iter().map(|key| Ok(statement.exists((stream.0, key))?)).collect()
        })
    }

    /// A page of a stream's records in the order in which they came, without those that are gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self, stream: StreamId, after: RecordId, limit: u32) -> Result<Vec<StoredRecord>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {WHOLE} WHERE stream_id = ?1 AND id > ?2 AND deleted_at IS NULL ORDER BY id LIMIT ?3"
        );
        self.page(&sql, (stream.0, after.0, limit))
    }

    /// A page of what changed after a version, oldest change first; `after` is the last record of the page before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn changes(
        &self,
        stream: StreamId,
        since: u64,
        after: Option<(u64, RecordId)>,
        limit: u32,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let (version, id) = after.unwrap_or((since, RecordId(i64::MAX)));
        let sql = format!(
            "SELECT {COLUMNS} FROM {WHOLE} WHERE stream_id = ?1 AND (version, id) > (?2, ?3) \
             ORDER BY version, id LIMIT ?4"
        );
        self.page(&sql, (stream.0, version, id.0, limit))
    }

    /// The version before the first change at or after a time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn version_at(&self, stream: StreamId, time: Timestamp) -> Result<u64, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT coalesce(max(version), 0) FROM records WHERE stream_id = ?1 AND changed_at < ?2";
            Ok(sqlite.query_row(sql, (stream.0, time.as_second()), |row| row.get(0))?)
        })
    }

    /// Records there are of a stream, without those that are gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn count(&self, stream: StreamId) -> Result<u64, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT count(*) FROM records WHERE stream_id = ?1 AND deleted_at IS NULL";
            Ok(sqlite.query_row(sql, [stream.0], |row| row.get(0))?)
        })
    }

    fn page(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<StoredRecord>, StoreError> {
        self.0.read(|sqlite| {
            let mut statement = sqlite.prepare_cached(sql)?;
            let mut rows = statement.query(params)?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(stored(row)?);
            }
            Ok(found)
        })
    }
}

/// The number that the store's sequence has once this transaction is committed: later changes have greater ones.
pub(super) fn next_version(transaction: &Transaction<'_>) -> Result<u64, StoreError> {
    Ok(transaction.prepare_cached("SELECT sequence + 1 FROM meta")?.query_row([], |row| row.get(0))?)
}

fn keep(transaction: &Transaction<'_>, page: &NewPage, version: u64) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    let mut sighted = Vec::with_capacity(if page.sweeping { page.records.len() } else { 0 });
    let mut expects_new = true;
    let slot = Slot { stream: page.stream, part: page.part, now: page.now, sweeping: page.sweeping };
    let mut statements = Statements::prepare(transaction)?;
    for record in &page.records {
        let (id, outcome) = put(&mut statements, slot, record, version, expects_new)?;
        expects_new = matches!(outcome, Put::Added);
        match outcome {
            Put::Added => counts.added += 1,
            Put::Changed => counts.changed += 1,
            Put::Deleted => counts.deleted += 1,
            Put::Unchanged => counts.unchanged += 1,
        }
        if page.sweeping && !record.deleted {
            sighted.push(id);
        }
    }
    for key in &page.known {
        let sql = "SELECT id FROM records WHERE stream_id = ?1 AND key = ?2";
        let id = transaction.prepare_cached(sql)?.query_row((page.stream.0, key), |row| row.get(0)).optional()?;
        counts.unchanged += 1;
        sighted.extend(id.filter(|_: &i64| page.sweeping));
    }
    for key in &page.gone {
        counts.deleted += delete(transaction, page.stream, key, version, page.now)?;
    }
    if !sighted.is_empty() {
        let sql = "INSERT INTO sightings (part_id, ids) VALUES (?1, ?2)";
        transaction.prepare_cached(sql)?.execute((page.part.0, pack(&sighted)))?;
    }
    if page.again {
        counts.unchanged = 0;
    }
    place(transaction, page)?;
    Ok(counts)
}

enum Put {
    Added,
    Changed,
    Deleted,
    Unchanged,
}

/// What is run for each record of a page.
struct Statements<'t> {
    transaction: &'t Transaction<'t>,
    insert: CachedStatement<'t>,
    body: CachedStatement<'t>,
    find: CachedStatement<'t>,
}

impl<'t> Statements<'t> {
    fn prepare(transaction: &'t Transaction<'t>) -> Result<Self, StoreError> {
        let insert = "INSERT INTO records (stream_id, part_id, key, hash, version, added, first_seen_at, changed_at, \
                      deleted_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?6, ?7) ON CONFLICT DO NOTHING";
        let find = "SELECT id, hash, deleted_at IS NOT NULL, part_id FROM records WHERE stream_id = ?1 AND key = ?2";
        Ok(Self {
            transaction,
            insert: transaction.prepare_cached(insert)?,
            body: transaction.prepare_cached("INSERT INTO bodies (record_id, json) VALUES (?1, ?2)")?,
            find: transaction.prepare_cached(find)?,
        })
    }
}

/// Most pages hold either new records or known ones: what the last one was says which statement to try first.
fn put(
    statements: &mut Statements<'_>,
    slot: Slot,
    record: &NewRecord,
    version: u64,
    expects_new: bool,
) -> Result<(i64, Put), StoreError> {
    if expects_new && let Some(id) = insert(statements, slot, record, version)? {
        // What is gone before it was ever seen is kept, so that nobody takes it for new, and counts for nothing.
        return Ok((id, if record.deleted { Put::Unchanged } else { Put::Added }));
    }
    let known: Option<(i64, Hash, bool, i64)> = statements
        .find
        .query_row((slot.stream.0, &record.key), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((id, hash, was_deleted, part)) = known else {
        let id = insert(statements, slot, record, version)?;
        return Ok((id.unwrap_or_default(), if record.deleted { Put::Unchanged } else { Put::Added }));
    };
    let transaction = statements.transaction;
    let same_hash = hash == record.hash;
    if record.deleted == was_deleted && (record.deleted || same_hash || says_the_same(transaction, id, record)?) {
        if !same_hash && !record.deleted {
            let sql = "UPDATE records SET hash = ?2 WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute((id, record.hash))?;
        }
        // It moved to another list without a change of its own: that one must miss it from now on.
        if slot.sweeping && part != slot.part.0 {
            let sql = "UPDATE records SET part_id = ?2 WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute((id, slot.part.0))?;
        }
        return Ok((id, Put::Unchanged));
    }
    if record.deleted {
        // What the vendor says of a record that is gone is little: what it was stays.
        delete(transaction, slot.stream, &record.key, version, slot.now)?;
        return Ok((id, Put::Deleted));
    }
    let sql = "UPDATE records SET part_id = ?2, hash = ?3, version = ?4, changed_at = ?5, deleted_at = NULL, \
               deleted_as = NULL, told_at = NULL, added = CASE WHEN ?6 THEN ?4 ELSE added END WHERE id = ?1";
    let values = (id, slot.part.0, record.hash, version, slot.now.as_second(), was_deleted);
    transaction.prepare_cached(sql)?.execute(values)?;
    let sql = "UPDATE bodies SET json = ?2 WHERE record_id = ?1";
    transaction.prepare_cached(sql)?.execute((id, &record.json))?;
    Ok((id, if was_deleted { Put::Added } else { Put::Changed }))
}

fn insert(
    statements: &mut Statements<'_>,
    slot: Slot,
    record: &NewRecord,
    version: u64,
) -> Result<Option<i64>, StoreError> {
    let now = slot.now.as_second();
    let inserted = statements.insert.execute((
        slot.stream.0,
        slot.part.0,
        &record.key,
        record.hash,
        version,
        now,
        record.deleted.then_some(now),
    ))?;
    if inserted == 0 {
        return Ok(None);
    }
    let id = statements.transaction.last_insert_rowid();
    statements.body.execute((id, &record.json))?;
    Ok(Some(id))
}

/// A vendor may write the members of the same record in another order, and a restored store hashes otherwise.
fn says_the_same(transaction: &Transaction<'_>, id: i64, record: &NewRecord) -> Result<bool, StoreError> {
    let sql = "SELECT json FROM bodies WHERE record_id = ?1";
    let old: String = transaction.prepare_cached(sql)?.query_row([id], |row| row.get(0))?;
    let value = |text: &str| json::parse(text).ok();
    Ok(value(&old).is_some_and(|old| Some(old) == value(&record.json)))
}

fn delete(
    transaction: &Transaction<'_>,
    stream: StreamId,
    key: &str,
    version: u64,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let sql = "UPDATE records SET deleted_at = ?4, changed_at = ?4, version = ?3, told_at = NULL \
               WHERE stream_id = ?1 AND key = ?2 AND deleted_at IS NULL";
    let changed = transaction.prepare_cached(sql)?.execute((stream.0, key, version, now.as_second()))?;
    Ok(changed as u64)
}

fn place(transaction: &Transaction<'_>, page: &NewPage) -> Result<(), StoreError> {
    let part = page.part.0;
    match &page.place {
        Place::Under(progress) => {
            let sql = "UPDATE parts SET progress = ?2 WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute((part, progress))?;
        }
        Place::Backfill(progress) => {
            let sql = "UPDATE parts SET backfill = ?2 WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute((part, progress))?;
        }
        Place::End { cursor, parent_version } => {
            end_list(transaction, page.part, cursor.as_deref(), *parent_version, page.now)?;
        }
    }
    Ok(())
}

/// Moves a part's cursor to where the next list begins.
pub(super) fn end_list(
    transaction: &Transaction<'_>,
    part: PartId,
    cursor: Option<&str>,
    parent_version: Option<u64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "SELECT cursor IS ?2 FROM parts WHERE id = ?1";
    let same: bool = transaction.prepare_cached(sql)?.query_row((part.0, cursor), |row| row.get(0))?;
    if !same {
        keep_history(transaction, part, now)?;
    }
    let sql = "UPDATE parts SET cursor = ?2, progress = NULL, parent_version = ?3, synced_at = ?4 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute((part.0, cursor, parent_version, now.as_second()))?;
    Ok(())
}

fn stored(row: &Row<'_>) -> Result<StoredRecord, StoreError> {
    Ok(StoredRecord {
        id: RecordId(row.get(0)?),
        key: row.get(1)?,
        json: row.get(2)?,
        version: row.get(3)?,
        added: row.get(4)?,
        first_seen_at: timestamp(row.get(5)?)?,
        changed_at: timestamp(row.get(6)?)?,
        deleted_at: row.get::<_, Option<i64>>(7)?.map(timestamp).transpose()?,
    })
}
