//! Views of webhook subscriptions.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::model::subscription::Subscription;
use crate::webhook::subscription::lease;

/// A subscription, with no secret and without the URL, whose path is one. Times are RFC 3339 in UTC.
#[derive(Clone, Debug, Serialize)]
pub struct SubscriptionView {
    pub id: i64,
    /// `active`, `failing`, `expired`, `asking` or `ending`.
    pub status: &'static str,
    pub events: Vec<String>,
    pub params: serde_json::Value,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub renews_at: Option<String>,
    pub error: Option<String>,
    pub hint: Option<String>,
    #[serde(skip)]
    pub is_problem: bool,
    /// Seconds until it is renewed.
    #[serde(skip)]
    pub renews_in: Option<i64>,
}

impl SubscriptionView {
    /// Returns the view of a stored subscription at the given time.
    pub fn new(row: &Subscription, now: Timestamp) -> Self {
        let lease = lease(row, now);
        let (error, hint) = lease.note.unzip();
        Self {
            id: row.id.0,
            status: lease.status,
            events: row.request.events.clone(),
            params: serde_json::json!(row.request.params),
            created_at: row.created_at.to_string(),
            expires_at: row.expires_at.map(|at| at.to_string()),
            renews_at: lease.renews_at.map(|at| at.to_string()),
            renews_in: lease.renews_at.map(|at| at.as_second() - now.as_second()),
            error,
            hint,
            is_problem: lease.is_problem,
        }
    }
}
