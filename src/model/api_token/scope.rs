//! What an API token may do: scopes of a resource and a verb, and groups of them.

use std::fmt;
use std::str::FromStr;

use super::super::words::{UnknownWord, words};
use crate::near::closest;

/// What an operation is about: the resource of the scope that an API token needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OperationScope {
    ApiTokens,
    Approvals,
    Audit,
    Bindings,
    Calendars,
    Connections,
    Connectors,
    Consents,
    Endpoints,
    Links,
    Logs,
    Metrics,
    Operators,
    Sandbox,
    Sync,
    Tokens,
    Users,
    Vault,
    Webhooks,
    Workspaces,
}

words!(OperationScope {
    ApiTokens => "api-tokens",
    Approvals => "approvals",
    Audit => "audit",
    Bindings => "bindings",
    Calendars => "calendars",
    Connections => "connections",
    Connectors => "connectors",
    Consents => "consents",
    Endpoints => "endpoints",
    Links => "links",
    Logs => "logs",
    Metrics => "metrics",
    Operators => "operators",
    Sandbox => "sandbox",
    Sync => "sync",
    Tokens => "tokens",
    Users => "users",
    Vault => "vault",
    Webhooks => "webhooks",
    Workspaces => "workspaces",
});

/// What a scope allows on its resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApiVerb {
    Read,
    Write,
    Delete,
    /// Calls of a service with the credentials of a connection.
    Call,
    /// Reading the credentials themselves.
    Reveal,
    /// Sending simulated webhooks.
    Simulate,
}

words!(ApiVerb {
    Read => "read",
    Write => "write",
    Delete => "delete",
    Call => "call",
    Reveal => "reveal",
    Simulate => "simulate",
});

/// A resource and a verb: `connections:read`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiScope {
    pub resource: OperationScope,
    pub verb: ApiVerb,
}

impl ApiScope {
    /// Creates a scope; not every pair of a resource and a verb is in [`API_SCOPES`].
    pub const fn new(resource: OperationScope, verb: ApiVerb) -> Self {
        Self { resource, verb }
    }
}

impl fmt::Display for ApiScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.resource, self.verb))
    }
}

impl FromStr for ApiScope {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let unknown = || UnknownWord { word: text.to_owned(), expected: "RESOURCE:VERB".to_owned() };
        let (resource, verb) = text.split_once(':').ok_or_else(unknown)?;
        Ok(Self { resource: resource.parse()?, verb: verb.parse()? })
    }
}

/// Scopes of every resource. A group is expanded when a request is checked, so that it covers resources added later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScopeGroup {
    /// The verb `read` of every resource.
    Read,
    /// The verbs `read` and `write` of every resource.
    Write,
    /// Every scope but `tokens:reveal`, which is never granted along with others.
    Admin,
}

words!(ScopeGroup { Read => "read:*", Write => "write:*", Admin => "admin:*" });

impl ScopeGroup {
    /// Returns what it allows, in a sentence.
    pub fn description(self) -> &'static str {
        match self {
            Self::Read => "Read every resource, but no credentials",
            Self::Write => "Read and change every resource",
            Self::Admin => "Everything that tokens can do, except reading credentials",
        }
    }

    /// Whether a scope is one of the group.
    pub fn contains(self, scope: ApiScope) -> bool {
        match self {
            Self::Read => scope.verb == ApiVerb::Read,
            Self::Write => matches!(scope.verb, ApiVerb::Read | ApiVerb::Write),
            Self::Admin => scope.verb != ApiVerb::Reveal,
        }
    }
}

/// What a token is granted: one scope, or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScopeGrant {
    Scope(ApiScope),
    Group(ScopeGroup),
}

/// A text that names no scope that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownScope {
    pub scope: String,
    /// The scope that was probably meant.
    pub suggestion: Option<String>,
}

impl ScopeGrant {
    /// Reads a scope of [`API_SCOPES`] or a group.
    ///
    /// # Errors
    /// [`UnknownScope`] for any other text, also for a pair of a resource and a verb that no operation needs.
    pub fn known(text: &str) -> Result<Self, UnknownScope> {
        let grant = text.parse::<Self>().ok().filter(|grant| match grant {
            Self::Scope(scope) => API_SCOPES.iter().any(|(known, _)| known == scope),
            Self::Group(_) => true,
        });
        grant.ok_or_else(|| {
            let known: Vec<String> = Self::all().map(|grant| grant.to_string()).collect();
            let suggestion = closest(text, known.iter().map(String::as_str)).map(str::to_owned);
            UnknownScope { scope: text.to_owned(), suggestion }
        })
    }

