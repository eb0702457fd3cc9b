//! Identity tokens of CI systems: JSON Web Tokens (RFC 7519) that an issuer signed with one of its published keys (RFC 7517),
//! with RS256 or ES256.
//!
//! The rules are those of RFC 8725: the key decides the algorithm and not the token (sections 2.1 and 3.1), a token names
//! exactly one key, and what the verifier does not understand (`crit`) is refused.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature;
use serde_json::Value;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::hash::sha256;
use crate::json;

/// Bytes of a token: many times what any CI system makes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// How far the clocks of an issuer and this machine may be apart, in seconds.
const LEEWAY_SECS: i64 = 60;

/// Why an identity token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityTokenError {
    #[error("it is not a signed JSON Web Token")]
    Malformed,
    #[error("it is not signed with RS256 or ES256")]
    Algorithm,
    #[error("its issuer publishes no such key for its algorithm")]
    UnknownKey,
    #[error("its signature does not match")]
    Signature,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYetValid,
}

/// The algorithm of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Es256,
}

/// A key that an issuer publishes. Its type leaves one algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PublishedKey {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// An uncompressed point of P-256.
    P256(Vec<u8>),
}

/// The keys that an issuer publishes, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishedKeys(BTreeMap<String, PublishedKey>);

impl PublishedKeys {
    /// Reads a JSON Web Key Set. Keys of other types and purposes are left out, and so are several with the same id: a token
    /// must not choose between them.
    pub fn parse(document: &Value) -> Self {
        let (mut keys, mut repeated) = (BTreeMap::new(), BTreeSet::new());
        for entry in document["keys"].as_array().into_iter().flatten() {
            let Some(id) = entry["kid"].as_str() else { continue };
            if let Some(key) = published_key(entry)
                && keys.insert(id.to_owned(), key).is_some()
            {
                repeated.insert(id.to_owned());
            }
        }
        keys.retain(|id, _| !repeated.contains(id));
        Self(keys)
    }

    /// Whether there is a key with this id.
    pub fn contains(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }
}

fn published_key(entry: &Value) -> Option<PublishedKey> {
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(entry[name].as_str()?).ok();
    let is_for = |algorithm: &str| entry["alg"].is_null() || entry["alg"] == algorithm;
    if !entry["use"].is_null() && entry["use"] != "sig" {
        return None;
    }
    match entry["kty"].as_str()? {
        "RSA" if is_for("RS256") => Some(PublishedKey::Rsa { modulus: bytes("n")?, exponent: bytes("e")? }),
        "EC" if is_for("ES256") && entry["crv"] == "P-256" => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            (x.len() == 32 && y.len() == 32).then(|| PublishedKey::P256([vec![4], x, y].concat()))
        }
        _ => None,
    }
}

/// An identity token that was parsed and not verified.
#[derive(Clone, Debug)]
pub struct IdentityToken<'t> {
    algorithm: Algorithm,
    key_id: String,
    claims: Value,
    /// Header and claims, as they were signed.
    signed: &'t [u8],
    signature: Vec<u8>,
}

