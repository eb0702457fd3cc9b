//! Views of connections: their status, and the results of connecting, refreshing, testing and disconnecting them.
//!
//! Times are RFC 3339 in UTC; fields that end in `_in` and `_ago` are seconds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::webhook::SubscriptionView;
use super::{optional_word, word};
use crate::connect::DisconnectResult;
use crate::error::Kind;
use crate::health::{ConnectionStatus, HealthOutcome, StatusSummary};
use crate::model::{ConnectionMode, ConnectionName, RevealPolicy, UserId, WorkspaceName, words};

/// The account that a connection is connected to, as the vendor names it.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct AccountView {
    pub id: String,
    pub name: Option<String>,
}

/// A connection and its status.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct ConnectionView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub connector: String,
    /// The service's name: `Slack`.
    pub name: String,
    #[serde(serialize_with = "word")]
    pub mode: ConnectionMode,
    pub origin: Option<String>,
    /// The kind of authentication: `oauth2`, `api_key`; `unknown` if the connector cannot be read.
    pub auth: String,
    pub account: Option<AccountView>,
    /// The caller's end user who owns it.
    #[serde(serialize_with = "optional_word")]
    pub user: Option<UserId>,
    /// Whether its credential may be handed out.
    #[serde(serialize_with = "word")]
    pub reveal: RevealPolicy,
    #[serde(serialize_with = "word")]
    pub status: ConnectionStatus,
    /// Why the status is not `active`.
    pub reason: Option<String>,
    /// The command that fixes it, or that requests the missing scopes.
    pub hint: Option<String>,
    pub scopes: Vec<String>,
    pub missing_scopes: Vec<String>,
    pub connected_at: String,
    pub expires_at: Option<String>,
    pub expires_in: Option<i64>,
    pub refreshable: bool,
    /// When the refresh token expires, if the service says so; the connection must then be reconnected.
    pub refresh_expires_at: Option<String>,
    pub last_checked_at: Option<String>,
    pub last_sync_at: Option<String>,
    pub last_error: Option<String>,
    pub error_count: u32,
    /// Where integ registered its webhooks at the vendor.
    pub subscriptions: Vec<SubscriptionView>,
    /// `sandbox`, or the origin that its traffic goes to.
    #[serde(skip)]
    pub target: Option<String>,
    /// Negative: the last check is in the past.
    #[serde(skip)]
    pub checked_ago: Option<i64>,
}

/// The requested connections, and their number by status.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct StatusView {
    #[serde(serialize_with = "word")]
    pub workspace: WorkspaceName,
    pub connections: Vec<ConnectionView>,
    pub summary: StatusSummary,
}

/// How many connections of a workspace have each status.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct StatusCountView {
    #[serde(serialize_with = "word")]
    pub workspace: WorkspaceName,
    #[serde(flatten)]
    pub summary: StatusSummary,
}

/// A connection that was made.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConnectView {
    pub connection: ConnectionView,
    /// Requested scopes that were not granted.
    pub missing_scopes: Vec<String>,
    /// Warnings, as sentences.
    pub warnings: Vec<String>,
}

/// Whether the credential of a connection may be handed out from now on.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RevealView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    #[serde(serialize_with = "word")]
    pub reveal: RevealPolicy,
    #[serde(serialize_with = "word")]
    pub previous: RevealPolicy,
}

/// How reconnecting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconnectOutcome {
    Reconnected,
    /// The connection is as it was.
    Failed,
}

words!(ReconnectOutcome { Reconnected => "reconnected", Failed => "failed" });

/// A connection to reconnect.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ReconnectView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    /// `sandbox`, or the origin that its traffic goes to.
    pub target: Option<String>,
    #[serde(serialize_with = "word")]
    pub outcome: ReconnectOutcome,
    pub account: Option<AccountView>,
    /// Requested scopes that were not granted.
    pub missing_scopes: Vec<String>,
    /// Warnings, as sentences.
    pub warnings: Vec<String>,
    pub error: Option<String>,
    #[serde(skip)]
    pub error_kind: Option<Kind>,
}

/// The connections to reconnect, in order.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ReconnectListView {
    pub reconnected: Vec<ReconnectView>,
    /// Number of other connections, which were not changed.
    pub untouched: usize,
}

