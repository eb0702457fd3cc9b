//! The life of a connection over HTTP: status, test, token, sync, records, calls, webhooks, endpoints, bindings, links.

use serde_json::{Value, json};

use super::{Server, expect, home, token};
use crate::harness::Home;
use crate::snapshots::assert_snap;

const EVERYTHING: &str = "--scope admin:* --scope tokens:reveal --tier enterprise";

#[test]
fn a_connection_is_used_over_http_as_on_the_command_line() {
    let home = home(&["github", "stripe"]);
    let token = token(&home, "test", EVERYTHING);
    let server = Server::start(&home, "");
    let api = server.client(&token);

    let page = expect(&api.get("/v1/connections"), 200);
    let names: Vec<&Value> = page["data"].as_array().unwrap().iter().map(|one| &one["connection"]).collect();
    assert_eq!(names, ["github", "stripe"]);
    assert_eq!(page["next_cursor"], json!(null));
    // The same object as `--json` prints.
    let mut shown = home.json("status github")["connections"][0].clone();
    let mut served = expect(&api.get("/v1/connections/github"), 200);
    for view in [&mut shown, &mut served] {
        view["expires_in"] = json!(0);
    }
    assert_eq!(shown, served);

    let tested = expect(&api.send("POST", "/v1/connections/github/test", &[], None), 200);
    assert_eq!((&tested["healthy"], &tested["tests"][0]["outcome"]), (&json!(1), &json!("healthy")), "{tested}");
    let revealed = expect(&api.post("/v1/connections/github/token", &json!({})), 200);
    assert_eq!(revealed["token"].as_str().unwrap(), home.ok("token github").trim());
    let called = expect(&api.post("/v1/connections/github/request", &json!({ "path": "/user" })), 200);
    assert_eq!(called["status"], 200);

    let synced = expect(&api.post("/v1/connections/github/sync", &json!({ "streams": ["repositories"] })), 202);
    assert_eq!(synced["result"]["streams"][0]["status"], "done", "{synced}");
    let records = expect(&api.get("/v1/connections/github/streams/repositories/records?limit=2"), 200);
    assert_eq!(records["data"].as_array().unwrap().len(), 2);
    let jobs = expect(&api.get("/v1/jobs?connection=github&limit=1"), 200);
    let job = jobs["data"][0]["id"].as_i64().unwrap();
    assert_eq!(expect(&api.get(&format!("/v1/jobs/{job}")), 200)["status"], "done");

    let renamed = expect(&api.patch("/v1/connections/github", &json!({ "name": "work" })), 200);
    assert_eq!(renamed["connection"], "github@work");
    assert_eq!(expect(&api.get("/v1/connections/github"), 404)["code"], "unknown_connection");
    let gone = expect(&api.delete("/v1/connections/github@work"), 200);
    assert_eq!(gone["connection"], "github@work", "{gone}");
    assert_eq!(home.json("status")["summary"]["total"], 1);
}

#[test]
fn what_has_no_command_answers_on_both_stores() {
    for home in [Some(Home::in_files()), Home::in_postgres()].into_iter().flatten() {
        home.ok("connect stripe --sandbox");
        home.ok("connect github --sandbox");
        let token = token(&home, "test", EVERYTHING);
        let server = Server::start(&home, "");
        let api = server.client(&token);
        let started = expect(&api.post("/v1/connections", &json!({ "reconnect": "github" })), 201);
        let shown = expect(&api.get(&format!("/v1/sign-ins/{}", started["sign_in"].as_str().unwrap())), 200);
        assert_eq!(shown["connection"], "github", "{shown}");
        let samples = expect(&api.get("/v1/connections/stripe/samples"), 200);
        assert!(samples.to_string().contains("charge.refunded"), "{samples}");
    }
}

