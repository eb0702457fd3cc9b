//! Commands that errors suggest: they parse, name what exists, and keep the workspace and the mode.
//!
//! The errors of the library are made variant by variant in `snapshots::errors`, which the compiler keeps complete; each hint
//! is checked there. Those of the command line come from running it, in `snapshots::commands`: each command that is complete
//! is then run in a copy of the home.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::documents::blocks;
use crate::harness::{Home, Ran, finish};
use crate::snapshots::{session::World, usage_lines};
use crate::tidy::source::TREE;

/// What a hint tells the user to run: the command of the hint, and what is in backticks in its text.
pub fn commands(hint: &str) -> Vec<String> {
    let quoted: Vec<String> = hint.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let whole = (quoted.is_empty() && hint.contains("integ ")).then(|| hint.to_owned());
    // `integ exec` names the command, and is nothing to run.
    let is_name = |command: &&String| {
        command.replace("-w team ", "").split(' ').count() == 2 && !hint.ends_with(&format!("`{command}`"))
    };
    let commands = quoted.iter().filter(|command| !is_name(command)).chain(&whole);
    commands.filter(|command| !blocks::commands(command).is_empty()).cloned().collect()
}

/// Panics unless the parser takes each `integ` command of a hint. Returns how many there are.
pub fn assert_parse(hint: &str) -> usize {
    let commands: Vec<_> = commands(hint).iter().flat_map(|command| blocks::commands(command)).collect();
    for words in &commands {
        // `NAME…` and `N` stand for what the user replaces, where a number is parsed.
        let filled = words.iter().map(|word| if word == "N" || word == "ID" { "1".to_owned() } else { word.clone() });
        let parsed = integ::cli::command().try_get_matches_from(filled);
        if let Err(error) = parsed
            && error.use_stderr()
        {
            panic!("hint {hint:?}: {words:?}: {error}");
        }
    }
    commands.len()
}

/// Whether a command can be run as it is: nothing in it is for the user to replace, and it ends by itself.
fn is_complete(command: &str) -> bool {
    let is_placeholder = |word: &str| {
        let name = word.rsplit(['=', '/', '@', ':']).next().unwrap_or_default();
        name.contains('…') || name.len() > 1 && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    };
    let words = shlex::split(command).unwrap_or_default();
    words.first().is_some_and(|first| first == "integ")
        && !words.iter().any(|word| is_placeholder(word) || ["&&", "|", "listen", "run"].contains(&word.as_str()))
}

/// Runs what an error suggests in a copy of the home, and returns the exit codes.
pub fn follow(home: &Home, line: &str, ran: &Ran) -> Vec<(String, i32)> {
    let error = ran.stderr.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let hint = error.as_ref().and_then(|error| error["error"]["hint"].as_str()).unwrap_or_default();
    assert_parse(hint);
    let mut codes = Vec::new();
    for command in commands(hint) {
        if line.contains("--sandbox") && command.starts_with("integ connect ") {
            assert!(command.contains("--sandbox"), "{line}: {command:?} leads out of the sandbox");
        }
        if !is_complete(&command) {
            continue;
        }
        let copy = home.copy();
        let words = shlex::split(&command).unwrap();
        let mut run = copy.command(&words[1..]);
        run.env("CI", "1").env("INTEG_CONNECT_TIMEOUT", "1s").env("INTEG_RECONNECT_TIMEOUT", "1s");
        let ran = finish(run);
        // What it names exists, and it is written correctly. Whether it then succeeds depends on what is wrong.
        let asks = ran.stderr.contains("integ is not running in a terminal");
        assert!(asks || ![2, 3].contains(&ran.code), "{line}: its hint `{command}` fails: {ran:?}");
        codes.push((command, ran.code));
    }
    codes
}

