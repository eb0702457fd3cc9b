//! Lists of a server that knows nothing of integ, and whose records change while they are listed.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use serde_json::{Value, json};
use url::Url;

use crate::harness::{Home, Running, has_program, needs, peers};
use crate::sync::{records, reports, stream};

const KINDS: [&str; 6] = ["link", "cursor", "offset", "page", "last", "delta"];

struct Lists {
    _server: Running,
    url: Url,
    home: Home,
}

impl Lists {
    fn start() -> Self {
        let mut command = Command::new("node");
        command.arg(peers().join("list-server.mjs"));
        let mut server = Running::start(command);
        let url: Url = server.event()["url"].as_str().unwrap().parse().unwrap();
        let home = Home::new();
        home.install("lists", include_str!("../connectors/lists.toml"));
        let origin = url.as_str().trim_end_matches('/');
        let ran = home.run_with_input(&format!("connect lists --with-token --origin {origin}"), "let-me-in");
        assert_eq!(ran.code, 0, "{ran:?}");
        Self { _server: server, url, home }
    }

    /// What the server has, and how often it was asked; tells it what to do first.
    fn truth(&self, kind: &str, orders: &str) -> (BTreeMap<String, Value>, u64) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.url.port().unwrap())).unwrap();
        write!(stream, "GET /test/{kind}?{orders} HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        let all = answer["records"].as_array().unwrap().iter();
        (all.map(|record| (record["id"].to_string(), record.clone())).collect(), answer["requests"].as_u64().unwrap())
    }

    fn sync(&self, mode: &str) -> Vec<Value> {
        let reports = reports(&self.home, &format!("lists --mode {mode}"));
        assert!(reports.iter().all(|report| report["status"] == "done"), "{reports:?}");
        reports
    }

    fn assert_equal(&self, kind: &str, what: &str) {
        let (truth, _) = self.truth(kind, "");
        let known = records(&self.home, &format!("lists/{kind}"));
        let missed: Vec<&String> = truth.keys().filter(|key| !known.contains_key(*key)).collect();
        let extra: Vec<&String> = known.keys().filter(|key| !truth.contains_key(*key)).collect();
        assert!(missed.is_empty() && extra.is_empty(), "{kind}, {what}: missed {missed:?}, too many {extra:?}");
        assert!(truth == known, "{kind}, {what}: records differ");
    }
}

#[test]
fn lists_that_change_while_they_are_read_miss_nothing_however_they_are_parted() {
    if !needs("node", has_program("node")) {
        return;
    }
    let lists = Lists::start();
    for kind in KINDS {
        lists.truth(kind, "churn=8");
    }
    lists.sync("incremental");
    for kind in KINDS {
        let (truth, _) = lists.truth(kind, "");
        let known = records(&lists.home, &format!("lists/{kind}"));
        assert_eq!(truth.keys().collect::<Vec<_>>(), known.keys().collect::<Vec<_>>(), "{kind}");
        assert!(truth.values().any(|record| record["turns"] != 0), "{kind} did not change");
    }
    // What changed behind the reader of a list that does not come by time is told by the next.
    let before = KINDS.map(|kind| lists.truth(kind, "").1);
    lists.sync("incremental");
    for (kind, before) in KINDS.into_iter().zip(before) {
        lists.assert_equal(kind, "when nothing changes any more");
        let asked = lists.truth(kind, "").1 - before;
        assert!(asked <= 3, "{kind}: {asked} requests for what is new");
    }
    for kind in KINDS {
        lists.truth(kind, "churn=2&drop=3");
    }
    for _ in 0..3 {
        lists.sync("incremental");
    }
    lists.assert_equal("delta", "which tells what is gone");
    let reports = lists.sync("full");
    for kind in KINDS {
        lists.assert_equal(kind, "after all of it");
        let gone = if kind == "delta" { 0 } else { 3 };
        assert_eq!(stream(&reports, kind)["deleted"], gone, "{kind}");
    }
}

#[test]
fn full_lists_that_change_while_they_are_read_take_nothing_for_gone() {
    if !needs("node", has_program("node")) {
        return;
    }
    let lists = Lists::start();
    lists.sync("full");
    for kind in KINDS {
        lists.truth(kind, "churn=6");
    }
    let reports = lists.sync("full");
    for kind in KINDS {
        assert_eq!(stream(&reports, kind)["deleted"], 0, "{kind}");
    }
    lists.sync("incremental");
    for kind in KINDS {
        lists.assert_equal(kind, "after a full list that moved");
    }
}

#[test]
fn a_service_that_is_gone_is_asked_a_few_times_which_count() {
    if !needs("node", has_program("node")) {
        return;
    }
    let Lists { _server: server, home, .. } = Lists::start();
    drop(server);
    let ran = home.run("sync lists/link --json");
    assert_eq!(ran.code, 5, "{ran:?}");
    let job = &home.json("job list")["jobs"][0];
    assert_eq!((&job["status"], &job["requests"], &job["retries"]), (&json!("failed"), &json!(6), &json!(5)), "{job}");
}
