//! Where the tokens of connections are kept: in the store, or in the OS keyring.
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
use crate::model::{Connection, ConnectionId, ConnectionName, Grant, reconnect_command};
use crate::secret::Secret;
use crate::store::{
    GrantWriteResult, NewConnection, SecretStorage, Store, StoreError, StoredGrant, from_keyring_entry, keyring_entry,
};

/// Keeps the tokens of connections, each where it belongs.
#[derive(Clone, Debug)]
pub struct TokenVault {
    keyring: Keyring,
    /// Where those of new connections belong.
    default_storage: TokenStorage,
}

#[derive(Debug, Error)]
pub enum TokenVaultError {
    #[error("the OS keyring does not give the tokens of {connection}")]
    Keyring { connection: ConnectionName, source: KeyringError },
    /// It has none, or those of an earlier login.
    #[error("the tokens of {connection} are gone from the OS keyring")]
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
#[error("the OS keyring did not take the tokens of {connection}; they are in the encrypted store")]
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

/// What became of a save.
#[derive(Debug)]
#[must_use]
pub enum GrantSaveResult {
    Saved {
        generation: u64,
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
    pub fn new(keyring: Keyring, tokens: TokenStorage) -> Self {
        Self { keyring, default_storage: tokens }
    }

    /// Records a connection that was just made, with its grant. One that exists keeps its place.
    ///
    /// # Errors
    /// [`StoreError`]; that the keyring fails is a warning, for the grant is kept.
    pub fn connect(
        &self,
        store: &Store,
        new: &NewConnection,
        grant: &Grant,
    ) -> Result<(Connection, Option<KeyringWarning>), StoreError> {
        let place = match self.default_storage {
            TokenStorage::Store => SecretStorage::Store,
            TokenStorage::Keyring => SecretStorage::Keyring,
        };
        let connection = store.connections().connect(new, grant, place)?;
        let warning = match store.grants().get(connection.id)? {
            Some(stored) if stored.storage == SecretStorage::Keyring => {
                self.write_to_keyring(store, connection.id, &new.name, stored.generation, grant)?
            }
            _ => None,
        };
        Ok((connection, warning))
    }

    /// Saves the grant that replaces the one of `generation`: durable before this does anything else.
    ///
    /// # Errors
    /// [`StoreError`]; that the keyring fails is a warning, for the grant is kept.
    pub fn save(
        &self,
        store: &Store,
        connection: &Connection,
        generation: u64,
        grant: &Grant,
    ) -> Result<GrantSaveResult, StoreError> {
        let GrantWriteResult::Done { generation } = store.grants().replace(connection.id, generation, grant)? else {
            return Ok(GrantSaveResult::Superseded);
        };
        let place = store.grants().get(connection.id)?.map(|stored| stored.storage);
        let warning = match place {
            Some(SecretStorage::Keyring) => {
                self.write_to_keyring(store, connection.id, &connection.name, generation, grant)?
            }
            _ => None,
        };
        Ok(GrantSaveResult::Saved { generation, warning })
    }

    /// The connection of this name and its grant, with its secrets from wherever they are. Absent where there is no
    /// such connection, or no grant of it.
    ///
    /// # Errors
    /// [`TokenVaultError`].
    pub fn load(&self, store: &Store, name: &ConnectionName) -> Result<Option<ConnectionWithGrant>, TokenVaultError> {
        let Some((connection, Some(mut stored))) = store.connections().find_with_grant(name)? else {
            return Ok(None);
        };
        let grant = match stored.grant.take() {
            Some(grant) => grant,
            None => self.read_from_keyring(store, connection.id, name, &stored)?,
        };
        Ok(Some(ConnectionWithGrant { connection, grant, stored_grant: stored }))
    }

    /// Removes the connection, its keyring entry first. An entry that cannot be deleted now is left and reported.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove(&self, store: &Store, connection: &Connection) -> Result<Option<KeyringError>, StoreError> {
        let stored = store.grants().get(connection.id)?;
        let left = match stored.map(|stored| stored.storage) {
            Some(SecretStorage::Keyring) => self.keyring.delete(&entry_name(store, &connection.name)).err(),
            _ => None,
        };
        store.connections().remove(connection.id)?;
        Ok(left)
    }

    /// Moves the tokens of every connection: each is copied, then its row is committed, then the original is deleted.
    /// After a failure or a kill every token is in one place or in both, and moving again finishes it.
    ///
    /// # Errors
    /// [`TokenVaultError`] of the first that cannot be moved.
    pub fn move_tokens(&self, store: &Store, to: TokenStorage) -> Result<TokenMoveCounts, TokenVaultError> {
        if to == TokenStorage::Keyring {
            store.grants().mark_all_in_keyring()?;
        }
        let mut moved = TokenMoveCounts::default();
        for (id, name, mut stored) in store.grants().list()? {
            let step = match to {
                TokenStorage::Keyring => self.move_to_keyring(store, id, &name, &mut stored)?,
                TokenStorage::Store => self.move_to_store(store, id, &name, &mut stored)?,
            };
            match step {
                TokenMoveStep::Moved => moved.moved += 1,
                TokenMoveStep::AlreadyMoved => moved.already_moved += 1,
            }
        }
        Ok(moved)
    }

