//! Tokens in the store or in the OS keyring: none is lost, wherever a move or a save stops.

use keyring_core::api::{CredentialApi, CredentialStore, CredentialStoreApi};

use super::*;
use crate::model::SecretStorage;

/// A keyring that fails from the call of this number on, as a kill or a crash there would.
#[derive(Debug)]
struct Failing {
    inner: Arc<keyring_core::mock::Store>,
    left: Arc<std::sync::atomic::AtomicUsize>,
}

#[derive(Debug)]
struct FailingEntry {
    entry: keyring_core::Entry,
    left: Arc<std::sync::atomic::AtomicUsize>,
}

impl FailingEntry {
    fn count(&self) -> keyring_core::Result<()> {
        use std::sync::atomic::Ordering::SeqCst;
        let left = self.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| keyring_core::Error::NoStorageAccess("killed".into()))
    }
}

impl CredentialApi for FailingEntry {
    fn set_secret(&self, secret: &[u8]) -> keyring_core::Result<()> {
        self.count()?;
        self.entry.set_secret(secret)
    }

    fn get_secret(&self) -> keyring_core::Result<Vec<u8>> {
        self.count()?;
        self.entry.get_secret()
    }

    fn delete_credential(&self) -> keyring_core::Result<()> {
        self.count()?;
        self.entry.delete_credential()
    }

    fn get_credential(&self) -> keyring_core::Result<Option<Arc<keyring_core::Credential>>> {
        Ok(None)
    }

