//! `integ proxy`: programs use a connection without its credential.

use std::io::{Read, Write};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::agents::{asked, connected, entries, grant};
use crate::fake::{FakeProvider, Trouble};
use crate::guided::ready;
use crate::harness::{Home, Running};
use crate::server::client::{Client, Reply};

const TOKEN: &str = "a-token-of-my-own-0001";

/// A proxy with [`TOKEN`].
pub(crate) struct Proxy {
    running: Running,
    url: String,
}

impl Proxy {
    pub(crate) fn start(home: &Home, words: &str) -> Self {
        Self::of(home, "fake", words)
    }

    pub(crate) fn of(home: &Home, connection: &str, words: &str) -> Self {
        let mut command = home.command(format!("proxy {connection} --json {words}").split_whitespace());
        command.env("INTEG_PROXY_TOKEN", TOKEN);
        let mut running = Running::start(command);
        let started = running.event();
        assert_eq!((&started["connection"], &started["token"]), (&json!(connection), &json!(TOKEN)), "{started}");
        Self { running, url: started["base_url"].as_str().unwrap().to_owned() }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url, Some(TOKEN))
    }
}

/// What the service was last asked at a path.
fn last(provider: &FakeProvider, path: &str) -> crate::wire::Message {
    let state = provider.state();
    state.asked.iter().rfind(|message| message.request().1.split('?').next() == Some(path)).unwrap().clone()
}

fn credential(provider: &FakeProvider) -> String {
    provider.state().given.last().unwrap().clone()
}

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.code()), (status, code), "{reply:?}");
}

#[test]
fn a_request_gets_the_credential_and_its_answer_none() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    home.ok("reveal fake never");
    let proxy = Proxy::start(&home, "--allow-method post");
    let secret = credential(&provider);
    let headers = vec![
        ("content-type", "application/json".to_owned()),
        ("x-echo", format!("Bearer {secret}")),
        ("set-cookie", "session=1".to_owned()),
        ("connection", "close".to_owned()),
    ];
    let body = json!({ "echo": secret, "basic": STANDARD.encode(format!("u:{secret}")), "id": 7 }).to_string();
    provider.trouble("/api/notes/7", [Trouble::Instead(203, headers, body.into_bytes())]);
    let reply = proxy.client().send("GET", "/notes/7?a=b%20c&a=d", &[("x-own", "1"), ("cookie", "a=1")], None);
    assert_eq!(reply.status, 203);
    let document = reply.json.clone().unwrap();
    assert_eq!((&document["echo"], &document["id"]), (&json!("***"), &json!(7)));
    assert_eq!((reply.header("x-echo"), reply.header("set-cookie")), (Some("Bearer ***"), None));
    let text = format!("{}{:?}", String::from_utf8_lossy(&reply.body), reply.headers);
    assert!(!text.contains(&secret), "{text}");
    let sent = last(&provider, "/api/notes/7");
    assert_eq!(sent.request().1, "/api/notes/7?a=b%20c&a=d");
    assert_eq!(sent.header("authorization"), Some(format!("Bearer {secret}").as_str()));
    assert_eq!((sent.header("x-own"), sent.header("cookie")), (Some("1"), None));
    assert!(!format!("{:?}", sent.headers).contains(TOKEN));

    provider.trouble("/api/notes", [Trouble::json(201, &json!({ "id": 8 }))]);
    let reply = proxy.client().post("/notes", &json!({ "text": "hello" }));
    assert_eq!(reply.status, 201);
    let sent = last(&provider, "/api/notes");
    assert_eq!(
        (sent.body.as_slice(), sent.header("content-type")),
        (br#"{"text":"hello"}"#.as_slice(), Some("application/json"))
    );

    // A token that the service refuses is replaced once.
    provider.trouble("/api/notes/7", [Trouble::json(401, &json!({})), Trouble::json(200, &json!({ "old": secret }))]);
    assert_eq!(proxy.client().get("/notes/7").json.unwrap(), json!({ "old": "***" }));
    assert_ne!(credential(&provider), secret);
    // A redirect is not followed.
    provider.trouble(
        "/api/notes/9",
        [Trouble::Instead(302, vec![("location", "https://evil.example/x".to_owned())], Vec::new())],
    );
    assert_eq!(proxy.client().get("/notes/9").status, 302);
    assert_eq!(asked(&provider, "/api/notes/9"), 1);

    let log = entries(&home, "proxy");
    assert!(
        log.iter()
            .any(|entry| entry["outcome"] == "done" && entry["effect"] == "write" && entry["detail"] == "POST /notes"),
        "{log:?}"
    );
    assert!(
        log.iter().all(|entry| entry["connection"] == "fake" && !entry["detail"].as_str().unwrap().contains('?')),
        "{log:?}"
    );
    let mut running = proxy.running;
    kill_process(Pid::from_child(&running.child), Signal::TERM).unwrap();
    assert_eq!(running.code(), 130);
}

