//! The history of health checks.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{SealedRow, connection_name, get, get_millis, get_word, optional_number};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use crate::clock::Timestamp;
use crate::model::{ConnectionId, HealthCheck, HealthCheckId, StoredHealthCheck};
use crate::store::{HealthChecks, StoreError};

const ERROR: Column = column("health_checks", "error");

/// Selects checks with the columns of [`check`] and of [`from_row`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT h.id, c.connector, c.account, h.at, h.outcome, h.duration_ms, h.http_status, h.error
             FROM integ.health_checks h JOIN integ.connections c ON c.workspace_id = $1 AND c.id = h.connection_id
             WHERE h.workspace_id = $1 ",
            $rest
        )
    };
}

#[async_trait]
impl HealthChecks for PostgresStore {
    async fn append(&self, connection: ConnectionId, check: &HealthCheck) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        append(&transaction, connection, check).await?;
        transaction.commit().await
    }

    async fn list(
        &self,
        connection: Option<ConnectionId>,
        before: Option<HealthCheckId>,
        limit: u32,
    ) -> Result<Vec<StoredHealthCheck>, StoreError> {
        let (before, limit) = (before.map_or(i64::MAX, |id| id.0), i64::from(limit));
        let rows = match connection {
            None => self.rows(select!("AND h.id < $2 ORDER BY h.id DESC LIMIT $3"), &[&before, &limit]).await?,
            Some(id) => {
                let sql = select!("AND h.id < $2 AND h.connection_id = $4 ORDER BY h.id DESC LIMIT $3");
                self.rows(sql, &[&before, &limit, &id.0]).await?
            }
        };
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn since(&self, connection: ConnectionId, since: Timestamp) -> Result<Vec<HealthCheck>, StoreError> {
        // Back to the first one that is older, wherever the clock was set back.
        let sql = select!(
            "AND h.connection_id = $2 AND h.id > coalesce((SELECT max(o.id) FROM integ.health_checks o
             WHERE o.workspace_id = $1 AND o.connection_id = $2 AND o.at < $3), 0) ORDER BY h.id"
        );
        let rows = self.rows(sql, &[&connection.0, &since.as_millisecond()]).await?;
        rows.iter().map(|row| check(&self.sealer, row)).collect()
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> Result<usize, StoreError> {
        let sql = "DELETE FROM integ.health_checks WHERE workspace_id = $1 AND at < $2 AND id IN
                   (SELECT id FROM integ.health_checks WHERE workspace_id = $1 ORDER BY id LIMIT $3)";
        let pruned = self.execute(sql, &[&before.as_millisecond(), &i64::from(limit)]).await?;
        Ok(usize::try_from(pruned).unwrap_or(usize::MAX))
    }
}

/// Adds a check, unless the connection was removed.
pub(super) async fn append(
    transaction: &Transaction,
    connection: ConnectionId,
    check: &HealthCheck,
) -> Result<(), StoreError> {
    let id = transaction.next_id("health_checks").await?;
    let sql = "INSERT INTO integ.health_checks (workspace_id, id, connection_id, at, outcome, duration_ms, http_status, error)
               SELECT $1, $2, c.id, $4, $5, $6, $7, $8 FROM integ.connections c WHERE c.workspace_id = $1 AND c.id = $3";
    let duration = check.duration.map(|duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX));
    let error = transaction.sealer.seal_optional(ERROR, id, check.error.as_ref())?;
    let status = check.http_status.map(i64::from);
    let (at, outcome) = (check.at.as_millisecond(), check.outcome.as_str());
    transaction.execute(sql, &[&id, &connection.0, &at, &outcome, &duration, &status, &error]).await.map(drop)
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<StoredHealthCheck, StoreError> {
    Ok(StoredHealthCheck {
        id: HealthCheckId(get(row, "id")?),
        connection: connection_name(row)?,
        check: check(sealer, row)?,
    })
}

fn check(sealer: &Sealer, row: &Row) -> Result<HealthCheck, StoreError> {
    Ok(HealthCheck {
        at: get_millis(row, "at")?,
        outcome: get_word(row, "outcome")?,
        duration: optional_number(row, "duration_ms")?.map(Duration::from_millis),
        http_status: optional_number(row, "http_status")?,
        error: SealedRow::new(sealer, row, get::<i64>(row, "id")?).text(ERROR)?,
    })
}
