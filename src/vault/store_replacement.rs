//! Replaces the file of a store by one with another key: for rekeying, and for restoring a backup.
//!
//! The steps, each atomic: the new store is made beside the old one; `vault.age` gets both keys; the new store is put
//! in the old one's place; `vault.age` loses the old key. Whatever step was the last, one of the keys in `vault.age`
//! fits the store in place, and the next process that opens it finishes or reverts the rest.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::VaultError;
use super::opener::{Vault, install_store};
use super::sealed_key::SealedKey;
use super::vault_files::{LockMode, lock_file};
use crate::files;
use crate::store::{LostWritesPolicy, SqliteStore, StoreError, StoreKey};

/// A store that is being replaced. The vault's lock is held alone as long as this lives.
pub(super) struct StoreReplacement<'a> {
    vault: &'a Vault,
    _lock: fs::File,
    seal: SealedKey,
    pub(super) new_key: StoreKey,
    pub(super) new_store: PathBuf,
}

impl Vault {
    /// Encrypts the store again under a new random key. Nobody, the caller included, may have it open.
    ///
    /// # Errors
    /// [`VaultError::Locked`] where somebody has; the store is then as it was.
    pub(super) fn rekey_file(&self) -> Result<(), VaultError> {
        let replacement = StoreReplacement::begin(self)?;
        let sequence = replacement.copy()?;
        replacement.seal_both_keys()?;
        replacement.install(sequence)?;
        replacement.finish()
    }

    /// Ends a replacement that was cut short, unless somebody is using the vault: it can be used as it is, too.
    pub(super) fn try_finish_interrupted(&self, lost: LostWritesPolicy) -> Result<(), VaultError> {
        match lock_file(&self.files.lock_path(), LockMode::Exclusive, Duration::from_millis(50)) {
            Ok(_lock) => self.finish_interrupted(lost).map(drop),
            Err(VaultError::Locked(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Leaves in `vault.age` the one key that fits. The lock is held alone.
    pub(super) fn finish_interrupted(&self, lost: LostWritesPolicy) -> Result<SealedKey, VaultError> {
        self.files.remove_temporary_files();
        let mut seal = SealedKey::read(&self.files.sealed_key_path(), &*self.identity)?;
        if seal.previous_key.is_some() {
            let (store, key) = self.open_with_key(&seal, lost)?;
            SqliteStore::record_sequence(
                &self.files.store_path(),
                &key,
                self.files.outer_sequence_path(),
                store.meta()?.sequence,
            )?;
            seal.key = key;
            seal.previous_key = None;
            seal.write(&self.files.sealed_key_path())?;
        }
        Ok(seal)
    }
}

impl Drop for StoreReplacement<'_> {
    /// What was not put in place is of no use; after a kill `Layout::sweep` removes it.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.new_store);
    }
}

impl<'a> StoreReplacement<'a> {
    pub(super) fn begin(vault: &'a Vault) -> Result<Self, VaultError> {
        let lock = vault.files.lock(LockMode::Exclusive)?.ok_or_else(|| vault.not_found())?;
        let seal = vault.finish_interrupted(LostWritesPolicy::Refuse)?;
        let path = files::temporary_beside(&vault.files.store_path());
        Ok(Self { vault, _lock: lock, seal, new_key: StoreKey::random(), new_store: path })
    }

    /// The store as it is, which is closed before it is replaced. A newer version's is not: a copy could lack what
    /// this version does not know.
    pub(super) fn open_old(&self) -> Result<SqliteStore, VaultError> {
        let store = self.vault.open_with_key(&self.seal, LostWritesPolicy::Refuse)?.0;
        if store.is_read_only() { Err(StoreError::ReadOnlyNewer.into()) } else { Ok(store) }
    }

    /// Returns how many writes the copy has.
    pub(super) fn copy(&self) -> Result<u64, VaultError> {
        let old = self.open_old()?;
        let sequence = old.meta()?.sequence;
        old.checkpoint()?;
        old.export(&self.new_store, &self.new_key)?;
        old.close()?;
        fs::File::open(&self.new_store).and_then(|file| file.sync_all()).map_err(VaultError::at(&self.new_store))?;
        Ok(sequence)
    }

    pub(super) fn seal_both_keys(&self) -> Result<(), VaultError> {
        let previous = Some(self.seal.key.clone());
        let seal = SealedKey { key: self.new_key.clone(), previous_key: previous, ..self.seal.clone() };
        seal.write(&self.vault.files.sealed_key_path())
    }

    pub(super) fn install(&self, sequence: u64) -> Result<(), VaultError> {
        // SQLite would play a log that is left behind into whatever store it finds: none may be.
        let [log, index] = self.vault.files.logs();
        if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            return Err(StoreError::IntegrityCheck("its log could not be emptied".to_owned()).into());
        }
        for path in [&log, &index] {
            let _ = fs::remove_file(path);
        }
        install_store(&self.vault.files, &self.new_store, &self.new_key, sequence)
    }

    pub(super) fn finish(self) -> Result<(), VaultError> {
        let seal = SealedKey { key: self.new_key.clone(), previous_key: None, ..self.seal.clone() };
        seal.write(&self.vault.files.sealed_key_path())
    }
}
