//! `integ export`, and what works from `INTEG_BUNDLE` and `INTEG_TOKEN_<CONNECTION>` on a machine without a folder.

use std::process::Command;

use base64::Engine as _;
use integ::vault::{Identity, open_armored, seal_armored};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fake::{CONNECTOR, FakeProvider, Trouble};
use crate::flow::{Flow, connect_line, connected};
use crate::harness::{Home, INTEG, Ran, files, finish, holds};

/// A machine with a bundle, an identity and an empty folder: no home, no settings, nothing else in the environment.
struct Job {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Job {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    fn with_bundle(bundle: &str, identity: &Identity) -> Self {
        Self::new().with("INTEG_BUNDLE", bundle).with("INTEG_IDENTITY", identity.secret().expose())
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(INTEG);
        command.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).current_dir(self.folder.path());
        command.stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Ran {
        let ran = finish(self.command(&line.split_whitespace().collect::<Vec<_>>()));
        assert!(files(self.folder.path()).is_empty(), "{line}: nothing is written");
        ran
    }

    fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        ran.stdout.trim_end().to_owned()
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} --json"))).unwrap()
    }

    /// Exit code, error code and hint.
    fn failure(&self, line: &str) -> (i32, String, String) {
        // Behind `--` it would be the command's.
        let ran = self.run(&format!("--json {line}"));
        let error: Value = serde_json::from_str(ran.stderr.lines().last().unwrap_or_default()).unwrap_or_default();
        (ran.code, ran.error_code(), error["error"]["hint"].as_str().unwrap_or_default().to_owned())
    }
}

/// Exports connections, and returns the bundle with the key that opens it.
fn export(home: &Home, connections: &str) -> (String, Identity) {
    let identity = Identity::generate();
    let bundle = home.ok(&format!("export {connections} --to {}", identity.recipient()));
    (bundle, identity)
}

fn document(bundle: &str, identity: &Identity) -> Value {
    serde_json::from_slice(&open_armored(bundle, identity).unwrap()).unwrap()
}

/// The same bundle with another content.
fn edited(bundle: &str, identity: &Identity, edit: impl FnOnce(&mut Value)) -> String {
    let mut document = document(bundle, identity);
    edit(&mut document);
    seal_armored(document.to_string().as_bytes(), [identity.recipient().as_str()]).unwrap()
}

#[test]
fn every_command_that_needs_connections_alone_works_from_a_bundle() {
    let home = Home::new();
    home.ok("connect github --sandbox --as work");
    home.ok("connect slack --sandbox");
    let (bundle, identity) = export(&home, "github@work slack");
    assert!(bundle.len() < 8 * 1024, "a secret of GitHub Actions has 48 KB at most: {}", bundle.len());
    let job = Job::with_bundle(&bundle, &identity);
    assert_eq!(job.ok("token slack"), home.ok("token slack"));
    assert_eq!(job.json("token github@work")["token"], home.json("token github@work")["token"]);
    let printed = finish(job.command(&["exec", "slack", "--", "sh", "-c", "echo $SLACK_TOKEN"]));
    assert_eq!(printed.stdout.trim_end(), home.ok("token slack"), "{printed:?}");
    let status = job.json("status");
    assert_eq!(status["summary"]["total"], 2, "{status}");
    assert_eq!(status["connections"][1]["mode"], "sandbox", "{status}");
    assert_eq!(job.run("status --check").code, 0);
    let tests = job.json("test");
    assert_eq!((&tests["healthy"], &tests["unhealthy"]), (&json!(2), &json!(0)), "{tests}");
    assert!(job.ok("api github@work /user").contains("login"));
    job.ok("call slack chat.postMessage channel=C1 text=hi");
    for line in
        ["connect slack --sandbox", "sync slack", "records slack/channels", "vault status", "export slack --to x"]
    {
        let (code, error, hint) = job.failure(line);
        assert_eq!((code, error.as_str(), hint.as_str()), (2, "workspace_required", "unset INTEG_BUNDLE"), "{line}");
    }
    job.ok("connector list");
    let (code, error, _) = job.failure("token stripe");
    assert_eq!((code, error.as_str()), (3, "unknown_connection"));
    // A workspace of the machine is not looked at.
    home.ok("connect stripe --sandbox");
    let mut command = home.command(["token", "stripe", "--json"]);
    command.env("INTEG_BUNDLE", &bundle).env("INTEG_IDENTITY", identity.secret().expose());
    let ran = finish(command);
    assert!(ran.code == 3 && ran.stderr.contains("in INTEG_BUNDLE"), "{ran:?}");
}

