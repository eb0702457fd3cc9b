//! A webhook's request to each built-in connector: its body, and headers one a line before an empty line. The first byte
//! says which connector.
#![no_main]

use std::sync::LazyLock;

use integ::clock::Timestamp;
use integ::connector::{BUILT_IN, WebhookDefinition, parse};
use integ::signing::verify::{ParsedRequest, SigningContext, VerificationKeys, verify};
use integ::signing::request::WebhookRequest;
use integ::webhook::inbound::{event, handshake};
use libfuzzer_sys::fuzz_target;

static WEBHOOKS: LazyLock<Vec<WebhookDefinition>> = LazyLock::new(|| {
    let connectors = BUILT_IN.iter().filter_map(|(_, text)| parse(text).ok());
    connectors.filter_map(|connector| connector.webhook).collect()
});

fn request(data: &[u8]) -> WebhookRequest {
    let at = data.windows(2).position(|pair| pair == b"\n\n").unwrap_or(data.len());
    let head = String::from_utf8_lossy(&data[..at]).into_owned();
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    WebhookRequest {
        method: "POST".to_owned(),
        url: format!("https://hooks.example.com/webhooks/x/y?{}", head.lines().next().unwrap_or_default()),
        headers: headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect(),
        body: data.get(at + 2..).unwrap_or_default().to_vec(),
    }
}

fuzz_target!(|data: &[u8]| {
    let [which, rest @ ..] = data else { return };
    let webhook = &WEBHOOKS[usize::from(*which) % WEBHOOKS.len()];
    let request = request(rest);
    let Ok(document) = event::document(&webhook.event, &request) else { return };
    let items = event::items(&webhook.event, &document);
    let whole = std::slice::from_ref(&document);
    let judged = ParsedRequest { request: &request, document: &document, items: items.as_deref().unwrap_or(whole) };
    let keys = SigningContext { secrets: vec!["a secret that no input knows".into()], ..Keys::default() };
    let _ = handshake::find(&webhook.handshakes, &judged);
    let verified = verify(&webhook.proofs, &judged, &keys, &VerificationKeys::default(), Timestamp::UNIX_EPOCH);
    assert!(verified.is_err() || webhook.proofs.is_empty(), "a request without a signature was believed");
    for (place, item) in items.iter().flat_map(|items| items.iter().enumerate()) {
        let _ = event::parse_event(&webhook.event, &judged, place, item, Timestamp::UNIX_EPOCH);
    }
});
