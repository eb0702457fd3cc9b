//! Endpoints: where the user's own events are sent, by which policy, and their health.

use std::str::FromStr;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use url::Url;

use super::row::{collect, get_json, get_millis, get_optional_millis, get_word, parse_word, to_json};
use super::{MalformedValue, Store, StoreError};
use crate::clock::Timestamp;
use crate::model::budget::Budget;
use crate::model::endpoint::{DeliveryPolicy, Endpoint, EndpointHealth, EndpointId};
use crate::model::event_type::EventPattern;

/// The endpoints of a store.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints<'a>(pub(super) &'a Store);

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

impl Endpoints<'_> {
    /// In the order in which they were added.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self) -> Result<Vec<Endpoint>, StoreError> {
        self.0.read(all)
    }

    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
        self.0.read(|sqlite| find(sqlite, id))
    }

    /// # Errors
    /// [`StoreError`].
    pub fn add(&self, endpoint: &Endpoint) -> Result<(), StoreError> {
        self.0.write(|transaction| put(transaction, endpoint))
    }

    /// Changes an endpoint; absent if there is none. `change` only computes: it runs inside the transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn update(&self, id: &EndpointId, change: impl FnOnce(&mut Endpoint)) -> Result<Option<Endpoint>, StoreError> {
        self.0.write(|transaction| {
            let Some(mut endpoint) = find(transaction, id)? else { return Ok(None) };
            change(&mut endpoint);
            put(transaction, &endpoint)?;
            Ok(Some(endpoint))
        })
    }

    /// Removes an endpoint with all its deliveries; true if there was one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove(&self, id: &EndpointId) -> Result<bool, StoreError> {
        self.0.write(|transaction| Ok(transaction.execute("DELETE FROM endpoints WHERE id = ?1", [id.as_str()])? == 1))
    }
}

pub(super) fn all(sqlite: &Connection) -> Result<Vec<Endpoint>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("ORDER BY created_at, id"))?;
    collect(statement.query([])?, from_row)
}

pub(super) fn find(sqlite: &Connection, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("WHERE id = ?1"))?;
    statement.query_row([id.as_str()], |row| Ok(from_row(row))).optional()?.transpose()
}

/// Writes the health of an endpoint, and nothing else.
pub(super) fn put_health(
    transaction: &Transaction<'_>,
    id: &EndpointId,
    health: &EndpointHealth,
) -> Result<(), StoreError> {
    let sql = "UPDATE endpoints SET disabled_reason = ?2, disabled_at = ?3, failing_since = ?4, last_failed_at = ?5, \
               paused_until = ?6 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute(params![
        id.as_str(),
        health.disabled.map(|(reason, _)| reason.as_str()),
        health.disabled.map(|(_, at)| at.as_millisecond()),
        health.failing_since.map(Timestamp::as_millisecond),
        health.last_failed_at.map(Timestamp::as_millisecond),
        health.paused_until.map(Timestamp::as_millisecond),
    ])?;
    Ok(())
}

fn put(transaction: &Transaction<'_>, endpoint: &Endpoint) -> Result<(), StoreError> {
    let events: Vec<String> = endpoint.events.iter().map(EventPattern::to_string).collect();
    let rules = &endpoint.policy;
    let sql = "INSERT INTO endpoints (id, url, description, events, secrets, backoff, max_attempts, ttl_secs, \
               timeout_secs, rate_requests, rate_secs, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
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
            rules.backoff.as_str(),
            rules.max_attempts,
            rules.ttl.as_secs(),
            rules.timeout.as_secs(),
            rules.rate.map(|rate| rate.units),
            rules.rate.map(|rate| rate.secs),
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
    let reason = row.get::<_, Option<String>>("disabled_reason")?.map(|text| parse_word(&text)).transpose()?;
    Ok(Endpoint {
        id: EndpointId::from_str(&row.get::<_, String>("id")?).map_err(MalformedValue::EnumValue)?,
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
