//! What people type and paste, networks that are not as they should be, and what commands print for other programs.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::json;
use url::Url;

use super::issuer::{Issuer, Reply, home, metadata, run_with_secret, tokens};
use super::{ready, well_behaved};
use crate::harness::{Home, Running, finish, has_program, needs};

#[test]
fn field_33_a_certificate_of_an_unknown_authority_is_named() {
    if !needs("openssl", has_program("openssl")) {
        return;
    }
    let home = home();
    let make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -days 2 -subj /CN=test -addext subjectAltName=DNS:localhost";
    let mut command = Command::new("openssl");
    command.args(make.split_whitespace().skip(1)).current_dir(home.path());
    assert_eq!(finish(command).code, 0);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut server = Command::new("openssl");
    server.args(["s_server", "-accept", &port, "-cert", "c", "-key", "k", "-quiet"]).current_dir(home.path());
    server.stderr(Stdio::null());
    let _server = Running::start(server);
    while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let line = format!("connect oidc --issuer https://localhost:{port} --client-id app --json");
    let ran = home.run(&line);
    assert_eq!((ran.code, ran.error_code().as_str()), (1, "tls"), "{ran:?}");
    let ran = home.run(&line.replace(" --json", ""));
    assert!(ran.stderr.contains("the certificate of localhost cannot be trusted"), "{ran:?}");
    assert!(
        ran.stderr.contains("SSL_CERT_FILE") && ran.stderr.contains(&format!("https://localhost:{port}`")),
        "{ran:?}"
    );
    assert!(home.ok("help environment").contains("SSL_CERT_FILE"));
}

#[test]
fn field_33_a_host_that_cannot_be_reached_is_one_line_and_its_hint_keeps_the_port() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ran = home().run(&format!("connect oidc --issuer http://127.0.0.1:{port} --client-id app"));
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.stderr.contains("127.0.0.1 could not be reached: connection refused\n"), "{ran:?}");
    assert!(ran.stderr.contains(&format!("`curl -I http://127.0.0.1:{port}`")), "{ran:?}");
}

#[test]
fn field_34_pasted_input_may_be_longer_than_a_line_of_a_terminal() {
    if !needs("python3", has_program("python3")) {
        return;
    }
    let server = well_behaved();
    let home = home();
    // Plays a terminal: starts the command, and pastes its callback URL with a code of so many characters.
    let script = r#"
import os, pty, re, select, sys, time, urllib.parse as up
size, argv = int(sys.argv[1]), sys.argv[2:]
pid, fd = pty.fork()
if pid == 0: os.execvp(argv[0], argv)
out, sent, start = b"", False, time.time()
while time.time() - start < 30:
    if select.select([fd], [], [], 0.2)[0]:
        try: got = os.read(fd, 65536)
        except OSError: break
        if not got: break
        out += got
    if not sent and b"ends at" in out:
        q = dict(up.parse_qsl(up.urlsplit(re.search(rb"http://\S+/authorize\S+", out).group().decode()).query))
        data = (q["redirect_uri"] + "?" + up.urlencode({"code": "c" * size, "state": q["state"]}) + "\n").encode()
        time.sleep(0.3)
        while data:
            data = data[os.write(fd, data[:512]):]
            # What is echoed is read meanwhile, or both sides would wait.
            try:
                while select.select([fd], [], [], 0.01)[0]: out += os.read(fd, 65536)
            except OSError: data = b""
        sent = True
print(out.decode("utf-8", "replace"))
"#;
    for (size, is_taken) in [(3000, true), (6000, true), (70_000, false)] {
        let line = server.connect(&format!("--as a{size} --paste"));
        let mut command = home.command([] as [&str; 0]);
        let environment: Vec<_> = command.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
        command = Command::new("python3");
        command.args(["-c", script, &size.to_string(), crate::harness::INTEG]).args(line.split_whitespace());
        command.env_clear().envs(environment.into_iter().filter_map(|(k, v)| Some((k, v?)))).current_dir(home.path());
        let ran = finish(command);
        assert_eq!(ran.stdout.contains("Connected"), is_taken, "{size}: {}", ran.stdout.replace(&"c".repeat(50), "…"));
        if is_taken {
            assert_eq!(server.asked("/token").last().unwrap().form["code"].len(), size);
        } else {
            assert!(ran.stdout.contains("the input is longer than 65536 bytes"), "it is refused, not cut");
        }
    }
}

#[test]
fn field_35_pasted_hosts_and_ids_are_understood_or_named() {
    for (connector, param) in [
        ("gitlab", "host=https://git.corp.example"),
        ("salesforce", "login_host=https://acme.my.salesforce.com/"),
        ("salesforce", "login_host=acme.my.salesforce.com/"),
    ] {
        let home = home();
        let mut command = home.command(
            format!("connect {connector} --param {param} --no-browser --timeout 1s --json").split_whitespace(),
        );
        // As it is copied from a page.
        command.args(["--client-id", " app\n"]).env("INTEG_CLIENT_SECRET", "s3cret");
        let ran = finish(command);
        assert!(ran.stdout.contains("response_type=code") && ran.stdout.contains("client_id=app&"), "{param}: {ran:?}");
    }
    for (connector, param) in [
        ("gitlab", "host=http://git.corp.example"),
        ("gitlab", "host=https://corp.example/gitlab"),
        ("oidc", "issuer=as.example"),
    ] {
        let ran = home().run(&format!("connect {connector} --param {param} --client-id app"));
        let name = param.split('=').next().unwrap();
        assert!(ran.code == 2 && ran.stderr.contains(&format!("--param {name}=")), "{param}: {ran:?}");
    }
}

