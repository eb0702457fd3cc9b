//! The JSON Schemas that `integ help json COMMAND` prints: what commands print fits them, with no member that they lack.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{LazyLock, Mutex};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

use crate::harness::{Home, Ran};
use crate::snapshots::help::all_commands;

type Validator = (Schemas, SchemaIndex);

/// The schema of each command, absent for those that print no JSON of integ's.
static VALIDATORS: LazyLock<BTreeMap<String, Validator>> = LazyLock::new(|| {
    let home = Home::new();
    let commands = all_commands().into_iter().map(|words| words.join(" ")).chain(["error".to_owned()]);
    let validator = |command: String| {
        let ran = home.run(&format!("help json {command}"));
        let schema: Value = serde_json::from_str(&ran.stdout).ok()?;
        let mut schemas = Schemas::new();
        let mut compiler = Compiler::new();
        compiler.add_resource("schema.json", schema).unwrap();
        let index = compiler.compile("schema.json", &mut schemas).unwrap();
        Some((command, (schemas, index)))
    };
    commands.filter_map(validator).collect()
});

/// Commands that printed JSON which was checked.
static CHECKED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn check(command: &str, document: &Value) {
    let Some((schemas, index)) = VALIDATORS.get(command) else { return };
    if let Err(error) = schemas.validate(document, *index) {
        panic!("{command} prints what `integ help json {command}` does not allow: {error:#}\n{document:#}");
    }
    CHECKED.lock().unwrap().insert(command.to_owned());
}

/// Checks what a command line with `--json` printed, each line by itself.
pub fn check_output(words: &[String], ran: &Ran) {
    for line in ran.stderr.lines() {
        if let Ok(error @ Value::Object(_)) = serde_json::from_str(line) {
            check("error", &error);
        }
    }
    let matches =
        integ::cli::command().try_get_matches_from(std::iter::once("integ").chain(words.iter().map(String::as_str)));
    let Ok(matches) = matches else { return };
    let (mut path, mut at) = (Vec::new(), &matches);
    while let Some((name, below)) = at.subcommand() {
        path.push(name);
        at = below;
    }
    let command = path.join(" ");
    // What jq makes of it, a stream of records, and formats of others.
    let is_other = ["--jq", "--format", "--limit 1"].iter().any(|flag| words.join(" ").contains(flag));
    if is_other && command != "webhook events" {
        return;
    }
    for line in ran.stdout.lines() {
        if let Ok(document @ Value::Object(_)) = serde_json::from_str(line) {
            check(&command, &document);
        }
    }
}

#[test]
fn schemas_are_printed_for_commands_that_print_json() {
    assert!(VALIDATORS.len() > 70, "{}", VALIDATORS.len());
    let home = Home::new();
    let unknown = home.run("help json nonsense");
    assert!(unknown.code == 2 && unknown.stderr.contains("integ help json"), "{unknown:?}");
    let none = home.run("help json man");
    assert!(none.code == 2 && none.stderr.contains("a manual page"), "{none:?}");
    let status: Value = serde_json::from_str(&home.ok("help json status")).unwrap();
    assert_eq!(status["title"], "integ status --json");
}

/// Commands whose output no session can show, and the test that checks it.
const ELSEWHERE: &[(&str, &str)] = &[
    ("error", "every session with a failure"),
    ("api-token login", "checked in `ci_token`"),
    ("approval deny", "checked in `approval`"),
    ("approval grant", "only at a terminal: its view is that of `approval show`"),
    ("approval show", "checked in `approval`"),
    ("calendar create", "its session shows a part: the view of `calendar delete` has the event"),
    ("calendar list", "its session shows a part"),
    ("calendar update", "its session shows a part: the view of `calendar delete` has the event"),
    ("connector new", "below"),
    ("doctor", "below"),
    ("export", "below"),
    ("proxy", "runs until it is stopped: its line is checked in `proxy`"),
    ("serve", "its first line is checked in `server`; the others are those of `webhook listen`"),
    ("vault move", "checked in `postgres`, which has a server"),
    ("vault unlock", "below"),
    ("webhook backfill", "the sandbox has no log of deliveries; its view is close to that of `webhook replay`"),
    ("webhook resolve", "needs an event with a conflict: its view is that of `webhook show`"),
];

#[test]
fn output_that_differs_each_time_fits_its_schema() {
    let home = Home::new().with("INTEG_PASSPHRASE_COMMAND", "echo correct horse battery staple");
    home.ok("connect stripe --sandbox");
    let agent = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg";
    for line in [
        "connector new beta --name Beta --category projects --base https://api.beta.example --auth bearer --health /me",
        "doctor",
        &format!("export stripe --to {agent}"),
        "vault move-identity passphrase",
        "vault unlock --for 1m",
        "vault lock",
    ] {
        let ran = home.run(&format!("{line} --json"));
        assert!([0, 6].contains(&ran.code), "{line}: {ran:?}");
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        check_output(&words, &ran);
        let is_named = |name: &&String| name.split(' ').eq(words.iter().take(name.split(' ').count()));
        let name = VALIDATORS.keys().find(is_named);
        let is_checked = name.is_none_or(|name| CHECKED.lock().unwrap().contains(name));
        assert!(is_checked, "{line} printed no JSON: {ran:?}");
    }
}

/// Sessions run beside each other; what they printed is in the snapshots, which are compared.
#[test]
fn each_schema_is_met_by_real_output() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots/snaps");
    let mut shown = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for step in text.split("$ integ ").skip(1) {
            let (line, printed) = step.split_once('\n').unwrap();
            if line.contains("--json") && printed.starts_with('{') {
                shown.insert(line.strip_prefix("-w other ").unwrap_or(line).to_owned());
            }
        }
    }
    let is_shown = |command: &str| shown.iter().any(|line| line.starts_with(&format!("{command} ")));
    let missing: Vec<&String> = VALIDATORS
        .keys()
        .filter(|command| !ELSEWHERE.iter().any(|(other, _)| other == command) && !is_shown(command))
        .collect();
    assert!(missing.is_empty(), "no session prints the JSON of {missing:?}");
}

#[test]
fn a_member_that_a_schema_lacks_is_found() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    let mut status = home.json("status");
    let (schemas, index) = &VALIDATORS["status"];
    assert!(schemas.validate(&status, *index).is_ok());
    status["connections"][0]["more"] = Value::Null;
    assert!(schemas.validate(&status, *index).is_err());
    status["connections"][0].as_object_mut().unwrap().remove("more");
    status["connections"][0].as_object_mut().unwrap().remove("status");
    assert!(schemas.validate(&status, *index).is_err());
}
