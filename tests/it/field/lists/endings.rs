//! Answers that are no list, pages that are short or repeated, and links that lead elsewhere.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::service::{Reply, Service, connect, connected, items, keys, sync};
use crate::harness::{Home, finish};

const ITEMS: &str = r#"
[streams.items]
about = "x"
path = "/items"
records = ["/items"]
key = ["/id"]
"#;

/// A service with one list, whose answer the test changes.
fn one_answer(pages: &str) -> (Home, Service, Arc<Mutex<Reply>>) {
    let answer = Arc::new(Mutex::new(Reply::json(&json!({ "items": items(120) }))));
    let given = Arc::clone(&answer);
    let service = Service::start(move |_| Some(given.lock().unwrap().clone()));
    let home = connected(&format!("{ITEMS}pages = {{ {pages} }}"), &service);
    let (report, code) = sync(&home, "acme/items");
    assert_eq!((report["added"].as_u64(), code), (Some(120), 0), "{report}");
    (home, service, answer)
}

#[test]
fn field_01_an_answer_that_is_not_a_list_keeps_every_record() {
    let (home, _service, answer) = one_answer("kind = \"none\"");
    for (reply, code, error) in [
        (Reply::json(&json!({ "error": "maintenance" })), "not_a_list", "maintenance"),
        (Reply::json(&json!({ "items": [], "error": { "message": "maintenance" } })), "not_a_list", "maintenance"),
        (Reply::json(&json!({ "items": items(3), "errors": ["partial"] })), "not_a_list", "`errors`"),
        (Reply::json(&json!({ "items": null })), "not_a_list", "null at \"/items\""),
        (Reply::json(&json!({ "data": [{ "id": "0" }] })), "not_a_list", "nothing at \"/items\""),
        (Reply::json(&json!({ "items": { "message": "moved" } })), "not_a_list", "an object at \"/items\""),
        (Reply::json(&json!({ "items": { "id": "0" } })), "not_a_list", "an object at \"/items\""),
        (Reply::json(&json!({ "items": "none" })), "not_a_list", "a string at \"/items\""),
        (Reply::json(&Value::Null), "not_a_list", "nothing at \"/items\""),
        (Reply::raw(204, ""), "not_a_list", "an empty answer of status 204"),
        (Reply::raw(200, ""), "not_a_list", "an empty answer of status 200"),
    ] {
        let what = format!("{reply:?}");
        *answer.lock().unwrap() = reply;
        for mode in ["incremental", "full"] {
            let (report, exit) = sync(&home, &format!("acme/items --mode {mode}"));
            assert_eq!(
                (exit, report["status"].as_str(), report["error_code"].as_str()),
                (1, Some("failed"), Some(code)),
                "{what}"
            );
            assert!(report["error"].as_str().unwrap().contains(error), "{what}: {report}");
            assert_eq!(keys(&home, "acme/items").len(), 120, "{what}");
        }
    }
    let job = &home.json("job list")["jobs"][0];
    assert_eq!((&job["status"], &job["error_code"]), (&json!("failed"), &json!("not_a_list")));
    // An empty list at its place is another matter.
    *answer.lock().unwrap() = Reply::json(&json!({ "items": [] }));
    let (report, _) = sync(&home, "acme/items --allow-deletes");
    assert_eq!((report["deleted"].as_u64(), report["status"].as_str()), (Some(120), Some("done")), "{report}");
}

#[test]
fn field_01_a_list_that_is_not_ready_is_asked_for_again_within_limits() {
    let (home, service, answer) = one_answer("kind = \"none\"");
    service.forget();
    *answer.lock().unwrap() = Reply::raw(202, "{}");
    let (report, code) = sync(&home, "acme/items");
    assert_eq!((code, report["error_code"].as_str()), (5, Some("not_ready")), "{report}");
    assert_eq!(service.asked("/v1/items").len(), 6);
    assert_eq!(keys(&home, "acme/items").len(), 120);
    *answer.lock().unwrap() = Reply::raw(202, "").with("retry-after", "3600");
    service.forget();
    assert_eq!(sync(&home, "acme/items").0["error_code"], "not_ready", "an hour is not waited for");
    assert_eq!(service.asked("/v1/items").len(), 1);
}

