//! What handlers get and give, and what a receiver that is not there costs.

use std::net::TcpListener;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac};
use serde_json::json;
use url::Url;

use super::{JSON, SECRET, bearer, home, send, stripe, taken};
use crate::receiver::{Answer, Receiver};
use crate::webhook::Listening;

/// A Twilio request as it is signed: the URL with the hash of the body in its query.
fn twilio(called: &str, query: &str, body: &[u8]) -> (String, Vec<String>) {
    let hash: String =
        digest::digest(&digest::SHA256, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let query = format!("{query}&bodySHA256={hash}");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    let tag = STANDARD.encode(hmac::sign(&key, format!("{called}?{query}").as_bytes()));
    (query, vec![JSON.to_owned(), format!("X-Twilio-Signature: {tag}")])
}

#[test]
fn field_10_a_webhooks_query_is_kept_shown_forwarded_run_with_and_replayed() {
    let home = home("twilio");
    home.ok("webhook url twilio --public-url https://hooks.example.com");
    let app = Receiver::start();
    let words = format!("twilio --forward-to {} --exec", app.url("/sms?tenant=7"));
    let mut listening = Listening::start(&home, &words, Some("sh -c 'printf %s \"$INTEG_EVENT_QUERY\" > query'"));
    let url = listening.url("twilio");
    let body = br#"{"MessageSid":"SM1"}"#;
    let (query, headers) =
        twilio(&format!("https://hooks.example.com{}", url.path()), "event=incoming_message&x=a%20b", body);
    let mut called = url.clone();
    called.set_query(Some(&query));
    assert_eq!(send(&called, &headers, body).status(), 204, "Twilio gets the answer of the app");
    assert_eq!(listening.until("handled")["event_status"], "processed");
    let forwarded = app.wait("/sms", 1);
    assert_eq!(forwarded[0].0.request().1, format!("/sms?tenant=7&{query}"));
    assert_eq!(std::fs::read_to_string(home.path().join("query")).unwrap(), query);
    assert_eq!(home.json(&format!("webhook show {}", home.event(1)))["query"], query);
    home.ok(&format!("webhook replay twilio --since 1h --to {}", app.url("/again?tenant=8")));
    let replayed = &app.wait("/again", 1)[0].0;
    let target = replayed.request().1;
    assert!(target.starts_with("/again?tenant=8&event=incoming_message&x=a%20b&bodySHA256="), "{target}");
    assert_eq!(target.matches("bodySHA256").count(), 1, "{target}");
    // Signed as of its new URL.
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    let tag = STANDARD.encode(hmac::sign(&key, app.url(target).as_bytes()));
    assert_eq!(replayed.header("x-twilio-signature"), Some(tag.as_str()));
}

#[test]
fn field_40_a_receiver_that_is_not_there_pauses_the_queue_and_loses_no_attempt() {
    let home = home("stripe");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let words = format!("stripe --append out.jsonl --attempts 1 --forward-to {address}/in");
    let mut listening = Listening::start(&home, &words, None);
    for number in 0..2 {
        let body = format!(r#"{{"id":"evt_{number}","type":"invoice.paid"}}"#);
        taken(&mut listening, "stripe", &stripe(body.as_bytes()), body.as_bytes());
        if number == 0 {
            assert_eq!(listening.until("paused")["connection"], "stripe");
        }
    }
    std::thread::sleep(Duration::from_secs(3));
    let waiting = crate::webhook::events(&home, "--status pending");
    assert_eq!(waiting.len(), 2, "{waiting:?}");
    assert_eq!(waiting[0]["attempts"], 0);
    assert!(waiting[0]["error"].as_str().unwrap().contains("cannot reach"), "{waiting:?}");
    let listener = TcpListener::bind(address).unwrap();
    let serving = std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            crate::wire::Message::read(&stream).unwrap();
            std::io::Write::write_all(&mut stream, b"HTTP/1.1 204 -\r\nconnection: close\r\n\r\n").unwrap();
        }
    });
    listening.until("resumed");
    for _ in 0..2 {
        assert_eq!(listening.until("handled")["event_status"], "processed");
    }
    serving.join().unwrap();
    // What was done before the receiver was missed is not done again.
    assert_eq!(std::fs::read_to_string(home.path().join("out.jsonl")).unwrap().lines().count(), 2);
}

