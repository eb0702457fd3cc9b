//! Operators, their links to the dashboard, and their sessions.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{get, get_seconds, get_word, number, optional_seconds};
use super::transaction::Transaction;
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{
    DASHBOARD_LINK_LIFETIME, Operator, OperatorActivity, OperatorName, OperatorRole, OperatorSession,
    SESSION_IDLE_TIMEOUT, SESSION_LIFETIME,
};
use crate::store::{Operators, StoreError};

#[async_trait]
impl Operators for PostgresStore {
    async fn list(&self, now: Timestamp) -> Result<Vec<OperatorActivity>, StoreError> {
        let sql = "SELECT o.name, o.role, o.created_at, count(s.secret_hash) AS sessions,
                       max(s.last_seen_at) AS last_seen_at
                   FROM integ.operators o LEFT JOIN integ.sessions s ON s.workspace_id = $1 AND s.operator = o.name
                       AND s.started_at > $2 AND s.last_seen_at > $3
                   WHERE o.workspace_id = $1 GROUP BY o.name, o.role, o.created_at ORDER BY o.name";
        let rows = self.rows(sql, &[&before(now, SESSION_LIFETIME), &before(now, SESSION_IDLE_TIMEOUT)]).await?;
        let activity = |row: &Row| {
            Ok(OperatorActivity {
                operator: from_row(row)?,
                sessions: number(row, "sessions")?,
                last_seen_at: optional_seconds(row, "last_seen_at")?,
            })
        };
        rows.iter().map(activity).collect()
    }

    async fn find(&self, name: &OperatorName) -> Result<Option<Operator>, StoreError> {
        let sql = "SELECT name, role, created_at FROM integ.operators WHERE workspace_id = $1 AND name = $2";
        self.row(sql, &[&name.as_str()]).await?.as_ref().map(from_row).transpose()
    }

    async fn set(&self, name: &OperatorName, role: OperatorRole, now: Timestamp) -> Result<bool, StoreError> {
        // A row that was inserted has no transaction that has replaced it.
        let sql = "INSERT INTO integ.operators (workspace_id, name, role, created_at) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (workspace_id, name) DO UPDATE SET role = excluded.role RETURNING xmax = 0 AS is_new";
        let transaction = self.begin().await?;
        let row = transaction.first(sql, &[&name.as_str(), &role.as_str(), &now.as_second()]).await?;
        let is_new = row.map_or(Ok(false), |row| get(&row, "is_new"))?;
        transaction.commit().await?;
        Ok(is_new)
    }

    async fn remove(&self, name: &OperatorName) -> Result<bool, StoreError> {
        let sql = "DELETE FROM integ.operators WHERE workspace_id = $1 AND name = $2";
        Ok(self.execute(sql, &[&name.as_str()]).await? == 1)
    }

