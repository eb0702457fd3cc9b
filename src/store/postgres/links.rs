//! Links. Their two keys are unique constraints, so the database decides between concurrent inserts.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{connection_name, get, get_seconds, user};
use super::transaction::Transaction;
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{
    ConnectionId, Entity, Link, LinkFilter, LinkId, LinkInsertResult, LinkedObject, MergedObject, NewLink, StreamId,
    UserId,
};
use crate::store::{Links, MalformedValue, StoreError};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT l.id, l.user_id, l.entity_type, l.entity_id, c.connector, c.account, l.resource, l.object_id,
             l.merged_into, l.created_at, l.changed_at
             FROM integ.links l JOIN integ.connections c ON c.workspace_id = $1 AND c.id = l.connection_id
             WHERE l.workspace_id = $1 ",
            $rest
        )
    };
}

#[async_trait]
impl Links for PostgresStore {
    async fn insert(&self, links: Vec<NewLink>, now: Timestamp) -> Result<Vec<LinkInsertResult>, StoreError> {
        let transaction = self.begin().await?;
        let mut results = Vec::with_capacity(links.len());
        for link in &links {
            results.push(insert(&transaction, link, now).await?);
        }
        transaction.commit().await?;
        Ok(results)
    }

    /// The conditions that are set decide which index is used.
    async fn list(&self, filter: &LinkFilter, after: LinkId, limit: u32) -> Result<Vec<Link>, StoreError> {
        let connection = filter.connection.map(|connection| connection.0);
        let user = filter.user.as_ref().map(UserId::as_str);
        let texts = [
            ("user_id", user),
            ("entity_type", filter.entity_type.as_deref()),
            ("entity_id", filter.entity_id.as_deref()),
            ("resource", filter.resource.as_deref()),
            ("object_id", filter.object_id.as_deref()),
        ];
        let limit = i64::from(limit);
        let mut sql = select!("AND l.id > $2").to_owned();
        let mut values: Vec<Value<'_>> = vec![&after.0, &limit];
        if let Some(connection) = &connection {
            values.push(connection);
            sql.push_str(&format!(" AND l.connection_id = ${}", values.len() + 1));
        }
        for (column, value) in &texts {
            if let Some(value) = value {
                values.push(value);
                sql.push_str(&format!(" AND l.{column} = ${}", values.len() + 1));
            }
        }
        sql.push_str(" ORDER BY l.id LIMIT $3");
        self.rows(&sql, &values).await?.iter().map(from_row).collect()
    }

    async fn remove(&self, id: LinkId) -> Result<bool, StoreError> {
        Ok(self.execute("DELETE FROM integ.links WHERE workspace_id = $1 AND id = $2", &[&id.0]).await? == 1)
    }

    async fn follow(
        &self,
        connection: ConnectionId,
        merged: Vec<MergedObject>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let transaction = self.begin().await?;
        let mut changed = 0;
        for merged in &merged {
            changed += follow(&transaction, connection, merged, now).await?;
        }
        transaction.commit().await?;
        Ok(changed)
    }
}

pub(super) async fn insert(
    transaction: &Transaction,
    link: &NewLink,
    now: Timestamp,
) -> Result<LinkInsertResult, StoreError> {
    let id = transaction.next_id("links").await?;
    let (entity, object) = (&link.entity, &link.object);
    let user = user_column(link.user.as_ref());
    let sql = "INSERT INTO integ.links (workspace_id, id, connection_id, user_id, entity_type, entity_id, resource,
                   object_id, created_at, changed_at)
               SELECT $1, $2, c.id, $4, $5, $6, $7, $8, $9, $9 FROM integ.connections c
               WHERE c.workspace_id = $1 AND c.id = $3 ON CONFLICT DO NOTHING";
    let values: [Value<'_>; 8] = [
        &id,
        &link.connection.0,
        &user,
        &entity.kind(),
        &entity.id(),
        &object.resource(),
        &object.id(),
        &now.as_second(),
    ];
    if transaction.execute(sql, &values).await? == 1 {
        return Ok(LinkInsertResult::Added(
            find(transaction, LinkId(id)).await?.ok_or(StoreError::ConnectionNotFound)?,
        ));
    }
    let sql = select!(
        "AND l.user_id = $2 AND l.entity_type = $3 AND l.entity_id = $4 AND l.connection_id = $5 AND l.resource = $6"
    );
    let values: [Value<'_>; 5] = [&user, &entity.kind(), &entity.id(), &link.connection.0, &object.resource()];
    if let Some(row) = transaction.first(sql, &values).await? {
        let taken = from_row(&row)?;
        let is_same = taken.object == link.object;
        return Ok(if is_same { LinkInsertResult::Unchanged(taken) } else { LinkInsertResult::EntityLinked(taken) });
    }
    // Neither key is taken if the connection was removed meanwhile.
    let sql = select!("AND l.connection_id = $2 AND l.resource = $3 AND l.object_id = $4");
    let row = transaction.first(sql, &[&link.connection.0, &object.resource(), &object.id()]).await?;
    Ok(LinkInsertResult::ObjectLinked(from_row(&row.ok_or(StoreError::ConnectionNotFound)?)?))
}

