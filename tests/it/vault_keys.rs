//! Who can open a vault, and how: backups, recipients, passphrases, keys that are changed and moved.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Home, finish, has_program, needs, skipped_on_postgres};
use crate::vault::{connect_key, store_key};

const TOKEN: &str = "sk_live_4f9a";

/// A home with an API key and an OAuth connection.
fn home() -> Home {
    let home = Home::new();
    connect_key(&home, "main", TOKEN);
    home.ok("connect slack --sandbox");
    home
}

/// Runs a program that must succeed, and returns what it printed.
fn printed(program: &str, arguments: &[&Path]) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    let ran = finish(command);
    assert_eq!(ran.code, 0, "{program} {arguments:?}: {ran:?}");
    ran.stdout
}

/// An identity that `age-keygen` made: its file, the identity and the recipient.
fn keygen(folder: &Path, name: &str) -> (PathBuf, String, String) {
    let path = folder.join(name);
    printed("age-keygen", &[Path::new("-o"), &path]);
    let text = fs::read_to_string(&path).unwrap();
    let secret = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap().to_owned();
    let recipient = printed("age-keygen", &[Path::new("-y"), &path]).trim().to_owned();
    (path, secret, recipient)
}

fn own_recipient(home: &Home) -> String {
    home.json("vault status")["own_recipient"].as_str().unwrap().to_owned()
}

#[test]
fn a_backup_is_opened_by_age_and_sqlite3() {
    if !needs("age", has_program("age")) || !needs("sqlite3", has_program("sqlite3")) {
        return;
    }
    let home = home();
    let (backup, plain) = (home.path().join("out.age"), home.path().join("plain.db"));
    home.ok(&format!("vault backup {}", backup.display()));
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let identity = home.path().join("identity");
    let flag = Path::new;
    printed("age", &[flag("-d"), flag("-i"), &identity, flag("-o"), &plain, &backup]);
    let query = |sql: &str| printed("sqlite3", &[&plain, Path::new(sql)]).trim().to_owned();
    assert_eq!(query("PRAGMA integrity_check"), "ok");
    assert_eq!(query("SELECT connector || '@' || account FROM connections ORDER BY 1"), "api-key@main\nslack@");
    assert!(query("SELECT secrets FROM grants").contains(TOKEN));
    // A backup for somebody else alone.
    let (other, _, recipient) = keygen(home.path(), "other");
    home.ok(&format!("vault backup {} --force --recipient {recipient}", backup.display()));
    printed("age", &[flag("-d"), flag("-i"), &other, flag("-o"), &plain, &backup]);
    assert_eq!(query("SELECT count(*) FROM grants"), "2");
    let mut own = Command::new("age");
    own.arg("-d").arg("-i").arg(&identity).arg(&backup);
    assert_ne!(finish(own).code, 0);
}

#[test]
fn what_age_encrypts_is_restored() {
    if !needs("age", has_program("age")) || !needs("sqlite3", has_program("sqlite3")) {
        return;
    }
    let home = home();
    let folder = home.path();
    let path = |name: &str| folder.join(name);
    home.ok(&format!("vault backup {}", path("out.age").display()));
    let flag = Path::new;
    printed("age", &[flag("-d"), flag("-i"), &path("identity"), flag("-o"), &path("plain.db"), &path("out.age")]);
    // Changed by a program that knows SQLite and nothing of integ.
    printed("sqlite3", &[&path("plain.db"), flag("UPDATE connections SET account = 'renamed' WHERE account = 'main'")]);
    let recipient = own_recipient(&home);
    printed("age", &[flag("-r"), flag(&recipient), flag("-o"), &path("again.age"), &path("plain.db")]);
    home.ok(&format!("-w other vault restore {} --yes", path("again.age").display()));
    assert_eq!(home.ok("-w other token api-key@renamed"), TOKEN);
    home.ok("-w other vault check");
    assert_ne!(store_key(&home), "", "the first workspace is untouched");
    assert_eq!(home.ok("token api-key@main"), TOKEN);
}

#[test]
fn a_backup_is_not_restored_over_anything() {
    if skipped_on_postgres("it compares vault.db; see postgres::moving") {
        return;
    }
    let home = home();
    let backup = home.path().join("out.age");
    home.ok(&format!("vault backup {}", backup.display()));
    let before = fs::read(home.workspace().join("vault.db")).unwrap();
    let ran = home.run(&format!("vault restore {} --yes --json", backup.display()));
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "workspace_not_empty"));
    assert!(fs::read(home.workspace().join("vault.db")).unwrap() == before);
    // Nor without being told to: there is nobody to ask.
    let ran = home.run(&format!("-w other vault restore {}", backup.display()));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("--yes"), "{ran:?}");
    assert!(!home.path().join("workspaces/other").exists());
}

