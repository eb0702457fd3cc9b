//! The store of a workspace in PostgreSQL 15 or later, which any number of processes and machines share.
//!
//! # Design
//!
//! - **One schema, `integ`.** Statements name it. A `search_path` that is set for a connection does not survive a pooler that
//!   gives each transaction another connection, and one that is set in each transaction is one more thing that can be
//!   forgotten; a second installation on the same server takes another database.
//! - **Two barriers between workspaces.** Every table has a `workspace_id`, with which each key begins. Each statement
//!   names it as `$1`; row-level security hides all other rows from a transaction, which names its workspace with
//!   `SET LOCAL integ.workspace`, and all rows from one that does not. What nodes may do is granted to the role
//!   `integ_node`; the tables belong to who ran the migrations.
//! - **Nothing lives in a connection.** Statements are sent with the types of their values and are not prepared
//!   ([`value`]); limits are `SET LOCAL`; there is no `LISTEN`: workers poll. PgBouncer in transaction mode therefore works.
//! - **Sealing** ([`seal`]). The database sees names, times, types, states and counts. Everything that a vendor or a user
//!   wrote is ciphertext under the workspace's key, bound to its table, column, row and workspace; digests are keyed. Nodes
//!   go on while a workspace gets another key ([`rekey`]).
//! - **Locks** ([`locks`]) are lease rows on the server's clock with fencing numbers. A commit that depends on a lock
//!   reads its row `FOR SHARE` in the same transaction. No transaction spans a network call to anything but the database.
//! - **Time** ([`server_clock`]) is the server's in all that nodes do with a workspace: they correct their own by what each
//!   answer says.
//! - **Order.** Versions of records and ids of events come from a row of `integ.counters`, which a writer locks until it
//!   commits. Numbers thus become visible in their order, and a reader that goes on after the greatest number that it has
//!   seen misses nothing. A sequence would be faster, but transactions commit in another order than they take numbers
//!   from it: a reader that has seen 8 would go on after 8 although 7 is committed later. To read only up to the oldest
//!   number that is not committed needs each writer's number in a table, or `pg_snapshot_xmin`, which any long transaction
//!   of the server holds back. The price is that commits of one workspace's events, and of its records, follow each other;
//!   events are written many in one commit ([`insert_queue`]), and pages of records take their version once all that they
//!   read is read.
//! - **Plans.** A planner that has no statistics of a workspace takes it for small, and then reads all of it. Tables in which
//!   many rows are looked for by a hash have an index that begins with it.
//! - **Order of locks**, so that no two transactions wait for each other: the lease, what [`transaction::Subject`] names, the
//!   counter of events, the connection, other rows, the counter of records, and last the head of the audit chain, to which
//!   [`transaction::Transaction::commit`] adds the entries of the operation.
//! - **Inbox.** Events lie in a partition for each month, whose bounds are ids: the id of an event begins with its day. A
//!   narrow table outside the partitions recognises repeated deliveries.

mod alerts;
mod api_token_trusts;
mod api_tokens;
mod api_usage;
mod approvals;
mod apps;
mod audit;
mod bindings;
mod checks;
mod conflicts;
mod connect_links;
mod connections;
mod consents;
mod endpoints;
mod entity_states;
mod error;
mod event_creations;
mod event_types;
mod events;
mod figures;
mod grants;
mod health_checks;
mod idempotency;
mod insert_queue;
mod inserting;
mod installed_connectors;
mod jobs;
mod links;
mod locks;
mod migrations;
mod operators;
mod outbox;
mod prune;
mod queue;
mod records;
mod rekey;
mod row;
mod sandbox;
mod schedules;
mod seal;
mod sealed_columns;
mod server;
mod server_clock;
mod sign_ins;
mod streams;
mod subscriptions;
mod sweep;
mod transaction;
mod transfer;
mod transfer_columns;
mod transitions;
mod upsert;
mod users;
mod value;
mod webhooks;
mod workspace;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use deadpool_postgres::Pool;

pub use checks::{FindingSeverity, ServerFinding};
pub use rekey::{KeyDropResult, ResealProgress};
pub use server::{PostgresServer, PostgresServerError};
pub use transfer::PostgresReader;
pub use workspace::FrozenWorkspace;

use self::insert_queue::InsertQueue;
use self::row::number;
use self::seal::Sealer;
use self::server_clock::ServerClock;
use super::{
    Alerts, ApiTokenTrusts, ApiTokens, Approvals, Apps, AuditLog, Bindings, ConnectLinks, Connections, Consents,
    Endpoints, EntityStates, EventCreations, EventTypes, Events, Figures, Grants, HealthChecks, IdempotencyKeys,
    InstalledConnectors, Jobs, Links, Locks, Operators, Outbox, PendingAudit, RecordHasher, Records, Sandbox,
    Schedules, SignIns, Store, StoreError, Streams, Subscriptions, Users, Webhooks,
};
use crate::clock::Clock;
use crate::model::ApiTokenId;

/// An open store. Clones share its connections.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Pool,
    /// The number of [`Store::id`], which is its hexadecimal text.
    workspace: i64,
    id: Arc<str>,
    sealer: Arc<Sealer>,
    /// Names this process in the rows of its locks.
    holder: Arc<str>,
    /// The audit entries that the next write takes along.
    pending: Arc<OnceLock<Arc<PendingAudit>>>,
    inserts: Arc<InsertQueue>,
    server_clock: Arc<ServerClock>,
    /// The API tokens whose last request to this process was over their limit.
    limited: Arc<Mutex<HashSet<ApiTokenId>>>,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").field("id", &self.id).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn id(&self) -> &str {
        &self.id
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

    fn attach_clock(&self, clock: &Clock) {
        self.server_clock.attach(clock);
    }

    fn attach_audit(&self, pending: Arc<PendingAudit>) {
        // A process runs one operation.
        let _ = self.pending.set(pending);
    }

    async fn ensure_writable(&self) -> Result<(), StoreError> {
        let sql = "UPDATE integ.workspaces SET restored_at = restored_at WHERE workspace_id = $1";
        self.execute(sql, &[]).await.map(drop)
    }

    async fn maintain(&self) -> Result<(), StoreError> {
        self.maintain_partitions().await
    }

    async fn version(&self) -> Result<u64, StoreError> {
        let sql = "SELECT value FROM integ.counters WHERE workspace_id = $1 AND name = 'records'";
        let row = self.row(sql, &[]).await?;
        row.map_or(Ok(0), |row| number(&row, "value"))
    }

    async fn activity(&self) -> Result<u64, StoreError> {
        let sql =
            "SELECT (SELECT sum(value) FROM integ.counters WHERE workspace_id = $1)::bigint + sequence AS activity
                   FROM integ.audit_state WHERE workspace_id = $1";
        let row = self.row(sql, &[]).await?;
        row.map_or(Ok(0), |row| number(&row, "activity"))
    }

    fn record_hasher(&self) -> RecordHasher {
        RecordHasher::from_key(self.sealer.record_key())
    }
}
