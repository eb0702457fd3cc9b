//! Stores the records of pages: what is known of them is read at once, what is to be done is decided in memory, and
//! written in a statement for each kind of change. Pages of one list are taken together.
//!
//! Most pages hold records that are all new or all known. Reading and deciding therefore come before the counter of
//! versions is locked; only if another writer was faster, they are done again while it is.

use std::collections::HashMap;

use super::jobs::progress;
use super::links;
use super::records::{DELETED_CURSOR, key_hash, open_body, seal_body};
use super::row::{get, get_bytes, number, signed};
use super::streams::{BACKFILL_CHECKPOINT, CHECKPOINT, CURSOR, add_history, cursor_for_update};
use super::transaction::Transaction;
use super::value::{Value, given};
use crate::clock::Timestamp;
use crate::json;
use crate::model::{
    Hash, NewPage, NewRecord, PageCheckpoint, PartitionId, PushedRecord, RecordChange, RecordCounts, StreamId, Traffic,
};
use crate::store::StoreError;
use crate::store::sqlite::pack;

/// The versions of records. The number is that of the last commit that changed some.
pub(super) struct RecordVersions {
    last: u64,
    /// The number of this commit, once it holds the counter.
    own: Option<u64>,
}

impl RecordVersions {
    pub(super) async fn read(transaction: &Transaction) -> Result<Self, StoreError> {
        let sql = "SELECT value FROM integ.counters WHERE workspace_id = $1 AND name = 'records'";
        let row = transaction.first(sql, &[]).await?;
        Ok(Self { last: row.map_or(Ok(0), |row| number(&row, "value"))?, own: None })
    }

    /// Takes the number of this commit, and keeps others from changing records until it ends.
    pub(super) async fn take(&mut self, transaction: &Transaction) -> Result<u64, StoreError> {
        if let Some(own) = self.own {
            return Ok(own);
        }
        let sql =
            "UPDATE integ.counters SET value = value + 1 WHERE workspace_id = $1 AND name = 'records' RETURNING value";
        let row = transaction.first(sql, &[]).await?;
        let row = row.ok_or_else(|| StoreError::IntegrityCheck("its table `counters` lacks a row".to_owned()))?;
        let own = number(&row, "value")?;
        self.own = Some(own);
        Ok(own)
    }

    /// Whether this commit has the counter.
    pub(super) fn is_taken(&self) -> bool {
        self.own.is_some()
    }

    /// Whether others have changed records between [`Self::read`] and [`Self::take`].
    pub(super) fn was_overtaken(&self) -> bool {
        self.own.is_some_and(|own| own != self.last + 1)
    }
}

/// Where records belong.
#[derive(Clone, Copy)]
struct RecordLocation {
    stream: StreamId,
    partition: PartitionId,
    now: Timestamp,
    /// Whether they were met in a full list.
    sweeping: bool,
}

