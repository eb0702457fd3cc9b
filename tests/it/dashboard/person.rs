//! The dashboard in a real browser, as a person uses it: each flow with scripts, and most of them without.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{link, link_of_approver};
use crate::fake::FakeProvider;
use crate::harness::{Home, finish, has_program, needs, peers};
use crate::server::Server;
use crate::server::connectors::{FILE, publish};
use crate::two_way;

fn ready() -> bool {
    let modules = peers().join("node_modules");
    needs("node", has_program("node"))
        && needs("axe-core", modules.join("axe-core").is_dir())
        && needs("chromium", Path::new("/usr/bin/chromium").exists() || std::env::var_os("CHROMIUM").is_some())
}

/// Lets a person who has signed in with a link do something; returns what was found.
fn run(link: &str, flow: &str, options: &[&str]) -> Value {
    let mut command = Command::new("node");
    command.arg(peers().join("dashboard.mjs")).args([link, flow]).args(options);
    if let Some(folder) = std::env::var_os("DASHBOARD_SCREENSHOTS") {
        command.arg("--screenshots").arg(folder);
    }
    let ran = finish(command);
    let report: Value = serde_json::from_str(ran.stdout.trim()).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert_eq!(report["ok"], true, "{flow} {options:?}: {report:#}");
    assert_eq!(report["console"], json!([]), "{flow}: {report:#}");
    report
}

/// A flow in homes that `prepare` makes, with scripts and without.
fn both(flow: &str, prepare: impl Fn() -> Home) {
    if !ready() {
        return;
    }
    for options in [&[] as &[&str], &["--no-script"]] {
        let home = prepare();
        let server = Server::start(&home, "");
        run(&link(&home, &server, "--as kim --role editor"), flow, options);
    }
}

fn slack() -> Home {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home
}

#[test]
fn a_person_connects_through_the_consent_page() {
    both("connect", Home::new);
}

#[test]
fn a_person_tests_a_connection() {
    both("test", slack);
}

#[test]
fn a_person_tests_several_connections_at_once() {
    both("together", || {
        let home = slack();
        home.ok("connect stripe --sandbox");
        home
    });
}

#[test]
fn a_person_syncs_a_stream() {
    both("sync", slack);
}

#[test]
fn a_person_simulates_an_event_and_sees_it_arrive() {
    both("event", slack);
}

#[test]
fn a_person_edits_a_binding_with_a_preview() {
    both("binding", || {
        let home = two_way::hubspot("ask");
        home.ok("sync hubspot/contacts");
        home
    });
}

#[test]
fn a_person_reconnects_what_has_lost_its_grant() {
    both("reconnect", || {
        let home = slack();
        home.ok("sandbox fault slack revoked_grant --times 1");
        home
    });
}

#[test]
fn a_person_resolves_a_conflict() {
    both("conflict", || {
        let home = two_way::hubspot("ask");
        let ada = |phone: &str| two_way::entity("1", &json!({"email": "ada@example.com", "phone": phone}));
        two_way::push(&home, "person", &[ada("1")]);
        let object = home.ok("link find customer/1 --jq .links[0].object");
        two_way::change(&home, &object, &json!({"phone": "92"}));
        assert_eq!(two_way::push(&home, "person", &[ada("2")])[0]["outcome"], "conflict");
        home
    });
}

#[test]
fn a_person_makes_moves_and_deletes_an_appointment() {
    both("appointment", || {
        let home = Home::new();
        home.ok("connect google-calendar --sandbox --add-scope https://www.googleapis.com/auth/calendar.events.owned");
        home
    });
}

#[test]
fn a_person_makes_a_connect_link() {
    both("connectLink", Home::new);
}

#[test]
fn a_person_installs_a_connector_from_a_url() {
    if !ready() {
        return;
    }
    let host = FakeProvider::start();
    let url = publish(&host, "/acme.toml", FILE);
    for options in [&["--url", url.as_str()] as &[&str], &["--url", url.as_str(), "--no-script"]] {
        let home = Home::new();
        home.ok("config set http.allow 127.0.0.1");
        let server = Server::start(&home, "");
        run(&link(&home, &server, "--as kim --role editor"), "install", options);
    }
}

#[test]
fn a_person_stores_an_app() {
    both("app", Home::new);
}

#[test]
fn a_person_creates_and_revokes_a_token() {
    if !ready() {
        return;
    }
    for options in [&[] as &[&str], &["--no-script"]] {
        let home = slack();
        let server = Server::start(&home, "");
        if let Some(link) = link_of_approver(&home, &server) {
            run(&link, "token", options);
        }
    }
}

#[test]
fn a_person_disconnects() {
    both("disconnect", slack);
}

#[test]
fn a_refusal_leaves_the_form_as_it_was() {
    if ready() {
        let home = slack();
        let server = Server::start(&home, "");
        run(&link(&home, &server, "--as kim --role editor"), "refusal", &[]);
    }
}

#[test]
fn a_person_needs_no_mouse() {
    if ready() {
        let home = slack();
        let server = Server::start(&home, "");
        run(&link(&home, &server, "--as kim --role editor"), "keyboard", &[]);
    }
}

/// `DASHBOARD_SCREENSHOTS` names a folder for pictures of every page.
#[test]
fn every_page_fits_its_window_and_can_be_used_by_everyone() {
    if !ready() {
        return;
    }
    let home = super::pages::filled_home();
    let server = Server::start(&home, "");
    let Some(link) = link_of_approver(&home, &server) else { return };
    let report = run(&link, "visit", &[]);
    for empty in ["violations", "overflow"] {
        assert_eq!(report[empty], json!([]), "{empty}: {report:#}");
    }
    let pages = report["pages"].as_array().unwrap();
    assert!(pages.len() > 30, "{report:#}");
    for page in pages {
        let figure = |name: &str| page[name].as_u64().unwrap();
        assert!(figure("bytes") < 50 * 1024 && figure("requests") <= 4, "{page}");
    }
    println!("{}", report["pages"]);
}
