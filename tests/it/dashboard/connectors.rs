//! A connector from a URL by plain forms: what it can do, its installation, its configuration and its end.

use super::browser::{Browser, Page};
use super::signed_in;
use crate::fake::FakeProvider;
use crate::harness::Home;
use crate::server::Server;
use crate::server::connectors::{FILE, publish};

const ROUTE: &str = "/v1/installed-connectors/acme";

/// A home that may get files from the fake host.
fn home() -> Home {
    let home = Home::new();
    home.ok("workspace create default");
    home.ok("config set http.allow 127.0.0.1");
    home
}

fn review(browser: &mut Browser, url: &str) -> Page {
    let form = browser.open("/dashboard/connectors").form_of("POST", "/v1/connector-reviews");
    browser.submit(&form, &[("url", url)])
}

#[test]
fn a_connector_is_reviewed_installed_configured_and_uninstalled() {
    let (home, host) = (home(), FakeProvider::start());
    let url = publish(&host, "/acme.toml", FILE);
    let server = Server::start(&home, "");
    let mut browser = signed_in(&home, &server, "editor");

    let reviewed = review(&mut browser, &url);
    for part in ["Install Acme?", "us.acme.invalid", "SHA-256", &url] {
        assert!(reviewed.text.contains(part), "{part}: {reviewed:?}");
    }
    assert_eq!(browser.open("/dashboard/connectors/acme").status, 404);
    let install = reviewed.form_of("POST", "/v1/installed-connectors");
    let sha256 = install.value("sha256").unwrap().to_owned();
    // Another file than the one that was reviewed.
    publish(&host, "/acme.toml", &FILE.replace("Orders", "Invoices"));
    let refused = browser.submit(&install, &[]);
    assert!(refused.status >= 400 && refused.text.contains("sha256_mismatch"), "{refused:?}");
    assert_eq!(browser.open("/dashboard/connectors/acme").status, 404);
    publish(&host, "/acme.toml", FILE);
    let page = browser.submit(&install, &[]);
    assert_eq!((page.status, page.path.as_str()), (200, "/dashboard/connectors/acme"), "{page:?}");
    for part in ["Installed acme.", "editor", &sha256, &url, "Region"] {
        assert!(page.text.contains(part), "{part}: {page:?}");
    }
    assert!(browser.open("/dashboard/connectors").text.contains("Installed in this workspace"));

    for region in ["eu", ""] {
        let form = browser.open("/dashboard/connectors/acme").form_of("PATCH", ROUTE);
        let page = browser.submit(&form, &[("configuration.region", region)]);
        assert!(page.text.contains("Saved the configuration."), "{page:?}");
        assert_eq!(page.form_of("PATCH", ROUTE).value("configuration.region"), Some(region), "{page:?}");
    }

    home.ok("connect acme --sandbox");
    let page = browser.open("/dashboard/connectors/acme");
    assert!(page.text.contains("Disconnect them first"), "{page:?}");
    assert!(page.links().contains(&"/dashboard/connections/acme".to_owned()), "{page:?}");
    assert!(page.forms().iter().all(|form| form.value("_method") != Some("DELETE")), "{page:?}");
    home.ok("disconnect acme --yes");
    let uninstall = browser.open("/dashboard/connectors/acme").form_of("DELETE", ROUTE);
    let page = browser.submit(&uninstall, &[]);
    assert!(page.path == "/dashboard/connectors" && page.text.contains("Uninstalled acme."), "{page:?}");
    assert_eq!(browser.open("/dashboard/connectors/acme").status, 404);

    let log = home.ok("audit list --json");
    for operation in ["connector install-url", "connector configure", "connector uninstall"] {
        let entry = log.lines().find(|line| line.contains(&format!("\"operation\":\"{operation}\"")));
        assert!(entry.is_some_and(|entry| entry.contains("\"actor_id\":\"editor\"")), "{operation}: {log}");
    }
}

#[test]
fn a_viewer_reviews_a_file_and_its_texts_stay_texts() {
    let (home, host) = (home(), FakeProvider::start());
    let url = publish(&host, "/acme.toml", &FILE.replace("Orders", "<script>alert(1)</script>"));
    let server = Server::start(&home, "");
    let mut browser = signed_in(&home, &server, "viewer");
    let page = review(&mut browser, &url);
    assert!(page.text.contains("Ask an editor") && page.text.contains("&lt;script&gt;alert(1)"), "{page:?}");
    assert!(!page.text.contains("<script>alert"), "{page:?}");
    assert!(page.forms().iter().all(|form| !form.action.ends_with("/v1/installed-connectors")), "{page:?}");
    let refused = review(&mut browser, "http://10.0.0.1/acme.toml");
    assert!(refused.status >= 400 && refused.status < 500, "{refused:?}");
}
