//! Backups: the store as a plain SQLite file inside an age file, which `age -d` and `sqlite3` open.
//!
//! What is in the clear is in memory only, on the way out and on the way in. A backup that comes in is untrusted input:
//! see `store::Snapshot`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::agent::Unseal;
use super::identity::{self, DecryptFailure, Identity};
use super::opener::install_store;
use super::postgres_vault::{StoreReference, write_toml};
use super::sealed_key::SealedKey;
use super::store_move::{copy, copy_to_file, remove_store};
use super::store_replacement::StoreReplacement;
use super::vault_files::{LockMode, VaultFiles, VaultState};
use super::{IdentityLocation, PassphrasePrompt, PostgresVault, Vault, VaultError, VaultOpener, passphrase};
use crate::clock::Timestamp;
use crate::files;
use crate::model::{ConnectionId, Grant};
use crate::secret::Secret;
use crate::store::{BackupContents, PostgresStore, Snapshot, SqliteStore, Store, StoreKey};
use crate::task::blocking;

/// A backup is held in memory, twice; a larger one is a matter for `age` and `sqlite3`.
const SIZE_LIMIT: u64 = 1 << 30;

/// What stands for standard input or output where a file is named.
pub const STANDARD_STREAM: &str = "-";

/// Who can open a backup.
#[derive(Clone, Debug)]
pub enum BackupKey {
    /// Age recipients, `age1…`.
    Recipients(Vec<String>),
    Passphrase(Secret),
}

/// Makes a backup of the store. `keyring_grants` are those whose secrets are in the OS keyring
/// ([`TokenVault::keyring_grants`](super::TokenVault::keyring_grants)), which become part of it. It blocks.
///
/// # Errors
/// [`VaultError::InvalidRecipient`], [`VaultError::Store`].
pub fn backup(
    store: &SqliteStore,
    keyring_grants: &[(ConnectionId, u64, Grant)],
    key: &BackupKey,
) -> Result<Vec<u8>, VaultError> {
    let snapshot = store.snapshot(keyring_grants)?;
    match key {
        BackupKey::Recipients(recipients) if recipients.is_empty() => Err(VaultError::InvalidRecipient(String::new())),
        BackupKey::Recipients(recipients) => {
            identity::encrypt(&snapshot, recipients.iter().map(String::as_str)).map_err(VaultError::invalid_recipient)
        }
        BackupKey::Passphrase(passphrase) if passphrase.is_empty() => Err(VaultError::EmptyPassphrase),
        BackupKey::Passphrase(passphrase) => Ok(identity::encrypt_with_passphrase(&snapshot, passphrase)),
    }
}

/// The file of a store that is only for a moment. Its key is nowhere stored, and the file is deleted with this.
#[derive(Debug)]
struct TemporaryStore {
    path: PathBuf,
    key: StoreKey,
}

impl TemporaryStore {
    fn new(files: &VaultFiles) -> Self {
        Self { path: files::temporary_beside(&files.store_path()), key: StoreKey::random() }
    }

    fn open(&self) -> Result<SqliteStore, VaultError> {
        Ok(SqliteStore::open_unplaced(&self.path, &self.key)?)
    }
}

impl Drop for TemporaryStore {
    fn drop(&mut self) {
        let _ = remove_store(&self.path);
    }
}

impl PostgresVault {
    /// Makes a backup of the store, as [`backup`] does of a file.
    ///
    /// # Errors
    /// Those of [`backup`].
    pub async fn back_up(
        &self,
        keyring_grants: Vec<(ConnectionId, u64, Grant)>,
        key: BackupKey,
        now: Timestamp,
    ) -> Result<Vec<u8>, VaultError> {
        let copy = TemporaryStore::new(&self.files);
        copy_to_file(&self.store, &copy.path, &copy.key, now).await?;
        blocking(move || backup(&copy.open()?, &keyring_grants, &key)).await
    }
}

/// What to do with a file that is in the way of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    Refuse,
    Allow,
}

/// Looks whether a file can be written at `path`, before anything is prompted for.
///
/// # Errors
/// [`VaultError::OutputExists`], [`VaultError::NotAFile`], [`VaultError::FolderNotFound`].
pub fn check_output(path: &Path, overwrite: Overwrite) -> Result<(), VaultError> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(VaultError::FolderNotFound(folder.to_owned()));
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(VaultError::at(path)(error)),
        // A device or a link would be replaced, not written to.
        Ok(metadata) if !metadata.is_file() => Err(VaultError::NotAFile(path.to_owned())),
        Ok(_) if overwrite == Overwrite::Refuse => Err(VaultError::OutputExists(path.to_owned())),
        Ok(_) => Ok(()),
    }
}

