//! Limits: the rate of a token, repeated requests, sizes, and clients that are slow or many.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::{Server, expect, home, token};

/// 96: the sixty-first request of a minute is refused, whichever of the 64 clients sends it.
#[test]
fn the_rate_limit_is_exact_for_64_clients() {
    let home = home(&[]);
    let token = token(&home, "free", "--scope connections:read");
    let server = Server::start(&home, "");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..64)
            .map(|_| {
                let api = server.client(&token);
                scope.spawn(move || [api.get("/v1/status"), api.get("/v1/status")].map(|reply| reply.status))
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let count = |status| statuses.iter().filter(|one| **one == status).count();
    assert_eq!((count(200), count(429)), (60, 68), "{statuses:?}");
    let refused = server.client(&token).get("/v1/status");
    assert_eq!((refused.status, refused.code()), (429, "rate_limited"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    assert!(refused.header("ratelimit").unwrap().contains("r=0"), "{refused:?}");
}

#[test]
fn a_repeated_creation_gets_the_first_response_and_creates_nothing() {
    let home = home(&[]);
    let token = token(&home, "test", "--scope admin:* --tier enterprise");
    let server = Server::start(&home, "");
    let body = json!({ "url": "https://example.com/hook" });
    let headers = [("idempotency-key", "one")];
    let replies: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                let (api, body) = (server.client(&token), &body);
                scope.spawn(move || api.send("POST", "/v1/endpoints", &headers, Some(body)))
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let api = server.client(&token);
    let first = api.send("POST", "/v1/endpoints", &headers, Some(&body));
    expect(&first, 201);
    for reply in &replies {
        match reply.status {
            201 => assert_eq!(reply.body, first.body),
            _ => assert_eq!((reply.status, reply.code()), (409, "idempotency_key_in_use")),
        }
    }
    assert_eq!(expect(&api.get("/v1/endpoints"), 200)["data"].as_array().unwrap().len(), 1);
    let other = api.send("POST", "/v1/endpoints", &headers, Some(&json!({ "url": "https://example.com/other" })));
    assert_eq!((other.status, other.code()), (422, "idempotency_key_reused"));
    // What failed may be sent again under its key.
    let headers = [("idempotency-key", "two")];
    expect(&api.send("POST", "/v1/endpoints", &headers, Some(&json!({ "url": "http://10.0.0.1/" }))), 400);
    expect(&api.send("POST", "/v1/endpoints", &headers, Some(&json!({ "url": "http://10.0.0.1/" }))), 400);
}

#[test]
fn bodies_of_the_wrong_kind_or_size_are_refused() {
    let home = home(&["slack"]);
    let token = token(&home, "test", "--scope admin:* --tier enterprise");
    let server = Server::start(&home, "");
    let api = server.client(&token);
    let post = |headers: &[(&str, &str)], body: &[u8]| {
        let reply = api.send_bytes("POST", "/v1/endpoints", headers, Some(body));
        (reply.status, reply.code().to_owned())
    };
    assert_eq!(post(&[("content-type", "text/plain")], b"{}"), (415, "not_json".to_owned()));
    assert_eq!(post(&[], b"{"), (400, "invalid_body".to_owned()));
    assert_eq!(post(&[], b"{} {}"), (400, "invalid_body".to_owned()));
    assert_eq!(post(&[], br#"{"url":"https://example.com","colour":1}"#), (400, "invalid_body".to_owned()));
    let large = vec![b' '; 1024 * 1024 + 1];
    assert_eq!(post(&[], &large), (413, "body_too_large".to_owned()));
    let unknown = api.get("/v1/nothing");
    assert_eq!((unknown.status, unknown.code()), (404, "unknown_path"));
    let method = api.put("/v1/status", &json!({}));
    assert_eq!((method.status, method.header("allow")), (405, Some("GET, HEAD")));
}

/// Slow heads, slow bodies and idle connections leave room for the others.
#[test]
fn slow_clients_keep_nobody_out() {
    let home = home(&[]);
    let token = token(&home, "test", "--scope connections:read --tier enterprise");
    let server = Server::start(&home, "");
    let api = server.client(&token);
    let mut slow = Vec::new();
    for number in 0..600 {
        let Ok(mut stream) = TcpStream::connect(api.authority()) else { break };
        let head = match number % 3 {
            0 => String::new(),
            1 => "GET /v1/status HTTP/1.1\r\nhost: loc".to_owned(),
            _ => format!(
                "POST /v1/endpoints HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\
                 content-type: application/json\r\ncontent-length: 100000\r\n\r\n{{",
                api.authority()
            ),
        };
        stream.write_all(head.as_bytes()).unwrap();
        slow.push(stream);
    }
    for _ in 0..20 {
        expect(&api.get("/v1/status"), 200);
    }
    // A slow head is ended by the server.
    let stream = &mut slow[1];
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    expect(&api.get("/v1/status"), 200);
}
