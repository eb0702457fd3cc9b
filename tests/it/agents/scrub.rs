//! No credential of the workspace reaches an agent, wherever a service puts it. `tests/campaigns/mcp-scrub` does this at length.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{StdioClient, connected};
use crate::fake::{FakeProvider, Trouble};
use crate::harness::Home;
use crate::server::Server;

const WEBHOOK_SECRET: &str = "wh/sec+ret\"of'<slack>&co=";
const APP_SECRET: &str = "app-secret-0123456789abcdef";

/// Every way of writing a secret that is looked for.
fn forms(secret: &str) -> Vec<String> {
    let each = |write: &dyn Fn(u8) -> String| secret.bytes().map(write).collect::<String>();
    let mut forms = vec![
        secret.to_owned(),
        each(&|byte| format!("{byte:02x}")),
        each(&|byte| format!("{byte:02X}")),
        each(&|byte| format!("%{byte:02x}")),
        each(&|byte| format!("&#{byte};")),
        each(&|byte| format!("&#x{byte:X};")),
        each(&|byte| format!("\\u{byte:04x}")),
        each(&|byte| format!("\\x{byte:02x}")),
        url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        Value::from(secret).to_string(),
        Value::from(Value::from(secret).to_string()).to_string(),
        secret
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;"),
    ];
    for before in ["", "u", "u:", "me:"] {
        let text = format!("{before}{secret}@x");
        forms.extend([STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)]);
    }
    forms
}

/// A home with credentials of each kind, and all of them.
fn home(provider: &FakeProvider) -> (Home, Vec<String>) {
    let home = connected(provider);
    home.ok("connect slack --sandbox");
    let set = |line: &str, secret: &str| assert_eq!(home.run_with_input(line, secret).code, 0, "{line}");
    set("webhook secret slack --set -", WEBHOOK_SECRET);
    set("app set github --client-id abc --client-secret-file -", APP_SECRET);
    let other = home.ok("token slack");
    let own = provider.state().given.last().unwrap().clone();
    (home, vec![own, other.trim().to_owned(), WEBHOOK_SECRET.to_owned(), APP_SECRET.to_owned()])
}

#[test]
fn no_credential_of_the_workspace_is_in_a_result() {
    let provider = FakeProvider::start();
    let (home, secrets) = home(&provider);
    let mut client = StdioClient::start(&home, "--connection fake");
    let mut planted = 0;
    for secret in &secrets {
        for form in forms(secret) {
            let html = vec![("content-type", "text/html".to_owned()), ("x-debug", form.clone())];
            let answers = [
                Trouble::json(200, &json!({ "echo": format!("a {form} b"), "list": [{ form.as_str(): 1 }] })),
                Trouble::json(400, &json!({ "error": "invalid", "error_description": format!("not {form}") })),
                Trouble::json(422, &json!({ "message": form })),
                Trouble::Instead(200, html.clone(), format!("<p>{form}</p>").into_bytes()),
                Trouble::Instead(403, html, [b"\x80\x81".as_slice(), form.as_bytes()].concat()),
            ];
            for answer in answers {
                provider.trouble("/api/notes/1", [answer]);
                let result = client.call("fake_notes_get", &json!({ "note": "1" }));
                let text = result.text(0);
                let decoded = text.replace("\\\"", "\"").replace("\\\\", "\\");
                for shown in [text, decoded.as_str()] {
                    assert!(!shown.contains(&form) && !shown.contains(secret.as_str()), "{form}: {shown}");
                }
                assert!(text.contains("***") || text.contains("it is an HTML page"), "{text}");
                planted += 1;
            }
        }
    }
    assert_eq!(planted, secrets.len() * 20 * 5);
}

#[test]
fn a_token_that_was_just_replaced_is_masked_as_well() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let before = provider.state().given.last().unwrap().clone();
    let mut client = StdioClient::start(&home, "--connection fake");
    // The service refuses the token, names it, and gets another.
    let refused = Trouble::json(401, &json!({ "error": "expired" }));
    provider.trouble("/api/notes/1", [refused, Trouble::json(200, &json!({ "old": before }))]);
    let result = client.call("fake_notes_get", &json!({ "note": "1" }));
    let after = provider.state().given.last().unwrap().clone();
    assert_ne!(before, after);
    assert!(!result.text(0).contains(&before) && result.text(0).contains("***"), "{result:?}");
    provider.trouble("/api/notes/1", [Trouble::json(200, &json!([before, after]))]);
    let result = client.call("fake_notes_get", &json!({ "note": "1" }));
    assert_eq!(result.document()["response"], json!(["***", "***"]));
}

#[test]
fn records_events_and_pages_of_results_are_masked() {
    let provider = FakeProvider::start();
    let (home, secrets) = home(&provider);
    let secret = &secrets[0];
    let mut client = StdioClient::start(&home, "--connection fake --connection slack");
    let text = format!("{}{secret}{}", "x".repeat(99_990), "y".repeat(1000));
    provider.trouble("/api/notes/1", [Trouble::json(200, &json!({ "text": text }))]);
    let result = client.call("fake_notes_get", &json!({ "note": "1" }));
    let note = result.text(1);
    let next: Value = serde_json::from_str(&note[note.find('{').unwrap()..=note.find('}').unwrap()]).unwrap();
    let rest = client.call("read_result", &next);
    let whole = format!("{}{}", result.text(0), rest.text(0));
    assert!(
        whole.contains("***") && !whole.contains(secret) && !whole.contains(&secret[secret.len() / 2..]),
        "{rest:?}"
    );
    let server = Server::start(&home, "");
    home.ok(&format!("webhook simulate slack message --set event.text={}", secrets[1]));
    server.stop();
    let events = client.call("list_events", &json!({ "connection": "slack" })).document();
    let event = client.call("show_event", &json!({ "event": events["events"][0]["id"] }));
    assert!(!event.text(0).contains(&secrets[1]) && event.text(0).contains("***"), "{event:?}");
}

/// The first barrier: what agents may ask for returns no credential. The second one is what the tests above are about.
#[test]
fn no_operation_with_reach_agent_returns_a_credential() {
    use integ::model::ApiVerb;
    use integ::ops::{Reach, operations};
    let reached: Vec<&str> =
        operations().filter(|operation| operation.reach == Reach::Agent).map(|operation| operation.name).collect();
    for revealing in
        ["token", "exec", "export", "git-credential", "vault identity export", "webhook secret --print-secret"]
    {
        assert!(!reached.contains(&revealing), "{revealing}");
    }
    assert!(operations().all(|operation| operation.reach != Reach::Agent || operation.verb != ApiVerb::Reveal));
    assert!(reached.contains(&"call") && reached.contains(&"records"), "{reached:?}");
}
