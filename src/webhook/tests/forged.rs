//! What is simulated is taken, and nothing that differs from it is.

use super::{NOW, WebhookRequest, connectors, judge, published, sample, samples, trust};
use crate::clock::{self, Timestamp};
use crate::connector::{Connector, SignatureScheme};
use crate::secret::Secret;
use crate::signing::sign::proof_for;
use crate::signing::verify::{SigningContext, VerifyError};
use crate::webhook::inbound::event;
use crate::webhook::simulate::corrupt::{Corruption, corrupt, signed_at};

fn proof<'c>(connector: &'c Connector, request: &WebhookRequest) -> Option<&'c SignatureScheme> {
    let rules = connector.webhook.as_ref().unwrap();
    let document = event::document(&rules.event, request).unwrap();
    proof_for(&rules.proofs, request, &document, &SigningContext::default())
}

fn taken(connector: &Connector, request: &WebhookRequest, keys: &SigningContext, now: i64) -> Result<(), VerifyError> {
    judge(connector.webhook.as_ref().unwrap(), request, keys, &trust(connector), now)
}

fn covers_body(connector: &Connector, proof: &SignatureScheme) -> bool {
    signed_at(Corruption::Body, Some(proof), &connector.id, super::at(NOW)).is_ok()
}

fn names_form(proof: &SignatureScheme) -> bool {
    proof.base.as_ref().is_some_and(|base| base.placeholders().any(|name| name == "form"))
}

fn pairs(request: &WebhookRequest) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

/// The headers that say who sent it and when, and what else is signed of them.
fn proving_headers(proof: &SignatureScheme) -> Vec<String> {
    let timestamp = proof.timestamp.as_ref().and_then(|rule| rule.place.header.clone());
    let signed = proof.values.values().filter_map(|find| find.header.clone());
    proof.signature.header.clone().into_iter().chain(timestamp).chain(signed).collect()
}

/// A text cut at each of its places, and with each of its bits turned as far as that is a text.
fn spoilt(text: &str) -> impl Iterator<Item = String> {
    let cut = (0..text.len()).filter_map(|end| text.get(..end).map(str::to_owned));
    let turned = (0..text.len() * 8).filter_map(|bit| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        String::from_utf8(bytes).ok()
    });
    cut.chain(turned)
}

fn changed_header(request: &WebhookRequest, name: &str, value: &str) -> WebhookRequest {
    let mut other = request.clone();
    for (_, text) in other.headers.iter_mut().filter(|(known, _)| known.eq_ignore_ascii_case(name)) {
        value.clone_into(text);
    }
    other
}

#[test]
fn every_sample_of_every_connector_is_taken() {
    let mut count = 0;
    for connector in connectors() {
        let (keys, _, samples) = samples(&connector);
        assert!(!samples.is_empty() || connector.events.is_empty(), "{} has no samples", connector.id);
        for (name, request) in samples {
            assert_eq!(taken(&connector, &request, &keys, NOW), Ok(()), "{} {name}", connector.id);
            count += 1;
        }
    }
    assert!(count >= 60, "{count}");
}

#[test]
fn another_secret_is_refused_for_every_sample() {
    for connector in connectors() {
        let (keys, _, samples) = samples(&connector);
        let (other, _) = crate::webhook::settings::keys_without_connection(&connector, b"another seed", None).unwrap();
        let none = SigningContext { secrets: Vec::new(), values: keys.values.clone() };
        let empty = SigningContext { secrets: vec![Secret::from("")], values: keys.values.clone() };
        for (name, request) in samples {
            assert!(taken(&connector, &request, &other, NOW).is_err(), "{} {name}", connector.id);
            if keys.secrets.is_empty() {
                continue;
            }
            for keys in [&none, &empty] {
                assert_eq!(
                    taken(&connector, &request, keys, NOW),
                    Err(VerifyError::NoSecret),
                    "{} {name}",
                    connector.id
                );
            }
        }
    }
}

#[test]
fn fault_061_old_and_new_secrets_are_good_together() {
    for connector in connectors() {
        let (keys, _, samples) = samples(&connector);
        let both = SigningContext {
            secrets: [vec![Secret::from("another secret of before")], keys.secrets.clone()].concat(),
            ..keys
        };
        for (name, request) in samples {
            assert_eq!(taken(&connector, &request, &both, NOW), Ok(()), "{} {name}", connector.id);
        }
    }
}

#[test]
fn fault_064_every_bit_of_a_signed_body_counts() {
    let mut flipped = 0;
    for connector in connectors() {
        let (keys, _, samples) = samples(&connector);
        let Some((name, request)) = samples.into_iter().next() else { continue };
        let Some(proof) = proof(&connector, &request) else { continue };
        if !covers_body(&connector, proof) {
            continue;
        }
        for bit in 0..request.body.len() * 8 {
            let mut other = request.clone();
            other.body[bit / 8] ^= 1 << (bit % 8);
            if names_form(proof) && pairs(&other) == pairs(&request) {
                // `%2b` says what `%2B` says, and what Twilio signs is what a form says.
                continue;
            }
            assert!(taken(&connector, &other, &keys, NOW).is_err(), "{} {name} bit {bit}", connector.id);
            flipped += 1;
        }
        for end in 0..request.body.len() {
            let other = WebhookRequest { body: request.body[..end].to_vec(), ..request.clone() };
            assert!(taken(&connector, &other, &keys, NOW).is_err(), "{} {name} cut at {end}", connector.id);
        }
        for more in [&b" "[..], b"\n", b"\0", b"\xff"] {
            let other = WebhookRequest { body: [&request.body, more].concat(), ..request.clone() };
            assert!(taken(&connector, &other, &keys, NOW).is_err(), "{} {name} and {more:?}", connector.id);
        }
    }
    assert!(flipped > 50_000, "{flipped}");
}

