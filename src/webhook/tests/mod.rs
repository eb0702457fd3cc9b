//! Every connector's rule, against what its vendor's own libraries accept and against everything that was changed.

mod certificates;
mod events;
mod forged;
mod vectors;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use super::inbound::event;
use super::inbound::fetch_keys::{TrustAnchors, certificate_key, json_keys};
use super::settings::keys_without_connection;
use super::simulate::{SimulateRequest, simulate};
use crate::clock::Timestamp;
use crate::connector::{Catalogue, Connector, WebhookDefinition};
use crate::sandbox::rsa_key;
use crate::signing::request::WebhookRequest;
use crate::signing::sign::EmulatorKeys;
use crate::signing::verify::{ParsedRequest, SigningContext, VerificationKeys, VerifyError, verify};

const NOW: i64 = 1_700_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// Every built-in connector that has webhooks.
fn connectors() -> Vec<Arc<Connector>> {
    let catalogue = Catalogue::new(Path::new("/nonexistent"));
    let all = catalogue.ids().into_iter().map(|(id, _)| catalogue.get(&id).unwrap());
    all.filter(|connector| connector.webhook.is_some()).collect()
}

/// Judges a request as a receiver does.
fn judge(
    rules: &WebhookDefinition,
    request: &WebhookRequest,
    keys: &SigningContext,
    trust: &VerificationKeys,
    now: i64,
) -> Result<(), VerifyError> {
    let document = event::document(&rules.event, request).map_err(|_| VerifyError::MalformedSignature)?;
    let items = event::items(&rules.event, &document).unwrap_or_else(|_| vec![document.clone()].into());
    verify(&rules.proofs, &ParsedRequest { request, document: &document, items: &items }, keys, trust, at(now))
}

/// What the sandbox's vendor of this seed publishes: its key set and its certificate.
fn published(connector: &Connector, seed: &[u8]) -> VerificationKeys {
    let Some(key) = rsa_key(connector, seed) else { return VerificationKeys::default() };
    let certificate = key.certificate().unwrap();
    let certificate_key = certificate_key(certificate.as_bytes(), at(NOW), TrustAnchors::SelfSigned);
    assert!(certificate_key.is_some(), "{certificate}");
    let live = self::certificate_key(certificate.as_bytes(), at(NOW), TrustAnchors::Roots(TLS_SERVER_ROOT_CERTS));
    assert!(live.is_none(), "no public root vouches for it");
    VerificationKeys { certificate_key, json_keys: json_keys(&key.key_set().unwrap()) }
}

/// The same of [`SEED`], made once.
fn trust(connector: &Connector) -> VerificationKeys {
    static MADE: Mutex<Option<HashMap<String, VerificationKeys>>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap();
    let made = made.get_or_insert_default();
    made.entry(connector.id.clone()).or_insert_with(|| published(connector, SEED)).clone()
}

const SEED: &[u8] = b"a seed";

/// The sandbox's keys of a connector, and each of its samples as it would be sent.
fn samples(connector: &Connector) -> (SigningContext, EmulatorKeys, Vec<(String, WebhookRequest)>) {
    let (keys, vendor) = keys_without_connection(connector, SEED, None).unwrap();
    let sampled = connector.events.iter().filter(|(_, event)| event.sample.is_some());
    let made = sampled.map(|(name, _)| (name.clone(), sample(connector, name, &keys, &vendor, NOW)));
    let made = made.collect();
    (keys, vendor, made)
}

fn sample(
    connector: &Connector,
    event: &str,
    keys: &SigningContext,
    vendor: &EmulatorKeys,
    signed_at: i64,
) -> WebhookRequest {
    let wish = SimulateRequest {
        event,
        url: "https://hooks.example.com/webhooks/x/0123456789abcdef",
        number: 1,
        id: "00112233445566778899aabbccddeeff",
        set: &[],
        data: None,
        now: at(NOW),
        signed_at: Some(at(signed_at)),
    };
    simulate(connector, &wish, keys, vendor).unwrap_or_else(|error| panic!("{} {event}: {error}", connector.id))
}
