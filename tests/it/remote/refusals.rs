//! What a server refuses, a server that does not answer, and commands that need the store.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use super::{Elsewhere, Setup};
use crate::server::token;

#[test]
fn what_the_server_refuses_keeps_its_code_and_exit_code() {
    let setup = Setup::new(&["slack", "github"]);
    setup.home.ok("reveal slack never");
    for line in ["token slack", "exec slack -- true", "token slack --json", "token nothing", "token no-such@x --json"] {
        setup.same(line);
    }
    let reader = token(&setup.home, "reader", "--scope connections:read");
    let reader = Elsewhere::at(&setup.server.url, &reader);
    for line in ["token github", "exec github -- true", "call github", "api github /user"] {
        let refused = reader.run(&format!("{line} --json").replace("-- true --json", "--json -- true"));
        assert_eq!((refused.code, refused.error_code()), (2, "missing_scope".to_owned()), "{line}: {refused:?}");
    }
    assert_eq!(reader.run("status").code, 0);
    let limited = token(&setup.home, "limited", "--scope tokens:reveal --scope connections:read --connection github");
    let limited = Elsewhere::at(&setup.server.url, &limited);
    assert_eq!(limited.run("token github").stdout.trim(), setup.home.ok("token github"));
    let hidden = limited.run("token slack --json");
    assert_eq!((hidden.code, hidden.error_code()), (3, "unknown_connection".to_owned()), "{hidden:?}");
    let revoked = Elsewhere::at(&setup.server.url, "integ_nothing");
    let refused = revoked.run("status --json");
    assert_eq!((refused.code, refused.error_code()), (4, "invalid_token".to_owned()), "{refused:?}");
}

#[test]
fn the_audit_log_of_the_server_has_what_was_revealed() {
    let setup = Setup::new(&["slack", "twilio"]);
    assert_eq!(setup.elsewhere.run("exec slack twilio -- true").code, 0);
    assert_eq!(setup.elsewhere.run("token slack").code, 0);
    let lines = setup.home.ok("audit list --json");
    for (operation, connection) in [("token", "slack"), ("token", "twilio")] {
        let is_it = |line: &&str| {
            line.contains(&format!("\"operation\":\"{operation}\"")) && line.contains(&format!("\"{connection}\""))
        };
        assert!(lines.lines().any(|line| is_it(&line)), "{operation} of {connection}: {lines}");
    }
}

