//! Repeated requests whose response holds a secret, and conditions that cannot be checked.

use serde_json::json;

use super::{Server, expect, home, token};

/// The store has the hash of a token alone, and so has the row of its idempotency key.
#[test]
fn a_secret_that_is_returned_once_is_not_stored_for_a_repetition() {
    let home = home(&[]);
    let admin = token(&home, "admin", "--scope admin:* --tier enterprise");
    let server = Server::start(&home, "");
    let api = server.client(&admin);
    let created = [
        ("/v1/api-tokens", json!({ "name": "child", "scopes": ["connections:read"] }), "token"),
        ("/v1/connect-links", json!({ "connector": "slack", "is_sandbox": true }), "url"),
    ];
    for (path, body, member) in created {
        let headers = [("idempotency-key", "one")];
        let headers = if path.ends_with("links") { [("idempotency-key", "two")] } else { headers };
        let first = api.send("POST", path, &headers, Some(&body));
        let secret = expect(&first, 201)[member].as_str().unwrap().to_owned();
        let again = api.send("POST", path, &headers, Some(&body));
        assert_eq!((again.status, again.code()), (409, "secret_returned_once"), "{again:?}");
        assert_eq!(again.header("location"), first.header("location"));
        let secret = secret.rsplit('/').next().unwrap();
        for (file, bytes) in crate::harness::files(home.path()) {
            assert!(!crate::harness::holds(&bytes, secret), "{} holds it", file.display());
        }
    }
    assert_eq!(expect(&api.get("/v1/api-tokens"), 200)["data"].as_array().unwrap().len(), 2);
}

#[test]
fn a_condition_that_cannot_be_compared_is_refused() {
    let home = home(&["slack"]);
    let token = token(&home, "test", "--scope admin:* --tier enterprise");
    let server = Server::start(&home, "");
    let api = server.client(&token);
    let send = |method: &str, path: &str| {
        let reply = api.send(method, path, &[("if-match", "\"x\"")], None);
        (reply.status, reply.code().to_owned())
    };
    assert_eq!(send("POST", "/v1/connections/slack/test"), (400, "no_entity_tag".to_owned()));
    assert_eq!(send("POST", "/v1/connections/slack/refresh"), (400, "no_entity_tag".to_owned()));
    assert_eq!(send("DELETE", "/v1/connections/slack"), (412, "changed".to_owned()));
    assert_eq!(send("GET", "/v1/connections/slack").0, 200);
    expect(&api.get("/v1/connections/slack"), 200);
}
