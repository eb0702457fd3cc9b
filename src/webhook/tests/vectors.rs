//! `tests/vectors/webhooks`: what vendors publish and what their libraries accept; each says where it is from.

use serde_json::Value;

use super::{connectors, judge};
use crate::secret::Secret;
use crate::signing::request::WebhookRequest;
use crate::signing::verify::{SigningContext, VerificationKeys};
use crate::webhook::inbound::fetch_keys::{TrustAnchors, certificate_key, json_keys};

fn request(vector: &Value) -> WebhookRequest {
    let text = |name: &str| vector[name].as_str().unwrap_or_default().to_owned();
    let headers = vector["headers"].as_array().unwrap().iter();
    let pair = |pair: &Value| (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned());
    WebhookRequest {
        method: text("method"),
        url: text("url"),
        headers: headers.map(pair).collect(),
        body: text("body").into_bytes(),
    }
}

fn keys(vector: &Value) -> SigningContext {
    let mut keys = SigningContext::default();
    for (name, value) in vector["params"].as_object().unwrap() {
        let values: Vec<&str> = match value {
            Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
            value => value.as_str().into_iter().collect(),
        };
        if name == "secret" {
            keys.secrets = values.into_iter().map(Secret::from).collect();
        } else {
            keys.values.set(name, values[0]);
        }
    }
    keys
}

fn trust(vector: &Value) -> VerificationKeys {
    let now = super::at(vector["at"].as_i64().unwrap());
    // Its certificate stands for itself: the chain is another test's.
    let key = vector["certificate_pem"]
        .as_str()
        .and_then(|pem| certificate_key(pem.as_bytes(), now, TrustAnchors::SelfSigned));
    VerificationKeys { certificate_key: key, json_keys: json_keys(&vector["jwks"]) }
}

#[test]
fn every_connector_judges_as_its_vendors_libraries_do() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/webhooks");
    let mut wrong = Vec::new();
    for connector in connectors() {
        let text = std::fs::read_to_string(folder.join(format!("{}.json", connector.id)));
        let text = text.unwrap_or_else(|_| panic!("{} has no vectors", connector.id));
        let vectors: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert!(!vectors.is_empty());
        for vector in &vectors {
            let now = vector["at"].as_i64().unwrap();
            let rules = connector.webhook.as_ref().unwrap();
            let found = judge(rules, &request(vector), &keys(vector), &trust(vector), now);
            let word = found.as_ref().map_or_else(super::VerifyError::as_str, |()| "ok");
            if word != vector["verdict"] {
                wrong.push(format!("{}: {}: {word}, not {}", connector.id, vector["about"], vector["verdict"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
