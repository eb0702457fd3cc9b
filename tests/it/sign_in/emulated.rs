//! The same in the sandbox, where the process that began may be gone with its emulators.

use integ::connect::pending::follow_consent;

use super::*;
use crate::harness::Home;

fn sandbox(connector: &str) -> ConnectRequest {
    ConnectRequest { connector: connector.to_owned(), is_sandbox: true, ..ConnectRequest::default() }
}

#[test]
fn another_process_exchanges_the_code_of_a_sandbox_that_is_gone() {
    let home = Home::new();
    home.ok("workspace create default");
    for connector in ["slack", "github", "jira", "oidc", "quickbooks", "trello", "mcp"] {
        let query = run(async {
            let node = node(home.path());
            let (_, url) = start(&node, &sandbox(connector)).await;
            assert!(url.as_str().starts_with("http://127.0.0.1:"), "{url}");
            follow_consent(&node, &url).await.unwrap()
        });
        run(async {
            let node = node(home.path());
            let finished = finish(&node, &query).await;
            assert_eq!(connected(&finished).split('@').next(), Some(connector));
            assert_eq!(refused(&node, &query).await, "sign_in_used");
        });
    }
    let ran = home.run("test --json");
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_token_in_the_fragment_is_asked_for_by_a_page() {
    let home = Home::new();
    home.ok("workspace create default");
    run(async {
        let node = node(home.path());
        let (id, url) = start(&node, &sandbox("trello")).await;
        let query = follow_consent(&node, &url).await.unwrap();
        let without = altered(&query, "token", None);
        assert!(matches!(pending::finish(&node, &without).await.unwrap(), CallbackReply::Fragment));
        let found = pending::find(&node, &id).await.unwrap();
        assert!(found.taken_at.is_none(), "it still waits");
        assert_eq!(connected(&finish(&node, &query).await), "trello");
    });
}

#[test]
fn keys_connect_at_once_and_only_a_sandbox_of_this_process_is_followed() {
    let home = Home::new();
    home.ok("workspace create default");
    run(async {
        let node = node(home.path());
        let started = pending::start(&node, &sandbox("stripe"), &target()).await.unwrap();
        let StartedSignIn::Connected(result) = started else { panic!("{started:?}") };
        assert_eq!(result.connection.name.to_string(), "stripe");
        for url in ["http://127.0.0.1:9/authorize", "https://slack.com/oauth/v2/authorize"] {
            let refused = follow_consent(&node, &Url::parse(url).unwrap()).await.unwrap_err();
            assert_eq!(code(&refused), "not_sandbox");
        }
        let missing = |request: ConnectRequest| {
            let node = Arc::clone(&node);
            async move { code(&pending::start(&node, &request, &target()).await.unwrap_err()) }
        };
        let live = |connector: &str| ConnectRequest { is_sandbox: false, ..sandbox(connector) };
        assert_eq!(missing(live("stripe")).await, "missing_param");
        assert_eq!(missing(live("gitlab")).await, "missing_app");
        assert_eq!(missing(live("zendesk")).await, "unknown_connector");
        assert_eq!(missing(ConnectRequest { auth: Some("none".into()), ..live("slack") }).await, "unknown_auth");
    });
}
