//! JSON Web Tokens (RFC 7519) as webhook proofs: signed with the issuer's published key, or with the secret.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{hmac, signature};
use serde_json::Value;

use super::verify::{SigningContext, VerificationKeys, VerifyError, secret_keys};
use crate::clock::Timestamp;
use crate::connector::{SignatureAlgorithm, SignatureScheme};

/// How far the clocks of an issuer and this machine may be apart, in seconds.
const LEEWAY_SECS: i64 = 60;

/// Whether the one token given is signed and says what it must.
///
/// # Errors
/// [`VerifyError`].
pub(crate) fn verify(
    proof: &SignatureScheme,
    given: &[String],
    keys: &SigningContext,
    trust: &VerificationKeys,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let [token] = given else { return Err(VerifyError::MalformedSignature) };
    let parts: Vec<&str> = token.split('.').collect();
    let [head, claims, signature] = parts.as_slice() else { return Err(VerifyError::MalformedSignature) };
    let document = |part: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
    let header = document(head).ok_or(VerifyError::MalformedSignature)?;
    let claims = document(claims).ok_or(VerifyError::MalformedSignature)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| VerifyError::MalformedSignature)?;
    let signed = &token.as_bytes()[..token.rfind('.').unwrap_or_default()];
    // The rule says which algorithm it is, never the token (RFC 8725 section 3.1).
    let algorithm = header["alg"].as_str();
    let right = match proof.scheme {
        SignatureAlgorithm::JwtRs256 if algorithm == Some("RS256") => {
            let id = header["kid"].as_str().ok_or(VerifyError::ClaimsMismatch("it names no key"))?;
            let (n, e) = trust.json_keys.get(id).ok_or(VerifyError::MissingInput(format!("the issuer's key {id}")))?;
            let key = signature::RsaPublicKeyComponents { n, e };
            key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed, &signature).is_ok()
        }
        SignatureAlgorithm::JwtHs256 if algorithm == Some("HS256") => secret_keys(proof, keys)?
            .iter()
            .any(|(_, key)| hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), signed, &signature).is_ok()),
        _ => return Err(VerifyError::MalformedSignature),
    };
    if right { check_claims(proof, &claims, keys, now) } else { Err(VerifyError::SignatureMismatch) }
}

/// Whether the claims are those that the rule wants (RFC 7519 section 4.1).
fn check_claims(
    proof: &SignatureScheme,
    claims: &Value,
    keys: &SigningContext,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let now = now.as_second();
    let time = |name: &str| claims[name].as_i64();
    if time("exp").is_none_or(|end| end.saturating_add(LEEWAY_SECS) < now) {
        return Err(VerifyError::ClaimsMismatch("it has expired"));
    }
    if ["nbf", "iat"].iter().any(|name| time(name).is_some_and(|start| start.saturating_sub(LEEWAY_SECS) > now)) {
        return Err(VerifyError::ClaimsMismatch("it is not good yet"));
    }
    let Some(rule) = &proof.jwt else { return Ok(()) };
    if !rule.issuers.is_empty() && !rule.issuers.iter().any(|known| claims["iss"] == known.as_str()) {
        return Err(VerifyError::ClaimsMismatch("it is of another issuer"));
    }
    if let Some(audience) = &rule.audience {
        let audience = audience.fill(&keys.values).map_err(|error| VerifyError::MissingInput(error.to_string()))?;
        let listed = claims["aud"].as_array().is_some_and(|list| list.iter().any(|one| *one == audience.as_str()));
        if claims["aud"] != audience.as_str() && !listed {
            return Err(VerifyError::ClaimsMismatch("it is for another audience"));
        }
    }
    for (name, want) in &rule.claims {
        let want = want.fill(&keys.values).map_err(|error| VerifyError::MissingInput(error.to_string()))?;
        let got = &claims[name.as_str()];
        let text = got.as_str().map_or_else(|| got.to_string(), str::to_owned);
        if text != want {
            return Err(VerifyError::ClaimsMismatch("a claim has another value"));
        }
    }
    Ok(())
}
