//! One-time links and sessions.

use super::{Browser, link, signed_in};
use crate::guided::{at_a_terminal, ready};
use crate::harness::Home;
use crate::server::Server;

#[test]
fn a_link_signs_in_once_and_programs_that_fetch_it_use_up_nothing() {
    let home = Home::new();
    let server = Server::start(&home, "");
    let link = link(&home, &server, "--as kim");
    let mut browser = Browser::new(&server.url);
    assert_eq!(browser.open("/dashboard").status, 401);
    for _ in 0..3 {
        assert_eq!(browser.open(&link).status, 200);
    }
    assert!(browser.cookies.is_empty());
    let form = browser.open(&link).form("/dashboard/sign-in");
    let cross = browser.send(&form, &[("origin", "https://evil.example")]);
    assert_eq!(cross.status, 403);
    assert_eq!(browser.send(&form, &[]).status, 403, "browsers name the origin of a form");
    let page = browser.submit(&form, &[]);
    assert_eq!((page.status, page.path.as_str()), (200, "/dashboard"), "{page:?}");
    assert!(page.text.contains("kim") && page.text.contains("viewer"), "{page:?}");
    let mut other = Browser::new(&server.url);
    assert_eq!(other.submit(&form, &[]).status, 401);
    assert_eq!(other.open(&link).status, 401);
    assert!(other.cookies.is_empty());

    let form = page.form("/dashboard/sign-out");
    let copied = browser.cookies.clone();
    let page = browser.submit(&form, &[]);
    assert!(page.text.contains("Signed out") && browser.cookies.is_empty(), "{page:?}");
    browser.cookies = copied;
    assert_eq!(browser.open("/dashboard").status, 401, "the session has ended, not only the cookie");
    let log = home.ok("audit list --json");
    for operation in ["dashboard link", "dashboard sign-in", "dashboard sign-out"] {
        assert!(log.contains(&format!("\"operation\":\"{operation}\"")), "{operation}: {log}");
    }
    assert!(log.contains("\"actor\":\"operator\",\"actor_id\":\"kim\""), "{log}");
}

#[test]
fn a_session_ends_with_its_operator_and_a_role_changes_at_once() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    let server = Server::start(&home, "");
    let mut browser = signed_in(&home, &server, "viewer");
    let rename = "/dashboard/do/v1/connections/slack";
    let forms = |browser: &mut Browser| browser.open("/dashboard/connections/slack/settings").forms();
    assert!(forms(&mut browser).iter().all(|form| form.action != rename));
    home.ok("operator set viewer --role editor");
    assert!(forms(&mut browser).iter().any(|form| form.action == rename));
    let listed = home.json("operator list")["operators"][0].clone();
    assert_eq!((listed["operator"].as_str(), listed["sessions"].as_i64()), (Some("viewer"), Some(1)));
    home.ok("operator remove viewer");
    assert_eq!(browser.open("/dashboard").status, 401);
}

#[test]
fn the_cookie_of_a_session_is_kept_from_scripts_and_other_sites() {
    let home = Home::new();
    let server = Server::start(&home, "--public-url https://integ.example.com/base");
    let words = "dashboard link --as kim --public-url https://integ.example.com/base";
    let link = home.ok(words);
    assert!(link.starts_with("https://integ.example.com/base/dashboard/sign-in?link="), "{link}");
    let secret = link.split("link=").nth(1).unwrap();
    let client = crate::server::client::Client::new(&server.url, None);
    let body = format!("link={secret}");
    let headers = [("host", "integ.example.com"), ("origin", "https://integ.example.com")];
    let reply = client.send_bytes("POST", "/dashboard/sign-in", &headers, Some(body.as_bytes()));
    assert_eq!((reply.status, reply.header("location")), (303, Some("/base/dashboard")), "{reply:?}");
    let cookie = reply.header("set-cookie").unwrap();
    for part in
        ["__Secure-integ_session=", "; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/base;", "; Max-Age=43200"]
    {
        assert!(cookie.contains(part), "{cookie}");
    }
}

#[test]
fn only_a_person_at_a_terminal_makes_an_approver() {
    let home = Home::new();
    for line in
        ["dashboard link --as kim --role approver", "operator set kim --role approver", "dashboard --no-browser"]
    {
        assert_eq!(home.run(&format!("{line} --json")).error_code(), "no_terminal", "{line}");
    }
    assert_eq!(home.json("operator list")["operators"].as_array().unwrap().len(), 0);
    if !ready() {
        return;
    }
    let refused = at_a_terminal(&home, "operator set kim --role approver", &[("[y/N]", "n\\r")]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let made = at_a_terminal(&home, "operator set kim --role approver", &[("[y/N]", "y\\r")]);
    assert_eq!(made.code, 0, "{made:?}");
    // A link for somebody who is one already needs the person again.
    assert_eq!(home.run("dashboard link --as kim --json").error_code(), "no_terminal");
    assert_eq!(home.run("dashboard link --as kim --role editor --json").code, 0);
}
