//! A3 to A5 and custody: what a user must never lose, and files that somebody else put in a vault's folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::harness::{Home, Ran, finish, has_program, needs, skipped_on_postgres};
use crate::vault::{connect_key, copy};

const TOKEN: &str = "sk_live_CUSTODY_77aa";

fn home() -> Home {
    let home = Home::new();
    connect_key(&home, "main", TOKEN);
    home
}

fn refused(ran: &Ran, code: i32, word: &str) {
    assert_eq!((ran.code, ran.error_code().as_str()), (code, word), "{ran:?}");
}

#[test]
fn attack_a3_a_workspace_is_deleted_after_a_sync() {
    if skipped_on_postgres("it looks for lock files") {
        return;
    }
    let home = home();
    home.ok("connect slack --sandbox");
    home.ok("sync slack");
    assert!(home.workspace().join("locks").is_dir(), "a sync leaves locks");
    // What writes that were killed leave.
    for name in [".vault.db.0123456789abcdef", ".vault.age.00", ".sequence.00", ".vault.db.0123456789abcdef-wal"] {
        fs::write(home.workspace().join(name), "half").unwrap();
    }
    home.ok("workspace delete default --yes");
    assert!(!home.workspace().exists());
    assert_eq!(home.json("workspace list")["workspaces"].as_array().unwrap().len(), 0);
    assert!(fs::read_dir(home.path().join("workspaces")).unwrap().next().is_none(), "its note is deleted as well");
    // The name can be used again.
    connect_key(&home, "main", "other");
    let ran = home.run("token api-key@main");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("other\n", ""));
}

#[test]
fn attack_a3_deleting_goes_on_after_a_kill_and_spares_what_is_not_ours() {
    let home = home();
    fs::write(home.workspace().join("notes.txt"), "mine").unwrap();
    let ran = home.run("workspace delete default --yes --json");
    refused(&ran, 1, "foreign_files");
    assert!(ran.stderr.contains("notes.txt"), "{ran:?}");
    assert_eq!(home.ok("token api-key@main"), TOKEN, "nothing is deleted");
    fs::remove_file(home.workspace().join("notes.txt")).unwrap();
    // Killed after its first step, which is the key.
    fs::remove_file(home.workspace().join("vault.age")).unwrap();
    home.ok("workspace delete default --yes");
    assert!(!home.workspace().exists());
    // Killed before its last.
    fs::create_dir_all(home.workspace().join("locks")).unwrap();
    fs::set_permissions(home.workspace(), fs::Permissions::from_mode(0o700)).unwrap();
    home.ok("workspace delete default --yes");
    assert!(!home.workspace().exists());
}

#[test]
fn attack_a4_the_first_run_names_what_saves_the_vault() {
    let home = Home::new();
    let line = "connect api-key --as main --with-token --param base=https://x.example/v1";
    let ran = home.run_with_input(line, TOKEN);
    assert!(ran.stderr.contains("`integ vault identity export identity.age --passphrase`"), "{ran:?}");
    assert!(!ran.stderr.contains("vault backup"), "{ran:?}");
}

