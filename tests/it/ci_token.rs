//! API tokens for CI jobs: an identity token of a trusted CI system is exchanged for one, once, and each wrong one is refused.

use std::io::Write;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use integ::signing::rsa::{KEY_ID, RsaKey};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Home, finish};
use crate::receiver::{Answer, Receiver};
use crate::schemas::check_output;
use crate::server::client::{Client, Reply};
use crate::server::{Server, expect};

const AUDIENCE: &str = "https://integ.example";

/// A CI system with a key, at an address of this machine.
struct Ci {
    receiver: Receiver,
    key: RsaKey,
}

fn answer(value: &Value) -> Answer {
    Answer::Json(Box::leak(value.to_string().into_boxed_str()))
}

impl Ci {
    fn start() -> Self {
        let (receiver, key) = (Receiver::start(), RsaKey::new([3; 32]));
        let metadata = json!({ "issuer": receiver.url(""), "jwks_uri": receiver.url("/keys") });
        receiver.always("/.well-known/openid-configuration", answer(&metadata));
        receiver.always("/keys", answer(&key.key_set().unwrap()));
        Self { receiver, key }
    }

    fn issuer(&self) -> String {
        self.receiver.url("")
    }

    fn claims(&self) -> Value {
        let now = Timestamp::now().as_second();
        json!({
            "iss": self.issuer(), "aud": AUDIENCE, "sub": "repo:acme/app:ref:refs/heads/main", "iat": now, "nbf": now,
            "exp": now + 300, "jti": now.to_string(), "repository": "acme/app", "ref": "refs/heads/main",
        })
    }

    /// A token with changed claims. Each is another one.
    fn token(&self, change: &Value) -> String {
        self.token_with(&json!({ "alg": "RS256", "kid": KEY_ID }), change)
    }

    fn token_with(&self, header: &Value, change: &Value) -> String {
        let mut claims = self.claims();
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        sign(&self.key, header, &claims)
    }
}

fn sign(key: &RsaKey, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()).unwrap()))
}

fn home(ci: &Ci) -> Home {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home.ok("connect github --sandbox");
    home.ok("config set http.allow 127.0.0.1");
    home.ok(&format!(
        "api-token trust add deploy --issuer {} --audience {AUDIENCE} --claim repository=acme/app \
         --claim ref=refs/heads/main --scope connections:read --connection slack --ttl 10m",
        ci.issuer()
    ));
    home
}

fn exchange(server: &Server, token: &str) -> Reply {
    Client::new(&server.url, None).post("/v1/api-token-exchanges", &json!({ "token": token }))
}

#[test]
fn a_job_gets_a_token_for_its_connections_for_a_short_time() {
    let ci = Ci::start();
    let home = home(&ci);
    let server = Server::start(&home, "");
    let identity = ci.token(&json!({}));
    let created = expect(&exchange(&server, &identity), 201);
    assert_eq!((&created["connections"], &created["trust"]), (&json!(["slack"]), &json!("deploy")));
    let time = |name: &str| created[name].as_str().unwrap().parse::<Timestamp>().unwrap().as_second();
    assert_eq!(time("expires_at") - time("created_at"), 600);
    let api = server.client(created["token"].as_str().unwrap());
    expect(&api.get("/v1/connections/slack"), 200);
    assert_eq!(api.get("/v1/connections/github").status, 404);
    assert_eq!(api.send("POST", "/v1/connections/slack/refresh", &[], None).code(), "missing_scope");

    let again = exchange(&server, &identity);
    assert_eq!((again.status, again.code()), (401, "repeated_identity_token"), "{again:?}");
    // Its issuer was asked once.
    expect(&exchange(&server, &ci.token(&json!({ "jti": "2" }))), 201);
    assert_eq!(ci.receiver.received("/keys").len(), 1);
    let log = home.ok("audit list --json");
    let entries: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let login = entries.iter().find(|one| one["operation"] == "api-token login" && one["outcome"] == "done").unwrap();
    assert_eq!(login["detail"], "trust deploy, subject repo:acme/app:ref:refs/heads/main");

    // What came from a trust ends with it.
    assert_eq!(home.json("api-token trust remove deploy --yes")["revoked_tokens"], 2);
    assert_eq!(api.get("/v1/connections/slack").code(), "invalid_token");
    let untrusted = exchange(&server, &ci.token(&json!({ "jti": "3" })));
    assert_eq!((untrusted.status, untrusted.code()), (401, "untrusted_identity_token"), "{untrusted:?}");
}

