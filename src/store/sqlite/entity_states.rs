//! The states of entities of two-way bindings, and their writes. Values are stored as JSON.

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, params};
use serde_json::Value;

use super::links;
use super::row::{Row, collect, first, get_seconds, query, user};
use super::{MalformedValue, SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::json;
use crate::model::{
    BindingId, BoundEntity, ConnectionId, Entity, EntityFields, EntityState, EntityWrite, FieldConflict, Link, LinkId,
    LinkInsertResult, LinkedObject, NewLink, OpenConflict, UserId,
};
use crate::store::EntityStates;

const WRITE_COLUMNS: &str = "binding_id, connection_id, user_id, entity_type, entity_id, kind, link_id, action, params, key, \
                             fields, started_at";

const STATE_COLUMNS: &str = "s.agreed, s.ours, s.ours_changed_at, s.conflicts, s.is_deleted, s.seen_version";

#[async_trait]
impl EntityStates for SqliteStore {
    async fn find(&self, binding: BindingId, link: LinkId) -> Result<Option<EntityState>, StoreError> {
        self.read(move |sqlite| {
            let sql = format!("SELECT {STATE_COLUMNS} FROM entity_states s WHERE s.binding_id = ?1 AND s.link_id = ?2");
            let mut statement = sqlite.prepare_cached(&sql)?;
            first(query(&mut statement, (binding.0, link.0))?, state_from_row)
        })
        .await
    }

    async fn save(
        &self,
        binding: BindingId,
        link: LinkId,
        state: &EntityState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let state = state.clone();
        self.write(move |transaction| save(transaction, binding, link, &state, now)).await
    }

    async fn conflicts(
        &self,
        binding: Option<BindingId>,
        limit: u32,
    ) -> Result<Vec<(BindingId, OpenConflict)>, StoreError> {
        self.read(move |sqlite| {
            let sql = "SELECT s.binding_id, s.link_id, s.conflicts FROM entity_states s \
                       WHERE s.conflicts <> '[]' AND (?1 IS NULL OR s.binding_id = ?1) ORDER BY s.binding_id, s.link_id LIMIT ?2";
            let mut statement = sqlite.prepare_cached(sql)?;
            let from_row = |row: &Row<'_>| -> Result<_, StoreError> {
                let conflicts = conflicts(&row.get::<String>("conflicts")?)?;
                Ok((BindingId(row.get("binding_id")?), LinkId(row.get("link_id")?), conflicts))
            };
            let stored = collect(query(&mut statement, (binding.map(|binding| binding.0), limit))?, from_row)?;
            let mut all = Vec::new();
            for (binding, link, conflicts) in stored {
                let Some(link) = links::find(sqlite, link)? else { continue };
                let open = conflicts.into_iter().map(|conflict| (binding, OpenConflict { link: link.clone(), conflict }));
                all.extend(open);
            }
            Ok(all)
        })
        .await
    }

    async fn begin_write(&self, write: &EntityWrite) -> Result<EntityWrite, StoreError> {
        let write = write.clone();
        self.write(move |transaction| {
            let sql = format!(
                "INSERT INTO entity_writes ({WRITE_COLUMNS}) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 \
                 WHERE EXISTS (SELECT 1 FROM connections WHERE id = ?2) AND EXISTS (SELECT 1 FROM bindings WHERE id = ?1) \
                 ON CONFLICT DO NOTHING"
            );
            let of = &write.of;
            let values = params![
                of.binding.0,
                of.connection.0,
                user_column(of),
                of.entity.kind(),
                of.entity.id(),
                write.kind.as_str(),
                write.link.map(|link| link.0),
                write.action,
                Value::Object(write.params.clone()).to_string(),
                write.key,
                text_of(&write.fields),
                write.started_at.as_second(),
            ];
            transaction.prepare_cached(&sql)?.execute(values)?;
            find_write(transaction, of)?.ok_or(StoreError::ConnectionNotFound)
        })
        .await
    }

    async fn find_write(&self, of: &BoundEntity) -> Result<Option<EntityWrite>, StoreError> {
        let of = of.clone();
        self.read(move |sqlite| find_write(sqlite, &of)).await
    }

    async fn writes(&self, binding: Option<BindingId>, limit: u32) -> Result<Vec<EntityWrite>, StoreError> {
        self.read(move |sqlite| {
            let sql = format!(
                "SELECT {WRITE_COLUMNS} FROM entity_writes WHERE ?1 IS NULL OR binding_id = ?1 ORDER BY id LIMIT ?2"
            );
            let mut statement = sqlite.prepare_cached(&sql)?;
            collect(query(&mut statement, (binding.map(|binding| binding.0), limit))?, write_from_row)
        })
        .await
    }

    async fn end_creation(
        &self,
        write: &EntityWrite,
        object: LinkedObject,
        state: &EntityState,
        now: Timestamp,
    ) -> Result<LinkInsertResult, StoreError> {
        let (write, state) = (write.clone(), state.clone());
        self.write(move |transaction| {
            let BoundEntity { binding, connection, user, entity } = write.of.clone();
            let object = object.clone();
            let inserted = links::insert(transaction, &NewLink { user, entity, connection, object }, now)?;
            if let LinkInsertResult::Added(link) | LinkInsertResult::Unchanged(link) = &inserted {
                save(transaction, binding, link.id, &state, now)?;
                remove_write(transaction, &write)?;
            }
            Ok(inserted)
        })
        .await
    }

    async fn end_write(
        &self,
        write: &EntityWrite,
        state: Option<&EntityState>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (write, state) = (write.clone(), state.cloned());
        self.write(move |transaction| {
            match (write.link, &state) {
                (Some(link), Some(state)) => save(transaction, write.of.binding, link, state, now)?,
                (Some(link), None) => _ = transaction.execute("DELETE FROM links WHERE id = ?1", [link.0])?,
                (None, _) => {}
            }
            remove_write(transaction, &write)
        })
        .await
    }

    async fn cancel_write(&self, write: &EntityWrite) -> Result<(), StoreError> {
        let write = write.clone();
        self.write(move |transaction| remove_write(transaction, &write)).await
    }

    async fn linked(
        &self,
        binding: BindingId,
        connection: ConnectionId,
        resource: &str,
        after: LinkId,
        limit: u32,
    ) -> Result<Vec<(Link, Option<EntityState>)>, StoreError> {
        let resource = resource.to_owned();
        self.read(move |sqlite| {
            let sql = format!(
                "SELECT l.id, l.user_id, l.entity_type, l.entity_id, c.connector, c.account, l.resource, l.object_id, \
                 l.merged_into, l.created_at, l.changed_at, {STATE_COLUMNS} FROM links l \
                 JOIN connections c ON c.id = l.connection_id \
                 LEFT JOIN entity_states s ON s.link_id = l.id AND s.binding_id = ?1 \
                 WHERE l.connection_id = ?2 AND l.resource = ?3 AND l.id > ?4 ORDER BY l.id LIMIT ?5"
            );
            let mut statement = sqlite.prepare_cached(&sql)?;
            let values = params![binding.0, connection.0, resource, after.0, limit];
            collect(query(&mut statement, values)?, |row| {
                let has_state = row.get::<Option<String>>("agreed")?.is_some();
                Ok((links::from_row(row)?, if has_state { Some(state_from_row(row)?) } else { None }))
            })
        })
        .await
    }
}

