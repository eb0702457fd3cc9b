//! A service that answers paths with the bytes that a test gives it, and a connector for it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::harness::{Home, Ran};
use crate::wire::Message;

const CONNECTOR: &str = r#"
id = "acme"
name = "Acme"
category = "developer"
description = "The service of these tests."
docs = "https://acme.example/docs"

[api]
base = "https://acme.example/v1"

[auth.key]
label = "Key"
send = { headers = { X-Key = "{key}" } }

[auth.key.fields.key]
prompt = "Key"

[health]
path = "/me"
account = { id = "/id", name = "/name" }

[actions."items.create"]
about = "Create an item"
method = "POST"
path = "/items/new"
result = { id = "/id" }

[actions."items.create".params.price]
about = "Its price"
type = "number"

[streams.items]
about = "Items"
path = "/items"
records = ["/items"]
key = ["/id"]
pages = { kind = "none" }

[streams.pairs]
about = "Items whose key has two parts"
path = "/items"
records = ["/items"]
key = ["/id", "/shop/id"]
pages = { kind = "none" }

[streams.rows]
about = "Rows of a table"
path = "/rows"
records = ["/values"]
table = true
pages = { kind = "none" }
"#;

struct Answer {
    content_type: String,
    body: Vec<u8>,
}

pub(super) struct Service {
    pub(super) home: Home,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<Message>>>,
}

impl Service {
    pub(super) fn start() -> Self {
        Self::with(CONNECTOR)
    }

    /// The same, with more in its connector's file.
    pub(super) fn with(connector: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let answers: Arc<Mutex<BTreeMap<String, Answer>>> = Arc::default();
        let asked: Arc<Mutex<Vec<Message>>> = Arc::default();
        let (shown, noted) = (Arc::clone(&answers), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = Message::read(&stream) else { continue };
                let path = request.request().1.split('?').next().unwrap().to_owned();
                noted.lock().unwrap().push(request);
                let answers = shown.lock().unwrap();
                let (status, content_type, body) = match answers.get(&path) {
                    Some(answer) => (200, answer.content_type.as_str(), &answer.body[..]),
                    None => (404, "text/plain", &b"not here"[..]),
                };
                let head = format!("HTTP/1.1 {status} OK\r\ncontent-type: {content_type}\r\nconnection: close");
                let _ = write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(body);
            }
        });
        let service = Self { home: Home::new(), answers, asked };
        service.answer("/v1/me", br#"{"id":"me"}"#);
        service.home.install("acme", connector);
        let connected =
            service.home.run_with_input(&format!("connect acme --with-token --origin {origin}"), "a-long-enough-key");
        assert_eq!(connected.code, 0, "{connected:?}");
        service
    }

    pub(super) fn answer(&self, path: &str, body: &[u8]) {
        self.answer_as(path, "application/json", body);
    }

    pub(super) fn answer_as(&self, path: &str, content_type: &str, body: &[u8]) {
        let answer = Answer { content_type: content_type.to_owned(), body: body.to_owned() };
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// Requests for a path so far.
    pub(super) fn count(&self, path: &str) -> usize {
        let is_it = |message: &&Message| message.request().1.split('?').next() == Some(path);
        self.asked.lock().unwrap().iter().filter(is_it).count()
    }

    /// The body of the last request.
    pub(super) fn last_body(&self) -> String {
        self.asked.lock().unwrap().last().unwrap().text()
    }

    /// Runs a command line that has words with spaces.
    pub(super) fn run(&self, words: &[&str]) -> Ran {
        crate::harness::finish(self.home.command(words))
    }

    /// What a command that must succeed printed.
    pub(super) fn ok(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
        ran.stdout
    }
}

/// The record of a line of JSON as the service wrote it, and what happened to it, if the line says so.
pub(super) fn as_written(line: &str) -> (String, Option<&str>) {
    let at = line.rfind("\"_key\":\"").unwrap_or_else(|| panic!("no metadata: {line}"));
    let before = &line[..at];
    let changes = ["added", "changed", "deleted"];
    let found = changes
        .into_iter()
        .find_map(|change| Some((before.strip_suffix(&format!("\"_change\":\"{change}\","))?, change)));
    let (record, change) = found.map_or((before, None), |(record, change)| (record, Some(change)));
    (format!("{}}}", record.strip_suffix(',').unwrap_or(record)), change)
}
