//! The store of a workspace: an SQLite file, encrypted page by page, and all SQL of the program.
//!
//! Invariants:
//! - Callers see domain types, never rusqlite. One file of this module for each aggregate.
//! - A write is one `BEGIN IMMEDIATE` transaction that is durable when the call returns (`synchronous=FULL`), and
//!   raises `meta.sequence` by one; the number is then noted in a file beside the store, under the store's key, so that a
//!   store that lost commits is noticed when it is next opened ([`StoreError::RolledBack`], [`IntegrityWarning`]).
//! - No transaction spans anything but SQL: what a closure does inside one is computing.
//! - A store of a newer version is read, never written.
//!
//! The store knows neither where its key comes from nor whether its file may be trusted: that is `vault`'s.

mod apps;
mod checkpoint;
mod conflicts;
mod connections;
mod endpoints;
mod event_keys;
mod event_types;
mod events;
mod export;
mod grants;
mod hash;
mod id_set;
mod insert_events;
mod jobs;
mod meta;
mod migrations;
mod open;
mod outbox;
mod prune;
mod records;
mod row;
mod sandbox;
mod schedules;
mod schema;
mod sequence;
mod snapshot;
mod streams;
mod subscriptions;
mod sweep;
#[cfg(test)]
mod tests;
mod transitions;
mod webhooks;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

pub use apps::Apps;
pub use checkpoint::Checkpointer;
pub use connections::Connections;
pub use endpoints::Endpoints;
pub use event_types::EventTypes;
pub use events::Events;
pub use grants::{Grants, from_keyring_entry, keyring_entry};
pub use hash::RecordHasher;
pub use jobs::Jobs;
pub use meta::Meta;
pub use open::{LostWritesPolicy, StoreKey};
pub use outbox::Outbox;
pub use records::Records;
pub use sandbox::{Sandbox, state_key};
pub use schedules::Schedules;
pub use sequence::IntegrityWarning;
pub use snapshot::{BackupConnection, BackupContents, Snapshot};
pub use streams::Streams;
pub use subscriptions::Subscriptions;
pub use webhooks::Webhooks;

use super::{MalformedValue, StoreError};
use crate::model::ConnectionTransition;

/// The version of the SQLite underneath.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// An open store. It may be shared between threads; writers of one process take turns, writers of several wait for each
/// other for up to 15 s.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    path: PathBuf,
    key: StoreKey,
    /// The side files that note the sequence number of the last commit.
    sequence_files: sequence::SequenceFiles,
    doubt: Option<IntegrityWarning>,
    vault_id: String,
    read_only: bool,
    transitions: Mutex<Vec<ConnectionTransition>>,
    event_keys: Mutex<event_keys::EventKeys>,
    /// The vault's lock, let go after the connection is closed: fields are dropped in this order.
    lock: Option<File>,
}

impl Store {
    /// Keeps a locked file open for as long as the store is.
    pub fn attach_lock(&mut self, lock: File) {
        self.lock = Some(lock);
    }

    /// Whether a newer version of integ wrote this store: it can be read, and every write fails.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Commits a write that says nothing: whatever would stop a later one stops this.
    ///
    /// # Errors
    /// [`StoreError::ReadOnlyNewer`], [`StoreError::DiskFull`], [`StoreError::ReadOnly`]…
    pub fn ensure_writable(&self) -> Result<(), StoreError> {
        self.write(|_| Ok(()))
    }

    /// What this store is called in the OS keyring.
    pub fn vault_id(&self) -> &str {
        &self.vault_id
    }

    /// Why nobody can say whether the store has lost writes, if so.
    pub fn integrity_warning(&self) -> Option<&IntegrityWarning> {
        self.doubt.as_ref()
    }

    /// The file beside the store at `path` that notes how many writes were committed.
    pub fn sequence_file(path: &Path) -> PathBuf {
        path.with_file_name("sequence")
    }

    pub fn connections(&self) -> Connections<'_> {
        Connections(self)
    }

    pub fn grants(&self) -> Grants<'_> {
        Grants(self)
    }

    pub fn apps(&self) -> Apps<'_> {
        Apps(self)
    }

    pub fn event_types(&self) -> EventTypes<'_> {
        EventTypes(self)
    }

    pub fn subscriptions(&self) -> Subscriptions<'_> {
        Subscriptions(self)
    }

    pub fn webhooks(&self) -> Webhooks<'_> {
        Webhooks(self)
    }

    pub fn events(&self) -> Events<'_> {
        Events(self)
    }

    pub fn endpoints(&self) -> Endpoints<'_> {
        Endpoints(self)
    }

    pub fn outbox(&self) -> Outbox<'_> {
        Outbox(self)
    }

    pub fn streams(&self) -> Streams<'_> {
        Streams(self)
    }

    pub fn records(&self) -> Records<'_> {
        Records(self)
    }

    pub fn jobs(&self) -> Jobs<'_> {
        Jobs(self)
    }

    pub fn schedules(&self) -> Schedules<'_> {
        Schedules(self)
    }

    pub fn sandbox(&self) -> Sandbox<'_> {
        Sandbox(self)
    }

    /// A panic inside a transaction has rolled it back, so a poisoned lock guards nothing that is half done.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before the connection, where both are needed.
    fn event_keys(&self) -> MutexGuard<'_, event_keys::EventKeys> {
        self.event_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        read(&self.connection())
    }

    fn write<T>(&self, write: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnlyNewer);
        }
        let mut connection = self.connection();
        // Whoever wrote also checkpoints when it closes; see `open::verified`.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = write(&transaction)?;
        let sequence = meta::raise_sequence(&transaction)?;
        transaction.commit()?;
        self.sequence_files.note(sequence);
        Ok(value)
    }
}
