//! The chart of deliveries.

use serde_json::json;

use super::signed_in;
use crate::harness::Home;
use crate::server::{Server, expect, token};

#[test]
fn endpoints_show_the_deliveries_of_the_last_day() {
    let home = Home::new();
    home.ok("workspace create default");
    let admin = token(&home, "admin", "--scope admin:*");
    // Without a server, what is sent waits.
    let ids: Vec<String> = ["a", "b"]
        .map(|name| {
            let added = home.json(&format!("endpoint add https://{name}.invalid/in"));
            added["endpoint"].as_str().unwrap().to_owned()
        })
        .into();
    let server = Server::start(&home, "");
    let mut browser = signed_in(&home, &server, "viewer");
    assert!(browser.open("/dashboard/endpoints").text.contains("No deliveries in the last day."));
    let api = server.client(&admin);
    expect(&api.post("/v1/messages", &json!({ "type": "invoice.paid", "data": {} })), 201);
    expect(&api.post("/v1/messages", &json!({ "type": "invoice.paid", "endpoint": ids[0] })), 201);
    for (path, count) in [
        ("/dashboard/endpoints".to_owned(), 3),
        (format!("/dashboard/endpoints/{}", ids[0]), 2),
        (format!("/dashboard/endpoints/{}", ids[1]), 1),
    ] {
        let page = browser.open(&path);
        let label = page.text.split("aria-label=\"Deliveries of the last day, a bar for each hour: ").nth(1);
        let label = label.and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("{path}: {page:?}"));
        // They are pending, or have failed at a host that does not exist.
        let counts = label.split(", ").map(|part| part.split(' ').next().unwrap().parse::<u32>().unwrap());
        assert_eq!(counts.sum::<u32>(), count, "{path}: {label}");
        assert_eq!(page.text.matches("<title>23 h ago: none</title>").count(), 1, "{path}");
    }
}
