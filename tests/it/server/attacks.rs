//! The attacks of `crate::attack` through `integ serve`: what a caller of the API, a sender of webhooks, or a second user of
//! the machine must not achieve. The names carry the numbers of the same review.

use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use url::Url;

use super::client::{Client, Reply};
use super::rights::operations;
use super::{Server, expect, home, token};
use crate::attack::clocks::{at, faketime};
use crate::attack::connectors::Trap;
use crate::attack::proofs::{PayPal, forged, handled, replays, unproven, wait_for};
use crate::fake::FakeProvider;
use crate::flow::connected;
use crate::harness::{Home, finish};
use crate::webhook::{Maker, events, post};

const EVERYTHING: &str = "--scope admin:* --scope tokens:reveal --tier enterprise";

fn client(home: &Home, server: &Server) -> Client {
    server.client(&token(home, "test", EVERYTHING))
}

/// Whether the reply is a client error (4xx).
fn is_refused(reply: &Reply) -> bool {
    (400..500).contains(&reply.status)
}

/// Where the server receives the webhooks of a connection.
fn webhook_url(home: &Home, server: &Server, connection: &str) -> Url {
    let local: Url = home.json(&format!("webhook url {connection}"))["local_url"].as_str().unwrap().parse().unwrap();
    let mut url: Url = server.url.parse().unwrap();
    url.set_path(local.path());
    url
}

/// B1: a value of a request is a value. No path in it is opened, by whichever parameter it comes.
#[test]
fn attack_b1_no_value_of_a_request_names_a_local_file() {
    let home = home(&["google-drive", "github"]);
    let marker = "CONTENT-OF-A-LOCAL-FILE";
    let file = home.path().join("secret.txt");
    std::fs::write(&file, marker).unwrap();
    let server = Server::start(&home, "");
    let api = client(&home, &server);
    let path = file.display().to_string();
    let mut replies = Vec::new();
    for value in [path.clone(), format!("@{path}"), "@secret.txt".to_owned(), format!("file://{path}"), "@-".to_owned()]
    {
        let upload = json!({ "input": { "file": value, "name": value } });
        for route in ["actions", "action-previews"] {
            replies.push(api.post(&format!("/v1/connections/google-drive/{route}/files.upload"), &upload));
        }
        let issue = json!({ "input": { "owner": "o", "repo": "r", "title": value, "body": value } });
        replies.push(api.post("/v1/connections/github/action-previews/issues.create", &issue));
        replies.push(api.post("/v1/connections/github/subscriptions", &json!({ "events": [value] })));
        let request = json!({ "path": "/user", "method": "POST", "fields": { "a": value }, "body": value });
        replies.push(api.post("/v1/connections/github/request", &request));
        replies.push(api.post("/v1/messages", &json!({ "type": "a.b", "data": value })));
        replies.push(api.post("/v1/audit-verifications", &json!({ "checkpoint": value })));
        replies.push(api.post("/v1/connector-validations", &json!({ "id": "x", "text": value })));
        let key = json!({ "connector": "stripe", "account": "key", "keys": { "key": value }, "is_sandbox": true });
        replies.push(api.post("/v1/connections", &key));
    }
    for reply in replies {
        let text = String::from_utf8_lossy(&reply.body);
        assert!(!text.contains(marker) && reply.status < 500, "{reply:?}");
    }
    let created = expect(&api.post("/v1/connections/google-drive/request", &json!({ "path": "/files" })), 200);
    assert!(!created.to_string().contains(marker), "the emulated service was sent the file");
}

