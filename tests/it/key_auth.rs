//! Tokens for keys: assertions that another library verifies, an app's installation, a key for a token, client certificates.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use integ::vault::Identity;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::harness::{Home, Ran, Running, finish, has_program, needs, peers};
use crate::wire;

fn ready() -> bool {
    needs("node and tests/peers/node_modules", has_program("node") && peers().join("node_modules").is_dir())
        && needs("openssl", has_program("openssl"))
        && needs("python3", has_program("python3"))
}

/// A service whose methods present keys. The claims come from parameters, so that each can be wrong.
const ROBOT: &str = r#"
id = "robot"
name = "Robot"
category = "developer"
description = "A service that knows no people."
docs = "https://docs.example.test"
[api]
base = "https://api.example.test"
[health]
path = "/me"
account = { id = "/id", name = "/name" }
[scopes]
read = "Read"

[auth.jwt]
label = "Signed assertion"
[auth.jwt.params.name]
prompt = "Name of the account"
default = "robot@example.test"
[auth.jwt.params.audience]
prompt = "Audience"
default = "https://token.example.test/"
[auth.jwt.params.once]
prompt = "ID of every assertion"
optional = true
[auth.jwt.fields.private_key]
prompt = "Private key"
kind = "private_key"
[auth.jwt.oauth2]
grants = ["jwt_bearer"]
token_url = "https://token.example.test/token"
client_auth = "none"
scope = { default = ["read"] }
[auth.jwt.oauth2.assertion]
key = "private_key"
claims = { iss = "{name}", aud = "{audience}", scope = "{scope}", jti = "{once}" }

[auth.login]
label = "Key for a token"
[auth.login.fields.api_key]
prompt = "API key"
prefixes = ["key-"]
[auth.login.oauth2]
grants = ["exchange"]
token_url = "https://token.example.test/login"
token_body = "json"
token_params = { api_key = "{api_key}" }
scope = { param = "" }
answer = { access_token = "/session/token", expires_at = "/session/until" }
"#;

/// Keys and certificates of a test, made by OpenSSL.
struct Keys(TempDir);

