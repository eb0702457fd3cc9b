//! Sandbox and live connections, and workspaces that do not exist.

use serde_json::Value;

use crate::fake::FakeProvider;
use crate::flow::{Flow, connect_line, connected, home};
use crate::harness::{Home, Ran};

/// The command in the hint of a JSON error.
fn hint(ran: &Ran) -> String {
    let line = ran.stderr.lines().find(|line| line.starts_with('{')).unwrap_or_default();
    let error: Value = serde_json::from_str(line).unwrap_or_default();
    error["error"]["hint"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn attack_a1_connecting_a_sandbox_never_replaces_a_live_connection() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let token = home.ok("token fake");
    for _ in 0..2 {
        let ran = home.run("connect fake --sandbox --json");
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "name_taken"), "{ran:?}");
        assert_eq!(home.ok("token fake"), token, "the live token is still there");
        let command = hint(&ran);
        let again = home.run(command.strip_prefix("integ ").unwrap_or_else(|| panic!("{command}")));
        assert_eq!(again.code, 0, "{command}: {again:?}");
    }
    let status = home.json("status");
    let modes: Vec<_> = status["connections"].as_array().unwrap().iter().map(|one| &one["mode"]).collect();
    assert_eq!(modes, ["live", "sandbox"], "{status}");
    assert_eq!(provider.state().count("/revoke"), 0);
}

#[test]
fn attack_a1_a_named_live_connection_is_not_replaced_either() {
    let provider = FakeProvider::start();
    let home = home();
    Flow::start(&home, &format!("{} --as work", connect_line(&provider))).allow();
    let token = home.ok("token fake@work");
    let ran = home.run("connect fake --as work --sandbox --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "name_taken"), "{ran:?}");
    assert_eq!(home.ok("token fake@work"), token);
    home.ok(hint(&ran).strip_prefix("integ ").unwrap());
}

#[test]
fn attack_a2_a_live_connection_inherits_nothing_of_the_sandbox() {
    let provider = FakeProvider::start();
    let home = Home::new();
    home.ok("connect github --sandbox");
    home.ok("sync github/repositories");
    let mut schedule = home.command(["schedule", "set", "github", "every 15m"]);
    assert!(schedule.output().unwrap().status.success());
    let url = home.ok("webhook url github");
    assert_ne!(home.ok("records github/repositories").lines().count(), 0);
    let line = format!("connect github --origin {} --with-token", provider.origin());
    let ran = home.run_with_input(&line, "ghp_0123456789abcdefghijklmnopqrstuvwxyz\n");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("sandbox") && ran.stderr.contains("removed"), "it says so: {ran:?}");
    let status = home.json("status")["connections"][0].clone();
    assert_eq!((&status["mode"], &status["last_sync_at"]), (&Value::from("live"), &Value::Null), "{status}");
    assert_eq!(home.run("records github/repositories").stdout, "");
    let cursor = home.run("cursor get github/repositories --json");
    assert_eq!((cursor.code, cursor.error_code().as_str()), (3, "never_synced"), "{cursor:?}");
    assert_eq!(home.json("schedule list")["schedules"], Value::Array(Vec::new()));
    assert_eq!(home.json("job list").to_string().matches("repositories").count(), 0);
    assert_ne!(home.ok("webhook url github"), url, "the address of the sandbox's events is not the live one's");
    assert_eq!(home.ok("token github"), "ghp_0123456789abcdefghijklmnopqrstuvwxyz");
}

#[test]
fn attack_a2_another_origin_inherits_nothing_and_the_same_one_everything() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let schedules = || home.json("schedule list")["schedules"].as_array().unwrap().len();
    assert!(home.command(["schedule", "set", "fake", "every 15m"]).output().unwrap().status.success());
    Flow::start(&home, &connect_line(&provider)).allow();
    assert_eq!(schedules(), 1, "connecting again keeps what hangs on it");
    let other = FakeProvider::start();
    let flow = Flow::start(&home, &connect_line(&other));
    flow.deliver(&flow.consent());
    let (code, _, stderr) = flow.end();
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("removed"), "{stderr}");
    assert_eq!(schedules(), 0, "another origin is another service");
}