/// B2, B3, M2, M7, M11: what runs programs, restores backups, installs files or names local paths is the owner's.
#[test]
fn attack_b2_b3_the_api_has_no_operation_of_the_machines() {
    let home = home(&[]);
    let server = Server::start(&home, "");
    let openapi = expect(&Client::new(&server.url, None).get("/openapi.json"), 200);
    let items = openapi["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let routed: Vec<&str> = items.map(|operation| operation["x-integ-operation"].as_str().unwrap()).collect();
    assert!(routed.len() > 70, "{routed:?}");
    let local = [
        "exec",
        "git-credential",
        "vault",
        "sandbox",
        "config",
        "bundle",
        "export",
        "mcp proxy",
        "mcp install",
        "connect",
        "reconnect",
        "app set",
        "workspace",
        "api-token trust",
        "webhook listen",
        "webhook replay",
        "completions",
        "man",
    ];
    for name in &routed {
        let names_it = |one: &&str| name == one || (name.starts_with(one) && name[one.len()..].starts_with(' '));
        let is_allowed = matches!(*name, "connect start" | "connect show");
        assert!(is_allowed || !local.iter().any(names_it), "{name}");
    }
}

/// B4: a sign-in that the API starts returns to the server; no port of this machine waits for it.
#[test]
fn attack_b4_a_sign_in_over_http_opens_no_loopback_port() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let server = Server::start(&home, "");
    let api = client(&home, &server);
    let started = expect(&api.post("/v1/connections", &json!({ "reconnect": "fake" })), 201);
    let url: Url = started["authorization_url"].as_str().unwrap().parse().unwrap();
    let redirect = url.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
    assert!(redirect.starts_with(&server.url), "{redirect}");
    assert!(TcpStream::connect("127.0.0.1:8910").is_err() && TcpStream::connect("[::1]:8910").is_err());
}

/// M6: a callback with a `state` that this server did not give, or with another's code, connects nothing.
#[test]
fn attack_m6_a_callback_without_its_sign_in_connects_nothing() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let before = home.ok("token fake");
    let server = Server::start(&home, "");
    let api = client(&home, &server);
    let started = expect(&api.post("/v1/connections", &json!({ "reconnect": "fake" })), 201);
    let url: Url = started["authorization_url"].as_str().unwrap().parse().unwrap();
    let redirect: Url = url.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.parse().unwrap();
    for state in ["", "0", "guessed-guessed-guessed-guessed-guessed-guess"] {
        let reply = api.get(&format!("{}?code=mallory&state={state}", redirect.path()));
        assert!(is_refused(&reply), "{reply:?}");
    }
    assert_eq!(home.ok("token fake"), before);
    assert_eq!(home.json("status")["summary"]["total"], 1);
}

/// M1: a caller's hosts are public ones, in every place where a caller can name one.
#[test]
fn attack_m1_no_request_reaches_this_machine_or_its_network() {
    let home = home(&["github", "stripe"]);
    let trap = Trap::set();
    let server = Server::start(&home, "");
    let api = client(&home, &server);
    let port = trap.port;
    let hosts = [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "169.254.169.254",
        "192.168.1.1",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "a.localhost",
        "[64:ff9b::7f00:1]",
    ];
    for host in hosts {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}:{port}/x");
            let endpoint = api.post("/v1/endpoints", &json!({ "url": url }));
            // A name is judged when it is resolved, at each attempt.
            if endpoint.status == 201 && host.ends_with("localhost") {
                let id = expect(&endpoint, 201)["endpoint"].as_str().unwrap().to_owned();
                api.post("/v1/messages", &json!({ "type": "a.b", "data": {} }));
                api.delete(&format!("/v1/endpoints/{id}"));
            } else {
                assert_eq!(endpoint.status, 400, "{url}: {endpoint:?}");
            }
            let mcp = api.post("/v1/connections", &json!({ "url": url }));
            assert!(is_refused(&mcp), "{url}: {mcp:?}");
            let issuer = json!({ "connector": "oidc", "params": { "issuer": url } });
            assert!(is_refused(&api.post("/v1/connections", &issuer)), "{url}");
            // The address of an API is stored as it is given, and refused when it is used.
            let key =
                json!({ "connector": "api-key", "account": "trap", "keys": { "key": "k" }, "params": { "base": url } });
            if api.post("/v1/connections", &key).status == 201 {
                let used = api.post("/v1/connections/api-key@trap/request", &json!({ "path": "/x" }));
                assert!(used.status >= 400, "{url}: {used:?}");
                expect(&api.delete("/v1/connections/api-key@trap?local=true"), 200);
            }
            let returned = json!({ "reconnect": "github", "return_to": url });
            assert!(is_refused(&api.post("/v1/connections", &returned)), "{url}");
            let request = api.post("/v1/connections/github/request", &json!({ "path": url }));
            assert!(is_refused(&request), "a credential is for its service's hosts: {url}: {request:?}");
        }
    }
    for path in ["//127.0.0.1/x", "https://api.github.com@127.0.0.1/x", "https://api.github.com.evil.example/x"] {
        let request = api.post("/v1/connections/github/request", &json!({ "path": path }));
        assert!(is_refused(&request), "{path}: {request:?}");
    }
    // No request can set what only the owner chooses.
    for member in ["origin", "client_id", "client_secret", "redirect_uri", "files", "port"] {
        let reply = api.post("/v1/connections", &json!({ "connector": "slack", member: "x" }));
        assert_eq!((reply.status, reply.code()), (400, "invalid_body"), "{member}");
    }
    assert_eq!(trap.hits(), 0, "a request reached this machine");
    assert_eq!(expect(&api.get("/v1/endpoints"), 200)["data"], json!([]), "nothing of it was stored");
    assert_eq!(home.json("status")["summary"]["total"], 2);
}

