//! Commands around webhooks: what they take, say and exit with.

use std::process::Stdio;

use integ::clock::Timestamp;
use serde_json::{Value, json};

use super::{SECRET, hex, home, stripe, taken};
use crate::harness::finish;
use crate::receiver::Receiver;
use crate::webhook::{Listening, events};

#[test]
fn field_40_a_port_or_a_host_is_a_url_of_this_machine() {
    let home = home("stripe");
    let app = Receiver::start();
    let port = app.address.rsplit(':').next().unwrap();
    for to in [format!(":{port}"), port.to_owned(), format!("localhost:{port}"), format!("127.0.0.1:{port}/")] {
        home.ok(&format!("webhook simulate stripe invoice.paid --to {to}"));
    }
    assert_eq!(app.wait("/", 4).len(), 4);
    let mut listening = Listening::start(&home, &format!("stripe --forward-to {port}"), None);
    home.ok("webhook simulate stripe invoice.paid");
    assert_eq!(listening.until("handled")["event_status"], "processed");
}

#[test]
fn field_50_simulate_shows_the_receivers_json_and_exits_with_5_if_nobody_listens() {
    let home = home("stripe");
    let served = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = served.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let (stream, _) = served.accept().unwrap();
        crate::wire::Message::read(&stream).unwrap();
        let body = r#"{"received":true,"id":12345678901234567890123}"#;
        std::io::Write::write_all(
            &mut &stream,
            format!("HTTP/1.1 200 -\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes(),
        )
        .unwrap();
    });
    let sent = home.json(&format!("webhook simulate stripe invoice.paid --to {to}"));
    assert_eq!(sent["response"]["received"], true, "{sent}");
    serving.join().unwrap();
    let ran = home.run(&format!("webhook simulate stripe invoice.paid --to {to} --json"));
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.stderr.contains("hint: integ webhook listen stripe"), "{ran:?}");
}

#[test]
fn field_40_events_take_the_patterns_of_listen_and_listen_warns_of_a_type_that_is_unknown() {
    let home = home("stripe");
    let mut listening = Listening::start(&home, "stripe", None);
    for kind in ["invoice.paid", "charge.refunded", "invoice.payment_failed", "payout.paid"] {
        home.ok(&format!("webhook simulate stripe {kind}"));
        listening.until("received");
    }
    for (pattern, count) in
        [("invoice.*", 2), ("invoice.paid", 1), ("invoice.*,payout.paid", 3), ("*", 4), ("invoice", 0)]
    {
        assert_eq!(events(&home, &format!("--type {pattern}")).len(), count, "{pattern}");
    }
    assert_eq!(home.ok("webhook events --type invoice.* --limit 1 --json").lines().count(), 1);
    drop(listening);
    for (wanted, warns) in [("invoce.paid", true), ("invoice.*", false), ("invoice.paid", false)] {
        let mut command = home.command(["webhook", "listen", "stripe", "--port", "0", "--json", "--events", wanted]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut String::new())
            .unwrap();
        // Said before anything is received, and thus before this.
        std::thread::sleep(std::time::Duration::from_millis(300));
        child.kill().unwrap();
        let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
        assert_eq!(said.contains("did you mean \"invoice.paid\"?"), warns, "{wanted}: {said}");
    }
}

#[test]
fn field_40_a_request_that_is_right_and_old_says_how_to_verify_it() {
    let home = home("stripe");
    let body = br#"{"id":"evt_1","type":"invoice.paid"}"#;
    let at = Timestamp::now().as_second() - 870;
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hex(&ring::hmac::sign(&key, &[format!("{at}.").as_bytes(), body].concat()));
    std::fs::write(home.path().join("head"), format!("Stripe-Signature: t={at},v1={tag}\n")).unwrap();
    std::fs::write(home.path().join("body"), body).unwrap();
    let ran = finish(home.command(["webhook", "verify", "stripe", "--headers", "head", "--body", "body", "--json"]));
    let refused: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &refused["reason"]), (1, &json!("timestamp_out_of_tolerance")), "{refused}");
    let hint = refused["hint"].as_str().unwrap();
    assert_eq!(home.json(hint.strip_prefix("integ ").unwrap())["accepted"], true, "{hint}");
}

#[test]
fn field_09_events_without_conflicts_are_listed_as_none() {
    let home = home("stripe");
    let mut listening = Listening::start(&home, "stripe", None);
    let body = br#"{"id":"evt_1","type":"invoice.paid"}"#;
    taken(&mut listening, "stripe", &stripe(body), body);
    assert_eq!(events(&home, "").len(), 1);
    assert!(events(&home, "--conflicts").is_empty());
}
