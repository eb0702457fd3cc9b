//! `integ doctor`: it finds what is wrong, changes nothing, asks nobody, and ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fake::{FakeProvider, Trouble};
use crate::flow::{Flow, connect_line, connected};
use crate::harness::{Home, INTEG, Ran, Running, copy_program, files, finish, is_root, skipped_on_postgres};

/// What was found, and the exit code, which must fit it.
fn examine(command: Command) -> (Vec<Value>, i32) {
    let started = Instant::now();
    let ran = finish(command);
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
    let view: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert_eq!(view["format_version"], 1);
    let findings = view["findings"].as_array().unwrap().clone();
    let problems = findings.iter().filter(|finding| finding["severity"] == "error").count();
    assert_eq!(view["summary"]["errors"], problems);
    assert_eq!(ran.code, if problems > 0 { 6 } else { 0 }, "{ran:?}");
    for finding in &findings {
        let (level, mend) = (finding["severity"].as_str().unwrap(), finding["fix"].is_string());
        assert!(level == "ok" || mend, "what is wrong has a remedy: {finding}");
    }
    assert_eq!(ran.stderr, "");
    (findings, ran.code)
}

fn doctor(home: &Home) -> (Vec<Value>, i32) {
    examine(home.command(["doctor", "--json"]))
}

/// The one finding of a check at a level that says something.
fn find(findings: &[Value], check: &str, level: &str, says: &str) -> Value {
    let fits = |finding: &&Value| {
        finding["check"] == check && finding["severity"] == level && finding["message"].as_str().unwrap().contains(says)
    };
    let found: Vec<_> = findings.iter().filter(fits).collect();
    assert_eq!(found.len(), 1, "{check} {level} {says:?}: {findings:#?}");
    found[0].clone()
}

fn fix(finding: &Value) -> &str {
    finding["fix"].as_str().unwrap()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_fresh_home_has_nothing_wrong_and_stays_empty() {
    let home = Home::new().with("CI", "1").with("SHELL", "/bin/bash");
    let (findings, code) = doctor(&home);
    assert_eq!(code, 0, "{findings:#?}");
    find(&findings, "vault", "ok", "none yet");
    find(&findings, "folders", "ok", "private and writable");
    find(&findings, "settings", "ok", "defaults");
    find(&findings, "keyring", "ok", "not available");
    find(&findings, "notify", "ok", "no hook");
    let completion = find(&findings, "completion", "warning", "not installed for bash");
    assert_eq!(files(home.path()).len(), 0);
    let ran = finish({
        let mut shell = Command::new("sh");
        shell.args(["-c", &fix(&completion).replace("integ ", &format!("{INTEG} "))]);
        shell.env_clear().env("HOME", home.path()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        shell
    });
    assert_eq!(ran.code, 0, "{ran:?}");
    find(&doctor(&home).0, "completion", "ok", "installed for bash");
}

#[test]
fn what_works_is_found_to_work_and_is_left_as_it_was() {
    if skipped_on_postgres("doctor finds that the tests' server does not write to disk") {
        return;
    }
    let home = Home::new();
    home.ok("connect slack --sandbox");
    // A reader leaves SQLite's empty log where it is.
    home.ok("status");
    let before: Vec<_> = files(home.path()).into_keys().collect();
    let (findings, code) = doctor(&home);
    assert_eq!(code, 0, "{findings:#?}");
    let shown: Vec<&str> = findings.iter().map(|finding| finding["check"].as_str().unwrap()).collect();
    for check in [
        "version",
        "folders",
        "disk",
        "settings",
        "keyring",
        "identity",
        "vault",
        "store",
        "clock",
        "connections",
        "connectors",
        "notify",
        "browser",
        "proxy",
    ] {
        assert!(shown.contains(&check), "{check}: {shown:?}");
    }
    find(&findings, "identity", "ok", "in a file");
    find(&findings, "store", "ok", "intact, schema ");
    find(&findings, "connections", "ok", "1 active, 1 of the sandbox");
    assert_eq!(files(home.path()).into_keys().collect::<Vec<_>>(), before);
    let text = home.run("doctor");
    assert_eq!((text.code, text.stdout.lines().last()), (0, Some("0 errors, 1 warning")), "{text:?}");
}

#[test]
fn without_a_home_it_says_so_and_looks_at_the_rest() {
    let home = Home::new();
    let mut command = home.command(["doctor", "--json"]);
    command.env_remove("INTEG_HOME").env_remove("HOME");
    let (findings, _) = examine(command);
    assert!(fix(&find(&findings, "folders", "error", "home folder")).contains("INTEG_HOME"));
    find(&findings, "version", "ok", "integ ");
    find(&findings, "proxy", "ok", "none");
}

#[test]
fn settings_that_do_not_parse_are_one_problem_and_no_end() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    fs::write(home.path().join("config.toml"), "[vault]\n\nidentiti = \"file\"\n").unwrap();
    fs::write(home.path().join(".integ.toml"), "[notify]\ncommand = \"touch evil\"\n").unwrap();
    let (findings, _) = doctor(&home);
    find(
        &findings,
        "settings",
        "error",
        "config.toml:3: vault.identiti is not a setting, did you mean vault.identity?",
    );
    find(&findings, "settings", "error", ".integ.toml:1");
    find(&findings, "vault", "ok", "opens");
}

#[test]
fn a_passphrase_is_not_asked_for_and_its_command_not_run() {
    let home = Home::new();
    let ran = home.path().join("ran");
    let script = home.path().join("passphrase.sh");
    fs::write(&script, format!("echo x >> '{}'\necho correct horse\n", ran.display())).unwrap();
    let home = home.with("INTEG_PASSPHRASE_COMMAND", format!("sh '{}'", script.display()));
    home.ok("config set vault.identity passphrase");
    home.ok("connect slack --sandbox");
    fs::remove_file(&ran).unwrap();
    let (findings, code) = doctor(&home);
    find(&findings, "identity", "warning", "under a passphrase");
    assert_eq!((code, ran.exists()), (0, false));
}

#[test]
fn a_vault_that_does_not_open_is_a_problem_with_its_remedy() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    mode(&home.path().join("identity"), 0o644);
    let (findings, _) = doctor(&home);
    assert!(fix(&find(&findings, "identity", "error", "by others")).starts_with("chmod 600"));
    mode(&home.path().join("identity"), 0o600);
    mode(home.path(), 0o777);
    let (findings, _) = doctor(&home);
    assert!(findings.iter().any(|finding| finding["message"].as_str().unwrap().contains("written by others")));
    mode(home.path(), 0o700);
    home.ok("config set http.timeout 20s");
    mode(&home.path().join("config.toml"), 0o666);
    assert!(fix(&find(&doctor(&home).0, "folders", "error", "written by others")).starts_with("chmod go-w"));
    mode(&home.path().join("config.toml"), 0o644);
    // Its key is another's.
    let other = Home::new();
    other.ok("connect slack --sandbox");
    fs::copy(other.path().join("identity"), home.path().join("identity")).unwrap();
    find(&doctor(&home).0, "vault", "error", "not sealed to this identity");
    fs::remove_file(home.path().join("identity")).unwrap();
    find(&doctor(&home).0, "identity", "error", "is not in");
    fs::write(other.workspace().join("vault.age"), "damaged").unwrap();
    find(&doctor(&other).0, "vault", "error", "damaged");
}

