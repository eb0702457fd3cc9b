//! The official SDKs' clients list and call tools, over standard input and over HTTP.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::connected;
use crate::fake::{FakeProvider, Trouble};
use crate::harness::{INTEG, finish, has_program, needs, peers};
use crate::server::{Server, token};

/// A client of each SDK that is installed: its name, its program and its script.
fn clients() -> Vec<(&'static str, PathBuf, PathBuf)> {
    let mut found = Vec::new();
    let typescript = has_program("node") && peers().join("node_modules/@modelcontextprotocol/sdk").exists();
    if needs("npm --prefix tests/peers ci", typescript) {
        found.push(("typescript", PathBuf::from("node"), peers().join("mcp-agent.mjs")));
    }
    let python = peers().join("venv/bin/python3");
    let has_mcp = || Command::new(&python).args(["-c", "import mcp"]).status().is_ok_and(|status| status.success());
    if needs("tests/peers/venv with mcp", python.exists() && has_mcp()) {
        found.push(("python", python, peers().join("mcp-agent.py")));
    }
    found
}

#[test]
fn the_official_clients_list_and_call_tools() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let words = "--scope connections:call --scope connections:read --connection fake --tier enterprise";
    let agent = token(&home, "agent", words);
    let server = Server::start(&home, "");
    let url = format!("{}/mcp", server.url);
    for (name, program, script) in clients() {
        let doors =
            [vec!["stdio", INTEG, "mcp", "serve", "--connection", "fake"], vec!["http", url.as_str(), agent.as_str()]];
        for door in doors {
            provider.trouble("/api/notes/7", [Trouble::json(200, &json!({ "id": 7 }))]);
            let mut command = Command::new(&program);
            command.arg(&script).args(&door).env("INTEG_HOME", home.path());
            command.env("TOOL", "fake_notes_get").env("ARGUMENTS", r#"{"note":"7"}"#);
            let ran = finish(command);
            assert_eq!(ran.code, 0, "{name} {door:?}: {ran:?}");
            let seen: Value = serde_json::from_str(ran.stdout.trim()).unwrap();
            assert_eq!((&seen["server"], &seen["is_error"]), (&json!("integ"), &json!(false)), "{name}: {seen}");
            assert!(seen["tools"].as_array().unwrap().contains(&json!("fake_notes_get")), "{name}: {seen}");
            assert_eq!(seen["resources"][0], "integ://status", "{name}: {seen}");
            assert_eq!(seen["status"]["connections"][0]["connection"], "fake", "{name}: {seen}");
            let result: Value = serde_json::from_str(seen["text"].as_str().unwrap()).unwrap();
            assert_eq!(result["response"], json!({ "id": 7 }), "{name}");
        }
        let log = super::entries(&home, "call");
        assert!(
            log.iter().any(|entry| entry["detail"].to_string().contains(&format!("agent \\\"{name}\\\""))),
            "{name}: {log:?}"
        );
    }
}
