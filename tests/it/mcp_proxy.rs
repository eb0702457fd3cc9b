//! `integ mcp proxy`: what a client on stdio sees of a server that restarts, breaks off, loses sessions and refuses tokens.

use std::io::{Read, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::fake::Trouble;
use crate::flow::Flow;
use crate::harness::{Home, Running};
use crate::mcp_server::{McpServer, Script, event, result_event};

/// A client with its proxy.
pub struct Proxy {
    running: Running,
}

impl Proxy {
    pub fn start(home: &Home, line: &str) -> Self {
        let mut command = home.command(format!("mcp proxy {line}").split_whitespace());
        command.stderr(Stdio::piped());
        Self { running: Running::start(command) }
    }

    /// A client whose handshake is over.
    fn initialized(home: &Home, line: &str) -> Self {
        let mut proxy = Self::start(home, line);
        let answer = proxy.ask(0, "initialize", &json!({ "protocolVersion": "2025-11-25", "capabilities": {} }));
        assert_eq!(answer["result"]["serverInfo"]["name"], "scripted", "{answer}");
        proxy.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        proxy
    }

    fn write(&mut self, line: &str) {
        writeln!(self.running.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub fn send(&mut self, message: &Value) {
        self.write(&message.to_string());
    }

    fn request(&mut self, id: u32, method: &str, params: &Value) {
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
    }

    /// The next message for the client.
    pub fn receive(&mut self) -> Value {
        self.running.event()
    }

    fn ask(&mut self, id: u32, method: &str, params: &Value) -> Value {
        self.request(id, method, params);
        let answer = self.receive();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    fn call(&mut self, id: u32, tool: &str) -> Value {
        self.ask(id, "tools/call", &json!({ "name": tool, "arguments": { "text": "hello" } }))
    }

    /// Closes the client's end; exit code, further lines and stderr.
    pub fn end(mut self) -> (i32, Vec<String>, String) {
        drop(self.running.stdin.take());
        let lines = std::iter::from_fn(|| Some(self.running.line()).filter(|line| !line.is_empty())).collect();
        let mut stderr = String::new();
        self.running.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.running.code(), lines, stderr)
    }
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_default()
}

fn message(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_default()
}

#[test]
fn a_session_is_relayed_and_ended() {
    let server = McpServer::start();
    let home = server.connected();
    let mut proxy = Proxy::initialized(&home, "mcp@x");
    assert_eq!(proxy.ask(1, "tools/list", &json!({}))["result"]["tools"].as_array().unwrap().len(), 2);
    assert_eq!(text(&proxy.call(2, "echo")), "hello");
    // What is written oddly stays so, in both directions.
    let odd =
        r#"{"id": "q\u0022" , "x":1.00, "jsonrpc":"2.0","method":"vendor/odd","params":{"n":1e400,"s":"\u00e9"}}"#;
    server.script(
        "vendor/odd",
        [Script::Status(200, "{\"id\":{id},\n \"result\":{\"n\":12345678901234567890.10}}".to_owned())],
    );
    proxy.write(odd);
    assert_eq!(proxy.running.line(), "{\"id\":\"q\\\"\",  \"result\":{\"n\":12345678901234567890.10}}");
    assert_eq!(server.state().last("tools/call").header("mcp-session-id"), Some("session-1"));
    assert_eq!(server.state().last("tools/call").header("mcp-protocol-version"), Some("2025-11-25"));
    assert!(server.state().requests.iter().any(|request| request.body == odd.as_bytes()));
    let first = server.state().requests[0].clone();
    assert!(first.header("mcp-session-id").is_none() && first.header("mcp-protocol-version").is_none());
    assert_eq!(first.header("accept"), Some("application/json, text/event-stream"));
    let (code, lines, stderr) = proxy.end();
    assert_eq!((code, lines.len(), stderr.as_str()), (0, 0, ""));
    assert_eq!(server.state().of("DELETE")[0].header("mcp-session-id"), Some("session-1"));
}

#[test]
fn requests_that_are_piped_in_are_answered_in_their_session() {
    let server = McpServer::start();
    let home = server.connected();
    let lines = [
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"[{"jsonrpc":"2.0","id":2,"method":"tools/list"},{"jsonrpc":"2.0","id":3,"method":"ping"}]"#,
    ];
    let ran = home.run_with_input("mcp proxy mcp@x", &lines.join("\n"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let mut ids: Vec<u64> =
        ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
    let state = server.state();
    assert_eq!(state.last("tools/list").header("mcp-session-id"), Some("session-1"));
    let methods: Vec<Value> = state
        .of("POST")
        .iter()
        .filter_map(|message| Some(serde_json::from_slice::<Value>(&message.body).ok()?["method"].clone()))
        .collect();
    assert_eq!(methods[..2], [json!("initialize"), json!("notifications/initialized")], "the handshake comes first");
}

#[test]
fn progress_and_requests_of_the_server_pass() {
    let server = McpServer::start();
    let home = server.connected();
    let mut proxy = Proxy::initialized(&home, "mcp@x");
    let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progress": 1 } });
    let question = json!({ "jsonrpc": "2.0", "id": "s1", "method": "elicitation/create", "params": {} });
    server.script("tools/call", [Script::Open(vec![": ping\n\n".to_owned(), event(&progress), event(&question)])]);
    proxy.request(5, "tools/call", &json!({ "name": "ask" }));
    assert_eq!(proxy.receive(), progress);
    assert_eq!(proxy.receive(), question);
    let answer = json!({ "jsonrpc": "2.0", "id": "s1", "result": { "action": "accept" } });
    proxy.send(&answer);
    server.until("the answer to arrive", |state| {
        state.requests.iter().any(|request| request.body == answer.to_string().as_bytes())
    });
    // The rest comes in pieces.
    for piece in ["data: {\"jsonrpc\":\"2.0\",", "\"id\":5,\ndata:\"result\":{\"content\":\"x\"}}", "\n", "\n"] {
        server.push(piece);
    }
    assert_eq!(proxy.receive()["result"]["content"], "x");
    assert_eq!(text(&proxy.call(6, "echo")), "hello");
}

#[test]
fn a_cancelled_request_is_cancelled_at_the_server_and_not_answered() {
    let server = McpServer::start();
    let home = server.connected();
    let mut proxy = Proxy::initialized(&home, "mcp@x");
    server.script("tools/call", [Script::Open(Vec::from([": open\n\n".to_owned()]))]);
    proxy.request(5, "tools/call", &json!({ "name": "slow" }));
    server.until("the call", |state| state.calls.len() == 1);
    proxy.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 5 } }));
    server.until("the cancellation", |state| !state.messages("notifications/cancelled").is_empty());
    assert_eq!(text(&proxy.call(6, "echo")), "hello", "the next line is the answer to the next request");
    let (code, lines, _) = proxy.end();
    assert_eq!((code, lines), (0, Vec::new()));
}

#[test]
fn what_the_server_sends_by_itself_arrives_and_the_stream_is_resumed() {
    let server = McpServer::start();
    server.state().has_get_stream = true;
    let home = server.connected();
    let mut proxy = Proxy::initialized(&home, "mcp@x");
    server.until("the stream", |state| state.of("GET").len() == 1);
    let changed = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
    server.push(&format!("id: e1\nretry: 1\n{}", event(&changed)));
    assert_eq!(proxy.receive(), changed);
    assert_eq!(server.state().of("GET")[0].header("accept"), Some("text/event-stream"));
    server.close_streams();
    server.until("the stream again", |state| state.of("GET").len() == 2);
    assert_eq!(server.state().of("GET")[1].header("last-event-id"), Some("e1"));
    server.push(&event(&changed));
    assert_eq!(proxy.receive(), changed);
    assert_eq!(proxy.end().0, 0);
}

#[test]
fn a_refused_token_is_refreshed_once_and_the_request_repeated() {
    let server = McpServer::start();
    let home = server.connected();
    let mut proxy = Proxy::initialized(&home, "mcp@x");
    server.provider.refuse_all();
    for id in 1..=8 {
        proxy.request(id, "tools/call", &json!({ "name": "echo" }));
    }
    let mut ids: Vec<u64> = (0..8).map(|_| proxy.receive()["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8]);
    let state = server.provider.state();
    assert_eq!((state.refreshes(), state.doubles().len()), (1, 0));
}

#[test]
fn a_grant_that_ended_is_said_and_the_proxy_works_again_once_reconnected() {
    let server = McpServer::start();
    let home = server.connected();
    let mut proxy = Proxy::initialized(&home, "mcp@x");
    assert_eq!(text(&proxy.call(9, "echo")), "hello");
    server.state().calls.clear();
    server.provider.refuse_all();
    server.provider.trouble("/token", [Trouble::error("invalid_grant")]);
    for id in 1..=3 {
        let refused = proxy.call(id, "echo");
        assert!(message(&refused).contains("mcp@x needs to be reconnected"), "{refused}");
        assert!(message(&refused).ends_with("run `integ reconnect mcp@x`"), "{refused}");
        assert_eq!(refused["error"]["data"], json!({ "code": "needs_reauth", "command": "integ reconnect mcp@x" }));
    }
    assert_eq!(server.state().calls.len(), 0);
    assert_eq!(server.provider.state().count("/token"), 2, "a grant that was refused is not presented again");
    let flow = Flow::start(&home, "reconnect mcp@x");
    flow.deliver(&flow.consent());
    assert_eq!(flow.end().0, 0);
    assert_eq!(text(&proxy.call(4, "echo")), "hello");
    let (code, _, stderr) = proxy.end();
    assert_eq!((code, stderr.matches("needs to be reconnected").count()), (0, 1), "{stderr}");
}

#[test]
fn an_authorization_server_that_is_out_of_order_costs_no_sign_in() {
    let server = McpServer::start();
    let home = server.connected();
    let mut proxy = Proxy::initialized(&home, "mcp@x");
    assert_eq!(text(&proxy.call(1, "echo")), "hello");
    server.provider.refuse_all();
    server.provider.trouble("/token", [Trouble::error("temporarily_unavailable"), Trouble::json(503, &json!({}))]);
    assert_eq!(text(&proxy.call(2, "echo")), "hello");
    let state = server.provider.state();
    assert_eq!((state.refreshes(), state.doubles().len(), state.count("/authorize")), (1, 0, 1));
}

#[test]
fn a_missing_scope_is_named() {
    let server = McpServer::start();
    let home = server.connected();
    let mut proxy = Proxy::initialized(&home, "mcp@x");
    server.script("tools/call", [Script::Status(403, String::new())]);
    let refused = proxy.call(1, "echo");
    assert!(message(&refused).contains("does not allow the request"), "{refused}");
    server.provider.state().refuses_all = true;
    let refused = proxy.call(2, "echo");
    assert!(
        message(&refused).contains("refused the token") && message(&refused).contains("integ reconnect mcp@x"),
        "{refused}"
    );
    assert_eq!(server.provider.state().refreshes(), 1);
}

#[test]
fn a_server_that_is_down_is_waited_for_and_then_said() {
    let mut server = McpServer::start();
    let home = server.connected();
    server.stop();
    let mut proxy = Proxy::start(&home, "mcp@x --reconnect-timeout 1s");
    let down = proxy.ask(0, "initialize", &json!({}));
    assert!(message(&down).contains("cannot reach"), "{down}");
    server.restart();
    assert_eq!(proxy.ask(1, "initialize", &json!({}))["result"]["serverInfo"]["name"], "scripted");
    // A client that asks while the server is down, and a server that comes up while it waits.
    server.stop();
    proxy.request(2, "tools/call", &json!({ "name": "echo" }));
    let down = proxy.receive();
    assert!(message(&down).contains("cannot reach") && down["id"] == 2, "{down}");
    let mut patient = Proxy::start(&home, "mcp@x");
    patient.request(0, "initialize", &json!({}));
    server.restart();
    assert_eq!(patient.receive()["result"]["serverInfo"]["name"], "scripted");
    assert_eq!(patient.end().0, 0);
}

#[test]
fn a_lost_session_is_begun_again_in_the_clients_words() {
    let server = McpServer::start();
    server.state().has_get_stream = true;
    let home = server.connected();
    let example =
        r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}"#;
    for lost in [(404, String::new()), (400, example.to_owned())] {
        let mut proxy = Proxy::initialized(&home, "mcp@x");
        // The handshake is over, and the stream open.
        server.until("the stream", |state| !state.of("GET").is_empty());
        server.close_streams();
        server.state().lost_session = Some(lost);
        server.forget_sessions();
        // Several at once: one of them initializes the session.
        for id in 1..=4 {
            proxy.request(id, "tools/call", &json!({ "name": "echo", "arguments": { "text": "again" } }));
        }
        let mut answers: Vec<Value> = (0..5).map(|_| proxy.receive()).collect();
        let changed = answers.iter().position(|answer| answer["method"] == "notifications/tools/list_changed");
        answers.remove(changed.expect("the client is told that the tools may differ"));
        assert!(answers.iter().all(|answer| text(answer) == "again"), "{answers:?}");
        let state = server.state();
        assert_eq!(state.calls.len(), 4, "each call is carried out once");
        let begun = state.messages("initialize");
        assert_eq!(
            (begun.len(), begun[0] == begun[1]),
            (2, true),
            "once by the client, and once in its words: {begun:?}"
        );
        assert_eq!(state.messages("notifications/initialized").len(), 2);
        drop(state);
        assert_eq!(proxy.end().0, 0);
        let mut state = server.state();
        state.requests.clear();
        state.calls.clear();
    }
}

#[test]
fn a_call_that_may_have_run_is_not_sent_twice() {
    let server = McpServer::start();
    let home = server.connected();
    let mut proxy = Proxy::initialized(&home, "mcp@x");
    let half = || Script::Stream(vec![": begun\n\n".to_owned()]);
    for (id, script) in (1..).zip([Script::Drop, half(), Script::Status(503, String::new())]) {
        server.script("tools/call", [script]);
        let lost = proxy.call(id, "delete_all");
        assert!(lost["error"]["code"] == -32000, "{lost}");
        assert_eq!(server.state().calls.len(), usize::try_from(id).unwrap(), "{lost}");
    }
    server.script("tools/list", [Script::Drop, half(), Script::Status(503, String::new())]);
    assert_eq!(proxy.ask(9, "tools/list", &json!({}))["result"]["tools"].as_array().unwrap().len(), 2);
    let lists = server.state().messages("tools/list");
    assert_eq!(lists.len(), 4, "a list only reads: {lists:?}");
}

#[test]
fn an_answer_that_breaks_off_is_resumed_after_its_last_event() {
    let server = McpServer::start();
    let home = server.connected();
    let mut proxy = Proxy::initialized(&home, "mcp@x");
    let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progress": 1 } });
    server.until("the try to listen", |state| state.of("GET").len() == 1);
    server.script(
        "tools/call",
        [Script::Stream(vec!["id: p0\ndata:\n\nretry: 1\n\n".to_owned(), format!("id: p1\n{}", event(&progress))])],
    );
    let rest = "id: p3\ndata: {\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"content\":[{\"text\":\"rest\"}]}}\n\n";
    server.script(
        "GET",
        [
            Script::Stream(vec![format!("id: p2\n{}", event(&progress)), "data: {\"half\":".to_owned()]),
            Script::Stream(vec![rest.to_owned()]),
        ],
    );
    proxy.request(3, "tools/call", &json!({ "name": "echo" }));
    assert_eq!(proxy.receive(), progress);
    assert_eq!(proxy.receive(), progress);
    assert_eq!(text(&proxy.receive()), "rest");
    let state = server.state();
    let resumed: Vec<_> =
        state.of("GET").iter().skip(1).map(|get| get.header("last-event-id").map(str::to_owned)).collect();
    assert_eq!(resumed, [Some("p1".to_owned()), Some("p2".to_owned())]);
    assert_eq!(state.calls.len(), 1);
}

#[test]
fn tools_are_hidden_and_refused() {
    let server = McpServer::start();
    let home = server.connected();
    let mut proxy = Proxy::initialized(&home, "mcp@x --allow-tool e* --allow-tool delete_* --ignore-tool *_all");
    let names = |answer: &Value| -> Vec<String> {
        let tools = answer["result"]["tools"].as_array().unwrap().iter();
        tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&proxy.ask(1, "tools/list", &json!({}))), ["echo"]);
    let page = r#"data: {"jsonrpc":"2.0","id":{id},"result":{"tools":[{"name":"delete_all"},{"name":"delete_one"}],"nextCursor":"2"}}"#;
    server.script("tools/list", [Script::Stream(vec![format!("{page}\n\n")])]);
    let streamed = proxy.ask(2, "tools/list", &json!({ "cursor": "1" }));
    assert_eq!((names(&streamed), &streamed["result"]["nextCursor"]), (vec!["delete_one".to_owned()], &json!("2")));
    for (id, tool) in (3..).zip(["delete_all", "other", ""]) {
        let refused = proxy.call(id, tool);
        assert!(refused["error"]["code"] == -32602 && message(&refused).contains("not allowed"), "{refused}");
    }
    proxy.write(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","name":"delete_all"}}"#);
    assert_eq!(
        proxy.receive()["error"]["code"],
        -32600,
        "which of the two names counts is not for the server to choose"
    );
    assert_eq!(server.state().calls.len(), 0);
    assert_eq!(text(&proxy.call(8, "echo")), "hello");
}

#[test]
fn lines_that_are_no_messages_are_answered_and_skipped() {
    let server = McpServer::start();
    let home = server.connected();
    let mut proxy = Proxy::initialized(&home, "mcp@x");
    for (line, code) in [("nonsense", -32700), ("{\"id\":1", -32700), ("[]", -32600), ("{}", -32600), ("1", -32600)] {
        proxy.write(line);
        let answer = proxy.receive();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(code)), "{line}: {answer}");
    }
    proxy.write("");
    proxy.running.stdin.as_mut().unwrap().write_all(b"{\"id\":1,\"method\":\"\xff\"}\n").unwrap();
    assert_eq!(proxy.receive()["error"]["code"], -32700);
    proxy.write(&"x".repeat((16 << 20) + 1));
    assert!(message(&proxy.receive()).contains("up to 16MiB"));
    assert_eq!(text(&proxy.call(2, "echo")), "hello");
    server.script("tools/call", [Script::Open(vec![": open\n\n".to_owned()])]);
    proxy.request(3, "tools/call", &json!({ "name": "echo" }));
    server.until("the call", |state| state.calls.len() == 2);
    proxy.request(3, "ping", &json!({}));
    let twice = proxy.receive();
    assert!(message(&twice).contains("not answered yet"), "{twice}");
}

