//! A remote MCP server that a test scripts: it streams, restarts, loses sessions and breaks off. Tokens come from a
//! [`FakeProvider`].

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::fake::FakeProvider;
use crate::flow::Flow;
use crate::harness::Home;
use crate::wire::Message;

/// No condition of a test takes longer than this, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the server does with the next requests of a method.
#[derive(Clone, Debug, PartialEq)]
pub enum Script {
    /// This HTTP answer.
    Status(u16, String),
    /// The request is carried out, and the connection closed without an answer.
    Drop,
    /// A stream of these pieces, then its end: `{id}` is the request's id.
    Stream(Vec<String>),
    /// A stream of these pieces that stays open.
    Open(Vec<String>),
}

#[derive(Default)]
pub struct ServerState {
    /// Requests with a good token, in the order of arrival.
    pub requests: Vec<Message>,
    /// Names of the tools that were called.
    pub calls: Vec<String>,
    /// The sessions that the server knows; none if it has no sessions.
    pub sessions: Vec<String>,
    /// What is answered to a session that is not known.
    pub lost_session: Option<(u16, String)>,
    pub has_get_stream: bool,
    pub tools: Vec<Value>,
    initialized: usize,
    scripts: BTreeMap<String, Vec<Script>>,
    streams: Vec<TcpStream>,
    is_running: bool,
}

impl ServerState {
    /// Requests of an HTTP method.
    pub fn of(&self, method: &str) -> Vec<&Message> {
        self.requests.iter().filter(|message| message.request().0 == method).collect()
    }

    /// The messages of an MCP method.
    pub fn messages(&self, method: &str) -> Vec<Value> {
        let bodies = self.requests.iter().filter_map(|message| serde_json::from_slice::<Value>(&message.body).ok());
        bodies.filter(|body| body["method"] == method).collect()
    }

    /// The last request of an MCP method.
    pub fn last(&self, method: &str) -> Message {
        let is_it = |message: &&Message| {
            serde_json::from_slice::<Value>(&message.body).is_ok_and(|body| body["method"] == method)
        };
        self.requests.iter().rfind(is_it).unwrap().clone()
    }
}

pub struct McpServer {
    pub provider: FakeProvider,
    address: SocketAddr,
    shared: Arc<(Mutex<ServerState>, Condvar)>,
}

impl McpServer {
    /// A server with two tools, sessions, and no stream of its own.
    pub fn start() -> Self {
        let provider = FakeProvider::start();
        let document = json!({ "issuer": provider.origin(), "authorization_endpoint": provider.url("/authorize"),
            "token_endpoint": provider.url("/token"), "registration_endpoint": provider.url("/register"),
            "code_challenge_methods_supported": ["S256"], "token_endpoint_auth_methods_supported": ["none"] });
        provider.json_page("/.well-known/oauth-authorization-server", &document);
        let tools = ["echo", "delete_all"].map(|name| json!({ "name": name, "inputSchema": { "type": "object" } }));
        let state = ServerState { tools: tools.to_vec(), ..ServerState::default() };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = Self { provider, address, shared: Arc::new((Mutex::new(state), Condvar::new())) };
        server.listen(listener);
        server
    }

