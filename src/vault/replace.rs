//! Replacing a store by one under another key: rekeying, and restoring a backup.
//!
//! The steps, each atomic: the new store is made beside the old one; `vault.age` gets both keys; the new store is put
//! in the old one's place; `vault.age` loses the old key. Whatever step was the last, one of the keys in `vault.age`
//! fits the store in place, and whoever opens it next finishes or takes back the rest.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::VaultError;
use super::access::{Vault, put_in_place};
use super::layout::{Hold, hold_file};
use super::seal::Seal;
use crate::files;
use crate::store::{Key, LostWrites, Store, StoreError};

/// A store that is being replaced. The vault's lock is held alone as long as this lives.
pub(super) struct Replacement<'a> {
    vault: &'a Vault,
    _lock: fs::File,
    seal: Seal,
    pub(super) key: Key,
    pub(super) path: PathBuf,
}

impl Vault {
    /// Encrypts the store anew under a new random key. Nobody, the caller included, may have it open.
    ///
    /// # Errors
    /// [`VaultError::Busy`] where somebody has; the store is then as it was.
    pub fn rekey(&self) -> Result<(), VaultError> {
        let replacement = Replacement::begin(self)?;
        let sequence = replacement.copy()?;
        replacement.seal_both()?;
        replacement.swap(sequence)?;
        replacement.finish()
    }

    /// Ends a replacement that was cut short, unless somebody is using the vault: it can be used as it is, too.
    pub(super) fn settle_if_free(&self, lost: LostWrites) -> Result<(), VaultError> {
        match hold_file(&self.layout.lock(), Hold::Alone, Duration::from_millis(50)) {
            Ok(_lock) => self.settle(lost).map(drop),
            Err(VaultError::Busy(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Leaves in `vault.age` the one key that fits. The lock is held alone.
    fn settle(&self, lost: LostWrites) -> Result<Seal, VaultError> {
        self.layout.sweep();
        let mut seal = Seal::read(&self.layout.seal(), &self.identity)?;
        if seal.previous.is_some() {
            let (store, key) = self.open_by(&seal, lost)?;
            Store::note(&self.layout.store(), &key, self.layout.outer_note(), store.meta()?.sequence)?;
            seal.key = key;
            seal.previous = None;
            seal.write(&self.layout.seal())?;
        }
        Ok(seal)
    }
}

impl Drop for Replacement<'_> {
    /// What was not put in place is of no use; after a kill `Layout::sweep` removes it.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl<'a> Replacement<'a> {
    pub(super) fn begin(vault: &'a Vault) -> Result<Self, VaultError> {
        let lock = vault.layout.hold(Hold::Alone)?.ok_or_else(|| vault.absent())?;
        let seal = vault.settle(LostWrites::Refuse)?;
        let path = files::temporary_beside(&vault.layout.store());
        Ok(Self { vault, _lock: lock, seal, key: Key::random(), path })
    }

    /// The store as it is, which is closed before it is replaced. A newer version's is not: a copy could lack what
    /// this version does not know.
    pub(super) fn old(&self) -> Result<Store, VaultError> {
        let store = self.vault.open_by(&self.seal, LostWrites::Refuse)?.0;
        if store.is_read_only() { Err(StoreError::ReadOnlyNewer.into()) } else { Ok(store) }
    }

    /// Returns how many writes the copy has.
    pub(super) fn copy(&self) -> Result<u64, VaultError> {
        let old = self.old()?;
        let sequence = old.meta()?.sequence;
        old.checkpoint()?;
        old.export(&self.path, &self.key)?;
        old.close()?;
        fs::File::open(&self.path).and_then(|file| file.sync_all()).map_err(VaultError::at(&self.path))?;
        Ok(sequence)
    }

    pub(super) fn seal_both(&self) -> Result<(), VaultError> {
        let previous = Some(self.seal.key.clone());
        let seal = Seal { key: self.key.clone(), previous, ..self.seal.clone() };
        seal.write(&self.vault.layout.seal())
    }

    pub(super) fn swap(&self, sequence: u64) -> Result<(), VaultError> {
        // SQLite would play a log that is left behind into whatever store it finds: none may be.
        let [log, index] = self.vault.layout.logs();
        if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            return Err(StoreError::Check("its log could not be emptied".to_owned()).into());
        }
        for path in [&log, &index] {
            let _ = fs::remove_file(path);
        }
        put_in_place(&self.vault.layout, &self.path, &self.key, sequence)
    }

    pub(super) fn finish(self) -> Result<(), VaultError> {
        let seal = Seal { key: self.key.clone(), previous: None, ..self.seal.clone() };
        seal.write(&self.vault.layout.seal())
    }
}