#[test]
fn each_type_of_error_is_in_the_list_or_is_printed_by_a_command() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let listed: String =
        std::fs::read_dir(folder.join("errors")).unwrap().map(|entry| read(&entry.unwrap().path())).collect();
    let shown: String = std::fs::read_dir(folder.join("snaps"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("json_"))
        .map(|path| read(&path))
        .collect();
    let mut missing = BTreeSet::new();
    let (mut types, mut own) = (0, 0);
    for file in TREE.src.iter().filter(|file| !file.is_test) {
        for part in file.text.split("impl Remedy for ").skip(1) {
            let line = file.text[..file.text.len() - part.len()].lines().count();
            if file.is_test_line(line) {
                continue;
            }
            types += 1;
            let name = part.split(|c: char| !c.is_alphanumeric()).next().unwrap();
            if UNLISTED.iter().any(|(unlisted, _)| *unlisted == name) || listed.contains(&format!("errors!({name} {{"))
            {
                continue;
            }
            // An error of the command line is private to it: one of its codes is printed by a session.
            own += 1;
            let body = part.split("\n}\n").next().unwrap();
            let codes = body.split('"').skip(1).step_by(2).filter(|text| is_code(text));
            if !codes.into_iter().any(|code| shown.contains(&format!("\"code\": \"{code}\""))) {
                missing.insert(format!("{}: {name}", file.path));
            }
        }
    }
    println!("{types} types of errors, {own} of them of the command line");
    assert!(missing.is_empty(), "no test makes these errors: {missing:#?}");
}

/// Errors that are made otherwise or by no test, and why.
const UNLISTED: &[(&str, &str)] = &[
    ("InvalidArguments", "only agents see it: see `agents`"),
    ("IssuerKeysError", "it is in `TokenExchangeError`"),
    ("ConnectInterrupted", "private to the library; a test of `flow` interrupts a sign-in"),
    ("DisconnectError", "its code is that of its cause; the session `connections` runs into it"),
    ("ExecError", "the system refuses to start a program that is there"),
    ("LinkPartError", "clap prints it: see `link`"),
    ("ProxyError", "of `mcp proxy`, which is in no session: see `mcp_proxy`"),
    ("RateLimitError", "only the library makes it; `sync_faults` runs into a rate limit"),
    ("RemoteError", "the errors of a server and of the way to it: see `remote`"),
    ("ReportError", "the XML of a report cannot be written"),
    ("ServerChoiceError", "no session has a server: see `remote`"),
    ("TooManyCredentialsError", "only the library makes it"),
    ("UserIdError", "clap prints it: see `link`"),
];

fn is_code(text: &str) -> bool {
    text.len() > 1 && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// The figures of the hints that the snapshots show.
#[test]
fn hints_are_counted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots/snaps");
    let (mut variants, mut with_command, mut followed) = (0, 0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("errors_") {
            variants += text.lines().filter(|line| line.starts_with("## ")).count();
            with_command +=
                text.lines().filter(|line| line.starts_with("hint: ") && assert_parse(&line[6..]) > 0).count();
        }
        followed += text.lines().filter(|line| line.starts_with("its hint ")).count();
    }
    println!("{variants} errors, {with_command} with an integ command, {followed} commands run");
    assert!(variants > 400 && with_command > 200 && followed > 30, "{variants} {with_command} {followed}");
}

#[test]
fn hints_keep_the_workspace() {
    let world = World::new();
    world.home.ok("workspace create team");
    let mut checked = 0;
    for line in usage_lines() {
        let (line, prepares) = line.strip_prefix(". ").map_or((line, false), |line| (line, true));
        if line.contains("-w ") || line.starts_with("workspace") {
            continue;
        }
        let words = shlex::split(&format!("-w team {line} --json")).unwrap();
        let ran = finish(world.home.command(words));
        assert!(!prepares || ran.code == 0, "{line}: {ran:?}");
        let error = ran.stderr.lines().find_map(|line| serde_json::from_str::<Value>(line).ok()).unwrap_or_default();
        for command in commands(error["error"]["hint"].as_str().unwrap_or_default()) {
            for words in blocks::commands(&command) {
                let keeps = words.get(1).is_some_and(|word| word == "-w" || word == "workspace");
                assert!(keeps, "{line}: {command}");
                checked += 1;
            }
        }
    }
    println!("{checked} commands of hints");
    assert!(checked > 25, "{checked}");
}

#[test]
fn commands_of_hints_are_found() {
    assert_eq!(commands("integ status"), ["integ status"]);
    assert_eq!(commands("look: `ls -l`, or `integ -w NEW vault restore X`"), ["integ -w NEW vault restore X"]);
    assert_eq!(commands("`integ exec` passes none; `integ exec --inherit x -- y`"), ["integ exec --inherit x -- y"]);
    assert_eq!(commands("try again"), [""; 0]);
    assert!(is_complete("integ connect slack --sandbox"));
    assert!(!is_complete("integ connect slack --param NAME=VALUE") && !is_complete("integ connect CONNECTOR"));
}
