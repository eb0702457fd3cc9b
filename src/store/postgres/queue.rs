//! The queue of events to handle, and the results of handlers.

use std::time::Duration;

use tokio_postgres::Row;

use super::PostgresStore;
use super::events::LAST_ERROR;
use super::row::{SealedRow, get, get_millis, get_word, number, optional_millis, optional_number};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{AttemptResult, ConnectionId, DueEvents, EventId, EventProgress, HandlerRun, QueuedEvent};
use crate::store::StoreError;

/// Runs that are stored of one event: who queues it again and again must not fill the disk.
const MAX_RUNS: i64 = 64;

const ERROR: Column = column("event_attempts", "error");
const OUTPUT: Column = column("event_attempts", "output");

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, due_at, attempts, completed_handlers, verification FROM integ.events
             WHERE workspace_id = $1 AND status IN ('pending', 'failed') ",
            $rest
        )
    };
}

impl PostgresStore {
    /// Returns the first waiting events in the order of arrival.
    pub(super) async fn list_queued(
        &self,
        connection: ConnectionId,
        limit: u32,
    ) -> Result<Vec<QueuedEvent>, StoreError> {
        // Of each part of the index its first ones. The events of the first part lie in the order of their ids there.
        let sql = concat!(
            "(",
            select!("AND connection_id = $2 AND due_at IS NULL ORDER BY due_at, id LIMIT $3"),
            ") UNION ALL (",
            select!("AND connection_id = $2 AND due_at IS NOT NULL ORDER BY id LIMIT $3"),
            ") ORDER BY id LIMIT $3"
        );
        self.rows(sql, &[&connection.0, &i64::from(limit)]).await?.iter().map(from_row).collect()
    }

    /// Returns one event that waits.
    pub(super) async fn find_waiting(&self, id: EventId) -> Result<Option<QueuedEvent>, StoreError> {
        self.row(select!("AND id = $2"), &[&id.0]).await?.as_ref().map(from_row).transpose()
    }

    /// Returns what handlers did with an event.
    pub(super) async fn list_handler_runs(&self, id: EventId) -> Result<Vec<HandlerRun>, StoreError> {
        let sql = "SELECT number, attempt, handler, started_at, duration_ms, status, error, output
                   FROM integ.event_attempts WHERE workspace_id = $1 AND event_id = $2 ORDER BY number";
        let rows = self.rows(sql, &[&id.0]).await?;
        rows.iter().map(|row| run_from_row(&self.sealer, row, id)).collect()
    }
}

