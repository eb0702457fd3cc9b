//! Streams: every way of parting lists and of asking for what is new, on small files that a user could write.

use serde_json::{Value, json};

use super::pager::{ListQuery, TestPager};
use super::{TestEmulator, body};
use crate::clock::Timestamp;
use crate::sandbox::{EmulatedEndpoint, Fault, FaultKind};

pub(super) const FILE: &str = r#"
id = "things"
name = "Things"
category = "projects"
description = "x"
docs = "https://things.example"
[api]
base = "https://api.things.example/v1"
[auth.key]
label = "Key"
[auth.key.fields.token]
prompt = "Token"
[health]
path = "/me"
account = { id = "/id" }
"#;

fn walker(streams: &str, name: &str) -> TestPager {
    TestPager::new(TestEmulator::new(&format!("{FILE}{streams}"), "key"), name, &[])
}

/// A walker of one stream `t` at `/things`, whose keys are `/id`.
fn things(rest: &str) -> TestPager {
    walker(&format!("[streams.t]\nabout = \"x\"\npath = \"/things\"\nkey = [\"/id\"]\n{rest}"), "t")
}

fn advance(walker: &mut TestPager, ticks: u32) {
    walker.bench.now += 3600;
    let now = Timestamp::from_second(walker.bench.now).unwrap();
    walker.state().advance(ticks, now);
}

fn fault(walker: &mut TestPager, kind: FaultKind, after: u32) {
    let fault = Fault { endpoint: Some(EmulatedEndpoint::Stream), times: Some(1), after, ..Fault::new(kind) };
    walker.state().add_fault(fault);
}

