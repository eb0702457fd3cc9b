//! Bytes that reach a terminal, and expressions that never end.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fake::{FakeProvider, Trouble};
use crate::flow::connected;
use crate::harness::{Home, INTEG, Ran, has_program, needs};
use crate::webhook::{self, Listening};

/// Runs a command with a pseudo-terminal as its stdout and stderr, and returns every byte that the terminal was sent.
fn on_terminal(home: &Home, words: &[&str]) -> Vec<u8> {
    let line = shlex::try_join([INTEG].into_iter().chain(words.iter().copied())).unwrap();
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env_clear().env("INTEG_HOME", home.path());
    command.env("HOME", home.path()).env("PATH", std::env::var_os("PATH").unwrap()).env("TERM", "xterm");
    let ran = command.env("NO_COLOR", "1").current_dir(home.path()).stdin(Stdio::null()).output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&ran.stdout));
    ran.stdout
}

/// Whether a terminal would have been steered, or the eye misled.
fn steers(shown: &[u8]) -> Option<String> {
    let Ok(text) = std::str::from_utf8(shown) else { return Some("bytes that are not UTF-8".to_owned()) };
    let hostile = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
            || "\u{61c}\u{200b}\u{200e}\u{202e}\u{2066}\u{feff}\u{ad}\u{2060}\u{2064}\u{e0041}".contains(c)
    };
    text.contains(hostile).then(|| text.escape_debug().to_string())
}

const TITLE: &[u8] = b"\xff\x1b]0;OWNED\x07\x9b31m";

/// What an eye does not see, or sees in another order.
const UNSEEN: &str = "a\u{61c}b\u{200b}c\u{200e}d\u{202e}e\u{2066}f\u{feff}g\u{ad}h\u{2060}i\u{2064}j\u{e0041}k";

fn plain() -> Vec<(&'static str, String)> {
    vec![("content-type", "text/plain".to_owned())]
}

#[test]
fn attack_m10_one_invalid_byte_does_not_turn_escaping_off() {
    if !needs("script", has_program("script")) {
        return;
    }
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let answer = [TITLE, b"\tcell\r\nsecond line"].concat();
    provider.trouble("/api/b", [(); 2].map(|()| Trouble::Instead(200, plain(), answer.clone())));
    let shown = on_terminal(&home, &["api", "fake", "/b"]);
    assert_eq!(steers(&shown), None);
    let text = String::from_utf8(shown).unwrap();
    assert!(text.contains("\\u{1b}]0;OWNED\\u{7}") && text.contains("second line"), "{text:?}");
    // A pipe is given what the service sent, to the byte.
    let piped = home.command(["api", "fake", "/b"]).output().unwrap();
    assert_eq!(piped.stdout, answer);
}

#[test]
fn attack_m10_no_way_of_printing_leads_around_the_escapes() {
    if !needs("script", has_program("script")) {
        return;
    }
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let body =
        serde_json::json!({ "title": format!("\u{1b}]0;OWNED\u{7}{UNSEEN}"), "family": "👩\u{200d}👩\u{200d}👧" });
    provider.trouble("/api/b", [(); 3].map(|()| Trouble::json(200, &body)));
    for words in [&["api", "fake", "/b"][..], &["api", "fake", "/b", "--jq", ".title"]] {
        assert_eq!(steers(&on_terminal(&home, words)), None, "{words:?}");
    }
    // A family is one picture only where its joiners are left in.
    let family = String::from_utf8(on_terminal(&home, &["api", "fake", "/b", "--jq", ".family"])).unwrap();
    assert_eq!(family.trim(), "👩\u{200d}👩\u{200d}👧");
}

#[test]
fn attack_m10_records_reach_a_terminal_escaped_in_every_format() {
    if !needs("script", has_program("script")) {
        return;
    }
    let home = Home::new();
    home.ok("connect github --sandbox");
    home.ok("sync github/issues");
    let title = format!("\"\\u001b]0;OWNED\\u0007{UNSEEN}\"");
    for words in [
        &["records", "github/issues", "--limit", "2", "--jq", &title][..],
        &["records", "github/issues", "--limit", "1", "--jq", "\"\\u009b31m\\u007f\""],
    ] {
        assert_eq!(steers(&on_terminal(&home, words)), None, "{words:?}");
    }
}

