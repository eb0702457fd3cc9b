//! API tokens: who may use the HTTP API, what for, how often, and until when.

mod scope;
mod text;
mod trust;
mod usage;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use scope::{API_SCOPES, ApiScope, ApiVerb, OperationScope, ScopeGrant, ScopeGroup, UnknownScope};
pub use text::{API_TOKEN_PATTERN, API_TOKEN_PREFIX, ApiTokenHash, ApiTokenText};
pub use trust::{ApiTokenTrust, MAX_TRUST_NAME_BYTES, MAX_TRUSTED_LIFETIME, TokenExchange, TokenExchangeResult};
pub use usage::{Admission, ApiOutcome, ApiUse, ApiUseCount};

use super::approval::ApprovalPolicy;
use super::connection::ConnectionId;
use super::random_id::random_id;
use super::user::UserId;
use super::words::words;
use crate::clock::Timestamp;

/// Five years: no token is valid for longer.
pub const MAX_API_TOKEN_LIFETIME: Duration = Duration::from_secs(5 * 365 * 86_400 + 86_400);

/// How long before its end a token is reported.
pub const API_TOKEN_WARNING: Duration = Duration::from_secs(14 * 86_400);

/// The longest name, in bytes.
const MAX_NAME_CHARS: usize = 64;

random_id! {
    /// The public id of an API token: `tok_` and 48 random bits in hexadecimal.
    ApiTokenId, "tok_", 6, "an API token"
}

/// The name of an API token, unique in its workspace: visible text of up to 64 characters that is not an id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiTokenName(String);

impl ApiTokenName {
    /// Returns the name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ApiTokenName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A command takes a name or an id, and neither may look like an option.
        let is_other = text.starts_with(ApiTokenId::PREFIX) || text.starts_with('-');
        let is_name = super::link::is_id(text, MAX_NAME_CHARS) && !is_other;
        if is_name { Ok(Self(text.to_owned())) } else { Err(format!("invalid name {text:?}")) }
    }
}

impl fmt::Display for ApiTokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How many requests a token may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RateTier {
    Free,
    Pro,
    Enterprise,
}

words!(RateTier { Free => "free", Pro => "pro", Enterprise => "enterprise" });

/// Whether a token can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiTokenStatus {
    Active,
    /// It ends within [`API_TOKEN_WARNING`].
    Expiring,
    Expired,
    Disabled,
}

words!(ApiTokenStatus { Active => "active", Expiring => "expiring", Expired => "expired", Disabled => "disabled" });

/// A token of the HTTP API, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    pub id: ApiTokenId,
    pub name: ApiTokenName,
    /// The user of the caller's whose data it is limited to.
    pub user: Option<UserId>,
    /// Sorted, each once.
    pub scopes: Vec<ScopeGrant>,
    /// The connections that it is limited to, sorted; all of the workspace if absent. An empty list allows none.
    pub connections: Option<Vec<ConnectionId>>,
    pub tier: RateTier,
    pub created_at: Timestamp,
    /// When its present text was made.
    pub rotated_at: Timestamp,
    pub expires_at: Timestamp,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
    pub is_enabled: bool,
    /// The token that created it.
    pub parent: Option<ApiTokenId>,
    /// The first of the tokens that led to this one, whose rate limit it shares; itself if the owner created it.
    pub root: ApiTokenId,
    /// After how long its text should be replaced.
    pub rotate_after: Option<Duration>,
    /// Which of its requests need a person's approval.
    pub approve: ApprovalPolicy,
    /// The trust whose identity token it was exchanged for.
    pub trust: Option<ApiTokenName>,
}

/// A right that one token has and another one lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExcessRight {
    Scope(ScopeGrant),
    Connections,
    Tier(RateTier),
    /// It would be valid for longer than until this time.
    Expiry(Timestamp),
    User,
    /// Fewer of its requests would need an approval than under this policy.
    Approval(ApprovalPolicy),
}

impl ApiToken {
    /// Whether its scopes allow this one. Says nothing about connections, expiry or whether it is enabled.
    pub fn allows(&self, scope: &ApiScope) -> bool {
        self.scopes.iter().any(|grant| grant.covers(*scope))
    }

    /// Whether it may use a connection.
    pub fn allows_connection(&self, id: ConnectionId) -> bool {
        self.connections.as_ref().is_none_or(|allowed| allowed.contains(&id))
    }

    /// Returns whether it can be used at this time. The tokens that led to it are not looked at.
    pub fn status(&self, now: Timestamp) -> ApiTokenStatus {
        let left = self.expires_at.duration_since(now);
        if !self.is_enabled {
            ApiTokenStatus::Disabled
        } else if left.is_zero() || left.is_negative() {
            ApiTokenStatus::Expired
        } else if left.unsigned_abs() <= API_TOKEN_WARNING {
            ApiTokenStatus::Expiring
        } else {
            ApiTokenStatus::Active
        }
    }

