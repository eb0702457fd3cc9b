//! Metrics and logs over HTTP.

use serde_json::{Value, json};

use super::client::Client;
use super::{Server, expect, home, token};

#[test]
fn metrics_are_for_prometheus_and_for_other_programs() {
    let home = home(&["github", "slack"]);
    let admin = token(&home, "admin", "--scope admin:*");
    let reader = token(&home, "reader", "--scope metrics:read");
    let other = token(&home, "other", "--scope logs:read");
    let server = Server::start(&home, "");
    expect(&server.client(&admin).send("POST", "/v1/connections/github/test", &[], None), 200);
    assert_eq!(Client::new(&server.url, None).get("/metrics").status, 401);
    assert_eq!(server.client(&other).get("/metrics").status, 403);

    let api = server.client(&reader);
    let reply = api.get("/metrics");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = String::from_utf8(reply.body).unwrap();
    for line in [
        "integ_connections{status=\"active\"} 2",
        "integ_connection_up{connection=\"github\"} 1",
        "integ_queue_depth{queue=\"inbox\"} 0",
        "integ_service_calls_total{connection=\"github\",status=\"2xx\"} 1",
        "integ_service_call_duration_seconds_count{connection=\"github\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }

    let metrics = expect(&api.get("/v1/connections/github/metrics"), 200);
    assert_eq!((&metrics["status"], &metrics["checks"]["passed"]), (&json!("active"), &json!(2)), "{metrics}");
    assert_eq!(metrics["uptime"]["last_day"]["ratio"], 1.0);
    assert_eq!(metrics["process"]["calls"]["by_status"]["2xx"], 1);
    assert_eq!(expect(&api.get("/v1/metrics"), 200)["connections"]["active"], 2);
    assert_eq!(expect(&api.get("/v1/connections/jira/metrics"), 404)["code"], "unknown_connection");
}

#[test]
fn a_token_of_one_connection_gets_its_metrics_and_log_alone() {
    let home = home(&["github", "slack"]);
    let limited = token(&home, "limited", "--scope metrics:read --scope logs:read --connection slack");
    let server = Server::start(&home, "");
    let api = server.client(&limited);
    let metrics = expect(&api.get("/v1/metrics"), 200);
    assert_eq!(metrics["connections"]["total"], 1);
    assert_eq!((&metrics["outbox"], &metrics["connects"]), (&json!(null), &json!(null)));
    let text = String::from_utf8(api.get("/metrics").body).unwrap();
    assert!(text.contains("slack") && !text.contains("github") && !text.contains("outbox"), "{text}");
    let log = expect(&api.get("/v1/logs"), 200);
    let entries = log["data"].as_array().unwrap();
    assert!(!entries.is_empty() && entries.iter().all(|entry| entry["connection"] == "slack"), "{log}");
    assert_eq!(api.get("/v1/connections/github/logs").status, 404);
}

#[test]
fn the_log_has_what_happened_and_comes_in_pages() {
    let home = home(&["github"]);
    let token = token(&home, "test", "--scope admin:*");
    let server = Server::start(&home, "");
    let api = server.client(&token);
    let synced = api.post("/v1/connections/github/sync", &json!({ "streams": ["repositories"] }));
    expect(&synced, 202);
    let path = "/v1/connections/github/logs";
    let whole = expect(&api.get(path), 200)["data"].as_array().unwrap().clone();
    let sources = |source: &str| whole.iter().filter(|entry| entry["source"] == source).collect::<Vec<_>>();
    assert_eq!(sources("sync").len(), 1, "{whole:?}");
    assert_eq!(
        (&sources("sync")[0]["subject"], &sources("sync")[0]["outcome"]),
        (&json!("repositories"), &json!("done"))
    );
    assert_eq!(sources("check")[0]["outcome"], "healthy");
    let request = synced.header("x-request-id").unwrap();
    let of_request = |entry: &&&Value| entry["request_id"] == request;
    assert_eq!(sources("audit").iter().find(of_request).map(|entry| &entry["subject"]), Some(&json!("sync")));

    let (mut paged, mut next) = (Vec::new(), format!("{path}?limit=2"));
    loop {
        let page = expect(&api.get(&next), 200);
        paged.extend(page["data"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(cursor) => next = format!("{path}?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(paged, whole, "what was read of the log is not in it");
    assert_eq!(expect(&api.get(&format!("{path}?since=2999-01-01T00:00:00Z")), 200)["data"], json!([]));
    assert_eq!(expect(&api.get(&format!("{path}?cursor=MQ")), 400)["code"], "invalid_cursor");
}
