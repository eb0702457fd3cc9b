//! Every stream of every connector, in the sandbox, by every way of authenticating that may list it: all of it, nothing new,
//! what is new after some time, and in the end what a connection sees that was never synced before.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Mutex;

use serde_json::Value;

use crate::harness::Home;
use crate::sync::{records, reports, stream};

/// What of a stream's file decides which of two syncs knows more.
struct Rule {
    /// What is gone is told, or always looked for.
    tells_gone: bool,
    /// What is no longer listed is kept: the vendor forgets it, or only so much time can be asked for.
    keeps: bool,
    incremental: bool,
}

fn rules(id: &str) -> BTreeMap<String, Rule> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("connectors/{id}.toml"));
    let file: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    let rule = |(name, stream): (&String, &toml::Value)| {
        let incremental = stream.get("incremental");
        // A list that nothing filters holds what is there alone.
        let filters = incremental.is_some_and(|rule| rule.get("newest_first").is_none());
        let tells = stream.get("token").is_some() || (filters && stream.get("deleted").is_some());
        let keeps =
            stream.get("forgets").is_some() || incremental.is_some_and(|rule| rule.get("window_secs").is_some());
        let rule = Rule { tells_gone: tells || incremental.is_none(), keeps, incremental: incremental.is_some() };
        (name.clone(), rule)
    };
    let streams = file.get("streams").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    let mut rules: BTreeMap<String, Rule> = streams.iter().map(rule).collect();
    // What is below a record that went unseen goes with it.
    for (name, stream) in (0..streams.len()).flat_map(|_| &streams) {
        let above = stream.get("parents").and_then(toml::Value::as_array).into_iter().flatten();
        let above: Vec<&str> = above.filter_map(|parent| parent["stream"].as_str()).collect();
        let told = above.iter().all(|parent| *parent == name || rules[*parent].tells_gone);
        rules.entry(name.clone()).and_modify(|rule| rule.tells_gone &= told);
    }
    rules
}

fn holds(list: &Value, wanted: &str) -> bool {
    list.as_array().unwrap().iter().any(|item| item == wanted)
}

/// A way of a connector, with a home of its own.
struct Walk {
    home: Home,
    id: String,
    way: String,
    scopes: String,
    streams: Vec<String>,
    params: String,
    rules: BTreeMap<String, Rule>,
}

impl Walk {
    fn new(shape: &Value, auth: &Value) -> Option<Self> {
        let (id, way) = (shape["id"].as_str().unwrap().to_owned(), auth["name"].as_str().unwrap().to_owned());
        let all = shape["streams"].as_array().unwrap().iter();
        let may: Vec<&Value> = all.filter(|stream| holds(&stream["auth"], &way)).collect();
        // A list below records that this method cannot list needs a parameter.
        let mut may = may;
        while let Some(at) = may.iter().position(|stream| {
            let parents = stream["parents"].as_array().unwrap().iter().filter(|parent| **parent != stream["name"]);
            let is_listed = |parent: &Value| may.iter().any(|stream| stream["name"] == *parent);
            !parents.clone().all(is_listed)
        }) {
            may.remove(at);
        }
        if may.is_empty() {
            return None;
        }
        let mut scopes = String::new();
        let defaults = auth["default_scopes"].as_array().unwrap();
        if auth["kind"] != "key" && !defaults.is_empty() {
            let needed = may.iter().flat_map(|stream| stream["scopes"].as_array().unwrap());
            for scope in defaults.iter().chain(needed) {
                scopes.push_str(&format!(" --scope {}", scope.as_str().unwrap()));
            }
        }
        let required = may.iter().flat_map(|stream| stream["input"]["required"].as_array().unwrap());
        let params: String = required.map(|name| format!(" -p {}=sandbox", name.as_str().unwrap())).collect();
        let streams = may.iter().map(|stream| stream["name"].as_str().unwrap().to_owned()).collect();
        let home = Home::new();
        // Fewer lists below records, each of its usual size.
        for parent in shape["streams"].as_array().unwrap() {
            let listed_for = |stream: &Value| holds(&stream["parents"], parent["name"].as_str().unwrap());
            if parent["parents"].as_array().unwrap().is_empty() && may.iter().any(|stream| listed_for(stream)) {
                home.ok(&format!("sandbox data {id}/{} --records 6", parent["name"].as_str().unwrap()));
            }
        }
        let rules = rules(&id);
        Some(Self { home, id, way, scopes, streams, params, rules })
    }

