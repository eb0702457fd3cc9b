//! Keys that are presented for tokens: what the vendor takes, and what it refuses.

use super::*;
use crate::connector::{Assertion, Values};
use crate::sandbox::sandbox_fields;
use crate::secret::Secret;
use crate::signing::assertion::sign;

const KEYS: &str = r#"
id = "robot"
name = "Robot"
category = "developer"
description = "Keys"
docs = "https://robot.example"
[api]
base = "https://api.robot.example"
[health]
path = "/me"
[scopes]
read = "Read"
write = "Write"
[auth.file]
label = "Key file"
[auth.file.fields.file]
prompt = "Key file"
kind = "json"
expect = { "/type" = "robot" }
values = { email = "/email", secret_key = "/key/pem" }
[auth.file.oauth2]
grants = ["jwt_bearer"]
token_url = "https://robot.example/token"
client_auth = "none"
[auth.file.oauth2.assertion]
key = "secret_key"
claims = { iss = "{email}", aud = "{token_url}", scope = "{scope}", jti = "{random}" }
[auth.login]
label = "Login"
[auth.login.fields.name]
prompt = "Name"
secret = false
[auth.login.fields.password]
prompt = "Password"
[auth.login.oauth2]
grants = ["exchange"]
token_url = "https://robot.example/login"
token_headers = { X-Name = "{name}" }
token_params = { password = "{password}" }
scope = { param = "" }
answer = { access_token = "/token", expires_at = "/until" }
[auth.client]
label = "Client"
[auth.client.fields.private_key]
prompt = "Key"
kind = "private_key"
[auth.client.oauth2]
grants = ["client_credentials"]
token_url = "https://robot.example/client"
client_auth = "private_key_jwt"
client_assertion = { key = "private_key" }
"#;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A robot's vendor, with what a user of it has.
struct Robot {
    bench: TestEmulator,
    rule: Assertion,
    values: Values,
    key: Secret,
}

fn robot() -> Robot {
    let connector = connector(KEYS);
    let auth = &connector.auth["file"];
    let fields = sandbox_fields(&connector, auth, SEED);
    let file: Value = serde_json::from_str(fields["file"].expose()).unwrap();
    assert_eq!(file["type"], "robot");
    let mut values = Values::default();
    for (name, value) in auth.credential_values(&fields) {
        values.set(&name, value.expose());
    }
    values.set("token_url", "https://robot.example/token").set("scope", "read").set("random", "1");
    Robot {
        bench: TestEmulator::new(KEYS, "file"),
        rule: auth.oauth2.as_ref().unwrap().assertion.clone().unwrap(),
        key: Secret::from(text(&file, "/key/pem").as_str()),
        values,
    }
}

impl Robot {
    fn assertion(&self) -> String {
        let now = Timestamp::from_second(self.bench.now).unwrap();
        sign(&self.rule, Some(&self.key), &[], &self.values, now).unwrap().expose().clone()
    }

    fn present(&mut self, assertion: &str) -> SandboxResponse {
        self.bench.form("/token", &[], &[("grant_type", JWT_BEARER), ("assertion", assertion)])
    }

    /// Why an assertion is refused.
    fn refused(&mut self, assertion: &str) -> String {
        let reply = self.present(assertion);
        assert_eq!((reply.status, body(&reply)["error"].as_str()), (400, Some("invalid_grant")), "{}", reply.body);
        text(&body(&reply), "/error_description")
    }
}

#[test]
fn an_assertion_gives_a_token_once() {
    let mut robot = robot();
    let assertion = robot.assertion();
    let reply = robot.present(&assertion);
    assert_eq!(reply.status, 200, "{}", reply.body);
    let answer = body(&reply);
    assert_eq!((text(&answer, "/scope"), answer["expires_in"].as_i64()), ("read".to_owned(), Some(3600)));
    assert!(answer.get("refresh_token").is_none());
    let token = text(&answer, "/access_token");
    assert_eq!(robot.bench.get("/me", &[("authorization", &bearer(&token))]).status, 200);
    assert!(robot.refused(&assertion).contains("used before"));
    robot.values.set("random", "2");
    let another = robot.assertion();
    assert_eq!(robot.present(&another).status, 200);
}

