//! A small HTTP client: a connection for each request, and everything of the response.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::wire::Message;

/// What requests have in common.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    authority: String,
    token: Option<String>,
}

/// A response.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) json: Option<Value>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The code of the problem in it.
    pub(crate) fn code(&self) -> &str {
        self.json.as_ref().and_then(|json| json["code"].as_str()).unwrap_or_default()
    }
}

impl Client {
    pub(crate) fn new(url: &str, token: Option<&str>) -> Self {
        let authority = url.trim_start_matches("http://").to_owned();
        Self { authority, token: token.map(str::to_owned) }
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[], Some(body))
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Reply {
        self.send("PUT", path, &[], Some(body))
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Reply {
        self.send("PATCH", path, &[], Some(body))
    }

    pub(crate) fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], None)
    }

    /// Sends a request with further headers, which replace those of the client.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Reply {
        let body = body.map(|body| body.to_string().into_bytes());
        self.send_bytes(method, path, headers, body.as_deref())
    }

    pub(crate) fn send_bytes(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Reply {
        let mut stream = TcpStream::connect(&self.authority).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        let mut own = vec![("host".to_owned(), self.authority.clone())];
        own.extend(self.token.iter().map(|token| ("authorization".to_owned(), format!("Bearer {token}"))));
        if let Some(body) = body {
            own.push(("content-type".to_owned(), "application/json".to_owned()));
            own.push(("content-length".to_owned(), body.len().to_string()));
        }
        own.retain(|(name, _)| headers.iter().all(|(given, _)| !given.eq_ignore_ascii_case(name)));
        let given = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        for (name, value) in own.into_iter().chain(given) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(&[head.as_bytes(), body.unwrap_or_default()].concat()).unwrap();
        let message = Message::read(&stream).unwrap();
        let status = message.status();
        let json = serde_json::from_slice(&message.body).ok();
        Reply { status, headers: message.headers, body: message.body, json }
    }
}
