//! Every door to what destroys, with requests that mean the same, almost the same, or something else than they say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::http::Session;
use super::{StdioClient, ToolResult, asked, connected, grant};
use crate::fake::{FakeProvider, Trouble};
use crate::flow::{Flow, connect_line};
use crate::guided::ready;
use crate::harness::Home;
use crate::proxy::Proxy;
use crate::server::client::{Client, Reply};
use crate::server::{Server, expect, token};

const BASE: &str = r#"{"folder":"old","days":30}"#;

/// The same arguments: the order of members, space and escapes mean nothing.
const SAME: [&str; 3] =
    [r#"{ "days" : 30,  "folder":"old" }"#, r#"{"f\u006flder":"\u006fld","days":30}"#, r#"{"days":30,"folder":"old"}"#];

/// Other arguments, however alike.
const OTHER: [&str; 13] = [
    r#"{"folder":"old","days":30.0}"#,
    r#"{"folder":"old","days":3e1}"#,
    r#"{"folder":"old","days":3E+1}"#,
    r#"{"folder":"old","days":300e-1}"#,
    r#"{"folder":"old","days":"30"}"#,
    r#"{"folder":"old","days":31}"#,
    r#"{"folder":"old","days":null}"#,
    r#"{"folder":"old"}"#,
    r#"{"folder":"Old","days":30}"#,
    r#"{"folder":"old ","days":30}"#,
    r#"{"folder":["old"],"days":30}"#,
    r#"{"folder":"old","days":30,"approved":true}"#,
    r#"{"folder":"оld","days":30}"#,
];

/// Arguments with a member that comes twice. The first of them mean the base if the last one counts.
const TWICE: [&str; 3] = [
    r#"{"folder":"new","folder":"old","days":30}"#,
    r#"{"folder":"old","days":30,"folder":"new"}"#,
    r#"{"folder":"old","days":30,"days":3e1}"#,
];

/// What a request led to.
#[derive(Debug, PartialEq)]
enum Outcome {
    Waits(String),
    Refused(String),
    Done,
}

impl Outcome {
    /// The approval that a request waits for; empty if it does not.
    fn id(&self) -> String {
        if let Self::Waits(id) = self { id.clone() } else { String::new() }
    }

    fn of_tool(result: &ToolResult) -> Self {
        if result.0["result"]["isError"] == false {
            return Self::Done;
        }
        match result.code() {
            code if code == "approval_required" => Self::Waits(result.approval()),
            code => Self::Refused(code),
        }
    }

    fn of_reply(reply: &Reply) -> Self {
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        match reply.code() {
            "approval_required" => Self::Waits(text[text.find("apr_").unwrap()..][..28].to_owned()),
            _ if reply.status < 300 => Self::Done,
            code => Self::Refused(code.to_owned()),
        }
    }
}

/// A door to the action `notes.purge`, and what sends arguments through it.
struct Door {
    name: &'static str,
    send: Box<dyn FnMut(&str) -> Outcome>,
}

fn tool_call(client: &mut StdioClient, name: &str, arguments: &str) -> Outcome {
    client.next += 1;
    let id = client.next;
    client.write(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}}}"#
    ));
    Outcome::of_tool(&ToolResult(client.answer(id)))
}

fn post(client: &Client, path: &str, body: &str) -> Outcome {
    Outcome::of_reply(&client.send_bytes("POST", path, &[], Some(body.as_bytes())))
}

fn purges(provider: &FakeProvider) -> usize {
    asked(provider, "/api/purge")
}

/// The body of the last request to purge.
fn purged(provider: &FakeProvider) -> Value {
    let state = provider.state();
    let last = state.asked.iter().rfind(|message| message.request().1 == "/api/purge").unwrap();
    serde_json::from_slice(&last.body).unwrap()
}