/// Two machines, and nothing but two files between them.
#[test]
fn attack_a4_a_backup_is_restored_on_another_machine() {
    let (old, new) = (home(), Home::new());
    old.ok("vault identity export id.txt");
    old.ok("vault backup b.age");
    assert_eq!(fs::metadata(old.path().join("id.txt")).unwrap().permissions().mode() & 0o777, 0o600);
    for name in ["id.txt", "b.age"] {
        fs::copy(old.path().join(name), new.path().join(name)).unwrap();
    }
    let ran = new.run("vault restore b.age --yes --json");
    refused(&ran, 7, "vault_locked");
    assert!(ran.stderr.contains("INTEG_IDENTITY_FILE=FILE integ vault restore b.age"), "{ran:?}");
    assert!(ran.stderr.contains("integ vault identity export"), "{ran:?}");
    // With the identity from the environment it is restored, and integ says what the machine lacks.
    let mut command = new.command(["vault", "restore", "b.age", "--yes"]);
    command.env("INTEG_IDENTITY_FILE", "id.txt");
    let ran = finish(command);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("`integ vault identity import id.txt`"), "{ran:?}");
    assert_eq!(new.run("token api-key@main").code, 7);
    new.ok("vault identity import id.txt");
    assert_eq!(new.ok("token api-key@main"), TOKEN);
    // Again, and another one.
    new.ok("vault identity import id.txt");
    let other = home();
    other.ok("vault identity export other.txt");
    fs::copy(other.path().join("other.txt"), new.path().join("other.txt")).unwrap();
    refused(&new.run("vault identity import other.txt --json"), 2, "identity_exists");
    assert_eq!(new.ok("token api-key@main"), TOKEN);
    // A machine that has an identity of its own is told how that one can open the workspace.
    fs::copy(old.path().join("b.age"), other.path().join("c.age")).unwrap();
    fs::copy(old.path().join("id.txt"), other.path().join("id.txt")).unwrap();
    let mut command = other.command(["-w", "copy", "vault", "restore", "c.age", "--yes"]);
    command.env("INTEG_IDENTITY_FILE", "id.txt");
    let ran = finish(command);
    let (_, hint) = ran.stderr.split_once("run `integ ").unwrap();
    let hint = hint.split('`').next().unwrap().to_owned();
    let mut command = other.command(hint.split_whitespace());
    command.env("INTEG_IDENTITY_FILE", "id.txt");
    assert_eq!(finish(command).code, 0, "{hint}");
    assert_eq!(other.ok("-w copy token api-key@main"), TOKEN);
}

#[test]
fn attack_a4_an_identity_is_exported_and_imported_under_a_passphrase() {
    let old = home().with("INTEG_PASSPHRASE_COMMAND", "echo correct-horse");
    old.ok("vault identity export id.age --passphrase");
    let sealed = fs::read(old.path().join("id.age")).unwrap();
    assert!(sealed.starts_with(b"age-encryption.org/v1\n-> scrypt "), "not under a passphrase");
    refused(&old.run("vault identity export id.age --passphrase --json"), 2, "file_exists");
    assert_eq!(fs::read(old.path().join("id.age")).unwrap(), sealed);
    let plain = old.ok("vault identity export -");
    assert!(plain.contains("AGE-SECRET-KEY-1"), "{plain}");
    assert!(old.run("vault identity export /no/such/folder/x --json").error_code() == "folder_not_found");

    let new = Home::new().with("INTEG_PASSPHRASE_COMMAND", "echo correct-horse");
    fs::copy(old.path().join("id.age"), new.path().join("id.age")).unwrap();
    copy(&old.workspace(), &new.workspace());
    fs::set_permissions(new.workspace(), fs::Permissions::from_mode(0o700)).unwrap();
    new.ok("vault identity import id.age");
    assert_eq!(new.ok("token api-key@main"), TOKEN);
    assert_eq!(new.json("vault status")["identity"], "passphrase");
    let pipe = Home::new();
    assert_eq!(pipe.run_with_input("vault identity import -", &plain).code, 0);
    assert!(pipe.path().join("identity").exists());
}

