//! What must outlive a command: everything that a signed token cannot say about itself.
//!
//! All of it is a deviation from the usual. A grant with no record was neither rotated nor revoked, so that forgetting the
//! state forgives everything and breaks nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::signed::Claims;

/// Seconds a record of a used code or a waiting device is kept past its end: a late second use is still recognised.
const KEEP_SECS: i64 = 3600;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// How many tokens, codes and ids there were: each next one follows from the seed and this number.
    pub(super) serial: u64,
    /// Grants whose code was used, with the time when the code ends.
    pub(super) spent: BTreeMap<String, i64>,
    pub(super) grants: BTreeMap<String, GrantRecord>,
    pub(super) devices: BTreeMap<String, Device>,
    pub(super) faults: Vec<Fault>,
}

/// What became of a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct GrantRecord {
    /// The generation of the refresh token that still works.
    pub(super) generation: u32,
    pub(super) revoked: bool,
    /// Access tokens up to this number count as expired, whatever they say.
    pub(super) expired_serial: u64,
}

/// A device that waits for a person (RFC 8628).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Device {
    pub(super) user_code: String,
    pub(super) client: String,
    pub(super) scopes: Vec<String>,
    pub(super) polls: u32,
    /// Unix seconds.
    pub(super) polled_at: Option<i64>,
    pub(super) interval_secs: i64,
    pub(super) decision: Decision,
    pub(super) expires: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Decision {
    Waiting,
    Allowed,
    Denied,
    /// Its tokens were given out.
    Used,
}

/// How the state judges a token whose signature is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    Expired,
    Revoked,
}

impl State {
    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial = self.serial.saturating_add(1);
        self.serial
    }

    pub(super) fn standing(&self, claims: &Claims, now: i64) -> Standing {
        let record = self.grants.get(&claims.grant);
        if record.is_some_and(|record| record.revoked) {
            Standing::Revoked
        } else if claims.is_expired(now) || record.is_some_and(|record| claims.serial <= record.expired_serial) {
            Standing::Expired
        } else {
            Standing::Good
        }
    }

    pub(super) fn record(&mut self, grant: &str) -> &mut GrantRecord {
        self.grants.entry(grant.to_owned()).or_default()
    }

    pub(super) fn revoke(&mut self, grant: &str) {
        self.record(grant).revoked = true;
    }

    /// Drops what nothing can ask about any more.
    pub(super) fn forget_old(&mut self, now: i64) {
        self.spent.retain(|_, expires| expires.saturating_add(KEEP_SECS) > now);
        self.devices.retain(|_, device| device.expires.saturating_add(KEEP_SECS) > now);
    }
}