#[test]
fn a_refresh_token_that_rotates_stays_at_home() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let ran = home.run(&format!("export fake --to {}", Identity::generate().recipient()));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("export it again before then") && ran.stderr.contains("(in "), "{ran:?}");
    assert!(ran.stderr.contains("needs the connector fake"), "{ran:?}");
    let (bundle, identity) = export(&home, "fake");
    let plaintext = open_armored(&bundle, &identity).unwrap();
    assert!(holds(&plaintext, "access-") && !holds(&plaintext, "refresh-1"), "{}", String::from_utf8_lossy(&plaintext));
    assert_eq!(document(&bundle, &identity)["connections"][0]["refresh_method"], "none");
    // Half of its life later the token would end soon, and is refreshed before it leaves.
    let before = provider.state().refreshes();
    let sql = "UPDATE grants SET issued_at = issued_at - 2000, expires_at = expires_at - 2000";
    crate::vault::execute(&home, sql);
    let (bundle, identity) = export(&home, "fake");
    assert_eq!(provider.state().refreshes(), before + 1);
    let newest = provider.state().given.last().cloned().unwrap();
    assert_eq!(document(&bundle, &identity)["connections"][0]["access_token"], newest);
    assert_eq!(Job::with_bundle(&bundle, &identity).ok("token fake"), newest);
}

#[test]
fn client_credentials_are_renewed_by_the_job_itself() {
    let provider = FakeProvider::start();
    let home = Home::new();
    let line = format!(
        "connect oauth2 --client-credentials --client-id id --param authorize_url={0}/authorize --param token_url={0}/token",
        provider.origin()
    );
    let mut connect = home.command(line.split_whitespace());
    connect.env("INTEG_CLIENT_SECRET", "the-client-secret");
    let ran = finish(connect);
    assert_eq!(ran.code, 0, "{ran:?}");
    let (bundle, identity) = export(&home, "oauth2");
    let content = document(&bundle, &identity);
    assert_eq!(content["connections"][0]["client_secret"], "the-client-secret");
    let old = edited(&bundle, &identity, |document| {
        document["connections"][0]["issued_at"] = "2020-01-01T00:00:00Z".into();
        document["connections"][0]["expires_at"] = "2020-01-01T01:00:00Z".into();
    });
    let job = Job::with_bundle(&old, &identity);
    let token = job.ok("token oauth2");
    assert_eq!(Some(&token), provider.state().given.last());
    assert_ne!(token, home.ok("token oauth2"), "each has its own");
}

