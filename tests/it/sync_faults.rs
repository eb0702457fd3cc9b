//! What goes wrong while a list is read: processes that die, cursors that lead nowhere, answers that end in their middle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Home, Ran};
use crate::race::{Random, rounds};
use crate::sync::{THINGS, counts, cursor, records, reports, start, stream, things};

/// Waits until a stream has so many records.
fn until_there(home: &Home, target: &str, wanted: usize) {
    let begun = Instant::now();
    loop {
        let there = home.run(&format!("records {target}")).stdout.lines().count();
        if there >= wanted {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{target} has {there} of {wanted}");
    }
}

fn fault(home: &Home, words: &str) {
    home.ok("sandbox fault things --clear");
    home.ok(&format!("sandbox fault things {words} --endpoint stream"));
}

/// What another connection of the same vendor sees.
fn truth(home: &Home, name: &str) -> BTreeMap<String, Value> {
    home.ok("sandbox fault things --clear");
    home.ok("connect things --sandbox --auth key --as acme-sandbox");
    home.ok(&format!("sync things@acme-sandbox/{name} --mode full --quiet"));
    records(home, &format!("things@acme-sandbox/{name}"))
}

#[test]
fn fault_085_killed_at_each_page_a_sync_loses_no_page_and_repeats_none() {
    for name in ["things", "plain", "marks"] {
        let home = things(&[(name, 50)]);
        let target = format!("things/{name}");
        for page in 1..=4 {
            // One page is answered, and the next takes longer than the process lives.
            fault(&home, "slow --seconds 30 --after 1 --times 1");
            let mut child = start(&home, &format!("sync {target}"));
            until_there(&home, &target, page * 10);
            kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
            child.wait().unwrap();
            home.expire_leases();
            assert_eq!(records(&home, &target).len(), page * 10, "{name}, killed after page {page}");
            let list = cursor(&home, &target);
            assert_eq!((&list["cursor"], &list["in_progress"]), (&Value::Null, &json!(true)), "{name}, page {page}");
            assert_eq!(home.json("job list --limit 1")["jobs"][0]["status"], "interrupted");
        }
        home.ok("sandbox fault things --clear");
        let last = reports(&home, &target);
        assert_eq!(counts(stream(&last, name)), [10, 0, 0, 0], "{name}: the last page alone");
        assert_eq!(cursor(&home, &target)["in_progress"], false);
        assert_eq!(records(&home, &target), truth(&home, name), "{name}");
        let jobs = home.json("job list things");
        let ends: Vec<&Value> = jobs["jobs"].as_array().unwrap().iter().map(|job| &job["error"]).collect();
        assert_eq!(ends[1..], [&json!("cut off"); 4], "{jobs}");
    }
}

#[test]
fn fault_085_a_full_list_killed_in_its_middle_still_sees_what_is_gone() {
    let home = things(&[("plain", 50)]);
    home.ok("sync things/plain");
    let known = records(&home, "things/plain");
    home.ok("sandbox advance things --ticks 6");
    fault(&home, "slow --seconds 30 --after 2 --times 1");
    let before = home.json("job list")["jobs"].as_array().unwrap().len();
    let mut child = start(&home, "sync things/plain --mode full");
    let begun = Instant::now();
    while home.json("job list")["jobs"][0]["requests"] != 2
        || home.json("job list")["jobs"].as_array().unwrap().len() == before
    {
        assert!(begun.elapsed() < Duration::from_secs(60), "two pages are there soon");
    }
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    home.expire_leases();
    home.ok("sandbox fault things --clear");
    let went_on = reports(&home, "things/plain --mode full");
    let vendors = truth(&home, "plain");
    let gone = known.keys().filter(|key| !vendors.contains_key(*key)).count();
    assert!(gone > 0 && counts(stream(&went_on, "plain"))[2] == gone as u64, "{gone} are gone: {went_on:?}");
    assert_eq!(records(&home, "things/plain"), vendors);
}

#[test]
fn fault_085_lists_that_waited_for_the_sweep_are_swept_and_read_anew() {
    let home = things(&[("things", 5), ("parts", 20)]);
    home.ok("sync things/parts");
    // The last of ten pages takes longer than the process lives: four lists have ended then.
    fault(&home, "slow --seconds 30 --after 10 --times 1");
    let mut child = start(&home, "sync things/parts --mode full");
    let begun = Instant::now();
    while home.json("job list")["jobs"][0]["requests"] != 9 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nine pages are there soon");
    }
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    home.expire_leases();
    home.ok("sandbox advance things --ticks 9");
    let vendors = truth(&home, "parts");
    assert_ne!(records(&home, "things/parts"), vendors, "something happened meanwhile");
    let differing = || {
        // Of five parents, three may be deleted by now, and with them more than half of the parts.
        home.ok("sync things/parts --allow-deletes");
        let known = records(&home, "things/parts");
        let keys: BTreeSet<&String> = vendors.keys().chain(known.keys()).collect();
        let differ = keys.into_iter().filter(|key| known.get(*key) != vendors.get(*key));
        differ.map(|key| serde_json::from_str::<[String; 2]>(key).unwrap()[0].clone()).collect::<BTreeSet<String>>()
    };
    // The one that was cut off goes on, and what changed behind it comes the next time.
    assert!(differing().len() <= 1, "four are as they are now");
    assert_eq!(differing(), BTreeSet::new());
}

