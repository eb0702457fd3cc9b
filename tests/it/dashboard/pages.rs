//! Every page that links lead to: its policy, its weight, and texts of services that stay texts.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Browser, signed_in};
use crate::fake::{FakeProvider, Trouble};
use crate::flow::connected;
use crate::harness::{Home, finish};
use crate::server::client::Client;
use crate::server::{Server, token};

/// Bytes of a page with all that it loads.
const MAX_WEIGHT: usize = 50 * 1024;

/// Pages whose links lead on and on: a few of each are enough.
const MAX_OF_A_KIND: usize = 6;

/// Opens every page that links lead to.
pub fn crawl(browser: &mut Browser, mut visit: impl FnMut(&mut Browser, &super::browser::Page)) -> usize {
    let mut waiting = vec!["/dashboard".to_owned()];
    let (mut seen, mut kinds) = (BTreeSet::new(), std::collections::BTreeMap::<String, usize>::new());
    while let Some(path) = waiting.pop() {
        let kind: String = path.split('?').next().unwrap().split('/').take(3).collect::<Vec<_>>().join("/");
        let is_file = path.contains("/assets/")
            || path.ends_with(".csv")
            || path.ends_with(".parquet")
            || path.ends_with("/body");
        if is_file || !path.starts_with("/dashboard") || !seen.insert(path.clone()) {
            continue;
        }
        let count = kinds.entry(kind).or_default();
        *count += 1;
        if *count > MAX_OF_A_KIND * 4 {
            continue;
        }
        let page = browser.open(&path);
        assert_eq!(page.status, 200, "{path}: {page:?}");
        waiting.extend(page.links());
        visit(browser, &page);
    }
    seen.len()
}

/// A home where there is something on every page.
pub fn filled_home() -> Home {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home.ok("connect stripe --sandbox");
    home.ok("sync slack/users");
    assert_eq!(finish(home.command(["schedule", "set", "slack", "every 1h"])).code, 0);
    home.ok("connect google-calendar --sandbox");
    home.ok("connect github --sandbox --user u-42");
    home.ok("consent grant u-42 sync");
    home.ok("endpoint add https://hooks.example.com/in --events invoice.*");
    home.ok("connect-link create slack --sandbox --user u-42");
    home.ok("link add customer/42 slack/users U1");
    crate::two_way::set(&home, "person", "slack/users", "id = .id\nname? = .name\n");
    home
}

#[test]
fn every_page_has_a_strict_policy_and_is_light() {
    let home = filled_home();
    let server = Server::start(&home, "");
    let mut browser = signed_in(&home, &server, "editor");
    let mut heaviest = (0, String::new());
    let count = crawl(&mut browser, |browser, page| {
        let policy = page.reply.header("content-security-policy").unwrap();
        for part in ["default-src 'none'", "style-src 'self'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{}: {policy}", page.path);
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(page.reply.header("cache-control"), Some("no-store"));
        for inline in ["<style", " style=", "<script>", " onclick=", "javascript:"] {
            assert!(!page.text.contains(inline), "{}: {inline}", page.path);
        }
        for part in ["<html lang=\"en\">", "<main id=\"main\"", "class=\"skip\"", "<h1>"] {
            assert!(page.text.contains(part), "{}: {part}", page.path);
        }
        let files: usize = page.files().iter().map(|file| browser.open(file).text.len()).sum();
        let weight = page.text.len() + files;
        assert!(weight < MAX_WEIGHT, "{} weighs {weight} bytes", page.path);
        if weight > heaviest.0 {
            heaviest = (weight, page.path.clone());
        }
    });
    assert!(count > 20, "{count} pages");
    println!("{count} pages; the heaviest is {} with {} bytes", heaviest.1, heaviest.0);
}

/// What would run if a page did not show it as text, with a character that reverses what follows.
const HOSTILE: &str = "<script>alert(1)</script>\"'><img/src=x/onerror=alert(1)>\u{202e}";

/// The same without the last character, which names may not have.
fn hostile_name() -> &'static str {
    HOSTILE.trim_end_matches('\u{202e}')
}

/// A home in which services, programs and people have said hostile things wherever they can.
fn hostile_home(provider: &FakeProvider) -> Home {
    let home = connected(provider);
    home.ok("connect slack --sandbox");
    home.ok("sync slack/users");
    let person = ["connect", "stripe", "--sandbox", "--user", hostile_name()];
    assert_eq!(finish(home.command(person)).code, 0);
    crate::two_way::set(&home, "person", "slack/users", "id = .id\nname? = .name\n");
    // An error of the service, which is then the last one of the connection.
    let refusal = json!({ "error": "invalid_grant", "error_description": HOSTILE });
    provider.trouble("/token", [Trouble::json(400, &refusal)]);
    assert_eq!(home.run("refresh fake").code, 4);
    home
}

/// Says hostile things through the API.
fn say_everything(api: &Client) {
    let event = json!({ "event": "message", "data": { "type": "event_callback", "event_id": "Ev1", "team_id": HOSTILE,
        "event": { "type": "message", "text": HOSTILE, "user": HOSTILE } } });
    let name = hostile_name();
    let requests = [
        ("/v1/connections/slack/simulate", event),
        (
            "/v1/endpoints",
            json!({ "url": "https://hooks.example.com/<script>alert(1)</script>", "description": HOSTILE }),
        ),
        ("/v1/consents", json!({ "user": name, "purpose": "call", "description": HOSTILE })),
        (
            "/v1/links",
            json!({ "entity": format!("customer/{name}"), "connection": "slack", "resource": "users", "object": name }),
        ),
        ("/v1/api-tokens", json!({ "name": name, "scopes": ["connections:read"], "user": name })),
        ("/v1/connect-links", json!({ "connector": "slack", "is_sandbox": true, "user": name })),
        ("/v1/event-types", json!({ "type": "invoice.paid", "description": HOSTILE })),
    ];
    for (path, body) in requests {
        let reply = api.post(path, &body);
        assert!(reply.status < 300, "{path}: {reply:?}");
    }
}

#[test]
fn what_services_and_callers_say_is_shown_as_text() {
    let provider = FakeProvider::start();
    let home = hostile_home(&provider);
    let admin = token(&home, "admin", "--scope admin:*");
    let server = Server::start(&home, "");
    say_everything(&server.client(&admin));
    let mut browser = signed_in(&home, &server, "editor");
    let pages =
        ["/dashboard/connections?q=<script>alert(1)</script>\"'>", "/dashboard/connect?q=<script>alert(1)</script>"];
    for path in pages {
        let page = browser.open(path);
        assert!(!page.text.contains("<script>alert"), "{page:?}");
    }
    let mut shown = 0;
    crawl(&mut browser, |_, page| {
        for part in ["<script>alert", "<img", "onerror=alert(1)>", "\u{202e}"] {
            assert!(!page.text.contains(part), "{}: {part}", page.path);
        }
        shown += usize::from(page.text.contains("&lt;script&gt;alert(1)"));
    });
    assert!(shown > 8, "only {shown} pages show any of it");
    // A failure names what was sent.
    let form = browser.open("/dashboard/connections/slack/settings").form_of("PATCH", "/v1/connections/slack");
    let page = browser.submit(&form, &[("name", HOSTILE)]);
    assert!(page.status == 400 && !page.text.contains("<script>alert"), "{page:?}");
}
