//! `integ connect URL`: remote MCP servers, honest and hostile.

use serde_json::{Value, json};

use crate::fake::{Answer, FakeProvider, State, Trouble};
use crate::flow::Flow;
use crate::harness::Home;
use crate::wire::Message;

const AS_METADATA: &str = "/.well-known/oauth-authorization-server";
const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource/mcp";

/// The MCP server beside the provider: it refuses requests without a token, and has two pages of tools.
pub fn answer(state: &mut State, message: &Message) -> Answer {
    if !state.takes(message) {
        return (401, vec![("www-authenticate", "Basic realm=\"x\", Bearer".to_owned())], Vec::new());
    }
    let request: Value = serde_json::from_slice(&message.body).unwrap_or_default();
    let kind = |kind: &str| vec![("content-type", kind.to_owned())];
    let json = |result: Value| {
        let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
        (200, kind("application/json"), answer.to_string().into_bytes())
    };
    if let Some(revision) = state.stateless_mcp {
        return stateless_answer(revision, message, &request);
    }
    match request["method"].as_str() {
        Some("initialize") => {
            let result = json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": {} },
                "serverInfo": { "name": "Fake \u{1b}[31mtools", "version": "1.2" } });
            let (status, mut headers, body) = json(result);
            headers.push(("mcp-session-id", "session-1".to_owned()));
            (status, headers, body)
        }
        Some("notifications/initialized") => (202, Vec::new(), Vec::new()),
        Some("tools/list") if message.header("mcp-protocol-version") != Some("2025-06-18") => {
            (400, Vec::new(), Vec::new())
        }
        Some("tools/list") if message.header("mcp-session-id") != Some("session-1") => (404, Vec::new(), Vec::new()),
        Some("tools/list") if request["params"]["cursor"].is_null() => {
            json(json!({ "tools": [{ "name": "one" }, { "name": "two" }], "nextCursor": "2" }))
        }
        Some("tools/list") => {
            let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": { "tools": [{ "name": "three" }] } });
            let log = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": {} });
            let stream = format!("event: message\ndata: {log}\n\nevent: message\ndata: {answer}\n\n");
            (200, kind("text/event-stream"), stream.into_bytes())
        }
        _ => (405, Vec::new(), Vec::new()),
    }
}

/// A server without sessions, as revision 2026-07-28 wants it: strict with headers, and with nothing to say to `initialize`.
fn stateless_answer(revision: &str, message: &Message, request: &Value) -> Answer {
    let json = |status: u16, mut answer: Value| {
        answer["jsonrpc"] = json!("2.0");
        answer["id"] = request["id"].clone();
        (status, vec![("content-type", "application/json".to_owned())], answer.to_string().into_bytes())
    };
    let meta = &request["params"]["_meta"];
    let asked = meta["io.modelcontextprotocol/protocolVersion"].as_str();
    let method = request["method"].as_str();
    if asked.is_none() || message.header("mcp-protocol-version") != asked || message.header("mcp-method") != method {
        return json(400, json!({ "error": { "code": -32020, "message": "Header mismatch" } }));
    }
    assert!(meta["io.modelcontextprotocol/clientCapabilities"].is_object(), "{request}");
    assert_eq!(message.header("mcp-session-id"), None);
    if asked != Some(revision) {
        let data = json!({ "supported": [revision], "requested": asked });
        return json(
            400,
            json!({ "error": { "code": -32022, "message": "Unsupported protocol version", "data": data } }),
        );
    }
    match method {
        Some("server/discover") => {
            let info = json!({ "io.modelcontextprotocol/serverInfo": { "name": "Stateless", "version": "3" } });
            json(
                200,
                json!({ "result": { "resultType": "complete", "supportedVersions": [revision],
                "capabilities": { "tools": {} }, "_meta": info } }),
            )
        }
        Some("tools/list") => {
            json(200, json!({ "result": { "resultType": "complete", "tools": [{ "name": "one" }] } }))
        }
        _ => json(404, json!({ "error": { "code": -32601, "message": "Method not found" } })),
    }
}

