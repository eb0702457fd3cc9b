//! Stores that earlier versions wrote, opened by this one: `tests/stores/VERSION`, which `tests/release` adds for each tag.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::harness::{Home, INTEG, finish};

fn stores() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores")
}

/// Copies a folder as the user's own: version control keeps no private modes.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::write(&target, fs::read(entry.path()).unwrap()).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// Opens a store, and holds what is read of it against what the program that wrote it read.
fn open(store: &Path) {
    let contents: Value = serde_json::from_slice(&fs::read(store.join("contents.json")).unwrap()).unwrap();
    let home = Home::new();
    copy(&store.join("home"), home.path());

    let status = home.json("status");
    let connections: Vec<&Value> =
        status["connections"].as_array().unwrap().iter().map(|connection| &connection["connection"]).collect();
    assert_eq!(json!(connections), contents["connections"]);
    assert_eq!(home.run("status --check").code, 0, "{status}");

    let listed = home.json("records");
    let count = |stream: &Value| {
        let name = |field: &str| stream[field].as_str().unwrap();
        (format!("{}/{}", name("connection"), name("stream")), stream["records"].clone())
    };
    let counts: Map<String, Value> = listed["streams"].as_array().unwrap().iter().map(count).collect();
    assert_eq!(Value::from(counts.clone()), contents["streams"]);
    for (stream, count) in &counts {
        let printed = home.ok(&format!("records {stream}"));
        let records: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((records.len() as u64, true), (count.as_u64().unwrap(), *count != json!(0)), "{stream}");
        assert!(records.iter().all(|record| record["id"] != Value::Null && record["_key"].is_string()), "{stream}");
    }

    let events = home.ok("webhook events --jq .id");
    let ids: Vec<Value> = events.lines().map(|id| serde_json::from_str(id).unwrap()).collect();
    assert_eq!(json!(ids), contents["events"]);
    let body = home.ok(&format!("webhook show {} --body", ids[0]));
    assert!(serde_json::from_str::<Value>(&body).unwrap()["type"].is_string(), "{body}");
    assert_eq!(home.json("endpoint list")["endpoints"][0]["url"], contents["endpoints"][0]);

    // The grants are read, and the store can be written to.
    assert!(!home.ok("token stripe@shop").is_empty());
    home.ok("sync github/repositories");
    home.ok("vault check");
}

#[test]
fn stores_of_this_and_of_earlier_versions_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("this");
    let mut write = Command::new(stores().join("write"));
    write.arg(INTEG).arg(&own);
    let ran = finish(write);
    assert_eq!(ran.code, 0, "{ran:?}");
    let released = fs::read_dir(stores()).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    for store in released.chain([own]) {
        println!("{}", store.display());
        open(&store);
    }
}
