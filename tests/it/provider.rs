//! What providers do wrong at the token, revocation and device endpoints, and what a user then sees.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fake::{CONNECTOR, FakeProvider, Trouble};
use crate::flow::{Flow, connect_line, connected, home};
use crate::harness::{Home, Running};

fn status(home: &Home) -> Value {
    home.json("status")["connections"][0].clone()
}

/// A refresh that must fail with this exit code and error code.
fn fails(home: &Home, code: i32, error: &str) -> String {
    let ran = home.run("refresh fake --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (code, error), "{ran:?}");
    ran.stderr
}

/// The grant that was there before is still there, and works.
fn is_kept(home: &Home) {
    assert_ne!(status(home)["status"], "needs_reauth");
    home.ok("refresh fake");
    let kept = status(home);
    assert_eq!((kept["status"].as_str(), kept["reason"].as_str()), (Some("active"), None), "{kept}");
}

#[test]
fn fault_013_lifetimes_of_every_kind_are_tolerated_and_bounded() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let year = 366 * 86_400;
    for (written, least, most) in [
        (json!("3600"), 3590, 3600),
        // What is no lifetime leaves the last one in force, or the token would never fall due again.
        (json!(0), 3590, 3600),
        (json!(-1), 3590, 3600),
        (Value::Null, 3590, 3600),
        (json!(1e99), year - 10, year),
    ] {
        provider.trouble("/token", [Trouble::Edit(json!({ "expires_in": written }))]);
        home.ok("refresh fake");
        let left = status(&home)["expires_in"].as_i64().unwrap_or(0);
        assert!((least..=most).contains(&left), "{written}: {left}");
        let given = provider.state().given.last().cloned();
        assert_eq!(Some(home.ok("token fake")), given, "{written}: no lifetime is no reason to refresh at once");
    }
    assert_eq!(provider.state().doubles(), Vec::<&String>::new());
}

#[test]
fn fault_014_a_token_of_another_type_is_refused_and_a_bearer_in_any_case_taken() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    for kind in [json!("bearer"), json!("BEARER"), Value::Null] {
        provider.trouble("/token", [Trouble::Edit(json!({ "token_type": kind }))]);
        home.ok("refresh fake");
    }
    provider.trouble("/token", [Trouble::json(200, &json!({ "access_token": "x", "token_type": "DPoP" }))]);
    fails(&home, 1, "malformed_response");
    is_kept(&home);
}

#[test]
fn fault_015_a_narrowed_grant_shows_what_is_missing_and_a_widened_one_does_not() {
    let provider = FakeProvider::start();
    provider.trouble("/token", [Trouble::Edit(json!({ "scope": "read" }))]);
    let home = home();
    let connection = Flow::start(&home, &connect_line(&provider)).allow();
    assert_eq!((&connection["scopes"], &connection["missing_scopes"]), (&json!(["read"]), &json!(["write"])));
    assert_eq!(home.json("test")["tests"][0]["missing_scopes"], json!(["write"]));
    provider.trouble("/token", [Trouble::Edit(json!({ "scope": "read write admin" }))]);
    home.ok("refresh fake");
    let widened = status(&home);
    assert_eq!((&widened["scopes"], &widened["missing_scopes"]), (&json!(["read", "write", "admin"]), &json!([])));
}

#[test]
fn fault_016_an_omitted_refresh_token_keeps_the_old_one() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.trouble("/token", [Trouble::json(200, &json!({ "access_token": "kept", "expires_in": 3600 }))]);
    home.ok("refresh fake");
    assert_eq!(home.ok("token fake"), "kept");
    home.ok("refresh fake");
    let state = provider.state();
    let presented = state.asked.iter().filter_map(|message| message.form().remove("refresh_token"));
    assert_eq!(presented.collect::<Vec<_>>(), ["refresh-2", "refresh-2"], "the first answer left it in force");
}

/// Sixteen megabytes of spaces in sixteen kilobytes: one literal, then copies of 258 bytes of the byte before, in a
/// single block of fixed codes (RFC 1951 section 3.2.6). The checksum at the end is never reached.
fn gzip_bomb() -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut bits: Vec<bool> = Vec::new();
    let mut push = |code: u32, length: u32| bits.extend((0..length).rev().map(|at| code >> at & 1 == 1));
    push(0b1, 1);
    // The kind of block is written lowest bit first: 01.
    push(0b10, 2);
    push(0x30 + 0x20, 8);
    for _ in 0..16 * 1024 * 1024 / 258 {
        push(0b1100_0101, 8);
        push(0, 5);
    }
    push(0, 7);
    for chunk in bits.chunks(8) {
        bytes.push(chunk.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << at));
    }
    bytes.extend([0; 8]);
    bytes
}

