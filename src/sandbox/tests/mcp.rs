//! An MCP server: it describes itself, registers clients, gives tokens for itself alone, and answers the protocol.

use serde_json::json;

use super::*;

const MCP: &str = include_str!("../../../connectors/mcp.toml");
const RESOURCE: &str = "https://sandbox.invalid/mcp";

fn registered(bench: &mut TestEmulator) -> String {
    let answer = bench.json("/register", &[], &json!({ "redirect_uris": [REDIRECT] }));
    assert_eq!(answer.status, 201, "{}", answer.body);
    text(&body(&answer), "/client_id")
}

fn authorization<'a>(client: &'a str, resource: &'a str, challenge: &'a str) -> [(&'static str, &'a str); 7] {
    [
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("state", "s"),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
        ("resource", resource),
    ]
}

fn token(bench: &mut TestEmulator, client: &str, code: &str, resource: &str) -> Value {
    let pairs = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
        ("client_id", client),
        ("resource", resource),
    ];
    body(&bench.form("/token", &[], &pairs))
}

#[test]
fn a_client_finds_its_way_from_the_refusal_to_the_tools() {
    let mut bench = TestEmulator::new(MCP, "oauth");
    let refusal = bench.json("/mcp", &[], &json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize" }));
    let challenges: Vec<_> = refusal.headers.iter().filter(|(name, _)| name == "www-authenticate").collect();
    assert_eq!((refusal.status, challenges.len()), (401, 1));
    let metadata = "resource_metadata=\"https://sandbox.invalid/.well-known/oauth-protected-resource/mcp\"";
    assert!(challenges[0].1.contains(metadata) && !challenges[0].1.contains("error="), "{challenges:?}");
    let described = body(&bench.get("/.well-known/oauth-protected-resource/mcp", &[]));
    assert_eq!(described["resource"], RESOURCE);
    let server = body(&bench.get("/.well-known/oauth-authorization-server", &[]));
    assert_eq!(described["authorization_servers"], json!([server["issuer"]]));
    assert_eq!(server["registration_endpoint"], "https://sandbox.invalid/register");
    let client = registered(&mut bench);
    let code = bench.authorize("/authorize", &authorization(&client, RESOURCE, &challenge()))["code"].clone();
    let granted = token(&mut bench, &client, &code, RESOURCE);
    let header = bearer(&text(&granted, "/access_token"));
    let mut ask = |message: Value| bench.json("/mcp", &[("authorization", &header)], &message);
    let begun = body(&ask(json!({ "id": 1, "method": "initialize", "params": { "protocolVersion": "2025-03-26" } })));
    assert_eq!(begun["result"]["protocolVersion"], "2025-03-26");
    assert_eq!(ask(json!({ "method": "notifications/initialized" })).status, 202);
    let tools = body(&ask(json!({ "id": 2, "method": "tools/list" })));
    assert_eq!(tools["result"]["tools"].as_array().unwrap().len(), 2);
    let called = json!({ "id": 3, "method": "tools/call",
        "params": { "name": "count", "arguments": { "text": "four" } } });
    assert_eq!(body(&ask(called))["result"]["content"][0]["text"], "4");
    assert_eq!(body(&ask(json!({ "id": 4, "method": "tools/call", "params": {} })))["error"]["code"], -32602);
    assert_eq!(body(&ask(json!({ "id": 5, "method": "x" })))["error"]["code"], -32601);
    assert_eq!(body(&ask(json!([])))["error"]["code"], -32700);
}

#[test]
fn a_client_is_redirected_only_where_it_said() {
    let mut bench = TestEmulator::new(MCP, "oauth");
    let other = bench.json("/register", &[], &json!({ "redirect_uris": ["http://localhost:1/callback"] }));
    let other = text(&body(&other), "/client_id");
    let page = |client: &str| format!("/authorize?{}", encoded(&authorization(client, RESOURCE, &challenge())));
    assert_eq!(bench.get(&page(&other), &[]).status, 400);
    assert_eq!(bench.get(&page("an-app-of-ones-own"), &[]).status, 200);
    for bad in [json!([]), json!({}), json!({ "redirect_uris": [] }), json!({ "redirect_uris": ["x"] })] {
        assert_eq!(bench.json("/register", &[], &bad).status, 400, "{bad}");
    }
}

#[test]
fn tokens_are_for_this_server_alone() {
    let mut bench = TestEmulator::new(MCP, "oauth");
    let client = registered(&mut bench);
    let page = format!("/authorize?{}", encoded(&authorization(&client, "https://other.example/mcp", &challenge())));
    assert_eq!(callback(&bench.get(&page, &[]))["error"], "invalid_target");
    let code = bench.authorize("/authorize", &authorization(&client, RESOURCE, &challenge()))["code"].clone();
    assert_eq!(token(&mut bench, &client, &code, "https://other.example/mcp")["error"], "invalid_target");
    assert!(token(&mut bench, &client, &code, RESOURCE)["access_token"].is_string());
}