#[test]
fn field_01_a_service_that_leaves_empty_lists_out_says_what_marks_them() {
    let answer = Arc::new(Mutex::new(json!({ "items": items(5), "total": 5 })));
    let given = Arc::clone(&answer);
    let service = Service::start(move |_| Some(Reply::json(&given.lock().unwrap())));
    let rules = "empty = { \"/total\" = [0] }\nskip = [{ status = [204] }]\npages = { kind = \"none\" }";
    let home = connected(&format!("{ITEMS}{rules}"), &service);
    assert_eq!(sync(&home, "acme/items").0["added"], 5);
    *answer.lock().unwrap() = json!({ "total": 3 });
    assert_eq!(sync(&home, "acme/items").0["error_code"], "not_a_list");
    *answer.lock().unwrap() = json!({ "total": 0 });
    let (report, code) = sync(&home, "acme/items");
    assert_eq!((report["deleted"].as_u64(), code), (Some(5), 0), "{report}");
}

#[test]
fn field_01_a_sweep_of_more_than_half_asks_first() {
    let (home, _service, answer) = one_answer("kind = \"none\"");
    let hook = home.path().join("told");
    let command = format!("tee -a {}", hook.display());
    assert_eq!(finish(home.command(["config", "set", "notify.command", &command])).code, 0);
    *answer.lock().unwrap() = Reply::json(&json!({ "items": items(59) }));
    for _ in 0..2 {
        let (report, code) = sync(&home, "acme/items");
        assert_eq!(
            (code, report["error_code"].as_str(), report["deleted"].as_u64()),
            (1, Some("deletes_blocked"), Some(0)),
            "{report}"
        );
        assert_eq!(
            report["error"],
            "61 of 120 records of acme/items are missing from the service's list; none was marked as deleted"
        );
        assert_eq!(keys(&home, "acme/items").len(), 120);
    }
    let job = home.json("job list")["jobs"][0].clone();
    assert_eq!((&job["status"], &job["error_code"]), (&json!("failed"), &json!("deletes_blocked")));
    let retry = format!("job retry {} --allow-deletes", job["id"]);
    assert_eq!(
        sync(&home, "acme/items").0["hint"],
        format!("integ job retry {} --allow-deletes", job["id"].as_i64().unwrap() + 1)
    );
    home.ok(&retry);
    assert_eq!(keys(&home, "acme/items").len(), 59);
    assert_eq!(home.json("job list")["jobs"][0]["status"], "done");
    // Half is not more than half.
    *answer.lock().unwrap() = Reply::json(&json!({ "items": items(30) }));
    assert_eq!(sync(&home, "acme/items").0["deleted"], 29);
    *answer.lock().unwrap() = Reply::json(&json!({ "items": items(20) }));
    assert_eq!(sync(&home, "acme/items").0["deleted"], 10);
    *answer.lock().unwrap() = Reply::json(&json!({ "items": items(0) }));
    assert_eq!(sync(&home, "acme/items").0["deleted"], 20, "a small stream is swept whatever it takes");
    let told = std::fs::read_to_string(hook).unwrap();
    assert_eq!(told.matches("\"stream.deletes_blocked\"").count(), 1, "once, when it began: {told}");
}

/// A service of 120 records in pages of 50, of which `cut` makes another.
fn paged(rules: &str, cut: impl Fn(Vec<Value>, usize) -> Vec<Value> + Send + Sync + 'static) -> (Home, Service) {
    let service = Service::start(move |asked| {
        let page = asked.number("page", 1);
        let all = items(120);
        let records = all.iter().skip((page - 1) * 50).take(50).cloned().collect();
        Some(Reply::json(&json!({ "items": cut(records, page) })))
    });
    (connected(&format!("{ITEMS}pages = {{ {rules} }}"), &service), service)
}

const BY_PAGE: &str = r#"kind = "page", param = "page", size_param = "per_page", size = 50"#;

#[test]
fn field_02_a_short_page_is_not_the_end_of_a_list() {
    let short = Arc::new(Mutex::new(false));
    let is_short = Arc::clone(&short);
    let (home, service) = paged(BY_PAGE, move |mut records, page| {
        if *is_short.lock().unwrap() && page == 1 {
            records.pop();
        }
        records
    });
    assert_eq!(sync(&home, "acme/items").0["added"], 120);
    *short.lock().unwrap() = true;
    service.forget();
    let (report, code) = sync(&home, "acme/items");
    assert_eq!((code, report["deleted"].as_u64()), (0, Some(1)), "the hidden one alone: {report}");
    let asked: Vec<usize> = service.asked("/v1/items").iter().map(|asked| asked.number("page", 1)).collect();
    assert_eq!(asked, [1, 2, 3, 4, 1, 2, 3, 4], "an empty page is the end, and what is missing is looked for again");
}

