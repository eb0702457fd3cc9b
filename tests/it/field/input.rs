//! What people type, paste and set, and what is said if a server cannot be reached.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::fake::{CONNECTOR, FakeProvider, Trouble};
use crate::flow::{Flow, connect_line, home};
use crate::harness::{Home, INTEG, Running, finish, has_program, needs};

/// The URL of the consent page that a sign-in would open.
fn consent_page(home: &Home, line: &str) -> url::Url {
    let ran = home.run(&format!("connect {line} --client-id app --no-browser --timeout 1s --json"));
    let event: Value = serde_json::from_str(ran.stdout.lines().next().unwrap_or_else(|| panic!("{ran:?}"))).unwrap();
    event["url"].as_str().unwrap().parse().unwrap()
}

#[test]
fn field_35_a_host_may_be_pasted_with_its_scheme_and_slash() {
    let home = Home::new();
    for (given, host) in [
        ("gitlab --param instance=https://git.corp.example", "git.corp.example"),
        ("gitlab --param instance=git.corp.example", "git.corp.example"),
        ("gitlab --param instance=https://git.corp.example:8443/", "git.corp.example:8443"),
        ("salesforce --param login_host=https://acme.my.salesforce.com/", "acme.my.salesforce.com"),
        ("salesforce --param login_host=acme.my.salesforce.com/", "acme.my.salesforce.com"),
    ] {
        let url = consent_page(&home, given);
        assert_eq!(url.authority(), host, "{given}");
    }
    let refused = home.run("connect salesforce --param login_host=https://corp.example/x --client-id app --json");
    assert_eq!((refused.code, refused.error_code().as_str()), (2, "invalid_param"), "{refused:?}");
    assert!(refused.stderr.contains("--param login_host="), "{refused:?}");
    let insecure = home.run("connect gitlab --param instance=http://git.corp.example --client-id app");
    assert_eq!(insecure.code, 2, "{insecure:?}");
    assert!(insecure.stderr.contains("http://"), "{insecure:?}");
}

#[test]
fn a_gitlab_may_be_under_a_path() {
    let home = Home::new();
    for given in ["https://git.corp.example/gitlab", "https://git.corp.example/gitlab/", "git.corp.example/gitlab"] {
        let url = consent_page(&home, &format!("gitlab --param instance={given}"));
        assert_eq!((url.authority(), url.path()), ("git.corp.example", "/gitlab/oauth/authorize"), "{given}");
    }
    assert_eq!(consent_page(&home, "gitlab").as_str().split('?').next(), Some("https://gitlab.com/oauth/authorize"));
}

#[test]
fn field_35_white_space_around_a_client_id_is_dropped() {
    let home = home();
    let command =
        home.command(["connect", "fake", "--client-id", " app-1\n", "--no-browser", "--timeout", "1s", "--json"]);
    let ran = finish(command);
    assert!(ran.stdout.contains("client_id=app-1&"), "{ran:?}");
    let ran = finish(home.command(["app", "set", "fake", "--client-id", "\tapp-2 "]));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(home.json("app list")["apps"][0]["client_id"], "app-2");
    let empty = finish(home.command(["app", "set", "fake", "--client-id", " \n"]));
    assert_eq!(empty.code, 2, "{empty:?}");
}

#[test]
fn field_34_an_address_that_is_longer_than_a_terminals_line_can_be_pasted() {
    if !needs("expect", has_program("expect")) || !needs("python3", has_program("python3")) {
        return;
    }
    let provider = FakeProvider::start();
    let home = home();
    // Consents as a browser would, and lengthens the address that the browser would end at.
    let browser = "import http.client, sys, urllib.parse as p\n\
        u = p.urlsplit(sys.argv[1])\n\
        c = http.client.HTTPConnection(u.netloc)\n\
        c.request('GET', u.path + '?' + u.query)\n\
        print(c.getresponse().headers['location'] + '&session_state=' + 'x' * 6000)\n";
    fs::write(home.path().join("browser.py"), browser).unwrap();
    let script = format!(
        "set timeout 20\nspawn -noecho {INTEG} {} --paste\n\
         expect -re {{(http://[^\\s]+/authorize[^\\s]+)}}\nset page $expect_out(1,string)\n\
         expect -ex \"ends at\"\nset address [exec python3 browser.py $page]\nafter 300\n\
         send -- \"$address\\r\"\nexpect {{\n -ex \"Connected\" {{}}\n timeout {{ exit 9 }}\n eof {{ exit 8 }}\n}}\nexpect eof\n",
        connect_line(&provider)
    );
    let path = home.path().join("paste.exp");
    fs::write(&path, script).unwrap();
    let mut command = Command::new("expect");
    command.arg("-f").arg(&path).env_clear().env("INTEG_HOME", home.path()).env("HOME", home.path());
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("TERM", "xterm").current_dir(home.path());
    let ran = finish(command);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(home.json("status")["connections"][0]["status"], "active");
}

