//! A vault in a hostile place: wide rights, full disks, newer versions, kills, crowds.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Home, INTEG, Ran, finish, has_program, is_root, needs, skipped_on_postgres};
use crate::vault::{Known, connect_key, copy, open_store, seal_text, store_key};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// Runs the command of a hint as a shell would.
fn follow(error: &str) {
    let hint = error.lines().find_map(|line| line.strip_prefix("hint: ")).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", hint]);
    let ran = finish(shell);
    assert_eq!(ran.code, 0, "{hint}: {ran:?}");
}

#[test]
fn fault_046_a_umask_of_000_makes_nothing_public() {
    let home = Home::new();
    let inner = home.path().join("new");
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "umask 000 && \"$0\" connect slack --sandbox && \"$0\" vault rekey && mkdir -m 700 out && \"$0\" vault backup out/b.age",
    ]);
    shell.arg(INTEG).env_clear().env("INTEG_HOME", &inner).env("PATH", "/usr/bin:/bin").current_dir(home.path());
    let ran = finish(shell);
    assert_eq!(ran.code, 0, "{ran:?}");
    let found = crate::harness::files(home.path());
    assert!(found.keys().any(|path| path.ends_with("out/b.age")));
    for path in found.keys() {
        assert_eq!(mode(path), 0o600, "{}", path.display());
        let mut folder = path.parent().unwrap();
        while folder != home.path() {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
            folder = folder.parent().unwrap();
        }
    }
}