#[test]
fn every_way_of_parting_lists_gives_each_record_once() {
    let sized = "size_param = \"limit\", size = 100";
    for (rules, pages) in [
        (r#"kind = "none""#.to_owned(), vec![40]),
        (format!(r#"kind = "link_header", {sized}"#), vec![100, 100, 50]),
        (format!(r#"kind = "next_url", next = "/next", records = "/items", {sized}"#), vec![100, 100, 50]),
        (format!(r#"kind = "links", next = "/links", records = "/items", {sized}"#), vec![100, 100, 50]),
        (format!(r#"kind = "cursor", next = "/meta/next", param = "cursor", {sized}"#), vec![100, 100, 50]),
        (format!(r#"kind = "cursor", next = "/next", more = "/more", param = "cursor", {sized}"#), vec![100, 100, 50]),
        (format!(r#"kind = "page", param = "page", {sized}"#), vec![100, 100, 50, 0]),
        (format!(r#"kind = "page", param = "page", first = 0, last = "/last", {sized}"#), vec![100, 100, 50]),
        (format!(r#"kind = "page", param = "page", total_pages = "/pages", {sized}"#), vec![100, 100, 50]),
        (format!(r#"kind = "offset", param = "start", first = 1, total = "/total", {sized}"#), vec![100, 100, 50]),
        (r#"kind = "offset", param = "start", size_param = "limit", size = 200"#.to_owned(), vec![100, 100, 50, 0]),
        (format!(r#"kind = "last_record", param = "after", id = "/id", more = "/more", {sized}"#), vec![100, 100, 50]),
        (format!(r#"kind = "max_record", param = "after", id = "/id", {sized}"#), vec![100, 100, 50, 0]),
        (format!(r#"kind = "max_record", param = "from", id = "/id", plus = 1, {sized}"#), vec![100, 100, 50, 0]),
    ] {
        let sample = r#"sample = '{"id": "{n}"}'"#;
        let mut walker = things(&format!("pages = {{ {rules} }}\n{sample}"));
        let walked = walker.read_all(&ListQuery::default());
        assert_eq!(walked.pages, pages, "{rules}");
        assert_eq!(walker.keys(&walked.records).len(), pages.iter().sum::<usize>(), "{rules}");
    }
}

#[test]
fn a_cursor_of_a_body_and_an_offset_in_a_query_language() {
    let mut posted = things(
        r#"method = "POST"
body = { filter = { kind = "thing" }, page_size = 50 }
pages = { kind = "cursor", next = "/next", param = "/start", more = "/more", size_param = "/page_size" }"#,
    );
    let walked = posted.read_all(&ListQuery::default());
    assert_eq!(walked.pages, [50, 50, 50, 50, 50]);
    assert_eq!(posted.keys(&walked.records).len(), 250);
    let mut graph = things(
        r#"method = "POST"
body = { query = "query ($after: String) {{ things }}", variables = { first = 50 } }
pages = { kind = "cursor", next = "/next", param = "/variables/after", more = "/more", size_param = "/variables/first", size = 50 }"#,
    );
    let walked = graph.read_all(&ListQuery::default());
    assert_eq!(walked.pages, [50, 50, 50, 50, 50]);
    assert_eq!(graph.keys(&walked.records).len(), 250);
    let mut asked = things(
        r#"query = { q = "SELECT * FROM Thing STARTPOSITION {offset} MAXRESULTS {size}" }
pages = { kind = "offset", first = 1, size = 100, records = "/QueryResponse/Thing" }"#,
    );
    let walked = asked.read_all(&ListQuery::default());
    assert_eq!(walked.pages, [100, 100, 50, 0]);
    assert_eq!(asked.keys(&walked.records).len(), 250);
}

#[test]
fn streams_of_one_path_are_told_apart_by_what_they_ask() {
    let text = r#"
[streams.pages]
about = "x"
method = "POST"
path = "/search"
body = { filter = { value = "page" } }
key = ["/id"]
sample = '{"id": "page-{n}"}'
[streams.sources]
about = "x"
method = "POST"
path = "/search"
body = { filter = { value = "source" } }
key = ["/id"]
sample = '{"id": "source-{n}"}'
"#;
    for (name, id) in [("pages", "page-1"), ("sources", "source-1")] {
        assert_eq!(walker(text, name).read_all(&ListQuery::default()).records[0]["id"], id);
    }
    let mut other = walker(text, "pages");
    let (url, _) = other.request(&ListQuery::default(), None);
    let reply = other.send("POST", &url, Some(&json!({"filter": {"value": "user"}})));
    assert_eq!(reply.status, 400, "{}", reply.body);
}

#[test]
fn time_is_asked_for_in_every_format_and_its_end_is_included() {
    for (format, sample) in [
        ("rfc3339", "{now_date}"),
        ("rfc2822", "x"),
        ("unix", "{now}"),
        ("unix", "x"),
        ("unix_ms", "{now_ms}"),
        ("integer", "{n}"),
        ("text", "x"),
    ] {
        let mut walker = things(&format!(
            "incremental = {{ at = \"/at\", format = \"{format}\", query = {{ from = \"{{since}}\" }} }}\n\
             query = {{ sort = \"at asc\" }}\nsample = '{{\"id\": \"{{n}}\", \"at\": \"{sample}\"}}'"
        ));
        let all = walker.read_all(&ListQuery::default()).records;
        let text = |record: &Value| record["at"].as_str().map_or_else(|| record["at"].to_string(), str::to_owned);
        let moments: Vec<String> = all.iter().map(text).collect();
        // Records of one moment lie over the edge of pages of ten.
        assert_eq!(moments[9], moments[10], "{format}");
        let since = &moments[20];
        let newer = walker.read_all(&ListQuery::since(since)).records;
        let first = moments.iter().position(|moment| moment == since).unwrap();
        assert!(first < 20 && text(&newer[0]) == *since, "{format}: from {since} on");
        assert_eq!(newer.len(), all.len() - first, "{format}");
        advance(&mut walker, 3);
        let newest = walker.read_all(&ListQuery::since(moments.last().unwrap())).records;
        let same = moments.iter().filter(|moment| Some(*moment) == moments.last()).count();
        assert!((4..=same + 6).contains(&newest.len()), "{format}: {} are new", newest.len());
    }
}

#[test]
fn what_is_gone_is_marked_where_the_file_says_how() {
    let mut walker = things(
        r#"incremental = { at = "/at", query = { from = "{since}" } }
deleted = { "/archived" = [true] }
sample = '{"id": "{n}", "at": "{now_date}", "archived": false}'"#,
    );
    let all = walker.read_all(&ListQuery::default()).records;
    assert!(all.iter().all(|record| record["archived"] == false));
    advance(&mut walker, 3);
    let now = Timestamp::from_second(walker.bench.now).unwrap().to_string();
    let news = walker.read_all(&ListQuery::since(&now)).records;
    assert_eq!(news.iter().filter(|record| record["archived"] == true).count(), 1);
    assert_eq!(news.len(), 7, "three are new, three changed and one is gone");
    assert_eq!(walker.read_all(&ListQuery::default()).records.len(), all.len() + 2);
}

#[test]
fn tokens_tell_changes_alone_and_the_first_questions_hold_on() {
    let mut walker = things(
        r#"query = { single = "true" }
pages = { kind = "cursor", next = "/next", param = "page", records = "/items" }
token = { at = "/token", query = { since = "{token}" }, expired = [410] }
deleted = { "/status" = ["cancelled"] }
sample = '{"id": "{n}", "status": "open"}'"#,
    );
    let token = walker.read_all(&ListQuery::default()).token.unwrap();
    assert!(walker.read_all(&ListQuery::token(&token)).records.is_empty());
    advance(&mut walker, 6);
    let news = walker.read_all(&ListQuery::token(&token));
    assert_eq!(news.records.iter().filter(|record| record["status"] == "cancelled").count(), 2);
    assert!(walker.read_all(&ListQuery::token(&news.token.unwrap())).records.is_empty());
    assert_eq!(walker.page(&ListQuery::token("stale"), None).0.status, 410);
    let (mut url, _) = walker.request(&ListQuery::token(&token), None);
    url.set_query(Some(&format!("since={token}")));
    assert_eq!(walker.send("GET", &url, None).status, 400, "the first request said more");
    // Forgotten state knows no changes.
    walker.bench.state = crate::sandbox::SandboxState::default();
    advance(&mut walker, 1);
    assert_eq!(walker.read_all(&ListQuery::token(&token)).records.len(), 2);
}

#[test]
fn a_change_feed_with_its_first_token_and_a_delta_link() {
    let mut feed = things(
        r#"pages = { kind = "cursor", next = "/next", param = "page", records = "/items" }
sample = '{"id": "{id}", "name": "Thing {n}"}'
[streams.t.token]
at = "/start"
path = "/changes"
query = { page = "{token}" }
first = { path = "/changes/start", at = "/start" }
records = ["/changes/*/thing"]
gone = { at = ["/changes/*"], when = { "/removed" = [true] }, key = ["/thingId"] }"#,
    );
    let token = feed.first_token();
    let all = feed.read_all(&ListQuery::default());
    assert_eq!((all.records.len(), all.token), (250, None));
    advance(&mut feed, 60);
    let news = feed.read_all(&ListQuery::token(&token));
    assert!(news.pages.len() > 1 && news.gone.len() >= 15, "{:?} {}", news.pages, news.gone.len());
    let after = feed.read_all(&ListQuery::default()).records;
    let mut store = feed.keys(&all.records);
    store.extend(feed.keys(&news.records));
    store.retain(|key| !news.gone.contains(key));
    assert_eq!(store, feed.keys(&after));
    let mut delta = things(
        r#"pages = { kind = "next_url", next = "/next", records = "/value" }
query = { from = "2026-01-01" }
token = { at = "/delta", url = true, expired = [410] }"#,
    );
    let token = delta.read_all(&ListQuery::default()).token.unwrap();
    assert!(token.starts_with("https://api.things.example/v1/things?from=2026-01-01&deltatoken="), "{token}");
    advance(&mut delta, 2);
    assert_eq!(delta.read_all(&ListQuery::token(&token)).records.len(), 4);
}

#[test]
fn children_agree_with_their_parents_and_details_are_whole() {
    let text = r#"
[streams.boards]
about = "x"
path = "/boards"
key = ["/id"]
sample = '{"id": "{n}", "slug": "board-{n}"}'
[streams.cards]
about = "x"
path = "/boards/{board}/cards"
key = ["/id"]
parents = [{ stream = "boards", values = { board = "/id" } }]
detail = { path = "/cards/{card}", values = { card = "/id" } }
sample = '{"id": "{uuid}", "board_id": "{board}", "title": "Card {n}"}'
"#;
    let bench = || TestEmulator::new(&format!("{FILE}{text}"), "key");
    let mut keys = std::collections::BTreeSet::new();
    for board in ["1", "2"] {
        let mut cards = TestPager::new(bench(), "cards", &[("board", board)]);
        let records = cards.read_all(&ListQuery::default()).records;
        assert!(records[0].get("title").is_none(), "the list tells ids alone");
        keys.extend(cards.keys(&records));
        let whole = cards.detail(&records[3]);
        assert_eq!(whole["id"], records[3]["id"]);
    }
    assert_eq!(keys.len(), 24, "no two boards share a card");
}

#[test]
fn what_was_acknowledged_is_forgotten() {
    let mut walker = things(
        r#"forgets = true
pages = { kind = "max_record", param = "offset", id = "/id", plus = 1, acknowledges = true, size_param = "limit", size = 100 }
sample = '{"id": "{n}"}'"#,
    );
    assert_eq!(walker.read_all(&ListQuery::default()).records.len(), 250);
    assert!(
        walker.read_all(&ListQuery::default()).records.is_empty(),
        "asking for the empty page acknowledged the last one"
    );
}

#[test]
fn faults_of_lists() {
    let rules = "pages = { kind = \"cursor\", next = \"/next\", param = \"page\", records = \"/items\" }";
    let mut walker = things(rules);
    fault(&mut walker, FaultKind::ServerError, 1);
    let wish = ListQuery::default();
    let (first, _) = walker.page(&wish, None);
    assert_eq!(first.status, 200);
    assert_eq!(walker.page(&wish, None).0.status, 503, "the one after is met");
    let cursor = body(&first)["next"].as_str().unwrap().to_owned();
    let turn = crate::api::PageToken::Query("page".to_owned(), cursor.clone());
    fault(&mut walker, FaultKind::ExpiredCursor, 0);
    assert_eq!(walker.page(&wish, None).0.status, 200, "the first page has no cursor");
    assert_eq!(walker.page(&wish, Some(&turn)).0.status, 410);
    fault(&mut walker, FaultKind::RepeatedCursor, 0);
    assert_eq!(body(&walker.page(&wish, Some(&turn)).0)["next"], cursor);
    fault(&mut walker, FaultKind::Truncated, 0);
    let (cut, _) = walker.page(&wish, Some(&turn));
    assert!(cut.status == 200 && serde_json::from_str::<Value>(&cut.body).is_err() && cut.body.len() > 100);
    fault(&mut walker, FaultKind::RateLimit, 0);
    assert_eq!(walker.page(&wish, None).0.status, 429);
    let turn = crate::api::PageToken::Query("page".to_owned(), "made-up".to_owned());
    assert_eq!(walker.page(&wish, Some(&turn)).0.status, 400);
    assert_eq!(walker.bench.get("/v1/things", &[]).status, 401);
}

/// Seconds of the fastest of five requests of a page.
fn page_secs(walker: &mut TestPager, page: u64) -> f64 {
    let turn = crate::api::PageToken::Query("page".to_owned(), page.to_string());
    let one = |_| {
        let watch = crate::clock::Stopwatch::start();
        let reply = walker.page(&ListQuery::default(), Some(&turn)).0;
        assert_eq!(body(&reply).as_array().map(Vec::len), Some(100), "page {page}");
        watch.elapsed().as_secs_f64()
    };
    (0..5).map(one).fold(f64::INFINITY, f64::min)
}

#[test]
fn page_1000_costs_what_page_1_costs_and_pages_leave_nothing_behind() {
    let mut walker = things("pages = { kind = \"page\", param = \"page\", size_param = \"limit\", size = 100 }");
    walker.state().set_records("t", 100_100);
    let first = page_secs(&mut walker, 1);
    let state = serde_json::to_string(walker.state()).unwrap();
    let last = page_secs(&mut walker, 1000);
    // A page that reads those before it takes hundreds of times as long; a busy machine makes a few times of it.
    assert!(last < 30.0 * first, "{last} s for page 1000, {first} s for page 1");
    for page in (2..1000).step_by(50) {
        page_secs(&mut walker, page);
    }
    assert_eq!(serde_json::to_string(walker.state()).unwrap(), state);
    assert_eq!(walker.bench.state.objects, crate::sandbox::objects::CreatedObjects::default());
}

#[test]
fn the_number_of_records_can_be_said() {
    let mut walker = things("pages = { kind = \"link_header\", size_param = \"limit\", size = 100 }");
    walker.state().set_records("t", 1234);
    let walked = walker.read_all(&ListQuery::default());
    assert_eq!((walked.pages.len(), walker.keys(&walked.records).len()), (13, 1234));
}