/// Syncs until nothing is before it any more, and compares.
fn settles(home: &Home, streams: &[&str], line: &str, truth_line: &str, seed: u64) {
    home.ok(&format!("sync {truth_line} --mode full --quiet"));
    // The first may go on with a list that was cut off.
    for (run, mode) in ["incremental", "incremental", "full"].into_iter().enumerate() {
        home.ok(&format!("sync {line} --mode {mode} --quiet"));
        for name in streams {
            let at = format!("seed {seed}, {name}, {mode}");
            let known = records(home, &format!("things/{name}"));
            let vendors = records(home, &format!("things@acme-sandbox/{name}"));
            let missed: Vec<&String> = vendors.keys().filter(|key| !known.contains_key(*key)).collect();
            let extra: Vec<&String> = known.keys().filter(|key| !vendors.contains_key(*key)).collect();
            let differ: Vec<&String> = vendors.keys().filter(|key| known.get(*key) != vendors.get(*key)).collect();
            // Of what went behind a list that was cut off for
            // long no filter tells: the full list does.
            let settled = run > 0;
            assert!(!settled || (missed.is_empty() && differ.is_empty()), "{at}: missed {missed:?}, differ {differ:?}");
            assert!(mode != "full" || extra.is_empty(), "{at}: too many {extra:?}");
        }
    }
    for name in streams {
        let changes = home.ok(&format!("records things/{name} --since 0 --json"));
        let keys: Vec<Value> =
            changes.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["_key"].take()).collect();
        assert_eq!(keys.iter().map(Value::to_string).collect::<BTreeSet<_>>().len(), keys.len(), "{name}: told twice");
    }
}

