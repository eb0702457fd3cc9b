//! Views of the tokens of the HTTP API. Times are RFC 3339 in UTC, durations seconds.
//!
//! `as_of` is not printed: it is the time that a person's "in 5 days" counts from.

use std::collections::BTreeMap;

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::schema::Time;
use super::{optional_word, word, word_list};
use crate::clock::Timestamp;
use crate::model::{
    ApiOutcome, ApiToken, ApiTokenId, ApiTokenName, ApiTokenStatus, ApiTokenTrust, ApiUseCount, ApprovalPolicy,
    ConnectionName, RateTier, ScopeGrant, UserId,
};
use crate::secret::Secret;

/// A token of the HTTP API, without its text.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ApiTokenView {
    #[serde(serialize_with = "word")]
    pub id: ApiTokenId,
    #[serde(serialize_with = "word")]
    pub name: ApiTokenName,
    #[serde(serialize_with = "word")]
    pub status: ApiTokenStatus,
    /// Scopes, and groups such as `read:*`.
    #[serde(serialize_with = "word_list")]
    #[schemars(with = "Vec<ScopeGrant>")]
    pub scopes: Vec<ScopeGrant>,
    /// The connections that it is limited to; null for all of the workspace.
    #[serde(serialize_with = "optional_names")]
    pub connections: Option<Vec<ConnectionName>>,
    #[serde(serialize_with = "optional_word")]
    pub user: Option<UserId>,
    #[serde(serialize_with = "word")]
    pub tier: RateTier,
    /// Which of its requests need a person's approval.
    #[serde(serialize_with = "word")]
    pub approve: ApprovalPolicy,
    #[schemars(with = "Time")]
    pub created_at: Timestamp,
    /// When its present text was made.
    #[schemars(with = "Time")]
    pub rotated_at: Timestamp,
    #[schemars(with = "Time")]
    pub expires_at: Timestamp,
    /// When its text should be replaced; null without a schedule.
    #[schemars(with = "Option<Time>")]
    pub rotation_due_at: Option<Timestamp>,
    /// To the minute.
    #[schemars(with = "Option<Time>")]
    pub last_used_at: Option<Timestamp>,
    /// The token that created it; null if the owner did.
    #[serde(serialize_with = "optional_word")]
    pub created_by: Option<ApiTokenId>,
    /// The trust whose identity token it was exchanged for.
    #[serde(serialize_with = "optional_word")]
    pub trust: Option<ApiTokenName>,
    #[serde(skip)]
    #[schemars(with = "Time")]
    pub as_of: Timestamp,
}

impl ApiTokenView {
    /// Creates the view of a token, with the names of its connections.
    pub fn new(token: ApiToken, connections: Option<Vec<ConnectionName>>, as_of: Timestamp) -> Self {
        Self {
            status: token.status(as_of),
            rotation_due_at: token.rotation_due_at(),
            id: token.id,
            name: token.name,
            scopes: token.scopes,
            connections,
            user: token.user,
            tier: token.tier,
            approve: token.approve,
            created_at: token.created_at,
            rotated_at: token.rotated_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
            created_by: token.parent,
            trust: token.trust,
            as_of,
        }
    }

    /// Whether it is used by its schedule for longer than its text should be.
    pub fn is_rotation_due(&self) -> bool {
        self.status != ApiTokenStatus::Disabled && self.rotation_due_at.is_some_and(|due| due <= self.as_of)
    }
}

/// Tokens, sorted by name.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ApiTokenListView {
    pub tokens: Vec<ApiTokenView>,
}

/// A token with its text, which is returned only by the operation that made it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct NewApiTokenView {
    #[serde(flatten)]
    pub token: ApiTokenView,
    /// What its holder sends as `Authorization: Bearer`.
    #[serde(rename = "token", serialize_with = "super::token::revealed")]
    pub text: Secret,
}

/// Tokens that were revoked: the one that was named first, then those that it led to.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RevokedApiTokensView {
    pub revoked: Vec<ApiTokenView>,
}

/// A scope or a group of scopes.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ApiScopeView {
    #[serde(serialize_with = "word")]
    pub scope: ScopeGrant,
    /// What it allows.
    pub description: String,
}

