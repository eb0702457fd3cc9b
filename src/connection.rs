//! What a connection is: its name, the account behind it, its grant and how it stands.
//!
//! These are the domain's own types. Database rows live in `store`, what is printed lives in the commands' views.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use url::Url;

use crate::clock::Timestamp;
use crate::error::{Kind, Remedy};
use crate::secret::Secret;

/// `slack`, or `slack@work` for a named account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionName {
    connector: String,
    account: Option<String>,
}

#[derive(Debug, Error)]
pub enum NameError {
    #[error("{0:?} is not a connection's name")]
    Connection(String),
    #[error("{0:?} is not a workspace's name")]
    Workspace(String),
}

impl Remedy for NameError {
    fn kind(&self) -> Kind {
        Kind::Usage
    }

    fn code(&self) -> &'static str {
        "invalid_name"
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            NameError::Connection(_) => {
                "write CONNECTOR or CONNECTOR@ACCOUNT in letters, digits, '.', '_' and '-', as `integ status` lists them".to_owned()
            }
            NameError::Workspace(_) => {
                "use up to 64 lower-case letters, digits, '_' and '-'; `integ workspace list` shows those there are".to_owned()
            }
        })
    }
}

impl ConnectionName {
    pub fn new(connector: &str, account: Option<&str>) -> Result<Self, NameError> {
        let name = Self { connector: connector.to_owned(), account: account.map(str::to_owned) };
        let plain = |part: &str, more: &str| {
            !part.is_empty()
                && part.len() <= 128
                && part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let valid = plain(connector, "-") && account.is_none_or(|account| plain(account, "._-+@"));
        if valid { Ok(name) } else { Err(NameError::Connection(name.to_string())) }
    }

    pub fn connector(&self) -> &str {
        &self.connector
    }

    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }
}

impl FromStr for ConnectionName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('@') {
            Some((connector, account)) => Self::new(connector, Some(account)),
            None => Self::new(text, None),
        }
    }
}

impl fmt::Display for ConnectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.account {
            Some(account) => write!(f, "{}@{account}", self.connector),
            None => f.write_str(&self.connector),
        }
    }
}

/// The name of a workspace, which is also the name of its folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkspaceName(String);

impl WorkspaceName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for WorkspaceName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for WorkspaceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let valid = (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
        if valid { Ok(Self(text.to_owned())) } else { Err(NameError::Workspace(text.to_owned())) }
    }
}

impl fmt::Display for WorkspaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The row of a connection; keeps its value when the account is connected anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub i64);

/// Whether the vendor is real or emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Live,
    Sandbox,
}

/// What the vendor last said of the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Active,
    /// The vendor refused the grant: only a person can mend it.
    NeedsReauth,
    /// Revoked or forgotten at the vendor, kept here.
    Disconnected,
}

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
    pub mode: Mode,
    /// Which of the connector's ways of authenticating: the key of its `[auth.*]` table.
    pub auth: String,
    /// Where all of the vendor's traffic is sent instead, paths kept.
    pub origin: Option<Url>,
    /// What the user was asked for: subdomain, tenant, issuer.
    pub params: BTreeMap<String, String>,
    /// What was kept from the vendor's answers: `cloud_id`, `realm_id`.
    pub kept: BTreeMap<String, String>,
    pub account: Option<Account>,
    pub scopes_asked: Vec<String>,
    /// Absent where the vendor does not say.
    pub scopes_granted: Option<Vec<String>>,
    pub standing: Standing,
    /// Why it does not stand as active.
    pub reason: Option<String>,
    pub connected_at: Timestamp,
    pub expiry: Expiry,
    pub last_check: Option<Check>,
    /// Failed checks and refreshes since the last good one.
    pub error_count: u32,
    pub last_error: Option<String>,
}

impl Connection {
    /// Where its traffic goes, if not to the vendor: said wherever the connection is shown.
    pub fn place(&self) -> Option<String> {
        match (&self.origin, self.mode) {
            (Some(origin), _) => Some(format!("via {}", origin.as_str().trim_end_matches('/'))),
            (None, Mode::Sandbox) => Some("sandbox".to_owned()),
            (None, Mode::Live) => None,
        }
    }
}

/// What is known of a grant's life without reading its secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expiry {
    pub expires_at: Option<Timestamp>,
    /// Seconds that the access token was issued for.
    pub lifetime: Option<u32>,
    pub refreshable: bool,
    /// When the grant was last presented for a refresh whose answer was never stored.
    pub presented_at: Option<Timestamp>,
}

/// The outcome of the last health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub at: Timestamp,
    pub healthy: bool,
}

/// The OAuth client that a grant was issued to; a refresh token works for no other.
#[derive(Clone, Debug)]
pub struct Client {
    pub id: String,
    pub secret: Option<Secret>,
}

/// The secrets of a connection: an OAuth token set, or the fields of an API key.
#[derive(Clone, Debug)]
pub struct Grant {
    /// What `integ token` prints.
    pub access_token: Secret,
    pub refresh_token: Option<Secret>,
    /// Further secrets of the connection by the name that templates use: `user_token`, `account_sid`.
    pub fields: BTreeMap<String, Secret>,
    pub client: Option<Client>,
    pub issued_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub refresh_expires_at: Option<Timestamp>,
    /// How a new access token is had without a person.
    pub renewal: Renewal,
}

/// How a new access token is had without a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Not at all: a key, or an OAuth answer without a refresh token.
    None,
    RefreshToken,
    ClientCredentials,
}

impl Grant {
    /// Seconds the access token was issued for.
    pub fn lifetime(&self) -> Option<u32> {
        let seconds = self.expires_at?.as_second() - self.issued_at.as_second();
        u32::try_from(seconds).ok()
    }

    pub fn refreshable(&self) -> bool {
        self.renewal != Renewal::None
    }
}

/// Whether a connection works, as far as is recorded. Coarser than what `integ status` says: hooks are told when this
/// changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Working,
    /// The last check or refresh failed, and nothing says that the grant is to blame.
    Failing,
    /// The vendor refused the grant, at a refresh or at a check.
    Refused,
    /// Revoked or forgotten at the vendor.
    Gone,
}

/// A change of a connection's condition, or of an endpoint's, that somebody may want to know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    NeedsReauth,
    Failure,
    Recovery,
    /// Of an endpoint: nothing is sent to it any more.
    EndpointDisabled,
}

impl Transition {
    pub const ALL: [Self; 4] = [Self::NeedsReauth, Self::Failure, Self::Recovery, Self::EndpointDisabled];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeedsReauth => "needs_reauth",
            Self::Failure => "failure",
            Self::Recovery => "recovery",
            Self::EndpointDisabled => "endpoint_disabled",
        }
    }

    /// What to call the way from one condition to another. A refused grant whose next check fails for another reason is
    /// no news: the failure says nothing of the grant.
    pub fn between(before: Condition, after: Condition) -> Option<Self> {
        match (before, after) {
            (before, after) if before == after => None,
            (_, Condition::Working) => Some(Self::Recovery),
            (_, Condition::Refused) => Some(Self::NeedsReauth),
            (Condition::Working, Condition::Failing) => Some(Self::Failure),
            (_, Condition::Failing | Condition::Gone) => None,
        }
    }
}

impl FromStr for Transition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|transition| transition.as_str() == text).ok_or(())
    }
}