/// Every door, each with a caller of its own but for the first two.
fn doors(home: &Home, server: &Server) -> Vec<Door> {
    let words =
        "--scope connections:call --scope connections:delete --connection fake --approve destroy --tier enterprise";
    let server_tokens = ["mcp", "actions", "fields", "body"].map(|name| token(home, name, words));
    let [mcp, actions, fields, body] = server_tokens.map(|token| server.client(&token));
    let session = Session::begin_with(mcp);
    let proxy = Proxy::start(home, "--allow-method POST");
    let mut listed = StdioClient::start(home, "--connection fake --allow destroy");
    let all = "--connection fake --connection github --connection slack --connection stripe";
    let mut searched = StdioClient::start(home, &format!("{all} --allow write --allow destroy"));
    vec![
        Door { name: "tool", send: Box::new(move |arguments| tool_call(&mut listed, "fake_notes_purge", arguments)) },
        Door {
            name: "call_write_tool",
            send: Box::new(move |arguments| {
                let named = format!(r#"{{"tool":"fake_notes_purge","arguments":{arguments}}}"#);
                tool_call(&mut searched, "call_write_tool", &named)
            }),
        },
        Door {
            name: "/mcp",
            send: Box::new(move |arguments| Outcome::of_tool(&session.call_raw("fake_notes_purge", arguments))),
        },
        Door {
            name: "actions",
            send: Box::new(move |arguments| {
                post(&actions, "/v1/connections/fake/actions/notes.purge", &format!(r#"{{"input":{arguments}}}"#))
            }),
        },
        Door {
            name: "request with fields",
            send: Box::new(move |arguments| {
                let request = format!(r#"{{"method":"POST","path":"/purge","fields":{arguments}}}"#);
                post(&fields, "/v1/connections/fake/request", &request)
            }),
        },
        Door {
            name: "request with a body",
            send: Box::new(move |arguments| {
                let request = format!(r#"{{"method":"POST","path":"/purge","body":{arguments}}}"#);
                post(&body, "/v1/connections/fake/request", &request)
            }),
        },
        Door { name: "proxy", send: Box::new(move |arguments| post(&proxy.client(), "/purge", arguments)) },
    ]
}

#[test]
fn at_every_door_an_approval_is_for_one_exact_request_once() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    for connector in ["github", "slack", "stripe"] {
        home.ok(&format!("connect {connector} --sandbox"));
    }
    let server = Server::start(&home, "");
    let mut doors = doors(&home, &server);
    let wait = |door: &mut Door, arguments: &str| match (door.send)(arguments) {
        Outcome::Waits(id) => id,
        outcome => panic!("{} {arguments}: {outcome:?}", door.name),
    };
    let ids: Vec<String> = doors.iter_mut().map(|door| wait(door, BASE)).collect();
    for (door, id) in doors.iter_mut().zip(&ids) {
        for same in SAME {
            assert_eq!(&wait(door, same), id, "{} {same}", door.name);
        }
        for other in OTHER.iter().chain(&TWICE[1..]) {
            let outcome = (door.send)(other);
            assert!(outcome != Outcome::Waits(id.clone()) && outcome != Outcome::Done, "{} {other}", door.name);
        }
        // It means the base, or nothing.
        let outcome = (door.send)(TWICE[0]);
        let is_known = matches!(&outcome, Outcome::Waits(waiting) if waiting == id);
        assert!(is_known || matches!(outcome, Outcome::Refused(_)), "{} {outcome:?}", door.name);
    }
    assert_eq!(purges(&provider), 0);
    if !ready() {
        return;
    }
    for index in 0..doors.len() {
        // Of two doors of one caller to the same request, the first has used the approval up.
        let id = wait(&mut doors[index], BASE);
        grant(&home, &id);
        for (at, door) in doors.iter_mut().enumerate() {
            let is_other_request = at != index && ids[at] != ids[index];
            let refused = OTHER.iter().chain(&TWICE[1..]).chain(is_other_request.then_some(&BASE));
            for arguments in refused {
                assert_ne!((door.send)(arguments), Outcome::Done, "{} {arguments}", door.name);
            }
        }
        assert_eq!(purges(&provider), index);
        provider.trouble("/api/purge", [Trouble::json(200, &json!({}))]);
        let door = &mut doors[index];
        assert_eq!((door.send)(SAME[index % SAME.len()]), Outcome::Done, "{}", door.name);
        assert_eq!((purges(&provider), purged(&provider)), (index + 1, json!({ "folder": "old", "days": 30 })));
        assert_ne!(wait(door, BASE), id, "{}: it was used", door.name);
    }
    assert_eq!(purges(&provider), doors.len());
}

/// An approval names an account, not a word that may mean another one later.
#[test]
fn an_approval_is_none_for_another_account_of_the_same_name() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let careful = token(&home, "careful", "--scope admin:* --approve destroy --tier enterprise");
    let server = Server::start(&home, "");
    let api = server.client(&careful);
    let purge = |home: &Home| {
        let mut client = StdioClient::start(home, "--connection fake --allow destroy");
        client.call("fake_notes_purge", &json!({ "folder": "a" })).approval()
    };
    let delete = || Outcome::of_reply(&api.delete("/v1/calendar/events?calendar=fake/main&event=1"));
    let (id, of_calendar) = (purge(&home), delete());
    assert!(matches!(of_calendar, Outcome::Waits(_)), "{of_calendar:?}");
    assert_eq!((purge(&home), delete()), (id.clone(), Outcome::Waits(of_calendar.id())));
    if ready() {
        grant(&home, &id);
        grant(&home, &of_calendar.id());
    }
    home.ok("disconnect fake --yes");
    provider.account("other");
    Flow::start(&home, &connect_line(&provider)).allow();
    assert_ne!(purge(&home), id);
    assert!(!["", &of_calendar.id()].contains(&delete().id().as_str()));
    assert_eq!(purges(&provider), 0);
}

/// A request that the service may take for another one destroys, whatever its method and its path say.
#[test]
fn a_request_that_may_be_another_needs_an_approval() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let careful =
        token(&home, "careful", "--scope connections:call --connection fake --approve destroy --tier enterprise");
    let server = Server::start(&home, "");
    let api = server.client(&careful);
    let send = |request: &Value| api.post("/v1/connections/fake/request", request);
    let form = STANDARD.encode("text=a&_method=DELETE");
    let multipart =
        STANDARD.encode("--x\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nDELETE\r\n--x--\r\n");
    let page = |page_token: Value| {
        let page = json!({ "page_token": page_token, "record_count": 0 });
        json!({ "method": "POST", "path": "/notes", "body": {}, "paginate": true, "page": page })
    };
    for request in [
        json!({ "method": "GET", "path": "/notes/7", "fields": { "method": "delete" } }),
        json!({ "method": "GET", "path": "/notes/7", "fields": { "_method": "DELETE" } }),
        json!({ "method": "HEAD", "path": "/notes/7?%5Fmethod=DELETE" }),
        json!({ "method": "POST", "path": "/notes", "body": { "text": "a", "method": "DELETE" } }),
        json!({ "method": "POST", "path": "/notes", "fields": { "_METHOD": "DELETE" } }),
        json!({ "method": "POST", "path": "/notes", "headers": { "X-HTTP-Method-Override": "DELETE" } }),
        json!({ "method": "POST", "path": "/notes", "headers": { "X_HTTP_METHOD_OVERRIDE": "DELETE" } }),
        json!({ "method": "POST", "path": "/notes", "headers": { "X-Original-URL": "/purge" } }),
        json!({ "method": "POST", "path": "/notes", "headers": { "x-rewrite-url": "/purge" } }),
        json!({ "method": "POST", "path": "/notes", "body_base64": form,
            "headers": { "Content-Type": "application/x-www-form-urlencoded" } }),
        json!({ "method": "POST", "path": "/notes", "body_base64": multipart,
            "headers": { "content-type": "multipart/form-data; boundary=x" } }),
        json!({ "method": "POST", "path": "/notes/../purge" }),
        json!({ "method": "POST", "path": "/notes\\..\\purge" }),
        json!({ "method": "POST", "path": "/notes;/../purge" }),
        json!({ "method": "POST", "path": "/%6eotes/%2e%2e/purge" }),
        json!({ "method": "POST", "path": provider.url("/api/purge") }),
        json!({ "method": "PUT", "path": "/notes" }),
        json!({ "method": "PATCH", "path": "/notes" }),
        page(json!({ "url": provider.url("/api/purge") })),
        page(json!({ "query": ["_method", "DELETE"] })),
        page(json!({ "body": ["/_method", "DELETE"] })),
    ] {
        let reply = send(&request);
        assert_eq!((reply.status, reply.code()), (403, "approval_required"), "{request}: {reply:?}");
    }
    let paths = ["/api/notes", "/api/notes/7", "/api/purge"];
    assert_eq!(paths.map(|path| asked(&provider, path)), [0; 3]);
    // What only looks like it is sent.
    provider.trouble("/api/notes", [Trouble::json(200, &json!({ "id": 1 }))]);
    expect(&send(&json!({ "method": "POST", "path": "/notes", "body": { "text": "a", "method": "card" } })), 200);
}

/// Where each call can be a GET or a POST, a GET destroys as the POST does.
#[test]
fn a_get_destroys_where_the_service_takes_it_for_a_post() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    let careful =
        token(&home, "careful", "--scope connections:call --connection slack --approve destroy --tier enterprise");
    let server = Server::start(&home, "");
    let api = server.client(&careful);
    let send = |request: Value| api.post("/v1/connections/slack/request", &request);
    let fields = json!({ "channel": "C0123456789", "ts": "1700000000.000200" });
    for (method, path) in [
        ("GET", "/chat.delete"),
        ("GET", "/chat%2Edelete"),
        ("GET", "/./chat.delete"),
        ("HEAD", "/chat.delete"),
        ("GET", "/files.delete"),
        ("GET", "https://slack.com/api/chat.delete"),
    ] {
        let reply = send(json!({ "method": method, "path": path, "fields": fields }));
        assert_eq!((reply.status, reply.code()), (403, "approval_required"), "{method} {path}: {reply:?}");
    }
    expect(&send(json!({ "method": "GET", "path": "/conversations.list" })), 200);
    expect(&send(json!({ "method": "GET", "path": "/auth.test" })), 200);
    let proxy = Proxy::of(&home, "slack", "");
    let reply = proxy.client().get("/chat.delete?channel=C0123456789&ts=1700000000.000200");
    assert_eq!((reply.status, reply.code()), (403, "approval_required"), "{reply:?}");
    assert_eq!(proxy.client().get("/conversations.list").status, 200);
}

/// A body for each operation that destroys and has one, by its path.
fn bodies() -> Vec<(&'static str, Value)> {
    vec![
        ("/v1/connections/{connection}/actions/{action}", json!({ "input": { "folder": "a" } })),
        ("/v1/connections/{connection}/request", json!({ "method": "DELETE", "path": "/notes/7" })),
        ("/v1/events/{event}/resolve", json!({ "keep": "first" })),
        ("/v1/connections/{connection}/event-prunes", json!({ "keep_days": 3 })),
        ("/v1/bindings/{binding}/push", json!({ "entities": [{ "id": "1" }] })),
        ("/v1/bindings/{binding}/sync", json!({ "full": true })),
        ("/v1/bindings/{binding}/resolve", json!({ "entity": "a/1", "resolution": { "ours": [] } })),
    ]
}

/// Every operation of the table that destroys is refused, also if another method or path is asked for by other means.
#[test]
fn every_operation_that_destroys_needs_an_approval() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let careful = token(&home, "careful", "--scope admin:* --approve destroy --tier enterprise");
    let server = Server::start(&home, "");
    let api = server.client(&careful);
    let document = expect(&api.get("/openapi.json"), 200);
    let (mut bodies, mut judged) = (bodies(), 0);
    for (template, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            // What only reads of an operation is judged by what it does.
            let reads = method == "get" || template.contains("/action-previews/");
            if operation["x-integ-effect"] != "destroy" || reads {
                continue;
            }
            let mut path = template.replace("{connection}", "fake").replace("{action}", "notes.purge");
            while let (Some(start), Some(end)) = (path.find('{'), path.find('}')) {
                path.replace_range(start..=end, "1");
            }
            if template == "/v1/calendar/events" {
                path.push_str("?calendar=fake&event=1");
            }
            let at = bodies.iter().position(|(known, _)| known == template);
            assert_eq!(at.is_some(), !operation["requestBody"].is_null(), "{method} {template}: a body for it");
            let body = at.map(|at| bodies.swap_remove(at).1);
            let method = method.to_uppercase();
            let name = format!("{method} {path}");
            let send = || Outcome::of_reply(&api.send(&method, &path, &[], body.as_ref()));
            let Outcome::Waits(id) = send() else { panic!("{name}: {:?}", send()) };
            assert_eq!(send(), Outcome::Waits(id), "{name}");
            judged += 1;
            // The server itself knows no other ways to name a method or a path.
            for asking in ["GET", "POST"].into_iter().filter(|asking| *asking != method) {
                let plain = api.send(asking, &path, &[], None).status;
                for (header, value) in [
                    ("x-http-method-override", &method),
                    ("x-http-method", &method),
                    ("x-method-override", &method),
                    ("x-original-url", &path),
                    ("x-rewrite-url", &path),
                ] {
                    let reply = api.send(asking, &path, &[(header, value)], None);
                    assert_eq!(reply.status, plain, "{name} by {header}: {reply:?}");
                }
            }
            let reply = api.send(
                "POST",
                &format!("{path}{}_method={method}", if path.contains('?') { '&' } else { '?' }),
                &[],
                body.as_ref(),
            );
            assert!(reply.status >= 400, "{name} by a parameter: {reply:?}");
        }
    }
    assert!(bodies.is_empty(), "no operation has {bodies:?}");
    assert!(judged >= 13, "{judged}");
    assert_eq!(home.json("status")["summary"]["total"], 1);
    assert_eq!(["/api/purge", "/api/notes/7"].map(|path| asked(&provider, path)), [0; 2]);
}
