//! Connectors that callers of the API install in their workspace.

use serde_json::json;

use super::{Server, expect, token};
use crate::fake::FakeProvider;
use crate::harness::Home;

/// A connector with a parameter, which belongs to its host.
pub(crate) const FILE: &str = r#"id = "acme"
name = "Acme"
category = "generic"
description = "Orders"
docs = "https://acme.example"

[params.region]
prompt = "Region"
default = "us"

[auth.key]
label = "API key"
fields.key.prompt = "Key"

[api]
base = "https://{region}.acme.invalid"

[health]
path = "/me"
"#;

/// Serves the file at a path, and returns its URL.
pub(crate) fn publish(host: &FakeProvider, path: &str, text: &str) -> String {
    host.page(path, 200, &[], text);
    host.url(path)
}

#[test]
fn a_connector_is_reviewed_then_installed_and_removed_once_nothing_uses_it() {
    let (home, host) = (Home::new(), FakeProvider::start());
    home.ok("workspace create default");
    home.ok("workspace create other");
    home.ok("config set http.allow 127.0.0.1");
    let installer = token(&home, "installer", "--scope admin:* --user u_1 --tier enterprise");
    let other = home.ok("-w other api-token create reader --scope read:*").trim().to_owned();
    let url = publish(&host, "/acme.toml", FILE);
    let server = Server::start(&home, "--all-workspaces");
    let api = server.client(&installer);

    let review = expect(&api.post("/v1/connector-reviews", &json!({ "url": url })), 200);
    assert_eq!((&review["id"], &review["hosts"][0]["host"]), (&json!("acme"), &json!("us.acme.invalid")), "{review}");
    expect(&api.get("/v1/connectors/acme"), 404);
    let install = |sha256: &str, configuration| {
        api.post("/v1/installed-connectors", &json!({ "url": url, "sha256": sha256, "configuration": configuration }))
    };
    assert_eq!(install(&"0".repeat(64), json!({})).code(), "sha256_mismatch");
    let sha256 = review["sha256"].as_str().unwrap();
    assert_eq!(install(sha256, json!({ "colour": "red" })).code(), "unknown_param");
    let installed = install(sha256, json!({ "region": "eu" }));
    assert_eq!(installed.header("location"), Some("/v1/installed-connectors/acme"));
    let installed = expect(&installed, 201);
    assert_eq!((&installed["user"], &installed["sha256"]), (&json!("u_1"), &json!(sha256)), "{installed}");
    assert!(installed["installed_by"].as_str().unwrap().starts_with("tok_"), "{installed}");
    assert_eq!(expect(&api.get("/v1/connectors/acme"), 200)["source"], "workspace");
    // Another workspace does not have it.
    expect(&server.client(&other).get("/v1/connectors/acme"), 404);
    assert_eq!(expect(&server.client(&other).get("/v1/installed-connectors"), 200)["data"], json!([]));

    // A new connection gets the configured value unless another is given.
    for (argument, host) in [("", "eu.acme.invalid"), ("--param region=uk", "uk.acme.invalid")] {
        let connected = home.run_with_input(&format!("connect acme@cli --with-token {argument}"), "key-1");
        assert!(connected.stderr.contains(host), "{connected:?}");
        home.ok("disconnect acme@cli --yes");
    }

    home.ok("connect acme --sandbox --user u_1");
    home.ok("connect acme@other --sandbox");
    let listed = expect(&api.get("/v1/installed-connectors"), 200);
    assert_eq!(listed["data"][0]["connections"], json!(["acme"]), "{listed}");
    let path = "/v1/installed-connectors/acme";
    let changed = expect(&api.patch(path, &json!({ "configuration": { "region": "us" } })), 200);
    assert_eq!(changed["configuration"], json!({ "region": "us" }));
    let refused = api.delete(path);
    assert_eq!((refused.status, refused.code()), (409, "connector_in_use"), "{refused:?}");
    assert!(format!("{refused:?}").contains("acme and 1 that you may not see"), "{refused:?}");
    assert_eq!(home.run("connector remove acme --yes --json").error_code(), "connector_in_use");
    // A new version would get the credentials of its connections.
    let newer = FILE.replace("Orders", "Invoices");
    publish(&host, "/acme.toml", &newer);
    assert_eq!(api.post("/v1/connector-reviews", &json!({ "url": url })).code(), "connector_in_use");
    let deleted = home.json("user delete u_1 --yes");
    assert_eq!(deleted["connectors"], json!(["acme"]), "{deleted}");
    let owner = server.client(&token(&home, "owner", "--scope admin:* --tier enterprise"));
    assert_eq!(expect(&owner.get(path), 200)["user"], json!(null));
    assert!(format!("{:?}", owner.delete(path)).contains("has connections: acme@other"));
    home.ok("disconnect acme@other --yes");
    expect(&owner.delete(path), 200);
    expect(&owner.get(path), 404);
    expect(&owner.get("/v1/connectors/acme"), 404);
}

#[test]
fn what_callers_may_install_is_limited() {
    let (home, host) = (Home::new(), FakeProvider::start());
    home.ok("workspace create default");
    let token = token(&home, "installer", "--scope admin:* --tier enterprise");
    let url = publish(&host, "/acme.toml", FILE);
    {
        let server = Server::start(&home, "");
        let refused = server.client(&token).post("/v1/connector-reviews", &json!({ "url": url }));
        assert_eq!(refused.code(), "egress_refused", "{refused:?}");
    }
    home.ok("config set http.allow 127.0.0.1");
    home.ok("config set connectors.max_per_workspace 1");
    let server = Server::start(&home, "");
    let api = server.client(&token);
    let install = |path: &str, text: &str| {
        let url = publish(&host, path, text);
        let review = api.post("/v1/connector-reviews", &json!({ "url": url }));
        if review.status != 200 {
            return review.code().to_owned();
        }
        let sha256 = &review.json.as_ref().unwrap()["sha256"];
        let installed = api.post("/v1/installed-connectors", &json!({ "url": url, "sha256": sha256 }));
        if installed.status == 201 { "installed" } else { installed.code() }.to_owned()
    };
    assert_eq!(install("/slack.toml", &FILE.replace("\"acme\"", "\"slack\"")), "built_in_connector");
    assert_eq!(install("/broken.toml", "id = 1"), "invalid_connector");
    assert_eq!(install("/acme.toml", FILE), "installed");
    assert_eq!(install("/acme.toml", &FILE.replace("Orders", "Invoices")), "installed");
    assert_eq!(install("/beta.toml", &FILE.replace("\"acme\"", "\"beta\"")), "too_many_connectors");
    drop(server);
    home.ok("config set connectors.max_size 1KiB");
    let server = Server::start(&home, "");
    let large = publish(&host, "/large.toml", &format!("{FILE}# {}", "x".repeat(2000)));
    let refused = server.client(&token).post("/v1/connector-reviews", &json!({ "url": large }));
    assert!(refused.status >= 400 && refused.status != 500, "{refused:?}");
    // The owner sees it, and can remove it.
    let listed = home.json("connector list");
    let own = listed["connectors"].as_array().unwrap().iter().find(|one| one["id"] == "acme").unwrap().clone();
    assert_eq!((&own["source"], &own["description"]), (&json!("workspace"), &json!("Invoices")));
    home.ok("connector remove acme --yes");
    assert_eq!(home.run("connector show acme --json").error_code(), "unknown_connector");
}
