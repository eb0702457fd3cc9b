//! The effect of operations and actions.

use super::words::words;

/// The effect of an operation at the service or on stored data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    Read,
    Write,
    /// Destroys data that cannot be restored.
    Destroy,
}

words!(Effect { Read => "read", Write => "write", Destroy => "destroy" });
