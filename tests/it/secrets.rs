//! Secrets that were planted, looked for in everything that a command says and leaves behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use crate::harness::{Home, Ran, Running, files, finish, has_program, holds, is_root, needs};

/// A home full of planted secrets.
struct Planted {
    home: Home,
    markers: Vec<String>,
    temporary: tempfile::TempDir,
}

fn marker(number: usize) -> String {
    format!("MARKER{number:02}x7Qz9secret")
}

impl Planted {
    /// 40 API keys, a password, four client secrets, a passphrase; and of the OAuth connections the tokens that the
    /// emulation gave, and of the vault its identity and its key.
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let home = Home::new().with("TMPDIR", temporary.path().display().to_string());
        let mut markers: Vec<String> = (0..45).map(marker).collect();
        for (number, key) in markers.iter().take(40).enumerate() {
            let way = ["key", "bearer", "header", "query"][number % 4];
            let way = if way == "key" { String::new() } else { format!("--auth {way}") };
            // Nobody listens there: every request fails. A few are enough for that, for each is tried several times.
            let check = if number % 10 == 1 { "--param check=/me" } else { "" };
            let line =
                format!("connect api-key --as k{number} --with-token {way} --param base=http://127.0.0.1:1/v1 {check}");
            plant(&home, &line, key);
        }
        for (number, connector) in ["slack", "github", "notion", "gmail"].iter().enumerate() {
            plant(
                &home,
                &format!("app set {connector} --client-id id{number} --client-secret-file -"),
                &markers[40 + number],
            );
        }
        plant(&home, "connect stripe --sandbox", "");
        for connector in ["slack", "github", "notion"] {
            plant(&home, &format!("connect {connector} --sandbox"), "");
            markers.push(home.ok(&format!("token {connector}")));
        }
        let store = crate::vault::shared_store(&home);
        for (_, stored) in crate::vault::wait(store.grants().list()).unwrap() {
            markers.extend(stored.grant.unwrap().refresh_token.map(|token| token.expose().clone()));
        }
        markers.push(crate::vault::store_key(&home));
        let identity = fs::read_to_string(home.path().join("identity")).unwrap();
        markers.push(identity.lines().find(|line| line.starts_with("AGE-")).unwrap().to_owned());
        markers.retain(|marker| *marker != marker_unused());
        assert!(markers.len() >= 50, "{}", markers.len());
        Self { home, markers, temporary }
    }

    fn assert_silent(&self, what: &str, ran: &Ran) {
        for marker in &self.markers {
            assert!(!ran.stdout.contains(marker.as_str()), "{what}: {marker} on stdout");
            assert!(!ran.stderr.contains(marker.as_str()), "{what}: {marker} on stderr: {}", ran.stderr);
        }
        for (path, bytes) in files(self.temporary.path()) {
            for marker in &self.markers {
                assert!(!holds(&bytes, marker), "{what}: {marker} in {}", path.display());
            }
        }
        assert!(!ran.stderr.contains("has a mistake at"), "{what}: {ran:?}");
    }
}

/// The one that no secret was made of.
fn marker_unused() -> String {
    marker(44)
}

fn plant(home: &Home, line: &str, secret: &str) {
    let ran = home.run_with_input(line, secret);
    assert!(ran.code == 0 || ran.code == 5, "{line}: {ran:?}");
}

