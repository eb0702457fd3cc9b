//! Moves the store of a workspace from its file into PostgreSQL, and back.
//!
//! The vault's lock is held alone, so that no process of this machine uses the workspace. The note `moving.toml` names the
//! workspace in PostgreSQL, so that a move that was cut short goes on where it was.
//!
//! ```text
//! into PostgreSQL                                   into a file
//! the tokens leave the OS keyring                   no other machine can write from now on
//! moving.toml, and a new workspace on the server    moving.db, a new store
//! all rows are copied and compared                  all rows are copied and compared
//! store.toml is written: the move is made           moving.toml; moving.db becomes vault.db
//! vault.db is deleted, then moving.toml             the workspace is deleted on the server: the move is made
//!                                                   store.toml is deleted, then moving.toml
//! ```
//!
//! While there is `store.toml`, `vault.db` is not read. A process that is killed therefore leaves one store in force: before the
//! move is made the source, and afterwards the target.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::opener::{Vault, install_store};
use super::postgres_vault::{PostgresLocation, PostgresVaultError, StoreReference, read_toml, write_toml};
use super::sealed_key::SealedKey;
use super::vault_files::{LockMode, VaultFiles, lock_file};
use super::{LostWritesPolicy, TokenVault, VaultError};
use crate::clock::Timestamp;
use crate::config::TokenStorage;
use crate::store::{
    PostgresStore, SqliteStore, Store, StoreError, StoreKey, TransferProgress, TransferStore, copy_workspace,
};
use crate::task::blocking;

/// Where a workspace is to be stored.
#[derive(Clone, Debug)]
pub enum MoveTarget {
    /// In its folder.
    File,
    Postgres(PostgresLocation),
}

/// A move that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreMoveResult {
    /// The number of rows that both stores had, which were equal; absent if an earlier call had copied and compared them.
    pub rows: Option<u64>,
    /// The connections whose tokens were in the OS keyring, and are in the store now.
    pub tokens_from_keyring: usize,
}

/// The content of `moving.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct MoveNote {
    to: Destination,
    postgres: StoreReference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Destination {
    File,
    Postgres,
}

/// How long a command waits for the lock to remove what a move has left, which does no harm until the next one.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_millis(50);

impl VaultFiles {
    fn move_note(&self) -> Result<Option<MoveNote>, VaultError> {
        read_toml(&self.move_note_path())
    }

    /// Removes the file of a store that was moved into PostgreSQL.
    fn remove_source(&self) -> Result<(), VaultError> {
        let [log, index] = self.logs();
        for path in [self.store_path(), log, index, self.sequence_path(), self.outer_sequence_path()] {
            remove(&path)?;
        }
        // Last, for it says that the rest may be removed.
        remove(&self.move_note_path())
    }

    /// Removes the reference to a workspace that was moved into the file.
    fn leave_server(&self) -> Result<(), VaultError> {
        remove(&self.store_file_path())?;
        remove(&self.move_note_path())
    }
}

fn remove(path: &Path) -> Result<(), VaultError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(VaultError::at(path)(error)),
        _ => Ok(()),
    }
}

impl Vault {
    /// Moves the store. Nobody, the caller included, may have it open.
    ///
    /// # Errors
    /// [`VaultError::Locked`] and [`StoreError::InUse`] if it is in use; [`PostgresVaultError::AlreadyInPostgres`] and
    /// [`PostgresVaultError::AlreadyInFile`]; those of both stores. The workspace is then where it was, and another call goes on.
    pub async fn move_store(
        self,
        target: MoveTarget,
        tokens: &TokenVault,
        now: Timestamp,
    ) -> crate::error::Result<StoreMoveResult> {
        let files = self.files.clone();
        let locked = blocking(move || {
            let lock =
                files.lock(LockMode::Exclusive)?.ok_or_else(|| VaultError::NotFound(files.folder().to_owned()))?;
            Ok::<_, VaultError>((lock, files.store_reference()?, files.move_note()?))
        });
        let (_lock, reference, note) = locked.await?;
        match (target, reference) {
            (MoveTarget::Postgres(location), None) => self.move_to_postgres(location, note, tokens, now).await,
            (MoveTarget::File, Some(reference)) => self.move_to_file(reference, now).await,
            (MoveTarget::Postgres(_), Some(_)) => Err(VaultError::from(PostgresVaultError::AlreadyInPostgres).into()),
            (MoveTarget::File, None) => {
                if note.is_some_and(|note| note.to == Destination::File) {
                    // The very last step of an earlier move is missing.
                    blocking(move || self.files.leave_server()).await?;
                }
                Err(VaultError::from(PostgresVaultError::AlreadyInFile).into())
            }
        }
    }

