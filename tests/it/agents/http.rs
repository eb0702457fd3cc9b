//! `/mcp` of `integ serve`: who may come in, what a session is worth, and the specification's page on security.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{asked, connected};
use crate::fake::{FakeProvider, Trouble};
use crate::harness::Home;
use crate::server::client::{Client, Reply};
use crate::server::{Server, token};

const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");
const SCOPES: &str = "--scope connections:call --scope connections:read --tier enterprise";

/// A session of an API token.
pub(super) struct Session {
    client: Client,
    id: String,
}

/// The message in an answer, which is an event or a JSON document.
fn message(reply: &Reply) -> Value {
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    let data = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim).rfind(|data| !data.is_empty());
    serde_json::from_str(data.unwrap_or(&text)).unwrap_or_default()
}

fn initialize() -> Value {
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "peer", "version": "1" },
    } })
}

impl Session {
    fn begin(server: &Server, token: &str) -> Self {
        Self::begin_with(server.client(token))
    }

    pub(super) fn begin_with(client: Client) -> Self {
        let reply = client.send("POST", "/mcp", &[ACCEPT], Some(&initialize()));
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(message(&reply)["result"]["serverInfo"]["name"], "integ");
        let id = reply.header("mcp-session-id").unwrap().to_owned();
        let session = Self { client, id };
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(session.send(&session.client, &initialized).status, 202);
        session
    }

    fn send(&self, client: &Client, message: &Value) -> Reply {
        let headers = [ACCEPT, ("mcp-session-id", self.id.as_str()), ("mcp-protocol-version", "2025-11-25")];
        client.send("POST", "/mcp", &headers, Some(message))
    }

    fn ask(&self, method: &str, params: &Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let reply = self.send(&self.client, &request);
        assert_eq!(reply.status, 200, "{reply:?}");
        message(&reply)
    }

    fn tools(&self) -> Vec<String> {
        let listed = self.ask("tools/list", &json!({}));
        listed["result"]["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect()
    }

    fn call(&self, tool: &str, arguments: &Value) -> super::ToolResult {
        super::ToolResult(self.ask("tools/call", &json!({ "name": tool, "arguments": arguments })))
    }

    /// Calls a tool with arguments as they are written.
    pub(super) fn call_raw(&self, tool: &str, arguments: &str) -> super::ToolResult {
        let params = format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#);
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let headers = [ACCEPT, ("mcp-session-id", self.id.as_str()), ("mcp-protocol-version", "2025-11-25")];
        super::ToolResult(message(&self.client.send_bytes("POST", "/mcp", &headers, Some(text.as_bytes()))))
    }
}

fn agent(home: &Home, name: &str, words: &str) -> String {
    token(home, name, &format!("{SCOPES} --connection fake {words}"))
}

#[test]
fn an_agent_with_a_token_lists_and_calls_tools() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    home.ok("connect slack --sandbox");
    let (reader, writer) =
        (agent(&home, "reader", ""), agent(&home, "writer", "--scope connections:write --scope connections:delete"));
    let server = Server::start(&home, "");
    let session = Session::begin(&server, &reader);
    // Named connections, and the scopes of the token.
    assert_eq!(session.tools(), ["fake_notes_get", "fake_notes_search", "connection_status", "read_result"]);
    provider.trouble("/api/notes/1", [Trouble::json(200, &json!({ "id": 1, "token": reader }))]);
    let result = session.call("fake_notes_get", &json!({ "note": "1" }));
    assert_eq!(result.document()["response"], json!({ "id": 1, "token": "***" }), "the API token is a credential, too");
    assert_eq!(session.call("fake_notes_create", &json!({ "text": "a" })).code(), "invalid_parameters");
    assert_eq!(session.call("list_records", &json!({ "connection": "fake" })).code(), "forbidden");
    let status = session.call("connection_status", &json!({})).document();
    assert_eq!(status["connections"].as_array().unwrap().len(), 1);

    let session = Session::begin(&server, &writer);
    assert!(session.tools().contains(&"fake_notes_create".to_owned()));
    provider.trouble("/api/notes", [Trouble::json(200, &json!({ "id": 2 }))]);
    session.call("fake_notes_create", &json!({ "text": "a" })).document();
    session.call("fake_notes_purge", &json!({ "folder": "a" })).approval();
    assert_eq!(asked(&provider, "/api/purge"), 0);
    let shown = home.json("approval list")["approvals"][0].clone();
    assert_eq!((&shown["operation"], &shown["token_name"]), (&json!("call"), &json!("writer")), "{shown}");
    let log = super::entries(&home, "call");
    assert!(log.iter().all(|entry| entry["actor"] == "api_token" && entry["source"] == "127.0.0.1"), "{log:?}");
    assert!(
        log.iter().any(|entry| entry["detail"].as_str().unwrap().starts_with("agent \"peer\" \"1\", input sha256:"))
    );
}

