//! Bindings, and the inputs that they failed on.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::records::record_key;
use super::row::{SealedRow, connection_name, get, get_seconds, get_word, number};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{
    Binding, BindingChange, BindingFailure, BindingId, BindingInput, BindingName, BindingOrigin, BindingResults,
    BoundInput, EventId, RecordId, StreamId,
};
use crate::store::{Bindings, MalformedValue, StoreError};

/// Failures that are stored of one binding.
const MAX_FAILURES: i64 = 10_000;

const TEXT: Column = column("bindings", "text");
const REASON: Column = column("binding_failures", "reason");

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT b.id, b.name, b.connector, b.account, b.stream, b.event, b.text, b.created_at, b.changed_at,
             b.dropped_failures, (SELECT count(*) FROM integ.binding_failures f
                 WHERE f.workspace_id = $1 AND f.binding_id = b.id) AS failures
             FROM integ.bindings b WHERE b.workspace_id = $1 ",
            $rest
        )
    };
}

#[async_trait]
impl Bindings for PostgresStore {
    async fn list(&self) -> Result<Vec<Binding>, StoreError> {
        let rows = self.rows(select!("ORDER BY b.name"), &[]).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn find(&self, name: &BindingName) -> Result<Option<Binding>, StoreError> {
        let row = self.row(select!("AND b.name = $2"), &[&name.as_str()]).await?;
        row.map(|row| from_row(&self.sealer, &row)).transpose()
    }

    async fn put(
        &self,
        name: &BindingName,
        origin: &BindingOrigin,
        text: &str,
        now: Timestamp,
    ) -> Result<BindingChange, StoreError> {
        let transaction = self.begin().await?;
        let row = transaction.first(select!("AND b.name = $2 FOR UPDATE OF b"), &[&name.as_str()]).await?;
        let existing = row.map(|row| from_row(&transaction.sealer, &row)).transpose()?;
        if existing.as_ref().is_some_and(|existing| existing.origin == *origin && existing.text == text) {
            return Ok(BindingChange::Unchanged);
        }
        if let Some(existing) = existing.as_ref().filter(|existing| existing.origin.input != origin.input) {
            let sql = "DELETE FROM integ.binding_failures WHERE workspace_id = $1 AND binding_id = $2";
            transaction.execute(sql, &[&existing.id.0]).await?;
        }
        let change = match existing {
            Some(existing) => {
                update(&transaction, existing.id.0, origin, text, now).await?;
                BindingChange::Changed
            }
            None => {
                insert(&transaction, name, origin, text, now).await?;
                BindingChange::Added
            }
        };
        transaction.commit().await?;
        Ok(change)
    }

    async fn remove(&self, name: &BindingName) -> Result<bool, StoreError> {
        let sql = "DELETE FROM integ.bindings WHERE workspace_id = $1 AND name = $2";
        Ok(self.execute(sql, &[&name.as_str()]).await? == 1)
    }

    async fn record_results(&self, id: BindingId, results: BindingResults, now: Timestamp) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        record_results(&transaction, id, &results, now).await?;
        transaction.commit().await
    }

    async fn failures(&self, id: BindingId, limit: u32) -> Result<Vec<BindingFailure>, StoreError> {
        let sql =
            "SELECT f.id, f.record_id, f.event_id, f.reason, f.failed_at, c.connector, c.account, r.stream_id, r.body
                   FROM integ.binding_failures f
                   LEFT JOIN integ.records r ON r.workspace_id = $1 AND r.id = f.record_id
                   LEFT JOIN integ.streams s ON s.workspace_id = $1 AND s.id = r.stream_id
                   LEFT JOIN integ.events e ON e.workspace_id = $1 AND e.id = f.event_id
                   JOIN integ.connections c ON c.workspace_id = $1 AND c.id = coalesce(s.connection_id, e.connection_id)
                   WHERE f.workspace_id = $1 AND f.binding_id = $2 ORDER BY f.id LIMIT $3";
        let rows = self.rows(sql, &[&id.0, &i64::from(limit)]).await?;
        rows.iter().map(|row| failure_from_row(&self.sealer, row)).collect()
    }
}