#[test]
fn fault_046_files_that_others_could_read_are_refused_with_the_command_that_mends_it() {
    if skipped_on_postgres("it is about the mode of vault.db") {
        return;
    }
    let known = Known::new();
    let home = &known.home;
    for path in [home.workspace().join("vault.db"), home.workspace().join("vault.age"), home.path().join("identity")] {
        for wide in [0o644, 0o640, 0o602, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(wide)).unwrap();
            let ran = home.run("status --json");
            assert_eq!((ran.code, ran.error_code().as_str()), (7, "unsafe_file"), "{} {wide:o}", path.display());
            follow(&home.run("status").stderr);
            known.assert_whole("after the hint");
            assert_eq!(mode(&path), 0o600);
        }
    }
    fs::set_permissions(home.workspace(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(home.run("status --json").error_code(), "unsafe_file");
    follow(&home.run("status").stderr);
    known.assert_whole("after the hint for the folder");
}

#[test]
fn fault_046_a_symlink_in_the_place_of_a_file_is_refused() {
    if skipped_on_postgres("it replaces vault.db by a link") {
        return;
    }
    let known = Known::new();
    let home = &known.home;
    let elsewhere = tempfile::tempdir().unwrap();
    for path in [home.workspace().join("vault.db"), home.workspace().join("vault.age"), home.path().join("identity")] {
        let real = elsewhere.path().join(path.file_name().unwrap());
        fs::rename(&path, &real).unwrap();
        symlink(&real, &path).unwrap();
        let ran = home.run("token slack --json");
        assert_eq!((ran.code, ran.error_code().as_str()), (7, "unsafe_file"), "{}: {ran:?}", path.display());
        follow(&home.run("token slack").stderr);
        known.assert_whole("after the hint");
        // A link that leads nowhere is no invitation to make a file there.
        fs::rename(&path, &real).unwrap();
        symlink(elsewhere.path().join("nowhere"), &path).unwrap();
        assert_eq!(home.run("connect github --sandbox --json").error_code(), "unsafe_file");
        assert!(!elsewhere.path().join("nowhere").exists());
        fs::rename(&real, &path).unwrap();
    }
    known.assert_whole("with its own files again");
}

#[test]
fn fault_046_a_file_of_another_user_is_refused() {
    if skipped_on_postgres("it is about the owner of vault.db") {
        return;
    }
    if !needs("root, who can give files away", is_root()) {
        return;
    }
    let known = Known::new();
    let home = &known.home;
    for path in [home.workspace().join("vault.db"), home.workspace().join("vault.age"), home.path().join("identity")] {
        chown(&path, Some(65_534), None).unwrap();
        let ran = home.run("token slack --json");
        assert_eq!((ran.code, ran.error_code().as_str()), (7, "unsafe_file"), "{}: {ran:?}", path.display());
        assert!(home.run("token slack").stderr.contains("chown"));
        chown(&path, Some(0), None).unwrap();
    }
    known.assert_whole("with its own files again");
}

#[test]
fn fault_054_a_store_of_a_newer_version_is_read_and_never_written() {
    if skipped_on_postgres("it changes the version in vault.db") {
        return;
    }
    let known = Known::new();
    let home = &known.home;
    let store = home.workspace().join("vault.db");
    let sqlite = open_store(home);
    sqlite.pragma_update(None, "user_version", 99).unwrap();
    sqlite.close().unwrap();
    let before = fs::read(&store).unwrap();
    assert_eq!(home.json("vault status")["read_only"], true);
    known.assert_whole("by a program that knows an older version");
    for line in ["connect github --sandbox", "refresh slack", "disconnect slack --yes --local", "vault rekey"] {
        let ran = home.run(&format!("{line} --json"));
        assert_eq!((ran.code, ran.error_code().as_str()), (7, "vault_newer"), "{line}: {ran:?}");
    }
    assert!(fs::read(&store).unwrap() == before);
}

/// Runs a script in a mount namespace where `$DISK` is a small file system with a copy of the home on it.
pub fn on_small_disk(home: &Home, script: &str) -> Option<Ran> {
    let disk = tempfile::tempdir().unwrap();
    let mut shell = Command::new("unshare");
    let setup = "set -e; mount -t tmpfs -o size=2m,mode=700 small \"$DISK\"; cp -a \"$FROM\"/. \"$DISK\"; set +e; ";
    shell.args(["-m", "sh", "-c", &format!("{setup}{script}")]);
    shell.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("INTEG", INTEG);
    shell.env("RECIPIENT", age::x25519::Identity::generate().to_public().to_string());
    shell.env("DISK", disk.path()).env("INTEG_HOME", disk.path()).env("FROM", home.path());
    Some(finish(shell))
}

pub fn can_mount() -> bool {
    let mut shell = Command::new("unshare");
    shell.args(["-m", "sh", "-c", "mount -t tmpfs -o size=64k x /mnt"]).stderr(Stdio::null());
    has_program("unshare") && shell.status().is_ok_and(|status| status.success())
}

#[test]
fn fault_045_a_full_disk_leaves_the_old_store_whole() {
    if skipped_on_postgres("the disk that is full is that of vault.db") {
        return;
    }
    if !needs("unshare -m and mount", can_mount()) {
        return;
    }
    let known = Known::new();
    // The disk is filled to the last byte, then freed byte by byte, so that every write of the change fails once.
    let script = r#"
        cp -a "$DISK/workspaces" /tmp/$$.before
        dd if=/dev/zero of="$DISK/fill" bs=1k 2>/dev/null
        free=0
        while [ $free -lt 260 ]; do
            for change in "connect github --sandbox" "vault rekey" "refresh slack" "vault recipients add $RECIPIENT"; do
                "$INTEG" $change --json >/dev/null 2>"/tmp/$$.error"
                echo "change $? $(grep -o '"code":"[a-z_]*"' /tmp/$$.error)"
            done
            rm -f "$DISK/fill"; "$INTEG" vault check >/dev/null 2>&1; echo "check $?"
            echo "token $("$INTEG" token api-key@markeraccount81)"
            rm -rf "$DISK/workspaces"; cp -a /tmp/$$.before "$DISK/workspaces"
            free=$((free + 12))
            dd if=/dev/zero of="$DISK/fill" bs=1k 2>/dev/null
            truncate -s -${free}k "$DISK/fill"
        done
        rm -rf /tmp/$$.before /tmp/$$.error
    "#;
    let ran = on_small_disk(&known.home, script).unwrap();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines.iter().filter(|line| line.contains("\"disk_full\"")).count() >= 4, "{ran:?}");
    for line in &lines {
        let fine = line.starts_with("change 0")
            || line.starts_with("change 1 \"code\":\"disk_full\"")
            // The emulation was what had no room: it says 500, and not why, to the browser or to the exchange of the code.
            || line.starts_with("change 1 \"code\":\"sandbox_consent_failed\"")
            || line.starts_with("change 5 \"code\":\"vendor_unavailable\"")
            // Attaching the copy fails without SQLite saying that the disk is full.
            || line.starts_with("change 1 \"code\":\"store\"")
            || *line == "check 0"
            || *line == "token sk_live_MARKERTOKEN7Qx9";
        assert!(fine, "{line}: {ran:?}");
    }
}

