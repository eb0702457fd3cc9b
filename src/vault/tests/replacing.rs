//! Rekeying, recipients, backups.

use std::process::Command;

use super::super::sealed_key::SealedKey;
use super::super::store_replacement::StoreReplacement;
use super::*;
use crate::store::{LostWritesPolicy, StoreError};

/// Runs the steps of a rekey up to `last` and then lets go, as a kill does.
fn rekey_up_to(vault: &Vault, last: usize) {
    let replacement = StoreReplacement::begin(vault).unwrap();
    let sequence = if last >= 1 { replacement.copy().unwrap() } else { 0 };
    if last >= 2 {
        replacement.seal_both_keys().unwrap();
    }
    if last >= 3 {
        replacement.install(sequence).unwrap();
    }
    if last >= 4 {
        replacement.finish().unwrap();
    }
}

fn save(store: &SqliteStore, custodian: &TokenVault, file: &Path, key: &BackupKey) {
    let keyring_grants = wait(custodian.keyring_grants(store)).unwrap();
    write_output(file, &backup(store, &keyring_grants, key).unwrap(), Overwrite::Refuse).unwrap();
}

fn restore(access: &VaultOpener<'_>, folder: &Path, file: &Path) -> Result<RestoreResult, VaultError> {
    match access.restore(folder, access.open_backup(file)?, NOW)? {
        Restore::File(result) => Ok(result),
        Restore::Postgres(_) => panic!("the vault is a file"),
    }
}

#[test]
fn fault_052_a_rekey_that_stops_after_any_step_opens_under_exactly_one_key() {
    for last in 0..=4 {
        let home = Home::new(IdentityStorage::File);
        fill(&home.open());
        let vault = home.access().open_without_store(&home.workspace("default")).unwrap();
        let seal = |vault: &Vault| SealedKey::read(&home.file("vault.age"), &*vault.identity).unwrap();
        let before = seal(&vault).key;
        rekey_up_to(&vault, last);
        fs::write(home.file(".vault.db.0123456789abcdef"), "what a kill leaves").unwrap();

        let store = home.open();
        assert_eq!(wait(store.sandbox().list("")).unwrap().len(), 20, "after step {last}");
        put(&store, "after", &json!(last));
        drop(store);
        let after = seal(&vault);
        assert_eq!((after.key != before, after.previous_key), (last >= 3, None), "after step {last}");
        vault.check_file(LostWritesPolicy::Refuse).unwrap();

        vault.rekey_file().unwrap();
        assert_eq!(wait(home.open().sandbox().get("after")).unwrap(), Some(json!(last)));
        assert!(!home.file(".vault.db.0123456789abcdef").exists());
        let opened = SqliteStore::open(&home.file("vault.db"), &before, LostWritesPolicy::Refuse);
        assert!(matches!(opened, Err(StoreError::WrongKey(_))), "the old key is worthless");
    }
}

#[test]
fn a_rekey_waits_for_whoever_has_the_store_open_and_a_recipient_need_not() {
    let home = Home::new(IdentityStorage::File);
    let store = home.open();
    let vault = home.access().open_without_store(&home.workspace("default")).unwrap();
    let friend = Identity::generate();
    vault.add_recipient(&friend.recipient(), "friend", NOW).unwrap();
    std::thread::scope(|scope| {
        let rekey = scope.spawn(|| vault.rekey_file());
        std::thread::sleep(std::time::Duration::from_millis(100));
        put(&store, "a", &json!(1));
        assert!(!rekey.is_finished());
        drop(store);
        rekey.join().unwrap().unwrap();
    });
    assert_eq!(wait(home.open().sandbox().get("a")).unwrap(), Some(json!(1)));
    assert_eq!(vault.recipients().unwrap().len(), 2);
}

#[test]
fn recipients_open_the_vault_until_they_are_removed() {
    let home = Home::new(IdentityStorage::File);
    drop(home.open());
    let folder = home.workspace("default");
    let vault = home.access().open_without_store(&folder).unwrap();
    let friend = Identity::generate();
    let as_friend = || {
        let given = IdentityEnvironment { identity: Some(friend.secret()), ..IdentityEnvironment::default() };
        home.access().with_environment(given, Keyring::none()).open(&folder, IfAbsent::Fail)
    };
    assert_eq!(as_friend().unwrap_err().code(), "vault_wrong_key");
    vault.add_recipient(&friend.recipient(), "a friend's \"laptop\"", NOW).unwrap();
    drop(as_friend().unwrap());
    assert_eq!(vault.recipients().unwrap()[1].label, "a friend's \"laptop\"");
    let code = |result: Result<(), VaultError>| result.unwrap_err().code();
    assert_eq!(code(vault.add_recipient(&friend.recipient(), "", NOW)), "duplicate_recipient");
    assert_eq!(code(vault.add_recipient("age1nonsense", "", NOW)), "invalid_recipient");
    assert_eq!(code(vault.remove_recipient(&vault.own_recipient(), SelfRemoval::Refuse)), "recipient_required");
    vault.remove_recipient(&friend.recipient(), SelfRemoval::Refuse).unwrap();
    assert_eq!(as_friend().unwrap_err().code(), "vault_wrong_key");
    assert_eq!(code(vault.remove_recipient(&friend.recipient(), SelfRemoval::Refuse)), "recipient_not_found");
    assert_eq!(code(vault.remove_recipient(&vault.own_recipient(), SelfRemoval::Allow)), "recipient_required");
}

