//! The whole life of connections with no account and no network.

use std::process::Command;

use crate::harness::{Home, finish};

#[test]
fn slack_lives_from_connect_to_disconnect() {
    let home = Home::new();
    assert!(home.ok("connect slack --sandbox").contains("Connected slack as Acme Sandbox (sandbox)"));
    let status = home.json("status");
    assert_eq!(status["connections"][0]["status"], "active");
    assert_eq!(status["connections"][0]["mode"], "sandbox");
    assert_eq!(home.json("test")["tests"][0]["outcome"], "healthy");
    let first = home.ok("token slack");
    home.ok("refresh slack");
    let second = home.ok("token slack");
    assert_ne!(first, second);
    home.ok("disconnect slack --yes");
    assert_eq!(home.json("status")["summary"]["total"], 0);
    let gone = home.run("token slack --json");
    assert_eq!((gone.code, gone.error_code().as_str()), (3, "unknown_connection"));
}

#[test]
fn every_connector_lives_in_every_way_it_offers() {
    let home = Home::new();
    for item in home.json("connector list")["connectors"].as_array().unwrap() {
        let id = item["id"].as_str().unwrap();
        let details = home.json(&format!("connector show {id}"));
        for way in details["auth_methods"].as_array().unwrap() {
            let auth = way["auth"].as_str().unwrap();
            home.ok(&format!("connect {id} --sandbox --auth {auth} --as {auth}"));
            let name = format!("{id}@{auth}");
            let test = home.json(&format!("test {name}"));
            assert_eq!(test["healthy"], 1, "{name}: {test}");
            let status = home.json(&format!("status {name}"));
            if status["connections"][0]["refreshable"] == true {
                let old = home.ok(&format!("token {name}"));
                home.ok(&format!("refresh {name}"));
                assert_ne!(home.ok(&format!("token {name}")), old, "{name}");
            }
            home.ok(&format!("disconnect {name} --yes"));
        }
        if details["auth_methods"][0]["grants"].as_array().unwrap().iter().any(|grant| grant == "device_code") {
            home.ok(&format!("connect {id} --sandbox --device --no-browser --as device"));
            assert_eq!(home.json(&format!("test {id}@device"))["healthy"], 1);
        }
    }
}

#[test]
fn a_connector_of_the_users_own_has_a_sandbox_at_once() {
    let home = Home::new();
    home.install(
        "acme",
        r#"
        id = "acme"
        name = "Acme"
        category = "projects"
        description = "Boards of an Acme team."
        docs = "https://acme.example/docs"
        [params.team]
        prompt = "Team"
        [api]
        base = "https://{team}.acme.example/api"
        [auth.oauth]
        label = "OAuth"
        [auth.oauth.oauth2]
        authorize_url = "https://acme.example/authorize"
        token_url = "https://acme.example/token"
        token_body = "json"
        rotation = "always"
        scope = { default = ["cards:read"] }
        [health]
        path = "/me"
        account = { id = "/id", name = "/team/name" }
        "#,
    );
    assert!(home.ok("connector validate acme").contains("valid"));
    home.ok("connect acme --sandbox --param team=blue");
    home.ok("refresh acme");
    assert_eq!(home.json("test acme")["tests"][0]["account"]["name"], "Acme Sandbox");
}

#[test]
fn scripted_trouble_is_met_and_gone() {
    let home = Home::new();
    home.ok("connect slack --sandbox");

    home.ok("sandbox fault slack server_error --endpoint health");
    let down = home.run("test slack --json");
    assert_eq!(down.code, 6, "{down:?}");
    assert!(down.stdout.contains("\"temporary\""));
    assert_eq!(home.run("status --check").code, 6);
    home.ok("sandbox fault slack --clear");
    home.ok("test slack");
    home.ok("status --check");

    home.ok("sandbox fault slack rate_limit --endpoint token --times 1");
    let limited = home.run("refresh slack --json");
    assert_eq!((limited.code, limited.error_code().as_str()), (5, "vendor_unavailable"));
    home.ok("refresh slack");

    home.ok("sandbox fault slack malformed --endpoint token --times 1");
    let malformed = home.run("refresh slack --json");
    assert_eq!((malformed.code, malformed.error_code().as_str()), (1, "malformed_response"));
    home.ok("refresh slack");

    home.ok("sandbox fault slack expired_grant --times 1");
    home.ok("test slack");

    home.ok("sandbox fault slack revoked_grant --times 1");
    let revoked = home.run("refresh slack --json");
    assert_eq!((revoked.code, revoked.error_code().as_str()), (4, "needs_reauth"));
    assert!(revoked.stderr.contains("integ reconnect slack"), "{revoked:?}");
    assert_eq!(home.run("token slack").code, 4);
    assert_eq!(home.run("status --check").code, 4);
    home.ok("connect slack --sandbox");
    home.ok("status --check");
}

#[test]
fn the_same_seed_gives_the_same_tokens() {
    let token = || {
        let home = Home::new().with("INTEG_SANDBOX_SEED", "a seed");
        home.ok("connect stripe --sandbox");
        home.ok("token stripe")
    };
    assert_eq!(token(), token());
    let other = Home::new();
    other.ok("connect stripe --sandbox");
    assert_ne!(other.ok("token stripe"), token());
}

#[test]
fn it_needs_no_network_no_bus_no_browser_no_terminal_and_no_writable_home() {
    // A network namespace of its own has nothing but loopback; where none can be made, the rest is still shown.
    let home = Home::new();
    let isolated = Command::new("unshare").args(["-n", "true"]).status().is_ok_and(|status| status.success());
    for line in ["connect slack --sandbox", "status", "test", "refresh slack", "token slack", "disconnect slack --yes"]
    {
        let mut command = if isolated {
            let mut command = Command::new("unshare");
            let script = format!("ip link set lo up 2>/dev/null; exec {} {line}", crate::harness::INTEG);
            command.args(["-n", "sh", "-c", &script]);
            command
        } else {
            home.command(line.split(' '))
        };
        command
            .env_clear()
            .env("INTEG_HOME", home.path())
            .env("HOME", "/proc")
            .env("PATH", std::env::var_os("PATH").unwrap());
        command.stdin(std::process::Stdio::null());
        let ran = finish(command);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
    }
}
