//! Bindings, and the inputs that they failed on.

use async_trait::async_trait;
use rusqlite::{Connection, Transaction};

use super::row::{Row, collect, connection_name, first, get_seconds, query};
use super::{MalformedValue, SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::{
    Binding, BindingChange, BindingFailure, BindingId, BindingInput, BindingName, BindingOrigin, BindingResults,
    BoundInput, EventId, RecordId, StreamId,
};
use crate::store::Bindings;

/// Failures that are stored of one binding.
const MAX_FAILURES: u32 = 10_000;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, connector, account, stream, event, text, created_at, changed_at, dropped_failures, \
             (SELECT count(*) FROM binding_failures f WHERE f.binding_id = bindings.id) AS failures FROM bindings ",
            $rest
        )
    };
}

#[async_trait]
impl Bindings for SqliteStore {
    async fn list(&self) -> Result<Vec<Binding>, StoreError> {
        self.read(|sqlite| {
            let mut statement = sqlite.prepare_cached(select!("ORDER BY name"))?;
            collect(query(&mut statement, [])?, from_row)
        })
        .await
    }

    async fn find(&self, name: &BindingName) -> Result<Option<Binding>, StoreError> {
        let name = name.clone();
        self.read(move |sqlite| find(sqlite, &name)).await
    }

    async fn put(
        &self,
        name: &BindingName,
        origin: &BindingOrigin,
        text: &str,
        now: Timestamp,
    ) -> Result<BindingChange, StoreError> {
        let (name, origin, text) = (name.clone(), origin.clone(), text.to_owned());
        self.write(move |transaction| put(transaction, &name, &origin, &text, now)).await
    }

    async fn remove(&self, name: &BindingName) -> Result<bool, StoreError> {
        let name = name.clone();
        self.write(move |transaction| {
            Ok(transaction.execute("DELETE FROM bindings WHERE name = ?1", [name.as_str()])? == 1)
        })
        .await
    }

    async fn record_results(&self, id: BindingId, results: BindingResults, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |transaction| record_results(transaction, id, &results, now)).await
    }

    async fn failures(&self, id: BindingId, limit: u32) -> Result<Vec<BindingFailure>, StoreError> {
        self.read(move |sqlite| {
            let sql = "SELECT f.record_id, f.event_id, f.reason, f.failed_at, c.connector, c.account, r.stream_id, r.key \
                       FROM binding_failures f LEFT JOIN records r ON r.id = f.record_id \
                       LEFT JOIN streams s ON s.id = r.stream_id LEFT JOIN events e ON e.id = f.event_id \
                       JOIN connections c ON c.id = coalesce(s.connection_id, e.connection_id) \
                       WHERE f.binding_id = ?1 ORDER BY f.id LIMIT ?2";
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(query(&mut statement, (id.0, limit))?, failure_from_row)
        })
        .await
    }
}

fn find(sqlite: &Connection, name: &BindingName) -> Result<Option<Binding>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("WHERE name = ?1"))?;
    first(query(&mut statement, [name.as_str()])?, from_row)
}

fn put(
    transaction: &Transaction<'_>,
    name: &BindingName,
    origin: &BindingOrigin,
    text: &str,
    now: Timestamp,
) -> Result<BindingChange, StoreError> {
    let existing = find(transaction, name)?;
    if existing.as_ref().is_some_and(|existing| existing.origin == *origin && existing.text == text) {
        return Ok(BindingChange::Unchanged);
    }
    if let Some(existing) = existing.as_ref().filter(|existing| existing.origin.input != origin.input) {
        transaction.execute("DELETE FROM binding_failures WHERE binding_id = ?1", [existing.id.0])?;
    }
    let (stream, event) = match &origin.input {
        BindingInput::Stream(stream) => (Some(stream), None),
        BindingInput::Event(event) => (None, Some(event)),
    };
    let sql = "INSERT INTO bindings (name, connector, account, stream, event, text, created_at, changed_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7) ON CONFLICT (name) DO UPDATE SET connector = excluded.connector, \
               account = excluded.account, stream = excluded.stream, event = excluded.event, text = excluded.text, \
               changed_at = excluded.changed_at, dropped_failures = 0";
    let values = (name.as_str(), &origin.connector, &origin.account, stream, event, text, now.as_second());
    transaction.execute(sql, values)?;
    Ok(if existing.is_some() { BindingChange::Changed } else { BindingChange::Added })
}