/// A record that is known or was met, and what became of it in this commit.
#[derive(Clone, Debug)]
struct RecordState {
    /// Absent for a new one before ids are given out.
    id: Option<i64>,
    key: String,
    hash: Hash,
    partition: i64,
    is_deleted: bool,
    /// The JSON, if it came or was needed.
    json: Option<String>,
    is_changed: bool,
    /// It was deleted before, and is there again.
    is_revived: bool,
    is_removed: bool,
    /// Another hash of the same content, or another list.
    is_touched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UpsertResult {
    Added,
    Changed,
    Deleted,
    Unchanged,
}

/// What pages do.
pub(super) struct PagePlan {
    location: RecordLocation,
    /// By the hashes of their keys, in the order in which they were met.
    states: Vec<(Vec<u8>, RecordState)>,
    counts: RecordCounts,
    /// The records that a full list has met.
    seen: Vec<usize>,
}

/// Divides pages into those that can be stored together: they follow each other in one list.
pub(super) fn group_pages(pages: &[NewPage]) -> impl Iterator<Item = &[NewPage]> {
    let key = |page: &NewPage| (page.job, page.stream, page.partition, page.is_full_list, page.now);
    pages.chunk_by(move |one, next| key(one) == key(next))
}

/// Stores pages of one list, at least one, and returns what became of their records, and whether their job is cancelled.
pub(super) async fn store_pages(
    transaction: &Transaction,
    pages: &[NewPage],
    mut plan: PagePlan,
    versions: &mut RecordVersions,
) -> Result<(RecordCounts, bool), StoreError> {
    let page = &pages[0];
    if plan.is_change() && !versions.is_taken() {
        versions.take(transaction).await?;
        if versions.was_overtaken() {
            plan = plan_pages(transaction, pages).await?;
        }
    }
    if plan.is_change() {
        plan.write(transaction, versions.take(transaction).await?).await?;
    }
    let merged: Vec<(&str, &[String])> = pages
        .iter()
        .flat_map(|page| &page.records)
        .filter(|record| !record.former_keys.is_empty() && !record.is_deleted)
        .map(|record| (record.key.as_str(), record.former_keys.as_slice()))
        .collect();
    if !merged.is_empty() {
        links::follow_records(transaction, page.stream, &merged, page.now).await?;
    }
    let seen: Vec<i64> = plan.seen.iter().filter_map(|index| plan.states[*index].1.id).collect();
    let mut traffic = Traffic::default();
    pages.iter().for_each(|page| traffic += page.traffic);
    let ((), (), is_cancelled) = tokio::try_join!(
        biased;
        insert_seen(transaction, page.partition, &seen),
        store_checkpoints(transaction, pages),
        progress(transaction, page.job, plan.counts, traffic)
    )?;
    Ok((plan.counts, is_cancelled))
}

/// Reads what is known of the records of pages of one list, at least one, and decides about them.
pub(super) async fn plan_pages(transaction: &Transaction, pages: &[NewPage]) -> Result<PagePlan, StoreError> {
    let page = &pages[0];
    let location =
        RecordLocation { stream: page.stream, partition: page.partition, now: page.now, sweeping: page.is_full_list };
    let keys = pages.iter().flat_map(page_keys);
    let records = pages.iter().flat_map(|page| &page.records);
    let mut known = KnownRecords::read(transaction, location, keys, records).await?;
    let mut plan = PagePlan { location, states: Vec::new(), counts: RecordCounts::default(), seen: Vec::new() };
    for page in pages {
        known.decide(page, &mut plan);
    }
    plan.states = known.states;
    Ok(plan)
}

fn page_keys(page: &NewPage) -> impl Iterator<Item = &str> {
    let others = page.unchanged_keys.iter().chain(&page.deleted_keys);
    page.records.iter().map(|record| &record.key).chain(others).map(String::as_str)
}

/// The records that were known before, and the hashes of the keys that were not.
struct KnownRecords<'a> {
    location: RecordLocation,
    states: Vec<(Vec<u8>, RecordState)>,
    by_key: HashMap<&'a str, usize>,
    unknown: HashMap<&'a str, Vec<u8>>,
}

impl<'a> KnownRecords<'a> {
    /// Reads records by their keys, and the bodies of those whose hash differs from that of the record that came.
    async fn read(
        transaction: &Transaction,
        location: RecordLocation,
        keys: impl IntoIterator<Item = &'a str>,
        came: impl IntoIterator<Item = &NewRecord>,
    ) -> Result<Self, StoreError> {
        let mut keys: HashMap<Vec<u8>, &'a str> =
            keys.into_iter().map(|key| (key_hash(&transaction.sealer, location.stream, key), key)).collect();
        let hashes: Vec<&[u8]> = keys.keys().map(Vec::as_slice).collect();
        let sql = "SELECT id, key_hash, hash, partition_id, deleted_at IS NOT NULL AS is_deleted FROM integ.records
                   WHERE key_hash = ANY($2) AND workspace_id IS NOT DISTINCT FROM $1";
        let rows = transaction.query(sql, &[&hashes]).await?;
        let mut known = Self { location, states: Vec::new(), by_key: HashMap::new(), unknown: HashMap::new() };
        for row in rows {
            let key_hash: Vec<u8> = get(&row, "key_hash")?;
            let Some(key) = keys.remove(&key_hash) else { continue };
            let state = RecordState {
                id: Some(get(&row, "id")?),
                key: key.to_owned(),
                hash: get_bytes(&row, "hash")?,
                partition: get(&row, "partition_id")?,
                is_deleted: get(&row, "is_deleted")?,
                json: None,
                is_changed: false,
                is_revived: false,
                is_removed: false,
                is_touched: false,
            };
            known.by_key.insert(key, known.states.len());
            known.states.push((key_hash, state));
        }
        known.unknown = keys.into_iter().map(|(hash, key)| (key, hash)).collect();
        known.read_bodies(transaction, came).await?;
        Ok(known)
    }

