//! `integ webhook subscribe`, leases and `backfill`: asked once, known after a crash, prolonged in time, taken in once.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use integ::clock::Timestamp;
use integ::model::{AttemptResult, EventInsertResult, EventStatus, EventVerification, InboundDelivery, NewEvent};
use integ::store::LockKey;
use rustix::process::Signal;
use serde_json::{Value, json};
use url::Url;

use crate::fake::{CONNECTOR, FakeProvider, Trouble};
use crate::flow::{Flow, connect_line};
use crate::harness::{Home, Ran, Running, finish};
use crate::vault::wait;
use crate::webhook::{Listening, events};

const WEBHOOK: &str = r#"
[actions."hooks.create"]
about = "Register a URL"
path = "/hooks/{room}"
status = 201
result = { hook_id = "/id", ends = "/ends" }
IDEMPOTENCY

[actions."hooks.create".params]
room = { about = "Room", required = true }
url = { about = "URL", required = true }
secret = { about = "Secret" }
mark = { about = "Mark" }
kinds = { about = "Types", type = "array" }

[actions."hooks.list"]
about = "List them"
method = "GET"
path = "/hooks/{room}"
params = { room = { about = "Room", required = true } }

[actions."hooks.renew"]
about = "Prolong one"
method = "PATCH"
path = "/hooks/{room}/{hook_id}"
result = { ends = "/ends" }

[actions."hooks.renew".params]
room = { about = "Room", required = true }
hook_id = { about = "Hook", type = "integer", required = true }

[actions."hooks.delete"]
about = "Remove one"
method = "DELETE"
path = "/hooks/{room}/{hook_id}"
status = 204

[actions."hooks.delete".params]
room = { about = "Room", required = true }
hook_id = { about = "Hook", type = "integer", required = true }

[actions."log.list"]
about = "List what was told"
method = "GET"
path = "/log/{hook_id}"
list = "/log"

[actions."log.list".params]
hook_id = { about = "Hook", type = "integer", required = true }
since = { about = "Since", type = "integer" }

[actions."log.get"]
about = "Read one"
method = "GET"
path = "/log/{hook_id}/{delivery}"

[actions."log.get".params]
hook_id = { about = "Hook", type = "integer", required = true }
delivery = { about = "InboundDelivery", required = true }

[webhook]
setup = "Enter the URL in the room."
retry = "None"
params.secret = { prompt = "Secret" }

[[webhook.proofs]]
scheme = "hmac_sha256"
signature = { header = "X-Signature" }
key_encoding = "whsec"

[webhook.event]
id = [{ header = "X-Id" }]
type = [{ at = "/type" }]

[webhook.subscribe]
action = "hooks.create"
params = { url = "{url}", secret = "{secret}", mark = "{id}" }
events = "kinds"
keep = ["hook_id"]
expires = "ends"
unsubscribe = { action = "hooks.delete", params = { hook_id = "{hook_id}" } }
renew = { action = "hooks.renew", params = { hook_id = "{hook_id}" } }
list = { action = "hooks.list" }

[webhook.backfill]
action = "log.list"
params = { hook_id = "{hook_id}", since = "{since}" }
pages = { kind = "next_url", next = "/next" }
each = { action = "log.get", params = { delivery = "/id" } }
time = "/at"
newest_first = true
event = ".sent.body"
all_headers = "/sent/headers"
reach_secs = 86400

[events.ping]
about = "Something"
sample = { headers = { X-Id = "{id}" }, json = '{"type":"ping"}' }
"#;

/// A connection to a vendor that can be subscribed at.
fn connected(provider: &FakeProvider, idempotency: &str) -> Home {
    let home = Home::new();
    home.install("fake", &format!("{CONNECTOR}{}", WEBHOOK.replace("IDEMPOTENCY", idempotency)));
    Flow::start(&home, &connect_line(provider)).allow();
    home
}

const SUBSCRIBE: &str = "webhook subscribe fake --url https://hooks.example.com -p room=red --json";

fn made(id: u64, ends: Option<i64>) -> Trouble {
    Trouble::json(201, &json!({ "id": id, "ends": ends }))
}

