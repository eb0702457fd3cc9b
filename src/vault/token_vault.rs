//! The tokens of connections, in the store or in the OS keyring.
//!
//! A new grant is always committed to the store first, whatever its place: from then on it cannot be lost. Where it
//! belongs in the keyring, it is then written there, and only then taken out of the store. An entry names the
//! connection and generation it belongs to, so that an old one is never taken for the present one. A process that is
//! killed between two of these steps leaves the secrets in the store, or in both; the next save or move goes on from
//! there.

use thiserror::Error;

use super::{Keyring, KeyringError, VaultError};
use crate::config::TokenStorage;
use crate::error::{Diagnostic, Kind, Remedy};
use crate::model::{
    Connection, ConnectionId, ConnectionName, ConnectionTransition, Grant, GrantWriteResult, NewConnection,
    SecretStorage, StoredGrant, reconnect_command,
};
use crate::secret::Secret;
use crate::store::{Fence, SqliteStore, Store, StoreError, from_keyring_entry, keyring_entry};
use crate::task::blocking;

/// Keeps the tokens of connections, each where it belongs.
#[derive(Clone, Debug)]
pub struct TokenVault {
    keyring: Keyring,
    /// Where those of new connections belong.
    default_storage: TokenStorage,
}

/// An error of loading or storing the tokens of a connection.
#[derive(Debug, Error)]
pub enum TokenVaultError {
    #[error("cannot read the tokens of {connection} from the OS keyring")]
    Keyring { connection: ConnectionName, source: KeyringError },
    /// It has none, or those of an earlier login.
    #[error("the tokens of {connection} are missing from the OS keyring")]
    MissingTokens { connection: ConnectionName, reconnect: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Remedy for TokenVaultError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Keyring { connection, source } => source.diagnostic().connection(connection),
            Self::MissingTokens { connection, reconnect } => {
                Diagnostic::new(Kind::AuthNeeded, "missing_tokens").run(reconnect).connection(connection)
            }
            Self::Store(error) => error.diagnostic(),
        }
    }
}

/// The grant is safe, in another place than it belongs: in the encrypted store. The next save tries the keyring again.
#[derive(Debug, Error)]
#[error("the OS keyring did not store the tokens of {connection}; they are in the encrypted store instead")]
pub struct KeyringWarning {
    pub connection: ConnectionName,
    pub source: KeyringError,
}

/// A grant with its secrets, and what the store knows of it.
#[derive(Clone, Debug)]
pub struct ConnectionWithGrant {
    pub connection: Connection,
    pub grant: Grant,
    pub stored_grant: StoredGrant,
}

/// A connection that was stored with its grant.
#[derive(Debug)]
#[must_use]
pub struct SavedConnection {
    pub connection: Connection,
    pub transition: Option<ConnectionTransition>,
    pub warning: Option<KeyringWarning>,
}

/// What became of a save.
#[derive(Debug)]
#[must_use]
pub enum GrantSaveResult {
    Saved {
        generation: u64,
        transition: Option<Box<ConnectionTransition>>,
        warning: Option<KeyringWarning>,
    },
    /// Another process has saved a newer grant; this one was not kept.
    Superseded,
}

/// How many connections' tokens were moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenMoveCounts {
    pub moved: usize,
    /// Those that were there already.
    pub already_moved: usize,
}

impl TokenVault {
    /// Creates a vault; `tokens` decides where the secrets of new connections are stored.
    pub fn new(keyring: Keyring, tokens: TokenStorage) -> Self {
        Self { keyring, default_storage: tokens }
    }