/// Every command that a user can give, but those whose job is to print a secret.
const COMMANDS: &[&str] = &[
    "status",
    "status --json",
    "status --check",
    "test",
    "test --json",
    "test --format junit",
    "test api-key@k1",
    "refresh slack",
    "refresh --all",
    "refresh --all --json",
    "token nobody",
    "token api-key@k1 --jq .connection",
    "exec slack -- true",
    "exec slack -- /no/such/program",
    "app list",
    "app list --json",
    "connector list",
    "connector show slack",
    "connector validate",
    "sandbox fault slack",
    "sandbox reset notion",
    "workspace list",
    "workspace show",
    "vault status",
    "vault status --json",
    "vault recipients",
    "vault check",
    "vault rekey",
    "vault backup b.age",
    "vault restore b.age --yes",
    "-w copy vault restore b.age --yes",
    "config show",
    "config path",
    "config redacted",
    "config set vault.tokens store",
    "connect slack --sandbox --json",
    "connect github --sandbox --device",
    "connect api-key",
    "connect nobody",
    "connect slack --no-input --timeout 1s --no-browser",
    "disconnect github --yes",
    "disconnect api-key@k2 --yes --local",
    "-w copy disconnect notion --yes",
    "app remove notion",
    "-w copy status",
    "workspace delete copy --yes",
    "completions bash",
    "doctor",
    "doctor --json",
    "help environment",
    "man",
];

#[test]
fn fault_048_and_103_no_command_says_a_secret_however_much_it_is_asked_to_say() {
    let planted = Planted::new();
    for line in COMMANDS {
        let ran = planted.home.run(&format!("{line} -vvv"));
        planted.assert_silent(line, &ran);
    }
}

#[test]
fn fault_103_failures_say_no_secret() {
    let planted = Planted::new();
    let home = &planted.home;
    let lines = [
        "refresh slack",
        "token slack --min-ttl 23h",
        "test slack",
        "test stripe",
        "connect slack --sandbox --json",
        "refresh --all",
    ];
    for fault in ["server_error", "malformed", "rate_limit --seconds 1", "expired_grant", "revoked_grant --times 1"] {
        for connector in ["slack", "stripe"] {
            home.ok(&format!("sandbox fault {connector} {fault}"));
        }
        for line in lines {
            // What a token command prints on success is its job.
            let ran = home.run(&format!("{line} -vvv"));
            let said = Ran { stdout: if line.starts_with("token") { String::new() } else { ran.stdout }, ..ran };
            planted.assert_silent(&format!("{fault}: {line}"), &said);
        }
        for connector in ["slack", "stripe"] {
            home.ok(&format!("sandbox fault {connector} --clear"));
        }
    }
    // A vendor that is not there, and wrong keys.
    planted.assert_silent("test of dead hosts", &home.run("test -vvv"));
    for wrong in ["", "a b\u{1}c", "two\nlines"] {
        let line = "connect api-key --as wrong --with-token --param base=http://127.0.0.1:1 -vvv";
        let ran = home.run_with_input(line, wrong);
        assert_ne!(ran.code, 0);
        planted.assert_silent("a wrong key", &ran);
        assert!(wrong.is_empty() || !ran.stderr.contains(wrong), "{ran:?}");
    }
    // A damaged vault and an identity that is none.
    let mut command = home.command(["status", "-vvv"]);
    command.env("INTEG_IDENTITY", format!("AGE-SECRET-KEY-1{}", planted.markers[0]));
    planted.assert_silent("a wrong identity", &finish(command));
    let mut command = home.command(["status", "-vvv"]);
    command.env("INTEG_IDENTITY_FILE", home.path().join("config.toml"));
    planted.assert_silent("no identity file", &finish(command));
    fs::write(home.workspace().join("vault.age"), "damaged").unwrap();
    planted.assert_silent("a damaged vault", &home.run("status -vvv"));
}

#[test]
fn fault_047_no_flag_takes_a_secret() {
    let home = Home::new();
    for line in [
        "connect slack --token x",
        "connect slack --with-token=x",
        "connect slack --client-secret x",
        "app set slack --client-secret x",
        "vault backup b.age --passphrase=x",
        "connect api-key --key x",
    ] {
        let ran = home.run(line);
        assert_eq!(ran.code, 2, "{line}: {ran:?}");
    }
    assert!(!home.path().join("workspaces").exists());
}

