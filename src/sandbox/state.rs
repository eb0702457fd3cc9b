//! State that must outlive a command: everything that is not in a signed token.
//!
//! All of it is a deviation from the usual. A grant with no record was neither rotated nor revoked, so that forgetting the
//! state forgives everything and breaks nothing.

use std::collections::BTreeMap;
use std::iter::repeat_n;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::account::SandboxAccount;
use super::fault::Fault;
use super::objects::CreatedObjects;
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
    /// Grants with a used code, and the time when the code expires.
    pub(super) spent: BTreeMap<String, i64>,
    pub(super) grants: BTreeMap<String, GrantState>,
    pub(super) devices: BTreeMap<String, DeviceAuthorization>,
    pub(super) faults: Vec<Fault>,
    pub(super) streams: StreamState,
    /// Objects that actions created and no stream lists.
    pub(super) objects: CreatedObjects,
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
    /// Unix seconds when they were first requested: what was there then is older.
    born: Option<i64>,
    /// What happened to the records, in its order.
    steps: Vec<WorldStep>,
    /// What actions made of single records, the oldest first.
    edits: Vec<RecordEdit>,
    /// How many records actions have created.
    created: u64,
    /// How many records there were at first, where that was said.
    records: BTreeMap<String, u32>,
    /// The number below which a stream's records are done with.
    acknowledged: BTreeMap<String, u64>,
}

/// Ticks of the same kind. Time that passes changes records at random; what an action does is a tick that changes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WorldStep {
    /// Unix seconds.
    at: i64,
    ticks: u32,
    #[serde(default)]
    is_edit: bool,
}

/// What actions made of one record. Ticks are 0 for what they did not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordEdit {
    #[serde(default)]
    account: SandboxAccount,
    stream: String,
    /// The list that it is in: what the parent gives to it.
    #[serde(default)]
    partition: BTreeMap<String, String>,
    /// Its place in the list.
    pub(super) index: u64,
    #[serde(default)]
    pub(super) created_tick: u32,
    #[serde(default)]
    pub(super) updated_tick: u32,
    #[serde(default)]
    pub(super) deleted_tick: u32,
    /// Unix seconds of its creation, if an action created it, and of the last change.
    #[serde(default)]
    pub(super) created_at: i64,
    pub(super) changed_at: i64,
    /// What differs from the generated record, laid over it.
    #[serde(default)]
    pub(super) patch: Value,
}

/// The list that an edit is about.
#[derive(Clone, Debug)]
pub(super) struct ListKey<'a> {
    pub(super) account: &'a SandboxAccount,
    pub(super) stream: &'a str,
    pub(super) partition: &'a BTreeMap<String, String>,
}

/// What an action does to a record.
#[derive(Clone, Debug)]
pub(super) enum RecordEditKind {
    Create(Value),
    Update(Value),
    Delete,
}

/// Edits that are kept; older ones are forgotten, as if they had not been made.
const MAX_EDITS: usize = 1_000;

/// Bytes of the patches of all edits that are kept.
const MAX_EDIT_BYTES: usize = 512 * 1024;

/// Places of created records begin here, far from those that time brings.
const FIRST_CREATED: u64 = 100_000_000;

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

/// How the state judges a token with a valid signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenStatus {
    Valid,
    Expired,
    Revoked,
}

impl RecordEdit {
    fn is_in(&self, list: &ListKey<'_>) -> bool {
        self.stream == list.stream && self.account == *list.account && self.partition == *list.partition
    }
}

/// The number of a created record among those that actions created, from 1.
pub(super) fn created_number(index: u64) -> Option<u64> {
    index.checked_sub(FIRST_CREATED)
}

/// Lays a document over another; a value that is not an object replaces what is there.
pub(super) fn merge_json(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                merge_json(below.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
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
        self.steps.iter().map(|step| step.ticks).fold(0, u32::saturating_add)
    }

    /// The ticks that time brought, each with its Unix second.
    pub(super) fn advances(&self) -> impl Iterator<Item = (u32, i64)> {
        let all = self.steps.iter().flat_map(|step| repeat_n(step, step.ticks as usize));
        (1..).zip(all).filter(|(_, step)| !step.is_edit).map(|(tick, step)| (tick, step.at))
    }

    /// Adds ticks, and returns how many of this kind there were.
    fn step(&mut self, at: i64, ticks: u32, is_edit: bool) -> u32 {
        match self.steps.last_mut() {
            // A clock that was set back makes no record older, and when an edit was made is in the edit.
            Some(last) if last.is_edit == is_edit && (is_edit || last.at >= at) => {
                last.ticks = last.ticks.saturating_add(ticks);
            }
            _ => self.steps.push(WorldStep { at, ticks, is_edit }),
        }
        let own = self.steps.iter().filter(|step| step.is_edit == is_edit);
        own.map(|step| step.ticks).fold(0, u32::saturating_add)
    }

    /// What actions made of the records of a list.
    pub(super) fn edits(&self, list: &ListKey<'_>) -> Vec<&RecordEdit> {
        self.edits.iter().filter(|edit| edit.is_in(list)).collect()
    }

    /// Makes one change to one record of a list, at its place or, of a new one, at a new place, and returns the place.
    pub(super) fn edit(&mut self, list: &ListKey<'_>, index: Option<u64>, change: RecordEditKind, now: i64) -> u64 {
        self.start(now);
        self.step(now, 1, true);
        let tick = self.tick();
        let index = index.unwrap_or_else(|| {
            self.created += 1;
            FIRST_CREATED + self.created
        });
        let known = self.edits.iter().position(|edit| edit.index == index && edit.is_in(list));
        let mut edit = known.map_or_else(
            || RecordEdit {
                account: list.account.clone(),
                stream: list.stream.to_owned(),
                partition: list.partition.clone(),
                index,
                created_tick: 0,
                updated_tick: 0,
                deleted_tick: 0,
                created_at: 0,
                changed_at: now,
                patch: Value::Null,
            },
            |at| self.edits.remove(at),
        );
        edit.changed_at = now;
        match change {
            RecordEditKind::Create(patch) => (edit.created_tick, edit.created_at, edit.patch) = (tick, now, patch),
            RecordEditKind::Update(patch) => {
                edit.updated_tick = tick;
                merge_json(&mut edit.patch, &patch);
            }
            RecordEditKind::Delete => edit.deleted_tick = tick,
        }
        self.edits.push(edit);
        let bytes = |edit: &RecordEdit| edit.patch.to_string().len();
        let mut total: usize = self.edits.iter().map(bytes).sum();
        while self.edits.len() > MAX_EDITS || (total > MAX_EDIT_BYTES && !self.edits.is_empty()) {
            total -= bytes(&self.edits.remove(0));
        }
        index
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
        self.streams.step(now, ticks, false)
    }

    /// How often actions have created, changed or deleted a record.
    pub fn edits(&self) -> u32 {
        let edits = self.streams.steps.iter().filter(|step| step.is_edit);
        edits.map(|step| step.ticks).fold(0, u32::saturating_add)
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