#[test]
fn attack_a5_a_backup_passphrase_is_never_empty_and_the_command_is_honoured() {
    let home = home();
    for command in ["true", "echo", "printf '\\n'"] {
        let mut backup = home.command(["vault", "backup", "e.age", "--passphrase", "--json"]);
        backup.env("INTEG_PASSPHRASE_COMMAND", command);
        assert_eq!(finish(backup).code, 7, "{command}");
        assert!(!home.path().join("e.age").exists());
    }
    let mut backup = home.command(["vault", "backup", "p.age", "--passphrase"]);
    backup.env("INTEG_PASSPHRASE_COMMAND", "echo correct-horse");
    assert_eq!(finish(backup).code, 0);
    assert!(fs::read(home.path().join("p.age")).unwrap().starts_with(b"age-encryption.org/v1\n-> scrypt "));
    // On a machine with nothing but the passphrase.
    let new = Home::new().with("INTEG_PASSPHRASE_COMMAND", "echo correct-horse");
    fs::copy(home.path().join("p.age"), new.path().join("p.age")).unwrap();
    new.ok("vault restore p.age --yes");
    assert_eq!(new.ok("token api-key@main"), TOKEN);
    let wrong = Home::new().with("INTEG_PASSPHRASE_COMMAND", "echo wrong");
    fs::copy(home.path().join("p.age"), wrong.path().join("p.age")).unwrap();
    refused(&wrong.run("vault restore p.age --yes --json"), 7, "vault_locked");
    assert!(!wrong.path().join("identity").exists(), "nothing is made for a backup that does not open");
}

#[test]
fn attack_a5_a_backup_passphrase_is_asked_for_twice() {
    if !needs("expect", has_program("expect")) {
        return;
    }
    let home = home();
    let answer = |first: &str, second: &str, file: &str| {
        // Waits for the prompt to have turned off the echo, which throws away what was typed before.
        let script = format!(
            "set timeout 20\nspawn -noecho {} vault backup {file} --passphrase\nexpect \"for the backup: \"\nafter 300\n\
             send -- \"{first}\\r\"\nexpect {{\n \"Repeat\" {{ after 300; send -- \"{second}\\r\"; exp_continue }}\n eof {{}}\n \
             timeout {{ close }}\n}}\nexit [lindex [wait] 3]\n",
            crate::harness::INTEG
        );
        let mut expect = Command::new("expect");
        expect.args(["-c", &script]).env_clear().env("INTEG_HOME", home.path()).env("HOME", home.path());
        expect.env("PATH", std::env::var_os("PATH").unwrap()).env("TERM", "xterm").current_dir(home.path());
        finish(expect)
    };
    for (first, second) in [("", ""), ("one", "two"), ("one", "")] {
        let ran = answer(first, second, "x.age");
        assert_eq!(ran.code, 2, "{first:?} {second:?}: {ran:?}");
        assert!(!home.path().join("x.age").exists());
    }
    assert_eq!(answer("one", "one", "x.age").code, 0);
    assert!(home.path().join("x.age").exists());
}