    /// A vendor may write the members of the same record in another order, and a restored store hashes otherwise.
    async fn read_bodies(
        &mut self,
        transaction: &Transaction,
        came: impl IntoIterator<Item = &NewRecord>,
    ) -> Result<(), StoreError> {
        let mut needed = HashMap::new();
        for record in came.into_iter().filter(|record| !record.is_deleted) {
            let Some(index) = self.by_key.get(record.key.as_str()).copied() else { continue };
            let state = &self.states[index].1;
            if !state.is_deleted && state.hash != record.hash {
                needed.extend(state.id.map(|id| (id, index)));
            }
        }
        if needed.is_empty() {
            return Ok(());
        }
        let sql = concat!(
            "SELECT r.id, r.body FROM ",
            given!("$2::bigint[]", "id"),
            " JOIN integ.records r ON r.workspace_id = u.workspace_id AND r.id = u.id"
        );
        for row in transaction.query(sql, &[&needed.keys().copied().collect::<Vec<i64>>()]).await? {
            let id: i64 = get(&row, "id")?;
            if let Some(index) = needed.get(&id) {
                self.states[*index].1.json = Some(open_body(&transaction.sealer, &row, id)?.1);
            }
        }
        Ok(())
    }

    /// Decides about the records of a page.
    fn decide(&mut self, page: &'a NewPage, plan: &mut PagePlan) {
        let mut counts = RecordCounts::default();
        for record in &page.records {
            let (index, outcome) = self.upsert(record);
            match outcome {
                UpsertResult::Added => counts.added += 1,
                UpsertResult::Changed => counts.changed += 1,
                UpsertResult::Deleted => counts.deleted += 1,
                UpsertResult::Unchanged => counts.unchanged += 1,
            }
            if page.is_full_list && !record.is_deleted {
                plan.seen.push(index);
            }
        }
        for key in &page.unchanged_keys {
            counts.unchanged += 1;
            let known = self.by_key.get(key.as_str()).copied();
            plan.seen.extend(known.filter(|_| page.is_full_list));
        }
        for key in &page.deleted_keys {
            if let Some(index) = self.by_key.get(key.as_str()).copied()
                && !self.states[index].1.is_deleted
            {
                self.states[index].1.remove();
                counts.deleted += 1;
            }
        }
        if page.is_verification_pass {
            counts.unchanged = 0;
        }
        plan.counts += counts;
    }

    /// Decides about a record that came, and returns its place.
    fn upsert(&mut self, record: &'a NewRecord) -> (usize, UpsertResult) {
        let Some(index) = self.by_key.get(record.key.as_str()).copied() else {
            let index = self.states.len();
            self.by_key.insert(&record.key, index);
            let key_hash = self.unknown.remove(record.key.as_str()).unwrap_or_default();
            self.states.push((key_hash, RecordState::new(record, self.location.partition)));
            // A record that was deleted before it was ever seen is stored, so that nobody takes it for new, and is not counted.
            return (index, if record.is_deleted { UpsertResult::Unchanged } else { UpsertResult::Added });
        };
        let location = self.location;
        (index, self.states[index].1.meet(record, location))
    }
}

impl RecordState {
    fn new(record: &NewRecord, partition: PartitionId) -> Self {
        Self {
            id: None,
            key: record.key.clone(),
            hash: record.hash,
            partition: partition.0,
            is_deleted: record.is_deleted,
            json: Some(record.json.clone()),
            is_changed: false,
            is_revived: false,
            is_removed: false,
            is_touched: false,
        }
    }

