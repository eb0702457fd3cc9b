//! Views of credentials. They reveal secrets: print them only for their owner.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::word;
use crate::model::ConnectionName;
use crate::secret::Secret;

/// A valid access token and what goes with it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct TokenView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    #[serde(serialize_with = "revealed")]
    pub token: Secret,
    /// RFC 3339 in UTC; absent if it does not expire.
    pub expires_at: Option<String>,
    /// Seconds.
    pub expires_in: Option<i64>,
    pub scopes: Vec<String>,
    /// Other values that the service needs, including secrets: `account_sid`, `cloud_id`.
    #[serde(serialize_with = "revealed_members")]
    pub parts: BTreeMap<String, Secret>,
}

/// The headers that a request of a connection carries, in their order.
#[derive(Clone, Debug)]
pub struct TokenHeadersView {
    pub headers: Vec<(String, Secret)>,
}

/// What git gets for a host (git-credential(1)).
#[derive(Clone, Debug)]
pub struct GitCredentialView {
    pub protocol: String,
    pub host: String,
    pub username: String,
    pub password: Secret,
    /// Unix seconds; absent if the token has no known end.
    pub expires_at: Option<i64>,
}

/// Environment variables with credentials, by name.
#[derive(Clone, Debug)]
pub struct CredentialVariablesView {
    pub variables: BTreeMap<String, Secret>,
    /// The secrets of these connections, for masking.
    pub secrets: Vec<Secret>,
}

/// Serializes the secret itself.
pub(super) fn revealed<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

fn revealed_members<S: Serializer>(secrets: &BTreeMap<String, Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(secrets.iter().map(|(name, secret)| (name, secret.expose())))
}