#[test]
fn attack_minor_a_backup_replaces_nothing_and_makes_no_folder() {
    let home = home();
    let file = home.path().join("keep.txt");
    fs::write(&file, "precious").unwrap();
    let ran = home.run("vault backup keep.txt --json");
    refused(&ran, 2, "file_exists");
    assert!(ran.stderr.contains("integ vault backup keep.txt --force"), "{ran:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    home.ok("vault backup keep.txt --force");
    assert!(fs::read(&file).unwrap().starts_with(b"age-encryption.org"));
    refused(&home.run("vault backup no/such/x.age --json"), 3, "folder_not_found");
    assert!(!home.path().join("no").exists());
    let mut to_stdout = home.command(["vault", "backup", "-"]);
    assert!(to_stdout.output().unwrap().stdout.starts_with(b"age-encryption.org"));
    assert!(!home.path().join("-").exists());
    // Neither a link nor a device is replaced.
    symlink("keep.txt", home.path().join("link")).unwrap();
    refused(&home.run("vault backup link --force --json"), 7, "unsafe_file");
    refused(&home.run("vault backup /dev/null --force --json"), 7, "unsafe_file");
    // A file that cannot be read is looked at before anybody is asked.
    let ran = home.run("-w new vault restore nofile --json");
    assert!(ran.code == 1 && ran.stderr.contains("nofile") && !ran.stderr.contains("--yes"), "{ran:?}");
}

#[test]
fn attack_minor_a_sequence_that_somebody_else_wrote_is_noticed_and_locks_nobody_out() {
    if skipped_on_postgres("it writes the file that counts writes") {
        return;
    }
    let home = home();
    let sequence = home.workspace().join("sequence");
    let genuine = fs::read(&sequence).unwrap();
    for forged in [&[0xff; 8][..], &[0xff; 40], &[0; 40], b"", b"x"] {
        fs::write(&sequence, forged).unwrap();
        let ran = home.run("token api-key@main");
        assert_eq!((ran.code, ran.stdout.trim()), (0, TOKEN), "{ran:?}");
        assert!(ran.stderr.contains("was not written with the key of this store"), "{ran:?}");
    }
    fs::remove_file(&sequence).unwrap();
    let ran = home.run("token api-key@main");
    assert!(ran.code == 0 && ran.stderr.contains("sequence is missing"), "{ran:?}");
    // It is said until it is accepted.
    let ran = home.run("token api-key@main");
    assert!(ran.stderr.contains("`integ -w default vault check --accept`"), "{ran:?}");
    home.ok("vault check --accept");
    assert_eq!(home.run("token api-key@main").stderr, "");
    assert_eq!(fs::read(&sequence).unwrap(), genuine);
}

#[test]
fn attack_minor_a_folder_that_was_put_back_is_noticed() {
    if skipped_on_postgres("it puts an older vault.db back") {
        return;
    }
    let home = home();
    let older = home.path().join("older");
    copy(&home.workspace(), &older);
    connect_key(&home, "second", TOKEN);
    fs::remove_dir_all(home.workspace()).unwrap();
    copy(&older, &home.workspace());
    fs::set_permissions(home.workspace(), fs::Permissions::from_mode(0o700)).unwrap();
    refused(&home.run("status --json"), 7, "vault_rolled_back");
    home.ok("vault check --accept");
    assert_eq!(home.ok("token api-key@main"), TOKEN);
    // Of before a change of keys.
    copy(&home.workspace(), &home.path().join("oldest"));
    home.ok("vault rekey");
    assert_eq!(home.run("token api-key@main").stderr, "");
    fs::remove_dir_all(home.workspace()).unwrap();
    copy(&home.path().join("oldest"), &home.workspace());
    fs::set_permissions(home.workspace(), fs::Permissions::from_mode(0o700)).unwrap();
    let ran = home.run("token api-key@main");
    assert!(ran.stderr.contains("an older copy"), "{ran:?}");
}

#[test]
fn attack_minor_side_files_that_others_could_write_are_refused() {
    if skipped_on_postgres("it is about the files beside vault.db") {
        return;
    }
    let home = home();
    connect_key(&home, "second", TOKEN);
    let workspaces = home.path().join("workspaces");
    let lock_file = home.workspace().join("lock");
    for path in [lock_file.clone(), home.workspace().join("sequence"), workspaces.join(".default.sequence")] {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
        let refuse = |what: &str| {
            let ran = home.run("token api-key@main --json");
            assert_eq!((ran.code, ran.error_code().as_str()), (7, "unsafe_file"), "{what} {}: {ran:?}", path.display());
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        refuse("wide");
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(home.path().join("elsewhere"), &path).unwrap();
        refuse("symlink");
        assert!(!home.path().join("elsewhere").exists());
        fs::remove_file(&path).unwrap();
        fifo(&path);
        refuse("FIFO");
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(home.ok("token api-key@main"), TOKEN);
    for name in ["vault.db-wal", "vault.db-shm"] {
        let path = home.workspace().join(name);
        let _ = fs::remove_file(&path);
        fifo(&path);
        refused(&home.run("token api-key@main --json"), 7, "unsafe_file");
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(home.ok("token api-key@main"), TOKEN);
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg("-m").arg("600").arg(path).status().unwrap().success());
}
