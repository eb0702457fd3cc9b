//! Schedules: when streams are synced automatically.

use async_trait::async_trait;

use super::row::{Row, collect, connection_name, get_optional_seconds, get_seconds, query};
use super::{SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::{ConnectionId, Schedule};
use crate::store::Schedules;

#[async_trait]
impl Schedules for SqliteStore {
    async fn set(
        &self,
        connection: ConnectionId,
        stream: Option<&str>,
        rule: &str,
        jitter_secs: u32,
        next_at: Timestamp,
    ) -> Result<(), StoreError> {
        let (stream, rule) = (stream_column(stream), rule.to_owned());
        self.write(move |transaction| {
            let sql = "INSERT INTO schedules (connection_id, stream, rule, jitter_secs, next_at) VALUES (?1, ?2, ?3, ?4, ?5) \
                       ON CONFLICT DO UPDATE SET rule = excluded.rule, jitter_secs = excluded.jitter_secs, \
                       next_at = excluded.next_at";
            transaction.execute(sql, (connection.0, &stream, &rule, jitter_secs, next_at.as_second()))?;
            Ok(())
        })
        .await
    }

    async fn remove(&self, connection: ConnectionId, stream: Option<&str>) -> Result<bool, StoreError> {
        let stream = stream_column(stream);
        self.write(move |transaction| {
            let sql = "DELETE FROM schedules WHERE connection_id = ?1 AND stream = ?2";
            Ok(transaction.execute(sql, (connection.0, &stream))? == 1)
        })
        .await
    }

    async fn list(&self) -> Result<Vec<Schedule>, StoreError> {
        self.read(|sqlite| {
            let sql = "SELECT c.connector, c.account, s.stream, s.rule, s.jitter_secs, s.next_at, s.last_at \
                       FROM schedules s JOIN connections c ON c.id = s.connection_id ORDER BY s.next_at, s.id";
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(query(&mut statement, [])?, from_row)
        })
        .await
    }

    async fn set_next_at(&self, schedule: &Schedule, next_at: Timestamp) -> Result<(), StoreError> {
        let (name, stream) = (schedule.connection.clone(), stream_column(schedule.stream.as_deref()));
        let (old, new) = (schedule.next_at.as_second(), next_at.as_second());
        self.write(move |transaction| {
            let sql = "UPDATE schedules SET next_at = ?4 WHERE stream = ?2 AND next_at = ?3 AND connection_id = \
                       (SELECT id FROM connections WHERE connector = ?1 AND account = ?5)";
            let account = name.account().unwrap_or_default();
            transaction.execute(sql, (name.connector(), &stream, old, new, account))?;
            Ok(())
        })
        .await
    }

    async fn claim(
        &self,
        connection: ConnectionId,
        stream: Option<&str>,
        due_at: Timestamp,
        next_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let stream = stream_column(stream);
        self.write(move |transaction| {
            let sql = "UPDATE schedules SET next_at = ?4, last_at = ?5 \
                       WHERE connection_id = ?1 AND stream = ?2 AND next_at = ?3";
            let values = (connection.0, &stream, due_at.as_second(), next_at.as_second(), now.as_second());
            Ok(transaction.execute(sql, values)? == 1)
        })
        .await
    }
}

/// The column is empty, not NULL, for all streams of a connection.
fn stream_column(stream: Option<&str>) -> String {
    stream.unwrap_or_default().to_owned()
}

fn from_row(row: &Row<'_>) -> Result<Schedule, StoreError> {
    Ok(Schedule {
        connection: connection_name(row)?,
        stream: Some(row.get::<String>("stream")?).filter(|stream| !stream.is_empty()),
        rule: row.get("rule")?,
        jitter_secs: row.get("jitter_secs")?,
        next_at: get_seconds(row, "next_at")?,
        last_at: get_optional_seconds(row, "last_at")?,
    })
}
