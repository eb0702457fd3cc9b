//! What bodies may be: any JSON, any character set, compressed, large.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::{JSON, github, home, hub, lines, send, stripe, taken};
use crate::webhook::{Listening, events};

/// Texts that are JSON and that strict parsers refuse, as the description of an object.
const ODD: &[&str] =
    &[r#""Thanks \ud83d""#, r#""\udc00 low first""#, "1e400", "-1E+99999", "0.1000000000000000000000001"];

#[test]
fn field_05_an_event_keeps_its_type_and_id_in_json_that_strict_parsers_refuse() {
    let home = home("stripe");
    let mut listening = Listening::start(
        &home,
        "stripe --events invoice.* --append out.jsonl --exec",
        Some("sh -c 'cat >> raw; echo >> raw'"),
    );
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let values: Vec<String> = ODD.iter().map(|text| (*text).to_owned()).chain([deep]).collect();
    for (number, value) in values.iter().enumerate() {
        let body = format!(
            r#"{{"id":"evt_{number}","object":"event","created":1764300000,"type":"invoice.paid","data":{{"object":{{"id":"in_1","description":{value}}}}}}}"#
        );
        let line = taken(&mut listening, "stripe", &stripe(body.as_bytes()), body.as_bytes());
        assert_eq!(line["type"], "invoice.paid", "{line}");
        assert_eq!(line["delivery_id"], format!("evt_{number}"), "{line}");
        let again = taken(&mut listening, "stripe", &stripe(body.as_bytes()), body.as_bytes());
        assert_eq!((&again["duplicate"], &again["id"]), (&json!(true), &line["id"]), "{again}");
    }
    let marked = [b"\xef\xbb\xbf".as_slice(), br#"{"id":"evt_bom","type":"invoice.paid"}"#].concat();
    assert_eq!(taken(&mut listening, "stripe", &stripe(&marked), &marked)["delivery_id"], "evt_bom");
    let handled = lines(&home.path().join("out.jsonl"), values.len() + 1);
    assert_eq!(handled[0]["resource"], "in_1");
    // Handlers get what the service wrote, letter by letter.
    let written = std::fs::read_to_string(home.path().join("out.jsonl")).unwrap();
    let waiting = std::time::Instant::now();
    while std::fs::read_to_string(home.path().join("raw")).unwrap_or_default().lines().count() <= values.len() {
        assert!(waiting.elapsed().as_secs() < 60);
    }
    let raw = std::fs::read_to_string(home.path().join("raw")).unwrap();
    for value in &values {
        let member = format!(r#""description":{value}}}"#);
        assert!(written.contains(&member) && raw.contains(&member), "{member}");
    }
}

#[test]
fn field_06_a_body_is_as_large_as_the_connector_allows() {
    let home = home("github");
    let mut listening = Listening::start(&home, "github", None);
    let body = |size: usize| {
        let (head, tail) = (br#"{"ref":"refs/heads/main","commits":""#, br#""}"#);
        [head.as_slice(), &vec![b'x'; size - head.len() - tail.len()], tail].concat()
    };
    const MIB: usize = 1024 * 1024;
    for (number, size) in [MIB + 1, 2 * MIB, 32 * MIB].into_iter().enumerate() {
        let body = body(size);
        let line = taken(&mut listening, "github", &github(&body, &format!("delivery-{number}")), &body);
        let kept = home.json(&format!("webhook show {}", line["id"]));
        assert_eq!(kept["size"], size);
    }
    let body = body(32 * MIB + 1);
    let refused = send(&listening.url("github"), &github(&body, "too-large"), &body);
    assert_eq!(refused.status(), 413);
    let line = listening.event();
    assert_eq!((&line["event"], &line["reason"]), (&json!("rejected"), &json!("too_large")), "{line}");
    assert!(line["message"].as_str().unwrap().contains("integ config set webhooks.max_body"), "{line}");
    drop(listening);
    // The setting replaces the limits of all connectors.
    home.ok("config set webhooks.max_body 33MiB");
    let mut listening = Listening::start(&home, "github", None);
    taken(&mut listening, "github", &github(&body, "larger"), &body);
    drop(listening);
    home.ok("config set webhooks.max_body 1MiB");
    let listening = Listening::start(&home, "github", None);
    assert_eq!(send(&listening.url("github"), &github(&body, "smaller"), &body).status(), 413);
}

#[test]
fn field_07_a_body_in_another_character_set_is_read_and_kept_byte_for_byte() {
    let home = home("webhook");
    let mut listening = Listening::start(&home, "webhook --append out.jsonl", None);
    let utf16: Vec<u8> = "{\"type\":\"order.paid\",\"data\":{\"id\":\"o3\",\"name\":\"José\"}}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let bodies = [
        (
            "application/json; charset=ISO-8859-1",
            b"{\"type\":\"order.paid\",\"data\":{\"id\":\"o1\",\"name\":\"Jos\xe9\"}}".to_vec(),
        ),
        ("application/json", b"{\"type\":\"order.paid\",\"data\":{\"id\":\"o2\",\"name\":\"Jos\xe9\"}}".to_vec()),
        ("application/json; charset=utf-16le", utf16),
        ("application/x-www-form-urlencoded; charset=windows-1252", b"type=order.paid&name=Jos%E9".to_vec()),
    ];
    for (kind, body) in &bodies {
        let headers = [format!("Content-Type: {kind}"), hub(body)];
        let line = taken(&mut listening, "webhook", &headers, body);
        assert_eq!(line["type"], "order.paid", "{line}");
        let shown = crate::harness::finish(home.command(["webhook", "show", &line["id"].to_string(), "--json"]));
        let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
        assert!(shown["payload"].to_string().contains("José"), "{kind}: {shown}");
        let kept = home.command(["webhook", "show", &line["id"].to_string(), "--body"]).output().unwrap();
        assert_eq!(&kept.stdout, body, "{kind}");
    }
    let handled = lines(&home.path().join("out.jsonl"), bodies.len());
    assert!(handled.iter().all(|line| line["payload"].to_string().contains("José")), "{handled:?}");
    // What captures a request finds its signature right.
    let (kind, body) = &bodies[0];
    let head = format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n{}\r\n\r\n", hub(body));
    std::fs::write(home.path().join("request"), [head.as_bytes(), body].concat()).unwrap();
    let verified = home.json("webhook verify webhook --request request");
    assert_eq!(
        (&verified["accepted"], &verified["checks"][0]["status"]),
        (&json!(true), &json!("valid")),
        "{verified}"
    );
}

#[test]
fn field_07_a_compressed_body_is_read_and_a_bomb_is_refused() {
    let home = home("webhook");
    let mut listening = Listening::start(&home, "webhook --append out.jsonl --exec", Some("sh -c 'cat > stdin'"));
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let headers = |body: &[u8]| vec![JSON.to_owned(), "Content-Encoding: gzip".to_owned(), hub(body)];
    let plain = br#"{"type":"order.paid","data":{"id":"o1","amount":1.10}}"#;
    let body = gzip(plain);
    let line = taken(&mut listening, "webhook", &headers(&body), &body);
    assert_eq!(line["type"], "order.paid", "{line}");
    listening.until("handled");
    assert_eq!(std::fs::read(home.path().join("stdin")).unwrap(), plain);
    let handled = lines(&home.path().join("out.jsonl"), 1);
    assert_eq!(handled[0]["payload"]["data"]["amount"].to_string(), "1.10");
    let kept = home.command(["webhook", "show", &line["id"].to_string(), "--body"]).output().unwrap();
    assert_eq!(kept.stdout, body);
    let bomb = gzip(&vec![b' '; 65 * 1024 * 1024]);
    assert_eq!(send(&listening.url("webhook"), &headers(&bomb), &bomb).status(), 413);
    assert_eq!(listening.until("rejected")["reason"], "too_large");
    // In a coding that integ does not know it is kept as it is, and goes to handlers so.
    let other = [0xce, 0xb2, 0xff, 0, 1];
    let headers = [JSON.to_owned(), "Content-Encoding: zstd".to_owned(), hub(&other)];
    taken(&mut listening, "webhook", &headers, &other);
    listening.until("handled");
    assert_eq!(std::fs::read(home.path().join("stdin")).unwrap(), other);
    assert_eq!(lines(&home.path().join("out.jsonl"), 2)[1]["payload"]["base64"], "zrL/AAE=");
    assert_eq!(events(&home, "").len(), 2);
}

#[test]
fn field_15_every_value_of_a_repeated_form_name_arrives() {
    let home = home("webhook");
    let mut listening = Listening::start(&home, "webhook --append out.jsonl", None);
    let body = b"type=x&tag=a&tag=b&list%5B%5D=1&list%5B%5D=2&tag=a&empty&one=1";
    let headers = ["Content-Type: application/x-www-form-urlencoded".to_owned(), hub(body)];
    assert_eq!(taken(&mut listening, "webhook", &headers, body)["type"], "x");
    let payload = json!({ "type": "x", "tag": ["a", "b", "a"], "list[]": ["1", "2"], "empty": "", "one": "1" });
    assert_eq!(lines(&home.path().join("out.jsonl"), 1)[0]["payload"], payload);
}
