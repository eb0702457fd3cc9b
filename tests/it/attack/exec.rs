//! What the programs that `exec` and `connect` start find in their environment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::fake::{CONNECTOR, FakeProvider, Trouble};
use crate::flow::Flow;
use crate::harness::{Home, Ran, finish, has_program, needs};

/// A home connected to a vendor whose answer says what a variable of a connector's choice is to be.
fn kept(id: &str, part: &str, value: &str) -> Home {
    let provider = FakeProvider::start();
    let home = Home::new();
    let keep = format!("rotation = \"always\"\nanswer = {{ keep = {{ {part} = \"/evil\" }} }}");
    let toml = CONNECTOR.replace("\"fake\"", &format!("\"{id}\"")).replace("rotation = \"always\"", &keep);
    home.install(id, &toml);
    provider.trouble("/token", [Trouble::Edit(json!({ "evil": value }))]);
    Flow::start(&home, &format!("connect {id} --client-id test --origin {}", provider.origin())).allow();
    home
}

fn exec(home: &Home, words: &[&str]) -> Ran {
    finish(home.command(std::iter::once("exec").chain(words.iter().copied())))
}

/// A key of the generic connector.
fn key(home: &Home, account: &str, value: &str) {
    let line = format!("connect api-key --as {account} --with-token --param base=http://127.0.0.1:1/v1 --json");
    let ran = home.run_with_input(&line, value);
    assert!([0, 5].contains(&ran.code), "{ran:?}");
}

/// A connector of the user's own that takes a key and a part.
fn install_keyed(home: &Home, id: &str, part: &str) {
    home.install(
        id,
        &format!(
            "id = \"{id}\"\nname = \"X\"\ncategory = \"generic\"\ndescription = \"X.\"\ndocs = \"https://x.example\"\n\
             [api]\nbase = \"https://x.example\"\n[auth.key]\nlabel = \"Key\"\n[auth.key.fields.key]\nprompt = \"Key\"\n\
             [auth.key.fields.{part}]\nprompt = \"Part\"\nsecret = false\n"
        ),
    );
}

fn connect_keyed(home: &Home, id: &str, part: &str, value: &str) {
    let part = format!("{part}={value}");
    let mut command = home.command(["connect", id, "--with-token", "--param", &part]);
    command.env("INTEG_TOKEN", "the-key");
    let ran = finish(command);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn attack_b2_an_answer_runs_no_command_through_git() {
    if !needs("git", has_program("git")) {
        return;
    }
    let home = kept("git", "ssh_command", "touch PWNED; false");
    let ran = exec(&home, &["git", "--", "git", "ls-remote", "ssh://git@example.invalid/x.git"]);
    assert!(!home.path().join("PWNED").exists(), "GIT_SSH_COMMAND was obeyed");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("GIT_SSH_COMMAND") && ran.stderr.contains("controls other programs"), "{ran:?}");
    // The hint leaves it out.
    let ran = exec(&home, &["--env", "GIT_TOKEN=git", "--", "sh", "-c", "echo ${GIT_SSH_COMMAND-none} ${#GIT_TOKEN}"]);
    assert!(ran.code == 0 && ran.stdout.starts_with("none ") && !ran.stdout.ends_with(" 0\n"), "{ran:?}");
    let ran = home.run("token git --format env");
    assert!(ran.code == 2 && ran.stdout.is_empty(), "{ran:?}");
}

#[test]
fn attack_b2_no_part_takes_a_name_that_programs_obey() {
    for (id, part, variable) in [
        ("ld", "preload", "LD_PRELOAD"),
        ("node", "options", "NODE_OPTIONS"),
        ("bash", "env", "BASH_ENV"),
        ("https", "proxy", "HTTPS_PROXY"),
        ("docker", "host", "DOCKER_HOST"),
        ("pip", "index_url", "PIP_INDEX_URL"),
        ("ssl", "cert_file", "SSL_CERT_FILE"),
        ("integ", "identity", "INTEG_IDENTITY"),
    ] {
        let home = Home::new();
        install_keyed(&home, id, part);
        connect_keyed(&home, id, part, "evil");
        let ran = exec(&home, &[id, "--json", "--", "env"]);
        assert!(ran.code != 0 && !ran.stdout.contains("=evil"), "{variable}: {ran:?}");
        assert_eq!(ran.error_code(), "reserved_variable", "{ran:?}");
        let prefix = variable.split('_').next().unwrap();
        assert!(ran.stderr.contains(&format!("would set {prefix}_")), "{ran:?}");
        // What the user types is the user's own choice.
        let ran = exec(&home, &["--env", &format!("MINE={id}.{part}"), "--", "sh", "-c", "echo $MINE"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "evil\n"), "{ran:?}");
    }
}

