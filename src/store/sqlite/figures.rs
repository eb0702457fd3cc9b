//! Figures for monitoring. Queues are counted in their partial indexes, and the rows of a time are found by their ids, so
//! that the cost follows what is counted, not the size of the store.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::row::{collect, get_word, query, timestamp_millis};
use super::{SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::{AuditOutcome, ConnectionId, DeliveryStatus, EventStatus, JobStatus, QueueState, WorkspaceFigures};
use crate::store::Figures;

#[async_trait]
impl Figures for SqliteStore {
    async fn read_figures(&self, since: Timestamp, now: Timestamp) -> Result<WorkspaceFigures, StoreError> {
        self.read(move |sqlite| {
            let transaction = sqlite.unchecked_transaction()?;
            Ok(WorkspaceFigures {
                event_queues: event_queues(&transaction, now)?,
                delivery_queue: delivery_queue(&transaction, now)?,
                events: events(&transaction, since)?,
                deliveries: deliveries(&transaction, since)?,
                jobs: jobs(&transaction, since)?,
                connects: connects(&transaction, since)?,
            })
        })
        .await
    }
}

fn event_queues(sqlite: &Connection, now: Timestamp) -> Result<BTreeMap<ConnectionId, QueueState>, StoreError> {
    let sql = "SELECT connection_id, count(*) AS depth, min(id) AS oldest, min(due_at) AS due_at, \
               min(CASE WHEN due_at IS NULL THEN id END) AS new FROM events \
               WHERE status IN ('pending', 'failed') GROUP BY connection_id";
    let mut statement = sqlite.prepare_cached(sql)?;
    let queues = collect(query(&mut statement, [])?, |row| {
        let received_at = |id: Option<i64>| match id {
            Some(id) => time_of(sqlite, "SELECT received_at FROM events WHERE id = ?1", id),
            None => Ok(None),
        };
        let new: Option<i64> = row.get("new")?;
        let retry = row.get::<Option<i64>>("due_at")?.map(timestamp_millis).transpose()?.filter(|at| *at <= now);
        let state = QueueState {
            depth: row.get("depth")?,
            oldest_at: received_at(row.get("oldest")?)?,
            overdue_since: received_at(new)?.into_iter().chain(retry).min(),
        };
        Ok((ConnectionId(row.get("connection_id")?), state))
    })?;
    Ok(queues.into_iter().collect())
}

fn delivery_queue(sqlite: &Connection, now: Timestamp) -> Result<QueueState, StoreError> {
    let sql = "SELECT count(*) AS depth, min(d.id) AS oldest, min(d.due_at) AS due_at FROM deliveries d \
               JOIN endpoints e ON e.id = d.endpoint_id \
               WHERE d.status IN ('pending', 'failed') AND e.disabled_at IS NULL";
    let (depth, oldest, due_at): (u64, Option<i64>, Option<i64>) = sqlite
        .prepare_cached(sql)?
        .query_row([], |row| Ok((row.get("depth")?, row.get("oldest")?, row.get("due_at")?)))?;
    let oldest_at = match oldest {
        Some(id) => time_of(sqlite, "SELECT created_at FROM deliveries WHERE id = ?1", id)?,
        None => None,
    };
    let due_at = due_at.map(timestamp_millis).transpose()?;
    Ok(QueueState { depth, oldest_at, overdue_since: due_at.filter(|at| *at <= now) })
}

fn events(sqlite: &Connection, since: Timestamp) -> Result<Vec<(ConnectionId, EventStatus, u64)>, StoreError> {
    let first = first_since(sqlite, "events", "id", "received_at", since)?;
    let sql = "SELECT connection_id, status FROM events WHERE id >= ?1 AND received_at >= ?2";
    let mut statement = sqlite.prepare_cached(sql)?;
    let mut rows = query(&mut statement, (first, since.as_millisecond()))?;
    // Counted here: to group them, SQLite would sort all of them in memory, as many as came in a day.
    let mut counts: BTreeMap<(i64, &'static str), (EventStatus, u64)> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let status: EventStatus = get_word(&row, "status")?;
        counts.entry((row.get("connection_id")?, status.as_str())).or_insert((status, 0)).1 += 1;
    }
    Ok(counts.into_iter().map(|((id, _), (status, count))| (ConnectionId(id), status, count)).collect())
}

fn deliveries(sqlite: &Connection, since: Timestamp) -> Result<Vec<(DeliveryStatus, u64)>, StoreError> {
    let first = first_since(sqlite, "deliveries", "id", "created_at", since)?;
    let sql = "SELECT status FROM deliveries WHERE id >= ?1 AND created_at >= ?2";
    let mut statement = sqlite.prepare_cached(sql)?;
    let mut rows = query(&mut statement, (first, since.as_millisecond()))?;
    let mut counts: BTreeMap<&'static str, (DeliveryStatus, u64)> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let status: DeliveryStatus = get_word(&row, "status")?;
        counts.entry(status.as_str()).or_insert((status, 0)).1 += 1;
    }
    Ok(counts.into_values().collect())
}

