//! What people and programs get on stdout and stderr, and the exit code.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use integ::clock::Timestamp;
use integ::model::{Account, ConnectionMode, ConnectionName, Grant, NewConnection, RefreshMethod, SecretStorage};
use integ::secret::Secret;
use integ::store::LockKey;

use crate::harness::{Home, INTEG, finish, has_program, needs, skipped_on_postgres};
use crate::vault::{connect_key, shared_store, wait};

/// Puts connections into the store of a home that has one.
fn insert(home: &Home, count: usize, account: impl Fn(usize) -> Account) {
    let store = shared_store(home);
    let now = Timestamp::now();
    for number in 0..count {
        let new = NewConnection {
            name: ConnectionName::new("slack", Some(&format!("account-{number:04}"))).unwrap(),
            mode: ConnectionMode::Live,
            auth: "oauth".to_owned(),
            origin: None,
            params: std::collections::BTreeMap::new(),
            metadata: std::collections::BTreeMap::new(),
            account: Some(account(number)),
            user: None,
            scopes_requested: vec!["chat:write".to_owned()],
            scopes_granted: Some(vec!["chat:write".to_owned()]),
            connected_at: now,
        };
        let grant = Grant {
            access_token: Secret::from("token"),
            refresh_token: None,
            fields: std::collections::BTreeMap::new(),
            client: None,
            issued_at: now,
            expires_at: None,
            refresh_expires_at: None,
            refresh_method: RefreshMethod::None,
        };
        wait(store.connections().connect(&new, &grant, SecretStorage::Store)).unwrap();
    }
}

/// Runs a command with stdout on a terminal of so many columns.
fn on_terminal(home: &Home, columns: usize, line: &str) -> String {
    let mut command = Command::new("script");
    command.args(["-qec", &format!("stty cols {columns} rows 50; exec {INTEG} {line}"), "/dev/null"]);
    command.env_clear().env("INTEG_HOME", home.path()).env("PATH", "/usr/bin:/bin").env("TERM", "xterm");
    let ran = finish({
        command.current_dir(home.path()).stdin(Stdio::null());
        command
    });
    assert_eq!(ran.code, 0, "{line}: {ran:?}");
    ran.stdout.replace('\r', "")
}

#[test]
fn fault_100_a_reader_that_has_gone_is_no_failure() {
    if skipped_on_postgres("doctor finds that the tests' server does not write to disk") {
        return;
    }
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home.ok("app set slack --client-id x");
    let lines = [
        "status",
        "status --json",
        "connector list",
        "connector list --json",
        "connector show slack",
        "connector validate",
        "workspace list",
        "workspace show",
        "vault status",
        "vault recipients",
        "app list",
        "token slack",
        "test",
        "test --format junit",
        "config show",
        "config path",
        "config redacted",
        "sandbox fault slack",
        "completions bash",
        "--help",
        "--version",
        "help",
        "help sandbox",
        "man",
        "doctor",
        "status --jq .connections[]",
        "refresh slack",
        "connect github --sandbox --json",
    ];
    for line in lines {
        let mut command = home.command(line.split_whitespace());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Closed before anything can be written to it.
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!said.contains("has a mistake") && !said.contains("panicked"), "{line}: {said}");
        assert_eq!(ended.status.code(), Some(0), "{line}: {said}");
    }
    // Nor is a stderr that has gone.
    let mut child = home.command(["status", "nobody"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn fault_101_names_from_outside_cannot_steer_a_terminal() {
    let home = Home::new();
    connect_key(&home, "x", "y");
    let hostile = "Evil\u{1b}]0;owned\u{7}\u{1b}[2J\r\nfake line\u{202e}\u{9b}31m\u{7f}";
    insert(&home, 1, |_| Account { id: "T\u{1b}[31m".to_owned(), name: Some(hostile.to_owned()) });
    let plain = home.ok("status");
    let harmless =
        |text: &str| !text.chars().any(|c| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c));
    assert!(harmless(&plain), "{plain:?}");
    assert_eq!(plain.lines().count(), 3, "{plain}");
    assert!(plain.contains("\\u{1b}]0;owned"), "{plain}");
    let json = home.ok("status --json");
    assert!(harmless(&json), "{json:?}");
    assert_eq!(home.json("status")["connections"][1]["account"]["name"], hostile);
    if needs("script", has_program("script")) {
        assert!(harmless(&on_terminal(&home, 100, "status --color never")));
    }
    // What a user types comes back in messages; so does what a file of others says.
    for words in [["status", "a\u{1b}[31mb"], ["connect", "a\u{1b}]0;x\u{7}"], ["connector", "\u{1b}[31m"]] {
        let ran = finish(home.command(words));
        assert!(ran.code != 0 && harmless(&ran.stderr), "{words:?}: {:?}", ran.stderr);
    }
    home.install("evil", "id = \"evil\"\nname = \"E\\u001b[31m\"\nnot_a_key = 1\n");
    for line in ["connector list", "connector show evil", "connector validate evil"] {
        let ran = home.run(line);
        assert!(harmless(&ran.stdout) && harmless(&ran.stderr), "{line}: {ran:?}");
    }
}

#[test]
fn fault_102_a_secret_with_a_line_break_is_not_printed() {
    let home = Home::new();
    let ran = home.run_with_input("connect api-key --with-token --param base=https://example.com", "one\ntwo");
    assert_eq!(ran.code, 2, "{ran:?}");
    connect_key(&home, "x", "y");
    // Nor is one that got in by another way.
    let store = shared_store(&home);
    let name = ConnectionName::new("api-key", Some("x")).unwrap();
    let (connection, grant) = wait(store.connections().find_with_grant(&name)).unwrap().unwrap();
    let stored = grant.unwrap();
    let mut forged = stored.grant.unwrap();
    forged.access_token = Secret::from("one\nTWO=2");
    let lock = wait(store.locks().try_acquire(LockKey::Grant(connection.id), Timestamp::UNIX_EPOCH)).unwrap().unwrap();
    let replaced = wait(store.grants().replace(connection.id, stored.generation, &forged, lock.fence)).unwrap();
    drop((lock, replaced));
    drop(store);
    for format in ["plain", "header", "env", "json"] {
        let ran = home.run(&format!("token api-key@x --format {format}"));
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{format}: {ran:?}");
        assert!(!ran.stderr.contains("TWO"), "{format}");
    }
    // Nor is it given to a program, which may pass it on to where it forges a line.
    let ran = finish(home.command(["exec", "api-key@x", "--", "sh", "-c", "printf %s \"$API_KEY_X_TOKEN|$TWO\""]));
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stderr.contains("token of api-key@x") && !ran.stderr.contains("TWO"), "{ran:?}");
}