    /// Takes another version of a known record.
    fn meet(&mut self, record: &NewRecord, location: RecordLocation) -> UpsertResult {
        let same_hash = self.hash == record.hash;
        let is_same = record.is_deleted == self.is_deleted
            && (record.is_deleted
                || same_hash
                || self.json.as_deref().is_some_and(|old| says_the_same(old, &record.json)));
        if is_same {
            if !same_hash && !record.is_deleted {
                (self.hash, self.is_touched) = (record.hash, true);
            }
            // It moved to another list without a change of its own: that one must miss it from now on.
            if location.sweeping && self.partition != location.partition.0 {
                (self.partition, self.is_touched) = (location.partition.0, true);
            }
            return UpsertResult::Unchanged;
        }
        if record.is_deleted {
            // The vendor says little of a deleted record: its last content stays.
            self.remove();
            return UpsertResult::Deleted;
        }
        let was_deleted = std::mem::replace(&mut self.is_deleted, false);
        self.hash = record.hash;
        self.partition = location.partition.0;
        self.json = Some(record.json.clone());
        self.is_changed = true;
        self.is_removed = false;
        self.is_revived |= was_deleted;
        if was_deleted { UpsertResult::Added } else { UpsertResult::Changed }
    }

    fn remove(&mut self) {
        self.is_deleted = true;
        self.is_removed = true;
    }
}

fn says_the_same(old: &str, new: &str) -> bool {
    json::parse(old).is_ok_and(|old| json::parse(new).is_ok_and(|new| old == new))
}

impl PagePlan {
    /// Whether anything of records is to be written.
    fn is_change(&self) -> bool {
        self.states
            .iter()
            .any(|(_, state)| state.id.is_none() || state.is_changed || state.is_removed || state.is_touched)
    }

    /// Writes what was decided. New records get their ids.
    async fn write(&mut self, transaction: &Transaction, version: u64) -> Result<(), StoreError> {
        self.insert_new(transaction, version).await?;
        self.write_changed(transaction, version).await?;
        let removed: Vec<i64> = self.ids(|state| state.is_removed && !state.is_changed);
        if !removed.is_empty() {
            mark_deleted(transaction, &removed, version, self.location.now).await?;
        }
        let touched: Vec<&RecordState> =
            self.states.iter().map(|(_, state)| state).filter(|state| state.is_touched && !state.is_changed).collect();
        if !touched.is_empty() {
            let ids: Vec<i64> = touched.iter().filter_map(|state| state.id).collect();
            let partitions: Vec<i64> = touched.iter().map(|state| state.partition).collect();
            let hashes: Vec<&[u8]> = touched.iter().map(|state| state.hash.as_slice()).collect();
            let sql = concat!(
                "UPDATE integ.records r SET partition_id = u.partition_id, hash = u.hash FROM ",
                given!("$2::bigint[], $3::bigint[], $4::bytea[]", "id, partition_id, hash"),
                " WHERE r.workspace_id = u.workspace_id AND r.id = u.id"
            );
            transaction.execute(sql, &[&ids, &partitions, &hashes]).await?;
        }
        Ok(())
    }

    fn ids(&self, accepts: impl Fn(&RecordState) -> bool) -> Vec<i64> {
        self.states.iter().filter(|(_, state)| accepts(state)).filter_map(|(_, state)| state.id).collect()
    }

    async fn insert_new(&mut self, transaction: &Transaction, version: u64) -> Result<(), StoreError> {
        let count = self.states.iter().filter(|(_, state)| state.id.is_none()).count();
        if count == 0 {
            return Ok(());
        }
        let ids = transaction.next_ids("records", count).await?;
        let (mut keys, mut hashes) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let (mut deleted, mut bodies) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let new = self.states.iter_mut().filter(|(_, state)| state.id.is_none());
        for ((key_hash, state), id) in new.zip(&ids) {
            state.id = Some(*id);
            // It is written here whatever else became of it in these pages.
            (state.is_changed, state.is_removed, state.is_touched) = (false, false, false);
            keys.push(key_hash.as_slice());
            hashes.push(state.hash.as_slice().to_vec());
            deleted.push(state.is_deleted);
            bodies.push(seal_body(&transaction.sealer, *id, &state.key, state.json.as_deref().unwrap_or_default())?);
        }
        let sql = "INSERT INTO integ.records (workspace_id, id, stream_id, partition_id, key_hash, hash, body, version,
                       added_version, first_seen_at, changed_at, deleted_at)
                   SELECT $1, n.id, p.stream_id, p.id, n.key_hash, n.hash, n.body, $3, $3, $4, $4,
                       CASE WHEN n.is_deleted THEN $4 END
                   FROM (SELECT id, stream_id FROM integ.partitions WHERE workspace_id = $1 AND id = $2 FOR KEY SHARE) p,
                       unnest($5::bigint[], $6::bytea[], $7::bytea[], $8::bytea[], $9::boolean[])
                           AS n (id, key_hash, hash, body, is_deleted)";
        let now = self.location.now.as_second();
        let values: [Value<'_>; 8] =
            [&self.location.partition.0, &signed(version), &now, &ids, &keys, &hashes, &bodies, &deleted];
        match transaction.execute(sql, &values).await? {
            // Its connection was deleted meanwhile.
            0 => Err(StoreError::ConnectionNotFound),
            _ => Ok(()),
        }
    }

