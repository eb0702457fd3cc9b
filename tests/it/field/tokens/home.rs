//! Folders that cannot be written, workspaces that a project chose, and values that do not fit.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::{connected_by, status};
use crate::attack::clocks::faketime;
use crate::attack::users::{User, VICTIM};
use crate::fake::{CONNECTOR, FakeProvider, Trouble};
use crate::flow::connected;
use crate::harness::{Home, INTEG, Ran, finish, has_program, is_root, needs, skipped_on_postgres};

/// Whether file systems can be mounted read-only for a process alone.
fn can_mount() -> bool {
    let works = || Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    needs("root and unshare, to mount a folder read-only", is_root() && has_program("unshare") && works())
}

/// Runs a command of this home while its folder is mounted read-only; `script` is what runs before it.
fn read_only(home: &Home, folder: &Path, prefix: &str, line: &str) -> Ran {
    let script = format!(
        "mount --bind {0} {0} && mount -o remount,ro,bind {0} && exec {prefix} {INTEG} {line}",
        folder.display()
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]).envs(
        home.command(["x"])
            .get_envs()
            .filter_map(|(name, value)| value.map(|value| (name.to_owned(), value.to_owned()))),
    );
    command.env("INTEG_HOME", folder).current_dir("/");
    finish(command)
}

#[test]
fn field_27_a_read_only_home_is_enough_to_read() {
    if skipped_on_postgres("it is about SQLite's log beside vault.db") {
        return;
    }
    if !can_mount() {
        return;
    }
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let token = home.ok("token fake");
    let run = |prefix: &str, line: &str| read_only(&home, home.path(), prefix, line);
    let reads = |what: &str| {
        for line in ["status --check", "token fake", "exec fake -- printenv FAKE_TOKEN", "api fake /me", "test fake"] {
            let ran = run("", line);
            assert_eq!(ran.code, 0, "{what}: {line}: {ran:?}");
        }
        assert_eq!(run("", "token fake").stdout.trim(), token, "{what}");
    };
    // A reader leaves an empty log and its index behind.
    assert!(home.workspace().join("vault.db-wal").exists());
    reads("after a reader");
    for name in ["vault.db-wal", "vault.db-shm", "lock"] {
        std::fs::remove_file(home.workspace().join(name)).unwrap();
    }
    reads("as a writer leaves it, and as it is copied");

    // What must write says so, and what to do.
    let refused = run("", "refresh fake --json");
    assert_eq!((refused.code, refused.error_code().as_str()), (1, "read_only"), "{refused:?}");
    assert!(refused.stderr.contains("integ refresh fake"), "{refused:?}");
    let refused = run("", "connect slack --sandbox --json");
    assert_eq!((refused.code, refused.error_code().as_str()), (1, "read_only"), "{refused:?}");
    let Some(library) = faketime() else { return };
    let later = |offset: &str| {
        let prefix = format!("env LD_PRELOAD={} FAKETIME={offset} NO_FAKE_STAT=1", library.display());
        run(&prefix, "token fake --json")
    };
    let due = later("+3500s");
    assert!(due.code == 0 && due.stderr.contains("was not refreshed"), "{due:?}");
    let over = later("+3700s");
    assert_eq!((over.code, over.error_code().as_str()), (1, "read_only"), "{over:?}");
    assert_eq!(provider.state().refreshes(), 0);
}

#[test]
fn field_27_the_last_writes_are_read_from_the_log_or_missed_aloud() {
    if skipped_on_postgres("it is about SQLite's log beside vault.db") {
        return;
    }
    if !can_mount() {
        return;
    }
    let provider = FakeProvider::start();
    let home = connected(&provider);
    // A process that is killed leaves the log: this connection holds it open while the other one writes.
    let reader = crate::vault::open(&home);
    home.ok("refresh fake");
    let token = provider.state().given.last().cloned().unwrap();
    let copy = tempfile::tempdir().unwrap();
    assert!(
        finish({
            let mut cp = Command::new("cp");
            cp.arg("-a").arg(home.path().join(".")).arg(copy.path());
            cp
        })
        .code
            == 0
    );
    drop(reader);
    let log = copy.path().join("workspaces/default/vault.db-wal");
    assert!(std::fs::metadata(&log).unwrap().len() > 0, "the log holds the refresh");
    let run = |line: &str| read_only(&home, copy.path(), "", line);
    let ran = run("token fake");
    assert_eq!((ran.code, ran.stdout.trim()), (0, token.as_str()), "with its index: {ran:?}");
    std::fs::remove_file(log.with_file_name("vault.db-shm")).unwrap();
    let ran = run("token fake --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (1, "read_only"), "never the old token: {ran:?}");
    assert!(ran.stderr.contains("integ test --all"), "{ran:?}");
}

#[test]
fn field_27_a_folder_without_the_right_to_write_is_enough_to_read() {
    let Some(user) = User::new(VICTIM) else { return };
    let connected = finish(user.integ(["connect", "slack", "--sandbox"]));
    assert_eq!(connected.code, 0, "{connected:?}");
    let workspace = user.integ_home().join("workspaces/default");
    let set = |mode: u32| {
        for folder in [workspace.parent().unwrap(), &workspace] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    for entry in std::fs::read_dir(&workspace).unwrap().flatten() {
        if entry.path().is_file() {
            std::fs::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o400)).unwrap();
        }
    }
    set(0o500);
    for line in [&["status", "--check"][..], &["token", "slack"], &["exec", "slack", "--", "true"]] {
        let ran = finish(user.integ(line));
        assert_eq!(ran.code, 0, "{line:?}: {ran:?}");
    }
    let ran = finish(user.integ(["refresh", "slack", "--json"]));
    assert_eq!((ran.code, ran.error_code().as_str()), (1, "read_only"), "{ran:?}");
    set(0o700);
}