    /// Every scope and group that can be granted.
    pub fn all() -> impl Iterator<Item = Self> {
        let groups = ScopeGroup::ALL.into_iter().map(Self::Group);
        API_SCOPES.iter().map(|(scope, _)| Self::Scope(*scope)).chain(groups)
    }

    /// Whether it allows what the scope does.
    pub fn covers(self, scope: ApiScope) -> bool {
        match self {
            Self::Scope(own) => own == scope,
            Self::Group(group) => group.contains(scope),
        }
    }

    /// Whether it allows everything that the other one does, now and when resources are added.
    pub fn includes(self, other: Self) -> bool {
        match (self, other) {
            (_, Self::Scope(scope)) => self.covers(scope),
            (Self::Group(own), Self::Group(other)) => own >= other,
            (Self::Scope(_), Self::Group(_)) => false,
        }
    }
}

impl fmt::Display for ScopeGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scope(scope) => scope.fmt(f),
            Self::Group(group) => group.fmt(f),
        }
    }
}

/// Reads what a store holds: also a pair that is not in [`API_SCOPES`].
impl FromStr for ScopeGrant {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        text.parse().map(Self::Group).or_else(|_| text.parse().map(Self::Scope))
    }
}

/// The scopes that can be granted, each with what it allows. A test compares them with the operations that tokens can reach.
pub const API_SCOPES: &[(ApiScope, &str)] = &[
    (ApiScope::new(OperationScope::ApiTokens, ApiVerb::Read), "List the tokens that this token created, and their use"),
    (ApiScope::new(OperationScope::ApiTokens, ApiVerb::Write), "Create, change and rotate tokens with fewer rights"),
    (ApiScope::new(OperationScope::ApiTokens, ApiVerb::Delete), "Revoke tokens that this token created"),
    (ApiScope::new(OperationScope::Approvals, ApiVerb::Read), "Read requests that wait for an approval"),
    (ApiScope::new(OperationScope::Approvals, ApiVerb::Write), "Ask for approvals and withdraw requests"),
    (ApiScope::new(OperationScope::Audit, ApiVerb::Read), "Read the audit log"),
    (ApiScope::new(OperationScope::Bindings, ApiVerb::Read), "Read bindings and preview what they map"),
    (ApiScope::new(OperationScope::Bindings, ApiVerb::Write), "Change bindings"),
    (ApiScope::new(OperationScope::Bindings, ApiVerb::Delete), "Write entities to services through two-way bindings"),
    (ApiScope::new(OperationScope::Calendars, ApiVerb::Read), "Read calendars, free/busy times and conflicts"),
    (ApiScope::new(OperationScope::Calendars, ApiVerb::Write), "Create and change events in calendars"),
    (ApiScope::new(OperationScope::Calendars, ApiVerb::Delete), "Delete events in calendars"),
    (ApiScope::new(OperationScope::Connections, ApiVerb::Read), "Read the status of connections and test them"),
    (ApiScope::new(OperationScope::Connections, ApiVerb::Write), "Refresh and rename connections"),
    (ApiScope::new(OperationScope::Connections, ApiVerb::Delete), "Disconnect accounts"),
    (ApiScope::new(OperationScope::Connections, ApiVerb::Call), "Call services with the credentials of connections"),
    (ApiScope::new(OperationScope::Connectors, ApiVerb::Read), "Read the catalogue of connectors"),
    (
        ApiScope::new(OperationScope::Connectors, ApiVerb::Write),
        "Install connectors in the workspace and configure them",
    ),
    (ApiScope::new(OperationScope::Connectors, ApiVerb::Delete), "Remove installed connectors"),
    (ApiScope::new(OperationScope::Consents, ApiVerb::Read), "Read consents"),
    (ApiScope::new(OperationScope::Consents, ApiVerb::Write), "Grant and revoke consents"),
    (ApiScope::new(OperationScope::Consents, ApiVerb::Delete), "Delete consents"),
    (ApiScope::new(OperationScope::Endpoints, ApiVerb::Read), "Read endpoints, event types and deliveries"),
    (
        ApiScope::new(OperationScope::Endpoints, ApiVerb::Write),
        "Add and change endpoints, send messages, retry deliveries",
    ),
    (ApiScope::new(OperationScope::Endpoints, ApiVerb::Delete), "Remove endpoints"),
    (ApiScope::new(OperationScope::Links, ApiVerb::Read), "Read links"),
    (ApiScope::new(OperationScope::Links, ApiVerb::Write), "Add and remove links"),
    (ApiScope::new(OperationScope::Logs, ApiVerb::Read), "Read the logs"),
    (ApiScope::new(OperationScope::Metrics, ApiVerb::Read), "Read the metrics and alerts"),
    (ApiScope::new(OperationScope::Sync, ApiVerb::Read), "Read synced records, cursors, jobs and schedules"),
    (ApiScope::new(OperationScope::Sync, ApiVerb::Write), "Start and cancel syncs, set cursors and schedules"),
    (ApiScope::new(OperationScope::Tokens, ApiVerb::Reveal), "Read the credentials of connections"),
    (ApiScope::new(OperationScope::Users, ApiVerb::Read), "Read the data of your users"),
    (ApiScope::new(OperationScope::Users, ApiVerb::Write), "Change the data of your users"),
    (ApiScope::new(OperationScope::Users, ApiVerb::Delete), "Delete users with all their data"),
    (ApiScope::new(OperationScope::Webhooks, ApiVerb::Read), "Read received webhooks and how they are verified"),
    (
        ApiScope::new(OperationScope::Webhooks, ApiVerb::Write),
        "Retry webhooks, fetch missed ones and register webhook URLs",
    ),
    (ApiScope::new(OperationScope::Webhooks, ApiVerb::Delete), "Remove subscriptions and processed webhooks"),
    (ApiScope::new(OperationScope::Webhooks, ApiVerb::Simulate), "Send simulated webhooks"),
    (ApiScope::new(OperationScope::Workspaces, ApiVerb::Read), "List the OAuth apps of the workspace"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(text: &str) -> ScopeGrant {
        ScopeGrant::known(text).unwrap()
    }

    fn every_pair() -> impl Iterator<Item = ApiScope> {
        let verbs = |resource| ApiVerb::ALL.into_iter().map(move |verb| ApiScope::new(resource, verb));
        OperationScope::ALL.into_iter().flat_map(verbs)
    }

    #[test]
    fn scopes_are_read_as_they_are_written() {
        for grant in ScopeGrant::all() {
            assert_eq!(ScopeGrant::known(&grant.to_string()), Ok(grant));
        }
        assert!(every_pair().all(|scope| scope.to_string().parse() == Ok(scope)));
        let scopes: Vec<_> = API_SCOPES.iter().map(|(scope, _)| *scope).collect();
        assert!(scopes.is_sorted(), "sort API_SCOPES by resource and verb");
        assert!(OperationScope::ALL.is_sorted_by_key(|resource| resource.as_str()));
    }

    #[test]
    fn an_unknown_scope_has_a_suggestion() {
        let suggested = |text: &str| ScopeGrant::known(text).unwrap_err().suggestion;
        assert_eq!(suggested("connection:read").as_deref(), Some("connections:read"));
        assert_eq!(suggested("connections:reed").as_deref(), Some("connections:read"));
        assert_eq!(suggested("tokens:read").as_deref(), Some("tokens:reveal"));
        assert_eq!(suggested("xyz"), None);
        for text in ["", ":", "connections", "connections:", "connections:*", "*", "Connections:read", "vault:call"] {
            assert!(ScopeGrant::known(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn groups_cover_every_resource_and_never_credentials() {
        let (read, write, admin) = (grant("read:*"), grant("write:*"), grant("admin:*"));
        for scope in every_pair() {
            assert_eq!(read.covers(scope), scope.verb == ApiVerb::Read, "{scope}");
            assert_eq!(write.covers(scope), [ApiVerb::Read, ApiVerb::Write].contains(&scope.verb), "{scope}");
            assert_eq!(admin.covers(scope), scope.verb != ApiVerb::Reveal, "{scope}");
        }
        assert!(grant("tokens:reveal").covers(ApiScope::new(OperationScope::Tokens, ApiVerb::Reveal)));
    }

    #[test]
    fn a_grant_includes_another_if_it_covers_all_of_its_scopes() {
        for (one, other) in ScopeGrant::all().flat_map(|one| ScopeGrant::all().map(move |other| (one, other))) {
            let covers_all = every_pair().filter(|scope| other.covers(*scope)).all(|scope| one.covers(scope));
            assert_eq!(one.includes(other), covers_all, "{one} {other}");
        }
    }
}
