//! Records as the vendor wrote them, with their changes.
//!
//! Invariant: the records of a page, and how far the list has come by it, are one commit ([`Records::commit_pages`]), which
//! pages that wait for each other share.

use std::collections::HashMap;

use async_trait::async_trait;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Transaction};

use super::id_set::pack;
use super::jobs::progress;
use super::row::{Row, collect, first, get_optional_seconds, get_seconds, query};
use super::streams::keep_history;
use super::{SqliteStore, StoreError, consents, links, locks, sweep};
use crate::clock::Timestamp;
use crate::json;
use crate::model::{
    CompletedList, EventId, Hash, JobId, NewPage, NewRecord, PageCheckpoint, PartitionId, PushedRecord, RecordChange,
    RecordCounts, RecordId, RecordSnapshot, RecordTotals, StoredRecord, StreamId, SweepResult,
};
use crate::store::{CommitConditions, Records};

/// Where a record belongs.
#[derive(Clone, Copy)]
struct RecordLocation {
    stream: StreamId,
    partition: PartitionId,
    now: Timestamp,
    /// Whether it was met in a full list.
    sweeping: bool,
}

const COLUMNS: &str = "id, key, json, version, added_version, first_seen_at, changed_at, deleted_at";

const RECORDS_WITH_BODIES: &str = "records JOIN record_bodies ON record_id = id";

#[async_trait]
impl Records for SqliteStore {
    async fn commit_pages(
        &self,
        pages: Vec<NewPage>,
        conditions: &CommitConditions,
    ) -> Result<(RecordCounts, bool), StoreError> {
        let conditions = conditions.clone();
        self.write(move |transaction| {
            check(transaction, &conditions)?;
            let version = next_version(transaction)?;
            let (mut all, mut is_cancelled) = (RecordCounts::default(), false);
            for page in &pages {
                let counts = store_page(transaction, page, version)?;
                is_cancelled |= progress(transaction, page.job, counts, page.traffic)?;
                all += counts;
            }
            Ok((all, is_cancelled))
        })
        .await
    }

    async fn push(
        &self,
        record: PushedRecord,
        conditions: &CommitConditions,
    ) -> Result<Option<RecordChange>, StoreError> {
        let conditions = conditions.clone();
        self.write(move |transaction| {
            check(transaction, &conditions)?;
            push(transaction, &record)
        })
        .await
    }

    async fn find(&self, stream: StreamId, key: &str) -> Result<Option<RecordSnapshot>, StoreError> {
        let key = key.to_owned();
        self.read(move |sqlite| {
            let sql = format!(
                "SELECT {COLUMNS}, partition_id, vendor_updated_at, vendor_event_id, deleted_cursor FROM {RECORDS_WITH_BODIES} \
                 WHERE stream_id = ?1 AND key = ?2"
            );
            let mut statement = sqlite.prepare_cached(&sql)?;
            first(query(&mut statement, (stream.0, &key))?, snapshot_from_row)
        })
        .await
    }

    async fn exist(&self, stream: StreamId, keys: &[String]) -> Result<Vec<bool>, StoreError> {
        let keys = keys.to_vec();
        self.read(move |sqlite| {
            let sql = "SELECT 1 FROM records WHERE stream_id = ?1 AND key = ?2 AND deleted_at IS NULL";
            // All keys are looked up in one snapshot, as one statement would.
            let snapshot = sqlite.unchecked_transaction()?;
            let mut statement = snapshot.prepare_cached(sql)?;
            keys.iter().map(|key| Ok(statement.exists((stream.0, key))?)).collect()
        })
        .await
    }

    async fn list(&self, stream: StreamId, after: RecordId, limit: u32) -> Result<Vec<StoredRecord>, StoreError> {
        self.read(move |sqlite| {
            let rest = "WHERE stream_id = ?1 AND id > ?2 AND deleted_at IS NULL ORDER BY id LIMIT ?3";
            select(sqlite, rest, (stream.0, after.0, limit))
        })
        .await
    }

