//! Two-way bindings whose writes are cut off: by a kill, or by an answer that is lost.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::attack::clocks::{at, faketime};
use crate::harness::{Home, finish};
use crate::two_way::{CONTACT, ISSUE, Pair, Random, change, entity, hubspot, lines, push, random, rounds, set};

const CUSTOMER: &str = "id = .id\nemail = .email\nlast_name? = .name\nphone? = .phone\n[sync]\n";

/// How many requests changed something at the service.
fn writes(home: &Home, connector: &str) -> u64 {
    home.json(&format!("sandbox advance {connector}"))["edits"].as_u64().unwrap()
}

/// A user's program with a service, where the service decides nothing.
fn pushing(connector: &'static str) -> Pair {
    if connector != "stripe" {
        return Pair::start(connector, "ours");
    }
    let home = Home::new();
    home.ok("connect stripe --sandbox");
    set(&home, "person", "stripe/customers", CUSTOMER);
    Pair { home, connector, ours: BTreeMap::new(), project: Value::Null }
}

fn person(pair: &Pair, id: &str, phone: &str) -> Value {
    let mut document = json!({"email": format!("{id}@example.com"), "phone": phone});
    if !pair.project.is_null() {
        document["project"] = pair.project.clone();
    }
    entity(id, &document)
}

/// Starts a command without output.
fn spawn(home: &Home, line: &str) -> Child {
    let mut command: Command = home.command(line.split_whitespace());
    command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap()
}

/// Writes a line to the file that `PUSH` pushes.
fn write_line(pair: &Pair, line: &Value) {
    std::fs::write(pair.home.path().join("line"), line.to_string()).unwrap();
}

const PUSH: &str = "binding push person line --quiet";

