//! Views of alerts.

use schemars::JsonSchema;
use serde::Serialize;

use super::schema::Time;
use super::{optional_word, word};
use crate::clock::Timestamp;
use crate::model::{Alert, ConnectionName, Transition};

/// A condition that somebody should know of.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AlertView {
    /// In the words of `notify.on`.
    #[serde(serialize_with = "word")]
    pub kind: Transition,
    /// A connection, an endpoint, `inbox`, `outbox`, or the name of an API token.
    pub subject: String,
    /// The connection that it is about.
    #[serde(serialize_with = "optional_word")]
    pub connection: Option<ConnectionName>,
    pub reason: String,
}

impl From<Alert> for AlertView {
    fn from(alert: Alert) -> Self {
        Self { kind: alert.key.kind, subject: alert.key.subject, connection: alert.connection, reason: alert.reason }
    }
}

/// The alerts of a workspace: failing connections and disabled endpoints first.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AlertListView {
    #[schemars(with = "Time")]
    pub checked_at: Timestamp,
    /// Whether `[notify]` has a command or a URL that alerts are reported to.
    pub has_hook: bool,
    pub alerts: Vec<AlertView>,
}
