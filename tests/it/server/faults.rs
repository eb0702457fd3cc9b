//! Faults 92 to 94, 96, 98 and 99 of the fault list over HTTP; 95 is in `api_token`, 97 in `floods`.

use std::path::Path;

use serde_json::{Value, json};

use super::client::{Client, Reply};
use super::rights::operations;
use super::{Server, expect, home, token};
use crate::attack::clocks::faketime;
use crate::harness::{Home, Running};
use crate::vault;

/// Fails unless the reply is a refusal with this status and code.
fn assert_refused(what: &str, reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.code()), (status, code), "{what}: {reply:?}");
}

#[test]
fn fault_092_a_foreign_host_or_origin_is_refused_by_every_operation() {
    let home = home(&["slack"]);
    let everything = token(&home, "everything", "--scope admin:* --scope tokens:reveal --tier enterprise");
    let server = Server::start(&home, "");
    let api = server.client(&everything);
    let port = server.url.rsplit(':').next().unwrap();
    let hosts = ["evil.example".to_owned(), format!("evil.example:{port}"), format!("127.0.0.1.evil.example:{port}")];
    let origins = ["null", "http://evil.example", "https://localhost", "http://127.0.0.1:1", "file://"];
    for (number, operation) in operations(&api).iter().enumerate() {
        let what = format!("{} {}", operation.method, operation.path);
        // Each operation with one of each; together all with all.
        let host = &hosts[number % hosts.len()];
        assert_refused(&what, &operation.send(&api, "slack", &[("host", host)]), 403, "foreign_host");
        let origin = origins[number % origins.len()];
        assert_refused(&what, &operation.send(&api, "slack", &[("origin", origin)]), 403, "foreign_origin");
    }
    // Pages without a token judge the host as well: they show what is installed here.
    for path in ["/docs", "/openapi.json", "/v1/health/live"] {
        assert_refused(path, &api.send("GET", path, &[("host", &hosts[1])], None), 403, "foreign_host");
    }
    assert_eq!(home.json("status")["summary"]["total"], 1);
}

#[test]
fn fault_093_without_a_token_nothing_is_answered_on_loopback_either() {
    let home = home(&["slack"]);
    let server = Server::start(&home, "");
    let anonymous = Client::new(&server.url, None);
    for operation in operations(&anonymous) {
        let what = format!("{} {}", operation.method, operation.path);
        let reply = operation.send(&anonymous, "slack", &[]);
        assert_refused(&what, &reply, 401, "no_token");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"integ\""), "{what}");
        for value in ["Basic aW50ZWc6aW50ZWc=", "Bearer", "Bearer ", "integ_x"] {
            let reply = operation.send(&anonymous, "slack", &[("authorization", value)]);
            assert_eq!(reply.status, 401, "{what} with {value:?}: {reply:?}");
        }
    }
    assert_refused("an unknown path", &anonymous.get("/v1/nothing"), 401, "no_token");
}

#[test]
fn fault_094_another_workspace_is_as_absent_as_what_was_never_there() {
    let home = home(&["slack"]);
    home.ok("workspace create other");
    home.ok("-w other connect github --sandbox");
    let own = token(&home, "own", "--scope admin:* --scope tokens:reveal --tier enterprise");
    let narrow = token(&home, "narrow", "--scope webhooks:simulate --tier enterprise");
    let server = Server::start(&home, "--all-workspaces");
    let api = server.client(&own);
    for operation in operations(&api) {
        let what = format!("{} {}", operation.method, operation.path);
        if operation.scope != "webhooks:simulate" {
            let reply = operation.send(&server.client(&narrow), "slack", &[]);
            assert_refused(&what, &reply, 403, "missing_scope");
        }
        if operation.path.contains("{connection}") {
            // `github` is in the other workspace, `gitlab` in none.
            let [other, absent] = ["github", "gitlab"].map(|name| {
                let reply = operation.send(&api, name, &[]);
                (reply.status, String::from_utf8(reply.body).unwrap().replace(name, "C"))
            });
            assert_eq!(other, absent, "{what}");
            assert!(matches!(other.0, 400 | 404), "{what}: {other:?}");
        }
    }
    // A token of the other workspace sees only that one.
    let foreign = home.ok("-w other api-token create foreign --scope connections:read");
    let listed = expect(&server.client(foreign.trim()).get("/v1/connections"), 200);
    let names: Vec<&Value> = listed["data"].as_array().unwrap().iter().map(|one| &one["connection"]).collect();
    assert_eq!(names, ["github"]);
}

/// A server whose clock stands still at the time in a file.
fn server_at(home: &Home, library: &Path, clock: &Path) -> (Running, String) {
    let mut command = home.command(["serve", "--bind", "127.0.0.1:0", "--json"]);
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("NO_FAKE_STAT", "1");
    let mut running = Running::start(command);
    let url = running.event()["url"].as_str().unwrap().to_owned();
    (running, url)
}

/// Sends two requests from each of 64 clients at once, and returns how many were admitted.
fn admitted_of_128(url: &str, token: &str) -> usize {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..64)
            .map(|_| {
                let api = Client::new(url, Some(token));
                scope.spawn(move || [(); 2].map(|()| api.get("/v1/status").status))
            })
            .collect();
        let statuses: Vec<u16> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
        statuses.iter().filter(|status| **status == 200).count()
    })
}