/// Scope minimisation: a token without the scope, without named connections or without a name gets nothing, and the answer says what it
/// lacks. Token passthrough: no other token is one.
#[test]
fn a_token_needs_the_scope_and_named_connections() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let other = token(&home, "other", "--scope connections:read --connection fake");
    let wide = token(&home, "wide", "--scope connections:call");
    let disabled = agent(&home, "disabled", "");
    home.ok("api-token update disabled --disable");
    let of_vendor = provider.state().given.last().unwrap().clone();
    let server = Server::start(&home, "");
    let refused = |token: Option<&str>, status: u16, code: &str| {
        let reply = Client::new(&server.url, token).send("POST", "/mcp", &[ACCEPT], Some(&initialize()));
        assert_eq!((reply.status, reply.code()), (status, code), "{reply:?}");
        reply
    };
    let reply = refused(None, 401, "no_token");
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"integ\""));
    refused(Some(&disabled), 401, "invalid_token");
    refused(Some(&of_vendor), 401, "invalid_token");
    let reply = refused(Some(&other), 403, "missing_scope");
    assert!(reply.header("www-authenticate").unwrap().contains("scope=\"connections:call\""));
    refused(Some(&wide), 403, "no_named_connections");
    // A token in the URL is none.
    let in_url = format!("/mcp?access_token={wide}");
    assert_eq!(Client::new(&server.url, None).send("POST", &in_url, &[ACCEPT], Some(&initialize())).code(), "no_token");
}

/// DNS rebinding: a page that reaches the server under another name, or from another origin.
#[test]
fn pages_of_other_sites_are_refused() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let agent = agent(&home, "agent", "");
    let server = Server::start(&home, "");
    let client = server.client(&agent);
    let port = client.authority().rsplit(':').next().unwrap().to_owned();
    for (name, value, code) in [
        ("host", "evil.example".to_owned(), "foreign_host"),
        ("host", format!("evil.example:{port}"), "foreign_host"),
        ("host", format!("127.0.0.1.evil.example:{port}"), "foreign_host"),
        ("origin", "http://evil.example".to_owned(), "foreign_origin"),
        ("origin", "null".to_owned(), "foreign_origin"),
        ("origin", format!("https://localhost:{port}"), "foreign_origin"),
    ] {
        let reply = client.send("POST", "/mcp", &[ACCEPT, (name, &value)], Some(&initialize()));
        assert_eq!((reply.status, reply.code()), (403, code), "{name}: {value}");
    }
    let own = format!("http://localhost:{port}");
    assert_eq!(client.send("POST", "/mcp", &[ACCEPT, ("origin", &own)], Some(&initialize())).status, 200);
}

/// Session hijacking: the id of a session gives nobody rights, and nobody reads or ends another's session.
#[test]
fn a_session_belongs_to_its_token() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let (one, other) = (agent(&home, "one", "--scope connections:write"), agent(&home, "other", ""));
    let server = Server::start(&home, "");
    let session = Session::begin(&server, &one);
    let thief = server.client(&other);
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "fake_notes_create", "arguments": { "text": "a" },
    } });
    assert_eq!(session.send(&thief, &call).status, 404);
    let headers = [("accept", "text/event-stream"), ("mcp-session-id", session.id.as_str())];
    assert_eq!(thief.send("GET", "/mcp", &headers, None).status, 404);
    assert_eq!(thief.send("DELETE", "/mcp", &headers, None).status, 404);
    assert_eq!(session.send(&Client::new(&server.url, None), &call).status, 401);
    for id in ["", "1", "00000000-0000-0000-0000-000000000000"] {
        let reply = session.client.send("POST", "/mcp", &[ACCEPT, ("mcp-session-id", id)], Some(&call));
        assert_eq!(reply.status, 404, "{id}");
    }
    // A token that loses a right loses it in the session that it has.
    assert!(session.tools().contains(&"fake_notes_create".to_owned()));
    home.ok("api-token update one --scope connections:call");
    assert!(!session.tools().contains(&"fake_notes_create".to_owned()));
    assert_eq!(session.call("fake_notes_create", &json!({ "text": "a" })).code(), "invalid_parameters");
    home.ok("api-token revoke one --yes");
    assert_eq!(session.send(&session.client, &call).status, 401);
    assert_eq!(asked(&provider, "/api/notes"), 0);
    // Results that are read on belong to their token, too: their ids are random, and `read_result` looks at the owner.
    let ended = Session::begin(&server, &other);
    assert_eq!(ended.client.send("DELETE", "/mcp", &[("mcp-session-id", &ended.id)], None).status, 204);
    assert_eq!(ended.send(&ended.client, &call).status, 404);
}