    async fn write_changed(&self, transaction: &Transaction, version: u64) -> Result<(), StoreError> {
        let changed: Vec<&RecordState> =
            self.states.iter().map(|(_, state)| state).filter(|state| state.is_changed).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = changed.iter().filter_map(|state| state.id).collect();
        let partitions: Vec<i64> = changed.iter().map(|state| state.partition).collect();
        let hashes: Vec<&[u8]> = changed.iter().map(|state| state.hash.as_slice()).collect();
        let deleted: Vec<bool> = changed.iter().map(|state| state.is_deleted).collect();
        let revived: Vec<bool> = changed.iter().map(|state| state.is_revived).collect();
        let body = |state: &&RecordState| {
            let json = state.json.as_deref().unwrap_or_default();
            seal_body(&transaction.sealer, state.id.unwrap_or_default(), &state.key, json)
        };
        let bodies = changed.iter().map(body).collect::<Result<Vec<_>, _>>()?;
        let sql = concat!(
            "UPDATE integ.records r SET partition_id = u.partition_id, hash = u.hash, body = u.body, version = $2,
                       changed_at = $3, deleted_at = CASE WHEN u.is_deleted THEN $3 END, deleted_cursor = NULL, vendor_updated_at = NULL,
                       vendor_event_id = NULL, added_version = CASE WHEN u.is_revived THEN $2 ELSE r.added_version END
                   FROM ",
            given!(
                "$4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[], $8::boolean[], $9::boolean[]",
                "id, partition_id, hash, body, is_deleted, is_revived"
            ),
            " WHERE r.workspace_id = u.workspace_id AND r.id = u.id"
        );
        let now = self.location.now.as_second();
        let values: [Value<'_>; 8] = [&signed(version), &now, &ids, &partitions, &hashes, &bodies, &deleted, &revived];
        transaction.execute(sql, &values).await.map(drop)
    }
}

/// Marks records as deleted.
pub(super) async fn mark_deleted(
    transaction: &Transaction,
    ids: &Vec<i64>,
    version: u64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = concat!(
        "UPDATE integ.records r SET deleted_at = $4, changed_at = $4, version = $3, vendor_updated_at = NULL,
                   vendor_event_id = NULL
               FROM ",
        given!("$2::bigint[]", "id"),
        " WHERE r.workspace_id = u.workspace_id AND r.id = u.id"
    );
    transaction.execute(sql, &[ids, &signed(version), &now.as_second()]).await.map(drop)
}

/// Stores a record that came in an event.
pub(super) async fn push(transaction: &Transaction, pushed: &PushedRecord) -> Result<Option<RecordChange>, StoreError> {
    let location =
        RecordLocation { stream: pushed.stream, partition: pushed.partition, now: pushed.now, sweeping: false };
    let record = &pushed.record;
    let mut versions = RecordVersions::read(transaction).await?;
    // Its row is written whatever came, and one record is decided about quickly.
    let version = versions.take(transaction).await?;
    let mut known =
        KnownRecords::read(transaction, location, [record.key.as_str()], std::slice::from_ref(record)).await?;
    let (index, outcome) = known.upsert(record);
    let mut plan = PagePlan { location, states: known.states, counts: RecordCounts::default(), seen: Vec::new() };
    plan.write(transaction, version).await?;
    let id = plan.states[index].1.id.unwrap_or_default();
    let deleted_cursor = pushed.cursor_value.as_ref().filter(|_| record.is_deleted);
    let deleted_cursor = transaction.sealer.seal_optional(DELETED_CURSOR, id, deleted_cursor)?;
    let sql = "UPDATE integ.records SET vendor_updated_at = $3, vendor_event_id = $4, deleted_cursor = $5
               WHERE workspace_id = $1 AND id = $2";
    let updated_at = pushed.vendor_updated_at.as_millisecond();
    transaction.execute(sql, &[&id, &updated_at, &pushed.event.0, &deleted_cursor]).await?;
    if !record.is_deleted {
        if !record.former_keys.is_empty() {
            let merged = [(record.key.as_str(), record.former_keys.as_slice())];
            links::follow_records(transaction, pushed.stream, &merged, pushed.now).await?;
        }
        // A full list that was interrupted may have passed its place.
        let sql = "SELECT 1 FROM integ.partitions WHERE workspace_id = $1 AND id = $2 AND checkpoint IS NOT NULL";
        if transaction.first(sql, &[&pushed.partition.0]).await?.is_some() {
            insert_seen(transaction, pushed.partition, &[id]).await?;
        }
    }
    Ok(match outcome {
        UpsertResult::Added => Some(RecordChange::Added),
        UpsertResult::Changed => Some(RecordChange::Changed),
        UpsertResult::Deleted => Some(RecordChange::Deleted),
        UpsertResult::Unchanged => None,
    })
}

/// Adds ids to those that an unfinished full list has met.
async fn insert_seen(transaction: &Transaction, partition: PartitionId, ids: &[i64]) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO integ.seen_ids (workspace_id, id, partition_id, ids)
               VALUES ($1, nextval('integ.seen_ids_id'), $2, $3)";
    transaction.execute(sql, &[&partition.0, &pack(ids)]).await.map(drop)
}

