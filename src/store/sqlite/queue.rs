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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::endpoints::tests::{add_connection, at, opened};
    use super::*;
    use crate::model::{EventStatus, EventVerification, HandlerKind, InboundDelivery, NewEvent, PruneRequest};
    use crate::store::{Events, LockKey, Store};

    const LONGEST: Duration = Duration::from_secs(300);

    async fn insert(
        events: &dyn Events,
        connection: ConnectionId,
        id: u32,
        verification: EventVerification,
    ) -> EventId {
        let event = NewEvent {
            delivery_id: format!("evt_{id}"),
            has_delivery_id: true,
            digest: None,
            signed_digest: None,
            kind: "push".to_owned(),
            account: None,
            resource: None,
            actor: None,
            occurred_at: None,
            batch_item: None,
            merged: None,
        };
        let delivery = InboundDelivery {
            connection,
            received_at: at(0),
            headers: vec![("a".to_owned(), "b".to_owned())],
            query: String::new(),
            body: Vec::new(),
            events: vec![event],
            verification,
            needs_handling: true,
        };
        events.insert(Arc::new(delivery)).await.unwrap()[0].id()
    }

    fn ids(events: &[QueuedEvent]) -> Vec<EventId> {
        events.iter().map(|event| event.id).collect()
    }

    fn failed(id: EventId, due_at: Timestamp, outputs: &[&str]) -> AttemptResult {
        let run = |output: &&str| HandlerRun {
            handler: HandlerKind::Forward,
            attempt: 1,
            started_at: at(1),
            duration: Duration::from_millis(12),
            status: Some(500),
            error: Some("no".to_owned()),
            output: output.as_bytes().to_vec(),
        };
        let runs = outputs.iter().map(run).collect();
        let (status, error) = (EventStatus::Failed, Some("no".to_owned()));
        AttemptResult { id, status, due_at: Some(due_at), error, completed_handlers: 0, runs }
    }

    #[tokio::test]
    async fn events_that_failed_wait_beside_those_that_have_just_come() {
        let (_folder, [store]) = opened();
        let (events, connection) = (store.events(), add_connection(&store).await);
        let mut id = Vec::new();
        for number in 0..5 {
            id.push(insert(events, connection, number, EventVerification::Verified).await);
        }
        id.push(insert(events, connection, 5, EventVerification::Unconfirmed).await);
        let lease = store.locks().try_acquire(LockKey::Events(connection), at(0)).await.unwrap().unwrap();
        let attempts = [failed(id[0], at(10), &[]), failed(id[1], at(5), &[]), failed(id[2], at(9_999), &[])];
        events.record_attempts(&attempts, lease.fence).await.unwrap();

        let due = events.due(connection, at(4), LONGEST, 10).await.unwrap();
        assert_eq!((ids(&due.new), due.next_at), (vec![id[3], id[4]], Some(at(5))));
        assert_eq!(ids(&due.retries), [id[2]], "it was to wait for too long");
        let due = events.due(connection, at(20), LONGEST, 10).await.unwrap();
        assert_eq!(ids(&due.retries), [id[1], id[0], id[2]], "the longest overdue first");
        assert_eq!(ids(&events.queued(connection, 10).await.unwrap()), id, "in the order of arrival, all of them");
        assert_eq!(ids(&events.queued(connection, 2).await.unwrap()), id[..2]);

        let deferred = EventProgress { id: id[3], completed_handlers: 1, error: None, due_at: Some(at(30)) };
        events.record_progress(&deferred, lease.fence).await.unwrap();
        assert_eq!(ids(&events.due(connection, at(20), LONGEST, 10).await.unwrap().new), [id[4]]);
        let waiting = events.find_queued(id[3]).await.unwrap().unwrap();
        assert_eq!((waiting.attempts, waiting.completed_handlers, waiting.due_at), (0, 1, at(30)));
    }

    #[tokio::test]
    async fn the_runs_of_an_event_are_bounded_and_go_with_it() {
        let (_folder, [store]) = opened();
        let (events, connection) = (store.events(), add_connection(&store).await);
        let id = insert(events, connection, 1, EventVerification::Verified).await;
        let lease = store.locks().try_acquire(LockKey::Events(connection), at(0)).await.unwrap().unwrap();
        let long = "x".repeat(9000);
        events.record_attempts(&[failed(id, at(1), &["first", &long])], lease.fence).await.unwrap();
        let runs = events.handler_runs(id).await.unwrap();
        assert_eq!((runs.len(), runs[0].output.as_slice(), runs[1].output.len()), (2, &b"first"[..], 4096));
        assert_eq!(
            (runs[0].status, runs[0].duration, runs[0].started_at),
            (Some(500), Duration::from_millis(12), at(1))
        );
        for number in 0..70 {
            events.record_attempts(&[failed(id, at(1), &[&number.to_string()])], lease.fence).await.unwrap();
        }
        let runs = events.handler_runs(id).await.unwrap();
        assert_eq!((runs.len(), runs[63].output.as_slice()), (64, &b"69"[..]));
        let done = AttemptResult { status: EventStatus::Processed, due_at: None, ..failed(id, at(1), &[]) };
        events.record_attempts(&[done], lease.fence).await.unwrap();
        let prune = PruneRequest { connection, before: at(99), keeps_ids: true, include_dead: false };
        assert_eq!(events.prune(&prune, 10).await.unwrap(), 1);
        assert!(events.handler_runs(id).await.unwrap().is_empty());
        assert!(events.find_queued(id).await.unwrap().is_none());
    }
}
