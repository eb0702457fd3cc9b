//! Vaults whose store is in PostgreSQL.
//!
//! In the workspace's folder, `store.toml` takes the place of `vault.db`: it names the server, the database and the workspace
//! in it. `vault.age` stays where it is, so that the server never has the key. With copies of the two files another machine
//! opens the same workspace. A `vault.db` beside `store.toml` is what a move that was cut short has left, and is not read.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::opener::Vault;
use super::sealed_key::SealedKey;
use super::vault_files::{LockMode, VaultFiles, VaultState};
use super::{IdentityLocation, VaultError, VaultOpener};
use crate::clock::Timestamp;
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::files::shell_quoted;
use crate::secret::Secret;
use crate::store::{
    KeySource, PostgresServer, PostgresServerError, PostgresStore, Store, StoreDetails, StoreError, WorkspaceKeys,
};
use crate::task::blocking;
use crate::{env, files};

/// More than any `store.toml` or password takes.
const SIZE_LIMIT: u64 = 16 * 1024;

/// An error of a vault whose store is in PostgreSQL, or is to be.
#[derive(Debug, Error)]
pub enum PostgresVaultError {
    #[error("{} already has a vault", .0.display())]
    Exists(PathBuf),
    #[error("cannot read {}", path.display())]
    InvalidStoreFile { path: PathBuf, source: Box<toml::de::Error> },
    #[error("the file {} with the password of the PostgreSQL server is missing", .0.display())]
    MissingPasswordFile(PathBuf),
    #[error("the file {} with the password of the PostgreSQL server is not UTF-8 text", .0.display())]
    InvalidPasswordFile(PathBuf),
    #[error("this command is for workspaces in files, and this one is in PostgreSQL")]
    NotAFile,
    #[error("the workspace is in PostgreSQL already")]
    AlreadyInPostgres,
    #[error("the workspace is in a file already")]
    AlreadyInFile,
    #[error("the workspace was moved from PostgreSQL into a file, and the last step is missing")]
    UnfinishedMove,
    #[error("{rows} rows are still encrypted with the old key, because other programs have them locked")]
    UnfinishedRekey { rows: u64 },
    #[error(transparent)]
    Server(#[from] PostgresServerError),
}

impl Remedy for PostgresVaultError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Exists(_) => Diagnostic::new(Kind::Usage, "workspace_exists").run("integ workspace list"),
            Self::InvalidStoreFile { path, .. } => {
                Diagnostic::new(Kind::Usage, "invalid_store_file").run(format!("cat {}", shell_quoted(path)))
            }
            Self::MissingPasswordFile(path) | Self::InvalidPasswordFile(path) => {
                Diagnostic::new(Kind::Failed, "store_password").run(format!("ls -l {}", shell_quoted(path)))
            }
            Self::AlreadyInPostgres => Diagnostic::new(Kind::Usage, "already_moved").hint(Hint::new(
                "to move it to another server, move it into a file first:",
                "integ vault move --to file",
            )),
            Self::AlreadyInFile => Diagnostic::new(Kind::Usage, "already_moved").run("integ vault status"),
            Self::UnfinishedMove => Diagnostic::new(Kind::Vault, "move_unfinished").run("integ vault move --to file"),
            Self::UnfinishedRekey { .. } => {
                Diagnostic::new(Kind::Temporary, "rekey_unfinished").run("integ vault rekey")
            }
            Self::NotAFile => Diagnostic::new(Kind::Usage, "store_in_postgres").run("integ help postgres"),
            Self::Server(error) => error.diagnostic(),
        }
    }
}

/// Where a PostgreSQL server is, and where its password comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresLocation {
    /// `postgres://USER@HOST/DATABASE`, without a password.
    pub url: String,
    /// The file with the password; without one, [`env::STORE_PASSWORD`] may have it.
    pub password_file: Option<PathBuf>,
}

/// The content of `store.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoreReference {
    pub(super) url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password_file: Option<PathBuf>,
    /// The workspace's id in the database.
    pub(super) workspace: String,
}

/// A vault with a key that is unlocked and a store that is yet to be opened.
#[derive(Debug)]
pub struct UnlockedPostgresVault {
    vault: Vault,
    reference: StoreReference,
    lock: File,
}

