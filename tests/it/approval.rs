//! Approvals of requests of API tokens, and credentials that are never revealed.

use serde_json::{Value, json};

use crate::guided::{at_a_terminal, ready};
use crate::harness::{Home, finish};
use crate::schemas::check_output;
use crate::server::client::{Client, Reply};
use crate::server::{Server, expect, token};

fn home() -> Home {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home
}

/// The id of the approval that a refused request waits for.
fn waits_for(reply: &Reply) -> String {
    assert_eq!((reply.status, reply.code()), (403, "approval_required"), "{reply:?}");
    let id = reply.json.as_ref().unwrap()["approval"].as_str().unwrap().to_owned();
    assert_eq!(reply.header("location"), Some(format!("/v1/approvals/{id}").as_str()));
    id
}

/// Grants an approval as a person at a terminal does, and returns the exit code.
fn grant(home: &Home, id: &str, words: &str) -> i32 {
    at_a_terminal(home, &format!("approval grant {id} {words}"), &[("[y/N]", "y\\r")]).code
}

fn rename(client: &Client, name: &str) -> Reply {
    client.patch("/v1/connections/slack", &json!({ "name": name }))
}

#[test]
fn a_request_waits_for_a_person_and_is_made_once() {
    let home = home();
    let agent = token(&home, "agent", "--scope admin:* --tier enterprise --approve write");
    let server = Server::start(&home, "");
    let api = server.client(&agent);
    // Reading needs no approval, and what would be refused anyway asks nobody.
    expect(&api.get("/v1/connections/slack"), 200);
    expect(&api.send("POST", "/v1/connections/slack/test", &[], None), 200);
    expect(&api.patch("/v1/connections/slack", &json!({ "nam": "work" })), 400);
    expect(&api.patch("/v1/connections/gitlab", &json!({ "name": "work" })), 404);
    let twice = br#"{"name":"work","name":"home"}"#;
    expect(&api.send_bytes("PATCH", "/v1/connections/slack", &[], Some(twice)), 400);
    assert_eq!(home.json("approval list")["approvals"], json!([]));

    let id = waits_for(&rename(&api, "work"));
    assert_eq!(waits_for(&rename(&api, "work")), id, "the same request waits for the same approval");
    let spaced = b"{ \"name\" :\n \"work\" }";
    assert_eq!(waits_for(&api.send_bytes("PATCH", "/v1/connections/slack", &[], Some(spaced))), id);
    assert_ne!(waits_for(&rename(&api, "home")), id, "another body is another request");
    let shown = expect(&api.get(&format!("/v1/approvals/{id}")), 200);
    assert_eq!((&shown["status"], &shown["operation"]), (&json!("pending"), &json!("rename")));
    assert_eq!(shown["request"]["body"], json!({ "name": "work" }));
    assert_eq!(expect(&api.get("/v1/approvals?status=pending"), 200)["data"].as_array().unwrap().len(), 2);

    // Nobody but a person decides.
    for words in [format!("approval grant {id}"), format!("approval grant {id} --no-input")] {
        assert_eq!(home.run(&format!("{words} --json")).error_code(), "no_terminal");
    }
    let refused = api.post(&format!("/v1/approvals/{id}"), &json!({ "status": "granted" }));
    assert_eq!(refused.status, 405);
    if !ready() {
        return;
    }
    assert_eq!(grant(&home, &id, ""), 0);
    let other = token(&home, "other", "--scope admin:* --approve write");
    assert_ne!(waits_for(&rename(&server.client(&other), "work")), id, "it is of another token");
    expect(&rename(&api, "work"), 200);
    let shown = home.run(&format!("approval show {id} --json"));
    check_output(&["approval", "show", &id, "--json"].map(str::to_owned), &shown);
    assert_eq!(serde_json::from_str::<Value>(&shown.stdout).unwrap()["status"], "used");
    let back = |name: &str| api.patch("/v1/connections/slack@work", &json!({ "name": name }));
    waits_for(&back("slack"));

    let log = home.ok("audit list --json");
    let renames: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let done: Vec<&Value> =
        renames.iter().filter(|one| one["outcome"] == "done" && one["operation"] == "rename").collect();
    // One request, with an entry for each name.
    assert!(!done.is_empty() && done.iter().all(|one| one["request_id"] == done[0]["request_id"]), "{done:?}");
    assert_eq!(done[0]["detail"], format!("approval {id}"));
    assert!(renames.iter().any(|one| one["operation"] == "approval grant" && one["detail"].to_string().contains(&id)));
}

