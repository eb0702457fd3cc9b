//! Vaults as their users meet them: made, opened, damaged, replaced, moved.

mod custody;
mod damage;
mod identity;
mod replacing;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::clock::Timestamp;
use crate::config::{Folders, IdentityStorage, TokenStorage, VaultConfig};
use crate::error::{Hint, Kind, Remedy};
use crate::model::{
    ClientCredentials, Connection, ConnectionMode, ConnectionName, Grant, NewConnection, RefreshMethod,
};
use crate::secret::Secret;
use crate::store::{LockKey, SqliteStore, Store, StoreError};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const CREATE: IfAbsent = IfAbsent::Create { now: NOW };

/// Answers every prompt alike, or none.
struct Answer(Option<&'static str>);

impl PassphraseSource for Answer {
    fn ask(&self, _: PassphrasePrompt) -> io::Result<Option<Secret>> {
        Ok(self.0.map(Secret::from))
    }
}

static NOBODY: Answer = Answer(None);

/// A user's folders, with nothing in the environment and no keyring.
struct Home {
    _folder: TempDir,
    folders: Folders,
    config: VaultConfig,
}

impl Home {
    fn new(identity: IdentityStorage) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::under(&folder.path().join("home"));
        let config = VaultConfig { identity, tokens: TokenStorage::Store, passphrase_command: None };
        Self { _folder: folder, folders, config }
    }

    fn access(&self) -> VaultOpener<'_> {
        self.access_by(&NOBODY, Keyring::none())
    }

    fn access_by<'a>(&'a self, ask: &'a dyn PassphraseSource, keyring: Keyring) -> VaultOpener<'a> {
        VaultOpener::new(&self.folders, &self.config, ask).with_environment(IdentityEnvironment::default(), keyring)
    }

    fn workspace(&self, name: &str) -> PathBuf {
        self.folders.workspace(&name.parse().unwrap())
    }

    /// The default workspace's store, made where it is missing.
    fn open(&self) -> Arc<SqliteStore> {
        self.access().open(&self.workspace("default"), CREATE).unwrap().sqlite
    }

    fn file(&self, name: &str) -> PathBuf {
        self.workspace("default").join(name)
    }

    fn failure(&self) -> VaultError {
        self.access().open(&self.workspace("default"), CREATE).unwrap_err()
    }
}

/// Runs a future of the store to its end.
fn wait<T>(future: impl Future<Output = T>) -> T {
    crate::runtime::new_runtime().unwrap().block_on(future)
}

/// Writes an entry of the sandbox, over the one there may be.
fn put(store: &SqliteStore, key: &str, value: &serde_json::Value) {
    let old = wait(store.sandbox().get(key)).unwrap();
    assert!(wait(store.sandbox().replace(key, old.as_ref(), Some(value))).unwrap());
}

/// Saves a grant as a refresh does, under the connection's lock.
fn save_grant(
    token_vault: &TokenVault,
    store: &SqliteStore,
    connection: &Connection,
    generation: u64,
    grant: &Grant,
) -> Result<GrantSaveResult, StoreError> {
    wait(async {
        let lock = store.locks().try_acquire(LockKey::Grant(connection.id), NOW).await?.unwrap();
        token_vault.save(store, connection, generation, grant, lock.fence).await
    })
}

fn mock_keyring() -> Keyring {
    Keyring::with_store(keyring_core::mock::Store::new().unwrap())
}

fn name(text: &str) -> ConnectionName {
    text.parse().unwrap()
}

fn new_connection(text: &str) -> NewConnection {
    NewConnection {
        name: name(text),
        mode: ConnectionMode::Live,
        auth: "oauth2".to_owned(),
        origin: None,
        params: Default::default(),
        metadata: Default::default(),
        account: None,
        user: None,
        scopes_requested: Vec::new(),
        scopes_granted: None,
        connected_at: NOW,
    }
}

fn grant(token: &str) -> Grant {
    Grant {
        access_token: Secret::from(token),
        refresh_token: Some(Secret::from("refresh")),
        fields: Default::default(),
        client: Some(ClientCredentials { id: "client".to_owned(), secret: Some(Secret::from("shh")) }),
        issued_at: NOW,
        expires_at: None,
        refresh_expires_at: None,
        refresh_method: RefreshMethod::RefreshToken,
    }
}

