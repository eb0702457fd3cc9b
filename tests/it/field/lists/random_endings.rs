//! Random endings of lists against every way of paging: no record that the service still has is marked as deleted, every
//! run ends, and after each list that is plainly complete exactly the records that are gone are marked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use integ::clock::{Clock, Timestamp};
use integ::config::{Config, Folders};
use integ::model::{ConnectionId, ConnectionName, RecordId, StreamParams, SyncMode, WorkspaceName};
use integ::notify::Notifier;
use integ::runtime::{Workspace, new_runtime};
use integ::secret::Secret;
use integ::sync::{self, SyncObserver, SyncOutcome, SyncRequest};
use integ::vault::{PassphrasePrompt, PassphraseSource};
use serde_json::{Value, json};

use super::service::{Asked, Reply, Service, connected};
use crate::harness::Home;
use crate::race::{Random, rounds};

/// Records that are asked for at once.
const SIZE: usize = 10;

/// Runs of one round.
const RUNS: u64 = 120;

/// More requests than this are no end: ten repeated pages, and a second look.
const MOST_REQUESTS: usize = 120;

/// The ways of paging: the stream's name, and its rules.
const KINDS: [(&str, &str); 15] = [
    ("none", r#"kind = "none""#),
    ("link", r#"kind = "link_header", SIZED"#),
    ("next_url", r#"kind = "next_url", next = "/next", SIZED"#),
    ("next_url_more", r#"kind = "next_url", next = "/next", more = "/more", SIZED"#),
    ("links", r#"kind = "links", next = "/links", SIZED"#),
    ("cursor", r#"kind = "cursor", next = "/next", param = "cursor", SIZED"#),
    ("cursor_last", r#"kind = "cursor", next = "/next", param = "cursor", last = "/last", SIZED"#),
    ("page", r#"kind = "page", param = "page", SIZED"#),
    ("page_total", r#"kind = "page", param = "page", total_pages = "/pages", SIZED"#),
    ("page_more", r#"kind = "page", param = "page", more = "/more", SIZED"#),
    ("offset", r#"kind = "offset", param = "offset", SIZED"#),
    ("offset_total", r#"kind = "offset", param = "offset", total = "/total", SIZED"#),
    ("last", r#"kind = "last_record", param = "after", id = "/id", SIZED"#),
    ("last_more", r#"kind = "last_record", param = "after", id = "/id", more = "/more", SIZED"#),
    ("max", r#"kind = "max_record", param = "after", id = "/id", SIZED"#),
];

/// What goes on with a list in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Whole,
    /// The service gives so many at once at most.
    Cap(usize),
    /// Pages are shorter than was asked for, each by another number.
    Ragged,
    /// A page in the middle is empty, and others follow.
    Hollow,
    /// 202 so many times, then the list.
    SlowStart(usize),
    /// A page is cut off once.
    CutOnce,
    /// Records come in at the front while the list is read.
    Moving,
    /// What follows the last page is the last page.
    LastAgain,
    /// Every page is the first one.
    FirstAgain,
    /// Empty pages without end.
    Endless,
    /// A page is answered by this, for as long as it is asked for.
    Broken(Fault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Error,
    ErrorBesideList,
    NotReady,
    NoContent,
    EmptyBody,
    NullList,
    NullBody,
    Truncated,
    OtherShape,
    ObjectInPlace,
    TextInPlace,
    ServerError,
    Refused,
    /// One item of the list is null.
    NullItem,
    /// What leads to the next page is of another type.
    NextShape,
}

const FAULTS: [Fault; 15] = [
    Fault::Error,
    Fault::ErrorBesideList,
    Fault::NotReady,
    Fault::NoContent,
    Fault::EmptyBody,
    Fault::NullList,
    Fault::NullBody,
    Fault::Truncated,
    Fault::OtherShape,
    Fault::ObjectInPlace,
    Fault::TextInPlace,
    Fault::ServerError,
    Fault::Refused,
    Fault::NullItem,
    Fault::NextShape,
];

/// What is to come of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The list is plainly complete.
    Complete,
    /// It is plainly not.
    Failure,
    /// Nothing is deleted, however it ends.
    NothingDeleted,
    /// Nothing that is there is deleted.
    Unsure,
}

/// The service's side of one stream.
#[derive(Debug)]
struct Served {
    kind: &'static str,
    /// Ids and how often each changed.
    truth: BTreeMap<usize, u32>,
    ending: Ending,
    /// The request that a fault meets, counted from 0.
    faulty: usize,
    /// Requests since the run began.
    asked: usize,
    /// Cursors that were given: no two are alike.
    cursors: usize,
    random: u64,
    next_id: usize,
    cut: bool,
    /// Whether the fault was met.
    met: bool,
}

impl Served {
    /// Newest first where pages are counted, else by id.
    fn ids(&self) -> Vec<usize> {
        let ids = self.truth.keys().copied();
        if self.is_counted() { ids.rev().collect() } else { ids.collect() }
    }

    fn is_counted(&self) -> bool {
        self.kind.starts_with("page") || self.kind.starts_with("offset")
    }

    fn record(&self, id: usize) -> Value {
        json!({ "id": id, "turns": self.truth[&id] })
    }

    /// Where a page begins: a position, or for lists by id the id before it.
    fn begin(&self, asked: &Asked, size: usize) -> usize {
        let ids = self.ids();
        let behind = |id: usize| ids.iter().filter(|known| **known <= id).count();
        match self.kind {
            "none" => 0,
            "page" | "page_total" | "page_more" => (asked.number("page", 1) - 1) * size,
            "offset" | "offset_total" => asked.number("offset", 0),
            "last" | "last_more" | "max" => asked.query("after").map_or(0, |after| behind(after.parse().unwrap())),
            // A cursor, or a link that holds one: the last id, and a number that no two of them share.
            _ => asked.query("cursor").map_or(0, |cursor| behind(cursor.split('-').next().unwrap().parse().unwrap())),
        }
    }

    fn answer(&mut self, asked: &Asked) -> Reply {
        let number = self.asked;
        self.asked += 1;
        if self.ending == Ending::Moving && number > 0 && number < 6 {
            self.truth.insert(self.next_id, 0);
            self.next_id += 1;
        }
        if let Ending::SlowStart(times) = self.ending
            && number < times
        {
            return Reply::raw(202, if number == 0 { "" } else { "{}" });
        }
        if let Ending::Broken(fault) = self.ending
            && number >= self.faulty
        {
            self.met = true;
            if let Some(reply) = broken(fault) {
                return reply;
            }
        }
        let mut random = Random(self.random ^ number as u64);
        let size = match self.ending {
            _ if self.kind == "none" => usize::MAX,
            Ending::Cap(size) => size,
            Ending::Ragged if !self.kind.starts_with("page") => 1 + random.below(SIZE as u64) as usize,
            _ => asked.number("limit", SIZE),
        };
        let (ids, mut begin) = (self.ids(), self.begin(asked, size));
        match self.ending {
            Ending::FirstAgain => begin = 0,
            Ending::LastAgain if self.kind != "none" => begin = begin.min(ids.len().saturating_sub(1) / size * size),
            _ => {}
        }
        let mut page: Vec<usize> = ids.iter().skip(begin).take(size).copied().collect();
        let end = begin.saturating_add(page.len());
        let has_more = end < ids.len();
        let behind = begin.checked_sub(1).and_then(|last| ids.get(last).or(ids.last()));
        let mut before = behind.copied().unwrap_or_default();
        let is_hollow = self.ending == Ending::Hollow && number == self.faulty && self.by_cursor() && has_more;
        if is_hollow || self.ending == Ending::Endless {
            page.clear();
        }
        before = page.last().copied().unwrap_or(before);
        // A service that repeats itself says that more follows.
        let goes_on = match self.ending {
            Ending::LastAgain | Ending::FirstAgain | Ending::Endless => true,
            _ => has_more,
        };
        let items: Vec<Value> = page.iter().map(|id| self.record(*id)).collect();
        self.page(asked, items, goes_on, before, size)
    }

    fn by_cursor(&self) -> bool {
        matches!(self.kind, "link" | "next_url" | "next_url_more" | "links" | "cursor" | "cursor_last")
    }

    /// Writes a page in the way of its kind.
    fn page(&mut self, asked: &Asked, mut items: Vec<Value>, goes_on: bool, before: usize, size: usize) -> Reply {
        let fault = match self.ending {
            Ending::Broken(fault) if self.met => Some(fault),
            _ => None,
        };
        if fault == Some(Fault::NullItem) {
            items.push(Value::Null);
        }
        let total = self.truth.len();
        let mut body = json!({ "items": items });
        self.cursors += 1;
        let cursor = format!("{before}-{}", self.cursors);
        let mut link = asked.url.clone();
        link.set_query(None);
        let _ = link.set_host(Some("api.acme.example"));
        let _ = link.set_scheme("https");
        link.query_pairs_mut().append_pair("cursor", &cursor).append_pair("limit", &SIZE.to_string());
        let mut reply_link = None;
        match self.kind {
            "link" => reply_link = goes_on.then(|| format!("<{link}>; rel=\"next\"")),
            "next_url" | "next_url_more" => body["next"] = if goes_on { json!(link) } else { Value::Null },
            "links" if goes_on => body["links"] = json!([{ "rel": "self" }, { "rel": "next", "href": link }]),
            "links" => body["links"] = json!([{ "rel": "self" }]),
            "cursor" | "cursor_last" if goes_on => body["next"] = json!(cursor),
            "page_total" => body["pages"] = json!(total.div_ceil(size)),
            "offset_total" => body["total"] = json!(total),
            _ => {}
        }
        match self.kind {
            "next_url_more" | "page_more" | "last_more" => body["more"] = json!(goes_on),
            "cursor_last" => body["last"] = json!(!goes_on),
            _ => {}
        }
        match fault {
            Some(Fault::ErrorBesideList) => body["error"] = json!("maintenance"),
            Some(Fault::NextShape) => body[if self.kind == "links" { "links" } else { "next" }] = json!({ "a": 1 }),
            _ => {}
        }
        let mut text = body.to_string();
        if self.ending == Ending::CutOnce && !self.cut && self.asked > self.faulty {
            self.cut = true;
            text.truncate(text.len() * 2 / 3);
        }
        let reply = Reply::raw(200, text);
        reply_link.into_iter().fold(reply, |reply, link| reply.with("link", link))
    }

    fn expected(&self) -> Expected {
        // Where it fits one page, and the service says that this is all, nothing is repeated.
        let says_total = matches!(self.kind, "page_total" | "offset_total");
        match self.ending {
            Ending::Whole | Ending::Cap(_) | Ending::Ragged | Ending::Hollow | Ending::CutOnce => Expected::Complete,
            Ending::SlowStart(_) => Expected::Complete,
            Ending::Moving => Expected::Unsure,
            _ if self.kind == "none" && !matches!(self.ending, Ending::Broken(_)) => Expected::Unsure,
            Ending::LastAgain | Ending::FirstAgain | Ending::Endless if says_total => Expected::Unsure,
            // Nothing is a page that may be repeated, and an empty page is the end where pages are counted.
            Ending::LastAgain | Ending::FirstAgain | Ending::Endless if self.truth.is_empty() => Expected::Unsure,
            Ending::LastAgain | Ending::FirstAgain => Expected::Failure,
            Ending::Endless => Expected::Failure,
            Ending::Broken(Fault::NullItem) => Expected::NothingDeleted,
            Ending::Broken(Fault::NextShape) => Expected::Unsure,
            Ending::Broken(_) => Expected::Failure,
        }
    }
}

/// The answer of a fault that has no page in it.
fn broken(fault: Fault) -> Option<Reply> {
    Some(match fault {
        Fault::Error => Reply::json(&json!({ "error": { "message": "maintenance" } })),
        Fault::NotReady => Reply::raw(202, r#"{"status":"pending"}"#),
        Fault::NoContent => Reply::raw(204, ""),
        Fault::EmptyBody => Reply::raw(200, " \n"),
        Fault::NullList => Reply::json(&json!({ "items": null, "next": null, "more": false, "last": true })),
        Fault::NullBody => Reply::raw(200, "null"),
        Fault::Truncated => Reply::raw(200, r#"{"items":[{"id":1,"tu"#),
        Fault::OtherShape => Reply::json(&json!({ "data": [{ "id": 1, "turns": 0 }], "total": 1, "pages": 1 })),
        Fault::ObjectInPlace => Reply::json(&json!({ "items": { "id": 1, "turns": 0 }, "more": false })),
        Fault::TextInPlace => Reply::json(&json!({ "items": "moved", "last": true })),
        Fault::ServerError => Reply::raw(503, r#"{"message":"out of order"}"#),
        Fault::Refused => Reply::raw(400, r#"{"message":"no"}"#),
        Fault::ErrorBesideList | Fault::NullItem | Fault::NextShape => return None,
    })
}

struct Nobody;

impl SyncObserver for Nobody {}

impl PassphraseSource for Nobody {
    fn ask(&self, _: PassphrasePrompt) -> std::io::Result<Option<Secret>> {
        unreachable!("the identity is a file")
    }
}

/// The program's side, inside of this process and with a clock that waits for nothing.
struct Engine {
    workspace: Workspace,
    connection: ConnectionId,
    runtime: tokio::runtime::Runtime,
    _home: Home,
    _service: Service,
}

impl Engine {
    /// The program, connected to a service of one list of each kind.
    fn start() -> (Self, Arc<BTreeMap<&'static str, Mutex<Served>>>) {
        let serve = |kind| Served {
            kind,
            truth: (1..=35).map(|id| (id, 0)).collect(),
            ending: Ending::Whole,
            faulty: 0,
            asked: 0,
            cursors: 0,
            random: 0,
            next_id: 36,
            cut: false,
            met: false,
        };
        let served: BTreeMap<&'static str, Mutex<Served>> =
            KINDS.iter().map(|(kind, _)| (*kind, Mutex::new(serve(kind)))).collect();
        let served = Arc::new(served);
        let serving = Arc::clone(&served);
        let service = Service::start(move |asked| {
            let name = asked.url.path().strip_prefix("/v1/")?;
            Some(serving.get(name)?.lock().unwrap().answer(asked))
        });
        let stream = |(name, rules): &(&str, &str)| {
            let rules = rules.replace("SIZED", &format!("size_param = \"limit\", size = {SIZE}"));
            format!(
                "[streams.{name}]\nabout = \"x\"\npath = \"/{name}\"\nrecords = [\"/items\"]\nkey = [\"/id\"]\npages = {{ {rules} }}\n"
            )
        };
        let home = connected(&KINDS.iter().map(stream).collect::<String>(), &service);
        let workspace: WorkspaceName = "default".parse().unwrap();
        let mut engine = integ::runtime::Engine::new(
            Folders::under(home.path()),
            Config::default(),
            Box::new(Nobody),
            Box::new(Notifier::new(&Config::default())),
        );
        engine.clock = Clock::fixed(Timestamp::now());
        let workspace = Workspace::new(std::sync::Arc::new(engine), workspace);
        let runtime = new_runtime().unwrap();
        let connection = runtime.block_on(workspace.connection(&"acme".parse().unwrap())).unwrap().id;
        (Engine { workspace, connection, runtime, _home: home, _service: service }, served)
    }

    fn sync(&self, stream: &str, mode: SyncMode, allow_deletes: bool) -> sync::SyncReport {
        let order = SyncRequest {
            connection: "acme".parse::<ConnectionName>().unwrap(),
            streams: vec![stream.to_owned()],
            mode,
            since: None,
            until: None,
            params: StreamParams::new(),
            allow_deletes,
        };
        self.runtime.block_on(sync::run(&self.workspace, &order, &Nobody)).unwrap().remove(0)
    }

    /// The ids that are there, and whether a list was cut off.
    fn known(&self, stream: &str) -> (BTreeSet<usize>, bool) {
        let read = async {
            let store = self.workspace.store().await.unwrap();
            let stored = store.streams().find(self.connection, stream).await.unwrap()?;
            let records = store.records().list(stored.id, RecordId(0), 100_000).await.unwrap();
            Some((records, store.streams().partitions(stored.id).await.unwrap()))
        };
        let Some((records, partitions)) = self.runtime.block_on(read) else { return Default::default() };
        let cut_off = partitions.iter().any(|part| part.checkpoint.is_some());
        (records.iter().map(|record| record.key.parse().unwrap()).collect(), cut_off)
    }
}

fn any_ending(random: &mut Random) -> Ending {
    match random.below(24) {
        0..=2 => Ending::Whole,
        3 => Ending::Cap(1 + random.below(SIZE as u64) as usize),
        4 => Ending::Ragged,
        5 => Ending::Hollow,
        6 => Ending::SlowStart(1 + random.below(3) as usize),
        7 => Ending::CutOnce,
        8 => Ending::Moving,
        9 | 10 => Ending::LastAgain,
        11 | 12 => Ending::FirstAgain,
        // A thousand requests each.
        13 if random.below(20) == 0 => Ending::Endless,
        _ => Ending::Broken(FAULTS[random.below(FAULTS.len() as u64) as usize]),
    }
}

#[test]
fn field_01_02_03_random_endings_of_lists_delete_nothing_that_is_there_and_mark_what_is_gone() {
    let seed = std::env::var("INTEG_TEST_SEED").map_or(20_261_128, |seed| seed.parse().unwrap());
    let mut random = Random(seed);
    let (engine, served) = Engine::start();
    let runs = rounds(1) * RUNS;
    let (mut complete, mut failed, mut held, mut resumed, mut marked, mut most) = (0_u64, 0_u64, 0_u64, 0_u64, 0, 0);
    let mut endings: BTreeMap<String, u64> = BTreeMap::new();
    for run in 0..runs {
        let (kind, _) = KINDS[random.below(KINDS.len() as u64) as usize];
        let ending = match any_ending(&mut random) {
            // Where nothing says otherwise, an empty page is an empty list.
            Ending::Endless if matches!(kind, "none" | "page" | "offset" | "last" | "max") => Ending::Whole,
            ending => ending,
        };
        let mode = if random.below(2) == 0 { SyncMode::Full } else { SyncMode::Incremental };
        let (before, was_cut_off) = engine.known(kind);
        {
            let mut list = served[kind].lock().unwrap();
            change(&mut list, &mut random);
            (list.ending, list.faulty) = (ending, random.below(5) as usize);
            (list.asked, list.random, list.cut, list.met) = (0, random.below(u64::MAX), false, false);
        }
        let at = format!("seed {seed}, run {run}, {kind}, {ending:?}, {mode:?}, resumed: {was_cut_off}");
        let mut report = engine.sync(kind, mode, false);
        let list = served[kind].lock().unwrap();
        let truth: BTreeSet<usize> = list.truth.keys().copied().collect();
        let (requests, met) = (list.asked, list.met);
        let mut expected = list.expected();
        drop(list);
        // The list may have ended before the answer that was to be wrong.
        if matches!(ending, Ending::Broken(_)) && !met {
            expected = Expected::Complete;
        }
        *endings.entry(format!("{ending:?}").split(['(', ' ']).next().unwrap().to_owned()).or_default() += 1;
        // Empty pages are asked for a thousand times.
        let may_be_empty =
            ending == Ending::Endless || (matches!(ending, Ending::FirstAgain | Ending::LastAgain) && truth.is_empty());
        most = most.max(if may_be_empty { 0 } else { requests });
        assert!(requests <= MOST_REQUESTS || (may_be_empty && requests <= 2100), "{at}: {requests} requests");
        let (mut after, _) = engine.known(kind);
        let wrongly: Vec<&usize> = before.intersection(&truth).filter(|id| !after.contains(id)).collect();
        assert!(wrongly.is_empty(), "{at}: {wrongly:?} are there: {report:?}");
        resumed += u64::from(was_cut_off);
        let is_held = matches!(report.outcome, SyncOutcome::DeletesBlocked(_));
        if is_held {
            held += 1;
            assert!(before.len() > 20 && before.is_subset(&after), "{at}: {report:?}");
        }
        // A list that goes on where another run left it has what was there then: the next one is exact.
        if expected == Expected::Complete && (is_held || was_cut_off) {
            assert!(is_held || matches!(report.outcome, SyncOutcome::Done), "{at}: {report:?}");
            let mut list = served[kind].lock().unwrap();
            (list.asked, list.cut) = (0, false);
            if matches!(ending, Ending::Broken(_)) {
                list.ending = Ending::Whole;
            }
            drop(list);
            report = engine.sync(kind, mode, true);
            (after, _) = engine.known(kind);
        }
        match expected {
            Expected::Complete => {
                assert!(matches!(report.outcome, SyncOutcome::Done), "{at}: {report:?}");
                complete += 1;
                marked += before.difference(&after).count();
                assert_eq!(after, truth, "{at}: {report:?}");
            }
            Expected::Failure => {
                failed += 1;
                assert!(matches!(report.outcome, SyncOutcome::Failed(_)), "{at}: {report:?}");
                assert!(before.is_subset(&after), "{at}: {:?} were deleted", before.difference(&after));
            }
            Expected::NothingDeleted => assert!(before.is_subset(&after), "{at}: {:?}", before.difference(&after)),
            Expected::Unsure => {}
        }
    }
    let figures = json!({
        "runs": runs, "complete": complete, "failed": failed, "held": held, "resumed": resumed, "marked": marked,
        "most_requests": most, "endings": endings,
    });
    println!("figures: {figures}");
    assert!(complete > 0 && failed > 0, "{figures}");
}

/// Some records go, some come, some change.
fn change(list: &mut Served, random: &mut Random) {
    let ids: Vec<usize> = list.truth.keys().copied().collect();
    let goes = match random.below(8) {
        0 => 100,
        1 => 60,
        _ => random.below(20),
    };
    for id in ids {
        if random.below(100) < goes {
            list.truth.remove(&id);
        } else if random.below(4) == 0 {
            *list.truth.get_mut(&id).unwrap() += 1;
        }
    }
    for _ in 0..random.below(if list.truth.len() < 30 { 25 } else { 5 }) {
        list.truth.insert(list.next_id, 0);
        list.next_id += 1;
    }
}
