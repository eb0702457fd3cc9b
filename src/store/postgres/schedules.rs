//! Schedules: when streams are synced automatically.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{connection_name, get, get_seconds, number, optional_seconds};
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{ConnectionId, Schedule};
use crate::store::{Schedules, StoreError};

#[async_trait]
impl Schedules for PostgresStore {
    async fn set(
        &self,
        connection: ConnectionId,
        stream: Option<&str>,
        rule: &str,
        jitter_secs: u32,
        next_at: Timestamp,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let id = transaction.next_id("schedules").await?;
        let sql = "INSERT INTO integ.schedules (workspace_id, id, connection_id, stream, rule, jitter_secs, next_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7)
                   ON CONFLICT (workspace_id, connection_id, stream) DO UPDATE SET rule = excluded.rule,
                       jitter_secs = excluded.jitter_secs, next_at = excluded.next_at";
        let values: [Value<'_>; 6] =
            [&id, &connection.0, &stream.unwrap_or_default(), &rule, &i64::from(jitter_secs), &next_at.as_second()];
        transaction.execute(sql, &values).await?;
        transaction.commit().await
    }

    async fn remove(&self, connection: ConnectionId, stream: Option<&str>) -> Result<bool, StoreError> {
        let sql = "DELETE FROM integ.schedules WHERE workspace_id = $1 AND connection_id = $2 AND stream = $3";
        Ok(self.execute(sql, &[&connection.0, &stream.unwrap_or_default()]).await? == 1)
    }

    async fn list(&self) -> Result<Vec<Schedule>, StoreError> {
        let sql = "SELECT c.connector, c.account, s.stream, s.rule, s.jitter_secs, s.next_at, s.last_at
                   FROM integ.schedules s JOIN integ.connections c ON c.workspace_id = $1 AND c.id = s.connection_id
                   WHERE s.workspace_id = $1 ORDER BY s.next_at, s.id";
        self.rows(sql, &[]).await?.iter().map(from_row).collect()
    }

    async fn set_next_at(&self, schedule: &Schedule, next_at: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE integ.schedules SET next_at = $5 WHERE workspace_id = $1 AND stream = $3 AND next_at = $4
                   AND connection_id = (SELECT id FROM integ.connections
                       WHERE workspace_id = $1 AND connector = $2 AND account = $6)";
        let (name, stream) = (&schedule.connection, schedule.stream.as_deref().unwrap_or_default());
        let values: [Value<'_>; 5] = [
            &name.connector(),
            &stream,
            &schedule.next_at.as_second(),
            &next_at.as_second(),
            &name.account().unwrap_or_default(),
        ];
        self.execute(sql, &values).await.map(drop)
    }

    async fn claim(
        &self,
        connection: ConnectionId,
        stream: Option<&str>,
        due_at: Timestamp,
        next_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE integ.schedules SET next_at = $5, last_at = $6
                   WHERE workspace_id = $1 AND connection_id = $2 AND stream = $3 AND next_at = $4";
        let values: [Value<'_>; 5] =
            [&connection.0, &stream.unwrap_or_default(), &due_at.as_second(), &next_at.as_second(), &now.as_second()];
        Ok(self.execute(sql, &values).await? == 1)
    }
}

fn from_row(row: &Row) -> Result<Schedule, StoreError> {
    Ok(Schedule {
        connection: connection_name(row)?,
        // The column is empty, not NULL, for all streams of a connection.
        stream: Some(get::<String>(row, "stream")?).filter(|stream| !stream.is_empty()),
        rule: get(row, "rule")?,
        jitter_secs: number(row, "jitter_secs")?,
        next_at: get_seconds(row, "next_at")?,
        last_at: optional_seconds(row, "last_at")?,
    })
}
