//! Streams: what is synced of a connection, and how far each list of it has come.

use std::collections::BTreeMap;

use crate::clock::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartId(pub i64);

/// Values by name: what a user gives for a stream, what a parent's record gives its children.
pub type Given = BTreeMap<String, String>;

/// A stream of a connection that was synced, or is about to be.
#[derive(Clone, Debug)]
pub struct StoredStream {
    pub id: StreamId,
    pub name: String,
    pub params: Given,
}

/// One list of a stream.
#[derive(Clone, Debug)]
pub struct Part {
    pub id: PartId,
    pub given: Given,
    pub parent_version: Option<u64>,
    pub cursor: Option<String>,
    /// JSON: how far a list has come that is not at its end.
    pub progress: Option<String>,
    pub backfill: Option<String>,
    pub synced_at: Option<Timestamp>,
}

/// A cursor that another took the place of.
#[derive(Clone, Debug)]
pub struct FormerCursor {
    pub cursor: Option<String>,
    pub replaced_at: Timestamp,
}
