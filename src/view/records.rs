//! Views of stored records: how many there are, and the files that they were written into.

use schemars::JsonSchema;
use serde::Serialize;

use super::schema::Time;
use super::word;
use crate::clock::Timestamp;
use crate::error::Kind;
use crate::model::{ConnectionMode, ConnectionName, WorkspaceName};

/// What is stored of a stream.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct StoredStreamView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub stream: String,
    #[serde(serialize_with = "word")]
    pub mode: ConnectionMode,
    /// Number of records, without deleted ones.
    pub records: u64,
    /// Number of records that were deleted at the service, which lists of changes still contain.
    pub deleted: u64,
    /// When it was last synced completely.
    #[schemars(with = "Option<Time>")]
    pub last_sync_at: Option<Timestamp>,
    /// `sandbox`, or the origin that its traffic goes to.
    #[serde(skip)]
    pub target: Option<String>,
}

/// What is stored of several streams, ordered by connection and stream.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct StoredStreamListView {
    #[serde(serialize_with = "word")]
    pub workspace: WorkspaceName,
    pub streams: Vec<StoredStreamView>,
    /// Number of records of all of them, without deleted ones.
    pub records: u64,
    #[serde(skip)]
    #[schemars(with = "Time")]
    pub as_of: Timestamp,
}

/// A stream, and the file that its records were written into, or why they were not.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct WrittenStreamView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub stream: String,
    /// The path of the file, in the folder as it was named.
    pub file: String,
    /// Number of records in the file; 0 if it could not be written.
    pub records: u64,
    /// Number of records that the binding failed on, which are not in the file.
    pub unmapped: u64,
    /// Size of the file; 0 if it could not be written.
    pub bytes: u64,
    pub error: Option<String>,
    pub error_code: Option<&'static str>,
    #[serde(skip)]
    pub error_kind: Option<Kind>,
}

/// Streams whose records were written into files of a folder.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct WrittenStreamListView {
    #[serde(serialize_with = "word")]
    pub workspace: WorkspaceName,
    pub folder: String,
    pub streams: Vec<WrittenStreamView>,
}
