//! Connectors that callers of the API installed in a workspace.

use std::collections::BTreeMap;

use super::UserId;
use crate::clock::Timestamp;

/// A connector that was installed in one workspace. Its file is shared by digest with other workspaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledConnector {
    pub connector: String,
    /// The digest of the file, in lower-case hexadecimal: its version.
    pub sha256: String,
    /// The URL that it came from.
    pub source: String,
    pub installed_at: Timestamp,
    /// The id of the API token, or the name of the operator, who installed it.
    pub installed_by: String,
    /// The user whom that token was limited to; absent for none, and for one who was deleted.
    pub user: Option<UserId>,
    /// Values of the connector's parameters, used where a sign-in gives none.
    pub configuration: BTreeMap<String, String>,
}