    async fn add_link(
        &self,
        operator: &OperatorName,
        secret_hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        delete_ended(&transaction, now).await?;
        let expires_at = now.checked_add(DASHBOARD_LINK_LIFETIME).unwrap_or(Timestamp::MAX);
        let sql = "INSERT INTO integ.dashboard_links (workspace_id, secret_hash, operator, expires_at)
                   SELECT $1, $2, o.name, $4 FROM integ.operators o WHERE o.workspace_id = $1 AND o.name = $3 FOR KEY SHARE";
        let values: [Value<'_>; 3] = [&secret_hash.as_slice(), &operator.as_str(), &expires_at.as_second()];
        let added = transaction.execute(sql, &values).await?;
        transaction.commit().await?;
        Ok(added == 1)
    }

    async fn find_link(&self, secret_hash: &[u8; 32], now: Timestamp) -> Result<Option<Operator>, StoreError> {
        let sql = "SELECT o.name, o.role, o.created_at FROM integ.dashboard_links l
                   JOIN integ.operators o ON o.workspace_id = $1 AND o.name = l.operator
                   WHERE l.workspace_id = $1 AND l.secret_hash = $2 AND l.expires_at > $3";
        self.row(sql, &[&secret_hash.as_slice(), &now.as_second()]).await?.as_ref().map(from_row).transpose()
    }

    async fn start_session(
        &self,
        link_hash: &[u8; 32],
        session_hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<Operator>, StoreError> {
        let transaction = self.begin().await?;
        // The row of the operator before those that refer to it, as when the operator is deleted.
        let sql = "SELECT o.name, o.role, o.created_at FROM integ.operators o WHERE o.workspace_id = $1 AND o.name =
                       (SELECT l.operator FROM integ.dashboard_links l WHERE l.workspace_id = $1 AND l.secret_hash = $2)
                   FOR KEY SHARE";
        let Some(row) = transaction.first(sql, &[&link_hash.as_slice()]).await? else { return Ok(None) };
        let operator = from_row(&row)?;
        let sql = "DELETE FROM integ.dashboard_links WHERE workspace_id = $1 AND secret_hash = $2 AND expires_at > $3";
        if transaction.execute(sql, &[&link_hash.as_slice(), &now.as_second()]).await? == 0 {
            return Ok(None);
        }
        let sql = "INSERT INTO integ.sessions (workspace_id, secret_hash, operator, started_at, last_seen_at)
                   VALUES ($1, $2, $3, $4, $4)";
        let values: [Value<'_>; 3] = [&session_hash.as_slice(), &operator.name.as_str(), &now.as_second()];
        transaction.execute(sql, &values).await?;
        transaction.commit().await?;
        Ok(Some(operator))
    }

    async fn find_session(&self, secret_hash: &[u8; 32]) -> Result<Option<OperatorSession>, StoreError> {
        let sql = "SELECT o.name, o.role, o.created_at, s.started_at, s.last_seen_at FROM integ.sessions s
                   JOIN integ.operators o ON o.workspace_id = $1 AND o.name = s.operator
                   WHERE s.workspace_id = $1 AND s.secret_hash = $2";
        let session = |row: Row| {
            Ok(OperatorSession {
                operator: from_row(&row)?,
                started_at: get_seconds(&row, "started_at")?,
                last_seen_at: get_seconds(&row, "last_seen_at")?,
            })
        };
        self.row(sql, &[&secret_hash.as_slice()]).await?.map(session).transpose()
    }

    async fn touch_session(&self, secret_hash: &[u8; 32], now: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE integ.sessions SET last_seen_at = $3
                   WHERE workspace_id = $1 AND secret_hash = $2 AND last_seen_at < $3";
        self.execute(sql, &[&secret_hash.as_slice(), &now.as_second()]).await.map(drop)
    }

    async fn end_session(&self, secret_hash: &[u8; 32]) -> Result<(), StoreError> {
        let sql = "DELETE FROM integ.sessions WHERE workspace_id = $1 AND secret_hash = $2";
        self.execute(sql, &[&secret_hash.as_slice()]).await.map(drop)
    }
}

fn before(now: Timestamp, duration: Duration) -> i64 {
    now.checked_sub(duration).unwrap_or(Timestamp::MIN).as_second()
}

async fn delete_ended(transaction: &Transaction, now: Timestamp) -> Result<(), StoreError> {
    let sql = "DELETE FROM integ.dashboard_links WHERE workspace_id = $1 AND expires_at <= $2";
    transaction.execute(sql, &[&now.as_second()]).await?;
    let sql = "DELETE FROM integ.sessions WHERE workspace_id = $1 AND (started_at <= $2 OR last_seen_at <= $3)";
    let (started, seen) = (before(now, SESSION_LIFETIME), before(now, SESSION_IDLE_TIMEOUT));
    transaction.execute(sql, &[&started, &seen]).await.map(drop)
}

fn from_row(row: &Row) -> Result<Operator, StoreError> {
    Ok(Operator {
        name: get_word(row, "name")?,
        role: get_word(row, "role")?,
        created_at: get_seconds(row, "created_at")?,
    })
}