#[test]
fn the_proxy_asks_for_its_own_token_and_its_own_name() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let proxy = Proxy::start(&home, "");
    let anonymous = Client::new(&proxy.url, None);
    let port = anonymous.authority().rsplit(':').next().unwrap().to_owned();
    refused(&anonymous.get("/notes/7"), 401, "invalid_token");
    let secret = credential(&provider);
    for given in [
        "",
        "Bearer",
        "Bearer x",
        &format!("Bearer {secret}"),
        &format!("Bearer {TOKEN}x"),
        &format!("Bearer {}", &TOKEN[1..]),
    ] {
        refused(&anonymous.send("GET", "/notes/7", &[("authorization", given)], None), 401, "invalid_token");
    }
    refused(&anonymous.get(&format!("/notes/7?access_token={TOKEN}")), 401, "invalid_token");
    for (name, value) in [
        ("host", "evil.example".to_owned()),
        ("host", format!("evil.example:{port}")),
        ("origin", "http://evil.example".to_owned()),
        ("origin", format!("http://127.0.0.1:{port}")),
        ("sec-fetch-site", "cross-site".to_owned()),
    ] {
        refused(&proxy.client().send("GET", "/notes/7", &[(name, &value)], None), 403, "foreign_origin");
    }
    assert_eq!(asked(&provider, "/api/notes/7"), 0);
    provider.trouble("/api/notes/7", vec![Trouble::json(200, &json!({})); 4]);
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    for (name, value) in [
        ("authorization", format!("bearer {TOKEN}")),
        ("proxy-authorization", format!("Bearer {TOKEN}")),
        ("authorization", basic(&format!("user:{TOKEN}"))),
        ("authorization", basic(&format!("{TOKEN}:"))),
    ] {
        assert_eq!(anonymous.send("GET", "/notes/7", &[(name, &value)], None).status, 200, "{value}");
    }
    // A token that is too short to be one, and one that integ makes.
    let mut short = home.command("proxy fake --json".split_whitespace());
    short.env("INTEG_PROXY_TOKEN", "short");
    assert_eq!(crate::harness::finish(short).error_code(), "short_token");
    let mut made = Running::start(home.command("proxy fake --json".split_whitespace()));
    assert!(made.event()["token"].as_str().unwrap().starts_with("integ_proxy_"));
}

#[test]
fn methods_and_paths_are_limited_and_overrides_refused() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let reading = Proxy::start(&home, "");
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get"] {
        assert_eq!(reading.client().send(method, "/notes/7", &[], None).status, 405, "{method}");
    }
    let proxy = Proxy::start(&home, "--allow-method POST --allow-path /notes* --allow-path /search");
    let client = proxy.client();
    for path in [
        "/",
        "/me",
        "/purge",
        "/notes/../purge",
        "/notes/%2e%2e/purge",
        "/notes%2F..%2Fpurge",
        "/notes/..;/purge",
        "//notes",
        "/notes/\\..\\purge",
        "/_host/fake.invalid/api/purge",
    ] {
        refused(&client.get(path), 403, "path_not_allowed");
    }
    let override_headers = ["x-http-method-override", "x-http-method", "x-method-override"];
    for name in override_headers {
        refused(&client.send("POST", "/notes", &[(name, "DELETE")], Some(&json!({}))), 400, "method_override");
    }
    for path in ["/notes/7?_method=DELETE", "/notes/7?a=1&%5fmethod=DELETE", "/notes/7?method=delete"] {
        refused(&client.get(path), 400, "method_override");
    }
    refused(&client.post("/notes", &json!({ "_method": "DELETE" })), 400, "method_override");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    refused(&client.send_bytes("POST", "/notes", &form, Some(b"a=1&_method=delete")), 400, "method_override");
    // Another host needs to be one of the connector's.
    let wide = Proxy::start(&home, "");
    refused(&wide.client().get("/_host/evil.example/x"), 400, "foreign_host");
    assert_eq!(["/api/notes", "/api/notes/7", "/api/purge", "/purge"].map(|path| asked(&provider, path)), [0; 4]);
}