    /// Records a connection that was just made, with its grant. One that exists keeps its place.
    ///
    /// # Errors
    /// [`StoreError`]; that the keyring fails is a warning, for the grant is kept.
    pub async fn connect(
        &self,
        store: &dyn Store,
        new: &NewConnection,
        grant: &Grant,
    ) -> Result<SavedConnection, StoreError> {
        let place = match self.default_storage {
            TokenStorage::Store => SecretStorage::Store,
            TokenStorage::Keyring => SecretStorage::Keyring,
        };
        let (connection, transition) = store.connections().connect(new, grant, place).await?;
        let warning = match store.grants().get(connection.id).await? {
            Some(stored) if stored.storage == SecretStorage::Keyring => {
                self.write_to_keyring(store, connection.id, &new.name, stored.generation, grant).await?
            }
            _ => None,
        };
        Ok(SavedConnection { connection, transition, warning })
    }

    /// Saves the grant that replaces the one of `generation`: durable before this does anything else.
    ///
    /// # Errors
    /// [`StoreError`]; that the keyring fails is a warning, for the grant is kept.
    pub async fn save(
        &self,
        store: &dyn Store,
        connection: &Connection,
        generation: u64,
        grant: &Grant,
        fence: Fence,
    ) -> Result<GrantSaveResult, StoreError> {
        let (result, transition) = store.grants().replace(connection.id, generation, grant, fence).await?;
        let GrantWriteResult::Done { generation } = result else { return Ok(GrantSaveResult::Superseded) };
        let place = store.grants().get(connection.id).await?.map(|stored| stored.storage);
        let warning = match place {
            Some(SecretStorage::Keyring) => {
                self.write_to_keyring(store, connection.id, &connection.name, generation, grant).await?
            }
            _ => None,
        };
        Ok(GrantSaveResult::Saved { generation, transition: transition.map(Box::new), warning })
    }

    /// The connection of this name and its grant, with its secrets from wherever they are. Absent where there is no
    /// such connection, or no grant of it.
    ///
    /// # Errors
    /// [`TokenVaultError`].
    pub async fn load(
        &self,
        store: &dyn Store,
        name: &ConnectionName,
    ) -> Result<Option<ConnectionWithGrant>, TokenVaultError> {
        let found = store.connections().find_with_grant(name).await?;
        let (token_vault, store_id) = (self.clone(), store.id().to_owned());
        blocking(move || token_vault.with_secrets(&store_id, found)).await
    }

    /// [`Self::load`] for a caller without a runtime. It blocks.
    ///
    /// # Errors
    /// [`TokenVaultError`].
    pub fn load_blocking(
        &self,
        store: &SqliteStore,
        name: &ConnectionName,
    ) -> Result<Option<ConnectionWithGrant>, TokenVaultError> {
        self.with_secrets(store.id(), store.find_with_grant_blocking(name)?)
    }

    /// Completes what the store returned with the secrets from the keyring, if they are there.
    fn with_secrets(
        &self,
        store_id: &str,
        found: Option<(Connection, Option<StoredGrant>)>,
    ) -> Result<Option<ConnectionWithGrant>, TokenVaultError> {
        let Some((connection, Some(mut stored_grant))) = found else { return Ok(None) };
        let grant = match stored_grant.grant.take() {
            Some(grant) => grant,
            None => self.read_from_keyring(store_id, &connection, &stored_grant)?,
        };
        Ok(Some(ConnectionWithGrant { connection, grant, stored_grant }))
    }

