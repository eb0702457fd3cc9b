//! Users: what names them, and how it is erased.

use async_trait::async_trait;
use rusqlite::Connection;

use super::row::{Row, collect, query};
use super::{MalformedValue, SqliteStore, StoreError};
use crate::model::{ConnectionName, UserCounts, UserId};
use crate::store::Users;
use crate::task::blocking;

/// The columns that name users, beside connections, which are removed one by one, and audit entries, which stay. A new
/// table with such a column belongs here.
const USER_COLUMNS: &[(&str, &str)] = &[
    ("links", "user_id"),
    ("entity_writes", "user_id"),
    ("consents", "user_id"),
    ("api_tokens", "user_id"),
    ("connect_links", "user_id"),
    ("sign_ins", "user_id"),
];

/// The columns that name the user of what stays.
const CLEARED_COLUMNS: &[(&str, &str)] = &[("installed_connectors", "user_id")];

#[async_trait]
impl Users for SqliteStore {
    async fn counts(&self, only: Option<&UserId>) -> Result<Vec<UserCounts>, StoreError> {
        let only = only.cloned();
        self.read(move |sqlite| {
            let sql = "SELECT user_id, sum(kind = 'c') AS connections, sum(kind = 'l') AS links, \
                       sum(kind = 'a') AS consents FROM (SELECT user_id, 'c' AS kind FROM connections \
                       UNION ALL SELECT user_id, 'l' FROM links UNION ALL SELECT user_id, 'w' FROM entity_writes \
                       UNION ALL SELECT user_id, 'a' FROM consents UNION ALL SELECT user_id, 't' FROM api_tokens \
                       UNION ALL SELECT user_id, 'i' FROM installed_connectors \
                       UNION ALL SELECT user_id, 's' FROM connect_links UNION ALL SELECT user_id, 's' FROM sign_ins) \
                       WHERE user_id <> '' AND (?1 IS NULL OR user_id = ?1) GROUP BY user_id ORDER BY user_id";
            let only = only.as_ref().map(UserId::as_str);
            collect(query(&mut *sqlite.prepare_cached(sql)?, [only])?, from_row)
        })
        .await
    }

    async fn erase(&self, user: &UserId, connections: &[ConnectionName]) -> Result<(), StoreError> {
        let (user, connections) = (user.clone(), connections.to_vec());
        self.write(move |transaction| {
            for (table, column) in USER_COLUMNS {
                transaction.execute(&format!("DELETE FROM {table} WHERE {column} = ?1"), [user.as_str()])?;
            }
            for (table, column) in CLEARED_COLUMNS {
                let sql = format!("UPDATE {table} SET {column} = NULL WHERE {column} = ?1");
                transaction.execute(&sql, [user.as_str()])?;
            }
            // Stored responses may name the user.
            transaction.execute("DELETE FROM idempotency_keys", [])?;
            for name in &connections {
                let sql = "DELETE FROM bindings WHERE connector = ?1 AND account = ?2";
                transaction.execute(sql, (name.connector(), name.account()))?;
                transaction.execute("DELETE FROM alerts WHERE subject = ?1", [name.to_string()])?;
            }
            Ok(())
        })
        .await
    }

    async fn purge(&self) -> Result<bool, StoreError> {
        // The writer's connection would keep the log in use; a later write starts it again.
        self.writer.close();
        let file = self.file.clone();
        blocking(move || purge(&file.open()?)).await
    }
}

/// Writes the file again. `secure_delete` overwrites what is deleted where it lies, but not what SQLite left behind earlier
/// when it moved rows within their pages.
fn purge(connection: &Connection) -> Result<bool, StoreError> {
    match connection.execute_batch("VACUUM").map_err(StoreError::from) {
        Err(StoreError::Busy(_)) => return Ok(false),
        vacuumed => vacuumed?,
    }
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get("busy"))?;
    Ok(busy == 0)
}