#[test]
fn what_hangs_is_what_was_found() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    let lock = fs::File::options().write(true).open(home.workspace().join("lock")).unwrap();
    lock.lock().unwrap();
    let pipe = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    fs::create_dir_all(home.path().join("connectors")).unwrap();
    pipe(&home.path().join("connectors/x.toml"));
    let (findings, _) = doctor(&home);
    assert!(fix(&find(&findings, "vault", "error", "did not end within 10 s")).contains("fuser"));
    find(&findings, "connectors", "error", "is not a regular file");
    find(&findings, "notify", "ok", "no hook");
    drop(lock);
    let waiting = home.path().join("pipe");
    pipe(&waiting);
    let mut command = home.command(["doctor", "--json"]);
    command.env("INTEG_IDENTITY_FILE", &waiting);
    find(&examine(command).0, "identity", "error", "is not a regular file");
}

#[test]
fn a_home_that_cannot_be_written_is_a_problem_and_no_crash() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    let mut command = home.command(["doctor", "--json"]);
    if is_root() {
        // Rights do not stop root: somebody else looks.
        let program = home.path().join("integ");
        copy_program(&program);
        let mut other = Command::new(&program);
        other.args(["doctor", "--json"]).env_clear().env("INTEG_HOME", home.path()).uid(65_534).gid(65_534);
        for path in files(home.path()).keys().map(std::path::PathBuf::as_path).chain([
            home.path(),
            &home.path().join("workspaces"),
            &home.workspace(),
        ]) {
            std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
        }
        other.current_dir("/").stdin(Stdio::null());
        command = other;
    }
    let folders = [home.workspace(), home.path().join("workspaces"), home.path().to_owned()];
    folders.iter().for_each(|folder| mode(folder, 0o500));
    let (findings, _) = examine(command);
    folders.iter().for_each(|folder| mode(folder, 0o700));
    find(&findings, "folders", "error", "cannot be written");
}

