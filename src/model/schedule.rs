//! Schedules: when streams are synced automatically.

use super::name::ConnectionName;
use crate::clock::Timestamp;

/// When a stream, or every stream of a connection, is synced without being asked to.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub connection: ConnectionName,
    /// Absent for all streams.
    pub stream: Option<String>,
    pub rule: String,
    pub jitter_secs: u32,
    pub next_at: Timestamp,
    pub last_at: Option<Timestamp>,
}
