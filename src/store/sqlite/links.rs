//! Links. Their two keys are unique constraints, so the transaction decides between concurrent inserts.

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, params};

use super::row::{Row, collect, connection_name, first, get_seconds, query, user};
use super::{MalformedValue, SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::{
    ConnectionId, Entity, Link, LinkFilter, LinkId, LinkInsertResult, LinkedObject, MergedObject, NewLink, UserId,
};
use crate::store::Links;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT l.id, l.user_id, l.entity_type, l.entity_id, c.connector, c.account, l.resource, l.object_id, \
             l.merged_into, l.created_at, l.changed_at FROM links l JOIN connections c ON c.id = l.connection_id ",
            $rest
        )
    };
}

#[async_trait]
impl Links for SqliteStore {
    async fn insert(&self, links: Vec<NewLink>, now: Timestamp) -> Result<Vec<LinkInsertResult>, StoreError> {
        self.write(move |transaction| links.iter().map(|link| insert(transaction, link, now)).collect()).await
    }

    async fn list(&self, filter: &LinkFilter, after: LinkId, limit: u32) -> Result<Vec<Link>, StoreError> {
        let filter = filter.clone();
        self.read(move |sqlite| list(sqlite, &filter, after, limit)).await
    }

    async fn remove(&self, id: LinkId) -> Result<bool, StoreError> {
        self.write(move |transaction| Ok(transaction.execute("DELETE FROM links WHERE id = ?1", [id.0])? == 1)).await
    }

    async fn follow(
        &self,
        connection: ConnectionId,
        merged: Vec<MergedObject>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        self.write(move |transaction| {
            merged.iter().map(|merged| follow(transaction, connection, merged, now)).sum::<Result<usize, _>>()
        })
        .await
    }
}

pub(super) fn insert(
    transaction: &Transaction<'_>,
    link: &NewLink,
    now: Timestamp,
) -> Result<LinkInsertResult, StoreError> {
    let sql = "INSERT INTO links (connection_id, user_id, entity_type, entity_id, resource, object_id, created_at, \
               changed_at) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7 WHERE EXISTS (SELECT 1 FROM connections WHERE id = ?1) \
               ON CONFLICT DO NOTHING RETURNING id";
    let (entity, object) = (&link.entity, &link.object);
    let values = params![
        link.connection.0,
        user_column(link.user.as_ref()),
        entity.kind(),
        entity.id(),
        object.resource(),
        object.id(),
        now.as_second(),
    ];
    let mut statement = transaction.prepare_cached(sql)?;
    let id = first(query(&mut statement, values)?, |row| Ok(LinkId(row.get("id")?)))?;
    if let Some(id) = id {
        return Ok(LinkInsertResult::Added(find(transaction, id)?.ok_or(StoreError::ConnectionNotFound)?));
    }
    if let Some(taken) = of_entity(transaction, link)? {
        let is_same = taken.object == link.object;
        return Ok(if is_same { LinkInsertResult::Unchanged(taken) } else { LinkInsertResult::EntityLinked(taken) });
    }
    // Neither key is taken if the connection was removed meanwhile.
    let taken = of_object(transaction, link.connection, object.resource(), object.id())?;
    Ok(LinkInsertResult::ObjectLinked(taken.ok_or(StoreError::ConnectionNotFound)?))
}

pub(super) fn find(sqlite: &Connection, id: LinkId) -> Result<Option<Link>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("WHERE l.id = ?1"))?;
    first(query(&mut statement, [id.0])?, from_row)
}

fn of_entity(sqlite: &Connection, link: &NewLink) -> Result<Option<Link>, StoreError> {
    let sql = select!(
        "WHERE l.user_id = ?1 AND l.entity_type = ?2 AND l.entity_id = ?3 AND l.connection_id = ?4 AND l.resource = ?5"
    );
    let (entity, user) = (&link.entity, user_column(link.user.as_ref()));
    let values = (user, entity.kind(), entity.id(), link.connection.0, link.object.resource());
    let mut statement = sqlite.prepare_cached(sql)?;
    first(query(&mut statement, values)?, from_row)
}

fn of_object(
    sqlite: &Connection,
    connection: ConnectionId,
    resource: &str,
    object: &str,
) -> Result<Option<Link>, StoreError> {
    let sql = select!("WHERE l.connection_id = ?1 AND l.resource = ?2 AND l.object_id = ?3");
    let mut statement = sqlite.prepare_cached(sql)?;
    first(query(&mut statement, (connection.0, resource, object))?, from_row)
}

