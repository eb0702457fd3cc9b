//! What must outlive a command: everything that a signed token cannot say about itself.
//!
//! All of it is a deviation from the usual. A grant with no record was neither rotated nor revoked, so that forgetting the
//! state forgives everything and breaks nothing.

use std::collections::BTreeMap;
use std::iter::repeat_n;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fault::Fault;
use super::token::TokenClaims;
use crate::clock::Timestamp;

/// Seconds a record of a used code or a waiting device is kept past its end: a late second use is still recognised.
const RETENTION_SECS: i64 = 3600;

/// The state of a connector's sandbox, stored as one JSON document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxState {
    /// How many tokens, codes and ids there were: each next one follows from the seed and this number.
    pub(super) serial: u64,
    /// Grants whose code was used, with the time when the code ends.
    pub(super) spent: BTreeMap<String, i64>,
    pub(super) grants: BTreeMap<String, GrantState>,
    pub(super) devices: BTreeMap<String, DeviceAuthorization>,
    pub(super) faults: Vec<Fault>,
    pub(super) streams: StreamState,
    /// Events that were sent by webhooks, the oldest first, as far as somebody may ask about them.
    pub(super) sent: Vec<SentEvent>,
}

/// An event that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SentEvent {
    /// What it is asked about with.
    pub(super) params: BTreeMap<String, Value>,
    pub(super) event: Value,
}

/// Events that are remembered; they are asked about at once.
const MAX_SENT_EVENTS: usize = 256;

/// What became of the streams' records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StreamState {
    /// Unix seconds when they were first asked for: what was there then is older.
    born: Option<i64>,
    /// How many ticks passed at which Unix second.
    advances: Vec<(i64, u32)>,
    /// How many records there were at first, where that was said.
    records: BTreeMap<String, u32>,
    /// The number below which a stream's records are done with.
    acknowledged: BTreeMap<String, u64>,
}

/// What became of a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct GrantState {
    /// The generation of the refresh token that still works.
    pub(super) generation: u32,
    pub(super) revoked: bool,
    /// Access tokens up to this number count as expired, whatever they say.
    pub(super) expired_serial: u64,
}

/// A device that waits for a person (RFC 8628).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeviceAuthorization {
    pub(super) user_code: String,
    pub(super) client: String,
    pub(super) scopes: Vec<String>,
    pub(super) polls: u32,
    /// Unix seconds.
    pub(super) polled_at: Option<i64>,
    pub(super) interval_secs: i64,
    pub(super) decision: ConsentDecision,
    pub(super) expires: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ConsentDecision {
    Waiting,
    Allowed,
    Denied,
    /// Its tokens were given out.
    Used,
}

/// How the state judges a token whose signature is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenStatus {
    Valid,
    Expired,
    Revoked,
}

impl StreamState {
    pub(super) fn start(&mut self, now: i64) {
        self.born.get_or_insert(now);
    }

    pub(super) fn started_at(&self) -> i64 {
        self.born.unwrap_or_default()
    }

    /// How many ticks have passed.
    pub(super) fn tick(&self) -> u32 {
        self.advances.iter().map(|(_, ticks)| *ticks).fold(0, u32::saturating_add)
    }

    /// The Unix second of every tick.
    pub(super) fn ticks(&self) -> impl Iterator<Item = i64> {
        self.advances.iter().flat_map(|(at, ticks)| repeat_n(*at, *ticks as usize))
    }

    pub(super) fn records(&self, stream: &str) -> Option<u32> {
        self.records.get(stream).copied()
    }

    pub(super) fn acknowledged(&self, stream: &str) -> Option<u64> {
        self.acknowledged.get(stream).copied()
    }

    pub(super) fn acknowledge(&mut self, stream: &str, below: u64) {
        let known = self.acknowledged.entry(stream.to_owned()).or_default();
        *known = below.max(*known);
    }
}

impl SandboxState {
    /// Remembers an event that the vendor sends, with the parameters that it is asked about with.
    pub fn record_sent_event(&mut self, params: impl IntoIterator<Item = (String, Value)>, event: Value) {
        let excess = (self.sent.len() + 1).saturating_sub(MAX_SENT_EVENTS);
        self.sent.drain(..excess);
        self.sent.push(SentEvent { params: params.into_iter().collect(), event });
    }

    /// Lets time pass for the streams: each tick adds, changes or deletes a few records. Gives all ticks so far.
    pub fn advance(&mut self, ticks: u32, now: Timestamp) -> u32 {
        let now = now.as_second();
        self.streams.start(now);
        match self.streams.advances.last_mut() {
            // A clock that was set back makes no record older.
            Some((at, count)) if *at >= now => *count = count.saturating_add(ticks),
            _ => self.streams.advances.push((now, ticks)),
        }
        self.streams.tick()
    }

    /// Says how many records a list of a stream holds before all ticks.
    pub fn set_records(&mut self, stream: &str, count: u32) {
        self.streams.records.insert(stream.to_owned(), count);
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial = self.serial.saturating_add(1);
        self.serial
    }

    pub(super) fn token_status(&self, claims: &TokenClaims, now: i64) -> TokenStatus {
        let record = self.grants.get(&claims.grant);
        if record.is_some_and(|record| record.revoked) {
            TokenStatus::Revoked
        } else if claims.is_expired(now) || record.is_some_and(|record| claims.serial <= record.expired_serial) {
            TokenStatus::Expired
        } else {
            TokenStatus::Valid
        }
    }

    pub(super) fn grant_mut(&mut self, grant: &str) -> &mut GrantState {
        self.grants.entry(grant.to_owned()).or_default()
    }

    pub(super) fn revoke(&mut self, grant: &str) {
        self.grant_mut(grant).revoked = true;
    }

    /// Drops what nothing can ask about any more.
    pub(super) fn prune_expired(&mut self, now: i64) {
        self.spent.retain(|_, expires| expires.saturating_add(RETENTION_SECS) > now);
        self.devices.retain(|_, device| device.expires.saturating_add(RETENTION_SECS) > now);
    }
}