pub(super) async fn find(transaction: &Transaction, id: LinkId) -> Result<Option<Link>, StoreError> {
    transaction.first(select!("AND l.id = $2"), &[&id.0]).await?.as_ref().map(from_row).transpose()
}

/// Returns links by their ids.
pub(super) async fn find_all(transaction: &Transaction, ids: &[i64]) -> Result<Vec<Link>, StoreError> {
    transaction.query(select!("AND l.id = ANY($2)"), &[&ids.to_vec()]).await?.iter().map(from_row).collect()
}

/// Moves the links of an object's former ids to the id that it has now.
pub(super) async fn follow(
    transaction: &Transaction,
    connection: ConnectionId,
    merged: &MergedObject,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let mut changed = 0;
    for former in merged.former_ids.iter().filter(|former| **former != merged.id) {
        // The first one takes the new id, if no link has it already.
        let sql = "UPDATE integ.links SET object_id = $5, merged_into = NULL, changed_at = $6
                   WHERE workspace_id = $1 AND connection_id = $2 AND resource = $3 AND object_id = $4 AND NOT EXISTS
                   (SELECT 1 FROM integ.links WHERE workspace_id = $1 AND connection_id = $2 AND resource = $3
                    AND object_id = $5)";
        let values: [Value<'_>; 5] = [&connection.0, &merged.resource, former, &merged.id, &now.as_second()];
        let moved = transaction.execute(sql, &values).await?;
        changed += moved;
        if moved == 0 {
            let sql = "UPDATE integ.links SET merged_into = $5, changed_at = $6
                       WHERE workspace_id = $1 AND connection_id = $2 AND resource = $3 AND object_id = $4
                       AND merged_into IS DISTINCT FROM $5";
            changed += transaction.execute(sql, &values).await?;
        }
    }
    Ok(usize::try_from(changed).unwrap_or(usize::MAX))
}

/// Follows the objects of a stream with records that contain their former ids.
pub(super) async fn follow_records(
    transaction: &Transaction,
    stream: StreamId,
    merged: &[(&str, &[String])],
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "SELECT connection_id, name FROM integ.streams WHERE workspace_id = $1 AND id = $2";
    let Some(row) = transaction.first(sql, &[&stream.0]).await? else { return Ok(()) };
    let (connection, name): (i64, String) = (get(&row, "connection_id")?, get(&row, "name")?);
    for (key, former_ids) in merged {
        let merged = MergedObject { resource: name.clone(), former_ids: former_ids.to_vec(), id: (*key).to_owned() };
        follow(transaction, ConnectionId(connection), &merged, now).await?;
    }
    Ok(())
}

/// The column is empty, not NULL, for a link of no user.
pub(super) fn user_column(user: Option<&UserId>) -> &str {
    user.map_or("", UserId::as_str)
}

pub(super) fn from_row(row: &Row) -> Result<Link, StoreError> {
    let text = |column: &str| get::<&str>(row, column);
    Ok(Link {
        id: LinkId(get(row, "id")?),
        user: user(row, "user_id")?,
        entity: Entity::new(text("entity_type")?, text("entity_id")?).map_err(|_| MalformedValue::Name)?,
        connection: connection_name(row)?,
        object: LinkedObject::new(text("resource")?, text("object_id")?).map_err(|_| MalformedValue::Name)?,
        merged_into: get(row, "merged_into")?,
        created_at: get_seconds(row, "created_at")?,
        changed_at: get_seconds(row, "changed_at")?,
    })
}