    async fn changes(
        &self,
        stream: StreamId,
        since: u64,
        after: Option<(u64, RecordId)>,
        limit: u32,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let (version, id) = after.unwrap_or((since, RecordId(i64::MAX)));
        self.read(move |sqlite| {
            let rest = "WHERE stream_id = ?1 AND (version, id) > (?2, ?3) ORDER BY version, id LIMIT ?4";
            select(sqlite, rest, (stream.0, version, id.0, limit))
        })
        .await
    }

    async fn version_at(&self, stream: StreamId, time: Timestamp) -> Result<u64, StoreError> {
        self.read(move |sqlite| {
            let sql = "SELECT coalesce(max(version), 0) FROM records WHERE stream_id = ?1 AND changed_at < ?2";
            Ok(sqlite.query_row(sql, (stream.0, time.as_second()), |row| row.get(0))?)
        })
        .await
    }

    async fn count(&self, stream: StreamId) -> Result<u64, StoreError> {
        self.read(move |sqlite| {
            let sql = "SELECT count(*) FROM records WHERE stream_id = ?1 AND deleted_at IS NULL";
            Ok(sqlite.query_row(sql, [stream.0], |row| row.get(0))?)
        })
        .await
    }

    async fn totals(&self) -> Result<HashMap<StreamId, RecordTotals>, StoreError> {
        self.read(|sqlite| {
            // Read from the index of each partition's records alone.
            let sql = "SELECT p.stream_id, count(r.partition_id) AS stored, count(r.deleted_at) AS deleted, \
                       max(p.synced_at) AS synced_at \
                       FROM partitions p LEFT JOIN records r ON r.partition_id = p.id GROUP BY p.stream_id";
            let mut statement = sqlite.prepare_cached(sql)?;
            let mut rows = query(&mut statement, [])?;
            let mut totals = HashMap::new();
            while let Some(row) = rows.next()? {
                let (stored, deleted): (u64, u64) = (row.get("stored")?, row.get("deleted")?);
                let synced_at = get_optional_seconds(&row, "synced_at")?;
                let total = RecordTotals { records: stored.saturating_sub(deleted), deleted, synced_at };
                totals.insert(StreamId(row.get("stream_id")?), total);
            }
            Ok(totals)
        })
        .await
    }

    async fn sweep(
        &self,
        job: JobId,
        stream: StreamId,
        lists: &[CompletedList],
        limit: Option<u64>,
        now: Timestamp,
        conditions: &CommitConditions,
    ) -> Result<SweepResult, StoreError> {
        if lists.is_empty() && !self.read(move |sqlite| sweep::has_orphans(sqlite, stream)).await? {
            return Ok(SweepResult::Done { deleted: 0 });
        }
        let (lists, conditions) = (lists.to_vec(), conditions.clone());
        self.write(move |transaction| {
            check(transaction, &conditions)?;
            sweep::sweep(transaction, job, stream, &lists, limit, now)
        })
        .await
    }

    async fn reset_list(&self, partition: PartitionId) -> Result<(), StoreError> {
        self.write(move |transaction| {
            sweep::discard_list(transaction, partition)?;
            transaction.execute("UPDATE partitions SET backfill_checkpoint = NULL WHERE id = ?1", [partition.0])?;
            Ok(())
        })
        .await
    }

    async fn begin_list(&self, partition: PartitionId) -> Result<u64, StoreError> {
        let (version, has_seen_ids): (u64, bool) = self
            .read(move |sqlite| {
                let sql =
                    "SELECT sequence, EXISTS (SELECT 1 FROM seen_ids WHERE partition_id = ?1) AS has_seen_ids FROM meta";
                let mut statement = sqlite.prepare_cached(sql)?;
                Ok(statement.query_row([partition.0], |row| Ok((row.get("sequence")?, row.get("has_seen_ids")?)))?)
            })
            .await?;
        if has_seen_ids {
            // A list that goes on without the ids that were seen before would delete their records.
            self.write(move |transaction| sweep::discard_list(transaction, partition)).await?;
        }
        Ok(version)
    }

