//! The server behind a reverse proxy: a path of the proxy's, and the addresses that it forwards. The proxy is nginx.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::{Server, expect, home, token};
use crate::harness::{Home, Running, has_program, needs};

/// A free port of this machine.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An nginx in front of a server. It ends with this value.
struct Nginx {
    _running: Running,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it with a location that passes `/integ/` on.
    fn start(port: u16, location: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let config = format!(
            "daemon off; master_process off; pid {path}/pid; error_log stderr;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;\n\
             fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
             server {{ listen 127.0.0.1:{port}; location /integ/ {{ {location} }} }} }}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
        let running = Running::start(command);
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen");
            std::thread::yield_now();
        }
        Self { _running: running, _folder: folder }
    }
}

/// A server below `/integ` of an nginx, which passes the path on as it is or without its own part.
fn behind_nginx(home: &Home, is_stripped: bool) -> (Server, Nginx, Client) {
    let (port, server_port) = (free_port(), free_port());
    home.ok("config set serve.trusted_proxies 127.0.0.1");
    let words = format!("--public-url http://127.0.0.1:{port}/integ");
    let server = Server::start_at(home, &format!("127.0.0.1:{server_port}"), &words);
    let slash = if is_stripped { "/" } else { "" };
    let location = format!(
        "proxy_pass http://127.0.0.1:{server_port}{slash}; proxy_set_header Host $http_host;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;"
    );
    let nginx = Nginx::start(port, &location);
    (server, nginx, Client::new(&format!("http://127.0.0.1:{port}"), None))
}

fn path_of(url: &str) -> String {
    format!("/{}", url.splitn(4, '/').nth(3).unwrap_or_default())
}

/// Pages, API, sign-in, sandbox and webhooks below the path of a proxy, which removes it or not.
#[test]
fn everything_works_below_a_path_of_nginx() {
    if !needs("nginx", has_program("nginx")) {
        return;
    }
    for is_stripped in [true, false] {
        let home = home(&["stripe"]);
        let token = token(&home, "test", "--scope admin:* --scope tokens:reveal --tier enterprise");
        let (_server, _nginx, browser) = behind_nginx(&home, is_stripped);
        let authority = browser.authority().to_owned();
        let api = Client::new(&format!("http://{authority}"), Some(&token));

        expect(&browser.get("/integ/v1/health/ready"), 200);
        let docs = browser.get("/integ/docs");
        assert!(String::from_utf8(docs.body).unwrap().contains("href=\"openapi.json\""));
        let openapi = expect(&browser.get("/integ/openapi.json"), 200);
        assert_eq!(openapi["servers"], json!([{ "url": "/integ" }]));
        assert_eq!(expect(&api.get("/integ/v1/status"), 200)["total"], 1);
        let added = api.post("/integ/v1/endpoints", &json!({ "url": "https://example.com/hook" }));
        assert_eq!(added.status, 201, "{added:?}");
        let location = added.header("location").unwrap().to_owned();
        assert!(location.starts_with("/integ/v1/endpoints/"), "{location}");
        expect(&api.get(&location), 200);

        let link = api.post("/integ/v1/connect-links", &json!({ "connector": "slack", "is_sandbox": true }));
        let url = expect(&link, 201)["url"].as_str().unwrap().to_owned();
        assert!(url.starts_with(&format!("http://{authority}/integ/connect/")), "{url}");
        let opened = browser.get(&path_of(&url));
        assert_eq!(opened.status, 303, "{opened:?}");
        let page = opened.header("location").unwrap().to_owned();
        assert!(page.starts_with(&format!("http://{authority}/integ/sandbox/")), "{page}");
        let consent = browser.get(&path_of(&page));
        assert!(String::from_utf8(consent.body).unwrap().contains("Allow access to Slack?"));
        let allowed = browser.get(&format!("{}&sandbox_decision=allow", path_of(&page)));
        let callback = allowed.header("location").unwrap().to_owned();
        assert!(path_of(&callback).starts_with("/integ/oauth/callback?"), "{callback}");
        let done = browser.get(&path_of(&callback));
        assert!(String::from_utf8(done.body).unwrap().contains("slack is connected"), "{}", done.status);

        let webhook = expect(&api.get("/integ/v1/connections/stripe/webhook"), 200)["url"].as_str().unwrap().to_owned();
        let sent = home.run(&format!("webhook simulate stripe charge.refunded --to {webhook}"));
        assert_eq!(sent.code, 0, "{webhook}: {sent:?}");
        // The command line uses it as well.
        let elsewhere = crate::remote::Elsewhere::at(&format!("http://{authority}/integ"), &token);
        assert_eq!(elsewhere.run("token slack").stdout.trim(), home.ok("token slack"));
    }
}

