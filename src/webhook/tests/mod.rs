//! Every connector's rule, against what its vendor's own libraries accept and against everything that was changed.

mod forged;
mod vectors;

use std::path::Path;

use super::event;
use super::proof::{Judged, Keys, Refused, Trust, verify};
use super::request::Request;
use super::setup::unconnected;
use super::sign::VendorKeys;
use super::simulate::{Wish, simulate};
use crate::clock::Timestamp;
use crate::connector::{Catalogue, Connector, Webhook};

const NOW: i64 = 1_700_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// Every built-in connector that has webhooks.
fn connectors() -> Vec<Connector> {
    let catalogue = Catalogue::new(Path::new("/nonexistent"));
    let all = catalogue.ids().into_iter().map(|(id, _)| catalogue.get(&id).unwrap());
    all.filter(|connector| connector.webhook.is_some()).collect()
}

/// Judges a request as a receiver does.
fn judge(rules: &Webhook, request: &Request, keys: &Keys, trust: &Trust, now: i64) -> Result<(), Refused> {
    let document = event::document(&rules.event, request).map_err(|_| Refused::Form)?;
    let items = event::items(&rules.event, &document).unwrap_or_else(|_| vec![document.clone()].into());
    verify(&rules.proofs, &Judged { request, document: &document, items: &items }, keys, trust, at(now))
}

/// The sandbox's keys of a connector, and each of its samples as it would be sent.
fn samples(connector: &Connector) -> (Keys, VendorKeys, Vec<(String, Request)>) {
    let (keys, vendor) = unconnected(connector, b"a seed", None).unwrap();
    let sampled = connector.events.iter().filter(|(_, event)| event.sample.is_some());
    let made = sampled.map(|(name, _)| (name.clone(), sample(connector, name, &keys, &vendor, NOW)));
    let made = made.collect();
    (keys, vendor, made)
}

fn sample(connector: &Connector, event: &str, keys: &Keys, vendor: &VendorKeys, signed_at: i64) -> Request {
    let wish = Wish {
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
