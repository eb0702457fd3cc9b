//! Operations on services: actions and API paths.

use super::Operation;

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[];
