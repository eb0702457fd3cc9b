//! Views of the vault: its status, who can open it, and what a backup holds.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::schema::Time;
use super::word;
use super::workspace::StoreView;
use crate::clock::Timestamp;
use crate::model::WorkspaceName;
use crate::store::{BackupConnection, BackupContents};
use crate::vault::{IdentityLocation, ImportedIdentity, Recipient, TokenMoveCounts};

/// A recipient who can open a vault.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RecipientView {
    /// `age1…`.
    pub recipient: String,
    pub label: String,
    #[schemars(with = "Time")]
    pub added_at: Timestamp,
    /// It is the recipient of the identity in use.
    pub is_own: bool,
}

/// Everyone who can open a vault.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RecipientListView {
    pub recipients: Vec<RecipientView>,
}

impl RecipientListView {
    /// Creates the view of a vault's recipients. `own` is the recipient of the identity in use: `age1…`.
    pub fn new(recipients: Vec<Recipient>, own: &str) -> Self {
        let view = |Recipient { recipient, label, added_at }: Recipient| RecipientView {
            is_own: recipient == own,
            recipient,
            label,
            added_at,
        };
        Self { recipients: recipients.into_iter().map(view).collect() }
    }
}

/// Where a workspace's keys and tokens are.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct VaultStatusView {
    #[serde(serialize_with = "word")]
    pub workspace: WorkspaceName,
    pub folder: String,
    #[serde(serialize_with = "word")]
    pub identity: IdentityLocation,
    pub identity_file: String,
    /// Until when `integ vault unlock` keeps the identity unlocked.
    #[schemars(with = "Option<Time>")]
    pub unlocked_until: Option<Timestamp>,
    pub own_recipient: String,
    /// Number of recipients.
    pub recipients: usize,
    pub tokens_in_store: usize,
    pub tokens_in_keyring: usize,
    #[schemars(with = "Time")]
    pub created_at: Timestamp,
    #[schemars(with = "Option<Time>")]
    pub restored_at: Option<Timestamp>,
    /// Connections from a backup that have not been refreshed since.
    pub grants_from_backup: usize,
    pub store: StoreView,
    /// A newer integ wrote the store.
    pub read_only: bool,
}

/// A workspace that was moved into PostgreSQL, or into a file.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct VaultMoveView {
    #[serde(serialize_with = "word")]
    pub workspace: WorkspaceName,
    /// Where it is now.
    pub store: StoreView,
    /// Number of rows that were copied and compared; absent if an earlier call had done that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Number of connections whose tokens were in the OS keyring, and are in the store now.
    pub tokens_from_keyring: usize,
}

/// Number of connections with moved tokens.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct TokenMoveView {
    pub moved: usize,
    pub already_moved: usize,
}

impl From<TokenMoveCounts> for TokenMoveView {
    fn from(TokenMoveCounts { moved, already_moved }: TokenMoveCounts) -> Self {
        Self { moved, already_moved }
    }
}

/// An identity that was imported.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ImportedIdentityView {
    pub recipient: String,
    #[serde(serialize_with = "word")]
    pub location: IdentityLocation,
}

impl From<ImportedIdentity> for ImportedIdentityView {
    fn from(ImportedIdentity { recipient, location }: ImportedIdentity) -> Self {
        Self { recipient, location }
    }
}

/// A connection of a backup. Its texts come from the backup, which is untrusted.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct BackupConnectionView {
    pub connection: String,
    pub mode: String,
    /// The origin that replaces the connector's hosts.
    pub origin: Option<String>,
    /// The user's parameters, which may be parts of hosts.
    pub params: BTreeMap<String, String>,
}

impl From<BackupConnection> for BackupConnectionView {
    fn from(BackupConnection { name, mode, origin, params }: BackupConnection) -> Self {
        Self { connection: name, mode, origin, params }
    }
}

/// The contents of a backup, including where it would send tokens and events.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct BackupContentsView {
    pub connections: Vec<BackupConnectionView>,
    pub apps: u64,
    /// Tokens of the HTTP API. They are disabled when the backup is restored.
    pub api_tokens: u64,
    /// URLs that events are sent to.
    pub endpoints: Vec<String>,
    /// URLs that are registered at services.
    pub subscriptions: Vec<String>,
    /// Public URLs at which services call this machine.
    pub webhooks: Vec<String>,
}

impl From<BackupContents> for BackupContentsView {
    fn from(
        BackupContents { connections, apps, api_tokens, endpoints, subscriptions, webhooks }: BackupContents,
    ) -> Self {
        let connections = connections.into_iter().map(BackupConnectionView::from).collect();
        Self { connections, apps, api_tokens, endpoints, subscriptions, webhooks }
    }
}

/// A backup that was restored.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RestoreView {
    #[serde(flatten)]
    pub contents: BackupContentsView,
    /// Where the identity is stored, if restoring created it.
    #[serde(skip)]
    pub new_identity_location: Option<IdentityLocation>,
    /// Where the identity is stored that opens the workspace now.
    #[serde(skip)]
    pub identity_location: IdentityLocation,
}

/// A vault that was unlocked.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct VaultUnlockView {
    #[schemars(with = "Time")]
    pub unlocked_until: Timestamp,
}

/// A vault that was locked.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct VaultLockView {
    pub was_unlocked: bool,
}
