//! The states of entities of two-way bindings, and their writes. Values are JSON, sealed.

use async_trait::async_trait;
use serde_json::Value as Json;
use tokio_postgres::Row;

use super::PostgresStore;
use super::links::{self, user_column};
use super::row::{SealedRow, get, get_seconds, get_word, number, optional_seconds, signed, user};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use super::value::Value;
use crate::clock::Timestamp;
use crate::json;
use crate::model::{
    BindingId, BoundEntity, ConnectionId, Entity, EntityFields, EntityState, EntityWrite, FieldConflict, Link, LinkId,
    LinkInsertResult, LinkedObject, NewLink, OpenConflict,
};
use crate::store::{EntityStates, MalformedValue, StoreError};

const AGREED: Column = column("entity_states", "agreed");
const OURS: Column = column("entity_states", "ours");
const CONFLICTS: Column = column("entity_states", "conflicts");
const PARAMS: Column = column("entity_writes", "params");
const FIELDS: Column = column("entity_writes", "fields");

macro_rules! state_columns {
    () => {
        "s.binding_id, s.link_id, s.agreed, s.ours, s.ours_changed_at, s.conflicts, s.is_deleted, s.seen_version"
    };
}

macro_rules! select_writes {
    ($rest:literal) => {
        concat!(
            "SELECT id, binding_id, connection_id, user_id, entity_type, entity_id, kind, link_id, action, params, key,
             fields, started_at FROM integ.entity_writes WHERE workspace_id = $1 ",
            $rest
        )
    };
}

/// The condition of the write of one entity, with five values from `$2` on.
const FIND_WRITE: &str = select_writes!(
    "AND binding_id = $2 AND connection_id = $3 AND user_id = $4 AND entity_type = $5 AND entity_id = $6"
);

#[async_trait]
impl EntityStates for PostgresStore {
    async fn find(&self, binding: BindingId, link: LinkId) -> Result<Option<EntityState>, StoreError> {
        let sql = concat!(
            "SELECT ",
            state_columns!(),
            " FROM integ.entity_states s WHERE s.workspace_id = $1 AND s.binding_id = $2 AND s.link_id = $3"
        );
        let row = self.row(sql, &[&binding.0, &link.0]).await?;
        row.map(|row| state_from_row(&self.sealer, &row)).transpose()
    }

    async fn save(
        &self,
        binding: BindingId,
        link: LinkId,
        state: &EntityState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        save(&transaction, binding, link, state, now).await?;
        transaction.commit().await
    }

    async fn conflicts(
        &self,
        binding: Option<BindingId>,
        limit: u32,
    ) -> Result<Vec<(BindingId, OpenConflict)>, StoreError> {
        let transaction = self.snapshot().await?;
        let sql = "SELECT s.binding_id, s.link_id, s.conflicts FROM integ.entity_states s
                   WHERE s.workspace_id = $1 AND s.has_conflicts AND ($2 IS NULL OR s.binding_id = $2)
                   ORDER BY s.binding_id, s.link_id LIMIT $3";
        let rows = transaction.query(sql, &[&binding.map(|binding| binding.0), &i64::from(limit)]).await?;
        let ids = rows.iter().map(|row| get(row, "link_id")).collect::<Result<Vec<i64>, _>>()?;
        let links = links::find_all(&transaction, &ids).await?;
        let mut all = Vec::new();
        for row in &rows {
            let (binding, link): (i64, i64) = (get(row, "binding_id")?, get(row, "link_id")?);
            let Some(link) = links.iter().find(|found| found.id.0 == link) else { continue };
            let text = SealedRow::new(&transaction.sealer, row, (binding, link.id.0)).required_text(CONFLICTS)?;
            let open = |conflict| (BindingId(binding), OpenConflict { link: link.clone(), conflict });
            all.extend(parse_conflicts(&text)?.into_iter().map(open));
        }
        Ok(all)
    }

    async fn begin_write(&self, write: &EntityWrite) -> Result<EntityWrite, StoreError> {
        let transaction = self.begin().await?;
        insert_write(&transaction, write).await?;
        let stored = find_write(&transaction, &write.of).await?.ok_or(StoreError::ConnectionNotFound)?;
        transaction.commit().await?;
        Ok(stored)
    }

    async fn find_write(&self, of: &BoundEntity) -> Result<Option<EntityWrite>, StoreError> {
        find_write(&self.snapshot().await?, of).await
    }

    async fn writes(&self, binding: Option<BindingId>, limit: u32) -> Result<Vec<EntityWrite>, StoreError> {
        let sql = select_writes!("AND ($2 IS NULL OR binding_id = $2) ORDER BY id LIMIT $3");
        let rows = self.rows(sql, &[&binding.map(|binding| binding.0), &i64::from(limit)]).await?;
        rows.iter().map(|row| write_from_row(&self.sealer, row)).collect()
    }

