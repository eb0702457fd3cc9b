//! Connectors that `integ connector new` writes: each is valid, connects and passes `test` in the sandbox.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::fake::{FakeProvider, Trouble};
use crate::harness::{Home, INTEG, Ran, finish, has_program, needs};

fn new(home: &Home, words: &[&str]) -> Ran {
    finish(home.command(["connector", "new"].iter().chain(words)))
}

fn wrote(home: &Home, words: &[&str]) -> Value {
    let ran = new(home, &[words, &["--json"]].concat());
    assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The whole life of a connector, in each of its ways.
fn lives(home: &Home, id: &str) {
    home.ok(&format!("connector validate {id}"));
    let shown = home.json(&format!("connector show {id}"));
    for way in shown["auth_methods"].as_array().unwrap() {
        let auth = way["auth"].as_str().unwrap();
        home.ok(&format!("connect {id} --sandbox --auth {auth} --as {auth}"));
        let test = home.json(&format!("test {id}@{auth}"));
        assert_eq!(test["healthy"], 1, "{id}@{auth}: {test}");
        home.ok(&format!("connector setup {id} --auth {auth}"));
    }
}

fn description(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi").join(name).display().to_string()
}

#[test]
fn every_way_of_authenticating_makes_a_connector_that_works() {
    let home = Home::new();
    let base = "https://api.acme.example/v1/";
    let oauth2 = ["--authorize-url", "https://acme.example/authorize", "--token-url", "https://acme.example/token"];
    let health = ["--health", "/me", "--account-id", "/id", "--account-name", "/team/name"];
    let ways: [(&str, &[&str]); 7] = [
        ("bearer", &["--auth", "bearer", "--prefix", "ak_", "--prefix", "rk_"]),
        ("header", &["--header", "X-Acme-Key"]),
        ("usual-header", &["--auth", "header"]),
        ("query", &["--auth", "query", "--parameter", "key"]),
        ("basic", &["--auth", "basic"]),
        ("oauth", &[&oauth2[..], &["--scope", "read=Read things", "--scope", "a:b=\"Quoted\\\""]].concat()),
        (
            "device",
            &[
                &oauth2[..],
                &["--device-url", "https://acme.example/device", "--revoke-url", "https://acme.example/revoke"],
            ]
            .concat(),
        ),
    ];
    for (id, flags) in ways {
        let written = wrote(&home, &[&[id, "--base", base][..], flags, &health].concat());
        assert_eq!(written["file"], home.path().join(format!("connectors/{id}.toml")).display().to_string());
        lives(&home, id);
        assert_eq!(
            home.json("connector list --category generic")["connectors"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|item| item["id"] == id)
                .count(),
            1
        );
    }
    // Nothing but what cannot be done without.
    wrote(&home, &["least", "--base", "https://{team}.acme.example", "--auth", "bearer"]);
    lives(&home, "least");
    let text = fs::read_to_string(home.path().join("connectors/least.toml")).unwrap();
    assert!(text.contains("[params.team]") && text.contains("docs = \"https://acme.example\""), "{text}");
}

#[test]
fn descriptions_make_connectors_that_work() {
    let home = Home::new();
    let pets = wrote(&home, &["--from-openapi", &description("pets.yaml")]);
    assert_eq!((&pets["connector"], &pets["actions"][0]), (&"acme-pets".into(), &"create_pet".into()));
    assert_eq!(pets["default_scopes"], serde_json::json!(["pets.read", "pets.write"]));
    lives(&home, "acme-pets");
    let call = home.json("call acme-pets@oauth create_pet pet_name=Rex notify_owner=true --dry-run");
    assert!(call.to_string().contains("petName"), "{call}");
    let cards = description("cards.json");
    let cards = wrote(
        &home,
        &["boards", "--from-openapi", &cards, "--action", "Cards.Move", "--docs", "https://cards.example"],
    );
    assert_eq!(cards["actions"], serde_json::json!(["cards.move"]));
    lives(&home, "boards");
    let unknown = new(&home, &["x", "--from-openapi", &description("pets.yaml"), "--action", "createPets", "--json"]);
    assert_eq!((unknown.code, unknown.error_code().as_str()), (2, "unknown_operation"));
    let none = new(&home, &["x", "--from-openapi", "/etc/hostname", "--json"]);
    assert_eq!(none.error_code(), "invalid_openapi", "{none:?}");
    // What a description says of the way gives way to what the user says.
    wrote(
        &home,
        &["plain", "--from-openapi", &description("pets.yaml"), "--auth", "bearer", "--base", "https://pets.example"],
    );
    lives(&home, "plain");
    let text = fs::read_to_string(home.path().join("connectors/plain.toml")).unwrap();
    assert!(!text.contains("oauth2") && !text.contains("[params.region]"), "{text}");
}

#[test]
fn a_file_that_is_there_is_written_over_on_demand_only() {
    let home = Home::new();
    let flags = ["--base", "https://acme.example", "--auth", "bearer"];
    let code = |words: &[&str]| new(&home, &[words, &flags, &["--json"]].concat()).error_code();
    assert_eq!(code(&["acme"]), "");
    assert_eq!(code(&["acme"]), "connector_exists");
    assert_eq!(code(&["acme", "--replace", "--name", "Other"]), "");
    assert_eq!(home.json("connector show acme")["name"], "Other");
    assert_eq!(code(&["slack"]), "built_in_connector");
    for id in ["../evil", "A", "", "a/b"] {
        assert_eq!(code(&[id]), "invalid_connector", "{id:?}");
    }
    // Elsewhere, where an installation then takes it from.
    let file = home.path().join("mine.toml");
    let file = file.display().to_string();
    assert_eq!(code(&["slack", "--output", &file]), "");
    assert_eq!(code(&["slack", "--output", &file]), "connector_exists");
    home.ok(&format!("connector install {file} --replace --yes"));
    assert_eq!(code(&["slack", "--replace"]), "built_in_connector");
    home.ok("connector remove slack --yes");
    let printed = new(&home, &[&["acme", "--output", "-"][..], &flags].concat());
    assert!(printed.stdout.starts_with("id = \"acme\"\n"), "{printed:?}");
    // An installed file is held to its pin.
    fs::remove_file(home.path().join("connectors/acme.toml")).unwrap();
    fs::write(&file, &printed.stdout).unwrap();
    home.ok(&format!("connector install {file} --yes"));
    let over = new(&home, &[&["acme", "--replace"][..], &flags].concat());
    assert!(over.code == 2 && over.stderr.contains("integ connector remove acme"), "{over:?}");
}

#[test]
fn what_is_missing_or_wrong_names_its_flag() {
    let home = Home::new();
    for (words, flag) in [
        (&["acme"][..], "--base URL"),
        (&["acme", "--base", "https://acme.example"], "--auth bearer"),
        (&["acme", "--base", "https://acme.example", "--auth", "oauth2"], "--authorize-url URL"),
        (&["acme", "--base", "http://acme.example", "--auth", "bearer"], "--base"),
        (&["acme", "--base", "https://acme.example", "--auth", "bearer", "--category", "x"], "--category"),
        (&["acme", "--base", "https://acme.example", "--auth", "bearer", "--health", "me"], "--health"),
        (
            &["acme", "--base", "https://acme.example", "--auth", "bearer", "--health", "/me", "--account-id", "id"],
            "--account-id",
        ),
    ] {
        let ran = new(&home, words);
        assert!(ran.code == 2 && ran.stderr.contains(flag), "{flag}: {ran:?}");
    }
    assert!(!home.path().join("connectors/acme.toml").exists());
}

#[test]
fn an_issuer_is_asked_for_what_it_publishes() {
    let provider = FakeProvider::start();
    let home = Home::new();
    let issuer = provider.origin();
    let words = ["acme", "--issuer", &issuer, "--docs", "https://acme.example", "--json"];
    assert_eq!(new(&home, &words).error_code(), "discovery_failed");
    let metadata = serde_json::json!({ "issuer": issuer, "authorization_endpoint": provider.url("/authorize"),
        "token_endpoint": provider.url("/token"), "scopes_supported": ["openid", "cards"] });
    provider.trouble("/.well-known/oauth-authorization-server", [Trouble::json(200, &metadata)]);
    // Found, and not kept: a file names https alone, and a server on this machine needs none.
    let found = new(&home, &words);
    assert_eq!(found.error_code(), "invalid_connector", "{found:?}");
    assert!(found.stderr.contains("issuer") && found.stderr.contains("integ connect oidc --issuer"), "{found:?}");
    assert_eq!(provider.state().count("/.well-known/oauth-authorization-server"), 2);
}

/// Answers questions on a terminal, each when it is asked; returns what the screen showed.
fn answer(home: &Home, line: &str, answers: &[(&str, &str)]) -> String {
    let mut script = format!("set timeout 20\nspawn -noecho {INTEG} {line}\n");
    for (question, answer) in answers {
        script.push_str(&format!(
            "expect {{\n  -ex \"{question}\" {{ send \"{answer}\\r\" }}\n  timeout {{ exit 9 }}\n  eof {{ exit 8 }}\n}}\n"
        ));
    }
    script.push_str("expect eof\n");
    let path = home.path().join("answers.exp");
    fs::write(&path, script).unwrap();
    let mut command = Command::new("expect");
    command.arg("-f").arg(&path).env_clear().env("INTEG_HOME", home.path()).env("HOME", home.path());
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("TERM", "xterm").current_dir(home.path());
    let ran = finish(command);
    assert_eq!(ran.code, 0, "{line}: {ran:?}");
    ran.stdout.replace('\r', "")
}

#[test]
fn a_person_is_asked_for_what_no_flag_says() {
    if !needs("expect", has_program("expect")) {
        return;
    }
    let home = Home::new();
    let answers = [
        ("Name of the service", ""),
        ("Category", "crm"),
        ("Description, in one line", ""),
        ("API base URL", "https://api.zip.example/v1"),
        ("Documentation", ""),
        ("Number", "2"),
        ("Header", ""),
        ("Page where users find the key", "https://zip.example/keys"),
        ("Path of a harmless GET", "/me"),
        ("account ID", "/id"),
        ("account name", ""),
    ];
    let shown = answer(&home, "connector new zip", &answers);
    assert!(shown.contains("integ connect zip --sandbox"), "{shown}");
    lives(&home, "zip");
    let text = fs::read_to_string(home.path().join("connectors/zip.toml")).unwrap();
    assert!(text.contains("category = \"crm\"") && text.contains("X-API-Key"), "{text}");

    // An installation shows what it is about before it asks, and no is the usual answer.
    let source = home.path().join("other.toml");
    fs::write(&source, text.replace("id = \"zip\"", "id = \"other\"")).unwrap();
    let line = format!("connector install {}", source.display());
    let refused = answer(&home, &line, &[("Go on?", "")]);
    assert!(refused.contains("api.zip.example") && refused.contains("Nothing was changed"), "{refused}");
    assert!(!refused.contains("u{1b}"), "{refused}");
    assert!(answer(&home, &line, &[("Go on?", "y")]).contains("Installed other"));
    assert!(answer(&home, "connector remove other", &[("Go on?", "y")]).contains("Removed other"));
    let description = description("pets.yaml");
    let line = format!("connector new pets --from-openapi {description} --auth bearer --category crm --name Pets");
    let answers = [
        ("Actions", "1, listPets"),
        ("Description, in one line", ""),
        ("API base", ""),
        ("Documentation", ""),
        ("Page where users", ""),
        ("Path of", ""),
        ("account ID", ""),
        ("account name", ""),
    ];
    let shown = answer(&home, &line, &answers);
    assert!(shown.contains("actions: create_pet, list_pets"), "{shown}");
    lives(&home, "pets");
}