/// An open store in PostgreSQL.
#[derive(Debug)]
pub struct PostgresVault {
    pub store: PostgresStore,
    pub location: PostgresLocation,
    /// Where the identity is stored, if opening the vault made it.
    pub new_identity_location: Option<IdentityLocation>,
    /// Shared with other processes, so that none deletes the folder.
    _lock: File,
    pub(super) files: VaultFiles,
}

/// A vault of which the folder and the key exist, and the workspace in the database does not.
#[derive(Debug)]
pub struct NewPostgresVault {
    vault: Vault,
    server: PostgresServer,
    location: PostgresLocation,
    keys: WorkspaceKeys,
    /// Held alone until the vault is complete.
    lock: File,
    now: Timestamp,
    new_identity_location: Option<IdentityLocation>,
}

impl PostgresLocation {
    /// Returns the server on which the environment wants new workspaces, if it names one.
    pub fn from_env() -> Option<Self> {
        Some(Self { url: env::var(&env::STORE_URL)?, password_file: None })
    }

    /// Returns the server.
    ///
    /// # Errors
    /// [`PostgresVaultError`], [`VaultError::Untrusted`] for a
    /// file that others can read.
    pub fn server(&self) -> Result<PostgresServer, VaultError> {
        let password = match &self.password_file {
            Some(path) => Some(read_password(path)?),
            None => env::secret(&env::STORE_PASSWORD),
        };
        Ok(PostgresServer::parse(&self.url, password.as_ref()).map_err(PostgresVaultError::from)?)
    }
}

