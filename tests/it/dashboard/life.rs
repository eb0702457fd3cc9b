//! The life of a connection by plain forms, without a script.

use integ::sandbox::approve_url;

use super::signed_in;
use crate::harness::Home;
use crate::server::Server;
use crate::wire;

#[test]
fn a_connection_is_made_tested_synced_and_ended_by_forms() {
    let home = Home::new();
    let server = Server::start(&home, "");
    let mut browser = signed_in(&home, &server, "editor");
    let page = browser.open("/dashboard");
    assert!(page.text.contains("No connections yet"), "{page:?}");

    // The consent page of the sandbox, which is another server.
    let page = browser.open("/dashboard/connect/slack");
    let page = browser.submit(&page.form_of("POST", "/v1/connections"), &[]);
    let authorization = page.link("Continue");
    let consent = wire::get(&approve_url(&authorization.parse().unwrap()));
    let page = browser.open(consent.header("location").unwrap());
    assert!(page.path.starts_with("/dashboard/connected?"), "{page:?}");
    assert!(page.text.contains("slack is connected"), "{page:?}");

    let page = browser.open("/dashboard/connections/slack");
    let page = browser.submit(&page.form_of("POST", "/v1/connections/slack/test"), &[]);
    assert!(page.text.contains("slack works") && page.path == "/dashboard/connections/slack", "{page:?}");
    let page = browser.submit(&page.form_of("POST", "/v1/connections/slack/refresh"), &[]);
    assert!(page.text.contains("the token of slack"), "{page:?}");

    let page = browser.open("/dashboard/connections/slack/data");
    let page = browser.submit(&page.form_of("POST", "/v1/connections/slack/sync"), &[("streams", "users")]);
    assert!(page.text.contains("Synced"), "{page:?}");
    let page = browser.open("/dashboard/connections/slack/streams/users");
    assert!(page.text.contains("Download CSV"), "{page:?}");
    let file = browser.open("/dashboard/connections/slack/streams/users/records.csv");
    assert!(file.text.starts_with("id,") || file.text.contains("_key"), "{file:?}");

    let page = browser.open("/dashboard/connections/slack/settings");
    let rename = page.form_of("PATCH", "/v1/connections/slack");
    let page = browser.submit(&rename, &[("name", "not a name!")]);
    assert!(page.status == 400 && page.text.contains("Nothing was changed"), "{page:?}");
    let page = browser.submit(&rename, &[("name", "work")]);
    assert!(
        page.path == "/dashboard/connections/slack@work" && page.text.contains("Renamed slack to slack@work"),
        "{page:?}"
    );

    let page = browser.open("/dashboard/connections/slack@work/disconnect");
    assert!(page.text.contains("synced records"), "{page:?}");
    let page = browser.submit(&page.form_of("DELETE", "/v1/connections/slack@work"), &[]);
    assert!(page.path == "/dashboard/connections" && page.text.contains("Disconnected slack@work"), "{page:?}");
    let again = browser.open("/dashboard/connections");
    assert!(!again.text.contains("Disconnected slack@work"), "a notice is shown once");
    let log = home.ok("audit list --json");
    for operation in ["connect start", "test", "sync", "rename", "disconnect"] {
        let entry = log.lines().find(|line| line.contains(&format!("\"operation\":\"{operation}\"")));
        assert!(entry.is_some_and(|entry| entry.contains("\"actor_id\":\"editor\"")), "{operation}: {log}");
    }
}

#[test]
fn several_connections_are_disconnected_after_what_is_lost_was_shown() {
    let home = Home::new();
    for line in ["connect slack --sandbox", "connect stripe --sandbox", "connect github --sandbox", "sync slack/users"]
    {
        home.ok(line);
    }
    let server = Server::start(&home, "");
    let mut browser = signed_in(&home, &server, "editor");
    let list = browser.open("/dashboard/connections");
    let chosen = |names: &[&str]| {
        let mut form = list.form_of("POST", "/v1/connections/_each_/test");
        form = form.other("/dashboard/do/v1/disconnect-preview?connection=_each_");
        form.fields.extend(names.iter().map(|name| ("_each".to_owned(), (*name).to_owned())));
        form
    };
    let page = browser.submit(&chosen(&[]), &[]);
    assert!(page.text.contains("Nothing was chosen"), "{page:?}");
    let page = browser.submit(&chosen(&["slack"; 51]), &[]);
    assert!(page.text.contains("51 were chosen, of at most 50"), "{page:?}");
    let page = browser.submit(&chosen(&["slack", "gitlab"]), &[]);
    assert_eq!(page.status, 404, "{page:?}");
    assert_eq!(browser.send(&chosen(&["slack"]).with("_csrf", ""), &[]).status, 403);

    let asked = browser.submit(&chosen(&["slack", "stripe"]), &[]);
    for part in
        ["Disconnect 2 connections?", "This cannot be undone", "synced records", "No records, no waiting events"]
    {
        assert!(asked.text.contains(part), "{part}: {asked:?}");
    }
    let form = asked.form_of("DELETE", "/v1/connections/_each_");
    let origin = browser.origin();
    let own: [(&str, &str); 2] = [("origin", &origin), ("sec-fetch-site", "same-origin")];
    assert_eq!(browser.send(&form.clone().with("_csrf", "x"), &own).status, 403);
    assert_eq!(browser.send(&form, &[("origin", "https://evil.example")]).status, 403);
    assert_eq!(home.json("status")["summary"]["total"], 3, "nothing was changed");
    let mut too_many = form.clone();
    too_many.fields.retain(|(name, _)| name != "_each");
    too_many.fields.extend((0..51).map(|number| ("_each".to_owned(), format!("gitlab@{number}"))));
    let page = browser.submit(&too_many, &[]);
    assert!(page.text.contains("Only the first 50 were done; 1 are left"), "{page:?}");

    let page = browser.submit(&form, &[]);
    assert!(page.path == "/dashboard/connections" && page.text.contains("Disconnected stripe"), "{page:?}");
    assert_eq!(home.json("status")["connections"][0]["connection"], "github");
    let mut viewer = signed_in(&home, &server, "viewer");
    assert!(!viewer.open("/dashboard/connections").text.contains("disconnect-preview"));
    assert_eq!(viewer.open("/dashboard/connections/github/disconnect").text.matches("Not allowed").count(), 1);
}

#[test]
fn the_pages_of_operators_and_of_the_session_say_who_is_signed_in() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home.ok("operator set lee --role editor");
    let server = Server::start(&home, "");
    let mut browser = signed_in(&home, &server, "viewer");
    let page = browser.open("/dashboard/operators");
    let people = page.text.split("Signed in lately").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(people.contains("viewer") && !people.contains("lee"), "{people}");
    for part in ["operator lee: editor", "data-copy=\"integ operator remove NAME\"", "operator viewer: viewer"] {
        assert!(page.text.contains(part), "{part}: {page:?}");
    }
    let page = browser.open("/dashboard/settings");
    for part in
        ["viewer, who can see everything but credentials", "or after 2 hours without use", env!("CARGO_PKG_VERSION")]
    {
        assert!(page.text.contains(part), "{part}: {page:?}");
    }
    let page = browser.submit(page.forms().last().unwrap(), &[]);
    assert!(page.text.contains("Signed out"), "{page:?}");
}