#[test]
fn fault_048_no_secret_is_in_an_argument_of_any_process() {
    if !needs("strace", has_program("strace")) {
        return;
    }
    let planted = Planted::new();
    let trace = planted.home.path().join("trace");
    let home = &planted.home;
    let passphrase = marker_unused();
    for line in [
        "refresh slack",
        "token slack",
        "test",
        "exec slack -- true",
        "connect notion --sandbox",
        "vault move-identity passphrase",
        "status",
    ] {
        let mut command = Command::new("strace");
        let plain = home.command(line.split_whitespace());
        command
            .args(["-f", "-s", "4096", "-e", "trace=execve", "-o"])
            .arg(&trace)
            .arg(plain.get_program())
            .args(plain.get_args());
        command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let file = home.path().join("passphrase");
        fs::write(&file, &passphrase).unwrap();
        command.env("INTEG_PASSPHRASE_COMMAND", format!("cat {}", file.display())).current_dir(home.path());
        let ran = finish(command);
        let calls = fs::read_to_string(&trace).unwrap();
        assert!(calls.contains("execve("), "{line}: {ran:?}");
        for marker in planted.markers.iter().chain([&passphrase]) {
            assert!(!calls.contains(marker.as_str()), "{line}: {marker} is an argument");
        }
        assert!(!ran.stderr.contains(&passphrase));
    }
}

#[test]
fn fault_048_secrets_of_the_environment_reach_no_argument_and_no_child_that_was_not_given_them() {
    let home = Home::new().with("INTEG_TOKEN", "MARKERENVxx1");
    home.ok("connect api-key --with-token --param base=https://example.com");
    let mut running = Running::start(home.command(["sandbox", "run", "slack", "--json"]));
    running.line();
    let read = |name: &str| fs::read(format!("/proc/{}/{name}", running.child.id())).unwrap_or_default();
    assert!(holds(&read("cmdline"), "sandbox") && !holds(&read("cmdline"), "MARKERENVxx1"));
}

#[test]
fn fault_049_a_process_that_crashes_leaves_no_core() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    // The limit is the shell's, and `exec` keeps the process.
    let crash = |program: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = home.command(["-c", program]);
        let mut shell = Command::new("sh");
        shell.args(command.get_args()).env_clear();
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(folder.path());
        command = shell;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut first = [0; 1];
        child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        let killed = Command::new("kill").args(["-ABRT", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(6));
        let left: BTreeSet<_> = files(folder.path()).into_keys().collect();
        (status.core_dumped(), left)
    };
    let integ = crate::harness::INTEG;
    let (dumped, left) = crash(&format!("ulimit -c unlimited; exec {integ} sandbox run slack"));
    assert!(!dumped && left.is_empty(), "{left:?}");
    // Where this machine makes cores at all, another program leaves one.
    let (control, _) = crash("ulimit -c unlimited; echo x; exec cat");
    if !control {
        println!("this machine makes no core of any program, so that none of integ says little");
    }
}

#[test]
fn fault_049_another_program_of_the_user_cannot_look_into_the_process() {
    if !needs("root, who can be somebody else", is_root()) {
        return;
    }
    let home = Home::new();
    let give = |path: &std::path::Path| std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
    give(home.path());
    let program = home.path().join("integ");
    crate::harness::copy_program(&program);
    give(&program);
    let mut command = Command::new(&program);
    command.args(["sandbox", "run", "slack", "--json"]).env_clear().env("INTEG_HOME", home.path()).current_dir("/");
    command.uid(65_534).gid(65_534);
    let mut running = Running::start(command);
    running.line();
    // The kernel gives the files of a process that is not dumpable to root.
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(format!("/proc/{}/environ", running.child.id())).unwrap().uid();
    assert_eq!(owner, 0);
    let mut look = Command::new("cat");
    look.arg(format!("/proc/{}/environ", running.child.id())).uid(65_534).gid(65_534);
    assert_ne!(finish(look).code, 0);
}