#[test]
fn a_bundle_that_cannot_be_used_says_which_command_helps() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    let (bundle, identity) = export(&home, "slack");
    let stranger = Identity::generate();
    let failure = |job: Job, line: &str| job.failure(line);
    let (code, error, hint) = failure(Job::with_bundle(&bundle, &stranger), "token slack");
    let command = format!("integ export CONNECTION --to {}", stranger.recipient());
    assert_eq!((code, error.as_str()), (7, "bundle_wrong_identity"));
    assert!(hint.contains(&command), "{hint}");
    let (code, error, hint) = failure(Job::new().with("INTEG_BUNDLE", &bundle), "status");
    assert_eq!((code, error.as_str()), (7, "bundle_locked"));
    assert!(hint.contains("INTEG_IDENTITY"), "{hint}");
    let later = edited(&bundle, &identity, |document| document["integ_bundle"] = 2.into());
    let (code, error, hint) = failure(Job::with_bundle(&later, &identity), "token slack");
    assert_eq!((code, error.as_str()), (7, "unsupported_bundle"));
    assert!(hint.contains("integ export"), "{hint}");
    for broken in ["hello", &bundle[..bundle.len() / 2], &"x".repeat(100_000)] {
        let (code, error, hint) = failure(Job::with_bundle(broken, &identity), "token slack");
        assert_eq!((code, error.as_str()), (7, "invalid_bundle"), "{}", &broken[..20.min(broken.len())]);
        assert!(hint.contains("integ export"), "{hint}");
    }
    let expired = edited(&bundle, &identity, |document| {
        let connection = &mut document["connections"][0];
        connection["issued_at"] = "2020-01-01T00:00:00Z".into();
        connection["expires_at"] = "2020-01-01T01:00:00Z".into();
        connection["refresh_method"] = "none".into();
        connection.as_object_mut().unwrap().remove("refresh_token");
    });
    for line in ["token slack", "exec slack -- true", "api slack auth.test"] {
        let (code, error, hint) = failure(Job::with_bundle(&expired, &identity), line);
        assert_eq!((code, error.as_str()), (4, "expired"), "{line}");
        assert!(hint.contains("integ export slack --to"), "{line}: {hint}");
    }
    let ran = Job::with_bundle(&expired, &identity).run("status --check");
    assert_eq!(ran.code, 4, "{ran:?}");
    // Line breaks are lost on the way of some secrets.
    assert_eq!(Job::with_bundle(&bundle.replace('\n', " "), &identity).ok("token slack"), home.ok("token slack"));
}

#[test]
fn export_refuses_what_cannot_work() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let recipient = Identity::generate().recipient();
    let code = |line: &str| {
        let ran = home.run(&format!("{line} --json"));
        assert!(ran.stdout.is_empty(), "{ran:?}");
        (ran.code, ran.error_code())
    };
    assert_eq!(code("export fake --to age1nope"), (2, "invalid_recipient".to_owned()));
    assert_eq!(code(&format!("export nope --to {recipient}")).0, 3);
    assert_eq!(code("export fake").0, 2, "to whom");
    provider.trouble("/token", [Trouble::error("invalid_grant")]);
    assert_eq!(home.run("refresh fake").code, 4);
    assert_eq!(code(&format!("export fake --to {recipient}")), (4, "needs_reauth".to_owned()));
    // A file is not replaced by accident, and is the user's alone.
    home.ok("connect slack --sandbox");
    let file = home.path().join("bundle.age");
    let line = format!("export slack --to {recipient} --output {}", file.display());
    home.ok(&line);
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap()) & 0o777, 0o600);
    assert_eq!(code(&line), (2, "file_exists".to_owned()));
    home.ok(&format!("{line} --force"));
}

#[test]
fn a_token_in_a_variable_needs_no_store() {
    let job = Job::new().with("INTEG_TOKEN_GITHUB", "ghp_from_env").with("INTEG_TOKEN_SLACK_WORK", "xoxb-env\n");
    assert_eq!(job.ok("token github"), "ghp_from_env");
    assert_eq!(job.ok("token slack@work --format header"), "authorization: Bearer xoxb-env");
    let ran =
        finish(job.command(&["exec", "github", "--env", "T=slack@work", "--", "sh", "-c", "echo $GITHUB_TOKEN $T"]));
    assert_eq!(ran.stdout, "ghp_from_env xoxb-env\n", "{ran:?}");
    let status = job.json("status");
    assert_eq!(status["summary"]["total"], 2, "{status}");
    let (code, error, _) = job.failure("token slack");
    assert_eq!((code, error.as_str()), (3, "unknown_connection"), "only what a variable names");
    let (code, error, hint) = Job::new().with("INTEG_TOKEN_GITHB", "x").failure("token github");
    assert_eq!((code, error.as_str()), (3, "unknown_connector"));
    assert!(hint.contains("integ connector list"), "{hint}");
    let (code, error, hint) = Job::new().with("INTEG_TOKEN_TWILIO", "x").failure("token twilio");
    assert_eq!((code, error.as_str()), (2, "incomplete_credential"));
    assert!(hint.contains("integ export twilio"), "{hint}");
    // The flags of `token` have variables that begin the same.
    let home = Home::new().with("INTEG_TOKEN_FORMAT", "json").with("INTEG_TOKEN_MIN_TTL", "1s");
    home.ok("connect slack --sandbox");
    assert!(home.ok("token slack").starts_with('{'));
    // A token takes the place of a bundled one of the same connection.
    let (bundle, identity) = export(&home, "slack");
    let both = Job::with_bundle(&bundle, &identity).with("INTEG_TOKEN_SLACK", "xoxb-env");
    assert_eq!(both.ok("token slack"), "xoxb-env");
}