#[test]
fn what_destroys_needs_an_approval_of_the_exact_request() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let proxy = Proxy::start(&home, "--allow-method POST --allow-method DELETE");
    let client = proxy.client();
    let waits = |reply: &Reply| {
        refused(reply, 403, "approval_required");
        let detail = reply.json.as_ref().unwrap()["detail"].as_str().unwrap().to_owned();
        detail[detail.find("apr_").unwrap()..][..28].to_owned()
    };
    let id = waits(&client.post("/purge", &json!({ "folder": "a", "days": 1 })));
    assert_eq!(waits(&client.send_bytes("POST", "/purge", &[], Some(br#"{ "days":1, "folder":"a" }"#))), id);
    assert_ne!(waits(&client.post("/purge", &json!({ "folder": "b", "days": 1 }))), id);
    assert_ne!(
        waits(&client.send("POST", "/purge", &[("x-account", "other")], Some(&json!({ "folder": "a", "days": 1 })))),
        id
    );
    assert_eq!(
        client.send_bytes("POST", "/purge", &[], Some(br#"{"folder":"a","folder":"b"}"#)).code(),
        "invalid_body"
    );
    waits(&client.delete("/notes/7"));
    waits(&client.post("/anything", &json!({})));
    assert_eq!(["/api/purge", "/api/notes/7", "/api/anything"].map(|path| asked(&provider, path)), [0; 3]);
    // The owner who names a path knows what a request to it does; a declared action destroys all the same.
    let named = Proxy::start(&home, "--allow-method POST --allow-method DELETE --allow-path /*");
    provider.trouble("/api/anything", [Trouble::json(200, &json!({}))]);
    assert_eq!(named.client().post("/anything", &json!({})).status, 200);
    waits(&named.client().delete("/notes/7"));
    waits(&named.client().post("/purge", &json!({ "folder": "c" })));
    if !ready() {
        return;
    }
    grant(&home, &id);
    provider.trouble("/api/purge", [Trouble::json(200, &json!({}))]);
    assert_eq!(client.post("/purge", &json!({ "folder": "a", "days": 1 })).status, 200);
    assert_ne!(waits(&client.post("/purge", &json!({ "folder": "a", "days": 1 }))), id);
    assert_eq!(asked(&provider, "/api/purge"), 1);
}

/// A credential is masked also where it comes in pieces, and what comes slowly is not held back.
#[test]
fn a_body_is_masked_as_it_comes() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let secret = credential(&provider);
    // Larger than any buffer in between, so that credentials lie across its pieces.
    let line = format!("{} {secret} {}\n", "x".repeat(997), STANDARD.encode(format!("a:{secret}")));
    let whole = line.repeat(4000);
    provider.trouble(
        "/api/notes/7",
        [Trouble::Instead(200, vec![("content-type", "text/plain".to_owned())], whole.into_bytes())],
    );
    let proxy = Proxy::start(&home, "");
    let mut stream = TcpStream::connect(proxy.client().authority()).unwrap();
    let host = proxy.client().authority().to_owned();
    write!(
        stream,
        "GET /notes/7 HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer);
    assert!(text.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{}", &text[..300]);
    assert!(!text.contains(&secret), "the credential itself");
    // Chunks may part the mask, which is as good.
    assert!(text.matches("***").count() > 7900, "{}", text.matches("***").count());
    let large = vec![b'x'; 17 * 1024 * 1024];
    let posting = Proxy::start(&home, "--allow-method POST");
    let reply = std::panic::catch_unwind(|| posting.client().send_bytes("POST", "/notes", &[], Some(&large)).status);
    assert!(reply.is_err() || reply.is_ok_and(|status| status == 413));
    assert_eq!(asked(&provider, "/api/notes"), 0);
}
