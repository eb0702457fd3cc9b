//! `integ connect` with a person at a terminal, whose part `expect` plays.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::fake::{CONNECTOR, FakeProvider, Trouble};
use crate::flow::{connect_line, connected};
use crate::harness::{Home, INTEG, Ran, finish, has_program, needs};

/// Fetches a page as a browser does, and follows its redirects.
const BROWSER: &str = "import sys, urllib.request\nurllib.request.urlopen(sys.argv[1]).read()\n";

/// Whether a terminal can be played here.
pub fn ready() -> bool {
    needs("expect", has_program("expect")) && needs("python3", has_program("python3"))
}

/// Runs a command on a terminal of 80 columns; each step is a text to wait for and what is then typed.
pub fn at_a_terminal(home: &Home, line: &str, steps: &[(&str, &str)]) -> Ran {
    fs::write(home.path().join("browser.py"), BROWSER).unwrap();
    let mut script = format!(
        "set timeout 30\nset stty_init {{columns 80 rows 24}}\nspawn -noecho {INTEG} {line}\n\
         expect_before {{\n timeout {{ exit 9 }}\n eof {{ exit 8 }}\n}}\n"
    );
    for (text, answer) in steps {
        // A prompt for a secret turns the echo off after it is printed, which throws away what was typed by then.
        script.push_str(&format!("expect -ex {{{text}}}\nafter 200\nsend -- \"{answer}\"\n"));
    }
    script.push_str("expect_before\nexpect {\n timeout { exit 9 }\n eof {}\n}\nset end [wait]\nexit [lindex $end 3]\n");
    let path = home.path().join("terminal.exp");
    fs::write(&path, script).unwrap();
    let mut command = Command::new("expect");
    command.arg("-f").arg(&path).env_clear().env("INTEG_HOME", home.path()).env("HOME", home.path());
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("TERM", "xterm").current_dir(home.path());
    command.env("INTEG_BROWSER", "python3 browser.py");
    finish(command)
}

/// A home whose connector names the page where an app is registered.
fn home() -> Home {
    let home = Home::new();
    let label = "label = \"OAuth\"";
    home.install("fake", &CONNECTOR.replace(label, &format!("{label}\nsetup_url = \"https://fake.invalid/apps\"")));
    home
}

