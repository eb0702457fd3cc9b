//! What a connection is: its name, the account behind it, its grant and how it stands.
//!
//! These are the domain's own types. Database rows live in `store`, what is printed lives in the commands' views.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use url::Url;

use crate::clock::{CLOCK_TOLERANCE, Timestamp};
use crate::error::{Diagnostic, Hint, Kind, Remedy};
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
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "invalid_name").hint(match self {
            Self::Connection(_) => Hint::new(
                "write CONNECTOR or CONNECTOR@ACCOUNT in letters, digits, '.', '_' and '-', as listed by",
                "integ status",
            ),
            Self::Workspace(_) => Hint::new(
                "use up to 64 lower-case letters, digits, '_' and '-'; list the workspaces:",
                "integ workspace list",
            ),
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
    /// Whether it leads to the same service: in the same mode, and with the same origin. Records, cursors and events of
    /// one place say nothing of another.
    pub fn is_at(&self, mode: Mode, origin: Option<&Url>) -> bool {
        self.mode == mode && self.origin.as_ref() == origin
    }

    /// Whether connecting the same name elsewhere may remove it. What a sandbox or a stand-in holds can be had again; the
    /// grant of a real account cannot, and trying something out must never cost one.
    pub fn gives_way_to(&self, mode: Mode) -> bool {
        self.mode == Mode::Sandbox || (self.origin.is_some() && mode == Mode::Live)
    }

    /// Where its traffic goes, if not to the vendor: said wherever the connection is shown.
    pub fn place(&self) -> Option<String> {
        match (&self.origin, self.mode) {
            (Some(origin), _) => Some(format!("via {}", origin.as_str().trim_end_matches('/'))),
            (None, Mode::Sandbox) => Some("sandbox".to_owned()),
            (None, Mode::Live) => None,
        }
    }
}

/// The command that connects an account of this name at the same place: mode and origin are kept.
pub fn connect_command(name: &ConnectionName, mode: Mode, origin: Option<&Url>) -> String {
    let mut command = format!("integ connect {}", name.connector());
    if let Some(account) = name.account() {
        command.push_str(&format!(" --as {account}"));
    }
    match (origin, mode) {
        (Some(origin), _) => command.push_str(&format!(" --origin {}", origin.as_str().trim_end_matches('/'))),
        (None, Mode::Sandbox) => command.push_str(" --sandbox"),
        (None, Mode::Live) => {}
    }
    command
}

/// The command that connects a connection again, at the same place.
pub fn reconnect_command(connection: &Connection) -> String {
    connect_command(&connection.name, connection.mode, connection.origin.as_ref())
}

/// What is known of a grant's life without reading its secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expiry {
    /// By the clock of this machine as it was then.
    pub issued_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub refreshable: bool,
    /// When the refresh token ends, if the vendor says so.
    pub refresh_expires_at: Option<Timestamp>,
    /// When the grant was last presented for a refresh whose answer was never stored.
    pub presented_at: Option<Timestamp>,
}

impl Expiry {
    /// No vendor is believed that a token which can be refreshed lives longer: where that was a slip, the token would
    /// never be refreshed again.
    const LONGEST_LIFETIME_SECS: i64 = 366 * 86_400;

    /// Seconds that the access token was issued for.
    pub fn lifetime(&self) -> Option<u32> {
        let seconds = self.expires_at?.as_second() - self.issued_at?.as_second();
        u32::try_from(seconds).ok()
    }

    /// Returns the seconds that the refresh token has left, negative once it has expired; absent if no end is known.
    ///
    /// The end of one that was issued under a fast clock says nothing.
    pub fn refresh_left(&self, now: Timestamp) -> Option<i64> {
        let end = self.refresh_expires_at?.as_second();
        let issued_at = self.issued_at.map_or(i64::MIN, Timestamp::as_second);
        let tolerance = i64::try_from(CLOCK_TOLERANCE.as_secs()).unwrap_or_default();
        (issued_at <= now.as_second() + tolerance).then_some(end - now.as_second())
    }

    /// Returns the seconds that the refresh token was issued for.
    pub fn refresh_lifetime(&self) -> Option<i64> {
        Some(self.refresh_expires_at?.as_second() - self.issued_at?.as_second())
    }

