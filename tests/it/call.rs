//! `integ call` and `integ api`: what is checked before anything is sent, what is sent, and what is sent again.

use serde_json::{Value, json};

use crate::fake::{CONNECTOR, FakeProvider, Trouble};
use crate::flow::{Flow, connect_line};
use crate::harness::{Home, finish};

const ACTIONS: &str = r#"
[actions."notes.create"]
about = "Write a note"
path = "/notes/{folder}"
one_of = [["text", "html"]]
result = { note_id = "/id" }

[actions."notes.create".params]
folder = { about = "Folder", required = true }
text = { about = "Text" }
html = { about = "HTML" }
tags = { about = "Tags", type = "array" }
size = { about = "Size", type = "integer" }

[actions."notes.pay"]
about = "Pay for a note"
path = "/pay"
body = "form"
idempotency = { header = "Idempotency-Key" }
params = { amount = { about = "Amount", type = "integer", to = "/money/amount" } }

[actions."notes.rule"]
about = "What only an admin may"
path = "/rule"
scopes = ["admin"]
"#;

fn connected(provider: &FakeProvider) -> Home {
    let home = Home::new();
    let scoped = CONNECTOR.replace("write = \"Write\"", "write = \"Write\"\nadmin = \"Rule\"");
    home.install("fake", &format!("{scoped}{ACTIONS}"));
    provider.trouble("/token", [Trouble::Edit(json!({ "scope": "read write" }))]);
    Flow::start(&home, &connect_line(provider)).allow();
    home
}

fn done(body: &Value) -> Trouble {
    Trouble::json(200, body)
}

#[test]
fn an_action_is_done_and_its_result_named() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.trouble("/api/notes/in%20box", [done(&json!({ "id": 41, "more": true }))]);
    let words = ["call", "fake", "notes.create", "folder=in box", "text=Hello", "tags=a", "tags=b", "size=3"];
    let ran = finish(home.command(words));
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "note_id  41\n"), "{ran:?}");
    let state = provider.state();
    let sent = state.asked.iter().find(|message| message.request().1.starts_with("/api/notes")).unwrap();
    assert_eq!(sent.request().0, "POST");
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(body, json!({ "text": "Hello", "tags": ["a", "b"], "size": 3 }));
}

#[test]
fn what_is_missing_or_misspelt_is_named_and_nothing_is_sent() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let before = provider.state().asked.len();
    let ran = home.run("call fake notes.create foldr=x size=big --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "invalid_parameters"), "{ran:?}");
    for said in ["did you mean folder?", "whole number", "folder is missing (Folder)", "one of text, html is missing"] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    assert!(ran.stderr.contains("integ call fake notes.create folder=FOLDER text=TEXT"), "{}", ran.stderr);
    let ran = home.run("call fake notes.crate --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (3, "unknown_action"));
    assert!(ran.stderr.contains("did you mean notes.create?"));
    for hostile in ["..", ".", ""] {
        let folder = format!("folder={hostile}");
        let ran = finish(home.command(["call", "fake", "notes.create", folder.as_str(), "text=x"]));
        assert_eq!(ran.code, 2, "{hostile:?}: {ran:?}");
    }
    assert_eq!(provider.state().asked.len(), before, "something was sent");
}

#[test]
fn an_action_is_shown_with_all_its_parameters() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let shown = home.ok("connector show fake notes.create");
    assert!(shown.starts_with("notes.create: Write a note\nPOST /notes/{folder}\n"), "{shown}");
    assert!(shown.contains("One of text, html is required.") && shown.ends_with("Returns: note_id"), "{shown}");
    let action = home.json("connector show fake notes.create");
    assert_eq!((&action["connector"], &action["input"]["required"]), (&json!("fake"), &json!(["folder"])));
    let ran = home.run("connector show fake notes.creat --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (3, "unknown_action"), "{ran:?}");
    assert!(home.json("connector show fake")["actions"].as_array().unwrap().len() == 3);
    let published = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/connectors/schema.json")).unwrap();
    let printed: Value = serde_json::from_str(&home.ok("connector schema")).unwrap();
    assert_eq!(printed, serde_json::from_str::<Value>(&published).unwrap());
}

#[test]
fn a_scope_that_was_not_granted_is_said_before_the_vendor_refuses() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let before = provider.state().asked.len();
    let ran = home.run("call fake notes.rule --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (4, "missing_scopes"), "{ran:?}");
    let reconnect = "integ reconnect fake --add-scope admin";
    assert!(ran.stderr.contains(reconnect), "{}", ran.stderr);
    assert_eq!(provider.state().asked.len(), before);
}

#[test]
fn a_rehearsal_prints_the_request_without_its_secrets_and_sends_nothing() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let token = home.ok("token fake");
    let before = provider.state().asked.len();
    let printed = home.ok(&format!("call fake notes.create folder=x text=my-{token}-text --dry-run"));
    assert!(printed.starts_with(&format!("POST {}/api/notes/x\n", provider.origin())), "{printed}");
    assert!(printed.contains("authorization: [redacted]") && printed.contains("my-[redacted]-text"), "{printed}");
    assert!(!printed.contains(&token));
    let warned = home.run("call fake notes.rule --dry-run");
    assert!(warned.code == 0 && warned.stderr.contains("admin"), "{warned:?}");
    assert_eq!(provider.state().asked.len(), before);
}

