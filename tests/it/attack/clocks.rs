//! Wrong clocks, and processes that were stopped while an answer arrived.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::fake::{FakeProvider, Trouble};
use crate::flow::connected;
use crate::harness::{Home, Ran, Running, finish, needs, skipped_on_postgres};
use crate::webhook::Listening;

/// The library that gives a program another time, for a workspace whose time is that of this machine.
pub fn faketime() -> Option<PathBuf> {
    if skipped_on_postgres("the server's clock counts there") { None } else { library() }
}

/// The library that gives a program another time.
pub fn library() -> Option<PathBuf> {
    let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let paths = libraries.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    let found = paths.into_iter().find(|path| path.is_file());
    needs("faketime", found.is_some());
    found
}

/// A command of this home whose wall clock is off by so much, as in `+3650d`.
pub fn at(home: &Home, library: &PathBuf, offset: &str, line: &str) -> Command {
    let mut command = home.command(line.split_whitespace());
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME", offset)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("NO_FAKE_STAT", "1");
    command
}

/// Runs a command of this home under such a clock, and returns its output.
pub fn ok_at(home: &Home, library: &PathBuf, offset: &str, line: &str) -> String {
    let ran = finish(at(home, library, offset, line));
    assert_eq!(ran.code, 0, "{offset} {line}: {ran:?}");
    ran.stdout
}

#[test]
fn attack_m9_a_token_that_was_issued_under_a_fast_clock_is_due_once_the_clock_is_right() {
    let Some(library) = faketime() else { return };
    for line in ["token fake", "token fake --min-ttl 59m", "refresh --due", "api fake /me"] {
        let provider = FakeProvider::start();
        let home = connected(&provider);
        ok_at(&home, &library, "+3650d", "refresh fake");
        let before = provider.state().refreshes();
        let status = home.json("status")["connections"][0].clone();
        assert_eq!(status["status"], "expiring", "{line}: {status}");
        assert!(status["expires_in"].as_i64().unwrap() <= 3600, "{line}: {status}");
        home.ok(line);
        assert_eq!(provider.state().refreshes(), before + 1, "{line}: an hour's token is not good for ten years");
        home.ok(line);
        assert_eq!(provider.state().refreshes(), before + 1, "{line}: once is enough");
        assert_eq!(home.json("status")["connections"][0]["status"], "active");
    }
}

#[test]
fn attack_m9_one_answer_without_a_lifetime_makes_no_token_immortal() {
    for wrong in [Value::Null, json!(0), json!(-3600), json!("soon")] {
        let provider = FakeProvider::start();
        let home = connected(&provider);
        provider.trouble("/token", [Trouble::Edit(json!({ "expires_in": wrong }))]);
        home.ok("refresh fake");
        let left = home.json("status")["connections"][0]["expires_in"].as_i64();
        assert!(left.is_some_and(|left| (3590..=3600).contains(&left)), "{wrong}: {left:?}");
    }
}

