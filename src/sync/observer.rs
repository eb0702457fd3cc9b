//! Observers of the progress of a sync.

use super::SyncReport;
use crate::model::{ConnectionName, RecordCounts, Traffic};

/// Follows the progress of syncs. Streams run concurrently, so that calls for different streams are mixed.
pub trait SyncObserver: Sync {
    /// The sync of a stream begins; its lock is not taken yet.
    fn stream_started(&self, _connection: &ConnectionName, _stream: &str) {}
    /// A page is stored.
    fn page_stored(&self, _connection: &ConnectionName, _stream: &str, _page: StoredPage) {}
    /// Something that the user should know, in a sentence.
    fn note(&self, _connection: &ConnectionName, _stream: &str, _text: &str) {}
    /// The sync of a stream has ended. A stream that could not be started is reported only here.
    fn stream_finished(&self, _report: &SyncReport) {}
    /// All streams of a connection have ended.
    fn connection_finished(&self) {}
}

/// A page that was stored.
#[derive(Clone, Copy, Debug)]
pub struct StoredPage {
    pub counts: RecordCounts,
    pub traffic: Traffic,
    /// Requests that the vendor still allows, if it says so.
    pub requests_left: Option<u64>,
}
