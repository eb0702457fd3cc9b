//! Views of workspaces, of the apps registered in them, and of the settings. Times are RFC 3339 in UTC.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::connection::ConnectionView;
use super::{word, word_list};
use crate::health::StatusSummary;
use crate::model::{ConnectionName, WorkspaceName, words};
use crate::store::{StoreBackend, StoreDetails};
use crate::vault::IdentityLocation;

/// The workspaces, sorted by name.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct WorkspaceListView {
    pub workspaces: Vec<String>,
    #[serde(serialize_with = "word")]
    pub current: WorkspaceName,
}

/// A workspace and its contents.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct WorkspaceView {
    #[serde(serialize_with = "word")]
    pub workspace: WorkspaceName,
    pub folder: String,
    pub connections: Vec<String>,
    pub apps: usize,
    pub endpoints: usize,
    pub subscriptions: usize,
    pub created_at: String,
    pub store: StoreView,
}

/// The backend of a workspace's store.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct StoreView {
    #[serde(serialize_with = "word")]
    pub backend: StoreBackend,
    /// The version of SQLite or of the PostgreSQL server.
    pub version: String,
    /// The URL of the PostgreSQL server, without a password.
    pub url: Option<String>,
}

impl From<StoreDetails> for StoreView {
    fn from(StoreDetails { backend, version, url, .. }: StoreDetails) -> Self {
        Self { backend, version, url }
    }
}

impl StoreView {
    /// Whether other machines can open the store too.
    pub fn is_shared(&self) -> bool {
        self.backend == StoreBackend::Postgres
    }
}

impl std::fmt::Display for StoreView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.backend, &self.url) {
            (StoreBackend::Sqlite, _) => write!(f, "SQLite {}", self.version),
            (StoreBackend::Postgres, None) => write!(f, "PostgreSQL {}", self.version),
            (StoreBackend::Postgres, Some(url)) => write!(f, "PostgreSQL {}, {url}", self.version),
        }
    }
}

/// A workspace that was created.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct CreatedWorkspaceView {
    #[serde(serialize_with = "word")]
    pub workspace: WorkspaceName,
    pub store: StoreView,
    /// Where the identity is stored, if this created it.
    #[serde(skip)]
    pub new_identity_location: Option<IdentityLocation>,
}

/// What deleting a workspace would destroy.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct WorkspaceDeletionPreview {
    #[serde(serialize_with = "word")]
    pub workspace: WorkspaceName,
    /// Absent if its vault cannot be opened.
    pub content: Option<WorkspaceView>,
}

/// A workspace that was deleted.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DeletedWorkspaceView {
    #[serde(serialize_with = "word")]
    pub workspace: WorkspaceName,
    /// The PostgreSQL server could not be reached, so that it still has the encrypted data, to which the key is now missing.
    pub left_on_server: bool,
}

/// Who can use an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppScope {
    Workspace,
    AllWorkspaces,
}

words!(AppScope { Workspace => "workspace", AllWorkspaces => "global" });

/// An OAuth app registered with a vendor, without its secret.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AppView {
    pub connector: String,
    /// The issuer or token URL; absent for the connector's own server, and if none is known yet.
    pub server: Option<String>,
    pub client_id: String,
    pub has_secret: bool,
    #[serde(serialize_with = "word")]
    pub scope: AppScope,
    pub updated_at: String,
}

/// The apps of the workspace, then those of all workspaces.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AppListView {
    pub apps: Vec<AppView>,
}

/// An app that was removed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RemovedAppView {
    pub connector: String,
    pub server: Option<String>,
    /// Connections of this workspace that were made with it. They keep a copy of its client of their own and go on working;
    /// connecting them again needs an app.
    #[serde(serialize_with = "word_list")]
    pub connections: Vec<ConnectionName>,
    /// Sign-ins that were begun with it in this workspace and not finished; they were withdrawn.
    pub withdrawn_sign_ins: u64,
}

/// Every setting with its value; `null` if it is not set.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SettingsView {
    pub settings: Map<String, Value>,
}

/// One setting.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SettingView {
    pub key: &'static str,
    /// Absent if it is not set and has no default.
    pub value: Option<String>,
}

/// The connections of every workspace.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AllWorkspacesStatusView {
    pub workspaces: Vec<WorkspaceStatusView>,
    /// Summary of all connections.
    pub summary: StatusSummary,
}

/// The connections of one of several workspaces.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct WorkspaceStatusView {
    #[serde(serialize_with = "word")]
    pub workspace: WorkspaceName,
    pub connections: Vec<ConnectionView>,
    pub summary: StatusSummary,
    /// Why it cannot be read; its connections are then unknown.
    pub error: Option<String>,
}

/// Where files are.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConfigPathsView {
    pub config: String,
    pub workspaces: String,
    pub identity: String,
    pub connectors: String,
}

/// Versions and settings without names, paths and secrets, for a bug report.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RedactedSettingsView {
    pub version: &'static str,
    pub platform: String,
    pub sqlite: &'static str,
    pub settings: Map<String, Value>,
}