#[test]
fn neither_variable_reaches_a_child() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    let (bundle, identity) = export(&home, "slack");
    let job = Job::with_bundle(&bundle, &identity).with("INTEG_TOKEN_GITHUB", "ghp_from_env").with("VISIBLE", "1");
    for words in [&["exec", "slack", "--", "env"][..], &["exec", "slack", "--mask", "--", "env"]] {
        let ran = finish(job.command(words));
        assert!(ran.code == 0 && ran.stdout.contains("VISIBLE=1"), "{ran:?}");
        for name in ["INTEG_BUNDLE", "INTEG_IDENTITY", "INTEG_TOKEN_GITHUB", "ghp_from_env", "AGE-SECRET"] {
            assert!(!ran.stdout.contains(name), "{name}: {ran:?}");
        }
    }
}

#[test]
fn git_gets_the_token_for_hosts_of_the_service_alone() {
    let job = Job::new().with("INTEG_TOKEN_GITHUB", "ghp_from_env");
    let ask = |operation: &str, request: &str| {
        let mut command = job.command(&["git-credential", "github", operation]);
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its stdin may have ended already.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), request.as_bytes());
        Ran::of(child.wait_with_output().unwrap())
    };
    let ran = ask("get", "protocol=https\nhost=github.com\n\n");
    let answer = "protocol=https\nhost=github.com\nusername=oauth2\npassword=ghp_from_env\n";
    assert_eq!((ran.code, ran.stdout.as_str()), (0, answer), "{ran:?}");
    let ran = ask("get", "protocol=https\nhost=github.com\nusername=me\n");
    assert!(ran.stdout.contains("username=me\npassword=ghp_from_env\n"), "{ran:?}");
    for request in [
        "protocol=https\nhost=gitlab.com\n",
        "protocol=http\nhost=github.com\n",
        "protocol=https\nhost=github.com.evil.example\n",
        "protocol=https\nhost=evil.example/github.com\n",
        "protocol=https\nhost=github.com:8443\n",
        "host=github.com\n",
        "",
    ] {
        let ran = ask("get", request);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{request:?}: {ran:?}");
    }
    for operation in ["store", "erase", "capability"] {
        let ran = ask(operation, "protocol=https\nhost=github.com\nusername=a\npassword=b\n\n");
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{operation}: {ran:?}");
    }
}

#[test]
fn headers_are_printed_as_a_json_object() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    let headers: Value = serde_json::from_str(&home.ok("token slack --format headers")).unwrap();
    assert_eq!(headers, json!({ "authorization": format!("Bearer {}", home.ok("token slack")) }));
    let ran = home.run("token slack --format id-token --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (4, "no_id_token"), "{ran:?}");
}

