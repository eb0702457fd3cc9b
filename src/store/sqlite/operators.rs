//! Operators, their links to the dashboard, and their sessions.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, params};

use super::row::{Row, collect, first, get_optional_seconds, get_seconds, get_word, query};
use super::{SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::{
    DASHBOARD_LINK_LIFETIME, Operator, OperatorActivity, OperatorName, OperatorRole, OperatorSession,
    SESSION_IDLE_TIMEOUT, SESSION_LIFETIME,
};
use crate::store::Operators;

#[async_trait]
impl Operators for SqliteStore {
    async fn list(&self, now: Timestamp) -> Result<Vec<OperatorActivity>, StoreError> {
        self.read(move |sqlite| {
            let sql = "SELECT name, role, created_at, count(secret_hash) AS sessions, max(last_seen_at) AS last_seen_at \
                       FROM operators LEFT JOIN sessions ON operator = name AND started_at > ?1 AND last_seen_at > ?2 \
                       GROUP BY name ORDER BY name";
            let mut statement = sqlite.prepare_cached(sql)?;
            let (started, seen) = (before(now, SESSION_LIFETIME), before(now, SESSION_IDLE_TIMEOUT));
            collect(query(&mut statement, params![started, seen])?, |row| {
                Ok(OperatorActivity {
                    operator: from_row(row)?,
                    sessions: row.get("sessions")?,
                    last_seen_at: get_optional_seconds(row, "last_seen_at")?,
                })
            })
        })
        .await
    }

    async fn find(&self, name: &OperatorName) -> Result<Option<Operator>, StoreError> {
        let name = name.clone();
        self.read(move |sqlite| find(sqlite, &name)).await
    }

    async fn set(&self, name: &OperatorName, role: OperatorRole, now: Timestamp) -> Result<bool, StoreError> {
        let name = name.clone();
        self.write(move |transaction| {
            let is_new = find(transaction, &name)?.is_none();
            let sql = "INSERT INTO operators (name, role, created_at) VALUES (?1, ?2, ?3) \
                       ON CONFLICT (name) DO UPDATE SET role = excluded.role";
            transaction.execute(sql, params![name.as_str(), role.as_str(), now.as_second()])?;
            Ok(is_new)
        })
        .await
    }

    async fn remove(&self, name: &OperatorName) -> Result<bool, StoreError> {
        let name = name.clone();
        self.write(move |transaction| {
            Ok(transaction.execute("DELETE FROM operators WHERE name = ?1", [name.as_str()])? == 1)
        })
        .await
    }

    async fn add_link(
        &self,
        operator: &OperatorName,
        secret_hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (operator, hash) = (operator.clone(), *secret_hash);
        self.write(move |transaction| {
            delete_ended(transaction, now)?;
            if find(transaction, &operator)?.is_none() {
                return Ok(false);
            }
            let expires_at = now.checked_add(DASHBOARD_LINK_LIFETIME).unwrap_or(Timestamp::MAX);
            let sql = "INSERT INTO dashboard_links (secret_hash, operator, expires_at) VALUES (?1, ?2, ?3)";
            transaction.execute(sql, params![hash.as_slice(), operator.as_str(), expires_at.as_second()])?;
            Ok(true)
        })
        .await
    }

    async fn find_link(&self, secret_hash: &[u8; 32], now: Timestamp) -> Result<Option<Operator>, StoreError> {
        let hash = *secret_hash;
        self.read(move |sqlite| {
            let sql = "SELECT name, role, created_at FROM dashboard_links JOIN operators ON name = operator \
                       WHERE secret_hash = ?1 AND expires_at > ?2";
            let mut statement = sqlite.prepare_cached(sql)?;
            first(query(&mut statement, params![hash.as_slice(), now.as_second()])?, from_row)
        })
        .await
    }

    async fn start_session(
        &self,
        link_hash: &[u8; 32],
        session_hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<Operator>, StoreError> {
        let (link, session) = (*link_hash, *session_hash);
        self.write(move |transaction| {
            let sql = "DELETE FROM dashboard_links WHERE secret_hash = ?1 AND expires_at > ?2 RETURNING operator";
            let mut statement = transaction.prepare_cached(sql)?;
            let used = query(&mut statement, params![link.as_slice(), now.as_second()])?;
            let Some(name) = first(used, |row| get_word::<OperatorName>(row, "operator"))? else { return Ok(None) };
            let sql = "INSERT INTO sessions (secret_hash, operator, started_at, last_seen_at) VALUES (?1, ?2, ?3, ?3)";
            transaction.execute(sql, params![session.as_slice(), name.as_str(), now.as_second()])?;
            find(transaction, &name)
        })
        .await
    }

    async fn find_session(&self, secret_hash: &[u8; 32]) -> Result<Option<OperatorSession>, StoreError> {
        let hash = *secret_hash;
        self.read(move |sqlite| {
            let sql = "SELECT name, role, created_at, started_at, last_seen_at \
                       FROM sessions JOIN operators ON name = operator WHERE secret_hash = ?1";
            let mut statement = sqlite.prepare_cached(sql)?;
            first(query(&mut statement, [hash.as_slice()])?, |row| {
                Ok(OperatorSession {
                    operator: from_row(row)?,
                    started_at: get_seconds(row, "started_at")?,
                    last_seen_at: get_seconds(row, "last_seen_at")?,
                })
            })
        })
        .await
    }

    async fn touch_session(&self, secret_hash: &[u8; 32], now: Timestamp) -> Result<(), StoreError> {
        let hash = *secret_hash;
        self.write(move |transaction| {
            let sql = "UPDATE sessions SET last_seen_at = max(last_seen_at, ?2) WHERE secret_hash = ?1";
            transaction.execute(sql, params![hash.as_slice(), now.as_second()])?;
            Ok(())
        })
        .await
    }

    async fn end_session(&self, secret_hash: &[u8; 32]) -> Result<(), StoreError> {
        let hash = *secret_hash;
        self.write(move |transaction| {
            transaction.execute("DELETE FROM sessions WHERE secret_hash = ?1", [hash.as_slice()])?;
            Ok(())
        })
        .await
    }
}

fn before(now: Timestamp, duration: Duration) -> i64 {
    now.checked_sub(duration).unwrap_or(Timestamp::MIN).as_second()
}

fn delete_ended(transaction: &Transaction<'_>, now: Timestamp) -> Result<(), StoreError> {
    transaction.execute("DELETE FROM dashboard_links WHERE expires_at <= ?1", [now.as_second()])?;
    let sql = "DELETE FROM sessions WHERE started_at <= ?1 OR last_seen_at <= ?2";
    transaction.execute(sql, params![before(now, SESSION_LIFETIME), before(now, SESSION_IDLE_TIMEOUT)])?;
    Ok(())
}

fn find(sqlite: &Connection, name: &OperatorName) -> Result<Option<Operator>, StoreError> {
    let mut statement = sqlite.prepare_cached("SELECT name, role, created_at FROM operators WHERE name = ?1")?;
    first(query(&mut statement, [name.as_str()])?, from_row)
}

fn from_row(row: &Row<'_>) -> Result<Operator, StoreError> {
    Ok(Operator {
        name: get_word(row, "name")?,
        role: get_word(row, "role")?,
        created_at: get_seconds(row, "created_at")?,
    })
}