/// The columns of an input, of which one is NULL.
fn input_columns(input: &BindingInput) -> (Option<&str>, Option<&str>) {
    match input {
        BindingInput::Stream(stream) => (Some(stream), None),
        BindingInput::Event(event) => (None, Some(event)),
    }
}

async fn insert(
    transaction: &Transaction,
    name: &BindingName,
    origin: &BindingOrigin,
    text: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let id = transaction.next_id("bindings").await?;
    let (stream, event) = input_columns(&origin.input);
    let sql = "INSERT INTO integ.bindings (workspace_id, id, name, connector, account, stream, event, text, created_at,
                   changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)";
    let values: [Value<'_>; 8] = [
        &id,
        &name.as_str(),
        &origin.connector,
        &origin.account.as_deref(),
        &stream,
        &event,
        &transaction.sealer.seal(TEXT, id, text)?,
        &now.as_second(),
    ];
    transaction.execute(sql, &values).await.map(drop)
}

async fn update(
    transaction: &Transaction,
    id: i64,
    origin: &BindingOrigin,
    text: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (stream, event) = input_columns(&origin.input);
    let sql = "UPDATE integ.bindings SET connector = $3, account = $4, stream = $5, event = $6, text = $7,
                   changed_at = $8, dropped_failures = 0 WHERE workspace_id = $1 AND id = $2";
    let values: [Value<'_>; 7] = [
        &id,
        &origin.connector,
        &origin.account.as_deref(),
        &stream,
        &event,
        &transaction.sealer.seal(TEXT, id, text)?,
        &now.as_second(),
    ];
    transaction.execute(sql, &values).await.map(drop)
}

async fn record_results(
    transaction: &Transaction,
    id: BindingId,
    results: &BindingResults,
    now: Timestamp,
) -> Result<(), StoreError> {
    // The binding may have been removed meanwhile.
    let sql = "SELECT 1 FROM integ.bindings WHERE workspace_id = $1 AND id = $2 FOR NO KEY UPDATE";
    if transaction.first(sql, &[&id.0]).await?.is_none() {
        return Ok(());
    }
    let (records, events): (Vec<_>, Vec<_>) = results.succeeded.iter().map(|input| columns(*input)).unzip();
    let (records, events): (Vec<i64>, Vec<i64>) =
        (records.into_iter().flatten().collect(), events.into_iter().flatten().collect());
    let sql = "DELETE FROM integ.binding_failures
               WHERE workspace_id = $1 AND binding_id = $2 AND (record_id = ANY($3) OR event_id = ANY($4))";
    transaction.execute(sql, &[&id.0, &records, &events]).await?;
    if results.failed.is_empty() {
        return Ok(());
    }
    let sql = "SELECT count(*) AS count FROM integ.binding_failures WHERE workspace_id = $1 AND binding_id = $2";
    let row = transaction.first(sql, &[&id.0]).await?;
    let mut stored: i64 = row.map_or(Ok(0), |row| get(&row, "count"))?;
    let mut dropped = 0_i64;
    for (input, reason) in &results.failed {
        if replace_failure(transaction, id, *input, reason, now).await? {
            continue;
        }
        if stored >= MAX_FAILURES {
            dropped += 1;
            continue;
        }
        stored += insert_failure(transaction, id, *input, reason, now).await?;
    }
    if dropped > 0 {
        let sql =
            "UPDATE integ.bindings SET dropped_failures = dropped_failures + $3 WHERE workspace_id = $1 AND id = $2";
        transaction.execute(sql, &[&id.0, &dropped]).await?;
    }
    Ok(())
}

