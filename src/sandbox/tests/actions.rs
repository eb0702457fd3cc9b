//! Actions: parameters checked as the vendor would, and what is created for the emulator's life.

use serde_json::{Value, json};

use super::SEED;
use super::{TestEmulator, bearer, body, connector};
use crate::sandbox::sandbox_fields;

const BOARDS: &str = r#"
id = "boards"
name = "Boards"
category = "projects"
description = "x"
docs = "https://boards.example"
[api]
base = "https://api.boards.example/v1"
[auth.key]
label = "Key"
[auth.key.fields.token]
prompt = "Token"
[auth.oauth]
label = "OAuth"
[auth.oauth.oauth2]
grants = ["client_credentials"]
token_url = "https://boards.example/token"
client_auth = "post"
scope = { default = ["read"] }
[scopes]
read = "Read"
write = "Write"
[health]
path = "/me"
account = { id = "/id" }
[[errors]]
class = "permission"
status = [403]
body = { "/code" = ["scope_missing"] }
[actions."cards.create"]
about = "Add a card"
path = "/boards/{board_id}/cards"
scopes = ["write"]
status = 201
result = { card_number = "/number", url = "/links/self", created_at = "/created_at" }
idempotency = { header = "Idempotency-Key" }
[actions."cards.create".params]
board_id = { about = "Board", required = true }
title = { about = "Title", required = true }
points = { about = "Points", type = "integer" }
lane = { about = "Lane", choices = ["open", "done"] }
[actions."cards.get"]
about = "Get a card"
method = "GET"
path = "/boards/{board_id}/cards/{card_number}"
result = { card_number = "/number" }
[actions."cards.get".params]
board_id = { about = "Board", required = true }
card_number = { about = "Card", type = "integer", required = true }
[actions."cards.list"]
about = "List cards"
method = "GET"
path = "/boards/{board_id}/cards"
list = "/cards"
params = { board_id = { about = "Board", required = true } }
[actions."cards.update"]
about = "Change a card"
method = "PATCH"
path = "/boards/{board_id}/cards/{card_number}"
[actions."cards.update".params]
board_id = { about = "Board", required = true }
card_number = { about = "Card", type = "integer", required = true }
title = { about = "Title" }
[actions."cards.delete"]
about = "Delete a card"
method = "DELETE"
path = "/boards/{board_id}/cards/{card_number}"
status = 204
[actions."cards.delete".params]
board_id = { about = "Board", required = true }
card_number = { about = "Card", type = "integer", required = true }
"#;

/// A client with a key.
struct ActionTestClient(TestEmulator, String);

impl ActionTestClient {
    fn new() -> Self {
        let connector = connector(BOARDS);
        let (_, auth) = connector.auth_method(Some("key")).unwrap();
        let token = sandbox_fields(&connector, auth, SEED)["token"].expose().clone();
        Self(TestEmulator::new(BOARDS, "key"), bearer(&token))
    }

    fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], document: &Value) -> (u16, Value) {
        let mut all = vec![("authorization", self.1.as_str()), ("content-type", "application/json")];
        all.extend(headers);
        let text = if document.is_null() { String::new() } else { document.to_string() };
        let reply = self.0.send(method, &format!("/v1{path}"), &all, &text);
        (reply.status, if reply.body.is_empty() { Value::Null } else { body(&reply) })
    }
}

#[test]
fn what_is_created_is_there_until_it_is_deleted() {
    let mut client = ActionTestClient::new();
    let (status, card) = client.ask("POST", "/boards/b/cards", &[], &json!({"title": "Buy milk", "points": 3}));
    assert_eq!((status, &card["title"], &card["points"]), (201, &json!("Buy milk"), &json!(3)));
    let number = card["number"].as_u64().expect("other actions take it as a whole number");
    assert!(card["links"]["self"].as_str().unwrap().starts_with("https://"), "{card}");
    let path = format!("/boards/b/cards/{number}");
    assert_eq!(client.ask("GET", &path, &[], &Value::Null), (200, card));
    let (_, changed) = client.ask("PATCH", &path, &[], &json!({"title": "Buy bread"}));
    assert_eq!((&changed["title"], &changed["points"]), (&json!("Buy bread"), &json!(3)));
    assert_eq!(client.ask("GET", "/boards/b/cards", &[], &Value::Null).1, json!({"cards": [changed]}));
    assert_eq!(client.ask("DELETE", &path, &[], &Value::Null), (204, Value::Null));
    assert_eq!(client.ask("GET", &path, &[], &Value::Null).0, 404);
    assert_eq!(client.ask("GET", "/boards/b/cards", &[], &Value::Null).1, json!({"cards": []}));
    // One that nobody created was there before.
    assert_eq!(client.ask("GET", "/boards/b/cards/77", &[], &Value::Null), (200, json!({"number": 77})));
}

#[test]
fn a_repetition_by_its_key_creates_nothing_twice() {
    let mut client = ActionTestClient::new();
    let card = json!({"title": "Once"});
    let first = client.ask("POST", "/boards/b/cards", &[("idempotency-key", "k1")], &card);
    assert_eq!(client.ask("POST", "/boards/b/cards", &[("idempotency-key", "k1")], &card), first);
    assert_ne!(client.ask("POST", "/boards/b/cards", &[("idempotency-key", "k2")], &card), first);
    let (_, list) = client.ask("GET", "/boards/b/cards", &[], &Value::Null);
    assert_eq!(list["cards"].as_array().unwrap().len(), 2);
}

#[test]
fn parameters_are_checked_as_a_vendor_would() {
    let mut client = ActionTestClient::new();
    for (document, said) in [
        (json!({}), "title is missing"),
        (json!({"title": "x", "points": "3"}), "points is not of its type"),
        (json!({"title": "x", "lane": "later"}), "lane is none of open, done"),
        (json!({"title": ["x"]}), "title is not of its type"),
    ] {
        let (status, answer) = client.ask("POST", "/boards/b/cards", &[], &document);
        assert_eq!((status, answer["message"].as_str().unwrap()), (400, format!("sandbox: {said}").as_str()));
    }
    assert_eq!(client.ask("PUT", "/boards/b/cards", &[], &json!({"title": "x"})).0, 404);
    client.1 = bearer("wrong");
    assert_eq!(client.ask("POST", "/boards/b/cards", &[], &json!({})).0, 401);
}

#[test]
fn a_token_without_the_scope_is_refused_by_the_files_own_rule() {
    let mut bench = TestEmulator::new(BOARDS, "oauth");
    let form = |scope: &str| format!("grant_type=client_credentials&client_id=c&client_secret=s&scope={scope}");
    let mut create = |scope: &str| {
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        let token =
            body(&bench.send("POST", "/token", &kind, &form(scope)))["access_token"].as_str().unwrap().to_owned();
        let headers = [("authorization", &*bearer(&token)), ("content-type", "application/json")];
        let reply = bench.send("POST", "/v1/boards/b/cards", &headers, r#"{"title":"x"}"#);
        (reply.status, body(&reply)["code"].clone())
    };
    assert_eq!(create("read"), (403, json!("scope_missing")));
    assert_eq!(create("read write"), (201, Value::Null));
}
