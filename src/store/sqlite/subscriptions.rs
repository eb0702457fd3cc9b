//! Subscriptions: webhooks that were registered at vendors, with what renewing and ending them needs.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row};

use super::row::{collect, connection_name, get_json, get_optional_seconds, get_seconds, get_word, to_json};
use super::transitions::ConnectionRef;
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::model::connection::ConnectionId;
use crate::model::subscription::{Subscription, SubscriptionId, SubscriptionRequest, SubscriptionResult};

/// The subscriptions of a store.
#[derive(Clone, Copy, Debug)]
pub struct Subscriptions<'a>(pub(super) &'a Store);

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT s.id, s.connection_id, c.connector, c.account, s.status, s.url, s.events, s.params, \
             s.idempotency_key, s.metadata, s.created_at, s.renewed_at, s.expires_at, s.failures, s.last_error, \
             s.last_failed_at \
             FROM subscriptions s JOIN connections c ON c.id = s.connection_id ",
            $rest
        )
    };
}

impl Subscriptions<'_> {
    /// All of them, or those of one connection, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self, connection: Option<ConnectionId>) -> Result<Vec<Subscription>, StoreError> {
        self.0.read(|sqlite| {
            let sql = select!("WHERE ?1 IS NULL OR s.connection_id = ?1 ORDER BY s.id");
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(statement.query([connection.map(|id| id.0)])?, from_row)
        })
    }

    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, id: SubscriptionId) -> Result<Option<Subscription>, StoreError> {
        self.0.read(|sqlite| {
            let mut statement = sqlite.prepare_cached(select!("WHERE s.id = ?1"))?;
            let mut rows = statement.query([id.0])?;
            rows.next()?.map(from_row).transpose()
        })
    }

    /// Stores that the vendor is about to be asked. If the process is killed before the answer is stored, the row says
    /// that the vendor may have made the subscription.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin(&self, wanted: &SubscriptionRequest, now: Timestamp) -> Result<SubscriptionId, StoreError> {
        self.0.write(|transaction| {
            let sql = "INSERT INTO subscriptions (connection_id, status, url, events, params, idempotency_key, \
                       created_at, renewed_at) VALUES (?1, 'creating', ?2, ?3, ?4, ?5, ?6, ?6)";
            transaction.execute(
                sql,
                (
                    wanted.connection.0,
                    &wanted.url,
                    to_json(&wanted.events)?,
                    to_json(&wanted.params)?,
                    &wanted.idempotency_key,
                    now.as_second(),
                ),
            )?;
            Ok(SubscriptionId(transaction.last_insert_rowid()))
        })
    }

    /// Stores the vendor's answer. `replaces` is the subscription that it replaces and that is to end. `params` are
    /// stored with the webhook in the same commit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn activate(
        &self,
        subscription: &Subscription,
        made: &SubscriptionResult,
        params: &BTreeMap<String, String>,
        replaces: Option<SubscriptionId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let connection = subscription.request.connection;
        self.0.write_tracked(ConnectionRef::Id(connection), |transaction| {
            let sql = "UPDATE subscriptions SET status = 'active', metadata = ?2, secret = coalesce(?3, secret), \
                       expires_at = ?4, renewed_at = ?5, failures = 0, last_error = NULL WHERE id = ?1";
            transaction.execute(
                sql,
                (
                    subscription.id.0,
                    to_json(&made.metadata)?,
                    made.secret.as_ref().map(|secret| secret.expose().as_str()),
                    made.expires_at.map(Timestamp::as_second),
                    now.as_second(),
                ),
            )?;
            if let Some(old) = replaces {
                let sql = "UPDATE subscriptions SET status = 'deleting', failures = 0 WHERE id = ?1";
                transaction.execute(sql, [old.0])?;
            }
            if !params.is_empty() {
                super::webhooks::add_params(transaction, connection, params)?;
            }
            Ok(())
        })
    }

    /// Records that renewing or ending it failed. Hooks are notified once of a failed renewal, as of any failure of the
    /// connection.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn record_failure(&self, subscription: &Subscription, why: &str, now: Timestamp) -> Result<(), StoreError> {
        self.0.write_tracked(ConnectionRef::Id(subscription.request.connection), |transaction| {
            let sql =
                "UPDATE subscriptions SET failures = failures + 1, last_error = ?2, last_failed_at = ?3 WHERE id = ?1";
            transaction.execute(sql, (subscription.id.0, why, now.as_second()))?;
            Ok(())
        })
    }

    /// Records that it is to end, before the vendor is asked.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn mark_deleting(&self, subscription: &Subscription) -> Result<(), StoreError> {
        self.0.write_tracked(ConnectionRef::Id(subscription.request.connection), |transaction| {
            let sql = "UPDATE subscriptions SET status = 'deleting', failures = 0, last_error = NULL WHERE id = ?1";
            transaction.execute(sql, [subscription.id.0])?;
            Ok(())
        })
    }

    /// # Errors
    /// [`StoreError`].
    pub fn delete(&self, subscription: &Subscription) -> Result<(), StoreError> {
        self.0.write_tracked(ConnectionRef::Id(subscription.request.connection), |transaction| {
            transaction.execute("DELETE FROM subscriptions WHERE id = ?1", [subscription.id.0])?;
            Ok(())
        })
    }
}

/// Why the subscriptions of a connection cannot be renewed; absent if they can.
pub(super) fn failure(sqlite: &rusqlite::Connection, connection: ConnectionId) -> Result<Option<String>, StoreError> {
    let sql = "SELECT last_error FROM subscriptions WHERE connection_id = ?1 AND status = 'active' AND failures > 0 \
               ORDER BY id DESC LIMIT 1";
    let why =
        sqlite.prepare_cached(sql)?.query_row([connection.0], |row| row.get::<_, Option<String>>(0)).optional()?;
    Ok(why.flatten())
}

fn from_row(row: &Row<'_>) -> Result<Subscription, StoreError> {
    Ok(Subscription {
        id: SubscriptionId(row.get("id")?),
        name: connection_name(row)?,
        status: get_word(row, "status")?,
        request: SubscriptionRequest {
            connection: ConnectionId(row.get("connection_id")?),
            url: row.get("url")?,
            events: get_json(row, "events")?,
            params: get_json(row, "params")?,
            idempotency_key: row.get("idempotency_key")?,
        },
        metadata: get_json(row, "metadata")?,
        created_at: get_seconds(row, "created_at")?,
        renewed_at: get_seconds(row, "renewed_at")?,
        expires_at: get_optional_seconds(row, "expires_at")?,
        failures: row.get("failures")?,
        last_error: row.get("last_error")?,
        last_failed_at: get_optional_seconds(row, "last_failed_at")?,
    })
}
