//! Another key for a store in PostgreSQL, while nodes use it: see `store::postgres::rekey`.
//!
//! `vault.age` has both keys from before the first value is sealed with the new one until after the last value was sealed with the
//! old one, so that a process that is killed anywhere leaves a store that opens.

use super::VaultError;
use super::opener::Vault;
use super::postgres_vault::{PostgresVaultError, StoreReference};
use super::sealed_key::SealedKey;
use crate::store::{KeyDropResult, PostgresStore, StoreError, StoreKey};
use crate::task::blocking;

impl Vault {
    pub(super) async fn rekey_postgres(self, reference: &StoreReference) -> Result<(), VaultError> {
        let store = self.open_postgres(reference).await?;
        loop {
            // Who had access when an earlier rekeying was cut short may have read its new key: it does not replace this one.
            self.finish_rekey(&store).await?;
            if self.begin_rekey(&store).await? {
                return self.finish_rekey(&store).await;
            }
        }
    }

    /// Writes a new key beside the old one. Returns false if another process has just done so.
    async fn begin_rekey(&self, store: &PostgresStore) -> Result<bool, VaultError> {
        let sealing = store.key_number().await?;
        let vault = self.clone();
        let begin = move || {
            let mut has_begun = false;
            vault.update_sealed_key(|sealed| {
                has_begun = sealed.previous_key.is_none();
                if has_begun {
                    // Another machine has given the workspace another key since this file was copied from it.
                    if sealed.key_number != sealing {
                        return Err(StoreError::UnknownKey(sealing).into());
                    }
                    sealed.previous_key = Some(std::mem::replace(&mut sealed.key, StoreKey::random()));
                    sealed.key_number = sealing.checked_add(1).ok_or(StoreError::KeyNumberTaken(sealing))?;
                }
                Ok(())
            })?;
            Ok(has_begun)
        };
        blocking(begin).await
    }

    /// Seals everything with the newer of two keys, and forgets the older one; does nothing if there is one key.
    pub(super) async fn finish_rekey(&self, store: &PostgresStore) -> Result<(), VaultError> {
        let vault = self.clone();
        let sealed = blocking(move || vault.read_sealed_key()).await?;
        let (Some(_), Some(old)) = (&sealed.previous_key, sealed.key_number.checked_sub(1)) else { return Ok(()) };
        store.add_key(sealed.key_number, &sealed.key).await?;
        store.reseal(|progress| tracing::debug!(table = progress.table, rows = progress.rows, "sealed again")).await?;
        match store.drop_key(old).await? {
            KeyDropResult::Dropped => {}
            KeyDropResult::InUse { rows } => return Err(PostgresVaultError::UnfinishedRekey { rows }.into()),
        }
        let vault = self.clone();
        let forget = move || {
            vault.update_sealed_key(|current| {
                if current.key_number == sealed.key_number {
                    current.previous_key = None;
                }
                Ok(())
            })
        };
        blocking(forget).await
    }

    fn update_sealed_key(
        &self,
        change: impl FnMut(&mut SealedKey) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        SealedKey::update(&self.files.sealed_key_path(), &*self.identity, change)
    }
}