/// One random kill after another, with trouble at the vendor and time that passes.
#[test]
fn killed_at_random_points_a_store_ends_equal_to_what_the_vendor_has() {
    const STREAMS: [&str; 4] = ["things", "plain", "marks", "parts"];
    const TROUBLE: [&str; 8] = [
        "server_error --times 1 --after 3",
        "truncated --times 2 --after 2",
        "slow --seconds 1 --times 1 --after 4",
        "rate_limit --seconds 1 --times 1 --after 5",
        "rate_limit --seconds 90 --times 1 --after 2",
        "expired_cursor --times 1 --after 1",
        "repeated_cursor --times 1 --after 6",
        "malformed --times 1 --after 1",
    ];
    let seed = std::env::var("INTEG_TEST_SEED").map_or(20_261_121, |seed| seed.parse().unwrap());
    let mut random = Random(seed);
    let rounds = rounds(14);
    let home = things(&[("things", 180), ("plain", 70), ("marks", 90), ("parts", 2)]);
    home.ok("connect things --sandbox --auth key --as acme-sandbox");
    let line: String = STREAMS.map(|name| format!("things/{name} ")).concat();
    let truth_line = line.replace("things/", "things@acme-sandbox/");
    let mut expected = BTreeMap::new();
    let mut before: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let (mut killed, mut cut_off, mut cursors) = (0, 0, BTreeSet::new());
    for round in 0..rounds {
        home.ok("sandbox fault things --clear");
        if round % 4 == 0 {
            home.ok(&format!("sandbox advance things --ticks {}", 1 + random.below(4)));
            home.ok(&format!("sync {truth_line} --mode full --quiet"));
            expected = STREAMS.map(|name| (name, records(&home, &format!("things@acme-sandbox/{name}")))).into();
        }
        if random.below(3) > 0 {
            home.ok(&format!("sandbox fault things --endpoint stream {}", TROUBLE[random.below(8) as usize]));
        }
        let mode = if random.below(4) == 0 { "full" } else { "incremental" };
        let child = start(&home, &format!("sync {line} --mode {mode} --quiet"));
        std::thread::sleep(Duration::from_micros(random.below(400_000)));
        let _ = kill_process(Pid::from_child(&child), Signal::KILL);
        let ran = Ran::of(child.wait_with_output().unwrap());
        killed += u64::from(ran.code == -1);
        home.expire_leases();
        for name in STREAMS {
            let at = format!("seed {seed}, round {round}, {name}");
            let ran = home.run(&format!("cursor get things/{name} --json"));
            if ran.error_code() == "never_synced" {
                continue;
            }
            let lists: Value =
                serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{at}: {error}: {ran:?}"));
            let known = records(&home, &format!("things/{name}"));
            let vendors: &BTreeMap<String, Value> = &expected[name];
            // What is there and was seen stays.
            let seen = before.entry(name).or_default();
            for key in seen.iter().filter(|key| vendors.contains_key(*key)) {
                // Below a thing that came anew, and in a list that is begun anew, all is seen again soon.
                assert!(known.contains_key(key), "{at}: {key} is there, and was taken for gone");
            }
            *seen = known.keys().cloned().collect();
            let list = &lists["partitions"][0];
            cut_off += u64::from(list["in_progress"] == true);
            if let (true, Some(cursor)) = (name == "things", list["cursor"].as_str()) {
                cursors.insert(cursor.to_owned());
                // All that is older than the cursor was kept before it.
                for (key, record) in
                    vendors.iter().filter(|(_, record)| record["updated_at"].as_str().unwrap() < cursor)
                {
                    assert_eq!(known.get(key), Some(record), "{at}: the cursor {cursor} is ahead of {key}");
                }
            }
        }
    }
    home.ok("sandbox fault things --clear");
    settles(&home, &STREAMS, &line, &truth_line, seed);
    assert_eq!(home.run("vault check").code, 0);
    eprintln!("{rounds} rounds, {killed} killed, {cut_off} lists cut off, {} cursors", cursors.len());
}

#[test]
fn fault_086_equal_times_over_the_edges_of_pages_are_all_seen() {
    let home = things(&[("things", 95)]);
    home.ok("sync things/things");
    // Records of one moment, more of them than three pages hold, whichever of them came before.
    for ticks in [25, 1, 12] {
        home.ok(&format!("sandbox advance things --ticks {ticks}"));
        let report = reports(&home, "things/things");
        // One that came and went meanwhile was never seen.
        assert!(counts(stream(&report, "things"))[0] > ticks / 2, "{report:?}");
        let vendors = truth(&home, "things");
        let times: BTreeSet<&str> = vendors.values().map(|record| record["updated_at"].as_str().unwrap()).collect();
        assert!(times.len() < vendors.len() / 4, "times are alike");
        assert_eq!(records(&home, "things/things"), vendors);
    }
}

