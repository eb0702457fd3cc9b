//! Where the tokens of connections are kept: in the store, or in the OS keyring.
//!
//! A new grant is always committed to the store first, whatever its place: from then on it cannot be lost. Where it
//! belongs in the keyring, it is then written there, and only then taken out of the store. An entry names the
//! connection and generation it belongs to, so that an old one is never taken for the present one. A process that is
//! killed between two of these steps leaves the secrets in the store, or in both; the next save or move goes on from
//! there.

use thiserror::Error;

use super::{Keyring, KeyringError, VaultError};
use crate::config::TokenCustody;
use crate::error::{Diagnostic, Kind, Remedy};
use crate::model::{Connection, ConnectionId, ConnectionName, Grant, reconnect_command};
use crate::secret::Secret;
use crate::store::{NewConnection, Place, Store, StoreError, StoredGrant, Written, keyring_entry, with_entry};

/// Keeps the tokens of connections, each where it belongs.
#[derive(Clone, Debug)]
pub struct Custodian {
    keyring: Keyring,
    /// Where those of new connections belong.
    tokens: TokenCustody,
}

#[derive(Debug, Error)]
pub enum CustodyError {
    #[error("the OS keyring does not give the tokens of {connection}")]
    Keyring { connection: ConnectionName, source: KeyringError },
    /// It has none, or those of an earlier login.
    #[error("the tokens of {connection} are gone from the OS keyring")]
    Lost { connection: ConnectionName, reconnect: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Remedy for CustodyError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Keyring { connection, source } => source.diagnostic().connection(connection),
            Self::Lost { connection, reconnect } => {
                Diagnostic::new(Kind::AuthNeeded, "token_lost").run(reconnect).connection(connection)
            }
            Self::Store(error) => error.diagnostic(),
        }
    }
}

/// The grant is safe, in another place than it belongs: in the encrypted store. The next save tries the keyring again.
#[derive(Debug, Error)]
#[error("the OS keyring did not take the tokens of {connection}; they are in the encrypted store")]
pub struct Warning {
    pub connection: ConnectionName,
    pub source: KeyringError,
}

/// A grant with its secrets, and what the store knows of it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub connection: Connection,
    pub grant: Grant,
    pub stored: StoredGrant,
}

/// What became of a save.
#[derive(Debug)]
#[must_use]
pub enum Saved {
    Renewed {
        generation: u64,
        warning: Option<Warning>,
    },
    /// Another process has saved a newer grant; this one was not kept.
    Superseded,
}

/// How many connections' tokens were moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub moved: usize,
    /// Those that were there already.
    pub there: usize,
}

impl Custodian {
    pub fn new(keyring: Keyring, tokens: TokenCustody) -> Self {
        Self { keyring, tokens }
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
    ) -> Result<(Connection, Option<Warning>), StoreError> {
        let place = match self.tokens {
            TokenCustody::Store => Place::Store,
            TokenCustody::Keyring => Place::Keyring,
        };
        let connection = store.connections().connect(new, grant, place)?;
        let warning = match store.grants().get(connection.id)? {
            Some(stored) if stored.place == Place::Keyring => {
                self.entrust(store, connection.id, &new.name, stored.generation, grant)?
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
    ) -> Result<Saved, StoreError> {
        let Written::Done { generation } = store.grants().renew(connection.id, generation, grant)? else {
            return Ok(Saved::Superseded);
        };
        let place = store.grants().get(connection.id)?.map(|stored| stored.place);
        let warning = match place {
            Some(Place::Keyring) => self.entrust(store, connection.id, &connection.name, generation, grant)?,
            _ => None,
        };
        Ok(Saved::Renewed { generation, warning })
    }

    /// The connection of this name and its grant, with its secrets from wherever they are. Absent where there is no
    /// such connection, or no grant of it.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn load(&self, store: &Store, name: &ConnectionName) -> Result<Option<Loaded>, CustodyError> {
        let Some((connection, Some(mut stored))) = store.connections().find_with_grant(name)? else {
            return Ok(None);
        };
        let grant = match stored.grant.take() {
            Some(grant) => grant,
            None => self.fetch(store, connection.id, name, &stored)?,
        };
        Ok(Some(Loaded { connection, grant, stored }))
    }

    /// Removes the connection, its keyring entry first. An entry that cannot be deleted now is left and reported.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget(&self, store: &Store, connection: &Connection) -> Result<Option<KeyringError>, StoreError> {
        let stored = store.grants().get(connection.id)?;
        let left = match stored.map(|stored| stored.place) {
            Some(Place::Keyring) => self.keyring.delete(&entry_name(store, &connection.name)).err(),
            _ => None,
        };
        store.connections().remove(connection.id)?;
        Ok(left)
    }