    fn connect(&self, account: &str) -> String {
        self.home.ok(&format!("connect {} --sandbox --auth {} --as {account}{}", self.id, self.way, self.scopes));
        format!("{}@{account}", self.id)
    }

    /// Syncs all streams, which must all be done, and what of each was added, changed and deleted.
    fn sync(&self, connection: &str, mode: &str) -> BTreeMap<String, [u64; 3]> {
        let reports = reports(&self.home, &format!("{connection}{} --mode {mode}", self.params));
        let counts = |name: &String| {
            let report = stream(&reports, name);
            assert_eq!(report["status"], "done", "{connection}/{name}: {report}");
            let count = |member: &str| report[member].as_u64().unwrap();
            (name.clone(), [count("added"), count("changed"), count("deleted")])
        };
        self.streams.iter().map(counts).collect()
    }

    /// How many records there were, and how many syncs saw something new.
    fn all(&self, compares: bool) -> (u64, usize) {
        let connection = self.connect("first");
        let first = self.sync(&connection, "incremental");
        for (name, counts) in self.sync(&connection, "incremental") {
            assert_eq!(counts, [0, 0, 0], "{connection}/{name}: nothing is new");
        }
        self.home.ok(&format!("sandbox advance {connection} --ticks 5"));
        let news = self.sync(&connection, "incremental");
        let after: BTreeMap<&String, usize> = self
            .streams
            .iter()
            .map(|name| (name, records(&self.home, &format!("{connection}/{name}")).len()))
            .collect();
        for (name, [added, changed, deleted]) in self.sync(&connection, "full") {
            let at = format!("{connection}/{name}");
            // Streams that only filter by time cannot see what is gone; all else was seen before.
            assert_eq!((added, changed), (0, 0), "{at}: all was known");
            let rule = &self.rules[&name];
            assert!(deleted == 0 || !rule.tells_gone, "{at}: {deleted} had gone unseen");
            assert!(!rule.keeps || !rule.incremental || deleted == 0, "{at}: {deleted} were swept away");
            assert_eq!(records(&self.home, &at).len(), after[&name] - usize::try_from(deleted).unwrap(), "{at}");
        }
        if compares {
            self.compare(&connection);
        }
        (first.values().map(|counts| counts[0]).sum(), news.values().filter(|counts| counts[0] > 0).count())
    }

    /// Beside what the same account shows a connection that was never synced before.
    fn compare(&self, connection: &str) {
        let known: Vec<_> =
            self.streams.iter().map(|name| (name, records(&self.home, &format!("{connection}/{name}")))).collect();
        self.home.ok(&format!("disconnect {connection} --yes"));
        let fresh = self.connect("first");
        self.sync(&fresh, "incremental");
        for (name, mut known) in known {
            let seen = records(&self.home, &format!("{fresh}/{name}"));
            if self.rules[name].keeps {
                known.retain(|key, _| seen.contains_key(key));
            }
            let keys = |of: &BTreeMap<String, Value>| of.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(&known), keys(&seen), "{connection}/{name}");
            assert!(known == seen, "{connection}/{name}: records differ");
        }
    }
}

#[test]
fn every_stream_of_every_connector_is_synced_fully_and_then_by_what_is_new() {
    let home = Home::new();
    let mut walks = VecDeque::new();
    for item in home.json("connector list")["connectors"].as_array().unwrap() {
        let shape = home.json(&format!("connector descriptor {}", item["id"].as_str().unwrap()));
        let ways = shape["auth"].as_array().unwrap().iter().filter_map(|auth| Walk::new(&shape, auth));
        walks.extend(ways.enumerate().map(|(index, walk)| (index == 0, walk)));
    }
    let ways = walks.len();
    let queue = Mutex::new(walks);
    let done = Mutex::new((0, 0, 0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((is_first, walk)) = queue.lock().unwrap().pop_front() else { return };
                    let (records, news) = walk.all(is_first);
                    assert!(records > 0 && news > 0, "{}@{}: {records} records, {news} told news", walk.id, walk.way);
                    let mut done = done.lock().unwrap();
                    *done = (done.0 + walk.streams.len(), done.1 + records, done.2 + news);
                }
            });
        }
    });
    let (streams, records, news) = done.into_inner().unwrap();
    eprintln!("{streams} streams by {ways} ways: {records} records, {news} told something new");
    assert!(streams > 100, "{streams}");
}