/// Reads the links that match; the conditions that are set decide which index is used.
fn list(sqlite: &Connection, filter: &LinkFilter, after: LinkId, limit: u32) -> Result<Vec<Link>, StoreError> {
    let mut conditions = String::from(" WHERE l.id > ?");
    let connection = filter.connection.map(|connection| connection.0);
    let mut values: Vec<&dyn rusqlite::ToSql> = vec![&after.0];
    let user = filter.user.as_ref().map(UserId::as_str);
    let texts = [
        ("l.user_id", &user),
        ("l.entity_type", &filter.entity_type.as_deref()),
        ("l.entity_id", &filter.entity_id.as_deref()),
        ("l.resource", &filter.resource.as_deref()),
        ("l.object_id", &filter.object_id.as_deref()),
    ];
    if let Some(connection) = &connection {
        conditions.push_str(" AND l.connection_id = ?");
        values.push(connection);
    }
    for (column, value) in &texts {
        if let Some(value) = value {
            conditions.push_str(&format!(" AND {column} = ?"));
            values.push(value);
        }
    }
    values.push(&limit);
    let sql = format!("{}{conditions} ORDER BY l.id LIMIT ?", select!(""));
    let mut statement = sqlite.prepare_cached(&sql)?;
    collect(query(&mut statement, values.as_slice())?, from_row)
}

/// Moves the links of an object's former ids to the id that it has now.
pub(super) fn follow(
    transaction: &Transaction<'_>,
    connection: ConnectionId,
    merged: &MergedObject,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let mut changed = 0;
    for former in merged.former_ids.iter().filter(|former| **former != merged.id) {
        // The first one takes the new id, if no link has it already.
        let sql = "UPDATE links SET object_id = ?4, merged_into = NULL, changed_at = ?5 \
                   WHERE connection_id = ?1 AND resource = ?2 AND object_id = ?3 AND NOT EXISTS \
                   (SELECT 1 FROM links WHERE connection_id = ?1 AND resource = ?2 AND object_id = ?4)";
        let values = params![connection.0, merged.resource, former, merged.id, now.as_second()];
        let moved = transaction.prepare_cached(sql)?.execute(values)?;
        changed += moved;
        if moved == 0 {
            let sql = "UPDATE links SET merged_into = ?4, changed_at = ?5 \
                       WHERE connection_id = ?1 AND resource = ?2 AND object_id = ?3 AND merged_into IS NOT ?4";
            changed += transaction.prepare_cached(sql)?.execute(values)?;
        }
    }
    Ok(changed)
}

/// Follows the objects of a stream with records that contain their former ids.
pub(super) fn follow_records(
    transaction: &Transaction<'_>,
    stream: i64,
    merged: &[(&str, &[String])],
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "SELECT connection_id, name FROM streams WHERE id = ?1";
    let (connection, name): (i64, String) = transaction
        .prepare_cached(sql)?
        .query_row([stream], |row| Ok((row.get("connection_id")?, row.get("name")?)))?;
    for (key, former_ids) in merged {
        let merged = MergedObject { resource: name.clone(), former_ids: former_ids.to_vec(), id: (*key).to_owned() };
        follow(transaction, ConnectionId(connection), &merged, now)?;
    }
    Ok(())
}

/// The column is empty, not NULL, for a link of no user.
fn user_column(user: Option<&UserId>) -> &str {
    user.map_or("", UserId::as_str)
}

pub(super) fn from_row(row: &Row<'_>) -> Result<Link, StoreError> {
    let text = |column: &str| row.get::<String>(column);
    Ok(Link {
        id: LinkId(row.get("id")?),
        user: user(row, "user_id")?,
        entity: Entity::new(&text("entity_type")?, &text("entity_id")?).map_err(|_| MalformedValue::Name)?,
        connection: connection_name(row)?,
        object: LinkedObject::new(&text("resource")?, &text("object_id")?).map_err(|_| MalformedValue::Name)?,
        merged_into: row.get("merged_into")?,
        created_at: get_seconds(row, "created_at")?,
        changed_at: get_seconds(row, "changed_at")?,
    })
}