    /// Seconds for which the access token can be relied on, negative once it has expired; absent where it has no known end.
    ///
    /// Nothing is left of a token that was issued in the future: the clock was fast then, and nobody can say when the
    /// token really ends. Its stored end alone would keep it in use for years.
    pub fn left(&self, now: Timestamp) -> Option<i64> {
        let mut end = self.expires_at?.as_second();
        if let Some(issued_at) = self.issued_at {
            // Of a short life, a tolerance of a minute would be most.
            let quarter = i64::from(self.lifetime().unwrap_or_default() / 4);
            let tolerance = quarter.min(i64::try_from(CLOCK_TOLERANCE.as_secs()).unwrap_or_default());
            if issued_at.as_second() > now.as_second() + tolerance {
                return Some(0);
            }
            if self.refreshable {
                end = end.min(issued_at.as_second() + Self::LONGEST_LIFETIME_SECS);
            }
        }
        Some(end - now.as_second())
    }
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
    /// By a refresh token, which one use may use up.
    RefreshToken,
    /// By a refresh token that was seen to outlive a refresh: the server does not rotate.
    ReusableRefreshToken,
    ClientCredentials,
}

impl Renewal {
    pub fn has_refresh_token(self) -> bool {
        matches!(self, Self::RefreshToken | Self::ReusableRefreshToken)
    }
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
    /// Of a stream: a sync would have marked too many records as deleted.
    SweepHeld,
}

impl Transition {
    pub const ALL: [Self; 5] =
        [Self::NeedsReauth, Self::Failure, Self::Recovery, Self::EndpointDisabled, Self::SweepHeld];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeedsReauth => "needs_reauth",
            Self::Failure => "failure",
            Self::Recovery => "recovery",
            Self::EndpointDisabled => "endpoint_disabled",
            Self::SweepHeld => "sweep_held",
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn expiry(issued_at: i64, lifetime: i64) -> Expiry {
        let (issued_at, expires_at) = (Some(at(issued_at)), Some(at(issued_at + lifetime)));
        Expiry { issued_at, expires_at, refreshable: true, ..Expiry::default() }
    }

    #[test]
    fn nothing_is_left_of_a_token_from_the_future_and_ten_years_are_one() {
        const YEAR: i64 = 365 * 86_400;
        let now = at(1_000_000);
        assert_eq!(expiry(1_000_000, 3600).left(now), Some(3600));
        assert_eq!(expiry(1_000_060, 3600).left(now), Some(3660), "clocks are corrected by seconds");
        assert_eq!(expiry(1_000_061, 3600).left(now), Some(0));
        assert_eq!(expiry(1_000_000 + 10 * YEAR, 3600).left(now), Some(0));
        assert_eq!(expiry(1_000_000 + 10 * YEAR, -5).left(now), Some(0));
        assert_eq!(expiry(1_000_020, 60).left(now), Some(0), "a third of its life");
        assert_eq!(expiry(900_000, 3600).left(now), Some(-96_400));
        assert_eq!(expiry(1_000_000, 10 * YEAR).left(now), Some(366 * 86_400));
        let key = Expiry { refreshable: false, ..expiry(1_000_000, 10 * YEAR) };
        assert_eq!(key.left(now), Some(10 * YEAR), "nothing better can be had");
        assert_eq!(Expiry { expires_at: None, ..expiry(1_000_000, 60) }.left(now), None);
    }

    #[test]
    fn the_command_that_reconnects_keeps_account_mode_and_origin() {
        let command = |name: &str, mode, origin: Option<&str>| {
            let origin = origin.map(|origin| origin.parse().unwrap());
            connect_command(&name.parse().unwrap(), mode, origin.as_ref())
        };
        assert_eq!(command("slack", Mode::Live, None), "integ connect slack");
        assert_eq!(command("slack@work", Mode::Sandbox, None), "integ connect slack --as work --sandbox");
        let origin = Some("http://127.0.0.1:9/");
        assert_eq!(command("slack", Mode::Live, origin), "integ connect slack --origin http://127.0.0.1:9");
    }
}
