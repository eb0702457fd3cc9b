//! Opens and creates vaults.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::agent::Unseal;
use super::postgres_vault::{NewPostgresVault, PostgresLocation, PostgresVaultError, UnlockedPostgresVault};
use super::sealed_key::{Recipient, SealedKey};
use super::vault_files::{FolderContents, LockMode, VaultFiles, VaultState};
use super::{IdentityEnvironment, IdentityLocation, Keyring, PassphraseSource, VaultError};
use crate::clock::Timestamp;
use crate::config::{Folders, VaultConfig};
use crate::files;
use crate::store::{FIRST_KEY, LostWritesPolicy, SqliteStore, Store, StoreError, StoreKey};
use crate::task::blocking;

/// What it takes to get at a user's vaults.
pub struct VaultOpener<'a> {
    pub(super) folders: &'a Folders,
    pub(super) config: &'a VaultConfig,
    pub(super) environment: IdentityEnvironment,
    pub(super) passphrase_source: &'a dyn PassphraseSource,
    pub(super) keyring: Keyring,
}

/// What to do where there is no vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfAbsent {
    Fail,
    Create { now: Timestamp },
}

/// A store, open, and what is to be said of it.
#[derive(Debug)]
pub struct OpenVault {
    pub sqlite: Arc<SqliteStore>,
    /// Where the identity is kept, if this call made it.
    pub new_identity_location: Option<IdentityLocation>,
}

impl OpenVault {
    /// Returns the store, for callers that need not know that it is SQLite.
    pub fn store(&self) -> &dyn Store {
        &*self.sqlite
    }
}

/// A vault that is unlocked.
#[derive(Debug)]
pub enum UnlockedVault {
    /// Its store is a file, which is open.
    File(OpenVault),
    /// Its store is in PostgreSQL and yet to be opened.
    Postgres(Box<UnlockedPostgresVault>),
    /// It is new, and its store is to be created in PostgreSQL.
    NewPostgres(Box<NewPostgresVault>),
}

/// A vault with an available identity.
#[derive(Clone, Debug)]
pub struct Vault {
    pub(super) files: VaultFiles,
    pub(super) identity: Arc<dyn Unseal>,
    pub(super) identity_location: IdentityLocation,
}

/// Opens the vault in `folder`, with what the environment says: [`VaultOpener::open`].
///
/// # Errors
/// [`VaultError`].
pub fn open(
    folders: &Folders,
    folder: &Path,
    config: &VaultConfig,
    ask: &dyn PassphraseSource,
    absent: IfAbsent,
) -> Result<OpenVault, VaultError> {
    VaultOpener::new(folders, config, ask).open(folder, absent)
}

/// Deletes the vault in `folder`, its key first, so that what is left of a store cannot be read. What it keeps in the
/// OS keyring is to be removed before ([`super::TokenVault::remove`]), and nobody, the caller included, may have it
/// open. What a call that was killed has left is deleted by the next one.
///
/// # Errors
/// [`VaultError::ForeignFiles`] if there is anything that integ did not make, and then nothing has been deleted;
/// [`VaultError::Locked`], [`VaultError::Io`].
pub fn destroy(folder: &Path) -> Result<(), VaultError> {
    let layout = VaultFiles::new(folder);
    let lock = layout.lock(LockMode::Exclusive)?.ok_or_else(|| VaultError::NotFound(folder.to_owned()))?;
    for path in std::iter::once(layout.sealed_key_path()).chain(own_files(&layout)?) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(VaultError::at(&path)(error)),
            _ => {}
        }
    }
    let _ = fs::remove_file(layout.outer_sequence_path());
    let _ = fs::remove_dir(layout.locks_folder());
    // Last, so that a process that waits for the lock finds that the folder has another one.
    let _ = fs::remove_file(layout.lock_path());
    fs::remove_dir(folder).map_err(VaultError::at(folder))?;
    drop(lock);
    Ok(())
}

/// Whether [`destroy`] would refuse, to be asked before anything else is deleted.
///
/// # Errors
/// [`VaultError::ForeignFiles`].
pub fn check_destroyable(folder: &Path) -> Result<(), VaultError> {
    own_files(&VaultFiles::new(folder)).map(drop)
}