    /// Removes the connection, its keyring entry first. An entry that cannot be deleted now is left and reported.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove(&self, store: &dyn Store, connection: &Connection) -> Result<Option<KeyringError>, StoreError> {
        let left = self.remove_from_keyring(store, connection).await?;
        store.connections().remove(connection.id).await?;
        Ok(left)
    }

    /// Deletes the connection's entry in the OS keyring, if it has one, as far as that is possible.
    ///
    /// # Errors
    /// The store's.
    pub async fn remove_from_keyring(
        &self,
        store: &dyn Store,
        connection: &Connection,
    ) -> Result<Option<KeyringError>, StoreError> {
        let stored = store.grants().get(connection.id).await?;
        Ok(match stored.map(|stored| stored.storage) {
            Some(SecretStorage::Keyring) => self.delete_from_keyring(store, &connection.name).await.err(),
            _ => None,
        })
    }

    /// Renames a connection, with its entry in the keyring. The secrets are in the store before the name changes, so that no
    /// step loses them and no other connection's entry is written over.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`], [`TokenVaultError::Keyring`] where the secrets cannot be read; the name is then the old one.
    pub async fn rename(
        &self,
        store: &dyn Store,
        connection: &Connection,
        name: &ConnectionName,
    ) -> Result<Option<KeyringWarning>, TokenVaultError> {
        let Connection { id, name: old_name, .. } = connection;
        let stored = store.grants().get(*id).await?.filter(|stored| stored.storage == SecretStorage::Keyring);
        let Some(stored) = stored else {
            store.connections().rename(*id, name).await?;
            return Ok(None);
        };
        let grant = match &stored.grant {
            Some(grant) => Some(grant.clone()),
            None => match self.load_from_keyring(store, connection, &stored).await {
                Ok(grant) => Some(grant),
                // There is nothing left to move, and the connection has to be reconnected under either name.
                Err(TokenVaultError::MissingTokens { .. }) => None,
                Err(error) => return Err(error),
            },
        };
        if let Some(grant) = grant.as_ref().filter(|_| stored.grant.is_none()) {
            let _ = store.grants().move_to_store(*id, stored.generation, grant).await?;
        }
        store.connections().rename(*id, name).await?;
        let warning = match &grant {
            Some(grant) => self.write_to_keyring(store, *id, name, stored.generation, grant).await?,
            None => None,
        };
        // An entry that is left behind names a generation that nothing refers to.
        let _ = self.delete_from_keyring(store, old_name).await;
        Ok(warning)
    }

    /// Moves the tokens of every connection: each is copied, then its row is committed, then the original is deleted.
    /// After a failure or a kill every token is in one place or in both, and moving again finishes it.
    ///
    /// # Errors
    /// [`TokenVaultError`] of the first that cannot be moved.
    pub async fn move_tokens(&self, store: &dyn Store, to: TokenStorage) -> Result<TokenMoveCounts, TokenVaultError> {
        if to == TokenStorage::Keyring {
            store.grants().mark_all_in_keyring().await?;
        }
        let mut moved = TokenMoveCounts::default();
        for (connection, stored) in store.grants().list().await? {
            let step = match to {
                TokenStorage::Keyring => self.move_to_keyring(store, &connection, stored).await?,
                TokenStorage::Store => self.move_to_store(store, &connection, &stored).await?,
            };
            match step {
                TokenMoveStep::Moved => moved.moved += 1,
                TokenMoveStep::AlreadyMoved => moved.already_moved += 1,
            }
        }
        Ok(moved)
    }

    /// Returns the grants whose secrets are in the keyring, for a backup.
    ///
    /// # Errors
    /// [`VaultError::Keyring`], [`VaultError::Store`].
    pub async fn keyring_grants(&self, store: &dyn Store) -> Result<Vec<(ConnectionId, u64, Grant)>, VaultError> {
        let mut grants = Vec::new();
        for (connection, stored) in
            store.grants().list().await?.into_iter().filter(|(_, stored)| stored.grant.is_none())
        {
            let key = (connection.id, stored.generation);
            match self.load_from_keyring(store, &connection, &stored).await {
                Ok(grant) => grants.push((key.0, key.1, grant)),
                // Nothing is left to back up; `integ status` says so of the connection.
                Err(TokenVaultError::MissingTokens { .. }) => {}
                Err(TokenVaultError::Keyring { source, .. }) => return Err(source.into()),
                Err(TokenVaultError::Store(error)) => return Err(error.into()),
            }
        }
        Ok(grants)
    }

    async fn move_to_keyring(
        &self,
        store: &dyn Store,
        connection: &Connection,
        stored: StoredGrant,
    ) -> Result<TokenMoveStep, TokenVaultError> {
        let Some(grant) = stored.grant else { return Ok(TokenMoveStep::AlreadyMoved) };
        match self.write_to_keyring(store, connection.id, &connection.name, stored.generation, &grant).await? {
            Some(KeyringWarning { connection, source }) => Err(TokenVaultError::Keyring { connection, source }),
            None => Ok(TokenMoveStep::Moved),
        }
    }

    async fn move_to_store(
        &self,
        store: &dyn Store,
        connection: &Connection,
        stored: &StoredGrant,
    ) -> Result<TokenMoveStep, TokenVaultError> {
        let Connection { id, name, .. } = connection;
        if stored.storage == SecretStorage::Store {
            return Ok(TokenMoveStep::AlreadyMoved);
        }
        if stored.grant.is_none() {
            let grant = self.load_from_keyring(store, connection, stored).await?;
            if store.grants().move_to_store(*id, stored.generation, &grant).await? == GrantWriteResult::Superseded {
                // A refresh has just saved a newer grant, which is in the store or on its way to the keyring.
                return Ok(TokenMoveStep::AlreadyMoved);
            }
        }
        let deleted = self.delete_from_keyring(store, name).await;
        deleted.map_err(|source| TokenVaultError::Keyring { connection: name.clone(), source })?;
        store.grants().clear_in_keyring(*id).await?;
        Ok(TokenMoveStep::Moved)
    }

    /// Writes the entry of a grant that the store holds, and takes it out of the store.
    async fn write_to_keyring(
        &self,
        store: &dyn Store,
        id: ConnectionId,
        name: &ConnectionName,
        generation: u64,
        grant: &Grant,
    ) -> Result<Option<KeyringWarning>, StoreError> {
        let entry: Secret = keyring_entry(id, generation, grant)?;
        let (keyring, entry_name, label) =
            (self.keyring.clone(), entry_name(store.id(), name), format!("integ: {name}"));
        if let Err(source) = blocking(move || keyring.set(&entry_name, &entry, &label)).await {
            return Ok(Some(KeyringWarning { connection: name.clone(), source }));
        }
        // Where a newer grant was saved meanwhile, that one is in the store and on its own way here.
        let _ = store.grants().move_to_keyring(id, generation).await?;
        Ok(None)
    }

    async fn delete_from_keyring(&self, store: &dyn Store, name: &ConnectionName) -> Result<(), KeyringError> {
        let (keyring, entry_name) = (self.keyring.clone(), entry_name(store.id(), name));
        blocking(move || keyring.delete(&entry_name)).await
    }

    async fn load_from_keyring(
        &self,
        store: &dyn Store,
        connection: &Connection,
        stored: &StoredGrant,
    ) -> Result<Grant, TokenVaultError> {
        let (token_vault, store_id) = (self.clone(), store.id().to_owned());
        let (connection, stored) = (connection.clone(), stored.clone());
        blocking(move || token_vault.read_from_keyring(&store_id, &connection, &stored)).await
    }

    fn read_from_keyring(
        &self,
        store_id: &str,
        connection: &Connection,
        stored: &StoredGrant,
    ) -> Result<Grant, TokenVaultError> {
        let name = &connection.name;
        let lost = || TokenVaultError::MissingTokens {
            connection: name.clone(),
            reconnect: reconnect_command(&connection.name),
        };
        let entry = match self.keyring.get(&entry_name(store_id, name)) {
            Ok(entry) => entry,
            Err(KeyringError::EntryNotFound(_)) => return Err(lost()),
            Err(source) => return Err(TokenVaultError::Keyring { connection: name.clone(), source }),
        };
        from_keyring_entry(stored, connection.id, entry.expose())?.ok_or_else(lost)
    }
}

/// What a move found of one connection.
enum TokenMoveStep {
    Moved,
    AlreadyMoved,
}

/// The entry's user in the keyring; its service is `integ`.
fn entry_name(store_id: &str, name: &ConnectionName) -> String {
    format!("{store_id}/{name}")
}