#[test]
fn fault_087_a_cursor_that_repeats_ends_with_an_error() {
    let home = things(&[("plain", 60), ("things", 60)]);
    for name in ["plain", "things"] {
        fault(&home, "repeated_cursor --times 50 --after 2");
        let ran = home.run(&format!("sync things/{name} --json"));
        assert_eq!(ran.code, 1, "{ran:?}");
        let report = serde_json::from_str::<Value>(&ran.stdout).unwrap()["streams"][0].take();
        assert_eq!(
            report["error"],
            format!("the service repeats pages of things/{name} or ignores which page it is asked for")
        );
        assert!(report["requests"].as_u64().unwrap() < 6, "it stopped at once: {report}");
        assert_eq!(cursor(&home, &format!("things/{name}"))["cursor"], Value::Null);
        let vendors = truth(&home, name);
        home.ok(&format!("sync things/{name}"));
        assert_eq!(records(&home, &format!("things/{name}")), vendors);
    }
}

#[test]
fn fault_088_a_token_that_ends_between_pages_is_renewed_once() {
    let home = Home::new();
    home.install("things", THINGS);
    home.ok("connect things --sandbox --auth oauth");
    home.ok("sandbox data things/plain --records 60");
    let before = home.ok("token things");
    fault(&home, "expired_grant --times 1 --after 3");
    let report = reports(&home, "things/plain").remove(0);
    assert_eq!((&report["status"], counts(&report)), (&json!("done"), [60, 0, 0, 0]));
    assert_eq!((&report["requests"], &report["retries"]), (&json!(7), &json!(1)), "{report}");
    let after = home.ok("token things");
    assert_ne!(before, after);
    home.ok("sync things/plain");
    assert_eq!(home.ok("token things"), after, "once was enough");
}

#[test]
fn fault_089_an_expired_token_means_all_of_it_and_is_said() {
    let home = things(&[("marks", 40), ("plain", 40)]);
    home.ok("sync things/marks");
    let first = cursor(&home, "things/marks")["cursor"].clone();
    home.ok("sandbox advance things --ticks 3");
    fault(&home, "expired_cursor --times 1");
    let ran = home.run("sync things/marks");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("the cursor has expired; listing everything again"), "{ran:?}");
    assert_ne!(cursor(&home, "things/marks")["cursor"], first);
    assert_eq!(records(&home, "things/marks"), truth(&home, "marks"), "also what went meanwhile");
    // A page's cursor: the list alone begins again.
    fault(&home, "expired_cursor --times 1 --after 1");
    let report = reports(&home, "things/plain").remove(0);
    assert_eq!((&report["status"], counts(&report)), (&json!("done"), [42, 0, 0, 20]), "{report}");
    // Also of one that begins at a cursor, which is as good as it was.
    home.ok("sync things/things");
    home.ok("sandbox advance things --ticks 30");
    fault(&home, "expired_cursor --times 1 --after 1");
    let ran = home.run("sync things/things");
    assert!(ran.code == 0 && !ran.stderr.contains("listed anew"), "{ran:?}");
    assert_eq!(records(&home, "things/things"), truth(&home, "things"));
    // One that never holds leads to no endless list.
    fault(&home, "expired_cursor --times 100");
    let ran = home.run("sync things/plain --mode full --json");
    assert!(ran.code == 5 && ran.stdout.contains("keeps expiring"), "{ran:?}");
    assert_eq!(records(&home, "things/plain").len(), 42, "nothing was taken for gone");
}

#[test]
fn fault_090_half_a_page_is_no_page() {
    for (kind, code) in [("truncated", 5), ("malformed", 5), ("server_error", 5)] {
        let home = things(&[("plain", 50)]);
        // Once is mended by asking again.
        fault(&home, &format!("{kind} --times 1 --after 1"));
        let target = "things/plain";
        let report = reports(&home, target).remove(0);
        assert_eq!((&report["status"], counts(&report)), (&json!("done"), [50, 0, 0, 0]), "{kind}: {report}");
        assert!(report["retries"].as_u64().unwrap() >= 1, "{kind}: {report}");
        home.ok("sandbox advance things --ticks 3");
        fault(&home, &format!("{kind} --times 100 --after 2"));
        let before = records(&home, target);
        let ran = home.run(&format!("sync {target} --mode full --json"));
        assert_eq!(ran.code, code, "{kind}: {ran:?}");
        let known = records(&home, target);
        assert!(before.keys().all(|key| known.contains_key(key)), "{kind}: nothing is gone by half a list");
        let report = serde_json::from_str::<Value>(&ran.stdout).unwrap()["streams"][0].take();
        assert_eq!(counts(&report).iter().sum::<u64>(), 20, "{kind}: two pages were kept: {report}");
        let job = &home.json("job list")["jobs"][0];
        assert_eq!((&job["requests"], &report["requests"]), (&json!(8), &json!(8)), "{kind}: six in vain: {job}");
        let vendors = truth(&home, "plain");
        let report = reports(&home, "things/plain --mode full").remove(0);
        assert!(counts(&report).iter().sum::<u64>() < vendors.len() as u64, "{kind}: it went on: {report}");
        assert_eq!(records(&home, target), vendors, "{kind}");
    }
}