#[test]
fn of_many_equal_requests_at_once_one_is_made() {
    if !ready() {
        return;
    }
    let home = home();
    let agent = token(&home, "agent", "--scope admin:* --tier enterprise --approve write");
    let server = Server::start(&home, "");
    let api = server.client(&agent);
    let refresh = |api: &Client| api.send("POST", "/v1/connections/slack/refresh", &[], None);
    let id = waits_for(&refresh(&api));
    assert_eq!(grant(&home, &id, ""), 0);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let one = || refresh(&api).status;
        let threads: Vec<_> = (0..64).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 63, "{statuses:?}");
}

#[test]
fn a_grant_for_a_while_is_used_again_until_it_is_denied() {
    if !ready() {
        return;
    }
    let home = home();
    let agent = token(&home, "agent", "--scope admin:* --approve write");
    let server = Server::start(&home, "");
    let api = server.client(&agent);
    let refresh = || api.send("POST", "/v1/connections/slack/refresh", &[], None);
    let id = waits_for(&refresh());
    assert_eq!(grant(&home, &id, "--for 1h"), 0);
    expect(&refresh(), 200);
    expect(&refresh(), 200);
    let denied = home.run(&format!("approval deny {id} --json"));
    check_output(&["approval", "deny", &id, "--json"].map(str::to_owned), &denied);
    assert_eq!(denied.code, 0, "{denied:?}");
    assert_eq!(refresh().code(), "approval_denied");
    assert_eq!(home.run(&format!("approval grant {id} --for 31d --json")).code, 2);
}

/// What a call of a service needs depends on what it does there.
#[test]
fn calls_need_an_approval_by_what_they_do() {
    let home = home();
    let agent = token(&home, "agent", "--scope admin:* --approve write");
    let careful = token(&home, "careful", "--scope admin:* --approve destroy");
    let server = Server::start(&home, "");
    let (api, careful) = (server.client(&agent), server.client(&careful));
    let request = |method: &str| json!({ "method": method, "path": "/auth.test" });
    let message = json!({ "method": "POST", "path": "/chat.postMessage", "fields": { "channel": "C1", "text": "hi" } });
    expect(&api.get("/v1/connections/slack/actions"), 200);
    assert_ne!(api.post("/v1/connections/slack/request", &request("GET")).status, 403);
    waits_for(&api.post("/v1/connections/slack/request", &request("POST")));
    assert_ne!(careful.post("/v1/connections/slack/request", &message).status, 403);
    // Nobody says what this does, so it may destroy.
    waits_for(&careful.post("/v1/connections/slack/request", &request("POST")));
    waits_for(&careful.delete("/v1/connections/slack"));
    waits_for(&careful.post("/v1/connections/slack/request", &request("DELETE")));
}

