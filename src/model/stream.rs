//! Streams: what is synced from a connection, and the position of each list.

use std::collections::BTreeMap;

use crate::clock::Timestamp;

/// The store's id of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub i64);

/// The store's id of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId(pub i64);

/// Values by name: what a user gives for a stream, what a parent's record gives its children.
pub type StreamParams = BTreeMap<String, String>;

/// A stream of a connection that was synced, or is about to be.
#[derive(Clone, Debug)]
pub struct StoredStream {
    pub id: StreamId,
    pub name: String,
    pub params: StreamParams,
}

/// One list of a stream.
#[derive(Clone, Debug)]
pub struct Partition {
    pub id: PartitionId,
    pub params: StreamParams,
    pub parent_version: Option<u64>,
    pub cursor: Option<String>,
    /// JSON: how far a list has come that is not at its end.
    pub checkpoint: Option<String>,
    pub backfill_checkpoint: Option<String>,
    pub synced_at: Option<Timestamp>,
}

/// A cursor that another took the place of.
#[derive(Clone, Debug)]
pub struct FormerCursor {
    pub cursor: Option<String>,
    pub replaced_at: Timestamp,
}
