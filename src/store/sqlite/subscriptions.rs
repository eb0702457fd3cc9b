//! Subscriptions created at vendors: each URL once, with what is needed to renew and delete it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::{Connection as Sqlite, OptionalExtension, Transaction};

use super::locks::check_fence;
use super::row::{
    Row, collect, connection_name, first, get_json, get_optional_seconds, get_seconds, get_word, query, to_json,
};
use super::transitions::ConnectionRef;
use super::{SqliteStore, StoreError, webhooks};
use crate::clock::Timestamp;
use crate::model::{
    ConnectionId, ConnectionTransition, Subscription, SubscriptionId, SubscriptionRequest, SubscriptionResult,
};
use crate::store::{Fence, Subscriptions};

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

#[async_trait]
impl Subscriptions for SqliteStore {
    async fn list(&self, connection: Option<ConnectionId>) -> Result<Vec<Subscription>, StoreError> {
        self.read(move |sqlite| {
            let sql = select!("WHERE ?1 IS NULL OR s.connection_id = ?1 ORDER BY s.id");
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(query(&mut statement, [connection.map(|id| id.0)])?, from_row)
        })
        .await
    }

    async fn get(&self, id: SubscriptionId) -> Result<Option<Subscription>, StoreError> {
        self.read(move |sqlite| {
            let mut statement = sqlite.prepare_cached(select!("WHERE s.id = ?1"))?;
            first(query(&mut statement, [id.0])?, from_row)
        })
        .await
    }

    async fn begin(
        &self,
        request: &SubscriptionRequest,
        now: Timestamp,
        fence: Fence,
    ) -> Result<SubscriptionId, StoreError> {
        let request = request.clone();
        self.write(move |transaction| {
            check_fence(transaction, fence)?;
            let sql = "INSERT INTO subscriptions (connection_id, status, url, events, params, idempotency_key, \
                       created_at, renewed_at) VALUES (?1, 'creating', ?2, ?3, ?4, ?5, ?6, ?6)";
            transaction.execute(
                sql,
                (
                    request.connection.0,
                    &request.url,
                    to_json(&request.events)?,
                    to_json(&request.params)?,
                    &request.idempotency_key,
                    now.as_second(),
                ),
            )?;
            Ok(SubscriptionId(transaction.last_insert_rowid()))
        })
        .await
    }

    async fn activate(
        &self,
        subscription: &Subscription,
        result: &SubscriptionResult,
        params: &BTreeMap<String, String>,
        replaces: Option<SubscriptionId>,
        now: Timestamp,
        fence: Fence,
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let (id, connection) = (subscription.id, subscription.request.connection);
        let (result, params) = (result.clone(), params.clone());
        self.update_subscription(subscription, move |transaction| {
            check_fence(transaction, fence)?;
            activate(transaction, id, &result, now)?;
            if let Some(old) = replaces {
                let sql = "UPDATE subscriptions SET status = 'deleting', failures = 0 WHERE id = ?1";
                transaction.execute(sql, [old.0])?;
            }
            if !params.is_empty() {
                webhooks::add_params(transaction, connection, &params)?;
            }
            Ok(())
        })
        .await
    }

    async fn record_failure(
        &self,
        subscription: &Subscription,
        error: &str,
        now: Timestamp,
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let (id, error) = (subscription.id, error.to_owned());
        self.update_subscription(subscription, move |transaction| {
            let sql =
                "UPDATE subscriptions SET failures = failures + 1, last_error = ?2, last_failed_at = ?3 WHERE id = ?1";
            transaction.execute(sql, (id.0, &error, now.as_second()))?;
            Ok(())
        })
        .await
    }

    async fn mark_deleting(&self, subscription: &Subscription) -> Result<Option<ConnectionTransition>, StoreError> {
        let id = subscription.id;
        self.update_subscription(subscription, move |transaction| {
            let sql = "UPDATE subscriptions SET status = 'deleting', failures = 0, last_error = NULL WHERE id = ?1";
            transaction.execute(sql, [id.0])?;
            Ok(())
        })
        .await
    }

    async fn delete(&self, subscription: &Subscription) -> Result<Option<ConnectionTransition>, StoreError> {
        let id = subscription.id;
        self.update_subscription(subscription, move |transaction| {
            transaction.execute("DELETE FROM subscriptions WHERE id = ?1", [id.0])?;
            Ok(())
        })
        .await
    }
}

impl SqliteStore {
    /// Makes a write that may change the health of the subscription's connection.
    async fn update_subscription(
        &self,
        subscription: &Subscription,
        write: impl Fn(&Transaction<'_>) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let ((), transition) = self.write_tracked(ConnectionRef::Id(subscription.request.connection), write).await?;
        Ok(transition)
    }
}

fn activate(
    transaction: &Transaction<'_>,
    id: SubscriptionId,
    result: &SubscriptionResult,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE subscriptions SET status = 'active', metadata = ?2, secret = coalesce(?3, secret), \
               expires_at = ?4, renewed_at = ?5, failures = 0, last_error = NULL WHERE id = ?1";
    transaction.execute(
        sql,
        (
            id.0,
            to_json(&result.metadata)?,
            result.secret.as_ref().map(|secret| secret.expose().as_str()),
            result.expires_at.map(Timestamp::as_second),
            now.as_second(),
        ),
    )?;
    Ok(())
}

/// Returns why the subscriptions of a connection cannot be renewed, if so.
pub(super) fn failure(sqlite: &Sqlite, connection: ConnectionId) -> Result<Option<String>, StoreError> {
    let sql = "SELECT last_error FROM subscriptions WHERE connection_id = ?1 AND status = 'active' AND failures > 0 \
               ORDER BY id DESC LIMIT 1";
    let error =
        sqlite.prepare_cached(sql)?.query_row([connection.0], |row| row.get::<_, Option<String>>(0)).optional()?;
    Ok(error.flatten())
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
