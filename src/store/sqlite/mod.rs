//! The store of a workspace: an SQLite file, encrypted page by page, and all SQL of the program.
//!
//! Invariants:
//! - Callers see domain types, never rusqlite. One file of this module for each aggregate.
//! - One thread writes ([`writer`]), several connections read ([`readers`]), and no caller's thread does either, but for
//!   [`SqliteStore::find_with_grant_blocking`] and the vault's own work on whole stores.
//! - A commit is one `BEGIN IMMEDIATE` transaction that is durable before its writers are answered (`synchronous=FULL`),
//!   and raises `meta.sequence` by one; the number is then noted in a file beside the store, under the store's key, so that
//!   a store that lost commits is noticed when it is next opened ([`StoreError::RolledBack`], [`IntegrityWarning`]).
//! - No transaction spans anything but SQL: what a write does inside one is computing.
//! - A store of a newer version is read, never written.
//!
//! The store knows neither where its key comes from nor whether its file may be trusted: that is `vault`'s.

mod alerts;
mod api_token_trusts;
mod api_tokens;
mod api_usage;
mod approvals;
mod apps;
mod audit;
mod bindings;
mod conflicts;
mod connect_links;
mod connections;
mod consents;
mod endpoints;
mod entity_states;
mod event_creations;
mod event_keys;
mod event_types;
mod events;
mod export;
mod figures;
mod grants;
mod health_checks;
mod id_set;
mod idempotency;
mod insert_events;
mod installed_connectors;
mod jobs;
mod links;
mod locks;
mod meta;
mod migrations;
mod open;
mod operators;
mod outbox;
mod prune;
mod queue;
mod reader_threads;
mod readers;
mod records;
mod row;
mod sandbox;
mod schedules;
mod schema;
mod sequence;
mod sign_ins;
mod snapshot;
mod streams;
mod subscriptions;
mod sweep;
#[cfg(test)]
mod tests;
mod transfer;
mod transitions;
mod users;
mod webhooks;
mod writer;

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use rusqlite::{Connection, Transaction};

pub use grants::{from_keyring_entry, keyring_entry};
pub(in crate::store) use grants::{grant_from_text, secrets_text};
pub(in crate::store) use id_set::{pack, unpack};
pub use meta::Meta;
pub use open::{LostWritesPolicy, StoreKey};
pub use sequence::IntegrityWarning;
pub use snapshot::{BackupConnection, BackupContents, Snapshot};
pub use transfer::SqliteReader;

use self::readers::Readers;
use self::writer::{WriteContext, Writer};
use super::{
    Alerts, ApiTokenTrusts, ApiTokens, Approvals, Apps, AuditLog, Bindings, ConnectLinks, Connections, Consents,
    Endpoints, EntityStates, EventCreations, EventTypes, Events, Figures, Grants, HealthChecks, IdempotencyKeys,
    InstalledConnectors, Jobs, Links, Locks, MalformedValue, Operators, Outbox, PendingAudit, Records, Sandbox,
    Schedules, SignIns, Store, StoreError, Streams, Subscriptions, Users, Webhooks,
};
use crate::model::ApiTokenId;

/// The version of the SQLite underneath.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// An open store. Writers of several processes wait for each other for up to 15 s.
#[derive(Debug)]
pub struct SqliteStore {
    file: open::StoreFile,
    readers: Arc<Readers>,
    writer: Writer,
    warning: Option<IntegrityWarning>,
    vault_id: String,
    /// Names this process in the rows of its locks.
    holder: String,
    is_read_only: bool,
    /// The API tokens whose last request was over their limit.
    limited: Mutex<HashSet<ApiTokenId>>,
    /// The audit entries that the next write takes along.
    pending: OnceLock<Arc<PendingAudit>>,
    /// The vault's lock, let go after the connections are closed.
    lock: Option<File>,
}

impl SqliteStore {
    /// Keeps a locked file open for as long as the store is.
    pub fn attach_lock(&mut self, lock: File) {
        self.lock = Some(lock);
    }

    /// Whether a newer version of integ wrote this store: it can be read, and every write fails.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Returns why it is unknown whether the store has lost writes, if so.
    pub fn integrity_warning(&self) -> Option<&IntegrityWarning> {
        self.warning.as_ref()
    }

