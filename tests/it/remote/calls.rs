//! The commands do the same with a server as with the store.

use serde_json::{Value, json};

use super::{Elsewhere, Setup};
use crate::harness::Ran;
use crate::server::token;

/// The JSON of a command, without what differs between two runs.
fn without_times(ran: &Ran) -> Value {
    let mut document: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let lists = ["connections", "tests"].map(|name| document[name].as_array().cloned().unwrap_or_default());
    for (name, list) in ["connections", "tests"].into_iter().zip(lists) {
        let list = list.into_iter().map(|mut item| {
            for member in ["expires_in", "duration_ms", "last_checked_at"] {
                if item.get(member).is_some() {
                    item[member] = json!(null);
                }
            }
            item
        });
        if document.get(name).is_some() {
            document[name] = list.collect();
        }
    }
    document
}

#[test]
fn tokens_are_printed_in_every_format() {
    let setup = Setup::new(&["slack", "twilio", "github"]);
    for line in [
        "token slack",
        "token slack --format header",
        "token slack --format headers",
        "token slack --format env",
        "token twilio --format env",
        "token twilio --format header",
        "token slack --format id-token",
        "token slack --min-ttl 3000d",
        "token slack@other",
    ] {
        setup.same(line);
    }
    let (here, there) = (setup.home.json("token slack"), setup.elsewhere.run("token slack --json"));
    let mut there: Value = serde_json::from_str(&there.stdout).unwrap();
    there["expires_in"] = here["expires_in"].clone();
    assert_eq!(there, here);
    assert_eq!(setup.elsewhere.run("token slack --jq .token").stdout.trim(), setup.home.ok("token slack"));
}

#[test]
fn a_program_gets_the_variables_of_a_servers_connections() {
    let setup = Setup::new(&["slack", "twilio"]);
    let script = "env | grep -E '^(SLACK|TWILIO|MINE|INTEG)' | grep -v EXPORTED | sort; exit 7";
    for words in [
        vec!["exec", "slack", "--", "sh", "-c", script],
        vec!["exec", "slack", "twilio", "--", "sh", "-c", script],
        vec!["exec", "--env", "MINE=twilio.account_sid", "slack", "--", "sh", "-c", script],
        vec!["exec", "--mask", "slack", "--", "sh", "-c", "echo $SLACK_TOKEN; exit 7"],
    ] {
        let here = Ran::of(
            setup
                .home
                .command(words.clone())
                .env_remove("INTEG_HOME")
                .env("INTEG_HOME", setup.home.path())
                .output()
                .unwrap(),
        );
        let there = Ran::of(setup.elsewhere.command(&words).output().unwrap());
        let plain =
            |text: &str| text.lines().filter(|line| !line.starts_with("INTEG_HOME")).collect::<Vec<_>>().join("\n");
        assert_eq!((there.code, plain(&there.stdout)), (7, plain(&here.stdout)), "{words:?}: {}", there.stderr);
        assert!(!there.stdout.contains("INTEG_API_TOKEN") && !there.stdout.contains("INTEG_SERVER"), "{there:?}");
    }
    for line in ["exec slack -- no-such-program", "exec slack@other -- true", "exec --env X=slack.no_part -- true"] {
        setup.same(line);
    }
    // A variable that is set is not replaced by a part of a credential: that is seen here, not at the server.
    let set = setup.elsewhere.command(&["exec", "twilio", "--", "true"]).env("TWILIO_ACCOUNT_SID", "AC1").output();
    let set = Ran::of(set.unwrap());
    assert!(set.code == 2 && set.stderr.contains("TWILIO_ACCOUNT_SID"), "{set:?}");
}

#[test]
fn status_and_tests_are_those_of_the_server() {
    let setup = Setup::new(&["slack", "github"]);
    for line in ["status", "status slack", "status --check", "status slack@other", "status --user nobody"] {
        setup.same(line);
    }
    for line in ["status --json", "status github --json", "test --json", "test slack --json"] {
        let (here, there) = (setup.home.run(line), setup.elsewhere.run(line));
        assert_eq!(there.code, here.code, "{line}: {there:?}");
        assert_eq!(without_times(&there), without_times(&here), "{line}");
    }
    assert!(setup.elsewhere.run("test --format junit").stdout.contains("<testsuite"));
    setup.home.ok("sandbox fault slack revoked_grant");
    let (here, there) = (setup.home.run("test slack --json"), setup.elsewhere.run("test slack --json"));
    assert_eq!((there.code, without_times(&there)["unhealthy"].clone()), (here.code, json!(1)), "{there:?} {here:?}");
    // Nothing that the token may use is nothing to check.
    let limited = token(&setup.home, "limited", "--scope connections:read --user nobody");
    let limited = Elsewhere::at(&setup.server.url, &limited);
    let (checked, tested) = (limited.run("status --check --json"), limited.run("test --json"));
    assert_eq!((checked.code, checked.error_code()), (3, "no_connections".to_owned()), "{checked:?}");
    assert_eq!((tested.code, tested.error_code()), (3, "no_connections".to_owned()), "{tested:?}");
}

#[test]
fn requests_to_a_service_go_through_the_server() {
    let setup = Setup::new(&["github", "slack", "telegram"]);
    for line in [
        "api github /user",
        "api github /user/repos --paginate",
        "api github /user --jq .login",
        "api github /no/such/path",
        "api github https://evil.example/user",
        "api slack /auth.test -X POST",
        "api slack /chat.postMessage -f channel=C1 -f text=hello --jq .ok",
        "api github /user -H broken",
    ] {
        setup.same(line);
    }
    let head = setup.elsewhere.run("api github /user -i");
    assert!(head.stdout.starts_with("HTTP 200\n") && head.stdout.contains("\"login\""), "{head:?}");
    assert_eq!(setup.elsewhere.run("api github /user -X HEAD").stdout.lines().next(), Some("HTTP 200"));
}

#[test]
fn actions_are_called_with_words_and_files_of_this_machine() {
    let setup = Setup::new(&["slack", "telegram", "github"]);
    std::fs::write(setup.home.path().join("note.txt"), "from a file").unwrap();
    std::fs::write(setup.elsewhere.folder().join("note.txt"), "from a file").unwrap();
    for line in [
        "call slack",
        "call slack --json",
        "call slack chat.postMessage",
        "call slack chat.postMesage",
        "call slack chat.postMessage channel=C1 txt=hello",
        "call slack chat.postMessage channel=C1 text=@note.txt --dry-run",
        "call slack chat.postMessage channel=C1 text=@missing.txt",
        "call slack@other chat.postMessage",
        "call github issues.create --dry-run",
    ] {
        setup.same(line);
    }
    let sent = setup.elsewhere.run("call slack chat.postMessage channel=C1 text=hello --json");
    let sent: Value = serde_json::from_str(&sent.stdout).unwrap_or_else(|error| panic!("{error}: {sent:?}"));
    assert_eq!((&sent["http_status"], &sent["connection"]), (&json!(200), &json!("slack")));
    assert!(sent.get("refusal").is_none(), "{sent}");
    setup.home.ok("sandbox fault slack malformed");
    let (here, there) = (
        setup.home.run("call slack chat.postMessage channel=C1 text=hello --json --idempotency-key a"),
        setup.elsewhere.run("call slack chat.postMessage channel=C1 text=hello --json --idempotency-key b"),
    );
    assert_eq!((there.code, there.error_code()), (here.code, here.error_code()), "{there:?} {here:?}");
}
