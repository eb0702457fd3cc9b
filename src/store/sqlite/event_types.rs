//! The types of the user's own events, with an example of their data.

use rusqlite::Row;

use super::row::{collect, get_optional_json, to_json};
use super::{Store, StoreError};
use crate::model::event_type::EventTypeDefinition;

/// The catalogue of a store.
#[derive(Clone, Copy, Debug)]
pub struct EventTypes<'a>(pub(super) &'a Store);

impl EventTypes<'_> {
    /// All of them, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self) -> Result<Vec<EventTypeDefinition>, StoreError> {
        self.0.read(|sqlite| {
            let mut statement =
                sqlite.prepare_cached("SELECT kind, description, sample FROM event_types ORDER BY kind")?;
            collect(statement.query([])?, from_row)
        })
    }

    /// Adds a type to the catalogue, replacing one of the same name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(&self, definition: &EventTypeDefinition) -> Result<(), StoreError> {
        let sample = definition.sample.as_ref().map(to_json).transpose()?;
        self.0.write(|transaction| {
            let sql = "INSERT INTO event_types (kind, description, sample) VALUES (?1, ?2, ?3) \
                       ON CONFLICT (kind) DO UPDATE SET description = excluded.description, sample = excluded.sample";
            transaction.execute(sql, (&definition.kind, &definition.description, sample))?;
            Ok(())
        })
    }

    /// Removes a type; true if there was one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove(&self, kind: &str) -> Result<bool, StoreError> {
        self.0.write(|transaction| Ok(transaction.execute("DELETE FROM event_types WHERE kind = ?1", [kind])? == 1))
    }
}

fn from_row(row: &Row<'_>) -> Result<EventTypeDefinition, StoreError> {
    Ok(EventTypeDefinition {
        kind: row.get("kind")?,
        description: row.get("description")?,
        sample: get_optional_json(row, "sample")?,
    })
}
