//! Endpoints, with their delivery policy and health.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;
use url::Url;

use super::PostgresStore;
use super::row::{
    SealedRow, get, get_json, get_millis, get_word, number, optional_millis, optional_number, optional_word, signed,
    to_json,
};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{Budget, DeliveryPolicy, Endpoint, EndpointHealth, EndpointId, EventPattern};
use crate::store::{Endpoints, MalformedValue, StoreError};

const URL: Column = column("endpoints", "url");
const SECRETS: Column = column("endpoints", "secrets");

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, url, description, events, secrets, backoff, max_attempts, ttl_secs, timeout_secs,
             rate_requests, rate_secs, disabled_reason, disabled_at, failing_since, last_failed_at, paused_until,
             created_at FROM integ.endpoints WHERE workspace_id = $1 ",
            $rest
        )
    };
}

const ALL: &str = select!("ORDER BY created_at, id");
const FIND: &str = select!("AND id = $2");
const FIND_LOCKED: &str = select!("AND id = $2 FOR NO KEY UPDATE");

#[async_trait]
impl Endpoints for PostgresStore {
    async fn list(&self) -> Result<Vec<Endpoint>, StoreError> {
        let rows = self.rows(ALL, &[]).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn get(&self, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let row = self.row(FIND, &[&id.as_str()]).await?;
        row.map(|row| from_row(&self.sealer, &row)).transpose()
    }

    async fn add(&self, endpoint: &Endpoint) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        put(&transaction, endpoint).await?;
        transaction.commit().await
    }

    async fn replace(&self, old: &Endpoint, new: &Endpoint) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        if find_locked(&transaction, &old.id).await?.as_ref() != Some(old) {
            return Ok(false);
        }
        put(&transaction, new).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn remove(&self, id: &EndpointId) -> Result<bool, StoreError> {
        let sql = "DELETE FROM integ.endpoints WHERE workspace_id = $1 AND id = $2";
        Ok(self.execute(sql, &[&id.as_str()]).await? == 1)
    }
}

pub(super) async fn all(transaction: &Transaction) -> Result<Vec<Endpoint>, StoreError> {
    let rows = transaction.query(ALL, &[]).await?;
    rows.iter().map(|row| from_row(&transaction.sealer, row)).collect()
}

pub(super) async fn find(transaction: &Transaction, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
    let row = transaction.first(FIND, &[&id.as_str()]).await?;
    row.map(|row| from_row(&transaction.sealer, &row)).transpose()
}

/// Returns an endpoint, which nobody else changes until the transaction ends.
pub(super) async fn find_locked(transaction: &Transaction, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
    let row = transaction.first(FIND_LOCKED, &[&id.as_str()]).await?;
    row.map(|row| from_row(&transaction.sealer, &row)).transpose()
}

/// Writes the health of an endpoint, and nothing else.
pub(super) async fn put_health(
    transaction: &Transaction,
    id: &EndpointId,
    health: &EndpointHealth,
) -> Result<(), StoreError> {
    let sql =
        "UPDATE integ.endpoints SET disabled_reason = $3, disabled_at = $4, failing_since = $5, last_failed_at = $6,
                   paused_until = $7 WHERE workspace_id = $1 AND id = $2";
    let (reason, [disabled_at, failing_since, last_failed_at, paused_until]) = health_columns(health);
    let values: [Value<'_>; 6] = [&id.as_str(), &reason, &disabled_at, &failing_since, &last_failed_at, &paused_until];
    transaction.execute(sql, &values).await.map(drop)
}

/// Returns whether an endpoint's stored health is this one. What a caller has computed may be finer than the columns.
pub(super) fn is_same_health(stored: &EndpointHealth, health: &EndpointHealth) -> bool {
    health_columns(stored) == health_columns(health)
}

/// Returns the reason for which it is disabled, and times in Unix milliseconds: since when, `failing_since`,
/// `last_failed_at` and `paused_until`.
fn health_columns(health: &EndpointHealth) -> (Option<&'static str>, [Option<i64>; 4]) {
    let times = [health.disabled.map(|(_, at)| at), health.failing_since, health.last_failed_at, health.paused_until];
    (health.disabled.map(|(reason, _)| reason.as_str()), times.map(|at| at.map(Timestamp::as_millisecond)))
}

async fn put(transaction: &Transaction, endpoint: &Endpoint) -> Result<(), StoreError> {
    let events: Vec<String> = endpoint.events.iter().map(EventPattern::to_string).collect();
    let (id, policy) = (endpoint.id.as_str(), &endpoint.policy);
    let url = transaction.sealer.seal(URL, id, endpoint.url.as_str())?;
    let secrets = transaction.sealer.seal(SECRETS, id, to_json(&endpoint.secrets)?)?;
    let sql = "INSERT INTO integ.endpoints (workspace_id, id, url, description, events, secrets, backoff, max_attempts,
                   ttl_secs, timeout_secs, rate_requests, rate_secs, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
               ON CONFLICT (workspace_id, id) DO UPDATE SET url = $3, description = $4, events = $5, secrets = $6,
                   backoff = $7, max_attempts = $8, ttl_secs = $9, timeout_secs = $10, rate_requests = $11,
                   rate_secs = $12";
    let values: [Value<'_>; 12] = [
        &id,
        &url,
        &endpoint.description.as_deref(),
        &to_json(&events)?,
        &secrets,
        &policy.backoff.as_str(),
        &i64::from(policy.max_attempts),
        &signed(policy.ttl.as_secs()),
        &signed(policy.timeout.as_secs()),
        &policy.rate.map(|rate| i64::from(rate.units)),
        &policy.rate.map(|rate| i64::from(rate.secs)),
        &endpoint.created_at.as_millisecond(),
    ];
    transaction.execute(sql, &values).await?;
    put_health(transaction, &endpoint.id, &endpoint.health).await
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<Endpoint, StoreError> {
    let id: &str = get(row, "id")?;
    let sealed = SealedRow::new(sealer, row, id);
    let url = sealed.required_text(URL)?;
    let events: Vec<String> = get_json(row, "events")?;
    let rate = match (optional_number(row, "rate_requests")?, optional_number(row, "rate_secs")?) {
        (Some(requests), Some(secs)) => Some(Budget { units: requests, secs, burst: None }),
        _ => None,
    };
    let reason = optional_word(row, "disabled_reason")?;
    Ok(Endpoint {
        id: id.parse().map_err(MalformedValue::EnumValue)?,
        url: Url::parse(&url).map_err(|_| MalformedValue::EnumValue(url))?,
        description: get(row, "description")?,
        events: events.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(MalformedValue::EnumValue)?,
        policy: DeliveryPolicy {
            backoff: get_word(row, "backoff")?,
            max_attempts: number(row, "max_attempts")?,
            ttl: Duration::from_secs(number(row, "ttl_secs")?),
            timeout: Duration::from_secs(number(row, "timeout_secs")?),
            rate,
        },
        health: EndpointHealth {
            disabled: reason.zip(optional_millis(row, "disabled_at")?),
            failing_since: optional_millis(row, "failing_since")?,
            last_failed_at: optional_millis(row, "last_failed_at")?,
            paused_until: optional_millis(row, "paused_until")?,
        },
        created_at: get_millis(row, "created_at")?,
        secrets: sealed.json_or_default(SECRETS)?,
    })
}
