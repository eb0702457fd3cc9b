//! Views of bundles: connections for a machine without a store.

use schemars::JsonSchema;
use serde::Serialize;

use super::word;
use crate::model::{ConnectionName, words};

/// A bundle, and what is in it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct BundleView {
    /// The armored text, for `INTEG_BUNDLE`. It is encrypted.
    pub bundle: String,
    /// Who can open it: age public keys.
    pub recipients: Vec<String>,
    pub connections: Vec<BundledConnectionView>,
}

/// A connection of a bundle, without its secrets.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct BundledConnectionView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    /// Where its traffic goes, if not to the vendor.
    pub target: Option<String>,
    #[serde(serialize_with = "word")]
    pub lifetime: BundleLifetime,
    /// RFC 3339 in UTC; absent if no end is known.
    pub works_until: Option<String>,
    /// Seconds.
    pub works_for: Option<i64>,
    /// Whether the machine that opens the bundle needs the connector's file as well.
    pub needs_connector_file: bool,
}

/// How long a connection of a bundle works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleLifetime {
    /// Until its access token expires; it is not renewed.
    Expires,
    /// Until the key or the token is revoked.
    UntilRevoked,
    /// The machine that opens the bundle can request new access tokens.
    Renewed,
}

words!(BundleLifetime { Expires => "expires", UntilRevoked => "until_revoked", Renewed => "renewed" });
