//! Self-contained signed tokens: any process with the seed can validate them without state.
//!
//! A token is a prefix, its claims as base64url JSON, a dot and the HMAC-SHA256 of all before the dot. Every one of them
//! holds the word `sandbox`, so that nobody takes one for a live secret.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::account::SandboxAccount;
use crate::hash;
use crate::secret::Secret;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenKind {
    Access,
    Refresh,
    /// A further secret of the answer: a user's token beside the bot's.
    User,
    Code,
    Device,
}

/// What a token says. Names are short because tokens travel in headers and paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TokenClaims {
    #[serde(rename = "k")]
    pub(super) kind: TokenKind,
    #[serde(rename = "g")]
    pub(super) grant: String,
    /// The number of the issue: no two tokens of a state share it.
    #[serde(rename = "n")]
    pub(super) serial: u64,
    #[serde(rename = "c")]
    pub(super) client: String,
    /// Whose consent it is.
    #[serde(rename = "w", default, skip_serializing_if = "SandboxAccount::is_default")]
    pub(super) account: SandboxAccount,
    /// Whether the client showed no secret when it got the grant.
    #[serde(rename = "p", default)]
    pub(super) public: bool,
    #[serde(rename = "s", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) scopes: Vec<String>,
    /// Whether scopes of a further list were requested.
    #[serde(rename = "a", default)]
    pub(super) also: bool,
    /// Whether the grant covers a second account.
    #[serde(rename = "m", default)]
    pub(super) several: bool,
    /// Unix seconds.
    #[serde(rename = "i")]
    pub(super) issued: i64,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<i64>,
    /// How often the refresh token was rotated before this one.
    #[serde(rename = "v", default)]
    pub(super) generation: u32,
    /// The digest of the redirect URI that a code is bound to.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) redirect: Option<String>,
    /// The PKCE challenge that a code is bound to.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub(super) challenge: Option<String>,
}

impl TokenClaims {
    pub(super) fn is_expired(&self, now: i64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Signs and opens tokens under a key of one connector.
#[derive(Clone, Debug)]
pub(super) struct TokenSigner {
    key: Secret<[u8; 32]>,
    /// How this vendor's access tokens begin.
    prefix: String,
}

impl TokenSigner {
    /// The connector's id is part of the key, so that no vendor takes another's tokens.
    pub(super) fn new(seed: &[u8], connector: &str, prefix: &str) -> Self {
        let key = tag(seed, &["integ sandbox tokens", connector]);
        Self { key: Secret::new(key), prefix: prefix.to_owned() }
    }

    fn prefix(&self, kind: TokenKind) -> String {
        match kind {
            TokenKind::Access => format!("{}sandbox-", self.prefix),
            TokenKind::Refresh => "sandbox-refresh-".to_owned(),
            TokenKind::User => "sandbox-user-".to_owned(),
            TokenKind::Code => "sandbox-code-".to_owned(),
            TokenKind::Device => "sandbox-device-".to_owned(),
        }
    }

    pub(super) fn sign(&self, claims: &TokenClaims) -> String {
        let claims_json = serde_json::to_vec(claims).unwrap_or_default();
        let text = format!("{}{}", self.prefix(claims.kind), URL_SAFE_NO_PAD.encode(claims_json));
        let signature = tag(self.key.expose(), &[&text]);
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The claims of a token of this kind; absent for anything else, whatever it is.
    pub(super) fn verify(&self, kind: TokenKind, token: &str) -> Option<TokenClaims> {
        let (text, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !hash::verify_hmac_sha256(self.key.expose(), &[text.as_bytes(), &[0]], &signature) {
            return None;
        }
        let claims_json = URL_SAFE_NO_PAD.decode(text.strip_prefix(&self.prefix(kind))?).ok()?;
        let claims: TokenClaims = serde_json::from_slice(&claims_json).ok()?;
        (claims.kind == kind).then_some(claims)
    }

    /// Bytes that follow from the seed, a purpose and a number.
    pub(super) fn derive(&self, purpose: &str, serial: u64) -> [u8; 32] {
        tag(self.key.expose(), &[purpose, &serial.to_string()])
    }
}

/// A null byte ends each part, so that no two lists of parts are one message.
fn tag(key: &[u8], parts: &[&str]) -> [u8; 32] {
    let ended: Vec<&[u8]> = parts.iter().flat_map(|part| [part.as_bytes(), &[0]]).collect();
    hash::hmac_sha256(key, &ended)
}

/// What stands for a long text inside a token, and the S256 transformation of RFC 7636 section 4.2.
pub(super) fn digest(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(hash::sha256(text.as_bytes()))
}

/// The key value of a field: it follows from the seed, so that every process accepts it.
pub(super) fn field_value(seed: &[u8], connector: &str, auth: &str, field: &str) -> [u8; 32] {
    tag(seed, &["integ sandbox fields", connector, auth, field])
}
