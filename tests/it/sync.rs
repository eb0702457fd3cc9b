//! `integ sync` and the commands about what it keeps, on a small connector in the sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Home, Ran, finish, needs, skipped_on_postgres};
use crate::vault::execute;
use crate::vault_faults::{can_mount, on_small_disk};

pub const THINGS: &str = include_str!("../connectors/things.toml");

/// The records of a stream by their keys, each once.
pub fn records(home: &Home, target: &str) -> BTreeMap<String, Value> {
    let ran = home.run(&format!("records {target} --json"));
    assert_eq!(ran.code, 0, "{target}: {ran:?}");
    let mut found = BTreeMap::new();
    for line in ran.stdout.lines() {
        let mut record: Value = serde_json::from_str(line).unwrap();
        let key = record["_key"].as_str().unwrap().to_owned();
        remove_metadata(&mut record);
        assert!(found.insert(key, record).is_none(), "{target}: {line} comes twice");
    }
    found
}

/// Leaves of a record what the service wrote.
pub fn remove_metadata(record: &mut Value) {
    for name in ["_change", "_key", "_version", "_first_seen_at", "_changed_at", "_deleted_at"] {
        record.as_object_mut().unwrap().shift_remove(name);
    }
}

/// What a sync said of each stream, however it ended.
pub fn reports(home: &Home, line: &str) -> Vec<Value> {
    let ran = home.run(&format!("sync {line} --json"));
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{line}: {error}: {ran:?}"));
    answer["streams"].as_array().unwrap().clone()
}

/// What it said of one.
pub fn stream<'a>(reports: &'a [Value], name: &str) -> &'a Value {
    reports.iter().find(|report| report["stream"] == name).unwrap_or_else(|| panic!("nothing on {name}: {reports:?}"))
}

/// Added, changed, deleted, unchanged.
pub fn counts(report: &Value) -> [u64; 4] {
    ["added", "changed", "deleted", "unchanged"].map(|name| report[name].as_u64().unwrap())
}

/// A home with the connector of these tests, connected by a key, and so many records of its streams.
pub fn things(sizes: &[(&str, u32)]) -> Home {
    let home = Home::new();
    home.install("things", THINGS);
    home.ok("connect things --sandbox --auth key");
    for (name, records) in sizes {
        home.ok(&format!("sandbox data things/{name} --records {records}"));
    }
    home
}

fn small() -> Home {
    things(&[("things", 30), ("parts", 2), ("plain", 30), ("marks", 30), ("needy", 15), ("ruled", 10)])
}