/// Each window is filled by 64 clients in its first second. In its last second nothing more is admitted; a second later,
/// exactly a window after the first requests, as many as the limit allows.
#[test]
fn fault_096_the_limit_is_exact_at_the_boundary_of_ten_windows() {
    let Some(library) = faketime() else { return };
    let home = home(&[]);
    let text = token(&home, "free", "--scope connections:read");
    let clock = home.path().join("clock");
    let start = jiff::Timestamp::now().as_second() + 60;
    let set = |second: i64| {
        let at = jiff::Timestamp::from_second(start + second).unwrap().to_zoned(jiff::tz::TimeZone::system());
        // A reader must not find half of it.
        let next = home.path().join("clock.next");
        std::fs::write(&next, at.strftime("%Y-%m-%d %H:%M:%S\n").to_string()).unwrap();
        std::fs::rename(&next, &clock).unwrap();
    };
    set(0);
    let (_server, url) = server_at(&home, &library, &clock);
    for window in 0..10 {
        set(window * 60);
        assert_eq!(admitted_of_128(&url, &text), 60, "at the beginning of window {window}");
        set(window * 60 + 59);
        assert_eq!(admitted_of_128(&url, &text), 0, "at the end of window {window}");
    }
}

/// Every entry fails to be written while this lasts, as on a full disk.
struct AuditFailure<'a>(&'a Home);

impl<'a> AuditFailure<'a> {
    fn begin(home: &'a Home) -> Self {
        let sql = match home.is_in_postgres() {
            true => {
                "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN RAISE EXCEPTION 'the disk is full'; END $$;
                 CREATE TRIGGER disk_full BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION disk_full()"
            }
            false => {
                "CREATE TRIGGER disk_full BEFORE INSERT ON audit_entries
                     BEGIN SELECT RAISE(FAIL, 'the disk is full'); END"
            }
        };
        vault::execute(home, sql);
        Self(home)
    }
}

impl Drop for AuditFailure<'_> {
    fn drop(&mut self) {
        let sql = match self.0.is_in_postgres() {
            true => "DROP FUNCTION disk_full CASCADE",
            false => "DROP TRIGGER disk_full",
        };
        vault::execute(self.0, sql);
    }
}

#[test]
fn fault_098_what_cannot_be_recorded_is_neither_done_nor_returned() {
    let home = home(&["slack"]);
    let everything = token(&home, "everything", "--scope admin:* --scope tokens:reveal --tier enterprise");
    let server = Server::start(&home, "");
    let api = server.client(&everything);
    let endpoint = json!({ "url": "https://example.com/hook" });
    expect(&api.get("/v1/connections"), 200);
    let failure = AuditFailure::begin(&home);
    let mut checked = 0;
    for operation in operations(&api) {
        let reply = operation.send(&api, "slack", &[]);
        // What is refused for its form, or since nothing has such a name, has done nothing.
        assert!(reply.status >= 400, "{} {}: {reply:?}", operation.method, operation.path);
        let text = String::from_utf8_lossy(&reply.body);
        assert!(!text.contains("xoxb-"), "{} {} returns a token", operation.method, operation.path);
        checked += u32::from(matches!(reply.code(), "audit_failed" | "audit_unavailable"));
    }
    assert!(checked > 20, "{checked} operations were refused for their entry");
    for reply in [api.get("/v1/connections"), api.post("/v1/endpoints", &endpoint)] {
        assert!(matches!(reply.code(), "audit_failed" | "audit_unavailable"), "{reply:?}");
    }
    drop(failure);
    assert_eq!(expect(&api.get("/v1/endpoints"), 200)["data"], json!([]), "nothing was added");
    assert_eq!(home.json("status")["summary"]["total"], 1);
    expect(&api.post("/v1/endpoints", &endpoint), 201);
    assert_eq!(expect(&api.post("/v1/audit-verifications", &json!({})), 200)["problems"], json!([]));
}

#[test]
fn fault_099_an_edited_removed_reordered_or_truncated_row_is_found_over_http() {
    let swap = "UPDATE audit_entries SET sequence = 99999 WHERE sequence = 4; \
                UPDATE audit_entries SET sequence = 4 WHERE sequence = 5; \
                UPDATE audit_entries SET sequence = 5 WHERE sequence = 99999";
    for (sql, kind) in [
        ("UPDATE audit_entries SET operation = 'status' WHERE sequence = 4", "edited"),
        ("UPDATE audit_entries SET at = at + 1 WHERE sequence = 4", "edited"),
        ("DELETE FROM audit_entries WHERE sequence = 4", "removed"),
        (swap, "reordered"),
        ("DELETE FROM audit_entries WHERE sequence > 4", "truncated"),
    ] {
        let home = home(&["slack"]);
        let everything = token(&home, "everything", "--scope admin:* --tier enterprise");
        let server = Server::start(&home, "");
        let api = server.client(&everything);
        for _ in 0..4 {
            expect(&api.get("/v1/status"), 200);
        }
        assert_eq!(expect(&api.post("/v1/audit-verifications", &json!({})), 200)["problems"], json!([]));
        vault::execute(&home, sql);
        let found = expect(&api.post("/v1/audit-verifications", &json!({})), 200);
        assert_eq!(found["problems"][0]["kind"], kind, "{sql}: {found}");
        assert_eq!(home.run("audit verify").code, 6, "{sql}");
    }
}
