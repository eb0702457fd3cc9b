//! Refreshes that fail, repeat, and end.

use serde_json::json;

use super::{altered, connected_by, status};
use crate::attack::clocks::{at, faketime};
use crate::fake::{CONNECTOR, FakeProvider, Trouble};
use crate::flow::connected;
use crate::harness::{Home, Ran, finish};

/// Not known to rotate, and not known to keep its refresh tokens.
fn sometimes() -> String {
    altered("rotation = \"always\"\n", "")
}

/// An answer that comes after the request has timed out; the grant is not used up.
fn lost() -> Trouble {
    Trouble::Hold(Some((200, json!({ "access_token": "late" }))))
}

#[test]
fn field_18_a_token_that_is_good_is_used_until_it_ends_if_its_refresh_fails() {
    let Some(library) = faketime() else { return };
    let html = vec![("content-type", "text/html".to_owned())];
    let limited = vec![("retry-after", "7".to_owned())];
    for (trouble, is_lost) in [
        (Trouble::Instead(503, html.clone(), b"<html>maintenance".to_vec()), false),
        (Trouble::Instead(200, html, b"<html>Welcome to our hotel".to_vec()), false),
        (Trouble::Instead(429, limited, Vec::new()), false),
        (Trouble::error("invalid_client"), false),
        (Trouble::Drop, true),
        (Trouble::Silence, true),
    ] {
        let provider = FakeProvider::start();
        let home = connected(&provider);
        home.ok("config set http.timeout 1s");
        let token = home.ok("token fake");
        let run = |offset: &str, line: &str| -> Ran {
            provider.state().forget_troubles("/token");
            provider.trouble("/token", [trouble.clone()]);
            finish(at(&home, &library, offset, line))
        };
        for (line, output) in
            [("token fake", token.as_str()), ("exec fake -- printenv FAKE_TOKEN", &token), ("api fake /me", "alice")]
        {
            let ran = run("+3500s", line);
            assert!(ran.code == 0 && ran.stdout.contains(output), "{line}: {ran:?}");
            assert!(ran.stderr.contains("was not refreshed, and its token is good for another"), "{line}: {ran:?}");
        }
        let ran = run("+3500s", "status --json");
        let word = if is_lost { "needs_reauth" } else { "error" };
        assert!(ran.stdout.contains(&format!("\"status\":\"{word}\"")), "{ran:?}");
        // What asks for more than the token has fails, and so does what asks for a refresh.
        for line in ["token fake --min-ttl 10m", "refresh --due", "refresh fake"] {
            let ran = run("+3500s", line);
            assert!(ran.code != 0 && !ran.stdout.contains(&token), "{line}: {ran:?}");
        }
        let ran = run("+3700s", "token fake");
        assert!(ran.code != 0 && ran.stdout.is_empty(), "its time is over: {ran:?}");
        provider.state().forget_troubles("/token");
        let ran = finish(at(&home, &library, "+3500s", "token fake"));
        assert_eq!(ran.stdout.trim() == token, is_lost, "the refresh is tried again unless it may be used up: {ran:?}");
        assert_eq!(provider.state().doubles(), Vec::<&String>::new());
    }
}

#[test]
fn field_18_a_refusal_needs_a_person_although_the_token_has_time_left() {
    let Some(library) = faketime() else { return };
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.trouble("/token", [Trouble::error("invalid_grant")]);
    for _ in 0..2 {
        let ran = finish(at(&home, &library, "+3500s", "token fake --json"));
        assert_eq!((ran.code, ran.error_code().as_str()), (4, "needs_reauth"), "{ran:?}");
    }
    assert_eq!(provider.state().count("/token"), 2, "the sign-in, and one refresh");
}

#[test]
fn field_18_a_lost_answer_costs_nothing_if_the_refresh_token_outlived_a_refresh() {
    let kept = json!({ "access_token": "kept", "expires_in": 3600 });
    let same = json!({ "access_token": "same", "expires_in": 3600, "refresh_token": "refresh-2" });
    for answer in [kept, same] {
        let provider = FakeProvider::start();
        let home = connected_by(&provider, &sometimes(), "", Vec::new());
        home.ok("config set http.timeout 1s");
        provider.trouble("/token", [Trouble::json(200, &answer), lost()]);
        home.ok("refresh fake");
        let ran = home.run("refresh fake --json");
        assert_eq!((ran.code, ran.error_code().as_str()), (5, "timeout"), "{ran:?}");
        assert_eq!(status(&home)["status"], "error");
        home.ok("refresh fake");
        assert_eq!(status(&home)["status"], "active");
        // The server has rotated now: what was seen before counts no longer.
        provider.trouble("/token", [lost()]);
        let ran = home.run("refresh fake --json");
        assert_eq!((ran.code, ran.error_code().as_str()), (4, "needs_reauth"), "{ran:?}");
    }
}

#[test]
fn field_18_the_user_says_whether_a_server_rotates() {
    let connector = altered("rotation = \"always\"\n", "rotation_param = \"rotation\"\n").replace(
        "[api]",
        "[params.rotation]\nprompt = \"Rotation\"\noptional = true\nchoices = [\"always\", \"never\"]\n\n[api]",
    );
    for (further, code) in [("", 4), (" --param rotation=always", 4), (" --param rotation=never", 5)] {
        let provider = FakeProvider::start();
        let home = connected_by(&provider, &connector, further, Vec::new());
        home.ok("config set http.timeout 1s");
        provider.trouble("/token", [lost()]);
        let ran = home.run("refresh fake");
        assert_eq!(ran.code, code, "{further}: {ran:?}");
        assert_eq!(home.run("refresh fake").code == 0, code == 5, "{further}");
    }
    let home = Home::new();
    home.install("fake", &connector.replace("rotation_param = \"rotation\"", "rotation_param = \"rotations\""));
    let ran = home.run("connector validate fake");
    assert!(ran.code != 0 && format!("{ran:?}").contains("is not a parameter"), "{ran:?}");
    for builtin in ["oidc", "oauth2"] {
        assert!(home.ok(&format!("connector show {builtin} --json")).contains("rotation"), "{builtin}");
    }
}

