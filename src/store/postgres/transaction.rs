//! Connections to the server, and transactions.
//!
//! A transaction names its workspace and its limits with `SET LOCAL`, so that nothing outlives it in a connection that a
//! pooler shares. Every statement is sent with the types of its values ([`super::value`]), and its first value, `$1`, is the
//! workspace.

use std::sync::Arc;

use deadpool_postgres::{Object, Pool};
use futures_util::FutureExt;
use tokio_postgres::{Client, Row, SimpleQueryMessage};

use super::error::{failed, pool_failed};
use super::row::{get, signed};
use super::seal::Sealer;
use super::server_clock::server_now;
use super::value::{Value, with_workspace};
use super::{PostgresStore, audit};
use crate::model::AuditRecord;
use crate::store::{PendingAudit, StoreError};

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Each statement sees what was committed before it. Rows that are changed are locked first.
    Write,
    /// [`Self::Write`], while no other transaction of the workspace writes.
    Exclusive,
    /// [`Self::Write`], of a workspace that is not there yet, with the number of the key that seals.
    Create { key: u16 },
    /// All statements see one moment.
    Snapshot,
}

/// What several rows of a workspace, or rows that are not there yet, must be locked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// Who relies on a consent shares the lock; who revokes one waits until they have committed.
    Consents,
    /// Who writes shares it; who changes the number of the key waits until all others have ended.
    Key,
    /// The approvals of requests that no token made.
    LocalApprovals,
    InstalledConnectors,
}

impl Subject {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Consents => "integ: consents",
            Self::Key => "integ: key",
            Self::LocalApprovals => "integ: local approvals",
            Self::InstalledConnectors => "integ: installed connectors",
        }
    }
}

/// An open transaction. It is rolled back unless [`Self::commit`] ends it.
pub(super) struct Transaction {
    /// Absent once the transaction has ended.
    client: Option<Object>,
    pub(super) workspace: i64,
    pub(super) sealer: Arc<Sealer>,
    pending: Option<Arc<PendingAudit>>,
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // The first poll sends it. The connection's next user waits for it in the queue of the connection.
            let _ = client.batch_execute("ROLLBACK").now_or_never();
        }
    }
}

impl PostgresStore {
    /// Begins a transaction that writes. The audit entries of the operation that the process runs are part of its commit.
    pub(super) async fn begin(&self) -> Result<Transaction, StoreError> {
        let mut transaction = self.begin_with(Access::Write).await?;
        transaction.pending = self.pending.get().cloned();
        Ok(transaction)
    }

    /// [`Self::begin`], for work that belongs to no operation.
    pub(super) async fn begin_unaudited(&self) -> Result<Transaction, StoreError> {
        self.begin_with(Access::Write).await
    }

    /// Begins a transaction that only reads, for more than one statement.
    pub(super) async fn snapshot(&self) -> Result<Transaction, StoreError> {
        self.begin_with(Access::Snapshot).await
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`StoreError::UnknownKey`] for one that writes, if the key that seals is not here.
    pub(super) async fn begin_with(&self, access: Access) -> Result<Transaction, StoreError> {
        let begin = begin_sql(self.workspace, access);
        let transaction = |client| Transaction {
            client: Some(client),
            workspace: self.workspace,
            sealer: Arc::clone(&self.sealer),
            pending: None,
        };
        let first = transaction(connection(&self.pool).await?);
        let (mut transaction, answers) = match first.client()?.simple_query(&begin).await {
            Ok(answers) => (first, answers),
            // The server was restarted since the connection was last used.
            Err(error) if error.is_closed() => {
                let second = transaction(connection(&self.pool).await?);
                let answers = second.client()?.simple_query(&begin).await.map_err(failed)?;
                (second, answers)
            }
            Err(error) => return Err(failed(error)),
        };
        let number = match access {
            Access::Snapshot => return Ok(transaction),
            Access::Create { key } => key,
            Access::Write | Access::Exclusive => {
                let number = answers.iter().find_map(key_number);
                number.ok_or_else(|| StoreError::WorkspaceNotFound(self.id.to_string()))?
            }
        };
        self.server_clock.read(&answers);
        transaction.sealer = Arc::new(self.sealer.sealing_with(number)?);
        Ok(transaction)
    }