    async fn has_missing(&self, list: &CompletedList) -> Result<bool, StoreError> {
        let list = list.clone();
        self.read(move |sqlite| {
            // The ids that were seen and the records, as they were at one moment.
            let snapshot = sqlite.unchecked_transaction()?;
            Ok(!sweep::missing(&snapshot, &list)?.is_empty())
        })
        .await
    }
}

fn select(sqlite: &Connection, rest: &str, values: impl Params) -> Result<Vec<StoredRecord>, StoreError> {
    let mut statement = sqlite.prepare_cached(&format!("SELECT {COLUMNS} FROM {RECORDS_WITH_BODIES} {rest}"))?;
    collect(query(&mut statement, values)?, from_row)
}

fn push(transaction: &Transaction<'_>, pushed: &PushedRecord) -> Result<Option<RecordChange>, StoreError> {
    let slot = RecordLocation { stream: pushed.stream, partition: pushed.partition, now: pushed.now, sweeping: false };
    let version = next_version(transaction)?;
    let (id, outcome) = upsert(&mut Statements::prepare(transaction)?, slot, &pushed.record, version, false)?;
    let sql = "UPDATE records SET vendor_updated_at = ?2, vendor_event_id = ?3, deleted_cursor = ?4 WHERE id = ?1";
    let deleted_cursor = pushed.cursor_value.as_ref().filter(|_| pushed.record.is_deleted);
    let values = (id, pushed.vendor_updated_at.as_millisecond(), pushed.event.0, deleted_cursor);
    transaction.prepare_cached(sql)?.execute(values)?;
    if !pushed.record.former_keys.is_empty() && !pushed.record.is_deleted {
        let merged = [(pushed.record.key.as_str(), pushed.record.former_keys.as_slice())];
        links::follow_records(transaction, pushed.stream.0, &merged, pushed.now)?;
    }
    if !pushed.record.is_deleted {
        // A full list that was cut off may have gone past its place.
        let sql = "INSERT INTO seen_ids (partition_id, ids) \
                   SELECT id, ?2 FROM partitions WHERE id = ?1 AND checkpoint IS NOT NULL";
        transaction.prepare_cached(sql)?.execute((slot.partition.0, pack(&[id])))?;
    }
    Ok(match outcome {
        UpsertResult::Added => Some(RecordChange::Added),
        UpsertResult::Changed => Some(RecordChange::Changed),
        UpsertResult::Deleted => Some(RecordChange::Deleted),
        UpsertResult::Unchanged => None,
    })
}

/// Returns the number of the commit that this transaction will be. Later changes get greater ones.
pub(super) fn next_version(transaction: &Transaction<'_>) -> Result<u64, StoreError> {
    Ok(transaction.prepare_cached("SELECT sequence + 1 FROM meta")?.query_row([], |row| row.get(0))?)
}

fn store_page(transaction: &Transaction<'_>, page: &NewPage, version: u64) -> Result<RecordCounts, StoreError> {
    let mut counts = RecordCounts::default();
    let mut seen = Vec::with_capacity(if page.is_full_list { page.records.len() } else { 0 });
    let mut merged = Vec::new();
    let mut expects_new = true;
    let slot =
        RecordLocation { stream: page.stream, partition: page.partition, now: page.now, sweeping: page.is_full_list };
    let mut statements = Statements::prepare(transaction)?;
    for record in &page.records {
        let (id, outcome) = upsert(&mut statements, slot, record, version, expects_new)?;
        expects_new = matches!(outcome, UpsertResult::Added);
        match outcome {
            UpsertResult::Added => counts.added += 1,
            UpsertResult::Changed => counts.changed += 1,
            UpsertResult::Deleted => counts.deleted += 1,
            UpsertResult::Unchanged => counts.unchanged += 1,
        }
        if page.is_full_list && !record.is_deleted {
            seen.push(id);
        }
        if !record.former_keys.is_empty() && !record.is_deleted {
            merged.push((record.key.as_str(), record.former_keys.as_slice()));
        }
    }
    if !merged.is_empty() {
        links::follow_records(transaction, page.stream.0, &merged, page.now)?;
    }
    for key in &page.unchanged_keys {
        let sql = "SELECT id FROM records WHERE stream_id = ?1 AND key = ?2";
        let id = transaction.prepare_cached(sql)?.query_row((page.stream.0, key), |row| row.get(0)).optional()?;
        counts.unchanged += 1;
        seen.extend(id.filter(|_: &i64| page.is_full_list));
    }
    for key in &page.deleted_keys {
        counts.deleted += delete(transaction, page.stream, key, version, page.now)?;
    }
    if !seen.is_empty() {
        let sql = "INSERT INTO seen_ids (partition_id, ids) VALUES (?1, ?2)";
        transaction.prepare_cached(sql)?.execute((page.partition.0, pack(&seen)))?;
    }
    if page.is_verification_pass {
        counts.unchanged = 0;
    }
    store_checkpoint(transaction, page)?;
    Ok(counts)
}

