//! Connect links: URLs with which somebody else connects an account, once.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::connection::ConnectionMode;
use super::random_id::random_id;
use super::user::UserId;
use super::words::words;
use crate::clock::Timestamp;

/// For how long a link is valid, unless the caller says otherwise.
pub const CONNECT_LINK_LIFETIME: Duration = Duration::from_secs(86_400);

/// For how long it may be valid.
pub const MAX_CONNECT_LINK_LIFETIME: Duration = Duration::from_secs(7 * 86_400);

random_id! {
    /// The id of a connect link: `cnl_` and 64 random bits in hexadecimal.
    ConnectLinkId, "cnl_", 8, "a connect link"
}

/// How the page of a connect link is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectLinkMode {
    /// It is a page of its own, and leads on to the return address.
    #[default]
    Redirect,
    /// A connect button opens it in a window, which reports the result and closes.
    Popup,
}

words!(ConnectLinkMode { Redirect => "redirect", Popup => "popup" });

/// Whether a connect link can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectLinkStatus {
    Active,
    /// An account was connected with it.
    Used,
    Expired,
    Revoked,
}

words!(ConnectLinkStatus { Active => "active", Used => "used", Expired => "expired", Revoked => "revoked" });

/// A connect link, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectLink {
    pub id: ConnectLinkId,
    pub connector: String,
    /// The connection's account name; chosen from the user or the account if absent.
    pub account: Option<String>,
    /// The authentication method; the connector's usual one if absent.
    pub auth: Option<String>,
    pub scopes: Vec<String>,
    pub params: BTreeMap<String, String>,
    pub user: Option<UserId>,
    pub mode: ConnectionMode,
    pub display: ConnectLinkMode,
    /// Where the browser goes afterwards.
    pub return_to: Option<Url>,
    /// Whether its parameters come from an API caller, who must not lead integ to a private address.
    pub is_guarded: bool,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// How many more accounts may be connected with it.
    pub uses_left: u32,
    pub revoked_at: Option<Timestamp>,
}

impl ConnectLink {
    /// Returns whether it can be used at a time.
    pub fn status(&self, now: Timestamp) -> ConnectLinkStatus {
        if self.revoked_at.is_some() {
            ConnectLinkStatus::Revoked
        } else if self.uses_left == 0 {
            ConnectLinkStatus::Used
        } else if self.expires_at <= now {
            ConnectLinkStatus::Expired
        } else {
            ConnectLinkStatus::Active
        }
    }
}
