//! Connector files and vendors that name local files.
//!
//! What a connector declares and what a vendor answers are data: only words that a person types may name a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fake::{CONNECTOR, FakeProvider, Trouble};
use crate::flow::{Flow, connect_line};
use crate::harness::{Home, Ran, finish, holds};

/// What no vendor may see.
const SECRET: &str = "TOP-SECRET-FILE-CONTENT";

/// A webhook whose actions take `doc` of the type DOC.
const WEBHOOK: &str = r#"
[actions."hooks.create"]
about = "Register a URL"
path = "/hooks"
status = 201
result = { hook_id = "/id", ends = "/ends" }
BODY

[actions."hooks.create".params]
url = { about = "URL" }
doc = { about = "Document", type = "DOC" }
kinds = { about = "Types", type = "array", required = true }

[actions."hooks.renew"]
about = "Prolong one"
path = "/renew"
BODY

[actions."hooks.renew".params]
hook_id = { about = "Hook", type = "integer" }
doc = { about = "Document", type = "DOC" }

[actions."log.list"]
about = "List what happened"
method = "GET"
path = "/log"
list = "/log"
params = { doc = { about = "Document" } }

[actions."log.get"]
about = "Read one"
path = "/get"
BODY

[actions."log.get".params]
doc = { about = "Document", type = "DOC" }

[webhook]
setup = "Enter the URL."
retry = "None"
params.secret = { prompt = "Secret" }

[[webhook.proofs]]
scheme = "hmac_sha256"
signature = { header = "X-Signature" }

[webhook.event]
id = [{ at = "/id" }]
type = [{ at = "/type" }]

[webhook.subscribe]
action = "hooks.create"
params = { url = "{url}"SUBSCRIBE }
events = "kinds"
keep = ["hook_id"]
expires = "ends"
renew = { action = "hooks.renew", params = { hook_id = "{hook_id}"RENEW } }

[webhook.backfill]
action = "log.list"
each = { action = "log.get", params = { doc = "/path" } }

[events."EVENT"]
about = "Something"
"#;

/// A connector file, harmless unless something is replaced in it.
struct File {
    doc: &'static str,
    subscribe: String,
    renew: String,
    event: String,
}

impl File {
    fn harmless() -> Self {
        Self { doc: "string", subscribe: String::new(), renew: String::new(), event: "ping".to_owned() }
    }

    fn text(&self) -> String {
        let body = if self.doc == "file" { "body = \"multipart\"" } else { "" };
        let webhook = WEBHOOK
            .replace("DOC", self.doc)
            .replace("BODY", body)
            .replace("SUBSCRIBE", &self.subscribe)
            .replace("RENEW", &self.renew)
            .replace("EVENT", &self.event);
        format!("{CONNECTOR}{webhook}")
    }

    fn install(&self, home: &Home) {
        home.install("fake", &self.text());
    }
}

/// A connection by a harmless file, and a file of the user's.
fn connected(provider: &FakeProvider) -> (Home, PathBuf) {
    let home = Home::new();
    File::harmless().install(&home);
    Flow::start(&home, &connect_line(provider)).allow();
    let secret = home.path().join("private.txt");
    fs::write(&secret, SECRET).unwrap();
    (home, secret)
}

fn nothing_leaked(provider: &FakeProvider, ran: &Ran) {
    let state = provider.state();
    let leak = state.asked.iter().find(|message| holds(&message.body, SECRET) || message.start.contains(SECRET));
    assert!(leak.is_none(), "the vendor was sent the file: {:?}, {ran:?}", leak.map(|message| &message.start));
}

/// The JSON bodies that were sent to a path.
fn sent(provider: &FakeProvider, path: &str) -> Vec<Value> {
    let state = provider.state();
    let asked = state.asked.iter().filter(|message| message.request().1 == path);
    asked.map(|message| serde_json::from_slice(&message.body).unwrap()).collect()
}

const SUBSCRIBE: &str = "webhook subscribe fake --url https://hooks.example.com --json";