enum UpsertResult {
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
        let insert = "INSERT INTO records (stream_id, partition_id, key, hash, version, added_version, first_seen_at, \
                      changed_at, deleted_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?6, ?7) ON CONFLICT DO NOTHING";
        let find = "SELECT id, hash, deleted_at IS NOT NULL AS is_deleted, partition_id FROM records \
                    WHERE stream_id = ?1 AND key = ?2";
        Ok(Self {
            transaction,
            insert: transaction.prepare_cached(insert)?,
            body: transaction.prepare_cached("INSERT INTO record_bodies (record_id, json) VALUES (?1, ?2)")?,
            find: transaction.prepare_cached(find)?,
        })
    }
}

/// Most pages hold either new records or known ones: what the last one was says which statement to try first.
fn upsert(
    statements: &mut Statements<'_>,
    slot: RecordLocation,
    record: &NewRecord,
    version: u64,
    expects_new: bool,
) -> Result<(i64, UpsertResult), StoreError> {
    if expects_new && let Some(id) = insert(statements, slot, record, version)? {
        // What is gone before it was ever seen is kept, so that nobody takes it for new, and counts for nothing.
        return Ok((id, if record.is_deleted { UpsertResult::Unchanged } else { UpsertResult::Added }));
    }
    let known: Option<(i64, Hash, bool, i64)> = statements
        .find
        .query_row((slot.stream.0, &record.key), |row| {
            Ok((row.get("id")?, row.get("hash")?, row.get("is_deleted")?, row.get("partition_id")?))
        })
        .optional()?;
    let Some((id, hash, was_deleted, partition)) = known else {
        let id = insert(statements, slot, record, version)?;
        return Ok((
            id.unwrap_or_default(),
            if record.is_deleted { UpsertResult::Unchanged } else { UpsertResult::Added },
        ));
    };
    let transaction = statements.transaction;
    let same_hash = hash == record.hash;
    if record.is_deleted == was_deleted && (record.is_deleted || same_hash || says_the_same(transaction, id, record)?) {
        if !same_hash && !record.is_deleted {
            let sql = "UPDATE records SET hash = ?2 WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute((id, record.hash))?;
        }
        // It moved to another list without a change of its own: that one must miss it from now on.
        if slot.sweeping && partition != slot.partition.0 {
            let sql = "UPDATE records SET partition_id = ?2 WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute((id, slot.partition.0))?;
        }
        return Ok((id, UpsertResult::Unchanged));
    }
    if record.is_deleted {
        // What the vendor says of a record that is gone is little: what it was stays.
        delete(transaction, slot.stream, &record.key, version, slot.now)?;
        return Ok((id, UpsertResult::Deleted));
    }
    let sql = "UPDATE records SET partition_id = ?2, hash = ?3, version = ?4, changed_at = ?5, deleted_at = NULL, \
               deleted_cursor = NULL, vendor_updated_at = NULL, vendor_event_id = NULL, \
               added_version = CASE WHEN ?6 THEN ?4 ELSE added_version END WHERE id = ?1";
    let values = (id, slot.partition.0, record.hash, version, slot.now.as_second(), was_deleted);
    transaction.prepare_cached(sql)?.execute(values)?;
    let sql = "UPDATE record_bodies SET json = ?2 WHERE record_id = ?1";
    transaction.prepare_cached(sql)?.execute((id, &record.json))?;
    Ok((id, if was_deleted { UpsertResult::Added } else { UpsertResult::Changed }))
}