#[test]
fn a_refused_token_is_renewed_once() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let refused = || Trouble::json(401, &json!({ "error": "invalid_token" }));
    provider.trouble("/api/pay", [refused(), done(&json!({}))]);
    home.ok("call fake notes.pay amount=1");
    assert_eq!(provider.state().refreshes(), 1);
    provider.trouble("/api/pay", [refused(), refused()]);
    let ran = home.run("call fake notes.pay amount=1 --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (4, "token_rejected"), "{ran:?}");
    assert_eq!(provider.state().refreshes(), 2);
}

#[test]
fn only_what_does_no_harm_is_sent_again() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let broken = || Trouble::json(503, &json!({ "message": "not now" }));
    // The vendor knows the repetition by its key.
    provider.trouble("/api/pay", [broken(), Trouble::Drop, done(&json!({}))]);
    home.ok("call fake notes.pay amount=5");
    let keys: Vec<String> = {
        let state = provider.state();
        let paid = state.asked.iter().filter(|message| message.request().1 == "/api/pay");
        paid.map(|message| message.header("idempotency-key").unwrap().to_owned()).collect()
    };
    assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0] && key.len() == 32), "{keys:?}");
    // Without one it may have been done: it is not asked twice.
    for trouble in [broken(), Trouble::Drop] {
        provider.trouble("/api/notes/x", [trouble]);
        let before = provider.state().count("/api/notes/x");
        let ran = home.run("call fake notes.create folder=x text=y");
        assert_eq!((ran.code, provider.state().count("/api/notes/x")), (5, before + 1), "{ran:?}");
    }
    // What is limited was not done.
    let limited = Trouble::Instead(429, vec![("retry-after", "0".to_owned())], Vec::new());
    provider.trouble("/api/notes/y", [limited, done(&json!({ "id": 1 }))]);
    home.ok("call fake notes.create folder=y text=y");
    let later = Trouble::Instead(429, vec![("retry-after", "3600".to_owned())], Vec::new());
    provider.trouble("/api/notes/y", [later]);
    let ran = home.run("call fake notes.create folder=y text=y --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (5, "rate_limited"), "{ran:?}");
}

