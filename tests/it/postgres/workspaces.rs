//! Workspaces in PostgreSQL, as their users have them: created, used from two machines, deleted, and what is refused.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::server;
use crate::harness::{Home, Ran};

/// The URL of the database of all tests.
pub fn url() -> Option<String> {
    url_of("postgres")
}

/// The URL of a database of the tests' server: `postgres://integ@%2Ftmp%2Finteg-postgres-…/postgres`.
pub fn url_of(database: &str) -> Option<String> {
    let tokio_postgres::config::Host::Unix(folder) = server::server()?.get_hosts().first()?.clone() else {
        return None;
    };
    let folder = folder.display().to_string().replace('/', "%2F");
    Some(format!("postgres://integ@{folder}/{database}"))
}

pub fn refused(ran: &Ran, code: &str) {
    assert_ne!(ran.code, 0, "{ran:?}");
    let error: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(error["error"]["code"], code, "{ran:?}");
}

/// Copies the two files by which another machine opens the workspace, and the identity that opens them.
pub fn copy_to(machine: &Home, from: &Home, workspace: &str) {
    let place = |home: &Home| home.path().join("workspaces").join(workspace);
    for folder in [machine.path().join("workspaces"), place(machine)] {
        fs::create_dir(&folder).unwrap();
        private(&folder, 0o700);
    }
    for file in ["vault.age", "store.toml"] {
        copy(&place(from).join(file), &place(machine).join(file));
    }
    copy(&from.path().join("identity"), &machine.path().join("identity"));
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    private(to, 0o600);
}

fn private(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn two_machines_use_one_workspace() {
    let Some(url) = url() else { return };
    let (first, second) = (Home::new(), Home::new());
    first.ok("config set vault.identity file");
    let created = first.run(&format!("workspace create team --store {url}"));
    assert_eq!(created.code, 0, "{created:?}");
    assert!(created.stderr.contains("vault.age and store.toml"), "{created:?}");
    let mut files: Vec<_> = fs::read_dir(first.path().join("workspaces/team")).unwrap().flatten().collect();
    files.sort_by_key(fs::DirEntry::file_name);
    let names: Vec<_> = files.iter().map(|file| file.file_name().into_string().unwrap()).collect();
    assert_eq!(names, ["lock", "store.toml", "vault.age"]);

    first.ok("-w team connect slack --sandbox");
    first.ok("-w team connect github --sandbox");
    assert_eq!(first.json("-w team status")["summary"]["active"], 2);
    copy_to(&second, &first, "team");
    let connected = |home: &Home| home.json("-w team status")["connections"][1]["connected_at"].clone();
    assert_eq!(connected(&second), connected(&first));
    let token = first.ok("-w team token slack");
    assert_eq!(second.ok("-w team token slack"), token);
    assert_eq!(second.json("-w team vault status")["store"]["backend"], "postgres");

    // What one machine does the other sees.
    second.ok("-w team sync github");
    assert!(!first.ok("-w team records github/issues").is_empty());
    second.ok("-w team disconnect github --yes");
    assert_eq!(first.json("-w team status")["summary"]["active"], 1);
    first.ok("-w team audit verify");

    first.ok("workspace delete team --yes");
    assert!(!first.path().join("workspaces/team").exists());
    refused(&second.run("-w team status --json"), "store_workspace_not_found");
}

#[test]
fn the_environment_says_where_new_workspaces_are_created() {
    let Some(url) = url() else { return };
    let home = Home::new().with("INTEG_STORE_URL", url);
    home.ok("config set vault.identity file");
    home.ok("connect slack --sandbox");
    assert!(!home.workspace().join("vault.db").exists());
    assert_eq!(home.json("workspace show")["store"]["backend"], "postgres");
    // Those that exist are opened where they are.
    let file = Home::in_files();
    file.ok("connect slack --sandbox");
    let moved = file.with("INTEG_STORE_URL", "postgres://integ@localhost:1/postgres");
    assert_eq!(moved.json("workspace show")["store"]["backend"], "sqlite");
}

#[test]
fn a_server_that_cannot_be_used_leaves_no_workspace() {
    let home = Home::new();
    home.ok("config set vault.identity file");
    for (url, code) in [
        ("postgres://integ:hunter2@localhost/integ", "invalid_store_url"),
        ("mysql://integ@localhost/integ", "invalid_store_url"),
        ("postgres://integ@db.example/integ?sslmode=disable", "invalid_store_url"),
        // Nothing listens there.
        ("postgres://integ@127.0.0.1:1/integ", "store_unreachable"),
    ] {
        let ran = home.run(&format!("workspace create team --store {url} --json"));
        refused(&ran, code);
        assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
        assert!(!home.path().join("workspaces/team").exists(), "{url}");
    }
    refused(
        &home
            .run("workspace create team --store postgres://integ@localhost/integ --store-password-file nowhere --json"),
        "store_password",
    );
}

#[test]
fn work_on_files_is_refused_where_the_store_is_in_postgres() {
    let Some(url) = url() else { return };
    let home = Home::new().with("INTEG_STORE_URL", url);
    home.ok("config set vault.identity file");
    home.ok("connect slack --sandbox");
    fs::write(home.workspace().join("store.toml"), "url = 1\n").unwrap();
    refused(&home.run("status --json"), "invalid_store_file");
    fs::remove_file(home.workspace().join("vault.age")).unwrap();
    refused(&home.run("status --json"), "vault_damaged");
}