#[test]
fn field_40_a_dead_event_that_is_sent_again_begins_again() {
    let home = home("stripe");
    let mut listening = Listening::start(&home, "stripe --attempts 1 --exec", Some("sh -c 'test -e works'"));
    let body = br#"{"id":"evt_1","type":"invoice.paid"}"#;
    taken(&mut listening, "stripe", &stripe(body), body);
    assert_eq!(listening.until("failed")["event_status"], "dead");
    std::fs::write(home.path().join("works"), "").unwrap();
    let line = taken(&mut listening, "stripe", &stripe(body), body);
    assert_eq!((&line["restarted"], &line["duplicate"]), (&json!(true), &json!(true)), "{line}");
    assert_eq!(listening.until("handled")["event_status"], "processed");
    let line = taken(&mut listening, "stripe", &stripe(body), body);
    assert_eq!((&line["restarted"], &line["duplicate"]), (&json!(null), &json!(true)), "{line}");
    assert_eq!(crate::webhook::events(&home, "").len(), 1);
}

#[test]
fn field_40_the_handlers_answer_is_the_answer_to_the_service() {
    let home = home("webhook");
    let app = Receiver::start();
    let body = br#"{"type":"call"}"#;
    let headers = [JSON.to_owned(), bearer()];
    {
        let words = format!("webhook --reply --forward-to {}", app.url("/in"));
        let listening = Listening::start(&home, &words, None);
        app.answers("/in", [Answer::Status(201), Answer::Status(500)]);
        let answer = send(&listening.url("webhook"), &headers, body);
        assert_eq!((answer.status(), answer.text().as_str()), (201, "said"));
        let answer = send(&listening.url("webhook"), &headers, body);
        assert_eq!((answer.status(), answer.text().as_str()), (200, ""), "a failure is integ's to try again");
    }
    let twilio = super::home("twilio");
    let handler = "sh -c 'cat > /dev/null; echo \"<Response><Say>Hi</Say></Response>\"'";
    let listening = Listening::start(&twilio, "twilio --reply --exec", Some(handler));
    let url = listening.url("twilio");
    let (query, headers) = self::twilio(url.as_str(), "event=incoming_call", body);
    let mut called = url;
    called.set_query(Some(&query));
    let answer = send(&called, &headers, body);
    assert_eq!(answer.text(), "<Response><Say>Hi</Say></Response>\n");
    assert_eq!(answer.header("content-type"), Some("text/xml"));
}

#[test]
fn field_40_it_is_reached_below_a_path_with_a_slash_at_its_end_and_at_other_addresses() {
    let home = home("twilio");
    home.ok("webhook url twilio --public-url https://hooks.example.com/integ/");
    let mut listening = Listening::start(&home, "twilio --bind 0.0.0.0", None);
    let local = listening.url("twilio");
    let body = br#"{"MessageSid":"SM1"}"#;
    for (prefix, slash) in [("", ""), ("", "/"), ("/integ", ""), ("/integ", "/")] {
        let registered = format!("https://hooks.example.com/integ{}{slash}", local.path());
        let (query, headers) = twilio(&registered, "event=incoming_message", body);
        let called: Url =
            format!("http://{}{prefix}{}{slash}?{query}", local.authority(), local.path()).parse().unwrap();
        assert_eq!(send(&called, &headers, body).status(), 200, "{called}");
        assert_eq!(listening.event()["type"], "incoming_message");
    }
    // All addresses of 127/8 are this machine's.
    let other: Url = format!("http://127.0.0.2:{}/webhooks/twilio/x", local.port().unwrap()).parse().unwrap();
    assert_eq!(send(&other, &[], b"").status(), 404);
}
