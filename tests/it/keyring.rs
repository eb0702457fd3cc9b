//! A real Secret Service: gnome-keyring on a private bus of each test.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Home, Ran, files, finish, has_program, holds, needs};
use crate::vault::connect_key;

const TOKEN: &str = "sk_live_keyring_MARKER";

fn present() -> bool {
    ["dbus-daemon", "gnome-keyring-daemon"].iter().all(|program| needs(program, has_program(program)))
}

const BUS: &str = r#"<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>"#;

/// A bus of one's own and a gnome-keyring on it; both end with the test.
struct Desktop {
    home: Home,
    bus: Child,
    daemon: RefCell<Child>,
}

impl Desktop {
    /// The keyring's password is given on stdin, as a login does, or not at all: then it stays locked.
    fn new(unlocked: bool) -> Self {
        let home = Home::new();
        // A bus that starts nothing by itself: what answers on it is what the test has started.
        let config = home.path().join("bus.conf");
        fs::write(&config, BUS).unwrap();
        let mut command = Command::new("dbus-daemon");
        command
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut bus = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let home = home.with("DBUS_SESSION_BUS_ADDRESS", address.trim());
        if !unlocked {
            // A keyring that an earlier login made, and that nobody unlocks now.
            end(&mut Self::start(&home, true));
        }
        let daemon = RefCell::new(Self::start(&home, unlocked));
        Self { home, bus, daemon }
    }

    fn start(home: &Home, unlock: bool) -> Child {
        let mut command = Command::new("gnome-keyring-daemon");
        command.args(["--foreground", "--components=secrets", "--replace"]);
        if unlock {
            command.arg("--unlock");
        }
        let data = home.path().join("desktop");
        fs::create_dir_all(&data).unwrap();
        let address = variable(home);
        command.env_clear().env("HOME", &data).env("XDG_DATA_HOME", &data).env("XDG_RUNTIME_DIR", &data);
        command.env("PATH", "/usr/bin:/bin").env("DBUS_SESSION_BUS_ADDRESS", address);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"desktop password\n").unwrap();
        drop(stdin);
        // It says where its control socket is once it is there; the bus name follows, and dbus says when.
        let started = Instant::now();
        while !answers(home) {
            if started.elapsed() > Duration::from_secs(20) {
                end(&mut child);
                panic!("gnome-keyring does not start");
            }
        }
        child
    }

    /// Starts the daemon again if it is gone: it may abort when a client dies in the middle of a call. What it was given
    /// is on the disk. The bus tells it of the death before it passes on the ping.
    fn revive(&self) {
        let ping = bus_call(&self.home, "org.freedesktop.secrets", "org.freedesktop.DBus.Peer.Ping", &[]);
        if ping.code != 0 {
            let mut daemon = self.daemon.borrow_mut();
            end(&mut daemon);
            *daemon = Self::start(&self.home, true);
        }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.daemon.borrow().id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        end(self.daemon.get_mut());
        end(&mut self.bus);
    }
}

/// Whether the bus knows a Secret Service.
fn answers(home: &Home) -> bool {
    let name = ["string:org.freedesktop.secrets"];
    bus_call(home, "org.freedesktop.DBus", "org.freedesktop.DBus.NameHasOwner", &name).stdout.contains("boolean true")
}

