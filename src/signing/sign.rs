//! Signs a request as the vendor would, by the rule that verifies it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::KeyPair;
use ring::{digest, hmac, signature};
use serde_json::{Number, Value, json};

use super::request::WebhookRequest;
use super::rsa::{KEY_ID, RsaKey};
use super::verify::{ParsedRequest, SigningContext, VerifyError, find_scheme, secret_keys, signing_input};
use crate::clock::Timestamp;
use crate::connector::{
    Encoding, EventSelectors, Pointer, SignatureAlgorithm, SignatureLocation, SignatureScheme, TimeUnit, Values,
};
use crate::hex;
use crate::secret::Secret;

/// What only the vendor has, where it is not the secret itself.
#[derive(Clone, Debug, Default)]
pub struct EmulatorKeys {
    /// The seed of an Ed25519 key.
    pub ed25519_seed: Option<Secret<Vec<u8>>>,
    /// An RSA key, which only the sandbox's vendor gives away.
    pub rsa: Option<RsaKey>,
}

/// Signs a request by a proof: puts timestamp, hash and signatures where the vendor puts them. With several secrets there
/// are several signatures, as while one is replaced by another.
///
/// # Errors
/// [`VerifyError`] for what is missing.
pub fn sign(
    proof: &SignatureScheme,
    shape: &EventSelectors,
    request: &mut WebhookRequest,
    document: &mut Value,
    keys: &SigningContext,
    vendor: &EmulatorKeys,
    at: Timestamp,
) -> Result<(), VerifyError> {
    let timestamp = proof.timestamp.as_ref().map(|rule| match rule.unit {
        TimeUnit::Seconds => at.as_second().to_string(),
        TimeUnit::Milliseconds => at.as_millisecond().to_string(),
        TimeUnit::Date => at.to_string(),
    });
    let mut written: Vec<(&SignatureLocation, &str, String)> = Vec::new();
    if let (Some(rule), Some(text)) = (&proof.timestamp, &timestamp) {
        let timestamp = (&rule.place, "timestamp", text.clone());
        match rule.place.at {
            // The signature covers the body, so the time must be in it first.
            Some(_) => put(shape, request, document, &[timestamp]),
            None => written.push(timestamp),
        }
    }
    if let Some(name) = &proof.body_hash {
        request.set_query(name, &hex::encode(digest::digest(&digest::SHA256, &request.body).as_ref()));
    }
    for text in signatures(proof, request, document, keys, vendor, timestamp.as_deref(), at)? {
        written.push((&proof.signature, "signature", text));
    }
    put(shape, request, document, &written);
    Ok(())
}

/// The proof by which a request of this kind would be signed: the one whose signature it carries already, else the first
/// that fits it and that there is a key for: what is made by a weaker one is the receiver's to refuse.
pub fn proof_for<'p>(
    proofs: &'p [SignatureScheme],
    request: &WebhookRequest,
    document: &Value,
    keys: &SigningContext,
) -> Option<&'p SignatureScheme> {
    let judged = ParsedRequest { request, document, items: std::slice::from_ref(document) };
    let fitting = || {
        let fits = |proof: &&SignatureScheme| {
            let Some(mut when) = proof.when.clone() else { return true };
            // The hash that the URL will hold is written with the signature, and stands for a body that is not a form.
            let hashed = proof.body_hash.as_ref().is_some_and(|name| when.query.shift_remove(name).is_some());
            !(hashed && request.is_form()) && when.matches(request, document)
        };
        proofs.iter().filter(fits)
    };
    let usable = |proof: &&SignatureScheme| proof.needs_fetched_key() || secret_keys(proof, keys).is_ok();
    find_scheme(proofs, &judged).or_else(|| fitting().find(usable)).or_else(|| fitting().next())
}

fn signatures(
    proof: &SignatureScheme,
    request: &WebhookRequest,
    document: &Value,
    keys: &SigningContext,
    vendor: &EmulatorKeys,
    timestamp: Option<&str>,
    at: Timestamp,
) -> Result<Vec<String>, VerifyError> {
    let judged = ParsedRequest { request, document, items: std::slice::from_ref(document) };
    let message = |secret: Option<&Secret>| signing_input(proof, &judged, document, &keys.values, secret, timestamp);
    let encoded = |bytes: &[u8]| match proof.encoding {
        Encoding::Hex => hex::encode(bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
    };
    let missing = |what: &str| VerifyError::MissingInput(what.to_owned());
    match proof.scheme {
        SignatureAlgorithm::Ed25519 => {
            let seed = vendor.ed25519_seed.as_ref().ok_or_else(|| missing("the vendor's private key"))?;
            let pair =
                signature::Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| VerifyError::NoSecret)?;
            Ok(vec![encoded(pair.sign(&message(None)?).as_ref())])
        }
        SignatureAlgorithm::RsaSha256 => Ok(vec![encoded(&rsa(vendor, &message(None)?)?)]),
        SignatureAlgorithm::JwtRs256 => {
            let head = json!({ "alg": "RS256", "typ": "JWT", "kid": KEY_ID });
            let part = unsigned_token(&head, proof, &keys.values, at)?;
            let signature = rsa(vendor, part.as_bytes())?;
            Ok(vec![format!("{part}.{}", URL_SAFE_NO_PAD.encode(signature))])
        }
        SignatureAlgorithm::JwtHs256 => {
            let part = unsigned_token(&json!({ "alg": "HS256", "typ": "JWT" }), proof, &keys.values, at)?;
            let (_, key) = secret_keys(proof, keys)?.swap_remove(0);
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes());
            Ok(vec![format!("{part}.{}", URL_SAFE_NO_PAD.encode(tag))])
        }
        SignatureAlgorithm::Token => {
            let (_, key) = secret_keys(proof, keys)?.swap_remove(0);
            Ok(vec![String::from_utf8(key).map_err(|_| VerifyError::NoSecret)?])
        }
        SignatureAlgorithm::HmacSha1
        | SignatureAlgorithm::HmacSha256
        | SignatureAlgorithm::HmacSha512
        | SignatureAlgorithm::Sha256 => {
            let one = |(secret, key): &(&Secret, Vec<u8>)| {
                let message = message(Some(secret))?;
                Ok(encoded(&tag(proof.scheme, key, &message)))
            };
            let all = secret_keys(proof, keys)?;
            // A vendor that writes one signature signs with the newest secret.
            let several = if proof.signature.separator.is_some() { all.len() } else { 1 };
            all.iter().take(several).map(one).collect()
        }
    }
}

