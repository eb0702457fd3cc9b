//! Hooks: told once, whoever sees the change; given no secret; never able to hold a command up or change what it says.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fake::{FakeProvider, Trouble};
use crate::flow::{Flow, connect_line, connected};
use crate::harness::{Home, INTEG, Ran, Running, finish, has_program, needs, peers};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Makes a shell script the hook.
fn hook(home: &Home, script: &str) {
    let path = home.path().join("hook.sh");
    fs::write(&path, script).unwrap();
    set(home, "notify.command", &format!("sh '{}'", path.display()));
}

fn set(home: &Home, key: &str, value: &str) {
    let ran = finish(home.command(["config", "set", key, value]));
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// A hook that notes what it is told of.
fn noting(home: &Home) -> PathBuf {
    let log = home.path().join("told");
    hook(home, &format!("echo \"$INTEG_NOTIFY_EVENT $INTEG_NOTIFY_CONNECTION\" >> '{}'\n", log.display()));
    log
}

/// What was told since the last look.
fn told(log: &Path) -> Vec<String> {
    let lines = fs::read_to_string(log).unwrap_or_default();
    let _ = fs::remove_file(log);
    lines.lines().map(str::to_owned).collect()
}

fn at_once(home: &Home, processes: usize, line: &str) -> Vec<Ran> {
    let spawn = |_| -> Child {
        let mut command = home.command(line.split_whitespace());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<Child> = (0..processes).map(spawn).collect();
    children.into_iter().map(|child| Ran::of(child.wait_with_output().unwrap())).collect()
}

fn broken(provider: &FakeProvider, times: usize) {
    provider.trouble("/api/me", std::iter::repeat_n(Trouble::json(500, &json!({})), times));
}

#[test]
fn of_sixty_four_processes_that_see_a_check_fail_one_tells_and_later_ones_none() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let log = noting(&home);
    // Each check tries three times.
    broken(&provider, 64 * 3);
    assert!(at_once(&home, 64, "test fake").iter().all(|ran| ran.code == 6));
    assert_eq!(told(&log), ["failure fake"]);
    broken(&provider, 3);
    assert_eq!(home.run("test fake").code, 6);
    assert_eq!(told(&log), [""; 0], "a check that fails again is no news");
    assert!(at_once(&home, 64, "test fake").iter().all(|ran| ran.code == 0));
    assert_eq!(told(&log), ["recovery fake"]);
    home.ok("test fake");
    assert_eq!(told(&log), [""; 0]);
}

#[test]
fn of_sixty_four_processes_whose_grant_is_refused_one_tells_and_connecting_again_is_recovery() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let log = noting(&home);
    provider.trouble("/token", [Trouble::error("invalid_grant")]);
    crate::vault::expire(&home);
    for ran in at_once(&home, 64, "token fake --json") {
        assert_eq!((ran.code, ran.error_code().as_str()), (4, "needs_reauth"), "{ran:?}");
    }
    assert_eq!(told(&log), ["needs_reauth fake"]);
    assert_eq!((home.run("test fake").code, home.run("refresh fake").code), (4, 4));
    assert_eq!(told(&log), [""; 0]);
    Flow::start(&home, &connect_line(&provider)).allow();
    assert_eq!(told(&log), ["recovery fake"]);
}

#[test]
fn a_refresh_that_fails_and_works_again_is_told_and_so_is_one_that_was_cut_off() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let log = noting(&home);
    provider.trouble("/token", [Trouble::json(503, &json!({})), Trouble::json(503, &json!({}))]);
    assert_eq!((home.run("refresh fake").code, home.run("refresh fake").code), (5, 5));
    assert_eq!(told(&log), ["failure fake"]);
    home.ok("refresh fake");
    assert_eq!(told(&log), ["recovery fake"]);
    provider.trouble("/token", [Trouble::Drop]);
    assert_eq!(home.run("refresh fake").code, 4);
    assert_eq!(told(&log), ["needs_reauth fake"]);
}