fn save(
    transaction: &Transaction<'_>,
    binding: BindingId,
    link: LinkId,
    state: &EntityState,
    now: Timestamp,
) -> Result<(), StoreError> {
    // The link or the binding may have been removed meanwhile.
    let sql = "INSERT INTO entity_states (binding_id, link_id, agreed, ours, ours_changed_at, conflicts, is_deleted, \
               seen_version, changed_at) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE EXISTS (SELECT 1 FROM links WHERE id = ?2) \
               AND EXISTS (SELECT 1 FROM bindings WHERE id = ?1) \
               ON CONFLICT DO UPDATE SET agreed = excluded.agreed, ours = excluded.ours, \
               ours_changed_at = excluded.ours_changed_at, conflicts = excluded.conflicts, \
               is_deleted = excluded.is_deleted, seen_version = excluded.seen_version, changed_at = excluded.changed_at";
    let conflicts = serde_json::json!(state.conflicts).to_string();
    let values = params![
        binding.0,
        link.0,
        text_of(&state.agreed),
        text_of(&state.ours),
        state.ours_changed_at.map(Timestamp::as_second),
        conflicts,
        state.is_deleted,
        state.seen_version.cast_signed(),
        now.as_second(),
    ];
    transaction.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn find_write(sqlite: &Connection, of: &BoundEntity) -> Result<Option<EntityWrite>, StoreError> {
    let sql = format!(
        "SELECT {WRITE_COLUMNS} FROM entity_writes WHERE binding_id = ?1 AND connection_id = ?2 AND user_id = ?3 \
         AND entity_type = ?4 AND entity_id = ?5"
    );
    let mut statement = sqlite.prepare_cached(&sql)?;
    let values = (of.binding.0, of.connection.0, user_column(of), of.entity.kind(), of.entity.id());
    first(query(&mut statement, values)?, write_from_row)
}

/// Removes a write, unless the entity has another one by now.
fn remove_write(transaction: &Transaction<'_>, write: &EntityWrite) -> Result<(), StoreError> {
    let sql = "DELETE FROM entity_writes WHERE binding_id = ?1 AND connection_id = ?2 AND user_id = ?3 \
               AND entity_type = ?4 AND entity_id = ?5 AND key = ?6";
    let of = &write.of;
    let values = (of.binding.0, of.connection.0, user_column(of), of.entity.kind(), of.entity.id(), &write.key);
    transaction.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// The column is empty, not NULL, for an entity of no user.
fn user_column(of: &BoundEntity) -> &str {
    of.user.as_ref().map_or("", UserId::as_str)
}

fn text_of(fields: &EntityFields) -> String {
    Value::Object(fields.clone().into_iter().collect()).to_string()
}

fn object(text: &str) -> Result<serde_json::Map<String, Value>, StoreError> {
    match json::parse(text) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(MalformedValue::Name.into()),
    }
}

fn conflicts(text: &str) -> Result<Vec<FieldConflict>, StoreError> {
    let Ok(Value::Array(items)) = json::parse(text) else { return Err(MalformedValue::Name.into()) };
    let value = |item: &Value, name: &str| item.get(name).filter(|value| !value.is_null()).cloned();
    let conflict = |item: &Value| FieldConflict {
        field: item.get("field").and_then(Value::as_str).unwrap_or_default().to_owned(),
        agreed: value(item, "agreed"),
        ours: value(item, "ours"),
        theirs: value(item, "theirs"),
    };
    Ok(items.iter().map(conflict).collect())
}

fn state_from_row(row: &Row<'_>) -> Result<EntityState, StoreError> {
    let changed_at: Option<i64> = row.get("ours_changed_at")?;
    Ok(EntityState {
        agreed: object(&row.get::<String>("agreed")?)?.into_iter().collect(),
        ours: object(&row.get::<String>("ours")?)?.into_iter().collect(),
        ours_changed_at: changed_at.and_then(|seconds| Timestamp::from_second(seconds).ok()),
        conflicts: conflicts(&row.get::<String>("conflicts")?)?,
        is_deleted: row.get("is_deleted")?,
        seen_version: row.get::<i64>("seen_version")?.cast_unsigned(),
    })
}

fn write_from_row(row: &Row<'_>) -> Result<EntityWrite, StoreError> {
    let text = |column: &str| row.get::<String>(column);
    let link: Option<i64> = row.get("link_id")?;
    let entity = Entity::new(&text("entity_type")?, &text("entity_id")?).map_err(|_| MalformedValue::Name)?;
    Ok(EntityWrite {
        of: BoundEntity {
            binding: BindingId(row.get("binding_id")?),
            connection: ConnectionId(row.get("connection_id")?),
            user: user(row, "user_id")?,
            entity,
        },
        kind: text("kind")?.parse().map_err(|_| MalformedValue::Name)?,
        link: link.map(LinkId),
        action: text("action")?,
        params: object(&text("params")?)?,
        key: text("key")?,
        fields: object(&text("fields")?)?.into_iter().collect(),
        started_at: get_seconds(row, "started_at")?,
    })
}