/// A value that holds the end of a line makes no further header, to a service or from the server.
#[test]
fn attack_header_injection_no_value_makes_a_second_header() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let server = Server::start(&home, "");
    let api = client(&home, &server);
    let evil = "x\r\nx-evil: 1\r\n\r\nGET /evil HTTP/1.1";
    for request in [
        json!({ "path": format!("/me{evil}") }),
        json!({ "path": "/me", "headers": { "x-own": evil } }),
        json!({ "path": "/me", "headers": { evil: "1" } }),
        json!({ "path": "/me", "idempotency_key": evil, "method": "POST" }),
        json!({ "path": "/me", "headers": { "host": "evil.example" } }),
    ] {
        let reply = api.post("/v1/connections/fake/request", &request);
        assert!(reply.status < 500, "{request}: {reply:?}");
    }
    let state = provider.state();
    for asked in &state.asked {
        assert_eq!(asked.header("x-evil"), None, "{asked:?}");
        assert!(!asked.request().1.starts_with("/evil"), "{asked:?}");
        assert_ne!(asked.header("host"), Some("evil.example"), "{asked:?}");
    }
    drop(state);
    for path in
        ["/v1/connections/a%0d%0ax-evil:%201", "/v1/events/%0d%0ax-evil:%201", "/v1/links?cursor=%0d%0ax-evil:%201"]
    {
        let reply = api.get(path);
        assert!(is_refused(&reply) && reply.header("x-evil").is_none(), "{path}: {reply:?}");
    }
    let message = json!({ "type": "a.b", "id": "x\r\nx-evil: 1", "data": {} });
    let sent = api.post("/v1/messages", &message);
    assert!(sent.header("x-evil").is_none() && sent.status < 500, "{sent:?}");
}

/// The corpus of hostile files, as texts to validate: each is judged as on the command line, and delays nobody.
#[test]
fn attack_hostile_files_are_judged_over_http_and_hold_up_nobody() {
    let home = home(&[]);
    let trap = Trap::set();
    let server = Server::start(&home, "");
    let api = client(&home, &server);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/connectors/hostile");
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap().replace("PORT", &trap.port.to_string());
        let said = text.lines().find_map(|line| line.strip_prefix("# outcome: ")).unwrap().to_owned();
        let id = text.lines().find_map(|line| line.strip_prefix("id = \"")).unwrap().trim_end_matches('"').to_owned();
        let reply = std::thread::scope(|scope| {
            let validating = scope.spawn(|| api.post("/v1/connector-validations", &json!({ "id": id, "text": text })));
            while !validating.is_finished() {
                let began = Instant::now();
                assert_eq!(api.get("/v1/health/live").status, 200);
                assert!(began.elapsed() < Duration::from_secs(3), "{said}: others waited {:?}", began.elapsed());
            }
            validating.join().unwrap()
        });
        let shown = expect(&reply, 200).to_string();
        assert!(said == "valid" || shown.contains(&said), "{said:?} is not in {shown}");
        assert!(!reply.body.contains(&0x1b), "{shown}");
        checked += 1;
    }
    assert!(checked >= 45, "{checked}");
    assert_eq!(trap.hits(), 0);
    assert_eq!(expect(&api.get("/v1/connectors?limit=1000"), 200).to_string().matches("\"evil\"").count(), 0);
}