fn record_results(
    transaction: &Transaction<'_>,
    id: BindingId,
    results: &BindingResults,
    now: Timestamp,
) -> Result<(), StoreError> {
    for input in &results.succeeded {
        let (record, event) = columns(*input);
        let sql = "DELETE FROM binding_failures WHERE binding_id = ?1 AND (record_id = ?2 OR event_id = ?3)";
        transaction.prepare_cached(sql)?.execute((id.0, record, event))?;
    }
    let count = "SELECT count(*) FROM binding_failures WHERE binding_id = ?1";
    let mut stored: u32 = transaction.prepare_cached(count)?.query_row([id.0], |row| row.get(0))?;
    let mut dropped = 0_u32;
    for (input, reason) in &results.failed {
        let (record, event) = columns(*input);
        let sql = "UPDATE binding_failures SET reason = ?4, failed_at = ?5 \
                   WHERE binding_id = ?1 AND (record_id = ?2 OR event_id = ?3)";
        if transaction.prepare_cached(sql)?.execute((id.0, record, event, reason, now.as_second()))? > 0 {
            continue;
        }
        if stored >= MAX_FAILURES {
            dropped += 1;
            continue;
        }
        // The binding, the record or the event may have been removed meanwhile.
        let sql = "INSERT INTO binding_failures (binding_id, record_id, event_id, reason, failed_at) \
                   SELECT b.id, ?2, ?3, ?4, ?5 FROM bindings b WHERE b.id = ?1 AND \
                   (EXISTS (SELECT 1 FROM records WHERE id = ?2) OR EXISTS (SELECT 1 FROM events WHERE id = ?3))";
        let inserted = transaction.prepare_cached(sql)?.execute((id.0, record, event, reason, now.as_second()))?;
        stored += u32::try_from(inserted).unwrap_or_default();
    }
    if dropped > 0 {
        let sql = "UPDATE bindings SET dropped_failures = dropped_failures + ?2 WHERE id = ?1";
        transaction.prepare_cached(sql)?.execute((id.0, dropped))?;
    }
    Ok(())
}

/// The columns of an input, of which one is NULL.
fn columns(input: BoundInput) -> (Option<i64>, Option<i64>) {
    match input {
        BoundInput::Record(id) => (Some(id.0), None),
        BoundInput::Event(id) => (None, Some(id.0)),
    }
}

fn from_row(row: &Row<'_>) -> Result<Binding, StoreError> {
    let stream: Option<String> = row.get("stream")?;
    let event: Option<String> = row.get("event")?;
    let input = stream.map(BindingInput::Stream).or(event.map(BindingInput::Event)).ok_or(MalformedValue::Name)?;
    Ok(Binding {
        id: BindingId(row.get("id")?),
        name: row.get::<String>("name")?.parse().map_err(|_| MalformedValue::Name)?,
        origin: BindingOrigin { connector: row.get("connector")?, account: row.get("account")?, input },
        text: row.get("text")?,
        created_at: get_seconds(row, "created_at")?,
        changed_at: get_seconds(row, "changed_at")?,
        failures: row.get("failures")?,
        dropped_failures: row.get("dropped_failures")?,
    })
}

fn failure_from_row(row: &Row<'_>) -> Result<BindingFailure, StoreError> {
    let record: Option<i64> = row.get("record_id")?;
    let event: Option<i64> = row.get("event_id")?;
    let input = record.map(|id| BoundInput::Record(RecordId(id)));
    let input = input.or(event.map(|id| BoundInput::Event(EventId(id)))).ok_or(MalformedValue::Name)?;
    let stream: Option<i64> = row.get("stream_id")?;
    Ok(BindingFailure {
        input,
        connection: connection_name(row)?,
        record: stream.map(StreamId).zip(row.get::<Option<String>>("key")?),
        reason: row.get("reason")?,
        failed_at: get_seconds(row, "failed_at")?,
    })
}
