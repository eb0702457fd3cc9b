//! The history of health checks.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Transaction};

use super::row::{Row, collect, connection_name, get_millis, get_word, query};
use super::{SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::{ConnectionId, HealthCheck, HealthCheckId, StoredHealthCheck};
use crate::store::HealthChecks;

/// Selects checks with the columns of [`check`] and of [`from_row`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT h.id, c.connector, c.account, h.at, h.outcome, h.duration_ms, h.http_status, h.error \
             FROM health_checks h JOIN connections c ON c.id = h.connection_id ",
            $rest
        )
    };
}

#[async_trait]
impl HealthChecks for SqliteStore {
    async fn append(&self, connection: ConnectionId, check: &HealthCheck) -> Result<(), StoreError> {
        let check = check.clone();
        self.write(move |transaction| Ok(append(transaction, connection, &check)?)).await
    }

    async fn list(
        &self,
        connection: Option<ConnectionId>,
        before: Option<HealthCheckId>,
        limit: u32,
    ) -> Result<Vec<StoredHealthCheck>, StoreError> {
        let before = before.map_or(i64::MAX, |id| id.0);
        self.read(move |sqlite| {
            // A query of its own for each: with an OR the index of the connection is not used.
            let (all, one) = (
                select!("WHERE h.id < ?1 ORDER BY h.id DESC LIMIT ?2"),
                select!("WHERE h.id < ?1 AND h.connection_id = ?3 ORDER BY h.id DESC LIMIT ?2"),
            );
            match connection {
                None => collect(query(&mut *sqlite.prepare_cached(all)?, (before, limit))?, from_row),
                Some(id) => collect(query(&mut *sqlite.prepare_cached(one)?, (before, limit, id.0))?, from_row),
            }
        })
        .await
    }

    async fn since(&self, connection: ConnectionId, since: Timestamp) -> Result<Vec<HealthCheck>, StoreError> {
        self.read(move |sqlite| read_since(sqlite, connection, since)).await
    }

    async fn since_of_each(
        &self,
        connections: &[(ConnectionId, Timestamp)],
    ) -> Result<Vec<Vec<HealthCheck>>, StoreError> {
        let connections = connections.to_vec();
        let read = move |sqlite: &Connection| {
            connections.into_iter().map(|(connection, since)| read_since(sqlite, connection, since)).collect()
        };
        self.read(read).await
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> Result<usize, StoreError> {
        let before = before.as_millisecond();
        let is_due = self
            .read(move |sqlite| {
                // Most of the time nothing is due, and no write is needed to know that.
                let sql =
                    "SELECT EXISTS (SELECT 1 FROM (SELECT at FROM health_checks ORDER BY id LIMIT 1) WHERE at < ?1)";
                Ok(sqlite.prepare_cached(sql)?.query_row([before], |row| row.get::<_, bool>(0))?)
            })
            .await?;
        if !is_due {
            return Ok(0);
        }
        self.write(move |transaction| {
            let sql = "DELETE FROM health_checks WHERE at < ?1 \
                       AND id IN (SELECT id FROM health_checks ORDER BY id LIMIT ?2)";
            Ok(transaction.execute(sql, (before, limit))?)
        })
        .await
    }
}

fn read_since(sqlite: &Connection, connection: ConnectionId, since: Timestamp) -> Result<Vec<HealthCheck>, StoreError> {
    let sql = "SELECT at, outcome, duration_ms, http_status, error FROM health_checks \
               WHERE connection_id = ?1 ORDER BY id DESC";
    let mut statement = sqlite.prepare_cached(sql)?;
    let mut rows = query(&mut statement, [connection.0])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let check = check(&row)?;
        if check.at < since {
            break;
        }
        found.push(check);
    }
    found.reverse();
    Ok(found)
}

/// Adds a check, unless the connection was removed.
pub(super) fn append(
    transaction: &Transaction<'_>,
    connection: ConnectionId,
    check: &HealthCheck,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO health_checks (connection_id, at, outcome, duration_ms, http_status, error) \
               SELECT id, ?2, ?3, ?4, ?5, ?6 FROM connections WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute((
        connection.0,
        check.at.as_millisecond(),
        check.outcome.as_str(),
        check.duration.map(|duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        check.http_status,
        &check.error,
    ))?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> Result<StoredHealthCheck, StoreError> {
    Ok(StoredHealthCheck { id: HealthCheckId(row.get("id")?), connection: connection_name(row)?, check: check(row)? })
}

fn check(row: &Row<'_>) -> Result<HealthCheck, StoreError> {
    Ok(HealthCheck {
        at: get_millis(row, "at")?,
        outcome: get_word(row, "outcome")?,
        duration: row.get::<Option<u64>>("duration_ms")?.map(Duration::from_millis),
        http_status: row.get("http_status")?,
        error: row.get("error")?,
    })
}