/// Runs an expression over a small document, and says how long that took.
fn filtered(home: &Home, expression: &str) -> (Ran, Duration) {
    let began = Instant::now();
    let ran = Ran::of(home.command(["status", "--jq", expression]).output().unwrap());
    (ran, began.elapsed())
}

#[test]
fn attack_minor_jq_expressions_that_never_end_are_ended() {
    let home = Home::new();
    let doubled = format!("[{}] | length", ["(.,.)"; 40].join("|"));
    for expression in [
        "def f: 1+f; f",
        "def f: f; f",
        "[recurse(1)]",
        "last(range(1e15))",
        "[range(1e12)] | length",
        "until(false; .)",
        "reduce repeat(1) as $x (\"\"; . + \"xxxxxxxxxxxxxxxx\")",
        "\"x\" * 100000000000 | length",
        "repeat(\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\")",
        &doubled,
    ] {
        let (ran, took) = filtered(&home, expression);
        // Each ends by a code of integ's own: neither a signal's nor a panic's.
        assert_eq!(ran.code, 2, "{expression}: {ran:?}");
        assert!(["jq_limit", "jq"].contains(&ran.error_code().as_str()), "{expression}: {ran:?}");
        assert!(ran.stdout.is_empty() && took < Duration::from_secs(30), "{expression}: {took:?}");
    }
}

#[test]
fn attack_minor_jq_sees_no_environment_and_ends_no_process() {
    let home = Home::new().with("INTEG_PASSPHRASE", "correct horse");
    let (ran, _) = filtered(&home, "env");
    assert!(!ran.stdout.contains("correct horse"), "{ran:?}");
    // What follows would not be reached if the expression could end the command.
    let (ran, _) = filtered(&home, "halt(0)");
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn attack_minor_jq_that_recurses_and_ends_is_run_as_before() {
    let home = Home::new();
    for (expression, printed) in [
        ("def f: if . < 1000 then . + 1 | f else . end; 1 | f", "1000\n"),
        ("[range(5)] | add", "10\n"),
        ("[limit(3; repeat(1))] | length", "3\n"),
        ("reduce range(100000) as $x (0; . + $x)", "4999950000\n"),
        ("\"a\\nb\", {a: 1}", "a\nb\n{\"a\":1}\n"),
        ("empty, (1, 2 | . * 3)", "3\n6\n"),
        ("[..] | length > 1", "true\n"),
    ] {
        let (ran, _) = filtered(&home, expression);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, printed), "{expression}: {ran:?}");
    }
    let (ran, _) = filtered(&home, "1, (\"x\" | . * 2 | keys)");
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "jq"), "{ran:?}");
}

#[test]
fn attack_minor_a_large_value_of_an_event_reaches_its_program() {
    let home = webhook::home(&["stripe"]);
    let handler = "sh -c 'cat > stdin.json; printf %s \"$INTEG_EVENT_RESOURCE\" > resource.txt'";
    let mut listening = Listening::start(&home, "stripe --attempts 1 --exec", Some(handler));
    let rehearsed = home.json("webhook simulate stripe charge.refunded --dry-run");
    let mut body: Value = match &rehearsed["body"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        body => body.clone(),
    };
    let long = "é".repeat(100_000);
    body["data"]["object"]["id"] = Value::from(long.clone());
    std::fs::write(home.path().join("body.json"), body.to_string()).unwrap();
    home.ok("webhook simulate stripe charge.refunded --data body.json");
    let handled = listening.until("handled");
    assert_eq!(handled["event_status"], "processed", "{handled}");
    let resource = std::fs::read_to_string(home.path().join("resource.txt")).unwrap();
    assert_eq!(resource, "é".repeat(2048), "cut between two characters");
    let read: Value = serde_json::from_slice(&std::fs::read(home.path().join("stdin.json")).unwrap()).unwrap();
    assert_eq!(read["data"]["object"]["id"], Value::from(long.clone()), "whole on stdin");
    // A table is for the eye, JSON for programs.
    let table = home.ok("webhook events stripe");
    assert!(table.chars().count() < 1000 && table.contains('…'), "{} characters", table.chars().count());
    assert!(home.ok("webhook events stripe --json").contains(&long));
}
