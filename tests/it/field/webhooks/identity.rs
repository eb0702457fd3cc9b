//! Which requests are the same event, and what becomes of two bodies under one id.

use std::time::Duration;

use integ::clock::Timestamp;
use serde_json::json;

use super::{JSON, bearer, github, hex, home, hub, lines, send, sha256, stripe, taken};
use crate::webhook::{Listening, events};

const HEARTBEAT: &[u8] = br#"{"type":"deploy","data":{"id":"site"}}"#;

#[test]
fn field_08_equal_bodies_without_an_id_are_an_event_each() {
    let home = home("webhook");
    let mut listening = Listening::start(&home, "webhook --append out.jsonl", None);
    for proof in [bearer(), hub(HEARTBEAT)] {
        for _ in 0..2 {
            let line = taken(&mut listening, "webhook", &[JSON.to_owned(), proof.clone()], HEARTBEAT);
            assert_eq!(line["duplicate"], false, "{proof}: {line}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    // A captured request is no event under an id that was added to it.
    let headers = [JSON.to_owned(), hub(HEARTBEAT), "webhook-id: msg_1".to_owned()];
    assert_eq!(taken(&mut listening, "webhook", &headers, HEARTBEAT)["duplicate"], true);
    assert_eq!(lines(&home.path().join("out.jsonl"), 4).len(), 4);
    // By its id a request is known however often it comes.
    for duplicate in [false, true] {
        let headers = [JSON.to_owned(), bearer(), "webhook-id: msg_2".to_owned()];
        assert_eq!(taken(&mut listening, "webhook", &headers, HEARTBEAT)["duplicate"], duplicate);
    }
    assert_eq!(events(&home, "").len(), 5);
}

#[test]
fn field_08_a_signed_time_tells_equal_bodies_apart_and_a_repeated_request_is_one() {
    let home = home("slack");
    let mut listening = Listening::start(&home, "slack", None);
    let body = b"command=%2Fdeploy&text=now&team_id=T1&user_id=U1";
    let signed = |at: i64| {
        let tag = sha256(&[format!("v0:{at}:").as_bytes(), body].concat());
        let kind = "Content-Type: application/x-www-form-urlencoded".to_owned();
        vec![kind, format!("X-Slack-Request-Timestamp: {at}"), format!("X-Slack-Signature: v0={}", hex(&tag))]
    };
    let now = Timestamp::now().as_second();
    for (at, duplicate) in [(now, false), (now, true), (now - 1, false), (now - 1, true)] {
        let line = taken(&mut listening, "slack", &signed(at), body);
        assert_eq!((&line["type"], &line["duplicate"]), (&json!("slash_command"), &json!(duplicate)), "{at}: {line}");
    }
    assert_eq!(send(&listening.url("slack"), &signed(now - 400), body).status(), 401, "an old one is refused");
}

#[test]
fn field_08_a_service_whose_id_is_not_signed_repeats_it_and_a_captured_request_is_one_event() {
    let home = home("github");
    let mut listening = Listening::start(&home, "github", None);
    let body = br#"{"ref":"refs/heads/main"}"#;
    assert_eq!(taken(&mut listening, "github", &github(body, "a"), body)["duplicate"], false);
    assert_eq!(taken(&mut listening, "github", &github(body, "a"), body)["duplicate"], true);
    assert_eq!(
        taken(&mut listening, "github", &github(body, "b"), body)["duplicate"],
        true,
        "replayed under another id"
    );
    let without: Vec<String> = github(body, "a").into_iter().filter(|line| !line.contains("Delivery")).collect();
    assert_eq!(taken(&mut listening, "github", &without, body)["duplicate"], true, "and under none");
}

/// Stripe's test events all have one id.
fn test_event(kind: &str) -> Vec<u8> {
    format!(r#"{{"id":"evt_00000000000000","object":"event","created":1764300000,"type":"{kind}","data":{{"object":{{"id":"x_1"}}}}}}"#)
        .into_bytes()
}

#[test]
fn field_09_a_conflict_is_shown_resolved_handled_and_sent_again() {
    let home = home("stripe");
    let mut listening = Listening::start(&home, "stripe --append out.jsonl", None);
    for (kind, conflict) in
        [("invoice.paid", false), ("charge.refunded", true), ("payout.paid", true), ("charge.refunded", true)]
    {
        let body = test_event(kind);
        let line = taken(&mut listening, "stripe", &stripe(&body), &body);
        assert_eq!(line["conflict"] == true, conflict, "{line}");
    }
    assert_eq!(events(&home, "--conflicts").len(), 1);
    let event = home.event(1);
    let shown = home.json(&format!("webhook show {event}"));
    assert_eq!(shown["conflicts"], 2, "{shown}");
    let types: Vec<_> =
        shown["other_bodies"].as_array().unwrap().iter().map(|body| (&body["number"], &body["type"])).collect();
    assert_eq!(types, [(&json!(1), &json!("charge.refunded")), (&json!(2), &json!("payout.paid"))]);
    assert!(
        home.ok(&format!("webhook show {event}")).contains(&format!("hint: integ webhook resolve {event} --keep all"))
    );
    let ran = home.run(&format!("webhook resolve {event} --keep 3 --json"));
    assert_eq!((ran.code, ran.error_code().as_str()), (3, "body_not_found"), "{ran:?}");
    let resolved = home.json(&format!("webhook resolve {event} --keep 2"));
    assert_eq!(resolved["events"].as_array().unwrap().len(), 1, "{resolved}");
    let handled = lines(&home.path().join("out.jsonl"), 2);
    assert_eq!(handled[1]["type"], "payout.paid", "the body that was chosen is handled");
    let ran = home.run(&format!("webhook resolve {event} --keep stored --json"));
    assert_eq!((ran.code, ran.error_code().as_str()), (3, "no_conflict"), "{ran:?}");
    // The body that was dropped is in conflict again, and each that is an event is known.
    for (kind, conflict) in [("payout.paid", false), ("invoice.paid", false), ("charge.refunded", true)] {
        let body = test_event(kind);
        let line = taken(&mut listening, "stripe", &stripe(&body), &body);
        assert_eq!((line["conflict"] == true, line["duplicate"] == true), (conflict, !conflict), "{line}");
    }
    assert_eq!(home.json(&format!("webhook resolve {event} --keep all"))["events"].as_array().unwrap().len(), 1);
    let handled = lines(&home.path().join("out.jsonl"), 3);
    assert_eq!(handled[2]["type"], "charge.refunded");
    let receiver = crate::receiver::Receiver::start();
    home.ok(&format!("webhook replay stripe --since 1h --to {}", receiver.url("/in")));
    let sent: Vec<String> = receiver.received("/in").iter().map(crate::wire::Message::text).collect();
    let expected =
        ["invoice.paid", "payout.paid", "charge.refunded"].map(|kind| String::from_utf8(test_event(kind)).unwrap());
    assert_eq!(sent, expected);
}

#[test]
fn field_09_no_body_is_answered_for_and_dropped() {
    let home = home("stripe");
    let mut listening = Listening::start(&home, "stripe", None);
    for number in 0..9 {
        let body = test_event(&format!("kind.{number}"));
        taken(&mut listening, "stripe", &stripe(&body), &body);
    }
    let body = test_event("one.too.many");
    assert_eq!(send(&listening.url("stripe"), &stripe(&body), &body).status(), 503, "Stripe sends it again");
    assert_eq!(listening.until("rejected")["reason"], "not_stored");
    home.ok(&format!("webhook resolve {} --keep all", home.event(1)));
    taken(&mut listening, "stripe", &stripe(&body), &body);
    assert_eq!(events(&home, "").len(), 9);
}