    fn listen(&mut self, listener: TcpListener) {
        self.state().is_running = true;
        let (shared, address, takes) = (Arc::clone(&self.shared), self.address, self.provider.token_check());
        let issuer = self.provider.origin();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if !shared.0.lock().unwrap().is_running {
                    return;
                }
                let (shared, takes, issuer) = (Arc::clone(&shared), takes.clone(), issuer.clone());
                std::thread::spawn(move || {
                    let Ok(stream) = stream else { return };
                    let Some(message) = Message::read(&stream) else { return };
                    serve(&shared, &message, stream, address, &issuer, &takes);
                });
            }
        });
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    pub fn state(&self) -> MutexGuard<'_, ServerState> {
        // A test that failed while it looked is reported by itself.
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens to the next requests of a method, one after another. `GET` and `DELETE` are methods too.
    pub fn script(&self, method: &str, scripts: impl IntoIterator<Item = Script>) {
        self.state().scripts.entry(method.to_owned()).or_default().extend(scripts);
    }

    /// Sends a piece on every stream that is open.
    pub fn push(&self, piece: &str) {
        self.state().streams.retain_mut(|stream| stream.write_all(piece.as_bytes()).is_ok());
    }

    /// Closes every stream that is open.
    pub fn close_streams(&self) {
        for stream in self.state().streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Forgets every session, as a restart does.
    pub fn forget_sessions(&self) {
        self.state().sessions = vec!["none".to_owned()];
    }

    /// Closes the port and everything that is open.
    pub fn stop(&self) {
        self.state().is_running = false;
        self.close_streams();
        // Wakes the accepting thread, which then closes the port.
        let _ = TcpStream::connect(self.address);
        while TcpStream::connect(self.address).is_ok() {
            std::thread::yield_now();
        }
    }

    /// Listens at the same port again.
    pub fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        self.listen(listener);
    }

    /// Waits until something is so.
    pub fn until(&self, what: &str, so: impl Fn(&ServerState) -> bool) {
        let (state, timeout) = self.shared.1.wait_timeout_while(self.state(), PATIENCE, |state| !so(state)).unwrap();
        assert!(!timeout.timed_out(), "waited in vain: {what}: {:?}", state.requests);
    }

    /// A home that is connected to it as `mcp@x`.
    pub fn connected(&self) -> Home {
        let home = Home::new();
        Flow::start(&home, &format!("connect {} --as x", self.url())).allow();
        // The check that `connect` makes is no part of a test.
        let mut state = self.state();
        state.requests.clear();
        state.sessions.clear();
        state.initialized = 0;
        home
    }
}

impl Drop for McpServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether a server's token check takes a request.
pub type TokenCheck = Arc<dyn Fn(&Message) -> bool + Send + Sync>;

fn serve(
    shared: &(Mutex<ServerState>, Condvar),
    message: &Message,
    mut stream: TcpStream,
    address: SocketAddr,
    issuer: &str,
    takes: &TokenCheck,
) {
    let (method, path) = message.request();
    if path.starts_with("/.well-known/oauth-protected-resource") {
        let document = json!({ "resource": format!("http://{address}/mcp"), "authorization_servers": [issuer] });
        return answer(&mut stream, 200, &[], &document.to_string());
    }
    if path != "/mcp" {
        return answer(&mut stream, 404, &[], "");
    }
    if !takes(message) {
        let metadata = format!("http://{address}/.well-known/oauth-protected-resource/mcp");
        let challenge = format!("Bearer error=\"invalid_token\", resource_metadata=\"{metadata}\"");
        return answer(&mut stream, 401, &[("www-authenticate", &challenge)], "");
    }
    let body: Value = serde_json::from_slice(&message.body).unwrap_or_default();
    let mut state = shared.0.lock().unwrap();
    state.requests.push(message.clone());
    let name =
        if method == "POST" { body["method"].as_str().unwrap_or("response").to_owned() } else { method.to_owned() };
    let script = state.scripts.get_mut(&name).filter(|scripts| !scripts.is_empty()).map(|scripts| scripts.remove(0));
    let session = message.header("mcp-session-id").map(str::to_owned);
    let is_unknown = session.is_some_and(|id| !state.sessions.contains(&id));
    if is_unknown && name != "initialize" {
        let (status, text) = state.lost_session.clone().unwrap_or((404, String::new()));
        shared.1.notify_all();
        drop(state);
        return answer(&mut stream, status, &[("content-type", "application/json")], &text);
    }
    if name == "tools/call" {
        let tool = body["params"]["name"].as_str().unwrap_or_default().to_owned();
        state.calls.push(tool);
    }
    let id = body["id"].to_string();
    match script {
        Some(Script::Status(status, text)) => {
            shared.1.notify_all();
            drop(state);
            let text = text.replace("{id}", &id);
            return answer(&mut stream, status, &[("content-type", "application/json")], &text);
        }
        Some(Script::Drop) => {
            let _ = stream.shutdown(Shutdown::Both);
            shared.1.notify_all();
            return;
        }
        Some(Script::Stream(pieces) | Script::Open(pieces)) if pieces.is_empty() && method != "GET" => {}
        Some(Script::Stream(pieces)) => {
            write_stream(&mut stream, &pieces, &id);
            let _ = stream.shutdown(Shutdown::Both);
            shared.1.notify_all();
            return;
        }
        Some(Script::Open(pieces)) => {
            write_stream(&mut stream, &pieces, &id);
            state.streams.push(stream);
            shared.1.notify_all();
            return;
        }
        None => {}
    }
    if method == "GET" && state.has_get_stream {
        write_stream(&mut stream, &[], &id);
        state.streams.push(stream);
        shared.1.notify_all();
        return;
    }
    let reply = reply(&mut state, method, &body);
    shared.1.notify_all();
    drop(state);
    let headers: Vec<(&str, &str)> = reply.1.iter().map(|(name, value)| (*name, value.as_str())).collect();
    answer(&mut stream, reply.0, &headers, &reply.2);
}

