//! Views of users.

use schemars::JsonSchema;
use serde::Serialize;

use super::consent::ConsentView;
use super::{word, word_list};
use crate::connect::DisconnectResult;
use crate::model::{ConnectionName, UserCounts, UserId};

/// A user, and how much is theirs.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct UserView {
    #[serde(serialize_with = "word")]
    pub user: UserId,
    pub connections: u64,
    pub links: u64,
    /// Revoked ones included.
    pub consents: u64,
}

impl From<UserCounts> for UserView {
    fn from(counts: UserCounts) -> Self {
        let UserCounts { user, connections, links, consents } = counts;
        Self { user, connections, links, consents }
    }
}

/// Figures of all users.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct UserSummaryView {
    pub users: u64,
    /// Connections of users.
    pub connections: u64,
    /// Connections per user, to two places; 0 without users.
    pub connections_per_user: f64,
}

impl UserSummaryView {
    /// Creates the figures of so many users with so many connections.
    pub fn new(users: u64, connections: u64) -> Self {
        let ratio = if users == 0 { 0.0 } else { connections as f64 / users as f64 };
        Self { users, connections, connections_per_user: (ratio * 100.0).round() / 100.0 }
    }
}

/// Users, in the order of their IDs.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct UserListView {
    pub users: Vec<UserView>,
    pub summary: UserSummaryView,
}

/// What belongs to a user.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct UserDetailView {
    #[serde(serialize_with = "word")]
    pub user: UserId,
    #[serde(serialize_with = "word_list")]
    pub connections: Vec<ConnectionName>,
    /// Synced records of these connections.
    pub records: u64,
    pub links: u64,
    pub consents: Vec<ConsentView>,
}

/// A connection of a user that was erased.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ErasedConnectionView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    #[serde(serialize_with = "word")]
    pub result: DisconnectResult,
    /// Why its grant could not be revoked.
    pub error: Option<String>,
}

/// A user who was deleted.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DeletedUserView {
    #[serde(serialize_with = "word")]
    pub user: UserId,
    pub connections: Vec<ErasedConnectionView>,
    pub links: u64,
    pub consents: u64,
    /// Connectors that tokens of the user installed. They stay, with the connections of other users, and name the user no
    /// more.
    pub connectors: Vec<String>,
    /// Whether the store's file was written again without the deleted data. Other processes that read it prevent that, and a
    /// PostgreSQL server keeps deleted rows in its files until it vacuums them.
    pub purged: bool,
}