#[test]
fn a_new_app_is_asked_for_checked_and_stored() {
    if !ready() {
        return;
    }
    let provider = FakeProvider::start();
    let home = home();
    let line = format!("connect fake --origin {}", provider.origin());
    let ran = at_a_terminal(
        &home,
        &line,
        &[
            ("Open https://fake.invalid/apps in the browser? [Y/n]", "n\\r"),
            ("Client ID: ", "https://fake.invalid/apps\\r"),
            ("Not accepted: it is a URL.", ""),
            ("Client ID: ", "app-1\\r"),
            ("Client secret (Enter if the app has none): ", "app-1\\r"),
            ("Not accepted: that is the client id.", ""),
            ("Client secret (Enter if the app has none): ", "s3cret\\r"),
            ("Connected fake as ", ""),
        ],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let shown = &ran.stdout;
    let parts = [
        "Fake needs an app of your own",
        "1. Register an app at",
        "https://fake.invalid/apps",
        "Redirect URI: http://127.0.0.1/callback",
        "Stored as the app of fake",
        "Fake will ask whether your app app-1 may:",
        "read   Read",
        "Opening your browser.",
        "Waiting for the browser (5:00 left), Ctrl-C to cancel",
        "Connected fake as ",
    ];
    let mut from = 0;
    for part in parts {
        let at = shown[from..].find(part).unwrap_or_else(|| panic!("{part:?} is missing or out of order: {shown}"));
        from += at;
    }
    assert!(!shown.contains("s3cret"), "{shown}");
    let app = &home.json("app list")["apps"][0];
    assert_eq!((app["client_id"].as_str(), app["has_secret"].as_bool()), (Some("app-1"), Some(true)), "{app}");
    // The next sign-in needs no answer.
    let ran = at_a_terminal(&home, &line, &[("Connected fake", "")]);
    assert!(ran.code == 0 && !ran.stdout.contains("Client ID"), "{ran:?}");
}

#[test]
fn a_key_is_asked_for_with_its_page_and_asked_again_if_it_cannot_be_one() {
    if !ready() {
        return;
    }
    let home = Home::new();
    // The second answer is a key that the real service would be asked about: nothing is sent, for it ends here.
    let ran = at_a_terminal(
        &home,
        "connect stripe",
        &[
            ("1. Create or copy the key at", ""),
            ("in the browser? [Y/n]", "n\\r"),
            ("that can read accounts: ", "pk_live_wrong\\r"),
            ("Not accepted: ", ""),
            ("that can read accounts: ", "\\r"),
            ("Not accepted: ", ""),
            ("that can read accounts: ", "whsec_wrong\\r"),
        ],
    );
    assert_eq!(ran.code, 2, "three wrong answers are enough: {ran:?}");
    assert!(!ran.stdout.contains("pk_live_wrong"), "{ran:?}");
}

#[test]
fn without_a_terminal_or_with_no_input_nothing_is_asked() {
    let provider = FakeProvider::start();
    let home = home();
    let line = format!("connect fake --origin {}", provider.origin());
    let ran = home.run(&format!("{line} --json"));
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "missing_app"), "{ran:?}");
    if !ready() {
        return;
    }
    let ran = at_a_terminal(&home, &format!("{line} --no-input"), &[("needs a client id", "")]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(!ran.stdout.contains("Client ID:"), "{ran:?}");
}

#[test]
fn dropping_scopes_is_confirmed_at_a_terminal() {
    if !ready() {
        return;
    }
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let line = format!("{} --scope read", connect_line(&provider));
    let ran = at_a_terminal(&home, &line, &[("would no longer have: write", ""), ("Go on? [y/N]", "\\r")]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(home.json("status")["connections"][0]["scopes"].as_array().unwrap().len(), 2);
    provider.trouble("/token", [Trouble::Edit(json!({ "scope": "read" }))]);
    let ran = at_a_terminal(&home, &line, &[("Go on? [y/N]", "y\\r"), ("Connected fake", "")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(home.json("status")["connections"][0]["scopes"].as_array().unwrap().len(), 1);
}

#[test]
fn one_of_several_broken_connections_is_chosen() {
    if !ready() {
        return;
    }
    let home = Home::new();
    for name in ["slack@one", "slack@two"] {
        home.ok(&format!("connect {name} --sandbox"));
    }
    home.ok("sandbox fault slack revoked_grant --times 2");
    for name in ["slack@one", "slack@two"] {
        assert_eq!(home.run(&format!("refresh {name}")).code, 4);
    }
    let ran =
        at_a_terminal(&home, "reconnect --no-browser", &[("Number [1-3]: ", "2\\r"), ("Reconnected slack@two", "")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(home.json("status slack@one")["connections"][0]["status"], "needs_reauth");
    home.ok("reconnect slack@one");
    home.ok("status --check");
}

#[test]
fn an_interrupt_ends_the_countdown() {
    if !ready() {
        return;
    }
    let provider = FakeProvider::start();
    let home = home();
    let line = format!("{} --no-browser", connect_line(&provider));
    let ran = at_a_terminal(&home, &line, &[("4:59 left), Ctrl-C to cancel", "\\x03"), ("interrupted", "")]);
    assert_eq!(ran.code, 130, "{ran:?}");
    let line = ran.stdout.lines().rev().find(|line| line.contains("interrupted")).unwrap();
    let shown = line.rsplit('\r').next().unwrap();
    assert!(shown.contains("error:") && !shown.contains("Waiting"), "the countdown is cleared away: {line:?}");
}
