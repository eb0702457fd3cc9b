//! The events of requests: distinct IDs, and the account, object and time in every sample.

use serde_json::json;

use super::{NOW, WebhookRequest, at, connectors, samples};
use crate::connector::EventSelectors;
use crate::signing::verify::ParsedRequest;
use crate::webhook::inbound::event::{self, ParsedEvent};

fn shape(connector: &str) -> EventSelectors {
    connectors().into_iter().find(|known| known.id == connector).and_then(|known| known.webhook.clone()).unwrap().event
}

fn read(shape: &EventSelectors, request: &WebhookRequest, received: i64) -> Vec<ParsedEvent> {
    let document = event::document(shape, request).unwrap();
    let items = event::items(shape, &document).unwrap();
    let judged = ParsedRequest { request, document: &document, items: &items };
    let one = |(place, item)| event::parse_event(shape, &judged, place, item, at(received));
    items.iter().enumerate().map(one).collect()
}

fn ids(connector: &str, body: &serde_json::Value, received: i64) -> Vec<String> {
    let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    let url = "https://hooks.example.com/h".to_owned();
    let request = WebhookRequest { method: "POST".to_owned(), url, headers, body: body.to_string().into_bytes() };
    read(&shape(connector), &request, received).into_iter().map(|event| event.delivery_id).collect()
}

#[test]
fn what_has_no_id_is_known_by_its_body_and_its_place_in_it() {
    let change = json!({ "field": "message_template_status_update",
        "value": { "event": "APPROVED", "message_template_id": 1_200_000_000_000_001_u64 } });
    let body = |time: i64| {
        json!({ "object": "whatsapp_business_account",
        "entry": [{ "id": "W1", "time": time, "changes": [change, change] }] })
    };
    let first = ids("whatsapp", &body(NOW), NOW);
    assert_ne!(first[0], first[1], "two of a batch are two");
    assert_eq!(first, ids("whatsapp", &body(NOW), NOW + 600), "the same body again is the same events");
    let later = ids("whatsapp", &body(NOW + 86_400), NOW + 86_400);
    assert!(later.iter().all(|id| !first.contains(id)), "approved once more is another event");
}

#[test]
fn what_proves_a_request_is_no_part_of_its_id() {
    let shape = shape("salesforce");
    let request = |token: &str| WebhookRequest {
        method: "POST".to_owned(),
        url: format!("https://hooks.example.com/h?token={token}"),
        headers: Vec::new(),
        body: b"<notifications/>".to_vec(),
    };
    let id = |token: &str| read(&shape, &request(token), NOW)[0].delivery_id.clone();
    assert_eq!(id("old"), id("new"), "it is sent again after the secret was replaced");
}

#[test]
fn what_befalls_a_subscription_is_told_each_time() {
    let of = |kind: &str, word: &str| {
        json!({ "value": [{ "subscriptionId": "s", kind: word, "tenantId": "t",
        "subscriptionExpirationDateTime": "2026-01-31T00:00:00Z", "resourceData": { "id": "r", "@odata.etag": "e" } }] })
    };
    let missed = of("lifecycleEvent", "missed");
    assert_ne!(ids("outlook-calendar", &missed, NOW), ids("outlook-calendar", &missed, NOW + 60));
    let changed = of("changeType", "updated");
    assert_eq!(ids("outlook-calendar", &changed, NOW), ids("outlook-calendar", &changed, NOW + 60));
}

#[test]
fn a_date_without_an_offset_is_utc() {
    let time = |text: &str| {
        let body = json!({ "type": "x", "timestamp": text }).to_string().into_bytes();
        let url = "https://hooks.example.com/h".to_owned();
        read(&shape("webhook"), &WebhookRequest { method: "POST".to_owned(), url, headers: Vec::new(), body }, NOW)[0]
            .time
    };
    assert_eq!(time("2023-11-14T22:13:20"), Some(at(NOW)));
    assert_eq!(time("2023-11-14T23:13:20+01:00"), Some(at(NOW)));
    assert_eq!(time("yesterday"), None);
}

#[test]
fn every_sample_says_what_it_is_about() {
    // About the account as a whole, or a document in a format of its own.
    const NOTHING: &[&str] = &[
        "discord APPLICATION_DEAUTHORIZED",
        "salesforce outbound_message",
        "slack app_uninstalled",
        "slack team_join",
        "whatsapp account_update",
        "whatsapp flows",
    ];
    for connector in connectors() {
        let (_, _, samples) = samples(&connector);
        for (name, request) in samples {
            let name = format!("{} {name}", connector.id);
            for event in read(&connector.webhook.as_ref().unwrap().event, &request, NOW) {
                assert_eq!(event.resource.is_none(), NOTHING.contains(&name.as_str()), "{name}: {event:?}");
            }
        }
    }
}

#[test]
fn who_did_it_stands_in_one_of_several_places() {
    for (connector, nobody) in [
        ("discord", &[][..]),
        ("gitlab", &["Release Hook"]),
        ("jira", &["comment_deleted", "issuelink_created"]),
        ("slack", &["app_uninstalled"]),
        ("telegram", &["channel_post"]),
        ("trello", &[]),
        ("twilio", &[]),
    ] {
        let connector = connectors().into_iter().find(|known| known.id == connector).unwrap();
        let (_, _, samples) = samples(&connector);
        for (name, request) in samples {
            let event = &read(&connector.webhook.as_ref().unwrap().event, &request, NOW)[0];
            assert_eq!(event.actor.is_none(), nobody.contains(&name.as_str()), "{} {name}: {event:?}", connector.id);
        }
    }
}