    async fn end_creation(
        &self,
        write: &EntityWrite,
        object: LinkedObject,
        state: &EntityState,
        now: Timestamp,
    ) -> Result<LinkInsertResult, StoreError> {
        let transaction = self.begin().await?;
        let BoundEntity { binding, connection, user, entity } = write.of.clone();
        let inserted = links::insert(&transaction, &NewLink { user, entity, connection, object }, now).await?;
        if let LinkInsertResult::Added(link) | LinkInsertResult::Unchanged(link) = &inserted {
            save(&transaction, binding, link.id, state, now).await?;
            remove_write(&transaction, write).await?;
        }
        transaction.commit().await?;
        Ok(inserted)
    }

    async fn end_write(
        &self,
        write: &EntityWrite,
        state: Option<&EntityState>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        match (write.link, state) {
            (Some(link), Some(state)) => save(&transaction, write.of.binding, link, state, now).await?,
            (Some(link), None) => {
                let sql = "DELETE FROM integ.links WHERE workspace_id = $1 AND id = $2";
                transaction.execute(sql, &[&link.0]).await?;
            }
            (None, _) => {}
        }
        remove_write(&transaction, write).await?;
        transaction.commit().await
    }

    async fn cancel_write(&self, write: &EntityWrite) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        remove_write(&transaction, write).await?;
        transaction.commit().await
    }

    async fn linked(
        &self,
        binding: BindingId,
        connection: ConnectionId,
        resource: &str,
        after: LinkId,
        limit: u32,
    ) -> Result<Vec<(Link, Option<EntityState>)>, StoreError> {
        let sql = concat!(
            "SELECT l.id, l.user_id, l.entity_type, l.entity_id, c.connector, c.account, l.resource, l.object_id,
                 l.merged_into, l.created_at, l.changed_at, ",
            state_columns!(),
            " FROM integ.links l JOIN integ.connections c ON c.workspace_id = $1 AND c.id = l.connection_id
             LEFT JOIN integ.entity_states s ON s.workspace_id = $1 AND s.link_id = l.id AND s.binding_id = $2
             WHERE l.workspace_id = $1 AND l.connection_id = $3 AND l.resource = $4 AND l.id > $5 ORDER BY l.id LIMIT $6"
        );
        let values: [Value<'_>; 5] = [&binding.0, &connection.0, &resource, &after.0, &i64::from(limit)];
        let linked = |row: &Row| {
            let has_state = get::<Option<i64>>(row, "binding_id")?.is_some();
            let state = if has_state { Some(state_from_row(&self.sealer, row)?) } else { None };
            Ok((links::from_row(row)?, state))
        };
        self.rows(sql, &values).await?.iter().map(linked).collect()
    }
}

async fn save(
    transaction: &Transaction,
    binding: BindingId,
    link: LinkId,
    state: &EntityState,
    now: Timestamp,
) -> Result<(), StoreError> {
    // The link or the binding may have been removed meanwhile.
    let sql =
        "INSERT INTO integ.entity_states (workspace_id, binding_id, link_id, agreed, ours, ours_changed_at, conflicts,
                   has_conflicts, is_deleted, seen_version, changed_at)
               SELECT $1, b.id, l.id, $4, $5, $6, $7, $8, $9, $10, $11 FROM integ.bindings b, integ.links l
               WHERE b.workspace_id = $1 AND b.id = $2 AND l.workspace_id = $1 AND l.id = $3
               ON CONFLICT (workspace_id, binding_id, link_id) DO UPDATE SET agreed = excluded.agreed,
                   ours = excluded.ours, ours_changed_at = excluded.ours_changed_at, conflicts = excluded.conflicts,
                   has_conflicts = excluded.has_conflicts, is_deleted = excluded.is_deleted,
                   seen_version = excluded.seen_version, changed_at = excluded.changed_at";
    let row = (binding.0, link.0);
    let conflicts = serde_json::json!(state.conflicts).to_string();
    let values: [Value<'_>; 10] = [
        &binding.0,
        &link.0,
        &transaction.sealer.seal(AGREED, row, text_of(&state.agreed))?,
        &transaction.sealer.seal(OURS, row, text_of(&state.ours))?,
        &state.ours_changed_at.map(Timestamp::as_second),
        &transaction.sealer.seal(CONFLICTS, row, conflicts)?,
        &!state.conflicts.is_empty(),
        &state.is_deleted,
        &signed(state.seen_version),
        &now.as_second(),
    ];
    transaction.execute(sql, &values).await.map(drop)
}