#[test]
fn fault_059_a_signature_is_whole_and_as_the_vendor_writes_it() {
    for connector in connectors() {
        let (keys, _, samples) = samples(&connector);
        for (name, request) in samples {
            let Some(proof) = proof(&connector, &request) else { continue };
            for header in proving_headers(proof) {
                let text = request.single_header(&header).unwrap().to_owned();
                let refused = |value: &str| {
                    let other = changed_header(&request, &header, value);
                    assert!(
                        taken(&connector, &other, &keys, NOW).is_err(),
                        "{} {name}: {header}: {value}",
                        connector.id
                    );
                };
                spoilt(&text).for_each(|text| refused(&text));
            }
        }
    }
}

#[test]
fn fault_059_a_token_in_the_url_or_in_an_item_is_whole() {
    let mut places = 0;
    for connector in connectors() {
        let (keys, _, samples) = samples(&connector);
        for (name, request) in samples {
            let Some(carrier) = proof(&connector, &request).map(|proof| &proof.signature) else { continue };
            if let Some(query) = &carrier.query {
                let token = request.query(query).unwrap();
                let (path, _) = request.url.split_once('?').unwrap();
                for text in spoilt(&token) {
                    let mut other = WebhookRequest { url: path.to_owned(), ..request.clone() };
                    other.set_query(query, &text);
                    assert!(taken(&connector, &other, &keys, NOW).is_err(), "{} {name}: {text}", connector.id);
                }
            } else if let Some(at) = &carrier.at {
                let rules = connector.webhook.as_ref().unwrap();
                let whole = event::document(&rules.event, &request).unwrap();
                let token = at.text(&event::items(&rules.event, &whole).unwrap()[0]).unwrap();
                for text in spoilt(&token) {
                    let mut document = whole.clone();
                    crate::signing::sign::change_items(&rules.event.items, &mut document, &mut |item| {
                        at.set(item, text.clone().into());
                    });
                    let other = WebhookRequest { body: document.to_string().into_bytes(), ..request.clone() };
                    assert!(taken(&connector, &other, &keys, NOW).is_err(), "{} {name}: {text}", connector.id);
                }
            } else {
                continue;
            }
            places += 1;
        }
    }
    assert!(places >= 6, "{places}");
}

#[test]
fn another_vendors_key_is_refused() {
    let mut count = 0;
    for connector in connectors() {
        let (keys, _, samples) = samples(&connector);
        let other = published(&connector, b"another seed");
        for (name, request) in samples {
            if !proof(&connector, &request).is_some_and(SignatureScheme::needs_fetched_key) {
                continue;
            }
            let rules = connector.webhook.as_ref().unwrap();
            // The key set names its only key alike: it is the key itself that differs.
            assert_eq!(
                judge(rules, &request, &keys, &other, NOW),
                Err(VerifyError::SignatureMismatch),
                "{} {name}",
                connector.id
            );
            count += 1;
        }
    }
    assert!(count >= 10, "{count}");
}

#[test]
fn fault_060_a_timestamp_is_a_plain_number_within_the_tolerance() {
    let mut judged = 0;
    for connector in connectors() {
        let (keys, vendor, samples) = samples(&connector);
        let Some((name, request)) = samples.into_iter().next() else { continue };
        let Some(rule) = proof(&connector, &request).and_then(|proof| proof.timestamp.clone()) else { continue };
        if let Some(tolerance) = rule.tolerance_secs.map(i64::from) {
            for (apart, good) in
                [(-tolerance - 1, false), (-tolerance, true), (tolerance, true), (tolerance + 1, false)]
            {
                let request = sample(&connector, &name, &keys, &vendor, NOW + apart);
                assert_eq!(taken(&connector, &request, &keys, NOW).is_ok(), good, "{} {apart}", connector.id);
            }
            judged += 1;
        }
        let Some(header) = &rule.place.header else { continue };
        if rule.place.separator.is_some() || rule.unit == crate::connector::TimeUnit::Date {
            continue;
        }
        for bad in [
            "",
            "+1",
            "-1",
            "1.0",
            "1e9",
            " 1",
            "9223372036854775807",
            "-9223372036854775808",
            "9".repeat(40).as_str(),
            "١",
        ] {
            let other = changed_header(&request, header, bad);
            assert!(taken(&connector, &other, &keys, NOW).is_err(), "{} {bad:?}", connector.id);
        }
    }
    assert!(judged >= 4, "{judged}");
}