#[test]
fn a_token_of_a_wrong_issuer_audience_claim_or_time_is_refused() {
    let (ci, other) = (Ci::start(), Ci::start());
    let home = home(&ci);
    let server = Server::start(&home, "");
    let now = Timestamp::now().as_second();
    let refused = |token: &str, code: &str, what: &str| {
        let reply = exchange(&server, token);
        assert_eq!((reply.status, reply.code()), (401, code), "{what}: {reply:?}");
    };
    let (untrusted, invalid) = ("untrusted_identity_token", "invalid_identity_token");
    for (change, code) in [
        (json!({ "iss": other.issuer() }), untrusted),
        (json!({ "iss": format!("{}/", ci.issuer()) }), untrusted),
        (json!({ "iss": null }), untrusted),
        (json!({ "aud": "https://other.example" }), untrusted),
        (json!({ "aud": null }), untrusted),
        (json!({ "repository": "acme/other" }), untrusted),
        (json!({ "repository": ["acme/app"] }), untrusted),
        (json!({ "ref": "refs/heads/other" }), untrusted),
        (json!({ "ref": null }), untrusted),
        (json!({ "exp": now - 61 }), invalid),
        (json!({ "exp": null }), invalid),
        (json!({ "nbf": now + 120 }), invalid),
        (json!({ "iat": now + 120 }), invalid),
    ] {
        refused(&ci.token(&change), code, &change.to_string());
    }
    for header in [
        json!({ "alg": "none" }),
        json!({ "alg": "HS256", "kid": KEY_ID }),
        json!({ "alg": "ES256", "kid": KEY_ID }),
        json!({ "alg": "RS256", "kid": "other" }),
        json!({ "alg": "RS256" }),
    ] {
        refused(&ci.token_with(&header, &json!({})), invalid, &header.to_string());
    }
    let foreign = sign(&RsaKey::new([4; 32]), &json!({ "alg": "RS256", "kid": KEY_ID }), &ci.claims());
    refused(&foreign, invalid, "another key");
    refused("a.b.c", invalid, "no token");
    // Nobody asks an issuer that is not trusted.
    assert_eq!(other.receiver.received("/keys").len(), 0);
    assert_eq!(home.json("api-token list")["tokens"], json!([]));
    expect(&exchange(&server, &ci.token(&json!({}))), 201);
}

#[test]
fn one_address_makes_thirty_exchanges_a_minute() {
    let ci = Ci::start();
    let home = home(&ci);
    let server = Server::start(&home, "");
    let statuses: Vec<u16> = (0..40).map(|_| exchange(&server, "a.b.c").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 30, "{statuses:?}");
    let reply = exchange(&server, "a.b.c");
    assert_eq!((reply.status, reply.code(), reply.header("retry-after")), (429, "rate_limited", Some("60")));
    assert_eq!(Client::new(&server.url, None).get("/v1/api-token-exchanges").status, 405);
}

#[test]
fn a_job_signs_in_on_the_command_line() {
    let ci = Ci::start();
    let home = home(&ci);
    let server = Server::start(&home, "");
    let job = Home::new();
    let login = |identity: &str| {
        let mut command = job.command(["api-token", "login", "--oidc"]);
        command.env("INTEG_SERVER", &server.url).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(identity.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, token, note) = login(&ci.token(&json!({})));
    assert_eq!(code, 0, "{note}");
    expect(&server.client(token.trim()).get("/v1/connections/slack"), 200);
    let (code, token, error) = login(&ci.token(&json!({ "ref": "refs/pull/1/merge" })));
    assert_eq!((code, token.as_str()), (4, ""), "{error}");
    assert!(error.contains("no trust fits"), "{error}");

    // GitHub Actions gives the job a URL, to which the audience is added.
    let encoded: String = server.url.replace(':', "%3A").replace('/', "%2F");
    let path = format!("/token?api-version=2&audience={encoded}");
    let claims = ci.token(&json!({ "aud": AUDIENCE, "jti": "actions" }));
    ci.receiver.always(&path, answer(&json!({ "value": claims })));
    let mut command = job.command(["api-token", "login", "--oidc", "--json"]);
    command.env("INTEG_SERVER", &server.url).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token");
    command.env("ACTIONS_ID_TOKEN_REQUEST_URL", ci.receiver.url("/token?api-version=2"));
    let ran = finish(command);
    assert_eq!(ran.code, 0, "{ran:?}");
    check_output(&["api-token", "login", "--oidc", "--json"].map(str::to_owned), &ran);
    let requests = ci.receiver.received(&path);
    assert_eq!(requests[0].header("authorization"), Some("Bearer request-token"));
    assert_eq!(job.run("api-token login --oidc --json").error_code(), "no_server");
}

#[test]
fn a_trust_needs_an_issuer_claims_connections_and_a_short_time() {
    let ci = Ci::start();
    let home = home(&ci);
    let add = |words: &str| {
        let line = format!("api-token trust add x --audience a --scope connections:read --json {words}");
        home.run(&line).error_code()
    };
    let rest = "--claim a=b --connection slack";
    assert_eq!(add(&format!("--issuer http://ci.example {rest}")), "invalid_issuer");
    assert_eq!(add(&format!("--issuer https://ci.example?x=y {rest}")), "invalid_issuer");
    assert_eq!(add(&format!("--issuer https://ci.example {rest} --ttl 2h")), "invalid_time");
    assert_eq!(add("--issuer https://ci.example --claim a=b --connection gitlab"), "unknown_connection");
    let taken =
        format!("api-token trust add deploy --issuer https://ci.example --audience a --scope read:* {rest} --json");
    assert_eq!(home.run(&taken).error_code(), "name_taken");
    assert_eq!(home.run("api-token trust remove nobody --yes --json").error_code(), "trust_not_found");
    assert_eq!(home.json("api-token trust list")["trusts"][0]["claims"]["ref"], "refs/heads/main");
}
