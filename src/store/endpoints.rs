//! Where the user's own events are sent, by which rules, and how each endpoint stands.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use url::Url;

use super::row::{from_json, from_word, to_json, to_word};
use super::secrets::Secrets;
use super::{Malformed, Store, StoreError};
use crate::clock::{self, Timestamp};
use crate::connector::Budget;
use crate::event_type::EventPattern;
use crate::secret::Secret;

/// The endpoints of a store.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints<'a>(pub(super) &'a Store);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(String);

impl EndpointId {
    /// A new one, short enough for a table.
    pub fn random() -> Self {
        Self(format!("ep_{:012x}", u64::from_be_bytes(clock::random::<8>()) >> 16))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EndpointId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let own = text.strip_prefix("ep_").is_some_and(|rest| !rest.is_empty() && rest.len() <= 64);
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if own && plain { Ok(Self(text.to_owned())) } else { Err(format!("{text:?} is no endpoint's id: ep_…")) }
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the waits between attempts grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Exponential,
    Linear,
    /// There is one attempt.
    None,
}

const POLICIES: &[(Policy, &str)] =
    &[(Policy::Exponential, "exponential"), (Policy::Linear, "linear"), (Policy::None, "none")];

impl Policy {
    pub fn as_str(self) -> &'static str {
        to_word(POLICIES, self)
    }
}

/// Why nothing is sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisabledReason {
    /// The user said so.
    User,
    /// It answered 410.
    Gone,
    /// It has done nothing but fail for days.
    Failing,
}

const REASONS: &[(DisabledReason, &str)] =
    &[(DisabledReason::User, "user"), (DisabledReason::Gone, "gone"), (DisabledReason::Failing, "failing")];

impl DisabledReason {
    pub fn as_str(self) -> &'static str {
        to_word(REASONS, self)
    }
}

/// By which rules it is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub policy: Policy,
    pub most_attempts: u32,
    /// For how long a delivery is worth to be tried.
    pub ttl: Duration,
    /// For one attempt, from the connection to the last byte.
    pub timeout: Duration,
    pub rate: Option<Budget>,
}

/// How an endpoint stands, as its answers have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub disabled: Option<(DisabledReason, Timestamp)>,
    /// When the failures began of which none was followed by a success.
    pub failing_since: Option<Timestamp>,
    pub last_failed_at: Option<Timestamp>,
    /// It asked to be left alone until then.
    pub paused_until: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct Endpoint {
    pub id: EndpointId,
    pub url: Url,
    pub description: Option<String>,
    /// None is all.
    pub events: Vec<EventPattern>,
    pub rules: Rules,
    pub standing: Standing,
    pub created_at: Timestamp,
    secrets: Secrets,
}

impl Endpoint {
    pub fn new(url: Url, secret: Secret, rules: Rules, created_at: Timestamp) -> Self {
        Self {
            id: EndpointId::random(),
            url,
            description: None,
            events: Vec::new(),
            rules,
            standing: Standing::default(),
            created_at,
            secrets: Secrets::one(secret),
        }
    }

    /// The secrets that sign now, the one in force first.
    pub fn secrets(&self, now: Timestamp) -> Vec<Secret> {
        self.secrets.current(now)
    }

    /// Until when a secret that was replaced still signs.
    pub fn overlap_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.secrets.overlap_until(now)
    }

    /// Puts a secret in force; the one before it signs until `overlap_until`, and older ones no longer than they did.
    pub fn rotate(&mut self, secret: Secret, overlap_until: Timestamp, now: Timestamp) {
        self.secrets.rotate(secret, overlap_until, now);
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, url, description, events, secrets, policy, most_attempts, ttl, timeout, rate_requests, \
             rate_secs, disabled, disabled_at, failing_since, last_failed_at, paused_until, created_at FROM endpoints ",
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

    /// Changes an endpoint; absent where there is none. `change` does no more than compute.
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

    /// Removes it with all its deliveries; whether there was one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove(&self, id: &EndpointId) -> Result<bool, StoreError> {
        self.0.write(|transaction| Ok(transaction.execute("DELETE FROM endpoints WHERE id = ?1", [id.as_str()])? == 1))
    }
}