fn from_row(row: &Row<'_>) -> Result<UserCounts, StoreError> {
    let user = row.get::<String>("user_id")?;
    Ok(UserCounts {
        user: user.parse().map_err(|_| MalformedValue::Name)?,
        connections: row.get("connections")?,
        links: row.get("links")?,
        consents: row.get("consents")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Fixture, add_connection, at};
    use super::*;
    use crate::model::{
        AuditActor, AuditRecord, ConnectionId, ConsentPurpose, ConsentType, Effect, LinkedObject, NewConsent, NewLink,
    };
    use crate::store::Store;

    const USER: &str = "user-of-the-search";
    const ACCOUNT: &str = "account-of-the-search";

    /// The store's decrypted pages, free ones and what lies between rows included.
    fn pages(store: &SqliteStore) -> Vec<u8> {
        store.file.open().unwrap().serialize("main").unwrap().to_vec()
    }

    fn count(pages: &[u8], text: &str) -> usize {
        memchr::memmem::find_iter(pages, text).count()
    }

    async fn plant(store: &SqliteStore, connection: ConnectionId) {
        let user: UserId = USER.parse().unwrap();
        // Many rows, some of which are removed again: pages are split, merged and freed.
        for number in 0..300 {
            let link = NewLink {
                user: Some(user.clone()),
                entity: format!("customer/{ACCOUNT}-{number}").parse().unwrap(),
                connection,
                object: LinkedObject::new("contacts", &format!("{number}")).unwrap(),
            };
            store.links().insert(vec![link], at(number)).await.unwrap();
            let consent = NewConsent {
                user: user.clone(),
                kind: ConsentType::ThirdParty,
                resource: Some(format!("slack@{ACCOUNT}").parse().unwrap()),
                purpose: ConsentPurpose::Sync,
                policy_version: 1,
                description: Some(format!("{number}{}", " of the user".repeat(20))),
            };
            store.consents().grant(&consent.granted(at(number)).unwrap()).await.unwrap();
        }
        store
            .write(|transaction| Ok(transaction.execute("DELETE FROM consents WHERE granted_at % 3 = 1", [])?))
            .await
            .unwrap();
        let sql = format!(
            "UPDATE connections SET user_id = '{USER}', account = '{ACCOUNT}'; \
             INSERT INTO bindings (name, connector, account, stream, text, created_at, changed_at) \
             SELECT 'b', connector, account, 'contacts', 'id = .id', 0, 0 FROM connections; \
             INSERT INTO alerts (kind, subject, began_at) \
             SELECT 'error_rate', connector || '@' || account, 0 FROM connections"
        );
        store.write(move |transaction| Ok(transaction.execute_batch(&sql)?)).await.unwrap();
    }

    #[tokio::test]
    async fn a_deleted_user_is_in_no_page_and_not_in_the_log() {
        let fixture = Fixture::new();
        let store = fixture.open();
        let connection = add_connection(&store).await;
        plant(&store, connection).await;
        let user: UserId = USER.parse().unwrap();
        let counts = store.users().counts(Some(&user)).await.unwrap();
        assert_eq!((counts[0].connections, counts[0].links, counts[0].consents), (1, 300, 200));
        let name = store.connections().names().await.unwrap().remove(0);
        let before = pages(&store);
        assert!(count(&before, USER) > 500 && count(&before, ACCOUNT) > 300);

        store.connections().remove(connection).await.unwrap();
        store.users().erase(&user, &[name]).await.unwrap();
        let record = AuditRecord::new(at(1), AuditActor::Local, "user delete", Effect::Destroy);
        store.audit().append(vec![AuditRecord { user: Some(USER.to_owned()), ..record }]).await.unwrap();
        assert!(store.users().purge().await.unwrap());
        assert_eq!(store.users().counts(None).await.unwrap(), []);
        let after = pages(&store);
        assert_eq!((count(&after, USER), count(&after, ACCOUNT)), (2, 0), "but for the audit entry and its index");
        let log = std::fs::metadata(fixture.path().with_file_name("vault.db-wal")).map_or(0, |metadata| metadata.len());
        assert_eq!(log, 0);
        store.ensure_writable().await.unwrap();
    }

    #[test]
    fn every_column_that_names_a_user_is_known() {
        let mut sqlite = Connection::open_in_memory().unwrap();
        super::super::migrations::migrate_to(&mut sqlite, super::super::migrations::LATEST).unwrap();
        let sql = "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c \
                   WHERE t.type = 'table' AND c.name LIKE '%user%' ORDER BY 1";
        let mut statement = sqlite.prepare(sql).unwrap();
        let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let mut found: Vec<(String, String)> = found.collect::<Result<_, _>>().unwrap();
        // Entries stay, and connections are removed one by one.
        found.retain(|(table, _)| table != "audit_entries" && table != "connections");
        let mut known = USER_COLUMNS
            .iter()
            .chain(CLEARED_COLUMNS)
            .map(|(table, column)| (table.to_string(), column.to_string()))
            .collect::<Vec<_>>();
        known.sort();
        assert_eq!(found, known);
    }
}
