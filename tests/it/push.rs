//! `integ webhook listen --sync`: what a vendor tells and what it is asked for meet in one store.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use integ::connector::Catalogue;
use integ::webhook::simulate::{SimulateRequest, simulate};
use serde_json::{Value, json};
use url::Url;

use crate::harness::{Home, skipped_on_postgres};
use crate::sync::remove_metadata;
use crate::webhook::{Listening, Maker, events, home, post};

/// Events sent so far: each has another id.
static SENT: AtomicU64 = AtomicU64::new(1);

/// Sends an event with a body of its own.
pub fn send(home: &Home, name: &str, url: &Url, event: &str, body: &Value) {
    let maker = Maker::of(home, name);
    let connector = Catalogue::new(std::path::Path::new("/nonexistent")).get(name).unwrap();
    let body = body.to_string();
    let id = format!("{:032x}", SENT.fetch_add(1, Ordering::Relaxed));
    let wish = SimulateRequest {
        event,
        url: url.as_str(),
        number: 1,
        id: &id,
        set: &[],
        data: Some(body.as_bytes()),
        now: integ::clock::Timestamp::now(),
        signed_at: None,
    };
    let request = simulate(&connector, &wish, &maker.keys, &Default::default()).unwrap();
    assert!(post(url, &request).is_some_and(|status| status < 300));
}

/// Sends a change of a charge, and waits until it is handled.
fn tell(home: &Home, listening: &mut Listening, id: &str, created: i64, charge: &Value) -> Value {
    let event = json!({
        "id": id, "object": "event", "type": "charge.refunded", "created": created, "data": { "object": charge },
    });
    send(home, "stripe", &listening.url("stripe"), "charge.refunded", &event);
    listening.until("handled")
}

fn lines(home: &Home, line: &str) -> Vec<Value> {
    home.ok(line).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The records of a stream as the service wrote them.
fn records(home: &Home, stream: &str) -> Vec<Value> {
    let mut records = lines(home, &format!("records {stream}"));
    records.iter_mut().for_each(remove_metadata);
    records
}

/// The changes of a stream after a version, without what the vendor wrote.
fn changes(home: &Home, stream: &str, since: u64) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let changes = lines(home, &format!("records {stream} --since {since}"));
    changes.iter().map(|change| (text(&change["_change"]), text(&change["_key"]))).collect()
}

fn version(home: &Home, stream: &str) -> u64 {
    lines(home, &format!("records {stream} --since 0"))
        .iter()
        .map(|change| change["_version"].as_u64().unwrap())
        .max()
        .unwrap()
}

fn synced(home: &Home, line: &str) -> Value {
    home.json(&format!("sync {line}"))["streams"][0].clone()
}

#[test]
fn a_record_that_is_pushed_is_one_that_is_polled() {
    let home = home(&["stripe"]);
    home.ok("sandbox data stripe/charges --records 6");
    synced(&home, "stripe/charges");
    let cursor = home.json("cursor get stripe/charges");
    let mut listening = Listening::start(&home, "stripe --sync", None);
    let now = integ::clock::Timestamp::now().as_second() + 5;
    let known = records(&home, "stripe/charges").remove(3);
    let key = known["id"].as_str().unwrap().to_owned();
    let before = version(&home, "stripe/charges");

    let handled = tell(&home, &mut listening, "evt_same", now, &known);
    assert_eq!(handled["event_status"], "processed", "{handled}");
    assert!(changes(&home, "stripe/charges", before).is_empty(), "what is known is no change");

    let mut refunded = known.clone();
    refunded["amount_refunded"] = json!(7);
    tell(&home, &mut listening, "evt_refund", now + 10, &refunded);
    assert_eq!(changes(&home, "stripe/charges", before), [("changed".to_owned(), key.clone())]);

    // It says another thing, and was said before: it was on its way for longer.
    refunded["amount_refunded"] = json!(3);
    tell(&home, &mut listening, "evt_late", now + 9, &refunded);
    let kept = records(&home, "stripe/charges").into_iter().find(|record| record["id"] == *key).unwrap();
    assert_eq!(kept["amount_refunded"], 7, "an older event overwrote a newer one");

    // What orders the records decides before the time at which it was told.
    refunded["created"] = json!(known["created"].as_i64().unwrap() - 1);
    tell(&home, &mut listening, "evt_older", now + 20, &refunded);
    let kept = records(&home, "stripe/charges").into_iter().find(|record| record["id"] == *key).unwrap();
    assert_eq!(kept["amount_refunded"], 7);

    // Time passes at the vendor: one of what is new is told, all of it is then asked for.
    home.ok("sandbox advance stripe --ticks 3");
    let listed = home.json("api stripe /v1/charges?limit=100")["data"].as_array().unwrap().clone();
    let is_known = |id: &Value| records(&home, "stripe/charges").iter().any(|record| record["id"] == *id);
    let new = listed.iter().find(|charge| !is_known(&charge["id"])).expect("a tick adds a record").clone();
    let before = version(&home, "stripe/charges");
    tell(&home, &mut listening, "evt_new", now + 30, &new);
    let id = new["id"].as_str().unwrap().to_owned();
    assert_eq!(changes(&home, "stripe/charges", before), [("added".to_owned(), id.clone())]);
    assert_eq!(home.json("cursor get stripe/charges"), cursor, "a push moved the cursor");
    let before = version(&home, "stripe/charges");
    synced(&home, "stripe/charges");
    let polled = changes(&home, "stripe/charges", before);
    assert!(!polled.is_empty(), "there was more to ask for");
    assert!(polled.iter().all(|(_, key)| *key != id), "{id} came twice: {polled:?}");
    assert!(events(&home, "").iter().all(|event| event["status"] == "processed"));
}