#[test]
fn what_a_hostile_server_sends_costs_one_request() {
    let server = McpServer::start();
    let home = server.connected();
    let mut proxy = Proxy::initialized(&home, "mcp@x");
    let garbage = "data: nonsense\n\ndata: {\"id\":99,\"result\":{}}\n\ndata: [1,{}]\n\n\u{0}\u{1}\n\n";
    let huge = format!("data: {}\n", "x".repeat(1 << 20)).repeat(17);
    for (id, script) in (1..).zip([
        Script::Stream(vec![garbage.to_owned(), result_event("a"), result_event("b")]),
        Script::Stream(vec![huge.clone(), result_event("never")]),
        Script::Status(200, format!("\"{huge}")),
        Script::Status(200, "{\"id\":{id}".to_owned()),
        Script::Status(200, "<html>".to_owned()),
        Script::Status(200, String::new()),
        Script::Status(302, String::new()),
        Script::Status(418, "teapot".to_owned()),
        Script::Status(400, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"own words"}}"#.to_owned()),
    ]) {
        server.script("tools/call", [script]);
        let answer = proxy.call(id, "echo");
        let expected = match id {
            1 => answer["result"]["content"] == "a",
            2 | 3 => message(&answer).contains("larger than 16MiB"),
            4..=6 => message(&answer).contains("no answer"),
            7 => message(&answer).contains("302"),
            8 => message(&answer).contains("418: teapot"),
            _ => message(&answer) == "own words",
        };
        assert!(expected, "{id}: {answer}");
    }
    assert_eq!(text(&proxy.call(20, "echo")), "hello");
}