fn read_password(path: &Path) -> Result<Secret, VaultError> {
    let bytes = files::read_secret(path, SIZE_LIMIT)?
        .ok_or_else(|| PostgresVaultError::MissingPasswordFile(path.to_owned()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| PostgresVaultError::InvalidPasswordFile(path.to_owned()))?;
    Ok(Secret::from(text.trim_end_matches(['\r', '\n'])))
}

impl StoreReference {
    /// Refers to a workspace on a server.
    pub(super) fn new(location: &PostgresLocation, id: &str) -> Self {
        let PostgresLocation { url, password_file } = location.clone();
        Self { url, password_file, workspace: id.to_owned() }
    }

    pub(super) fn location(&self) -> PostgresLocation {
        PostgresLocation { url: self.url.clone(), password_file: self.password_file.clone() }
    }
}

/// Reads a file in TOML of a vault; `None` if there is none.
pub(super) fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, VaultError> {
    let Some(text) = files::read_trusted_text(path, SIZE_LIMIT)? else { return Ok(None) };
    let invalid = |source| PostgresVaultError::InvalidStoreFile { path: path.to_owned(), source: Box::new(source) };
    Ok(Some(toml::from_str(&text).map_err(invalid)?))
}

/// Writes a file in TOML of a vault.
pub(super) fn write_toml(path: &Path, content: &impl Serialize) -> Result<(), VaultError> {
    let text = toml::to_string(content).map_err(|error| VaultError::at(path)(std::io::Error::other(error)))?;
    files::write_atomic(path, text.as_bytes()).map_err(VaultError::at(path))
}

impl VaultFiles {
    /// Returns the content of `store.toml`; `None` if the store is a file.
    pub(super) fn store_reference(&self) -> Result<Option<StoreReference>, VaultError> {
        read_toml(&self.store_file_path())
    }
}

impl Vault {
    /// Returns the content of `store.toml`; `None` if the store is a file.
    pub(super) async fn store_reference(&self) -> Result<Option<StoreReference>, VaultError> {
        let files = self.files.clone();
        blocking(move || files.store_reference()).await
    }

    /// Returns what opens the store that a file refers to, and holds the lock as long as that is open.
    pub(super) fn unlock_postgres(self, reference: StoreReference, lock: File) -> UnlockedPostgresVault {
        UnlockedPostgresVault { vault: self, reference, lock }
    }

    /// Opens the store in PostgreSQL, without holding the vault's lock.
    pub(super) async fn open_postgres(&self, reference: &StoreReference) -> Result<PostgresStore, VaultError> {
        let (vault, location) = (self.clone(), reference.location());
        let read = move || Ok::<_, VaultError>((location.server()?, vault.read_sealed_key()?.keys()));
        let (server, keys) = blocking(read).await?;
        let store = match PostgresStore::open(&server, &reference.workspace, keys).await {
            Err(StoreError::WorkspaceNotFound(_)) if self.has_moved_to_file(reference)? => {
                return Err(PostgresVaultError::UnfinishedMove.into());
            }
            opened => opened?,
        };
        store.set_key_source(self.key_source());
        Ok(store)
    }

    /// Reads the keys again that another process may have changed.
    fn key_source(&self) -> KeySource {
        let vault = self.clone();
        Box::new(move || Some(vault.read_sealed_key().ok()?.keys()))
    }

    pub(super) fn read_sealed_key(&self) -> Result<SealedKey, VaultError> {
        SealedKey::read(&self.files.sealed_key_path(), &*self.identity)
    }
}

impl UnlockedPostgresVault {
    /// Opens the store.
    ///
    /// # Errors
    /// [`VaultError::Store`]: the server cannot be reached, has no such workspace, or has it under another key.
    pub async fn open(self) -> Result<PostgresVault, VaultError> {
        let Self { vault, reference, lock } = self;
        let store = vault.open_postgres(&reference).await?;
        let files = vault.files.clone();
        let lock = vault.clear_move(&store, lock).await?;
        Ok(PostgresVault { store, location: reference.location(), new_identity_location: None, files, _lock: lock })
    }
}

impl PostgresVault {
    /// Returns the backend of the store.
    ///
    /// # Errors
    /// The store's.
    pub async fn details(&self) -> Result<StoreDetails, StoreError> {
        Ok(StoreDetails { url: Some(self.location.url.clone()), ..self.store.details().await? })
    }
}

impl VaultOpener<'_> {
    /// Makes the folder and the key of a vault whose store is to be in PostgreSQL. Blocks.
    ///
    /// # Errors
    /// [`PostgresVaultError::Exists`]; those of [`PostgresLocation::server`]: nothing has been made then.
    pub fn begin_in_postgres(
        &self,
        folder: &Path,
        location: PostgresLocation,
        now: Timestamp,
    ) -> Result<NewPostgresVault, VaultError> {
        let server = location.server()?;
        let files = VaultFiles::new(folder);
        files.create()?;
        let lock = files.lock(LockMode::Exclusive)?.ok_or_else(|| VaultError::NotFound(folder.to_owned()))?;
        if files.state()? == VaultState::Present {
            return Err(PostgresVaultError::Exists(folder.to_owned()).into());
        }
        files.remove_temporary_files();
        let (identity, new_identity_location) = self.unsealer_or_new(now)?;
        // A key that was sealed already is of a creation that was cut short, and protects nothing.
        let sealed = SealedKey::new(&files, &*identity, now);
        sealed.write(&files.sealed_key_path())?;
        let identity_location = new_identity_location.unwrap_or(IdentityLocation::File);
        let vault = Vault { files, identity: identity.into(), identity_location };
        Ok(NewPostgresVault { vault, server, location, keys: sealed.keys(), lock, now, new_identity_location })
    }
}

impl NewPostgresVault {
    /// Creates the workspace in the database, and the file that refers to it. A process that is killed between the two leaves
    /// an empty workspace in the database to which nothing refers.
    ///
    /// # Errors
    /// [`VaultError::Store`]: the folder is then removed again.
    pub async fn create(self) -> Result<PostgresVault, VaultError> {
        let Self { vault, server, location, keys, lock, now, new_identity_location } = self;
        let files = vault.files.clone();
        let store = match PostgresStore::create(&server, &PostgresStore::random_id(), keys, now).await {
            Ok(store) => store,
            Err(error) => {
                blocking(move || files.remove(lock)).await;
                return Err(error.into());
            }
        };
        store.set_key_source(vault.key_source());
        let reference = StoreReference::new(&location, store.id());
        let shared = blocking(move || {
            write_toml(&files.store_file_path(), &reference)?;
            drop(lock);
            files.lock(LockMode::Shared)?.ok_or_else(|| VaultError::NotFound(files.folder().to_owned()))
        });
        let lock = shared.await?;
        Ok(PostgresVault { store, location, new_identity_location, files: vault.files, _lock: lock })
    }
}

/// Whether the store of the vault in `folder` is in PostgreSQL.
pub fn is_in_postgres(folder: &Path) -> bool {
    VaultFiles::new(folder).store_file_path().exists()
}