fn own_files(layout: &VaultFiles) -> Result<Vec<PathBuf>, VaultError> {
    let FolderContents { own, foreign } = layout.contents()?;
    if foreign.is_empty() {
        return Ok(own);
    }
    Err(VaultError::ForeignFiles { folder: layout.folder().to_owned(), names: foreign })
}

impl std::fmt::Debug for VaultOpener<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("folders", self.folders).finish_non_exhaustive()
    }
}

impl<'a> VaultOpener<'a> {
    /// With what the environment says of the identity.
    pub fn new(folders: &'a Folders, config: &'a VaultConfig, ask: &'a dyn PassphraseSource) -> Self {
        let keyring = Keyring::default().with_attended(ask.is_attended());
        Self { folders, config, environment: IdentityEnvironment::from_env(), passphrase_source: ask, keyring }
    }

    /// With another environment or keyring.
    #[must_use]
    pub fn with_environment(self, given: IdentityEnvironment, keyring: Keyring) -> Self {
        Self { environment: given, keyring, ..self }
    }

    /// Returns the OS keyring that may hold the identity.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Opens the vault in `folder`, or makes it. Its store must be a file: see [`Self::unlock_vault`].
    ///
    /// # Errors
    /// [`VaultError::NotFound`] where there is none and none is to be made; [`PostgresVaultError::NotAFile`];
    /// [`VaultError`] where it does not open, and then its files are as they were.
    pub fn open(&self, folder: &Path, absent: IfAbsent) -> Result<OpenVault, VaultError> {
        let layout = VaultFiles::new(folder);
        match (self.unlock_present(&layout)?, absent) {
            (Some(UnlockedVault::File(opened)), _) => Ok(opened),
            (Some(_), _) => Err(PostgresVaultError::NotAFile.into()),
            (None, IfAbsent::Create { now }) => self.create_file(&layout, now),
            (None, IfAbsent::Fail) => Err(VaultError::NotFound(folder.to_owned())),
        }
    }

    /// Unlocks the vault in `folder`, or makes it: in PostgreSQL if [`crate::env::STORE_URL`] says so.
    ///
    /// # Errors
    /// Those of [`Self::open`], but for stores in PostgreSQL.
    pub fn unlock_vault(&self, folder: &Path, absent: IfAbsent) -> Result<UnlockedVault, VaultError> {
        let layout = VaultFiles::new(folder);
        match (self.unlock_present(&layout)?, absent) {
            (Some(unlocked), _) => Ok(unlocked),
            (None, IfAbsent::Create { now }) => match PostgresLocation::from_env() {
                Some(location) => match self.begin_in_postgres(folder, location, now) {
                    Ok(begun) => Ok(UnlockedVault::NewPostgres(Box::new(begun))),
                    // Another process was faster.
                    Err(VaultError::Postgres(PostgresVaultError::Exists(_))) => {
                        self.unlock_vault(folder, IfAbsent::Fail)
                    }
                    Err(error) => Err(error),
                },
                None => Ok(UnlockedVault::File(self.create_file(&layout, now)?)),
            },
            (None, IfAbsent::Fail) => Err(VaultError::NotFound(folder.to_owned())),
        }
    }

    /// Unlocks the vault if there is one.
    fn unlock_present(&self, layout: &VaultFiles) -> Result<Option<UnlockedVault>, VaultError> {
        if let Some(lock) = layout.lock(LockMode::Shared)?
            && layout.state()? == VaultState::Present
        {
            let vault = self.unlock(layout.clone())?;
            if let Some(reference) = vault.files.store_reference()? {
                return Ok(Some(UnlockedVault::Postgres(Box::new(vault.unlock_postgres(reference, lock)))));
            }
            let store = vault.open_store(lock, LostWritesPolicy::Refuse)?;
            return Ok(Some(UnlockedVault::File(OpenVault { sqlite: Arc::new(store), new_identity_location: None })));
        }
        Ok(None)
    }

    /// Makes a vault whose store is a file.
    fn create_file(&self, layout: &VaultFiles, now: Timestamp) -> Result<OpenVault, VaultError> {
        let identity_made = self.create(layout, now)?;
        let lock = layout.lock(LockMode::Shared)?.ok_or_else(|| VaultError::NotFound(layout.folder().to_owned()))?;
        let store = self.unlock(layout.clone())?.open_store(lock, LostWritesPolicy::Refuse)?;
        Ok(OpenVault { sqlite: Arc::new(store), new_identity_location: identity_made })
    }

