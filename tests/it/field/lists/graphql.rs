//! GraphQL: cursors are variables, and errors come with status 200.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::service::{Reply, Service, items, keys, sync};
use crate::harness::Home;

const CONNECTOR: &str = r#"
id = "issues"
name = "Issues"
category = "projects"
description = "The issues of these tests."
docs = "https://issues.example/graphql"

[api]
base = "https://api.issues.example"
message = ["/errors/0/message"]

[auth.key]
label = "API key"

[auth.key.fields.key]
prompt = "API key"

[health]
path = "/graphql"
body = { query = "{ viewer { id name } }" }
account = { id = "/data/viewer/id", name = "/data/viewer/name" }

[actions."issues.create"]
about = "Create an issue"
path = "/graphql"
stream = "issues"
fixed = { query = "mutation ($input: IssueInput!) { issueCreate(input: $input) { success issue { id } } }" }
success = { "/data/issueCreate/success" = true }
result = { id = "/data/issueCreate/issue/id" }

[actions."issues.create".params]
title = { about = "Title", required = true, to = "/variables/input/title" }

[streams.issues]
about = "Issues"
method = "POST"
path = "/graphql"
key = ["/id"]
records = ["/data/issues/nodes"]
body = { query = "query ($first: Int, $after: String) {{ issues(first: $first, after: $after) {{ nodes {{ id }} }} }}" }

[streams.issues.pages]
kind = "cursor"
next = "/data/issues/pageInfo/endCursor"
param = "/variables/after"
size_param = "/variables/first"
size = 50
"#;

/// A page of 120 issues, as the variables ask.
fn page(variables: &Value) -> Reply {
    let start: usize = variables["after"].as_str().map_or(0, |after| after.parse().unwrap());
    let end = (start + usize::try_from(variables["first"].as_u64().unwrap()).unwrap()).min(120);
    let next = (end < 120).then(|| end.to_string());
    let nodes = &items(120)[start..end];
    Reply::json(&json!({ "data": { "issues": { "nodes": nodes, "pageInfo": { "endCursor": next } } } }))
}

/// A GraphQL service; `instead` answers whatever is not a list.
fn start(instead: &Arc<Mutex<Value>>) -> (Home, Service) {
    let instead = Arc::clone(instead);
    let service = Service::start(move |asked| {
        assert_eq!((asked.url.path(), asked.url.query()), ("/graphql", None));
        let query = asked.body["query"].as_str().unwrap_or_default();
        Some(if query.contains("issues(") {
            page(&asked.body["variables"])
        } else {
            Reply::json(&instead.lock().unwrap())
        })
    });
    let home = Home::new();
    home.install("issues", CONNECTOR);
    let line = format!("connect issues --with-token --origin {}", service.origin);
    super::service::connect(&home, &line, "kkkkkkkkkkkkkkkkkkkk");
    (home, service)
}

#[test]
fn field_a_cursor_goes_into_the_variables_of_a_query() {
    let instead = Arc::new(Mutex::new(json!({ "data": { "viewer": { "id": "v1", "name": "Ada" } } })));
    let (home, service) = start(&instead);
    service.forget();
    let (report, code) = sync(&home, "issues/issues");
    assert_eq!((report["added"].as_u64(), code), (Some(120), 0), "{report}");
    assert_eq!(keys(&home, "issues/issues").len(), 120);
    let variables: Vec<Value> =
        service.asked("/graphql").into_iter().map(|mut asked| asked.body["variables"].take()).collect();
    let expected =
        [json!({ "first": 50 }), json!({ "first": 50, "after": "50" }), json!({ "first": 50, "after": "100" })];
    assert_eq!(variables, expected);
}

#[test]
fn field_errors_of_status_200_are_failures() {
    let viewer = json!({ "data": { "viewer": { "id": "v1", "name": "Ada" } } });
    let instead = Arc::new(Mutex::new(viewer.clone()));
    let (home, _service) = start(&instead);
    *instead.lock().unwrap() = json!({ "data": null, "errors": [{ "message": "the schema has moved" }] });
    let ran = home.run("test issues --json");
    let result = &serde_json::from_str::<Value>(&ran.stdout).unwrap()["tests"][0];
    assert_eq!((ran.code, result["outcome"].as_str()), (6, Some("failed")), "{ran:?}");
    assert!(ran.stdout.contains("the schema has moved"), "{ran:?}");
    // A mutation says in its data whether it was done.
    *instead.lock().unwrap() = json!({ "data": { "issueCreate": { "success": false, "issue": null } } });
    assert_eq!(home.run("call issues issues.create title=x").code, 1);
    *instead.lock().unwrap() = json!({ "data": { "issueCreate": { "success": true, "issue": { "id": "i1" } } } });
    let ran = home.run("call issues issues.create title=x --json");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains(r#""result":{"id":"i1"}"#), "{ran:?}");
}

#[test]
fn field_the_sandbox_tells_queries_of_one_path_apart() {
    let home = Home::new();
    let sample = r#"sample = '{"id": "{n}", "title": "It broke"}'"#;
    home.install(
        "issues",
        &CONNECTOR.replacen("\n[streams.issues.pages]", &format!("{sample}\n\n[streams.issues.pages]"), 1),
    );
    home.ok("connect issues --sandbox");
    assert_eq!(home.json("test issues")["tests"][0]["outcome"], "healthy");
    let (report, code) = sync(&home, "issues/issues");
    assert_eq!((report["added"].as_u64(), code), (Some(250), 0), "{report}");
    let called = home.json("call issues issues.create title=Mug");
    assert!(!called["result"]["id"].is_null(), "{called}");
    assert!(called["response"].pointer("/data/issues").is_none(), "the response has no list of issues: {called}");
    let (report, _) = sync(&home, "issues/issues");
    assert_eq!(report["added"].as_u64(), Some(1), "{report}");
    let created = keys(&home, "issues/issues").into_values().find(|record| record["title"] == "Mug").unwrap();
    assert_eq!(created.as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "title"], "{created}");
}
