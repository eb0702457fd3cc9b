//! The audit log, and the entry of the operation that a process runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::StoreError;
use crate::clock::{Clock, Timestamp};
use crate::model::{
    AuditActor, AuditBounds, AuditCheckpoint, AuditEntry, AuditFilter, AuditOutcome, AuditRecord, AuditSequence,
    ConnectionName, ConsentId, Effect, UserId,
};

/// The audit log of a workspace: entries are added, and removed from the beginning after their retention.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Appends entries in one commit, in which each is chained to the one before.
    async fn append(&self, records: Vec<AuditRecord>) -> Result<(), StoreError>;

    /// Returns up to `limit` entries that match, the newest first, before a place in the log if one is given.
    async fn list(
        &self,
        filter: &AuditFilter,
        before: Option<AuditSequence>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError>;

    /// Returns up to `limit` entries after a place in the log, the oldest first.
    async fn read(&self, after: AuditSequence, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;

    /// Returns the ends of the log.
    async fn bounds(&self) -> Result<AuditBounds, StoreError>;

    /// Returns the last entry's place, signed with the workspace's key.
    async fn checkpoint(&self, now: Timestamp) -> Result<AuditCheckpoint, StoreError>;

    /// Removes up to `limit` entries from the beginning that are older than a time, and returns how many. A signed
    /// checkpoint takes their place in the same commit.
    async fn prune(&self, before: Timestamp, limit: u32, now: Timestamp) -> Result<u64, StoreError>;
}

/// The audit entries of the one operation that a process runs, until they are in the log.
///
/// The first write of the operation takes them, whichever task makes it: what was changed and who changed it are then
/// in one commit, and the operation need not know of the log.
#[derive(Debug)]
pub struct PendingAudit {
    clock: Clock,
    timing: AuditTiming,
    state: Mutex<PendingState>,
}

#[derive(Debug)]
struct PendingState {
    record: AuditRecord,
    /// The beginning of every detail.
    base_detail: Option<String>,
    connections: Vec<(ConnectionName, Option<UserId>)>,
    is_committed: bool,
}

/// What commits the entry that an operation was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditTiming {
    /// The first write of the store.
    FirstWrite,
    /// The request that changes something at a service: what the operation does is known only then.
    ServiceWrite,
    /// The first write of the store, if there is one; the end of the operation otherwise.
    Afterwards,
}

tokio::task_local! {
    /// The entry of the operation that a task runs for somebody other than the owner at the machine.
    static CURRENT: Arc<PendingAudit>;
}

/// The largest number of connections that get entries of their own.
const MAX_CONNECTIONS: usize = 100;

impl PendingAudit {
    /// Creates the entry of an operation of the owner at the machine.
    pub fn new(clock: Clock, operation: &str, effect: Effect, timing: AuditTiming) -> Self {
        let record = AuditRecord::new(clock.now_millis(), AuditActor::Local, operation, effect);
        Self { timing, ..Self::from_record(clock, record) }
    }

    /// Creates the entry of an operation from its record.
    pub fn from_record(clock: Clock, record: AuditRecord) -> Self {
        let connections = Vec::new();
        let base_detail = record.detail.clone();
        let state = PendingState { record, base_detail, connections, is_committed: false };
        Self { clock, timing: AuditTiming::FirstWrite, state: Mutex::new(state) }
    }

    /// Runs a future, in which [`Self::current`] returns this entry.
    pub async fn scope<T>(pending: Arc<Self>, work: impl Future<Output = T>) -> T {
        CURRENT.scope(pending, work).await
    }

    /// Returns the entry of the operation that the task runs, if it has one.
    pub fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Adds a connection that the operation is about. Each gets an entry.
    pub fn add_connection(&self, name: &ConnectionName, user: Option<&UserId>) {
        let mut state = self.lock();
        let is_known = state.connections.iter().any(|(known, _)| known == name);
        if !is_known && state.connections.len() < MAX_CONNECTIONS {
            state.connections.push((name.clone(), user.cloned()));
        }
    }

    /// Sets the user whom the operation is about.
    pub fn set_user(&self, user: &UserId) {
        self.lock().record.user = Some(user.to_string());
    }

    /// Sets the consent under which it is done.
    pub fn set_consent(&self, consent: &ConsentId) {
        self.lock().record.consent = Some(consent.to_string());
    }

    /// Sets the detail, which must hold no secret. What the record began with stays in front of it.
    pub fn set_detail(&self, detail: &str) {
        let mut state = self.lock();
        let detail = match &state.base_detail {
            Some(base) => format!("{base}: {detail}"),
            None => detail.to_owned(),
        };
        state.record = state.record.clone().with_detail(&detail);
    }

    /// Returns the effect of the operation.
    pub fn effect(&self) -> Effect {
        self.lock().record.effect
    }

    /// Sets the effect of an operation that is whatever a service is asked for.
    pub fn set_service_effect(&self, effect: Effect) {
        if self.timing == AuditTiming::ServiceWrite {
            self.lock().record.effect = effect;
        }
    }

    /// Whether it is recorded at its end although it wrote nothing to the store.
    pub fn is_recorded_afterwards(&self) -> bool {
        self.timing == AuditTiming::Afterwards
    }

    /// Whether its entries are in the log.
    pub fn is_committed(&self) -> bool {
        self.lock().is_committed
    }

    /// Takes the entries that say that it was started; `None` if they were taken.
    pub fn take(&self) -> Option<Vec<AuditRecord>> {
        if std::mem::replace(&mut self.lock().is_committed, true) {
            return None;
        }
        Some(self.records(AuditOutcome::Started, None))
    }

    /// Whether the next write of the store records the operation.
    pub fn awaits_write(&self) -> bool {
        let is_recorded = self.timing != AuditTiming::ServiceWrite && self.effect() != Effect::Read;
        is_recorded && !self.is_committed()
    }

    /// Takes the entries as [`Self::take`] does, for a write of the store; `None` if that does not record the operation.
    pub fn take_for_write(&self) -> Option<Vec<AuditRecord>> {
        if self.awaits_write() { self.take() } else { None }
    }

    /// Puts back what [`Self::take`] took, because it was not committed.
    pub fn put_back(&self) {
        self.lock().is_committed = false;
    }

    /// Returns entries with an outcome, one for each connection.
    pub fn records(&self, outcome: AuditOutcome, error_code: Option<&str>) -> Vec<AuditRecord> {
        let state = self.lock();
        let record = state.record.clone().with_outcome(self.clock.now_millis(), outcome, error_code);
        if state.connections.is_empty() {
            return vec![record];
        }
        let of = |(name, user): &(ConnectionName, Option<UserId>)| record.clone().with_connection(name, user.as_ref());
        state.connections.iter().map(of).collect()
    }

    fn lock(&self) -> MutexGuard<'_, PendingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