#[test]
fn field_41_a_home_that_cannot_be_is_seen_by_doctor() {
    let home = Home::new();
    let run = |name: &str, value: &str| {
        let mut command = home.command(["doctor"]);
        command.env_remove("INTEG_HOME").env(name, value);
        finish(command).stdout
    };
    let tilde = run("INTEG_HOME", "~/.integ");
    assert!(tilde.contains("INTEG_HOME begins with `~`"), "{tilde}");
    let relative = run("HOME", "nowhere");
    assert!(relative.contains("INTEG_HOME"), "{relative}");
    let absent = run("HOME", "/dev/null/nonexistent");
    assert!(absent.contains("/dev/null/nonexistent/.local/share/integ cannot be made"), "{absent}");
}

#[test]
fn field_44_endpoints_that_end_in_a_slash_are_asked_there() {
    if !ready() {
        return;
    }
    let server = Issuer::start(|asked| match asked.path.as_str() {
        "/o/authorize/" => Some(Reply::back(asked, &[("code", "c")])),
        "/o/token/" => Some(Reply::json(200, &tokens())),
        _ => Some(Reply::json(404, &json!({}))),
    });
    let url = |path: &str| format!("{}{path}", server.origin);
    home().ok(&format!(
        "connect oauth2 --client-id app --param authorize_url={} --param token_url={}",
        url("/o/authorize/"),
        url("/o/token/")
    ));
    assert_eq!(server.asked("/o/token/").len(), 1);
}

#[test]
fn field_45_a_token_in_the_fragment_is_pasted_with_its_state() {
    let server = well_behaved();
    let home = home();
    let line = format!("connect trello --paste --client-id key --origin {} --json", server.origin);
    let mut running = Running::start(home.command(line.split_whitespace()));
    let event = running.event();
    let url = Url::parse(event["url"].as_str().unwrap()).unwrap();
    let back = url.query_pairs().find(|(name, _)| name == "return_url").unwrap().1.into_owned();
    use std::io::Write;
    writeln!(running.stdin.as_mut().unwrap(), "{back}#token=pasted-token").unwrap();
    assert_eq!(running.event()["event"], "connected");
    assert_eq!(running.code(), 0);
    assert_eq!(home.ok("token trello"), "pasted-token");
}

#[test]
fn field_45_hints_of_a_timeout_name_what_the_connector_has() {
    let ran = home().run("connect trello --client-id key --no-browser --timeout 1s");
    assert!(ran.stderr.contains("--paste needs no redirect") && !ran.stderr.contains("--device"), "{ran:?}");
    assert!(ran.stderr.contains("`integ connect trello --timeout 15m`"), "{ran:?}");
}

#[test]
fn field_48_the_sandbox_prints_the_keys_of_services_that_are_reached_by_one() {
    let home = home();
    let mut running = Running::start(home.command(["sandbox", "run", "stripe", "--json"]));
    let event = running.event();
    let key = event["fields"]["key"].as_str().unwrap().to_owned();
    let origin = event["origin"].as_str().unwrap();
    let ran = home.run_with_input(&format!("connect stripe --origin {origin} --with-token"), &key);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(home.json("test")["tests"][0]["outcome"], "healthy");
}

#[test]
fn field_b2_calls_of_stripe_send_forms() {
    let server = well_behaved();
    let home = home();
    let ran =
        home.run_with_input(&format!("connect stripe --origin {} --with-token", server.origin), "sk_test_0123456789");
    assert_eq!(ran.code, 0, "{ran:?}");
    home.ok("api stripe /v1/customers -f email=a@b.example");
    assert_eq!(server.asked("/v1/customers")[0].form.get("email").map(String::as_str), Some("a@b.example"));
}

#[test]
fn field_d_a_connection_is_named_as_everywhere_else() {
    let home = Home::new();
    home.ok("connect slack@work --sandbox");
    assert_eq!(home.json("status")["connections"][0]["connection"], "slack@work");
    let ran = home.run("connect slack@work --as home --sandbox");
    assert!(ran.code == 2 && ran.stderr.contains("two names"), "{ran:?}");
}

#[test]
fn field_32_a_refusal_by_device_is_tried_by_post_as_well() {
    let server = Issuer::start(|asked| {
        let mut document = metadata(&asked.origin);
        document["token_endpoint_auth_methods_supported"] = json!(["client_secret_basic", "client_secret_post"]);
        let posted = asked.form.contains_key("client_secret");
        match asked.path.as_str() {
            "/device" | "/token" if !posted => Some(Reply::json(401, &json!({ "error": "invalid_client" }))),
            "/device" => Some(Reply::json(
                200,
                &json!({ "device_code": "d", "user_code": "ABCD", "verification_uri": format!("{}/enter", asked.origin),
                    "expires_in": 600, "interval": 1 }),
            )),
            path => path.contains("well-known").then(|| Reply::json(200, &document)),
        }
    });
    let ran = run_with_secret(&home(), &server.connect("--device --no-browser"), "s3cret");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(server.asked("/token").len(), 1, "what the device endpoint took is sent at once");
}