#[test]
fn field_33_a_certificate_that_is_not_trusted_is_named_as_such() {
    if !needs("openssl", has_program("openssl")) {
        return;
    }
    let home = Home::new();
    let mut request = Command::new("openssl");
    request.current_dir(home.path()).stderr(Stdio::null()).args(["req", "-x509", "-newkey", "rsa:2048", "-nodes"]);
    request.args(["-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=Proxy of a company"]);
    request.args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]);
    assert!(request.status().unwrap().success());
    let mut command = Command::new("openssl");
    command.current_dir(home.path()).stdin(Stdio::piped()).stderr(Stdio::null());
    command.args(["s_server", "-accept", "127.0.0.1:0", "-cert", "cert.pem", "-key", "key.pem", "-www"]);
    let mut server = Running::start(command);
    let port = loop {
        let line = server.line();
        if let Some(address) = line.strip_prefix("ACCEPT ") {
            break address.trim().rsplit_once(':').unwrap().1.to_owned();
        }
    };
    let line = format!("connect oidc --issuer https://localhost:{port} --client-id app --no-browser");
    let ran = home.run(&format!("{line} --json"));
    assert_eq!((ran.code, ran.error_code().as_str()), (1, "certificate"), "{ran:?}");
    let shown = home.run(&line).stderr;
    assert!(shown.contains("does not know the authority that signed it"), "{shown}");
    assert!(
        shown.contains("SSL_CERT_FILE") && shown.contains(&format!("curl -I https://localhost:{port}`")),
        "{shown}"
    );
    assert!(!shown.contains("try again"), "{shown}");
    // Named by the user, it is an authority like any other.
    let home = home.with("SSL_CERT_FILE", "cert.pem");
    let trusted = home.run(&format!("{line} --json"));
    assert_ne!(trusted.error_code(), "certificate", "{trusted:?}");
    assert!(home.ok("help environment").contains("SSL_CERT_FILE"));
}

#[test]
fn field_33_a_server_that_cannot_be_reached_is_one_line_with_its_scheme_and_port() {
    let home = Home::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ran = home.run(&format!("connector install http://127.0.0.1:{port}/x.toml"));
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.stderr.contains("cannot reach 127.0.0.1: it refused the connection"), "{ran:?}");
    assert!(ran.stderr.contains(&format!("`curl -I http://127.0.0.1:{port}`")), "{ran:?}");
    assert!(!ran.stderr.contains("because"), "{ran:?}");
    let ran = home.run("connect oidc --issuer https://nobody.invalid --client-id app --no-browser");
    assert!(ran.stderr.contains("cannot reach nobody.invalid: its name"), "{ran:?}");
    assert_eq!(ran.stderr.matches("because").count(), 1, "{ran:?}");
}

#[test]
fn field_41_a_home_that_cannot_be_is_reported() {
    let home = Home::new();
    let tilde = Home::new().with("INTEG_HOME", "~/integ");
    let ran = tilde.run("status --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "invalid_home"), "{ran:?}");
    assert!(ran.stderr.contains("$HOME/integ"), "{ran:?}");
    assert!(tilde.run("doctor").stdout.contains("~ is expanded only by a shell"));
    let mut command = home.command(["doctor", "--json"]);
    command.env_remove("INTEG_HOME").env("HOME", "/nonexistent");
    command.env("XDG_DATA_HOME", home.path()).env("XDG_CONFIG_HOME", home.path());
    let ran = finish(command);
    assert!(ran.stdout.contains("HOME is /nonexistent, which does not exist"), "{ran:?}");
}

#[test]
fn field_48_an_emulated_service_that_keys_reach_says_which() {
    let home = Home::new();
    let mut sandbox = Running::start(home.command(["sandbox", "run", "twilio", "--json"]));
    let event = sandbox.event();
    let origin = event["origin"].as_str().unwrap().trim_end_matches('/');
    let (sid, token) = (event["params"]["account_sid"].as_str().unwrap(), event["key"]["auth_token"].as_str().unwrap());
    let line = format!("connect twilio --origin {origin} --auth auth-token --with-token --param account_sid={sid}");
    let other = Home::new();
    let ran = other.run_with_input(&line, token);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(other.json("test twilio")["tests"][0]["outcome"], "healthy");
}

#[test]
fn field_b2_stripe_is_sent_forms() {
    let home = Home::new();
    home.ok("connect stripe --sandbox");
    let document: Value = serde_json::from_str(&home.ok("api stripe /v1/customers -f email=a@b.example")).unwrap();
    assert_eq!(document["email"], "a@b.example", "{document}");
}

#[test]
fn field_d_a_connection_is_connected_by_its_name() {
    let home = Home::new();
    home.ok("connect slack@work --sandbox");
    assert_eq!(home.json("status")["connections"][0]["connection"], "slack@work");
    let two = home.run("connect slack@work --as play --sandbox --json");
    assert_eq!(two.code, 2, "{two:?}");
    assert_eq!(home.json("status")["summary"]["total"], json!(1));
}

#[test]
fn field_49_a_refusal_that_names_scopes_hints_at_the_command_that_adds_them() {
    let provider = FakeProvider::start();
    let home = Home::new();
    home.install("fake", &CONNECTOR.replacen("[api]\n", "[api]\nneeded_scopes = \"/needed\"\n", 1));
    Flow::start(&home, &connect_line(&provider)).allow();
    let json = vec![("content-type", "application/json".to_owned())];
    let challenge = vec![("www-authenticate", "Bearer error=\"insufficient_scope\", scope=\"admin read\"".to_owned())];
    for (headers, body, added) in [
        (json.clone(), r#"{"error":"missing_scope","needed":"files:read,read"}"#, "--add-scope files:read"),
        (json.clone(), r#"{"needed":["admin","write"]}"#, "--add-scope admin"),
        (challenge, "", "--add-scope admin"),
    ] {
        provider.trouble("/api/things", [Trouble::Instead(403, headers, body.as_bytes().to_vec())]);
        let ran = home.run("api fake /things");
        assert!(ran.stderr.contains(added), "{ran:?}");
    }
    // What would be more than a word of the command is left out.
    provider.trouble("/api/things", [Trouble::Instead(403, json, br#"{"needed":"$(reboot)"}"#.to_vec())]);
    let ran = home.run("api fake /things");
    assert!(!ran.stderr.contains("reboot"), "{ran:?}");
}