#[test]
fn a_record_that_is_told_to_be_gone_is_gone_and_stays_so() {
    let home = home(&["stripe"]);
    synced(&home, "stripe/customers");
    let mut listening = Listening::start(&home, "stripe --sync", None);
    let now = integ::clock::Timestamp::now().as_second() + 5;
    let customer = records(&home, "stripe/customers").remove(0);
    let key = customer["id"].as_str().unwrap().to_owned();
    let mut tell = |kind: &str, id: &str, at: i64| {
        let event = json!({ "id": id, "type": kind, "created": at, "data": { "object": customer } });
        send(&home, "stripe", &listening.url("stripe"), kind, &event);
        assert_eq!(listening.until("handled")["event_status"], "processed");
    };
    let before = version(&home, "stripe/customers");
    tell("customer.deleted", "evt_gone", now + 10);
    assert_eq!(changes(&home, "stripe/customers", before), [("deleted".to_owned(), key.clone())]);
    tell("customer.updated", "evt_late", now + 5);
    assert_eq!(changes(&home, "stripe/customers", before), [("deleted".to_owned(), key)]);
}

#[test]
fn what_is_told_during_a_full_list_that_was_cut_off_is_not_swept_away() {
    let home = home(&["stripe"]);
    // One page is kept of it, and the rest fails.
    home.ok("sandbox fault stripe server_error --endpoint stream --after 1");
    assert_ne!(home.run("sync stripe/customers").code, 0);
    home.ok("sandbox fault stripe --clear");
    let first = records(&home, "stripe/customers").remove(0);
    let mut listening = Listening::start(&home, "stripe --sync", None);
    let mut new = first.clone();
    new["id"] = json!("cus_ofapush");
    let now = integ::clock::Timestamp::now().as_second();
    let event = json!({ "id": "evt_1", "type": "customer.created", "created": now, "data": { "object": new } });
    send(&home, "stripe", &listening.url("stripe"), "customer.created", &event);
    listening.until("handled");
    assert_eq!(synced(&home, "stripe/customers")["deleted"], 0);
    assert!(records(&home, "stripe/customers").iter().any(|record| record["id"] == "cus_ofapush"));
}

#[test]
fn a_record_is_put_into_the_list_that_its_event_names() {
    let home = home(&["github"]);
    synced(&home, "github/issues");
    let repository = records(&home, "github/repositories").remove(2);
    let issue = records(&home, "github/issues").remove(0);
    let mut listening = Listening::start(&home, "github --sync", None);
    let mut tell = |action: &str, issue: &Value| {
        let event = json!({ "action": action, "issue": issue, "repository": repository });
        send(&home, "github", &listening.url("github"), "issues", &event);
        assert_eq!(listening.until("handled")["event_status"], "processed");
    };
    let runs = home.json("job list github")["jobs"].as_array().unwrap().len();
    let mut new = issue.clone();
    (new["id"], new["updated_at"]) = (json!(77), json!("2031-01-01T00:00:00Z"));
    let before = version(&home, "github/issues");
    tell("opened", &new);
    assert_eq!(changes(&home, "github/issues", before), [("added".to_owned(), "77".to_owned())]);
    tell("deleted", &new);
    assert_eq!(changes(&home, "github/issues", before), [("deleted".to_owned(), "77".to_owned())]);
    assert_eq!(home.json("job list github")["jobs"].as_array().unwrap().len(), runs, "nothing had to be asked for");
}

#[test]
fn many_signs_are_one_run_and_wait_for_a_sync_that_is_under_way() {
    if skipped_on_postgres("it holds lock files; `lock_contract` holds leases") {
        return;
    }
    let home = home(&["notion"]);
    synced(&home, "notion/pages");
    let runs = || {
        let jobs = home.json("job list notion --limit 100");
        jobs["jobs"].as_array().unwrap().iter().filter(|job| job["stream"] == "pages").count()
    };
    let began = runs();
    let locks = home.workspace().join("locks");
    let lock = std::fs::read_dir(&locks).unwrap().map(|entry| entry.unwrap().path());
    let held: Vec<File> = lock
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("stream-"))
        .map(|path| {
            let file = File::options().write(true).open(path).unwrap();
            file.lock().unwrap();
            file
        })
        .collect();
    assert!(!held.is_empty());
    let mut listening = Listening::start(&home, "notion --sync", None);
    home.ok("webhook simulate notion page.content_updated --count 25");
    let waited = Instant::now();
    while waited.elapsed() < Duration::from_secs(4) {
        assert!(events(&home, "").iter().all(|event| event["status"] == "pending"), "the stream was another's");
        std::thread::sleep(Duration::from_millis(500));
    }
    drop(held);
    for _ in 0..25 {
        let handled = listening.until("handled");
        assert_eq!((&handled["event_status"], &handled["attempt"]), (&json!("processed"), &json!(1)), "{handled}");
    }
    let ran = runs() - began;
    assert!((1..=2).contains(&ran), "{ran} runs for 25 signs");
}
