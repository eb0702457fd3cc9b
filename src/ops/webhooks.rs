//! Operations on webhooks.

use super::Operation;

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[];
