//! A certified OpenID provider that nobody here wrote, with a scripted and with a real browser.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use url::Url;

use crate::harness::{Home, Ran, Running, finish, has_program, needs, peers, skipped_on_postgres};
use crate::wire;

const AWKWARD: (&str, &str) = ("id:with+slash/per%cent&amp", "s:e+c/r%e&t=with space~!*()'\"%41");

fn ready() -> bool {
    needs("node and tests/peers/node_modules", has_program("node") && peers().join("node_modules").is_dir())
        && needs("python3", has_program("python3"))
}

struct Oidc {
    _server: Running,
    issuer: String,
    origin: Url,
}

impl Oidc {
    fn start(options: &str) -> Self {
        let mut command = Command::new("node");
        command.arg(peers().join("oidc-server.mjs")).arg(options);
        let mut server = Running::start(command);
        let ready = server.event();
        let issuer = ready["issuer"].as_str().unwrap().to_owned();
        Self { _server: server, origin: Url::parse(ready["log"].as_str().unwrap()).unwrap(), issuer }
    }

    fn get(&self, path: &str) -> wire::Message {
        wire::get(&self.origin.join(path).unwrap())
    }

    /// What came to one of its endpoints.
    fn log(&self, grant_type: &str) -> Vec<Value> {
        let log: Value = serde_json::from_slice(&self.get("/test/log").body).unwrap();
        let entries = log.as_array().unwrap().iter();
        let ends = |text: &Value| text.as_str().is_some_and(|text| text.ends_with(grant_type));
        let wanted = |entry: &&Value| ends(&entry["grant_type"]) || ends(&entry["path"]);
        entries.filter(wanted).cloned().collect()
    }

    /// The words that connect a client to it.
    fn connect(&self, client: &str) -> Vec<String> {
        ["connect", "oidc", "--issuer", &self.issuer, "--client-id", client].map(str::to_owned).to_vec()
    }
}

/// A home whose browser is the scripted one, in a mode.
fn scripted(mode: &str, secret: Option<&str>) -> Home {
    let script = peers().join("scripted-browser.py");
    let home = Home::new().with("BROWSER", format!("python3 {}", script.display())).with("MODE", mode);
    match secret {
        Some(secret) => home.with("INTEG_CLIENT_SECRET", secret),
        None => home,
    }
}

fn run(home: &Home, words: &[String], further: &[&str]) -> Ran {
    finish(home.command(words.iter().map(String::as_str).chain(further.iter().copied())))
}

