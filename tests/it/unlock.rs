//! `vault unlock`: the agent that holds an identity whose passphrase was entered.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Home, Ran, finish, has_program, is_root, needs};

const PASSPHRASE: &str = "correct horse";

/// A home with a connection, whose identity is under a passphrase.
fn protected() -> Home {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    with_passphrase(&home, "vault move-identity passphrase");
    home
}

/// Runs a command that can ask for the passphrase.
fn run_with_passphrase(home: &Home, line: &str) -> Ran {
    let mut command = home.command(line.split_whitespace());
    command.env("INTEG_PASSPHRASE_COMMAND", format!("printf '{PASSPHRASE}'"));
    finish(command)
}

fn with_passphrase(home: &Home, line: &str) -> String {
    let ran = run_with_passphrase(home, line);
    assert_eq!(ran.code, 0, "{line}: {ran:?}");
    ran.stdout
}

fn is_locked(home: &Home) -> bool {
    let ran = home.run("status --json");
    assert!(ran.code == 0 || (ran.code, ran.error_code().as_str()) == (7, "vault_locked"), "{ran:?}");
    ran.code != 0
}

fn socket(home: &Home) -> PathBuf {
    home.path().join("agent.sock")
}

/// The agents of this home.
fn agents(home: &Home) -> Vec<Pid> {
    let of_home = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.get(1) == Some(&b"__vault-agent".as_slice())
            && words.get(2).is_some_and(|folder| *folder == home.path().as_os_str().as_encoded_bytes())
    };
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(of_home).filter_map(Pid::from_raw).collect()
}

#[track_caller]
fn until(what: &str, limit: Duration, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < limit, "{what}");
        // Between looks at another process.
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_unlocked_vault_asks_for_no_passphrase_until_it_is_locked() {
    let home = protected();
    assert!(is_locked(&home));
    let unlocked = with_passphrase(&home, "vault unlock --for 1h --json");
    let until: serde_json::Value = serde_json::from_str(&unlocked).unwrap();
    assert!(!is_locked(&home));
    assert!(home.ok("token slack").starts_with("xoxb-"));
    let known = home.json("vault status");
    let seconds = |value: &serde_json::Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    assert!((seconds(&known["unlocked_until"]) - seconds(&until["unlocked_until"])).abs() <= 2, "{known} {until}");
    assert_eq!(known["identity"], "passphrase");
    // The agent opens vaults, old and new ones, and gives the identity to nobody.
    home.ok("workspace create other");
    home.ok("-w other connect github --sandbox");
    home.ok("vault rekey");
    home.ok("vault recipients list");
    let refused = home.run("vault identity export - --json");
    assert_eq!((refused.code, refused.error_code().as_str(), refused.stdout.as_str()), (7, "vault_locked", ""));
    assert_eq!(home.run("vault move-identity file").code, 7);
    assert_eq!(home.json("vault lock")["was_unlocked"], true);
    assert!(is_locked(&home) && !socket(&home).exists());
    assert_eq!(home.json("vault lock --no-input")["was_unlocked"], false);
}

#[test]
fn it_is_locked_again_when_the_time_is_over() {
    let home = protected();
    with_passphrase(&home, "vault unlock --for 1s");
    until("a second has passed", Duration::from_secs(20), || is_locked(&home));
    until("the agent has ended", Duration::from_secs(20), || agents(&home).is_empty());
    assert!(!socket(&home).exists());
}

#[test]
fn a_wrong_passphrase_and_an_identity_without_one_unlock_nothing() {
    let home = protected();
    let mut command = home.command(["vault", "unlock", "--json"]);
    command.env("INTEG_PASSPHRASE_COMMAND", "printf wrong");
    let refused = finish(command);
    assert_eq!((refused.code, refused.error_code().as_str()), (7, "vault_locked"), "{refused:?}");
    assert!(agents(&home).is_empty());
    assert_eq!(home.run("vault unlock --json").error_code(), "vault_locked", "nobody can be asked");
    assert_eq!(home.run("vault unlock --for 0s").code, 2);
    let plain = Home::new();
    plain.ok("connect slack --sandbox");
    let refused = plain.run("vault unlock --json");
    assert_eq!((refused.code, refused.error_code().as_str()), (1, "no_passphrase"), "{refused:?}");
}

#[test]
fn an_agent_never_answers_for_an_identity_that_was_replaced() {
    let home = protected();
    with_passphrase(&home, "vault unlock");
    let identity = home.path().join("identity");
    let before = fs::read(&identity).unwrap();
    with_passphrase(&home, "vault move-identity passphrase");
    assert!(agents(&home).is_empty() && is_locked(&home), "a new passphrase ends what the old one began");
    with_passphrase(&home, "vault unlock");
    let after = fs::read(&identity).unwrap();
    fs::write(&identity, before).unwrap();
    assert!(is_locked(&home), "this file's passphrase was not entered");
    fs::write(&identity, after).unwrap();
    assert!(!is_locked(&home));
    home.ok("vault lock");
}

#[test]
fn a_killed_agent_leaves_a_locked_vault_that_unlocks_again() {
    let home = protected();
    with_passphrase(&home, "vault unlock");
    for agent in agents(&home) {
        kill_process(agent, Signal::KILL).unwrap();
    }
    until("it is locked", Duration::from_secs(20), || is_locked(&home));
    assert!(socket(&home).exists());
    with_passphrase(&home, "vault unlock");
    assert!(!is_locked(&home));
    home.ok("vault lock");
}

#[test]
fn of_many_that_unlock_at_once_one_agent_is_left() {
    let home = protected();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| with_passphrase(&home, "vault unlock --for 5m"));
        }
    });
    assert!(!is_locked(&home));
    until("the others notice that they were replaced", Duration::from_secs(60), || agents(&home).len() == 1);
    assert!(!is_locked(&home));
    home.ok("vault lock");
    until("the last one ends", Duration::from_secs(20), || agents(&home).is_empty());
}

#[test]
fn another_user_reaches_neither_the_socket_nor_the_agent() {
    if !needs("root", is_root()) || !needs("python3", has_program("python3")) {
        return;
    }
    let home = protected();
    with_passphrase(&home, "vault unlock");
    let metadata = fs::metadata(socket(&home)).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    // Even with a socket that everyone may write to, the agent answers its own user alone.
    let describe = |uid: u32| {
        let mut command = Command::new("python3");
        command.args(["-c", ASK, socket(&home).to_str().unwrap()]).uid(uid).gid(uid);
        finish(command)
    };
    let refused = describe(65_534);
    assert!(refused.code != 0 && refused.stderr.contains("PermissionError"), "{refused:?}");
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(home.path(), 0o711);
    open(&socket(&home), 0o666);
    assert_eq!(describe(65_534).stdout.trim(), "b''");
    assert_eq!(describe(0).stdout.trim(), "b'\\x01'", "root's own is answered: it is of another file");
    open(home.path(), 0o700);
    home.ok("vault lock");
}

/// Asks the agent to describe an identity, and prints the first byte of the reply.
const ASK: &str = "
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
try:
    s.sendall(b'\\x01' + bytes(32) + bytes(4))
    print(s.recv(1))
except (ConnectionResetError, BrokenPipeError):
    print(b'')
";