    /// Whether it is enabled and has not expired.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        matches!(self.status(now), ApiTokenStatus::Active | ApiTokenStatus::Expiring)
    }

    /// Returns when its text should be replaced, if it has a schedule.
    pub fn rotation_due_at(&self) -> Option<Timestamp> {
        self.rotated_at.checked_add(self.rotate_after?).ok()
    }

    /// Returns the first right that it has and `other` lacks; `None` if it has a subset of the rights of `other`.
    pub fn excess_over(&self, other: &Self) -> Option<ExcessRight> {
        let is_included = |grant: &ScopeGrant| other.scopes.iter().any(|own| own.includes(*grant));
        if let Some(grant) = self.scopes.iter().find(|grant| !is_included(grant)) {
            return Some(ExcessRight::Scope(*grant));
        }
        let are_included = match (&self.connections, &other.connections) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(allowed)) => own.iter().all(|id| allowed.contains(id)),
        };
        if !are_included {
            return Some(ExcessRight::Connections);
        }
        if self.tier > other.tier {
            return Some(ExcessRight::Tier(other.tier));
        }
        if self.expires_at > other.expires_at {
            return Some(ExcessRight::Expiry(other.expires_at));
        }
        if self.approve < other.approve {
            return Some(ExcessRight::Approval(other.approve));
        }
        (other.user.is_some() && self.user != other.user).then_some(ExcessRight::User)
    }

    /// Returns it with those of its rights that `other` has as well: a token never has more than the one that created it,
    /// whose rights may have been reduced since.
    #[must_use]
    pub fn restricted_by(self, other: &Self) -> Self {
        let mut scopes: Vec<ScopeGrant> = Vec::new();
        for (own, allowed) in self.scopes.iter().flat_map(|own| other.scopes.iter().map(move |allowed| (own, allowed)))
        {
            // Any two groups and scopes are nested or have nothing in common.
            scopes.extend(allowed.includes(*own).then_some(*own).or(own.includes(*allowed).then_some(*allowed)));
        }
        scopes.sort_unstable();
        scopes.dedup();
        let connections = match (self.connections, &other.connections) {
            (own, None) => own,
            (None, Some(allowed)) => Some(allowed.clone()),
            (Some(own), Some(allowed)) => Some(own.into_iter().filter(|id| allowed.contains(id)).collect()),
        };
        Self {
            scopes,
            connections,
            tier: self.tier.min(other.tier),
            expires_at: self.expires_at.min(other.expires_at),
            is_enabled: self.is_enabled && other.is_enabled,
            user: other.user.clone().or(self.user),
            approve: self.approve.max(other.approve),
            ..self
        }
    }
}

/// A token as it was found by what its holder presented.
#[derive(Clone, Debug)]
pub struct PresentedApiToken {
    pub token: ApiToken,
    pub hash: ApiTokenHash,
    /// The digest of the text before the last rotation, and until when that is accepted.
    pub previous: Option<(ApiTokenHash, Timestamp)>,
    /// The tokens that led to it, its creator first.
    pub ancestors: Vec<ApiToken>,
}