impl Keys {
    fn new() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        keys.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem");
        keys.openssl("pkey -in rsa.pem -pubout -out rsa.pub");
        keys
    }

    fn openssl(&self, line: &str) {
        let mut command = Command::new("openssl");
        command.args(line.split_whitespace()).current_dir(self.0.path());
        let ran = finish(command);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `--param NAME=@FILE`.
    fn given(&self, name: &str, file: &str) -> String {
        format!("--param {name}=@{}", self.path(file).display())
    }

    /// An authority, a server's certificate for 127.0.0.1, and those of clients: `client` of the authority, `own` signed by
    /// itself, `stranger` of nobody that the server knows.
    fn certificates(&self) -> &Self {
        let new = "req -x509 -newkey rsa:2048 -nodes -days 30";
        self.openssl(&format!("{new} -subj /CN=authority -keyout ca.key -out ca.crt"));
        std::fs::write(self.path("san"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n").unwrap();
        std::fs::write(self.path("leaf"), "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth\n").unwrap();
        for (name, extensions) in [("server", "san"), ("client", "leaf")] {
            self.openssl(&format!("req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"));
            let sign = "x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 30";
            self.openssl(&format!("{sign} -in {name}.csr -extfile {extensions} -out {name}.crt"));
        }
        for name in ["own", "stranger"] {
            self.openssl(&format!("{new} -subj /CN={name} -keyout {name}.key -out {name}.crt"));
        }
        self
    }

    fn tls(&self) -> Value {
        json!({ "key": self.path("server.key"), "cert": self.path("server.crt"), "ca": self.path("ca.crt") })
    }
}

struct Peer {
    _server: Running,
    ready: Value,
}

impl Peer {
    fn start(script: &str, options: &Value) -> Self {
        let mut command = Command::new("node");
        command.arg(peers().join(script)).arg(options.to_string());
        let mut server = Running::start(command);
        Self { ready: server.event(), _server: server }
    }

    fn origin(&self) -> &str {
        self.ready["origin"].as_str().unwrap()
    }

    fn get(&self, path: &str) -> Value {
        let message = wire::get(&Url::parse(self.origin()).unwrap().join(path).unwrap());
        serde_json::from_slice(&message.body).unwrap()
    }

    /// How often a route was asked.
    fn count(&self, request: &str) -> usize {
        self.get("/test/log").as_array().unwrap().iter().filter(|entry| entry["request"] == request).count()
    }
}

/// A service that verifies with the public key of `rsa.pem`.
fn token_server(keys: &Keys, further: &Value) -> Peer {
    let mut options = json!({ "publicKey": keys.path("rsa.pub") });
    options.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    Peer::start("token-server.mjs", &options)
}

fn robot() -> Home {
    let home = Home::new();
    home.install("robot", ROBOT);
    home
}

fn connect(home: &Home, peer: &Peer, auth: &str, further: &str) -> Ran {
    home.run(&format!("connect robot --auth {auth} --origin {} {further} --json", peer.origin()))
}

fn connected(home: &Home, peer: &Peer, auth: &str, further: &str) {
    let ran = connect(home, peer, auth, further);
    assert_eq!(ran.code, 0, "{ran:?}");
}

fn status(home: &Home) -> Value {
    home.json("status")["connections"][0].clone()
}

/// Checks how a command failed, and returns what it said.
fn failed(ran: Ran, code: i32, error: &str) -> String {
    assert_eq!((ran.code, ran.error_code().as_str()), (code, error), "{ran:?}");
    ran.stderr
}

#[test]
fn a_signed_assertion_gives_tokens_and_another_one_renews_them() {
    if !ready() {
        return;
    }
    let keys = Keys::new();
    keys.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out p256.pem");
    keys.openssl("ecparam -name secp384r1 -genkey -noout -out p384.pem");
    keys.openssl("genpkey -algorithm ED25519 -out ed25519.pem");
    for (name, algorithm) in [("rsa", "RS256"), ("p256", "ES256"), ("p384", "ES384"), ("ed25519", "EdDSA")] {
        keys.openssl(&format!("pkey -in {name}.pem -pubout -out {name}.pub"));
        let options = json!({ "publicKey": keys.path(&format!("{name}.pub")), "algorithms": [algorithm] });
        let peer = Peer::start("token-server.mjs", &options);
        let home = robot();
        connected(&home, &peer, "jwt", &keys.given("private_key", &format!("{name}.pem")));
        let connection = status(&home);
        assert_eq!(
            (&connection["status"], &connection["refreshable"]),
            (&"active".into(), &true.into()),
            "{connection}"
        );
        assert_eq!(connection["account"]["name"], "Robot");
        let first = home.ok("token robot");
        home.ok("refresh robot");
        assert_ne!(first, home.ok("token robot"), "{algorithm}");
        assert_eq!(home.json("test")["tests"][0]["outcome"], "healthy");
        assert_eq!(peer.count("POST /token"), 2, "{algorithm}");
    }
}

#[test]
fn an_assertion_that_is_wrong_in_any_way_connects_nothing() {
    if !ready() {
        return;
    }
    let keys = Keys::new();
    keys.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out other.pem");
    let peer = token_server(&keys, &json!({}));
    let home = robot();
    let good = keys.given("private_key", "rsa.pem");
    for (what, given, said) in [
        ("another key", keys.given("private_key", "other.pem"), "signature"),
        ("another audience", format!("{good} --param audience=https://other.example/"), "aud"),
        ("another issuer", format!("{good} --param name=somebody"), "iss"),
    ] {
        let text = failed(connect(&home, &peer, "jwt", &given), 4, "invalid_grant");
        assert!(text.contains(said), "{what}: {text}");
        assert!(text.contains("--param private_key=@FILE"), "{what}: {text}");
        assert_eq!(home.json("status")["summary"]["total"], 0, "{what}");
    }
    // Each assertion has the same id: the second one is a replay.
    connected(&home, &peer, "jwt", &format!("{good} --param once=1"));
    let text = failed(home.run("refresh robot --json"), 4, "needs_reauth");
    assert!(text.contains("used before"), "{text}");
}

#[test]
fn a_wrong_clock_is_named_and_ends_no_grant() {
    if !ready() {
        return;
    }
    let keys = Keys::new();
    let peer = token_server(&keys, &json!({ "clockOffset": -7200 }));
    let home = robot();
    let given = keys.given("private_key", "rsa.pem");
    let text = failed(connect(&home, &peer, "jwt", &given), 5, "clock_skew");
    assert!(text.contains("2 h ahead of the server's") && text.contains("`date`"), "{text}");
    peer.get("/test/clock?offset=0");
    connected(&home, &peer, "jwt", &given);
    // The assertion has expired by the server's clock, which is a refusal for good by its code.
    peer.get("/test/clock?offset=86400");
    let text = failed(home.run("refresh robot --json"), 5, "clock_skew");
    assert!(text.contains("behind the server's"), "{text}");
    assert_ne!(status(&home)["status"], "needs_reauth");
    peer.get("/test/clock?offset=0");
    home.ok("refresh robot");
    assert_eq!(status(&home)["status"], "active");
}

#[test]
fn a_key_that_is_refused_needs_a_person_and_is_tried_again_at_reconnect() {
    if !ready() {
        return;
    }
    let keys = Keys::new();
    let peer = token_server(&keys, &json!({}));
    let home = robot();
    connected(&home, &peer, "jwt", &keys.given("private_key", "rsa.pem"));
    peer.get("/test/refuse");
    let text = failed(home.run("refresh robot --json"), 4, "needs_reauth");
    assert!(text.contains("the account was deleted"), "{text}");
    assert_eq!(status(&home)["status"], "needs_reauth");
    failed(home.run("reconnect robot --json"), 4, "invalid_grant");
    peer.get("/test/accept");
    assert_eq!(home.run("reconnect robot").code, 0, "the stored key is presented again");
    assert_eq!(status(&home)["status"], "active");
    // Another key, which the service does not know.
    keys.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out other.pem");
    let other = keys.given("private_key", "other.pem");
    failed(home.run(&format!("reconnect robot {other} --json")), 4, "invalid_grant");
    home.ok("refresh robot");
}

#[test]
fn a_kill_while_a_key_is_presented_costs_nothing() {
    if !ready() {
        return;
    }
    let keys = Keys::new();
    let peer = token_server(&keys, &json!({ "delay": 1000 }));
    let home = robot();
    connected(&home, &peer, "jwt", &keys.given("private_key", "rsa.pem"));
    let mut command = home.command(["refresh", "robot"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The log names a request before its delayed answer.
    while peer.count("POST /token") < 2 {
        // A pause between two looks at the log.
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    home.expire_leases();
    home.ok("refresh robot");
    assert_eq!((&status(&home)["status"], peer.count("POST /token")), (&"active".into(), 3));
}

#[test]
fn any_number_of_processes_present_a_key_once() {
    if !ready() {
        return;
    }
    let keys = Keys::new();
    let peer = token_server(&keys, &json!({ "delay": 300 }));
    let home = robot();
    connected(&home, &peer, "jwt", &keys.given("private_key", "rsa.pem"));
    let line = ["token", "robot", "--min-ttl", "3590s"];
    // Until the token has less left than is asked for: ten seconds of its hour, and one.
    std::thread::sleep(Duration::from_secs(11));
    let start = || home.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let running: Vec<_> = (0..8).map(|_| start()).collect();
    let tokens: Vec<_> = running.into_iter().map(|child| Ran::of(child.wait_with_output().unwrap())).collect();
    assert!(tokens.iter().all(|ran| ran.code == 0 && ran.stdout == tokens[0].stdout), "{tokens:?}");
    assert_eq!(peer.count("POST /token"), 2, "one when it was connected, one for all");
}

#[test]
fn an_app_gets_tokens_of_an_installation_until_it_is_removed() {
    if !ready() {
        return;
    }
    let keys = Keys::new();
    let peer = token_server(&keys, &json!({ "issuer": "Iv1.app" }));
    let home = Home::new();
    let connect = |installation: &str, file: &str| {
        let given = keys.given("private_key", file);
        let origin = peer.origin();
        home.run(&format!(
            "connect github --auth app --origin {origin} --param app_id=Iv1.app --param installation_id={installation} {given} --json"
        ))
    };
    keys.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out other.pem");
    failed(connect("42", "other.pem"), 4, "invalid_grant");
    failed(connect("43", "rsa.pem"), 4, "invalid_grant");
    let ran = connect("42", "rsa.pem");
    assert_eq!(ran.code, 0, "{ran:?}");
    let connection = status(&home);
    assert_eq!(connection["account"]["name"], "acme", "{connection}");
    let left = connection["expires_in"].as_i64().unwrap();
    assert!((3580..=3600).contains(&left), "from expires_at: {left}");
    home.ok("refresh github");
    home.ok("disconnect github --yes");
    assert_eq!(peer.count("DELETE /installation/token"), 1);
    assert_eq!(connect("42", "rsa.pem").code, 0);
    peer.get("/test/refuse");
    failed(home.run("refresh github --json"), 4, "needs_reauth");
}

#[test]
fn a_key_is_exchanged_for_a_token_that_its_answer_ends() {
    if !ready() {
        return;
    }
    let keys = Keys::new();
    let peer = token_server(&keys, &json!({ "ttl": 600 }));
    let home = robot().with("INTEG_PARAM_API_KEY", "key-1");
    connected(&home, &peer, "login", "");
    let left = status(&home)["expires_in"].as_i64().unwrap();
    assert!((590..=600).contains(&left), "{left}");
    let first = home.ok("token robot");
    home.ok("refresh robot");
    assert_ne!(first, home.ok("token robot"));
    // A call that is refused renews the token once.
    peer.get("/test/forget");
    assert_eq!(home.json("test")["tests"][0]["outcome"], "healthy");
    peer.get("/test/refuse");
    failed(home.run("refresh robot --json"), 4, "needs_reauth");

    let home = robot();
    let line = format!("connect robot --auth login --origin {} --with-token --json", peer.origin());
    failed(home.run_with_input(&line, "key-2\n"), 4, "invalid_grant");
    failed(home.run_with_input(&line, "sk_1\n"), 2, "invalid_key");
    peer.get("/test/accept");
    let ran = home.run_with_input(&line, "key-1\n");
    assert_eq!(ran.code, 0, "{ran:?}");
    // Programs get the token, and not what it is asked for with.
    let variables = home.ok("exec robot -- env");
    assert!(variables.contains("ROBOT_TOKEN=") && !variables.contains("key-1"), "{variables}");
}

#[test]
fn a_key_that_cannot_be_used_is_named_before_anything_is_sent() {
    if !ready() {
        return;
    }
    let keys = Keys::new();
    keys.certificates();
    keys.openssl("pkey -in rsa.pem -aes256 -passout pass:secret -out encrypted.pem");
    keys.openssl("rsa -in rsa.pem -aes256 -traditional -passout pass:secret -out encrypted-old.pem");
    keys.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out small.pem");
    keys.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem");
    std::fs::write(keys.path("user.json"), r#"{"type":"authorized_user","client_id":"x"}"#).unwrap();
    std::fs::write(keys.path("empty"), "").unwrap();
    let home = Home::new();
    let app = "connect github --auth app --param app_id=1 --param installation_id=1 --json";
    for (file, said) in [
        ("encrypted.pem", "encrypted"),
        ("encrypted-old.pem", "encrypted"),
        ("rsa.pub", "public key"),
        ("ca.crt", "certificate, not a private key"),
        ("small.pem", "fewer than 2048 bits"),
        ("ec.pem", "RS256 needs an RSA key"),
        ("user.json", "not a PEM file"),
    ] {
        let text = failed(home.run(&format!("{app} {}", keys.given("private_key", file))), 2, "invalid_key");
        assert!(text.contains(said), "{file}: {text}");
        assert!(text.contains("--param private_key=@FILE"), "{file}: {text}");
    }
    failed(home.run(&format!("{app} {}", keys.given("private_key", "empty"))), 2, "input");
    failed(home.run(&format!("{app} {}", keys.given("private_key", "nothing"))), 2, "input");
    failed(home.run(&format!("{app} --param private_key=-----BEGIN")), 2, "secret_in_arguments");
    let text = failed(home.run(app), 2, "no_terminal");
    assert!(text.contains("--param private_key=@FILE"), "{text}");
    let google = format!("connect google-drive --auth service-account --json {}", keys.given("key_file", "user.json"));
    let text = failed(home.run(&google), 2, "invalid_key");
    assert!(text.contains("authorized_user") && text.contains("service_account"), "{text}");
    let mutual = "connect api-key --auth certificate --param base=https://api.example --json";
    let both = |certificate: &str, key: &str| {
        format!("{mutual} {} {}", keys.given("certificate", certificate), keys.given("private_key", key))
    };
    let home = home.with("INTEG_PARAM_KEY", "k");
    for (certificate, key, said) in [
        ("client.crt", "own.key", "does not belong to the private key"),
        ("client.key", "client.key", "a private key, not a certificate"),
        ("client.csr", "client.key", "no line `-----BEGIN CERTIFICATE-----`"),
    ] {
        let text = failed(home.run(&both(certificate, key)), 2, "invalid_key");
        assert!(text.contains(said), "{certificate}: {text}");
    }
    let text = failed(home.run(mutual), 2, "no_terminal");
    assert!(text.contains("--param certificate=@FILE and --param private_key=@FILE"), "every one is named: {text}");
}

#[test]
fn an_api_is_shown_a_certificate() {
    if !ready() {
        return;
    }
    let keys = Keys::new();
    keys.certificates();
    let peer = Peer::start("token-server.mjs", &json!({ "tls": keys.tls() }));
    let home = Home::new().with("SSL_CERT_FILE", keys.path("ca.crt").display().to_string());
    let home = home.with("INTEG_PARAM_KEY", "key-1");
    let connect = |name: &str| {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        home.run(&format!(
            "connect api-key --auth certificate --param base={} --param check=/me {} {} --json",
            peer.origin(),
            keys.given("certificate", &certificate),
            keys.given("private_key", &key)
        ))
    };
    let ran = connect("client");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(home.json("test")["tests"][0]["outcome"], "healthy");
    let answer: Value = serde_json::from_str(&home.ok("api api-key /me")).unwrap();
    assert_eq!(answer["certificate"], "client");
    assert!(!home.ok("exec api-key -- env").contains("BEGIN"), "no key and no certificate reaches a program");
    // A certificate of an authority that the server does not know ends the connection.
    let ran = connect("stranger");
    assert!(ran.stderr.contains("broke") || ran.stderr.contains("TLS") || ran.code != 0, "{ran:?}");
}

/// A provider over TLS, with clients that authenticate by keys.
fn provider(keys: &Keys, clients: &Value, is_tls: bool) -> Peer {
    let tls = if is_tls { keys.tls() } else { Value::Null };
    Peer::start("oidc-server.mjs", &json!({ "keyClients": clients, "tls": tls }))
}

fn oidc_home(keys: &Keys) -> Home {
    let script: PathBuf = peers().join("scripted-browser.py");
    let home = Home::new().with("BROWSER", format!("python3 {}", script.display())).with("MODE", "allow");
    match keys.path("ca.crt").exists() {
        true => home.with("SSL_CERT_FILE", keys.path("ca.crt").display().to_string()),
        false => home,
    }
}

fn oidc(peer: &Peer, auth: &str, client: &str, further: &str) -> String {
    let issuer = peer.ready["issuer"].as_str().unwrap();
    format!("connect oidc --auth {auth} --issuer {issuer} --client-id {client} {further} --json")
}

#[test]
fn a_client_signs_in_refreshes_and_revokes_with_its_private_key() {
    if !ready() {
        return;
    }
    let keys = Keys::new();
    keys.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem");
    keys.openssl("pkey -in ec.pem -pubout -out ec.pub");
    keys.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out other.pem");
    let client = |id: &str, file: &str| json!({ "id": id, "method": "private_key_jwt", "publicKey": keys.path(file) });
    let peer = provider(&keys, &json!([client("rsa", "rsa.pub"), client("ec", "ec.pub")]), false);
    for (name, further) in [("rsa", "--param key_id=key-1"), ("ec", "")] {
        let home = oidc_home(&keys);
        let given = keys.given("private_key", &format!("{name}.pem"));
        let ran = home.run(&oidc(&peer, "private-key", name, &format!("{given} {further}")));
        assert_eq!(ran.code, 0, "{ran:?}");
        let first = home.ok("token oidc");
        home.ok("refresh oidc");
        assert_ne!(first, home.ok("token oidc"));
        assert_eq!(home.json("test")["tests"][0]["outcome"], "healthy");
        home.ok("disconnect oidc --yes");
        let machine = home.run(&oidc(&peer, "private-key", name, &format!("{given} --client-credentials --scope api")));
        assert_eq!(machine.code, 0, "{machine:?}");
        home.ok("refresh oidc");
    }
    let log = wire::get(&Url::parse(peer.ready["log"].as_str().unwrap()).unwrap());
    let log: Value = serde_json::from_slice(&log.body).unwrap();
    let asked: Vec<&Value> = log.as_array().unwrap().iter().filter(|entry| entry["path"] != "/me").collect();
    assert_eq!(asked.len(), 10, "code, refresh, revocation and twice the client's credentials of each: {asked:?}");
    assert!(asked.iter().all(|entry| entry["client_auth"] == "private_key_jwt" && entry["status"] == 200), "{asked:?}");

    let home = oidc_home(&keys);
    let other = keys.given("private_key", "other.pem");
    let further = format!("{other} --client-credentials --scope api");
    let text = failed(home.run(&oidc(&peer, "private-key", "rsa", &further)), 1, "oauth_error");
    assert!(text.contains("invalid_client") && text.contains("--param private_key=@FILE"), "{text}");
}

#[test]
fn a_client_signs_in_and_refreshes_with_its_certificate() {
    if !ready() {
        return;
    }
    let keys = Keys::new();
    keys.certificates();
    let client =
        |id: &str, method: &str, file: &str| json!({ "id": id, "method": method, "certificate": keys.path(file) });
    let clients = json!([
        client("issued", "tls_client_auth", "client.crt"),
        client("own", "self_signed_tls_client_auth", "own.crt"),
    ]);
    let peer = provider(&keys, &clients, true);
    let given = |name: &str| {
        format!(
            "{} {}",
            keys.given("certificate", &format!("{name}.crt")),
            keys.given("private_key", &format!("{name}.key"))
        )
    };
    for (id, certificate) in [("issued", "client"), ("own", "own")] {
        let home = oidc_home(&keys);
        let machine = format!("{} --client-credentials --scope api", given(certificate));
        let ran = home.run(&oidc(&peer, "certificate", id, &machine));
        assert_eq!(ran.code, 0, "{ran:?}");
        let first = home.ok("token oidc");
        home.ok("refresh oidc");
        assert_ne!(first, home.ok("token oidc"), "{id}");
        let other = home.run(&oidc(
            &peer,
            "certificate",
            id,
            &format!("--as other {} --client-credentials --scope api", given("stranger")),
        ));
        let text = failed(other, 1, "oauth_error");
        assert!(text.contains("invalid_client"), "{id}: {text}");
    }
}

#[test]
fn a_key_leaves_in_a_bundle_and_renews_its_token_elsewhere() {
    if !ready() {
        return;
    }
    let keys = Keys::new();
    let peer = token_server(&keys, &json!({ "issuer": "Iv1.app" }));
    let home = Home::new();
    let given = keys.given("private_key", "rsa.pem");
    let app = "connect github --auth app --param app_id=Iv1.app --param installation_id=42";
    let ran = home.run(&format!("{app} --origin {} {given}", peer.origin()));
    assert_eq!(ran.code, 0, "{ran:?}");
    let identity = Identity::generate();
    let bundle = home.ok(&format!("export github --to {}", identity.recipient()));
    let job = Home::new().with("INTEG_BUNDLE", bundle).with("INTEG_IDENTITY", identity.secret().expose());
    let first = job.ok("token github");
    let route = "POST /app/installations/42/access_tokens";
    assert_eq!(peer.count(route), 1);
    // The token does not live as long as is asked for: another is had with the key.
    peer.get("/test/forget");
    assert_eq!(job.json("test")["tests"][0]["outcome"], "healthy");
    assert_eq!((peer.count(route), home.ok("token github")), (2, first), "each machine has its own token");
}