impl<'t> IdentityToken<'t> {
    /// Parses a token in its compact form.
    ///
    /// # Errors
    /// [`IdentityTokenError::Malformed`], also for a member that appears twice; [`IdentityTokenError::Algorithm`], also for
    /// `none`.
    pub fn parse(token: &'t str) -> Result<Self, IdentityTokenError> {
        let malformed = IdentityTokenError::Malformed;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(malformed);
        }
        let parts: Vec<&str> = token.split('.').collect();
        let [head, claims, signature] = parts.as_slice() else { return Err(malformed) };
        let header = document(head).ok_or_else(|| malformed.clone())?;
        let claims = document(claims).ok_or_else(|| malformed.clone())?;
        let algorithm = match header["alg"].as_str() {
            Some("RS256") => Algorithm::Rs256,
            Some("ES256") => Algorithm::Es256,
            _ => return Err(IdentityTokenError::Algorithm),
        };
        if header.get("crit").is_some() {
            return Err(malformed);
        }
        Ok(Self {
            algorithm,
            key_id: header["kid"].as_str().ok_or_else(|| malformed.clone())?.to_owned(),
            claims,
            signed: &token.as_bytes()[..token.rfind('.').unwrap_or_default()],
            signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed)?,
        })
    }

    /// Returns the issuer that it names, which nothing proves yet.
    pub fn issuer(&self) -> Option<&str> {
        self.claims["iss"].as_str()
    }

    /// Returns the id of the key that it is signed with.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Verifies the signature and the times. The signature is judged first.
    ///
    /// # Errors
    /// [`IdentityTokenError`].
    pub fn verify(&self, keys: &PublishedKeys, now: Timestamp) -> Result<IdentityClaims, IdentityTokenError> {
        let is_signed = match (self.algorithm, keys.0.get(&self.key_id)) {
            (Algorithm::Rs256, Some(PublishedKey::Rsa { modulus, exponent })) => {
                let key = signature::RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, self.signed, &self.signature).is_ok()
            }
            (Algorithm::Es256, Some(PublishedKey::P256(point))) => {
                let key = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
                key.verify(self.signed, &self.signature).is_ok()
            }
            _ => return Err(IdentityTokenError::UnknownKey),
        };
        if !is_signed {
            return Err(IdentityTokenError::Signature);
        }
        let (now, time) = (now.as_second(), |name: &str| self.claims[name].as_i64());
        let expires_at = time("exp").ok_or(IdentityTokenError::Malformed)?;
        let issued_at = time("iat").ok_or(IdentityTokenError::Malformed)?;
        if expires_at.saturating_add(LEEWAY_SECS) <= now {
            return Err(IdentityTokenError::Expired);
        }
        // A time must be a whole number.
        let not_before = if self.claims["nbf"].is_null() { Some(issued_at) } else { time("nbf") };
        let begins_at = not_before.ok_or(IdentityTokenError::Malformed)?.max(issued_at);
        if begins_at.saturating_sub(LEEWAY_SECS) > now {
            return Err(IdentityTokenError::NotYetValid);
        }
        let last = Timestamp::from_second(expires_at.saturating_add(LEEWAY_SECS)).unwrap_or(Timestamp::MAX);
        Ok(IdentityClaims { claims: self.claims.clone(), digest: sha256(self.signed), accepted_until: last })
    }
}

/// Reads a part of a token: an object whose members appear once each.
fn document(part: &str) -> Option<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    let text = json::canonical(std::str::from_utf8(&bytes).ok()?).ok()?;
    json::parse(&text).ok().filter(Value::is_object)
}

/// The claims of a token that was verified.
#[derive(Clone, Debug)]
pub struct IdentityClaims {
    claims: Value,
    digest: [u8; 32],
    accepted_until: Timestamp,
}

impl IdentityClaims {
    /// Whether the token is of this issuer, for this audience, and has each of these claims with exactly this value. Numbers
    /// and truth values are compared as they are written.
    pub fn match_all(&self, issuer: &str, audience: &str, claims: &BTreeMap<String, String>) -> bool {
        let is_listed = |audiences: &Vec<Value>| audiences.iter().any(|one| *one == audience);
        let is_for = self.claims["aud"] == audience || self.claims["aud"].as_array().is_some_and(is_listed);
        let has = |(name, wanted): (&String, &String)| match self.claims.get(name) {
            Some(Value::String(text)) => text == wanted,
            Some(value @ (Value::Number(_) | Value::Bool(_))) => wanted.as_str() == value.to_string().as_str(),
            _ => false,
        };
        self.claims["iss"] == issuer && is_for && claims.iter().all(has)
    }

    /// Returns whom the token is about.
    pub fn subject(&self) -> Option<&str> {
        self.claims["sub"].as_str()
    }

    /// Returns the SHA-256 digest of what was signed: equal for every copy of the token, also with another valid signature.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Returns until when the token is accepted.
    pub fn accepted_until(&self) -> Timestamp {
        self.accepted_until
    }
}

#[cfg(test)]
#[path = "identity_token_tests.rs"]
mod tests;
