//! The keys of events that are created for entities.

use async_trait::async_trait;
use rusqlite::{Connection, params};

use super::row::{Row, first, get_seconds, query};
use super::{SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::calendar::{EventCreationAttempt, Interval};
use crate::model::{ConnectionId, Entity};
use crate::store::EventCreations;

#[async_trait]
impl EventCreations for SqliteStore {
    async fn begin(
        &self,
        connection: ConnectionId,
        entity: &Entity,
        attempt: &EventCreationAttempt,
        now: Timestamp,
    ) -> Result<EventCreationAttempt, StoreError> {
        let (entity, attempt) = (entity.clone(), attempt.clone());
        self.write(move |transaction| {
            let sql = "INSERT INTO event_creations (connection_id, entity_type, entity_id, key, calendar, starts_at, ends_at, \
                       created_at) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE EXISTS (SELECT 1 FROM connections WHERE id = ?1) \
                       ON CONFLICT DO UPDATE SET starts_at = min(starts_at, excluded.starts_at), \
                       ends_at = max(ends_at, excluded.ends_at)";
            let EventCreationAttempt { key, calendar, window } = &attempt;
            let values = params![
                connection.0,
                entity.kind(),
                entity.id(),
                key,
                calendar,
                window.start.as_second(),
                window.end.as_second(),
                now.as_second(),
            ];
            transaction.prepare_cached(sql)?.execute(values)?;
            find(transaction, connection, &entity)?.ok_or(StoreError::ConnectionNotFound)
        })
        .await
    }

    async fn find(
        &self,
        connection: ConnectionId,
        entity: &Entity,
    ) -> Result<Option<EventCreationAttempt>, StoreError> {
        let entity = entity.clone();
        self.read(move |sqlite| find(sqlite, connection, &entity)).await
    }

    async fn remove(&self, connection: ConnectionId, entity: &Entity, key: &str) -> Result<bool, StoreError> {
        let (entity, key) = (entity.clone(), key.to_owned());
        self.write(move |transaction| {
            let sql = "DELETE FROM event_creations WHERE connection_id = ?1 AND entity_type = ?2 AND entity_id = ?3 \
                       AND key = ?4";
            Ok(transaction.execute(sql, params![connection.0, entity.kind(), entity.id(), key])? == 1)
        })
        .await
    }
}

fn find(
    sqlite: &Connection,
    connection: ConnectionId,
    entity: &Entity,
) -> Result<Option<EventCreationAttempt>, StoreError> {
    let sql = "SELECT key, calendar, starts_at, ends_at FROM event_creations \
               WHERE connection_id = ?1 AND entity_type = ?2 AND entity_id = ?3";
    let mut statement = sqlite.prepare_cached(sql)?;
    first(query(&mut statement, params![connection.0, entity.kind(), entity.id()])?, from_row)
}

fn from_row(row: &Row<'_>) -> Result<EventCreationAttempt, StoreError> {
    Ok(EventCreationAttempt {
        key: row.get("key")?,
        calendar: row.get("calendar")?,
        window: Interval { start: get_seconds(row, "starts_at")?, end: get_seconds(row, "ends_at")? },
    })
}