#[test]
fn attack_b2_two_connections_that_share_a_variable_are_refused() {
    let home = Home::new();
    install_keyed(&home, "slack-work", "more");
    home.ok("connect slack --sandbox --as work");
    connect_keyed(&home, "slack-work", "more", "x");
    let ran = exec(&home, &["slack@work", "slack-work", "--json", "--", "env"]);
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "variable_conflict"), "{ran:?}");
    assert!(!ran.stdout.contains("SLACK_WORK_TOKEN") && ran.stderr.contains("--env"), "{ran:?}");
    let ran = exec(&home, &["--env", "A=slack@work", "--env", "B=slack-work", "--", "sh", "-c", "echo $A $B"]);
    assert_eq!(ran.stdout.trim(), format!("{} the-key", home.ok("token slack@work")), "{ran:?}");
}

#[test]
fn attack_b2_a_part_replaces_no_variable_of_the_users() {
    let home = Home::new();
    install_keyed(&home, "acme", "region");
    connect_keyed(&home, "acme", "region", "theirs");
    let with = |words: &[&str]| {
        let mut command = home.command(std::iter::once("exec").chain(words.iter().copied()));
        command.env("ACME_REGION", "mine").env("ACME_TOKEN", "old");
        finish(command)
    };
    let print = ["--", "sh", "-c", "echo $ACME_REGION $ACME_TOKEN"];
    let ran = with(&[&["acme", "--json"], print.as_slice()].concat());
    assert_eq!((ran.code, ran.error_code().as_str(), ran.stdout.as_str()), (2, "variable_already_set", ""), "{ran:?}");
    let ran = with(&[&["acme", "--env", "ACME_REGION=acme.region"], print.as_slice()].concat());
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "theirs the-key\n"), "{ran:?}");
    let ran = with(&[&["--env", "ACME_TOKEN=acme"], print.as_slice()].concat());
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "mine the-key\n"), "{ran:?}");
}

#[test]
fn attack_b2_every_part_that_a_service_needs_is_given() {
    let home = Home::new();
    home.ok("connect twilio --sandbox --auth auth-token");
    home.ok("connect trello --sandbox");
    home.ok("connect jira --sandbox");
    let script = "echo ${#TWILIO_ACCOUNT_SID} ${#TRELLO_CLIENT_ID} ${#JIRA_CLOUD_ID}";
    let ran = exec(&home, &["twilio", "trello", "jira", "--", "sh", "-c", script]);
    assert!(ran.code == 0 && ran.stdout.split_whitespace().all(|length| length != "0"), "{ran:?}");
    for (connection, part) in [("twilio", "account_sid"), ("trello", "client_id"), ("jira", "cloud_id")] {
        let token = home.json(&format!("token {connection} --format json"));
        let value = token["parts"][part].as_str().unwrap_or_default().to_owned();
        assert!(!value.is_empty(), "{token}");
        let ran = exec(&home, &["--env", &format!("V={connection}.{part}"), "--", "sh", "-c", "printf %s \"$V\""]);
        assert_eq!(ran.stdout, value, "{ran:?}");
        assert!(home.ok(&format!("token {connection} --format env")).contains(&value));
    }
    for bad in ["=twilio", "NAME=", "NAME", "N=twilio.nope", "N=nope"] {
        let ran = exec(&home, &["--env", bad, "--", "true"]);
        assert!([2, 3].contains(&ran.code), "{bad}: {ran:?}");
    }
}

#[test]
fn attack_b2_a_connection_whose_account_has_a_dot_is_one() {
    let home = Home::new();
    key(&home, "ann.token", "whole");
    key(&home, "ann", "short");
    let ran = exec(&home, &["--env", "V=api-key@ann.token", "--", "sh", "-c", "echo $V"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "whole\n"), "{ran:?}");
    let ran = exec(&home, &["--env", "V=api-key@ann.base", "--", "sh", "-c", "echo $V"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "http://127.0.0.1:1/v1\n"), "{ran:?}");
}

#[test]
fn attack_minor_values_and_headers_forge_no_second_line() {
    let home = kept("acme", "region", "eu\nexport LD_PRELOAD=/tmp/evil.so");
    for line in ["token acme --format env", "exec acme -- env"] {
        let ran = home.run(line);
        assert!(ran.code == 1 && ran.stdout.is_empty() && ran.stderr.contains("region of acme"), "{line}: {ran:?}");
    }
    let home = Home::new();
    install_keyed(&home, "lines", "more");
    let path = home.path().join("connectors/lines.toml");
    let toml = fs::read_to_string(&path).unwrap();
    let send = "label = \"Key\"\nsend = { headers = { X-Key = \"k\\u000aHost: evil\\u001b[2J\" } }";
    fs::write(&path, toml.replace("label = \"Key\"", send)).unwrap();
    let part = "more=x".to_owned();
    let mut command = home.command(["connect", "lines", "--with-token", "--param", &part]);
    command.env("INTEG_TOKEN", "the-key");
    // Where validation refuses such a file already, there is no connection to ask.
    if finish(command).code == 0 {
        let ran = home.run("token lines --format header");
        assert!(ran.code == 1 && ran.stdout.is_empty() && ran.stderr.contains("X-Key"), "{ran:?}");
    }
}