fn insert(
    statements: &mut Statements<'_>,
    slot: RecordLocation,
    record: &NewRecord,
    version: u64,
) -> Result<Option<i64>, StoreError> {
    let now = slot.now.as_second();
    let inserted = statements.insert.execute((
        slot.stream.0,
        slot.partition.0,
        &record.key,
        record.hash,
        version,
        now,
        record.is_deleted.then_some(now),
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
    let sql = "SELECT json FROM record_bodies WHERE record_id = ?1";
    let old: String = transaction.prepare_cached(sql)?.query_row([id], |row| row.get(0))?;
    let value = |text: &str| json::parse(text).ok();
    Ok(value(&old).is_some_and(|old| Some(old) == value(&record.json)))
}

fn check(transaction: &Transaction<'_>, conditions: &CommitConditions) -> Result<(), StoreError> {
    locks::check_fence(transaction, conditions.fence)?;
    consents::check(transaction, &conditions.consent)
}

fn delete(
    transaction: &Transaction<'_>,
    stream: StreamId,
    key: &str,
    version: u64,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let sql = "UPDATE records SET deleted_at = ?4, changed_at = ?4, version = ?3, vendor_updated_at = NULL, \
               vendor_event_id = NULL WHERE stream_id = ?1 AND key = ?2 AND deleted_at IS NULL";
    let changed = transaction.prepare_cached(sql)?.execute((stream.0, key, version, now.as_second()))?;
    Ok(changed as u64)
}

fn store_checkpoint(transaction: &Transaction<'_>, page: &NewPage) -> Result<(), StoreError> {
    let partition = page.partition.0;
    match &page.checkpoint {
        PageCheckpoint::InProgress(checkpoint) => {
            let sql = "UPDATE partitions SET checkpoint = ?2 WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute((partition, checkpoint))?;
        }
        PageCheckpoint::Backfill(checkpoint) => {
            let sql = "UPDATE partitions SET backfill_checkpoint = ?2 WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute((partition, checkpoint))?;
        }
        PageCheckpoint::Complete { cursor, parent_version } => {
            end_list(transaction, page.partition, cursor.as_deref(), *parent_version, page.now)?;
        }
    }
    Ok(())
}

/// Moves a partition's cursor to where the next list begins.
pub(super) fn end_list(
    transaction: &Transaction<'_>,
    partition: PartitionId,
    cursor: Option<&str>,
    parent_version: Option<u64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "SELECT cursor IS ?2 FROM partitions WHERE id = ?1";
    let same: bool = transaction.prepare_cached(sql)?.query_row((partition.0, cursor), |row| row.get(0))?;
    if !same {
        keep_history(transaction, partition, now)?;
    }
    let sql = "UPDATE partitions SET cursor = ?2, checkpoint = NULL, parent_version = ?3, synced_at = ?4 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute((partition.0, cursor, parent_version, now.as_second()))?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> Result<StoredRecord, StoreError> {
    Ok(StoredRecord {
        id: RecordId(row.get("id")?),
        key: row.get("key")?,
        json: row.get("json")?,
        version: row.get("version")?,
        added_version: row.get("added_version")?,
        first_seen_at: get_seconds(row, "first_seen_at")?,
        changed_at: get_seconds(row, "changed_at")?,
        deleted_at: get_optional_seconds(row, "deleted_at")?,
    })
}

fn snapshot_from_row(row: &Row<'_>) -> Result<RecordSnapshot, StoreError> {
    let record = from_row(row)?;
    let vendor_updated_at: Option<i64> = row.get("vendor_updated_at")?;
    let vendor_updated_at = vendor_updated_at.and_then(|at| Timestamp::from_millisecond(at).ok());
    Ok(RecordSnapshot {
        partition: PartitionId(row.get("partition_id")?),
        as_of: vendor_updated_at.unwrap_or(record.changed_at),
        event: row.get::<Option<i64>>("vendor_event_id")?.map(EventId),
        deleted_cursor: row.get("deleted_cursor")?,
        record,
    })
}
