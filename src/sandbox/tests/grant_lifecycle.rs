//! Authorize, approve, token, health, refresh, revoke, refused.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use url::Url;

use super::connectors::{BOARDS, BOTS, CODE_HOST, OIDC, PROJECTS, SLACK};
use super::*;
use crate::sandbox::{sandbox_client, sandbox_fields, sandbox_params};

const SLACK_TOKEN: &str = "/api/oauth.v2.access";

fn slack_code(bench: &mut TestEmulator, pkce: bool) -> String {
    let challenge = challenge();
    let mut pairs = vec![
        ("client_id", "c1"),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("state", "s & t"),
        ("scope", "users:read,chat:write"),
    ];
    if pkce {
        pairs.extend([("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")]);
    }
    let answer = bench.authorize("/oauth/v2/authorize", &pairs);
    assert_eq!(answer["state"], "s & t");
    assert!(!answer.contains_key("iss"));
    answer["code"].clone()
}

fn slack_exchange(bench: &mut TestEmulator, code: &str) -> SandboxResponse {
    bench.form(
        SLACK_TOKEN,
        &[],
        &[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("client_id", "c1"),
            ("code_verifier", VERIFIER),
        ],
    )
}

fn slack_refresh(bench: &mut TestEmulator, token: &str) -> Value {
    let pairs = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "c1")];
    body(&bench.form(SLACK_TOKEN, &[], &pairs))
}

fn slack_health(bench: &mut TestEmulator, token: &str) -> Value {
    body(&bench.send("POST", "/api/auth.test", &[("authorization", &bearer(token))], ""))
}

#[test]
fn slack_lives_and_dies() {
    let mut bench = TestEmulator::new(SLACK, "oauth");
    let code = slack_code(&mut bench, true);
    let answer = body(&slack_exchange(&mut bench, &code));
    assert_eq!(answer["ok"], json!(true));
    assert_eq!(answer["scope"], json!("users:read,chat:write"));
    assert_eq!(answer["team"], json!({"id": "T0SANDBOX1", "name": "Acme Sandbox"}));
    // The user's token comes only with scopes of its own.
    assert_eq!(answer.pointer("/authed_user/access_token"), None);
    let (access, first) = (text(&answer, "/access_token"), text(&answer, "/refresh_token"));
    assert!(access.starts_with("xoxb-sandbox-"));

    let health = slack_health(&mut bench, &access);
    assert_eq!(health, json!({"ok": true, "team_id": "T0SANDBOX1", "team": "Acme Sandbox"}));
    bench.now += 3600;
    let expired = slack_health(&mut bench, &access);
    assert_eq!(expired, json!({"ok": false, "error": "token_expired"}));

    let answer = slack_refresh(&mut bench, &first);
    let (access, second) = (text(&answer, "/access_token"), text(&answer, "/refresh_token"));
    assert_ne!(first, second);
    assert_eq!(slack_health(&mut bench, &access)["ok"], json!(true));

    // A refresh token that was replaced ends everything.
    assert_eq!(slack_refresh(&mut bench, &first)["error"], json!("invalid_refresh_token"));
    assert_eq!(slack_refresh(&mut bench, &second)["error"], json!("invalid_refresh_token"));
    assert_eq!(slack_health(&mut bench, &access)["error"], json!("token_revoked"));
}

#[test]
fn a_code_works_once_and_its_second_use_revokes() {
    let mut bench = TestEmulator::new(SLACK, "oauth");
    let code = slack_code(&mut bench, true);
    let access = text(&body(&slack_exchange(&mut bench, &code)), "/access_token");
    let again = body(&slack_exchange(&mut bench, &code));
    assert_eq!((&again["ok"], &again["error"]), (&json!(false), &json!("invalid_grant")));
    assert_eq!(slack_health(&mut bench, &access)["error"], json!("token_revoked"));
}