/// What must reach no child.
const SECRETS: &[&str] = &[
    "INTEG_IDENTITY_FILE",
    "INTEG_PASSPHRASE_COMMAND",
    "INTEG_TOKEN",
    "INTEG_CLIENT_SECRET",
    "INTEG_WEBHOOK_SECRET",
    "INTEG_NOTIFY_SECRET",
    "INTEG_BUNDLE",
    "GITHUB_CLIENT_SECRET",
];

/// Those of them that can be set to anything: a bundle would be opened, and has tests of its own.
fn fake_secrets(from: usize) -> impl Iterator<Item = (&'static str, &'static str)> {
    SECRETS[from..].iter().filter(|name| **name != "INTEG_BUNDLE").map(|name| (*name, "S3CRET"))
}

fn assert_clean(what: &str, environment: &str) {
    for name in SECRETS.iter().chain(&["INTEG_IDENTITY"]) {
        assert!(
            !environment.lines().any(|line| line.starts_with(&format!("{name}="))),
            "{what}: {name}\n{environment}"
        );
    }
    assert!(environment.contains("KEPT=1"), "{what}: the rest is inherited: {environment}");
}

#[test]
fn attack_m2_children_of_exec_get_no_secret_of_integ() {
    let home = Home::new();
    key(&home, "x", "the-key");
    key(&home, "y", "other-key");
    let identity = fs::read_to_string(home.path().join("identity")).unwrap();
    let identity = identity.lines().find(|line| line.starts_with("AGE-")).unwrap();
    let run = |words: &[&str]| {
        let mut command = home.command(words);
        command.env("INTEG_IDENTITY", identity).env("KEPT", "1").envs(fake_secrets(1));
        finish(command)
    };
    let ran = run(&["exec", "api-key@x", "--", "env"]);
    assert!(ran.code == 0 && ran.stdout.contains("API_KEY_X_TOKEN=the-key"), "{ran:?}");
    assert_clean("exec", &ran.stdout);
    // For nested use all of integ's own are passed on, and the token of the outer connection is not.
    let integ = crate::harness::INTEG;
    let inner = format!("{integ} exec --inherit api-key@y -- env");
    let ran = run(&["exec", "--inherit", "api-key@x", "--", "sh", "-c", &inner]);
    assert!(ran.stdout.contains(&format!("INTEG_IDENTITY={identity}")), "{ran:?}");
    assert!(ran.stdout.contains("API_KEY_Y_TOKEN=other-key") && !ran.stdout.contains("the-key"), "{ran:?}");
}

#[test]
fn attack_m2_browsers_and_the_passphrase_command_get_no_secret_of_integ() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let script = folder.path().join("script");
    let text = format!("#!/bin/sh\nenv > {0}.part; mv {0}.part {0}\necho correct horse\n", seen.display());
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    let run = |home: &Home, line: &str, more: &[(&str, &str)]| {
        let mut command = home.command(line.split_whitespace());
        command.env("KEPT", "1").envs(fake_secrets(2)).envs(more.iter().copied());
        let ran = finish(command);
        let waited = std::time::Instant::now();
        while !seen.exists() && waited.elapsed() < std::time::Duration::from_secs(20) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let environment = fs::read_to_string(&seen).unwrap_or_else(|_| panic!("{line}: {ran:?}"));
        fs::remove_file(&seen).unwrap();
        environment
    };
    let script = script.display().to_string();
    let browser = run(&Home::new(), "connect slack --client-id x --timeout 1s", &[("BROWSER", &script)]);
    assert_clean("BROWSER", &browser);
    let home = Home::new();
    home.ok("config set vault.identity passphrase");
    let asked = run(&home, "connect slack --sandbox", &[("INTEG_PASSPHRASE_COMMAND", &script)]);
    assert_clean("the passphrase command", &asked);
}

#[test]
fn attack_m2_there_is_one_way_to_start_a_program() {
    fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 150);
    for path in files {
        let name = path.strip_prefix(&root).unwrap();
        let is_test = name.components().any(|part| part.as_os_str() == "tests");
        if name == Path::new("program.rs") || is_test || path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let starts = line.contains("Command::new(") && !line.contains("clap::Command::new(");
            assert!(!starts, "{}:{}: use program::command", name.display(), number + 1);
        }
    }
}

#[test]
fn attack_minor_exec_says_why_a_command_did_not_run_as_a_shell_does() {
    let home = Home::new();
    key(&home, "x", "the-key");
    assert_eq!(exec(&home, &["api-key@x", "--", "/no/such/program"]).code, 127);
    let plain = home.path().join("plain");
    fs::write(&plain, "text").unwrap();
    assert_eq!(exec(&home, &["api-key@x", "--", &plain.display().to_string()]).code, 126);
}
