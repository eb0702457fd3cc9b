//! Operations on the vault.

use super::Operation;

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[];