/// What tokens can be granted.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ApiScopeListView {
    pub scopes: Vec<ApiScopeView>,
    /// They cover resources that are added later as well.
    pub groups: Vec<ApiScopeView>,
}

/// How many requests of a token an operation had on a day.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ApiUseCountView {
    /// In UTC: `2026-11-29`.
    #[serde(serialize_with = "word")]
    #[schemars(with = "String")]
    pub day: Date,
    pub operation: String,
    #[serde(serialize_with = "word")]
    pub outcome: ApiOutcome,
    pub count: u64,
}

/// How often a token was used.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ApiTokenUsageView {
    #[serde(serialize_with = "word")]
    pub id: ApiTokenId,
    #[serde(serialize_with = "word")]
    pub name: ApiTokenName,
    /// The first day, in UTC.
    #[serde(serialize_with = "word")]
    #[schemars(with = "String")]
    pub since: Date,
    #[schemars(with = "Option<Time>")]
    pub last_used_at: Option<Timestamp>,
    pub requests: u64,
    /// By day, operation and outcome.
    pub counts: Vec<ApiUseCountView>,
}

impl ApiTokenUsageView {
    /// Creates the view of a token's uses since a day.
    pub fn new(token: ApiToken, since: Date, counts: Vec<ApiUseCount>) -> Self {
        let view = |ApiUseCount { day, operation, outcome, count }| ApiUseCountView { day, operation, outcome, count };
        Self {
            requests: counts.iter().map(|count| count.count).sum(),
            id: token.id,
            name: token.name,
            since,
            last_used_at: token.last_used_at,
            counts: counts.into_iter().map(view).collect(),
        }
    }
}

/// Which identity tokens of a CI system are exchanged for API tokens.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ApiTokenTrustView {
    #[serde(serialize_with = "word")]
    pub name: ApiTokenName,
    /// As in the claim `iss`.
    pub issuer: String,
    /// As in the claim `aud`.
    pub audience: String,
    /// Claims that must have exactly these values.
    pub claims: BTreeMap<String, String>,
    #[serde(serialize_with = "word_list")]
    #[schemars(with = "Vec<ScopeGrant>")]
    pub scopes: Vec<ScopeGrant>,
    #[serde(serialize_with = "word_list")]
    #[schemars(with = "Vec<ConnectionName>")]
    pub connections: Vec<ConnectionName>,
    /// Which requests of the API tokens need a person's approval.
    #[serde(serialize_with = "word")]
    pub approve: ApprovalPolicy,
    /// How long the API tokens are valid, in seconds.
    pub ttl: u64,
    #[schemars(with = "Time")]
    pub created_at: Timestamp,
}

impl ApiTokenTrustView {
    /// Creates the view of a trust, with the names of its connections.
    pub fn new(trust: ApiTokenTrust, connections: Vec<ConnectionName>) -> Self {
        Self {
            name: trust.name,
            issuer: trust.issuer,
            audience: trust.audience,
            claims: trust.claims,
            scopes: trust.scopes,
            connections,
            approve: trust.approve,
            ttl: trust.lifetime.as_secs(),
            created_at: trust.created_at,
        }
    }
}

/// Trusts, sorted by name.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ApiTokenTrustListView {
    pub trusts: Vec<ApiTokenTrustView>,
}

/// A trust that was removed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RemovedApiTokenTrustView {
    #[serde(serialize_with = "word")]
    pub removed: ApiTokenName,
    /// Tokens that came from it, which were revoked.
    pub revoked_tokens: u64,
}

/// An API token that a CI job got from a server.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ApiTokenLoginView {
    pub server: String,
    pub id: String,
    pub expires_at: String,
    /// What the job sends as `Authorization: Bearer`.
    #[serde(serialize_with = "super::token::revealed")]
    pub token: Secret,
}

fn optional_names<S: Serializer>(names: &Option<Vec<ConnectionName>>, serializer: S) -> Result<S::Ok, S::Error> {
    match names {
        Some(names) => word_list(names, serializer),
        None => serializer.serialize_none(),
    }
}
