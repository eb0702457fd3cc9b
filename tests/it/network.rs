//! Requests that get no answer, with real sockets: each failure is one line that says what went wrong, and a hint that helps.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Home, Ran, finish, has_program, needs};

/// Calls an API at this base, with a key.
fn call(home: &Home, base: &str) -> Ran {
    let ran = home.run_with_input(&format!("connect api-key --with-token --param base={base}"), "key-of-the-test");
    // The connection is made, and its check says what is wrong.
    assert_eq!(ran.code, 0, "{ran:?}");
    home.run("api api-key /")
}

/// Asserts that an error is one line and its hint another.
fn assert_line(ran: &Ran, message: &str, hint: &str) {
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(lines[0].starts_with("error: ") && lines[0].contains(message), "{ran:?}");
    assert!(lines[1].starts_with("hint: ") && lines[1].contains(hint), "{ran:?}");
}

#[test]
fn a_name_that_does_not_exist_is_named() {
    let ran = call(&Home::new(), "https://no-such-host.invalid");
    assert_eq!(ran.code, 5, "{ran:?}");
    let is_offline = ran.stderr.contains("could not be looked up");
    let message = if is_offline { "its name could not be looked up" } else { "its name was not found" };
    assert_line(&ran, &format!("cannot reach no-such-host.invalid: {message}"), "curl -I https://no-such-host");
}

#[test]
fn a_port_where_nobody_listens_is_named() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ran = call(&Home::new(), &format!("http://127.0.0.1:{port}"));
    assert_eq!(ran.code, 5, "{ran:?}");
    assert_line(&ran, "cannot reach 127.0.0.1: it refused the connection", &format!("http://127.0.0.1:{port}"));
}

#[test]
fn a_server_that_does_not_answer_is_named_with_the_time() {
    // Connections wait in its queue.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::new();
    home.ok("config set http.timeout 1s");
    let ran = call(&home, &format!("http://127.0.0.1:{}", silent.local_addr().unwrap().port()));
    assert_eq!(ran.code, 5, "{ran:?}");
    assert_line(&ran, "127.0.0.1 did not answer within 1 s", "integ config set http.timeout");
}

#[test]
fn a_server_that_hangs_up_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let ran = call(&Home::new(), &format!("http://127.0.0.1:{port}"));
    assert_eq!(ran.code, 5, "{ran:?}");
    assert_line(&ran, "the connection to 127.0.0.1 broke before the answer was complete", "try again");
}

/// `openssl s_server` with a certificate of its own.
struct TlsServer {
    server: Child,
    port: u16,
}

impl TlsServer {
    /// Makes a certificate, by these further arguments of `openssl req`, and serves it. The files stay in the folder.
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut request = Command::new("openssl");
        request.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem"]);
        request.args(arguments).current_dir(folder);
        assert_eq!(finish(request).code, 0);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Command::new("openssl");
        server.args(["s_server", "-www", "-key", "key.pem", "-cert", "cert.pem", "-accept"]).arg(port.to_string());
        server.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = server.spawn().unwrap();
        // It prints `ACCEPT` once it listens.
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("ACCEPT")));
        std::thread::spawn(move || lines.for_each(drop));
        Self { server, port }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

const SUBJECT: &[&str] = &["-subj", "/CN=Server of a test", "-days", "2", "-addext"];

/// The certificate of a server, for this name.
fn with_name(name: &'static str) -> Vec<&'static str> {
    [SUBJECT, &[name, "-addext", "basicConstraints=critical,CA:FALSE"]].concat()
}

#[test]
fn a_certificate_as_openssl_makes_it_by_default_is_explained() {
    if !needs("openssl", has_program("openssl")) {
        return;
    }
    let home = Home::new().with("SSL_CERT_FILE", "cert.pem");
    let tls = TlsServer::start(home.path(), &[SUBJECT, &["subjectAltName=DNS:localhost"]].concat());
    let ran = call(&home, &format!("https://localhost:{}", tls.port));
    assert_line(&ran, "it is the certificate of an authority itself, which a server may not present", "curl -Iv");
}

#[test]
fn a_certificate_of_an_unknown_authority_is_named_with_what_to_set() {
    if !needs("openssl", has_program("openssl")) {
        return;
    }
    let home = Home::new();
    let tls = TlsServer::start(home.path(), &with_name("subjectAltName=DNS:localhost"));
    let ran = call(&home, &format!("https://localhost:{}", tls.port));
    assert_eq!(ran.code, 1, "{ran:?}");
    let message =
        "the certificate of localhost is not trusted: this machine does not know the authority that signed it";
    assert_line(&ran, message, "set SSL_CERT_FILE to a PEM file");
    // And what the hint says helps.
    let home = home.with("SSL_CERT_FILE", "cert.pem");
    assert_eq!(home.run("api api-key /").code, 0);
}

#[test]
fn a_certificate_for_another_name_is_named() {
    if !needs("openssl", has_program("openssl")) {
        return;
    }
    let home = Home::new().with("SSL_CERT_FILE", "cert.pem");
    let tls = TlsServer::start(home.path(), &with_name("subjectAltName=DNS:other.example"));
    let ran = call(&home, &format!("https://localhost:{}", tls.port));
    assert_line(&ran, "the certificate of localhost is not trusted: it was issued for another name", "curl -Iv");
}

#[test]
fn a_server_that_speaks_no_tls_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let started = Instant::now();
    let ran = call(&Home::new(), &format!("https://localhost:{port}"));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_line(&ran, "TLS handshake with localhost failed", "curl -Iv");
    assert!(started.elapsed() < Duration::from_secs(60));
}