    /// Reads the rows of one statement. Its transaction is sent in one go.
    pub(super) async fn rows(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        match self.read_once(sql, values).await {
            Err(StoreError::Unreachable(_)) => self.read_once(sql, values).await,
            read => read,
        }
    }

    async fn read_once(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let client = connection(&self.pool).await?;
        let values = with_workspace(&self.workspace, values);
        let begin = begin_sql(self.workspace, Access::Snapshot);
        let (begun, rows, ended) = tokio::join!(
            client.batch_execute(&begin),
            client.query_typed(sql, &values),
            client.batch_execute("COMMIT")
        );
        begun.map_err(failed)?;
        let rows = rows.map_err(failed)?;
        ended.map_err(failed)?;
        Ok(rows)
    }

    /// Whether the next write takes audit entries along.
    pub(super) fn has_pending_audit(&self) -> bool {
        self.pending.get().is_some_and(|pending| pending.awaits_write())
    }

    /// Calls a function of the schema that is a transaction of its own, and returns its row.
    pub(super) async fn call(&self, client: &Client, sql: &str, values: &[Value<'_>]) -> Result<Row, StoreError> {
        let rows = client.query_typed(sql, &with_workspace(&self.workspace, values)).await.map_err(failed)?;
        rows.into_iter().next().ok_or(StoreError::Closed)
    }

    /// Reads the first row of one statement.
    pub(super) async fn row(&self, sql: &str, values: &[Value<'_>]) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Makes one statement a transaction, and returns the number of rows that it changed.
    pub(super) async fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let transaction = self.begin().await?;
        let changed = transaction.execute(sql, values).await?;
        transaction.commit().await?;
        Ok(changed)
    }
}

pub(super) async fn connection(pool: &Pool) -> Result<Object, StoreError> {
    pool.get().await.map_err(pool_failed)
}

/// Returns the number of the key that seals, if an answer has it.
fn key_number(answer: &SimpleQueryMessage) -> Option<u16> {
    let SimpleQueryMessage::Row(row) = answer else { return None };
    row.try_get("key_number").ok()??.parse().ok()
}

/// Begins a transaction. A commit is durable before it is answered, whatever the server's default is, and no statement
/// waits for long: a lock is held for as long as a commit takes. A table has the rows of all workspaces: even where the
/// server, before it has statistics, takes it for small, an index is the way to those of one. And even where it takes a
/// statement for a long one, that is done before other processes have been started for it.
fn begin_sql(workspace: i64, access: Access) -> String {
    let mode = match access {
        Access::Write | Access::Exclusive | Access::Create { .. } => "ISOLATION LEVEL READ COMMITTED READ WRITE",
        Access::Snapshot => "ISOLATION LEVEL REPEATABLE READ READ ONLY",
    };
    // The number of the key is read once the lock is held: who changes it has then committed.
    let lock = match access {
        Access::Write => "pg_advisory_xact_lock_shared",
        Access::Exclusive => "pg_advisory_xact_lock",
        Access::Create { .. } | Access::Snapshot => "",
    };
    let key = match lock {
        "" => String::new(),
        lock => format!(
            "; SELECT {lock}(hashtext('{}'), hashtext('{workspace}')); \
             SELECT key_number, {} AS now FROM integ.workspaces WHERE workspace_id = {workspace}",
            Subject::Key.as_str(),
            server_now!()
        ),
    };
    format!(
        "BEGIN {mode}; SET LOCAL integ.workspace = '{workspace}'; SET LOCAL synchronous_commit = on; \
         SET LOCAL enable_seqscan = off; SET LOCAL max_parallel_workers_per_gather = 0; \
         SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '15s'; \
         SET LOCAL idle_in_transaction_session_timeout = '60s'{key}"
    )
}

impl Transaction {
    fn client(&self) -> Result<&Object, StoreError> {
        self.client.as_ref().ok_or(StoreError::Closed)
    }

    /// Runs a statement and returns its rows.
    pub(super) async fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        self.client()?.query_typed(sql, &with_workspace(&self.workspace, values)).await.map_err(failed)
    }

    /// Runs a statement and returns its first row.
    pub(super) async fn first(&self, sql: &str, values: &[Value<'_>]) -> Result<Option<Row>, StoreError> {
        Ok(self.query(sql, values).await?.into_iter().next())
    }

    /// Runs a statement and returns the number of rows that it changed.
    pub(super) async fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        self.client()?.execute_typed(sql, &with_workspace(&self.workspace, values)).await.map_err(failed)
    }

    /// Lets statements, and the time between two of them, take as long as they take. The server ends one whose process was
    /// killed, for which the next one would wait; a server on Windows cannot know.
    pub(super) async fn lift_time_limits(&self) -> Result<(), StoreError> {
        self.run(
            "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
             SELECT set_config('client_connection_check_interval', '1s', TRUE) WHERE version() !~ 'Visual C|mingw'",
        )
        .await
    }

    /// Keeps others from [`Self::lock`] and [`Self::share`] of a subject in this workspace until the transaction ends.
    pub(super) async fn lock(&self, subject: Subject) -> Result<(), StoreError> {
        let sql = "SELECT pg_advisory_xact_lock(hashtext($2), hashtext($1::text))";
        self.query(sql, &[&subject.as_str()]).await.map(drop)
    }

    /// Keeps others from [`Self::lock`] of a subject in this workspace until the transaction ends.
    pub(super) async fn share(&self, subject: Subject) -> Result<(), StoreError> {
        let sql = "SELECT pg_advisory_xact_lock_shared(hashtext($2), hashtext($1::text))";
        self.query(sql, &[&subject.as_str()]).await.map(drop)
    }

    /// Takes an id from the sequence of a table.
    pub(super) async fn next_id(&self, table: &str) -> Result<i64, StoreError> {
        Ok(self.next_ids(table, 1).await?.into_iter().next().unwrap_or_default())
    }

    /// Takes ids from the sequence of a table, in increasing order.
    pub(super) async fn next_ids(&self, table: &str, count: usize) -> Result<Vec<i64>, StoreError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT nextval('integ.{table}_id') AS id FROM generate_series(1, $2)");
        let rows = self.query(&sql, &[&signed(count as u64)]).await?;
        let mut ids = rows.iter().map(|row| get(row, "id")).collect::<Result<Vec<i64>, _>>()?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// Runs a statement without values.
    pub(super) async fn run(&self, sql: &str) -> Result<(), StoreError> {
        self.client()?.batch_execute(sql).await.map_err(failed)
    }

    /// Commits the transaction, and with it the audit entries of the operation, if nothing has recorded it before. They
    /// come last: their chain is locked for as long as the commit takes.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        let pending = self.pending.take();
        let records = pending.as_ref().and_then(|pending| pending.take_for_write());
        let committed = self.commit_with(records.as_deref()).await;
        if let (Err(_), Some(pending), Some(_)) = (&committed, pending, records) {
            pending.put_back();
        }
        committed
    }

    async fn commit_with(&mut self, records: Option<&[AuditRecord]>) -> Result<(), StoreError> {
        if let Some(records) = records {
            audit::append(self, records).await?;
        }
        let client = self.client.take().ok_or(StoreError::Closed)?;
        // A commit whose caller has left goes on.
        client.batch_execute("COMMIT").await.map_err(failed)
    }
}
