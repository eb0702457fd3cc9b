//! Views of credentials. They reveal secrets: print them only for their owner.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{word, word_list};
use crate::env_variables::Credential;
use crate::model::ConnectionName;
use crate::secret::Secret;

/// A valid access token and what goes with it.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct TokenView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    #[serde(serialize_with = "revealed", deserialize_with = "secret")]
    pub token: Secret,
    /// RFC 3339 in UTC; absent if it does not expire.
    pub expires_at: Option<String>,
    /// Seconds.
    pub expires_in: Option<i64>,
    pub scopes: Vec<String>,
    /// Other values that the service needs, including secrets: `account_sid`, `cloud_id`.
    #[serde(serialize_with = "revealed_members", deserialize_with = "secret_members")]
    pub parts: BTreeMap<String, Secret>,
}

/// The ID token of a connection that was signed in by OpenID Connect.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct IdTokenView {
    #[serde(serialize_with = "revealed", deserialize_with = "secret")]
    pub id_token: Secret,
}

/// The whole credential of a connection, for the environment of a program.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct CredentialView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    #[serde(serialize_with = "revealed", deserialize_with = "secret")]
    pub token: Secret,
    /// Other values that the service needs, including secrets: `account_sid`, `cloud_id`.
    #[serde(serialize_with = "revealed_members", deserialize_with = "secret_members")]
    pub parts: BTreeMap<String, Secret>,
    /// Those of these values that are secret, to be hidden in what a program prints.
    #[serde(serialize_with = "revealed_items", deserialize_with = "secret_items")]
    pub secrets: Vec<Secret>,
    /// The variables that were approved when the connector was installed; null if none need approval.
    pub approved_variables: Option<Vec<String>>,
    /// Other connections whose token has the same variable as a part of this one.
    #[serde(serialize_with = "word_list")]
    pub conflicts: Vec<ConnectionName>,
}

impl CredentialView {
    /// Creates the view of a credential beside the other connections of its workspace.
    pub fn new(credential: Credential, others: &[ConnectionName]) -> Self {
        Self {
            conflicts: credential.conflicts(others),
            connection: credential.connection,
            token: credential.token,
            parts: credential.parts,
            secrets: credential.secrets,
            approved_variables: credential.approved_variables,
        }
    }

    /// Returns the credential, and the other connections that its variables may not conflict with.
    pub fn into_credential(self) -> (Credential, Vec<ConnectionName>) {
        let credential = Credential {
            connection: self.connection,
            token: self.token,
            parts: self.parts,
            secrets: self.secrets,
            approved_variables: self.approved_variables,
        };
        (credential, self.conflicts)
    }
}

/// The headers that a request of a connection carries, as the HTTP API returns them.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct CredentialHeaderListView {
    /// In their order.
    pub headers: Vec<CredentialHeaderView>,
}

/// A header that a request of a connection carries.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct CredentialHeaderView {
    pub name: String,
    #[serde(serialize_with = "revealed", deserialize_with = "secret")]
    pub value: Secret,
}

impl From<TokenHeadersView> for CredentialHeaderListView {
    fn from(view: TokenHeadersView) -> Self {
        Self { headers: view.headers.into_iter().map(|(name, value)| CredentialHeaderView { name, value }).collect() }
    }
}

impl From<CredentialHeaderListView> for TokenHeadersView {
    fn from(view: CredentialHeaderListView) -> Self {
        Self { headers: view.headers.into_iter().map(|header| (header.name, header.value)).collect() }
    }
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

fn revealed_items<S: Serializer>(secrets: &[Secret], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(secrets.iter().map(Secret::expose))
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    Ok(Secret::new(String::deserialize(deserializer)?))
}

fn secret_members<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Secret>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(texts.into_iter().map(|(name, text)| (name, Secret::new(text))).collect())
}

fn secret_items<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Secret>, D::Error> {
    Ok(Vec::<String>::deserialize(deserializer)?.into_iter().map(Secret::new).collect())
}