/// Stores a write, unless the entity has one, or its connection or its binding was removed.
async fn insert_write(transaction: &Transaction, write: &EntityWrite) -> Result<(), StoreError> {
    let id = transaction.next_id("entity_writes").await?;
    let sql =
        "INSERT INTO integ.entity_writes (workspace_id, id, binding_id, connection_id, user_id, entity_type, entity_id,
                   kind, link_id, action, params, key, fields, started_at)
               SELECT $1, $2, b.id, c.id, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
               FROM integ.bindings b, integ.connections c
               WHERE b.workspace_id = $1 AND b.id = $3 AND c.workspace_id = $1 AND c.id = $4
               ON CONFLICT (workspace_id, binding_id, connection_id, user_id, entity_type, entity_id) DO NOTHING";
    let of = &write.of;
    let params = Json::Object(write.params.clone()).to_string();
    let values: [Value<'_>; 13] = [
        &id,
        &of.binding.0,
        &of.connection.0,
        &user_column(of.user.as_ref()),
        &of.entity.kind(),
        &of.entity.id(),
        &write.kind.as_str(),
        &write.link.map(|link| link.0),
        &write.action,
        &transaction.sealer.seal(PARAMS, id, params)?,
        &write.key,
        &transaction.sealer.seal(FIELDS, id, text_of(&write.fields))?,
        &write.started_at.as_second(),
    ];
    transaction.execute(sql, &values).await.map(drop)
}

async fn find_write(transaction: &Transaction, of: &BoundEntity) -> Result<Option<EntityWrite>, StoreError> {
    let values: [Value<'_>; 5] =
        [&of.binding.0, &of.connection.0, &user_column(of.user.as_ref()), &of.entity.kind(), &of.entity.id()];
    let row = transaction.first(FIND_WRITE, &values).await?;
    row.map(|row| write_from_row(&transaction.sealer, &row)).transpose()
}

/// Removes a write, unless the entity has another one by now.
async fn remove_write(transaction: &Transaction, write: &EntityWrite) -> Result<(), StoreError> {
    let sql = "DELETE FROM integ.entity_writes WHERE workspace_id = $1 AND binding_id = $2 AND connection_id = $3
               AND user_id = $4 AND entity_type = $5 AND entity_id = $6 AND key = $7";
    let of = &write.of;
    let values: [Value<'_>; 6] = [
        &of.binding.0,
        &of.connection.0,
        &user_column(of.user.as_ref()),
        &of.entity.kind(),
        &of.entity.id(),
        &write.key,
    ];
    transaction.execute(sql, &values).await.map(drop)
}

fn text_of(fields: &EntityFields) -> String {
    Json::Object(fields.clone().into_iter().collect()).to_string()
}

/// Numbers are as long as they were written.
fn object(text: &str) -> Result<serde_json::Map<String, Json>, StoreError> {
    match json::parse(text) {
        Ok(Json::Object(members)) => Ok(members),
        _ => Err(MalformedValue::Name.into()),
    }
}

fn parse_conflicts(text: &str) -> Result<Vec<FieldConflict>, StoreError> {
    let Ok(Json::Array(items)) = json::parse(text) else { return Err(MalformedValue::Name.into()) };
    let value = |item: &Json, name: &str| item.get(name).filter(|value| !value.is_null()).cloned();
    let conflict = |item: &Json| FieldConflict {
        field: item.get("field").and_then(Json::as_str).unwrap_or_default().to_owned(),
        agreed: value(item, "agreed"),
        ours: value(item, "ours"),
        theirs: value(item, "theirs"),
    };
    Ok(items.iter().map(conflict).collect())
}

fn state_from_row(sealer: &Sealer, row: &Row) -> Result<EntityState, StoreError> {
    let key: (i64, i64) = (get(row, "binding_id")?, get(row, "link_id")?);
    let sealed = SealedRow::new(sealer, row, key);
    Ok(EntityState {
        agreed: object(&sealed.required_text(AGREED)?)?.into_iter().collect(),
        ours: object(&sealed.required_text(OURS)?)?.into_iter().collect(),
        ours_changed_at: optional_seconds(row, "ours_changed_at")?,
        conflicts: parse_conflicts(&sealed.required_text(CONFLICTS)?)?,
        is_deleted: get(row, "is_deleted")?,
        seen_version: number(row, "seen_version")?,
    })
}

fn write_from_row(sealer: &Sealer, row: &Row) -> Result<EntityWrite, StoreError> {
    let sealed = SealedRow::new(sealer, row, get::<i64>(row, "id")?);
    let entity = Entity::new(get(row, "entity_type")?, get(row, "entity_id")?).map_err(|_| MalformedValue::Name)?;
    Ok(EntityWrite {
        of: BoundEntity {
            binding: BindingId(get(row, "binding_id")?),
            connection: ConnectionId(get(row, "connection_id")?),
            user: user(row, "user_id")?,
            entity,
        },
        kind: get_word(row, "kind")?,
        link: get::<Option<i64>>(row, "link_id")?.map(LinkId),
        action: get(row, "action")?,
        params: object(&sealed.required_text(PARAMS)?)?,
        key: get(row, "key")?,
        fields: object(&sealed.required_text(FIELDS)?)?.into_iter().collect(),
        started_at: get_seconds(row, "started_at")?,
    })
}
