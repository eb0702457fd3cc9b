//! Users: what names them, and how it is erased.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{get, number};
use crate::model::{ConnectionName, UserCounts, UserId};
use crate::store::{MalformedValue, StoreError, Users};

/// The tables that name users in a column `user_id`, beside connections, which are removed one by one, and audit entries,
/// which stay. A new table with such a column belongs here.
const USER_TABLES: &[&str] = &["links", "entity_writes", "consents", "api_tokens", "connect_links", "sign_ins"];

/// The tables whose column `user_id` names the user of what stays.
const CLEARED_TABLES: &[&str] = &["installed_connectors"];

#[async_trait]
impl Users for PostgresStore {
    async fn counts(&self, only: Option<&UserId>) -> Result<Vec<UserCounts>, StoreError> {
        let sql = "SELECT user_id, count(*) FILTER (WHERE kind = 'c') AS connections,
                       count(*) FILTER (WHERE kind = 'l') AS links, count(*) FILTER (WHERE kind = 'a') AS consents
                   FROM (SELECT user_id, 'c' AS kind FROM integ.connections WHERE workspace_id = $1
                       UNION ALL SELECT user_id, 'l' FROM integ.links WHERE workspace_id = $1
                       UNION ALL SELECT user_id, 'w' FROM integ.entity_writes WHERE workspace_id = $1
                       UNION ALL SELECT user_id, 'a' FROM integ.consents WHERE workspace_id = $1
                       UNION ALL SELECT user_id, 't' FROM integ.api_tokens WHERE workspace_id = $1
                       UNION ALL SELECT user_id, 'i' FROM integ.installed_connectors WHERE workspace_id = $1
                       UNION ALL SELECT user_id, 's' FROM integ.connect_links WHERE workspace_id = $1
                       UNION ALL SELECT user_id, 's' FROM integ.sign_ins WHERE workspace_id = $1) named
                   WHERE user_id <> '' AND ($2 IS NULL OR user_id = $2) GROUP BY user_id ORDER BY user_id";
        self.rows(sql, &[&only.map(UserId::as_str)]).await?.iter().map(from_row).collect()
    }

    async fn erase(&self, user: &UserId, connections: &[ConnectionName]) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        for table in USER_TABLES {
            let sql = format!("DELETE FROM integ.{table} WHERE workspace_id = $1 AND user_id = $2");
            transaction.execute(&sql, &[&user.as_str()]).await?;
        }
        for table in CLEARED_TABLES {
            let sql = format!("UPDATE integ.{table} SET user_id = NULL WHERE workspace_id = $1 AND user_id = $2");
            transaction.execute(&sql, &[&user.as_str()]).await?;
        }
        // Stored responses may name the user.
        transaction.execute("DELETE FROM integ.idempotency_keys WHERE workspace_id = $1", &[]).await?;
        for name in connections {
            let sql = "DELETE FROM integ.bindings WHERE workspace_id = $1 AND connector = $2 AND account = $3";
            transaction.execute(sql, &[&name.connector(), &name.account()]).await?;
            let sql = "DELETE FROM integ.alerts WHERE workspace_id = $1 AND subject = $2";
            transaction.execute(sql, &[&name.to_string()]).await?;
        }
        transaction.commit().await
    }

    /// Deleted rows stay in the server's files until it vacuums them, and in its log and backups. Their contents are sealed;
    /// the ids of users are not.
    async fn purge(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
}

fn from_row(row: &Row) -> Result<UserCounts, StoreError> {
    Ok(UserCounts {
        user: get::<&str>(row, "user_id")?.parse().map_err(|_| MalformedValue::Name)?,
        connections: number(row, "connections")?,
        links: number(row, "links")?,
        consents: number(row, "consents")?,
    })
}
