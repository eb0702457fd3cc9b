//! Workspaces in a database: created, opened, maintained, deleted.

use std::sync::{Arc, OnceLock};

use deadpool_postgres::Pool;
use zeroize::Zeroizing;

use super::error::pool_failed;
use super::insert_queue::InsertQueue;
use super::row::{get, get_seconds, optional_seconds};
use super::seal::{Column, Sealer, column};
use super::server::PostgresServer;
use super::server_clock::server_now;
use super::transaction::{Access, Transaction};
use super::value::Value;
use super::{PostgresStore, audit, migrations};
use crate::clock::{self, Timestamp};
use crate::hex;
use crate::secret::Secret;
use crate::store::{StoreBackend, StoreDetails, StoreError, WorkspaceKeys, WorkspaceReader};

pub(super) const INDEX_KEY: Column = column("workspaces", "index_key");

/// Months that have partitions: this one and the next. A server that nobody maintains for longer loses nothing: events whose
/// month has no partition go into the default one.
const MONTHS: i64 = 2;

impl PostgresStore {
    /// Returns an id for a new workspace.
    pub fn random_id() -> String {
        // Positive, for a number that starts with a minus is an option to many a program.
        hex::encode(&(i64::from_be_bytes(clock::random::<8>()) & i64::MAX).to_be_bytes())
    }

    /// Creates a workspace with an id, and the schema if the database has none. The last one of the keys seals.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`]; [`StoreError::Newer`].
    pub async fn create(
        server: &PostgresServer,
        id: &str,
        keys: impl Into<WorkspaceKeys>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let keys = keys.into();
        let pool = server.pool()?;
        migrate(&pool).await?;
        let workspace = number_of(id)?;
        let index_key = Zeroizing::new(clock::random::<32>());
        let sealer = Sealer::new(workspace, &keys).with_index_key(Secret::new(*index_key));
        let store = Self::assemble(pool, workspace, sealer);
        let transaction = store.begin_with(Access::Create { key: keys.latest() }).await?;
        let sealed = transaction.sealer.seal(INDEX_KEY, 0_i64, index_key.as_slice())?;
        let sql =
            "INSERT INTO integ.workspaces (workspace_id, index_key, key_number, created_at) VALUES ($1, $2, $3, $4)";
        transaction.execute(sql, &[&sealed, &i64::from(keys.latest()), &now.as_second()]).await?;
        let sql = "INSERT INTO integ.counters (workspace_id, name, value) VALUES ($1, 'records', 0), ($1, 'events', 0)";
        transaction.execute(sql, &[]).await?;
        audit::create(&transaction).await?;
        transaction.commit().await?;
        store.maintain_partitions().await?;
        Ok(store)
    }

    /// Opens the workspace with an id, and brings the schema up to date. The keys are all that the key file has.
    ///
    /// # Errors
    /// [`StoreError::WorkspaceNotFound`]; [`StoreError::Unsealable`] if the keys are another one's; [`StoreError::UnknownKey`] if
    /// the one that seals is not among them; those of [`Self::create`].
    pub async fn open(server: &PostgresServer, id: &str, keys: impl Into<WorkspaceKeys>) -> Result<Self, StoreError> {
        let missing = || StoreError::WorkspaceNotFound(id.to_owned());
        let workspace = number_of(id)?;
        let pool = server.pool()?;
        migrate(&pool).await?;
        let store = Self::assemble(pool, workspace, Sealer::new(workspace, &keys.into()));
        let sql = concat!("SELECT index_key, ", server_now!(), " AS now FROM integ.workspaces WHERE workspace_id = $1");
        let row = store.row(sql, &[]).await?.ok_or_else(missing)?;
        store.server_clock.set(get(&row, "now")?);
        let index_key = store.sealer.open(INDEX_KEY, 0_i64, get(&row, "index_key")?)?;
        let index_key = index_key.as_slice().try_into().map_err(|_| missing())?;
        let sealer = store.sealer.with_index_key(Secret::new(index_key));
        Ok(Self { sealer: Arc::new(sealer), ..store })
    }

    fn assemble(pool: Pool, workspace: i64, sealer: Sealer) -> Self {
        let holder = format!("{}-{}", std::process::id(), hex::encode(&clock::random::<4>()));
        Self {
            pool,
            workspace,
            id: hex::encode(&workspace.to_be_bytes()).into(),
            sealer: Arc::new(sealer),
            holder: holder.into(),
            pending: Arc::new(OnceLock::new()),
            inserts: Arc::new(InsertQueue::default()),
            server_clock: Arc::default(),
            limited: Arc::default(),
        }
    }

    /// Returns the backend of the store, without the URL, which is the caller's.
    pub async fn details(&self) -> Result<StoreDetails, StoreError> {
        let sql = "SELECT created_at, restored_at, current_setting('server_version') AS version
                   FROM integ.workspaces WHERE workspace_id = $1";
        let row = self.row(sql, &[]).await?.ok_or_else(|| StoreError::WorkspaceNotFound(self.id.to_string()))?;
        Ok(StoreDetails {
            backend: StoreBackend::Postgres,
            version: get(&row, "version")?,
            url: None,
            created_at: get_seconds(&row, "created_at")?,
            restored_at: optional_seconds(&row, "restored_at")?,
            read_only: false,
        })
    }

