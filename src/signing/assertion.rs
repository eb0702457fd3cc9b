//! JSON Web Tokens that integ signs to prove that it has a key (RFC 7515, RFC 7519, RFC 7523), and their verification
//! by the sandbox. Pure.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::private_key::{PrivateKey, PrivateKeyError};
use crate::clock::Timestamp;
use crate::connector::{Assertion, JwtAlgorithm, TemplateError, Values};
use crate::secret::Secret;

/// Why no assertion can be signed.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum AssertionError {
    #[error("there is no {0} to sign with")]
    MissingKey(String),
    #[error("{name} is not valid: {source}")]
    Key { name: String, source: PrivateKeyError },
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// What signs an assertion.
enum Signer {
    Secret(hmac::Key),
    Key(PrivateKey),
}

impl Signer {
    /// The signer that a rule wants, and its algorithm.
    fn new(rule: &Assertion, key: &Secret) -> Result<(Self, JwtAlgorithm), PrivateKeyError> {
        if rule.algorithm == Some(JwtAlgorithm::Hs256) {
            return Ok((Self::Secret(hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes())), JwtAlgorithm::Hs256));
        }
        let key = PrivateKey::from_pem(key.expose())?;
        let algorithm = key.algorithm(rule.algorithm)?;
        Ok((Self::Key(key), algorithm))
    }

    fn sign(&self, algorithm: JwtAlgorithm, message: &[u8]) -> Result<Vec<u8>, PrivateKeyError> {
        match self {
            Self::Secret(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Self::Key(key) => key.sign(algorithm, message),
        }
    }
}

/// Checks that a key can sign what a rule describes.
///
/// # Errors
/// [`PrivateKeyError`].
pub fn check_key(rule: &Assertion, key: &Secret) -> Result<(), PrivateKeyError> {
    Signer::new(rule, key).map(|_| ())
}

/// Signs the token that a rule describes, with its key and the values of its templates. Claims of `usual` are in it unless
/// the rule has its own.
///
/// # Errors
/// [`AssertionError`].
pub fn sign(
    rule: &Assertion,
    key: Option<&Secret>,
    usual: &[(&str, &str)],
    values: &Values,
    now: Timestamp,
) -> Result<Secret, AssertionError> {
    let named = |source| AssertionError::Key { name: rule.key.clone(), source };
    let key = key.ok_or_else(|| AssertionError::MissingKey(rule.key.clone()))?;
    let (signer, algorithm) = Signer::new(rule, key).map_err(named)?;
    let mut header = json!({ "alg": algorithm.as_str(), "typ": "JWT" });
    if let Some(key_id) = rule.key_id.as_ref().filter(|key_id| key_id.is_complete(values)) {
        header["kid"] = Value::from(key_id.fill(values)?);
    }
    let mut claims = Map::new();
    for (name, value) in usual {
        claims.insert((*name).to_owned(), Value::from(*value));
    }
    for (name, claim) in rule.claims.iter().filter(|(_, claim)| claim.is_complete(values)) {
        claims.insert(name.clone(), Value::from(claim.fill(values)?));
    }
    let now = now.as_second();
    claims.insert("iat".to_owned(), Value::from(now - i64::from(rule.backdate_secs)));
    claims.insert("exp".to_owned(), Value::from(now + i64::from(rule.lifetime_secs)));
    let part = |document: &Value| URL_SAFE_NO_PAD.encode(document.to_string());
    let signed = format!("{}.{}", part(&header), part(&Value::Object(claims)));
    let signature = signer.sign(algorithm, signed.as_bytes()).map_err(named)?;
    Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

/// The parts of a signed token.
#[derive(Debug)]
pub struct ParsedAssertion<'t> {
    pub header: Value,
    pub claims: Value,
    /// What is signed.
    pub signed: &'t [u8],
    pub signature: Vec<u8>,
}

impl<'t> ParsedAssertion<'t> {
    /// Takes a token apart; absent where it is none.
    pub fn parse(token: &'t str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let document = |part: &str| -> Option<Value> {
            let document: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
            document.is_object().then_some(document)
        };
        Some(Self {
            header: document(header)?,
            claims: document(claims)?,
            signed: signed.as_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::signing::rsa::RsaKey;

    fn rule(toml: &str) -> Assertion {
        Assertion::deserialize(toml.parse::<toml::Table>().unwrap()).unwrap()
    }

    #[test]
    fn claims_are_those_of_the_rule_and_what_nobody_gave_is_left_out() {
        let key = Secret::new(RsaKey::new([1; 32]).private_key().unwrap());
        let rule = rule(
            "key = 'k'\nlifetime_secs = 60\nbackdate_secs = 30\nkey_id = '{id}'\n\
             claims = { iss = 'me {a}', sub = '{nobody}', aud = 'https://x' }",
        );
        let mut values = Values::default();
        values.set("a", "1").set("id", "7");
        let now = Timestamp::from_second(1000).unwrap();
        let token = sign(&rule, Some(&key), &[("jti", "j"), ("aud", "other")], &values, now).unwrap();
        let parsed = ParsedAssertion::parse(token.expose()).unwrap();
        assert_eq!(parsed.header, json!({ "alg": "RS256", "typ": "JWT", "kid": "7" }));
        let expected = json!({ "jti": "j", "aud": "https://x", "iss": "me 1", "iat": 970, "exp": 1060 });
        assert_eq!(parsed.claims, expected);
        assert_eq!(sign(&rule, None, &[], &values, now), Err(AssertionError::MissingKey("k".to_owned())));
    }

    #[test]
    fn a_secret_signs_with_hmac_and_a_key_of_another_type_is_refused() {
        let hs = rule("key = 'k'\nalgorithm = 'HS256'");
        let now = Timestamp::from_second(1000).unwrap();
        let token = sign(&hs, Some(&"secret".into()), &[], &Values::default(), now).unwrap();
        let parsed = ParsedAssertion::parse(token.expose()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        assert!(hmac::verify(&key, parsed.signed, &parsed.signature).is_ok());
        let rsa = Secret::new(RsaKey::new([1; 32]).private_key().unwrap());
        let wrong = check_key(&rule("key = 'k'\nalgorithm = 'ES256'"), &rsa).unwrap_err();
        assert_eq!(wrong.to_string(), "it is an RSA key, and ES256 needs an EC key of P-256");
    }
}