/// There are at most a hundred jobs of each stream.
fn jobs(sqlite: &Connection, since: Timestamp) -> Result<Vec<(ConnectionId, JobStatus, u64)>, StoreError> {
    let sql = "SELECT s.connection_id, j.status, count(*) AS count FROM jobs j JOIN streams s ON s.id = j.stream_id \
               WHERE j.started_at >= ?1 GROUP BY s.connection_id, j.status";
    let mut statement = sqlite.prepare_cached(sql)?;
    collect(query(&mut statement, [since.as_second()])?, |row| {
        Ok((ConnectionId(row.get("connection_id")?), get_word(row, "status")?, row.get("count")?))
    })
}

fn connects(sqlite: &Connection, since: Timestamp) -> Result<Vec<(AuditOutcome, u64)>, StoreError> {
    let first = first_since(sqlite, "audit_entries", "sequence", "at", since)?;
    let sql = "SELECT outcome, count(*) AS count FROM audit_entries WHERE sequence >= ?1 AND at >= ?2 \
               AND operation IN ('connect', 'connect finish', 'reconnect') AND outcome <> 'started' GROUP BY outcome";
    let mut statement = sqlite.prepare_cached(sql)?;
    collect(query(&mut statement, (first, since.as_millisecond()))?, |row| {
        Ok((get_word(row, "outcome")?, row.get("count")?))
    })
}

fn time_of(sqlite: &Connection, sql: &str, id: i64) -> Result<Option<Timestamp>, StoreError> {
    let millis: Option<i64> = sqlite.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
    Ok(millis.map(timestamp_millis).transpose()?)
}

/// Returns the query of the first key of a table, and of the one behind the last. Each is a query of its own: SQLite reads one
/// row for the only aggregate of a query, and the whole table for two.
fn ends_query(table: &str, key: &str) -> String {
    format!("SELECT coalesce((SELECT min({key}) FROM {table}), 0), coalesce((SELECT max({key}) FROM {table}), -1) + 1")
}

/// Returns the key from which on the rows of a table are not older than a time. Keys are given out in the order of time,
/// so that a search by halves finds it in some twenty reads, without an index that each insert would have to maintain.
fn first_since(
    sqlite: &Connection,
    table: &'static str,
    key: &'static str,
    time: &'static str,
    since: Timestamp,
) -> Result<i64, StoreError> {
    let since = since.as_millisecond();
    let (mut low, mut high): (i64, i64) =
        sqlite.prepare_cached(&ends_query(table, key))?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let next = format!("SELECT {key}, {time} FROM {table} WHERE {key} >= ?1 ORDER BY {key} LIMIT 1");
    let mut next = sqlite.prepare_cached(&next)?;
    while low < high {
        let middle = low + (high - low) / 2;
        let row: Option<(i64, i64)> = next.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match row {
            Some((found, at)) if at < since => low = found + 1,
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Fixture, add_connection, at};
    use super::*;

    #[tokio::test]
    async fn the_first_row_of_a_time_is_found_among_gaps() {
        let fixture = Fixture::new();
        let store = fixture.open();
        let connection = add_connection(&store).await;
        let add = store.write(move |transaction| {
            let sql = "INSERT INTO events (id, connection_id, delivery_id, dedup_key, digest, kind, received_at, \
                       headers, status) VALUES (?1, ?2, ?1, ?1, x'00', 'a', ?3, '[]', 'dead')";
            for (id, second) in [(3, 10), (4, 10), (900, 20), (2000, 30)] {
                transaction.execute(sql, (id, connection.0, at(second).as_millisecond()))?;
            }
            Ok(())
        });
        add.await.unwrap();
        let first = async |second| {
            store.read(move |sqlite| first_since(sqlite, "events", "id", "received_at", at(second))).await.unwrap()
        };
        assert_eq!(first(0).await, 3);
        assert!((5..=900).contains(&first(11).await));
        assert!((901..=2000).contains(&first(30).await));
        assert_eq!(first(31).await, 2001);
        let plan = store.read(|sqlite| {
            let mut statement = sqlite.prepare(&format!("EXPLAIN QUERY PLAN {}", ends_query("events", "id")))?;
            let plan = statement.raw_query().mapped(|row| row.get::<_, String>("detail"));
            Ok(plan.collect::<rusqlite::Result<Vec<_>>>()?)
        });
        let plan = plan.await.unwrap();
        let searches = plan.iter().filter(|step| step.starts_with("SEARCH events"));
        assert!(searches.count() == 2 && plan.iter().all(|step| !step.starts_with("SCAN events")), "{plan:?}");
    }
}