/// M4: a captured request is one event, under whatever id it comes again.
#[test]
fn attack_m4_a_captured_request_is_one_event_at_the_server() {
    let home = home(&["github"]);
    let server = Server::start(&home, "");
    let api = client(&home, &server);
    let url = webhook_url(&home, &server, "github");
    let original = Maker::of(&home, "github").make("push", &url, "0123456789abcdef0123456789abcdef");
    assert_eq!(post(&url, &original), Some(200));
    for replay in replays(&original, "X-GitHub-Delivery", Some(("X-GitHub-Event", "repository_dispatch"))) {
        assert_eq!(post(&url, &replay), Some(200), "what is known is answered as the first time");
    }
    let listed = expect(&api.get("/v1/events?limit=1000"), 200);
    let kinds: Vec<&Value> = listed["data"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["push"]);
}

/// M3: a signature that covers a checksum alone proves no body.
#[test]
fn attack_m3_a_body_of_the_same_crc_is_no_verified_event_at_the_server() {
    let paypal = PayPal::connected();
    let server = Server::start(&paypal.home, "--append handled");
    let api = client(&paypal.home, &server);
    let file = paypal.home.path().join("handled");
    let url = webhook_url(&paypal.home, &server, "paypal");
    let captured = paypal.genuine(&url, "0123456789abcdef0123456789abcdef");
    assert_eq!(post(&url, &captured), Some(200));
    wait_for("the genuine event is handled", || !handled(&file).is_empty());
    assert_eq!(post(&url, &forged(&captured, "WH-FORGED-EVENT-0001")), Some(200));
    let other = paypal.signed(&url, "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
    assert_eq!(post(&url, &forged(&other, "WH-FORGED-EVENT-0002")), Some(200), "taken down, and asked about");
    wait_for("PayPal's no is recorded", || {
        let listed = expect(&api.get("/v1/events?status=dead"), 200);
        !listed["data"].as_array().unwrap().is_empty()
    });
    let lines = handled(&file);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_ne!(lines[0]["payload"]["resource"]["amount"]["value"], "1000000.00");
    let verified = events(&paypal.home, "paypal").iter().filter(|event| event["verified"] == true).count();
    assert_eq!(verified, 1);
}

/// M5: senders that prove nothing keep neither genuine ones nor callers of the API waiting.
#[test]
fn attack_m5_slow_certificates_delay_neither_webhooks_nor_the_api() {
    let paypal = PayPal::connected();
    let server = Server::start(&paypal.home, "");
    let api = client(&paypal.home, &server);
    let url = webhook_url(&paypal.home, &server, "paypal");
    let genuine = paypal.genuine(&url, "0123456789abcdef0123456789abcdef");
    std::thread::scope(|scope| {
        let flood: Vec<_> = (0..8)
            .map(|number| {
                let (url, forged) = (&url, unproven(&genuine, number, 1024 * 1024 - 16));
                scope.spawn(move || post(url, &forged))
            })
            .collect();
        let began = Instant::now();
        assert_eq!(post(&url, &genuine), Some(200));
        expect(&api.get("/v1/connections"), 200);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(3), "genuine requests waited {took:?} for certificates of others");
        for forged in flood {
            assert_eq!(forged.join().unwrap(), Some(401));
        }
    });
}

