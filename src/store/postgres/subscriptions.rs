//! Subscriptions created at vendors: each URL once, with what is needed to renew and delete it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tokio_postgres::Row;

use super::locks::check_fence;
use super::row::{SealedRow, connection_name, get, get_json, get_seconds, get_word, number, optional_seconds, to_json};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use super::transitions::{HealthBefore, TrackedConnection};
use super::value::Value;
use super::{PostgresStore, webhooks};
use crate::clock::Timestamp;
use crate::model::{
    ConnectionId, ConnectionTransition, Subscription, SubscriptionId, SubscriptionRequest, SubscriptionResult,
};
use crate::secret::Secret;
use crate::store::{Fence, StoreError, Subscriptions};

const URL: Column = column("subscriptions", "url");
const PARAMS: Column = column("subscriptions", "params");
const METADATA: Column = column("subscriptions", "metadata");
const SECRET: Column = column("subscriptions", "secret");
const LAST_ERROR: Column = column("subscriptions", "last_error");

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT s.id, s.connection_id, c.connector, c.account, s.status, s.url, s.events, s.params,
             s.idempotency_key, s.metadata, s.created_at, s.renewed_at, s.expires_at, s.failures, s.last_error,
             s.last_failed_at
             FROM integ.subscriptions s JOIN integ.connections c ON c.workspace_id = $1 AND c.id = s.connection_id
             WHERE s.workspace_id = $1 ",
            $rest
        )
    };
}

