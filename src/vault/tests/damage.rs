//! Vaults that are damaged, or not the ones they should be: an error that says so, and files left as they are.

use super::*;
use crate::store::LostWritesPolicy;

/// Bytes of a page of the store.
const PAGE: usize = 8192;

/// What opening and then checking says.
fn verdict(home: &Home) -> Result<(), VaultError> {
    let folder = home.workspace("default");
    drop(home.access().open(&folder, IfAbsent::Fail)?);
    home.access().open_without_store(&folder)?.check_file(LostWritesPolicy::Refuse)
}

/// Damages a file, expects a vault error that leaves it as it is, and repairs it.
fn refused(home: &Home, file: &str, damage: impl FnOnce(&mut Vec<u8>), case: &str) -> &'static str {
    let path = home.file(file);
    let whole = fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damage(&mut damaged);
    fs::write(&path, &damaged).unwrap();
    let error = verdict(home).expect_err(case);
    assert_eq!(error.kind(), Kind::Vault, "{case}: {error}");
    assert!(error.hint().is_some(), "{case}");
    assert_eq!(fs::read(&path).unwrap(), damaged, "{case}");
    fs::write(&path, &whole).unwrap();
    error.code()
}

fn filled() -> Home {
    let home = Home::new(IdentityStorage::File);
    fill(&home.open());
    verdict(&home).unwrap();
    assert_eq!(fs::metadata(home.file("vault.db-wal")).map_or(0, |log| log.len()), 0);
    home
}

#[test]
fn fault_044_a_flipped_bit_in_any_page_is_found() {
    let home = filled();
    let pages = fs::metadata(home.file("vault.db")).unwrap().len() as usize / PAGE;
    assert!(pages > 20);
    for page in 0..pages {
        refused(&home, "vault.db", |bytes| bytes[page * PAGE + 17 + page * 31 % 8000] ^= 4, &format!("page {page}"));
    }
    verdict(&home).unwrap();
}

#[test]
fn fault_044_a_truncated_store_is_found() {
    let home = filled();
    let length = fs::metadata(home.file("vault.db")).unwrap().len() as usize;
    for kept in [0, 1, 100, 4096, PAGE - 1, PAGE, PAGE + 1, length / 2, length - PAGE, length - 1] {
        let code = refused(&home, "vault.db", |bytes| bytes.truncate(kept), &format!("{kept} bytes"));
        assert!(["vault_damaged", "vault_wrong_key"].contains(&code), "{kept}: {code}");
    }
    for kept in [0, 10, 200] {
        assert_eq!(refused(&home, "vault.age", |bytes| bytes.truncate(kept), "seal"), "vault_damaged");
    }
    verdict(&home).unwrap();
}

#[test]
fn fault_044_a_missing_file_is_not_made_anew() {
    let home = filled();
    for file in ["vault.db", "vault.age"] {
        let aside = home.file("aside");
        fs::rename(home.file(file), &aside).unwrap();
        let error = home.failure();
        assert_eq!((error.kind(), error.code()), (Kind::Vault, "vault_damaged"));
        assert!(!home.file(file).exists());
        fs::rename(&aside, home.file(file)).unwrap();
    }
    let identity = fs::read(home.folders.identity()).unwrap();
    fs::remove_file(home.folders.identity()).unwrap();
    assert!(matches!(home.failure(), VaultError::MissingIdentity(_)));
    // Nor does another workspace get a new identity, which would open none of those there are.
    let other = home.access().open(&home.workspace("other"), CREATE).unwrap_err();
    assert!(matches!(other, VaultError::MissingIdentity(_)));
    fs::write(home.folders.identity(), identity).unwrap();
    set_mode(&home.folders.identity(), 0o600);
    verdict(&home).unwrap();
}

#[test]
fn fault_044_a_wrong_key_is_found() {
    let home = filled();
    let theirs = Home::new(IdentityStorage::File);
    drop(theirs.open());
    let seal = fs::read(theirs.file("vault.age")).unwrap();
    assert_eq!(refused(&home, "vault.age", |bytes| *bytes = seal, "another's seal"), "vault_wrong_key");
    let hint = Home::failure(&home_with_seal_of(&home, &theirs)).hint().unwrap().to_string();
    assert!(hint.contains("age1"), "{hint}");
}

fn home_with_seal_of(home: &Home, theirs: &Home) -> Home {
    let mixed = Home::new(IdentityStorage::File);
    drop(mixed.open());
    for (from, file) in [(home, "vault.db"), (theirs, "vault.age")] {
        fs::copy(from.file(file), mixed.file(file)).unwrap();
    }
    mixed
}

#[test]
fn fault_053_one_workspaces_pages_do_not_pass_for_anothers() {
    let home = filled();
    let other = home.access().open(&home.workspace("other"), CREATE).unwrap().sqlite;
    fill(&other);
    drop(other);
    let foreign = fs::read(home.workspace("other").join("vault.db")).unwrap();
    refused(&home, "vault.db", |bytes| *bytes = foreign.clone(), "another store");
    refused(
        &home,
        "vault.db",
        |bytes| bytes[PAGE..2 * PAGE].copy_from_slice(&foreign[PAGE..2 * PAGE]),
        "another's page",
    );
    let swap = |bytes: &mut Vec<u8>| {
        let (first, second) = bytes.split_at_mut(5 * PAGE);
        first[4 * PAGE..].swap_with_slice(&mut second[..PAGE]);
    };
    refused(&home, "vault.db", swap, "two pages swapped");
    verdict(&home).unwrap();
}

#[test]
fn fault_044a_lost_writes_of_a_damaged_log_are_found() {
    let home = filled();
    let folder = home.workspace("default");
    let store = home.open();
    for number in 0..10 {
        put(&store, "count", &json!(number));
    }
    // As a crash leaves it: the log was never moved into the store.
    let (log, whole) = (home.file("vault.db-wal"), fs::read(home.file("vault.db")).unwrap());
    let mut frames = fs::read(&log).unwrap();
    drop(store);
    let middle = frames.len() / 2;
    frames[middle] ^= 1;
    fs::write(home.file("vault.db"), &whole).unwrap();
    fs::write(&log, &frames).unwrap();
    set_mode(&log, 0o600);
    let error = verdict(&home).unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Vault, "vault_rolled_back"));
    assert!(error.hint().unwrap().to_string().starts_with("integ vault check --accept"));
    assert_eq!(fs::read(&log).unwrap(), frames);
    assert_eq!(verdict(&home).unwrap_err().code(), "vault_rolled_back");

    home.access().open_without_store(&folder).unwrap().check_file(LostWritesPolicy::Accept).unwrap();
    verdict(&home).unwrap();
    assert!(wait(home.open().sandbox().get("count")).unwrap().is_some());
}

#[test]
fn fault_044a_an_older_copy_of_the_store_is_found() {
    let home = filled();
    let old = fs::read(home.file("vault.db")).unwrap();
    put(&home.open(), "later", &json!(1));
    assert_eq!(refused(&home, "vault.db", |bytes| *bytes = old, "an older copy"), "vault_rolled_back");
    verdict(&home).unwrap();
}
