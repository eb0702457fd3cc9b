//! Records as the vendor wrote them, with their changes.
//!
//! Invariants:
//! - The records of a page, and how far the list has come by it, are one commit ([`Records::commit_pages`]), which pages
//!   that wait for each other share.
//! - Who changes records holds the row of their counter ([`RecordVersions`]) until the commit.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use tokio_postgres::Row;

use super::locks::check_fence;
use super::row::{SealedRow, get, get_seconds, number, optional_seconds, signed};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use super::upsert::{self, RecordVersions};
use super::value::Value;
use super::{PostgresStore, consents, sweep};
use crate::clock::Timestamp;
use crate::model::{
    CompletedList, EventId, JobId, NewPage, PartitionId, PushedRecord, RecordChange, RecordCounts, RecordId,
    RecordSnapshot, RecordTotals, StoredRecord, StreamId, SweepResult,
};
use crate::store::{CommitConditions, MalformedValue, Records, StoreError};

pub(super) const BODY: Column = column("records", "body");
pub(super) const DELETED_CURSOR: Column = column("records", "deleted_cursor");

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT r.id, r.version, r.added_version, r.first_seen_at, r.changed_at, r.deleted_at, r.partition_id,
             r.vendor_updated_at, r.vendor_event_id, r.deleted_cursor, r.body
             FROM integ.records r WHERE r.stream_id = $2 AND ",
            $rest
        )
    };
}

#[async_trait]
impl Records for PostgresStore {
    async fn commit_pages(
        &self,
        pages: Vec<NewPage>,
        conditions: &CommitConditions,
    ) -> Result<(RecordCounts, bool), StoreError> {
        let transaction = self.begin().await?;
        let groups: Vec<&[NewPage]> = upsert::group_pages(&pages).collect();
        let first = async {
            match groups.first() {
                Some(pages) => upsert::plan_pages(&transaction, pages).await.map(Some),
                None => Ok(None),
            }
        };
        // Sent together, like all that does not depend on an answer: the way to the server and back takes longer than most
        // statements. The versions are read before the records.
        let ((), mut versions, mut first) =
            tokio::try_join!(biased; check(&transaction, conditions), RecordVersions::read(&transaction), first)?;
        let (mut all, mut is_cancelled) = (RecordCounts::default(), false);
        for pages in groups {
            let plan = match first.take() {
                Some(plan) => plan,
                None => upsert::plan_pages(&transaction, pages).await?,
            };
            let (counts, is_job_cancelled) = upsert::store_pages(&transaction, pages, plan, &mut versions).await?;
            is_cancelled |= is_job_cancelled;
            all += counts;
        }
        transaction.commit().await?;
        Ok((all, is_cancelled))
    }

    async fn push(
        &self,
        record: PushedRecord,
        conditions: &CommitConditions,
    ) -> Result<Option<RecordChange>, StoreError> {
        let transaction = self.begin().await?;
        check(&transaction, conditions).await?;
        let change = upsert::push(&transaction, &record).await?;
        transaction.commit().await?;
        Ok(change)
    }

    async fn find(&self, stream: StreamId, key: &str) -> Result<Option<RecordSnapshot>, StoreError> {
        let hash = key_hash(&self.sealer, stream, key);
        let row = self
            .row(select!("r.key_hash = $3 AND r.workspace_id IS NOT DISTINCT FROM $1"), &[&stream.0, &hash])
            .await?;
        row.map(|row| snapshot_from_row(&self.sealer, &row)).transpose()
    }

    async fn exist(&self, stream: StreamId, keys: &[String]) -> Result<Vec<bool>, StoreError> {
        let hashes: Vec<Vec<u8>> = keys.iter().map(|key| key_hash(&self.sealer, stream, key)).collect();
        let sql = "SELECT key_hash FROM integ.records WHERE key_hash = ANY($2)
                       AND workspace_id IS NOT DISTINCT FROM $1 AND deleted_at IS NULL";
        let rows = self.rows(sql, &[&hashes]).await?;
        let found = rows.iter().map(|row| get(row, "key_hash")).collect::<Result<HashSet<Vec<u8>>, _>>()?;
        Ok(hashes.iter().map(|hash| found.contains(hash)).collect())
    }