/// Starts a command and kills it at a random moment, within the time that it usually takes. Returns whether that was before its
/// end.
fn cut_off(home: &Home, line: &str, usual: Duration, random: &mut Random) -> bool {
    let mut child = spawn(home, line);
    // The moment is what is random here; nothing is waited for.
    std::thread::sleep(Duration::from_millis(random.below(usual.as_millis().try_into().unwrap())));
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// Does it with each service at once: in PostgreSQL, the lock of a killed command is held until its lease ends.
fn at_once<T: Send>(services: impl IntoIterator<Item = T>, work: impl Fn(T) -> u64 + Sync) -> u64 {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = services.into_iter().map(|service| scope.spawn(move || work(service))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

/// A push that is killed once the service has done the write, before its response, and repeated.
#[test]
fn a_write_whose_response_was_lost_is_not_sent_again() {
    // How many requests to actions precede the write: a lookup before a creation, a reading before a change.
    let sent = at_once([("hubspot", 1), ("stripe", 0), ("gitlab", 0)], |(connector, before_creation)| {
        lose_responses(connector, before_creation)
    });
    assert_eq!(sent, 6);
}

/// Returns how many writes reached the service.
fn lose_responses(connector: &'static str, before_creation: u64) -> u64 {
    let pair = pushing(connector);
    let before = writes(&pair.home, connector);
    for (phone, after, done) in [("one", before_creation, 1), ("two", 1, 2)] {
        pair.home
            .ok(&format!("sandbox fault {connector} slow --endpoint action --times 1 --seconds 60 --after {after}"));
        write_line(&pair, &person(&pair, "1", phone));
        let mut child = spawn(&pair.home, PUSH);
        let began = Instant::now();
        while pair.home.json(&format!("sandbox fault {connector}"))["faults"] != json!([]) {
            assert!(began.elapsed() < Duration::from_secs(30), "{connector} {phone}: the write was not sent");
            assert!(child.try_wait().unwrap().is_none(), "{connector} {phone}: nothing was written");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(writes(&pair.home, connector) - before, done, "{connector} {phone}: the service did not do it");
        pair.home.ok(PUSH);
        assert_eq!(writes(&pair.home, connector) - before, done, "{connector} {phone}");
        assert_eq!(
            pair.home.json("binding conflicts"),
            json!({"format_version": 1, "conflicts": [], "interrupted": []})
        );
    }
    assert_eq!(pair.home.json("link find customer/1")["links"].as_array().unwrap().len(), 1);
    writes(&pair.home, connector) - before
}

/// Pushes of new and changed entities, and of deletions, that are killed at random and repeated: each write reaches the service
/// once.
#[test]
fn no_write_reaches_a_service_twice_wherever_a_push_is_killed() {
    let rounds = rounds(3);
    let cut = at_once(["hubspot", "stripe", "gitlab"], |connector| cut_off_pushes(connector, rounds));
    println!("figures: {}", json!({"rounds": rounds, "cut_off": cut}));
    assert!(cut > 0);
}

fn cut_off_pushes(connector: &'static str, rounds: u64) -> u64 {
    let (mut random, mut cut, mut expected) = (random(), 0, 0);
    let pair = pushing(connector);
    let before = writes(&pair.home, connector);
    // Issues are not deleted.
    let can_delete = connector != "gitlab";
    if can_delete {
        let text = if connector == "hubspot" { CONTACT } else { CUSTOMER };
        let text = text.replace("[sync]", "[sync]\nconflict = ours\ndelete = delete");
        set(&pair.home, "person", &format!("{connector}/{}", stream(connector)), &text);
    }
    for round in 0..rounds {
        let id = round.to_string();
        let deletion = json!({"entity": format!("customer/{id}"), "deleted": true});
        let pushes = [person(&pair, &id, "one"), person(&pair, &id, "two"), deletion];
        for line in &pushes[..if can_delete { 3 } else { 2 }] {
            write_line(&pair, line);
            cut += u64::from(cut_off(&pair.home, PUSH, Duration::from_millis(300), &mut random));
            pair.home.ok(PUSH);
            expected += 1;
        }
    }
    assert_eq!(writes(&pair.home, connector) - before, expected, "{connector}");
    assert_eq!(pair.home.json("binding conflicts")["interrupted"], json!([]));
    let links = pair.home.ok("link list --json").lines().count() as u64;
    assert_eq!(links, if can_delete { 0 } else { rounds }, "{connector}");
    cut
}

fn stream(connector: &str) -> &'static str {
    match connector {
        "hubspot" => "contacts",
        "stripe" => "customers",
        _ => "issues",
    }
}

/// Syncs of a binding that write to the service, killed at random and repeated: each write reaches the service once, and what
/// the service changed is printed.
#[test]
fn no_write_reaches_a_service_twice_wherever_a_sync_is_killed() {
    let rounds = rounds(3);
    let cut = at_once(["hubspot", "gitlab"], |connector| cut_off_syncs(connector, rounds));
    println!("figures: {}", json!({"rounds": rounds, "cut_off": cut}));
    assert!(cut > 0);
}

fn cut_off_syncs(connector: &'static str, rounds: u64) -> u64 {
    let (mut random, mut cut, mut usual) = (random(), 0, Duration::ZERO);
    let pair = Pair::start(connector, "ask");
    let origin = format!("{connector}/{}", stream(connector));
    let text = if connector == "hubspot" { CONTACT } else { ISSUE };
    let decide = |policy: &str| {
        set(&pair.home, "person", &origin, &text.replace("[sync]", &format!("[sync]\nconflict = {policy}")));
    };
    push(&pair.home, "person", &[person(&pair, "1", "start")]);
    pair.home.ok("binding sync person --quiet");
    for round in 0..=rounds {
        // A conflict that a change of the policy decides: the next sync writes this side's value.
        decide("ask");
        pair.change_theirs("customer/1", &format!("theirs{round}"));
        let pushed = push(&pair.home, "person", &[person(&pair, "1", &format!("ours{round}"))]);
        assert_eq!(pushed[0]["outcome"], "conflict", "{connector}: {pushed:?}");
        decide("ours");
        let before = writes(&pair.home, connector);
        // The first one is only timed.
        if round > 0 {
            cut += u64::from(cut_off(&pair.home, "binding sync person --quiet", usual, &mut random));
        }
        let began = Instant::now();
        pair.home.ok("binding sync person --quiet");
        if round == 0 {
            usual = began.elapsed();
        }
        assert_eq!(writes(&pair.home, connector) - before, 1, "{connector} {round}");
        // A sync lists the service before it writes to it.
        pair.home.ok(&format!("sync {origin} --quiet"));
        let stored = lines(&pair.home.ok("records --binding person"));
        let value = json!(format!("ours{round}"));
        assert!(stored.iter().any(|record| record["phone"] == value), "{connector} {round}: {stored:?}");
    }
    assert_eq!(pair.home.json("binding conflicts"), json!({"format_version": 1, "conflicts": [], "interrupted": []}));
    cut
}

/// A created object whose response says that it succeeded, but ends in its middle.
#[test]
fn an_object_whose_creation_was_answered_in_part_is_not_created_again() {
    let hubspot = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/connectors/hubspot.toml")).unwrap();
    // What says that a creation succeeded is in its body, as at services that answer failures with 200 too.
    let checked = hubspot.replace("id = \"hubspot\"", "id = \"crm\"").replace(
        "one_of = [[\"email\", \"firstname\"",
        "success = { \"/archived\" = false }\none_of = [[\"email\", \"firstname\"",
    );
    let home = Home::new();
    home.install("crm", &checked);
    home.ok("connect crm --sandbox --add-scope crm.objects.contacts.write");
    set(&home, "person", "crm/contacts", CONTACT);
    let before = writes(&home, "crm");
    // The lookup comes first.
    home.ok("sandbox fault crm truncated --endpoint action --times 1 --after 1");
    let line = entity("1", &json!({"email": "ada@example.com"})).to_string();
    let cut = home.run_with_input("binding push person - --json", &line);
    assert_eq!((cut.code, cut.stdout.as_str()), (1, ""), "{cut:?}");
    assert_eq!(writes(&home, "crm") - before, 1);
    let repeated = home.run_with_input("binding push person - --json", &line);
    assert_eq!(repeated.code, 0, "{repeated:?}");
    assert_eq!(writes(&home, "crm") - before, 1, "{repeated:?}");
    assert_eq!(home.json("link find customer/1")["links"].as_array().unwrap().len(), 1);
}

/// The wait for a request that may still be on its way does not depend on the wall clock.
#[test]
fn a_clock_that_jumps_forward_does_not_shorten_the_wait_for_a_write_in_flight() {
    let Some(library) = faketime() else { return };
    let home = hubspot("ours");
    push(&home, "person", &[entity("1", &json!({"email": "ada@example.com", "phone": "1"}))]);
    let object = home.ok("link find customer/1 --jq .links[0].object");
    home.ok("sandbox fault hubspot server_error --endpoint action --times 1 --after 1");
    let line = entity("1", &json!({"phone": "2"})).to_string();
    let failed = home.run_with_input("binding push person - --json", &line);
    assert_ne!(failed.code, 0, "{failed:?}");
    std::fs::write(home.path().join("line"), &line).unwrap();
    let began = Instant::now();
    let pushed = finish(at(&home, &library, "+10m", "binding push person line --json"));
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(lines(&pushed.stdout)[0]["outcome"], "updated");
    change(&home, &object, &json!({"lastname": "King"}));
}

#[test]
fn a_dry_run_syncs_nothing() {
    let home = Home::new();
    home.ok("connect gitlab --sandbox --add-scope api");
    set(&home, "person", "gitlab/issues", ISSUE);
    let line = entity("1", &json!({"email": "A title", "project": 1})).to_string();
    for line_words in ["binding push person - --dry-run --json", "binding sync person --dry-run --json"] {
        let refused = home.run_with_input(line_words, &line);
        assert_eq!((refused.code, refused.error_code().as_str()), (3, "never_synced"), "{refused:?}");
        assert!(refused.stderr.contains("integ sync gitlab/issues"), "{refused:?}");
    }
    assert_eq!(home.run("records gitlab/issues --json").error_code(), "never_synced");
    // An issue that was not listed when the stream was synced.
    home.ok("sandbox data gitlab/projects --records 1");
    home.ok("sync gitlab/issues --quiet");
    home.ok("link add customer/1 gitlab/issues 999");
    let before = home.json("job list")["jobs"].as_array().unwrap().len();
    let dry = home.run_with_input("binding push person - --dry-run --json", &line);
    assert_eq!(lines(&dry.stdout)[0]["outcome"], "failed", "{dry:?}");
    assert_eq!(home.json("job list")["jobs"].as_array().unwrap().len(), before);
}
