//! Connections: name, account, grant and status.
//!
//! These are the domain's own types. Database rows live in `store`, what is printed lives in the commands' views.

use std::collections::{BTreeMap, BTreeSet};
use url::Url;

use super::grant::Expiry;
use super::name::ConnectionName;
use super::user::UserId;
use super::words::words;
use crate::clock::Timestamp;

/// The row of a connection. It keeps its value when the account is connected again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub i64);

/// The connections that a caller may use and see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ConnectionAccess {
    #[default]
    All,
    /// Only these; to the caller, others do not exist.
    Only(BTreeSet<ConnectionId>),
}

impl ConnectionAccess {
    /// Returns whether the caller may use a connection.
    pub fn allows(&self, id: ConnectionId) -> bool {
        match self {
            Self::All => true,
            Self::Only(allowed) => allowed.contains(&id),
        }
    }
}

/// Whether the vendor is real or emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionMode {
    Live,
    Sandbox,
}

words!(ConnectionMode { Live => "live", Sandbox => "sandbox" });

/// What the vendor last said of the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantStatus {
    Active,
    /// The vendor refused the grant: a person must reconnect.
    NeedsReauth,
    /// Revoked or forgotten at the vendor, kept here.
    Disconnected,
}

words!(GrantStatus {
    Active => "active",
    NeedsReauth => "needs_reauth",
    Disconnected => "disconnected",
});

/// Whether the credential of a connection may be handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RevealPolicy {
    #[default]
    Allowed,
    /// It is used for requests of integ's own, and leaves integ in no other way.
    Never,
}

words!(RevealPolicy { Allowed => "allowed", Never => "never" });

/// Whose account it is, as the vendor names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: String,
    pub name: Option<String>,
}

/// One account connected through a connector, without its secrets.
#[derive(Clone, Debug)]
pub struct Connection {
    pub id: ConnectionId,
    pub name: ConnectionName,
    pub mode: ConnectionMode,
    /// The connector's authentication method: the key of its `[auth.*]` table.
    pub auth: String,
    /// Where all of the vendor's traffic is sent instead, paths kept.
    pub origin: Option<Url>,
    /// What the user was asked for: subdomain, tenant, issuer.
    pub params: BTreeMap<String, String>,
    /// What was kept from the vendor's answers: `cloud_id`, `realm_id`.
    pub metadata: BTreeMap<String, String>,
    pub account: Option<Account>,
    /// The caller's end user whom it belongs to.
    pub user: Option<UserId>,
    pub reveal: RevealPolicy,
    pub scopes_requested: Vec<String>,
    /// Absent where the vendor does not say.
    pub scopes_granted: Option<Vec<String>>,
    pub grant_status: GrantStatus,
    /// Why it does not stand as active.
    pub status_reason: Option<String>,
    pub connected_at: Timestamp,
    pub expiry: Expiry,
    pub last_check: Option<Check>,
    /// Failed checks and refreshes since the last good one.
    pub error_count: u32,
    pub last_error: Option<String>,
}

/// The entry of a connection's metadata that says that others than the owner chose its parameters.
pub const GUARDED_HOSTS: &str = "guarded_hosts";

impl Connection {
    /// Whether others than the owner chose its parameters, so that hosts among them must be public.
    pub fn is_guarded(&self) -> bool {
        self.metadata.contains_key(GUARDED_HOSTS)
    }

    /// Whether it leads to the same service: in the same mode, and with the same origin. Records, cursors and events of
    /// one place say nothing of another.
    pub fn has_target(&self, mode: ConnectionMode, origin: Option<&Url>) -> bool {
        self.mode == mode && self.origin.as_ref() == origin
    }

    /// Whether connecting the same name elsewhere may remove it. What a sandbox or a stand-in holds can be had again; the
    /// grant of a real account cannot, and trying something out must never cost one.
    pub fn is_replaceable_by(&self, mode: ConnectionMode) -> bool {
        self.mode == ConnectionMode::Sandbox || (self.origin.is_some() && mode == ConnectionMode::Live)
    }

    /// Where its traffic goes, if not to the vendor: said wherever the connection is shown.
    pub fn target(&self) -> Option<String> {
        match (&self.origin, self.mode) {
            (Some(origin), _) => Some(format!("via {}", origin.as_str().trim_end_matches('/'))),
            (None, ConnectionMode::Sandbox) => Some("sandbox".to_owned()),
            (None, ConnectionMode::Live) => None,
        }
    }
}

