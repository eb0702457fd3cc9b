//! The backends of stores.

use crate::clock::Timestamp;
use crate::model::words;

/// The backends of stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreBackend {
    Sqlite,
    Postgres,
}

words!(StoreBackend { Sqlite => "sqlite", Postgres => "postgres" });

/// The backend of a store, and since when it exists.
#[derive(Clone, Debug)]
pub struct StoreDetails {
    pub backend: StoreBackend,
    /// The version of the backend.
    pub version: String,
    /// The URL of a server, without a password; absent for a file in the workspace's folder.
    pub url: Option<String>,
    pub created_at: Timestamp,
    /// When it was made from a backup; its grants may have been used up since.
    pub restored_at: Option<Timestamp>,
    /// A newer integ wrote it.
    pub read_only: bool,
}
