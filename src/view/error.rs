//! The view of a failure, which is printed on stderr.

use schemars::JsonSchema;
use serde::Serialize;

/// Why a command failed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ErrorView {
    pub error: ErrorDetailView,
}

/// What failed, and what the user can do about it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ErrorDetailView {
    /// The stable name of the failure: `needs_reauth`, `vault_locked`.
    pub code: &'static str,
    /// What failed and why, on one line.
    pub message: String,
    /// What to do, as shown to a user.
    pub hint: Option<String>,
    /// The command in the hint.
    pub command: Option<String>,
    /// The connection that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
}
