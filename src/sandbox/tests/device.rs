//! The device grant, polled and confirmed.

use serde_json::json;

use super::connectors::CODE_HOST;
use super::*;

const TOKEN: &str = "/login/oauth/access_token";

fn start(bench: &mut TestEmulator) -> Value {
    let headers = [("host", "127.0.0.1:7000")];
    body(&bench.form("/login/device/code", &headers, &[("client_id", "c1"), ("scope", "repo")]))
}

fn poll(bench: &mut TestEmulator, code: &str) -> Value {
    let pairs =
        [("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("device_code", code), ("client_id", "c1")];
    body(&bench.form(TOKEN, &[("accept", "application/json")], &pairs))
}

#[test]
fn the_second_poll_is_allowed_and_a_code_works_once() {
    let mut bench = TestEmulator::new(CODE_HOST, "oauth");
    let started = start(&mut bench);
    assert_eq!(started["verification_uri"], json!("http://127.0.0.1:7000/sandbox/device"));
    let code = text(&started, "/device_code");
    assert_eq!(poll(&mut bench, &code)["error"], json!("authorization_pending"));
    bench.now += 1;
    let answer = poll(&mut bench, &code);
    assert_eq!(answer["scope"], json!("repo"));
    bench.now += 1;
    assert_eq!(poll(&mut bench, &code)["error"], json!("invalid_grant"));

    // A public client got it, so a public client renews it.
    let refresh = text(&answer, "/refresh_token");
    let pairs = [("grant_type", "refresh_token"), ("refresh_token", &refresh), ("client_id", "c1")];
    assert_eq!(bench.form(TOKEN, &[("accept", "application/json")], &pairs).status, 200);
}

#[test]
fn fault_024_polling_too_fast_slows_down_for_good() {
    let mut bench = TestEmulator::new(CODE_HOST, "oauth");
    let code = text(&start(&mut bench), "/device_code");
    assert_eq!(poll(&mut bench, &code)["error"], json!("authorization_pending"));
    assert_eq!(poll(&mut bench, &code)["error"], json!("slow_down"));
    bench.now += 5;
    assert_eq!(poll(&mut bench, &code)["error"], json!("slow_down"));
    bench.now += 11;
    assert!(poll(&mut bench, &code).get("access_token").is_some());
}

#[test]
fn fault_025_denied_and_expired_codes_stop() {
    let mut bench = TestEmulator::new(CODE_HOST, "oauth");
    let started = start(&mut bench);
    let page = format!("/sandbox/device?user_code={}", text(&started, "/user_code"));
    let shown = bench.get(&page, &[]);
    assert!(shown.body.contains("Allow access to Code host?"), "{}", shown.body);
    assert_eq!(bench.get(&format!("{page}&sandbox_decision=deny"), &[]).status, 200);
    assert_eq!(poll(&mut bench, &text(&started, "/device_code"))["error"], json!("access_denied"));

    let started = start(&mut bench);
    bench.now += 900;
    assert_eq!(poll(&mut bench, &text(&started, "/device_code"))["error"], json!("expired_token"));
    assert_eq!(bench.get("/sandbox/device?user_code=NONE-NONE", &[]).status, 404);
}

#[test]
fn the_page_allows_at_once() {
    let mut bench = TestEmulator::new(CODE_HOST, "oauth");
    let started = start(&mut bench);
    let page = format!("/sandbox/device?user_code={}", text(&started, "/user_code").to_lowercase());
    bench.get(&format!("{page}&sandbox_decision=allow"), &[]);
    assert!(poll(&mut bench, &text(&started, "/device_code")).get("access_token").is_some());
}
