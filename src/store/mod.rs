//! Storage of a workspace: the traits, and their implementations in SQLite and in PostgreSQL.
//!
//! Each trait is one aggregate, with types of [`crate::model`] in and out. A write is one transaction, and durable when
//! its future resolves; a future that is dropped before may or may not have written. Errors are [`StoreError`] throughout.
//!
//! No caller blocks a thread of the runtime: an implementation does its I/O elsewhere.

mod alerts;
mod api_token_trusts;
mod api_tokens;
mod approvals;
mod audit;
mod bindings;
mod connect_links;
mod connections;
mod consents;
mod details;
mod entity_states;
mod error;
mod event_creations;
mod figures;
mod health_checks;
mod idempotency;
mod inbox;
mod installed_connectors;
mod links;
mod locks;
mod operators;
mod outbox;
mod postgres;
mod record_hasher;
mod records;
mod sandbox;
mod sign_ins;
mod sqlite;
mod transfer;
mod users;
mod workspace_keys;

use std::sync::Arc;

use async_trait::async_trait;

pub use alerts::Alerts;
pub use api_token_trusts::ApiTokenTrusts;
pub use api_tokens::{ApiTokenRotation, ApiTokenWrite, ApiTokens};
pub use approvals::Approvals;
pub use audit::{AuditLog, AuditTiming, PendingAudit};
pub use bindings::Bindings;
pub use connect_links::ConnectLinks;
pub use connections::{Apps, Connections, Grants};
pub use consents::Consents;
pub use details::{StoreBackend, StoreDetails};
pub use entity_states::EntityStates;
pub use error::{BackendError, MalformedValue, SqliteError, StoreError};
pub use event_creations::EventCreations;
pub use figures::Figures;
pub use health_checks::HealthChecks;
pub use idempotency::IdempotencyKeys;
pub use inbox::{Events, Subscriptions, Webhooks};
pub use installed_connectors::InstalledConnectors;
pub use links::Links;
pub use locks::{Fence, LEASE_DURATION, Lease, LockKey, Locks};
pub use operators::Operators;
pub use outbox::{Endpoints, EventTypes, Outbox};
pub use postgres::{
    FindingSeverity, FrozenWorkspace, KeyDropResult, PostgresReader, PostgresServer, PostgresServerError,
    PostgresStore, ResealProgress, ServerFinding,
};
pub use record_hasher::RecordHasher;
pub use records::{CommitConditions, Jobs, Records, Schedules, Streams};
pub use sandbox::{Sandbox, state_key};
pub use sign_ins::SignIns;
pub use sqlite::{
    BackupConnection, BackupContents, IntegrityWarning, LostWritesPolicy, Meta, Snapshot, SqliteReader, SqliteStore,
    StoreKey, from_keyring_entry, keyring_entry, sqlite_version,
};
pub use transfer::{
    TRANSFER_TABLES, TableSummary, TransferColumn, TransferKey, TransferProgress, TransferRow, TransferStore,
    TransferTable, TransferType, TransferValue, WorkspaceReader, copy_workspace,
};
pub use users::Users;
pub use workspace_keys::{FIRST_KEY, KeySource, WorkspaceKeys};

use crate::clock::Clock;

/// The store of a workspace.
#[async_trait]
pub trait Store: Send + Sync {
    /// The store's random id. A restored store gets a new one.
    fn id(&self) -> &str;