#[async_trait]
impl Subscriptions for PostgresStore {
    async fn list(&self, connection: Option<ConnectionId>) -> Result<Vec<Subscription>, StoreError> {
        let sql = select!("AND ($2 IS NULL OR s.connection_id = $2) ORDER BY s.id");
        let rows = self.rows(sql, &[&connection.map(|id| id.0)]).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn get(&self, id: SubscriptionId) -> Result<Option<Subscription>, StoreError> {
        let row = self.row(select!("AND s.id = $2"), &[&id.0]).await?;
        row.map(|row| from_row(&self.sealer, &row)).transpose()
    }

    async fn begin(
        &self,
        request: &SubscriptionRequest,
        now: Timestamp,
        fence: Fence,
    ) -> Result<SubscriptionId, StoreError> {
        let transaction = self.begin().await?;
        check_fence(&transaction, fence).await?;
        let id = transaction.next_id("subscriptions").await?;
        let url = transaction.sealer.seal(URL, id, &request.url)?;
        let params = transaction.sealer.seal(PARAMS, id, to_json(&request.params)?)?;
        let sql = "INSERT INTO integ.subscriptions (workspace_id, id, connection_id, status, url, events, params,
                       idempotency_key, created_at, renewed_at)
                   VALUES ($1, $2, $3, 'creating', $4, $5, $6, $7, $8, $8)";
        let events = to_json(&request.events)?;
        let values: [Value<'_>; 7] =
            [&id, &request.connection.0, &url, &events, &params, &request.idempotency_key, &now.as_second()];
        transaction.execute(sql, &values).await?;
        transaction.commit().await?;
        Ok(SubscriptionId(id))
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
        let transaction = self.begin().await?;
        check_fence(&transaction, fence).await?;
        let before = HealthBefore::read(&transaction, TrackedConnection::Id(connection)).await?;
        activate(&transaction, id, result, now).await?;
        if let Some(old) = replaces {
            let sql =
                "UPDATE integ.subscriptions SET status = 'deleting', failures = 0 WHERE workspace_id = $1 AND id = $2";
            transaction.execute(sql, &[&old.0]).await?;
        }
        if !params.is_empty() {
            webhooks::add_params(&transaction, connection, params).await?;
        }
        let transition = before.transition(&transaction).await?;
        transaction.commit().await?;
        Ok(transition)
    }

    async fn record_failure(
        &self,
        subscription: &Subscription,
        error: &str,
        now: Timestamp,
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let transaction = self.begin().await?;
        let error = transaction.sealer.seal(LAST_ERROR, subscription.id.0, error)?;
        let sql = "UPDATE integ.subscriptions SET failures = failures + 1, last_error = $3, last_failed_at = $4
                   WHERE workspace_id = $1 AND id = $2";
        update_subscription(transaction, subscription, sql, &[&subscription.id.0, &error, &now.as_second()]).await
    }

    async fn mark_deleting(&self, subscription: &Subscription) -> Result<Option<ConnectionTransition>, StoreError> {
        let sql = "UPDATE integ.subscriptions SET status = 'deleting', failures = 0, last_error = NULL
                   WHERE workspace_id = $1 AND id = $2";
        update_subscription(self.begin().await?, subscription, sql, &[&subscription.id.0]).await
    }

    async fn delete(&self, subscription: &Subscription) -> Result<Option<ConnectionTransition>, StoreError> {
        let sql = "DELETE FROM integ.subscriptions WHERE workspace_id = $1 AND id = $2";
        update_subscription(self.begin().await?, subscription, sql, &[&subscription.id.0]).await
    }
}

async fn activate(
    transaction: &Transaction,
    id: SubscriptionId,
    result: &SubscriptionResult,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE integ.subscriptions SET status = 'active', metadata = $3, secret = coalesce($4, secret),
                   expires_at = $5, renewed_at = $6, failures = 0, last_error = NULL
               WHERE workspace_id = $1 AND id = $2";
    let metadata = transaction.sealer.seal(METADATA, id.0, to_json(&result.metadata)?)?;
    let secret = transaction.sealer.seal_optional(SECRET, id.0, result.secret.as_ref().map(Secret::expose))?;
    let expires_at = result.expires_at.map(Timestamp::as_second);
    transaction.execute(sql, &[&id.0, &metadata, &secret, &expires_at, &now.as_second()]).await.map(drop)
}

/// Returns why the subscriptions of a connection cannot be renewed, if so.
pub(super) async fn failure(transaction: &Transaction, connection: ConnectionId) -> Result<Option<String>, StoreError> {
    let sql = "SELECT id, last_error FROM integ.subscriptions
               WHERE workspace_id = $1 AND connection_id = $2 AND status = 'active' AND failures > 0
               ORDER BY id DESC LIMIT 1";
    let Some(row) = transaction.first(sql, &[&connection.0]).await? else { return Ok(None) };
    SealedRow::new(&transaction.sealer, &row, get::<i64>(&row, "id")?).text(LAST_ERROR)
}

/// Returns the secrets that vendors made for the subscriptions of a connection, the newest first.
pub(super) async fn secrets(transaction: &Transaction, connection: ConnectionId) -> Result<Vec<Secret>, StoreError> {
    let sql = "SELECT id, secret FROM integ.subscriptions
               WHERE workspace_id = $1 AND connection_id = $2 AND secret IS NOT NULL ORDER BY id DESC";
    let rows = transaction.query(sql, &[&connection.0]).await?;
    rows.iter().map(|row| secret(&transaction.sealer, row)).collect()
}

/// [`secrets`] of all connections.
pub(super) async fn all_secrets(transaction: &Transaction) -> Result<Vec<(ConnectionId, Secret)>, StoreError> {
    let sql = "SELECT id, connection_id, secret FROM integ.subscriptions
               WHERE workspace_id = $1 AND secret IS NOT NULL ORDER BY id DESC";
    let rows = transaction.query(sql, &[]).await?;
    let of_connection = |row: &Row| Ok((ConnectionId(get(row, "connection_id")?), secret(&transaction.sealer, row)?));
    rows.iter().map(of_connection).collect()
}

fn secret(sealer: &Sealer, row: &Row) -> Result<Secret, StoreError> {
    Ok(Secret::new(SealedRow::new(sealer, row, get::<i64>(row, "id")?).required_text(SECRET)?))
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<Subscription, StoreError> {
    let id: i64 = get(row, "id")?;
    let sealed = SealedRow::new(sealer, row, id);
    Ok(Subscription {
        id: SubscriptionId(id),
        name: connection_name(row)?,
        status: get_word(row, "status")?,
        request: SubscriptionRequest {
            connection: ConnectionId(get(row, "connection_id")?),
            url: sealed.required_text(URL)?,
            events: get_json(row, "events")?,
            params: sealed.json_or_default(PARAMS)?,
            idempotency_key: get(row, "idempotency_key")?,
        },
        metadata: sealed.json_or_default(METADATA)?,
        created_at: get_seconds(row, "created_at")?,
        renewed_at: get_seconds(row, "renewed_at")?,
        expires_at: optional_seconds(row, "expires_at")?,
        failures: number(row, "failures")?,
        last_error: sealed.text(LAST_ERROR)?,
        last_failed_at: optional_seconds(row, "last_failed_at")?,
    })
}

/// Runs a statement that may change the health of the subscription's connection.
async fn update_subscription(
    transaction: Transaction,
    subscription: &Subscription,
    sql: &str,
    values: &[Value<'_>],
) -> Result<Option<ConnectionTransition>, StoreError> {
    let before = HealthBefore::read(&transaction, TrackedConnection::Id(subscription.request.connection)).await?;
    transaction.execute(sql, values).await?;
    let transition = before.transition(&transaction).await?;
    transaction.commit().await?;
    Ok(transition)
}