/// The command that connects an account of this name at the same place: mode and origin are kept.
pub fn connect_command(name: &ConnectionName, mode: ConnectionMode, origin: Option<&Url>) -> String {
    let mut command = format!("integ connect {}", name.connector());
    if let Some(account) = name.account() {
        command.push_str(&format!(" --as {account}"));
    }
    match (origin, mode) {
        (Some(origin), _) => command.push_str(&format!(" --origin {}", origin.as_str().trim_end_matches('/'))),
        (None, ConnectionMode::Sandbox) => command.push_str(" --sandbox"),
        (None, ConnectionMode::Live) => {}
    }
    command
}

/// The command that makes a connection work again. It keeps the connection's mode, origin and settings.
pub fn reconnect_command(name: &ConnectionName) -> String {
    format!("integ reconnect {name}")
}

/// The outcome of the last health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub at: Timestamp,
    pub passed: bool,
}

/// Whether a connection works, as far as is recorded. Coarser than what `integ status` says: hooks run when this
/// changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionHealth {
    Healthy,
    /// The last check or refresh failed, and nothing says that the grant is to blame.
    Failing,
    /// The vendor refused the grant, at a refresh or at a check.
    Unauthorized,
    /// Revoked or forgotten at the vendor.
    Disconnected,
}

/// A change of a connection's condition, or of an endpoint's, that somebody may want to know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transition {
    NeedsReauth,
    Failure,
    Recovery,
    /// Of an endpoint: nothing is sent to it any more.
    EndpointDisabled,
    /// Of a stream: a sync would have marked too many records as deleted.
    DeletesBlocked,
    /// Of an API token: a request of it needs an approval.
    ApprovalRequested,
    /// Of the inbox or the outbox: what is due waits too long.
    QueueAge,
    /// Of a connection or the outbox: too much of the work fails.
    ErrorRate,
    /// Of a connection: its client certificate expires soon.
    CertificateExpiring,
    /// Of a connection: its grant ends soon, and only a person can renew it.
    GrantExpiring,
    /// An API token expires soon.
    ApiTokenExpiring,
}

words!(Transition {
    NeedsReauth => "needs_reauth",
    Failure => "failure",
    Recovery => "recovery",
    EndpointDisabled => "endpoint_disabled",
    DeletesBlocked => "deletes_blocked",
    ApprovalRequested => "approval_requested",
    QueueAge => "queue_age",
    ErrorRate => "error_rate",
    CertificateExpiring => "certificate_expiring",
    GrantExpiring => "grant_expiring",
    ApiTokenExpiring => "api_token_expiring",
});

impl Transition {
    /// What to call the way from one condition to another. A refused grant whose next check fails for another reason is
    /// no news: the failure says nothing of the grant.
    pub fn between(before: ConnectionHealth, after: ConnectionHealth) -> Option<Self> {
        match (before, after) {
            (before, after) if before == after => None,
            (_, ConnectionHealth::Healthy) => Some(Self::Recovery),
            (_, ConnectionHealth::Unauthorized) => Some(Self::NeedsReauth),
            (ConnectionHealth::Healthy, ConnectionHealth::Failing) => Some(Self::Failure),
            (_, ConnectionHealth::Failing | ConnectionHealth::Disconnected) => None,
        }
    }
}

/// A connection that has just been made at the vendor.
#[derive(Clone, Debug)]
pub struct NewConnection {
    pub name: ConnectionName,
    pub mode: ConnectionMode,
    pub auth: String,
    pub origin: Option<Url>,
    pub params: BTreeMap<String, String>,
    pub metadata: BTreeMap<String, String>,
    pub account: Option<Account>,
    /// The caller's end user whom it belongs to. One that has a user keeps it if this is absent.
    pub user: Option<UserId>,
    pub scopes_requested: Vec<String>,
    pub scopes_granted: Option<Vec<String>>,
    pub connected_at: Timestamp,
}

/// A connection as it is after a change of its condition.
#[derive(Clone, Debug)]
pub struct ConnectionTransition {
    pub connection: Connection,
    pub transition: Transition,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_connects_keeps_account_mode_and_origin() {
        let command = |name: &str, mode, origin: Option<&str>| {
            let origin = origin.map(|origin| origin.parse().unwrap());
            connect_command(&name.parse().unwrap(), mode, origin.as_ref())
        };
        assert_eq!(command("slack", ConnectionMode::Live, None), "integ connect slack");
        assert_eq!(command("slack@work", ConnectionMode::Sandbox, None), "integ connect slack --as work --sandbox");
        let origin = Some("http://127.0.0.1:9/");
        assert_eq!(command("slack", ConnectionMode::Live, origin), "integ connect slack --origin http://127.0.0.1:9");
    }
}
