//! What a program needs to use a connection through the proxy.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::word;
use crate::model::ConnectionName;
use crate::secret::Secret;

/// A proxy that is open.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct CredentialProxyView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    /// What a program has in place of the base URL of the API.
    pub base_url: String,
    /// What it has in place of a credential. It is worth nothing elsewhere.
    #[serde(serialize_with = "exposed")]
    #[schemars(with = "String")]
    pub token: Secret,
}

fn exposed<S: Serializer>(token: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token.expose())
}