#[test]
fn connections_that_do_not_work_are_named_with_the_command_that_mends_them() {
    if skipped_on_postgres("doctor finds that the tests' server does not write to disk") {
        return;
    }
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.trouble("/token", [Trouble::Silence]);
    let mut refresh = home.command(["refresh", "fake"]);
    refresh.stderr(Stdio::null());
    let mut running = Running::start(refresh);
    provider.until("the grant is presented", |state| state.refreshes() == 1);
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    let (findings, code) = doctor(&home);
    assert_eq!(code, 0);
    assert_eq!(fix(&find(&findings, "connections", "warning", "its answer is not stored")), "integ refresh fake");
    assert_eq!(home.run("refresh fake").code, 4);
    let (findings, _) = doctor(&home);
    assert_eq!(fix(&find(&findings, "connections", "error", "needs reauth")), "integ reconnect fake");
    find(&findings, "connections", "ok", "1 needs reauth");
    Flow::start(&home, &connect_line(&provider)).allow();
    provider.trouble("/token", [Trouble::error("temporarily_unavailable")]);
    let _ = home.run("refresh fake");
    assert_eq!(fix(&find(&doctor(&home).0, "connections", "error", "error")), "integ test fake");
    fs::write(home.path().join("connectors/fake.toml"), "id = \"fake\"\nnot_a_key = 1\n").unwrap();
    let (findings, _) = doctor(&home);
    assert!(fix(&find(&findings, "connectors", "error", "fake: ")).starts_with("integ connector validate "));
    find(&findings, "connections", "error", "has no connector");
}

#[test]
fn a_hook_that_could_tell_nobody_is_a_problem() {
    let home = Home::new();
    home.ok("config set notify.command /no/such/program");
    home.ok("config set notify.url https://127.0.0.1/hook");
    let (findings, _) = doctor(&home);
    find(&findings, "notify", "error", "/no/such/program is not there");
    let make_secret = fix(&find(&findings, "notify", "error", "no secret")).to_owned();
    let mut shell = home.command(["-c", &make_secret.replace("integ config", &format!("'{INTEG}' config"))]);
    let arguments: Vec<_> = shell.get_args().map(std::ffi::OsStr::to_owned).collect();
    let environment: Vec<_> =
        shell.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    shell = Command::new("sh");
    shell.args(arguments).env_clear().envs(environment).current_dir(home.path());
    let ran = finish(shell);
    assert_eq!(ran.code, 0, "{ran:?}");
    find(&doctor(&home).0, "notify", "error", "loopback");
    let home = home.with("INTEG_NOTIFY_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    home.ok("config set notify.command sh");
    let (findings, _) = doctor(&home);
    find(&findings, "notify", "ok", "the command is sh");
    assert!(fix(&find(&findings, "notify", "error", "loopback")).contains("http.allow 127.0.0.1"));
    home.ok("config set http.allow 127.0.0.1");
    find(&doctor(&home).0, "notify", "ok", "127.0.0.1");
    home.ok("config set notify.on failure");
    fs::write(home.path().join("config.toml"), "[notify]\ncommand = \"sh\"\non = []\n").unwrap();
    find(&doctor(&home).0, "notify", "warning", "notify.on is empty");
}

#[test]
fn the_network_is_asked_only_where_that_is_wanted() {
    if skipped_on_postgres("doctor finds that the tests' server does not write to disk") {
        return;
    }
    let provider = FakeProvider::start();
    let home = connected(&provider);
    home.ok("connect slack --sandbox");
    let asked = provider.state().asked.len();
    assert_eq!(doctor(&home).1, 0);
    assert_eq!(provider.state().asked.len(), asked, "nothing was asked");
    let (findings, code) = examine(home.command(["doctor", "--online", "--json"]));
    assert_eq!(code, 0, "{findings:#?}");
    find(&findings, "network", "ok", "127.0.0.1 answers");
    let state = provider.state();
    assert_eq!(state.asked.len(), asked + 1, "the sandbox is not asked");
    let last = state.asked.last().unwrap();
    assert_eq!((last.request(), last.header("authorization")), (("HEAD", "/"), None));
    drop(state);
    drop(provider);
    let (findings, _) = examine(home.command(["doctor", "--online", "--json"]));
    find(&findings, "network", "error", "cannot reach 127.0.0.1");
}

#[test]
fn proxies_and_browsers_are_said_without_their_passwords() {
    let home = Home::new()
        .with("HTTPS_PROXY", "http://user:MARKERpw@proxy.example:3128")
        .with("BROWSER", "/no/such/browser %s");
    let ran: Ran = home.run("doctor");
    assert!(ran.stdout.contains("HTTPS_PROXY sends https requests through proxy.example:3128"), "{ran:?}");
    assert!(ran.stdout.contains("BROWSER names no program") && !ran.stdout.contains("MARKER"), "{ran:?}");
}
