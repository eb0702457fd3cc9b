//! Which tools there are, what they return, and what is recorded of their calls.

use serde_json::{Value, json};

use super::{StdioClient, asked, connected, entries};
use crate::fake::{FakeProvider, Trouble};
use crate::harness::Home;
use crate::server::Server;

const LOCAL: [&str; 5] = ["connection_status", "list_records", "list_events", "show_event", "read_result"];

fn names(actions: &[&str]) -> Vec<String> {
    actions.iter().chain(&LOCAL).map(|name| (*name).to_owned()).collect()
}

#[test]
fn reading_is_offered_and_more_is_allowed_by_effect() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let mut client = StdioClient::start(&home, "--connection fake");
    let reads = ["fake_notes_get", "fake_notes_search"];
    // What the scopes do not allow is absent, and what needs a file.
    assert_eq!(client.tool_names(), names(&reads));
    let hints = |tool: &Value| {
        ["readOnlyHint", "destructiveHint", "idempotentHint"].map(|hint| tool["annotations"][hint].as_bool().unwrap())
    };
    assert!(client.tools().iter().all(|tool| hints(tool) == [true, false, true]));
    let schema = client.tools()[0]["inputSchema"].clone();
    assert_eq!((&schema["required"], &schema["additionalProperties"]), (&json!(["note"]), &json!(false)));
    assert_eq!(client.end(), 0);

    let mut client = StdioClient::start(&home, "--connection fake --allow write");
    assert_eq!(client.tool_names(), names(&["fake_notes_create", reads[0], reads[1]]));
    assert_eq!(hints(&client.tools()[0]), [false, false, false]);
    let mut client = StdioClient::start(&home, "--connection fake --allow destroy");
    let destroying = ["fake_notes_delete", reads[0], "fake_notes_purge", reads[1], "fake_notes_undeclared"];
    assert_eq!(client.tool_names(), names(&destroying));
    let tools = client.tools();
    assert_eq!([hints(&tools[2]), hints(&tools[4])], [[false, true, false]; 2]);
    assert!(tools[2]["description"].as_str().unwrap().contains("needs a person's approval"));

    // Nothing but named connections.
    assert_eq!(home.run("mcp serve").code, 2);
    assert_eq!(home.run("mcp serve --connection other --json").error_code(), "unknown_connection");
}