    /// Moves the tokens of every connection: each is copied, then its row is committed, then the original is deleted.
    /// After a failure or a kill every token is in one place or in both, and moving again finishes it.
    ///
    /// # Errors
    /// [`CustodyError`] of the first that cannot be moved.
    pub fn move_tokens(&self, store: &Store, to: TokenCustody) -> Result<Moved, CustodyError> {
        if to == TokenCustody::Keyring {
            store.grants().expect_entries()?;
        }
        let mut moved = Moved::default();
        for (id, name, mut stored) in store.grants().list()? {
            let step = match to {
                TokenCustody::Keyring => self.move_to_keyring(store, id, &name, &mut stored)?,
                TokenCustody::Store => self.move_to_store(store, id, &name, &mut stored)?,
            };
            match step {
                Step::Moved => moved.moved += 1,
                Step::There => moved.there += 1,
            }
        }
        Ok(moved)
    }

    /// The grants whose secrets are in the keyring, for a backup.
    pub(super) fn entrusted(&self, store: &Store) -> Result<Vec<(ConnectionId, u64, Grant)>, VaultError> {
        let mut entrusted = Vec::new();
        for (id, name, stored) in store.grants().list()? {
            if stored.grant.is_none() {
                match self.fetch(store, id, &name, &stored) {
                    Ok(grant) => entrusted.push((id, stored.generation, grant)),
                    // Nothing is left to back up; `integ status` says so of the connection.
                    Err(CustodyError::Lost { .. }) => {}
                    Err(CustodyError::Keyring { source, .. }) => return Err(source.into()),
                    Err(CustodyError::Store(error)) => return Err(error.into()),
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
    ) -> Result<Step, CustodyError> {
        let Some(grant) = stored.grant.take() else { return Ok(Step::There) };
        match self.entrust(store, id, name, stored.generation, &grant)? {
            Some(Warning { connection, source }) => Err(CustodyError::Keyring { connection, source }),
            None => Ok(Step::Moved),
        }
    }

    fn move_to_store(
        &self,
        store: &Store,
        id: ConnectionId,
        name: &ConnectionName,
        stored: &mut StoredGrant,
    ) -> Result<Step, CustodyError> {
        if stored.place == Place::Store {
            return Ok(Step::There);
        }
        if stored.grant.is_none() {
            let grant = self.fetch(store, id, name, stored)?;
            if store.grants().take_back(id, stored.generation, &grant)? == Written::Superseded {
                // A refresh has just saved a newer grant, which is in the store or on its way to the keyring.
                return Ok(Step::There);
            }
        }
        let deleted = self.keyring.delete(&entry_name(store, name));
        deleted.map_err(|source| CustodyError::Keyring { connection: name.clone(), source })?;
        store.grants().forget_entry(id)?;
        Ok(Step::Moved)
    }

    /// Writes the entry of a grant that the store holds, and takes it out of the store.
    fn entrust(
        &self,
        store: &Store,
        id: ConnectionId,
        name: &ConnectionName,
        generation: u64,
        grant: &Grant,
    ) -> Result<Option<Warning>, StoreError> {
        let entry: Secret = keyring_entry(id, generation, grant)?;
        if let Err(source) = self.keyring.set(&entry_name(store, name), &entry, &format!("integ: {name}")) {
            return Ok(Some(Warning { connection: name.clone(), source }));
        }
        // Where a newer grant was saved meanwhile, that one is in the store and on its own way here.
        let _ = store.grants().entrust(id, generation)?;
        Ok(None)
    }

    fn fetch(
        &self,
        store: &Store,
        id: ConnectionId,
        name: &ConnectionName,
        stored: &StoredGrant,
    ) -> Result<Grant, CustodyError> {
        let lost = || {
            let known = store.connections().find(name).ok().flatten();
            let reconnect = known.map_or_else(|| "integ status".to_owned(), |known| reconnect_command(&known));
            CustodyError::Lost { connection: name.clone(), reconnect }
        };
        let entry = match self.keyring.get(&entry_name(store, name)) {
            Ok(entry) => entry,
            Err(KeyringError::Absent(_)) => return Err(lost()),
            Err(source) => return Err(CustodyError::Keyring { connection: name.clone(), source }),
        };
        with_entry(stored, id, entry.expose())?.ok_or_else(lost)
    }
}

/// What a move found of one connection.
enum Step {
    Moved,
    There,
}

/// The entry's user in the keyring; its service is `integ`.
fn entry_name(store: &Store, name: &ConnectionName) -> String {
    format!("{}/{name}", store.vault_id())
}