/// Replaces the failure of an input, and returns whether there was one.
async fn replace_failure(
    transaction: &Transaction,
    binding: BindingId,
    input: BoundInput,
    reason: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (record, event) = columns(input);
    let sql = "SELECT id FROM integ.binding_failures
               WHERE workspace_id = $1 AND binding_id = $2 AND (record_id = $3 OR event_id = $4)";
    let Some(row) = transaction.first(sql, &[&binding.0, &record, &event]).await? else { return Ok(false) };
    let id: i64 = get(&row, "id")?;
    let reason = transaction.sealer.seal(REASON, id, reason)?;
    let sql = "UPDATE integ.binding_failures SET reason = $3, failed_at = $4 WHERE workspace_id = $1 AND id = $2";
    transaction.execute(sql, &[&id, &reason, &now.as_second()]).await?;
    Ok(true)
}

/// Stores a failure, unless its input was removed. Returns the number of rows.
async fn insert_failure(
    transaction: &Transaction,
    binding: BindingId,
    input: BoundInput,
    reason: &str,
    now: Timestamp,
) -> Result<i64, StoreError> {
    let id = transaction.next_id("binding_failures").await?;
    let (record, event) = columns(input);
    let sql = "INSERT INTO integ.binding_failures (workspace_id, id, binding_id, record_id, event_id, reason, failed_at)
               SELECT $1, $2, $3, $4, $5, $6, $7 WHERE EXISTS (SELECT 1 FROM integ.records WHERE workspace_id = $1 AND id = $4)
               OR EXISTS (SELECT 1 FROM integ.events WHERE workspace_id = $1 AND id = $5)";
    let reason = transaction.sealer.seal(REASON, id, reason)?;
    let values: [Value<'_>; 6] = [&id, &binding.0, &record, &event, &reason, &now.as_second()];
    Ok(i64::try_from(transaction.execute(sql, &values).await?).unwrap_or_default())
}

/// The columns of an input, of which one is NULL.
fn columns(input: BoundInput) -> (Option<i64>, Option<i64>) {
    match input {
        BoundInput::Record(id) => (Some(id.0), None),
        BoundInput::Event(id) => (None, Some(id.0)),
    }
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<Binding, StoreError> {
    let id: i64 = get(row, "id")?;
    let stream: Option<String> = get(row, "stream")?;
    let event: Option<String> = get(row, "event")?;
    let input = stream.map(BindingInput::Stream).or(event.map(BindingInput::Event)).ok_or(MalformedValue::Name)?;
    Ok(Binding {
        id: BindingId(id),
        name: get_word(row, "name")?,
        origin: BindingOrigin { connector: get(row, "connector")?, account: get(row, "account")?, input },
        text: SealedRow::new(sealer, row, id).required_text(TEXT)?,
        created_at: get_seconds(row, "created_at")?,
        changed_at: get_seconds(row, "changed_at")?,
        failures: number(row, "failures")?,
        dropped_failures: number(row, "dropped_failures")?,
    })
}

fn failure_from_row(sealer: &Sealer, row: &Row) -> Result<BindingFailure, StoreError> {
    let record: Option<i64> = get(row, "record_id")?;
    let event: Option<i64> = get(row, "event_id")?;
    let input = record.map(|id| BoundInput::Record(RecordId(id)));
    let input = input.or(event.map(|id| BoundInput::Event(EventId(id)))).ok_or(MalformedValue::Name)?;
    let stream: Option<i64> = get(row, "stream_id")?;
    let record = match (stream, record) {
        (Some(stream), Some(record)) => Some((StreamId(stream), record_key(sealer, row, record)?)),
        _ => None,
    };
    Ok(BindingFailure {
        input,
        connection: connection_name(row)?,
        record,
        reason: SealedRow::new(sealer, row, get::<i64>(row, "id")?).required_text(REASON)?,
        failed_at: get_seconds(row, "failed_at")?,
    })
}