/// Connects with the scripted browser, which must work.
fn connect(oidc: &Oidc, client: &str, secret: Option<&str>) -> Home {
    let home = scripted("allow", secret);
    let ran = run(&home, &oidc.connect(client), &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    home
}

/// The line that a browser has logged, once it has ended. It ends after the command does, by a moment.
fn browser_log(path: &PathBuf) -> Value {
    let started = Instant::now();
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if let Some(line) = text.lines().next().filter(|_| text.ends_with('\n')) {
            return serde_json::from_str(line).unwrap();
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the browser has logged nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_kind_of_client_connects_by_code_refreshes_and_disconnects() {
    if !ready() {
        return;
    }
    let oidc = Oidc::start(r#"{"interactions":"page"}"#);
    for (client, secret, auth) in
        [("basic", Some("basic-secret"), "basic"), ("public", None, "none"), (AWKWARD.0, Some(AWKWARD.1), "basic")]
    {
        oidc.get("/test/reset-log");
        let home = connect(&oidc, client, secret);
        let status = home.json("status")["connections"][0].clone();
        assert_eq!(
            (status["status"].as_str(), status["refreshable"].as_bool()),
            (Some("active"), Some(true)),
            "{status}"
        );
        assert_eq!(status["account"]["id"], "alice");
        let first = home.ok("token oidc");
        home.ok("refresh oidc");
        assert_ne!(first, home.ok("token oidc"));
        assert_eq!(home.json("test")["tests"][0]["outcome"], "healthy");
        home.ok("disconnect oidc --yes");
        for grant in ["authorization_code", "refresh_token", "revocation"] {
            let asked = oidc.log(grant);
            assert_eq!(asked.len(), 1, "{client}: {grant}");
            assert_eq!((&asked[0]["client_auth"], &asked[0]["status"]), (&auth.into(), &200.into()), "{}", asked[0]);
        }
        assert_eq!(home.json("status")["summary"]["total"], 0);
    }
}

#[test]
fn a_client_that_posts_its_secret_connects_without_discovery() {
    if !ready() {
        return;
    }
    let oidc = Oidc::start("{}");
    let home = scripted("allow", Some("post-secret"));
    let metadata: Value = serde_json::from_slice(&oidc.get("/.well-known/openid-configuration").body).unwrap();
    let param = |ours: &str, theirs: &str| format!("{ours}={}", metadata[theirs].as_str().unwrap());
    let words: Vec<String> = [
        "connect",
        "oauth2",
        "--auth",
        "post",
        "--client-id",
        "post",
        "--scope",
        "openid",
        "--scope",
        "offline_access",
    ]
    .map(str::to_owned)
    .to_vec();
    let (authorize, token) = (param("authorize_url", "authorization_endpoint"), param("token_url", "token_endpoint"));
    let (revoke, health) = (param("revoke_url", "revocation_endpoint"), param("health_url", "userinfo_endpoint"));
    let params = ["--param", &authorize, "--param", &token, "--param", &revoke, "--param", &health];
    let ran = run(&home, &words, &params);
    assert_eq!(ran.code, 0, "{ran:?}");
    home.ok("refresh oauth2");
    assert_eq!(home.json("test")["tests"][0]["outcome"], "healthy");
    home.ok("disconnect oauth2 --yes");
    for grant in ["authorization_code", "refresh_token", "revocation"] {
        assert_eq!(oidc.log(grant)[0]["client_auth"], "post", "{grant}");
    }
}

#[test]
fn a_server_takes_a_login_hint_an_audience_and_a_resource_at_every_step() {
    if !ready() {
        return;
    }
    let oidc = Oidc::start("{}");
    let home = scripted("allow", Some("basic-secret"));
    let further = [
        "--login-hint",
        "me@example.com",
        "--audience",
        "billing",
        "--resource",
        "https://api.example/",
        "--prompt",
        "consent",
    ];
    let ran = run(&home, &oidc.connect("basic"), &further);
    assert_eq!(ran.code, 0, "{ran:?}");
    home.ok("refresh oidc");
    assert_eq!(home.json("test")["tests"][0]["outcome"], "healthy");
    // They are the connection's own, and so is the way back to it.
    let ran = home.run("reconnect oidc --json");
    assert_eq!(ran.code, 0, "{ran:?}");
    let event: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
    for part in ["audience=billing", "login_hint=me%40example.com", "resource=https%3A%2F%2Fapi.example%2F"] {
        assert!(event["url"].as_str().unwrap().contains(part), "{part}: {event}");
    }
}

#[test]
fn a_real_browser_sees_the_consent_page_and_how_it_ended() {
    if !ready() || !needs("chromium", has_program("chromium")) {
        return;
    }
    let oidc = Oidc::start(r#"{"interactions":"page"}"#);
    let log = tempfile::tempdir().unwrap();
    let path = log.path().join("log");
    let browser = format!("node {}", peers().join("browser.mjs").display());
    let home = Home::new().with("BROWSER", browser).with("BROWSER_CLICK", "#allow");
    let home = home.with("BROWSER_LOG", path.display().to_string());
    let ran = run(&home, &oidc.connect("public"), &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let seen = browser_log(&path);
    assert_eq!((&seen["ok"], &seen["status"]), (&true.into(), &200.into()), "{seen}");
    assert!(seen["text"].as_str().unwrap().contains("OpenID Connect is connected"), "{seen}");
    assert_eq!(seen["console"], Value::Array(Vec::new()), "fault 37: the page's policy breaks nothing: {seen}");
    home.ok("token oidc");
}

/// Starts device flows for these clients and answers each as told: `approve` or `deny`.
fn by_device(oidc: &Oidc, clients: &[(&str, Option<&str>)], answer: &str) -> Vec<(Home, i32)> {
    let start = |(client, secret): &(&str, Option<&str>)| {
        let home = scripted("never", *secret);
        let words = oidc.connect(client);
        let mut command = home.command(words.iter().map(String::as_str).chain(["--device", "--no-browser", "--json"]));
        command.stderr(Stdio::null());
        let mut running = Running::start(command);
        let event = running.event();
        let path = format!("/test/device/{answer}?user_code={}", event["user_code"].as_str().unwrap());
        assert_eq!(oidc.get(&path).status(), 200, "{event}");
        (home, running)
    };
    let started: Vec<_> = clients.iter().map(start).collect();
    started.into_iter().map(|(home, mut running)| (home, running.code())).collect()
}

#[test]
fn every_kind_of_client_connects_by_device_code() {
    if !ready() {
        return;
    }
    let oidc = Oidc::start("{}");
    let clients = [("basic", Some("basic-secret")), ("public", None), (AWKWARD.0, Some(AWKWARD.1))];
    for (home, code) in by_device(&oidc, &clients, "approve") {
        assert_eq!(code, 0);
        home.ok("refresh oidc");
        assert_eq!(home.json("test")["tests"][0]["outcome"], "healthy");
    }
    let mut auths: Vec<_> = oidc.log("device_code").iter().map(|entry| entry["client_auth"].to_string()).collect();
    auths.sort();
    auths.dedup();
    assert_eq!(auths, ["\"basic\"", "\"none\""]);
}

#[test]
fn fault_025_a_device_code_that_the_person_denies_ends_the_flow() {
    if !ready() {
        return;
    }
    let oidc = Oidc::start("{}");
    for (home, code) in by_device(&oidc, &[("public", None)], "deny") {
        assert_eq!((code, home.json("status")["summary"]["total"].as_u64()), (4, Some(0)));
    }
}

#[test]
fn a_machine_connects_by_client_credentials() {
    if !ready() {
        return;
    }
    let oidc = Oidc::start("{}");
    let home = scripted("never", Some("machine-secret"));
    let ran = run(&home, &oidc.connect("machine"), &["--client-credentials", "--scope", "api"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let first = home.ok("token oidc");
    home.ok("refresh oidc");
    assert_ne!(first, home.ok("token oidc"));
    let asked = oidc.log("client_credentials");
    assert_eq!((asked.len(), &asked[1]["scope"], &asked[1]["client_auth"]), (2, &"api".into(), &"basic".into()));
}

#[test]
fn rotation_presents_each_refresh_token_once_and_a_used_one_ends_the_grant() {
    if skipped_on_postgres("it puts an older vault.db back") {
        return;
    }
    if !ready() {
        return;
    }
    let oidc = Oidc::start("{}");
    let home = connect(&oidc, "public", None);
    home.ok("refresh oidc");
    // What a restored copy of the store, or a thief, does: the grant of before is presented again.
    let (now, before) = (home.workspace(), home.path().join("before"));
    copy(&now, &before);
    for _ in 0..5 {
        home.ok("refresh oidc");
    }
    let mut presented: Vec<_> = oidc.log("refresh_token").iter().map(|entry| entry["presented"].to_string()).collect();
    presented.sort();
    presented.dedup();
    assert_eq!(presented.len(), 6);
    std::fs::remove_dir_all(&now).unwrap();
    copy(&before, &now);
    let noticed = home.run("refresh oidc --json");
    assert_eq!((noticed.code, noticed.error_code().as_str()), (7, "vault_rolled_back"), "{noticed:?}");
    home.ok("vault check --accept");
    let ran = home.run("refresh oidc --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (4, "needs_reauth"), "{ran:?}");
    assert_eq!(home.json("status")["connections"][0]["status"], "needs_reauth");
    assert_eq!(run(&home, &oidc.connect("public"), &[]).code, 0);
    assert_eq!(home.json("status")["connections"][0]["status"], "active");
}

fn copy(from: &PathBuf, to: &PathBuf) {
    let mut command = Command::new("cp");
    assert_eq!(
        finish({
            command.arg("-a").arg(from).arg(to);
            command
        })
        .code,
        0
    );
}

#[test]
fn revoked_by_the_user_at_the_vendor_shows_as_needing_a_person() {
    if !ready() {
        return;
    }
    let oidc = Oidc::start("{}");
    let home = connect(&oidc, "public", None);
    oidc.get("/test/revoke-all");
    let ran = home.run("test oidc --json");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert_eq!(oidc.log("refresh_token").len(), 1, "fault 23: one refresh is tried");
    assert_eq!(home.json("status")["connections"][0]["status"], "needs_reauth");
}

/// Runs a sign-in with a browser that misbehaves, and says how often a code was exchanged.
fn misbehaving(mode: &str) -> (Ran, usize) {
    let oidc = Oidc::start(r#"{"interactions":"page"}"#);
    let home = scripted(mode, None);
    let ran = run(&home, &oidc.connect("public"), &["--json"]);
    let connected = home.json("status")["summary"]["total"] == 1;
    assert_eq!(connected, ran.code == 0, "{mode}: {ran:?}");
    (ran, oidc.log("authorization_code").len())
}

#[test]
fn callbacks_that_were_tampered_with_end_as_they_must() {
    if !ready() {
        return;
    }
    for (mode, code, error, exchanges) in [
        ("deny", 4, "access_denied", 0),
        // 1: the flow stays pending, and the true answer then counts.
        ("wrong-state,allow", 0, "", 1),
        ("no-state,allow", 0, "", 1),
        // 2 and 3: the provider promises `iss`.
        ("wrong-iss", 1, "issuer_mismatch", 0),
        ("no-iss", 1, "issuer_mismatch", 0),
        // 8: refused by the provider, and not tried again.
        ("wrong-code", 4, "invalid_grant", 1),
        ("forged-error,allow", 0, "", 1),
        ("twice", 0, "", 1),
        ("duplicate-code,allow", 0, "", 1),
        ("duplicate-state,allow", 0, "", 1),
        ("post,allow", 0, "", 1),
        ("head,allow", 0, "", 1),
        ("other-path,allow", 0, "", 1),
        ("foreign-host,allow", 0, "", 1),
    ] {
        let (ran, exchanged) = misbehaving(mode);
        assert_eq!((ran.code, ran.error_code().as_str(), exchanged), (code, error, exchanges), "{mode}: {ran:?}");
    }
}

#[test]
fn issuers_with_a_path_are_found_wherever_their_metadata_lies() {
    if !ready() {
        return;
    }
    for options in [
        r#"{"mountPath":"/tenant/one"}"#,
        r#"{"mountPath":"/tenant/one","metadata":["openid"]}"#,
        r#"{"mountPath":"/tenant/one","metadata":["oauth"]}"#,
        r#"{"mountPath":"/tenant/one","metadata":["oauth-appended"]}"#,
        r#"{"mountPath":"/x/"}"#,
        r#"{"mountPath":"/"}"#,
    ] {
        let oidc = Oidc::start(options);
        let home = connect(&oidc, "public", None);
        assert_eq!(home.json("test")["tests"][0]["outcome"], "healthy", "{options}");
        home.ok("refresh oidc");
    }
}

#[test]
fn a_provider_that_wants_consent_for_offline_access_is_asked_for_it() {
    if !ready() {
        return;
    }
    let oidc = Oidc::start(r#"{"strictOffline":true,"interactions":"page"}"#);
    let home = connect(&oidc, "public", None);
    assert_eq!(home.json("status")["connections"][0]["refreshable"], true);
    home.ok("refresh oidc");
}

#[test]
fn fault_015_scopes_that_the_user_leaves_out_are_missing() {
    if !ready() {
        return;
    }
    let oidc = Oidc::start(r#"{"denyScopes":["email"]}"#);
    let home = connect(&oidc, "public", None);
    assert_eq!(home.json("status")["connections"][0]["missing_scopes"], serde_json::json!(["email"]));
}
