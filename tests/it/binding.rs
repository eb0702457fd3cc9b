//! Bindings: from set to preview, records, events, exports, failures and their retry.

use std::fs;

use serde_json::{Value, json};

use crate::harness::Home;
use crate::receiver::{Answer, Receiver};
use crate::webhook::Listening;

const CUSTOMER: &str = "id = .id\nemail: text = .properties.email | lower\n\
    name = \"\\(.properties.firstname) \\(.properties.lastname)\"\nphone?: text = .properties.phone\n\
    stage = .properties.lifecyclestage | lookup(\"stage\")\ncreated: time = .createdAt\n\
    [lookup.stage]\nlead = \"prospect\"\n\
    [example a lead]\ninput = {\"id\": \"1\", \"createdAt\": \"2026-01-01T00:00:00Z\", \"properties\": {\"email\": \"A@b.c\", \
    \"firstname\": \"A\", \"lastname\": \"B\", \"lifecyclestage\": \"lead\"}}\n\
    output = {\"id\": \"1\", \"email\": \"a@b.c\", \"name\": \"A B\", \"phone\": null, \"stage\": \"prospect\", \
    \"created\": \"2026-01-01T00:00:00Z\"}\n\
    [example no address]\ninput = {\"id\": \"1\"}\nerror = \".properties.email is missing\"\n";

/// A home with contacts of the sandbox.
fn synced() -> Home {
    let home = Home::new();
    home.ok("connect hubspot --sandbox");
    home.ok("sync hubspot/contacts --quiet");
    home
}

