//! What is checked of the server and of the role that integ has there: what would lose commits, let one workspace see another,
//! or fill the server up. Everything is read with the rights of a node; what those do not show is left out.

use tokio_postgres::Row;

use super::PostgresStore;
use super::migrations::LATEST;
use super::row::{get, number, optional_number};
use super::server::MAX_CONNECTIONS;
use super::transaction::Transaction;
use crate::clock::Timestamp;
use crate::store::StoreError;

/// The first version that has what the schema uses: `ON DELETE SET NULL` of some columns.
const OLDEST_VERSION: u32 = 150_000;

/// Days whose partitions should exist: without a node that maintains them for so long, events go into the default one.
const MIN_DAYS_AHEAD: u32 = 2;

/// A greater difference between the clocks, in milliseconds, makes tokens look valid that have expired.
const MAX_CLOCK_DIFFERENCE: u64 = 5_000;

/// A standby that is this far behind loses much if it takes over, in bytes of the log.
const MAX_LAG: u64 = 64 << 20;

/// Dead rows that autovacuum leaves by default: a fifth of the table. Twice as many say that it does not keep up.
const MAX_DEAD_FRACTION: f64 = 0.4;

/// Tables with fewer dead rows are not worth a warning.
const MIN_DEAD_ROWS: u64 = 10_000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingSeverity {
    Fine,
    Warning,
    /// Commits can be lost, or other workspaces be read.
    Serious,
}

/// A thing that was found out about the server.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerFinding {
    /// The server's version, such as 170004 for 17.4.
    Version { number: u32 },
    /// The encoding of the database. Others than UTF8 refuse texts of vendors.
    Encoding { name: String },
    /// The schema's version, and that of this program.
    SchemaVersion { found: u32, known: u32 },
    /// Whether a commit survives a crash of the server's machine.
    CrashSafety { fsync: bool, full_page_writes: bool },
    /// What commits of other programs wait for. Those of integ wait for the disk and for synchronous standbys, unless this is
    /// `remote_apply`, which they then wait for less than.
    SynchronousCommit { value: String },
    /// The server itself is a standby: nothing can be written.
    IsStandby,
    /// Standbys that are connected, those that commits wait for (absent if the role may not see it), and the setting.
    Standbys { connected: u32, synchronous: Option<u32>, names: String },
    /// How far the standby that is furthest behind is, in bytes of the log and in milliseconds.
    ReplicationLag { bytes: u64, millis: Option<u64> },
    /// Days from today on for which there is a partition of the inbox.
    PartitionsAhead { days: u32 },
    /// The partition of events whose month has none: rows by the server's estimate, and whether events of this week are among them.
    DefaultPartition { rows: u64, has_recent: bool },
    /// Whether deleted rows are removed by the server itself.
    Autovacuum { is_on: bool },
    /// A table with many rows that were deleted or replaced and are not removed.
    DeadRows { table: String, dead: u64, live: u64 },
    /// How far the server's clock is ahead of this machine's, in milliseconds.
    ClockDifference { millis: i64 },
    /// What the role may do beyond its workspace.
    Role { name: String, is_superuser: bool, bypasses_row_security: bool, sees_all_rows: bool },
    /// Connections of all programs, how many the server and the role allow, and how many a process of integ opens.
    Connections { used: u32, limit: u32, per_process: u32 },
}

impl ServerFinding {
    /// Returns how bad it is.
    pub fn severity(&self) -> FindingSeverity {
        use FindingSeverity::{Fine, Serious, Warning};
        let warn_if = |is_bad: bool| if is_bad { Warning } else { Fine };
        let fail_if = |is_bad: bool| if is_bad { Serious } else { Fine };
        match self {
            Self::Version { number } => fail_if(*number < OLDEST_VERSION),
            Self::Encoding { name } => fail_if(name != "UTF8"),
            Self::SchemaVersion { found, known } => fail_if(found > known).max(warn_if(found < known)),
            Self::CrashSafety { fsync, full_page_writes } => fail_if(!fsync || !full_page_writes),
            Self::SynchronousCommit { value } => warn_if(value == "off"),
            Self::IsStandby => Serious,
            Self::Standbys { connected, synchronous, names } => {
                let waits_for_none = names.is_empty() || *synchronous == Some(0);
                warn_if(*connected > 0 && waits_for_none)
            }
            Self::ReplicationLag { bytes, .. } => warn_if(*bytes > MAX_LAG),
            Self::PartitionsAhead { days } => warn_if(*days < MIN_DAYS_AHEAD),
            Self::DefaultPartition { has_recent, .. } => warn_if(*has_recent),
            Self::Autovacuum { is_on } => warn_if(!is_on),
            Self::DeadRows { .. } => Warning,
            Self::ClockDifference { millis } => warn_if(millis.unsigned_abs() > MAX_CLOCK_DIFFERENCE),
            Self::Role { is_superuser, bypasses_row_security, sees_all_rows, .. } => {
                fail_if(*is_superuser || *bypasses_row_security || *sees_all_rows)
            }
            Self::Connections { used, limit, per_process } => warn_if(used.saturating_add(*per_process) > *limit),
        }
    }
}