#[test]
fn a_token_makes_none_that_needs_fewer_approvals() {
    let home = home();
    let careful = token(&home, "careful", "--scope admin:* --approve destroy");
    let server = Server::start(&home, "");
    let api = server.client(&careful);
    let create = |name: &str, approve: Option<&str>| {
        api.post("/v1/api-tokens", &json!({ "name": name, "scopes": ["connections:read"], "approve": approve }))
    };
    assert_eq!(expect(&create("same", None), 201)["approve"], "destroy");
    assert_eq!(expect(&create("stricter", Some("write")), 201)["approve"], "write");
    assert_eq!(create("free", Some("none")).code(), "exceeds_token");
    let id = expect(&api.get("/v1/api-tokens"), 200)["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "careful")
        .unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let loosened = api.patch(&format!("/v1/api-tokens/{id}"), &json!({ "approve": "none" }));
    assert_eq!(loosened.code(), "exceeds_token");
    home.ok("api-token update careful --approve none");
    expect(&api.delete("/v1/connections/slack"), 200);
}

/// A vault under a passphrase asks for it, although a command could print it and an agent holds the identity.
#[test]
fn granting_asks_for_the_passphrase_of_the_vault() {
    if !ready() {
        return;
    }
    let home = home();
    let agent = token(&home, "agent", "--scope admin:* --approve write");
    let id = {
        let server = Server::start(&home, "");
        waits_for(&rename(&server.client(&agent), "work"))
    };
    let with_passphrase = |line: &str| {
        let mut command = home.command(line.split_whitespace());
        command.env("INTEG_PASSPHRASE_COMMAND", "printf secret");
        assert_eq!(finish(command).code, 0, "{line}");
    };
    with_passphrase("vault move-identity passphrase");
    with_passphrase("vault unlock --for 1h");
    let entered = |passphrase: &str| {
        let steps = [("Passphrase of the vault's identity: ", passphrase)];
        at_a_terminal(&home, &format!("approval grant {id}"), &steps).code
    };
    assert_eq!(entered("wrong\\r"), 7);
    assert_eq!(home.json(&format!("approval show {id}"))["status"], "pending");
    assert_eq!(entered("secret\\r"), 0);
    assert_eq!(home.json(&format!("approval show {id}"))["status"], "granted");
}

/// Everything that hands out a credential loads it where the policy is checked.
#[test]
fn operations_load_credentials_in_one_place() {
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops"))];
    let mut loads = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let text = std::fs::read_to_string(&entry).unwrap();
            let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
            let functions = ["refresh::fresh_grant(", "load_grant(", "token_vault.load("];
            loads.extend(
                functions
                    .iter()
                    .filter(|function| text.contains(*function))
                    .map(|function| format!("{name} {function}")),
            );
        }
    }
    loads.sort();
    // What an agent gets is searched for every credential, the proxy sends them to their service, and previews blank the
    // secrets of the grant that they load.
    let expected = [
        "calls.rs load_grant(",
        "credentials.rs token_vault.load(",
        "forward.rs refresh::fresh_grant(",
        "subscriptions.rs load_grant(",
    ];
    assert_eq!(loads, expected);
}

#[test]
fn a_credential_that_is_never_revealed_is_used_all_the_same() {
    let home = home();
    let revealing = token(&home, "revealing", "--scope tokens:reveal --scope connections:call");
    home.ok("reveal slack never");
    assert_eq!(home.json("status")["connections"][0]["reveal"], "never");
    for line in [
        "token slack",
        "token slack --format header",
        "token slack --format json",
        "token slack --format env",
        "token slack --min-ttl 1h",
        "exec slack -- true",
        "exec --env TOKEN=slack -- true",
    ] {
        let mut command = home.command(line.split_whitespace());
        if !line.contains("exec") {
            command.arg("--json");
        }
        let ran = finish(command);
        assert_eq!(ran.code, 1, "{line}: {ran:?}");
        assert!(ran.stderr.contains("never reveal") && ran.stdout.is_empty(), "{line}: {ran:?}");
    }
    let key = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg";
    assert_eq!(home.run(&format!("export slack --to {key} --json")).error_code(), "never_revealed");
    for line in ["api slack /auth.test", "refresh slack", "test slack", "sync slack/channels"] {
        home.ok(line);
    }
    let server = Server::start(&home, "");
    let reply = server.client(&revealing).post("/v1/connections/slack/token", &json!({}));
    assert_eq!((reply.status, reply.code()), (409, "never_revealed"), "{reply:?}");
    // Connecting the account again keeps the policy; allowing it needs a person.
    home.ok("reconnect slack");
    assert_eq!(home.run("token slack --json").error_code(), "never_revealed");
    assert_eq!(home.run("reveal slack allowed --json").error_code(), "no_terminal");
    if ready() {
        assert_eq!(at_a_terminal(&home, "reveal slack allowed", &[("[y/N]", "y\\r")]).code, 0);
        assert!(home.ok("token slack").starts_with("xoxb-"));
    }
    home.ok("reveal slack allowed");
}