    async fn move_to_postgres(
        self,
        location: PostgresLocation,
        note: Option<MoveNote>,
        tokens: &TokenVault,
        now: Timestamp,
    ) -> crate::error::Result<StoreMoveResult> {
        let vault = self.clone();
        let open = move || {
            let sealed = vault.finish_interrupted(LostWritesPolicy::Refuse)?;
            let source = vault.open_with_key(&sealed, LostWritesPolicy::Refuse)?.0;
            // A newer version's could have what this one does not know.
            if source.is_read_only() {
                Err(StoreError::ReadOnlyNewer.into())
            } else {
                Ok::<_, VaultError>((source, sealed))
            }
        };
        let (source, sealed) = blocking(open).await?;
        let moved = tokens.move_tokens(&source, TokenStorage::Store).await?;
        let is_same = |note: &MoveNote| note.to == Destination::Postgres && note.postgres.location() == location;
        let begun = match note.filter(is_same) {
            Some(note) => self.open_postgres(&note.postgres).await.map(Some).or_else(|error| match error {
                // It was deleted, or the file has got another key since.
                VaultError::Store(StoreError::WorkspaceNotFound(_) | StoreError::Unsealable { .. }) => Ok(None),
                error => Err(error),
            })?,
            None => None,
        };
        let (target, rows) = match begun {
            Some(target) => match copy(&source, &target).await {
                // The file was written to after the earlier move was cut short.
                Err(StoreError::TransferDiffers { .. }) => {
                    target.delete().await?;
                    self.copy_to_server(&source, &sealed, &location, now).await?
                }
                rows => (StoreReference::new(&location, target.id()), rows?),
            },
            None => self.copy_to_server(&source, &sealed, &location, now).await?,
        };
        let files = self.files.clone();
        let finish = move || {
            drop(source);
            write_toml(&files.store_file_path(), &target)?;
            files.remove_source()
        };
        blocking(finish).await?;
        Ok(StoreMoveResult { rows: Some(rows), tokens_from_keyring: moved.moved })
    }

    /// Copies the store into a new workspace on a server. Returns what refers to it, and the number of rows.
    async fn copy_to_server(
        &self,
        source: &SqliteStore,
        sealed: &SealedKey,
        location: &PostgresLocation,
        now: Timestamp,
    ) -> crate::error::Result<(StoreReference, u64)> {
        let server = location.clone();
        let server = blocking(move || server.server()).await?;
        let id = PostgresStore::random_id();
        let reference = StoreReference::new(location, &id);
        // Before the workspace, so that none is left that nobody knows.
        self.note_move(Destination::Postgres, &reference).await?;
        let target = PostgresStore::create(&server, &id, sealed.keys(), now).await?;
        Ok((reference, copy(source, &target).await?))
    }

    async fn note_move(&self, to: Destination, reference: &StoreReference) -> Result<(), VaultError> {
        let (path, note) = (self.files.move_note_path(), MoveNote { to, postgres: reference.clone() });
        blocking(move || write_toml(&path, &note)).await
    }

    async fn move_to_file(self, reference: StoreReference, now: Timestamp) -> crate::error::Result<StoreMoveResult> {
        let files = self.files.clone();
        let source = match self.open_postgres(&reference).await {
            // Of an earlier move only the last step is missing.
            Err(VaultError::Postgres(PostgresVaultError::UnfinishedMove)) => {
                blocking(move || files.leave_server()).await?;
                return Ok(StoreMoveResult { rows: None, tokens_from_keyring: 0 });
            }
            opened => opened?,
        };
        self.finish_rekey(&source).await?;
        let frozen = source.freeze().await?;
        let vault = self.clone();
        let key = blocking(move || vault.read_sealed_key()).await?.key;
        let path = files.copy_path();
        let rows = match copy_to_file(&source, &path, &key, now).await {
            // An earlier move was cut short, and the workspace was written to since.
            Err(VaultError::Store(StoreError::TransferDiffers { .. })) => {
                let outdated = path.clone();
                blocking(move || remove_store(&outdated)).await?;
                copy_to_file(&source, &path, &key, now).await?
            }
            rows => rows?,
        };
        let older = files.clone();
        // Before the note, which says that the file is complete.
        blocking(move || older.remove_source()).await?;
        self.note_move(Destination::File, &reference).await?;
        let placed = files.clone();
        let place = move || {
            let store = SqliteStore::open_unplaced(&path, &key)?;
            let sequence = store.meta()?.sequence;
            store.close()?;
            install_store(&placed, &path, &key, sequence)
        };
        blocking(place).await?;
        frozen.delete().await?;
        blocking(move || files.leave_server()).await?;
        Ok(StoreMoveResult { rows: Some(rows), tokens_from_keyring: 0 })
    }

