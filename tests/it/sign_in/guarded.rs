//! What a caller of the API may not do: choose where credentials go, or where a browser goes.

use integ::ops::sign_ins::{self, FinishSignInRequest, SignInCallback, StartSignInRequest};
use integ::view::sign_in::StartedSignInView;
use serde_json::{Value, json};

use super::*;
use crate::harness::Home;

fn parsed(request: Value) -> StartSignInRequest {
    serde_json::from_value(request).unwrap()
}

#[test]
fn a_request_cannot_name_what_is_the_owners() {
    for member in ["origin", "client", "client_id", "files", "redirect_uri", "port", "is_guarded", "purpose"] {
        let request = json!({ "connector": "slack", member: "x" });
        assert!(serde_json::from_value::<StartSignInRequest>(request).is_err(), "{member}");
    }
    let request = json!({ "connector": "slack", "user": "u_17", "keys": { "token": "secret-MARKER" } });
    assert!(!format!("{:?}", parsed(request)).contains("MARKER"));
    assert!(serde_json::from_value::<StartSignInRequest>(json!({ "user": " " })).is_err());
}

#[test]
fn hosts_that_a_caller_names_are_public_unless_the_owner_allows_them() {
    let home = Home::new();
    home.ok("workspace create default");
    let start = |request: Value, allow: &[&str]| {
        let allow: Vec<_> = allow.iter().map(|text| text.parse().unwrap()).collect();
        run(async {
            let node = node_with(home.path(), |engine| engine.config.http.allow = allow);
            code(&sign_ins::start(&node, parsed(request)).await.unwrap_err())
        })
    };
    let oidc = |issuer: &str| json!({ "connector": "oidc", "params": { "issuer": issuer } });
    for issuer in
        ["http://127.0.0.1:9", "http://localhost:9", "https://169.254.169.254", "https://10.0.0.1", "https://[::1]"]
    {
        let found = start(oidc(issuer), &[]);
        assert!(["egress_refused", "missing_app"].contains(&found.as_str()), "{issuer}: {found}");
    }
    let mcp = |url: &str| json!({ "url": url });
    assert_eq!(start(mcp("http://127.0.0.1:9/mcp"), &[]), "egress_refused");
    assert_eq!(start(mcp("https://169.254.169.254/latest"), &[]), "egress_refused");
    assert_eq!(start(mcp("http://127.0.0.1:9/mcp"), &["127.0.0.1"]), "network");
    assert_eq!(start(mcp("file:///etc/passwd"), &["127.0.0.1"]), "invalid_url");
    assert_eq!(start(json!({}), &[]), "no_target");
    assert_eq!(start(json!({ "connector": "slack", "url": "https://a.example" }), &[]), "no_target");
}

#[test]
fn the_secret_of_an_app_without_a_server_goes_to_none_that_a_caller_names() {
    let home = Home::new();
    std::fs::write(home.path().join("secret"), "ours").unwrap();
    home.ok("app set oidc --client-id ours --client-secret-file secret");
    run(async {
        let node = node(home.path());
        let request = json!({ "connector": "oidc", "params": { "issuer": "https://evil.example" } });
        assert_eq!(code(&sign_ins::start(&node, parsed(request)).await.unwrap_err()), "missing_app");
    });
}

#[test]
fn a_browser_returns_to_listed_origins_with_the_result() {
    let home = home_with_vault();
    run(async {
        let node = node(home.path());
        let request = |return_to: &str| {
            parsed(json!({ "connector": "slack", "is_sandbox": true, "user": "team/7", "return_to": return_to }))
        };
        for bad in
            ["https://evil.example/", "http://app.example/", "javascript:alert(1)", "https://app.example@evil.example"]
        {
            let refused = sign_ins::start(&node, request(bad)).await.unwrap_err();
            assert_eq!(code(&refused), "return_not_allowed", "{bad}");
        }
        let started = sign_ins::start(&node, request("https://app.example/done?tab=1")).await.unwrap();
        let StartedSignInView::Redirect { sign_in, authorization_url, .. } = started else { panic!("{started:?}") };
        let shown = sign_ins::show(&node, &sign_in).await.unwrap();
        assert_eq!((shown.status.as_str(), shown.connection.as_str()), ("pending", "slack@team-7"));
        let query = pending::follow_consent(&node, &Url::parse(&authorization_url).unwrap()).await.unwrap();
        let finished = sign_ins::finish(&node, FinishSignInRequest { query: Secret::new(query) }).await.unwrap();
        let SignInCallback::Finished(finished) = finished else { panic!("{finished:?}") };
        let expected =
            format!("https://app.example/done?tab=1&sign_in={sign_in}&status=done&connection=slack%40team-7");
        assert_eq!(finished.return_to.as_deref(), Some(expected.as_str()));
        // Another user gets a connection of its own, and the same user the same one.
        for (user, name) in [("team/8", "slack@team-8"), ("team/7", "slack@team-7"), ("team-7", "slack@team-7-2")] {
            let request = parsed(json!({ "connector": "slack", "is_sandbox": true, "user": user }));
            let started = sign_ins::start(&node, request).await.unwrap();
            let StartedSignInView::Redirect { sign_in, .. } = started else { panic!("{started:?}") };
            assert_eq!(sign_ins::show(&node, &sign_in).await.unwrap().connection, name);
        }
        let again = parsed(json!({ "reconnect": "slack@team-7" }));
        assert!(matches!(sign_ins::start(&node, again).await.unwrap(), StartedSignInView::Redirect { .. }));
    });
}

fn home_with_vault() -> Home {
    let home = Home::new();
    home.ok("workspace create default");
    home
}
