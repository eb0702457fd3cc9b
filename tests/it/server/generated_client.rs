//! A client that is generated from the description of the API.

use std::process::Command;

use serde_json::{Value, json};

use super::{Server, token};
use crate::harness::{Home, Ran, finish, needs, peers};

#[test]
fn a_generated_client_connects_tests_syncs_simulates_retries_and_disconnects() {
    let venv = peers().join("venv/bin");
    let generator = "openapi-python-client";
    if !needs("openapi-python-client in tests/peers/venv", venv.join(generator).is_file()) {
        return;
    }
    let home = Home::new();
    home.ok("workspace create default");
    let token = token(&home, "client", "--scope admin:* --tier enterprise");
    let server = Server::start(&home, "");
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(venv.join("python3"));
    command.arg(peers().join("api-client.py")).args([&server.url, &token]).arg(folder.path());
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let ran: Ran = finish(command);
    assert_eq!(ran.code, 0, "{ran:?}");
    let seen: Value = serde_json::from_str(&ran.stdout).unwrap();
    let expected = json!({
        "connection": "github@u_1", "status": "active", "listed": 1, "healthy": 1, "sync": "done", "records": 3,
        "sent": 1, "unexpected": 0, "event": "push", "retried": true, "synced": true, "disconnected": "github@u_1",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&seen[name], value, "{name} of {seen}");
    }
    assert!(seen["modules"].as_u64().unwrap() > 100 && seen["models"].as_u64().unwrap() > 100, "{seen}");
}
