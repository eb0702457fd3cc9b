//! `integ reconnect` and `integ rename`: a connection works again, as it was, and under another name.

use serde_json::{Value, json};

use crate::fake::{FakeProvider, Trouble};
use crate::flow::{Flow, connect_line, connected, home};
use crate::harness::Home;

fn status(home: &Home, name: &str) -> Value {
    home.json(&format!("status {name}"))["connections"][0].clone()
}

/// Lets the provider refuse the connection's grant.
fn break_grant(provider: &FakeProvider, home: &Home, name: &str) {
    provider.trouble("/token", [Trouble::error("invalid_grant")]);
    assert_eq!(home.run(&format!("refresh {name}")).code, 4);
    assert_eq!(status(home, name)["status"], "needs_reauth");
}

#[test]
fn reconnecting_keeps_method_origin_client_and_scopes() {
    let provider = FakeProvider::start();
    let home = home();
    Flow::start(&home, &format!("{} --as work --scope read,admin", connect_line(&provider))).allow();
    break_grant(&provider, &home, "fake@work");
    let before = status(&home, "fake@work");
    // Neither origin nor client id is given again.
    let flow = Flow::start(&home, "reconnect fake@work");
    let query = |name: &str| flow.url.query_pairs().find(|(known, _)| known == name).unwrap().1.into_owned();
    assert_eq!((query("scope").as_str(), query("client_id").as_str()), ("read admin", "test"));
    assert!(flow.url.as_str().starts_with(&provider.origin()), "{}", flow.url);
    flow.deliver(&flow.consent());
    let (code, last, stderr) = flow.end();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(last["event"], "reconnected");
    let reconnected = &last["reconnected"][0];
    assert_eq!((&reconnected["connection"], &reconnected["outcome"]), (&json!("fake@work"), &json!("reconnected")));
    let after = status(&home, "fake@work");
    assert_eq!(after["status"], "active");
    for kept in ["origin", "auth", "account", "scopes"] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
}

#[test]
fn reconnecting_uses_the_grant_of_the_last_time() {
    let provider = FakeProvider::start();
    let home = home().with("INTEG_CLIENT_SECRET", "s");
    assert_eq!(home.run(&format!("{} --client-credentials", connect_line(&provider))).code, 0);
    // No browser and no code: a machine connects by itself.
    let ran = home.run("reconnect fake --json --timeout 1s");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.stdout.contains("authorize"), "{ran:?}");
}

#[test]
fn another_account_is_refused_and_the_connection_stays_as_it_was() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let token = home.ok("token fake");
    provider.account("bob");
    let flow = Flow::start(&home, "reconnect fake");
    let page = flow.deliver(&flow.consent());
    assert!(page.text().contains("was not connected"), "{}", page.text());
    let (code, _, stderr) = flow.end();
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("account_mismatch") && stderr.contains("integ connect fake --as bob"), "{stderr}");
    assert_eq!(home.ok("token fake"), token);
    assert_eq!(home.json("status")["summary"]["total"], 1);
}

const NOTHING_TO_DO: &str = "No connection needs to be reconnected; see `integ status`.\n";

#[test]
fn all_means_those_that_need_it() {
    let home = Home::new();
    assert_eq!(home.run("reconnect --all").stdout, "No connections yet.\n");
    for name in ["slack@one", "slack@two", "github"] {
        home.ok(&format!("connect {name} --sandbox"));
    }
    let ran = home.run("reconnect --all");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, NOTHING_TO_DO), "{ran:?}");
    let healthy = home.ok("token github");
    home.ok("sandbox fault slack revoked_grant --times 2");
    for name in ["slack@one", "slack@two"] {
        assert_eq!(home.run(&format!("refresh {name}")).code, 4);
    }
    // Several are broken, and nobody can be asked which one is meant.
    let ran = home.run("reconnect --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "several_connections"), "{ran:?}");
    assert!(ran.stderr.contains("slack@one, slack@two") && ran.stderr.contains("integ reconnect --all"), "{ran:?}");
    let ran = home.run("reconnect --all");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout.lines().filter(|line| line.starts_with("Reconnected slack@")).count(), 2, "{ran:?}");
    assert!(!ran.stdout.contains("github"), "{ran:?}");
    assert_eq!(home.ok("token github"), healthy, "what works is left alone");
    home.ok("status --check");
}

#[test]
fn without_a_name_it_is_the_one_that_needs_it() {
    let home = Home::new();
    for name in ["slack@one", "slack@two"] {
        home.ok(&format!("connect {name} --sandbox"));
    }
    home.ok("sandbox fault slack revoked_grant --times 1");
    assert_eq!(home.run("refresh slack@two").code, 4);
    let ran = home.ok("reconnect");
    assert!(ran.starts_with("Reconnected slack@two"), "{ran}");
    home.ok("status --check");
    for line in ["reconnect slack --all", "reconnect --all --scope a", "reconnect --yes"] {
        assert_eq!(home.run(line).code, 2, "{line}");
    }
    assert_eq!(home.run("reconnect nope").code, 3);
}

#[test]
fn one_that_fails_does_not_stop_the_others() {
    let home = Home::new();
    home.ok("connect slack@one --sandbox");
    home.ok("connect slack@two --sandbox");
    home.ok("sandbox fault slack revoked_grant --times 2");
    for name in ["slack@one", "slack@two"] {
        assert_eq!(home.run(&format!("refresh {name}")).code, 4);
    }
    home.ok("sandbox fault slack malformed --endpoint token --times 1");
    let ran = home.run("reconnect --all --json");
    assert_eq!(ran.code, 8, "some failed: {ran:?}");
    let last: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    let outcomes: Vec<_> = last["reconnected"].as_array().unwrap().iter().map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes, ["failed", "reconnected"], "{last}");
}

#[test]
fn a_renamed_connection_keeps_everything_that_belongs_to_it() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home.ok("sync slack/channels");
    let (token, records) = (home.ok("token slack"), home.ok("records slack/channels"));
    assert!(!records.is_empty());
    assert_eq!(home.ok("rename slack work"), "Renamed slack to slack@work");
    assert_eq!(home.ok("token slack@work"), token);
    assert_eq!(home.ok("records slack@work/channels"), records);
    assert_eq!(home.run("token slack").code, 3);
    home.ok("refresh slack@work");
    home.ok("test slack@work");
    // A name that is taken, the same one, and one that is no name.
    home.ok("connect slack --sandbox");
    for (name, code) in [("slack", "name_taken"), ("work", "same_name"), ("a b", "invalid_name"), ("-", "invalid_name")]
    {
        let mut command = home.command(["rename", "slack@work", "--json"]);
        command.args(["--", name]);
        let ran = crate::harness::finish(command);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, code), "{name}: {ran:?}");
    }
    let renamed = home.json("rename slack@work slack@ops");
    assert_eq!((&renamed["connection"], &renamed["previous"]), (&json!("slack@ops"), &json!("slack@work")));
    assert_eq!(home.json("status")["summary"]["total"], 2);
}

#[test]
fn names_that_other_programs_use_lead_to_the_same_commands() {
    let home = Home::new();
    home.ok("login slack --sandbox");
    // Each says the seconds that are left when it runs.
    let mut listed = [home.json("ls"), home.json("status")];
    for view in &mut listed {
        assert!(view["connections"][0]["expires_in"].take().is_u64());
    }
    assert_eq!(listed[0], listed[1]);
    assert_eq!(home.json("list")["summary"]["total"], 1);
    home.ok("logout slack --yes");
    assert_eq!(home.json("status")["summary"]["total"], 0);
    assert!(!home.ok("--help").contains("login"), "they are not listed");
}