impl PostgresStore {
    /// Checks the server. Nothing is changed.
    pub async fn check_server(&self, now: Timestamp) -> Result<Vec<ServerFinding>, StoreError> {
        let difference = self.clock_difference(now).await?;
        let transaction = self.snapshot().await?;
        let mut findings = settings(&transaction).await?;
        findings.push(schema_version(&transaction).await?);
        findings.extend(replication(&transaction).await?);
        findings.extend(partitions(&transaction).await?);
        findings.extend(dead_rows(&transaction).await?);
        findings.push(ServerFinding::ClockDifference { millis: difference });
        findings.extend(role(&transaction).await?);
        Ok(findings)
    }
}

async fn only_row(transaction: &Transaction, sql: &str) -> Result<Row, StoreError> {
    let row = transaction.first(sql, &[]).await?;
    row.ok_or_else(|| StoreError::IntegrityCheck("the server gave no answer about itself".to_owned()))
}

async fn settings(transaction: &Transaction) -> Result<Vec<ServerFinding>, StoreError> {
    // What the transaction has set for itself is not the server's.
    let sql = "SELECT current_setting('server_version_num')::bigint AS version,
                   current_setting('server_encoding') AS encoding,
                   current_setting('fsync')::boolean AS fsync, current_setting('full_page_writes')::boolean AS pages,
                   (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit') AS synchronous_commit,
                   current_setting('autovacuum')::boolean AS autovacuum";
    let row = only_row(transaction, sql).await?;
    Ok(vec![
        ServerFinding::Version { number: number(&row, "version")? },
        ServerFinding::Encoding { name: get(&row, "encoding")? },
        ServerFinding::CrashSafety { fsync: get(&row, "fsync")?, full_page_writes: get(&row, "pages")? },
        ServerFinding::SynchronousCommit { value: get(&row, "synchronous_commit")? },
        ServerFinding::Autovacuum { is_on: get(&row, "autovacuum")? },
    ])
}

async fn schema_version(transaction: &Transaction) -> Result<ServerFinding, StoreError> {
    let sql = "SELECT coalesce(max(version), 0) AS version FROM integ.schema_versions";
    let found = number(&only_row(transaction, sql).await?, "version")?;
    Ok(ServerFinding::SchemaVersion { found, known: LATEST })
}

async fn replication(transaction: &Transaction) -> Result<Vec<ServerFinding>, StoreError> {
    let sql = "SELECT pg_is_in_recovery() AS is_standby";
    if get(&only_row(transaction, sql).await?, "is_standby")? {
        return Ok(vec![ServerFinding::IsStandby]);
    }
    // Without the rights of `pg_read_all_stats` there is a row for each standby, with nothing but NULL in it.
    let sql = "SELECT count(*) AS connected, count(state) AS seen,
                   count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')) AS synchronous,
                   max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))::bigint AS bytes,
                   (extract(epoch FROM max(replay_lag)) * 1000)::bigint AS millis,
                   current_setting('synchronous_standby_names') AS names
               FROM pg_stat_replication";
    let row = only_row(transaction, sql).await?;
    let (connected, seen): (u32, u32) = (number(&row, "connected")?, number(&row, "seen")?);
    let synchronous = if seen == connected { Some(number(&row, "synchronous")?) } else { None };
    let mut findings = vec![ServerFinding::Standbys { connected, synchronous, names: get(&row, "names")? }];
    if let Some(bytes) = get::<Option<i64>>(&row, "bytes")? {
        let bytes = u64::try_from(bytes).unwrap_or_default();
        findings.push(ServerFinding::ReplicationLag { bytes, millis: optional_number(&row, "millis")? });
    }
    Ok(findings)
}

async fn partitions(transaction: &Transaction) -> Result<[ServerFinding; 2], StoreError> {
    let sql = "SELECT count(*) AS days FROM generate_series(0, 62) n
               WHERE NOT EXISTS (SELECT 1 FROM generate_series(0, n) day WHERE to_regclass('integ.events_'
                   || to_char((clock_timestamp() AT TIME ZONE 'UTC')::date + day, 'YYYYMM')) IS NULL)";
    let days = number(&only_row(transaction, sql).await?, "days")?;
    let sql = "SELECT greatest((SELECT reltuples FROM pg_class WHERE oid = 'integ.events_other'::regclass), 0)::bigint AS rows,
                   EXISTS (SELECT 1 FROM integ.events WHERE workspace_id = $1 AND tableoid = 'integ.events_other'::regclass
                       AND id >= integ.first_event_of((clock_timestamp() AT TIME ZONE 'UTC')::date - 7)) AS has_recent";
    let row = only_row(transaction, sql).await?;
    let default = ServerFinding::DefaultPartition { rows: number(&row, "rows")?, has_recent: get(&row, "has_recent")? };
    Ok([ServerFinding::PartitionsAhead { days }, default])
}

