//! The allowed schema of a store: only the tables, indexes and triggers created by the migrations.
//!
//! A schema is code. A trigger, a view, a generated column or a virtual table that somebody added runs whenever the
//! store is used, so a store is compared with a new one of its version.

use std::collections::BTreeMap;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::{StoreError, migrations};

/// Type and name of an object, and what defines it.
type SchemaObjects = BTreeMap<(String, String), (String, Option<String>)>;

/// Compares the schema with that of a new store of the same version.
///
/// # Errors
/// [`StoreError::ForeignSchema`] for the first object that is added, missing or different.
pub(super) fn verify(connection: &Connection) -> Result<(), StoreError> {
    let version = migrations::version(connection)?;
    if version > migrations::LATEST {
        return Err(StoreError::Newer { found: version, known: migrations::LATEST });
    }
    let mut fresh = Connection::open_in_memory()?;
    migrations::migrate_to(&mut fresh, version)?;
    let (expected, found) = (objects(&fresh)?, objects(connection)?);
    for (object, definition) in &found {
        let problem = match expected.get(object) {
            None => "which integ does not make",
            Some(expected) if expected != definition => "which differs from integ's",
            Some(_) => continue,
        };
        return Err(StoreError::ForeignSchema { kind: object.0.clone(), name: object.1.clone(), problem });
    }
    match expected.keys().find(|object| !found.contains_key(*object)) {
        Some((kind, name)) => Err(StoreError::IntegrityCheck(format!("{kind} {name} is missing"))),
        None => Ok(()),
    }
}

fn objects(connection: &Connection) -> Result<SchemaObjects, StoreError> {
    let mut statement = connection.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")?;
    let mut rows = statement.query([])?;
    let mut objects = SchemaObjects::new();
    while let Some(row) = rows.next()? {
        let text = |column: &str| -> Result<Option<String>, StoreError> {
            Ok(match row.get_ref(column)? {
                ValueRef::Null => None,
                ValueRef::Text(text) | ValueRef::Blob(text) => Some(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Integer(_) | ValueRef::Real(_) => Some("a number".to_owned()),
            })
        };
        let object = (text("type")?.unwrap_or_default(), text("name")?.unwrap_or_default());
        let definition = (text("tbl_name")?.unwrap_or_default(), text("sql")?);
        if objects.insert(object.clone(), definition).is_some() {
            return Err(StoreError::IntegrityCheck(format!("{} {} is there twice", object.0, object.1)));
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrations::migrate_to(&mut connection, migrations::LATEST).unwrap();
        connection
    }

    #[test]
    fn every_added_or_changed_object_is_named() {
        verify(&fresh()).unwrap();
        for (sql, named) in [
            ("CREATE TABLE extra (a)", r#"table "extra""#),
            ("CREATE VIEW spy AS SELECT * FROM grants", r#"view "spy""#),
            ("CREATE INDEX spy ON apps (client_id)", r#"index "spy""#),
            ("CREATE TRIGGER spy AFTER INSERT ON apps BEGIN SELECT 1; END", r#"trigger "spy""#),
            ("ALTER TABLE apps ADD COLUMN copy TEXT AS (client_secret)", r#"table "apps""#),
            ("CREATE VIRTUAL TABLE spy USING json_each(1)", ""),
            ("ANALYZE", r#"table "sqlite_stat1""#),
        ] {
            let connection = fresh();
            if connection.execute_batch(sql).is_err() {
                assert_eq!(named, "", "{sql}");
                continue;
            }
            let error = verify(&connection).unwrap_err();
            assert!(matches!(error, StoreError::ForeignSchema { .. }), "{sql}: {error}");
            assert!(error.to_string().contains(named), "{sql}: {error}");
        }
        let connection = fresh();
        connection.execute_batch("DROP INDEX messages_created").unwrap();
        assert!(matches!(verify(&connection).unwrap_err(), StoreError::IntegrityCheck(_)));
    }
}