#[test]
fn status_fits_every_terminal() {
    if !needs("script", has_program("script")) {
        return;
    }
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home.ok("connect github --sandbox --as a-rather-long-account-name");
    insert(&home, 2, |_| Account { id: "T1".to_owned(), name: Some("Größe und 世界 GmbH & Co. KG".to_owned()) });
    for columns in [30, 40, 49, 50, 60, 71, 72, 80, 100, 120, 160, 200] {
        let shown = on_terminal(&home, columns, "status");
        let plain = strip(&shown);
        for line in plain.lines() {
            let width: usize = line.chars().map(|c| if c > '\u{2e80}' { 2 } else { 1 }).sum();
            assert!(width <= columns, "{columns} columns, {width}: {line:?}");
        }
        assert!(columns < 60 || plain.contains("active"), "{columns}: {plain}");
        assert!(shown.contains('\u{1b}'), "a terminal gets colours");
    }
    assert!(!on_terminal(&home, 80, "status --color never").contains('\u{1b}'));
    assert!(!home.ok("status").contains('\u{1b}'), "a pipe gets none");
}

/// The text without its colours.
fn strip(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[test]
fn a_thousand_connections_are_listed_soon() {
    let home = Home::new();
    connect_key(&home, "x", "y");
    insert(&home, 1000, |number| Account { id: format!("T{number}"), name: Some(format!("Account {number}")) });
    let started = Instant::now();
    let text = home.ok("status");
    let taken = started.elapsed();
    assert_eq!(text.lines().count(), 1002);
    // No figure to be proud of, and far from what a mistake of the quadratic kind would take.
    assert!(taken < Duration::from_secs(5), "{taken:?}");
    let status = home.json("status");
    assert_eq!((status["summary"]["total"].as_u64(), status["summary"]["active"].as_u64()), (Some(1001), Some(1001)));
    println!("status of 1001 connections: {taken:?}");
}

#[test]
fn status_has_the_shape_that_is_promised() {
    if skipped_on_postgres("doctor finds that the tests' server does not write to disk") {
        return;
    }
    let home = Home::new();
    home.ok("connect slack --sandbox --as work");
    let mut status = home.json("status");
    for name in ["connected_at", "expires_at", "last_checked_at"] {
        let time = status["connections"][0][name].as_str().unwrap().to_owned();
        assert!(time.parse::<Timestamp>().is_ok() && time.ends_with('Z'), "{name}: {time}");
        status["connections"][0][name] = "TIME".into();
    }
    let expires_in = status["connections"][0]["expires_in"].as_i64().unwrap();
    assert!((3500..=3600).contains(&expires_in), "{expires_in}");
    status["connections"][0]["expires_in"] = "SECONDS".into();
    insta::assert_snapshot!(status.to_string(), @r#"{"format_version":1,"workspace":"default","connections":[{"connection":"slack@work","connector":"slack","name":"Slack","mode":"sandbox","origin":null,"auth":"oauth2","account":{"id":"T0WRZ7T4LPP","name":"Work"},"user":null,"reveal":"allowed","status":"active","reason":null,"hint":null,"scopes":["channels:read","channels:history","users:read","chat:write"],"missing_scopes":[],"connected_at":"TIME","expires_at":"TIME","expires_in":"SECONDS","refreshable":true,"refresh_expires_at":null,"last_checked_at":"TIME","last_sync_at":null,"last_error":null,"error_count":0,"subscriptions":[]}],"summary":{"total":1,"active":1,"expiring":0,"needs_reauth":0,"error":0,"disconnected":0}}"#);
    assert_eq!(home.ok("status --jq .connections[].connection"), "slack@work");
    assert_eq!(home.ok("status --jq .summary.active,.format_version"), "1\n1");
    for line in [
        "connector list",
        "connector show slack",
        "workspace list",
        "workspace show",
        "vault status",
        "app list",
        "vault recipients",
        "test",
        "config show",
        "config path",
        "token slack@work",
        "refresh slack@work",
        "sandbox fault slack",
        "doctor",
    ] {
        assert_eq!(home.json(line)["format_version"], 1, "{line}");
    }
}

#[test]
fn errors_are_json_where_json_is_asked_for() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    let ran = home.run("token slakc --json");
    assert_eq!(ran.stdout, "");
    insta::assert_snapshot!(ran.stderr.trim(), @r#"{"format_version":1,"error":{"code":"unknown_connection","message":"connection \"slakc\" not found","hint":"did you mean slack? list the connections: `integ status`","command":"integ status","connection":"slakc"}}"#);
    let ran = home.run("status --jq .[");
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
}

#[test]
fn every_kind_of_failure_has_its_exit_code() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home.ok("connect github --sandbox");
    let code = |line: &str| home.run(line).code;
    assert_eq!(code("status --no-such-flag"), 2);
    assert_eq!(code("nonsense"), 2);
    assert_eq!(code("connect slack --timeout soon --sandbox"), 2);
    for line in [
        "status nobody",
        "token nobody",
        "connect no-such-connector",
        "connector show nobody",
        "-w nowhere vault status",
        "workspace show nowhere",
    ] {
        assert_eq!(code(line), 3, "{line}");
    }
    assert_eq!(code("status --check"), 0);
    home.ok("sandbox fault slack server_error");
    assert_eq!(code("refresh slack"), 5);
    assert_eq!(code("test slack"), 6);
    home.ok("sandbox fault slack --clear");
    home.ok("sandbox fault slack revoked_grant --times 1");
    assert_eq!(code("refresh slack"), 4);
    assert_eq!(code("token slack"), 4);
    assert_eq!(code("status --check"), 4);
    assert_eq!(code("test slack"), 4);
    assert_eq!(code("refresh --all"), 8);
    fs::write(home.workspace().join("vault.age"), "damaged").unwrap();
    assert_eq!(code("status"), 7);
    // A person stops it.
    let other = Home::new();
    let mut child =
        other.command(["sandbox", "run", "slack"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = [0; 1];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    let mut reader = child.stdout.take().unwrap();
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut rest).unwrap();
    // A signal that comes before anybody waits for one ends it as well; a shell says 130 for both.
    let ended = child.wait().unwrap();
    assert!(ended.code() == Some(130) || ended.signal() == Some(2), "{ended:?}");
}

#[test]
fn junit_reports_are_xml() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home.ok("connect github --sandbox");
    home.ok("sandbox fault slack server_error");
    let ran = home.run("test --format junit");
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.stdout.contains("tests=\"2\"") && ran.stdout.contains("name=\"slack\""), "{ran:?}");
    if !needs("python3", has_program("python3")) {
        return;
    }
    let mut python = Command::new("python3");
    python.args(["-c", "import sys, xml.etree.ElementTree as x; r = x.parse(sys.stdin).getroot(); print(r.tag, len(r.findall('.//testcase')), len(r.findall('.//failure')) + len(r.findall('.//error')))"]);
    let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(ran.stdout.as_bytes()).unwrap();
    let parsed = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&parsed.stdout).trim(), "testsuites 2 1");
}