#[test]
fn attack_a2_hints_keep_the_sandbox() {
    let home = Home::new();
    let ran = home.run_with_input("connect stripe --with-token --sandbox --json", "sandbox-knows-no-such-key\n");
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(hint(&ran).contains("--sandbox"), "the real service never sees what was meant for the sandbox: {ran:?}");
    home.ok("connect slack --sandbox");
    let ran = home.run("token github@work --json");
    assert_eq!(hint(&ran), "integ connect github --as work --sandbox", "{ran:?}");
    let ran = home.run("token nope --json");
    assert!(!hint(&ran).contains("connect nope"), "there is no such connector: {ran:?}");
    home.ok("sandbox fault slack revoked_grant");
    let ran = home.run("refresh slack --json");
    assert_eq!((ran.code, hint(&ran).as_str()), (4, "integ reconnect slack"), "{ran:?}");
}

#[test]
fn attack_a2_a_command_to_connect_again_keeps_the_workspace() {
    let home = Home::new();
    home.ok("workspace create team");
    home.ok("-w team connect slack --as ops --sandbox");
    home.ok("-w team sandbox fault slack revoked_grant");
    let ran = home.run("-w team refresh slack@ops --json");
    let line = ran.stderr.lines().find(|line| line.starts_with('{')).unwrap_or_default();
    let error: Value = serde_json::from_str(line).unwrap_or_default();
    let command = "integ -w team reconnect slack@ops";
    assert_eq!((ran.code, hint(&ran).as_str(), &error["error"]["command"]), (4, command, &command.into()), "{ran:?}");
    home.ok(command.strip_prefix("integ ").unwrap());
    assert_eq!(home.json("-w team status")["connections"].as_array().unwrap().len(), 1);
    assert_eq!(home.run("status --json").stdout.matches("slack").count(), 0, "nothing was connected elsewhere");
}

#[test]
fn attack_a6_a_named_workspace_that_is_not_there_is_not_an_empty_one() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    let lines = [
        "status",
        "status --check",
        "test",
        "test --format junit",
        "sync",
        "sync --due",
        "refresh --all",
        "refresh --due",
        "token slack",
        "records slack/channels",
        "job list",
        "schedule list",
        "webhook events",
        "endpoint list",
        "app list",
        "call slack",
        "api slack auth.test",
        "disconnect slack --yes",
        "webhook listen slack --port 0",
        "cursor get slack",
    ];
    for line in lines {
        let ran = home.run(&format!("-w tema {line} --json"));
        assert_eq!((ran.code, ran.error_code().as_str()), (3, "workspace_not_found"), "{line}: {ran:?}");
        assert_eq!(hint(&ran), "integ workspace list", "{line}");
    }
    assert!(!home.path().join("workspaces/tema").exists());
    // The three other ways to name one.
    let mut by_variable = home.command(["status"]);
    by_variable.env("INTEG_WORKSPACE", "tema");
    assert_eq!(crate::harness::finish(by_variable).code, 3);
    home.ok("config set workspace tema");
    for (line, code) in [("status", 3), ("connect slack --sandbox", 3), ("-w default status", 0)] {
        assert_eq!(home.run(line).code, code, "{line}");
    }
    home.ok("config set workspace default");
    std::fs::write(home.path().join(".integ.toml"), "workspace = \"tema\"\n").unwrap();
    for (line, code) in [("status", 3), ("connect slack --sandbox", 3), ("-w default status", 0)] {
        assert_eq!(home.run(line).code, code, "{line}");
    }
    std::fs::remove_file(home.path().join(".integ.toml")).unwrap();
    home.ok("-w tema connect slack --sandbox");
    home.ok("-w tema status --check");
}

#[test]
fn attack_a6_a_check_of_nothing_is_not_a_success() {
    let home = Home::new();
    assert_eq!(home.run("status").code, 0, "a new home has no connections, which is not an error");
    for line in ["status --check", "test", "test --all", "test --format junit", "test --format json"] {
        let ran = home.run(line);
        assert_eq!(ran.code, 3, "{line}: {ran:?}");
    }
    home.ok("connect slack --sandbox");
    home.ok("status --check");
    home.ok("test --format junit");
}
