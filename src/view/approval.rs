//! Views of approvals. Times are RFC 3339.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::schema::Time;
use super::{optional_word, word};
use crate::clock::Timestamp;
use crate::model::{
    ApiTokenId, ApiTokenName, Approval, ApprovalId, ApprovalStatus, ApprovalUse, ConnectionName, Effect,
};

/// An approval of one exact request.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ApprovalView {
    #[serde(serialize_with = "word")]
    pub approval: ApprovalId,
    #[serde(serialize_with = "word")]
    pub status: ApprovalStatus,
    /// The request in a line.
    pub summary: String,
    pub operation: String,
    #[serde(serialize_with = "word")]
    pub effect: Effect,
    /// The connection in the path of the request.
    #[serde(serialize_with = "optional_word")]
    pub connection: Option<ConnectionName>,
    /// The API token that asks; null for an agent on this machine.
    #[serde(serialize_with = "optional_word")]
    pub token: Option<ApiTokenId>,
    #[serde(serialize_with = "optional_word")]
    pub token_name: Option<ApiTokenName>,
    /// How often it can be used once it is granted.
    #[serde(serialize_with = "word")]
    pub use_limit: ApprovalUse,
    #[schemars(with = "Time")]
    pub requested_at: Timestamp,
    #[schemars(with = "Time")]
    pub expires_at: Timestamp,
    #[schemars(with = "Option<Time>")]
    pub decided_at: Option<Timestamp>,
    /// The last use.
    #[schemars(with = "Option<Time>")]
    pub used_at: Option<Timestamp>,
    #[serde(skip)]
    #[schemars(with = "Time")]
    pub as_of: Timestamp,
}

impl ApprovalView {
    /// Creates the view of an approval at a time, with the name of its token.
    pub fn new(approval: Approval, token_name: Option<ApiTokenName>, as_of: Timestamp) -> Self {
        Self {
            status: approval.status_at(as_of),
            approval: approval.id,
            summary: approval.request.summary,
            operation: approval.request.operation,
            effect: approval.request.effect,
            connection: approval.request.connection,
            token: approval.request.token,
            token_name,
            use_limit: approval.use_limit,
            requested_at: approval.requested_at,
            expires_at: approval.expires_at,
            decided_at: approval.decided_at,
            used_at: approval.used_at,
            as_of,
        }
    }
}

/// An approval with the whole request.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ApprovalDetailView {
    #[serde(flatten)]
    pub approval: ApprovalView,
    /// Method, path, query and body. Members that hold secrets are blanked.
    pub request: Value,
}

/// Approvals, the newest first.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ApprovalListView {
    pub approvals: Vec<ApprovalView>,
}
