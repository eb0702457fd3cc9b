//! Who may do what: every operation of the description is asked for with each kind of missing right.

use serde_json::{Value, json};

use super::client::{Client, Reply};
use super::{Server, expect, home, token};

/// One operation of the description.
pub(super) struct Operation {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) scope: String,
    has_body: bool,
}

impl Operation {
    /// The path with these values in place of the names.
    pub(super) fn path(&self, connection: &str) -> String {
        let mut path = self.path.clone();
        for (name, value) in [("connection", connection), ("job", "1"), ("event", "1"), ("subscription", "1")] {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        while let (Some(start), Some(end)) = (path.find('{'), path.find('}')) {
            path.replace_range(start..=end, "x");
        }
        path
    }

    pub(super) fn send(&self, client: &Client, connection: &str, headers: &[(&str, &str)]) -> Reply {
        let body = self.has_body.then(|| json!({}));
        client.send(&self.method, &self.path(connection), headers, body.as_ref())
    }
}

/// Every operation, as the server describes them.
pub(super) fn operations(client: &Client) -> Vec<Operation> {
    let document = expect(&client.get("/openapi.json"), 200);
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                scope: operation["x-integ-scope"].as_str().unwrap().to_owned(),
                has_body: !operation["requestBody"].is_null(),
            });
        }
    }
    assert!(found.len() > 70, "{}", found.len());
    found
}

/// 92, 93 and 94: a foreign host or origin, no token, a token of another workspace or without the scope.
#[test]
fn every_operation_is_refused_without_the_right_to_it() {
    let home = home(&["slack"]);
    home.ok("workspace create other");
    home.ok("-w other connect github --sandbox");
    let everything = token(&home, "everything", "--scope admin:* --tier enterprise");
    let narrow = token(&home, "narrow", "--scope tokens:reveal --tier enterprise");
    let disabled = token(&home, "disabled", "--scope admin:* --tier enterprise");
    home.ok("api-token update disabled --disable");
    let revoked = token(&home, "revoked", "--scope admin:* --tier enterprise");
    home.ok("api-token revoke revoked --yes");
    let foreign = home.ok("-w other api-token create foreign --scope admin:*").trim().to_owned();
    let server = Server::start(&home, "");
    let anonymous = Client::new(&server.url, None);
    let port = server.url.rsplit(':').next().unwrap();
    let evil = format!("evil.example:{port}");
    for operation in operations(&anonymous) {
        let name = format!("{} {}", operation.method, operation.path);
        let refused = |reply: Reply, status: u16, code: &str| {
            assert_eq!((reply.status, reply.code()), (status, code), "{name}: {reply:?}");
        };
        refused(operation.send(&anonymous, "slack", &[]), 401, "no_token");
        for token in [&disabled, &revoked, &foreign] {
            refused(operation.send(&server.client(token), "slack", &[]), 401, "invalid_token");
        }
        refused(operation.send(&server.client(&everything[..20]), "slack", &[]), 401, "invalid_token");
        refused(operation.send(&server.client(&everything), "slack", &[("host", &evil)]), 403, "foreign_host");
        for origin in ["null", "http://evil.example", "https://localhost"] {
            let headers = [("origin", origin)];
            refused(operation.send(&server.client(&everything), "slack", &headers), 403, "foreign_origin");
        }
        if operation.scope == "tokens:reveal" {
            continue;
        }
        let reply = operation.send(&server.client(&narrow), "slack", &[]);
        assert!(reply.header("www-authenticate").unwrap().contains(&operation.scope), "{name}");
        refused(reply, 403, "missing_scope");
    }
    // Nothing of it was done.
    assert_eq!(home.json("status")["summary"]["total"], 1);
}

/// A connection that a token may not use does not exist for it, in any operation.
#[test]
fn a_token_of_one_connection_sees_no_other() {
    let home = home(&["slack", "github", "stripe"]);
    home.ok("sync github/repositories");
    assert_eq!(home.command(["schedule", "set", "github/repositories", "every 1h"]).status().unwrap().code(), Some(0));
    home.ok("link add appointment/1 github/repositories 42");
    let limited = token(&home, "limited", "--scope admin:* --scope tokens:reveal --tier enterprise --connection slack");
    let server = Server::start(&home, "");
    let all = server.client(&token(&home, "all", "--scope admin:* --tier enterprise"));
    expect(&all.post("/v1/connections/stripe/simulate", &json!({ "event": "charge.refunded" })), 200);
    let api = server.client(&limited);
    for operation in operations(&api).iter().filter(|operation| operation.path.contains("{connection}")) {
        // What does not exist and what is another's are answered with the same bytes.
        let hidden = operation.send(&api, "github", &[]);
        let missing = operation.send(&api, "gitlab", &[]);
        let name = format!("{} {}", operation.method, operation.path);
        let text = |reply: &Reply| String::from_utf8(reply.body.clone()).unwrap();
        assert_eq!(hidden.status, missing.status, "{name}: {} {}", text(&hidden), text(&missing));
        assert_eq!(text(&hidden).replace("github", "C"), text(&missing).replace("gitlab", "C"), "{name}");
        assert!(matches!(hidden.status, 400 | 404), "{name}: {hidden:?}");
    }
    let count = |client: &Client, path: &str| -> usize {
        let json = expect(&client.get(path), 200);
        let lists = json.as_object().unwrap().values().filter_map(Value::as_array);
        lists.map(Vec::len).max().unwrap_or(0)
    };
    for path in ["/v1/streams", "/v1/jobs", "/v1/schedules", "/v1/links", "/v1/events"] {
        assert_eq!((count(&all, path), count(&api, path)), (1, 0), "{path}");
    }
    assert_eq!((count(&all, "/v1/connections"), count(&api, "/v1/connections")), (3, 1));
    let event = format!("/v1/events/{}", home.event(1));
    for path in ["/v1/jobs/1", &event, &format!("{event}/body")] {
        expect(&all.get(path), 200);
        expect(&api.get(path), 404);
    }
    for path in ["/v1/jobs/1/retry", "/v1/jobs/1/cancel", &format!("{event}/retry")] {
        expect(&api.send("POST", path, &[], None), 404);
    }
    expect(&api.post(&format!("{event}/resolve"), &json!({ "keep": "first" })), 404);
    expect(&api.get("/v1/link?entity=appointment/1"), 404);
}