/// Confused deputy: integ uses its own grant for the connection that the token names, whatever a request carries.
#[test]
fn nothing_of_a_request_reaches_the_service() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let agent = agent(&home, "agent", "");
    let server = Server::start(&home, "");
    let session = Session::begin(&server, &agent);
    provider.trouble("/api/notes/1", [Trouble::json(200, &json!({}))]);
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "fake_notes_get", "arguments": { "note": "1" },
        "_meta": { "authorization": "Bearer evil", "connection": "slack" },
    } });
    let headers = [
        ACCEPT,
        ("mcp-session-id", session.id.as_str()),
        ("cookie", "a=1"),
        ("x-forwarded-authorization", "Bearer evil"),
    ];
    assert_eq!(session.client.send("POST", "/mcp", &headers, Some(&call)).status, 200);
    let state = provider.state();
    let sent = state.asked.iter().rfind(|message| message.request().1.starts_with("/api/notes/1")).unwrap();
    let token = state.given.last().unwrap();
    assert_eq!(sent.header("authorization"), Some(format!("Bearer {token}").as_str()));
    let text = format!("{:?}", sent.headers);
    assert!(!text.contains(&agent) && !text.contains("evil") && !text.contains("a=1"), "{text}");
}

/// Local servers: what a client's settings start is the program and the words that were shown, with no shell in between.
#[test]
fn a_name_of_a_connection_is_no_command() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    for name in ["slack;id", "$(id)", "`id`", "slack --allow destroy", "../slack", "slack\nid", "-c", "--allow"] {
        let mut command =
            home.command(["mcp", "install", "claude-code", "--scope", "project", "--dry-run", "--json", "--", name]);
        command.current_dir(home.path());
        assert_ne!(crate::harness::finish(command).code, 0, "{name:?}");
    }
    let shown = home.json("mcp install claude-code slack --allow write --dry-run");
    assert_eq!(shown["args"], json!(["mcp", "serve", "--connection=slack", "--allow=write"]), "{shown}");
    assert!(std::path::Path::new(shown["command"].as_str().unwrap()).is_absolute(), "{shown}");
    assert_eq!(
        home.run("mcp install claude-code slack --allow-tool x --dry-run --json").error_code(),
        "invalid_options"
    );
    home.ok("connect mcp --sandbox");
    assert_eq!(home.run("mcp install claude-code mcp --allow write --dry-run --json").error_code(), "invalid_options");
    assert_eq!(home.json("mcp install claude-code mcp --dry-run")["args"], json!(["mcp", "proxy", "mcp"]));
}

/// Request forgery: the host of a request is the connection's, whatever the arguments and the service's answers say.
#[test]
fn no_argument_and_no_answer_leads_to_another_host() {
    let (provider, other) = (FakeProvider::start(), FakeProvider::start());
    let home = connected(&provider);
    let agent = agent(&home, "agent", "");
    let server = Server::start(&home, "");
    let session = Session::begin(&server, &agent);
    for note in [
        other.url("/api/notes/1"),
        format!("//{}/x", other.origin().trim_start_matches("http://")),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "@evil.example/".to_owned(),
        "..".to_owned(),
        "../../me".to_owned(),
        "%2e%2e/me".to_owned(),
        "7?x=1#y".to_owned(),
    ] {
        session.call("fake_notes_get", &json!({ "note": note }));
        let state = provider.state();
        if let Some(last) = state.asked.last().map(|message| message.request().1).filter(|path| path.contains("notes"))
        {
            let rest = last.strip_prefix("/api/notes/").unwrap_or_else(|| panic!("{note}: {last}"));
            assert!(!rest.contains(['/', '?', '#']), "{note}: {last}");
        }
    }
    let elsewhere = |status: u16, to: String| Trouble::Instead(status, vec![("location", to)], Vec::new());
    for status in [301, 302, 303, 307, 308] {
        provider.trouble("/api/notes/1", [elsewhere(status, other.url("/api/notes/1"))]);
        session.call("fake_notes_get", &json!({ "note": "1" }));
    }
    provider.trouble("/api/notes/1", [elsewhere(302, "http://169.254.169.254/latest/meta-data".to_owned())]);
    session.call("fake_notes_get", &json!({ "note": "1" }));
    // If a redirect is followed at all, then without the credential.
    let credential = provider.state().given.last().unwrap().clone();
    let asked = format!("{:?}", other.state().asked);
    assert!(!asked.contains(&credential) && !asked.contains("authorization"), "{asked}");
    let uris = ["file:///etc/passwd", "http://169.254.169.254/", "integ://events/slack", "integ://records/../status"];
    for uri in uris {
        let read = session.ask("resources/read", &json!({ "uri": uri }));
        assert!(read["error"].is_object(), "{uri}: {read}");
    }
}

#[test]
fn the_server_stops_with_open_streams() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let agent = agent(&home, "agent", "");
    let server = Server::start(&home, "");
    let session = Session::begin(&server, &agent);
    let mut stream = TcpStream::connect(session.client.authority()).unwrap();
    let host = session.client.authority();
    let head =
        format!("GET /mcp HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {agent}\r\naccept: text/event-stream\r\n");
    write!(stream, "{head}mcp-session-id: {}\r\n\r\n", session.id).unwrap();
    let mut reader = BufReader::new(stream);
    let mut status = String::new();
    reader.read_line(&mut status).unwrap();
    assert_eq!(status.trim(), "HTTP/1.1 200 OK");
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    reader.read_to_end(&mut Vec::new()).unwrap();
}
