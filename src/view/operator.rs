//! Views of operators. Times are RFC 3339.

use schemars::JsonSchema;
use serde::Serialize;

use super::schema::Time;
use super::word;
use crate::clock::Timestamp;
use crate::model::{OperatorActivity, OperatorName, OperatorRole};

/// A person who uses the dashboard.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct OperatorView {
    #[serde(serialize_with = "word")]
    pub operator: OperatorName,
    #[serde(serialize_with = "word")]
    pub role: OperatorRole,
    #[schemars(with = "Time")]
    pub created_at: Timestamp,
    /// Sessions that have not ended.
    pub sessions: u32,
    /// When one of them was last used, to the minute.
    #[schemars(with = "Option<Time>")]
    pub last_seen_at: Option<Timestamp>,
    #[serde(skip)]
    #[schemars(with = "Time")]
    pub as_of: Timestamp,
}

impl OperatorView {
    /// Creates the view of an operator at a time.
    pub fn new(activity: OperatorActivity, as_of: Timestamp) -> Self {
        let OperatorActivity { operator, sessions, last_seen_at } = activity;
        Self {
            operator: operator.name,
            role: operator.role,
            created_at: operator.created_at,
            sessions,
            last_seen_at,
            as_of,
        }
    }
}

/// Operators, sorted by name.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct OperatorListView {
    pub operators: Vec<OperatorView>,
}

/// An operator that was added or changed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SetOperatorView {
    #[serde(serialize_with = "word")]
    pub operator: OperatorName,
    #[serde(serialize_with = "word")]
    pub role: OperatorRole,
    /// False if only the role was set.
    pub is_new: bool,
}

/// An operator that was removed, with their sessions.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RemovedOperatorView {
    #[serde(serialize_with = "word")]
    pub removed: OperatorName,
}

/// A link to the dashboard. It has no `Debug`, which would print the secret.
#[derive(Clone, JsonSchema, Serialize)]
pub struct NewDashboardLinkView {
    /// The URL to open, which is printed only once.
    pub url: String,
    #[serde(serialize_with = "word")]
    pub operator: OperatorName,
    #[serde(serialize_with = "word")]
    pub role: OperatorRole,
    #[schemars(with = "Time")]
    pub expires_at: Timestamp,
}
