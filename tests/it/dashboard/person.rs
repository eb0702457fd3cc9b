//! The dashboard in a real browser, as a person uses it.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::link;
use crate::harness::{Home, finish, has_program, needs, peers};
use crate::server::Server;

fn ready() -> bool {
    let modules = peers().join("node_modules");
    needs("node", has_program("node"))
        && needs("axe-core", modules.join("axe-core").is_dir())
        && needs("Chromium", Path::new("/usr/bin/chromium").exists() || std::env::var_os("CHROMIUM").is_some())
}

/// `DASHBOARD_SCREENSHOTS` names a folder for pictures of every page.
#[test]
fn a_person_connects_tests_syncs_sees_events_arrive_and_disconnects() {
    if !ready() {
        return;
    }
    let home = Home::new();
    let server = Server::start(&home, "");
    let link = link(&home, &server, "--as kim --role editor");
    let mut command = Command::new("node");
    command.arg(peers().join("dashboard.mjs")).arg(link);
    if let Some(folder) = std::env::var_os("DASHBOARD_SCREENSHOTS") {
        command.arg("--screenshots").arg(folder);
    }
    let ran = finish(command);
    let report: Value = serde_json::from_str(ran.stdout.trim()).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert_eq!(report["ok"], true, "{report:#}");
    for empty in ["console", "violations", "overflow"] {
        assert_eq!(report[empty], json!([]), "{empty}: {report:#}");
    }
    assert!(report["pages"].as_array().unwrap().len() > 15, "{report:#}");
}
