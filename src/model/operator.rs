//! Operators: named people who use the dashboard, with what each may do.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::api_token::{API_SCOPES, ApiScope, ApiVerb, OperationScope, ScopeGrant};
use super::words::words;
use crate::clock::Timestamp;

/// How long a one-time link to the dashboard can be used.
pub const DASHBOARD_LINK_LIFETIME: Duration = Duration::from_secs(600);

/// How long a session lasts at most.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// How long a session lasts that is not used.
pub const SESSION_IDLE_TIMEOUT: Duration = Duration::from_secs(2 * 3600);

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The name of an operator, unique in its workspace: visible text of up to 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperatorName(String);

impl OperatorName {
    /// Returns the name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OperatorName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A name never looks like an option.
        let is_name = super::link::is_id(text, MAX_NAME_BYTES) && !text.starts_with('-');
        if is_name { Ok(Self(text.to_owned())) } else { Err(format!("invalid name {text:?}")) }
    }
}

impl fmt::Display for OperatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What an operator may do. Each role may do what the ones before it may; none reads credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OperatorRole {
    /// Reads everything.
    Viewer,
    /// Changes connections and what belongs to them.
    Editor,
    /// Grants approvals, and manages API tokens, consents and users.
    Approver,
}

words!(OperatorRole { Viewer => "viewer", Editor => "editor", Approver => "approver" });

/// Resources that only approvers change: who may do what.
const GOVERNANCE: [OperationScope; 5] = [
    OperationScope::ApiTokens,
    OperationScope::Approvals,
    OperationScope::Audit,
    OperationScope::Consents,
    OperationScope::Users,
];

impl OperatorRole {
    /// Returns the first grant that allows more than the role.
    pub fn excess(self, grants: &[ScopeGrant]) -> Option<ScopeGrant> {
        let exceeds =
            |grant: &ScopeGrant| API_SCOPES.iter().any(|(scope, _)| grant.covers(*scope) && !self.allows(*scope));
        grants.iter().copied().find(exceeds)
    }

    /// Whether the role may run the operations of a scope.
    pub fn allows(self, scope: ApiScope) -> bool {
        match scope.verb {
            ApiVerb::Reveal => false,
            ApiVerb::Read => true,
            ApiVerb::Write | ApiVerb::Delete | ApiVerb::Call | ApiVerb::Simulate => match self {
                Self::Viewer => false,
                Self::Editor => !GOVERNANCE.contains(&scope.resource),
                Self::Approver => true,
            },
        }
    }
}

/// A named person who uses the dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    pub name: OperatorName,
    pub role: OperatorRole,
    pub created_at: Timestamp,
}

/// An operator, and whether it uses the dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorActivity {
    pub operator: Operator,
    /// Sessions that have not ended.
    pub sessions: u32,
    /// When one of them was last used, to the minute.
    pub last_seen_at: Option<Timestamp>,
}

/// A session of an operator at the dashboard, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorSession {
    pub operator: Operator,
    pub started_at: Timestamp,
    /// To the minute.
    pub last_seen_at: Timestamp,
}

impl OperatorSession {
    /// Returns when it ends, however much it is used.
    pub fn ends_at(&self) -> Timestamp {
        self.started_at.checked_add(SESSION_LIFETIME).unwrap_or(Timestamp::MAX)
    }

    /// Whether it can be used at a time.
    pub fn is_active(&self, now: Timestamp) -> bool {
        let idle_until = self.last_seen_at.checked_add(SESSION_IDLE_TIMEOUT).unwrap_or(Timestamp::MAX);
        now < self.ends_at() && now < idle_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_more_than_the_one_before_and_none_reads_credentials() {
        let allowed = |role: OperatorRole| API_SCOPES.iter().filter(move |(scope, _)| role.allows(*scope));
        for (less, more) in
            [(OperatorRole::Viewer, OperatorRole::Editor), (OperatorRole::Editor, OperatorRole::Approver)]
        {
            assert!(allowed(less).all(|(scope, _)| more.allows(*scope)));
            assert!(allowed(less).count() < allowed(more).count());
        }
        assert!(allowed(OperatorRole::Viewer).all(|(scope, _)| scope.verb == ApiVerb::Read));
        let of_editor = |resource, verb| OperatorRole::Editor.allows(ApiScope::new(resource, verb));
        assert!(of_editor(OperationScope::Connections, ApiVerb::Delete));
        assert!(!of_editor(OperationScope::ApiTokens, ApiVerb::Write));
        assert!(
            OperatorRole::ALL.iter().all(|role| !role.allows(ApiScope::new(OperationScope::Tokens, ApiVerb::Reveal)))
        );
    }

    #[test]
    fn no_role_gives_what_it_does_not_have() {
        let grants = |texts: &[&str]| texts.iter().map(|text| ScopeGrant::known(text).unwrap()).collect::<Vec<_>>();
        assert_eq!(OperatorRole::Approver.excess(&grants(&["admin:*", "read:*"])), None);
        let reveal = grants(&["read:*", "tokens:reveal"]);
        assert_eq!(OperatorRole::Approver.excess(&reveal), Some(reveal[1]));
        assert!(OperatorRole::Editor.excess(&grants(&["write:*"])).is_some());
        assert_eq!(OperatorRole::Viewer.excess(&grants(&["read:*", "audit:read"])), None);
    }

    #[test]
    fn a_session_ends_after_12_hours_or_2_idle_ones() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let operator =
            Operator { name: "kim".parse().unwrap(), role: OperatorRole::Viewer, created_at: Timestamp::UNIX_EPOCH };
        let session = |last| OperatorSession { operator: operator.clone(), started_at: at(0), last_seen_at: at(last) };
        assert!(session(0).is_active(at(7199)) && !session(0).is_active(at(7200)));
        assert!(session(43_000).is_active(at(43_199)) && !session(43_000).is_active(at(43_200)));
    }

    #[test]
    fn a_name_is_visible_text() {
        for name in ["kim", "Kim Lee", "kim@example.com"] {
            assert_eq!(name.parse::<OperatorName>().unwrap().as_str(), name);
        }
        for name in ["", " kim", "a\nb", "-x", &"x".repeat(65)] {
            assert!(name.parse::<OperatorName>().is_err(), "{name:?}");
        }
    }
}