    /// The vault in `folder`, with its identity and not its store: for what changes keys. Its store is not to be open
    /// in this process when it is replaced.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn open_without_store(&self, folder: &Path) -> Result<Vault, VaultError> {
        let layout = VaultFiles::new(folder);
        let lock = layout.lock(LockMode::Shared)?;
        match lock.map(|_lock| layout.state()).transpose()? {
            Some(VaultState::Present) => self.unlock(layout),
            _ => Err(VaultError::NotFound(folder.to_owned())),
        }
    }

    pub(super) fn unlock(&self, layout: VaultFiles) -> Result<Vault, VaultError> {
        let found = self.unsealer()?;
        let (identity, custody) = found.ok_or_else(|| VaultError::MissingIdentity(self.folders.identity()))?;
        Ok(Vault { files: layout, identity: identity.into(), identity_location: custody })
    }

    /// Makes the vault, unless another process was faster; goes on where one was cut short.
    fn create(&self, layout: &VaultFiles, now: Timestamp) -> Result<Option<IdentityLocation>, VaultError> {
        layout.create()?;
        let lock = layout.lock(LockMode::Exclusive)?;
        let state = layout.state()?;
        if state == VaultState::Present {
            return Ok(None);
        }
        layout.remove_temporary_files();
        let (identity, made) = self.unsealer_or_new(now)?;
        let key = if state == VaultState::Incomplete {
            SealedKey::read(&layout.sealed_key_path(), &*identity)?.key
        } else {
            let seal = SealedKey::new(layout, &*identity, now);
            seal.write(&layout.sealed_key_path())?;
            seal.key
        };
        let store = layout.store_path();
        let temporary = files::temporary_beside(&store);
        SqliteStore::create(&temporary, &key, now)?;
        install_store(layout, &temporary, &key, 0)?;
        drop(lock);
        Ok(made)
    }
}

/// Renames a finished store, durably, and notes how many writes it has.
pub(super) fn install_store(
    layout: &VaultFiles,
    temporary: &Path,
    key: &StoreKey,
    sequence: u64,
) -> Result<(), VaultError> {
    let store = layout.store_path();
    File::open(temporary)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(temporary, &store))
        .and_then(|()| files::sync_folder(layout.folder()))
        .map_err(VaultError::at(&store))?;
    Ok(SqliteStore::record_sequence(&store, key, layout.outer_sequence_path(), sequence)?)
}

impl SealedKey {
    /// A new key, for the identity alone.
    pub(super) fn new(layout: &VaultFiles, identity: &dyn Unseal, now: Timestamp) -> Self {
        let own = Recipient { recipient: identity.recipient(), label: String::new(), added_at: now };
        Self {
            workspace: layout.name(),
            key: StoreKey::random(),
            key_number: FIRST_KEY,
            previous_key: None,
            recipients: vec![own],
        }
    }
}

impl Vault {
    /// The recipient that opened the vault.
    pub fn own_recipient(&self) -> String {
        self.identity.recipient()
    }

    /// Where the identity is kept.
    pub fn identity_location(&self) -> IdentityLocation {
        self.identity_location
    }

