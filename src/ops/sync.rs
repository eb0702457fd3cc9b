//! Operations on syncs: streams, records, cursors, jobs and schedules.

use super::Operation;

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[];
