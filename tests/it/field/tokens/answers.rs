//! What token endpoints and APIs answer, and what is made of it.

use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

use super::{altered, connected_by, status};
use crate::fake::{CONNECTOR, FakeProvider, Trouble};
use crate::flow::connected;
use crate::harness::Ran;

fn jwt(claims: &Value) -> String {
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", encode("{\"alg\":\"RS256\"}"), encode(&claims.to_string()), encode("signature"))
}

#[test]
fn field_19_a_token_without_expires_in_ends_when_it_says_so_or_as_the_last_one_did() {
    let provider = FakeProvider::start();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let first = jwt(&json!({ "iat": now, "exp": now + 900 }));
    let edit = |token: &str| Trouble::Edit(json!({ "expires_in": null, "access_token": token }));
    // The API knows no token but its own, and a refusal would bring another one.
    provider.trouble("/api/me", [Trouble::json(200, &json!({ "id": "alice" }))]);
    let home = connected_by(&provider, CONNECTOR, "", vec![edit(&first)]);
    let left = || status(&home)["expires_in"].as_i64().unwrap_or(-1);
    assert!((880..=900).contains(&left()), "{}", left());
    provider.trouble("/token", [edit(&jwt(&json!({ "exp": now + 1800 })))]);
    home.ok("refresh fake");
    assert!((1700..=1800).contains(&left()), "{}", left());
    provider.trouble("/token", [edit("opaque")]);
    home.ok("refresh fake");
    assert!((1700..=1800).contains(&left()), "the former lifetime: {}", left());
}

#[test]
fn field_20_an_empty_scope_is_unknown() {
    let provider = FakeProvider::start();
    let connector = altered("[health]", "[health]\nscopes_header = \"x-scopes\"");
    let action = "\n[actions.write]\nabout = \"Write\"\npath = \"/write\"\nscopes = [\"write\"]\n";
    let me = |scopes: &str| {
        let body = json!({ "id": "alice", "name": "alice" }).to_string().into_bytes();
        Trouble::Instead(200, vec![("x-scopes", scopes.to_owned())], body)
    };
    for scope in [json!(""), json!(" "), json!([])] {
        provider.trouble("/api/me", [me("")]);
        let edit = Trouble::Edit(json!({ "scope": scope }));
        let home = connected_by(&provider, &format!("{connector}{action}"), "", vec![edit]);
        assert_eq!(status(&home)["missing_scopes"], json!([]), "{scope}");
        provider.trouble("/api/write", [Trouble::json(201, &json!({ "done": true }))]);
        home.ok("call fake write");
        // A list that is not empty counts, and one that is empty later takes nothing away.
        provider.trouble("/api/me", [me("read"), me("")]);
        for _ in 0..2 {
            home.ok("test fake");
            assert_eq!(status(&home)["missing_scopes"], json!(["write"]), "{scope}");
        }
        assert_eq!(home.run("call fake write").code, 4);
    }
}

/// The answer to a refresh that is refused with this body.
fn refresh(status: u16, content_type: &str, body: &[u8]) -> (Ran, String) {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let headers = vec![("content-type", content_type.to_owned())];
    provider.trouble("/token", [Trouble::Instead(status, headers, body.to_vec())]);
    let ran = home.run("refresh fake --json");
    (ran, super::status(&home)["status"].as_str().unwrap().to_owned())
}