#[test]
fn attack_b1_a_vendor_that_answers_paths_is_sent_no_file() {
    let provider = FakeProvider::start();
    let (home, secret) = connected(&provider);
    File { doc: "file", ..File::harmless() }.install(&home);
    let paths = json!({ "log": [{ "path": secret }, { "path": "/etc/hostname" }] });
    provider.trouble("/api/log", [Trouble::json(200, &paths)]);
    provider.trouble("/api/get", [Trouble::json(200, &json!({})), Trouble::json(200, &json!({}))]);
    let ran = home.run("webhook backfill fake --since 2d --json");
    nothing_leaked(&provider, &ran);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert_eq!(provider.state().count("/api/get"), 0, "a request with a vendor's file was made: {ran:?}");
}

#[test]
fn attack_b1_what_a_vendor_answers_is_sent_back_as_the_text_that_it_is() {
    let provider = FakeProvider::start();
    let (home, secret) = connected(&provider);
    let texts = [format!("@{}", secret.display()), "-".to_owned(), "@-".to_owned(), "a=b".to_owned(), "[1]".to_owned()];
    let log: Vec<Value> = texts.iter().map(|text| json!({ "path": text })).collect();
    provider.trouble("/api/log", [Trouble::json(200, &json!({ "log": log }))]);
    provider.trouble("/api/get", texts.iter().map(|_| Trouble::json(200, &json!({ "id": "1", "type": "ping" }))));
    let ran = home.run_with_input("webhook backfill fake --since 2d --json", SECRET);
    nothing_leaked(&provider, &ran);
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected: Vec<Value> = texts.iter().map(|text| json!({ "doc": text })).collect();
    assert_eq!(sent(&provider, "/api/get"), expected);
}

#[test]
fn attack_b1_the_name_of_an_event_uploads_no_file() {
    for name in ["@.env".to_owned(), "@PATH".to_owned()] {
        let provider = FakeProvider::start();
        let (home, secret) = connected(&provider);
        fs::write(home.path().join(".env"), SECRET).unwrap();
        let event = name.replace("PATH", &secret.display().to_string());
        File { event: event.clone(), ..File::harmless() }.install(&home);
        provider.trouble("/api/hooks", [Trouble::json(201, &json!({ "id": 7 }))]);
        let ran = home.run(SUBSCRIBE);
        nothing_leaked(&provider, &ran);
        // The file is refused for the name, or the name is sent as it stands there.
        let bodies = sent(&provider, "/api/hooks");
        assert!(bodies.is_empty() || bodies[0]["kinds"] == json!([event]), "{bodies:?}, {ran:?}");
    }
}

#[test]
fn attack_b1_a_subscription_uploads_no_file_that_its_connector_names() {
    for (doc, value) in [("file", "PATH"), ("file", "@PATH"), ("string", "@PATH"), ("file", "-")] {
        let provider = FakeProvider::start();
        let (home, secret) = connected(&provider);
        let value = value.replace("PATH", &secret.display().to_string());
        File { doc, subscribe: format!(", doc = {value:?}"), ..File::harmless() }.install(&home);
        provider.trouble("/api/hooks", [Trouble::json(201, &json!({ "id": 7 }))]);
        let ran = home.run_with_input(SUBSCRIBE, SECRET);
        nothing_leaked(&provider, &ran);
        let bodies = provider.state().count("/api/hooks");
        assert_eq!(bodies, usize::from(doc == "string"), "{doc} {value}: {ran:?}");
    }
}