/// Returns the events that are to be handled, leaving out those that the vendor must still confirm.
pub(super) async fn due(
    store: &PostgresStore,
    connection: ConnectionId,
    now: Timestamp,
    longest: Duration,
    limit: u32,
) -> Result<DueEvents, StoreError> {
    let latest = now.checked_add(longest).unwrap_or(Timestamp::MAX).as_millisecond();
    let values: [Value<'_>; 4] = [&connection.0, &now.as_millisecond(), &latest, &i64::from(limit)];
    let mut due = DueEvents::default();
    for row in store.rows("SELECT * FROM integ.due_events($1, $2, $3, $4, $5)", &values).await? {
        match get::<&str>(&row, "kind")? {
            "new" => due.new.push(from_row(&row)?),
            "retry" => due.retries.push(from_row(&row)?),
            _ => due.next_at = optional_millis(&row, "due_at")?,
        }
    }
    Ok(due)
}

/// Records attempts with what their handlers did.
pub(super) async fn record(transaction: &Transaction, attempts: &[AttemptResult]) -> Result<(), StoreError> {
    let ids: Vec<i64> = attempts.iter().map(|attempt| attempt.id.0).collect();
    let statuses: Vec<&str> = attempts.iter().map(|attempt| attempt.status.as_str()).collect();
    let due: Vec<Option<i64>> = attempts.iter().map(|attempt| attempt.due_at.map(Timestamp::as_millisecond)).collect();
    let seal =
        |attempt: &AttemptResult| transaction.sealer.seal_optional(LAST_ERROR, attempt.id.0, attempt.error.as_ref());
    let errors = attempts.iter().map(seal).collect::<Result<Vec<_>, _>>()?;
    let handlers: Vec<i64> = attempts.iter().map(|attempt| attempt.completed_handlers.into()).collect();
    let sql = "SELECT * FROM integ.end_attempts($1, $2, $3, $4, $5, $6)";
    let rows = transaction.query(sql, &[&ids, &statuses, &due, &errors, &handlers]).await?;
    // The connection of one that is not among them was removed meanwhile.
    let mut runs = NewRuns::default();
    let mut crowded = Vec::new();
    for row in rows {
        let (id, mut last): (i64, i64) = (get(&row, "id")?, get(&row, "last_run")?);
        for run in attempts.iter().filter(|attempt| attempt.id.0 == id).flat_map(|attempt| &attempt.runs) {
            last += 1;
            runs.push(&transaction.sealer, (id, last), run)?;
        }
        if last > MAX_RUNS {
            crowded.push((id, last - MAX_RUNS));
        }
    }
    runs.insert(transaction).await?;
    for (id, last) in crowded {
        let sql = "DELETE FROM integ.event_attempts WHERE workspace_id = $1 AND event_id = $2 AND number <= $3";
        transaction.execute(sql, &[&id, &last]).await?;
    }
    Ok(())
}

/// Runs of handlers that are to be stored, by column.
#[derive(Default)]
struct NewRuns {
    events: Vec<i64>,
    numbers: Vec<i64>,
    attempts: Vec<i64>,
    handlers: Vec<&'static str>,
    started_at: Vec<i64>,
    durations: Vec<i64>,
    statuses: Vec<Option<i64>>,
    errors: Vec<Option<Vec<u8>>>,
    outputs: Vec<Option<Vec<u8>>>,
}

impl NewRuns {
    /// Adds the run of an event with this number.
    fn push(&mut self, sealer: &Sealer, place: (i64, i64), run: &HandlerRun) -> Result<(), StoreError> {
        let output = &run.output[..run.output.len().min(HandlerRun::MAX_OUTPUT_BYTES)];
        self.errors.push(sealer.seal_optional(ERROR, place, run.error.as_ref())?);
        self.outputs.push(sealer.seal_optional(OUTPUT, place, Some(output).filter(|output| !output.is_empty()))?);
        self.events.push(place.0);
        self.numbers.push(place.1);
        self.attempts.push(run.attempt.into());
        self.handlers.push(run.handler.as_str());
        self.started_at.push(run.started_at.as_millisecond());
        self.durations.push(i64::try_from(run.duration.as_millis()).unwrap_or(i64::MAX));
        self.statuses.push(run.status.map(i64::from));
        Ok(())
    }

    async fn insert(&self, transaction: &Transaction) -> Result<(), StoreError> {
        if self.events.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO integ.event_attempts (workspace_id, event_id, number, attempt, handler, started_at, duration_ms,
                       status, error, output)
                   SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[],
                       $7::bigint[], $8::bigint[], $9::bytea[], $10::bytea[])";
        let Self { events, numbers, attempts, handlers, started_at, durations, statuses, errors, outputs } = self;
        let values: [Value<'_>; 9] =
            [events, numbers, attempts, handlers, started_at, durations, statuses, errors, outputs];
        transaction.execute(sql, &values).await.map(drop)
    }
}

/// Records what was done with an event without an attempt that counts.
pub(super) async fn record_progress(transaction: &Transaction, progress: &EventProgress) -> Result<(), StoreError> {
    let id = progress.id.0;
    let error = transaction.sealer.seal_optional(LAST_ERROR, id, progress.error.as_ref())?;
    let sql = "UPDATE integ.events SET completed_handlers = $3, last_error = coalesce($4, last_error),
                   due_at = coalesce($5, due_at) WHERE workspace_id = $1 AND id = $2";
    let due_at = progress.due_at.map(Timestamp::as_millisecond);
    transaction.execute(sql, &[&id, &i64::from(progress.completed_handlers), &error, &due_at]).await.map(drop)
}

fn run_from_row(sealer: &Sealer, row: &Row, event: EventId) -> Result<HandlerRun, StoreError> {
    let sealed = SealedRow::new(sealer, row, (event.0, get::<i64>(row, "number")?));
    Ok(HandlerRun {
        handler: get_word(row, "handler")?,
        attempt: number(row, "attempt")?,
        started_at: get_millis(row, "started_at")?,
        duration: Duration::from_millis(number(row, "duration_ms")?),
        status: optional_number(row, "status")?,
        error: sealed.text(ERROR)?,
        output: sealed.bytes(OUTPUT)?.unwrap_or_default(),
    })
}

fn from_row(row: &Row) -> Result<QueuedEvent, StoreError> {
    // A time that cannot be read must not hold up the queue: the event is due at once.
    let due_at: Option<i64> = get(row, "due_at")?;
    let due_at = Timestamp::from_millisecond(due_at.unwrap_or_default()).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(QueuedEvent {
        id: EventId(get(row, "id")?),
        due_at,
        verification: get_word(row, "verification")?,
        attempts: number(row, "attempts")?,
        completed_handlers: number(row, "completed_handlers")?,
    })
}