/// A token as OpenID servers write it, that ends so many seconds from now.
fn id_token(seconds: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "sub": "alice", "exp": i64::try_from(now).unwrap() + seconds }).to_string();
    format!("e30.{}.c2ln", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn an_id_token_that_has_expired_is_refreshed() {
    let provider = FakeProvider::start();
    let home = Home::new();
    let answer = "rotation = \"always\"\nanswer = { secrets = { id_token = \"/id_token\" } }";
    home.install("fake", &CONNECTOR.replace("rotation = \"always\"", answer));
    let (first, second) = (id_token(-5), id_token(3600));
    provider.trouble("/token", [Trouble::Edit(json!({ "id_token": first }))]);
    Flow::start(&home, &connect_line(&provider)).allow();
    provider.trouble("/token", [Trouble::Edit(json!({ "id_token": second }))]);
    assert_eq!(home.ok("token fake --format id-token"), second);
    assert_eq!(home.ok("token fake --format id-token"), second);
    assert_eq!(provider.state().refreshes(), 1);
    // The service gives no new one.
    let ran = home.run("token fake --format id-token --min-ttl 90m --json");
    assert_ne!(ran.code, 0, "{ran:?}");
}

#[test]
fn the_status_of_every_workspace_is_one_listing() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home.ok("-w other connect github --sandbox");
    let view = home.json("status --all-workspaces");
    assert_eq!(view["summary"]["total"], 2, "{view}");
    assert_eq!(view["workspaces"][1]["workspace"], "other", "{view}");
    assert_eq!(view["workspaces"][1]["connections"][0]["connection"], "github", "{view}");
    let text = home.ok("status --all-workspaces");
    assert!(text.contains("Workspace default") && text.contains("Workspace other"), "{text}");
    // One that does not open hides no other.
    std::fs::remove_file(home.path().join("workspaces/other/vault.age")).unwrap();
    let ran = home.run("status --all-workspaces --json");
    let view: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &view["summary"]["total"]), (8, &json!(1)), "{ran:?}");
    assert!(view["workspaces"][1]["error"].as_str().unwrap().contains("vault.age"), "{view}");
}

#[test]
fn a_setting_is_read_and_given_back_its_default() {
    let home = Home::new();
    assert_eq!(home.ok("config get vault.tokens"), "store");
    home.ok("config set vault.tokens keyring");
    assert_eq!(home.json("config get vault.tokens")["value"], "keyring");
    home.ok("config unset vault.tokens");
    assert_eq!(home.ok("config get vault.tokens"), "store");
    assert_eq!(home.ok("config get notify.url"), "");
    let ran = home.run("config get vault.token --json");
    assert!(ran.code == 2 || ran.code == 3, "{ran:?}");
    assert!(ran.stderr.contains("vault.tokens"), "{ran:?}");
}

#[test]
fn api_asks_for_the_headers_alone() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let ran = home.run("api fake /me -X HEAD -f a=b");
    assert!(ran.stdout.starts_with("HTTP 200\n"), "{ran:?}");
    let asked = provider.state().asked.last().cloned().unwrap();
    assert_eq!((asked.request().0, asked.request().1), ("HEAD", "/api/me?a=b"));
    assert_eq!(asked.header("content-type"), None);
}

#[test]
fn a_secret_key_in_place_of_a_public_key_is_not_repeated() {
    let home = Home::new();
    home.ok("connect stripe --sandbox");
    let secret = Identity::generate().secret();
    for line in ["export stripe --to", "vault recipients add", "vault backup out.age --recipient"] {
        for word in [secret.expose().clone(), secret.expose().to_lowercase()] {
            let ran = home.run(&format!("{line} {word} --json"));
            assert_eq!((ran.code, ran.error_code().as_str()), (2, "invalid_recipient"), "{line}: {ran:?}");
            assert!(!format!("{ran:?}").contains(&word), "{line}: {ran:?}");
        }
    }
}

#[test]
fn an_empty_variable_is_an_error_and_never_a_reason_to_use_the_store() {
    let home = Home::new();
    home.ok("connect github --sandbox");
    for (variable, value) in [("INTEG_BUNDLE", ""), ("INTEG_BUNDLE", " \n"), ("INTEG_TOKEN_GITHUB", "")] {
        let mut command = home.command(["token", "github", "--json"]);
        command.env(variable, value);
        let ran = finish(command);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "empty_variable"), "{variable}: {ran:?}");
    }
}