    fn get_specifiers(&self) -> Option<(String, String)> {
        None
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl CredentialStoreApi for Failing {
    fn vendor(&self) -> String {
        String::new()
    }

    fn id(&self) -> String {
        String::new()
    }

    fn build(
        &self,
        service: &str,
        user: &str,
        modifiers: Option<&std::collections::HashMap<&str, &str>>,
    ) -> keyring_core::Result<keyring_core::Entry> {
        let entry = self.inner.build(service, user, modifiers)?;
        Ok(keyring_core::Entry::new_with_credential(Arc::new(FailingEntry { entry, left: Arc::clone(&self.left) })))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn failing_after(inner: &Arc<keyring_core::mock::Store>, calls: usize) -> Keyring {
    let store: Arc<CredentialStore> = Arc::new(Failing { inner: Arc::clone(inner), left: Arc::new(calls.into()) });
    Keyring::with_store(store)
}

fn three_connections(custodian: &TokenVault, store: &SqliteStore) {
    for (connector, token) in [("github", "t1"), ("notion", "t2"), ("slack", "t3")] {
        let saved = wait(custodian.connect(store, &new_connection(connector), &grant(token))).unwrap();
        assert!(saved.warning.is_none());
    }
}

fn tokens(custodian: &TokenVault, store: &SqliteStore) -> Vec<String> {
    let names = wait(store.connections().names()).unwrap();
    let token = |name| wait(custodian.load(store, name)).unwrap().unwrap().grant.access_token.expose().clone();
    names.iter().map(token).collect()
}

#[test]
fn tokens_in_the_keyring_are_not_in_the_store() {
    let home = Home::new(IdentityStorage::File);
    let (store, keyring) = (home.open(), mock_keyring());
    let custodian = TokenVault::new(keyring.clone(), TokenStorage::Keyring);
    three_connections(&custodian, &store);
    let connection = wait(store.connections().find(&name("slack"))).unwrap().unwrap();
    let stored = wait(store.grants().get(connection.id)).unwrap().unwrap();
    assert!(stored.grant.is_none() && stored.storage == SecretStorage::Keyring);
    assert_eq!(tokens(&custodian, &store), ["t1", "t2", "t3"]);

    let saved = save_grant(&custodian, &store, &connection, stored.generation, &grant("t4")).unwrap();
    assert!(matches!(saved, GrantSaveResult::Saved { generation: 2, warning: None, .. }));
    let late = save_grant(&custodian, &store, &connection, stored.generation, &grant("late")).unwrap();
    assert!(matches!(late, GrantSaveResult::Superseded));
    assert_eq!(tokens(&custodian, &store)[2], "t4");
    assert!(wait(store.grants().get(connection.id)).unwrap().unwrap().grant.is_none());

    let nothing =
        wait(TokenVault::new(Keyring::none(), TokenStorage::Store).load(&*store, &name("slack"))).unwrap_err();
    assert_eq!((nothing.kind(), nothing.code()), (Kind::Vault, "keyring_unavailable"));
    let entry = format!("{}/slack", store.id());
    let old = keyring.get(&entry).unwrap();
    assert_eq!(wait(custodian.remove(&*store, &connection)).unwrap().map(|error| error.code()), None);
    assert!(keyring.get(&entry).is_err());

    // An entry of an earlier connection of this name is not taken for this one's.
    let again = wait(custodian.connect(&*store, &new_connection("slack"), &grant("t5"))).unwrap().connection;
    keyring.set(&entry, &old, "").unwrap();
    let lost = wait(custodian.load(&*store, &again.name)).unwrap_err();
    assert_eq!((lost.kind(), lost.hint()), (Kind::AuthNeeded, Some(Hint::run("integ reconnect slack"))));
}

#[test]
fn fault_051_a_keyring_that_fails_after_login_or_refresh_loses_no_token() {
    let home = Home::new(IdentityStorage::File);
    let store = home.open();
    let broken = TokenVault::new(Keyring::none(), TokenStorage::Keyring);
    let saved = wait(broken.connect(&*store, &new_connection("slack"), &grant("t1"))).unwrap();
    let (connection, warning) = (saved.connection, saved.warning);
    assert!(matches!(warning.unwrap().source, KeyringError::Unavailable(_)));
    assert_eq!(tokens(&broken, &store), ["t1"]);
    let saved = save_grant(&broken, &store, &connection, 1, &grant("t2")).unwrap();
    assert!(matches!(saved, GrantSaveResult::Saved { warning: Some(_), .. }));
    assert_eq!(tokens(&broken, &store), ["t2"]);
    // The next save finds the keyring well, and the token goes where it belongs.
    let repaired = TokenVault::new(mock_keyring(), TokenStorage::Keyring);
    assert!(matches!(
        save_grant(&repaired, &store, &connection, 2, &grant("t3")).unwrap(),
        GrantSaveResult::Saved { warning: None, .. }
    ));
    assert!(wait(store.grants().get(connection.id)).unwrap().unwrap().grant.is_none());
    assert_eq!(tokens(&repaired, &store), ["t3"]);
}

#[test]
fn a_move_of_tokens_that_stops_anywhere_loses_none_and_is_finished_by_another() {
    for to in [TokenStorage::Keyring, TokenStorage::Store] {
        let from = if to == TokenStorage::Keyring { TokenStorage::Store } else { TokenStorage::Keyring };
        for calls in 0..7 {
            let home = Home::new(IdentityStorage::File);
            let (store, mock) = (home.open(), keyring_core::mock::Store::new().unwrap());
            let whole = || failing_after(&mock, 1000);
            three_connections(&TokenVault::new(whole(), from), &store);
            let stopped = wait(TokenVault::new(failing_after(&mock, calls), from).move_tokens(&*store, to));
            assert_eq!(stopped.is_err(), calls < if to == TokenStorage::Keyring { 3 } else { 6 }, "{to:?} {calls}");

            let custodian = TokenVault::new(whole(), from);
            assert_eq!(tokens(&custodian, &store), ["t1", "t2", "t3"], "{to:?} {calls}");
            let finished = wait(custodian.move_tokens(&*store, to)).unwrap();
            assert_eq!(finished.moved + finished.already_moved, 3);
            assert_eq!(tokens(&custodian, &store), ["t1", "t2", "t3"], "{to:?} {calls}");
            for (connection, stored) in wait(store.grants().list()).unwrap() {
                let entry = whole().get(&format!("{}/{}", store.id(), connection.name));
                assert_eq!(entry.is_ok(), to == TokenStorage::Keyring, "{to:?} {calls} {}", connection.name);
                assert_eq!(stored.grant.is_some(), to == TokenStorage::Store);
                assert_eq!(stored.storage == SecretStorage::Store, to == TokenStorage::Store);
            }
        }
    }
}