#[test]
fn fault_104_a_read_only_home_has_its_own_code() {
    if skipped_on_postgres("a server can be written to from a home that cannot") {
        return;
    }
    if !needs("unshare -m and mount", can_mount()) {
        return;
    }
    let known = Known::new();
    let script = r#"
        mount -o remount,ro "$DISK"
        for change in "connect github --sandbox" "vault rekey" "config set vault.tokens store" "status" "token slack" "vault check"; do
            "$INTEG" $change --json >/dev/null 2>/tmp/$$.error
            echo "$change: $? $(grep -o '"code":"[a-z_]*"' /tmp/$$.error)"
        done
        "$INTEG" config show >/dev/null; echo "config show: $?"
        "$INTEG" connector list >/dev/null; echo "connector list: $?"
        rm -f /tmp/$$.error
    "#;
    let ran = on_small_disk(&known.home, script).unwrap();
    for line in ran.stdout.lines() {
        assert!(line.contains(": 0") || line.contains(": 1 \"code\":\"read_only\""), "{line}: {ran:?}");
    }
    assert!(ran.stdout.contains("connect github --sandbox: 1 \"code\":\"read_only\""), "{ran:?}");
    assert!(ran.stdout.contains("config show: 0") && ran.stdout.contains("connector list: 0"), "{ran:?}");
    // A folder that cannot be made at all.
    let home = Home::new().with("INTEG_HOME", "/proc/no/such/folder");
    let ran = home.run("connect slack --sandbox --json");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(!ran.error_code().is_empty(), "{ran:?}");
}

/// Numbers that look random and are the same in every run: the kills fall where they fall, but not by our choice.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn fault_052_a_rekey_killed_at_any_point_leaves_a_store_that_opens_under_one_key() {
    if skipped_on_postgres("it is about vault.db; see postgres::rekey") {
        return;
    }
    let known = Known::new();
    let home = &known.home;
    let started = Instant::now();
    home.ok("vault rekey");
    let whole = started.elapsed();
    let mut state = 52;
    let (mut killed, mut changed) = (0, 0);
    for round in 0..50 {
        let before = store_key(home);
        let mut child = home.command(["vault", "rekey"]).stderr(Stdio::null()).spawn().unwrap();
        let micros = random(&mut state) % (whole.as_micros() as u64 * 5 / 4);
        // Not to wait for anything: the moment of the kill is what is tried.
        std::thread::sleep(Duration::from_micros(micros));
        child.kill().unwrap();
        killed += usize::from(child.wait().unwrap().code().is_none());
        known.assert_whole(&format!("round {round}, after {micros} us"));
        assert!(!seal_text(home).contains("previous"), "round {round}: two keys");
        changed += usize::from(store_key(home) != before);
    }
    assert!(killed >= 10, "only {killed} of 50 were killed in time");
    home.ok("vault rekey");
    let left = fs::read_dir(home.workspace()).unwrap().flatten();
    let left: Vec<_> = left.filter(|entry| entry.file_name().to_string_lossy().starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
    println!("{killed} of 50 killed, {changed} took the new key");
}

#[test]
fn sixty_four_processes_write_at_once_from_nothing_and_none_is_lost() {
    let home = Home::new();
    let children: Vec<_> = (0..64)
        .map(|number| {
            let account = format!("n{number}");
            let words = ["connect", "api-key", "--with-token", "--param", "base=https://example.com", "--as", &account];
            let mut command = home.command(words);
            command.env("INTEG_TOKEN", format!("key-{number}")).stdout(Stdio::null()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let mut made = 0;
    for child in children {
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(!ran.stderr.contains("locked") && !ran.stderr.contains("busy"), "{ran:?}");
        made += usize::from(ran.stderr.contains("The key to your vaults is in"));
    }
    assert_eq!(made, 1, "one of them made the identity, and said so");
    assert_eq!(home.json("status")["summary"]["total"], 64);
    for number in [0, 17, 63] {
        assert_eq!(home.ok(&format!("token api-key@n{number}")), format!("key-{number}"));
    }
    home.ok("vault check");
}

#[test]
fn a_vault_copied_while_it_is_written_opens() {
    let home = Home::new();
    connect_key(&home, "a", "b");
    let mut writers: Vec<_> = (0..8)
        .map(|number| {
            let account = format!("w{number}");
            let words = ["connect", "api-key", "--with-token", "--param", "base=https://example.com", "--as", &account];
            home.command(words).env("INTEG_TOKEN", "k").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let backup = home.path().join("during.age");
    home.ok(&format!("vault backup {}", backup.display()));
    for writer in &mut writers {
        assert!(writer.wait().unwrap().success());
    }
    home.ok(&format!("-w restored vault restore {} --yes", backup.display()));
    home.ok("-w restored vault check");
    assert_eq!(home.ok("-w restored token api-key@a"), "b");
    let again = Home::new();
    copy(home.path(), again.path());
    again.ok("vault check");
}