/// M7: a project's file of a stranger names no connection of a server that is started beside it.
#[test]
fn attack_m7_a_projects_file_gives_no_name_over_http() {
    let home = home(&["slack", "stripe"]);
    std::fs::write(home.path().join(".integ.toml"), "[connections]\nslack = \"stripe\"\nmine = \"stripe\"\n").unwrap();
    // A file that takes the place of a connection is refused, or its names are not known over HTTP.
    let mut command = home.command(["serve", "--bind", "127.0.0.1:0", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line).unwrap();
    if let Ok(started) = serde_json::from_str::<Value>(&line) {
        std::fs::remove_file(home.path().join(".integ.toml")).unwrap();
        let text = token(&home, "test", EVERYTHING);
        let api = Client::new(started["url"].as_str().unwrap(), Some(&text));
        assert_eq!(expect(&api.get("/v1/connections/slack"), 200)["connector"], "slack");
        assert_eq!(api.get("/v1/connections/mine").status, 404);
        let slack = expect(&api.post("/v1/connections/slack/token", &json!({})), 200);
        assert_eq!(slack["token"].as_str().unwrap(), home.ok("token slack").trim());
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// M8: files that others can write are not trusted, at the start and while the server runs.
#[test]
fn attack_m8_files_that_others_can_write_are_not_used() {
    let home = home(&["slack"]);
    let mode = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let config = home.path().join("config.toml");
    std::fs::write(&config, "[serve]\nbind = \"127.0.0.1:0\"\n").unwrap();
    mode(&config, 0o666);
    let refused = home.run("serve");
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains("config.toml"), "{refused:?}");
    mode(&config, 0o600);
    let server = Server::start(&home, "");
    let api = client(&home, &server);
    // A connector that takes the place of a built-in one, in a folder that is everybody's.
    let toml = "id = \"slack\"\nname = \"Slack\"\ncategory = \"communication\"\ndescription = \"x\"\n\
                docs = \"https://x.example\"\n[api]\nbase = \"https://slack.evil.example\"\n[auth.bot]\nlabel = \"x\"\n\
                [auth.bot.fields.token]\nprompt = \"x\"\n";
    home.install("slack", toml);
    let pin = json!({ "id": "slack", "source": "https://slack.com", "sha256": "0".repeat(64),
        "replaces_built_in": true, "installed_at": "2026-01-01T00:00:00Z" });
    std::fs::write(home.path().join("connectors/slack.pin.json"), pin.to_string()).unwrap();
    mode(&home.path().join("connectors"), 0o777);
    let reply = api.post("/v1/connections/slack/request", &json!({ "path": "/api.test" }));
    assert_ne!(reply.status, 200, "{reply:?}");
    assert!(!String::from_utf8_lossy(&reply.body).contains("evil.example"), "{reply:?}");
}

/// M9: a token that was issued under a fast clock is not served for ten years.
#[test]
fn attack_m9_a_token_of_a_fast_clock_is_refreshed_over_http() {
    let Some(library) = faketime() else { return };
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let ran = finish(at(&home, &library, "+3650d", "refresh fake"));
    assert_eq!(ran.code, 0, "{ran:?}");
    let before = provider.state().given.last().cloned().unwrap();
    let server = Server::start(&home, "");
    let api = client(&home, &server);
    let revealed = expect(&api.post("/v1/connections/fake/token", &json!({})), 200);
    assert_ne!(revealed["token"], before.as_str());
    assert!(revealed["expires_in"].as_i64().is_none_or(|left| left <= 3600), "{revealed}");
    assert_eq!(provider.state().doubles(), Vec::<&String>::new());
}

/// M10: nothing that a caller or a service says steers the terminal in which the server runs.
#[test]
fn attack_m10_no_request_steers_the_terminal_of_the_server() {
    let home = home(&["slack"]);
    let text = token(&home, "test", EVERYTHING);
    let mut command = home.command(["-v", "serve", "--bind", "127.0.0.1:0", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    let url = serde_json::from_str::<Value>(&line).unwrap()["url"].as_str().unwrap().to_owned();
    let api = Client::new(&url, Some(&text));
    let owned = "%1b]0;OWNED%07%e2%80%ae";
    for path in [
        format!("/v1/connections/{owned}"),
        format!("/v1/{owned}"),
        format!("/webhooks/{owned}/{owned}"),
        format!("/v1/links?cursor={owned}"),
        format!("/v1/connections?connector={owned}"),
    ] {
        let reply = api.get(&path);
        assert!(!reply.body.contains(&0x1b), "{path}: {reply:?}");
    }
    let name = "\u{1b}]0;OWNED\u{7}\u{202e}";
    api.post("/v1/connections/slack/request", &json!({ "path": format!("/{name}"), "headers": { name: name } }));
    api.post("/v1/messages", &json!({ "type": name, "data": name }));
    api.post("/v1/connector-validations", &json!({ "id": name, "text": name }));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut printed = Vec::new();
    child.stderr.take().unwrap().read_to_end(&mut printed).unwrap();
    stdout.read_to_end(&mut printed).unwrap();
    child.wait().unwrap();
    let shown = String::from_utf8(printed).unwrap();
    let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!shown.contains(steers), "{shown:?}");
}

/// M12: an answer that arrived while the server was stopped is read, and the grant is not lost.
#[test]
fn attack_m12_a_server_that_was_stopped_reads_the_answer_that_came_meanwhile() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    home.ok("config set http.timeout 3s");
    let server = Server::start(&home, "");
    let api = client(&home, &server);
    provider.state().latency = Duration::from_millis(1000);
    let pid = Pid::from_child(&server.running.child);
    let reply = std::thread::scope(|scope| {
        let refreshing = scope.spawn(|| api.send("POST", "/v1/connections/fake/refresh", &[], None));
        provider.until("the grant is presented", |state| state.refreshes() == 1);
        kill_process(pid, Signal::STOP).unwrap();
        provider.until("it is answered", |state| state.delivered.len() == state.given.len());
        // Longer than the server waits for an answer while it runs.
        std::thread::sleep(Duration::from_secs(5));
        kill_process(pid, Signal::CONT).unwrap();
        refreshing.join().unwrap()
    });
    assert_eq!(expect(&reply, 200)["refreshed"][0]["outcome"], "refreshed");
    assert_eq!(Some(home.ok("token fake")), provider.state().given.last().cloned());
    assert_eq!(provider.state().doubles(), Vec::<&String>::new());
}

/// The minor ones that have a counterpart over HTTP: huge values, deep JSON, and what no list may be asked for.
#[test]
fn attack_minor_deep_large_and_odd_documents_are_refused() {
    let home = home(&["slack"]);
    let server = Server::start(&home, "");
    let api = client(&home, &server);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bomb = format!("{{\"type\":\"a.b\",\"data\":{deep}}}");
    let large = format!("{{\"type\":\"a.b\",\"data\":\"{}\"}}", "x".repeat(900 * 1024));
    let twice = r#"{"type":"a.b","type":"c.d","data":1}"#;
    for (body, accepted) in [(bomb, false), (large, true), (twice.to_owned(), false), ("\u{feff}{}".to_owned(), false)]
    {
        let reply = api.send_bytes("POST", "/v1/messages", &[], Some(body.as_bytes()));
        let shown = &body[..body.len().min(60)];
        assert!(if accepted { reply.status < 500 } else { reply.status == 400 }, "{shown}: {}", reply.status);
    }
    for operation in operations(&api).iter().filter(|operation| operation.method == "GET") {
        for query in
            ["?limit=-1", "?limit=4294967296", "?limit=1e9", "?cursor=%00", "?since=9999999999999999", "?%ff=1"]
        {
            let mut path = operation.path("slack");
            path.push_str(query);
            let reply = api.get(&path);
            assert!(reply.status < 500, "{path}: {reply:?}");
        }
    }
}