pub fn start(home: &Home, line: &str) -> Child {
    let mut command = home.command(line.split_whitespace());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a cursor command says of a stream's only list.
pub fn cursor(home: &Home, target: &str) -> Value {
    home.json(&format!("cursor get {target} --history"))["partitions"][0].clone()
}

#[test]
fn a_first_sync_brings_all_a_second_nothing_and_a_later_one_what_is_new() {
    let home = small();
    assert_eq!(home.json("status")["connections"][0]["last_sync_at"], Value::Null);
    let first = home.run("sync things --json");
    assert_eq!(first.code, 0, "what cannot be begun is no failure: {first:?}");
    let mut answer: Value = serde_json::from_str(&first.stdout).unwrap();
    let left = stream(answer["streams"].as_array().unwrap(), "needy").clone();
    assert_eq!((&left["status"], &left["error"]), (&json!("not_started"), &json!("things/needy needs room")));
    // The shape is stable; duration and bytes are what they are.
    let marks =
        answer["streams"].as_array_mut().unwrap().iter_mut().find(|report| report["stream"] == "marks").unwrap();
    assert!(marks["duration_secs"].take().is_number() && marks["bytes"].take().is_number());
    let expected = json!({
        "connection": "things", "stream": "marks", "mode": "incremental", "status": "done", "added": 30, "changed": 0,
        "deleted": 0, "unchanged": 0, "requests": 3, "retries": 0, "bytes": null, "skipped": 0, "duration_secs": null,
        "resumes_at": null, "error": null, "error_code": null, "hint": null,
    });
    assert_eq!(*marks, expected);
    assert_eq!(answer["workspace"], "default");
    let second = reports(&home, "things");
    for report in second.iter().filter(|report| report["status"] == "done") {
        assert_eq!(counts(report)[..3], [0, 0, 0], "{report}");
    }
    home.ok("sandbox advance things --ticks 3");
    let third = reports(&home, "things");
    // A record may change twice, or change and go, or come and go.
    for name in ["marks", "plain", "things"] {
        let [added, changed, deleted, _] = counts(stream(&third, name));
        let told = (2..=3).contains(&added) && (1..=3).contains(&changed) && added - deleted == 2;
        assert!(told, "{name}: {added} {changed} {deleted}");
    }
    assert_eq!(stream(&third, "marks")["requests"], 1, "only what is new was asked for");
    assert!(home.json("status")["connections"][0]["last_sync_at"].is_string());
    let again = reports(&home, "things --mode full");
    // A list that only filters by time does not tell what is gone.
    for report in again.iter().filter(|report| report["status"] == "done" && report["stream"] != "late") {
        assert_eq!(counts(report)[..3], [0, 0, 0], "all was seen: {report}");
    }
    // Digits stay as they came.
    assert!(home.ok("records things/things").contains(r#""big":12345678901234567890"#));
}

#[test]
fn what_cannot_be_synced_is_said_with_the_command_that_can() {
    let home = small();
    home.ok("sandbox fault things server_error");
    for (line, code, error, hint) in [
        ("sync things/thing", 3, "unknown_stream", "did you mean things?"),
        ("sync things/zzz", 3, "unknown_stream", "integ connector show things"),
        ("sync nothing", 3, "unknown_connection", "integ"),
        ("sync things/needy", 2, "missing_parameters", "integ sync things/needy -p room=VALUE"),
        ("sync things/needy -p rom=7", 2, "invalid_parameters", "integ sync things/needy -p room=VALUE"),
        ("sync things/needy -p room=7 -p rom=7", 2, "invalid_parameters", "integ sync things/needy -p room=VALUE"),
        ("sync things/plain -p rom=7", 2, "invalid_parameters", "integ sync things/plain"),
        ("sync things/needy -p room", 2, "invalid_value", ""),
        ("sync things/marks --mode backfill --since 3d", 2, "backfill_unsupported", "--mode full"),
        ("sync things/things --mode backfill", 2, "invalid_value", "--since 30d"),
        ("sync things/things --mode backfill --since 2d --until 3d", 2, "invalid_value", ""),
        ("sync things/things --mode backfill --since soon", 2, "invalid_time", ""),
        ("sync things/things --since 3d", 2, "invalid_value", ""),
        ("sync --due things", 2, "", "--due"),
        ("records things/things", 3, "never_synced", "integ sync things/things"),
        ("records things/needy", 3, "never_synced", "integ sync things/needy -p room=VALUE"),
        ("records things/thing", 3, "unknown_stream", "did you mean things?"),
        ("records things --format csv", 2, "invalid_target", "integ records things --output DIR"),
        (
            "records things/things things/plain",
            2,
            "invalid_target",
            "integ records things/things things/plain --output",
        ),
        ("records things --output out", 3, "never_synced", "integ sync things"),
        ("records --output out", 3, "never_synced", "integ sync"),
        ("records nothing", 3, "unknown_connection", "integ"),
        ("cursor get things/things", 3, "never_synced", "integ sync things/things"),
        ("cursor import things missing.json", 2, "invalid_import", ""),
        ("job show 7", 3, "job_not_found", "integ job list"),
        ("job retry 7", 3, "job_not_found", "integ job list"),
        ("schedule remove things", 3, "schedule_not_found", "integ schedule list"),
        ("schedule set things hourly", 2, "invalid_schedule", "every 15m"),
        ("schedule set things/thing 0", 3, "unknown_stream", "did you mean things?"),
    ] {
        let ran = home.run(&format!("{line} --json"));
        assert_eq!((ran.code, ran.error_code().as_str()), (code, error), "{line}: {ran:?}");
        assert!(ran.stderr.contains(hint) && ran.stdout.is_empty(), "{line}: {ran:?}");
    }
    // Nothing of it was asked of the vendor: the fault has met nobody, and no job was begun.
    assert_eq!(home.json("job list")["jobs"], json!([]));
    let oauth = Home::new();
    oauth.install("things", THINGS);
    oauth.ok("connect things --sandbox --auth oauth");
    let ran = oauth.run("sync things/ruled --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (4, "missing_scopes"), "{ran:?}");
    assert!(ran.stderr.contains("--add-scope admin"), "{ran:?}");
}

#[test]
fn a_rehearsal_says_what_would_be_asked_and_asks_nothing() {
    let home = small();
    home.ok("sandbox fault things server_error --endpoint stream --times 1");
    let planned = home.json("sync things --dry-run");
    let planned = planned["streams"].as_array().unwrap();
    let things = stream(planned, "things");
    assert_eq!(things["request"], "GET https://sandbox.invalid/v1/things?sort=updated+asc&limit=10");
    assert_eq!(
        (&things["mode"], &things["partitions"], &things["cursor"]),
        (&json!("incremental"), &json!(0), &Value::Null)
    );
    assert_eq!(stream(planned, "parts")["request"], Value::Null, "its parents are not known");
    assert_eq!(stream(planned, "needy")["skip_reason"], "things/needy needs room");
    assert_eq!(home.json("sandbox fault things")["faults"].as_array().unwrap().len(), 1, "the fault met nobody");
    assert_eq!(home.json("job list")["jobs"], json!([]));
    assert_eq!(home.run("records things/things --json").error_code(), "never_synced");
}

#[test]
fn cursors_are_read_put_back_carried_elsewhere_and_remembered() {
    let home = small();
    home.ok("sync things");
    let first = cursor(&home, "things/things")["cursor"].as_str().unwrap().to_owned();
    home.ok("sandbox advance things --ticks 2");
    home.ok("sync things/things");
    let second = cursor(&home, "things/things");
    assert!(second["cursor"].as_str().unwrap() > first.as_str(), "{second}");
    assert_eq!(second["history"][0]["cursor"], first);
    let wrong = home.run("cursor set things/things yesterday --json");
    assert_eq!((wrong.code, wrong.error_code().as_str()), (2, "invalid_cursor"), "{wrong:?}");
    home.ok("cursor set things/things --back 1");
    assert_eq!(cursor(&home, "things/things")["cursor"], first);
    let again = reports(&home, "things/things");
    let report = stream(&again, "things");
    assert!(counts(report)[..3] == [0, 0, 0] && counts(report)[3] >= 4, "asked for again, and known: {report}");
    // What changed in the second before a list began is read again, so that a later run may move the cursor on a little.
    let third = cursor(&home, "things/things")["cursor"].as_str().unwrap().to_owned();
    assert!(third.as_str() >= second["cursor"].as_str().unwrap(), "{third}, {second}");
    let far = home.run("cursor set things/things --back 99 --json");
    assert_eq!((far.code, far.error_code().as_str()), (3, "no_history"));
    // One of several lists is named.
    let which = home.run("cursor set things/parts 5 --json");
    assert_eq!((which.code, which.error_code().as_str()), (2, "ambiguous_partition"), "{which:?}");
    assert_eq!(home.run("cursor clear things/parts -p thing=nobody --json").error_code(), "partition_not_found");
    // Elsewhere.
    let exported = home.ok("cursor export things");
    let path = home.path().join("cursors.json");
    std::fs::write(&path, &exported).unwrap();
    home.ok("cursor clear things/things");
    assert_eq!(cursor(&home, "things/things")["cursor"], Value::Null);
    home.ok("cursor import things cursors.json");
    assert_eq!(cursor(&home, "things/things")["cursor"], third);
    assert_eq!(home.ok("cursor export things"), exported);
    home.ok("connect things --sandbox --auth key --as other");
    home.ok("cursor import things@other cursors.json");
    let other = reports(&home, "things@other/marks");
    assert!(counts(stream(&other, "marks"))[3] < 10, "only what is new: {other:?}");
    std::fs::write(&path, exported.replace("\"connector\":\"things\"", "\"connector\":\"slack\"")).unwrap();
    assert_eq!(home.run("cursor import things cursors.json --json").error_code(), "invalid_import");
    // All of it again.
    home.ok("sync things/marks");
    home.ok("cursor clear things/marks");
    assert_eq!(counts(stream(&reports(&home, "things/marks"), "marks"))[..3], [0, 0, 0]);
}

#[test]
fn a_backfill_fills_in_and_leaves_the_cursor() {
    let home = small();
    home.ok("sync things/things");
    let before = cursor(&home, "things/things");
    home.ok("sandbox data things/things --records 60");
    let reports = reports(&home, "things/things --mode backfill --since 60d");
    let report = stream(&reports, "things");
    assert_eq!((&report["mode"], &report["status"]), (&json!("backfill"), &json!("done")), "{report}");
    assert!(report["added"].as_u64().unwrap() >= 30, "{report}");
    assert_eq!(cursor(&home, "things/things"), before);
    assert_eq!(records(&home, "things/things").len(), 60);
}

#[test]
fn jobs_are_listed_shown_and_repeated() {
    let home = small();
    home.ok("sync things/plain");
    home.ok("sandbox fault things server_error --endpoint stream --times 20");
    let failed = home.run("sync things/plain --json");
    assert_eq!(failed.code, 5, "{failed:?}");
    let jobs = home.json("job list");
    let states: Vec<&str> =
        jobs["jobs"].as_array().unwrap().iter().map(|job| job["status"].as_str().unwrap()).collect();
    assert_eq!(states, ["failed", "done"]);
    let job = home.json("job show 1");
    for (name, expected) in [("added", 30), ("changed", 0), ("deleted", 0), ("unchanged", 0), ("requests", 3)] {
        assert_eq!(job[name], expected, "{name}");
    }
    assert!(job["bytes"].as_u64().unwrap() > 1000 && job["error"].is_null() && job["ended_at"].is_string());
    assert!(home.json("job show 2")["error"].is_string());
    home.ok("sandbox fault things --clear");
    home.ok("job retry 2");
    assert_eq!(home.json("job show 3")["status"], "done");
    assert_eq!(home.json("job list things --limit 1")["jobs"].as_array().unwrap().len(), 1);
    let ended = home.run("job cancel 3 --json");
    assert_eq!((ended.code, ended.error_code().as_str()), (1, "not_running"));
}

/// Waits until a job of a stream runs, and says which.
pub fn running_job(home: &Home) -> i64 {
    let begun = Instant::now();
    loop {
        let jobs = home.json("job list --limit 1");
        let job = &jobs["jobs"][0];
        if job["status"] == "running" {
            return job["id"].as_i64().unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no job runs: {jobs}");
    }
}

#[test]
fn a_job_is_cancelled_after_its_page_and_goes_on_later() {
    let home = things(&[("plain", 60)]);
    home.ok("sandbox fault things slow --seconds 2 --after 2 --times 1 --endpoint stream");
    let child = start(&home, "sync things/plain --json");
    let id = running_job(&home);
    home.ok(&format!("job cancel {id}"));
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 1, "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["streams"][0]["status"], "cancelled");
    assert_eq!(home.json(&format!("job show {id}"))["status"], "cancelled");
    let there = records(&home, "things/plain").len();
    assert!((1..60).contains(&there), "{there}");
    assert_eq!(counts(stream(&reports(&home, "things/plain"), "plain"))[0], 60 - there as u64);
}

#[test]
fn an_interrupt_ends_a_sync_and_the_next_goes_on() {
    let home = things(&[("plain", 60)]);
    home.ok("sandbox fault things slow --seconds 20 --after 3 --times 1 --endpoint stream");
    let mut child = start(&home, "sync things/plain");
    running_job(&home);
    let begun = Instant::now();
    while records_or_none(&home, "things/plain") < 30 {
        assert!(begun.elapsed() < Duration::from_secs(20), "three pages are there soon");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success() && begun.elapsed() < Duration::from_secs(15), "{status}");
    let state = home.json("job list")["jobs"][0]["status"].clone();
    assert!(["interrupted", "cancelled"].iter().any(|word| state == *word), "{state}");
    let report = reports(&home, "things/plain");
    assert_eq!(counts(stream(&report, "plain"))[..3], [30, 0, 0], "{report:?}");
    assert_eq!(records(&home, "things/plain").len(), 60);
}

fn records_or_none(home: &Home, target: &str) -> usize {
    home.run(&format!("records {target}")).stdout.lines().count()
}

#[test]
fn of_64_syncs_at_once_one_runs_and_nothing_is_doubled() {
    let home = things(&[("plain", 100)]);
    home.ok("sandbox fault things slow --seconds 5 --times 1 --endpoint stream");
    let children: Vec<Child> = (0..64).map(|_| start(&home, "sync things/plain --json")).collect();
    let (mut busy, mut added) = (0, 0);
    for child in children {
        let ran = Ran::of(child.wait_with_output().unwrap());
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        let report = &answer["streams"][0];
        added += report["added"].as_u64().unwrap();
        if ran.code == 5 {
            assert!(report["error"].as_str().unwrap().contains("being synced by another process"), "{ran:?}");
            assert_eq!(report["hint"], "integ job list things");
            busy += 1;
        } else {
            assert_eq!(ran.code, 0, "{ran:?}");
        }
    }
    assert!(busy > 0, "somebody came meanwhile");
    assert_eq!((added, records(&home, "things/plain").len()), (100, 100));
    assert!(home.json("job list --limit 100")["jobs"].as_array().unwrap().len() <= 64 - busy);
}

#[test]
fn of_8_processes_one_runs_what_is_due() {
    let home = things(&[("plain", 30), ("marks", 30)]);
    for (target, rule) in [("things/plain", "every 15m"), ("things/marks", "0 6 * * 1-5 UTC")] {
        let ran = finish(home.command(["schedule", "set", target, rule, "--jitter", "1m"]));
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let listed = home.json("schedule list");
    assert_eq!(listed["schedules"][0]["rule"], "every 15m");
    assert_eq!(
        (&listed["schedules"][0]["jitter_secs"], &listed["schedules"][0]["last_at"]),
        (&json!(60), &Value::Null)
    );
    assert_eq!(home.run("sync --due").stderr.trim(), "Nothing is due.");
    execute(&home, "UPDATE schedules SET next_at = next_at - 86400 WHERE stream = 'plain'");
    let children: Vec<Child> = (0..8).map(|_| start(&home, "sync --due --json")).collect();
    for child in children {
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let jobs = home.json("job list");
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1, "{jobs}");
    assert_eq!((&jobs["jobs"][0]["stream"], &jobs["jobs"][0]["added"]), (&json!("plain"), &json!(30)));
    let listed = home.json("schedule list");
    let plain = listed["schedules"].as_array().unwrap().iter().find(|schedule| schedule["stream"] == "plain").unwrap();
    assert!(plain["last_at"].is_string(), "{plain}");
    home.ok("schedule remove things/plain");
    assert_eq!(home.json("schedule list")["schedules"].as_array().unwrap().len(), 1);
}

#[test]
fn what_changed_is_a_feed_with_versions() {
    let home = small();
    home.ok("sync things/marks");
    let feed = |since: &str| -> Vec<Value> {
        let printed = home.ok(&format!("records things/marks --since {since} --json"));
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let first = feed("0");
    assert!(first.len() == 30 && first.iter().all(|change| change["_change"] == "added"), "{first:?}");
    let version = |feed: &[Value]| feed.last().unwrap()["_version"].as_u64().unwrap();
    let last = version(&first);
    assert_eq!(feed(&last.to_string()), Vec::<Value>::new());
    home.ok("sandbox advance things --ticks 3");
    home.ok("sync things/marks");
    let news = feed(&last.to_string());
    let with = |what: &str| news.iter().filter(|change| change["_change"] == what).count();
    // Of three that came and one that went it may be the same; one may have changed twice, or changed and gone.
    assert!(with("added") == with("deleted") + 2 && (1..=3).contains(&with("changed")), "{news:?}");
    let versions: Vec<u64> = news.iter().map(|change| change["_version"].as_u64().unwrap()).collect();
    assert!(versions.is_sorted() && versions[0] > last, "{versions:?}");
    for gone in
        news.iter().filter(|change| change["_change"] == "deleted" && change["_first_seen_at"] != change["_deleted_at"])
    {
        assert!(gone["_deleted_at"].is_string() && gone["status"] == "there", "what it was stays: {gone}");
    }
    // Since the beginning, what came and went is told once, as it is now.
    let all = feed("0");
    let keys: BTreeSet<&str> = all.iter().map(|change| change["_key"].as_str().unwrap()).collect();
    assert!(all.len() == keys.len() && (32..=33).contains(&all.len()), "{all:?}");
    assert_eq!(feed("1h").len(), all.len(), "by time");
    assert_eq!(records(&home, "things/marks").len(), 32);
}

#[test]
fn records_are_printed_as_lines_as_one_list_and_as_a_table() {
    let home = small();
    home.ok("sync things/plain");
    let lines = home.ok("records things/plain --limit 3");
    assert_eq!(lines.lines().count(), 3);
    let first = r#"{"id":1,"text":"A, \"quoted\" text 1","tags":["a","b"],"none":null,"_key":"1","_version":"#;
    assert!(lines.starts_with(first), "{lines}");
    assert_eq!(home.ok("records things/plain --limit 3 --json"), lines);
    assert_eq!(home.ok("records things/plain --limit 1 --jq .text"), "A, \"quoted\" text 1");
    let list: Value = serde_json::from_str(&home.ok("records things/plain --format json")).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 30);
    let csv = home.ok("records things/plain --format csv --limit 2");
    let columns = "id,text,tags,none,_key,_version,_first_seen_at,_changed_at,_deleted_at";
    assert_eq!(csv.lines().next().unwrap(), columns);
    assert!(csv.lines().nth(1).unwrap().starts_with(r#"1,"A, ""quoted"" text 1","[""a"",""b""]",,1,"#), "{csv}");
    let feed = home.ok("records things/plain --format csv --since 0 --limit 1");
    assert_eq!(feed.lines().next().unwrap(), columns.replace("_key", "_change,_key"));
    assert!(feed.lines().nth(1).unwrap().contains(",added,1,"), "{feed}");
    let none: Value = serde_json::from_str(&home.ok("records things/plain --since 1000000 --format json")).unwrap();
    assert_eq!(none, json!([]));
}

#[test]
fn a_reader_who_leaves_ends_the_output_without_a_word() {
    let home = things(&[("plain", 900)]);
    home.ok("sync things/plain");
    for format in ["jsonl", "json", "csv"] {
        let mut child = start(&home, &format!("records things/plain --format {format} --since 0"));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut error = String::new();
        child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        assert!(child.wait().unwrap().success() && error.is_empty() && !line.is_empty(), "{format}: {error}");
    }
}

#[test]
fn a_full_disk_stops_a_sync_and_loses_nothing() {
    if skipped_on_postgres("the disk that is full is that of vault.db") {
        return;
    }
    if !needs("unshare -m and mount", can_mount()) {
        return;
    }
    let home = things(&[("plain", 120)]);
    let script = r#"
        mount -o remount,size=4m "$DISK"
        dd if=/dev/zero of="$DISK/fill" bs=1k 2>/dev/null
        for free in 0 24 48 72; do
            truncate -s -${free}k "$DISK/fill"
            "$INTEG" sync things/plain --json >/tmp/$$.out 2>/tmp/$$.error
            echo "sync $? $(cat /tmp/$$.out /tmp/$$.error)"
            dd if=/dev/zero bs=1k 2>/dev/null >>"$DISK/fill"
        done
        rm -f "$DISK/fill" /tmp/$$.out /tmp/$$.error
        "$INTEG" sync things/plain --quiet >/dev/null; echo "after $?"
        "$INTEG" sync things/plain --quiet >/dev/null; echo "again $?"
        echo "records $("$INTEG" records things/plain | sort | uniq | wc -l) $("$INTEG" records things/plain | wc -l)"
        "$INTEG" vault check >/dev/null; echo "check $?"
    "#;
    let ran = on_small_disk(&home, script).unwrap();
    let full = ran.stdout.lines().filter(|line| line.starts_with("sync 1 ") && !line.contains("panicked")).count();
    assert!(full > 0, "{ran:?}");
    for line in ["after 0", "again 0", "records 120 120", "check 0"] {
        assert!(ran.stdout.lines().any(|said| said == line), "{line}: {ran:?}");
    }
}