#[test]
fn many_proxies_share_each_refresh() {
    let server = McpServer::start();
    server.provider.lifetime(4);
    let home = server.connected();
    let mut proxies: Vec<Proxy> = (0..6).map(|_| Proxy::initialized(&home, "mcp@x")).collect();
    let before = server.provider.state().given.len();
    let mut id = 0;
    while server.provider.state().given.len() < before + 3 {
        id += 1;
        proxies.iter_mut().for_each(|proxy| proxy.request(id, "tools/call", &json!({ "name": "echo" })));
        assert!(proxies.iter_mut().all(|proxy| proxy.receive()["result"].is_object()));
    }
    let state = server.provider.state();
    assert!(state.doubles().is_empty(), "{:?}", state.presented);
    assert_eq!(state.given.len(), 1 + state.presented.len(), "one refresh for each token after the first");
    assert_eq!(state.count("/authorize"), 1);
}

#[test]
fn signals_and_a_client_that_no_longer_reads_end_it() {
    let server = McpServer::start();
    let home = server.connected();
    let mut proxy = Proxy::initialized(&home, "mcp@x");
    server.script("tools/call", [Script::Open(vec![": open\n\n".to_owned()])]);
    proxy.request(1, "tools/call", &json!({ "name": "slow" }));
    server.until("the call", |state| state.calls.len() == 1);
    let pid = rustix::process::Pid::from_child(&proxy.running.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(proxy.running.code(), 130);
    assert_eq!(server.state().of("DELETE").len(), 1);
    // Stdin stays open, and nobody reads.
    let mut command = home.command(["mcp", "proxy", "mcp@x"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, r#"{{"jsonrpc":"2.0","id":1,"method":"ping"}}"#).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

const META: &str = "io.modelcontextprotocol/protocolVersion";

#[test]
fn messages_that_name_their_revision_have_its_headers_and_no_session() {
    let server = McpServer::start();
    server.state().tools = vec![
        json!({ "name": "query", "inputSchema": { "type": "object", "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" } } } }),
        json!({ "name": "bad", "inputSchema": { "type": "object", "properties": {
            "ratio": { "type": "number", "x-mcp-header": "Ratio" } } } }),
    ];
    let home = server.connected();
    let mut proxy = Proxy::start(&home, "mcp@x");
    let meta = json!({ META: "2026-07-28" });
    let list = proxy.ask(1, "tools/list", &json!({ "_meta": meta }));
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 1, "one that must be rejected is left out: {list}");
    proxy.ask(2, "tools/call", &json!({ "_meta": meta, "name": "query", "arguments": { "region": "zürich" } }));
    let call = server.state().last("tools/call");
    let header = |name: &str| call.header(name).map(str::to_owned);
    assert_eq!(header("mcp-protocol-version").as_deref(), Some("2026-07-28"));
    assert_eq!((header("mcp-method").as_deref(), header("mcp-name").as_deref()), (Some("tools/call"), Some("query")));
    assert_eq!(header("mcp-param-region").as_deref(), Some("=?base64?esO8cmljaA==?="));
    assert_eq!(header("mcp-session-id"), None);
    // The end of the answer's stream cancels it; there is no message for that.
    server.script("subscriptions/listen", [Script::Open(vec![": open\n\n".to_owned()])]);
    proxy.request(3, "subscriptions/listen", &json!({ "_meta": meta }));
    server.until("the subscription", |state| !state.messages("subscriptions/listen").is_empty());
    proxy.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 3 } }));
    assert_eq!(proxy.ask(4, "server/discover", &json!({ "_meta": meta }))["error"]["code"], -32601);
    assert!(server.state().messages("notifications/cancelled").is_empty());
    let (code, lines, stderr) = proxy.end();
    assert_eq!((code, lines.len()), (0, 0));
    assert!(stderr.contains("\"bad\" is left out"), "{stderr}");
    assert!(server.state().of("DELETE").is_empty() && server.state().of("GET").is_empty());
}

#[test]
fn it_works_with_the_sandbox_and_says_what_is_no_server() {
    let home = Home::new();
    home.ok("connect mcp --sandbox");
    let ran = home.run_with_input("mcp proxy mcp", r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    assert!(ran.code == 0 && ran.stdout.contains("\"echo\""), "{ran:?}");
    home.ok("connect slack --sandbox");
    let ran = home.run("mcp proxy slack --json");
    assert_eq!((ran.code, &*ran.error_code()), (2, "not_mcp"), "{ran:?}");
    let ran = home.run("mcp proxy nothing --json");
    assert_eq!((ran.code, &*ran.error_code()), (3, "unknown_connection"), "{ran:?}");
}