impl PresentedApiToken {
    /// Returns the token with the rights that it has at this time, if it has any: it and each token that led to it are
    /// enabled and have not expired. Digests are compared in constant time.
    pub fn effective(self, presented: &ApiTokenHash, now: Timestamp) -> Option<ApiToken> {
        let is_previous = self.previous.is_some_and(|(hash, until)| hash.matches(presented) && now < until);
        if !self.hash.matches(presented) && !is_previous {
            return None;
        }
        let effective = self.ancestors.iter().fold(self.token, ApiToken::restricted_by);
        effective.is_usable(now).then_some(effective)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn token() -> ApiToken {
        let id = ApiTokenId::random();
        ApiToken {
            name: "ci".parse().unwrap(),
            user: None,
            scopes: vec![ScopeGrant::known("connections:read").unwrap()],
            connections: None,
            tier: RateTier::Free,
            created_at: at(0),
            rotated_at: at(0),
            expires_at: at(1000),
            last_used_at: None,
            is_enabled: true,
            parent: None,
            root: id.clone(),
            rotate_after: None,
            approve: ApprovalPolicy::None,
            trust: None,
            id,
        }
    }

    prop_compose! {
        fn any_token()(
            scopes in proptest::collection::btree_set(select(ScopeGrant::all().collect::<Vec<_>>()), 1..4),
            connections in proptest::option::of(proptest::collection::btree_set(0_i64..4, 0..4)),
            tier in select(RateTier::ALL.to_vec()),
            expiry in 1_i64..5,
            is_enabled: bool,
            user in proptest::option::of(select(vec!["u_1", "u_2"])),
            approve in select(ApprovalPolicy::ALL.to_vec()),
        ) -> ApiToken {
            ApiToken {
                scopes: scopes.into_iter().collect(),
                connections: connections.map(|ids| ids.into_iter().map(ConnectionId).collect()),
                tier,
                expires_at: at(expiry),
                is_enabled,
                user: user.map(|user| user.parse().unwrap()),
                approve,
                ..token()
            }
        }
    }

    proptest! {
        #[test]
        fn a_restricted_token_has_exactly_what_both_have(one in any_token(), other in any_token()) {
            let both = one.clone().restricted_by(&other);
            prop_assert_eq!(both.excess_over(&other), None);
            for scope in API_SCOPES.iter().map(|(scope, _)| scope) {
                prop_assert_eq!(both.allows(scope), one.allows(scope) && other.allows(scope), "{}", scope);
            }
            for id in (0..5).map(ConnectionId) {
                let allowed = one.allows_connection(id) && other.allows_connection(id);
                prop_assert_eq!(both.allows_connection(id), allowed);
            }
            for second in 0..6 {
                let usable = one.is_usable(at(second)) && other.is_usable(at(second));
                prop_assert_eq!(both.is_usable(at(second)), usable);
            }
            prop_assert!(both.approve >= one.approve && both.approve >= other.approve);
            if one.excess_over(&other).is_none() {
                prop_assert_eq!((both.connections, both.tier), (one.connections, one.tier));
            }
        }

        #[test]
        fn a_token_with_more_of_anything_is_in_excess(one in any_token(), other in any_token()) {
            let has_more = API_SCOPES.iter().any(|(scope, _)| one.allows(scope) && !other.allows(scope))
                || (0..5).map(ConnectionId).any(|id| one.allows_connection(id) && !other.allows_connection(id))
                || one.tier > other.tier
                || one.expires_at > other.expires_at
                || one.approve < other.approve
                || (other.user.is_some() && one.user != other.user);
            prop_assert!(!has_more || one.excess_over(&other).is_some());
        }
    }

    #[test]
    fn an_id_is_not_a_name() {
        let id = ApiTokenId::random();
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        for name in ["ci", "Build server 2", "app/backend"] {
            assert_eq!(name.parse::<ApiTokenName>().unwrap().as_str(), name);
        }
        for name in ["", " ci", "a\nb", id.as_str(), "-x", &"x".repeat(65)] {
            assert!(name.parse::<ApiTokenName>().is_err(), "{name:?}");
        }
        for text in ["", "tok_", "tok", "ci", "tok_a b"] {
            assert!(text.parse::<ApiTokenId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_token_ends_at_its_expiry_and_is_reported_two_weeks_before() {
        let day = 86_400;
        let token = ApiToken { expires_at: at(100 * day), rotate_after: Some(Duration::from_secs(90)), ..token() };
        assert_eq!(token.status(at(86 * day - 1)), ApiTokenStatus::Active);
        assert_eq!(token.status(at(86 * day)), ApiTokenStatus::Expiring);
        assert_eq!(token.status(at(100 * day - 1)), ApiTokenStatus::Expiring);
        assert_eq!(token.status(at(100 * day)), ApiTokenStatus::Expired);
        assert_eq!(token.rotation_due_at(), Some(at(90)));
        let disabled = ApiToken { is_enabled: false, ..token };
        assert_eq!(disabled.status(at(0)), ApiTokenStatus::Disabled);
        assert!(!disabled.is_usable(at(0)));
    }

    #[test]
    fn a_previous_text_is_accepted_until_its_time_and_no_other_one_is() {
        let [present, previous, foreign] = [(); 3].map(|()| ApiTokenText::random().hash());
        let found = |ancestors: Vec<ApiToken>| PresentedApiToken {
            token: token(),
            hash: present,
            previous: Some((previous, at(10))),
            ancestors,
        };
        assert!(found(vec![]).effective(&present, at(11)).is_some());
        assert!(found(vec![]).effective(&previous, at(9)).is_some());
        assert!(found(vec![]).effective(&previous, at(10)).is_none());
        assert!(found(vec![]).effective(&foreign, at(0)).is_none());
        let disabled = ApiToken { is_enabled: false, ..token() };
        let expired = ApiToken { expires_at: at(5), ..token() };
        assert!(found(vec![token(), disabled]).effective(&present, at(0)).is_none());
        assert!(found(vec![expired.clone()]).effective(&present, at(4)).is_some());
        assert!(found(vec![expired]).effective(&present, at(5)).is_none());
    }
}