/// Writes a file of mode 0600. No folder is made for it.
///
/// # Errors
/// Those of [`check_output`], and [`VaultError::Io`].
pub fn write_output(path: &Path, contents: &[u8], overwrite: Overwrite) -> Result<(), VaultError> {
    check_output(path, overwrite)?;
    if overwrite == Overwrite::Allow {
        return files::write_atomic(path, contents).map_err(VaultError::at(path));
    }
    // Created here, so that a file which appeared meanwhile is left alone.
    let mut file = files::create_private(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => VaultError::OutputExists(path.to_owned()),
        _ => VaultError::at(path)(error),
    })?;
    io::Write::write_all(&mut file, contents).and_then(|()| file.sync_all()).map_err(|error| {
        let _ = fs::remove_file(path);
        VaultError::at(path)(error)
    })
}

/// A backup that was opened and checked, and has not been restored.
#[derive(Debug)]
pub struct OpenedBackup {
    snapshot: Snapshot,
    contents: BackupContents,
    /// What opened it, unless a passphrase did.
    identity: Option<(Identity, IdentityLocation)>,
}

/// A backup that was restored.
#[derive(Debug)]
pub struct RestoreResult {
    pub contents: BackupContents,
    /// Where the identity is kept, if this call made it.
    pub new_identity_location: Option<IdentityLocation>,
    /// Where the identity is kept that the workspace is now sealed to.
    pub identity_location: IdentityLocation,
}

/// A backup that is being restored.
#[derive(Debug)]
pub enum Restore {
    /// Into a file, which is done.
    File(RestoreResult),
    /// Into PostgreSQL, which is yet to be done.
    Postgres(Box<PostgresRestore>),
}

/// A backup that was checked and is to be copied into PostgreSQL.
#[derive(Debug)]
pub struct PostgresRestore {
    vault: Vault,
    reference: StoreReference,
    restored: TemporaryStore,
    result: RestoreResult,
    now: Timestamp,
    /// Held alone.
    _lock: File,
}

impl PostgresRestore {
    /// Copies the backup into a new workspace of the database, which then takes the place of the empty one. A process that is
    /// killed before leaves a part of it on the server, encrypted, to which nothing refers.
    ///
    /// # Errors
    /// [`VaultError::WorkspaceNotEmpty`], and those of the store: nothing has changed then.
    pub async fn finish(self) -> Result<RestoreResult, VaultError> {
        let Self { vault, reference, restored, result, now, _lock } = self;
        let old = vault.open_postgres(&reference).await?;
        if !old.is_empty().await? {
            return Err(VaultError::WorkspaceNotEmpty);
        }
        let (location, sealed) = (reference.location(), vault.clone());
        let read = move || Ok::<_, VaultError>((location.server()?, sealed.read_sealed_key()?.keys(), restored));
        let (server, keys, restored) = blocking(read).await?;
        let new = PostgresStore::create(&server, &PostgresStore::random_id(), keys, now).await?;
        let source = blocking(move || Ok::<_, VaultError>((restored.open()?, restored))).await?;
        if let Err(error) = copy(&source.0, &new).await {
            new.delete().await?;
            return Err(error.into());
        }
        let (path, reference) = (vault.files.store_file_path(), StoreReference::new(&reference.location(), new.id()));
        blocking(move || write_toml(&path, &reference)).await?;
        if let Err(error) = old.delete().await {
            tracing::warn!(%error, "the empty workspace before the backup is still on the server");
        }
        Ok(result)
    }
}

impl OpenedBackup {
    /// What restoring it would bring.
    pub fn contents(&self) -> &BackupContents {
        &self.contents
    }

    fn new(snapshot: Snapshot, identity: Option<(Identity, IdentityLocation)>) -> Result<Self, VaultError> {
        Ok(Self { contents: snapshot.contents()?, snapshot, identity })
    }
}