#[test]
fn exec_steps_aside_for_its_command() {
    let home = Home::new();
    connect_key(&home, "x", "the-key");
    // A reader leaves SQLite's empty log where it is; what counts is what is left beyond that.
    home.ok("token api-key@x");
    let before: Vec<_> = crate::harness::files(home.path()).into_keys().collect();
    for code in [0, 1, 7, 42, 255] {
        assert_eq!(finish(home.command(["exec", "api-key@x", "--", "sh", "-c", &format!("exit {code}")])).code, code);
    }
    let killed = home.command(["exec", "api-key@x", "--", "sh", "-c", "kill -TERM $$"]).status().unwrap();
    assert_eq!(killed.signal(), Some(15));
    let ran = home.run_with_input("exec api-key@x -- cat", "what is on stdin");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "what is on stdin"));
    let ran = finish(home.command([
        "exec",
        "api-key@x",
        "--",
        "sh",
        "-c",
        "echo $API_KEY_X_TOKEN; tr '\\0' ' ' </proc/$$/cmdline",
    ]));
    assert!(ran.stdout.starts_with("the-key\n") && !ran.stdout[8..].contains("the-key"), "{ran:?}");
    assert_eq!(home.run("exec api-key@x -- /no/such/program").code, 127);
    assert_eq!(home.run("exec nobody -- true").code, 3);
    let after: Vec<_> = crate::harness::files(home.path()).into_keys().collect();
    assert_eq!(after, before, "no file is left");
}