#[test]
fn a_backup_that_is_damaged_or_anothers_leaves_nothing_behind() {
    let home = home();
    let backup = home.path().join("out.age");
    home.ok(&format!("vault backup {}", backup.display()));
    let whole = fs::read(&backup).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (what, bytes) in
        [("empty", &[][..]), ("cut", &whole[..whole.len() / 2]), ("flipped", &flipped), ("text", b"hello")]
    {
        fs::write(&backup, bytes).unwrap();
        let ran = home.run(&format!("-w other vault restore {} --yes --json", backup.display()));
        assert_eq!((ran.code, ran.error_code().as_str()), (1, "invalid_backup"), "{what}: {ran:?}");
        assert!(!home.path().join("workspaces/other").exists(), "{what}");
    }
    fs::write(&backup, &whole).unwrap();
    let stranger = Home::new();
    connect_key(&stranger, "x", "y");
    let ran = stranger.run(&format!("-w other vault restore {} --yes --json", backup.display()));
    assert_eq!((ran.code, ran.error_code().as_str()), (1, "invalid_backup"), "{ran:?}");
}

#[test]
fn fault_057_restored_grants_are_said_to_be_stale_until_they_are_renewed() {
    let home = home();
    let backup = home.path().join("out.age");
    home.ok(&format!("vault backup {}", backup.display()));
    let ran = home.run(&format!("-w new vault restore {} --yes", backup.display()));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("warning: the refresh tokens are unverified"), "{ran:?}");
    let status = home.json("-w new vault status");
    assert!(status["restored_at"].is_string());
    let stale = status["grants_from_backup"].as_u64().unwrap();
    assert!(stale >= 1, "{status}");
    home.ok("-w new refresh slack");
    assert_eq!(home.json("-w new vault status")["grants_from_backup"].as_u64().unwrap(), stale - 1);
    assert_eq!(home.json("vault status")["grants_from_backup"], 0);
}

#[test]
fn rekeying_changes_the_key_and_the_whole_store_and_no_answer() {
    if skipped_on_postgres("it reads vault.db; see postgres::rekey") {
        return;
    }
    let home = home();
    let (key, store) = (store_key(&home), fs::read(home.workspace().join("vault.db")).unwrap());
    home.ok("vault rekey");
    assert_ne!(store_key(&home), key);
    let rekeyed = fs::read(home.workspace().join("vault.db")).unwrap();
    for (page, (old, new)) in store.chunks(8192).zip(rekeyed.chunks(8192)).enumerate() {
        assert_ne!(old, new, "page {page}");
    }
    assert_eq!(home.ok("token api-key@main"), TOKEN);
    home.ok("vault check");
}

