//! Connector files and vendors that name local files.

use serde_json::json;

use crate::fake::{FakeProvider, Trouble};
use crate::harness::{Home, Ran};

const PLANTED: &str = "TOP-SECRET-FILE-CONTENT";

/// A connector that asks for a file wherever its own calls can name a parameter. It is a user's own file, which is not
/// validated before it is used.
const CONNECTOR: &str = r#"
id = "thief"
name = "Thief"
category = "generic"
description = "Names files in its own calls."
docs = "https://thief.invalid/docs"

[api]
base = "https://thief.invalid"

[auth.key]
label = "Key"

[auth.key.fields.key]
prompt = "Key"

[actions."list"]
about = "List what was missed"
path = "/list"
list = ""

[actions."detail"]
about = "One of them"
method = "POST"
path = "/detail"
params.doc = { about = "Document", type = "file", required = true }

[actions."hook"]
about = "Register a URL"
method = "POST"
path = "/hook"
params.url = { about = "URL", required = true }
params.events = { about = "Types", type = "array", required = true }
params.DOC

[webhook]
setup = "By integ webhook subscribe."
retry = "Never."
params.secret = { prompt = "Secret", secret = true }

[[webhook.proofs]]
scheme = "hmac_sha256"
signature = { header = "X-Signature" }
encoding = "hex"
base = "{body}"

[webhook.event]
id = [{ at = "/id" }]
type = [{ at = "/type" }]

[webhook.subscribe]
action = "hook"
params = { url = "{url}"SUBSCRIBE }
events = "events"

[webhook.backfill]
action = "list"
each = { action = "detail", params = { doc = "/path" } }

[events."EVENT"]
about = "An event"
"#;

struct Theft {
    home: Home,
    vendor: FakeProvider,
    file: String,
}

impl Theft {
    fn new(subscribe: bool, event: &str) -> Self {
        let (home, vendor) = (Home::new(), FakeProvider::start());
        let file = home.path().join("private.txt").display().to_string();
        std::fs::write(&file, PLANTED).unwrap();
        let doc =
            if subscribe { r#"doc = { about = "Document", type = "file" }"# } else { r#"note = { about = "Note" }"# };
        let given = if subscribe { format!(", doc = \"{file}\"") } else { String::new() };
        let text = CONNECTOR
            .replace("params.DOC", &format!("params.{doc}"))
            .replace("SUBSCRIBE", &given)
            .replace("EVENT", &event.replace("FILE", &file));
        home.install("thief", &text);
        let line = format!("connect thief --with-token --origin {}", vendor.origin());
        let connected = home.run_with_input(&line, "a-key-0123456789");
        assert_eq!(connected.code, 0, "{connected:?}");
        Self { home, vendor, file }
    }

    /// What the vendor received holds nothing of the file, and nothing of it is shown.
    fn assert_nothing_taken(&self, ran: &Ran) {
        let state = self.vendor.state();
        for message in &state.asked {
            assert!(!message.text().contains(PLANTED), "the vendor has the file: {}", message.text());
        }
        assert!(!ran.stdout.contains(PLANTED) && !ran.stderr.contains(PLANTED), "{ran:?}");
    }
}

#[test]
fn attack_b1_a_path_in_a_vendors_answer_is_not_read() {
    let theft = Theft::new(false, "created");
    for path in [theft.file.clone(), format!("@{}", theft.file), "-".to_owned()] {
        theft.vendor.trouble("/list", [Trouble::json(200, &json!([{ "path": path }]))]);
        let ran = theft.home.run("webhook backfill thief --since 2d");
        theft.assert_nothing_taken(&ran);
        assert!(theft.vendor.state().count("/list") > 0, "the vendor was asked: {ran:?}");
        assert_eq!(theft.vendor.state().count("/detail"), 0, "{ran:?}");
        assert_ne!(ran.code, 0, "{ran:?}");
    }
}

#[test]
fn attack_b1_an_event_name_is_not_read_as_a_file() {
    for event in ["@FILE", "@@FILE", "@private.txt", "@-"] {
        let theft = Theft::new(false, event);
        let ran = theft.home.run("webhook subscribe thief --url https://hooks.example.com");
        theft.assert_nothing_taken(&ran);
        let state = theft.vendor.state();
        if let Some(asked) = state.asked.iter().find(|message| message.request().1 == "/hook") {
            let body: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
            assert_eq!(body["events"], json!([event.replace("FILE", &theft.file)]), "the name is data");
        }
    }
}

#[test]
fn attack_b1_a_subscription_sends_no_file_that_its_connector_names() {
    let theft = Theft::new(true, "created");
    let lines = [
        "webhook subscribe thief --url https://hooks.example.com --dry-run",
        "webhook subscribe thief --url https://hooks.example.com",
        "refresh --due",
    ];
    for line in lines {
        let ran = theft.home.run(line);
        theft.assert_nothing_taken(&ran);
    }
    assert_eq!(theft.vendor.state().count("/hook"), 0);
}

#[test]
fn attack_b1_validate_refuses_calls_that_name_files() {
    let theft = Theft::new(true, "created");
    let ran = theft.home.run("connector validate thief");
    assert_ne!(ran.code, 0);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("doc of hook is a file"), "{said}");
    assert!(said.contains("doc of detail is a file"), "{said}");
}

/// Files are opened by name only where a person typed the name.
#[test]
fn attack_b1_no_code_below_the_command_line_reads_files_for_calls() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for folder in ["api", "webhook"] {
        for (path, bytes) in crate::harness::files(&source.join(folder)) {
            let text = String::from_utf8(bytes).unwrap();
            let is_test = path.components().any(|part| part.as_os_str() == "tests");
            for reader in ["fs::read(", "fs::read_to_string(", "File::open("] {
                assert!(is_test || !text.contains(reader), "{} reads files: {reader}", path.display());
            }
        }
    }
}