fn set(home: &Home, name: &str, from: &str, text: &str) {
    let ran = home.run_with_input(&format!("binding set {name} --from {from} -"), text);
    assert_eq!(ran.code, 0, "{ran:?}");
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn records_come_in_the_users_own_shape() {
    let home = synced();
    set(&home, "customer", "hubspot/contacts", CUSTOMER);
    let originals = lines(&home.ok("records hubspot/contacts"));
    let mapped = lines(&home.ok("records hubspot/contacts --binding customer"));
    assert!(!mapped.is_empty() && mapped.len() == originals.len());
    for (mapped, original) in mapped.iter().zip(&originals) {
        let members: Vec<&String> = mapped.as_object().unwrap().keys().collect();
        assert_eq!(members[..6], ["id", "email", "name", "phone", "stage", "created"]);
        assert_eq!(
            (&mapped["id"], &mapped["_key"], &mapped["stage"]),
            (&original["id"], &original["_key"], &json!("prospect"))
        );
    }
    // The binding says which stream.
    assert_eq!(lines(&home.ok("records --binding customer --json")), mapped);
    let csv = home.ok("records --binding customer --format csv");
    assert!(csv.starts_with("id,email,name,phone,stage,created,_key,"), "{csv}");
    assert_eq!(csv.lines().count(), mapped.len() + 1);
    home.ok("records --binding customer --output data --format parquet");
    assert!(home.path().join("data/hubspot/contacts.parquet").metadata().unwrap().len() > 100);
    let changes = lines(&home.ok("records --binding customer --since 0"));
    assert_eq!((changes.len(), &changes[0]["_change"]), (mapped.len(), &json!("added")));
    let tested = home.json("binding test");
    assert_eq!((&tested["passed"], &tested["failed"]), (&json!(2), &json!(0)), "{tested}");
}

#[test]
fn what_fails_is_kept_and_mapped_once_the_binding_is_changed() {
    let home = synced();
    set(&home, "customer", "hubspot/contacts", "id = .id\nmail = .properties.emial\n");
    let count = lines(&home.ok("records hubspot/contacts")).len() as u64;
    for _ in 0..2 {
        let failed = home.run("records --binding customer");
        assert_eq!((failed.code, failed.stdout.as_str()), (8, ""), "{failed:?}");
        assert!(failed.stderr.contains(".properties.emial is missing"), "{failed:?}");
    }
    let shown = home.json("binding show customer");
    assert_eq!(
        (&shown["failure_count"], shown["failures"].as_array().unwrap().len() as u64),
        (&json!(count), count.min(100))
    );
    assert_eq!(shown["failures"][0]["reason"], "mail: .properties.emial is missing");
    let again = home.run("binding retry customer");
    assert_eq!((again.code, again.stdout.as_str()), (8, ""));

    // Of a changed one no input is lost: it gives what failed before.
    let ran = home.run_with_input("binding set customer -", "id = .id\nmail = .properties.email\n");
    assert_eq!(ran.code, 0, "{ran:?}");
    let retried = lines(&home.ok("binding retry customer"));
    assert_eq!(retried.len() as u64, count);
    assert!(retried.iter().all(|record| record["mail"].is_string()));
    assert_eq!(home.json("binding show customer")["failure_count"], 0);
    assert_eq!(home.ok("binding retry customer"), "");

    let partly = "id = .id\nx = if .properties.firstname < \"M\" then .properties.email else .nope end\n";
    set(&home, "partly", "hubspot/contacts", partly);
    let ran = home.run("records --binding partly");
    let failures = home.json("binding show partly")["failure_count"].as_u64().unwrap();
    assert_eq!(lines(&ran.stdout).len() as u64 + failures, count, "{ran:?}");
    let files = home.run("records --binding partly --output out");
    assert_eq!(files.code, if failures > 0 { 8 } else { 0 }, "{files:?}");
}

#[test]
fn a_preview_shows_each_field_and_changes_nothing() {
    let home = synced();
    fs::write(home.path().join("draft"), "id = .id\nx = .nope\n").unwrap();
    let preview = home.json("binding preview --from hubspot/contacts --file draft --limit 2");
    let documents = preview["documents"].as_array().unwrap();
    assert_eq!(documents.len(), 2);
    let field = &documents[0]["fields"][1];
    assert_eq!(
        (&field["field"], &field["error"], &field["inputs"][0]["path"]),
        (&json!("x"), &json!(".nope is missing"), &json!(".nope"))
    );
    assert_eq!(home.json("binding list")["bindings"], json!([]));
    set(&home, "customer", "hubspot/contacts", CUSTOMER);
    let text = home.ok("binding preview customer --limit 1");
    assert!(text.contains("FIELD") && text.contains(".properties.email \""), "{text}");
    assert_eq!(home.json("binding show customer")["failure_count"], 0);
}

#[test]
fn an_export_imports_the_same_bindings() {
    let home = synced();
    set(&home, "customer", "hubspot/contacts", CUSTOMER);
    set(&home, "paid", "stripe#invoice.paid", "id = .id\n");
    let export = home.ok("binding export");
    let other = Home::new();
    let imported = other.run_with_input("binding import - --json", &export);
    let view: Value = serde_json::from_str(&imported.stdout).unwrap();
    assert_eq!((&view["added"], imported.code), (&json!(2), 0), "{imported:?}");
    assert_eq!(other.ok("binding export"), export);
    assert_eq!(other.run_with_input("binding import -", &export).stdout.trim(), "0 added, 0 changed, 2 unchanged");
    let wrong = export.replace(".properties.email | lower", ".properties.email | lowr");
    let refused = other.run_with_input("binding import - --json", &wrong.replace("customer", "new"));
    assert_eq!((refused.code, refused.error_code().as_str()), (1, "invalid_binding"), "{refused:?}");
    assert_eq!(other.ok("binding export"), export);
}

#[test]
fn bindings_follow_a_rename_and_outlive_a_connection() {
    let home = Home::new();
    home.ok("connect hubspot@a --sandbox");
    home.ok("connect hubspot@b --sandbox");
    set(&home, "one", "hubspot@a/contacts", "id = .id");
    set(&home, "all", "hubspot/contacts", "id = .id");
    home.ok("sync hubspot@a/contacts --quiet");
    home.ok("sync hubspot@b/contacts --quiet");
    home.ok("rename hubspot@a hubspot@c");
    assert_eq!(home.ok("binding list --jq .bindings[].from"), "hubspot/contacts\nhubspot@c/contacts");
    home.ok("records hubspot@c/contacts --binding one");
    let other = home.run("records hubspot@b/contacts --binding one --json");
    assert_eq!((other.code, other.error_code().as_str()), (2, "other_origin"), "{other:?}");
    let several = home.run("records --binding all --json");
    assert_eq!((several.code, several.error_code().as_str()), (2, "several_connections"), "{several:?}");
    home.ok("records hubspot@b/contacts --binding all");
    home.ok("disconnect hubspot@c --yes");
    assert_eq!(home.json("binding list")["bindings"].as_array().unwrap().len(), 2);
}

#[test]
fn handlers_get_the_mapped_event() {
    let home = Home::new();
    home.ok("config set http.allow 127.0.0.1");
    home.ok("connect stripe --sandbox");
    let text = "charge = .data.object.id\ntotal = .data.object.amount | major_units(\"EUR\")\n";
    set(&home, "refund", "stripe#charge.refunded", text);
    let receiver = Receiver::start();
    receiver.always("/hook", Answer::Status(200));
    let (file, url) = (home.path().join("events"), receiver.url("/hook"));
    let line = format!("--binding refund --append {} --forward-to {url}", file.display());
    let mut listening = Listening::start(&home, &line, None);
    home.ok("webhook simulate stripe charge.refunded");
    listening.until("handled");
    home.ok("webhook simulate stripe invoice.paid");
    listening.until("handled");
    listening.signal(rustix::process::Signal::INT);
    listening.running.code();

    let appended = lines(&fs::read_to_string(&file).unwrap());
    assert_eq!(appended[0]["payload"].as_object().unwrap().keys().collect::<Vec<_>>(), ["charge", "total"]);
    assert!(appended[1]["payload"]["data"].is_object(), "another event comes as it was");
    let requests = receiver.received("/hook");
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(body, appended[0]["payload"]);
    assert_eq!(requests[0].header("integ-event-type"), Some("charge.refunded"));
    assert_eq!(requests[0].header("stripe-signature"), None);
    assert!(requests[1].header("stripe-signature").is_some());
}

#[test]
fn an_event_that_cannot_be_mapped_is_dead_until_it_is_tried_again() {
    let home = Home::new();
    home.ok("connect stripe --sandbox");
    set(&home, "refund", "stripe#charge.*", "charge = .data.object.nope\n");
    let file = home.path().join("events");
    let line = format!("--binding refund --append {}", file.display());
    let listen = |until: &str| {
        let mut listening = Listening::start(&home, &line, None);
        if until == "failed" {
            home.ok("webhook simulate stripe charge.refunded");
        }
        listening.until(until);
        listening.signal(rustix::process::Signal::INT);
        listening.running.code();
    };
    listen("failed");
    assert!(!file.exists());
    let failures = home.json("binding show refund");
    assert_eq!(failures["failures"][0]["reason"], "charge: .data.object.nope is missing");
    home.run_with_input("binding set refund -", "charge = .data.object.id\n");
    home.ok("binding retry refund");
    listen("handled");
    assert!(lines(&fs::read_to_string(&file).unwrap())[0]["payload"]["charge"].is_string());
    assert_eq!(home.json("binding show refund")["failure_count"], 0);
}

#[test]
fn an_expression_that_runs_away_is_stopped() {
    let home = synced();
    set(&home, "endless", "hubspot/contacts", "id = .id\nx = [range(1e12)]\n");
    let ran = home.run("records --binding endless --limit 2");
    assert_eq!(ran.code, 8, "{ran:?}");
    assert!(ran.stderr.contains("memory") || ran.stderr.contains("within"), "{ran:?}");
}

/// Every template of every connector, on the records of its sandbox.
#[test]
fn templates_map_the_records_of_the_sandbox() {
    let catalogue = integ::connector::Catalogue::new(std::path::Path::new("/nonexistent"));
    let mut kinds = std::collections::BTreeSet::new();
    for (id, _) in catalogue.ids() {
        let connector = catalogue.get(&id).unwrap();
        if connector.templates.is_empty() {
            continue;
        }
        let home = Home::new();
        home.ok(&format!("connect {id} --sandbox"));
        for (name, template) in &connector.templates {
            kinds.insert(name.clone());
            let stream = template.stream.as_ref().unwrap();
            let synced = home.run(&format!("sync {id} --quiet"));
            assert!(matches!(synced.code, 0 | 8), "{synced:?}");
            if id == "outlook-calendar" {
                let range = "-p from=2026-01-01T00:00:00Z -p to=2027-01-01T00:00:00Z";
                home.ok(&format!("sync {id}/{stream} {range} --quiet"));
            }
            home.ok(&format!("binding set {name} --from {id}/{stream} --template {name}"));
            let mapped = home.run(&format!("records --binding {name}"));
            assert_eq!(mapped.code, 0, "{id} {name}: {mapped:?}");
            assert!(!mapped.stdout.is_empty(), "{id} {name} has no records");
        }
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["contact", "event", "message", "payment", "ticket"]);
}

#[test]
fn a_template_that_is_not_there_is_named() {
    let home = Home::new();
    let ran = home.run("binding set x --from stripe/charges --template ticket --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (3, "unknown_template"), "{ran:?}");
    assert!(ran.stderr.contains("--template payment"), "{ran:?}");
    let ran = home.run_with_input("binding set x --from hubspot/contact - --json", "id = .id");
    assert_eq!((ran.code, ran.error_code().as_str()), (3, "unknown_stream"), "{ran:?}");
    assert!(ran.stderr.contains("did you mean contacts"), "{ran:?}");
}

/// The commands of `integ help mapping`, as they stand there.
#[test]
fn the_topic_runs_as_it_is_printed() {
    let home = Home::new();
    let topic = home.ok("help mapping");
    let mut script = String::new();
    let mut in_document = false;
    for line in topic.lines() {
        let Some(line) = line.strip_prefix("    ").or(line.is_empty().then_some("").filter(|_| in_document)) else {
            in_document = false;
            continue;
        };
        let begins = ["cat >", "integ ", "echo "].iter().any(|word| line.starts_with(word));
        if (begins && !line.contains("listen")) || in_document {
            script.push_str(&format!("{line}\n"));
        }
        in_document = (in_document || line.ends_with("<<'END'")) && line != "END";
    }
    assert!(script.matches("integ ").count() > 12, "{script}");
    let mut command = std::process::Command::new("sh");
    let function = format!("integ() {{ '{}' \"$@\"; }}", crate::harness::INTEG);
    command.args(["-e", "-c", &format!("{function}\n{script}")]).env_clear().current_dir(home.path());
    command.env("INTEG_HOME", home.path()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let ran = crate::harness::finish(command);
    assert_eq!(ran.code, 0, "{ran:?}\n{script}");
    assert!(ran.stdout.contains("\"stage\":\"prospect\"") && ran.stdout.contains("passed"), "{ran:?}");
}