    /// Whether the workspace was moved into the file, and only the reference to the server is left to be removed.
    pub(super) fn has_moved_to_file(&self, reference: &StoreReference) -> Result<bool, VaultError> {
        let note = self.files.move_note()?;
        let is_noted = note.is_some_and(|note| note.to == Destination::File && note.postgres == *reference);
        Ok(is_noted && self.files.store_path().exists())
    }

    /// Removes what an earlier move has left, of a vault whose store is in PostgreSQL and open. Returns the shared lock.
    pub(super) async fn clear_move(&self, store: &PostgresStore, lock: File) -> Result<File, VaultError> {
        let files = self.files.clone();
        let note = blocking(move || files.move_note()).await?;
        let vault = self.clone();
        match note.map(|note| note.to) {
            None => Ok(lock),
            Some(Destination::File) => {
                match store.ensure_writable().await {
                    // The move was not made; what is in the file grows old. A process that moves has the lock alone.
                    Ok(()) => blocking(move || remove(&vault.files.move_note_path())).await?,
                    Err(StoreError::WorkspaceNotFound(_)) => return Err(PostgresVaultError::UnfinishedMove.into()),
                    // The process was killed while it committed the deletion, and the server has not decided yet.
                    Err(_) => {}
                }
                Ok(lock)
            }
            Some(Destination::Postgres) => {
                let clear = move || {
                    drop(lock);
                    match lock_file(&vault.files.lock_path(), LockMode::Exclusive, CLEAN_UP_TIMEOUT) {
                        Ok(_alone) => vault.files.remove_source()?,
                        Err(VaultError::Locked(_)) => {}
                        Err(error) => return Err(error),
                    }
                    vault.files.lock(LockMode::Shared)?.ok_or_else(|| vault.not_found())
                };
                blocking(clear).await
            }
        }
    }
}

/// Copies a store into a workspace on a server. Returns the number of rows.
pub(super) async fn copy(source: &SqliteStore, target: &PostgresStore) -> Result<u64, StoreError> {
    copy_rows(TransferStore::Sqlite(source), TransferStore::Postgres(target)).await
}

/// Copies a workspace into a new file, or the rest of it into one that has a part. Returns the number of rows.
pub(super) async fn copy_to_file(
    source: &PostgresStore,
    path: &Path,
    key: &StoreKey,
    now: Timestamp,
) -> Result<u64, VaultError> {
    let (path, key) = (path.to_owned(), key.clone());
    let open = move || {
        if let Ok(store) = SqliteStore::open_unplaced(&path, &key) {
            return Ok(store);
        }
        // It is missing, or only half of a store.
        remove_store(&path)?;
        SqliteStore::create(&path, &key, now)?;
        Ok::<_, VaultError>(SqliteStore::open_unplaced(&path, &key)?)
    };
    let target = blocking(open).await?;
    let rows = copy_rows(TransferStore::Postgres(source), TransferStore::Sqlite(&target)).await?;
    blocking(move || target.close()).await?;
    Ok(rows)
}

async fn copy_rows(source: TransferStore<'_>, target: TransferStore<'_>) -> Result<u64, StoreError> {
    let progress = |progress| match progress {
        TransferProgress::Copied { table, rows } => tracing::info!(table, rows, "copied"),
        TransferProgress::Verified { table, rows } => tracing::info!(table, rows, "compared"),
    };
    let summaries = copy_workspace(&mut source.reader().await?, target, progress).await?;
    Ok(summaries.iter().map(|summary| summary.rows).sum())
}

/// Removes the file of a store that is not in its place, with its log.
pub(super) fn remove_store(path: &Path) -> Result<(), VaultError> {
    ["", "-wal", "-shm", "-journal"].iter().try_for_each(|end| {
        let mut name = path.to_owned().into_os_string();
        name.push(end);
        remove(Path::new(&name))
    })
}