async fn dead_rows(transaction: &Transaction) -> Result<Vec<ServerFinding>, StoreError> {
    let sql = "SELECT relname::text AS name, n_dead_tup AS dead, n_live_tup AS live FROM pg_stat_user_tables
               WHERE schemaname = 'integ' AND n_dead_tup >= $2
                   AND n_dead_tup >= $3::bigint / 100.0 * n_live_tup ORDER BY n_dead_tup DESC, relname";
    let percent = (MAX_DEAD_FRACTION * 100.0) as i64;
    let found = |row: &Row| {
        let (dead, live) = (number(row, "dead")?, number(row, "live")?);
        Ok(ServerFinding::DeadRows { table: get(row, "name")?, dead, live })
    };
    transaction.query(sql, &[&super::row::signed(MIN_DEAD_ROWS), &percent]).await?.iter().map(found).collect()
}

async fn role(transaction: &Transaction) -> Result<[ServerFinding; 2], StoreError> {
    let sql = "SELECT r.rolname::text AS name, r.rolsuper, r.rolbypassrls,
                   NOT row_security_active('integ.grants') AS sees_all_rows,
                   (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
                   (SELECT count(*) FROM pg_stat_activity WHERE usename = r.rolname) AS used_by_role,
                   current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
                       AS server_limit,
                   nullif(r.rolconnlimit, -1)::bigint AS role_limit
               FROM pg_roles r WHERE r.rolname = current_user";
    let row = only_row(transaction, sql).await?;
    let role = ServerFinding::Role {
        name: get(&row, "name")?,
        is_superuser: get(&row, "rolsuper")?,
        bypasses_row_security: get(&row, "rolbypassrls")?,
        sees_all_rows: get(&row, "sees_all_rows")?,
    };
    let (used, limit): (u32, u32) = (number(&row, "used")?, number(&row, "server_limit")?);
    let used_by_role: u32 = number(&row, "used_by_role")?;
    // The limit that is nearer.
    let of_role = optional_number::<u32>(&row, "role_limit")?.map(|limit| (used_by_role, limit));
    let (used, limit) = [Some((used, limit)), of_role]
        .into_iter()
        .flatten()
        .min_by_key(|(used, limit)| limit.saturating_sub(*used))
        .unwrap_or((used, limit));
    let per_process = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
    Ok([role, ServerFinding::Connections { used, limit, per_process }])
}

#[cfg(test)]
mod tests {
    use super::FindingSeverity::{Fine, Serious, Warning};
    use super::*;

    #[test]
    fn what_loses_commits_or_shows_other_workspaces_is_serious() {
        let standbys = |connected, synchronous, names: &str| ServerFinding::Standbys {
            connected,
            synchronous,
            names: names.into(),
        };
        let role = |is_superuser, bypasses_row_security| ServerFinding::Role {
            name: "node".to_owned(),
            is_superuser,
            bypasses_row_security,
            sees_all_rows: false,
        };
        for (finding, expected) in [
            (ServerFinding::Version { number: 149_999 }, Serious),
            (ServerFinding::Version { number: 150_000 }, Fine),
            (ServerFinding::CrashSafety { fsync: false, full_page_writes: true }, Serious),
            (ServerFinding::CrashSafety { fsync: true, full_page_writes: false }, Serious),
            (ServerFinding::CrashSafety { fsync: true, full_page_writes: true }, Fine),
            (ServerFinding::SchemaVersion { found: LATEST + 1, known: LATEST }, Serious),
            (standbys(0, Some(0), ""), Fine),
            (standbys(1, Some(0), ""), Warning),
            (standbys(1, None, ""), Warning),
            (standbys(2, Some(0), "lost"), Warning),
            (standbys(2, Some(1), "ANY 1 (a, b)"), Fine),
            (standbys(2, None, "ANY 1 (a, b)"), Fine),
            (ServerFinding::ClockDifference { millis: -6_000 }, Warning),
            (ServerFinding::DefaultPartition { rows: 9, has_recent: false }, Fine),
            (role(false, false), Fine),
            (role(true, false), Serious),
            (role(false, true), Serious),
            (ServerFinding::Connections { used: 90, limit: 100, per_process: 16 }, Warning),
            (ServerFinding::Connections { used: 84, limit: 100, per_process: 16 }, Fine),
        ] {
            assert_eq!(finding.severity(), expected, "{finding:?}");
        }
    }
}