    async fn list(&self, stream: StreamId, after: RecordId, limit: u32) -> Result<Vec<StoredRecord>, StoreError> {
        let sql = select!("r.workspace_id = $1 AND r.id > $3 AND r.deleted_at IS NULL ORDER BY r.id LIMIT $4");
        let rows = self.rows(sql, &[&stream.0, &after.0, &i64::from(limit)]).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn changes(
        &self,
        stream: StreamId,
        since: u64,
        after: Option<(u64, RecordId)>,
        limit: u32,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let (version, id) = after.unwrap_or((since, RecordId(i64::MAX)));
        let sql = select!("r.workspace_id = $1 AND (r.version, r.id) > ($3, $4) ORDER BY r.version, r.id LIMIT $5");
        let values: [Value<'_>; 4] = [&stream.0, &signed(version), &id.0, &i64::from(limit)];
        let rows = self.rows(sql, &values).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn version_at(&self, stream: StreamId, time: Timestamp) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(max(version), 0) AS version FROM integ.records
                   WHERE workspace_id = $1 AND stream_id = $2 AND changed_at < $3";
        self.row(sql, &[&stream.0, &time.as_second()]).await?.map_or(Ok(0), |row| number(&row, "version"))
    }

    async fn count(&self, stream: StreamId) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) AS count FROM integ.records
                   WHERE workspace_id = $1 AND stream_id = $2 AND deleted_at IS NULL";
        self.row(sql, &[&stream.0]).await?.map_or(Ok(0), |row| number(&row, "count"))
    }

    async fn totals(&self) -> Result<HashMap<StreamId, RecordTotals>, StoreError> {
        let sql = "SELECT p.stream_id, coalesce(sum(c.stored), 0)::bigint AS stored,
                       coalesce(sum(c.deleted), 0)::bigint AS deleted, max(p.synced_at) AS synced_at
                   FROM integ.partitions p LEFT JOIN (SELECT partition_id, count(*) AS stored, count(deleted_at) AS deleted
                       FROM integ.records WHERE workspace_id = $1 GROUP BY partition_id) c ON c.partition_id = p.id
                   WHERE p.workspace_id = $1 GROUP BY p.stream_id";
        let total = |row: &Row| {
            let (stored, deleted): (u64, u64) = (number(row, "stored")?, number(row, "deleted")?);
            let synced_at = optional_seconds(row, "synced_at")?;
            let totals = RecordTotals { records: stored.saturating_sub(deleted), deleted, synced_at };
            Ok((StreamId(get(row, "stream_id")?), totals))
        };
        self.rows(sql, &[]).await?.iter().map(total).collect()
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
        if lists.is_empty() && !sweep::has_orphans(&self.snapshot().await?, stream).await? {
            return Ok(SweepResult::Done { deleted: 0 });
        }
        let transaction = self.begin().await?;
        check(&transaction, conditions).await?;
        let result = sweep::sweep(&transaction, job, stream, lists, limit, now).await?;
        transaction.commit().await?;
        Ok(result)
    }