#[test]
fn fault_017_what_is_no_token_answer_is_a_typed_error_and_the_old_grant_stays() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let html = vec![("content-type", "text/html".to_owned())];
    let zipped = vec![("content-type", "application/json".to_owned()), ("content-encoding", "gzip".to_owned())];
    for (trouble, error) in [
        (Trouble::Instead(200, html.clone(), b"<html>Welcome to our hotel's network".to_vec()), "malformed_response"),
        (Trouble::Instead(200, html, Vec::new()), "malformed_response"),
        (Trouble::json(200, &json!([])), "malformed_response"),
        (Trouble::json(200, &json!({ "access_token": "" })), "malformed_response"),
        (Trouble::json(200, &json!({ "access_token": "a\nb" })), "malformed_response"),
        (Trouble::json(200, &json!({ "error": "invalid_scope" })), "oauth_error"),
        (
            Trouble::Instead(200, Vec::new(), br#"{"access_token":"a","access_token":"b"}"#.to_vec()),
            "malformed_response",
        ),
        (Trouble::Instead(200, Vec::new(), vec![b' '; 11 * 1024 * 1024]), "answer_too_large"),
        (Trouble::Instead(200, zipped, gzip_bomb()), "answer_too_large"),
    ] {
        provider.trouble("/token", [trouble]);
        fails(&home, 1, error);
        is_kept(&home);
    }
    assert_eq!(provider.state().doubles(), Vec::<&String>::new());
}

#[test]
fn fault_018_a_refused_grant_needs_a_person_and_is_not_presented_again() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.trouble("/token", [Trouble::error("invalid_grant")]);
    let stderr = fails(&home, 4, "needs_reauth");
    assert!(!stderr.contains('\u{1b}'), "fault 11: escapes of the vendor's are escaped: {stderr:?}");
    let asked = provider.state().count("/token");
    for line in ["token fake --json", "refresh fake --json", "refresh --due --json"] {
        home.run(line);
    }
    assert_eq!(provider.state().count("/token"), asked, "once is enough");
    let dead = status(&home);
    assert_eq!(dead["status"], "needs_reauth");
    assert!(dead["reason"].as_str().unwrap().starts_with("invalid_grant"), "{dead}");
    let connection = Flow::start(&home, &connect_line(&provider)).allow();
    assert_eq!((connection["status"].as_str(), connection["reason"].as_str()), (Some("active"), None));
}

#[test]
fn fault_018_a_refusal_of_the_old_grant_does_not_touch_the_newer_one() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.trouble("/token", [Trouble::Hold(Some((400, json!({ "error": "invalid_grant" }))))]);
    let mut command = home.command(["refresh", "fake"]);
    command.stderr(Stdio::null());
    let mut refresh = Running::start(command);
    provider.until("the refresh is asked for", |state| state.holding == 1);
    Flow::start(&home, &connect_line(&provider)).allow();
    provider.go_on();
    assert_eq!(refresh.code(), 0, "somebody connected it anew meanwhile: theirs is used");
    is_kept(&home);
}

#[test]
fn fault_019_a_rate_limit_and_an_outage_keep_the_grant_and_say_when_to_come_back() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.trouble("/token", [Trouble::Instead(429, vec![("retry-after", "7".to_owned())], Vec::new())]);
    let stderr = fails(&home, 5, "vendor_unavailable");
    assert!(stderr.contains("try again in 7 s"), "{stderr}");
    is_kept(&home);
    provider.trouble("/token", [Trouble::json(503, &json!({ "error": "invalid_grant" }))]);
    fails(&home, 5, "vendor_unavailable");
    is_kept(&home);
    drop(provider);
    // The second time proves that the first left no marker.
    fails(&home, 5, "network");
    fails(&home, 5, "network");
}

#[test]
fn fault_020_a_refresh_without_an_answer_is_not_sent_twice() {
    for trouble in [Trouble::Silence, Trouble::Drop] {
        let provider = FakeProvider::start();
        let home = connected(&provider);
        home.ok("config set http.timeout 1s");
        provider.trouble("/token", [trouble]);
        for _ in 0..2 {
            let stderr = fails(&home, 4, "needs_reauth");
            assert!(stderr.contains("not sent twice") && stderr.contains("integ reconnect fake"), "{stderr}");
        }
        assert_eq!(status(&home)["status"], "needs_reauth");
        assert_eq!(provider.state().refreshes(), 1);
    }
}

#[test]
fn fault_021_a_crash_before_the_commit_is_known_and_said_on_the_next_start() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.trouble("/token", [Trouble::Hold(None)]);
    let mut refresh = Running::start(home.command(["refresh", "fake"]));
    provider.until("the refresh is asked for", |state| state.holding == 1);
    refresh.child.kill().unwrap();
    refresh.child.wait().unwrap();
    home.expire_leases();
    provider.go_on();
    let stderr = fails(&home, 4, "needs_reauth");
    assert!(stderr.contains("cut off") && stderr.contains("integ reconnect fake"), "{stderr}");
    assert_eq!(provider.state().refreshes(), 1);
}

#[test]
fn fault_022_a_redirect_of_the_token_endpoint_is_not_followed() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    for status in [301, 302, 303, 307, 308] {
        provider.trouble("/token", [Trouble::Instead(status, vec![("location", provider.url("/leak"))], Vec::new())]);
        fails(&home, 1, "malformed_response");
        is_kept(&home);
    }
    assert_eq!(provider.state().count("/leak"), 0);
}

