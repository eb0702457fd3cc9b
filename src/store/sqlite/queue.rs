//! The queue of events to handle, and the results of handlers.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Params, Transaction};

use super::StoreError;
use super::row::{Row, collect, first, get_millis, get_word, query};
use crate::clock::Timestamp;
use crate::model::{AttemptResult, ConnectionId, DueEvents, EventId, EventProgress, HandlerRun, QueuedEvent};

/// Runs that are stored of one event: who queues it again and again must not fill the disk.
const MAX_RUNS: i64 = 64;

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, due_at, attempts, completed_handlers, verification FROM events WHERE ", $rest)
    };
}

/// Returns the first waiting events in the order of arrival: of each part of the index its first ones, merged.
pub(super) fn list(sqlite: &Connection, connection: ConnectionId, limit: u32) -> Result<Vec<QueuedEvent>, StoreError> {
    let (new, others) = (
        select!("connection_id = ?1 AND due_at IS NULL AND status IN ('pending', 'failed') ORDER BY id LIMIT ?2"),
        select!("connection_id = ?1 AND due_at IS NOT NULL AND status IN ('pending', 'failed') ORDER BY id LIMIT ?2"),
    );
    let mut events = select(sqlite, new, (connection.0, limit))?;
    events.extend(select(sqlite, others, (connection.0, limit))?);
    events.sort_unstable_by_key(|event| event.id);
    events.truncate(limit as usize);
    Ok(events)
}

/// Returns the events that are to be handled, leaving out those that the vendor must still confirm.
pub(super) fn due(
    sqlite: &Connection,
    connection: ConnectionId,
    now: Timestamp,
    longest: Duration,
    limit: u32,
) -> Result<DueEvents, StoreError> {
    let (now_ms, latest) = (now.as_millisecond(), now.checked_add(longest).unwrap_or(Timestamp::MAX));
    let new = select!(
        "connection_id = ?1 AND due_at IS NULL AND status IN ('pending', 'failed') \
         AND verification IN ('verified', 'unsigned') ORDER BY id LIMIT ?2"
    );
    let overdue = select!(
        "connection_id = ?1 AND due_at <= ?2 AND status IN ('pending', 'failed') \
         AND verification IN ('verified', 'unsigned') ORDER BY due_at, id LIMIT ?3"
    );
    let from_fast_clock = select!(
        "connection_id = ?1 AND due_at > ?2 AND status IN ('pending', 'failed') \
         AND verification IN ('verified', 'unsigned') ORDER BY due_at, id LIMIT ?3"
    );
    let mut retries = select(sqlite, overdue, (connection.0, now_ms, limit))?;
    retries.extend(select(sqlite, from_fast_clock, (connection.0, latest.as_millisecond(), limit))?);
    let sql =
        "SELECT min(due_at) FROM events WHERE connection_id = ?1 AND due_at > ?2 AND status IN ('pending', 'failed')";
    let next: Option<i64> =
        sqlite.prepare_cached(sql)?.query_row((connection.0, now_ms), |row| row.get(0)).optional()?.flatten();
    Ok(DueEvents {
        new: select(sqlite, new, (connection.0, limit))?,
        retries,
        next_at: next.and_then(|at| Timestamp::from_millisecond(at).ok()),
    })
}

/// Returns one event that waits.
pub(super) fn find(sqlite: &Connection, id: EventId) -> Result<Option<QueuedEvent>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("id = ?1 AND status IN ('pending', 'failed')"))?;
    first(query(&mut statement, [id.0])?, from_row)
}

fn select(sqlite: &Connection, sql: &str, params: impl Params) -> Result<Vec<QueuedEvent>, StoreError> {
    let mut statement = sqlite.prepare_cached(sql)?;
    collect(query(&mut statement, params)?, from_row)
}

/// Records an attempt with what its handlers did.
pub(super) fn record(transaction: &Transaction<'_>, attempt: &AttemptResult) -> Result<(), StoreError> {
    let sql = "UPDATE events SET status = ?2, due_at = ?3, last_error = ?4, completed_handlers = ?5, \
               attempts = attempts + 1 WHERE id = ?1";
    let updated = transaction.prepare_cached(sql)?.execute((
        attempt.id.0,
        attempt.status.as_str(),
        attempt.due_at.map(Timestamp::as_millisecond),
        &attempt.error,
        attempt.completed_handlers,
    ))?;
    // Its connection may have been removed meanwhile.
    if updated == 0 || attempt.runs.is_empty() {
        return Ok(());
    }
    let sql = "SELECT coalesce(max(number), 0) FROM event_attempts WHERE event_id = ?1";
    let mut number: i64 = transaction.prepare_cached(sql)?.query_row([attempt.id.0], |row| row.get(0))?;
    let sql = "INSERT INTO event_attempts (event_id, number, attempt, handler, started_at, duration_ms, status, error, \
               output) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let mut insert = transaction.prepare_cached(sql)?;
    for run in &attempt.runs {
        number += 1;
        let output = &run.output[..run.output.len().min(HandlerRun::MAX_OUTPUT_BYTES)];
        insert.execute(rusqlite::params![
            attempt.id.0,
            number,
            run.attempt,
            run.handler.as_str(),
            run.started_at.as_millisecond(),
            u64::try_from(run.duration.as_millis()).unwrap_or(u64::MAX).min(i64::MAX as u64),
            run.status,
            run.error,
            (!output.is_empty()).then_some(output),
        ])?;
    }
    if number > MAX_RUNS {
        let sql = "DELETE FROM event_attempts WHERE event_id = ?1 AND number <= ?2";
        transaction.prepare_cached(sql)?.execute((attempt.id.0, number - MAX_RUNS))?;
    }
    Ok(())
}

/// Records what was done with an event without an attempt that counts.
pub(super) fn record_progress(transaction: &Transaction<'_>, progress: &EventProgress) -> Result<(), StoreError> {
    let sql = "UPDATE events SET completed_handlers = ?2, last_error = coalesce(?3, last_error), \
               due_at = coalesce(?4, due_at) WHERE id = ?1";
    let due_at = progress.due_at.map(Timestamp::as_millisecond);
    transaction.prepare_cached(sql)?.execute((progress.id.0, progress.completed_handlers, &progress.error, due_at))?;
    Ok(())
}

/// Returns what handlers did with an event.
pub(super) fn handler_runs(sqlite: &Connection, id: EventId) -> Result<Vec<HandlerRun>, StoreError> {
    let sql = "SELECT attempt, handler, started_at, duration_ms, status, error, output FROM event_attempts \
               WHERE event_id = ?1 ORDER BY number";
    let mut statement = sqlite.prepare_cached(sql)?;
    collect(query(&mut statement, [id.0])?, |row| {
        Ok(HandlerRun {
            handler: get_word(row, "handler")?,
            attempt: row.get("attempt")?,
            started_at: get_millis(row, "started_at")?,
            duration: Duration::from_millis(row.get("duration_ms")?),
            status: row.get("status")?,
            error: row.get("error")?,
            output: row.get::<Option<Vec<u8>>>("output")?.unwrap_or_default(),
        })
    })
}

fn from_row(row: &Row<'_>) -> Result<QueuedEvent, StoreError> {
    // A time that cannot be read must not hold up the queue: the event is due at once.
    let due_at: Option<i64> = row.get("due_at")?;
    let due_at = Timestamp::from_millisecond(due_at.unwrap_or_default()).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(QueuedEvent {
        id: EventId(row.get("id")?),
        due_at,
        verification: get_word(row, "verification")?,
        attempts: row.get("attempts")?,
        completed_handlers: row.get("completed_handlers")?,
    })
}
