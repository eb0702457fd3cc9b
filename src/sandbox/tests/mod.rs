//! The vendor's whole life, on Slack's file and on small ones that a user could write.

mod actions;
mod connectors;
mod device;
mod emulator;
mod every_stream;
mod faults;
mod grant_lifecycle;
mod hostile;
mod keys;
mod mcp;
mod pager;
mod streams;

use std::collections::BTreeMap;

use serde_json::Value;
use url::Url;

use super::token::digest;
use super::{SandboxAccount, SandboxRequest, SandboxResponse, SandboxState, VendorEmulator, approve_url};
use crate::clock::Timestamp;
use crate::connector::Connector;
use crate::http::serve::Method;

const SEED: &[u8] = b"a seed for tests";
const REDIRECT: &str = "http://localhost:8910/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A vendor with its state, and a client of it that knows nothing but requests.
struct TestEmulator {
    vendor: VendorEmulator,
    state: SandboxState,
    now: i64,
}

impl TestEmulator {
    fn new(toml: &str, auth: &str) -> Self {
        Self::with(toml, auth, &[])
    }

    fn with(toml: &str, auth: &str, params: &[(&str, &str)]) -> Self {
        let params: BTreeMap<String, String> =
            params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let vendor =
            VendorEmulator::new(&connector(toml), Some(auth), &SandboxAccount::default(), &params, SEED).unwrap();
        Self { vendor, state: SandboxState::default(), now: 1_800_000_000 }
    }

    fn send(&mut self, method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> SandboxResponse {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let request = SandboxRequest {
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: body.as_bytes().to_vec(),
        };
        let now = Timestamp::from_second(self.now).unwrap();
        // Through JSON and back, as between two commands.
        let mut state: SandboxState = serde_json::from_value(serde_json::to_value(&self.state).unwrap()).unwrap();
        let reply = self.vendor.handle(&request, &mut state, now);
        self.state = state;
        reply
    }

    fn get(&mut self, url: &str, headers: &[(&str, &str)]) -> SandboxResponse {
        self.send("GET", url, headers, "")
    }

    fn form(&mut self, url: &str, headers: &[(&str, &str)], pairs: &[(&str, &str)]) -> SandboxResponse {
        let body = encoded(pairs);
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/x-www-form-urlencoded"));
        self.send("POST", url, &headers, &body)
    }

    fn json(&mut self, url: &str, headers: &[(&str, &str)], body: &Value) -> SandboxResponse {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        self.send("POST", url, &headers, &body.to_string())
    }

    /// Opens the authorization page, follows Allow, and gives the parameters of the callback.
    fn authorize(&mut self, path: &str, pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let page = Url::parse(&format!("http://127.0.0.1{path}?{}", encoded(pairs))).unwrap();
        let shown = self.get(&path_and_query(&page), &[]);
        assert_eq!(shown.status, 200, "{}", shown.body);
        assert!(shown.body.contains("SANDBOX") && shown.body.contains("Allow"), "{}", shown.body);
        let reply = self.get(&path_and_query(&approve_url(&page)), &[]);
        callback(&reply)
    }
}

fn connector(toml: &str) -> Connector {
    toml::from_str(toml).unwrap()
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn path_and_query(url: &Url) -> String {
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

/// Where a reply redirects to.
fn location(reply: &SandboxResponse) -> Option<&str> {
    reply.headers.iter().find(|(name, _)| name == "location").map(|(_, value)| value.as_str())
}

fn callback(reply: &SandboxResponse) -> BTreeMap<String, String> {
    let url = Url::parse(location(reply).unwrap_or_else(|| panic!("no redirect: {}", reply.body))).unwrap();
    assert!(url.as_str().starts_with(REDIRECT), "{url}");
    url.query_pairs().into_owned().collect()
}

fn body(reply: &SandboxResponse) -> Value {
    serde_json::from_str(&reply.body).unwrap_or_else(|_| panic!("no JSON: {}", reply.body))
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {value}")).to_owned()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn challenge() -> String {
    digest(VERIFIER)
}