/// Registers whatever asks.
pub fn registration(state: &mut State, message: &Message) -> (u16, Value) {
    let asked: Value = serde_json::from_slice(&message.body).unwrap_or_default();
    let number = state.count("/register");
    (
        201,
        json!({ "client_id": format!("registered-{number}"), "redirect_uris": asked["redirect_uris"],
        "token_endpoint_auth_method": "none" }),
    )
}

/// A server that describes itself as the specification wants it.
fn server() -> FakeProvider {
    let provider = FakeProvider::start();
    let resource = json!({ "resource": provider.url("/mcp"), "authorization_servers": [provider.origin()],
        "scopes_supported": ["read"] });
    provider.json_page(RESOURCE_METADATA, &resource);
    provider.json_page(AS_METADATA, &metadata(&provider));
    provider
}

fn metadata(provider: &FakeProvider) -> Value {
    json!({ "issuer": provider.origin(), "authorization_endpoint": provider.url("/authorize"),
        "token_endpoint": provider.url("/token"), "registration_endpoint": provider.url("/register"),
        "code_challenge_methods_supported": ["S256"], "token_endpoint_auth_methods_supported": ["none"] })
}

/// The authorization server's metadata with some members changed; `null` takes one away.
fn change_metadata(provider: &FakeProvider, changes: &Value) {
    let mut document = metadata(provider);
    for (name, value) in changes.as_object().unwrap() {
        document[name] = value.clone();
    }
    document.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    provider.json_page(AS_METADATA, &document);
}

fn connect_line(provider: &FakeProvider) -> String {
    format!("connect {} --as x", provider.url("/mcp"))
}

fn connected(provider: &FakeProvider) -> Home {
    let home = Home::new();
    Flow::start(&home, &connect_line(provider)).allow();
    home
}