pub(super) fn all(sqlite: &Connection) -> Result<Vec<Endpoint>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("ORDER BY created_at, id"))?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(endpoint(row)?);
    }
    Ok(found)
}

pub(super) fn find(sqlite: &Connection, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("WHERE id = ?1"))?;
    statement.query_row([id.as_str()], |row| Ok(endpoint(row))).optional()?.transpose()
}

/// Writes how it stands, and nothing else.
pub(super) fn put_standing(
    transaction: &Transaction<'_>,
    id: &EndpointId,
    standing: &Standing,
) -> Result<(), StoreError> {
    let sql = "UPDATE endpoints SET disabled = ?2, disabled_at = ?3, failing_since = ?4, last_failed_at = ?5, \
               paused_until = ?6 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute(params![
        id.as_str(),
        standing.disabled.map(|(reason, _)| reason.as_str()),
        standing.disabled.map(|(_, at)| at.as_millisecond()),
        standing.failing_since.map(Timestamp::as_millisecond),
        standing.last_failed_at.map(Timestamp::as_millisecond),
        standing.paused_until.map(Timestamp::as_millisecond),
    ])?;
    Ok(())
}

fn put(transaction: &Transaction<'_>, endpoint: &Endpoint) -> Result<(), StoreError> {
    let events: Vec<String> = endpoint.events.iter().map(EventPattern::to_string).collect();
    let rules = &endpoint.rules;
    let sql = "INSERT INTO endpoints (id, url, description, events, secrets, policy, most_attempts, ttl, timeout, \
               rate_requests, rate_secs, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
               ON CONFLICT (id) DO UPDATE SET url = ?2, description = ?3, events = ?4, secrets = ?5, policy = ?6, \
               most_attempts = ?7, ttl = ?8, timeout = ?9, rate_requests = ?10, rate_secs = ?11";
    transaction.execute(
        sql,
        params![
            endpoint.id.as_str(),
            endpoint.url.as_str(),
            endpoint.description,
            to_json(&events)?,
            endpoint.secrets.to_column()?,
            rules.policy.as_str(),
            rules.most_attempts,
            rules.ttl.as_secs(),
            rules.timeout.as_secs(),
            rules.rate.map(|rate| rate.units),
            rules.rate.map(|rate| rate.secs),
            endpoint.created_at.as_millisecond(),
        ],
    )?;
    put_standing(transaction, &endpoint.id, &endpoint.standing)
}

pub(super) fn millis(at: i64) -> Result<Timestamp, Malformed> {
    Timestamp::from_millisecond(at).map_err(|_| Malformed::Time(at))
}

fn endpoint(row: &Row<'_>) -> Result<Endpoint, StoreError> {
    let url: String = row.get(1)?;
    let events: Vec<String> = from_json(&row.get::<_, String>(3)?)?;
    let time = |index: usize| -> Result<Option<Timestamp>, StoreError> {
        Ok(row.get::<_, Option<i64>>(index)?.map(millis).transpose()?)
    };
    let rate = match (row.get(9)?, row.get(10)?) {
        (Some(requests), Some(secs)) => Some(Budget { units: requests, secs, burst: None }),
        _ => None,
    };
    let reason = row.get::<_, Option<String>>(11)?.map(|word| from_word(REASONS, &word)).transpose()?;
    Ok(Endpoint {
        id: EndpointId::from_str(&row.get::<_, String>(0)?).map_err(Malformed::Word)?,
        url: Url::parse(&url).map_err(|_| Malformed::Word(url))?,
        description: row.get(2)?,
        events: events.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(Malformed::Word)?,
        rules: Rules {
            policy: from_word(POLICIES, &row.get::<_, String>(5)?)?,
            most_attempts: row.get(6)?,
            ttl: Duration::from_secs(row.get(7)?),
            timeout: Duration::from_secs(row.get(8)?),
            rate,
        },
        standing: Standing {
            disabled: reason.zip(time(12)?),
            failing_since: time(13)?,
            last_failed_at: time(14)?,
            paused_until: time(15)?,
        },
        created_at: millis(row.get(16)?)?,
        secrets: Secrets::from_column(&row.get::<_, String>(4)?)?,
    })
}
