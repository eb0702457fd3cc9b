//! The effect of operations and actions.

use serde::{Deserialize, Serialize};

use super::words::words;

/// The effect of an operation or an action at the service or on stored data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    Read,
    Write,
    /// Destroys data that cannot be restored, or cannot be undone otherwise, such as a payment.
    Destroy,
}

words!(Effect { Read => "read", Write => "write", Destroy => "destroy" });