#[test]
fn attack_m9_an_event_that_came_under_a_fast_clock_holds_up_nothing() {
    let Some(library) = faketime() else { return };
    let home = Home::new();
    home.ok("connect stripe --sandbox");
    let listen = |offset: Option<&str>, handler: &str| {
        let words = ["webhook", "listen", "stripe", "--port", "0", "--json", "--exec", handler];
        let mut command = home.command(words);
        if let Some(offset) = offset {
            command.env("LD_PRELOAD", &library).env("FAKETIME", offset).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let mut running = Running::start(command);
        let first = running.event();
        Listening { urls: first["urls"].clone(), running }
    };
    let mut wrong = listen(Some("+365d"), "false");
    let url = wrong.url("stripe");
    ok_at(&home, &library, "+365d", &format!("webhook simulate stripe invoice.paid --to {url}"));
    assert_eq!(wrong.until("failed")["event_status"], "failed");
    // This one only comes: the one before it is not done.
    ok_at(&home, &library, "+365d", &format!("webhook simulate stripe invoice.paid --to {url}"));
    wrong.signal(Signal::INT);
    assert_eq!(wrong.running.code(), 130);
    let mut right = listen(None, "true");
    home.ok(&format!("webhook simulate stripe invoice.paid --to {}", right.url("stripe")));
    let waiting = Instant::now();
    let processed = || home.ok("webhook events --json").matches(r#""status":"processed""#).count();
    while processed() < 3 && waiting.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(processed(), 3, "nothing waits for a year: {}", home.ok("webhook events --json"));
    right.signal(Signal::INT);
    right.running.code();
}

#[test]
fn attack_m9_a_schedule_that_was_moved_on_by_a_fast_clock_is_brought_back() {
    let Some(library) = faketime() else { return };
    let home = Home::new();
    home.ok("connect github --sandbox");
    for rule in ["every 15m", "*/15 * * * * UTC"] {
        let mut set = home.command(["schedule", "set", "github/repositories", rule]);
        set.env("LD_PRELOAD", &library).env("FAKETIME", "+365d").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        assert_eq!(finish(set).code, 0);
        let next = home.json("schedule list")["schedules"][0]["next_at"].as_str().unwrap().to_owned();
        let next: integ::clock::Timestamp = next.parse().unwrap();
        let wait = next.as_second() - integ::clock::Timestamp::now().as_second();
        assert!((0..=901).contains(&wait), "{rule}: next in {wait} s");
        let early = home.run("sync --due");
        assert!(early.stderr.contains("Nothing is due"), "{rule}: {early:?}");
        let due = finish(at(&home, &library, "+16m", "sync --due"));
        assert!(due.code == 0 && !due.stderr.contains("Nothing is due"), "{rule}: {due:?}");
    }
}

/// A refresh whose answer takes `latency`, stopped at `stop` for `stopped`; what it says in the end.
fn stopped_refresh(latency: Duration, stop: Duration, stopped: Duration) -> (Ran, Home, FakeProvider) {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    home.ok("config set http.timeout 3s");
    provider.state().latency = latency;
    let mut command = home.command(["refresh", "fake", "--json"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = Pid::from_child(&child);
    provider.until("the grant is presented", |state| state.refreshes() == 1);
    std::thread::sleep(stop);
    kill_process(pid, Signal::STOP).unwrap();
    std::thread::sleep(stopped);
    kill_process(pid, Signal::CONT).unwrap();
    (Ran::of(child.wait_with_output().unwrap()), home, provider)
}

#[test]
fn attack_m12_an_answer_that_arrived_while_the_process_was_stopped_is_read() {
    let latency = Duration::from_millis(1500);
    let moments = [0, 300, 700, 1100, 1400, 1490].map(Duration::from_millis);
    let runs: Vec<_> = moments
        .into_iter()
        .map(|stop| std::thread::spawn(move || (stop, stopped_refresh(latency, stop, Duration::from_secs(6)))))
        .collect();
    for run in runs {
        let (stop, (ran, home, provider)) = run.join().unwrap();
        assert_eq!(ran.code, 0, "stopped after {stop:?}: {ran:?}");
        let given = provider.state().given.last().cloned();
        assert_eq!(Some(home.ok("token fake")), given, "stopped after {stop:?}");
        assert_eq!(provider.state().doubles(), Vec::<&String>::new());
        home.ok("refresh fake");
    }
}

#[test]
fn attack_m12_a_vendor_that_never_answers_is_still_given_up() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    home.ok("config set http.timeout 2s");
    provider.trouble("/token", [Trouble::Silence]);
    let mut refresh = Running::start(home.command(["refresh", "fake"]));
    provider.until("the grant is presented", |state| state.refreshes() == 1);
    kill_process(Pid::from_child(&refresh.child), Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    let woken = Instant::now();
    kill_process(Pid::from_child(&refresh.child), Signal::CONT).unwrap();
    assert_eq!(refresh.code(), 4, "nobody knows what became of the grant");
    assert!(woken.elapsed() < Duration::from_secs(6), "{:?}", woken.elapsed());
}