#[test]
fn field_27_a_workspace_that_root_mounted_is_read_by_another_user() {
    if !can_mount() || !needs("setpriv", has_program("setpriv")) {
        return;
    }
    let Some(user) = User::new(VICTIM) else { return };
    let connected = finish(user.integ(["connect", "slack", "--sandbox"]));
    assert_eq!(connected.code, 0, "{connected:?}");
    let token = finish(user.integ(["token", "slack"])).stdout;
    own_by_root(&user.integ_home());
    let binary = user.home().join("integ");
    let script = format!(
        "mount --bind {0} {0} && mount -o remount,ro,bind {0} && \
         exec setpriv --reuid {1} --regid {1} --clear-groups {2} token slack",
        user.integ_home().display(),
        user.uid(),
        binary.display()
    );
    let mut command = user.program("unshare");
    command.args(["-m", "sh", "-c", &script]);
    std::os::unix::process::CommandExt::uid(&mut command, 0);
    std::os::unix::process::CommandExt::gid(&mut command, 0);
    let ran = finish(command);
    assert_eq!((ran.code, &ran.stdout), (0, &token), "{ran:?}");
    // The same files where they could be changed are refused.
    let ran = finish(user.integ(["token", "slack", "--json"]));
    assert_eq!((ran.code, ran.error_code().as_str()), (7, "unsafe_file"), "{ran:?}");
}

/// As Kubernetes and Docker mount secrets: root's, and readable by everybody.
fn own_by_root(path: &Path) {
    let is_folder = path.is_dir();
    if is_folder {
        for entry in std::fs::read_dir(path).unwrap().flatten() {
            own_by_root(&entry.path());
        }
    }
    chown(path, Some(0), Some(0)).unwrap();
    let mode = if is_folder { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn field_28_exec_names_what_cannot_be_passed_and_what_two_connections_would_share() {
    let provider = FakeProvider::start();
    let long = Trouble::Edit(json!({ "access_token": "a".repeat(200_000) }));
    // The API knows no token but its own, and a refusal would bring another one.
    provider.trouble("/api/me", [Trouble::json(200, &json!({ "id": "alice" }))]);
    let home = connected_by(&provider, CONNECTOR, "", vec![long]);
    let ran = home.run("exec fake --json -- true");
    assert_eq!(ran.code, 126, "{ran:?}");
    assert!(ran.stderr.contains("FAKE_TOKEN has 200000 bytes"), "{ran:?}");
    // fake@a-b and fake@a.b are both FAKE_A_B_TOKEN.
    let other = Home::new();
    for account in ["a-b", "a.b"] {
        other.ok(&format!("connect slack --sandbox --as {account}"));
    }
    let ran = other.run("exec slack@a-b slack@a.b --json -- true");
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "variable_conflict"), "{ran:?}");
}

#[test]
fn field_b7_tokens_of_github_apps_and_actions_are_taken() {
    let provider = FakeProvider::start();
    for prefix in ["ghs_", "ghu_", "ghp_", "gho_", "github_pat_"] {
        let home = Home::new();
        let token = format!("{prefix}0123456789abcdefghijklmnopqrstuvwxyz");
        // What GitHub says to the token of an installation that asks for the user.
        let limited = || Trouble::json(403, &json!({ "message": "Resource not accessible by integration" }));
        provider.trouble("/user", [limited(), limited()]);
        let line = format!("connect github --with-token --origin {}", provider.origin());
        let ran = home.run_with_input(&line, &format!("{token}\n"));
        assert_eq!(ran.code, 0, "{prefix}: {ran:?}");
        assert_eq!(home.ok("token github"), token);
        assert_eq!(status(&home)["status"], "active");
    }
}

#[test]
fn field_b13_a_workspace_that_a_project_chose_is_named_with_the_file() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home.ok("workspace create team");
    let file = home.path().join(".integ.toml");
    std::fs::write(&file, "workspace = \"team\"\n[connections]\ntracker = \"slack\"\n").unwrap();
    let place = format!("in workspace team, which {} chooses", file.display());
    let ran = home.run("-q status");
    assert!(ran.code == 0 && ran.stdout.contains(&format!("No connections yet {place}.")), "{ran:?}");
    for line in ["-q test tracker", "-q token slack", "-q api slack /x"] {
        let ran = home.run(line);
        assert!(
            ran.code == 3 && ran.stderr.contains(&format!("connection \"slack\" not found {place}")),
            "{line}: {ran:?}"
        );
    }
    let ran = home.run("-q status --check");
    assert!(ran.code == 3 && ran.stderr.contains(&file.display().to_string()), "{ran:?}");
    std::fs::remove_file(&file).unwrap();
    let ran = home.run("-w team token slack");
    assert!(ran.stderr.contains("connection \"slack\" not found in workspace team"), "{ran:?}");
    assert!(
        home.run("token nope").stderr.contains("connection \"nope\" not found\n"),
        "the default one goes without saying"
    );
}
