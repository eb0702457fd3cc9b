//! The same at a certified OpenID provider that nobody here wrote.

use std::net::TcpListener;
use std::process::Command;

use super::*;
use crate::harness::{Home, Running, finish as end, has_program, needs, peers};
use crate::wire::Message;

/// A provider whose clients may return to the server's callback.
struct Provider {
    _server: Running,
    issuer: String,
}

fn provider() -> Option<Provider> {
    let is_ready =
        needs("node and tests/peers/node_modules", has_program("node") && peers().join("node_modules").is_dir())
            && needs("python3", has_program("python3"));
    if !is_ready {
        return None;
    }
    let mut command = Command::new("node");
    command
        .arg(peers().join("oidc-server.mjs"))
        .arg(r#"{"interactions":"page","redirectUris":["http://127.0.0.1/oauth/callback"]}"#);
    let mut server = Running::start(command);
    let issuer = server.event()["issuer"].as_str().unwrap().to_owned();
    Some(Provider { _server: server, issuer })
}

/// Consents with the scripted browser, and returns the query that it brings to the callback.
fn browse(home: &Home, listener: &TcpListener, authorization_url: &Url, mode: &str) -> String {
    let mut browser = Command::new("python3");
    browser
        .arg(peers().join("scripted-browser.py"))
        .arg(authorization_url.as_str())
        .env("MODE", mode)
        .current_dir(home.path());
    std::thread::scope(|scope| {
        let visit = scope.spawn(move || end(browser));
        let (mut stream, _) = listener.accept().unwrap();
        let message = Message::read(&stream).unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .unwrap();
        drop(stream);
        let ran = visit.join().unwrap();
        assert_eq!(ran.code, 0, "{ran:?}");
        message.request().1.split_once('?').unwrap().1.to_owned()
    })
}

#[test]
fn two_processes_share_a_sign_in_at_a_certified_provider() {
    let Some(provider) = provider() else { return };
    let home = Home::new();
    home.ok(&format!("app set oidc --client-id basic --client-secret-file secret --param issuer={}", {
        std::fs::write(home.path().join("secret"), "basic-secret").unwrap();
        &provider.issuer
    }));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let redirect_uri = Url::parse(&format!("http://{}/oauth/callback", listener.local_addr().unwrap())).unwrap();
    let request = ConnectRequest {
        connector: "oidc".to_owned(),
        params: [("issuer".to_owned(), provider.issuer.clone())].into(),
        ..ConnectRequest::default()
    };
    let begin = async || {
        let target = SignInTarget { redirect_uri: redirect_uri.clone(), ..target() };
        let started = pending::start(&node(home.path()), &request, &target).await.unwrap();
        let StartedSignIn::Redirect { authorization_url, .. } = started else { panic!("{started:?}") };
        authorization_url
    };
    run(async {
        // An answer of another server than the one that was asked (RFC 9207), and one without a word of who answers.
        for mode in ["wrong-iss", "no-iss"] {
            let query = browse(&home, &listener, &begin().await, mode);
            let mixed_up = finish(&node(home.path()), &query).await;
            assert_eq!(failed(&mixed_up), "issuer_mismatch", "{mode}");
            assert_eq!(refused(&node(home.path()), &query).await, "sign_in_used", "{mode}");
        }
        let query = browse(&home, &listener, &begin().await, "deny");
        assert_eq!(failed(&finish(&node(home.path()), &query).await), "access_denied");
        let query = browse(&home, &listener, &begin().await, "wrong-code");
        assert_eq!(failed(&finish(&node(home.path()), &query).await), "invalid_grant");
        let query = browse(&home, &listener, &begin().await, "wrong-state");
        assert_eq!(refused(&node(home.path()), &query).await, "unknown_state");
        let query = browse(&home, &listener, &begin().await, "allow");
        assert_eq!(connected(&finish(&node(home.path()), &query).await), "oidc");
    });
    let status = home.json("status")["connections"][0].clone();
    assert_eq!((status["status"].as_str(), status["account"]["id"].as_str()), (Some("active"), Some("alice")));
    home.ok("refresh oidc");
    assert_eq!(home.json("test")["tests"][0]["outcome"], "healthy");
}