#[test]
fn a_server_needs_a_token_and_https() {
    let url = "https://integ.invalid";
    let missing = Elsewhere::new(&[("INTEG_SERVER", url)]).run("status --json");
    assert_eq!((missing.code, missing.error_code()), (4, "no_api_token".to_owned()), "{missing:?}");
    let odd = Elsewhere::at(url, "a b").run("status --json");
    assert_eq!((odd.code, odd.error_code()), (2, "invalid_api_token".to_owned()), "{odd:?}");
    for bad in ["http://integ.example.com", "https://u:p@integ.example.com", "ftp://x", "integ.example.com", ""] {
        let refused = Elsewhere::at(bad, "integ_x").run("status");
        assert!(refused.code == 2 && refused.stderr.contains("--server"), "{bad}: {refused:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "integ_x\n").unwrap();
    let named =
        Elsewhere::new(&[("INTEG_SERVER", "http://127.0.0.1:1"), ("INTEG_API_TOKEN_FILE", file.to_str().unwrap())]);
    let unreachable = named.run("status");
    assert_eq!(unreachable.code, 5, "{unreachable:?}");
    assert_eq!(
        unreachable.stderr.lines().next(),
        Some("error: cannot reach the server http://127.0.0.1:1: cannot reach 127.0.0.1: it refused the connection")
    );
    assert_eq!(named.run("status --json").error_code(), "network");
    let absent = Elsewhere::new(&[("INTEG_SERVER", url), ("INTEG_API_TOKEN_FILE", "/no/such/file")]).run("status");
    assert!(absent.code != 0 && absent.stderr.contains("/no/such/file"), "{absent:?}");
}

#[test]
fn all_other_commands_say_that_they_need_the_local_store() {
    let elsewhere = Elsewhere::at("https://integ.invalid", "integ_x");
    for line in [
        "sync",
        "connect slack",
        "webhook events",
        "refresh --all",
        "vault status",
        "workspace list",
        "serve",
        "api-token list",
        "export slack --to age1",
        "disconnect slack",
        "mcp serve --connection slack",
        "audit list",
    ] {
        let refused = elsewhere.run(line);
        assert_eq!(refused.code, 2, "{line}: {refused:?}");
        assert_eq!(
            refused.stderr,
            "error: this command works on the local store only, but INTEG_SERVER names a server\nhint: unset INTEG_SERVER\n",
            "{line}"
        );
    }
    let flag = Elsewhere::new(&[]).run("sync --server https://integ.invalid");
    assert!(flag.stderr.contains("--server names a server") && flag.stderr.contains("leave out --server"), "{flag:?}");
    for line in ["-w team status", "status --all-workspaces"] {
        let named = elsewhere.run(&format!("{line} --json"));
        assert_eq!((named.code, named.error_code()), (2, "workspace_of_token".to_owned()), "{line}: {named:?}");
    }
    let both = Elsewhere::new(&[
        ("INTEG_SERVER", "https://integ.invalid"),
        ("INTEG_API_TOKEN", "integ_x"),
        ("INTEG_TOKEN_GITHUB", "ghp_x"),
    ]);
    let both = both.run("status");
    assert!(both.code == 2 && both.stderr.contains("hint: unset INTEG_TOKEN_GITHUB"), "{both:?}");
    // What needs neither a store nor a server works.
    for line in ["--version", "help ci", "completions bash", "config path", "connector list"] {
        assert_eq!(elsewhere.run(line).code, 0, "{line}");
    }
}

/// Answers each request with one text, and sends what it read.
fn fake_server(answer: String) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut buffer = [0; 8192];
            let length = stream.read(&mut buffer).unwrap_or(0);
            let _ = stream.write_all(answer.as_bytes());
            if sender.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    (url, requests)
}

fn answer(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[test]
fn a_redirect_is_not_followed_with_the_token() {
    let (other, elsewhere_requests) = fake_server(answer("200 OK", "{}"));
    let (url, requests) =
        fake_server(answer(&format!("307 Temporary Redirect\r\nlocation: {other}/v1/status"), "moved"));
    let ran = Elsewhere::at(&url, "integ_secret").run("status --json");
    assert_eq!((ran.code, ran.error_code()), (1, "unexpected_answer".to_owned()), "{ran:?}");
    assert!(ran.stderr.contains("redirects are not followed"), "{ran:?}");
    assert!(requests.recv().unwrap().to_lowercase().contains("authorization: bearer integ_secret"));
    assert!(elsewhere_requests.try_recv().is_err(), "the redirect was followed");
}

#[test]
fn answers_that_are_none_of_a_server_are_said_to_be_so() {
    let problem = r#"{"type":"about:blank","title":"X","status":503,"detail":"it is \u001b[2J down","code":"Bad Code!","kind":"vault"}"#;
    for (reply, code, error) in [
        (answer("502 Bad Gateway", "<html>"), 5, "server_unavailable"),
        (answer("404 Not Found", "<html>"), 1, "unexpected_answer"),
        (answer("200 OK", "<html>"), 1, "unexpected_answer"),
        (answer("200 OK", "{}"), 1, "unexpected_answer"),
        (answer("400 Bad Request", "{}"), 1, "unexpected_answer"),
        (answer("503 Service Unavailable", problem), 7, "unknown"),
    ] {
        let (url, _requests) = fake_server(reply.clone());
        let ran = Elsewhere::at(&url, "integ_x").run("status --json");
        assert_eq!((ran.code, ran.error_code()), (code, error.to_owned()), "{reply}: {ran:?}");
        assert!(!ran.stderr.contains('\u{1b}'), "{ran:?}");
    }
    let large = answer("200 OK", &format!("\"{}\"", "x".repeat(17 << 20)));
    let (url, _requests) = fake_server(large);
    let ran = Elsewhere::at(&url, "integ_x").run("status --json");
    assert_eq!((ran.code, ran.error_code()), (1, "answer_too_large".to_owned()), "{:?}", ran.stderr);
}
