//! An OAuth server that counts: refresh tokens rotate, one that comes twice revokes its whole family and is remembered, and
//! it misbehaves on demand. What it is asked through is the connector `fake` and `--origin`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use base64::Engine;
use ring::digest;
use serde_json::{Value, json};
use url::Url;

use crate::wire::Message;

/// No condition of a test takes longer than this, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub const CONNECTOR: &str = r#"
id = "fake"
name = "Fake"
category = "generic"
description = "The provider of these tests."
docs = "https://fake.invalid/docs"

[api]
base = "https://fake.invalid/api"

[auth.oauth]
label = "OAuth"

[auth.oauth.oauth2]
grants = ["authorization_code", "device_code", "client_credentials"]
authorize_url = "https://fake.invalid/authorize"
token_url = "https://fake.invalid/token"
device_url = "https://fake.invalid/device"
revoke = { url = "https://fake.invalid/revoke" }
rotation = "always"
scope = { default = ["read", "write"] }

[scopes]
read = "Read"
write = "Write"

[health]
path = "/me"
account = { id = "/id", name = "/name" }
"#;

/// What goes wrong with one request.
#[derive(Clone)]
pub enum Trouble {
    /// This is answered, and the grant is not looked at.
    Instead(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The grant is used up, and the connection closed without an answer.
    Drop,
    /// The grant is used up, and nothing is said for as long as the provider lives.
    Silence,
    /// The answer, the true one or this, waits until the test calls [`FakeProvider::go_on`].
    Hold(Option<(u16, Value)>),
    /// The true answer with these members changed; `null` takes one away.
    Edit(Value),
}

impl Trouble {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Instead(status, vec![("content-type", "application/json".to_owned())], body.to_string().into_bytes())
    }

    /// An OAuth error (RFC 6749 section 5.2).
    pub fn error(code: &str) -> Self {
        Self::json(400, &json!({ "error": code, "error_description": "because \u{1b}[31mI say so" }))
    }
}

#[derive(Default)]
pub struct State {
    /// Everything that was asked, in the order of arrival.
    pub asked: Vec<Message>,
    /// How often each refresh token was presented to be used.
    pub presented: BTreeMap<String, u32>,
    /// Access tokens in the order in which they were given.
    pub given: Vec<String>,
    /// Access tokens whose answer was written to the end.
    pub delivered: Vec<String>,
    /// The family of each refresh token, and the newest one of each family; absent once it is revoked.
    families: HashMap<String, usize>,
    newest: HashMap<usize, String>,
    codes: HashMap<String, (String, String)>,
    troubles: HashMap<String, VecDeque<Trouble>>,
    /// Access tokens that the API refuses.
    refused: Vec<String>,
    silent: Vec<TcpStream>,
    /// Answers that wait.
    pub holding: usize,
    /// When each request arrived.
    pub arrived: Vec<Instant>,
    /// How long the vendor takes over a token request that it has acted on.
    pub latency: Duration,
    /// The API refuses every token, also one that is new.
    pub refuses_all: bool,
    /// The revision of MCP whose requests are of no session; without one the server has sessions.
    pub stateless_mcp: Option<&'static str>,
    /// What is always answered at a path, in place of the provider's own answer.
    pages: HashMap<String, Answer>,
    gone: bool,
    lifetime: u64,
    account: String,
    counter: usize,
}

impl State {
    pub fn count(&self, path: &str) -> usize {
        self.asked.iter().filter(|message| message.request().1.split('?').next() == Some(path)).count()
    }

    /// Refresh tokens that came more than once: what must never happen.
    pub fn doubles(&self) -> Vec<&String> {
        self.presented.iter().filter(|(_, times)| **times > 1).map(|(token, _)| token).collect()
    }

    /// Takes back what was to go wrong with the next requests to a path.
    pub fn forget_troubles(&mut self, path: &str) {
        self.troubles.remove(path);
    }

    /// When the requests to a path arrived.
    pub fn times(&self, path: &str) -> Vec<Instant> {
        let all = self.asked.iter().zip(&self.arrived);
        all.filter(|(message, _)| message.request().1 == path).map(|(_, at)| *at).collect()
    }