#[test]
fn a_token_that_every_refresh_makes_new_and_the_service_refuses_is_told_once() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let log = noting(&home);
    provider.state().refuses_all = true;
    assert_eq!((home.run("test fake").code, home.run("test fake").code), (4, 4));
    broken(&provider, 3);
    assert_eq!(home.run("test fake").code, 6);
    assert_eq!(home.run("test fake").code, 4);
    assert_eq!(told(&log), ["needs_reauth fake"]);
    provider.state().refuses_all = false;
    home.ok("test fake");
    assert_eq!(told(&log), ["recovery fake"]);
}

#[test]
fn only_what_is_asked_for_is_told() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let log = noting(&home);
    set(&home, "notify.on", "needs_reauth, recovery");
    broken(&provider, 3);
    assert_eq!(home.run("test fake").code, 6);
    assert_eq!(told(&log), [""; 0]);
    home.ok("test fake");
    assert_eq!(told(&log), ["recovery fake"]);
}

#[test]
fn the_hook_has_the_change_in_its_environment_and_on_stdin_and_no_secret() {
    let provider = FakeProvider::start();
    let home = connected(&provider)
        .with("INTEG_TOKEN", "MARKER-token")
        .with("INTEG_CLIENT_SECRET", "MARKER-secret")
        .with("INTEG_NOTIFY_SECRET", "MARKER-notify")
        .with("INTEG_PASSPHRASE_COMMAND", "echo MARKER-command")
        .with("FAKE_CLIENT_SECRET", "MARKER-app")
        .with("INTEG_VERBOSE", "1")
        .with("OTHER", "kept");
    let (environment, input) = (home.path().join("environment"), home.path().join("input"));
    hook(&home, &format!("env > '{}'\ncat > '{}'\n", environment.display(), input.display()));
    provider.trouble("/token", [Trouble::error("invalid_grant")]);
    let ran = home.run("refresh fake");
    assert_eq!(ran.code, 4, "{ran:?}");
    let environment = fs::read_to_string(environment).unwrap();
    let variable = |name: &str| {
        let line = environment.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.map(str::to_owned)
    };
    let told: Value = serde_json::from_str(&fs::read_to_string(input).unwrap()).unwrap();
    assert_eq!(told["type"], "connection.needs_reauth");
    for (name, at) in [
        ("EVENT", "/data/event"),
        ("CONNECTION", "/data/connection"),
        ("CONNECTOR", "/data/connector"),
        ("WORKSPACE", "/data/workspace"),
        ("STATUS", "/data/status"),
        ("REASON", "/data/reason"),
        ("TIME", "/timestamp"),
    ] {
        let value = variable(&format!("INTEG_NOTIFY_{name}")).unwrap();
        assert_eq!(told.pointer(at).unwrap(), &value, "{name}");
        assert!(!value.is_empty(), "{name}");
    }
    assert_eq!(told["data"]["status"], home.json("status")["connections"][0]["status"]);
    assert_eq!((variable("OTHER").as_deref(), variable("INTEG_HOME").is_some()), (Some("kept"), true));
    let ours = environment.lines().filter(|line| line.starts_with("INTEG_")).count();
    assert_eq!(ours, 12, "{environment}");
    let secrets: Vec<String> = provider.state().given.clone();
    for text in [environment, told.to_string()] {
        assert!(!text.contains("MARKER") && !text.contains("refresh-"), "{text}");
        assert!(!secrets.iter().any(|secret| text.contains(secret.as_str())), "{text}");
    }
}

/// Whether a process lives; one that has ended and was not yet waited for does not.
fn lives(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

#[test]
fn a_hook_that_hangs_is_ended_with_everything_it_started() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let pids = home.path().join("pids");
    hook(&home, &format!("sleep 300 &\necho $! $$ > '{}'\nwait\n", pids.display()));
    set(&home, "notify.timeout", "1s");
    broken(&provider, 3);
    let started = Instant::now();
    let ran = home.run("test fake --json");
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert!(ran.stderr.contains("did not finish within 1 s") && ran.stderr.contains("notify.timeout"), "{ran:?}");
    assert!(serde_json::from_str::<Value>(&ran.stdout).is_ok(), "{ran:?}");
    for pid in fs::read_to_string(pids).unwrap().split_whitespace() {
        let gone = || !lives(pid);
        let waiting = Instant::now();
        while !gone() {
            assert!(waiting.elapsed() < Duration::from_secs(10), "{pid} lives");
            std::thread::yield_now();
        }
    }
}

