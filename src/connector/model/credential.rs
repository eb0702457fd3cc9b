//! What a user provides for an authentication method (texts, keys, key files, certificates), and what is made from it:
//! a signed assertion or a TLS identity.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::yes;
use crate::connector::{Pointer, Template};

/// A part of a credential, provided by the user.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialField {
    pub prompt: String,
    /// False for values that are not secret, such as an e-mail address or account ID.
    #[serde(default = "yes")]
    pub secret: bool,
    /// Its kind. All except text are read from a file.
    #[serde(default)]
    pub kind: FieldKind,
    /// Valid prefixes, to detect a wrong key before it is sent.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// A character that every value contains.
    #[serde(default)]
    pub contains: Option<String>,
    /// Values of a JSON file: names and pointers.
    #[serde(default)]
    pub values: IndexMap<String, Pointer>,
    /// Values that a JSON file must have, to detect a wrong file.
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

/// The kind of a part of a credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// One line.
    #[default]
    Text,
    /// An unencrypted private key in PEM.
    PrivateKey,
    /// A certificate in PEM, with its chain.
    Certificate,
    /// A JSON file, such as Google's service account key.
    Json,
}

impl FieldKind {
    /// Returns whether it is read from a file, because it has more than one line.
    pub fn is_file(self) -> bool {
        self != Self::Text
    }
}

/// A JSON Web Token that integ signs with the user's key (RFC 7519, RFC 7523 section 3). `iat` and `exp` are added.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// The field with the key, or a value of a JSON file.
    pub key: String,
    /// By default, the algorithm of the key's type: RS256, ES256, ES384 or `EdDSA`.
    #[serde(default)]
    pub algorithm: Option<JwtAlgorithm>,
    /// The header `kid`; omitted if it uses an optional value that was not given.
    #[serde(default)]
    pub key_id: Option<Template>,
    /// Additional claims. A claim with an optional value that was not given is omitted.
    #[serde(default)]
    pub claims: IndexMap<String, Template>,
    /// Seconds from now until `exp`.
    #[serde(default = "five_minutes")]
    pub lifetime_secs: u32,
    /// How many seconds `iat` is in the past, in case the clock is ahead of the vendor's.
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

/// The certificate that TLS connections to the service present (RFC 8705).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// The field with the certificate.
    pub certificate: String,
    /// The field with its private key.
    pub key: String,
}

fn five_minutes() -> u32 {
    300
}