#[test]
fn a_code_is_bound_to_client_redirect_verifier_and_time() {
    let mut bench = TestEmulator::new(SLACK, "oauth");
    let code = slack_code(&mut bench, true);
    let good = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", REDIRECT),
        ("client_id", "c1"),
        ("code_verifier", VERIFIER),
    ];
    for (name, wrong) in [
        ("redirect_uri", "http://localhost:8911/callback"),
        ("redirect_uri", ""),
        ("client_id", "c2"),
        ("code_verifier", ""),
        ("code_verifier", "another-verifier-of-at-least-forty-three-letters"),
        ("code", "sandbox-code-x.y"),
        ("grant_type", "password"),
    ] {
        let pairs = good.map(|(key, value)| (key, if key == name { wrong } else { value }));
        let answer = body(&bench.form(SLACK_TOKEN, &[], &pairs));
        assert_eq!(answer["ok"], json!(false), "{name}: {answer}");
    }
    bench.now += 600;
    assert_eq!(body(&bench.form(SLACK_TOKEN, &[], &good))["error"], json!("invalid_grant"));
    bench.now -= 600;
    assert_eq!(body(&bench.form(SLACK_TOKEN, &[], &good))["ok"], json!(true));
}

#[test]
fn an_app_with_pkce_is_public_and_one_without_is_not() {
    let mut bench = TestEmulator::new(SLACK, "oauth");
    let code = slack_code(&mut bench, false);
    let answer = body(&slack_exchange(&mut bench, &code));
    assert_eq!(answer["error"], json!("invalid_client"));

    let basic = format!("Basic {}", STANDARD.encode("c1:secret"));
    let pairs = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", REDIRECT)];
    let confidential = [("authorization", basic.as_str())];
    assert_eq!(body(&bench.form(SLACK_TOKEN, &confidential, &pairs))["ok"], json!(true));

    let code = slack_code(&mut bench, true);
    let mut pairs = pairs.to_vec();
    pairs[1].1 = &code;
    pairs.push(("code_verifier", VERIFIER));
    assert_eq!(body(&bench.form(SLACK_TOKEN, &confidential, &pairs))["error"], json!("invalid_client"));
}

#[test]
fn slack_is_revoked_with_the_token_itself() {
    let mut bench = TestEmulator::new(SLACK, "oauth");
    let code = slack_code(&mut bench, true);
    let access = text(&body(&slack_exchange(&mut bench, &code)), "/access_token");
    let header = bearer(&access);
    let revoke = |bench: &mut TestEmulator| body(&bench.form("/api/auth.revoke", &[("authorization", &header)], &[]));
    assert_eq!(revoke(&mut bench), json!({"ok": true}));
    assert_eq!(revoke(&mut bench), json!({"ok": false, "error": "token_revoked"}));
    assert_eq!(slack_health(&mut bench, &access)["error"], json!("token_revoked"));
}