#[test]
fn ctrl_c_ends_a_hook_and_what_the_command_found_stands() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let pids = home.path().join("pids");
    hook(&home, &format!("sleep 300 &\necho $! $$ > '{0}.part' && mv '{0}.part' '{0}'\nwait\n", pids.display()));
    set(&home, "notify.timeout", "120s");
    broken(&provider, 3);
    let mut child = home.command(["test", "fake"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !pids.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "the hook never ran");
        std::thread::yield_now();
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let ran = Ran::of(child_output(&mut child));
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(started.elapsed() < Duration::from_secs(60));
    for pid in fs::read_to_string(pids).unwrap().split_whitespace() {
        let waiting = Instant::now();
        while lives(pid) {
            assert!(waiting.elapsed() < Duration::from_secs(10), "{pid} lives");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_hook_that_leaves_something_running_is_not_waited_for() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let pid = home.path().join("pid");
    hook(&home, &format!("sleep 300 &\necho $! > '{}'\n", pid.display()));
    set(&home, "notify.timeout", "120s");
    broken(&provider, 3);
    let started = Instant::now();
    let ran = home.run("test fake");
    assert_eq!((ran.code, ran.stderr.as_str()), (6, ""), "{ran:?}");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    let pid = fs::read_to_string(pid).unwrap();
    assert!(lives(pid.trim()), "what it started is its own affair");
    Command::new("kill").arg(pid.trim()).status().unwrap();
}

#[test]
fn what_a_hook_prints_and_how_it_ends_changes_nothing() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    hook(&home, "echo JUNK; printf 'no such \\033[31mchannel' >&2; exit 3\n");
    broken(&provider, 3);
    let ran = home.run("test fake --json");
    assert_eq!(ran.code, 6, "{ran:?}");
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["tests"][0]["outcome"], "temporary");
    assert!(!ran.stderr.contains("JUNK") && !ran.stderr.contains('\u{1b}'), "{ran:?}");
    assert!(ran.stderr.contains("failure of fake") && ran.stderr.contains("no such"), "{ran:?}");
    for missing in ["/no/such/program", "sh -c 'exec /no/such/program'"] {
        set(&home, "notify.command", missing);
        let ran = home.run("test fake");
        assert_eq!((ran.code, ran.stdout.lines().count()), (0, 2), "{ran:?}");
        assert!(ran.stderr.contains("recovery of fake"), "{ran:?}");
        broken(&provider, 3);
        let ran = home.run("test fake -q");
        assert_eq!((ran.code, ran.stderr.as_str()), (6, ""), "{ran:?}");
    }
}

#[test]
fn a_hook_may_call_integ_itself() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let log = home.path().join("told");
    let script = format!(
        "echo $INTEG_NOTIFY_EVENT >> '{0}'\n[ $INTEG_NOTIFY_EVENT = recovery ] || '{INTEG}' refresh fake >> '{0}' 2>&1\n",
        log.display()
    );
    hook(&home, &script);
    provider.trouble("/token", [Trouble::json(503, &json!({}))]);
    let ran = home.run("refresh fake");
    assert_eq!((ran.code, ran.stderr.contains("did not end")), (5, false), "{ran:?}");
    let told = told(&log);
    assert_eq!((told[0].as_str(), told[1].as_str()), ("failure", "recovery"), "{told:?}");
    assert!(told[2].contains("refreshed"), "{told:?}");
}

/// Takes one connection's POST and answers it.
fn receive(listener: &TcpListener, status: u16) -> crate::wire::Message {
    use std::io::Write;
    let (mut stream, _) = listener.accept().unwrap();
    let message = crate::wire::Message::read(&stream).unwrap();
    write!(stream, "HTTP/1.1 {status} -\r\nconnection: close\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")
        .unwrap();
    message
}