/// What `connect` and `reconnect` print while they run: one event per line, with its kind in the member `event`.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ConnectEventView {
    /// One of several connections is being reconnected.
    Reconnecting {
        connection: String,
        /// From 1.
        position: usize,
        total: usize,
    },
    /// The page to open in a browser.
    Authorize { url: String, redirect_uri: String },
    /// The code to enter on another device.
    DeviceCode {
        verification_uri: String,
        /// The same page with the code in its address, if the service has one.
        verification_uri_complete: Option<String>,
        user_code: String,
        /// Seconds.
        expires_in: u64,
    },
    /// The sandbox's consent page was accepted without a browser.
    SandboxConsented,
    /// An account was connected.
    Connected { connection: Box<ConnectionView> },
    /// How reconnecting ended, at the end.
    Reconnected(ReconnectListView),
}

/// A connection that was renamed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RenameView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    #[serde(serialize_with = "word")]
    pub previous: ConnectionName,
}

/// What is lost or left behind if connections are disconnected.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DisconnectPreviewListView {
    pub connections: Vec<DisconnectPreview>,
}

/// What is lost or left behind if a connection is disconnected.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DisconnectPreview {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub account: Option<AccountView>,
    /// Synced records, which are deleted.
    pub records: u64,
    /// Received events that wait to be handled, which are deleted.
    pub waiting_events: u64,
    /// Webhook subscriptions, which stay at the service.
    pub subscriptions: usize,
}

/// A connection that was disconnected.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DisconnectView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    /// `sandbox`, or the origin that its traffic went to.
    pub target: Option<String>,
    #[serde(serialize_with = "word")]
    pub result: DisconnectResult,
}

/// How a refresh ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshOutcome {
    Refreshed,
    /// The token was not due, so the service was not asked.
    StillValid,
    Failed,
}

words!(RefreshOutcome { Refreshed => "refreshed", StillValid => "still_valid", Failed => "failed" });

/// The refresh of one connection.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RefreshView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    /// `sandbox`, or the origin that its traffic goes to.
    pub target: Option<String>,
    #[serde(serialize_with = "word")]
    pub outcome: RefreshOutcome,
    pub expires_at: Option<String>,
    pub expires_in: Option<i64>,
    pub error: Option<String>,
    #[serde(skip)]
    pub error_kind: Option<Kind>,
}

/// How the renewal of a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalOutcome {
    Renewed,
    Failed,
}

words!(RenewalOutcome { Renewed => "renewed", Failed => "failed" });

/// The renewal of a webhook subscription that was due.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SubscriptionRenewalView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub subscription: i64,
    #[serde(serialize_with = "word")]
    pub outcome: RenewalOutcome,
    pub expires_at: Option<String>,
    pub error: Option<String>,
    #[serde(skip)]
    pub error_kind: Option<Kind>,
}

/// Refreshed tokens and renewed subscriptions.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RefreshListView {
    pub refreshed: Vec<RefreshView>,
    pub subscriptions: Vec<SubscriptionRenewalView>,
}

/// The test of one connection.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct TestView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    /// `sandbox`, or the origin that its traffic goes to.
    pub target: Option<String>,
    #[serde(serialize_with = "word")]
    pub outcome: HealthOutcome,
    pub healthy: bool,
    /// Milliseconds of the vendor's call alone; absent if none was made.
    pub duration_ms: Option<u64>,
    pub account: Option<AccountView>,
    pub missing_scopes: Vec<String>,
    pub http_status: Option<u16>,
    /// An MCP server's description of itself; absent for other services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_server: Option<McpServerView>,
    pub error_message: Option<String>,
    pub hint: Option<String>,
}

/// A remote MCP server's description of itself.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct McpServerView {
    pub name: String,
    pub version: String,
    /// The negotiated protocol revision: `2025-11-25`.
    pub protocol_version: String,
    /// How many tools it lists.
    pub tools: usize,
}

/// The tests of several connections, in the requested order.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct TestListView {
    pub tests: Vec<TestView>,
    pub healthy: usize,
    pub unhealthy: usize,
}
