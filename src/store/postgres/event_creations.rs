//! The keys of events that are created for entities.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{get, get_seconds};
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::calendar::{EventCreationAttempt, Interval};
use crate::model::{ConnectionId, Entity};
use crate::store::{EventCreations, StoreError};

#[async_trait]
impl EventCreations for PostgresStore {
    async fn begin(
        &self,
        connection: ConnectionId,
        entity: &Entity,
        attempt: &EventCreationAttempt,
        now: Timestamp,
    ) -> Result<EventCreationAttempt, StoreError> {
        let sql =
            "INSERT INTO integ.event_creations (workspace_id, connection_id, entity_type, entity_id, key, calendar,
                       starts_at, ends_at, created_at)
                   SELECT $1, id, $3, $4, $5, $6, $7, $8, $9 FROM integ.connections WHERE workspace_id = $1 AND id = $2
                   ON CONFLICT (workspace_id, connection_id, entity_type, entity_id) DO UPDATE SET
                       starts_at = least(event_creations.starts_at, excluded.starts_at),
                       ends_at = greatest(event_creations.ends_at, excluded.ends_at)
                   RETURNING key, calendar, starts_at, ends_at";
        let EventCreationAttempt { key, calendar, window } = attempt;
        let values: [Value<'_>; 8] = [
            &connection.0,
            &entity.kind(),
            &entity.id(),
            key,
            &calendar.as_deref(),
            &window.start.as_second(),
            &window.end.as_second(),
            &now.as_second(),
        ];
        let transaction = self.begin().await?;
        let row = transaction.first(sql, &values).await?.ok_or(StoreError::ConnectionNotFound)?;
        let stored = from_row(&row)?;
        transaction.commit().await?;
        Ok(stored)
    }

    async fn find(
        &self,
        connection: ConnectionId,
        entity: &Entity,
    ) -> Result<Option<EventCreationAttempt>, StoreError> {
        let sql = "SELECT key, calendar, starts_at, ends_at FROM integ.event_creations
                   WHERE workspace_id = $1 AND connection_id = $2 AND entity_type = $3 AND entity_id = $4";
        let row = self.row(sql, &[&connection.0, &entity.kind(), &entity.id()]).await?;
        row.as_ref().map(from_row).transpose()
    }

    async fn remove(&self, connection: ConnectionId, entity: &Entity, key: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM integ.event_creations
                   WHERE workspace_id = $1 AND connection_id = $2 AND entity_type = $3 AND entity_id = $4 AND key = $5";
        Ok(self.execute(sql, &[&connection.0, &entity.kind(), &entity.id(), &key]).await? == 1)
    }
}

fn from_row(row: &Row) -> Result<EventCreationAttempt, StoreError> {
    Ok(EventCreationAttempt {
        key: get(row, "key")?,
        calendar: get(row, "calendar")?,
        window: Interval { start: get_seconds(row, "starts_at")?, end: get_seconds(row, "ends_at")? },
    })
}