#[test]
fn field_02_a_cap_on_the_size_of_pages_does_not_end_a_list() {
    // As Jira's users: 1000 are asked for, and 50 come.
    let service = Service::start(|asked| match asked.url.path() {
        "/rest/api/3/myself" => Some(Reply::json(&json!({ "accountId": "1", "displayName": "A" }))),
        "/rest/api/3/users/search" => {
            let start = asked.number("startAt", 0);
            let users = (0..120).map(|id| json!({ "accountId": id.to_string() })).skip(start).take(50);
            Some(Reply::json(&users.collect()))
        }
        _ => None,
    });
    let home = Home::new();
    let line = format!("connect jira --auth api-token --with-token --origin {} --param site=acme", service.origin);
    connect(&home, &format!("{line} --param email=a@b.example"), "let-me-in-please");
    assert_eq!(sync(&home, "jira/users").0["added"], 120);
}

#[test]
fn field_03_a_service_that_repeats_its_last_page_ends_with_an_error() {
    let service = Service::start(|asked| {
        let page = asked.number("page", 1).min(3);
        let all = items(120);
        Some(Reply::json(&json!({ "items": all.iter().skip((page - 1) * 40).take(40).collect::<Vec<_>>() })))
    });
    let home = connected(&format!("{ITEMS}pages = {{ kind = \"page\", param = \"page\" }}"), &service);
    let (report, code) = sync(&home, "acme/items");
    assert_eq!((code, report["error_code"].as_str()), (1, Some("repeated_page")), "{report}");
    assert_eq!(keys(&home, "acme/items").len(), 120);
    assert!(service.asked("/v1/items").len() <= 14, "{} requests for 3 pages", service.asked("/v1/items").len());
    // Nor does it go on where it stopped, for ever.
    service.forget();
    assert_eq!(sync(&home, "acme/items --mode full").0["error_code"], "repeated_page");
    assert!(service.asked("/v1/items").len() <= 14);
    let ran = home.run("api acme /items --paginate --json");
    assert_eq!(ran.error_code(), "", "without [api.pages] a Link header is followed: {ran:?}");
}

#[test]
fn field_03_a_service_that_ignores_the_offset_marks_nothing_as_deleted() {
    let ignores = Arc::new(Mutex::new(false));
    let is_ignored = Arc::clone(&ignores);
    let service = Service::start(move |asked| {
        let offset = if *is_ignored.lock().unwrap() { 0 } else { asked.number("offset", 0) };
        let all = items(120);
        let page: Vec<&Value> = all.iter().skip(offset).take(50).collect();
        Some(Reply::json(&json!({ "items": page, "total": 150 })))
    });
    let rules = "pages = { kind = \"offset\", param = \"offset\", total = \"/total\" }";
    let home = connected(&format!("{ITEMS}{rules}"), &service);
    assert_eq!(sync(&home, "acme/items").0["added"], 120);
    *ignores.lock().unwrap() = true;
    for mode in ["incremental", "full"] {
        // Three pages of fifty are as many as it says there are.
        let (report, code) = sync(&home, &format!("acme/items --mode {mode}"));
        assert_eq!((code, report["error_code"].as_str()), (1, Some("repeated_page")), "{report}");
        assert_eq!(keys(&home, "acme/items").len(), 120);
    }
    *ignores.lock().unwrap() = false;
    assert_eq!(sync(&home, "acme/items").0["status"], "done");
}