#[test]
fn lists_come_in_pages_that_follow_each_other() {
    let home = home(&["slack"]);
    for account in ["a", "b", "c", "d"] {
        home.ok(&format!("connect slack@{account} --sandbox"));
    }
    let token = token(&home, "test", EVERYTHING);
    let server = Server::start(&home, "");
    let api = server.client(&token);
    let (mut names, mut path) = (Vec::new(), "/v1/connections?limit=2".to_owned());
    loop {
        let page = expect(&api.get(&path), 200);
        names.extend(page["data"].as_array().unwrap().iter().map(|one| one["connection"].clone()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/connections?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(names, ["slack", "slack@a", "slack@b", "slack@c", "slack@d"]);
    let found = |query: &str| {
        let page = expect(&api.get(&format!("/v1/connections?{query}")), 200);
        page["data"].as_array().unwrap().iter().map(|one| one["connection"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(found("q=%40B"), ["slack@b"]);
    assert_eq!(found("q=SLACK&limit=2"), ["slack", "slack@a"], "the name of the service");
    assert_eq!(found("q=slack&status=error"), Vec::<serde_json::Value>::new());
    let preview = expect(&api.get("/v1/disconnect-preview?connection=slack%40b&connection=slack"), 200);
    assert_eq!(preview["connections"][0]["connection"], "slack@b", "{preview}");
    assert_eq!(preview["connections"][1]["records"], 0, "{preview}");
    assert_eq!(expect(&api.get("/v1/disconnect-preview?connection=slack%40z"), 404)["code"], "unknown_connection");
    let many = format!("/v1/audit?{}", "operation=sync&".repeat(51));
    assert_eq!(expect(&api.get(many.trim_end_matches('&')), 400)["code"], "invalid_query");
    assert_eq!(expect(&api.get("/v1/connections?cursor=%21"), 400)["code"], "invalid_cursor");
    assert_eq!(expect(&api.get("/v1/connections?limit=0"), 400)["code"], "invalid_query");
    assert_eq!(expect(&api.get("/v1/connections?colour=red"), 400)["code"], "invalid_query");
}

#[test]
fn a_webhook_arrives_at_the_server_and_is_listed_over_http() {
    let home = home(&["stripe"]);
    let token = token(&home, "test", EVERYTHING);
    let mut server = Server::start(&home, "");
    let api = server.client(&token);
    let sent = expect(&api.post("/v1/connections/stripe/simulate", &json!({ "event": "charge.refunded" })), 200);
    assert_eq!((&sent["sent"], &sent["unexpected"]), (&json!(1), &json!(0)), "{sent}");
    let received = server.running.event();
    assert_eq!((&received["event"], &received["verified"]), (&json!("received"), &json!(true)), "{received}");
    let events = expect(&api.get("/v1/events?type=charge.*"), 200);
    let id = events["data"][0]["id"].as_i64().unwrap();
    let event = expect(&api.get(&format!("/v1/events/{id}")), 200);
    assert_eq!(event["type"], "charge.refunded");
    let body = api.get(&format!("/v1/events/{id}/body"));
    assert_eq!((body.status, body.header("content-type")), (200, Some("application/octet-stream")));
    assert_eq!(body.body, home.ok(&format!("webhook show {id} --body")).as_bytes());
    let invalid = json!({ "event": "charge.refunded", "invalid": "signature" });
    expect(&api.post("/v1/connections/stripe/simulate", &invalid), 200);
    assert_eq!(expect(&api.get("/v1/events"), 200)["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_change_is_refused_if_the_object_has_another_etag() {
    let home = home(&[]);
    let token = token(&home, "test", EVERYTHING);
    let server = Server::start(&home, "");
    let api = server.client(&token);
    let added = api.post("/v1/endpoints", &json!({ "url": "https://example.com/hook", "events": ["invoice.*"] }));
    let id = expect(&added, 201)["endpoint"].as_str().unwrap().to_owned();
    let path = format!("/v1/endpoints/{id}");
    assert_eq!(added.header("location"), Some(&*path));
    let etag = api.get(&path).header("etag").unwrap().to_owned();
    let change = json!({ "description": "first" });
    expect(&api.send("PATCH", &path, &[("if-match", &etag)], Some(&change)), 200);
    let stale = api.send("PATCH", &path, &[("if-match", &etag)], Some(&json!({ "description": "second" })));
    assert_eq!((stale.status, stale.code()), (412, "changed"));
    assert_eq!(expect(&api.get(&path), 200)["description"], "first");
    expect(&api.delete(&path), 204);
    expect(&api.get(&path), 404);
}

#[test]
fn the_description_and_its_page_need_no_token() {
    let home = home(&[]);
    let server = Server::start(&home, "");
    let api = super::client::Client::new(&server.url, None);
    let openapi = expect(&api.get("/openapi.json"), 200);
    assert_eq!(openapi["openapi"], "3.1.0");
    let docs = api.get("/docs");
    let page = String::from_utf8(docs.body.clone()).unwrap();
    assert!(docs.status == 200 && page.contains("/v1/connections") && !page.contains("<script"), "{page}");
    assert!(docs.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert_eq!(expect(&api.get("/v1/health/live"), 200), json!({ "status": "ok" }));
    assert_eq!(expect(&api.get("/v1/health/ready"), 200), json!({ "status": "ok" }));
}

/// The routes with their operations and scopes, so that a change of the API is seen in review.
#[test]
fn the_routes_are_as_reviewed() {
    let home = home(&[]);
    let server = Server::start(&home, "");
    let openapi = expect(&super::client::Client::new(&server.url, None).get("/openapi.json"), 200);
    let mut rows = String::new();
    for (path, item) in openapi["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().unwrap().iter().filter(|one| one["in"] == "query");
            let query: Vec<&str> = parameters.filter_map(|one| one["name"].as_str()).collect();
            let body = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
            let body = body.and_then(|name| openapi.pointer(name.trim_start_matches('#'))).unwrap_or(&Value::Null);
            let body = &body["properties"];
            let body: Vec<&str> = body.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            let success = operation["responses"].as_object().unwrap().keys().find(|status| status.starts_with('2'));
            rows.push_str(&format!(
                "{} {path} -> {}\n    {} ({})\n",
                method.to_uppercase(),
                success.unwrap(),
                operation["x-integ-operation"].as_str().unwrap(),
                operation["x-integ-scope"].as_str().unwrap()
            ));
            for (name, values) in [("query", query), ("body", body)] {
                if !values.is_empty() {
                    rows.push_str(&format!("    {name}: {}\n", values.join(", ")));
                }
            }
        }
    }
    assert_snap("api_routes", &rows);
}
