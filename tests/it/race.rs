//! Many processes and one grant: of any number exactly one asks the vendor, whoever is killed or stopped meanwhile.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::fake::{FakeProvider, Trouble};
use crate::flow::{Flow, connect_line, connected};
use crate::harness::{Home, Ran, Running, skipped_on_postgres};
use crate::vault::expire;

/// Rounds of the races; a soak asks for more.
pub fn rounds(usual: u64) -> u64 {
    std::env::var("INTEG_TEST_ROUNDS").map_or(usual, |rounds| rounds.parse().unwrap())
}

/// What every process of a race runs, once the token that there is has expired.
const ASK: &str = "token fake --json";

fn spawn(home: &Home, line: &str) -> Child {
    let mut command = home.command(line.split_whitespace());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn token_of(ran: &Ran) -> Option<String> {
    let view: serde_json::Value = serde_json::from_str(&ran.stdout).ok()?;
    view["token"].as_str().map(str::to_owned)
}

/// Returns what there is to publish of it.
fn race(processes: usize, rounds: u64) -> String {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let started = Instant::now();
    for round in 0..rounds {
        expire(&home);
        let before = provider.state().refreshes();
        let children: Vec<Child> = (0..processes).map(|_| spawn(&home, ASK)).collect();
        let mut tokens = BTreeSet::new();
        for child in children {
            let ran = Ran::of(child.wait_with_output().unwrap());
            assert_eq!(ran.code, 0, "round {round}: {ran:?}");
            tokens.insert(token_of(&ran).unwrap());
        }
        let state = provider.state();
        assert_eq!(state.refreshes() - before, 1, "round {round}: exactly one asks");
        assert_eq!(tokens.iter().next(), state.given.last(), "round {round}: everybody has its answer");
        assert_eq!(tokens.len(), 1, "round {round}");
    }
    let state = provider.state();
    assert_eq!(state.doubles(), Vec::<&String>::new());
    format!(
        "{rounds} rounds of {processes} processes in {:.1} s: {} refreshes, {} presented twice",
        started.elapsed().as_secs_f64(),
        state.refreshes(),
        state.doubles().len()
    )
}

#[test]
fn sixty_four_processes_and_an_expired_token_make_one_refresh() {
    eprintln!("{}", race(64, rounds(3)));
}

#[test]
fn fault_105_256_processes_and_an_expired_token_make_one_refresh() {
    eprintln!("{}", race(256, 1));
}

/// A small generator (splitmix64): the seed of a failure is all that is needed to see it again.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[test]
fn processes_killed_at_random_points_lose_no_grant_silently_and_present_none_twice() {
    if skipped_on_postgres("each kill costs a minute there, see tests/campaigns/postgres-refresh") {
        return;
    }
    const PROCESSES: u64 = 16;
    let seed = std::env::var("INTEG_TEST_SEED").map_or(20_261_120, |seed| seed.parse().unwrap());
    let mut random = Random(seed);
    let provider = FakeProvider::start();
    let home = connected(&provider);
    // Long enough that some processes die between the vendor's deed and its answer.
    provider.state().latency = Duration::from_millis(40);
    let (mut valid, mut cut_off) = (0, 0);
    for round in 0..rounds(12) {
        expire(&home);
        let children: Vec<Child> = (0..PROCESSES).map(|_| spawn(&home, ASK)).collect();
        // The moment is what is random here; nothing is waited for.
        let mut killed: Vec<(u64, usize)> =
            (0..children.len()).filter(|_| random.below(3) > 0).map(|at| (at as u64, at)).collect();
        for moment in &mut killed {
            moment.0 = random.below(150_000);
        }
        killed.sort_unstable();
        let started = Instant::now();
        for (moment, at) in &killed {
            std::thread::sleep(Duration::from_micros(*moment).saturating_sub(started.elapsed()));
            let _ = kill_process(Pid::from_child(&children[*at]), Signal::KILL);
        }
        for child in children {
            let ran = Ran::of(child.wait_with_output().unwrap());
            let explained = ran.code == 4 && ran.error_code() == "needs_reauth";
            assert!(ran.code == 0 || ran.code == -1 || explained, "seed {seed}, round {round}: {ran:?}");
        }
        let after = home.run(ASK);
        let doubles = provider.state().doubles().len();
        assert_eq!(doubles, 0, "seed {seed}, round {round}: a refresh token was presented twice");
        if after.code == 0 {
            valid += 1;
            assert_eq!(token_of(&after), provider.state().given.last().cloned(), "seed {seed}, round {round}");
        } else {
            cut_off += 1;
            assert_eq!((after.code, after.error_code().as_str()), (4, "needs_reauth"), "seed {seed}: {after:?}");
            assert!(after.stderr.contains("was cut off"), "seed {seed}, round {round}: {after:?}");
            let status = home.json("status");
            assert_eq!(status["connections"][0]["status"], "needs_reauth", "seed {seed}, round {round}");
            Flow::start(&home, &connect_line(&provider)).allow();
        }
    }
    eprintln!("seed {seed}: {valid} grants valid, {cut_off} cut off and said so, none presented twice");
}

/// A refresh that holds the connection's lock for as long as the provider is silent.
fn holder(home: &Home, provider: &FakeProvider) -> Running {
    provider.trouble("/token", [Trouble::Silence]);
    let mut command = home.command(["refresh", "fake"]);
    command.stderr(Stdio::null());
    let running = Running::start(command);
    provider.until("the grant is presented", |state| state.refreshes() == 1);
    running
}

/// Starts a command, and waits until it has opened a lock of the workspace. It asks for a lock that is held again and again,
/// and has the file open for moments only, so the kernel is asked to report it.
#[cfg(target_os = "linux")]
fn spawn_up_to_the_lock(home: &Home, line: &str) -> Child {
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, home.workspace().join("locks"), WatchFlags::OPEN).unwrap();
    let child = spawn(home, line);
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    let started = Instant::now();
    loop {
        match events.next() {
            Ok(event) if !event.events().contains(ReadFlags::ISDIR) => return child,
            Ok(_) => {}
            // Nothing yet: the next look, until the deadline below.
            Err(rustix::io::Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
        assert!(started.elapsed() < Duration::from_secs(20), "it never came to the lock");
    }
}

#[test]
fn fault_106_a_stopped_holder_makes_waiters_fail_clearly_and_nobody_asks_again() {
    if skipped_on_postgres("the lease of a stopped process expires there, see tests/campaigns/postgres-refresh") {
        return;
    }
    let provider = FakeProvider::start();
    let home = connected(&provider);
    home.ok("config set http.timeout 1s");
    let mut holder = holder(&home, &provider);
    kill_process(Pid::from_child(&holder.child), Signal::STOP).unwrap();
    let waiters: Vec<Child> = (0..3).map(|_| spawn(&home, "refresh fake --json")).collect();
    for waiter in waiters {
        let ran = Ran::of(waiter.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.error_code().as_str()), (5, "grant_locked"), "{ran:?}");
        assert!(ran.stderr.contains("fuser "), "it says how to find the holder: {ran:?}");
    }
    kill_process(Pid::from_child(&holder.child), Signal::CONT).unwrap();
    assert_eq!(holder.code(), 4, "its own time is over as well, and nobody knows what became of the grant");
    assert_eq!(home.run("token fake --min-ttl 2h").code, 4);
    assert_eq!(provider.state().refreshes(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn fault_107_the_lock_of_a_killed_holder_is_taken_over_at_once_and_its_marker_honoured() {
    if skipped_on_postgres("a lease of a killed process lasts 30 seconds") {
        return;
    }
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let mut holder = holder(&home, &provider);
    let waiter = spawn_up_to_the_lock(&home, "refresh fake --json");
    let killed = Instant::now();
    holder.child.kill().unwrap();
    holder.child.wait().unwrap();
    let ran = Ran::of(waiter.wait_with_output().unwrap());
    let taken = killed.elapsed();
    assert!(taken < Duration::from_secs(1), "{taken:?}");
    assert_eq!((ran.code, ran.error_code().as_str()), (4, "needs_reauth"), "{ran:?}");
    assert_eq!(provider.state().refreshes(), 1);
}