#[test]
fn a_project_file_names_a_workspace_and_connections() {
    let home = Home::new();
    home.ok("-w team connect slack --sandbox --as work");
    let project = home.path().join("project/deep/down");
    fs::create_dir_all(&project).unwrap();
    let file = home.path().join("project/.integ.toml");
    fs::write(&file, "workspace = \"team\"\n[connections]\nchat = \"slack@work\"\n").unwrap();
    let inside = |words: &[&str]| {
        let mut command = home.command(words);
        command.current_dir(&project);
        finish(command)
    };
    let ran = inside(&["token", "chat"]);
    assert_eq!((ran.code, ran.stdout.trim()), (0, home.ok("-w team token slack@work").as_str()), "{ran:?}");
    assert_eq!(inside(&["-w", "default", "status", "slack@work"]).code, 3, "the flag wins");
    for bad in [
        "[vault]\npassphrase_command = \"touch evil\"\n",
        "[notify]\ncommand = \"touch evil\"\n",
        "[notify]\nurl = \"https://example.com/\"\n",
        "token = \"x\"\n",
        "workspace = \"../../etc\"\n",
        "workspace = 1\n",
    ] {
        fs::write(&file, bad).unwrap();
        assert_eq!(inside(&["status"]).code, 2, "{bad}");
    }
    assert!(!project.join("evil").exists());
}

#[test]
fn flags_have_variables() {
    let home = Home::new();
    home.ok("-w team connect slack --sandbox");
    let with = |variables: &[(&str, &str)], line: &str| {
        let mut command = home.command(line.split_whitespace());
        command.envs(variables.iter().copied());
        finish(command)
    };
    assert!(
        with(&[("INTEG_JSON", "1"), ("INTEG_WORKSPACE", "team")], "status").stdout.starts_with("{\"format_version\":1")
    );
    assert!(!with(&[("INTEG_JSON", "0")], "status").stdout.starts_with('{'));
    assert_eq!(with(&[("INTEG_JQ", ".summary.total"), ("INTEG_WORKSPACE", "team")], "status").stdout, "1\n");
    assert_eq!(
        with(&[("INTEG_WORKSPACE", "team"), ("INTEG_TOKEN_FORMAT", "header")], "token slack").stdout.split(':').next(),
        Some("authorization")
    );
    assert!(with(&[("INTEG_COLOR", "always"), ("INTEG_WORKSPACE", "team")], "status").stdout.contains('\u{1b}'));
    let quiet = with(&[("INTEG_QUIET", "1"), ("INTEG_WORKSPACE", "team")], "vault check");
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
    assert!(
        with(&[("INTEG_VERBOSE", "2"), ("INTEG_WORKSPACE", "team")], "test slack").stderr.contains("request"),
        "INTEG_VERBOSE"
    );
    assert_eq!(with(&[("INTEG_CONNECT_SANDBOX", "1"), ("INTEG_CONNECT_AS", "env")], "connect slack").code, 0);
    assert_eq!(home.json("status")["connections"][0]["connection"], "slack@env");
    assert_eq!(with(&[("INTEG_NO_INPUT", "1")], "connect slack").code, 2);
}