#[test]
fn field_23_a_refusal_is_one_whatever_its_code_shape_or_encoding() {
    let text = r#"{"error":"invalid_grant","error_description":"Le jeton a expiré"}"#;
    let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let code = |code: &str| json!({ "error": code, "error_description": "sign in again" }).to_string().into_bytes();
    for (status, content_type, body) in [
        (400, "application/json", code("interaction_required")),
        (400, "application/json", code("login_required")),
        (401, "application/json", code("consent_required")),
        (400, "application/json; charset=utf-8", [b"\xef\xbb\xbf", text.as_bytes()].concat()),
        (400, "application/json; charset=iso-8859-1", latin),
        (400, "application/json; charset=utf-16le", utf16.clone()),
        (400, "application/json; charset=utf-16", [b"\xff\xfe".as_slice(), &utf16].concat()),
        (400, "application/json", br#"{"error":{"code":"invalid_grant","message":"expired"}}"#.to_vec()),
        (400, "application/json", br#"{"errors":[{"code":"invalid_grant","detail":"expired"}]}"#.to_vec()),
        (200, "application/json", br#"{"error":{"type":"invalid_grant","code":190}}"#.to_vec()),
    ] {
        let (ran, state) = refresh(status, content_type, &body);
        let seen = String::from_utf8_lossy(&body).into_owned();
        assert_eq!((ran.code, ran.error_code().as_str()), (4, "needs_reauth"), "{seen}: {ran:?}");
        assert_eq!(state, "needs_reauth", "{seen}");
    }
}

#[test]
fn field_23_the_words_of_an_error_are_shown_and_keep_the_grant_where_they_refuse_nothing() {
    for body in [
        r#"{"error":{"message":"not today","type":"OAuthException","code":100}}"#,
        r#"{"errors":[{"code":"X1","detail":"not today"}]}"#,
        r#"{"message":"not today"}"#,
    ] {
        let (ran, state) = refresh(400, "application/json", body.as_bytes());
        assert_eq!(
            (ran.code, ran.error_code().as_str(), state.as_str()),
            (1, "oauth_error", "error"),
            "{body}: {ran:?}"
        );
        assert!(ran.stderr.contains("not today"), "{ran:?}");
    }
}

#[test]
fn field_23_a_success_may_begin_with_a_byte_order_mark() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let body = json!({ "access_token": "marked", "expires_in": 3600 }).to_string();
    let kind = vec![("content-type", "application/json".to_owned())];
    provider.trouble("/token", [Trouble::Instead(200, kind, [b"\xef\xbb\xbf", body.as_bytes()].concat())]);
    home.ok("refresh fake");
    assert_eq!(home.ok("token fake"), "marked");
}

#[test]
fn field_36_a_rate_limit_without_a_time_waits_and_waits_longer() {
    let passed = ("retry-after", "Tue, 14 Nov 2023 22:13:20 GMT".to_owned());
    for headers in [vec![("retry-after", "0".to_owned())], vec![passed], Vec::new()] {
        let provider = FakeProvider::start();
        let home = connected(&provider);
        let already = provider.state().count("/api/me");
        let limited = || Trouble::Instead(429, headers.clone(), Vec::new());
        provider.trouble("/api/me", [limited(), limited()]);
        home.ok("api fake /me");
        let times = provider.state().times("/api/me").split_off(already);
        assert_eq!(times.len(), 3);
        for pair in times.windows(2) {
            assert!(pair[1] - pair[0] >= Duration::from_millis(990), "{headers:?}: {:?}", pair[1] - pair[0]);
        }
    }
}

#[test]
fn field_36_a_secondary_limit_does_not_wait_for_the_primary_ones_reset() {
    const RATE: &str = "\n[rate]\nremaining = \"x-left\"\nretry_hints = [\n  { header = \"retry-after\", unit = \"seconds\" },\n  \
                        { header = \"x-reset\", unit = \"epoch_seconds\" },\n]\n";
    let provider = FakeProvider::start();
    let home = connected_by(&provider, &format!("{CONNECTOR}{RATE}"), "", Vec::new());
    let limited = |left: &str| {
        let headers = vec![("x-left", left.to_owned()), ("x-reset", "4102444800".to_owned())];
        Trouble::Instead(429, headers, Vec::new())
    };
    provider.trouble("/api/me", [limited("4321")]);
    home.ok("api fake /me");
    provider.trouble("/api/me", [limited("0")]);
    let ran = home.run("api fake /me");
    assert_eq!(ran.code, 5, "an hour and more is left to the user: {ran:?}");
}
