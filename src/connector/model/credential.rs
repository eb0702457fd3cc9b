//! What a user brings for a method: texts, keys, key files and certificates; and what is made of them: a signed assertion, a
//! TLS identity.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::yes;
use crate::connector::{Pointer, Template};

/// A part of a credential that the user gives.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialField {
    pub prompt: String,
    /// False for what is no secret: an e-mail address, an account's id.
    #[serde(default = "yes")]
    pub secret: bool,
    /// What it is. All but a text is read from a file.
    #[serde(default)]
    pub kind: FieldKind,
    /// How a value of it starts, to catch the wrong key before it is sent.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// A character that every value holds.
    #[serde(default)]
    pub contains: Option<String>,
    /// Values that a JSON file holds: what to call each, and where it is.
    #[serde(default)]
    pub values: IndexMap<String, Pointer>,
    /// What must hold of a JSON file, to catch one of another kind.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub expect: IndexMap<Pointer, Value>,
}

impl CredentialField {
    /// A secret text of any form.
    pub fn text(prompt: &str) -> Self {
        Self {
            prompt: prompt.to_owned(),
            secret: true,
            kind: FieldKind::Text,
            prefixes: Vec::new(),
            contains: None,
            values: IndexMap::new(),
            expect: IndexMap::new(),
        }
    }
}

/// What a part of a credential is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// One line.
    #[default]
    Text,
    /// A private key in PEM, not encrypted.
    PrivateKey,
    /// A certificate in PEM, with those that lead to its root.
    Certificate,
    /// A JSON file, as Google's key of a service account.
    Json,
}

impl FieldKind {
    /// Whether it is read from a file, because it has more than one line.
    pub fn is_file(self) -> bool {
        self != Self::Text
    }
}

/// A JSON Web Token that integ signs with a key of the user's (RFC 7519, RFC 7523 section 3). `iat` and `exp` are added.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// The field that holds the key, or the value of a JSON file.
    pub key: String,
    /// The one that the key's type has where absent: RS256, ES256, ES384 or `EdDSA`.
    #[serde(default)]
    pub algorithm: Option<JwtAlgorithm>,
    /// The header `kid`; left out where it names an optional value that nobody gave.
    #[serde(default)]
    pub key_id: Option<Template>,
    /// Further claims. One that names an optional value that nobody gave is left out.
    #[serde(default)]
    pub claims: IndexMap<String, Template>,
    /// Seconds from now until `exp`.
    #[serde(default = "five_minutes")]
    pub lifetime_secs: u32,
    /// Seconds by which `iat` lies in the past, for a clock that is ahead of the vendor's.
    #[serde(default)]
    pub backdate_secs: u32,
}

/// A signature algorithm of JSON Web Tokens (RFC 7518 section 3.1, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum JwtAlgorithm {
    /// HMAC with the text of a field.
    #[serde(rename = "HS256")]
    Hs256,
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "RS384")]
    Rs384,
    #[serde(rename = "RS512")]
    Rs512,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "ES384")]
    Es384,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl JwtAlgorithm {
    /// Returns its name in a token's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// The certificate that TLS connections to the service show (RFC 8705).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// The field that holds the certificate.
    pub certificate: String,
    /// The field that holds its private key.
    pub key: String,
}

fn five_minutes() -> u32 {
    300
}
