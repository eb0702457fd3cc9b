//! The audit log: what is recorded, and when it is not possible.

use std::process::Command;
use std::sync::Arc;

use integ::audit::AuditCaller;
use integ::config::{Config, Folders};
use integ::error::Error;
use integ::model::{AuditActor, ConnectionName, WorkspaceName};
use integ::notify::Notifier;
use integ::ops::audit::find_operation;
use integ::ops::links::{ListLinksRequest, list_links};
use integ::runtime::{Engine, Workspace};
use integ::secret::Secret;
use integ::vault::{PassphrasePrompt, PassphraseSource};
use serde_json::Value;

use crate::harness::{Home, holds, is_root};

fn entries(home: &Home, filter: &str) -> Vec<Value> {
    let listed = home.ok(&format!("audit list --json --limit 1000 {filter}"));
    let mut entries: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    entries.reverse();
    entries
}

/// Operation, connection and outcome of each entry, the oldest first.
fn summary(home: &Home, filter: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |entry: &Value| {
        let code = entry["error_code"].as_str().map(|code| format!(" {code}")).unwrap_or_default();
        format!("{} {} {}{code}", text(&entry["operation"]), text(&entry["connection"]), text(&entry["outcome"]))
    };
    entries(home, filter).iter().map(line).collect()
}

#[test]
fn each_change_is_recorded_with_its_connection_user_and_outcome() {
    let home = Home::new();
    home.ok("connect slack --sandbox --user u_1");
    home.ok("status");
    home.ok("token slack");
    home.ok("rename slack slack@work");
    assert_eq!(home.run("rename stripe stripe@home").code, 3);
    home.ok("call slack@work chat.postMessage channel=C1 text=secret-text");
    home.ok("call slack@work users.list");
    home.ok("app set slack --client-id abc");
    home.ok("vault rekey");
    home.ok("disconnect slack@work --yes");
    let expected = [
        "connect slack started",
        "connect slack done",
        "rename slack started",
        "rename slack done",
        "rename slack@work done",
        "call slack@work started",
        "call slack@work done",
        "app set - started",
        "app set - done",
        "vault rekey - done",
        "disconnect slack@work started",
        "disconnect slack@work done",
    ];
    assert_eq!(summary(&home, ""), expected);
    assert_eq!(summary(&home, "--connection slack@work --operation call").len(), 2);
    assert_eq!(summary(&home, "--user u_1 --operation disconnect").len(), 2);
    let several = summary(&home, "--operation call --operation rename --connection slack@work");
    assert_eq!(several, ["rename slack@work done", "call slack@work started", "call slack@work done"]);
    assert_eq!(summary(&home, "--since 2000-01-01").len(), expected.len());
    let call = &entries(&home, "--operation call")[0];
    assert_eq!((call["actor"].as_str(), call["detail"].as_str()), (Some("local"), Some("chat.postMessage")));
    let export = home.ok("audit export");
    assert!(!holds(export.as_bytes(), "secret-text") && export.lines().count() == expected.len() + 1);
    assert_eq!(home.json("audit verify")["problems"], serde_json::json!([]));
}

#[test]
fn a_checkpoint_stored_elsewhere_is_compared() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    std::fs::write(home.path().join("audit.jsonl"), home.ok("audit export")).unwrap();
    home.ok("connect stripe --sandbox");
    let verified = home.json("audit verify --checkpoint audit.jsonl");
    assert_eq!((verified["checkpoint"].as_str(), verified["last"].as_u64()), (Some("contained"), Some(4)));
    let other = Home::new();
    other.ok("connect slack --sandbox");
    std::fs::write(home.path().join("other.jsonl"), other.ok("audit export")).unwrap();
    let foreign = home.run("audit verify --checkpoint other.jsonl --json");
    assert_eq!((foreign.code, foreign.error_code().as_str()), (6, "foreign_checkpoint"), "{foreign:?}");
    std::fs::write(home.path().join("wrong.json"), "{}").unwrap();
    let wrong = home.run("audit verify --checkpoint wrong.json --json");
    assert_eq!((wrong.code, wrong.error_code().as_str()), (2, "invalid_checkpoint"), "{wrong:?}");
}