#[test]
fn attack_b1_an_unattended_renewal_opens_no_file_that_its_connector_names() {
    let provider = FakeProvider::start();
    let (home, secret) = connected(&provider);
    let ends = integ::clock::Timestamp::now().as_second() + 3;
    provider.trouble("/api/hooks", [Trouble::json(201, &json!({ "id": 7, "ends": ends }))]);
    assert_eq!(home.run(SUBSCRIBE).code, 0);
    let renew = format!(", doc = {:?}", secret.display().to_string());
    File { doc: "file", renew, ..File::harmless() }.install(&home);
    sleep(Duration::from_secs(4));
    provider.trouble("/api/renew", [Trouble::json(200, &json!({}))]);
    let ran = home.run("refresh --due --json");
    nothing_leaked(&provider, &ran);
    assert_eq!(provider.state().count("/api/renew"), 0, "{ran:?}");
    // The harmless file renews it, with the values of their types.
    File::harmless().install(&home);
    let ran = home.run("refresh fake --json");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sent(&provider, "/api/renew"), [json!({ "hook_id": 7 })]);
}

#[test]
fn attack_b1_validate_refuses_a_connector_that_names_a_file_for_its_own_requests() {
    let home = Home::new();
    let cases = [
        (File { subscribe: ", doc = \"x\"".to_owned(), ..File::harmless() }, "webhook.subscribe.params.doc"),
        (File { renew: ", doc = \"x\"".to_owned(), ..File::harmless() }, "webhook.subscribe.renew.params.doc"),
        (File::harmless(), "webhook.backfill.each.params.doc"),
    ];
    for (file, key) in cases {
        let path = home.path().join("hostile.toml");
        fs::write(&path, File { doc: "file", ..file }.text()).unwrap();
        let mut command = home.command(["connector", "validate"]);
        command.arg(&path);
        let ran = finish(command);
        let found = format!("{}{}", ran.stdout, ran.stderr);
        let line = found.lines().find(|line| line.contains(key)).unwrap_or_else(|| panic!("{key}: {found}"));
        let place = line.split(".toml:").nth(1).and_then(|rest| rest.split(':').next()).unwrap_or_default();
        assert!(ran.code != 0 && place.parse::<u32>().is_ok(), "{line}");
        assert!(line.contains("takes a file"), "{line}");
    }
    // The same file without files is fine.
    let path = home.path().join("fine.toml");
    fs::write(&path, File::harmless().text()).unwrap();
    let mut command = home.command(["connector", "validate"]);
    command.arg(&path);
    let ran = finish(command);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_person_may_name_a_file_on_the_command_line() {
    let provider = FakeProvider::start();
    let (home, secret) = connected(&provider);
    provider.trouble("/api/hooks", [Trouble::json(201, &json!({ "id": 7 }))]);
    home.ok(&format!("call fake hooks.create kinds=a doc=@{}", secret.display()));
    assert_eq!(sent(&provider, "/api/hooks"), [json!({ "doc": SECRET, "kinds": ["a"] })]);
}

/// Every Rust file below a folder or file of `src`, tests left out.
fn sources(at: &Path) -> Vec<PathBuf> {
    if at.is_file() {
        return vec![at.to_owned()];
    }
    let entries = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path());
    let wanted = |path: &PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        name != "tests" && !name.ends_with("_tests")
    };
    entries.filter(wanted).flat_map(|path| sources(&path)).collect()
}

#[test]
fn attack_b1_the_modules_that_make_requests_open_no_files() {
    // Locks, whose paths are integ's own, are opened by `files`; sync/run.rs and oauth/access.rs look at one. append.rs
    // writes the file that the user named for handlers. body.rs decompresses bytes that it has.
    let own = ["sync/run.rs", "oauth/refresh.rs", "webhook/handle/append.rs", "webhook/inbound/body.rs"];
    let opens = ["fs::read", "File::open", "read_to_string", "read_to_end", "OpenOptions", "stdin()"];
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders = ["api", "connect", "endpoint", "health", "oauth", "sandbox", "sync", "webhook"];
    let found: Vec<PathBuf> = folders.iter().flat_map(|folder| sources(&src.join(folder))).collect();
    assert!(found.len() > 80, "{}", found.len());
    for path in found {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for call in opens.iter().filter(|call| code.contains(**call)) {
            assert!(own.contains(&name), "{name} uses {call}: what it is given may come from a connector or a vendor");
        }
    }
}