#[test]
fn fault_062_a_proving_header_comes_once() {
    for connector in connectors() {
        let (keys, _, samples) = samples(&connector);
        for (name, request) in samples {
            let Some(proof) = proof(&connector, &request) else { continue };
            for header in proving_headers(proof) {
                for value in [request.single_header(&header).unwrap().to_owned(), "x".to_owned()] {
                    let mut other = request.clone();
                    other.headers.insert(0, (header.to_ascii_uppercase(), value));
                    assert!(taken(&connector, &other, &keys, NOW).is_err(), "{} {name} {header}", connector.id);
                }
                let mut other = request.clone();
                other.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(&header));
                assert!(taken(&connector, &other, &keys, NOW).is_err(), "{} {name} without {header}", connector.id);
            }
        }
    }
}

#[test]
fn what_is_made_wrong_on_purpose_is_refused() {
    for connector in connectors() {
        let (keys, vendor, samples) = samples(&connector);
        for (name, request) in samples {
            let Some(proof) = proof(&connector, &request) else { continue };
            for fault in
                [Corruption::Signature, Corruption::PastTimestamp, Corruption::FutureTimestamp, Corruption::Body]
            {
                let Ok(at) = signed_at(fault, Some(proof), &connector.id, super::at(NOW)) else { continue };
                let mut request = sample(&connector, &name, &keys, &vendor, at.map_or(NOW, Timestamp::as_second));
                let rules = connector.webhook.as_ref().unwrap();
                let document = event::document(&rules.event, &request).unwrap();
                let items = event::items(&rules.event, &document).unwrap();
                corrupt(fault, proof, &mut request, &items[0]);
                assert!(taken(&connector, &request, &keys, NOW).is_err(), "{} {name} {fault:?}", connector.id);
            }
        }
    }
}

#[test]
fn a_time_in_the_body_is_signed_with_it_and_stays_a_number() {
    let text = r#"
id = "clocks"
name = "Clocks"
category = "generic"
description = "Events that say in their body when they were sent."
docs = "https://clocks.example/developers"
[api]
base = "https://api.clocks.example"
[auth.key]
label = "API key"
[auth.key.fields.key]
prompt = "API key"
[health]
path = "/me"
[events.tick]
about = "A tick"
sample = { json = '{"type": "tick", "id": "{id}", "sentAt": "{now_ms}"}' }
[webhook]
setup = "Add the URL."
retry = "For a day."
[webhook.params.secret]
prompt = "Signing secret"
[[webhook.proofs]]
scheme = "hmac_sha256"
signature = { header = "clock-signature" }
timestamp = { place = { at = "/sentAt" }, unit = "milliseconds", tolerance_secs = 60 }
[webhook.event]
id = [{ at = "/id" }]
type = [{ at = "/type" }]
"#;
    let connector = crate::connector::parse(text).unwrap();
    let (keys, vendor, samples) = samples(&connector);
    let (name, request) = &samples[0];
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["sentAt"], serde_json::json!(NOW * 1000));
    taken(&connector, request, &keys, NOW).unwrap();
    let old = sample(&connector, name, &keys, &vendor, NOW - 3600);
    assert!(matches!(taken(&connector, &old, &keys, NOW), Err(VerifyError::TimestampOutOfTolerance(_))));
}

#[test]
fn fault_063_ids_with_dots_are_no_other_deliverys() {
    // Standard Webhooks joins id, time and body by dots: an id with one in it could be signed as another.
    for connector in connectors().iter().filter(|connector| ["webhook", "gitlab"].contains(&connector.id.as_str())) {
        let (keys, _, samples) = samples(connector);
        for (name, request) in samples {
            let Some(id) = request.single_header("webhook-id").map(str::to_owned) else { continue };
            let time = request.single_header("webhook-timestamp").unwrap().to_owned();
            let other = changed_header(&request, "webhook-id", &format!("{id}.{time}"));
            assert!(taken(connector, &other, &keys, NOW).is_err(), "{} {name}", connector.id);
        }
    }
}

#[test]
fn whatever_comes_is_judged_without_a_panic() {
    for connector in connectors() {
        let (keys, _) = crate::webhook::settings::keys_without_connection(&connector, b"a seed", None).unwrap();
        let rules = connector.webhook.as_ref().unwrap();
        let names: Vec<String> = rules.proofs.iter().flat_map(proving_headers).collect();
        for _ in 0..200 {
            let noise = clock::random::<64>();
            let text: String = noise[..40].iter().map(|byte| char::from(32 + byte % 95)).collect();
            let headers = names.iter().enumerate().map(|(at, name)| (name.clone(), text[at.min(30)..].to_owned()));
            let request = WebhookRequest {
                method: "POST".to_owned(),
                url: format!("https://hooks.example.com/?token={text}&bodySHA256={text}"),
                headers: headers.collect(),
                body: noise[usize::from(noise[63] % 60)..].to_vec(),
            };
            if !rules.proofs.is_empty() {
                assert!(taken(&connector, &request, &keys, NOW).is_err(), "{} {request:?}", connector.id);
            }
        }
    }
}
