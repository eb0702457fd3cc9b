//! The open store of a workspace, with its backend.

use std::sync::Arc;

use super::RuntimeError;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::{ConnectionId, Grant};
use crate::store::{SqliteStore, Store, StoreDetails};
use crate::task::blocking;
use crate::vault::{BackupKey, IdentityLocation, OpenVault, PostgresVault, UnlockedVault, VaultError, backup};

/// The store of a workspace, with the vault that it is part of.
pub struct OpenStore {
    store: Arc<dyn Store>,
    origin: StoreOrigin,
}

enum StoreOrigin {
    File(OpenVault),
    Postgres(PostgresVault),
    /// The program that runs the engine made it.
    Caller,
}

impl From<OpenVault> for OpenStore {
    fn from(opened: OpenVault) -> Self {
        Self { store: Arc::clone(&opened.sqlite) as Arc<dyn Store>, origin: StoreOrigin::File(opened) }
    }
}

impl From<PostgresVault> for OpenStore {
    fn from(opened: PostgresVault) -> Self {
        Self { store: Arc::new(opened.store.clone()), origin: StoreOrigin::Postgres(opened) }
    }
}

impl From<SqliteStore> for OpenStore {
    fn from(store: SqliteStore) -> Self {
        OpenVault { sqlite: Arc::new(store), new_identity_location: None }.into()
    }
}

impl OpenStore {
    /// Opens the store of a vault.
    ///
    /// # Errors
    /// The vault's.
    pub async fn open(vault: UnlockedVault) -> Result<Self, VaultError> {
        match vault {
            UnlockedVault::File(opened) => Ok(opened.into()),
            UnlockedVault::Postgres(unlocked) => Ok(unlocked.open().await?.into()),
            UnlockedVault::NewPostgres(begun) => Ok(begun.create().await?.into()),
        }
    }

    /// Takes a store that is part of no vault.
    pub(super) fn of_caller(store: Arc<dyn Store>) -> Self {
        Self { store, origin: StoreOrigin::Caller }
    }

    /// Returns the store.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(super) fn shared(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// Returns the store of a vault if it is a file.
    pub(super) fn file_store(&self) -> Option<Arc<SqliteStore>> {
        match &self.origin {
            StoreOrigin::File(opened) => Some(Arc::clone(&opened.sqlite)),
            StoreOrigin::Postgres(_) | StoreOrigin::Caller => None,
        }
    }

    /// Returns where the identity is stored, if opening the vault created it.
    pub fn new_identity_location(&self) -> Option<IdentityLocation> {
        match &self.origin {
            StoreOrigin::File(opened) => opened.new_identity_location,
            StoreOrigin::Postgres(opened) => opened.new_identity_location,
            StoreOrigin::Caller => None,
        }
    }

    /// Returns the backend of the store.
    ///
    /// # Errors
    /// The store's; [`RuntimeError::NoVault`] if it is part of no vault.
    pub async fn details(&self) -> Result<StoreDetails> {
        match &self.origin {
            StoreOrigin::File(opened) => Ok(opened.sqlite.details()?),
            StoreOrigin::Postgres(opened) => Ok(opened.details().await?),
            StoreOrigin::Caller => Err(RuntimeError::NoVault.into()),
        }
    }

    /// Makes a backup of the store. `keyring_grants` are those whose secrets are in the OS keyring, which become part of it.
    ///
    /// # Errors
    /// The vault's; [`RuntimeError::NoVault`] if the store is part of no vault.
    pub(super) async fn back_up(
        &self,
        keyring_grants: Vec<(ConnectionId, u64, Grant)>,
        key: BackupKey,
        now: Timestamp,
    ) -> Result<Vec<u8>> {
        match &self.origin {
            StoreOrigin::File(opened) => {
                let store = Arc::clone(&opened.sqlite);
                Ok(blocking(move || backup(&store, &keyring_grants, &key)).await?)
            }
            StoreOrigin::Postgres(opened) => Ok(Box::pin(opened.back_up(keyring_grants, key, now)).await?),
            StoreOrigin::Caller => Err(RuntimeError::NoVault.into()),
        }
    }

    /// Deletes what a server has of the workspace. Files are deleted with the vault.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete_from_server(self) -> Result<()> {
        match self.origin {
            StoreOrigin::Postgres(opened) => Ok(opened.store.delete().await?),
            _ => Ok(()),
        }
    }

    /// Deletes the workspace from the server if that has it and it is empty, and returns whether it did.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete_from_server_if_empty(self) -> Result<bool> {
        match self.origin {
            StoreOrigin::Postgres(opened) => Ok(opened.store.delete_if_empty().await?),
            _ => Ok(false),
        }
    }
}