fn bus_call(home: &Home, to: &str, method: &str, arguments: &[&str]) -> Ran {
    let mut call = Command::new("dbus-send");
    call.args(["--session", "--print-reply", &format!("--dest={to}"), "/", method]).args(arguments);
    call.env_clear().env("DBUS_SESSION_BUS_ADDRESS", variable(home)).env("PATH", "/usr/bin:/bin");
    finish(call)
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// The bus of the home's commands.
fn variable(home: &Home) -> String {
    let command = home.command(["--version"]);
    let value = command.get_envs().find(|(name, _)| *name == "DBUS_SESSION_BUS_ADDRESS").unwrap().1.unwrap();
    value.to_str().unwrap().to_owned()
}

/// Runs a command that must answer soon, whatever the keyring does.
fn soon(home: &Home, line: &str) -> Ran {
    let started = Instant::now();
    let ran = home.run(line);
    assert!(started.elapsed() < Duration::from_secs(5), "{line} took {:?}: {ran:?}", started.elapsed());
    ran
}

#[test]
fn the_keyring_holds_the_identity_where_one_answers_and_it_is_said_once() {
    if !present() {
        return;
    }
    let desktop = Desktop::new(true);
    let home = &desktop.home;
    let first = home.run_with_input("connect api-key --with-token --param base=https://example.com", TOKEN);
    assert_eq!(first.code, 0, "{first:?}");
    assert_eq!(first.stderr.matches("The key to your vaults is in the OS keyring").count(), 1, "{first:?}");
    let second = home.run("connect slack --sandbox");
    assert!(second.code == 0 && !second.stderr.contains("The key to your vaults"), "{second:?}");
    assert_eq!(home.ok("token api-key"), TOKEN);
    assert_eq!(home.json("vault status")["identity"], "keyring");
    for (path, bytes) in files(home.path()) {
        assert!(!holds(&bytes, "AGE-SECRET-KEY-1"), "{}", path.display());
    }
    // The desktop's own tool sees it.
    if needs("secret-tool", has_program("secret-tool")) {
        let mut tool = Command::new("secret-tool");
        tool.args(["search", "--all", "service", "integ"]).env("DBUS_SESSION_BUS_ADDRESS", variable(home));
        let ran = finish(tool);
        assert!(ran.stdout.contains("integ: identity") && ran.stdout.contains("AGE-SECRET-KEY-1"), "{}", ran.code);
    }
    // It moves out and back in, and nothing is left where it was.
    home.ok("vault move-identity file");
    assert!(files(home.path()).values().any(|bytes| holds(bytes, "AGE-SECRET-KEY-1")));
    home.ok("vault move-identity keyring");
    assert!(!files(home.path()).values().any(|bytes| holds(bytes, "AGE-SECRET-KEY-1")));
    assert_eq!(home.ok("token api-key"), TOKEN);
}

#[test]
fn a_file_holds_the_identity_where_no_keyring_answers_and_it_is_said_once() {
    for address in ["", "unix:path=/no/such/bus", "nonsense", "tcp:host=127.0.0.1,port=1"] {
        let home = Home::new();
        let home = if address.is_empty() { home } else { home.with("DBUS_SESSION_BUS_ADDRESS", address) };
        let ran = soon(&home, "connect slack --sandbox");
        assert_eq!(ran.code, 0, "{address}: {ran:?}");
        assert_eq!(ran.stderr.matches("The key to your vaults is in").count(), 1, "{address}: {ran:?}");
        assert!(home.path().join("identity").exists());
        assert!(!soon(&home, "connect github --sandbox").stderr.contains("The key to your vaults"), "{address}");
    }
}

#[test]
fn fault_050_without_a_keyring_what_was_to_be_in_it_is_nowhere_else() {
    for address in ["unix:path=/no/such/bus", "nonsense"] {
        let home = Home::new().with("DBUS_SESSION_BUS_ADDRESS", address);
        home.ok("config set vault.identity keyring");
        let ran = soon(&home, "connect slack --sandbox --json");
        assert_eq!((ran.code, ran.error_code().as_str()), (7, "keyring_unavailable"), "{address}: {ran:?}");
        assert!(
            soon(&home, "connect slack --sandbox").stderr.contains("hint: log in to a desktop session"),
            "{address}"
        );
        assert!(!home.path().join("identity").exists(), "no weaker custody is taken");
    }
}

#[test]
fn fault_050_a_hung_keyring_is_given_up_within_five_seconds() {
    if !present() {
        return;
    }
    let desktop = Desktop::new(true);
    let home = &desktop.home;
    connect_key(home, "main", TOKEN);
    desktop.signal("-STOP");
    for line in ["token api-key@main --json", "status --json", "vault check --json", "connect slack --sandbox --json"] {
        let ran = soon(home, line);
        assert_eq!((ran.code, ran.error_code().as_str()), (7, "keyring_timeout"), "{line}: {ran:?}");
        assert!(ran.stderr.contains("\"hint\":\"answer its dialog"), "{ran:?}");
    }
    // A new home takes the file and does not wait for ever either.
    let fresh = Home::new().with("DBUS_SESSION_BUS_ADDRESS", variable(home));
    let ran = soon(&fresh, "connect slack --sandbox");
    assert!(ran.code == 0 && fresh.path().join("identity").exists(), "{ran:?}");
    desktop.signal("-CONT");
    assert_eq!(home.ok("token api-key@main"), TOKEN);
}

#[test]
fn fault_050_a_keyring_that_has_gone_is_an_error_and_no_new_identity() {
    if !present() {
        return;
    }
    let mut desktop = Desktop::new(true);
    desktop.home.ok("connect slack --sandbox");
    let note = fs::read(desktop.home.path().join("identity")).unwrap();
    end(desktop.daemon.get_mut());
    let ran = soon(&desktop.home, "token slack --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (7, "keyring_unavailable"), "{ran:?}");
    // It comes back, and nobody has unlocked it.
    *desktop.daemon.get_mut() = Desktop::start(&desktop.home, false);
    let ran = soon(&desktop.home, "token slack --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (7, "keyring_locked"), "{ran:?}");
    assert!(ran.stderr.contains("\"hint\":\"unlock it"), "{ran:?}");
    // No bus at all.
    let mut command = desktop.home.command(["token", "slack", "--json"]);
    command.env_remove("DBUS_SESSION_BUS_ADDRESS");
    let ran = finish(command);
    assert_eq!((ran.code, ran.error_code().as_str()), (7, "keyring_unavailable"), "{ran:?}");
    assert_eq!(fs::read(desktop.home.path().join("identity")).unwrap(), note);
}

#[test]
fn fault_050_a_locked_keyring_is_an_error_with_a_hint() {
    if !present() {
        return;
    }
    let desktop = Desktop::new(false);
    let home = &desktop.home;
    home.ok("config set vault.identity keyring");
    let ran = soon(home, "connect slack --sandbox --json");
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.error_code().starts_with("keyring_") && ran.stderr.contains("\"hint\":\""), "{ran:?}");
    assert!(!home.path().join("identity").exists());
    // `auto` has another way.
    let auto = Home::new().with("DBUS_SESSION_BUS_ADDRESS", variable(home));
    assert_eq!(soon(&auto, "connect slack --sandbox").code, 0);
    assert!(auto.path().join("identity").exists());
}

#[test]
fn tokens_move_into_the_keyring_and_back_and_a_kill_loses_none() {
    if !present() {
        return;
    }
    let desktop = Desktop::new(true);
    let home = &desktop.home;
    for number in 0..20 {
        connect_key(home, &format!("n{number}"), &format!("{TOKEN}{number}"));
    }
    let all_there = |when: &str| {
        for number in 0..20 {
            assert_eq!(home.ok(&format!("token api-key@n{number}")), format!("{TOKEN}{number}"), "{when}");
        }
    };
    home.ok("vault move-tokens keyring");
    assert_eq!(home.json("vault status")["tokens_in_keyring"], 20);
    all_there("in the keyring");
    home.ok("vault move-tokens store");
    assert_eq!(home.json("vault status")["tokens_in_store"], 20);
    let (mut between, mut micros) = (0, 4000);
    for round in 0..12 {
        let to = if round % 2 == 0 { "keyring" } else { "store" };
        let mut child = home.command(["vault", "move-tokens", to]).stderr(Stdio::null()).spawn().unwrap();
        // Not to wait for anything: the moment of the kill is what is tried.
        std::thread::sleep(Duration::from_micros(micros));
        child.kill().unwrap();
        child.wait().unwrap();
        home.expire_leases();
        micros = micros * 3 / 2;
        desktop.revive();
        let status = home.json("vault status");
        let moved = status["tokens_in_keyring"].as_u64().unwrap();
        between += usize::from(moved > 0 && moved < 20);
        all_there(&format!("after the kill in round {round}"));
        if round % 4 == 3 {
            home.ok(&format!("vault move-tokens {to}"));
        }
    }
    home.ok("vault move-tokens store");
    assert_eq!(home.json("vault status")["tokens_in_store"], 20);
    all_there("in the store again");
    println!("{between} of 12 kills left the tokens in both places");
}

#[test]
fn tokens_of_new_connections_go_to_the_keyring_and_leave_with_them() {
    if !present() || !needs("secret-tool", has_program("secret-tool")) {
        return;
    }
    let desktop = Desktop::new(true);
    let home = &desktop.home;
    home.ok("config set vault.tokens keyring");
    connect_key(home, "main", TOKEN);
    home.ok("connect slack --sandbox");
    home.ok("refresh slack");
    home.ok("test slack");
    assert_eq!(home.json("vault status")["tokens_in_keyring"], 2);
    let search = || {
        let mut tool = Command::new("secret-tool");
        tool.args(["search", "--all", "service", "integ"]).env("DBUS_SESSION_BUS_ADDRESS", variable(home));
        finish(tool).stdout
    };
    assert!(search().contains(TOKEN));
    // An entry goes with its connection to another name.
    home.ok("rename api-key@main other");
    assert_eq!(home.ok("token api-key@other"), TOKEN);
    let found = search();
    assert!(found.contains("api-key@other") && !found.contains("api-key@main"), "{found}");
    home.ok("rename api-key@other main");
    assert_eq!(home.json("vault status")["tokens_in_keyring"], 2);
    // A backup has them too.
    home.ok("vault backup b.age");
    home.ok("-w copy vault restore b.age --yes");
    assert_eq!(home.ok("-w copy token api-key@main"), TOKEN);
    home.ok("disconnect api-key@main --yes --local");
    assert!(!search().contains(TOKEN));
}

#[test]
fn fault_051_a_keyring_that_fails_after_login_loses_no_token() {
    if !present() {
        return;
    }
    let desktop = Desktop::new(true);
    let home = &desktop.home;
    home.ok("config set vault.identity file");
    home.ok("config set vault.tokens keyring");
    connect_key(home, "first", TOKEN);
    desktop.signal("-STOP");
    let started = Instant::now();
    let line = "connect api-key --as late --with-token --param base=https://example.com";
    let ran = home.run_with_input(line, "late token");
    assert!(ran.code == 0 && started.elapsed() < Duration::from_secs(5), "{ran:?}");
    assert!(ran.stderr.contains("warning:") && ran.stderr.contains("encrypted store"), "{ran:?}");
    assert_eq!(home.ok("token api-key@late"), "late token");
    // The other one's is in the keyring, which does not answer: said, and soon.
    let ran = soon(home, "token api-key@first --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (7, "keyring_timeout"), "{ran:?}");
    desktop.signal("-CONT");
    assert_eq!(home.ok("token api-key@first"), TOKEN);
    home.ok("vault move-tokens keyring");
    assert_eq!(home.json("vault status")["tokens_in_keyring"], 2);
    assert_eq!(home.ok("token api-key@late"), "late token");
}
