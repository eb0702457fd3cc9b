//! A service of lists that answers as a test wants, and a connector of the user's own for it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use url::Url;

use crate::harness::Home;
use crate::wire::Message;

/// A request, as the answers are made from it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub url: Url,
    pub body: Value,
}

impl Asked {
    pub fn query(&self, name: &str) -> Option<String> {
        self.url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    pub fn number(&self, name: &str, otherwise: usize) -> usize {
        self.query(name).map_or(otherwise, |text| text.parse().unwrap())
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(body: &Value) -> Self {
        Self::raw(200, body.to_string())
    }

    pub fn raw(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

type Answerer = Box<dyn Fn(&Asked) -> Option<Reply> + Send + Sync>;

/// A service on a port of its own; it answers 404 to what its function leaves out.
pub struct Service {
    pub origin: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Service {
    pub fn start(answer: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen): (Arc<Answerer>, _) = (Arc::new(Box::new(answer)), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                std::thread::spawn(move || while serve(&stream, &answer, &seen).is_some() {});
            }
        });
        Self { origin, asked }
    }

    /// The requests for a path, in the order in which they came.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.url.path() == path).cloned().collect()
    }

    /// Forgets what was asked.
    pub fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }
}

fn serve(mut stream: &TcpStream, answer: &Answerer, seen: &Mutex<Vec<Asked>>) -> Option<()> {
    let message = Message::read(stream)?;
    let url = Url::parse("http://service.invalid").unwrap().join(message.request().1).ok()?;
    let asked = Asked { url, body: serde_json::from_slice(&message.body).unwrap_or_default() };
    seen.lock().unwrap().push(asked.clone());
    let reply = match asked.url.path() {
        "/v1/me" => Reply::json(&json!({ "id": "acme", "name": "acme" })),
        _ => answer(&asked).unwrap_or_else(|| Reply::raw(404, r#"{"message":"not here"}"#)),
    };
    let mut head = format!("HTTP/1.1 {} -\r\ncontent-type: application/json\r\n", reply.status);
    if reply.status != 204 {
        head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
    }
    for (name, value) in reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body: &[u8] = if reply.status == 204 { &[] } else { &reply.body };
    stream.write_all(&[format!("{head}\r\n").as_bytes(), body].concat()).ok()
}

/// A connector of the user's own, `acme`, with these streams.
pub fn connector(streams: &str) -> String {
    format!(
        r#"
id = "acme"
name = "Acme"
category = "developer"
description = "A service of these tests."
docs = "https://acme.example/docs"
[api]
base = "https://api.acme.example/v1"
[auth.key]
label = "Key"
send = {{ headers = {{ X-Key = "{{key}}" }} }}
[auth.key.fields.key]
prompt = "Key"
[health]
path = "/me"
account = {{ id = "/id", name = "/id" }}
{streams}
"#
    )
}

/// A home with `acme` connected to a service.
pub fn connected(streams: &str, service: &Service) -> Home {
    let home = Home::new();
    home.install("acme", &connector(streams));
    connect(&home, &format!("connect acme --with-token --origin {}", service.origin), "kkkkkkkkkkkkkkkkkkkk");
    home
}

pub fn connect(home: &Home, line: &str, key: &str) {
    let ran = home.run_with_input(line, key);
    assert_eq!(ran.code, 0, "{line}: {ran:?}");
}

/// What a sync of one stream ended with: its report, and its exit code.
pub fn sync(home: &Home, line: &str) -> (Value, i32) {
    let ran = home.run(&format!("sync {line} --json"));
    let mut answer: Value =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{line}: {error}: {ran:?}"));
    (answer["streams"][0].take(), ran.code)
}

/// Records of `{"id": …}`, from `0` on.
pub fn items(count: usize) -> Vec<Value> {
    (0..count).map(|id| json!({ "id": id.to_string() })).collect()
}

/// The keys of a stream's records.
pub fn keys(home: &Home, target: &str) -> BTreeMap<String, Value> {
    crate::sync::records(home, target)
}
