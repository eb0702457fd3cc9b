//! Requests that nobody honest sends.

use proptest::prelude::*;

use super::connectors::{BOARDS, BOTS, CODE_HOST, OIDC, PROJECTS, SLACK};
use super::*;

const SCRIPT: &str = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>\u{202e}\r\nx: y";

#[test]
fn fault_037_html_in_any_parameter_is_inert() {
    let mut bench = TestEmulator::new(SLACK, "oauth");
    let good = [("client_id", "c1"), ("response_type", "code"), ("redirect_uri", REDIRECT), ("scope", "chat:write")];
    for hostile in ["client_id", "response_type", "scope", "state", "user_scope", "redirect_uri", "code_challenge"] {
        let mut pairs: Vec<(&str, &str)> = good.into_iter().filter(|(name, _)| *name != hostile).collect();
        pairs.push((hostile, SCRIPT));
        pairs.push((SCRIPT, SCRIPT));
        let reply = bench.get(&format!("/oauth/v2/authorize?{}", encoded(&pairs)), &[]);
        assert!(!reply.body.contains("<script") && !reply.body.contains("<img"), "{hostile}: {}", reply.body);
        assert!(reply.headers.iter().all(|(_, value)| !value.contains(['\r', '\n'])), "{hostile}");
        assert!(
            !reply.content_security_policy.contains("script-src")
                && reply.content_security_policy.contains("default-src 'none'")
        );
    }
    let mut bench = TestEmulator::new(CODE_HOST, "oauth");
    let reply = bench.get(&format!("/sandbox/device?{}", encoded(&[("user_code", SCRIPT)])), &[]);
    assert!(!reply.body.contains("<script"), "{}", reply.body);
}

#[test]
fn a_connectors_own_words_are_escaped() {
    let mut bench = TestEmulator::new(PROJECTS, "oauth");
    let pairs = [("client_id", "c1"), ("response_type", "code"), ("redirect_uri", REDIRECT), ("scope", "read")];
    let reply = bench.get(&format!("/authorize?{}", encoded(&pairs)), &[]);
    assert!(reply.body.contains("Read &lt;all&gt; &quot;projects&quot;"), "{}", reply.body);
    assert!(reply.body.contains("Projects &amp; Co"));
    assert!(
        reply.content_security_policy.contains("form-action 'self' http://localhost:8910"),
        "{}",
        reply.content_security_policy
    );
}

#[test]
fn a_wrong_redirect_uri_is_never_redirected_to() {
    let mut bench = TestEmulator::new(SLACK, "oauth");
    for wrong in [
        "",
        "http://evil.example/callback",
        "http://localhost.evil.example/",
        "http://localhost@evil.example/",
        "http://user:pw@localhost/",
        "http://127.0.0.1:8910/callback",
        "http://localhost:8910/callback#x",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "//evil.example",
        "/callback",
        "ftp://localhost/",
        "https://user@evil.example/",
    ] {
        for decision in ["", "allow", "deny"] {
            let pairs = [
                ("client_id", "c1"),
                ("response_type", "code"),
                ("redirect_uri", wrong),
                ("sandbox_decision", decision),
            ];
            let reply = bench.get(&format!("/oauth/v2/authorize?{}", encoded(&pairs)), &[]);
            assert_eq!((reply.status, location(&reply)), (400, None), "{wrong} {decision}");
        }
    }
    let twice = encoded(&[
        ("client_id", "c1"),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("redirect_uri", "https://evil.example/"),
    ]);
    assert_eq!(location(&bench.get(&format!("/oauth/v2/authorize?{twice}"), &[])), None);
    let no_client = encoded(&[("response_type", "code"), ("redirect_uri", REDIRECT)]);
    assert_eq!(bench.get(&format!("/oauth/v2/authorize?{no_client}"), &[]).status, 400);
    assert_eq!(bench.state, SandboxState::default());
}

#[test]
fn errors_go_back_with_the_state() {
    let mut bench = TestEmulator::new(SLACK, "oauth");
    let pairs = [("client_id", "c1"), ("redirect_uri", REDIRECT), ("state", "s"), ("response_type", "token")];
    let answer = callback(&bench.get(&format!("/oauth/v2/authorize?{}", encoded(&pairs)), &[]));
    assert_eq!((answer["error"].as_str(), answer["state"].as_str()), ("unsupported_response_type", "s"));
    let pairs =
        [("client_id", "c1"), ("redirect_uri", REDIRECT), ("response_type", "code"), ("sandbox_decision", "deny")];
    let answer = callback(&bench.get(&format!("/oauth/v2/authorize?{}", encoded(&pairs)), &[]));
    assert_eq!(answer["error"], "access_denied");
    let pairs = [
        ("client_id", "c1"),
        ("redirect_uri", REDIRECT),
        ("response_type", "code"),
        ("code_challenge", VERIFIER),
        ("code_challenge_method", "plain"),
    ];
    let answer = callback(&bench.get(&format!("/oauth/v2/authorize?{}", encoded(&pairs)), &[]));
    assert_eq!(answer["error"], "invalid_request");
}

