//! What is asked for again, what is looked at, and what comes last of what is told at one time.

use std::cmp::Ordering;

use integ::clock::Timestamp;
use integ::connector::Catalogue;
use integ::sync::read_page;
use serde_json::{Value, json};

use super::service::{Asked, Reply, Service, connect, connected, keys, sync};
use crate::harness::Home;
use crate::push::send;
use crate::webhook::{Listening, home};

const MOMENT: i64 = 1_795_000_000_000;

/// A contact of HubSpot's, by its id and when it was changed.
fn contact(id: usize, at: i64) -> Value {
    let text = Timestamp::from_millisecond(at).unwrap().to_string();
    json!({
        "id": id.to_string(), "createdAt": text, "updatedAt": text, "archived": false,
        "properties": { "lastmodifieddate": text, "hs_object_id": id.to_string() },
    })
}

/// HubSpot's search: filters, one sort, and no more than 10,000 results of one question.
fn search(people: &[(usize, i64)], asked: &Asked) -> Reply {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let value = |(id, at): (usize, i64), name: &str| if name == "hs_object_id" { id as i64 } else { at };
    let holds = |person: (usize, i64), filter: &Value| {
        let wanted: i64 = text(&filter["value"]).parse().unwrap();
        let order = value(person, &text(&filter["propertyName"])).cmp(&wanted);
        match filter["operator"].as_str().unwrap() {
            "GTE" => order != Ordering::Less,
            "GT" => order == Ordering::Greater,
            "EQ" => order == Ordering::Equal,
            other => panic!("{other}"),
        }
    };
    let groups = asked.body["filterGroups"].as_array().cloned().unwrap_or_default();
    let fits = |person: &&(usize, i64)| {
        groups.iter().all(|group| group["filters"].as_array().unwrap().iter().all(|filter| holds(**person, filter)))
    };
    let mut found: Vec<(usize, i64)> = people.iter().filter(fits).copied().collect();
    let by = text(&asked.body["sorts"][0]["propertyName"]);
    found.sort_by_key(|person| value(*person, &by));
    let after: usize = asked.body["after"].as_str().map_or(0, |after| after.parse().unwrap());
    let limit = usize::try_from(asked.body["limit"].as_u64().unwrap()).unwrap();
    if after >= 10_000 {
        return Reply::raw(400, r#"{"status":"error","message":"There was a problem with the request."}"#);
    }
    let results: Vec<Value> = found.iter().skip(after).take(limit).map(|(id, at)| contact(*id, *at)).collect();
    let mut answer = json!({ "total": found.len(), "results": results });
    if after + limit < found.len() {
        answer["paging"] = json!({ "next": { "after": (after + limit).to_string() } });
    }
    Reply::json(&answer)
}

#[test]
fn field_11_more_changes_at_one_time_than_a_search_gives_are_all_synced() {
    // A bulk edit gave 11,000 of them one time, and some came before and after.
    let mut people: Vec<(usize, i64)> = (0..11_000).map(|id| (1000 + id, MOMENT)).collect();
    people.extend((0..300).map(|id| (20_000 + id, MOMENT - 60_000)));
    people.extend((0..300).map(|id| (30_000 + id, MOMENT + 1)));
    let count = people.len();
    let service = Service::start(move |asked| match asked.url.path() {
        "/account-info/v3/details" => Some(Reply::json(&json!({ "portalId": 1 }))),
        "/crm/v3/objects/contacts/search" => Some(search(&people, asked)),
        _ => None,
    });
    let home = Home::new();
    let line = format!("connect hubspot --auth token --with-token --origin {}", service.origin);
    connect(&home, &line, "pat-na1-00000000-0000-0000-0000-000000000000");
    let (report, code) = sync(&home, "hubspot/contacts");
    assert_eq!((code, report["added"].as_u64()), (0, Some(count as u64)), "{report}");
    assert_eq!(home.ok("records hubspot/contacts").lines().count(), count);
    let path = "/crm/v3/objects/contacts/search";
    assert!(service.asked(path).len() < 200, "{} requests for 58 pages", service.asked(path).len());
    // All of it lies within the lookback of the next sync, which ends all the same.
    service.forget();
    let (report, code) = sync(&home, "hubspot/contacts");
    assert_eq!((code, report["added"].as_u64(), report["changed"].as_u64()), (0, Some(0), Some(0)), "{report}");
    assert!(service.asked(path).len() < 200, "{} requests for 58 pages", service.asked(path).len());
}

#[test]
fn field_43_the_lookback_is_taken_once_in_a_sync() {
    // 400 records of one minute, within a lookback of ten: asked for again from each page's newest.
    let at = |id: usize| Timestamp::from_second(1_795_000_000 + (id / 10) as i64).unwrap();
    let service = Service::start(move |asked| {
        let since: Timestamp = asked.query("since").map_or(Timestamp::UNIX_EPOCH, |since| since.parse().unwrap());
        let page = asked.number("page", 1);
        let found: Vec<Value> = (0..400)
            .filter(|id| at(*id) >= since)
            .map(|id| json!({ "id": id, "updated_at": at(id).to_string() }))
            .collect();
        let items: Vec<&Value> = found.iter().skip((page - 1) * 20).take(20).collect();
        let more = page * 20 < found.len();
        Some(Reply::json(&json!({ "items": items, "more": more })))
    });
    let streams = r#"
[streams.items]
about = "x"
path = "/items"
records = ["/items"]
key = ["/id"]
pages = { kind = "page", param = "page", more = "/more" }
incremental = { at = "/updated_at", query = { since = "{since}" }, restart_after = 20, lookback = 600 }
"#;
    let home = connected(streams, &service);
    assert_eq!(sync(&home, "acme/items").0["added"], 400);
    service.forget();
    let (report, _) = sync(&home, "acme/items");
    assert_eq!((report["added"].as_u64(), report["changed"].as_u64()), (Some(0), Some(0)), "{report}");
    let asked = service.asked("/v1/items");
    let looked_back = asked.iter().filter(|asked| asked.query("since").is_some_and(|since| since < at(0).to_string()));
    assert_eq!(looked_back.count(), 1);
    assert!(asked.len() <= 42, "{} requests for 20 pages", asked.len());
}

#[test]
fn field_12_a_sync_says_which_threads_of_slack_it_does_not_look_at_and_leaves_parents_out() {
    let now = Timestamp::now().as_second();
    let ts = |days: i64| format!("{}.000100", now - days * 86_400);
    let first = ts(10);
    let begin = first.clone();
    let service = Service::start(move |asked| {
        Some(Reply::json(&match asked.url.path() {
            "/api/auth.test" => json!({ "ok": true, "team": "Acme", "team_id": "T1", "user_id": "U9" }),
            "/api/conversations.list" => json!({ "ok": true, "channels": [{ "id": "C1", "is_member": true }] }),
            "/api/conversations.history" => {
                let old = json!({ "text": "old", "ts": begin, "thread_ts": begin, "reply_count": 1 });
                let is_within = asked.query("oldest").is_none_or(|oldest| oldest <= begin);
                let recent = json!({ "text": "recent", "ts": format!("{now}.000100") });
                json!({ "ok": true, "messages": if is_within { vec![recent, old] } else { vec![recent] } })
            }
            "/api/conversations.replies" => json!({ "ok": true, "messages": [
                { "text": "old", "ts": begin, "thread_ts": begin, "reply_count": 1 },
                { "text": "answer", "ts": format!("{}.000100", now - 9 * 86_400), "thread_ts": begin },
            ] }),
            _ => return None,
        }))
    });
    let home = Home::new();
    let line = format!("connect slack --auth bot-token --with-token --origin {}", service.origin);
    connect(&home, &line, "xoxb-000000000000-000000000000-abcdefghijklmnopqrstuvwx");
    let ran = home.run("sync slack/messages slack/thread_replies");
    assert!(ran.code == 0 && !ran.stderr.contains("older"), "the first sync looks at everything: {ran:?}");
    let texts: Vec<String> = keys(&home, "slack/thread_replies")
        .values()
        .map(|record| record["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(texts, ["answer"], "the message that a thread begins with is one of `messages`");
    let ran = home.run("sync slack/messages slack/thread_replies");
    for said in [
        "slack/messages: messages older than three days were not checked again",
        "slack/thread_replies: threads that started more than three days ago were not checked",
        "`integ sync slack/messages --mode backfill --since 30d`",
    ] {
        assert!(ran.stderr.contains(said), "{said}: {ran:?}");
    }
    // The command that it names does look.
    service.forget();
    home.ok("sync slack/messages --mode backfill --since 30d");
    let asked = service.asked("/api/conversations.history");
    assert!(asked.iter().all(|asked| asked.query("oldest").unwrap() < first), "{asked:?}");
}

#[test]
fn field_14_an_edit_of_the_same_moment_does_not_bring_a_deleted_record_back() {
    let home = home(&["github"]);
    home.ok("sync github/issues");
    let issue: Value = serde_json::from_str(home.ok("records github/issues").lines().next().unwrap()).unwrap();
    let mut listening = Listening::start(&home, "github --sync", None);
    let url = listening.url("github");
    let repository: Vec<&str> = issue["repository_url"].as_str().unwrap().rsplit('/').take(2).collect();
    let mut tell = |action: &str, at: &str| {
        let mut issue = issue.clone();
        issue["updated_at"] = json!(at);
        issue["title"] = json!(format!("{action} {at}"));
        let (owner, name) = (repository[1], repository[0]);
        let body = json!({ "action": action, "issue": issue, "repository": {
            "id": 1, "name": name, "full_name": format!("{owner}/{name}"), "owner": { "login": owner, "id": 2 },
        } });
        send(&home, "github", &url, "issues", &body);
        listening.until("handled");
        home.ok("records github/issues").lines().any(|line| line.contains(&format!("\"id\":{}", issue["id"])))
    };
    let at = "2026-12-01T00:00:20Z";
    assert!(!tell("deleted", at));
    assert!(!tell("edited", at), "of the same second");
    assert!(!tell("edited", "2026-12-01T00:00:10Z"), "from before");
    assert!(tell("reopened", "2026-12-01T00:00:21Z"), "what is newer brings it back");
    assert!(tell("edited", "2026-12-01T00:00:30Z"));
    assert!(!tell("deleted", "2026-12-01T00:00:30Z"), "a deletion of the same second as an edit comes last");
}

#[test]
fn field_15_an_occurrence_that_was_called_off_is_a_record() {
    let connector = Catalogue::new(std::path::Path::new("/nonexistent")).get("google-calendar").unwrap();
    let events = json!({ "items": [
        { "id": "series", "calendarId": "c", "status": "confirmed", "recurrence": ["RRULE:FREQ=WEEKLY"] },
        { "id": "series_20261201", "calendarId": "c", "status": "cancelled", "recurringEventId": "series",
          "originalStartTime": { "dateTime": "2026-12-01T09:00:00Z" } },
        { "id": "single", "calendarId": "c", "status": "cancelled" },
    ] });
    let records = read_page(&connector.streams["events"], events.to_string().as_bytes()).unwrap();
    let deleted: Vec<bool> = records.iter().map(|record| record.is_deleted).collect();
    assert_eq!(deleted, [false, false, true]);
}

#[test]
fn field_47_gmail_reads_messages_as_fast_as_its_quota_units_allow() {
    let connector = Catalogue::new(std::path::Path::new("/nonexistent")).get("gmail").unwrap();
    let budget = connector.rate.budget.unwrap();
    let cost = |own| f64::from(connector.rate.cost_of(own));
    // Google's limit is 6000 units a minute: what is saved up and what comes back within one stay below it.
    assert!(budget.burst.unwrap() + budget.units * 60 / budget.secs <= 6000);
    let messages = f64::from(budget.units) / f64::from(budget.secs) / cost(connector.streams["messages"].cost);
    assert!(50_000.0 / messages < 45.0 * 60.0, "{messages} messages a second");
    assert!((cost(connector.actions["messages.send"].cost) - 100.0).abs() < 0.1);
}

#[test]
fn field_user_b5_a_sync_where_every_stream_is_left_out_fails_and_says_why_on_stderr() {
    let home = Home::new();
    home.ok("connect slack --sandbox --scope chat:write");
    let ran = home.run("sync slack");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(
        ran.stderr.contains("slack/channels: slack lacks the scopes that channels needs: channels:read"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("hint: integ reconnect slack"), "{ran:?}");
    assert!(ran.stdout.contains("not started") && !ran.stdout.contains("lacks the scopes"), "{ran:?}");
    // One that can be synced makes it a success.
    home.ok("connect slack --sandbox --scope channels:read --as other");
    assert_eq!(home.run("sync slack@other").code, 0);
    assert_eq!(home.run("sync").code, 8, "all of one connection failed");
}