    /// Returns the file beside the store at `path` that notes how many writes were committed.
    pub fn sequence_file(path: &Path) -> PathBuf {
        path.with_file_name("sequence")
    }

    /// Reads on a thread for blocking work.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.read(read).await
    }

    /// Reads on this thread, for callers without a runtime.
    fn read_blocking<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.readers.read_blocking(read)
    }

    /// Makes a write in the next commit. `write` only computes, and may run twice.
    async fn write<T: Send + 'static>(
        &self,
        write: impl Fn(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_with_keys(move |context| write(context.transaction)).await
    }

    /// [`Self::write`], with the keys of events.
    async fn write_with_keys<T: Send + 'static>(
        &self,
        write: impl Fn(&mut WriteContext<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.is_read_only {
            return Err(StoreError::ReadOnlyNewer);
        }
        let Some((pending, records)) =
            self.pending.get().and_then(|pending| Some((pending, pending.take_for_write()?)))
        else {
            return self.writer.write(write).await;
        };
        let audited = move |context: &mut WriteContext<'_>| {
            audit::append(context.transaction, &records)?;
            write(context)
        };
        let written = self.writer.write(audited).await;
        if written.is_err() {
            pending.put_back();
        }
        written
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.readers.stop();
        self.writer.close();
        self.readers.close();
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn id(&self) -> &str {
        &self.vault_id
    }

    fn connections(&self) -> &dyn Connections {
        self
    }

    fn alerts(&self) -> &dyn Alerts {
        self
    }

    fn health_checks(&self) -> &dyn HealthChecks {
        self
    }

    fn grants(&self) -> &dyn Grants {
        self
    }

    fn apps(&self) -> &dyn Apps {
        self
    }

    fn sign_ins(&self) -> &dyn SignIns {
        self
    }

    fn connect_links(&self) -> &dyn ConnectLinks {
        self
    }

    fn installed_connectors(&self) -> &dyn InstalledConnectors {
        self
    }

    fn webhooks(&self) -> &dyn Webhooks {
        self
    }

    fn subscriptions(&self) -> &dyn Subscriptions {
        self
    }

    fn events(&self) -> &dyn Events {
        self
    }

    fn endpoints(&self) -> &dyn Endpoints {
        self
    }

    fn event_types(&self) -> &dyn EventTypes {
        self
    }

    fn outbox(&self) -> &dyn Outbox {
        self
    }

    fn api_tokens(&self) -> &dyn ApiTokens {
        self
    }

    fn api_token_trusts(&self) -> &dyn ApiTokenTrusts {
        self
    }

    fn approvals(&self) -> &dyn Approvals {
        self
    }

    fn operators(&self) -> &dyn Operators {
        self
    }

    fn bindings(&self) -> &dyn Bindings {
        self
    }

    fn entity_states(&self) -> &dyn EntityStates {
        self
    }

    fn links(&self) -> &dyn Links {
        self
    }

    fn event_creations(&self) -> &dyn EventCreations {
        self
    }

    fn idempotency_keys(&self) -> &dyn IdempotencyKeys {
        self
    }

    fn streams(&self) -> &dyn Streams {
        self
    }

    fn records(&self) -> &dyn Records {
        self
    }

    fn jobs(&self) -> &dyn Jobs {
        self
    }

    fn schedules(&self) -> &dyn Schedules {
        self
    }

    fn sandbox(&self) -> &dyn Sandbox {
        self
    }

    fn audit(&self) -> &dyn AuditLog {
        self
    }

    fn consents(&self) -> &dyn Consents {
        self
    }

    fn users(&self) -> &dyn Users {
        self
    }

    fn figures(&self) -> &dyn Figures {
        self
    }

    fn locks(&self) -> &dyn Locks {
        self
    }

    fn attach_audit(&self, pending: Arc<PendingAudit>) {
        // A process runs one operation.
        let _ = self.pending.set(pending);
    }

    async fn ensure_writable(&self) -> Result<(), StoreError> {
        self.write(|_| Ok(())).await
    }

    async fn version(&self) -> Result<u64, StoreError> {
        self.read(|sqlite| Ok(sqlite.query_row("SELECT sequence FROM meta", [], |row| row.get(0))?)).await
    }
}
