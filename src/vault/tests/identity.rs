//! Where the identity is kept, and that it is never looked for anywhere weaker.

use super::*;
use crate::store::LostWritesPolicy;

static PASSPHRASE: Answer = Answer(Some("correct horse"));
static WRONG: Answer = Answer(Some("wrong horse"));

#[test]
fn fault_050_an_identity_in_the_keyring_is_looked_for_nowhere_else() {
    let home = Home::new(IdentityStorage::Auto);
    let (keyring, folder) = (mock_keyring(), home.workspace("default"));
    let opened = home.access_by(&NOBODY, keyring.clone()).open(&folder, CREATE).unwrap();
    assert_eq!(opened.new_identity_location, Some(IdentityLocation::Keyring));
    drop(opened);
    let note = fs::read_to_string(home.folders.identity()).unwrap();
    assert!(note.contains("\nkeyring: age1") && !note.contains("SECRET"), "{note}");
    drop(home.access_by(&NOBODY, keyring).open(&folder, IfAbsent::Fail).unwrap());
    for (gone, code) in [(Keyring::none(), "keyring_unavailable"), (mock_keyring(), "keyring_entry_not_found")] {
        let error = home.access_by(&NOBODY, gone).open(&folder, CREATE).unwrap_err();
        assert_eq!((error.kind(), error.code()), (Kind::Vault, code));
        assert!(error.hint().is_some());
    }
    assert_eq!(fs::read_to_string(home.folders.identity()).unwrap(), note);
}

#[test]
fn auto_takes_a_file_where_no_keyring_answers_and_keyring_takes_nothing() {
    let home = Home::new(IdentityStorage::Auto);
    assert_eq!(
        home.access().open(&home.workspace("default"), CREATE).unwrap().new_identity_location,
        Some(IdentityLocation::File)
    );
    let strict = Home::new(IdentityStorage::Keyring);
    assert_eq!(strict.failure().code(), "keyring_unavailable");
    assert!(!strict.folders.identity().exists());
}

#[test]
fn a_passphrase_opens_the_identity_and_nothing_else_does() {
    let home = Home::new(IdentityStorage::Passphrase);
    let folder = home.workspace("default");
    assert_eq!(home.failure().code(), "vault_locked");
    let opened = home.access_by(&PASSPHRASE, Keyring::none()).open(&folder, CREATE).unwrap();
    assert_eq!(opened.new_identity_location, Some(IdentityLocation::EncryptedFile));
    drop(opened);
    assert!(fs::read(home.folders.identity()).unwrap().starts_with(b"age-encryption.org/v1\n-> scrypt"));
    drop(home.access_by(&PASSPHRASE, Keyring::none()).open(&folder, IfAbsent::Fail).unwrap());
    let wrong = home.access_by(&WRONG, Keyring::none()).open(&folder, IfAbsent::Fail).unwrap_err();
    assert_eq!((wrong.kind(), wrong.code()), (Kind::Vault, "vault_locked"));
    let given = IdentityEnvironment {
        passphrase_command: Some("printf 'correct horse\\n'".to_owned()),
        ..IdentityEnvironment::default()
    };
    drop(home.access().with_environment(given, Keyring::none()).open(&folder, IfAbsent::Fail).unwrap());
}

#[test]
fn the_environments_identity_comes_first() {
    let home = Home::new(IdentityStorage::File);
    drop(home.open());
    let folder = home.workspace("default");
    let by = |given: IdentityEnvironment| {
        home.access().with_environment(given, Keyring::none()).open(&folder, IfAbsent::Fail).map(drop)
    };
    let invalid =
        IdentityEnvironment { identity: Some(Secret::from("AGE-SECRET-KEY-1X")), ..IdentityEnvironment::default() };
    assert_eq!(by(invalid).unwrap_err().code(), "invalid_identity");
    let stranger =
        IdentityEnvironment { identity: Some(Identity::generate().secret()), ..IdentityEnvironment::default() };
    assert_eq!(by(stranger).unwrap_err().code(), "vault_wrong_key");
    let missing =
        IdentityEnvironment { identity_file: Some(home.folders.data().join("none")), ..IdentityEnvironment::default() };
    assert_eq!(by(missing).unwrap_err().code(), "vault_locked");
    let moved = home.folders.data().join("elsewhere.txt");
    fs::rename(home.folders.identity(), &moved).unwrap();
    by(IdentityEnvironment { identity_file: Some(moved), ..IdentityEnvironment::default() }).unwrap();
}

