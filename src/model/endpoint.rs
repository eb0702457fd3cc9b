//! Endpoints: where the user's events are sent, with their delivery policy.

use std::time::Duration;

use url::Url;

use super::budget::Budget;
use super::event_type::{EventPattern, EventType};
use super::random_id::random_id;
use super::secrets::RotatingSecrets;
use super::words::words;
use crate::clock::Timestamp;
use crate::secret::Secret;

random_id! {
    /// The id of an endpoint: `ep_` and 48 random bits in hexadecimal.
    EndpointId, "ep_", 6, "an endpoint"
}

/// How the waits between attempts grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackoffPolicy {
    Exponential,
    Linear,
    /// There is one attempt.
    None,
}

words!(BackoffPolicy { Exponential => "exponential", Linear => "linear", None => "none" });

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

words!(DisabledReason { User => "user", Gone => "gone", Failing => "failing" });

/// By which rules it is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryPolicy {
    pub backoff: BackoffPolicy,
    pub max_attempts: u32,
    /// For how long a delivery is worth to be tried.
    pub ttl: Duration,
    /// For one attempt, from the connection to the last byte.
    pub timeout: Duration,
    pub rate: Option<Budget>,
}

/// The state of an endpoint, according to its answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointHealth {
    pub disabled: Option<(DisabledReason, Timestamp)>,
    /// When the failures began of which none was followed by a success.
    pub failing_since: Option<Timestamp>,
    pub last_failed_at: Option<Timestamp>,
    /// It asked to be left alone until then.
    pub paused_until: Option<Timestamp>,
}

/// A URL that the user's messages are sent to, with its delivery policy and signing secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub id: EndpointId,
    pub url: Url,
    pub description: Option<String>,
    /// None is all.
    pub events: Vec<EventPattern>,
    pub policy: DeliveryPolicy,
    pub health: EndpointHealth,
    pub created_at: Timestamp,
    pub(crate) secrets: RotatingSecrets,
}

impl Endpoint {
    /// Creates an endpoint with a random id, which receives messages of every type.
    pub fn new(url: Url, secret: Secret, rules: DeliveryPolicy, created_at: Timestamp) -> Self {
        Self {
            id: EndpointId::random(),
            url,
            description: None,
            events: Vec::new(),
            policy: rules,
            health: EndpointHealth::default(),
            created_at,
            secrets: RotatingSecrets::one(secret),
        }
    }

    /// Returns whether messages of this type are sent to it.
    pub fn accepts(&self, kind: &EventType) -> bool {
        self.events.is_empty() || self.events.iter().any(|pattern| pattern.matches(kind))
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
