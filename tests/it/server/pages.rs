//! The pages of connect links and of the sandbox, and the events that are sent again.

use serde_json::{Value, json};

use super::client::Client;
use super::{Server, expect, home, token};

/// The target of a URL at its server.
fn target(url: &str) -> String {
    format!("/{}", url.splitn(4, '/').nth(3).unwrap_or_default())
}

/// A browser on another machine reaches the server alone: the consent page of the sandbox is shown there, and nothing else
/// of the emulated service.
#[test]
fn the_consent_page_of_the_sandbox_is_served_to_browsers_elsewhere() {
    let home = home(&[]);
    let token = token(&home, "test", "--scope admin:* --tier enterprise");
    let server = Server::start(&home, "");
    let (api, browser) = (server.client(&token), Client::new(&server.url, None));
    assert_eq!(browser.get("/sandbox/").status, 404);
    let started = expect(&api.post("/v1/connections", &json!({ "connector": "github", "is_sandbox": true })), 201);
    let page = started["authorization_url"].as_str().unwrap().to_owned();
    assert!(page.starts_with(&format!("{}/sandbox/", server.url)), "{page}");
    let consent = browser.get(&target(&page));
    assert_eq!(consent.status, 200, "{consent:?}");
    let text = String::from_utf8(consent.body.clone()).unwrap();
    assert!(text.contains("SANDBOX") && text.contains("Allow"), "{text}");
    let policy = consent.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("form-action 'self'"), "{policy}");
    // The rest of the emulated service is not shown.
    let (below, _) = page.split_once('?').unwrap();
    let emulator = below.split('/').nth(4).unwrap();
    for path in ["", "/", "/user", "/login/oauth/access_token", "/../v1/status"] {
        assert_eq!(browser.get(&format!("/sandbox/{emulator}{path}")).status, 404, "{path}");
    }
    assert_eq!(browser.get(&target(&page).replace(emulator, "0123")).status, 404);
    assert_eq!(browser.send("PUT", &target(&page), &[], None).status, 405);
    assert_eq!(browser.send("GET", &target(&page), &[("host", "evil.example")], None).status, 403);
    let allowed = browser.get(&format!("{}&sandbox_decision=allow", target(&page)));
    assert_eq!(allowed.status, 302, "{allowed:?}");
    let done = browser.get(&target(allowed.header("location").unwrap()));
    assert!(String::from_utf8(done.body).unwrap().contains("github is connected"));
    assert_eq!(expect(&api.get("/v1/status"), 200)["active"], 1);
}

/// Opening a link changes things for somebody who has no token: it is in the audit log as such, with where it came from.
#[test]
fn opening_a_connect_link_is_audited() {
    let home = home(&[]);
    let link = home.json("connect-link create slack --sandbox");
    let server = Server::start(&home, "");
    let browser = Client::new(&server.url, None);
    let url = link["url"].as_str().unwrap();
    let opened = browser.get(&target(url));
    assert_eq!(opened.status, 303, "{opened:?}");
    assert_eq!(browser.get("/connect/unknown.default").status, 404);
    let lines = home.ok("audit list --json");
    let entries: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let opened: Vec<&Value> = entries.iter().filter(|entry| entry["operation"] == "connect-link open").collect();
    assert_eq!(opened.len(), 2, "as started and as done, and none for an unknown link: {lines}");
    for entry in opened {
        assert_eq!((&entry["actor"], &entry["source"]), (&json!("worker"), &json!("127.0.0.1")), "{entry}");
        assert!(entry["request_id"].as_str().unwrap().starts_with("req_"), "{entry}");
    }
    let links = home.json("connect-link list");
    let id = links["connect_links"][0]["connect_link"].as_str().unwrap();
    assert!(lines.contains(&format!("link {id}")), "{lines}");
}

#[test]
fn events_are_handled_again_verified_fetched_and_removed_over_http() {
    let home = home(&["stripe"]);
    let token = token(&home, "test", "--scope admin:* --tier enterprise");
    let server = Server::start(&home, "");
    let api = server.client(&token);
    let simulate = json!({ "event": "charge.refunded", "count": 3 });
    expect(&api.post("/v1/connections/stripe/simulate", &simulate), 200);
    let path = "/v1/connections/stripe/event-replays";
    let first = expect(&api.post(path, &json!({ "since": "2026-01-01T00:00:00Z", "limit": 2 })), 200);
    assert_eq!(first["retried"], 2, "{first}");
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = json!({ "since": "2026-01-01T00:00:00Z", "limit": 2, "cursor": cursor });
    let rest = expect(&api.post(path, &rest), 200);
    assert_eq!((&rest["retried"], &rest["next_cursor"]), (&json!(1), &json!(null)), "{rest}");
    let none = expect(&api.post(path, &json!({ "since": "2026-01-01T00:00:00Z", "type": "invoice.*" })), 200);
    assert_eq!(none["retried"], 0, "{none}");
    let verified = json!({ "headers": [["stripe-signature", "t=1,v1=00"]], "body_base64": "e30=" });
    let verified = expect(&api.post("/v1/connections/stripe/webhook-verifications", &verified), 200);
    assert_eq!(verified["accepted"], false, "{verified}");
    let pruned = json!({ "keep_days": 3, "dry_run": true });
    let pruned = expect(&api.post("/v1/connections/stripe/event-prunes", &pruned), 200);
    assert_eq!(pruned["dry_run"], true, "{pruned}");
    let missed = json!({ "since": "2026-01-01T00:00:00Z", "dry_run": true });
    let missed = api.post("/v1/connections/stripe/event-backfills", &missed);
    assert!(missed.status == 200 || missed.code() != "unknown_path", "{missed:?}");
}