fn tag(scheme: SignatureAlgorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    let algorithm = match scheme {
        SignatureAlgorithm::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        SignatureAlgorithm::HmacSha512 => hmac::HMAC_SHA512,
        SignatureAlgorithm::Sha256 => return digest::digest(&digest::SHA256, message).as_ref().to_vec(),
        _ => hmac::HMAC_SHA256,
    };
    hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref().to_vec()
}

fn rsa(vendor: &EmulatorKeys, message: &[u8]) -> Result<Vec<u8>, VerifyError> {
    let key = vendor.rsa.as_ref().ok_or_else(|| VerifyError::MissingInput("the vendor's private key".to_owned()))?;
    key.sign(message).ok_or(VerifyError::NoSecret)
}

/// Head and claims of a token that says what the rule wants.
fn unsigned_token(
    head: &Value,
    proof: &SignatureScheme,
    values: &Values,
    at: Timestamp,
) -> Result<String, VerifyError> {
    const LIFETIME_SECS: i64 = 3600;
    let mut claims = json!({ "iat": at.as_second(), "exp": at.as_second().saturating_add(LIFETIME_SECS) });
    if let Some(rule) = &proof.jwt {
        let fill = |template: &crate::connector::Template| {
            template.fill(values).map_err(|error| VerifyError::MissingInput(error.to_string()))
        };
        if let Some(issuer) = rule.issuers.first() {
            claims["iss"] = json!(issuer);
        }
        if let Some(audience) = &rule.audience {
            claims["aud"] = json!(fill(audience)?);
        }
        for (name, want) in &rule.claims {
            let text = fill(want)?;
            claims[name.as_str()] = serde_json::from_str(&text).unwrap_or(json!(text));
        }
    }
    let part = |document: &Value| URL_SAFE_NO_PAD.encode(document.to_string());
    Ok(format!("{}.{}", part(head), part(&claims)))
}

/// Writes the parts where they belong; those of one header stand in it together.
fn put(
    shape: &EventSelectors,
    request: &mut WebhookRequest,
    document: &mut Value,
    written: &[(&SignatureLocation, &str, String)],
) {
    let mut done: Vec<(&str, Vec<String>, &str)> = Vec::new();
    for (carrier, name, text) in written {
        let text = match &carrier.format {
            Some(format) => {
                let mut values = Values::default();
                values.set(name, text);
                format.fill(&values).unwrap_or_else(|_| text.clone())
            }
            None => text.clone(),
        };
        if let Some(header) = &carrier.header {
            match done.iter_mut().find(|(known, ..)| known.eq_ignore_ascii_case(header)) {
                Some((_, parts, _)) => parts.push(text),
                None => done.push((header, vec![text], carrier.separator.as_deref().unwrap_or_default())),
            }
        } else if let Some(query) = &carrier.query {
            request.set_query(query, &text);
        } else if let Some(at) = &carrier.at {
            change_items(&shape.items, document, &mut |item| {
                // A number in the sample stays one.
                let number = at.find(item).filter(|known| known.is_number()).and_then(|_| text.parse::<Number>().ok());
                at.set(item, number.map_or_else(|| json!(text), Value::Number));
            });
            request.body = document.to_string().into_bytes();
        }
    }
    for (header, parts, separator) in done {
        request.set_header(header, &parts.join(separator));
    }
}

/// The public half of an Ed25519 seed, in hexadecimal, as a vendor shows it.
pub fn ed25519_public(seed: &Secret<Vec<u8>>) -> Option<String> {
    let pair = signature::Ed25519KeyPair::from_seed_unchecked(seed.expose()).ok()?;
    Some(hex::encode(pair.public_key().as_ref()))
}

/// Changes each event of a document where it is.
pub(crate) fn change_items(lists: &[Pointer], document: &mut Value, change: &mut impl FnMut(&mut Value)) {
    let Some((at, rest)) = lists.split_first() else { return change(document) };
    for item in document.pointer_mut(&at.to_string()).and_then(Value::as_array_mut).into_iter().flatten() {
        change_items(rest, item, change);
    }
}