#[test]
fn field_b1_min_ttl_is_kept_or_refused_and_nothing_is_refreshed_without_need() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    for wanted in ["9d", "2h", "3601s"] {
        let ran = home.run(&format!("token fake --min-ttl {wanted} --json"));
        assert_eq!((ran.code, ran.error_code().as_str()), (1, "lifetime_too_short"), "{ran:?}");
        assert!(ran.stdout.is_empty() && ran.stderr.contains("last 1h"), "{ran:?}");
    }
    assert_eq!(provider.state().refreshes(), 0, "no new token would be longer");
    let ran = home.run("token fake --min-ttl 9d");
    let hint = ran.stderr.lines().find_map(|line| line.trim().strip_prefix("hint: integ ")).unwrap().to_owned();
    home.ok(&hint);
    // A new token may be shorter than the last one was.
    let before = provider.state().refreshes();
    let Some(library) = faketime() else { return };
    provider.lifetime(60);
    let ran = finish(at(&home, &library, "+3500s", "token fake --min-ttl 30m --json"));
    assert_eq!((ran.code, ran.error_code().as_str()), (1, "lifetime_too_short"), "{ran:?}");
    assert!(ran.stderr.contains("last 1m"), "{ran:?}");
    assert_eq!(provider.state().refreshes(), before + 1);
}

#[test]
fn field_b1_a_token_that_nothing_renews_is_not_passed_off_as_longer() {
    let provider = FakeProvider::start();
    let home = connected_by(&provider, CONNECTOR, "", vec![Trouble::Edit(json!({ "refresh_token": null }))]);
    home.ok("token fake --min-ttl 50m");
    let ran = home.run("token fake --min-ttl 2h --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (4, "lifetime_too_short"), "{ran:?}");
    assert!(ran.stdout.is_empty() && ran.stderr.contains("integ reconnect fake"), "{ran:?}");
}

#[test]
fn field_26_values_kept_from_an_answer_are_renewed_by_each_refresh() {
    let keep = "rotation = \"always\"\nanswer = { keep = { site = \"/site\", id = \"/id\" } }\n";
    let provider = FakeProvider::start();
    let first = Trouble::Edit(json!({ "site": "https://one.example", "id": "7" }));
    let home = connected_by(&provider, &altered("rotation = \"always\"\n", keep), "", vec![first]);
    let parts = |home: &Home| home.json("token fake --format json")["parts"].clone();
    assert_eq!(parts(&home), json!({ "site": "https://one.example", "id": "7" }));
    provider.trouble("/token", [Trouble::Edit(json!({ "site": "https://two.example" }))]);
    home.ok("refresh fake");
    assert_eq!(parts(&home), json!({ "site": "https://two.example", "id": "7" }), "what is not said again stays");
}

#[test]
fn field_29_a_grant_that_ends_is_shown_before_and_after() {
    const DAY: u64 = 86_400;
    let Some(library) = faketime() else { return };
    let ends = "rotation = \"always\"\nanswer = { refresh_expires_in = \"/refresh_token_expires_in\" }\n";
    let provider = FakeProvider::start();
    let first = Trouble::Edit(json!({ "refresh_token_expires_in": 60 * DAY, "expires_in": 90 * DAY }));
    let home = connected_by(&provider, &altered("rotation = \"always\"\n", ends), "", vec![first]);
    assert!(status(&home)["refresh_expires_at"].is_string());
    for (offset, state, code, note) in [
        ("+0s", "active", 0, ""),
        ("+1260h", "active", 0, ""),
        ("+1308h", "expiring", 0, "expires in 5d; reconnect before then"),
        ("+1476h", "needs_reauth", 4, "has expired; the access token is good for another 28d"),
        ("+91d", "needs_reauth", 4, "the refresh token has expired"),
    ] {
        let ran = finish(at(&home, &library, offset, "status --check --json"));
        assert_eq!(ran.code, code, "{offset}: {ran:?}");
        assert!(ran.stdout.contains(&format!("\"status\":\"{state}\"")) && ran.stdout.contains(note), "{ran:?}");
    }
    // A refresh brings another end, or none.
    home.ok("refresh fake");
    assert_eq!(status(&home)["refresh_expires_at"], json!(null));
}

#[test]
fn field_the_first_use_of_a_restored_refresh_token_says_that_it_is_unverified() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    home.ok("vault backup out.age");
    let ran = home.run("-w new vault restore out.age --yes");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!home.run("-w new token fake").stderr.contains("unverified"), "the access token needs no refresh token");
    let first = home.run("-w new refresh fake");
    assert!(first.code == 0 && first.stderr.contains("unverified"), "{first:?}");
    let second = home.run("-w new refresh fake");
    assert!(second.code == 0 && !second.stderr.contains("unverified"), "{second:?}");
    // Used up there: the original finds out, as it must.
    let ran = home.run("refresh fake --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (4, "needs_reauth"), "{ran:?}");
}
