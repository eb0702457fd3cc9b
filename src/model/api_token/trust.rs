//! Trust in the identity tokens of a CI system, which are exchanged for API tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::approval::ApprovalPolicy;
use super::super::connection::ConnectionId;
use super::{ApiToken, ApiTokenHash, ApiTokenName, ScopeGrant};
use crate::clock::Timestamp;

/// The longest lifetime of a token that an identity token is exchanged for.
pub const MAX_TRUSTED_LIFETIME: Duration = Duration::from_secs(3600);

/// The longest name of a trust, in bytes: the names of its tokens begin with it.
pub const MAX_TRUST_NAME_BYTES: usize = 48;

/// Which identity tokens are exchanged for API tokens, and for which ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiTokenTrust {
    pub name: ApiTokenName,
    /// As in the claim `iss`.
    pub issuer: String,
    /// As in the claim `aud`.
    pub audience: String,
    /// Further claims, each with the value that it must have.
    pub claims: BTreeMap<String, String>,
    /// What the API tokens may do.
    pub scopes: Vec<ScopeGrant>,
    /// The connections that they are limited to; fewer once one is removed.
    pub connections: Vec<ConnectionId>,
    /// Which of their requests need a person's approval.
    pub approve: ApprovalPolicy,
    /// How long they are valid.
    pub lifetime: Duration,
    pub created_at: Timestamp,
}

/// An identity token that is exchanged for an API token.
#[derive(Clone, Debug)]
pub struct TokenExchange {
    /// The API token, whose trust it names.
    pub token: ApiToken,
    pub hash: ApiTokenHash,
    /// The digest of the identity token, which is exchanged once.
    pub identity_digest: [u8; 32],
    /// Until when the identity token is accepted.
    pub identity_accepted_until: Timestamp,
}

/// The result of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenExchangeResult {
    Stored,
    /// The identity token was exchanged before.
    Repeated,
    /// The trust was removed in the meantime.
    TrustRemoved,
}