#[test]
fn recipients_added_at_once_are_all_kept() {
    let home = Home::new(IdentityStorage::File);
    drop(home.open());
    let vault = home.access().open_without_store(&home.workspace("default")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| vault.add_recipient(&Identity::generate().recipient(), "", NOW).unwrap());
        }
    });
    assert_eq!(vault.recipients().unwrap().len(), 13);
}

#[test]
fn fault_057_a_restored_backup_marks_its_grants_and_holds_what_the_keyring_held() {
    let home = Home::new(IdentityStorage::File);
    let (store, keyring) = (home.open(), mock_keyring());
    let custodian = TokenVault::new(keyring.clone(), TokenStorage::Keyring);
    let saved = wait(custodian.connect(&*store, &new_connection("slack"), &grant("xoxb"))).unwrap();
    assert!(saved.warning.is_none());
    let file = home.folders.data().join("backup.age");
    let own = home.access().open_without_store(&home.workspace("default")).unwrap().own_recipient();
    save(&store, &custodian, &file, &BackupKey::Recipients(vec![own]));
    assert_eq!(mode(&file), 0o600);

    let new = home.workspace("new");
    let RestoreResult { contents: restored, new_identity_location: identity_made, identity_location: custody } =
        restore(&home.access(), &new, &file).unwrap();
    assert_eq!((restored.connections.len(), restored.connections[0].name.as_str()), (1, "slack"));
    assert_eq!((identity_made, custody), (None, IdentityLocation::File));
    let opened = home.access().open(&new, IfAbsent::Fail).unwrap().sqlite;
    assert_eq!(opened.meta().unwrap().restored_at, Some(NOW));
    assert_eq!(wait(opened.grants().restored()).unwrap().len(), 1);
    let nowhere = TokenVault::new(Keyring::none(), TokenStorage::Store);
    let loaded = wait(nowhere.load(&*opened, &name("slack"))).unwrap().unwrap();
    assert_eq!((loaded.grant.access_token.expose().as_str(), loaded.stored_grant.is_from_backup), ("xoxb", true));
    let saved =
        save_grant(&nowhere, &opened, &loaded.connection, loaded.stored_grant.generation, &grant("fresh")).unwrap();
    assert!(matches!(saved, GrantSaveResult::Saved { .. }));
    assert!(!wait(nowhere.load(&*opened, &name("slack"))).unwrap().unwrap().stored_grant.is_from_backup);
    drop(opened);

    assert_eq!(restore(&home.access(), &new, &file).unwrap_err().code(), "workspace_not_empty");
    let empty = home.workspace("empty");
    drop(home.access().open(&empty, CREATE).unwrap());
    restore(&home.access(), &empty, &file).unwrap();
    assert_eq!(
        wait(home.access().open(&empty, IfAbsent::Fail).unwrap().sqlite.connections().names()).unwrap().len(),
        1
    );
}

#[test]
fn a_backup_that_is_damaged_or_anothers_leaves_no_workspace_behind() {
    let home = Home::new(IdentityStorage::File);
    let store = home.open();
    let custodian = TokenVault::new(Keyring::none(), TokenStorage::Store);
    let (file, new) = (home.folders.data().join("backup.age"), home.workspace("new"));
    let passphrase = BackupKey::Passphrase(Secret::from("correct"));
    save(&store, &custodian, &file, &passphrase);
    let by = |answer: &'static Answer| restore(&home.access_by(answer, Keyring::none()), &new, &file);
    static WRONG: Answer = Answer(Some("wrong"));
    static CORRECT: Answer = Answer(Some("correct"));
    assert_eq!(by(&NOBODY).unwrap_err().code(), "vault_locked");
    assert!(matches!(by(&WRONG).unwrap_err(), VaultError::WrongPassphrase(_)));
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(by(&CORRECT).unwrap_err().code(), "invalid_backup");
    fs::write(&file, b"age-encryption.org/v1\n-> X25519").unwrap();
    assert_eq!(by(&CORRECT).unwrap_err().code(), "invalid_backup");
    fs::write(&file, &whole).unwrap();
    assert!(!new.exists());
    by(&CORRECT).unwrap();
}

#[test]
fn age_and_sqlite3_open_a_backup() {
    let found = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !found("age") || !found("sqlite3") {
        eprintln!("skipped: age and sqlite3 are not installed");
        return;
    }
    let home = Home::new(IdentityStorage::File);
    let (store, file) = (home.open(), home.folders.data().join("backup.age"));
    let custodian = TokenVault::new(Keyring::none(), TokenStorage::Store);
    drop(wait(custodian.connect(&*store, &new_connection("slack"), &grant("xoxb"))).unwrap());
    let own = home.access().open_without_store(&home.workspace("default")).unwrap().own_recipient();
    save(&store, &custodian, &file, &BackupKey::Recipients(vec![own]));
    let plain = home.folders.data().join("plain.db");
    let opened =
        Command::new("age").arg("-d").arg("-i").arg(home.folders.identity()).arg("-o").args([&plain, &file]).status();
    assert!(opened.unwrap().success());
    let query =
        "SELECT connector, json_extract(secrets, '$.access_token') FROM connections, grants; PRAGMA integrity_check";
    let rows = Command::new("sqlite3").arg(&plain).arg(query).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&rows.stdout), "slack|xoxb\nok\n");
}