/// Fills a store with a few hundred pages.
fn fill(store: &SqliteStore) {
    for number in 0..20 {
        put(store, &format!("key/{number:04}"), &json!("x".repeat(9000)));
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_vault_is_made_once_and_opened_after() {
    let home = Home::new(IdentityStorage::File);
    let absent = home.access().open(&home.workspace("default"), IfAbsent::Fail).unwrap_err();
    assert_eq!((absent.kind(), absent.code()), (Kind::NotFound, "workspace_not_found"));
    assert!(!home.folders.data().exists());

    let made = home.access().open(&home.workspace("default"), CREATE).unwrap();
    assert_eq!(made.new_identity_location, Some(IdentityLocation::File));
    put(&made.sqlite, "a", &json!(1));
    drop(made);
    let again = home.access().open(&home.workspace("default"), IfAbsent::Fail).unwrap();
    assert_eq!(again.new_identity_location, None);
    assert_eq!(wait(again.sqlite.sandbox().get("a")).unwrap(), Some(json!(1)));
    let second = home.access().open(&home.workspace("second"), CREATE).unwrap();
    assert_eq!(second.new_identity_location, None);
}

#[test]
fn a_vault_is_deleted_with_its_folder() {
    let home = Home::new(IdentityStorage::File);
    drop(home.open());
    destroy(&home.workspace("default")).unwrap();
    assert!(!home.workspace("default").exists());
    assert_eq!(destroy(&home.workspace("default")).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn fault_046_files_are_private_whatever_the_umask() {
    // The umask is the process's, so this is a process of its own: this test again, under `umask 000`.
    const CHILD: &str = "INTEG_TEST_UMASK";
    if crate::env::var_named(CHILD).is_none() {
        let test = std::env::current_exe().unwrap();
        let script = format!(
            "umask 000; exec '{}' --exact vault::tests::fault_046_files_are_private_whatever_the_umask",
            test.display()
        );
        let output = std::process::Command::new("sh").args(["-c", &script]).env(CHILD, "1").output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
        return;
    }
    let home = Home::new(IdentityStorage::File);
    // The home itself was made by the test's own umask, as no user would have it.
    std::fs::set_permissions(home._folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let store = home.open();
    put(&store, "a", &json!(1));
    for file in ["vault.db", "vault.db-wal", "vault.db-shm", "vault.age", "lock", "sequence"] {
        assert_eq!(mode(&home.file(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&home.folders.identity()), 0o600);
    assert_eq!((mode(&home.workspace("default")), mode(home.folders.data())), (0o700, 0o700));
}

#[test]
fn fault_046_files_that_others_could_touch_are_refused() {
    let home = Home::new(IdentityStorage::File);
    drop(home.open());
    for path in [home.file("vault.db"), home.file("vault.age"), home.folders.identity()] {
        set_mode(&path, 0o644);
        let error = home.failure();
        assert_eq!((error.kind(), error.code()), (Kind::Vault, "unsafe_file"));
        assert_eq!(error.hint().unwrap().to_string(), format!("chmod 600 {}", path.display()));
        set_mode(&path, 0o600);

        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).unwrap();
        std::os::unix::fs::symlink(&aside, &path).unwrap();
        assert!(matches!(home.failure(), VaultError::Symlink(link) if link == path));
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    set_mode(&home.workspace("default"), 0o777);
    assert_eq!(
        home.failure().hint().unwrap().to_string(),
        format!("chmod 700 {}", home.workspace("default").display())
    );
    set_mode(&home.workspace("default"), 0o700);
    drop(home.open());
}

#[test]
fn making_a_vault_that_was_cut_short_is_finished() {
    let home = Home::new(IdentityStorage::File);
    drop(home.open());
    // As if the process had been killed after the key was sealed.
    for file in ["vault.db", "vault.db-wal", "vault.db-shm", "sequence"] {
        let _ = fs::remove_file(home.file(file));
    }
    fs::write(home.file(".vault.db.0123"), "half").unwrap();
    let absent = home.access().open(&home.workspace("default"), IfAbsent::Fail).unwrap_err();
    assert_eq!(absent.kind(), Kind::NotFound);
    put(&home.open(), "a", &json!(1));
    assert!(!home.file(".vault.db.0123").exists());
}

#[test]
fn many_processes_make_one_vault_with_one_identity() {
    let home = Home::new(IdentityStorage::File);
    let made: Vec<Option<IdentityLocation>> = std::thread::scope(|scope| {
        let openings: Vec<_> = (0..64)
            .map(|number: u64| {
                let home = &home;
                scope.spawn(move || {
                    let opened = home.access().open(&home.workspace("default"), CREATE).unwrap();
                    put(&opened.sqlite, &number.to_string(), &json!(number));
                    opened.new_identity_location
                })
            })
            .collect();
        openings.into_iter().map(|opening| opening.join().unwrap()).collect()
    });
    assert_eq!(made.iter().flatten().count(), 1);
    assert_eq!(wait(home.open().sandbox().list("")).unwrap().len(), 64);
}
