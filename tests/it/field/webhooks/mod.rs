//! Webhook requests of every size, encoding and repetition, and what becomes of them.

mod bodies;
mod commands;
mod handling;
mod identity;
mod services;

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use integ::clock::Timestamp;
use ring::hmac;
use serde_json::Value;
use url::Url;

use crate::harness::Home;
use crate::webhook::Listening;
use crate::wire::Message;

const SECRET: &str = "a-long-enough-secret";

/// A home with a sandbox connection whose services sign with [`SECRET`].
fn home(connector: &str) -> Home {
    let home = Home::new();
    home.ok(&format!("connect {connector} --sandbox"));
    let set = home.run_with_input(&format!("webhook secret {connector} --set -"), SECRET);
    assert_eq!(set.code, 0, "{set:?}");
    home
}

/// Posts a request with these header lines.
fn send(url: &Url, headers: &[String], body: &[u8]) -> Message {
    let mut stream = TcpStream::connect(&*url.socket_addrs(|| None).unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    write!(
        stream,
        "POST {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
        url.authority(),
        body.len()
    )
    .unwrap();
    // A receiver that refuses a body by its length does not read it.
    let _ = stream.write_all(body);
    Message::read(&stream).unwrap()
}

fn hex(tag: &hmac::Tag) -> String {
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), message)
}

/// The signature that GitHub and many others send, of the body alone.
fn hub(body: &[u8]) -> String {
    format!("X-Hub-Signature-256: sha256={}", hex(&sha256(body)))
}

fn github(body: &[u8], delivery: &str) -> Vec<String> {
    let names = ["Content-Type: application/json", "X-GitHub-Event: push"];
    let mut headers: Vec<String> = names.iter().map(|line| (*line).to_owned()).collect();
    headers.extend([format!("X-GitHub-Delivery: {delivery}"), hub(body)]);
    headers
}

fn stripe(body: &[u8]) -> Vec<String> {
    let at = Timestamp::now().as_second();
    let tag = sha256(&[format!("{at}.").as_bytes(), body].concat());
    vec!["Content-Type: application/json".to_owned(), format!("Stripe-Signature: t={at},v1={}", hex(&tag))]
}

fn bearer() -> String {
    format!("Authorization: Bearer {SECRET}")
}

const JSON: &str = "Content-Type: application/json";

/// Sends a request that is taken, and returns the line of its event.
fn taken(listening: &mut Listening, connection: &str, headers: &[String], body: &[u8]) -> Value {
    let answer = send(&listening.url(connection), headers, body);
    assert_eq!(answer.status(), 200, "{answer:?}");
    listening.until("received")
}

/// The lines of a file that a handler writes, once there are so many, in the order of arrival: several events are handled at once.
fn lines(path: &Path, count: usize) -> Vec<Value> {
    let waiting = Instant::now();
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() >= count && text.ends_with('\n') {
            let mut events: Vec<Value> = lines.iter().map(|line| integ::json::parse(line).unwrap()).collect();
            events.sort_by_key(|event| event["id"].as_i64());
            return events;
        }
        assert!(waiting.elapsed() < Duration::from_secs(60), "{} of {count} lines in {}", lines.len(), path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}
