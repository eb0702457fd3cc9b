//! An OpenID server that behaves well, but for what a test overrides.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use base64::Engine;
use serde_json::{Value, json};
use url::Url;

use crate::harness::{Home, Ran, finish};
use crate::wire::Message;

/// A request, read for a test.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub form: BTreeMap<String, String>,
    /// The pair of HTTP Basic as it was written.
    pub basic: Option<String>,
    /// Scheme, host and port of the server.
    pub origin: String,
}

/// Status, Location, Content-Type and body.
pub struct Reply {
    pub status: u16,
    pub location: Option<String>,
    pub content_type: &'static str,
    pub body: String,
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        Self { status, location: None, content_type: "application/json", body: body.to_string() }
    }

    /// Leads back to the redirect URI of an authorization request, with its state.
    pub fn back(asked: &Asked, params: &[(&str, &str)]) -> Self {
        let uri = &asked.query["redirect_uri"];
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(params).append_pair("state", &asked.query["state"]);
        let location = format!("{uri}{}{}", if uri.contains('?') { '&' } else { '?' }, query.finish());
        Self { status: 302, location: Some(location), content_type: "text/plain", body: String::new() }
    }
}

/// The metadata of a server at this origin.
pub fn metadata(origin: &str) -> Value {
    json!({
        "issuer": origin, "authorization_endpoint": format!("{origin}/authorize"),
        "token_endpoint": format!("{origin}/token"), "userinfo_endpoint": format!("{origin}/userinfo"),
        "device_authorization_endpoint": format!("{origin}/device"), "revocation_endpoint": format!("{origin}/revoke"),
        "code_challenge_methods_supported": ["S256"],
    })
}

pub struct Issuer {
    pub origin: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Issuer {
    /// Starts one that answers as `instead` says, and well where that says nothing.
    pub fn start(instead: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (instead, kept, own) = (Arc::new(instead), Arc::clone(&asked), origin.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (instead, kept, own) = (Arc::clone(&instead), Arc::clone(&kept), own.clone());
                std::thread::spawn(move || {
                    let Some(message) = Message::read(&stream) else { return };
                    let asked = read(&message, own);
                    kept.lock().unwrap().push(asked.clone());
                    let reply = instead(&asked).unwrap_or_else(|| usual(&asked));
                    let location = reply.location.map(|to| format!("location: {to}\r\n")).unwrap_or_default();
                    let _ = write!(
                        stream,
                        "HTTP/1.1 {} -\r\n{location}content-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{}",
                        reply.status,
                        reply.content_type,
                        reply.body.len(),
                        reply.body
                    );
                });
            }
        });
        Self { origin, asked }
    }

    /// What was asked for at a path, in order.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.path == path).cloned().collect()
    }

    /// Whether any request held this text.
    pub fn saw(&self, text: &str) -> bool {
        format!("{:?}", self.asked.lock().unwrap()).contains(text)
    }

    /// The command line that connects to it, with further words.
    pub fn connect(&self, more: &str) -> String {
        format!("connect oidc --issuer {} --client-id app --timeout 20s {more}", self.origin)
    }
}

/// A home whose browser follows redirects, and whose tests have curl.
pub fn home() -> Home {
    Home::new().with("INTEG_BROWSER", "curl -sS -L -o /dev/null --max-time 20")
}

/// Runs a command line with a client secret.
pub fn run_with_secret(home: &Home, line: &str, secret: &str) -> Ran {
    let mut command = home.command(line.split_whitespace());
    command.env("INTEG_CLIENT_SECRET", secret);
    finish(command)
}

fn read(message: &Message, origin: String) -> Asked {
    let url = Url::parse(&origin).unwrap().join(message.request().1).unwrap();
    let basic = message.header("authorization").and_then(|value| value.strip_prefix("Basic "));
    let basic = basic.and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
    Asked {
        path: url.path().to_owned(),
        query: url.query_pairs().into_owned().collect(),
        form: message.form(),
        basic: basic.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        origin,
    }
}

fn usual(asked: &Asked) -> Reply {
    if asked.path.contains("/.well-known/") {
        return Reply::json(200, &metadata(&asked.origin));
    }
    match asked.path.as_str() {
        "/authorize" => Reply::back(asked, &[("code", "code-1")]),
        "/token" => Reply::json(200, &tokens()),
        "/userinfo" => Reply::json(200, &json!({ "sub": "u1", "email": "ann@example.com" })),
        _ => Reply::json(200, &json!({})),
    }
}

/// A token answer.
pub fn tokens() -> Value {
    json!({ "access_token": "access-1", "refresh_token": "refresh-1", "token_type": "Bearer", "expires_in": 3600 })
}
