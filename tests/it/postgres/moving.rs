//! Workspaces that move between a file and PostgreSQL, and what is done to a store as a whole on both: backups, another key,
//! and checks.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use std::{fs, thread};

use serde_json::Value;

use super::workspaces::{copy_to, refused, url};
use crate::harness::Home;
use crate::schemas::check_output;

/// A workspace in a file with connections, records and jobs. Of each table some rows are carried in [`super::transfer`].
fn filled() -> Home {
    let home = Home::in_files();
    home.ok("config set vault.identity file");
    home.ok("connect slack --sandbox");
    home.ok("connect github --sandbox");
    home.ok("sync github");
    home
}

/// What users see of the workspace.
fn contents(home: &Home) -> Vec<String> {
    let lines = ["status github --json", "records github/issues --json", "token slack", "job list --json"];
    let contents = lines.iter().map(|line| home.ok(line));
    // How long a token is valid differs from one second to the next.
    let is_the_same = |line: &&str| !line.contains("expires_in");
    contents.map(|text| text.replace(',', "\n").lines().filter(is_the_same).collect()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !["lock", "locks", "vault.db-wal", "vault.db-shm"].contains(&name.as_str()));
    names.sort();
    names
}

fn backend(home: &Home) -> Value {
    home.json("vault status")["store"]["backend"].clone()
}

#[test]
fn a_workspace_moves_to_the_server_and_back() {
    let Some(url) = url() else { return };
    let home = filled();
    let before = contents(&home);
    let file = names(&home.workspace());
    let ran = home.run(&format!("vault move --to {url} --json"));
    check_output(&["vault", "move", "--to", &url, "--json"].map(str::to_owned), &ran);
    let moved: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(moved["store"]["backend"], "postgres");
    assert!(moved["rows"].as_u64().unwrap() > 50, "{moved}");
    assert_eq!(names(&home.workspace()), ["store.toml", "vault.age"]);
    assert!(!home.path().join("workspaces/.default.sequence").exists());
    assert_eq!(contents(&home), before);
    refused(&home.run(&format!("vault move --to {url} --json")), "already_moved");

    // What is added there comes along, and ids go on.
    home.ok("connect stripe --sandbox");
    home.ok("vault move --to file");
    assert_eq!(backend(&home), "sqlite");
    assert_eq!(names(&home.workspace()), file);
    refused(&home.run("vault move --to file --json"), "already_moved");
    home.ok("disconnect stripe --yes");
    assert_eq!(contents(&home), before);
    home.ok("vault check");
    home.ok("audit verify");
    home.ok("sync github");
}

#[test]
fn a_move_that_is_killed_anywhere_loses_nothing_and_goes_on() {
    let Some(url) = url() else { return };
    let home = filled();
    let mut before = contents(&home);
    for (target, expected) in [(url.as_str(), "postgres"), ("file", "sqlite")] {
        let mut kills = 0;
        for round in 0.. {
            let mut command = home.command(["vault", "move", "--to", target]);
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            // As far as it comes in this time, which grows.
            thread::sleep(Duration::from_millis(20).mul_f64(1.5_f64.powi(round)));
            child.kill().unwrap();
            let ended = child.wait().unwrap();
            assert!(ended.success() || ended.signal() == Some(9), "{ended}");
            let seen = contents(&home);
            assert_eq!(seen, before, "killed in round {round} of {target}");
            if backend(&home) == expected {
                break;
            }
            assert!(!ended.success(), "it ended and did not move");
            kills += 1;
            // The source is written to in between: the copy starts over.
            if round % 3 == 0 {
                home.ok("refresh slack");
                before[2] = home.ok("token slack").lines().collect();
            }
        }
        assert!(kills > 3, "it ended before it could be killed");
    }
    home.ok("vault check");
    home.ok("audit verify");
}

#[test]
fn a_workspace_that_another_program_uses_is_not_moved() {
    let Some(url) = url() else { return };
    let home = filled();
    home.ok(&format!("vault move --to {url}"));
    let other = Home::in_files();
    copy_to(&other, &home, "default");
    // The other machine does something that takes a lock.
    let mut command = other.command(["exec", "slack", "--", "sleep", "8"]);
    let mut program = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // A program that only reads keeps nobody from moving the workspace: what it writes later is refused.
    home.ok("vault move --to file");
    program.kill().unwrap();
    program.wait().unwrap();
    refused(&other.run("status --json"), "store_workspace_not_found");
    refused(&other.run("connect stripe --sandbox --json"), "store_workspace_not_found");
    assert_eq!(home.json("status")["summary"]["active"], 2);
}

