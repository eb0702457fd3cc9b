//! Records: synced data as the vendor wrote it, and its changes.

use schemars::JsonSchema;
use serde::Serialize;

use super::event::EventId;
use super::job::JobId;
use super::stream::{PartitionId, StreamId};
use super::words::words;
use crate::clock::Timestamp;

/// The hash of a record's JSON, by which one that came unchanged is recognised.
pub type Hash = [u8; 16];

/// The store's id of a record. Ids increase in the order in which records first arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(pub i64);

/// A record that came.
#[derive(Clone, Debug)]
pub struct NewRecord {
    pub key: String,
    pub json: String,
    pub hash: Hash,
    /// It says of itself that it is gone.
    pub is_deleted: bool,
    /// The keys of records that became part of it.
    pub former_keys: Vec<String>,
}

/// The position in a list after a page of it is stored.
#[derive(Clone, Debug)]
pub enum PageCheckpoint {
    /// Before its end; JSON.
    InProgress(String),
    /// All of it is read, and `cursor` is where the next one begins.
    Complete { cursor: Option<String>, parent_version: Option<u64> },
    /// The same beside the incremental cursor, which stays.
    Backfill(Option<String>),
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct NewPage {
    pub job: JobId,
    pub stream: StreamId,
    pub partition: PartitionId,
    pub records: Vec<NewRecord>,
    /// The keys of records that were met and are known to be as they were.
    pub unchanged_keys: Vec<String>,
    /// The keys of records that are gone.
    pub deleted_keys: Vec<String>,
    /// Whether what is not met is gone in the end.
    pub is_full_list: bool,
    /// It was read a moment ago: what is as it was is not counted twice.
    pub is_verification_pass: bool,
    pub checkpoint: PageCheckpoint,
    pub traffic: Traffic,
    pub now: Timestamp,
}

/// A record that the vendor sent by itself.
#[derive(Clone, Debug)]
pub struct PushedRecord {
    pub stream: StreamId,
    pub partition: PartitionId,
    pub record: NewRecord,
    /// What it is newer by, as the vendor wrote it.
    pub cursor_value: Option<String>,
    /// When it was so.
    pub vendor_updated_at: Timestamp,
    /// The event that said so.
    pub event: EventId,
    pub now: Timestamp,
}

/// A record with the list that it belongs to, and when it was as it is kept.
#[derive(Clone, Debug)]
pub struct RecordSnapshot {
    pub record: StoredRecord,
    pub partition: PartitionId,
    pub as_of: Timestamp,
    /// The event that said so, if one did.
    pub event: Option<EventId>,
    /// What it was newer by when it was deleted, where an event said so.
    pub deleted_cursor: Option<String>,
}

/// What it took to get it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Traffic {
    pub requests: u64,
    pub retries: u64,
    pub bytes: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.retries += other.retries;
        self.bytes += other.bytes;
    }
}

/// What became of the records that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct RecordCounts {
    pub added: u64,
    pub changed: u64,
    pub deleted: u64,
    pub unchanged: u64,
}

impl std::ops::AddAssign for RecordCounts {
    fn add_assign(&mut self, other: Self) {
        self.added += other.added;
        self.changed += other.changed;
        self.deleted += other.deleted;
        self.unchanged += other.unchanged;
    }
}

/// How many records a stream has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordTotals {
    /// Without deleted ones.
    pub records: u64,
    /// Deleted at the service, and kept for readers of changes.
    pub deleted: u64,
    /// When one of its lists was last synced completely.
    pub synced_at: Option<Timestamp>,
}

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordChange {
    Added,
    Changed,
    Deleted,
}

words!(RecordChange { Added => "added", Changed => "changed", Deleted => "deleted" });

/// A record as it is kept.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    pub id: RecordId,
    pub key: String,
    pub json: String,
    pub version: u64,
    pub(crate) added_version: u64,
    pub first_seen_at: Timestamp,
    pub changed_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
}

impl StoredRecord {
    /// What happened to it since a version.
    pub fn change(&self, since: u64) -> RecordChange {
        match self.deleted_at {
            Some(_) => RecordChange::Deleted,
            None if self.added_version > since => RecordChange::Added,
            None => RecordChange::Changed,
        }
    }
}

/// A part with a full list that was read to its end.
#[derive(Clone, Debug)]
pub struct CompletedList {
    pub partition: PartitionId,
    /// The store's version when the list began: what changed later came by another way, and is not missing from it.
    pub start_version: u64,
    /// Where the next list begins, and the version of the parent's record.
    pub cursor: Option<String>,
    pub parent_version: Option<u64>,
}

/// How a sweep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepResult {
    Done {
        deleted: u64,
    },
    /// It would have taken more than half of the stream: nothing was deleted, and no cursor moved.
    Blocked {
        missing: u64,
        known: u64,
    },
}