#[test]
fn a_log_that_is_older_than_its_checkpoint_was_cut() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home.ok("vault backup early.age");
    home.ok("connect stripe --sandbox");
    std::fs::write(home.path().join("audit.jsonl"), home.ok("audit export")).unwrap();
    home.ok("-w restored vault restore early.age --yes");
    let cut = home.run("-w restored audit verify --checkpoint audit.jsonl --json");
    let view: Value = serde_json::from_str(&cut.stdout).unwrap();
    assert_eq!((cut.code, &view["problems"][0]["kind"]), (6, &"truncated".into()), "{cut:?}");
    assert_eq!(view["checkpoint"], "missing");
}

#[test]
fn reads_are_recorded_on_request_and_refused_if_they_cannot_be() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home.ok("status");
    home.ok("token slack");
    assert_eq!(summary(&home, "").len(), 2);
    home.ok("config set audit.local true");
    home.ok("token slack");
    assert_eq!(summary(&home, "--operation token"), ["token - started", "token slack done"]);
    home.ok("exec slack -- true");
    assert_eq!(home.run("exec github -- true").code, 3);
    let executed = summary(&home, "--operation exec");
    let expected = ["exec - started", "exec slack done", "exec - started", "exec - failed unknown_connection"];
    assert_eq!(executed, expected);
    if is_root() {
        return;
    }
    let mode = |mode: &str| {
        let folder = home.workspace();
        assert!(Command::new("chmod").arg("-R").arg(mode).arg(folder).status().unwrap().success());
    };
    mode("a-w");
    let refused = home.run("token slack --json");
    home.ok("config set audit.local false");
    let read = home.run("token slack");
    let call = home.run("call slack chat.postMessage channel=C1 text=a --json");
    mode("u+w");
    assert_eq!((refused.code, refused.error_code().as_str(), refused.stdout.as_str()), (1, "audit_unavailable", ""));
    assert_eq!(read.code, 0, "{read:?}");
    assert_eq!(call.error_code(), "audit_unavailable", "fault 98: {call:?}");
}

struct Nobody;

impl PassphraseSource for Nobody {
    fn ask(&self, _: PassphrasePrompt) -> std::io::Result<Option<Secret>> {
        Ok(None)
    }
}

#[test]
fn what_others_request_is_recorded_with_their_token_address_and_request() {
    let home = Home::new();
    home.ok("connect hubspot --sandbox --user u_1");
    let config = Config::default();
    let notifier = Box::new(Notifier::new(&config));
    let engine = Arc::new(Engine::new(Folders::under(home.path()), config, Box::new(Nobody), notifier));
    let workspace = Workspace::new(engine, WorkspaceName::default());
    let begin = async |name: &str| {
        let caller = AuditCaller {
            actor: AuditActor::ApiToken("tok_1".to_owned()),
            source: Some("192.0.2.7".to_owned()),
            request_id: Some("req_1".to_owned()),
            approval: None,
        };
        find_operation(name, |_| false).unwrap().begin(&workspace, caller).await.unwrap()
    };
    let hubspot: ConnectionName = "hubspot".parse().unwrap();
    let listed = workspace.run(async {
        let request = ListLinksRequest { connection: Some(hubspot), ..ListLinksRequest::default() };
        begin("link list").await.run(list_links(&workspace, request)).await?;
        let missing: Result<(), Error> = begin("schedule remove")
            .await
            .run(async { workspace.connection(&"slack".parse().unwrap()).await.map(drop) })
            .await;
        Ok(missing.unwrap_err().code())
    });
    assert_eq!(listed.unwrap(), "unknown_connection");
    drop(workspace);
    let expected =
        ["link list hubspot done", "schedule remove - started", "schedule remove - failed unknown_connection"];
    assert_eq!(summary(&home, "")[2..], expected);
    let entry = &entries(&home, "--user u_1")[2];
    let texts = ["actor", "actor_id", "source", "request_id", "user"].map(|name| entry[name].as_str().unwrap());
    assert_eq!(texts, ["api_token", "tok_1", "192.0.2.7", "req_1", "u_1"]);
}
