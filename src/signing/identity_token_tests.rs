//! Identity tokens: what is accepted, and each thing that is wrong.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

use super::*;
use crate::signing::rsa::{KEY_ID, RsaKey};

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://ci.example";

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "https://integ.example", "sub": "repo:acme/app", "iat": NOW, "nbf": NOW, "exp": NOW + 300,
        "repository": "acme/app", "run_number": 7, "protected": true,
    })
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(key: &RsaKey, header: &Value, claims: &Value) -> String {
    let text = format!("{}.{}", encoded(header), encoded(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}

fn header() -> Value {
    json!({ "alg": "RS256", "typ": "JWT", "kid": KEY_ID })
}

fn key() -> RsaKey {
    RsaKey::new([7; 32])
}

fn verify(token: &str, keys: &PublishedKeys) -> Result<IdentityClaims, IdentityTokenError> {
    IdentityToken::parse(token)?.verify(keys, now())
}

fn with(change: &Value) -> Value {
    let mut changed = claims();
    for (name, value) in change.as_object().unwrap() {
        changed[name] = value.clone();
    }
    changed
}

#[test]
fn a_token_with_a_published_key_is_accepted_while_it_is_valid() {
    let key = key();
    let keys = PublishedKeys::parse(&key.key_set().unwrap());
    let verified = verify(&signed(&key, &header(), &claims()), &keys).unwrap();
    assert_eq!((verified.subject(), verified.accepted_until().as_second()), (Some("repo:acme/app"), NOW + 360));
    let outcome = |change: Value| verify(&signed(&key, &header(), &with(&change)), &keys).err();
    let (expired, early, malformed) =
        (IdentityTokenError::Expired, IdentityTokenError::NotYetValid, IdentityTokenError::Malformed);
    for (change, error) in [
        (json!({ "exp": NOW - 59 }), None),
        (json!({ "exp": NOW - 60 }), Some(expired.clone())),
        (json!({ "exp": 0 }), Some(expired)),
        (json!({ "nbf": NOW + 60 }), None),
        (json!({ "nbf": NOW + 61 }), Some(early.clone())),
        (json!({ "iat": NOW + 61 }), Some(early)),
        (json!({ "nbf": null }), None),
        (json!({ "exp": null }), Some(malformed.clone())),
        (json!({ "exp": "never" }), Some(malformed.clone())),
        (json!({ "nbf": "now" }), Some(malformed.clone())),
        (json!({ "iat": null }), Some(malformed)),
    ] {
        assert_eq!(outcome(change.clone()), error, "{change}");
    }
}

#[test]
fn issuer_audience_and_claims_match_exactly() {
    let key = key();
    let keys = PublishedKeys::parse(&key.key_set().unwrap());
    let wanted: BTreeMap<String, String> = [("repository", "acme/app"), ("run_number", "7"), ("protected", "true")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let matches = |change: Value| {
        let verified = verify(&signed(&key, &header(), &with(&change)), &keys).unwrap();
        verified.match_all(ISSUER, "https://integ.example", &wanted)
    };
    assert!(matches(json!({})));
    assert!(matches(json!({ "aud": ["other", "https://integ.example"] })));
    for change in [
        json!({ "iss": "https://ci.example/" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "aud": "https://other.example" }),
        json!({ "aud": ["https://integ.example.evil"] }),
        json!({ "aud": null }),
        json!({ "aud": { "https://integ.example": true } }),
        json!({ "repository": "acme/app2" }),
        json!({ "repository": "Acme/app" }),
        json!({ "repository": ["acme/app"] }),
        json!({ "repository": null }),
        json!({ "run_number": 7.5 }),
        json!({ "protected": false }),
    ] {
        assert!(!matches(change.clone()), "{change}");
    }
    let absent = BTreeMap::from([("environment".to_owned(), "null".to_owned())]);
    let verified = verify(&signed(&key, &header(), &claims()), &keys).unwrap();
    assert!(!verified.match_all(ISSUER, "https://integ.example", &absent));
}

#[test]
fn an_algorithm_is_never_chosen_by_the_token() {
    let key = key();
    let keys = PublishedKeys::parse(&key.key_set().unwrap());
    let refused = |header: Value| verify(&signed(&key, &header, &claims()), &keys).unwrap_err();
    for algorithm in ["none", "None", "HS256", "RS384", "PS256", "rs256", ""] {
        let header = json!({ "alg": algorithm, "kid": KEY_ID });
        assert_eq!(refused(header), IdentityTokenError::Algorithm, "{algorithm}");
    }
    assert_eq!(refused(json!({ "kid": KEY_ID })), IdentityTokenError::Algorithm);
    // An RSA key never verifies ES256.
    assert_eq!(refused(json!({ "alg": "ES256", "kid": KEY_ID })), IdentityTokenError::UnknownKey);
    assert_eq!(refused(json!({ "alg": "RS256", "kid": "other" })), IdentityTokenError::UnknownKey);
    assert_eq!(refused(json!({ "alg": "RS256" })), IdentityTokenError::Malformed);
    assert_eq!(refused(json!({ "alg": "RS256", "kid": 1 })), IdentityTokenError::Malformed);
    assert_eq!(refused(json!({ "alg": "RS256", "kid": KEY_ID, "crit": ["b64"] })), IdentityTokenError::Malformed);
    let unsigned = format!("{}.{}.", encoded(&json!({ "alg": "none" })), encoded(&claims()));
    assert_eq!(verify(&unsigned, &keys).unwrap_err(), IdentityTokenError::Algorithm);
    let foreign = signed(&RsaKey::new([8; 32]), &header(), &claims());
    assert_eq!(verify(&foreign, &keys).unwrap_err(), IdentityTokenError::Signature);
    for text in ["", "a.b", "a.b.c", "e30.e30.e30", &"a".repeat(MAX_TOKEN_BYTES + 1)] {
        assert!(verify(text, &keys).is_err(), "{text:.20}");
    }
}

#[test]
fn a_member_that_appears_twice_is_refused() {
    let key = key();
    let keys = PublishedKeys::parse(&key.key_set().unwrap());
    let claims = claims().to_string().replace("\"sub\"", "\"repository\":\"acme/other\",\"sub\"");
    let text = format!("{}.{}", encoded(&header()), URL_SAFE_NO_PAD.encode(claims));
    let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()).unwrap()));
    assert_eq!(verify(&token, &keys).unwrap_err(), IdentityTokenError::Malformed);
}

#[test]
fn a_key_of_p_256_verifies_es256() {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
    let entry = json!({ "kty": "EC", "crv": "P-256", "kid": "ec", "x": x, "y": y });
    let text = format!("{}.{}", encoded(&json!({ "alg": "ES256", "kid": "ec" })), encoded(&claims()));
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(&random, text.as_bytes()).unwrap());
    let token = format!("{text}.{signature}");
    let with = |entries: Value| verify(&token, &PublishedKeys::parse(&json!({ "keys": entries })));
    assert!(with(json!([entry])).is_ok());
    // Keys of other purposes and curves, and two of one id.
    for (name, value) in [("use", "enc"), ("alg", "ES384"), ("crv", "P-384"), ("kty", "OKP"), ("x", "AA")] {
        let mut other = entry.clone();
        other[name] = json!(value);
        assert_eq!(with(json!([other])).unwrap_err(), IdentityTokenError::UnknownKey, "{name}");
    }
    let rsa = &key().key_set().unwrap()["keys"][0];
    let mut same_id = rsa.clone();
    same_id["kid"] = json!("ec");
    assert_eq!(with(json!([entry, same_id])).unwrap_err(), IdentityTokenError::UnknownKey);
}