fn spawned(home: &Home, line: &str) -> Child {
    let mut command = home.command(line.split_whitespace());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// What was sent to a path, as JSON.
fn sent(provider: &FakeProvider, method: &str, path: &str) -> Vec<Value> {
    let state = provider.state();
    let asked = state.asked.iter().filter(|message| message.request() == (method, path));
    asked.map(|message| serde_json::from_slice(&message.body).unwrap_or_default()).collect()
}

#[test]
fn of_sixty_four_that_subscribe_one_asks_the_vendor() {
    let provider = FakeProvider::start();
    let home = connected(&provider, "");
    provider.trouble("/api/hooks/red", [made(7, None)]);
    let children: Vec<Child> = (0..64).map(|_| spawned(&home, SUBSCRIBE)).collect();
    let ran: Vec<Ran> = children.into_iter().map(|child| Ran::of(child.wait_with_output().unwrap())).collect();
    assert!(ran.iter().all(|ran| ran.code == 0), "{ran:?}");
    assert_eq!(ran.iter().filter(|ran| ran.stdout.contains("\"is_new\":true")).count(), 1);
    let bodies = sent(&provider, "POST", "/api/hooks/red");
    assert_eq!(bodies.len(), 1);
    let secret = home.ok("webhook secret fake --print-secret");
    assert!(secret.starts_with("whsec_") && bodies[0]["secret"] == secret.as_str(), "{bodies:?}");
    assert!(!ran.iter().any(|ran| ran.stdout.contains(&secret)), "no secret is printed");
    let url = home.json("webhook url fake");
    assert_eq!(bodies[0]["url"], url["url"]);
    assert_eq!(url["subscriptions"][0]["params"], json!({ "room": "red" }));
    // Another room is another subscription; the same with other events is told.
    provider.trouble("/api/hooks/blue", [made(8, None)]);
    home.ok("webhook subscribe fake -p room=blue --events ping");
    assert_eq!(sent(&provider, "POST", "/api/hooks/blue")[0]["kinds"], json!(["ping"]));
    let other = home.run(&format!("{SUBSCRIBE} --events ping"));
    assert_eq!(other.error_code(), "different_subscription", "{other:?}");
    let several = home.run("webhook unsubscribe fake --json");
    assert_eq!((several.code, several.error_code().as_str()), (2, "several_subscriptions"), "{several:?}");
    provider.trouble("/api/hooks/red/7", [Trouble::json(204, &json!({}))]);
    provider.trouble("/api/hooks/blue/8", [Trouble::json(404, &json!({}))]);
    home.ok("webhook unsubscribe fake --all");
    assert_eq!(home.json("status")["connections"][0]["subscriptions"], json!([]));
    assert_eq!(home.run("webhook unsubscribe fake --json").error_code(), "subscription_not_found");
}

#[test]
fn what_the_vendor_signs_with_is_accepted_before_it_has_answered() {
    let provider = FakeProvider::start();
    let home = connected(&provider, "");
    // The listener that runs knows another secret, and none is kept.
    let mut other = home.command(["webhook", "listen", "fake", "--port", "0", "--json"]);
    other.env("INTEG_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let mut running = Running::start(other);
    let url = running.event()["urls"]["fake"].as_str().unwrap().to_owned();
    provider.trouble("/api/hooks/red", [Trouble::Hold(Some((201, json!({ "id": 7 }))))]);
    let child = spawned(&home, SUBSCRIBE);
    provider.until("the vendor is asked", |state| state.holding == 1);
    let ran = home.run(&format!("webhook simulate fake ping --to {url}"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(running.event()["verified"], true);
    provider.go_on();
    assert_eq!(Ran::of(child.wait_with_output().unwrap()).code, 0);
}

#[test]
fn a_vendor_that_proves_the_url_before_it_answers_is_answered() {
    let provider = FakeProvider::start();
    let home = connected(&provider, "");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // The port that was listened at last is where the vendor's calls arrive.
    home.run_with_input("webhook secret fake --set -", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let mut listening = Running::start(home.command(["webhook", "listen", "--port", &port.to_string(), "--json"]));
    let url: Url = listening.event()["urls"]["fake"].as_str().unwrap().parse().unwrap();
    drop(listening);
    let handshake = "\nparams.verify = { prompt = \"Token\" }\n\n[[webhook.handshakes]]\n\
        when = { query = { challenge = \"*\" } }\ncheck = { token = \"{verify}\" }\n\
        echo = { query = \"challenge\" }\n\n[[webhook.proofs]]";
    let connector = WEBHOOK.replace("IDEMPOTENCY", "").replace("\n\n[[webhook.proofs]]", handshake);
    let connector = connector.replace("mark = \"{id}\"", "mark = \"{verify}\"");
    home.install("fake", &format!("{CONNECTOR}{connector}"));
    provider.trouble("/api/hooks/red", [Trouble::Hold(Some((201, json!({ "id": 7 }))))]);
    let child = spawned(&home, SUBSCRIBE);
    provider.until("the vendor is asked", |state| state.holding == 1);
    let token = sent(&provider, "POST", "/api/hooks/red")[0]["mark"].as_str().unwrap().to_owned();
    assert!(token.len() >= 32, "one of its own making: {token}");
    let ask = |token: &str| {
        let mut asked = url.clone();
        asked.query_pairs_mut().append_pair("challenge", "42").append_pair("token", token);
        crate::wire::get(&asked)
    };
    assert_eq!(ask("wrong").status(), 403);
    let answer = ask(&token);
    assert_eq!((answer.status(), answer.body.as_slice()), (200, b"42".as_slice()));
    provider.go_on();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert!(ran.code == 0 && !ran.stdout.contains(&token), "{ran:?}");
}

#[test]
fn killed_while_the_vendor_answers_the_subscription_is_known_to_be_unknown() {
    let provider = FakeProvider::start();
    let home = connected(&provider, "");
    provider.trouble("/api/hooks/red", [Trouble::Hold(Some((201, json!({ "id": 7 }))))]);
    let mut child = spawned(&home, SUBSCRIBE);
    provider.until("the vendor is asked", |state| state.holding == 1);
    child.kill().unwrap();
    child.wait().unwrap();
    provider.go_on();
    let shown = home.json("status");
    assert_eq!(shown["connections"][0]["subscriptions"][0]["status"], "creating", "{shown}");
    let again = home.run(SUBSCRIBE);
    assert_eq!((again.code, again.error_code().as_str()), (1, "subscription_outcome_unknown"), "{again:?}");
    assert!(again.stderr.contains("integ call fake hooks.list room=red"), "{again:?}");
    assert!(again.stderr.contains("integ webhook unsubscribe fake 1 --local"), "{again:?}");
    assert_eq!(home.run("webhook unsubscribe fake --json").error_code(), "unsubscribe_failed");
    home.ok("webhook unsubscribe fake 1 --local");
    provider.trouble("/api/hooks/red", [Trouble::Drop]);
    let lost = home.run(SUBSCRIBE);
    assert_eq!((lost.code, lost.error_code().as_str()), (5, "subscription_outcome_unknown"), "{lost:?}");
    home.ok("webhook unsubscribe fake --local");
    // A refusal is an answer: nothing is left.
    provider.trouble("/api/hooks/red", [Trouble::json(422, &json!({ "message": "no" })), made(9, None)]);
    assert_eq!(home.run(SUBSCRIBE).error_code(), "vendor_error");
    home.ok(SUBSCRIBE);
}

#[test]
fn killed_where_the_vendor_knows_a_repetition_it_is_asked_again_for_the_same() {
    let provider = FakeProvider::start();
    let home = connected(&provider, "idempotency = { header = \"Idempotency-Key\" }");
    provider.trouble("/api/hooks/red", [Trouble::Hold(Some((201, json!({ "id": 7 })))), made(7, None)]);
    let mut child = spawned(&home, SUBSCRIBE);
    provider.until("the vendor is asked", |state| state.holding == 1);
    child.kill().unwrap();
    child.wait().unwrap();
    provider.go_on();
    home.ok(SUBSCRIBE);
    let state = provider.state();
    let asked: Vec<_> = state.asked.iter().filter(|message| message.request() == ("POST", "/api/hooks/red")).collect();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].header("idempotency-key"), asked[1].header("idempotency-key"));
    assert_eq!(asked[0].body, asked[1].body);
}

#[test]
fn a_lease_is_renewed_by_a_listener_and_by_refresh_and_its_failure_is_told_once() {
    let provider = FakeProvider::start();
    let home = connected(&provider, "");
    let log = home.path().join("told");
    let script = home.path().join("hook.sh");
    fs::write(
        &script,
        format!("echo \"$INTEG_NOTIFY_EVENT $INTEG_NOTIFY_STATUS $INTEG_NOTIFY_REASON\" >> '{}'\n", log.display()),
    )
    .unwrap();
    let set = finish(home.command(["config", "set", "notify.command", &format!("sh '{}'", script.display())]));
    assert_eq!(set.code, 0, "{set:?}");
    let renewed = |ends: i64| Trouble::json(200, &json!({ "ends": ends }));
    provider.trouble("/api/hooks/red", [made(7, Some(now() + 6))]);
    provider.trouble("/api/hooks/red/7", [renewed(now() + 9), renewed(now() + 3600)]);
    home.ok(SUBSCRIBE);
    let shown = home.run("status");
    assert!(shown.stdout.contains("webhook: renews in "), "{shown:?}");
    let mut listening = Listening::start(&home, "fake", None);
    let patches = |count: usize| {
        provider.until("it is renewed", |state| {
            state.asked.iter().filter(|message| message.request() == ("PATCH", "/api/hooks/red/7")).count() == count
        });
    };
    patches(2);
    listening.signal(Signal::TERM);
    assert_eq!(listening.running.code(), 130);
    assert_eq!(home.json("status")["connections"][0]["subscriptions"][0]["status"], "active");
    home.ok("refresh --due");
    assert_eq!(sent(&provider, "PATCH", "/api/hooks/red/7").len(), 2, "nothing is due");
    assert!(!log.exists());
    // Subscribed anew for two seconds, of which one is over: the vendor refuses to prolong it.
    provider.trouble("/api/hooks/red/7", [Trouble::json(204, &json!({}))]);
    home.ok("webhook unsubscribe fake");
    provider.trouble("/api/hooks/red", [made(7, Some(now() + 2))]);
    home.ok(SUBSCRIBE);
    std::thread::sleep(Duration::from_secs(3));
    provider.trouble("/api/hooks/red/7", std::iter::repeat_n(Trouble::json(400, &json!({ "message": "no" })), 9));
    let children: Vec<Child> = (0..8).map(|_| spawned(&home, "refresh --due")).collect();
    let codes: Vec<i32> = children.into_iter().map(|child| Ran::of(child.wait_with_output().unwrap()).code).collect();
    assert_eq!(codes.iter().filter(|code| **code != 0).count(), 1, "the others leave it alone for a minute: {codes:?}");
    let told = fs::read_to_string(&log).unwrap();
    assert!(told.lines().count() == 1 && told.starts_with("failure error "), "{told}");
    let checked = home.run("status --check --json");
    let view: Value = serde_json::from_str(&checked.stdout).unwrap();
    let row = &view["connections"][0];
    assert_eq!((checked.code, &row["status"]), (6, &json!("error")), "{view}");
    assert_eq!(
        (&row["subscriptions"][0]["status"], &row["subscriptions"][0]["hint"]),
        (&json!("expired"), &json!("integ refresh fake"))
    );
    // By hand it is tried at once. The vendor has let it go: another one is made in its place.
    provider.state().asked.clear();
    provider.trouble("/api/hooks/red", [made(8, Some(now() + 3600))]);
    for _ in 0..8 {
        home.run("refresh fake");
    }
    home.ok("refresh fake");
    let row = &home.json("status --check")["connections"][0];
    let subscriptions = row["subscriptions"].as_array().unwrap();
    assert!(subscriptions.len() == 1 && subscriptions[0]["status"] == "active", "{row}");
    assert!(fs::read_to_string(&log).unwrap().ends_with("recovery active \n"));
}

#[test]
fn a_vendors_own_secret_serves_and_a_connector_without_subscribing_says_where() {
    let home = crate::webhook::home(&["stripe", "slack", "paypal", "gmail"]);
    home.ok("webhook subscribe stripe --events charge.refunded");
    let mut listening = Listening::start(&home, "stripe", None);
    home.ok("webhook simulate stripe charge.refunded");
    assert_eq!(listening.event()["verified"], true);
    let refused = home.run("webhook subscribe slack --json");
    assert_eq!((refused.code, refused.error_code().as_str()), (1, "manual_subscription"), "{refused:?}");
    assert!(refused.stderr.contains("Event Subscriptions"), "{refused:?}");
    // What the vendor answers may be what a signature covers.
    home.ok("webhook subscribe paypal");
    assert_eq!(home.json("webhook secret paypal")["params"], json!(["webhook_id"]));
    let missing = home.run("webhook subscribe gmail --json");
    assert_eq!(missing.error_code(), "invalid_parameters", "{missing:?}");
    assert!(missing.stderr.contains("integ webhook subscribe gmail -p topic_name=TOPIC_NAME"), "{missing:?}");
    let rehearsed = home.run("webhook subscribe stripe --dry-run --events customer.created");
    assert!(rehearsed.code == 0 && rehearsed.stdout.starts_with("POST https://sandbox.invalid/"), "{rehearsed:?}");
    assert_eq!(home.json("webhook url stripe")["subscriptions"].as_array().unwrap().len(), 1);
}

#[test]
fn what_was_missed_is_asked_for_and_taken_in_once() {
    let provider = FakeProvider::start();
    let home = connected(&provider, "");
    provider.trouble("/api/hooks/red", [made(7, None)]);
    home.ok(SUBSCRIBE);
    let mut listening = Listening::start(&home, "fake", None);
    home.ok(&format!("webhook simulate fake ping --to {}", listening.url("fake")));
    let came = listening.event()["delivery_id"].as_str().unwrap().to_owned();
    let delivery = |id: &str, kind: &str| {
        Trouble::json(200, &json!({ "sent": { "headers": { "X-Id": id }, "body": { "type": kind } } }))
    };
    let (item, old) = (|id: &str| json!({ "id": id, "at": now() - 60 }), json!({ "id": "old", "at": now() - 7200 }));
    let log = || {
        let first = json!({ "log": [item("a"), item("b")], "next": "/api/log/7?page=2" });
        let second = json!({ "log": [item("c"), old.clone()], "next": "/api/log/7?page=3" });
        let third = json!({ "log": [old.clone()], "next": "/api/log/7?page=4" });
        [first, second, third].map(|page| Trouble::json(200, &page))
    };
    for (path, id) in [("a", came.as_str()), ("b", "missed-1"), ("c", "missed-2")] {
        let path = format!("/api/log/7/{path}");
        provider.trouble(&path, std::iter::repeat_with(|| delivery(id, "ping")).take(3));
    }
    provider.trouble("/api/log/7", log());
    let rehearsed = home.run("webhook backfill fake --since 1h --dry-run");
    assert!(
        rehearsed.code == 0 && rehearsed.stderr.contains("2 would be stored, 1 already received."),
        "{rehearsed:?}"
    );
    assert_eq!(events(&home, "fake").len(), 1);
    provider.trouble("/api/log/7", log());
    let ran = home.run("webhook backfill fake --since 1h --json");
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let known: Vec<bool> = lines.iter().map(|line| line["duplicate"].as_bool().unwrap()).collect();
    assert_eq!(known, [true, false, false], "{lines:?}");
    provider.trouble("/api/log/7", log());
    let again = home.run("webhook backfill fake --since 1h");
    assert!(again.stderr.contains("0 new, 3 already received."), "{again:?}");
    // One that is delivered after all is the same, though its bytes are others.
    home.ok(&format!("webhook simulate fake ping --to {} --set x=1 --json", listening.url("fake")));
    let kept = events(&home, "fake");
    assert_eq!(kept.iter().filter(|event| event["status"] == "pending").count(), 2, "they wait to be handled");
    assert!(kept.iter().all(|event| event["conflicts"] == 0), "{kept:?}");
    let far = home.run("webhook backfill fake --since 7d --json");
    assert_eq!((far.code, far.error_code().as_str()), (2, "too_far_back"), "{far:?}");
    home.ok("connect slack --sandbox");
    assert_eq!(home.run("webhook backfill slack --since 1d --json").error_code(), "backfill_unsupported");
}

#[test]
fn vendors_of_the_catalogue_are_asked_for_what_was_missed() {
    let home = crate::webhook::home(&["stripe", "twilio", "paypal"]);
    for name in ["stripe", "twilio", "paypal"] {
        home.ok(&format!("webhook backfill {name} --since 1d"));
        // What was found is known the second time.
        let ran = home.run(&format!("webhook backfill {name} --since 1d"));
        assert!(ran.code == 0 && ran.stderr.contains("0 new"), "{name}: {ran:?}");
    }
    home.ok("connect github --sandbox --scope admin:repo_hook --scope repo");
    let ran = home.run("webhook backfill github --since 1d --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "invalid_parameters"), "{ran:?}");
    home.ok("webhook subscribe github -p owner=acme -p repo=website");
    home.ok("webhook backfill github --since 1d");
}

/// An event that came so many days ago.
fn came(home: &Home, name: &str, delivery: &str, days: i64, handled: bool) -> EventInsertResult {
    let store = crate::vault::shared_store(home);
    let connection = wait(store.connections().find(&name.parse().unwrap())).unwrap().unwrap().id;
    let event = NewEvent {
        delivery_id: delivery.to_owned(),
        has_delivery_id: true,
        digest: Some([7; 32]),
        signed_digest: None,
        kind: "push".to_owned(),
        account: None,
        resource: None,
        actor: None,
        occurred_at: None,
        batch_item: None,
        merged: None,
    };
    let received_at = Timestamp::from_second(now() - days * 86_400).unwrap();
    let (headers, query, body) = (Vec::new(), String::new(), b"{}".to_vec());
    let delivery = InboundDelivery {
        connection,
        received_at,
        headers,
        query,
        body,
        events: vec![event],
        verification: EventVerification::Verified,
        needs_handling: handled,
    };
    wait(store.events().insert(Arc::new(delivery))).unwrap()[0]
}

#[test]
fn what_was_processed_goes_after_its_time_and_ids_stay_where_nothing_else_tells_the_age() {
    let home = crate::webhook::home(&["stripe", "github"]);
    for name in ["stripe", "github"] {
        came(&home, name, "old", 40, false);
        came(&home, name, "new", 20, false);
        came(&home, name, "waits", 40, true);
        let dead = came(&home, name, "dead", 40, true).id();
        let ended = AttemptResult {
            id: dead,
            status: EventStatus::Dead,
            due_at: None,
            error: Some("no".to_owned()),
            completed_handlers: 0,
            runs: Vec::new(),
        };
        let store = crate::vault::shared_store(&home);
        let connection = wait(store.connections().find(&name.parse().unwrap())).unwrap().unwrap().id;
        let lock = wait(store.locks().try_acquire(LockKey::Events(connection), Timestamp::now())).unwrap().unwrap();
        wait(store.events().record_attempts(&[ended], lock.fence)).unwrap();
    }
    let rehearsed = home.json("webhook prune --dry-run");
    assert_eq!(rehearsed["pruned"][0]["events"], 1, "{rehearsed}");
    assert_eq!(events(&home, "").len(), 8);
    let pruned = home.json("webhook prune");
    let expected = json!([
        { "connection": "github", "events": 1, "retains_ids": true },
        { "connection": "stripe", "events": 1, "retains_ids": false },
    ]);
    assert_eq!(pruned["pruned"], expected);
    let left = |name: &str| -> Vec<String> {
        events(&home, name).iter().map(|event| event["delivery_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (left("stripe"), left("github")),
        (
            ["new", "waits", "dead"].map(str::to_owned).to_vec(),
            ["old", "new", "waits", "dead"].map(str::to_owned).to_vec(),
        )
    );
    // GitHub signs no time: what comes again is known for good, though its content is gone.
    assert!(matches!(came(&home, "github", "old", 0, false), EventInsertResult::Duplicate(_)));
    assert!(matches!(came(&home, "stripe", "old", 0, false), EventInsertResult::New(_)));
    let id = events(&home, "github")[0]["id"].as_i64().unwrap();
    for line in [format!("webhook show {id} --json"), format!("webhook retry {id} --json")] {
        let ran = home.run(&line);
        assert_eq!((ran.code, ran.error_code().as_str()), (3, "event_pruned"), "{line}: {ran:?}");
    }
    // A listener does it by itself, by the setting; the dead and the waiting stay until somebody says so.
    home.ok("config set webhooks.keep 10d");
    let short = home.run("config set webhooks.keep 1h --json");
    assert_eq!(short.error_code(), "invalid_config", "{short:?}");
    let listening = Listening::start(&home, "stripe", None);
    for _ in 0..100 {
        if !left("stripe").contains(&"new".to_owned()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(listening);
    assert_eq!(left("stripe"), ["waits", "dead", "old"]);
    home.ok("webhook prune stripe --dead");
    assert_eq!(left("stripe"), ["waits", "old"]);
}
