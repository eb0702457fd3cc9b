//! The types of the user's events, with sample data.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{SealedRow, get, to_json};
use super::seal::{Column, Sealer, column};
use crate::model::EventTypeDefinition;
use crate::store::{EventTypes, StoreError};

const SAMPLE: Column = column("event_types", "sample");

#[async_trait]
impl EventTypes for PostgresStore {
    async fn list(&self) -> Result<Vec<EventTypeDefinition>, StoreError> {
        let sql = "SELECT kind, description, sample FROM integ.event_types WHERE workspace_id = $1 ORDER BY kind";
        let rows = self.rows(sql, &[]).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn put(&self, definition: &EventTypeDefinition) -> Result<(), StoreError> {
        let sample = definition.sample.as_ref().map(to_json).transpose()?;
        let transaction = self.begin().await?;
        let sample = transaction.sealer.seal_optional(SAMPLE, definition.kind.as_str(), sample)?;
        let sql = "INSERT INTO integ.event_types (workspace_id, kind, description, sample) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (workspace_id, kind) DO UPDATE SET description = excluded.description,
                       sample = excluded.sample";
        transaction.execute(sql, &[&definition.kind, &definition.description, &sample]).await?;
        transaction.commit().await
    }

    async fn remove(&self, kind: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM integ.event_types WHERE workspace_id = $1 AND kind = $2";
        Ok(self.execute(sql, &[&kind]).await? == 1)
    }
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<EventTypeDefinition, StoreError> {
    let kind: &str = get(row, "kind")?;
    Ok(EventTypeDefinition {
        kind: kind.to_owned(),
        description: get(row, "description")?,
        sample: SealedRow::new(sealer, row, kind).json(SAMPLE)?,
    })
}