#[test]
fn a_workspace_in_postgres_gets_another_key_while_it_is_used() {
    let Some(url) = url() else { return };
    let home = filled();
    home.ok(&format!("vault move --to {url}"));
    let before = contents(&home);
    let other = Home::in_files();
    copy_to(&other, &home, "default");
    let key = fs::read(home.workspace().join("vault.age")).unwrap();
    let rekeyed = home.run("vault rekey");
    assert_eq!(rekeyed.code, 0, "{rekeyed:?}");
    assert!(rekeyed.stderr.contains("vault.age"), "{rekeyed:?}");
    assert_ne!(fs::read(home.workspace().join("vault.age")).unwrap(), key);
    assert_eq!(contents(&home), before);
    home.ok("vault check");
    // The other machine needs the key file of this one, and may not change its own meanwhile.
    for line in ["token slack --json", "vault rekey --json", "connect stripe --sandbox --json"] {
        refused(&other.run(line), "unknown_key");
    }
    fs::copy(home.workspace().join("vault.age"), other.workspace().join("vault.age")).unwrap();
    assert_eq!(other.ok("token slack"), home.ok("token slack"));
    other.ok("vault rekey");
    refused(&home.run("vault move --to file --json"), "unknown_key");
    fs::copy(other.workspace().join("vault.age"), home.workspace().join("vault.age")).unwrap();
    home.ok("vault move --to file");
}

#[test]
fn a_rekeying_that_is_killed_leaves_a_store_that_opens() {
    let Some(url) = url() else { return };
    let home = filled();
    home.ok(&format!("vault move --to {url}"));
    let before = contents(&home);
    for round in 0_u64..12 {
        let mut command = home.command(["vault", "rekey"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // As far as it comes in this time.
        thread::sleep(Duration::from_millis(20 * (round + 1)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(contents(&home), before, "killed in round {round}");
    }
    home.ok("vault rekey");
    home.ok("vault check");
    assert_eq!(contents(&home), before);
}

#[test]
fn a_backup_of_either_store_is_restored_into_the_other() {
    let Some(url) = url() else { return };
    let home = filled();
    home.ok("vault backup file.age");
    home.ok(&format!("vault move --to {url}"));
    home.ok("vault backup server.age");
    assert_eq!(names(&home.workspace()), ["store.toml", "vault.age"]);
    let summary = home.json("status")["summary"].clone();
    for (name, backup) in [("first", "file.age"), ("second", "server.age")] {
        home.ok(&format!("workspace create {name} --store {url}"));
        home.ok(&format!("-w {name} vault restore {backup} --yes"));
        assert_eq!(home.json(&format!("-w {name} vault status"))["store"]["backend"], "postgres");
        assert_eq!(home.json(&format!("-w {name} vault status"))["grants_from_backup"], 2);
        assert_eq!(home.json(&format!("-w {name} status"))["summary"]["total"], summary["total"]);
        home.ok(&format!("-w {name} test --all"));
        refused(&home.run(&format!("-w {name} vault restore {backup} --yes --json")), "workspace_not_empty");
    }
    home.ok("-w third vault restore server.age --yes");
    assert_eq!(home.json("-w third vault status")["store"]["backend"], "sqlite");
    home.ok("-w third test --all");
    // The environment says where a new workspace is created, for a backup too.
    let server = home.with("INTEG_STORE_URL", &url);
    server.ok("-w fourth vault restore file.age --yes");
    assert_eq!(server.json("-w fourth vault status")["store"]["backend"], "postgres");
    for name in ["first", "second", "fourth"] {
        server.ok(&format!("workspace delete {name} --yes"));
    }
}

#[test]
fn a_changed_row_is_found_by_a_check() {
    let Some(url) = url() else { return };
    let home = filled();
    home.ok(&format!("vault move --to {url}"));
    home.ok("vault check");
    let store = fs::read_to_string(home.workspace().join("store.toml")).unwrap();
    let id = store.lines().find_map(|line| line.strip_prefix("workspace = ")).unwrap().trim_matches('"').to_owned();
    let id = i64::from_be_bytes(u64::from_str_radix(&id, 16).unwrap().to_be_bytes());
    super::runtime().block_on(async {
        let owner = super::server::owner().await;
        let sql = format!(
            "UPDATE integ.records SET body = set_byte(body, 30, get_byte(body, 30) # 1) WHERE workspace_id = {id}
             AND id = (SELECT max(id) FROM integ.records WHERE workspace_id = {id})"
        );
        owner.batch_execute(&sql).await.unwrap();
    });
    refused(&home.run("vault check --json"), "vault_damaged");
}