#[test]
fn an_assertion_of_another_key_audience_issuer_or_time_is_refused() {
    let mut robot = robot();
    let now = robot.bench.now;
    for (moment, said) in [(now - 301, "expired"), (now + 61, "future"), (now + 7200, "future")] {
        robot.bench.now = moment;
        let assertion = robot.assertion();
        robot.bench.now = now;
        assert!(robot.refused(&assertion).contains(said), "{moment}");
    }
    for (name, value, said) in
        [("token_url", "https://other.example/token", "aud"), ("email", "somebody@example.com", "iss")]
    {
        let before = robot.values.clone();
        robot.values.set(name, value);
        let assertion = robot.assertion();
        robot.values = before;
        assert!(robot.refused(&assertion).contains(said), "{name}");
    }
    let good = robot.assertion();
    let (signed, _) = good.rsplit_once('.').unwrap();
    for forged in [format!("{signed}."), format!("{signed}.AAAA"), "x".to_owned(), good.replace('.', "..")] {
        robot.refused(&forged);
    }
    let other =
        Robot { key: Secret::new(crate::signing::rsa::RsaKey::new([7; 32]).private_key().unwrap()), ..self::robot() };
    assert!(robot.refused(&other.assertion()).contains("signature"));
    robot.values.set("scope", "admin");
    let assertion = robot.assertion();
    assert_eq!(body(&robot.present(&assertion))["error"], "invalid_scope");
}

#[test]
fn a_key_is_exchanged_as_the_file_says() {
    let connector = connector(KEYS);
    let fields = sandbox_fields(&connector, &connector.auth["login"], SEED);
    let (name, password) = (fields["name"].expose().clone(), fields["password"].expose().clone());
    let mut bench = TestEmulator::new(KEYS, "login");
    let reply = bench.form("/login", &[("x-name", &name)], &[("password", &password)]);
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(text(&body(&reply), "/until"), "2027-01-15T09:00:00Z");
    let token = text(&body(&reply), "/token");
    assert_eq!(bench.get("/me", &[("authorization", &bearer(&token))]).status, 200);
    assert_eq!(bench.get("/me", &[("authorization", &bearer(&password))]).status, 401, "the key itself opens nothing");
    let wrong: [(&[(&str, &str)], &str); 3] =
        [(&[("x-name", &name)], "wrong"), (&[("x-name", "other")], &password), (&[], &password)];
    for (headers, password) in wrong {
        assert_eq!(bench.form("/login", headers, &[("password", password)]).status, 401);
    }
}

#[test]
fn a_client_shows_an_assertion_of_its_own_once() {
    let connector = connector(KEYS);
    let auth = &connector.auth["client"];
    let key = sandbox_fields(&connector, auth, SEED)["private_key"].clone();
    let rule = auth.oauth2.as_ref().unwrap().client_assertion.clone().unwrap();
    let mut bench = TestEmulator::new(KEYS, "client");
    let now = Timestamp::from_second(bench.now).unwrap();
    let signed = |sub: &str, aud: &str, jti: &str| {
        let usual = [("iss", "robot-client"), ("sub", sub), ("aud", aud), ("jti", jti)];
        sign(&rule, Some(&key), &usual, &Values::default(), now).unwrap().expose().clone()
    };
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let mut ask = |assertion: &str| {
        let pairs =
            [("grant_type", "client_credentials"), ("client_assertion_type", kind), ("client_assertion", assertion)];
        bench.form("/client", &[], &pairs).status
    };
    let url = "https://robot.example/client";
    assert_eq!(ask(&signed("robot-client", url, "1")), 200);
    assert_eq!(ask(&signed("robot-client", url, "1")), 401, "a replay");
    assert_eq!(ask(&signed("another", url, "2")), 401, "a client that is not the issuer");
    assert_eq!(ask(&signed("robot-client", "https://other.example", "3")), 401, "another server");
    assert_eq!(ask(""), 401);
}
