//! The types of the user's events, with sample data.

use async_trait::async_trait;

use super::row::{Row, collect, get_optional_json, query, to_json};
use super::{SqliteStore, StoreError};
use crate::model::EventTypeDefinition;
use crate::store::EventTypes;

#[async_trait]
impl EventTypes for SqliteStore {
    async fn list(&self) -> Result<Vec<EventTypeDefinition>, StoreError> {
        self.read(|sqlite| {
            let sql = "SELECT kind, description, sample FROM event_types ORDER BY kind";
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(query(&mut statement, [])?, from_row)
        })
        .await
    }

    async fn put(&self, definition: &EventTypeDefinition) -> Result<(), StoreError> {
        let (kind, description) = (definition.kind.clone(), definition.description.clone());
        let sample = definition.sample.as_ref().map(to_json).transpose()?;
        self.write(move |transaction| {
            let sql = "INSERT INTO event_types (kind, description, sample) VALUES (?1, ?2, ?3) \
                       ON CONFLICT (kind) DO UPDATE SET description = excluded.description, sample = excluded.sample";
            transaction.execute(sql, (&kind, &description, &sample))?;
            Ok(())
        })
        .await
    }

    async fn remove(&self, kind: &str) -> Result<bool, StoreError> {
        let kind = kind.to_owned();
        self.write(move |transaction| Ok(transaction.execute("DELETE FROM event_types WHERE kind = ?1", [&kind])? == 1))
            .await
    }
}

fn from_row(row: &Row<'_>) -> Result<EventTypeDefinition, StoreError> {
    Ok(EventTypeDefinition {
        kind: row.get("kind")?,
        description: row.get("description")?,
        sample: get_optional_json(row, "sample")?,
    })
}
