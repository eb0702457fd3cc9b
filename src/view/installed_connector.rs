//! Views of connectors that callers of the API installed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::connector::AuthParamView;
use super::schema::Time;
use super::{optional_word, word_list};
use crate::clock::Timestamp;
use crate::connector::Param;
use crate::model::{ConnectionName, UserId};

/// A connector that a caller of the API installed in this workspace.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct InstalledConnectorView {
    pub connector: String,
    /// The digest of its file: its version.
    pub sha256: String,
    /// The URL that it came from.
    pub source: String,
    #[schemars(with = "Time")]
    pub installed_at: Timestamp,
    /// The id of the API token, or the name of the operator, who installed it.
    pub installed_by: String,
    /// The user whom that token was limited to.
    #[serde(serialize_with = "optional_word")]
    pub user: Option<UserId>,
    /// Values of its parameters, used where a sign-in gives none.
    pub configuration: BTreeMap<String, String>,
    /// The parameters that can be configured; none if its file cannot be used.
    pub parameters: Vec<AuthParamView>,
    /// The connections that use it.
    #[serde(serialize_with = "word_list")]
    pub connections: Vec<ConnectionName>,
    /// Why its file cannot be used, or the last error of a connection.
    pub last_error: Option<String>,
}

impl AuthParamView {
    /// Creates the view of a parameter. The fields of a key are not parameters.
    pub fn new(name: &str, param: &Param) -> Self {
        Self {
            name: name.to_owned(),
            prompt: param.prompt.clone(),
            secret: false,
            default: param.default.clone(),
            choices: param.choices.clone(),
            optional: param.optional,
        }
    }
}

/// Connectors of this workspace, in the order of their ids.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct InstalledConnectorListView {
    pub connectors: Vec<InstalledConnectorView>,
}

/// A connector that was removed from this workspace.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RemovedConnectorView {
    pub connector: String,
    pub sha256: String,
}