#[test]
fn a_post_is_signed_or_not_sent_and_goes_where_it_is_allowed_to() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    set(&home, "notify.url", &format!("http://{}/hook", listener.local_addr().unwrap()));
    let fails = |why: &str, hint: &str, home: &Home| {
        broken(&provider, 3);
        let ran = home.run("test fake");
        assert_eq!(ran.code, 6, "{ran:?}");
        assert!(ran.stderr.contains(why) && ran.stderr.contains(hint), "{ran:?}");
        assert_eq!(home.run("test fake").code, 0);
        assert!(listener.accept().is_err(), "{why}: nothing is sent");
    };
    fails("no secret", "integ config set notify.secret_file", &home);
    let secret = home.path().join("secret");
    set(&home, "notify.secret_file", &secret.display().to_string());
    fails("is missing", "notify.secret_file", &home);
    fs::write(&secret, SECRET).unwrap();
    mode(&secret, 0o644);
    fails("can be read by others", "chmod 600", &home);
    mode(&secret, 0o600);
    fs::write(&secret, "whsec_c2hvcnQ=").unwrap();
    fails("shorter than 24 bytes", "/dev/urandom", &home);
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    fails("loopback", "integ config set http.allow 127.0.0.1", &home);

    set(&home, "http.allow", "127.0.0.0/8");
    listener.set_nonblocking(false).unwrap();
    for (status, said) in [(200, ""), (307, "status 307"), (500, "status 500"), (410, "status 410")] {
        broken(&provider, 3);
        let mut child = home.command(["test", "fake"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let message = receive(&listener, status);
        assert_eq!(message.request(), ("POST", "/hook"));
        let ran = Ran::of(child_output(&mut child));
        assert_eq!(ran.code, 6, "{ran:?}");
        assert_eq!((ran.stderr.contains(said), ran.stderr.is_empty()), (true, said.is_empty()), "{ran:?}");
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!((&body["type"], &body["data"]["connection"]), (&json!("connection.failure"), &json!("fake")));
        assert!(message.header("webhook-id").unwrap().starts_with("msg_"));
        assert!(message.header("webhook-signature").unwrap().starts_with("v1,"));
        let recovered = std::thread::scope(|scope| {
            let answer = scope.spawn(|| receive(&listener, 200));
            assert_eq!(home.run("test fake").code, 0);
            answer.join().unwrap()
        });
        assert_ne!(recovered.header("webhook-id"), message.header("webhook-id"));
    }
}

fn child_output(child: &mut Child) -> std::process::Output {
    use std::io::Read;
    let mut stderr = Vec::new();
    child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    std::process::Output { status: child.wait().unwrap(), stdout: Vec::new(), stderr }
}

fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_receiver_that_never_answers_holds_nobody_up() {
    let provider = FakeProvider::start();
    let home = connected(&provider).with("INTEG_NOTIFY_SECRET", SECRET);
    // It takes the connection, as the kernel does for it, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    set(&home, "notify.url", &format!("http://{}/hook", listener.local_addr().unwrap()));
    set(&home, "http.allow", "127.0.0.1");
    set(&home, "notify.timeout", "1s");
    broken(&provider, 3);
    let started = Instant::now();
    let ran = home.run("test fake");
    assert_eq!((ran.code, ran.stderr.contains("within 1 s")), (6, true), "{ran:?}");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn the_reference_library_verifies_the_post() {
    if !needs(
        "node and tests/peers/node_modules",
        has_program("node") && peers().join("node_modules/standardwebhooks").is_dir(),
    ) {
        return;
    }
    let mut command = Command::new("node");
    command.arg(peers().join("standard-webhooks.mjs")).arg(SECRET);
    let mut receiver = Running::start(command);
    let url = receiver.event()["url"].as_str().unwrap().to_owned();
    let provider = FakeProvider::start();
    let home = connected(&provider).with("INTEG_NOTIFY_SECRET", SECRET);
    set(&home, "notify.url", &url);
    set(&home, "http.allow", "127.0.0.1");
    provider.trouble("/token", [Trouble::error("invalid_grant")]);
    let ran = home.run("refresh fake");
    assert_eq!((ran.code, ran.stderr.contains("nobody was told")), (4, false), "{ran:?}");
    let received = receiver.event();
    assert_eq!(received["error"], Value::Null, "{received}");
    assert_eq!(received["verified"]["data"]["event"], "needs_reauth");
    assert_eq!(received["headers"]["content-type"], "application/json");
    // Another secret, and the library refuses.
    let home = home.with("INTEG_NOTIFY_SECRET", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    Flow::start(&home, &connect_line(&provider)).allow();
    let received = receiver.event();
    assert_eq!((&received["verified"], received["error"].is_string()), (&Value::Null, true), "{received}");
}