#[test]
fn any_path_is_called_with_fields_headers_and_input() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.trouble("/api/search", [done(&json!({ "q": [1, 2] }))]);
    assert_eq!(home.ok("api fake /search -X get -f q=a+b -f page[size]=2 --jq .q[1]"), "2");
    provider.trouble("/api/things", [done(&json!({}))]);
    let ran = home.run_with_input("api fake things --input - -H X-Odd:yes", "{\"a\":1}");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "{}\n"), "{ran:?}");
    provider.trouble("/api/typed", [done(&json!({}))]);
    home.ok("api fake /typed -F n=1 -F yes=true -f text=1 -f list[]=a -f list[]=b");
    let state = provider.state();
    let sent = |path: &str| state.asked.iter().rfind(|message| message.request().1.starts_with(path)).unwrap();
    assert_eq!(sent("/api/search").request(), ("GET", "/api/search?q=a%2Bb&page%5Bsize%5D=2"));
    assert_eq!((sent("/api/things").text().as_str(), sent("/api/things").header("x-odd")), ("{\"a\":1}", Some("yes")));
    let typed: Value = serde_json::from_slice(&sent("/api/typed").body).unwrap();
    assert_eq!(typed, json!({ "n": 1, "yes": true, "text": "1", "list": ["a", "b"] }));
}

#[test]
fn pages_are_followed_and_lead_nowhere_else() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let page = |body: &str, next: &str| {
        let headers =
            vec![("content-type", "application/json".to_owned()), ("link", format!("<{next}>; rel=\"next\""))];
        Trouble::Instead(200, headers, body.as_bytes().to_vec())
    };
    let last = || Trouble::json(200, &json!([3]));
    provider.trouble("/api/items", [page("[1]", "/api/items?page=2"), page("[2]", "/api/items?page=3"), last()]);
    assert_eq!(home.ok("api fake /items --paginate"), "[1]\n[2]\n[3]");
    provider.trouble("/api/items", [page("[1]", "https://evil.example/api/items")]);
    let ran = home.run("api fake /items --paginate --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "foreign_host"), "{ran:?}");
    assert_eq!(ran.stdout, "[1]\n");
    provider.trouble("/api/items", [page("[1]", "?a=1"), page("[1]", "?a=1")]);
    let ran = home.run("api fake /items --paginate --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (1, "repeated_page"), "{ran:?}");
    let before = provider.state().asked.len();
    for elsewhere in ["https://evil.example/x", "https://fake.invalid:444/x", "http://fake.invalid/x"] {
        let ran = home.run(&format!("api fake {elsewhere} --json"));
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "foreign_host"), "{elsewhere}: {ran:?}");
    }
    assert_eq!(provider.state().asked.len(), before);
}

#[test]
fn a_refusal_is_shown_with_the_vendors_words_and_cannot_steer_the_terminal() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let refusal = || Trouble::json(422, &json!({ "message": "no \u{1b}[31msuch folder" }));
    provider.trouble("/api/notes/x", [refusal(), refusal()]);
    let ran = home.run("call fake notes.create folder=x text=y");
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("no \\u{1b}[31msuch folder") && ran.stdout.is_empty(), "{ran:?}");
    let ran = home.run("api fake /notes/x -i");
    assert!(ran.code == 1 && ran.stdout.starts_with("HTTP 422\n"), "{ran:?}");
}

#[test]
fn a_trace_shows_the_bodies_of_responses_without_their_secrets() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.json_page("/api/notes", &json!({ "id": "note-17", "auth_token": "a-secret-of-the-service" }));
    let ran = home.run("api fake /notes -vvv");
    assert_eq!(ran.code, 0, "{ran:?}");
    let bodies: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("response body")).collect();
    assert!(bodies.len() == 1 && bodies[0].contains("note-17"), "{ran:?}");
    assert!(!ran.stderr.contains("a-secret-of-the-service") && ran.stdout.contains("a-secret-of-the-service"));
    // What grants tokens is never shown.
    let ran = home.run("refresh fake -vvv");
    assert!(ran.code == 0 && !ran.stderr.contains("response body"), "{ran:?}");
}