#[test]
fn fault_091_what_is_gone_and_what_is_asked_for_again_is_counted_once() {
    let home = things(&[("things", 40), ("marks", 40), ("plain", 40), ("late", 40)]);
    let line = "things/things things/marks things/plain things/late";
    home.ok(&format!("sync {line}"));
    home.ok("sandbox advance things --ticks 9");
    let report = reports(&home, line);
    for name in ["things", "marks", "plain"] {
        // Three are gone, of which some may have come meanwhile.
        let told = counts(stream(&report, name))[2];
        assert!((1..=3).contains(&told), "{name}: {report:?}");
        let gone = home.ok(&format!("records things/{name} --since 0 --json"));
        let gone = gone.lines().filter(|line| line.contains(r#""_change":"deleted""#)).count() as u64;
        assert!((told..=3).contains(&gone), "{name}: {gone}");
        assert_eq!(records(&home, &format!("things/{name}")), truth(&home, name), "{name}");
    }
    // What is within the lookback comes again and again, and is known.
    let version =
        |printed: &str| serde_json::from_str::<Value>(printed.lines().last().unwrap()).unwrap()["_version"].clone();
    let last = version(&home.ok("records things/late --since 0 --json"));
    for _ in 0..2 {
        let report = reports(&home, line);
        let late = counts(stream(&report, "late"));
        assert!(late[..3] == [0, 0, 0] && late[3] >= 10, "{late:?}");
        assert_eq!(counts(stream(&report, "marks")), [0, 0, 0, 0]);
    }
    assert_eq!(home.ok(&format!("records things/late --since {last}")), "");
    // The cursor set back a long way: all comes again, and nothing changes, and what is gone stays so.
    home.ok("cursor set things/things 2020-01-01T00:00:00Z");
    assert_eq!(counts(&reports(&home, "things/things")[0])[..3], [0, 0, 0]);
}

#[test]
fn a_long_rate_limit_ends_a_run_in_order_and_it_goes_on_there() {
    let home = things(&[("plain", 60)]);
    fault(&home, "rate_limit --seconds 90 --times 1 --after 3");
    let begun = Instant::now();
    let ran = home.run("sync things/plain");
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(30), "nobody waits for it");
    assert!(ran.stdout.contains("limited") && ran.stderr.contains("run the sync again in"), "{ran:?}");
    let job = home.json("job list")["jobs"][0].clone();
    assert_eq!(
        (&job["status"], &job["added"], &job["requests"]),
        (&json!("rate_limited"), &json!(30), &json!(4)),
        "{job}"
    );
    let resumes: integ::clock::Timestamp = job["resumes_at"].as_str().unwrap().parse().unwrap();
    let away = resumes.as_second()
        - std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().cast_signed();
    assert!((30..=91).contains(&away), "{away} s away");
    // Before it ends nothing of the stream is lost; here it has ended.
    let report = reports(&home, "things/plain").remove(0);
    assert_eq!((&report["status"], counts(&report), &report["requests"]), (&json!("done"), [30, 0, 0, 0], &json!(3)));
    fault(&home, "rate_limit --seconds 1 --times 1 --after 2");
    let report = reports(&home, "things/plain --mode full").remove(0);
    assert_eq!((&report["status"], counts(&report), &report["retries"]), (&json!("done"), [0, 0, 0, 60], &json!(1)));
}
