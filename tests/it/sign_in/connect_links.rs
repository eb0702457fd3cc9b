//! Connect links: one account each, by anyone who has the link.

use std::collections::BTreeMap;

use integ::connect::pending::follow_consent;
use integ::ops::connect_links::{self, OpenConnectLinkRequest};
use integ::ops::sign_ins::workspace_of_token;
use integ::view::connect_link::OpenedConnectLinkView;
use integ::view::sign_in::StartedSignInView;

use super::*;
use crate::harness::{Home, files, holds};

/// A home whose server has a public URL.
fn home() -> Home {
    let home = Home::new();
    home.ok("config set serve.public_url https://integ.example/base");
    home.ok("config set serve.return_origins https://app.example");
    home
}

/// Creates a link, and returns its secret.
fn create(home: &Home, words: &str) -> String {
    let url = home.ok(&format!("connect-link create {words}"));
    let secret = url.strip_prefix("https://integ.example/base/connect/").unwrap();
    assert_eq!(workspace_of_token(secret).unwrap().as_str(), "default");
    secret.to_owned()
}

fn open(secret: &str, values: &[(&str, &str)]) -> OpenConnectLinkRequest {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), Secret::from(*value)));
    OpenConnectLinkRequest { secret: Secret::from(secret), values: values.collect::<BTreeMap<_, _>>() }
}

/// Opens a link that leads to a page, and consents there.
async fn consented(node: &Workspace, secret: &str) -> String {
    match connect_links::open(node, open(secret, &[])).await.unwrap() {
        OpenedConnectLinkView::Started(StartedSignInView::Redirect { authorization_url, .. }) => {
            follow_consent(node, &Url::parse(&authorization_url).unwrap()).await.unwrap()
        }
        other => panic!("{other:?}"),
    }
}

fn status(home: &Home) -> String {
    home.json("connect-link list")["connect_links"][0]["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_link_connects_one_account_for_its_user() {
    let home = home();
    let secret = create(&home, "slack --user u_17 --sandbox --return-to https://app.example/done --popup");
    for (path, bytes) in files(home.path()) {
        assert!(!holds(&bytes, &secret), "{}", path.display());
    }
    run(async {
        let node = node(home.path());
        // Two people open it at once, and a preview of the link before them.
        connect_links::open(&node, open(&secret, &[])).await.unwrap();
        let (first, second) = (consented(&node, &secret).await, consented(&node, &secret).await);
        let denied = consented(&node, &secret).await;
        let denied = altered(&denied, "code", None) + "&error=access_denied";
        assert_eq!(failed(&finish(&node, &denied).await), "access_denied");
        assert_eq!(status(&home), "active", "nothing was connected");
        assert_eq!(connected(&finish(&node, &first).await), "slack@u_17");
        assert_eq!(failed(&finish(&node, &second).await), "connect_link_used");
        let refused = connect_links::open(&node, open(&secret, &[])).await.unwrap_err();
        assert_eq!(code(&refused), "connect_link_used");
    });
    assert_eq!(status(&home), "used");
    let connection = home.json("status")["connections"][0].clone();
    assert_eq!((connection["connection"].as_str(), connection["user"].as_str()), (Some("slack@u_17"), Some("u_17")));
}

#[test]
fn two_callbacks_of_one_link_at_once_connect_once() {
    let home = home();
    let secret = create(&home, "github --user u_17 --sandbox");
    run(async {
        let nodes = [node(home.path()), node(home.path())];
        let mut queries = Vec::new();
        for number in 0..8 {
            queries.push(consented(&nodes[number % 2], &secret).await);
        }
        let mut tasks = tokio::task::JoinSet::new();
        for (number, query) in queries.into_iter().enumerate() {
            let node = Arc::clone(&nodes[number % 2]);
            tasks.spawn(async move { finish(&node, &query).await });
        }
        let ended = tasks.join_all().await;
        let is_connected = |one: &&SignIn| matches!(one.result, Some(SignInResult::Connected(_)));
        assert_eq!(ended.iter().filter(is_connected).count(), 1);
        let others = ended.iter().filter(|one| !is_connected(one));
        assert!(others.map(failed).all(|code| code == "connect_link_used"));
    });
}

#[test]
fn a_link_for_a_key_asks_for_its_parts() {
    let home = home();
    let secret = create(&home, "stripe --user u_17");
    run(async {
        let node = node(home.path());
        let OpenedConnectLinkView::Form(form) = connect_links::open(&node, open(&secret, &[])).await.unwrap() else {
            panic!("it needs no key")
        };
        let (service, field) = (form.service.as_str(), &form.fields[0]);
        assert_eq!((service, form.fields.len(), field.is_secret, field.is_required), ("Stripe", 1, true, true));
        let name = field.name.clone();
        let wrong = connect_links::open(&node, open(&secret, &[(&name, "not a key\u{7}")])).await.unwrap_err();
        assert_eq!(code(&wrong), "invalid_key");
        let unknown = open(&secret, &[(&name, "sk_test_1"), ("origin", "https://evil.example")]);
        assert_eq!(code(&connect_links::open(&node, unknown).await.unwrap_err()), "unknown_param");
    });
    assert_eq!(status(&home), "active", "a wrong key uses nothing up");
}

#[test]
fn links_expire_and_can_be_revoked() {
    let home = home();
    for (words, error) in [
        ("slack --expires 8d", "invalid_lifetime"),
        ("slack --expires 10s", "invalid_lifetime"),
        ("nothing", "unknown_connector"),
        ("slack --auth nothing", "unknown_auth"),
        ("slack --return-to https://evil.example/", "return_not_allowed"),
    ] {
        let ran = home.run(&format!("connect-link create {words} --json"));
        assert_eq!(ran.error_code(), error, "{ran:?}");
    }
    let secret = create(&home, "slack --sandbox --expires 1h");
    run(async {
        let late = connect_links::open(&later(home.path(), 3601), open(&secret, &[])).await.unwrap_err();
        assert_eq!(code(&late), "connect_link_expired");
        let unknown = connect_links::open(&node(home.path()), open("x.default", &[])).await.unwrap_err();
        assert_eq!(code(&unknown), "unknown_connect_link");
        let node = node(home.path());
        let query = consented(&node, &secret).await;
        let id = home.json("connect-link list")["connect_links"][0]["connect_link"].as_str().unwrap().to_owned();
        assert_eq!(home.json(&format!("connect-link revoke {id}"))["was_active"], true);
        assert_eq!(refused(&node, &query).await, "unknown_state");
        let refused = connect_links::open(&node, open(&secret, &[])).await.unwrap_err();
        assert_eq!(code(&refused), "connect_link_used");
    });
    assert_eq!(home.run("connect-link revoke cnl_0011223344556677 --json").error_code(), "connect_link_not_found");
    assert_eq!(status(&home), "revoked");
    assert_eq!(home.json("status")["summary"]["total"], 0);
}