#[test]
fn a_users_token_comes_with_its_scopes() {
    let mut bench = TestEmulator::new(SLACK, "oauth");
    let challenge = challenge();
    let pairs = [
        ("client_id", "c1"),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("user_scope", "chat:write"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let code = bench.authorize("/oauth/v2/authorize", &pairs)["code"].clone();
    let answer = body(&slack_exchange(&mut bench, &code));
    assert!(text(&answer, "/authed_user/access_token").starts_with("sandbox-user-"));
    assert_eq!(text(&answer, "/authed_user/id"), "U0SANDBOX1");
}

#[test]
fn a_pasted_bot_token_is_the_one_of_the_seed() {
    let slack = connector(SLACK);
    let (_, auth) = slack.auth_method(Some("bot-token")).unwrap();
    let token = sandbox_fields(&slack, auth, SEED)["token"].expose().clone();
    assert!(token.starts_with("xoxb-sandbox-"));
    let mut bench = TestEmulator::new(SLACK, "bot-token");
    assert_eq!(slack_health(&mut bench, &token)["ok"], json!(true));
    assert_eq!(slack_health(&mut bench, "xoxb-1")["error"], json!("invalid_auth"));
    assert_eq!(body(&bench.send("POST", "/api/auth.test", &[], ""))["error"], json!("not_authed"));
    assert_eq!(body(&bench.get("/api/auth.test", &[]))["error"], json!("not_authed"));
    assert_eq!(
        body(&bench.get("/api/auth.test", &[("authorization", &bearer(&token))]))["team"],
        json!("Acme Sandbox")
    );
    assert_eq!(bench.send("PUT", "/api/auth.test", &[], "").status, 405);
    assert_eq!(bench.get("/api/team.info", &[("authorization", &bearer(&token))]).status, 404);
}

#[test]
fn json_bodies_basic_clients_and_a_follow_up() {
    let mut bench = TestEmulator::new(PROJECTS, "oauth");
    let pairs = [("client_id", "c+1"), ("response_type", "code"), ("redirect_uri", REDIRECT), ("scope", "read")];
    let answer = bench.authorize("/authorize", &pairs);
    assert_eq!(answer["realmId"], "R0SANDBOX1");
    let basic = format!("Basic {}", STANDARD.encode("c%2B1:s%25x"));
    let client = [("authorization", basic.as_str())];
    let good = json!({
        "grant_type": "authorization_code", "code": answer["code"], "redirect_uri": REDIRECT, "audience": "api",
    });
    let mut wrong = good.clone();
    wrong["audience"] = json!("other");
    assert_eq!(body(&bench.json("/oauth/token", &client, &wrong))["error"], json!("invalid_request"));
    let mut in_body = good.clone();
    in_body["client_id"] = json!("c+1");
    assert_eq!(bench.json("/oauth/token", &[], &in_body).status, 401);
    in_body["client_secret"] = json!("s");
    assert_eq!(bench.json("/oauth/token", &[], &in_body).status, 401);
    assert_eq!(bench.form("/oauth/token", &client, &[("grant_type", "authorization_code")]).status, 400);

    let answer = body(&bench.json("/oauth/token", &client, &good));
    assert_eq!(answer["expires_in"], json!(7200));
    assert_eq!(answer["owner"]["email"], json!("sandbox@example.com"));
    assert_eq!(answer["bot_id"], json!("B0SANDBOX1"));
    let (access, refresh) = (text(&answer, "/data/access"), text(&answer, "/data/refresh"));

    let header = bearer(&access);
    let listed = body(&bench.get("/oauth/accessible-resources", &[("authorization", &header)]));
    assert_eq!(listed, json!({"values": [{"id": "C0SANDBOX1", "name": "Acme Sandbox"}]}));
    let health = bench.get("/ex/C0SANDBOX1/rest/myself", &[("authorization", &header)]);
    assert_eq!(body(&health), json!({"displayName": "Acme Sandbox", "accountId": "T0SANDBOX1"}));

    let renew = json!({"grant_type": "refresh_token", "refresh_token": refresh});
    let second = text(&body(&bench.json("/oauth/token", &client, &renew)), "/data/refresh");
    assert_eq!(body(&bench.json("/oauth/token", &client, &renew))["error"], json!("invalid_grant"));
    let renew = json!({"grant_type": "refresh_token", "refresh_token": second});
    assert_eq!(bench.json("/oauth/token", &client, &renew).status, 400);
    assert_eq!(bench.get("/ex/C0SANDBOX1/rest/myself", &[("authorization", &header)]).status, 401);
}

#[test]
fn revoking_an_unknown_token_is_a_success() {
    let mut bench = TestEmulator::new(PROJECTS, "oauth");
    let basic = format!("Basic {}", STANDARD.encode("c1:s"));
    let reply = bench.json("/oauth/revoke", &[("authorization", &basic)], &json!({"token": "unknown"}));
    assert_eq!((reply.status, reply.body.as_str()), (200, "{}"));
    assert_eq!(bench.json("/oauth/revoke", &[], &json!({"token": "unknown"})).status, 401);
}

#[test]
fn a_second_account_is_offered_where_one_chooses() {
    let mut bench = TestEmulator::with(PROJECTS, "oauth", &[("site", "Sandbox Two")]);
    let pairs = [("client_id", "c1"), ("response_type", "code"), ("redirect_uri", REDIRECT)];
    let code = bench.authorize("/authorize", &pairs)["code"].clone();
    let basic = format!("Basic {}", STANDARD.encode("c1:s"));
    let good = json!({"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "audience": "api"});
    let answer = body(&bench.json("/oauth/token", &[("authorization", &basic)], &good));
    let header = bearer(&text(&answer, "/data/access"));
    let listed = body(&bench.get("/oauth/accessible-resources", &[("authorization", &header)]));
    assert_eq!(listed.pointer("/values/1"), Some(&json!({"id": "C0SANDBOX2", "name": "Sandbox Two"})));
    let health = body(&bench.get("/ex/C0SANDBOX2/rest/myself", &[("authorization", &header)]));
    assert_eq!(health["displayName"], json!("Sandbox Two"));
}

#[test]
fn a_second_account_is_offered_where_one_consents() {
    let mut bench = TestEmulator::new(PROJECTS, "oauth");
    let pairs = [("client_id", "c1"), ("response_type", "code"), ("redirect_uri", REDIRECT)];
    let page = bench.get(&format!("/authorize?{}", encoded(&pairs)), &[]);
    assert!(page.body.contains("Also share the account Sandbox Two"), "{}", page.body);
    let pairs = [pairs.as_slice(), &[("sandbox_second", "yes")]].concat();
    let code = bench.authorize("/authorize", &pairs)["code"].clone();
    let basic = format!("Basic {}", STANDARD.encode("c1:s"));
    let good = json!({"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "audience": "api"});
    let answer = body(&bench.json("/oauth/token", &[("authorization", &basic)], &good));
    let header = bearer(&text(&answer, "/data/access"));
    let listed = body(&bench.get("/oauth/accessible-resources", &[("authorization", &header)]));
    assert_eq!(listed["values"].as_array().map(Vec::len), Some(2));
}

/// Endpoints that the user names, and a refresh with a URL of its own.
#[test]
fn urls_that_the_user_gives_keep_their_paths() {
    const ANY: &str = r#"
id = "any"
name = "Any"
category = "generic"
description = "x"
docs = "https://any.example"
params.authorize_url.prompt = "a"
params.token_url.prompt = "t"
params.region = { prompt = "r", choices = ["eu", "us"] }
params.label = { prompt = "l", optional = true }
[auth.oauth]
label = "OAuth"
[auth.oauth.oauth2]
authorize_url = "{authorize_url}"
token_url = "{token_url}"
refresh_url = "https://{region}.any.example/renew"
pkce = "never"
[auth.oauth.oauth2.answer]
keep = { instance_url = "/instance" }
[health]
path = "{instance_url}/services/me"
"#;
    let any = connector(ANY);
    let params = sandbox_params(&any, any.auth_method(None).unwrap().1);
    let expected = [
        ("authorize_url", "https://sandbox.invalid/authorize"),
        ("region", "eu"),
        ("token_url", "https://sandbox.invalid/token"),
    ];
    assert_eq!(params, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let mut bench = TestEmulator::with(ANY, "oauth", &[("token_url", "https://my.example/x/token")]);
    let pairs = [("client_id", "c1"), ("response_type", "code"), ("redirect_uri", "http://127.0.0.1:1/")];
    let reply = bench.get(&format!("/authorize?{}&sandbox_decision=allow", encoded(&pairs)), &[]);
    let url = Url::parse(location(&reply).unwrap()).unwrap();
    let code = url.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let exchange = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", "http://127.0.0.1:1/"),
        ("client_id", "c1"),
    ];
    assert_eq!(bench.form("/token", &[], &exchange).status, 404);
    let answer = body(&bench.form("/x/token", &[], &exchange));
    assert_eq!(answer["instance"], json!("https://sandbox.invalid"));
    let header = bearer(&text(&answer, "/access_token"));
    assert_eq!(bench.get("/services/me", &[("authorization", &header)]).status, 200);
    let refresh = text(&answer, "/refresh_token");
    let renew = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str()), ("client_id", "c1")];
    assert_eq!(body(&bench.form("/x/token", &[], &renew))["error"], json!("unsupported_grant_type"));
    assert_eq!(bench.form("/renew", &[], &renew).status, 200);
}

#[test]
fn keys_of_two_fields_and_keys_in_the_path() {
    let projects = connector(PROJECTS);
    let (_, auth) = projects.auth_method(Some("key")).unwrap();
    assert_eq!(sandbox_params(&projects, auth), BTreeMap::from([("subdomain".to_owned(), "acme".to_owned())]));
    let fields = sandbox_fields(&projects, auth, SEED);
    assert_eq!(fields["email"].expose(), "sandbox@example.com");
    let mut bench = TestEmulator::new(PROJECTS, "key");
    let basic = |token: &str| format!("Basic {}", STANDARD.encode(format!("sandbox@example.com/token:{token}")));
    let good = basic(fields["token"].expose());
    assert_eq!(bench.get("/rest/myself", &[("authorization", &good)]).status, 200);
    assert_eq!(bench.get("/rest/myself", &[("authorization", &basic("x"))]).status, 401);

    let bots = connector(BOTS);
    let (_, auth) = bots.auth_method(None).unwrap();
    let token = sandbox_fields(&bots, auth, SEED)["token"].expose().clone();
    assert!(token.contains(':'));
    let mut bench = TestEmulator::new(BOTS, "bot");
    let health = body(&bench.get(&format!("/bot{token}/getMe"), &[]));
    assert_eq!(health["result"], json!({"username": "acme-sandbox", "id": "T0SANDBOX1"}));
    let refused = bench.get("/bot1:x/getMe", &[]);
    assert_eq!((refused.status, body(&refused)["ok"].clone()), (401, json!(false)));
}

#[test]
fn any_openid_server_by_discovery() {
    let oidc = connector(OIDC);
    let (_, auth) = oidc.auth_method(None).unwrap();
    let params = sandbox_params(&oidc, auth);
    assert_eq!(params["issuer"], "https://sandbox.invalid");
    let mut bench = TestEmulator::new(OIDC, "oauth");
    for known in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let metadata = body(&bench.get(known, &[]));
        assert_eq!(metadata["issuer"], json!("https://sandbox.invalid"));
        assert_eq!(metadata["token_endpoint"], json!("https://sandbox.invalid/token"));
        assert_eq!(metadata["authorization_response_iss_parameter_supported"], json!(true));
    }
    let challenge = challenge();
    let mut pairs = vec![
        ("client_id", "c1"),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("scope", "openid offline_access"),
    ];
    let refused = bench.get(&format!("/authorize?{}", encoded(&pairs)), &[]);
    assert_eq!(callback(&refused)["error"], "invalid_request");
    pairs.extend([("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")]);
    let answer = bench.authorize("/authorize", &pairs);
    assert_eq!(answer["iss"], "https://sandbox.invalid");
    let exchange = [
        ("grant_type", "authorization_code"),
        ("code", &answer["code"]),
        ("redirect_uri", REDIRECT),
        ("client_id", "c1"),
        ("code_verifier", VERIFIER),
    ];
    let answer = body(&bench.form("/token", &[], &exchange));
    let refresh = text(&answer, "/refresh_token");
    let header = bearer(&text(&answer, "/access_token"));
    let user = body(&bench.get("/userinfo", &[("authorization", &header)]));
    assert!(text(&user, "/sub").len() == 21 && text(&user, "/email") == "sandbox@example.com", "{user}");
    assert_eq!(bench.get("/userinfo", &[]).status, 401);

    // This one keeps its refresh token, and says none in the answer.
    let renew = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str()), ("client_id", "c1")];
    for _ in 0..2 {
        let answer = body(&bench.form("/token", &[], &renew));
        assert_eq!(answer.get("refresh_token"), None);
        assert_eq!(answer["scope"], json!("openid offline_access"));
    }
    let wider = [renew.as_slice(), &[("scope", "openid admin")]].concat();
    assert_eq!(body(&bench.form("/token", &[], &wider))["error"], json!("invalid_scope"));
    assert_eq!(bench.form("/revoke", &[], &[("token", &refresh), ("client_id", "c1")]).status, 200);
    assert_eq!(body(&bench.form("/token", &[], &renew))["error"], json!("invalid_grant"));
    assert_eq!(bench.get("/userinfo", &[("authorization", &header)]).status, 401);
}

#[test]
fn an_issuer_of_the_users_own_keeps_its_path() {
    let mut bench = TestEmulator::with(OIDC, "oauth", &[("issuer", "https://id.example.com/realms/x")]);
    for known in ["/realms/x/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/realms/x"] {
        let metadata = body(&bench.get(known, &[]));
        assert_eq!(metadata["issuer"], json!("https://id.example.com/realms/x"));
        assert_eq!(metadata["userinfo_endpoint"], json!("https://id.example.com/userinfo"));
    }
}

#[test]
fn client_credentials_need_a_secret_and_give_no_refresh_token() {
    let mut bench = TestEmulator::new(OIDC, "oauth");
    let pairs = [("grant_type", "client_credentials"), ("scope", "a b")];
    let (id, secret) = sandbox_client(&connector(OIDC), SEED);
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{}", secret.expose())));
    let answer = body(&bench.form("/token", &[("authorization", &basic)], &pairs));
    assert_eq!(answer.get("refresh_token"), None);
    assert_eq!(bench.get("/userinfo", &[("authorization", &bearer(&text(&answer, "/access_token")))]).status, 200);
    let public = [pairs.as_slice(), &[("client_id", "c1")]].concat();
    assert_eq!(bench.form("/token", &[], &public).status, 401);
}

#[test]
fn a_vendor_that_must_be_asked_for_json_answers_a_form() {
    let mut bench = TestEmulator::new(CODE_HOST, "oauth");
    let challenge = challenge();
    let pairs = [
        ("client_id", "c1"),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("scope", "repo hidden long"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let code = bench.authorize("/login/oauth/authorize", &pairs)["code"].clone();
    let exchange = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", REDIRECT),
        ("client_id", "c1"),
        ("client_secret", "s"),
        ("code_verifier", VERIFIER),
    ];
    let reply = bench.form("/login/oauth/access_token", &[], &exchange);
    assert_eq!(reply.content_type, "application/x-www-form-urlencoded");
    let answer: BTreeMap<String, String> = url::form_urlencoded::parse(reply.body.as_bytes()).into_owned().collect();
    assert_eq!(answer["scope"], "repo,l");
    let header = bearer(&answer["access_token"]);
    let health = bench.get("/user", &[("authorization", &header)]);
    assert!(health.headers.contains(&("x-oauth-scopes".to_owned(), "repo,l".to_owned())));

    let basic = format!("Basic {}", STANDARD.encode("c1:s"));
    let token = json!({"access_token": answer["access_token"]}).to_string();
    let headers = [("authorization", basic.as_str()), ("content-type", "application/json")];
    assert_eq!(bench.send("DELETE", "/applications/c1/grant", &headers, &token).status, 200);
    assert_eq!(bench.get("/user", &[("authorization", &header)]).status, 401);
}

#[test]
fn a_token_in_the_fragment() {
    let mut bench = TestEmulator::new(BOARDS, "token");
    let pairs = [("key", "k1"), ("response_type", "token"), ("return_url", REDIRECT), ("scope", "read,write")];
    let page = Url::parse(&format!("http://127.0.0.1/1/authorize?{}", encoded(&pairs))).unwrap();
    let shown = bench.get(&path_and_query(&page), &[]);
    assert!(shown.body.contains("<code>write</code>"), "{}", shown.body);
    let reply = bench.get(&path_and_query(&approve_url(&page)), &[]);
    let url = Url::parse(location(&reply).unwrap()).unwrap();
    let token = url.fragment().unwrap().strip_prefix("token=").unwrap();
    assert_eq!(url.query(), None);
    assert_eq!(bench.get(&format!("/1/members/me?key=k1&token={token}"), &[]).status, 200);
    assert_eq!(bench.get("/1/members/me?key=k1&token=x", &[]).status, 401);
    assert_eq!(bench.get("/1/members/me", &[("authorization", &bearer(token))]).status, 401);
}

#[test]
fn the_same_seed_requests_and_times_give_the_same_answers() {
    let live = || {
        let mut bench = TestEmulator::new(SLACK, "oauth");
        let code = slack_code(&mut bench, true);
        let answer = slack_exchange(&mut bench, &code);
        let refreshed = slack_refresh(&mut bench, &text(&body(&answer), "/refresh_token"));
        (answer, refreshed, serde_json::to_string(&bench.state).unwrap())
    };
    assert_eq!(live(), live());
}

#[test]
fn tokens_outlive_the_state_and_fit_no_other_seed_or_connector() {
    let mut bench = TestEmulator::new(SLACK, "oauth");
    let code = slack_code(&mut bench, true);
    let answer = body(&slack_exchange(&mut bench, &code));
    let access = text(&answer, "/access_token");
    bench.state = SandboxState::default();
    assert_eq!(slack_health(&mut bench, &access)["ok"], json!(true));
    assert_eq!(slack_refresh(&mut bench, &text(&answer, "/refresh_token"))["ok"], json!(true));
    bench.vendor =
        VendorEmulator::new(&connector(SLACK), None, &SandboxAccount::default(), &BTreeMap::new(), b"another seed")
            .unwrap();
    assert_eq!(slack_health(&mut bench, &access)["ok"], json!(false));
    let renamed = SLACK.replace("id = \"slack\"", "id = \"slack-two\"");
    bench.vendor =
        VendorEmulator::new(&connector(&renamed), None, &SandboxAccount::default(), &BTreeMap::new(), SEED).unwrap();
    assert_eq!(slack_health(&mut bench, &access)["ok"], json!(false));
}