/// What a command prints as JSON that finds something wrong.
fn failed_json(home: &Home, line: &str) -> Value {
    let ran = home.run(&format!("{line} --json"));
    assert_ne!(ran.code, 0, "{line}: {ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The last request to a path.
fn last(provider: &FakeProvider, path: &str) -> Message {
    let state = provider.state();
    let found = state.asked.iter().rev().find(|message| message.request().1.split('?').next() == Some(path));
    found.unwrap().clone()
}

fn query(flow: &Flow, name: &str) -> Option<String> {
    flow.url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// Exit code and error code of a `connect` that must fail before anybody is asked to sign in.
fn failure(provider: &FakeProvider) -> (i32, String) {
    let ran = Home::new().run(&format!("{} --json --no-browser --timeout 5s", connect_line(provider)));
    assert!(ran.stdout.is_empty(), "nobody is asked to sign in: {ran:?}");
    assert_eq!(provider.state().count("/token"), 0);
    (ran.code, ran.error_code())
}

#[test]
fn a_url_is_all_that_it_takes() {
    let provider = server();
    let home = Home::new();
    let flow = Flow::start(&home, &connect_line(&provider));
    assert_eq!(query(&flow, "client_id").as_deref(), Some("registered-1"));
    assert_eq!(query(&flow, "resource"), Some(provider.url("/mcp")));
    assert_eq!(query(&flow, "scope").as_deref(), Some("read"));
    assert_eq!(query(&flow, "code_challenge_method").as_deref(), Some("S256"));
    let registered: Value = serde_json::from_slice(&last(&provider, "/register").body).unwrap();
    assert_eq!(registered["redirect_uris"], json!([query(&flow, "redirect_uri").unwrap()]), "the listener's very own");
    assert_eq!(registered["application_type"], "native");
    flow.allow();
    assert_eq!(last(&provider, "/token").form()["resource"], provider.url("/mcp"));
    home.ok("refresh mcp@x");
    let refreshed = last(&provider, "/token").form();
    assert_eq!((&*refreshed["grant_type"], &refreshed["resource"]), ("refresh_token", &provider.url("/mcp")));
    assert_eq!(refreshed["client_id"], "registered-1");
    let test = home.json("test mcp@x")["tests"][0].clone();
    assert_eq!(test["outcome"], "healthy", "{test}");
    let server = &test["mcp_server"];
    assert_eq!((&server["tools"], &server["protocol_version"]), (&json!(3), &json!("2025-06-18")));
    let shown = home.ok("test mcp@x");
    assert!(shown.contains("MCP 2025-06-18") && shown.contains("3 tools") && !shown.contains('\u{1b}'), "{shown}");
    assert_eq!(home.json("status mcp@x")["connections"][0]["status"], "active");
    let url = provider.url("/mcp");
    let listed = home.run_with_input(
        &format!("api mcp@x {url} -X POST -H content-type:application/json --input -"),
        r#"{"jsonrpc":"2.0","id":7,"method":"initialize"}"#,
    );
    assert!(listed.code == 0 && listed.stdout.contains("2025-06-18"), "{listed:?}");
    assert_eq!(home.ok("exec mcp@x -- printenv MCP_X_TOKEN").trim(), home.ok("token mcp@x").trim());
}

#[test]
fn a_server_without_sessions_is_asked_without_one() {
    let provider = server();
    provider.state().stateless_mcp = Some("2026-07-28");
    let home = connected(&provider);
    let test = home.json("test mcp@x")["tests"][0].clone();
    assert_eq!(test["outcome"], "healthy", "{test}");
    let server = json!({ "name": "Stateless", "version": "3", "protocol_version": "2026-07-28", "tools": 1 });
    assert_eq!(test["mcp_server"], server);
    // One that knows only revisions to come says which.
    provider.state().stateless_mcp = Some("2099-01-01");
    let test = failed_json(&home, "test mcp@x");
    assert_eq!(test["tests"][0]["outcome"], "failed", "{test}");
    assert!(test["tests"][0]["error_message"].as_str().unwrap().contains("2099-01-01"), "{test}");
}

#[test]
fn a_token_that_a_person_made_takes_the_place_of_a_sign_in() {
    let provider = server();
    let found = json!({ "supportedVersions": ["2026-07-28"], "capabilities": {} });
    provider.json_page("/mcp", &json!({ "jsonrpc": "2.0", "id": null, "result": found }));
    let home = Home::new();
    let ran = home.run_with_input(&format!("{} --with-token", connect_line(&provider)), "made-by-hand\n");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(home.json("test mcp@x")["tests"][0]["outcome"], "healthy");
    assert_eq!(last(&provider, "/mcp").header("authorization"), Some("Bearer made-by-hand"));
    let state = provider.state();
    assert_eq!((state.count("/register"), state.count("/token")), (0, 0));
}

#[test]
fn connecting_a_url_again_keeps_its_connection_and_registers_anew() {
    let provider = server();
    let home = Home::new();
    let line = format!("connect {}", provider.url("/mcp"));
    let first = Flow::start(&home, &line).allow();
    let again = Flow::start(&home, &format!("{line} --add-scope write"));
    assert_eq!(query(&again, "client_id").as_deref(), Some("registered-2"));
    assert_eq!(query(&again, "scope").as_deref(), Some("read write"));
    assert_eq!(again.allow()["connection"], first["connection"]);
    let name = first["connection"].as_str().unwrap().to_owned();
    // The same name is not given to another server.
    let account = name.split_once('@').unwrap().1;
    provider.json_page("/.well-known/oauth-protected-resource/other", &json!({ "resource": provider.url("/other") }));
    let other = home.run(&format!("connect {} --as {account} --json --no-browser", provider.url("/other")));
    assert_eq!((other.code, &*other.error_code()), (2, "name_taken"), "{other:?}");
    assert!(other.stderr.contains("--as OTHER"), "{other:?}");
    assert_eq!(home.json("status")["summary"]["total"], 1);
}

#[test]
fn reconnect_keeps_the_url_and_the_users_own_client() {
    let provider = server();
    let home = Home::new();
    Flow::start(&home, &format!("{} --client-id mine --scope write", connect_line(&provider))).allow();
    let flow = Flow::start(&home, "reconnect mcp@x");
    assert_eq!(query(&flow, "client_id").as_deref(), Some("mine"));
    assert_eq!(query(&flow, "scope").as_deref(), Some("write"));
    flow.deliver(&flow.consent());
    assert_eq!(flow.end().0, 0);
    assert_eq!(provider.state().count("/register"), 0);
}

#[test]
fn scopes_of_the_refusal_come_first_and_a_step_up_names_what_is_missing() {
    let provider = server();
    provider.trouble(
        "/mcp",
        [Trouble::Instead(
            401,
            vec![("www-authenticate", "Bearer error=\"invalid_token\", scope=\"tools:read\"".to_owned())],
            Vec::new(),
        )],
    );
    let home = Home::new();
    let flow = Flow::start(&home, &connect_line(&provider));
    assert_eq!(query(&flow, "scope").as_deref(), Some("tools:read"));
    flow.allow();
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"tools:read tools:write\"";
    provider.page("/mcp", 403, &[("www-authenticate", challenge.to_owned())], "");
    let test = failed_json(&home, "test mcp@x");
    assert_eq!(test["tests"][0]["outcome"], "failed", "{test}");
    let (message, hint) = (&test["tests"][0]["error_message"], &test["tests"][0]["hint"]);
    assert!(message.as_str().unwrap().contains("tools:write"), "{message}");
    assert!(
        hint.as_str().unwrap().contains("integ reconnect mcp@x --add-scope tools:read --add-scope tools:write"),
        "{hint}"
    );
    let flow = Flow::start(&home, "reconnect mcp@x --add-scope tools:write");
    assert_eq!(query(&flow, "scope").as_deref(), Some("tools:read tools:write"));
}

#[test]
fn a_bare_401_costs_no_grant_and_invalid_token_does() {
    let provider = server();
    let home = connected(&provider);
    provider.page("/mcp", 401, &[], "");
    let refreshes = provider.state().refreshes();
    let test = failed_json(&home, "test mcp@x");
    assert_eq!(test["tests"][0]["outcome"], "failed", "{test}");
    assert_eq!(provider.state().refreshes(), refreshes + 1, "it is refreshed once");
    assert_eq!(home.json("status mcp@x")["connections"][0]["status"], "error");
    home.ok("token mcp@x");
    provider.page("/mcp", 401, &[("www-authenticate", "Bearer error=\"invalid_token\"".to_owned())], "");
    let test = failed_json(&home, "test mcp@x");
    assert_eq!(test["tests"][0]["outcome"], "needs_reauth", "{test}");
}

#[test]
fn a_forgotten_registration_is_renewed_by_reconnecting() {
    let provider = server();
    let home = connected(&provider);
    provider.trouble("/token", [Trouble::error("invalid_client")]);
    let refused = home.run("refresh mcp@x --json");
    assert_eq!(refused.code, 4, "{refused:?}");
    assert_eq!(home.json("status mcp@x")["connections"][0]["status"], "needs_reauth");
    let flow = Flow::start(&home, "reconnect mcp@x");
    assert_eq!(query(&flow, "client_id").as_deref(), Some("registered-2"));
    flow.deliver(&flow.consent());
    assert_eq!(flow.end().0, 0);
    home.ok("refresh mcp@x");
}

#[test]
fn a_metadata_document_takes_the_place_of_a_registration() {
    let provider = server();
    change_metadata(
        &provider,
        &json!({ "client_id_metadata_document_supported": true, "registration_endpoint": null }),
    );
    let home = Home::new();
    let without = home.run(&format!("{} --json --no-browser", connect_line(&provider)));
    assert_eq!((without.code, &*without.error_code()), (2, "missing_app"), "{without:?}");
    assert!(without.stderr.contains("--client-id ID"), "{without:?}");
    home.ok("config set mcp.client_metadata_url https://me.example/client.json");
    let flow = Flow::start(&home, &connect_line(&provider));
    assert_eq!(query(&flow, "client_id").as_deref(), Some("https://me.example/client.json"));
    flow.allow();
    home.ok("refresh mcp@x");
    assert_eq!(home.run("config set mcp.client_metadata_url http://me.example/client.json").code, 2);
}

#[test]
fn a_server_of_the_first_revision_has_its_endpoints_at_usual_places() {
    let provider = FakeProvider::start();
    let home = Home::new();
    let flow = Flow::start(&home, &connect_line(&provider));
    assert!(flow.url.as_str().starts_with(&provider.url("/authorize?")), "{}", flow.url);
    assert_eq!(query(&flow, "resource"), None);
    flow.allow();
    home.ok("refresh mcp@x");
    assert_eq!(home.json("test mcp@x")["tests"][0]["outcome"], "healthy");
    // One with metadata at its origin, which names other endpoints.
    let provider = FakeProvider::start();
    provider.json_page(AS_METADATA, &metadata(&provider));
    connected(&provider);
}

#[test]
fn what_needs_no_sign_in_or_is_no_server_is_said() {
    let provider = FakeProvider::start();
    provider.json_page("/mcp", &json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
    assert_eq!(failure(&provider), (2, "no_sign_in".to_owned()));
    provider.page("/mcp", 404, &[], "");
    assert_eq!(failure(&provider), (3, "no_mcp_server".to_owned()));
    provider.page("/mcp", 307, &[("location", "/mcp/".to_owned())], "");
    assert_eq!(failure(&provider), (1, "redirected".to_owned()));
    provider.page("/mcp", 503, &[], "");
    assert_eq!(failure(&provider), (5, "vendor_unavailable".to_owned()));
    for line in ["connect http://mcp.example/mcp", "connect https://a:b@mcp.example/mcp"] {
        let ran = Home::new().run(&format!("{line} --json"));
        assert_eq!((ran.code, &*ran.error_code()), (2, "invalid_url"), "{ran:?}");
    }
}

#[test]
fn metadata_of_another_resource_is_refused() {
    let provider = server();
    for resource in ["https://mcp.example/mcp".to_owned(), provider.url("/mcp/x"), provider.url("/mc")] {
        let document = json!({ "resource": resource, "authorization_servers": [provider.origin()] });
        provider.json_page(RESOURCE_METADATA, &document);
        assert_eq!(failure(&provider), (1, "discovery_failed".to_owned()), "{resource}");
    }
    let twice = format!("{{\"resource\":\"{0}\",\"resource\":\"{0}\"}}", provider.url("/mcp"));
    provider.page(RESOURCE_METADATA, 200, &[("content-type", "application/json".to_owned())], twice);
    assert_eq!(failure(&provider), (1, "discovery_failed".to_owned()), "a member is repeated");
}

#[test]
fn metadata_that_leads_inside_a_network_is_refused() {
    let provider = server();
    for inside in ["http://169.254.169.254", "https://10.0.0.1", "http://mcp.example", "file:///etc"] {
        let document = json!({ "resource": provider.url("/mcp"), "authorization_servers": [inside] });
        provider.json_page(RESOURCE_METADATA, &document);
        let (code, _) = failure(&provider);
        assert!(code == 2 || code == 1, "{inside}: {code}");
        assert_eq!(provider.state().count(AS_METADATA), 0, "{inside}");
    }
    let provider = server();
    let named = "Bearer resource_metadata=\"http://169.254.169.254/latest/meta-data\"";
    provider.trouble("/mcp", [Trouble::Instead(401, vec![("www-authenticate", named.to_owned())], Vec::new())]);
    assert_eq!(failure(&provider), (2, "insecure_url".to_owned()));
    for name in ["token_endpoint", "registration_endpoint", "authorization_endpoint"] {
        change_metadata(&provider, &json!({ name: "https://169.254.169.254/x" }));
        assert_eq!(failure(&provider), (1, "discovery_failed".to_owned()), "{name}");
    }
}

#[test]
fn an_authorization_server_that_is_not_what_it_should_be_is_refused() {
    let provider = server();
    for changes in
        [json!({ "code_challenge_methods_supported": null }), json!({ "code_challenge_methods_supported": ["plain"] })]
    {
        change_metadata(&provider, &changes);
        let ran = Home::new().run(&format!("{} --json --no-browser", connect_line(&provider)));
        assert_eq!((ran.code, &*ran.error_code()), (1, "pkce_unsupported"), "{ran:?}");
    }
    change_metadata(&provider, &json!({ "issuer": "https://evil.example" }));
    assert_eq!(failure(&provider), (1, "discovery_failed".to_owned()));
    let twice = metadata(&provider).to_string().replacen('{', "{\"issuer\":\"https://evil.example\",", 1);
    provider.page(AS_METADATA, 200, &[("content-type", "application/json".to_owned())], twice);
    assert_eq!(failure(&provider), (1, "discovery_failed".to_owned()), "a member is repeated");
    let large = format!("{{\"issuer\":\"{}\",\"x\":\"{}\"}}", provider.origin(), "y".repeat(2 << 20));
    provider.page(AS_METADATA, 200, &[("content-type", "application/json".to_owned())], large);
    assert_eq!(failure(&provider), (1, "answer_too_large".to_owned()));
}

#[test]
fn a_registration_that_is_none_is_refused() {
    let provider = server();
    let html = [("content-type", "text/html".to_owned())];
    provider.page("/register", 200, &html, "<!doctype html><title>Sign in</title>");
    assert_eq!(failure(&provider), (1, "malformed_response".to_owned()));
    provider.page("/register", 201, &[], r#"{"client_id":"a","client_id":"b"}"#);
    assert_eq!(failure(&provider), (1, "malformed_response".to_owned()));
    provider.page("/register", 403, &html, "<title>No</title>");
    assert_eq!(failure(&provider), (1, "registration_refused".to_owned()));
    provider.page("/register", 400, &[], r#"{"error":"invalid_redirect_uri"}"#);
    let ran = Home::new().run(&format!("{} --json --no-browser", connect_line(&provider)));
    assert!(ran.stderr.contains("invalid_redirect_uri") && ran.stderr.contains("--client-id ID"), "{ran:?}");
}

#[test]
fn an_app_without_a_server_is_not_shown_to_one_that_a_document_names() {
    let provider = server();
    let home = Home::new().with("INTEG_CLIENT_SECRET", "private").with("MCP_CLIENT_ID", "mine");
    let set = home.run("app set mcp --client-id mine");
    let home = home.with("INTEG_CLIENT_SECRET", "");
    let flow = Flow::start(&home, &connect_line(&provider));
    assert_eq!(query(&flow, "client_id").as_deref(), Some("registered-1"), "{set:?}");
}

#[test]
fn an_answer_from_another_issuer_ends_the_sign_in() {
    let provider = server();
    change_metadata(&provider, &json!({ "authorization_response_iss_parameter_supported": true }));
    let flow = Flow::start(&Home::new(), &connect_line(&provider));
    let callback = Flow::altered(&flow.consent(), "iss", Some("https://evil.example"));
    flow.deliver(&callback);
    assert_eq!(flow.failure(), (1, "issuer_mismatch".to_owned()));
}

#[test]
fn the_sandbox_has_a_server_under_any_url() {
    let home = Home::new().with("BROWSER", "true");
    home.ok("connect https://mcp.linear.app/mcp --sandbox --no-browser");
    home.ok("connect mcp --sandbox --no-browser");
    let tests = home.json("test");
    let found: Vec<_> = tests["tests"].as_array().unwrap().iter().collect();
    assert_eq!(found.len(), 2, "{tests}");
    for test in found {
        assert_eq!((&test["outcome"], &test["mcp_server"]["tools"]), (&json!("healthy"), &json!(2)), "{test}");
        assert_eq!(test["target"], "sandbox");
    }
    home.ok("refresh mcp@linear");
    home.ok("sandbox fault mcp revoked_grant --times 1");
    assert_eq!(failed_json(&home, "test mcp@linear")["tests"][0]["outcome"], "needs_reauth");
    home.ok("reconnect mcp@linear --no-browser");
    assert_eq!(home.json("test mcp@linear")["tests"][0]["outcome"], "healthy");
    home.ok("disconnect mcp@linear --yes");
}