    /// Returns the connections and what is known of their health.
    fn connections(&self) -> &dyn Connections;
    /// Returns the alerts that last.
    fn alerts(&self) -> &dyn Alerts;
    /// Returns the history of health checks.
    fn health_checks(&self) -> &dyn HealthChecks;
    /// Returns the secrets of the connections.
    fn grants(&self) -> &dyn Grants;
    /// Returns the OAuth apps that the user registered with vendors.
    fn apps(&self) -> &dyn Apps;
    /// Returns the sign-ins that one process begins and another finishes.
    fn sign_ins(&self) -> &dyn SignIns;
    /// Returns the connect links.
    fn connect_links(&self) -> &dyn ConnectLinks;
    /// Returns how webhooks reach each connection, and the secrets that verify them.
    fn webhooks(&self) -> &dyn Webhooks;
    /// Returns the webhook subscriptions created at vendors.
    fn subscriptions(&self) -> &dyn Subscriptions;
    /// Returns the inbound events: the webhooks received.
    fn events(&self) -> &dyn Events;
    /// Returns the endpoints that the user's own events are sent to.
    fn endpoints(&self) -> &dyn Endpoints;
    /// Returns the catalogue of the user's own event types.
    fn event_types(&self) -> &dyn EventTypes;
    /// Returns the outbound messages and their deliveries to endpoints.
    fn outbox(&self) -> &dyn Outbox;
    /// Returns the keys of the events that are added for the user's entities.
    fn event_creations(&self) -> &dyn EventCreations;
    /// Returns the idempotency keys of API requests.
    fn idempotency_keys(&self) -> &dyn IdempotencyKeys;
    /// Returns the tokens of the HTTP API, their rate limits and their use.
    fn api_tokens(&self) -> &dyn ApiTokens;
    /// Returns which identity tokens of CI systems are exchanged for tokens.
    fn api_token_trusts(&self) -> &dyn ApiTokenTrusts;
    /// Returns the connectors that callers of the API installed.
    fn installed_connectors(&self) -> &dyn InstalledConnectors;
    /// Returns what persons allowed the tokens of the HTTP API to do.
    fn approvals(&self) -> &dyn Approvals;
    /// Returns the operators of the dashboard, with their links and sessions.
    fn operators(&self) -> &dyn Operators;
    /// Returns the bindings.
    fn bindings(&self) -> &dyn Bindings;
    /// Returns what two-way bindings know of linked entities.
    fn entity_states(&self) -> &dyn EntityStates;
    /// Returns the links between the user's entities and objects of services.
    fn links(&self) -> &dyn Links;
    /// Returns the streams of connections with their partitions and cursors.
    fn streams(&self) -> &dyn Streams;
    /// Returns the records synced from services.
    fn records(&self) -> &dyn Records;
    /// Returns the runs of syncs.
    fn jobs(&self) -> &dyn Jobs;
    /// Returns the schedules of syncs.
    fn schedules(&self) -> &dyn Schedules;
    /// Returns the JSON documents of the sandbox.
    fn sandbox(&self) -> &dyn Sandbox;
    /// Returns the audit log.
    fn audit(&self) -> &dyn AuditLog;
    /// Returns what users allow.
    fn consents(&self) -> &dyn Consents;
    /// Returns the caller's own end users.
    fn users(&self) -> &dyn Users;
    /// Returns figures over all of these.
    fn figures(&self) -> &dyn Figures;
    /// Returns the locks that let one process at a time do a piece of work.
    fn locks(&self) -> &dyn Locks;

    /// Keeps a clock in step with that of the machine that has the store, where this one has not.
    fn attach_clock(&self, _clock: &Clock) {}

    /// Makes the first write of this store from here on append the audit entries of an operation in its own commit.
    fn attach_audit(&self, pending: Arc<PendingAudit>);

    /// Commits an empty write, so that whatever would stop a later one is found before a vendor is asked.
    async fn ensure_writable(&self) -> Result<(), StoreError>;

    /// Prepares the store for the next days and removes what it no longer needs. To be called now and then by a process that
    /// runs on.
    async fn maintain(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns the number of the last commit. Records that change later get greater versions.
    async fn version(&self) -> Result<u64, StoreError>;

    /// Returns a number that grows with each operation that is recorded, and with each commit of events or records.
    async fn activity(&self) -> Result<u64, StoreError> {
        self.version().await
    }

    /// Returns the hasher that detects changed records.
    fn record_hasher(&self) -> RecordHasher {
        RecordHasher::new(self.id())
    }
}