    /// Whether a request carries a token that the API takes.
    pub fn takes(&self, message: &Message) -> bool {
        let bearer = message.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        bearer
            .map(str::to_owned)
            .is_some_and(|token| self.given.contains(&token) && !self.refused.contains(&token) && !self.refuses_all)
    }

    /// How many refreshes used a grant up.
    pub fn refreshes(&self) -> u32 {
        self.presented.values().sum()
    }

    fn give(&mut self, family: usize) -> Value {
        self.counter += 1;
        let (access, refresh) = (format!("access-{}", self.counter), format!("refresh-{}", self.counter));
        self.families.insert(refresh.clone(), family);
        self.newest.insert(family, refresh.clone());
        self.given.push(access.clone());
        json!({ "access_token": access, "token_type": "Bearer", "expires_in": self.lifetime, "refresh_token": refresh,
            "scope": "read write" })
    }

    fn new_family(&mut self) -> Value {
        let family = self.families.len() + 1;
        self.give(family)
    }
}

pub struct FakeProvider {
    address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl FakeProvider {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { lifetime: 3600, account: "alice".to_owned(), ..State::default() };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if served.0.lock().unwrap().gone {
                    return;
                }
                let served = Arc::clone(&served);
                std::thread::spawn(move || serve(&served, stream.ok()));
            }
        });
        Self { address, shared }
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap()
    }

    /// Seconds that the next access tokens live.
    pub fn lifetime(&self, seconds: u64) {
        self.state().lifetime = seconds;
    }

    /// Who consents from now on.
    pub fn account(&self, name: &str) {
        self.state().account = name.to_owned();
    }

    /// What goes wrong with the next requests to a path, one after another.
    pub fn trouble(&self, path: &str, troubles: impl IntoIterator<Item = Trouble>) {
        self.state().troubles.entry(path.to_owned()).or_default().extend(troubles);
    }

    /// What is answered at a path from now on.
    pub fn page(&self, path: &str, status: u16, headers: &[(&'static str, String)], body: impl Into<Vec<u8>>) {
        self.state().pages.insert(path.to_owned(), (status, headers.to_vec(), body.into()));
    }

    /// The same for JSON with status 200.
    pub fn json_page(&self, path: &str, document: &Value) {
        self.page(path, 200, &[("content-type", "application/json".to_owned())], document.to_string());
    }

    /// Whether a request to another server carries a token that is good.
    pub fn token_check(&self) -> crate::mcp_server::TokenCheck {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |message| shared.0.lock().unwrap().takes(message))
    }

    /// Every access token given so far is answered with 401 by the API.
    pub fn refuse_all(&self) {
        let mut state = self.state();
        state.refused = state.given.clone();
    }

    /// Waits until something is so.
    pub fn until(&self, what: &str, so: impl Fn(&State) -> bool) {
        let state = self.state();
        let (_state, timeout) = self.shared.1.wait_timeout_while(state, PATIENCE, |state| !so(state)).unwrap();
        assert!(!timeout.timed_out(), "waited in vain: {what}");
    }

    /// Lets the answers go that [`Trouble::Hold`] holds back.
    pub fn go_on(&self) {
        self.state().holding = 0;
        self.shared.1.notify_all();
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        if let Ok(mut state) = self.shared.0.lock() {
            state.gone = true;
            state.holding = 0;
            state.silent.clear();
        }
        self.shared.1.notify_all();
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(shared: &(Mutex<State>, Condvar), stream: Option<TcpStream>) {
    let Some(mut stream) = stream else { return };
    let Some(message) = Message::read(&stream) else { return };
    let (lock, changed) = shared;
    let mut state = lock.lock().unwrap();
    state.asked.push(message.clone());
    state.arrived.push(Instant::now());
    let path = message.request().1.split('?').next().unwrap_or_default().to_owned();
    let trouble = state.troubles.get_mut(&path).and_then(VecDeque::pop_front);
    let (status, headers, body) = match &trouble {
        Some(Trouble::Instead(status, headers, body)) => (*status, headers.clone(), body.clone()),
        Some(Trouble::Hold(Some((status, body)))) => {
            (*status, vec![("content-type", "application/json".to_owned())], body.to_string().into_bytes())
        }
        _ => answer(&mut state, &path, &message, trouble.as_ref()),
    };
    match trouble {
        Some(Trouble::Drop) => {
            changed.notify_all();
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        Some(Trouble::Silence) => {
            state.silent.push(stream);
            changed.notify_all();
            return;
        }
        Some(Trouble::Hold(_)) => {
            state.holding += 1;
            changed.notify_all();
            state = changed.wait_while(state, |state| state.holding > 0).unwrap();
        }
        _ => changed.notify_all(),
    }
    let latency = state.latency;
    drop(state);
    if path == "/token" {
        std::thread::sleep(latency);
    }
    let mut head = format!("HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let written = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(&body));
    if written.is_ok()
        && path == "/token"
        && let Some(token) = serde_json::from_slice::<Value>(&body)
            .ok()
            .and_then(|body| body["access_token"].as_str().map(str::to_owned))
    {
        lock.lock().unwrap().delivered.push(token);
        changed.notify_all();
    }
}

pub type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

fn answer(state: &mut State, path: &str, message: &Message, trouble: Option<&Trouble>) -> Answer {
    if let Some(page) = state.pages.get(path) {
        return page.clone();
    }
    let (status, mut body) = match path {
        "/mcp" => return crate::mcp::answer(state, message),
        "/register" => crate::mcp::registration(state, message),
        "/authorize" => return authorize(state, message),
        "/token" => token(state, &message.form()),
        "/device" => (
            200,
            json!({ "device_code": "device-1", "user_code": "ABCD-EFGH", "interval": 1,
            "verification_uri": "https://fake.invalid/enter", "expires_in": 600 }),
        ),
        "/revoke" => (200, json!({})),
        "/api/me" => {
            if state.takes(message) {
                (200, json!({ "id": state.account, "name": state.account }))
            } else {
                (401, json!({ "error": "invalid_token" }))
            }
        }
        _ => (404, json!({})),
    };
    if let (Some(Trouble::Edit(changes)), Some(members)) = (trouble, body.as_object_mut()) {
        for (name, value) in changes.as_object().unwrap() {
            members.insert(name.clone(), value.clone());
        }
        members.retain(|_, value| !value.is_null());
    }
    (status, vec![("content-type", "application/json".to_owned())], body.to_string().into_bytes())
}

/// Consents at once.
fn authorize(state: &mut State, message: &Message) -> Answer {
    let url = Url::parse("http://fake.invalid").unwrap().join(message.request().1).unwrap();
    let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
    state.counter += 1;
    let code = format!("code-{}", state.counter);
    state.codes.insert(code.clone(), (query["code_challenge"].clone(), query["redirect_uri"].clone()));
    let mut target = Url::parse(&query["redirect_uri"]).unwrap();
    target.query_pairs_mut().append_pair("code", &code).append_pair("state", &query["state"]);
    (302, vec![("location", target.to_string())], Vec::new())
}

fn token(state: &mut State, form: &BTreeMap<String, String>) -> (u16, Value) {
    let error = |code: &str| (400, json!({ "error": code }));
    let text = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    match text("grant_type") {
        "authorization_code" => {
            let digest = digest::digest(&digest::SHA256, text("code_verifier").as_bytes());
            let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest.as_ref());
            match state.codes.remove(text("code")) {
                Some(known) if known == (challenge, text("redirect_uri").to_owned()) => (200, state.new_family()),
                _ => error("invalid_grant"),
            }
        }
        "refresh_token" => {
            let presented = text("refresh_token").to_owned();
            *state.presented.entry(presented.clone()).or_default() += 1;
            match state.families.get(&presented).copied() {
                Some(family) if state.newest.get(&family) == Some(&presented) => (200, state.give(family)),
                Some(family) => {
                    state.newest.remove(&family);
                    error("invalid_grant")
                }
                None => error("invalid_grant"),
            }
        }
        "client_credentials" | "urn:ietf:params:oauth:grant-type:device_code" => (200, state.new_family()),
        _ => error("unsupported_grant_type"),
    }
}
