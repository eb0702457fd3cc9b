//! Figures for monitoring. Queues are counted in their partial indexes, and the rows of a time are found by their ids, so
//! that the cost follows what is counted, not the size of the store.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{get, get_millis, get_word, number, optional_millis};
use super::transaction::Transaction;
use crate::clock::Timestamp;
use crate::model::{AuditOutcome, ConnectionId, DeliveryStatus, EventStatus, JobStatus, QueueState, WorkspaceFigures};
use crate::store::{Figures, StoreError};

#[async_trait]
impl Figures for PostgresStore {
    async fn read_figures(&self, since: Timestamp, now: Timestamp) -> Result<WorkspaceFigures, StoreError> {
        let transaction = self.snapshot().await?;
        Ok(WorkspaceFigures {
            event_queues: event_queues(&transaction, now).await?,
            delivery_queue: delivery_queue(&transaction, now).await?,
            events: events(&transaction, since).await?,
            deliveries: deliveries(&transaction, since).await?,
            jobs: jobs(&transaction, since).await?,
            connects: connects(&transaction, since).await?,
        })
    }
}

async fn event_queues(
    transaction: &Transaction,
    now: Timestamp,
) -> Result<BTreeMap<ConnectionId, QueueState>, StoreError> {
    let sql = "SELECT connection_id, count(*) AS depth, min(id) AS oldest, min(due_at) AS due_at,
                   min(id) FILTER (WHERE due_at IS NULL) AS new FROM integ.events
               WHERE workspace_id = $1 AND status IN ('pending', 'failed') GROUP BY connection_id";
    let mut queues = BTreeMap::new();
    for row in transaction.query(sql, &[]).await? {
        let retry = optional_millis(&row, "due_at")?.filter(|at| *at <= now);
        let new = received_at(transaction, get(&row, "new")?).await?;
        let state = QueueState {
            depth: number(&row, "depth")?,
            oldest_at: received_at(transaction, get(&row, "oldest")?).await?,
            overdue_since: new.into_iter().chain(retry).min(),
        };
        queues.insert(ConnectionId(get(&row, "connection_id")?), state);
    }
    Ok(queues)
}

async fn received_at(transaction: &Transaction, id: Option<i64>) -> Result<Option<Timestamp>, StoreError> {
    let Some(id) = id else { return Ok(None) };
    let sql = "SELECT received_at FROM integ.events WHERE workspace_id = $1 AND id = $2";
    transaction.first(sql, &[&id]).await?.map(|row| get_millis(&row, "received_at")).transpose()
}

async fn delivery_queue(transaction: &Transaction, now: Timestamp) -> Result<QueueState, StoreError> {
    let sql = "SELECT count(*) AS depth, min(d.due_at) AS due_at,
                   (SELECT created_at FROM integ.deliveries o WHERE o.workspace_id = $1 AND o.id = min(d.id)) AS oldest_at
               FROM integ.deliveries d JOIN integ.endpoints e ON e.workspace_id = $1 AND e.id = d.endpoint_id
               WHERE d.workspace_id = $1 AND d.status IN ('pending', 'failed') AND e.disabled_at IS NULL";
    let Some(row) = transaction.first(sql, &[]).await? else { return Ok(QueueState::default()) };
    Ok(QueueState {
        depth: number(&row, "depth")?,
        oldest_at: optional_millis(&row, "oldest_at")?,
        overdue_since: optional_millis(&row, "due_at")?.filter(|at| *at <= now),
    })
}

async fn events(
    transaction: &Transaction,
    since: Timestamp,
) -> Result<Vec<(ConnectionId, EventStatus, u64)>, StoreError> {
    let first = first_since(transaction, "events", "id", "received_at", since).await?;
    let sql = "SELECT connection_id, status, count(*) AS count FROM integ.events
               WHERE workspace_id = $1 AND id >= $2 AND received_at >= $3
               GROUP BY connection_id, status ORDER BY connection_id, status COLLATE \"C\"";
    let rows = transaction.query(sql, &[&first, &since.as_millisecond()]).await?;
    let count =
        |row: &Row| Ok((ConnectionId(get(row, "connection_id")?), get_word(row, "status")?, number(row, "count")?));
    rows.iter().map(count).collect()
}

async fn deliveries(transaction: &Transaction, since: Timestamp) -> Result<Vec<(DeliveryStatus, u64)>, StoreError> {
    let first = first_since(transaction, "deliveries", "id", "created_at", since).await?;
    let sql = "SELECT status, count(*) AS count FROM integ.deliveries
               WHERE workspace_id = $1 AND id >= $2 AND created_at >= $3 GROUP BY status ORDER BY status COLLATE \"C\"";
    let rows = transaction.query(sql, &[&first, &since.as_millisecond()]).await?;
    rows.iter().map(|row| Ok((get_word(row, "status")?, number(row, "count")?))).collect()
}

/// There are at most a hundred jobs of each stream.
async fn jobs(transaction: &Transaction, since: Timestamp) -> Result<Vec<(ConnectionId, JobStatus, u64)>, StoreError> {
    let sql = "SELECT s.connection_id, j.status, count(*) AS count FROM integ.jobs j
               JOIN integ.streams s ON s.workspace_id = $1 AND s.id = j.stream_id
               WHERE j.workspace_id = $1 AND j.started_at >= $2
               GROUP BY s.connection_id, j.status ORDER BY s.connection_id, j.status COLLATE \"C\"";
    let rows = transaction.query(sql, &[&since.as_second()]).await?;
    let count =
        |row: &Row| Ok((ConnectionId(get(row, "connection_id")?), get_word(row, "status")?, number(row, "count")?));
    rows.iter().map(count).collect()
}

async fn connects(transaction: &Transaction, since: Timestamp) -> Result<Vec<(AuditOutcome, u64)>, StoreError> {
    let first = first_since(transaction, "audit_entries", "sequence", "at", since).await?;
    let sql = "SELECT outcome, count(*) AS count FROM integ.audit_entries
               WHERE workspace_id = $1 AND sequence >= $2 AND at >= $3
               AND operation IN ('connect', 'connect finish', 'reconnect') AND outcome <> 'started'
               GROUP BY outcome ORDER BY outcome COLLATE \"C\"";
    let rows = transaction.query(sql, &[&first, &since.as_millisecond()]).await?;
    rows.iter().map(|row| Ok((get_word(row, "outcome")?, number(row, "count")?))).collect()
}

/// Returns the key from which on the rows of a table are not older than a time. Keys are given out in the order of time,
/// so that a search by halves finds it in some thirty reads, without an index that each insert would have to maintain.
async fn first_since(
    transaction: &Transaction,
    table: &'static str,
    key: &'static str,
    time: &'static str,
    since: Timestamp,
) -> Result<i64, StoreError> {
    let ends = format!(
        "SELECT coalesce(min({key}), 0) AS low, coalesce(max({key}), -1) + 1 AS high FROM integ.{table} WHERE workspace_id = $1"
    );
    let Some(row) = transaction.first(&ends, &[]).await? else { return Ok(0) };
    let (mut low, mut high): (i64, i64) = (get(&row, "low")?, get(&row, "high")?);
    let next = format!(
        "SELECT {key} AS key, {time} AS at FROM integ.{table} WHERE workspace_id = $1 AND {key} >= $2 ORDER BY {key} LIMIT 1"
    );
    while low < high {
        let middle = low + (high - low) / 2;
        match transaction.first(&next, &[&middle]).await? {
            Some(row) if get::<i64>(&row, "at")? < since.as_millisecond() => low = get::<i64>(&row, "key")? + 1,
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}