#[test]
fn field_37_a_next_link_to_plain_http_is_followed_by_https_and_a_foreign_one_is_not() {
    let link = Arc::new(Mutex::new("http://api.acme.example/v1/items?page=2".to_owned()));
    let next = Arc::clone(&link);
    let service = Service::start(move |asked| {
        Some(Reply::json(&match asked.query("page") {
            Some(_) => json!({ "items": [{ "id": "3" }] }),
            None => json!({ "items": [{ "id": "1" }, { "id": "2" }], "next": *next.lock().unwrap() }),
        }))
    });
    let home = connected(&format!("{ITEMS}pages = {{ kind = \"next_url\", next = \"/next\" }}"), &service);
    let (report, code) = sync(&home, "acme/items");
    assert_eq!((code, report["added"].as_u64()), (0, Some(3)), "{report}");
    for (target, said) in [
        ("http://api.acme.example:8080/v1/items?page=2", "http://api.acme.example:8080 is not a host of Acme"),
        ("http://other.example/v1/items?page=2", "http://other.example is not a host of Acme"),
    ] {
        link.lock().unwrap().clear();
        link.lock().unwrap().push_str(target);
        for _ in 0..2 {
            let (report, code) = sync(&home, "acme/items --mode full");
            assert_eq!((code, report["error_code"].as_str()), (2, Some("foreign_host")), "{report}");
            assert!(report["error"].as_str().unwrap().contains(said), "{report}");
            assert_eq!(keys(&home, "acme/items").len(), 3);
        }
    }
    // A link that was refused once is not asked for again when the service gives a good one.
    *link.lock().unwrap() = "/v1/items?page=2".to_owned();
    let (report, code) = sync(&home, "acme/items --mode full");
    assert_eq!((code, report["unchanged"].as_u64()), (0, Some(3)), "{report}");
}

#[test]
fn field_50_a_stream_whose_every_list_is_refused_is_skipped_and_not_done() {
    let refused = Arc::new(Mutex::new(vec!["1", "2"]));
    let is_refused = Arc::clone(&refused);
    let service = Service::start(move |asked| match asked.url.path() {
        "/v1/items" => Some(Reply::json(&json!({ "items": [{ "id": "1" }, { "id": "2" }] }))),
        path => {
            let item = path.split('/').nth(3).unwrap().to_owned();
            (!is_refused.lock().unwrap().contains(&item.as_str()))
                .then(|| Reply::json(&json!({ "notes": [{ "id": "n" }] })))
        }
    });
    let notes = r#"
[streams.notes]
about = "x"
path = "/items/{item}/notes"
records = ["/notes"]
key = ["/item", "/id"]
add = { item = "{item}" }
pages = { kind = "none" }
parents = [{ stream = "items", values = { item = "/id" } }]
skip = [{ status = [404] }]
"#;
    let home = connected(&format!("{ITEMS}pages = {{ kind = \"none\" }}{notes}"), &service);
    let ran = home.run("sync acme");
    assert_eq!(ran.code, 0, "the other stream was synced: {ran:?}");
    assert!(ran.stdout.contains("skipped"), "{ran:?}");
    assert!(ran.stderr.contains("acme/notes: the service does not allow access to any of its 2 lists"), "{ran:?}");
    let job = &home.json("job list --limit 1")["jobs"][0];
    assert_eq!((&job["stream"], &job["status"]), (&json!("notes"), &json!("skipped")));
    refused.lock().unwrap().pop();
    let ran = home.run("sync acme/notes");
    assert!(ran.code == 0 && ran.stderr.contains("does not allow access to 1 list."), "{ran:?}");
    assert_eq!(keys(&home, "acme/notes").len(), 1);
}

#[test]
fn field_50_a_dry_run_shows_where_requests_lead() {
    let service = Service::start(|_| None);
    let actions = "[actions.\"items.create\"]\nabout = \"x\"\npath = \"/items\"\n[actions.\"items.create\".params]\nname = { about = \"x\" }\n";
    let home =
        connected(&format!("{ITEMS}query = {{ state = \"all\" }}\npages = {{ kind = \"none\" }}\n{actions}"), &service);
    let planned = &home.json("sync acme --dry-run")["streams"][0];
    assert_eq!(
        planned["request"],
        format!("GET {}/v1/items?state=all", service.origin),
        "b10: a filter is not a secret"
    );
    let call = home.json("call acme items.create name=x --dry-run");
    assert_eq!(call["url"], format!("{}/v1/items", service.origin));
    home.ok("connect acme --sandbox --as trial");
    let planned = &home.json("sync acme@trial --dry-run")["streams"][0];
    assert_eq!(planned["request"], "GET https://sandbox.invalid/v1/items?state=all");
    let ran = home.run("sync acme -vvv");
    assert!(!ran.stderr.contains("kkkkkkkk"), "{ran:?}");
    assert!(service.asked("/v1/items").len() == 1);
}