/// Stores how far the list has come by each page, unless the next one stores it at once.
async fn store_checkpoints(transaction: &Transaction, pages: &[NewPage]) -> Result<(), StoreError> {
    for (page, next) in pages.iter().zip(pages.iter().skip(1).map(Some).chain([None])) {
        let is_replaced = matches!(page.checkpoint, PageCheckpoint::InProgress(_))
            && next.is_some_and(|next| matches!(next.checkpoint, PageCheckpoint::InProgress(_)));
        if !is_replaced {
            store_checkpoint(transaction, page).await?;
        }
    }
    Ok(())
}

async fn store_checkpoint(transaction: &Transaction, page: &NewPage) -> Result<(), StoreError> {
    let partition = page.partition.0;
    match &page.checkpoint {
        PageCheckpoint::InProgress(checkpoint) => {
            let checkpoint = transaction.sealer.seal(CHECKPOINT, partition, checkpoint)?;
            let sql = "UPDATE integ.partitions SET checkpoint = $3 WHERE workspace_id = $1 AND id = $2";
            transaction.execute(sql, &[&partition, &checkpoint]).await.map(drop)
        }
        PageCheckpoint::Backfill(checkpoint) => {
            let checkpoint = transaction.sealer.seal_optional(BACKFILL_CHECKPOINT, partition, checkpoint.as_ref())?;
            let sql = "UPDATE integ.partitions SET backfill_checkpoint = $3 WHERE workspace_id = $1 AND id = $2";
            transaction.execute(sql, &[&partition, &checkpoint]).await.map(drop)
        }
        PageCheckpoint::Complete { cursor, parent_version } => {
            end_list(transaction, page.partition, cursor.as_deref(), *parent_version, page.now).await
        }
    }
}

/// Moves a partition's cursor to where the next list begins.
pub(super) async fn end_list(
    transaction: &Transaction,
    partition: PartitionId,
    cursor: Option<&str>,
    parent_version: Option<u64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let former = cursor_for_update(transaction, partition).await?;
    if former.as_deref() != cursor {
        add_history(transaction, partition, former.as_deref(), now).await?;
    }
    let cursor = transaction.sealer.seal_optional(CURSOR, partition.0, cursor)?;
    let sql = "UPDATE integ.partitions SET cursor = $3, checkpoint = NULL, parent_version = $4, synced_at = $5
               WHERE workspace_id = $1 AND id = $2";
    transaction.execute(sql, &[&partition.0, &cursor, &parent_version.map(signed), &now.as_second()]).await.map(drop)
}