impl VaultOpener<'_> {
    /// Opens the backup at `path`, or on standard input for `-`, and checks all of it. Nothing is changed.
    ///
    /// # Errors
    /// [`VaultError::InvalidBackup`], [`VaultError::BackupNeedsIdentity`], [`VaultError::WrongPassphrase`], and those
    /// of the store.
    pub fn open_backup(&self, path: &Path) -> Result<OpenedBackup, VaultError> {
        let sealed = read(path)?;
        let unreadable = |why| VaultError::InvalidBackup { path: path.to_owned(), reason: why };
        if identity::is_passphrase_encrypted(&sealed) {
            let passphrase = passphrase::read_passphrase(
                self.passphrase_command(),
                self.passphrase_source,
                PassphrasePrompt::OpenBackup,
            )?;
            let snapshot =
                identity::decrypt_with_passphrase(&sealed, &passphrase).map_err(|unopened| match unopened {
                    DecryptFailure::WrongKey => VaultError::WrongPassphrase(path.to_owned()),
                    other => unreadable(other.why()),
                })?;
            return OpenedBackup::new(Snapshot::read(&snapshot)?, None);
        }
        let needed = || VaultError::BackupNeedsIdentity(path.to_owned());
        let (identity, custody) = self.identity()?.ok_or_else(needed)?;
        let snapshot = identity::decrypt(&sealed, &identity).map_err(|unopened| unreadable(unopened.why()))?;
        OpenedBackup::new(Snapshot::read(&snapshot)?, Some((identity, custody)))
    }

    /// Restores a backup into the workspace of `folder`, which is new or empty. Its grants are marked as restored, for
    /// the vendors may have replaced them since.
    ///
    /// # Errors
    /// [`VaultError::WorkspaceNotEmpty`], and those of the store: nothing has changed then.
    pub fn restore(&self, folder: &Path, backup: OpenedBackup, now: Timestamp) -> Result<Restore, VaultError> {
        let layout = VaultFiles::new(folder);
        let lock = layout.lock(LockMode::Shared)?;
        let present = lock.is_some() && layout.state()? == VaultState::Present;
        drop(lock);
        let OpenedBackup { snapshot, identity, .. } = backup;
        let (identity, custody, identity_made): (Box<dyn Unseal>, _, _) = match identity {
            Some((identity, custody)) => (Box::new(identity), custody, None),
            None => match self.unsealer()? {
                Some((identity, custody)) => (identity, custody, None),
                None => {
                    let (identity, made) = self.unsealer_or_new(now)?;
                    (identity, made.unwrap_or(IdentityLocation::File), made)
                }
            },
        };
        if present {
            let vault = Vault { files: layout, identity: identity.into(), identity_location: custody };
            let result =
                |contents| RestoreResult { contents, new_identity_location: identity_made, identity_location: custody };
            let Some(reference) = vault.files.store_reference()? else {
                return Ok(Restore::File(result(vault.restore_over(&snapshot, now)?)));
            };
            let lock = vault.files.lock(LockMode::Exclusive)?.ok_or_else(|| vault.not_found())?;
            let restored = TemporaryStore::new(&vault.files);
            let result = result(snapshot.restore(&restored.path, &restored.key, 0, now)?.0);
            return Ok(Restore::Postgres(Box::new(PostgresRestore {
                vault,
                reference,
                restored,
                result,
                now,
                _lock: lock,
            })));
        }
        let seal = SealedKey::new(&layout, &*identity, now);
        layout.create()?;
        let _lock = layout.lock(LockMode::Exclusive)?;
        if layout.state()? == VaultState::Present {
            return Err(VaultError::WorkspaceNotEmpty);
        }
        layout.remove_temporary_files();
        let temporary = files::temporary_beside(&layout.store_path());
        let (restored, sequence) = snapshot.restore(&temporary, &seal.key, 0, now).inspect_err(|_| {
            layout.remove_temporary_files();
            let _ = fs::remove_file(layout.lock_path());
            let _ = fs::remove_dir(folder);
        })?;
        seal.write(&layout.sealed_key_path())?;
        install_store(&layout, &temporary, &seal.key, sequence)?;
        let (new_identity_location, identity_location) = (identity_made, custody);
        Ok(Restore::File(RestoreResult { contents: restored, new_identity_location, identity_location }))
    }
}

impl Vault {
    fn restore_over(&self, snapshot: &Snapshot, now: Timestamp) -> Result<BackupContents, VaultError> {
        let replacement = StoreReplacement::begin(self)?;
        let old = replacement.open_old()?;
        if !old.is_empty()? {
            return Err(VaultError::WorkspaceNotEmpty);
        }
        let sequence = old.meta()?.sequence;
        let (restored, sequence) = snapshot.restore(&replacement.new_store, &replacement.new_key, sequence, now)?;
        old.close()?;
        replacement.seal_both_keys()?;
        replacement.install(sequence)?;
        replacement.finish()?;
        Ok(restored)
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let mut sealed = Zeroizing::new(Vec::new());
    let source: Box<dyn Read> = match path.to_str() {
        Some(STANDARD_STREAM) => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(path).map_err(VaultError::at(path))?),
    };
    source.take(SIZE_LIMIT + 1).read_to_end(&mut sealed).map_err(VaultError::at(path))?;
    let unreadable = |why| VaultError::InvalidBackup { path: PathBuf::from(path), reason: why };
    if sealed.len() as u64 > SIZE_LIMIT {
        return Err(unreadable("it is larger than 1 GiB"));
    }
    if !identity::is_age_file(&sealed) {
        return Err(unreadable("it is not an age file"));
    }
    Ok(sealed)
}