#[test]
fn moving_the_identity_loses_nothing_wherever_it_stops() {
    let home = Home::new(IdentityStorage::File);
    drop(home.open());
    let (folder, keyring) = (home.workspace("default"), mock_keyring());
    let access = home.access_by(&PASSPHRASE, keyring.clone());
    let recipient = access.open_without_store(&folder).unwrap().own_recipient();
    let file = fs::read(home.folders.identity()).unwrap();

    for to in
        [IdentityLocation::Keyring, IdentityLocation::EncryptedFile, IdentityLocation::Keyring, IdentityLocation::File]
    {
        access.move_identity(to, NOW).unwrap();
        let vault = access.open_without_store(&folder).unwrap();
        assert_eq!((vault.identity_location(), vault.own_recipient()), (to, recipient.clone()));
        vault.check_file(LostWritesPolicy::Refuse).unwrap();
        assert_eq!(keyring.get(&recipient).is_ok(), to == IdentityLocation::Keyring);
    }
    // Killed after the keyring was written, before the note was: the file is in force, and moving again finishes it.
    assert_eq!(Identity::parse(std::str::from_utf8(&file).unwrap()).unwrap().recipient(), recipient);
    keyring.set(&recipient, &Identity::generate().secret(), "").unwrap();
    drop(home.open());
    access.move_identity(IdentityLocation::Keyring, NOW).unwrap();
    drop(access.open(&folder, IfAbsent::Fail).unwrap());
    // Killed after the file was written, before the entry was deleted.
    fs::write(home.folders.identity(), &file).unwrap();
    drop(home.open());
    access.move_identity(IdentityLocation::File, NOW).unwrap();
    assert!(keyring.get(&recipient).is_err());
}

#[test]
fn field_46_a_keyring_that_gives_nothing_back_is_not_chosen() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    // As KeePassXC does: who wrote the entry may read it, and every other connection must be allowed by a person.
    let store = keyring_core::mock::Store::new().unwrap();
    let keyring = |refusal: fn() -> keyring_core::Error| {
        let (store, connected) = (Arc::clone(&store), AtomicBool::new(false));
        Keyring::with_test_connector(move || {
            if connected.swap(true, Ordering::Relaxed) { Err(refusal()) } else { Ok(Arc::clone(&store) as _) }
        })
    };
    let hangs = || {
        std::thread::sleep(std::time::Duration::from_secs(60));
        keyring_core::Error::NoEntry
    };
    for refusal in [|| keyring_core::Error::NoEntry, hangs] {
        let home = Home::new(IdentityStorage::Auto);
        let access = home.access_by(&NOBODY, keyring(refusal));
        let opened = access.open(&home.workspace("default"), CREATE).unwrap();
        assert_eq!(opened.new_identity_location, Some(IdentityLocation::File));
        let recipient = access.open_without_store(&home.workspace("default")).unwrap().own_recipient();
        assert!(Keyring::with_store(Arc::clone(&store) as _).get(&recipient).is_err(), "nothing is left there");
        let strict = Home::new(IdentityStorage::Keyring);
        let failure = strict.access_by(&NOBODY, keyring(refusal)).open(&strict.workspace("default"), CREATE);
        assert_eq!(failure.unwrap_err().kind(), Kind::Vault);
        assert!(!strict.folders.identity().exists());
    }
}
