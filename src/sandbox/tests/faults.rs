//! Scripted trouble, met in order.

use std::time::Duration;

use serde_json::json;

use super::connectors::{OIDC, PROJECTS, SLACK};
use super::*;
use crate::sandbox::{EmulatedEndpoint, Fault, FaultKind, sandbox_fields};

fn connected() -> (TestEmulator, String, String) {
    let mut bench = TestEmulator::new(OIDC, "oauth");
    let challenge = challenge();
    let pairs = [
        ("client_id", "c1"),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("scope", "offline_access"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let code = bench.authorize("/authorize", &pairs)["code"].clone();
    let exchange = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", REDIRECT),
        ("client_id", "c1"),
        ("code_verifier", VERIFIER),
    ];
    let answer = body(&bench.form("/token", &[], &exchange));
    (bench, text(&answer, "/access_token"), text(&answer, "/refresh_token"))
}

fn health(bench: &mut TestEmulator, token: &str) -> SandboxResponse {
    bench.get("/userinfo", &[("authorization", &bearer(token))])
}

fn refresh(bench: &mut TestEmulator, token: &str) -> SandboxResponse {
    bench.form("/token", &[], &[("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "c1")])
}

fn fault(kind: FaultKind, endpoint: Option<EmulatedEndpoint>, times: Option<u32>) -> Fault {
    Fault { endpoint, times, ..Fault::new(kind) }
}

#[test]
fn faults_are_met_in_order_and_run_out() {
    let (mut bench, access, renewal) = connected();
    bench.state.add_fault(fault(FaultKind::ServerError, Some(EmulatedEndpoint::Health), Some(2)));
    bench.state.add_fault(fault(FaultKind::RateLimit, None, Some(1)));
    assert_eq!(health(&mut bench, &access).status, 503);
    assert_eq!(refresh(&mut bench, &renewal).status, 429);
    assert_eq!(refresh(&mut bench, &renewal).status, 200);
    assert_eq!(health(&mut bench, &access).status, 503);
    assert_eq!(health(&mut bench, &access).status, 200);
    assert!(bench.state.faults().is_empty());
    bench.state.add_fault(Fault::new(FaultKind::ServerError));
    for _ in 0..3 {
        assert_eq!(health(&mut bench, &access).status, 503);
    }
    assert_eq!(bench.state.clear_faults(), 1);
    assert_eq!(health(&mut bench, &access).status, 200);
}

#[test]
fn an_expired_grant_is_mended_by_a_refresh() {
    let (mut bench, access, renewal) = connected();
    bench.state.add_fault(fault(FaultKind::ExpiredGrant, None, Some(1)));
    assert_eq!(health(&mut bench, &access).status, 401);
    assert_eq!(health(&mut bench, &access).status, 401);
    let access = text(&body(&refresh(&mut bench, &renewal)), "/access_token");
    assert_eq!(health(&mut bench, &access).status, 200);
}

#[test]
fn a_revoked_grant_stays_revoked() {
    let (mut bench, access, renewal) = connected();
    bench.state.add_fault(fault(FaultKind::RevokedGrant, Some(EmulatedEndpoint::Token), Some(1)));
    assert_eq!(health(&mut bench, &access).status, 200);
    assert_eq!(body(&refresh(&mut bench, &renewal))["error"], json!("invalid_grant"));
    assert_eq!(body(&refresh(&mut bench, &renewal))["error"], json!("invalid_grant"));
    assert_eq!(health(&mut bench, &access).status, 401);
}

#[test]
fn rate_limits_look_as_the_file_says() {
    let mut bench = TestEmulator::new(PROJECTS, "key");
    bench.state.add_fault(Fault { seconds: Some(7), ..Fault::new(FaultKind::RateLimit) });
    let reply = bench.get("/rest/myself", &[]);
    assert_eq!(reply.status, 403);
    assert_eq!(body(&reply), json!({"reason": "tooFast", "wait": 7000}));
    assert!(reply.headers.contains(&("x-remaining".to_owned(), "0".to_owned())));
    assert!(reply.headers.contains(&("x-reset".to_owned(), "1800000007".to_owned())));

    let mut bench = TestEmulator::new(SLACK, "bot-token");
    bench.state.add_fault(Fault::new(FaultKind::RateLimit));
    let reply = bench.send("POST", "/api/auth.test", &[], "");
    assert_eq!((reply.status, body(&reply)), (429, json!({"ok": false, "error": "ratelimited"})));
    assert!(reply.headers.contains(&("retry-after".to_owned(), "1".to_owned())));
}

#[test]
fn slow_and_malformed_answers() {
    let (mut bench, access, renewal) = connected();
    bench.state.add_fault(Fault { seconds: Some(9), ..fault(FaultKind::Slow, None, Some(1)) });
    let reply = health(&mut bench, &access);
    assert_eq!((reply.status, reply.delay), (200, Duration::from_secs(9)));
    bench.state.add_fault(fault(FaultKind::Malformed, Some(EmulatedEndpoint::Token), Some(2)));
    assert_eq!(health(&mut bench, &access).delay, Duration::ZERO);
    assert!(serde_json::from_str::<Value>(&refresh(&mut bench, &renewal).body).is_err());
    assert!(refresh(&mut bench, &renewal).content_type.starts_with("text/html"));
    assert_eq!(refresh(&mut bench, &renewal).status, 200);
}

#[test]
fn keys_meet_trouble_too() {
    let slack = connector(SLACK);
    let (_, auth) = slack.auth_method(Some("bot-token")).unwrap();
    let header = bearer(sandbox_fields(&slack, auth, SEED)["token"].expose());
    let mut bench = TestEmulator::new(SLACK, "bot-token");
    bench.state.add_fault(fault(FaultKind::RevokedGrant, None, Some(1)));
    let check =
        |bench: &mut TestEmulator| body(&bench.send("POST", "/api/auth.test", &[("authorization", &header)], ""));
    assert_eq!(check(&mut bench)["error"], json!("token_revoked"));
    assert_eq!(check(&mut bench)["ok"], json!(true));
}

#[test]
fn names_are_read_back() {
    for kind in FaultKind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), json!(kind.as_str()));
    }
    for endpoint in EmulatedEndpoint::ALL {
        assert_eq!(endpoint.as_str().parse(), Ok(endpoint));
        assert_eq!(serde_json::to_value(endpoint).unwrap(), json!(endpoint.as_str()));
    }
    assert!("any".parse::<EmulatedEndpoint>().is_err());
}