    async fn reset_list(&self, partition: PartitionId) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        sweep::discard_list(&transaction, partition).await?;
        let sql = "UPDATE integ.partitions SET backfill_checkpoint = NULL WHERE workspace_id = $1 AND id = $2";
        transaction.execute(sql, &[&partition.0]).await?;
        transaction.commit().await
    }

    async fn begin_list(&self, partition: PartitionId) -> Result<u64, StoreError> {
        let sql = "SELECT value, EXISTS (SELECT 1 FROM integ.seen_ids WHERE workspace_id = $1 AND partition_id = $2)
                       AS has_seen_ids
                   FROM integ.counters WHERE workspace_id = $1 AND name = 'records'";
        let Some(row) = self.row(sql, &[&partition.0]).await? else { return Ok(0) };
        if get(&row, "has_seen_ids")? {
            // A list that goes on without the ids that were seen before would delete their records.
            let transaction = self.begin().await?;
            sweep::discard_list(&transaction, partition).await?;
            transaction.commit().await?;
        }
        number(&row, "value")
    }

    async fn has_missing(&self, list: &CompletedList) -> Result<bool, StoreError> {
        // The ids that were seen and the records, as they were at one moment.
        Ok(!sweep::missing(&self.snapshot().await?, list).await?.is_empty())
    }
}

async fn check(transaction: &Transaction, conditions: &CommitConditions) -> Result<(), StoreError> {
    check_fence(transaction, conditions.fence).await?;
    consents::check(transaction, &conditions.consent).await
}

/// Returns what a record is found by.
pub(super) fn key_hash(sealer: &Sealer, stream: StreamId, key: &str) -> Vec<u8> {
    sealer.short_hash("records", &[&stream.0.to_be_bytes(), key.as_bytes()])
}

/// Seals the body of a record: the length of its key, the key, and the JSON.
pub(super) fn seal_body(sealer: &Sealer, id: i64, key: &str, json: &str) -> Result<Vec<u8>, StoreError> {
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes();
    sealer.seal(BODY, id, [&length, key.as_bytes(), json.as_bytes()].concat())
}

/// Opens the body of a record in the column `body`, and returns its key and its JSON.
pub(super) fn open_body(sealer: &Sealer, row: &Row, id: i64) -> Result<(String, String), StoreError> {
    split_body(SealedRow::new(sealer, row, id).bytes(BODY)?.unwrap_or_default())
}

/// Returns the key and the JSON of a body.
pub(super) fn split_body(mut text: Vec<u8>) -> Result<(String, String), StoreError> {
    let damaged = || MalformedValue::EnumValue("body".to_owned());
    let length = text.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize).ok_or_else(damaged)?;
    if text.len() < length + 4 {
        return Err(damaged().into());
    }
    let json = String::from_utf8(text.split_off(length + 4)).map_err(|_| damaged())?;
    let key = String::from_utf8(text.split_off(4)).map_err(|_| damaged())?;
    Ok((key, json))
}

/// Returns the key of a record whose body is in the column `body`.
pub(super) fn record_key(sealer: &Sealer, row: &Row, id: i64) -> Result<String, StoreError> {
    Ok(open_body(sealer, row, id)?.0)
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<StoredRecord, StoreError> {
    let id: i64 = get(row, "id")?;
    let (key, json) = open_body(sealer, row, id)?;
    Ok(StoredRecord {
        id: RecordId(id),
        key,
        json,
        version: number(row, "version")?,
        added_version: number(row, "added_version")?,
        first_seen_at: get_seconds(row, "first_seen_at")?,
        changed_at: get_seconds(row, "changed_at")?,
        deleted_at: optional_seconds(row, "deleted_at")?,
    })
}

fn snapshot_from_row(sealer: &Sealer, row: &Row) -> Result<RecordSnapshot, StoreError> {
    let record = from_row(sealer, row)?;
    let vendor_updated_at: Option<i64> = get(row, "vendor_updated_at")?;
    let vendor_updated_at = vendor_updated_at.and_then(|at| Timestamp::from_millisecond(at).ok());
    Ok(RecordSnapshot {
        partition: PartitionId(get(row, "partition_id")?),
        as_of: vendor_updated_at.unwrap_or(record.changed_at),
        event: get::<Option<i64>>(row, "vendor_event_id")?.map(EventId),
        deleted_cursor: SealedRow::new(sealer, row, record.id.0).text(DELETED_CURSOR)?,
        record,
    })
}