#[test]
fn fault_023_a_401_triggers_exactly_one_refresh() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.refuse_all();
    assert_eq!(home.json("test")["tests"][0]["outcome"], "healthy");
    assert_eq!(provider.state().refreshes(), 1);
    provider.state().refuses_all = true;
    let ran = home.run("test --json");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert_eq!(provider.state().refreshes(), 2, "a token that is new and refused is not refreshed again");
}

#[test]
fn fault_023_two_401s_at_once_trigger_one_refresh() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.refuse_all();
    provider.trouble("/api/me", [Trouble::Hold(None), Trouble::Hold(None)]);
    let mut tests: Vec<Running> = (0..2).map(|_| Running::start(home.command(["test", "fake"]))).collect();
    provider.until("both checks are asked for", |state| state.holding == 2);
    provider.go_on();
    assert!(tests.iter_mut().all(|test| test.code() == 0));
    assert_eq!(provider.state().refreshes(), 1);
}

/// Starts a device flow and lets the provider answer its polls with these.
fn device(provider: &FakeProvider, polls: Vec<Trouble>) -> (Home, Running) {
    let home = home();
    provider.trouble("/token", polls);
    let mut command =
        home.command(format!("{} --device --no-browser --json", connect_line(provider)).split_whitespace());
    command.stderr(Stdio::null());
    let mut running = Running::start(command);
    let event = running.event();
    assert_eq!((event["event"].as_str(), event["user_code"].as_str()), (Some("device_code"), Some("ABCD-EFGH")));
    (home, running)
}

#[test]
fn fault_024_polling_slows_down_when_told_and_backs_off_when_unanswered() {
    let provider = FakeProvider::start();
    let polls = vec![Trouble::error("authorization_pending"), Trouble::Drop, Trouble::error("slow_down")];
    let (_home, mut running) = device(&provider, polls);
    assert_eq!(running.event()["event"], "connected");
    assert_eq!(running.code(), 0);
    let times = provider.state().times("/token");
    let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let whole: Vec<u64> = gaps.iter().map(Duration::as_secs).collect();
    assert!(whole[0] >= 1 && whole[1] >= 2 && whole[2] >= 7, "one second, twice that, and five more: {gaps:?}");
}

#[test]
fn fault_025_a_device_flow_stops_when_it_is_denied_or_expired() {
    for code in ["access_denied", "expired_token"] {
        let provider = FakeProvider::start();
        let (home, mut running) = device(&provider, vec![Trouble::error(code)]);
        assert_eq!((running.line(), running.code()), (String::new(), 4));
        assert_eq!(provider.state().count("/token"), 1);
        assert_eq!(home.json("status")["summary"]["total"], 0);
    }
}

#[test]
fn fault_027_a_grant_that_could_not_be_revoked_is_still_live_and_one_unknown_is_gone() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.trouble("/revoke", [Trouble::json(503, &json!({}))]);
    let ran = home.run("disconnect fake --yes --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (5, "vendor_unavailable"), "{ran:?}");
    assert!(ran.stderr.contains("integ disconnect fake --local"), "{ran:?}");
    is_kept(&home);
    provider.trouble("/revoke", [Trouble::error("invalid_token")]);
    home.ok("disconnect fake --yes");
    assert_eq!(home.json("status")["summary"]["total"], 0);
    let state = provider.state();
    let revoked = state.asked.iter().rfind(|message| message.request().1 == "/revoke").unwrap().form();
    assert_eq!(revoked["token_type_hint"], "refresh_token");
}

#[test]
fn a_revocation_can_have_no_parameters() {
    let provider = FakeProvider::start();
    let home = Home::new();
    let revoke = "revoke = { url = \"https://fake.invalid/revoke\"";
    home.install("fake", &CONNECTOR.replace(revoke, &format!("{revoke}, auth = \"none\", params = {{}}")));
    Flow::start(&home, &connect_line(&provider)).allow();
    home.ok("disconnect fake --yes");
    let state = provider.state();
    let revoked = state.asked.iter().rfind(|message| message.request().1 == "/revoke").unwrap().form();
    assert!(revoked.is_empty(), "{revoked:?}");
}

#[test]
fn fault_027_revoking_what_the_vendor_does_not_know_is_a_success() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    home.ok("disconnect fake --yes");
    assert_eq!((provider.state().count("/revoke"), home.run("token fake").code), (1, 3));
}

#[test]
fn client_credentials_are_renewed_without_a_refresh_token() {
    let provider = FakeProvider::start();
    let home = home();
    let line = format!("{} --client-credentials --client-secret-file -", connect_line(&provider));
    assert_eq!(home.run_with_input(&line, "machine-secret\n").code, 0);
    assert_eq!(provider.state().asked[0].header("authorization"), Some("Basic dGVzdDptYWNoaW5lLXNlY3JldA=="));
    let first = home.ok("token fake");
    home.ok("refresh fake");
    assert_ne!(first, home.ok("token fake"));
    // Nothing is used up by asking again, so that silence is no reason to ask a person.
    home.ok("config set http.timeout 1s");
    provider.trouble("/token", [Trouble::Silence]);
    fails(&home, 5, "timeout");
    is_kept(&home);
}