    /// The grants whose secrets are in the keyring, for a backup.
    pub(super) fn keyring_grants(&self, store: &Store) -> Result<Vec<(ConnectionId, u64, Grant)>, VaultError> {
        let mut entrusted = Vec::new();
        for (id, name, stored) in store.grants().list()? {
            if stored.grant.is_none() {
                match self.read_from_keyring(store, id, &name, &stored) {
                    Ok(grant) => entrusted.push((id, stored.generation, grant)),
                    // Nothing is left to back up; `integ status` says so of the connection.
                    Err(TokenVaultError::MissingTokens { .. }) => {}
                    Err(TokenVaultError::Keyring { source, .. }) => return Err(source.into()),
                    Err(TokenVaultError::Store(error)) => return Err(error.into()),
                }
            }
        }
        Ok(entrusted)
    }

    fn move_to_keyring(
        &self,
        store: &Store,
        id: ConnectionId,
        name: &ConnectionName,
        stored: &mut StoredGrant,
    ) -> Result<TokenMoveStep, TokenVaultError> {
        let Some(grant) = stored.grant.take() else { return Ok(TokenMoveStep::AlreadyMoved) };
        match self.write_to_keyring(store, id, name, stored.generation, &grant)? {
            Some(KeyringWarning { connection, source }) => Err(TokenVaultError::Keyring { connection, source }),
            None => Ok(TokenMoveStep::Moved),
        }
    }

    fn move_to_store(
        &self,
        store: &Store,
        id: ConnectionId,
        name: &ConnectionName,
        stored: &mut StoredGrant,
    ) -> Result<TokenMoveStep, TokenVaultError> {
        if stored.storage == SecretStorage::Store {
            return Ok(TokenMoveStep::AlreadyMoved);
        }
        if stored.grant.is_none() {
            let grant = self.read_from_keyring(store, id, name, stored)?;
            if store.grants().move_to_store(id, stored.generation, &grant)? == GrantWriteResult::Superseded {
                // A refresh has just saved a newer grant, which is in the store or on its way to the keyring.
                return Ok(TokenMoveStep::AlreadyMoved);
            }
        }
        let deleted = self.keyring.delete(&entry_name(store, name));
        deleted.map_err(|source| TokenVaultError::Keyring { connection: name.clone(), source })?;
        store.grants().clear_in_keyring(id)?;
        Ok(TokenMoveStep::Moved)
    }

    /// Writes the entry of a grant that the store holds, and takes it out of the store.
    fn write_to_keyring(
        &self,
        store: &Store,
        id: ConnectionId,
        name: &ConnectionName,
        generation: u64,
        grant: &Grant,
    ) -> Result<Option<KeyringWarning>, StoreError> {
        let entry: Secret = keyring_entry(id, generation, grant)?;
        if let Err(source) = self.keyring.set(&entry_name(store, name), &entry, &format!("integ: {name}")) {
            return Ok(Some(KeyringWarning { connection: name.clone(), source }));
        }
        // Where a newer grant was saved meanwhile, that one is in the store and on its own way here.
        let _ = store.grants().move_to_keyring(id, generation)?;
        Ok(None)
    }

    fn read_from_keyring(
        &self,
        store: &Store,
        id: ConnectionId,
        name: &ConnectionName,
        stored: &StoredGrant,
    ) -> Result<Grant, TokenVaultError> {
        let lost = || {
            let known = store.connections().find(name).ok().flatten();
            let reconnect = known.map_or_else(|| "integ status".to_owned(), |known| reconnect_command(&known));
            TokenVaultError::MissingTokens { connection: name.clone(), reconnect }
        };
        let entry = match self.keyring.get(&entry_name(store, name)) {
            Ok(entry) => entry,
            Err(KeyringError::EntryNotFound(_)) => return Err(lost()),
            Err(source) => return Err(TokenVaultError::Keyring { connection: name.clone(), source }),
        };
        from_keyring_entry(stored, id, entry.expose())?.ok_or_else(lost)
    }
}

/// What a move found of one connection.
enum TokenMoveStep {
    Moved,
    AlreadyMoved,
}

/// The entry's user in the keyring; its service is `integ`.
fn entry_name(store: &Store, name: &ConnectionName) -> String {
    format!("{}/{name}", store.vault_id())
}