fn reply(state: &mut ServerState, method: &str, body: &Value) -> (u16, Vec<(&'static str, String)>, String) {
    let json = ("content-type", "application/json".to_owned());
    let result = |result: Value| {
        (200, vec![json.clone()], json!({ "jsonrpc": "2.0", "id": body["id"], "result": result }).to_string())
    };
    match (method, body["method"].as_str()) {
        ("DELETE", _) => (204, Vec::new(), String::new()),
        ("POST", Some("initialize")) => {
            state.initialized += 1;
            let session = format!("session-{}", state.initialized);
            state.sessions.push(session.clone());
            let capabilities = json!({ "tools": { "listChanged": true } });
            let (status, mut headers, body) = result(json!({ "protocolVersion": "2025-11-25",
                "capabilities": capabilities, "serverInfo": { "name": "scripted", "version": "1" } }));
            headers.push(("mcp-session-id", session));
            (status, headers, body)
        }
        ("POST", Some("tools/list")) => result(json!({ "tools": state.tools })),
        ("POST", Some("tools/call")) => {
            let text = body["params"]["arguments"]["text"].as_str().unwrap_or_default();
            result(json!({ "content": [{ "type": "text", "text": text }] }))
        }
        ("POST", _) if body["id"].is_null() || body["method"].is_null() => (202, Vec::new(), String::new()),
        ("POST", _) => {
            let error = json!({ "code": -32601, "message": "Method not found" });
            (200, vec![json], json!({ "jsonrpc": "2.0", "id": body["id"], "error": error }).to_string())
        }
        _ => (405, Vec::new(), String::new()),
    }
}

fn write_stream(stream: &mut TcpStream, pieces: &[String], id: &str) {
    let head = "HTTP/1.1 200 -\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n";
    let pieces = pieces.iter().map(|piece| piece.replace("{id}", id));
    for text in std::iter::once(head.to_owned()).chain(pieces) {
        // The client may be content, or not interested any more.
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(stream: &mut TcpStream, status: u16, headers: &[(&str, &str)], body: &str) {
    let mut text = format!("HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let _ = stream.write_all(format!("{text}\r\n{body}").as_bytes());
}

/// An event of a stream.
pub fn event(message: &Value) -> String {
    format!("event: message\ndata: {message}\n\n")
}

/// The result of the request that a stream answers.
pub fn result_event(text: &str) -> String {
    format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{{id}},\"result\":{{\"content\":\"{text}\"}}}}\n\n")
}