    /// Everyone who can open the vault.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn recipients(&self) -> Result<Vec<Recipient>, VaultError> {
        Ok(SealedKey::read(&self.files.sealed_key_path(), &*self.identity)?.recipients)
    }

    /// Lets the holder of another identity open the vault.
    ///
    /// # Errors
    /// [`VaultError::InvalidRecipient`], [`VaultError::DuplicateRecipient`].
    pub fn add_recipient(&self, recipient: &str, label: &str, now: Timestamp) -> Result<(), VaultError> {
        if !super::identity::is_recipient(recipient) {
            return Err(VaultError::invalid_recipient(recipient.to_owned()));
        }
        let _lock = self.files.lock(LockMode::Shared)?;
        SealedKey::update(&self.files.sealed_key_path(), &*self.identity, |seal| {
            if seal.recipients.iter().any(|known| known.recipient == recipient) {
                return Err(VaultError::DuplicateRecipient(recipient.to_owned()));
            }
            let (recipient, label) = (recipient.to_owned(), label.to_owned());
            seal.recipients.push(Recipient { recipient, label, added_at: now });
            Ok(())
        })
    }

    /// Seals the key to one fewer. A recipient that once had the key still has it: [`Self::rekey`] makes it worthless.
    ///
    /// # Errors
    /// [`VaultError::LastRecipient`]; [`VaultError::OwnRecipient`] unless `own` allows it.
    pub fn remove_recipient(&self, recipient: &str, own: SelfRemoval) -> Result<(), VaultError> {
        let _lock = self.files.lock(LockMode::Shared)?;
        SealedKey::update(&self.files.sealed_key_path(), &*self.identity, |seal| {
            let known = seal.recipients.len();
            seal.recipients.retain(|known| known.recipient != recipient);
            if seal.recipients.len() == known {
                return Err(VaultError::RecipientNotFound(recipient.to_owned()));
            }
            if seal.recipients.is_empty() {
                return Err(VaultError::LastRecipient(recipient.to_owned()));
            }
            if recipient == self.identity.recipient() && own == SelfRemoval::Refuse {
                return Err(VaultError::OwnRecipient(recipient.to_owned()));
            }
            Ok(())
        })
    }

    /// Encrypts the store again under a new random key. A file must not be open, in this process either; nodes of a store in
    /// PostgreSQL go on.
    ///
    /// # Errors
    /// [`VaultError::Locked`] for a file that somebody has open; [`PostgresVaultError::UnfinishedRekey`]. The store opens with
    /// what is in `vault.age`, whatever happens.
    pub async fn rekey(self) -> Result<(), VaultError> {
        match self.store_reference().await? {
            Some(reference) => self.rekey_postgres(&reference).await,
            None => blocking(move || self.rekey_file()).await,
        }
    }

    /// Opens the store and reads all of it. `lost` says what to do if a file has lost writes.
    ///
    /// # Errors
    /// [`VaultError`] for the first thing that is not sound.
    pub async fn check(self, lost: LostWritesPolicy) -> Result<(), VaultError> {
        match self.store_reference().await? {
            Some(reference) => Ok(self.open_postgres(&reference).await?.check().await?),
            None => blocking(move || self.check_file(lost)).await,
        }
    }

    /// [`Self::check`] for a file.
    pub(super) fn check_file(&self, lost: LostWritesPolicy) -> Result<(), VaultError> {
        let lock = self.files.lock(LockMode::Shared)?.ok_or_else(|| self.not_found())?;
        Ok(self.open_store(lock, lost)?.check()?)
    }

    /// Opens the store under the lock that is given; it is held as long as the store is open.
    pub(super) fn open_store(&self, lock: File, lost: LostWritesPolicy) -> Result<SqliteStore, VaultError> {
        let mut lock = lock;
        let mut seal = SealedKey::read(&self.files.sealed_key_path(), &*self.identity)?;
        if seal.previous_key.is_some() {
            drop(lock);
            self.try_finish_interrupted(lost)?;
            lock = self.files.lock(LockMode::Shared)?.ok_or_else(|| self.not_found())?;
            seal = SealedKey::read(&self.files.sealed_key_path(), &*self.identity)?;
        }
        let mut store = self.open_with_key(&seal, lost)?.0;
        if let Some(doubt) = store.integrity_warning() {
            tracing::warn!("{doubt}; `integ -w {} vault check --accept` accepts the store as it is", seal.workspace);
        }
        store.attach_lock(lock);
        Ok(store)
    }

    /// Opens the store by the key that fits it.
    pub(super) fn open_with_key(
        &self,
        seal: &SealedKey,
        lost: LostWritesPolicy,
    ) -> Result<(SqliteStore, StoreKey), VaultError> {
        let path = self.files.store_path();
        let open = |key| SqliteStore::open_with_outer_sequence(&path, key, self.files.outer_sequence_path(), lost);
        match (open(&seal.key), &seal.previous_key) {
            (Err(StoreError::WrongKey(_)), Some(previous)) => Ok((open(previous)?, previous.clone())),
            (opened, _) => Ok((opened?, seal.key.clone())),
        }
    }

    pub(super) fn not_found(&self) -> VaultError {
        VaultError::NotFound(self.files.folder().to_owned())
    }
}

/// Whether a user may shut himself out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfRemoval {
    Refuse,
    Allow,
}