/// The source of each entry of the audit log for an operation.
fn sources(home: &Home, operation: &str) -> Vec<String> {
    let lines = home.ok(&format!("audit list --operation {operation} --json --limit 1000"));
    let entries = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.map(|entry| entry["source"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The audit log and the limits by address know the caller and not the proxy, and nobody else is believed.
#[test]
fn the_callers_address_is_the_one_that_nginx_saw() {
    if !needs("nginx", has_program("nginx")) {
        return;
    }
    let home = home(&["slack"]);
    let token = token(&home, "test", "--scope admin:* --scope tokens:reveal --tier enterprise");
    let (server, _nginx, browser) = behind_nginx(&home, true);
    let api = Client::new(&format!("http://{}", browser.authority()), Some(&token));
    let test = |client: &Client, path: &str, headers: &[(&str, &str)]| {
        expect(&client.send("POST", path, headers, Some(&json!({}))), 200);
    };
    // What the caller writes is left of what nginx appends; here both are on this machine, which is trusted.
    test(&api, "/integ/v1/connections/slack/token", &[("x-forwarded-for", "198.51.100.7")]);
    test(&api, "/integ/v1/connections/slack/token", &[("x-forwarded-for", "203.0.113.1, 198.51.100.8")]);
    test(
        &api,
        "/integ/v1/connections/slack/token",
        &[("x-forwarded-for", "198.51.100.9"), ("forwarded", "for=192.0.2.1")],
    );
    test(&server.client(&token), "/v1/connections/slack/token", &[]);
    assert_eq!(sources(&home, "token"), ["127.0.0.1", "127.0.0.1", "198.51.100.8", "198.51.100.7"]);
    // Each caller has a limit of its own for exchanges of identity tokens.
    let exchange = |source: &str| {
        let body = json!({ "token": "x" });
        browser.send("POST", "/integ/v1/api-token-exchanges", &[("x-forwarded-for", source)], Some(&body)).status
    };
    let statuses: Vec<u16> = (0..31).map(|_| exchange("198.51.100.7")).collect();
    assert_eq!((statuses[29], statuses[30], exchange("198.51.100.8")), (401, 429, 401), "{statuses:?}");
    let foreign = [("host", browser.authority()), ("x-forwarded-host", "evil.example")];
    let refused = server.client(&token).send("GET", "/v1/status", &foreign, None);
    assert_eq!((refused.status, refused.code()), (403, "foreign_host"), "{refused:?}");
}

#[test]
fn without_trusted_proxies_no_header_is_believed() {
    let home = home(&["slack"]);
    let token = token(&home, "test", "--scope tokens:reveal");
    let server = Server::start(&home, "");
    let headers =
        [("x-forwarded-for", "198.51.100.7"), ("forwarded", "for=198.51.100.7"), ("x-forwarded-host", "a.example")];
    expect(&server.client(&token).send("POST", "/v1/connections/slack/token", &headers, Some(&json!({}))), 200);
    assert_eq!(sources(&home, "token"), ["127.0.0.1"]);
}