    /// Deletes the workspace with everything that it contains. Without its row, which has the key of all hashes, and without
    /// the key that the caller destroys, what is left in the server's log and backups is noise.
    pub async fn delete(self) -> Result<(), StoreError> {
        delete(self.begin().await?).await
    }

    /// Deletes the workspace if it [`is_empty`](Self::is_empty), and returns whether it was.
    pub async fn delete_if_empty(&self) -> Result<bool, StoreError> {
        let frozen = self.freeze().await?;
        if !self.is_empty().await? {
            return Ok(false);
        }
        frozen.delete().await.map(|()| true)
    }

    /// Returns whether a backup may be restored in its place: it has no connection, no app and no endpoint.
    pub async fn is_empty(&self) -> Result<bool, StoreError> {
        let sql = "SELECT 1 WHERE EXISTS (SELECT 1 FROM integ.connections WHERE workspace_id = $1)
                   OR EXISTS (SELECT 1 FROM integ.apps WHERE workspace_id = $1)
                   OR EXISTS (SELECT 1 FROM integ.endpoints WHERE workspace_id = $1)";
        Ok(self.row(sql, &[]).await?.is_none())
    }

    /// Reads every row of the workspace: each sealed value is authentic, and in the place that it was sealed for.
    ///
    /// # Errors
    /// [`StoreError::Unsealable`] for the first that is not; [`StoreError::IntegrityCheck`] for one that its column cannot have.
    pub async fn check(&self) -> Result<(), StoreError> {
        WorkspaceReader::Postgres(self.reader().await?).summaries().await.map(drop)
    }

    /// Keeps everyone else from writing until the result is dropped or the workspace is deleted. They wait meanwhile.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has a lock: it may be waiting for an answer that it has to store.
    pub async fn freeze(&self) -> Result<FrozenWorkspace, StoreError> {
        let transaction = self.begin_with(Access::Exclusive).await?;
        let sql = concat!("SELECT 1 FROM integ.locks WHERE workspace_id = $1 AND expires_at >= ", server_now!());
        if transaction.first(sql, &[]).await?.is_some() {
            return Err(StoreError::InUse);
        }
        transaction.lift_time_limits().await?;
        Ok(FrozenWorkspace { transaction })
    }

    /// Creates the partitions of this month and the next, and drops those in which no event is left.
    pub(super) async fn maintain_partitions(&self) -> Result<(), StoreError> {
        // Apart, for dropping one waits for the readers of the inbox.
        self.call_alone("SELECT integ.create_event_partitions($2::integer)", &[&MONTHS]).await?;
        self.call_alone("SELECT integ.drop_empty_event_partitions()", &[]).await
    }

    /// Calls a function of the schema in a transaction of its own.
    async fn call_alone(&self, sql: &str, values: &[Value<'_>]) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        transaction.query(sql, values).await?;
        transaction.commit().await
    }

    /// Returns the difference between the server's clock and a time, in milliseconds.
    pub async fn clock_difference(&self, now: Timestamp) -> Result<i64, StoreError> {
        let sql = concat!("SELECT ", server_now!(), " - $2 AS difference");
        let row = self.row(sql, &[&now.as_millisecond()]).await?;
        row.map_or(Ok(0), |row| get(&row, "difference"))
    }
}

/// A workspace in which nobody else writes.
pub struct FrozenWorkspace {
    transaction: Transaction,
}

impl std::fmt::Debug for FrozenWorkspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrozenWorkspace").finish_non_exhaustive()
    }
}

impl FrozenWorkspace {
    /// Deletes the workspace with everything that it contains. Who waited finds that it is not there.
    pub async fn delete(self) -> Result<(), StoreError> {
        delete(self.transaction).await
    }
}

async fn delete(transaction: Transaction) -> Result<(), StoreError> {
    transaction.lift_time_limits().await?;
    // Nobody inserts events or records meanwhile, which refer to nothing.
    transaction.query("SELECT 1 FROM integ.counters WHERE workspace_id = $1 FOR UPDATE", &[]).await?;
    transaction.execute("DELETE FROM integ.event_keys WHERE workspace_id = $1", &[]).await?;
    transaction.execute("DELETE FROM integ.events WHERE workspace_id = $1", &[]).await?;
    transaction.execute("DELETE FROM integ.records WHERE workspace_id = $1", &[]).await?;
    transaction.execute("DELETE FROM integ.workspaces WHERE workspace_id = $1", &[]).await?;
    transaction.commit().await
}

/// Returns the number of a workspace with an id.
fn number_of(id: &str) -> Result<i64, StoreError> {
    let number = hex::decode(id).and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
    number.ok_or_else(|| StoreError::WorkspaceNotFound(id.to_owned()))
}

async fn migrate(pool: &Pool) -> Result<(), StoreError> {
    let client = pool.get().await.map_err(pool_failed)?;
    migrations::migrate(&client).await
}
