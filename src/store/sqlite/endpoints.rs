//! Endpoints, with their delivery policy and health.

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, params};
use url::Url;

use super::row::{
    Row, collect, first, get_json, get_millis, get_optional_millis, get_word, parse_word, query, to_json,
};
use super::{MalformedValue, SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::{Budget, DeliveryPolicy, Endpoint, EndpointHealth, EndpointId, EventPattern};
use crate::store::Endpoints;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, url, description, events, secrets, backoff, max_attempts, ttl_secs, timeout_secs, \
             rate_requests, rate_secs, disabled_reason, disabled_at, failing_since, last_failed_at, paused_until, \
             created_at FROM endpoints ",
            $rest
        )
    };
}

#[async_trait]
impl Endpoints for SqliteStore {
    async fn list(&self) -> Result<Vec<Endpoint>, StoreError> {
        self.read(all).await
    }

    async fn get(&self, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let id = id.clone();
        self.read(move |sqlite| find(sqlite, &id)).await
    }

    async fn add(&self, endpoint: &Endpoint) -> Result<(), StoreError> {
        let endpoint = endpoint.clone();
        self.write(move |transaction| put(transaction, &endpoint)).await
    }

    async fn replace(&self, old: &Endpoint, new: &Endpoint) -> Result<bool, StoreError> {
        let (old, new) = (old.clone(), new.clone());
        self.write(move |transaction| {
            if find(transaction, &old.id)?.as_ref() != Some(&old) {
                return Ok(false);
            }
            put(transaction, &new)?;
            Ok(true)
        })
        .await
    }

    async fn remove(&self, id: &EndpointId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.write(move |transaction| {
            Ok(transaction.execute("DELETE FROM endpoints WHERE id = ?1", [id.as_str()])? == 1)
        })
        .await
    }
}

pub(super) fn all(sqlite: &Connection) -> Result<Vec<Endpoint>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("ORDER BY created_at, id"))?;
    collect(query(&mut statement, [])?, from_row)
}

pub(super) fn find(sqlite: &Connection, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("WHERE id = ?1"))?;
    first(query(&mut statement, [id.as_str()])?, from_row)
}

/// Writes the health of an endpoint, and nothing else.
pub(super) fn put_health(
    transaction: &Transaction<'_>,
    id: &EndpointId,
    health: &EndpointHealth,
) -> Result<(), StoreError> {
    let sql = "UPDATE endpoints SET disabled_reason = ?2, disabled_at = ?3, failing_since = ?4, last_failed_at = ?5, \
               paused_until = ?6 WHERE id = ?1";
    let (reason, [disabled_at, failing_since, last_failed_at, paused_until]) = health_columns(health);
    transaction.prepare_cached(sql)?.execute((
        id.as_str(),
        reason,
        disabled_at,
        failing_since,
        last_failed_at,
        paused_until,
    ))?;
    Ok(())
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

fn put(transaction: &Transaction<'_>, endpoint: &Endpoint) -> Result<(), StoreError> {
    let events: Vec<String> = endpoint.events.iter().map(EventPattern::to_string).collect();
    let policy = &endpoint.policy;
    let sql = "INSERT INTO endpoints (id, url, description, events, secrets, backoff, max_attempts, ttl_secs, timeout_secs, \
               rate_requests, rate_secs, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
               ON CONFLICT (id) DO UPDATE SET url = ?2, description = ?3, events = ?4, secrets = ?5, backoff = ?6, \
               max_attempts = ?7, ttl_secs = ?8, timeout_secs = ?9, rate_requests = ?10, rate_secs = ?11";
    transaction.execute(
        sql,
        params![
            endpoint.id.as_str(),
            endpoint.url.as_str(),
            endpoint.description,
            to_json(&events)?,
            to_json(&endpoint.secrets)?,
            policy.backoff.as_str(),
            policy.max_attempts,
            policy.ttl.as_secs(),
            policy.timeout.as_secs(),
            policy.rate.map(|rate| rate.units),
            policy.rate.map(|rate| rate.secs),
            endpoint.created_at.as_millisecond(),
        ],
    )?;
    put_health(transaction, &endpoint.id, &endpoint.health)
}

fn from_row(row: &Row<'_>) -> Result<Endpoint, StoreError> {
    let url: String = row.get("url")?;
    let events: Vec<String> = get_json(row, "events")?;
    let rate = match (row.get("rate_requests")?, row.get("rate_secs")?) {
        (Some(requests), Some(secs)) => Some(Budget { units: requests, secs, burst: None }),
        _ => None,
    };
    let reason = row.get::<Option<String>>("disabled_reason")?.map(|text| parse_word(&text)).transpose()?;
    Ok(Endpoint {
        id: EndpointId::from_str(&row.get::<String>("id")?).map_err(MalformedValue::EnumValue)?,
        url: Url::parse(&url).map_err(|_| MalformedValue::EnumValue(url))?,
        description: row.get("description")?,
        events: events.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(MalformedValue::EnumValue)?,
        policy: DeliveryPolicy {
            backoff: get_word(row, "backoff")?,
            max_attempts: row.get("max_attempts")?,
            ttl: Duration::from_secs(row.get("ttl_secs")?),
            timeout: Duration::from_secs(row.get("timeout_secs")?),
            rate,
        },
        health: EndpointHealth {
            disabled: reason.zip(get_optional_millis(row, "disabled_at")?),
            failing_since: get_optional_millis(row, "failing_since")?,
            last_failed_at: get_optional_millis(row, "last_failed_at")?,
            paused_until: get_optional_millis(row, "paused_until")?,
        },
        created_at: get_millis(row, "created_at")?,
        secrets: get_json(row, "secrets")?,
    })
}