#[test]
fn a_call_returns_the_answer_and_is_recorded() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.trouble(
        "/api/notes/7",
        [
            Trouble::json(200, &json!({ "id": 7, "exact": 12345678901234567890_u64 })),
            Trouble::json(404, &json!({ "error": "no such note" })),
        ],
    );
    let mut client = StdioClient::start(&home, "--connection fake --allow write");
    let found = client.call("fake_notes_get", &json!({ "note": "7" })).document();
    assert_eq!((&found["http_status"], &found["connection"]), (&json!(200), &json!("fake")));
    assert_eq!(found["response"], json!({ "id": 7, "exact": 12345678901234567890_u64 }));
    let refused = client.call("fake_notes_get", &json!({ "note": "7" }));
    assert_eq!(refused.0["result"]["isError"], true);
    assert!(refused.text(0).contains("no such note"), "{refused:?}");
    assert_eq!(client.call("fake_notes_get", &json!({ "not": "7" })).code(), "invalid_parameters");
    assert_eq!(client.call("fake_notes_purge", &json!({ "folder": "a" })).code(), "invalid_parameters");
    provider.trouble("/api/notes", [Trouble::json(200, &json!({ "id": 8 }))]);
    let written = client.call("fake_notes_create", &json!({ "text": "hello" })).document();
    assert_eq!(written["result"], json!({ "note_id": 8 }));

    let log = entries(&home, "call");
    let of = |outcome: &str, effect: &str| {
        let is = |entry: &&Value| entry["outcome"] == outcome && entry["effect"] == effect;
        log.iter().filter(is).map(|entry| entry["detail"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let client_and_input = "agent \"peer\" \"1.2.3\", input sha256:";
    for (outcome, effect, action) in [
        ("done", "read", "notes.get"),
        ("failed", "read", "notes.get"),
        ("started", "write", ""),
        ("done", "write", "notes.create"),
    ] {
        let found = of(outcome, effect);
        assert!(found.iter().any(|detail| detail.starts_with(client_and_input) && detail.ends_with(action)), "{log:?}");
    }
    assert!(log.iter().all(|entry| entry["connection"] == "fake" && entry["actor"] == "local"), "{log:?}");
    assert_eq!(home.run("audit verify").code, 0);
}

#[test]
fn a_long_result_is_cut_and_read_on() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let text: String = (0..30_000).map(|number| format!("{number:05} é ")).collect();
    provider.trouble("/api/notes/1", [Trouble::json(200, &json!({ "text": text }))]);
    let mut client = StdioClient::start(&home, "--connection fake");
    let result = client.call("fake_notes_get", &json!({ "note": "1" }));
    assert!(result.text(0).len() <= 100_000 && result.text(0).len() > 99_990);
    assert!(result.text(1).contains("read_result") && result.text(1).contains("narrow"), "{}", result.text(1));
    let mut whole = result.text(0).to_owned();
    let next = |note: &str| {
        note.find('{').map(|at| serde_json::from_str::<Value>(&note[at..=note.find('}').unwrap()]).unwrap())
    };
    let mut arguments = next(result.text(1));
    while let Some(wanted) = arguments {
        let part = client.call("read_result", &wanted);
        whole.push_str(part.text(0));
        arguments = next(part.text(1));
    }
    assert_eq!(serde_json::from_str::<Value>(&whole).unwrap()["response"]["text"], text);
    assert_eq!(client.call("read_result", &json!({ "result": "res_0", "offset": 0 })).code(), "invalid_parameters");
}

#[test]
fn many_tools_are_searched_described_and_called() {
    let home = Home::new();
    home.ok("connect github --sandbox");
    home.ok("connect slack --sandbox");
    home.ok("connect stripe --sandbox");
    let words = "--connection github --connection slack --connection stripe --allow write --allow destroy";
    let mut client = StdioClient::start(&home, words);
    let listed = client.tool_names();
    assert_eq!(listed, names(&["search_tools", "describe_tool", "call_tool", "call_write_tool"]));
    assert_eq!(StdioClient::start(&home, words).tool_names(), listed);
    let tools = client.tools();
    assert_eq!(tools[2]["annotations"]["readOnlyHint"], true);
    assert_eq!(
        (&tools[3]["annotations"]["readOnlyHint"], &tools[3]["annotations"]["destructiveHint"]),
        (&json!(false), &json!(true))
    );
    let found = client.call("search_tools", &json!({ "query": "post message" })).document();
    assert_eq!(found["tools"][0]["tool"], "slack_chat_postMessage", "{found}");
    let described = client.call("describe_tool", &json!({ "tool": "slack_chat_postMessage" })).document();
    assert_eq!((&described["effect"], &described["call_with"]), (&json!("write"), &json!("call_write_tool")));
    assert_eq!(described["arguments"]["properties"]["channel"]["type"], "string");
    let post = json!({ "tool": "slack_chat_postMessage", "arguments": { "channel": "C0123456789", "text": "hello" } });
    // A client that lets reading tools run without asking never runs another by one of them.
    assert_eq!(client.call("call_tool", &post).code(), "invalid_parameters");
    assert_eq!(client.call("call_write_tool", &post).document()["http_status"], 200);
    assert_eq!(client.call("slack_chat_postMessage", &post["arguments"]).code(), "invalid_parameters");
    let delete = json!({ "tool": "slack_chat_delete", "arguments": { "channel": "C0123456789", "ts": "1.2" } });
    client.call("call_write_tool", &delete).approval();
}

#[test]
fn what_is_stored_here_is_read_without_the_service() {
    let home = Home::new();
    home.ok("connect github --sandbox");
    home.ok("connect slack --sandbox");
    home.ok("sync github/issues");
    let server = Server::start(&home, "");
    home.ok("webhook simulate github push");
    server.stop();
    let mut client = StdioClient::start(&home, "--connection github");
    let status = client.call("connection_status", &json!({})).document();
    assert_eq!(status["connections"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(client.call("list_records", &json!({ "connection": "slack" })).code(), "unknown_connection");
    let streams = client.call("list_records", &json!({ "connection": "github" })).document();
    assert_eq!(streams["streams"][0]["stream"], "issues", "{streams}");
    let stored = streams["streams"][0]["records"].as_u64().unwrap();
    let mut arguments = json!({ "connection": "github", "stream": "issues", "limit": 1 });
    let mut read = 0;
    loop {
        let page = client.call("list_records", &arguments).document();
        read += page["records"].as_array().unwrap().len() as u64;
        if page["next_after_version"].is_null() {
            break;
        }
        arguments["after_version"] = page["next_after_version"].clone();
    }
    assert!(stored > 0 && read == stored, "{read} of {stored}");
    let events = client.call("list_events", &json!({ "connection": "github" })).document();
    let id = events["events"][0]["id"].clone();
    let event = client.call("show_event", &json!({ "event": id })).document();
    assert!(event.to_string().contains("push"), "{event}");

    let resources = client.ask("resources/list", &json!({}));
    let uris: Vec<&str> =
        resources["result"]["resources"].as_array().unwrap().iter().map(|one| one["uri"].as_str().unwrap()).collect();
    assert_eq!(
        uris,
        [
            "integ://status",
            "integ://records/github/issues",
            "integ://records/github/repositories",
            "integ://events/github"
        ]
    );
    let mut text =
        |uri: &str| client.ask("resources/read", &json!({ "uri": uri }))["result"]["contents"][0]["text"].clone();
    assert!(text("integ://records/github/issues").as_str().unwrap().contains("_key"));
    assert!(text("integ://events/github").as_str().unwrap().contains("push"));
    assert!(text(&format!("integ://events/github/{id}")).as_str().unwrap().contains("push"));
    assert!(text("integ://events/slack").is_null() && text("integ://other").is_null());
    let templates = client.ask("resources/templates/list", &json!({}));
    assert_eq!(templates["result"]["resourceTemplates"][0]["uriTemplate"], "integ://events/{connection}/{event}");
}

#[test]
fn the_client_is_no_protocol_expert() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let mut client = StdioClient::start(&home, "--connection fake");
    client.write("not json");
    client.write(&format!("\"{}\"", "x".repeat(65 * 1024 * 1024)));
    assert_eq!(client.running.event()["error"]["code"], -32600);
    assert!(client.ask("ping", &json!({}))["result"].is_object());
    assert_eq!(client.ask("prompts/get", &json!({ "name": "x" }))["error"]["code"], -32601);
    assert_eq!(client.ask("resources/read", &json!({ "uri": "file:///etc/passwd" }))["error"]["code"], -32002);
    assert_eq!(asked(&provider, "/api/notes"), 0);
    assert_eq!(client.end(), 0);
}