#[test]
fn a_changed_token_is_no_token() {
    let bench = TestEmulator::new(SLACK, "oauth");
    let claims = crate::sandbox::token::TokenClaims {
        kind: crate::sandbox::token::TokenKind::Access,
        grant: "g".to_owned(),
        serial: 1,
        account: crate::sandbox::SandboxAccount::default(),
        client: "c1".to_owned(),
        public: true,
        scopes: vec!["a".to_owned()],
        also: false,
        several: false,
        issued: 0,
        expires: None,
        generation: 0,
        redirect: None,
        challenge: None,
    };
    let token = bench.vendor.signer.sign(&claims);
    assert_eq!(bench.vendor.signer.verify(claims.kind, &token), Some(claims.clone()));
    assert_eq!(bench.vendor.signer.verify(crate::sandbox::token::TokenKind::Refresh, &token), None);
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] ^= 1;
        let changed = String::from_utf8(bytes).unwrap();
        assert_eq!(bench.vendor.signer.verify(claims.kind, &changed), None, "{at}");
        assert_eq!(bench.vendor.signer.verify(claims.kind, &token[..at]), None, "{at}");
    }
}

fn paths() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "/oauth/v2/authorize",
        "/api/oauth.v2.access",
        "/api/auth.revoke",
        "/api/auth.test",
        "/authorize",
        "/token",
        "/device",
        "/revoke",
        "/userinfo",
        "/oauth/token",
        "/oauth/revoke",
        "/oauth/accessible-resources",
        "/ex/a/rest/myself",
        "/bot1:2/getMe",
        "/1/authorize",
        "/1/members/me",
        "/login/oauth/access_token",
        "/login/device/code",
        "/sandbox/device",
        "/.well-known/openid-configuration",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => ".{0,40}"]
}

fn params() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop::sample::select(vec![
        "client_id",
        "client_secret",
        "response_type",
        "redirect_uri",
        "state",
        "scope",
        "grant_type",
        "code",
        "token",
        "refresh_token",
        "device_code",
        "user_code",
        "code_verifier",
        "code_challenge",
        "sandbox_decision",
        "return_url",
        "key",
        "access_token",
        "audience",
    ]);
    let value = prop_oneof![
        3 => prop::sample::select(vec![
            "code", "token", REDIRECT, "authorization_code", "refresh_token", "allow", "S256", "c1", "",
            "client_credentials", "urn:ietf:params:oauth:grant-type:device_code", "sandbox-refresh-e30.x",
        ]).prop_map(str::to_owned),
        1 => ".{0,30}",
    ];
    prop::collection::vec((name.prop_map(str::to_owned), value), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No request, whatever the state and the time, makes a vendor panic or redirect elsewhere.
    #[test]
    fn no_request_panics(
        which in 0usize..6,
        post in any::<bool>(),
        json in any::<bool>(),
        path in paths(),
        params in params(),
        noise in ".{0,60}",
        authorization in prop_oneof![Just(None), ".{0,40}".prop_map(Some), Just(Some("Basic YzE6cw==".to_owned()))],
        now in prop_oneof![Just(1_800_000_000i64), -377_705_023_201i64..253_402_207_200i64],
    ) {
        let (toml, auth) = [
            (SLACK, "oauth"), (PROJECTS, "oauth"), (BOTS, "bot"), (OIDC, "oauth"), (CODE_HOST, "oauth"), (BOARDS, "token"),
        ][which];
        let mut bench = TestEmulator::new(toml, auth);
        bench.now = now;
        let pairs: Vec<(&str, &str)> = params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut headers = vec![("content-type", if json { "application/json" } else { "application/x-www-form-urlencoded" })];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        let body = match (post, json) {
            (true, true) => serde_json::to_string(&params.iter().cloned().collect::<BTreeMap<_, _>>()).unwrap(),
            (true, false) => encoded(&pairs),
            _ => noise.clone(),
        };
        let query = if post { noise } else { encoded(&pairs) };
        let method = if post { "POST" } else { "GET" };
        for _ in 0..2 {
            let reply = bench.send(method, &format!("{path}?{query}"), &headers, &body);
            if let Some(to) = location(&reply) {
                prop_assert!(to.starts_with("http://localhost:8910/callback") || to.starts_with("https://"), "{}", to);
            }
        }
    }

    /// A state that something else wrote is judged without a panic.
    #[test]
    fn no_state_panics(serial in any::<u64>(), generation in any::<u32>(), expires in any::<i64>()) {
        let mut bench = TestEmulator::new(CODE_HOST, "oauth");
        bench.state = serde_json::from_value(serde_json::json!({
            "serial": serial,
            "spent": {"g": expires},
            "grants": {"g": {"generation": generation, "revoked": false}},
            "devices": {"g": {"user_code": "A", "client": "c", "scopes": [], "polls": generation, "polled_at": expires,
                "interval_secs": expires, "decision": "waiting", "expires": expires}},
            "faults": [{"kind": "slow", "seconds": generation, "met": generation}],
        })).unwrap();
        bench.form("/login/device/code", &[], &[("client_id", "c1")]);
        bench.form("/login/oauth/access_token", &[], &[("client_id", "c1"), ("grant_type", "refresh_token")]);
    }
}