#[test]
fn a_second_identity_opens_the_vault_until_it_is_removed() {
    if !needs("age", has_program("age-keygen")) {
        return;
    }
    let home = home();
    let keys = tempfile::tempdir().unwrap();
    let (file, secret, recipient) = keygen(keys.path(), "ci");
    home.ok(&format!("vault recipients add {recipient} --label CI"));
    let listed = home.json("vault recipients");
    assert_eq!(listed["recipients"][1]["recipient"], recipient.as_str());
    assert_eq!(listed["recipients"][1]["label"], "CI");
    let again = home.run(&format!("vault recipients add {recipient} --json"));
    assert_eq!((again.code, again.error_code().as_str()), (2, "duplicate_recipient"));

    // It alone: the first identity is out of the way.
    fs::rename(home.path().join("identity"), keys.path().join("first")).unwrap();
    assert_eq!(home.run("token api-key@main --json").error_code(), "vault_locked");
    let with = |variable: &str, value: &str, line: &str| {
        let mut command = home.command(line.split_whitespace());
        command.env(variable, value);
        finish(command)
    };
    let path = file.display().to_string();
    for (variable, value) in [("INTEG_IDENTITY_FILE", &path), ("INTEG_IDENTITY", &secret)] {
        let ran = with(variable, value, "token api-key@main");
        assert_eq!((ran.code, ran.stdout.trim()), (0, TOKEN), "{variable}: {ran:?}");
        assert_eq!(with(variable, value, "vault check").code, 0, "{variable}");
    }
    fs::rename(keys.path().join("first"), home.path().join("identity")).unwrap();

    home.ok(&format!("vault recipients remove {recipient}"));
    home.ok("vault rekey");
    let ran = with("INTEG_IDENTITY", &secret, "token api-key@main --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (7, "vault_wrong_key"));
    assert_eq!(home.ok("token api-key@main"), TOKEN);
}

#[test]
fn nobody_shuts_himself_out_by_mistake() {
    if !needs("age", has_program("age-keygen")) {
        return;
    }
    let home = home();
    let own = own_recipient(&home);
    let last = home.run(&format!("vault recipients remove {own} --json"));
    assert_eq!((last.code, last.error_code().as_str()), (2, "recipient_required"));
    let keys = tempfile::tempdir().unwrap();
    let (_, _, other) = keygen(keys.path(), "other");
    home.ok(&format!("vault recipients add {other}"));
    let refused = home.run(&format!("vault recipients remove {own}"));
    assert_eq!(refused.code, 2, "{refused:?}");
    // The hint is a command, and it does what it says.
    let hint = refused.stderr.lines().find_map(|line| line.strip_prefix("hint: integ ")).unwrap().to_owned();
    home.ok(&hint);
    assert_eq!(home.run("status --json").error_code(), "vault_wrong_key");
}

#[test]
fn a_passphrase_protects_the_identity() {
    let home = Home::new().with("INTEG_PASSPHRASE_COMMAND", "printf 'correct horse'");
    home.ok("config set vault.identity passphrase");
    connect_key(&home, "main", TOKEN);
    let identity = fs::read(home.path().join("identity")).unwrap();
    assert!(identity.starts_with(b"age-encryption.org/v1\n-> scrypt "));
    assert_eq!(home.ok("token api-key@main"), TOKEN);
    assert_eq!(home.json("vault status")["identity"], "passphrase");
    let with = |command: &str| {
        let mut token = home.command(["token", "api-key@main", "--json"]);
        token.env("INTEG_PASSPHRASE_COMMAND", command);
        finish(token)
    };
    for command in ["printf wrong", "printf 'correct horse '", "false", "/no/such/program"] {
        let ran = with(command);
        assert_eq!((ran.code, ran.error_code().as_str()), (7, "vault_locked"), "{command}: {ran:?}");
        assert!(!ran.stderr.contains("correct"), "{ran:?}");
    }
    // Nobody to ask and no command: it says which variable is missing.
    let mut token = home.command(["token", "api-key@main"]);
    let ran = finish({
        token.env_remove("INTEG_PASSPHRASE_COMMAND");
        token
    });
    assert_eq!(ran.code, 7);
    assert!(ran.stderr.contains("hint: INTEG_PASSPHRASE_COMMAND="), "{ran:?}");
}

#[test]
fn the_identity_moves_between_a_file_and_a_passphrase() {
    let home = home();
    let moving = Home::new().with("INTEG_PASSPHRASE_COMMAND", "printf secret-words");
    crate::vault::copy(home.path(), moving.path());
    let plain = fs::read_to_string(moving.path().join("identity")).unwrap();
    let secret = plain.lines().find(|line| line.starts_with("AGE-")).unwrap();
    moving.ok("vault move-identity passphrase");
    assert!(!crate::harness::files(moving.path()).values().any(|bytes| crate::harness::holds(bytes, secret)));
    assert_eq!(moving.ok("token api-key@main"), TOKEN);
    assert_eq!(moving.json("vault status")["identity"], "passphrase");
    moving.ok("vault move-identity file");
    let back = fs::read_to_string(moving.path().join("identity")).unwrap();
    assert_eq!(back.lines().find(|line| line.starts_with("AGE-")).unwrap(), secret);
    assert_eq!(moving.json("vault status")["identity"], "file");
}

#[test]
fn fault_055_a_plugin_is_never_run_and_costly_files_are_not_tried() {
    let home = home();
    // Programs of the names that age plugins have, first on the PATH: each leaves a trace if it is run.
    let trap = tempfile::tempdir().unwrap();
    let trace = trap.path().join("trace");
    for name in ["age-plugin-evil", "age-plugin-yubikey", "evil"] {
        let program = trap.path().join(name);
        fs::write(&program, format!("#!/bin/sh\ntouch {}\n", trace.display())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", trap.path().display());
    let identity = trap.path().join("identity");
    for text in ["AGE-PLUGIN-EVIL-1QQPJ9YG0WFRP0LQ9F8QYT\n", "AGE-PLUGIN-../../EVIL-1QQPJ9\n", "age1evil1qqq\n"] {
        fs::write(&identity, text).unwrap();
        fs::set_permissions(&identity, fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = home.command(["token", "api-key@main", "--json"]);
        command.env("PATH", &path).env("INTEG_IDENTITY_FILE", &identity);
        let ran = finish(command);
        assert_eq!((ran.code, ran.error_code().as_str()), (7, "invalid_identity"), "{text}");
    }
    for recipient in ["age1evil1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t", "age1../../evil1q"] {
        let mut command = home.command(["vault", "recipients", "add", recipient, "--json"]);
        command.env("PATH", &path);
        let ran = finish(command);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "invalid_recipient"), "{recipient}");
    }
    assert!(!trace.exists(), "a plugin was run");

    let sealed = Home::new().with("INTEG_PASSPHRASE_COMMAND", "printf x");
    sealed.ok("config set vault.identity passphrase");
    connect_key(&sealed, "main", TOKEN);
    let path = sealed.path().join("identity");
    let bytes = fs::read(&path).unwrap();
    let place = bytes.windows(4).position(|window| window == b" 17\n").unwrap();
    let costly = [&bytes[..place], b" 30\n", &bytes[place + 4..]].concat();
    fs::write(&path, costly).unwrap();
    let ran = sealed.run("token api-key@main --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (7, "excessive_work_factor"), "{ran:?}");
}
