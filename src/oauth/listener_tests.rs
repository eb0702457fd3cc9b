//! The listener against the clients of any program on this machine.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::*;
use crate::oauth::outcome_page::SignInOutcome;
use crate::secret::Secret;

const STATE: &str = "the-state-of-this-flow";

fn expected() -> ExpectedCallback {
    ExpectedCallback { state: Secret::from(STATE), issuer: None, is_iss_required: false }
}

fn authorize() -> Url {
    Url::parse(&format!("https://as.example/authorize?state={STATE}")).unwrap()
}

fn page(reason: &str) -> OutcomePage {
    let outcome = SignInOutcome::Failed { reason: reason.to_owned(), hint: None };
    OutcomePage { service: "Service".to_owned(), is_sandbox: false, outcome }
}

fn run<T>(test: impl AsyncFnOnce(CallbackListener, u16) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let bound = BoundListener::bind(&Redirect::default(), &RedirectOptions::default()).unwrap();
        let port = Url::parse(bound.redirect_uri()).unwrap().port().unwrap();
        let listener = bound.listen(expected(), &authorize(), "code", false).unwrap();
        test(listener, port).await
    })
}

/// Sends bytes and reads until the peer closes or is silent for two seconds; nothing comes back from a port that is closed.
fn send(port: u16, request: &[u8]) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    // The peer may answer and close before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(port: u16, target: &str) -> String {
    send(port, format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").as_bytes())
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[test]
fn fault_033_only_the_loopback_address_is_bound() {
    let bound = BoundListener::bind(&Redirect::default(), &RedirectOptions::default()).unwrap();
    assert_eq!(bound.listeners.len(), 1);
    assert!(bound.listeners[0].local_addr().unwrap().ip().is_loopback());
    assert!(bound.redirect_uri().starts_with("http://127.0.0.1:"), "{}", bound.redirect_uri());
}

#[tokio::test]
async fn another_address_is_bound_where_the_user_names_one_and_hosts_and_state_are_checked_all_the_same() {
    let options = RedirectOptions { bind: Some(Ipv4Addr::UNSPECIFIED.into()), ..RedirectOptions::default() };
    let bound = BoundListener::bind(&Redirect::default(), &options).unwrap();
    assert!(bound.listeners[0].local_addr().unwrap().ip().is_unspecified());
    assert!(bound.redirect_uri().starts_with("http://127.0.0.1:"), "what the browser is sent to is published there");
    let port = Url::parse(bound.redirect_uri()).unwrap().port().unwrap();
    let listener = bound.listen(expected(), &authorize(), "code", false).unwrap();
    assert_eq!(listener.start_url().host_str(), Some("127.0.0.1"));
    tokio::task::spawn_blocking(move || {
        let foreign =
            format!("GET /callback?code=a&state={STATE} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        assert_eq!(status(&send(port, foreign.as_bytes())), 403);
        assert_eq!(status(&get(port, "/callback?code=a&state=wrong")), 400);
    })
    .await
    .unwrap();
}

#[test]
fn fault_034_a_foreign_host_is_refused() {
    run(async |_listener, port| {
        for host in ["evil.example", "127.0.0.1", "127.0.0.1:1", "", "localhost.evil.example"] {
            let request =
                format!("GET /callback?code=a&state={STATE} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            assert_eq!(status(&send(port, request.as_bytes())), 403, "{host}");
        }
    });
}

#[test]
fn fault_035_other_methods_and_paths_leave_the_flow_pending() {
    run(async |mut listener, port| {
        for (method, target, expected) in [
            ("POST", format!("/callback?code=a&state={STATE}"), 405),
            ("HEAD", format!("/callback?code=a&state={STATE}"), 405),
            ("GET", "/favicon.ico".to_owned(), 404),
            ("GET", "/".to_owned(), 404),
            ("GET", format!("//callback?code=a&state={STATE}"), 404),
        ] {
            let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
            assert_eq!(status(&send(port, request.as_bytes())), expected, "{method} {target}");
        }
        let (result, _) = listener.receive(Duration::from_millis(50)).await;
        assert!(matches!(result, Err(OAuthError::TimedOut { .. })));
    });
}

#[test]
fn fault_037_parameters_are_inert_and_the_page_is_locked_down() {
    run(async |_listener, port| {
        let answer = get(port, "/callback?code=%3Cscript%3Ealert(1)%3C/script%3E&state=%3Cb%3Ewrong&error=%3Ci%3E");
        assert_eq!(status(&answer), 400);
        for absent in ["<script", "<b>wrong", "<i>", STATE] {
            assert!(!answer.contains(absent), "{answer}");
        }
        for header in
            ["content-security-policy: default-src 'none'", "cache-control: no-store", "referrer-policy: no-referrer"]
        {
            assert!(answer.contains(header), "{answer}");
        }
    });
}

#[test]
fn fault_038_slow_clients_do_not_keep_the_callback_out() {
    run(async |mut listener, port| {
        let mut slow = Vec::new();
        for _ in 0..1000 {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(mut stream) => {
                    let _ = stream.write_all(b"GET /callback HTTP/1.1\r\nX-Slow: ");
                    slow.push(stream);
                }
                // The test's own limit of open files; what is open by now is slow enough.
                Err(_) => break,
            }
        }
        assert!(slow.len() > 300, "only {} slow clients", slow.len());
        slow.truncate(slow.len().min(900));
        let browser = std::thread::spawn(move || get(port, &format!("/callback?code=real&state={STATE}")));
        let (result, reply) = listener.receive(Duration::from_secs(5)).await;
        assert_eq!(result.unwrap().code.expose(), "real");
        reply.unwrap().send(page("It worked"));
        assert!(browser.join().unwrap().contains("It worked."));
    });
}

#[test]
fn fault_039_an_endless_head_is_refused() {
    run(async |_listener, port| {
        let long = "a".repeat(1024 * 1024);
        let line = send(port, format!("GET /callback?{long} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").as_bytes());
        let head = send(port, format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Long: {long}\r\n\r\n").as_bytes());
        // The peer closes with our bytes unread, which may reset the connection before the answer is read.
        for answer in [line, head] {
            assert!([0, 414, 431].contains(&status(&answer)), "{answer}");
        }
        let small = "a".repeat(20 * 1024);
        let head = send(port, format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Long: {small}").as_bytes());
        assert_eq!(status(&head), 431, "{head}");
    });
}

#[test]
fn fault_040_a_second_callback_changes_nothing() {
    run(async |mut listener, port| {
        let first = std::thread::spawn(move || get(port, &format!("/callback?code=first&state={STATE}")));
        let (result, reply) = listener.receive(Duration::from_secs(5)).await;
        assert_eq!(result.unwrap().code.expose(), "first");
        let second = std::thread::spawn(move || get(port, &format!("/callback?code=second&state={STATE}")));
        let third = std::thread::spawn(move || get(port, &format!("/callback?code=third&state={STATE}")));
        reply.unwrap().send(page("It is done"));
        assert!(first.join().unwrap().contains("It is done"));
        drop(listener);
        for late in [second, third] {
            assert!(!late.join().unwrap().contains("200 OK"));
        }
    });
}

#[test]
fn fault_042_the_port_closes_with_the_flow() {
    let port = run(async |listener, port| {
        drop(listener);
        tokio::time::sleep(Duration::from_millis(50)).await;
        port
    });
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn fault_041_a_taken_port_is_said_and_any_other_is_taken_where_none_must_be() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let options = RedirectOptions { port: Some(port), ..RedirectOptions::default() };
    assert!(matches!(BoundListener::bind(&Redirect::default(), &options), Err(OAuthError::Bind { .. })));
    BoundListener::bind(&Redirect::default(), &RedirectOptions::default()).unwrap();
}

#[test]
fn a_fragment_is_handed_over_by_a_script_that_the_policy_names() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let bound = BoundListener::bind(&Redirect::default(), &RedirectOptions::default()).unwrap();
        let port = Url::parse(bound.redirect_uri()).unwrap().port().unwrap();
        let mut listener = bound.listen(expected(), &authorize(), "token", true).unwrap();
        let answer = get(port, &format!("/callback?state={STATE}"));
        assert!(answer.contains("script-src 'sha256-") && answer.contains("location.hash"), "{answer}");
        std::thread::spawn(move || get(port, &format!("/callback?state={STATE}&token=abc")));
        let (result, _) = listener.receive(Duration::from_secs(5)).await;
        assert_eq!(result.unwrap().code.expose(), "abc");
    });
}

#[test]
fn a_redirect_uri_is_sent_as_it_was_typed_and_says_what_to_bind() {
    for (text, port, addresses) in [
        ("http://localhost:8910", Some(8910), ListenAddresses::Both),
        ("http://LocalHost/cb", Some(80), ListenAddresses::Both),
        ("http://127.0.0.1:1234/cb", Some(1234), ListenAddresses::Only("127.0.0.1".parse().unwrap())),
        ("http://[::1]:1234/cb", Some(1234), ListenAddresses::Only("::1".parse().unwrap())),
        ("https://localhost:8443/cb", None, ListenAddresses::Both),
        ("https://Tunnel.Example:443/cb", None, ListenAddresses::Both),
    ] {
        let uri: RedirectUri = text.parse().unwrap();
        assert_eq!((uri.to_string().as_str(), uri.port(), uri.addresses()), (text, port, addresses));
    }
}

#[test]
fn the_start_page_leads_to_the_vendor_once() {
    run(async |listener, port| {
        let start = listener.start_url().clone();
        assert_eq!((start.host_str(), start.port()), (Some("127.0.0.1"), Some(port)));
        assert!(!start.as_str().contains(STATE) && start.path().len() > 32, "{start}");
        let first = get(port, start.path());
        assert_eq!(status(&first), 302);
        for header in [&format!("location: {}", authorize()), "referrer-policy: no-referrer", "cache-control: no-store"]
        {
            assert!(first.contains(header), "{first}");
        }
        let again = get(port, start.path());
        assert!(status(&again) == 410 && !again.contains(STATE), "{again}");
        assert_eq!(status(&get(port, "/start/0123456789abcdef0123456789abcdef")), 404);
    });
}
