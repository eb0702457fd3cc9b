//! Alerts, on their page and over the API.

use serde_json::json;

use super::signed_in;
use crate::harness::Home;
use crate::server::{Server, expect, token};

#[test]
fn a_failing_connection_is_an_alert_until_it_works_again() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home.ok("connect stripe --sandbox");
    let reader = token(&home, "reader", "--scope metrics:read");
    let limited = token(&home, "limited", "--scope metrics:read --connection stripe");
    let other = token(&home, "other", "--scope logs:read");
    let server = Server::start(&home, "");
    let mut browser = signed_in(&home, &server, "viewer");
    let page = browser.open("/dashboard/alerts");
    assert!(page.text.contains("No alerts") && page.text.contains("reported nowhere else"), "{page:?}");

    home.ok("sandbox fault slack revoked_grant --times 1");
    assert_eq!(home.run("refresh slack").code, 4);
    let page = browser.open("/dashboard/alerts");
    assert!(page.text.contains("needs reauth"), "{page:?}");
    assert!(page.links().contains(&"/dashboard/connections/slack".to_owned()), "{page:?}");
    assert!(!page.links().contains(&"/dashboard/connections/stripe".to_owned()), "{page:?}");

    let list = |token: &str| expect(&server.client(token).get("/v1/alerts"), 200);
    let report = list(&reader);
    assert_eq!(
        (&report["alerts"][0]["kind"], &report["alerts"][1]),
        (&json!("needs_reauth"), &json!(null)),
        "{report}"
    );
    assert_eq!((&report["alerts"][0]["connection"], &report["has_hook"]), (&json!("slack"), &json!(false)));
    assert_eq!(list(&limited)["alerts"], json!([]), "the connection of another");
    assert_eq!(server.client(&other).get("/v1/alerts").status, 403);

    home.ok("reconnect slack");
    assert_eq!(list(&reader)["alerts"], json!([]));
}
