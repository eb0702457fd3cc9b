//! Checks the PostgreSQL server that has the workspace's store.

use super::files::format_size;
use super::{DoctorContext, Finding, Severity};

use crate::store::{FindingSeverity, PostgresStore, ServerFinding};

const CHECK: &str = "store";

pub(super) async fn check_server(store: &PostgresStore, around: &DoctorContext) -> Vec<Finding> {
    match store.check_server(around.clock.now()).await {
        Ok(found) => found.iter().map(finding).collect(),
        Err(error) => vec![Finding::failure(CHECK, error)],
    }
}

fn finding(found: &ServerFinding) -> Finding {
    let severity = match found.severity() {
        FindingSeverity::Fine => Severity::Ok,
        FindingSeverity::Warning => Severity::Warning,
        FindingSeverity::Serious => Severity::Error,
    };
    let fix = (severity != Severity::Ok).then(|| fix(found)).flatten();
    Finding { check: CHECK, severity, message: message(found), fix }
}

fn message(found: &ServerFinding) -> String {
    let on = |is_on: &bool| if *is_on { "on" } else { "off" };
    match found {
        ServerFinding::Version { number } => format!("in PostgreSQL {}.{}", number / 10_000, number % 10_000),
        ServerFinding::Encoding { name } => format!("the database is encoded as {name}"),
        ServerFinding::SchemaVersion { found, known } => format!("schema {found}, and this program knows {known}"),
        ServerFinding::CrashSafety { fsync, full_page_writes } => {
            format!("fsync is {}, full_page_writes is {}", on(fsync), on(full_page_writes))
        }
        ServerFinding::SynchronousCommit { value } => format!("synchronous_commit is {value}; integ commits with on"),
        ServerFinding::IsStandby => "the server is a standby and takes no writes".to_owned(),
        ServerFinding::Standbys { connected: 0, .. } => "no standby is connected".to_owned(),
        ServerFinding::Standbys { connected, synchronous, names } => {
            let hidden = || "; this role cannot see which are synchronous".to_owned();
            let synchronous = synchronous.map_or_else(hidden, |number| format!(", {number} synchronous"));
            let names = if names.is_empty() { "empty" } else { names.as_str() };
            format!("standbys: {connected} connected{synchronous}; synchronous_standby_names is {names}")
        }
        ServerFinding::ReplicationLag { bytes, millis } => {
            let time = millis.map(|millis| format!(", {millis} ms")).unwrap_or_default();
            format!("the slowest standby is {} behind{time}", format_size(*bytes))
        }
        ServerFinding::PartitionsAhead { days } => format!("the inbox has partitions for {days} days ahead"),
        ServerFinding::DefaultPartition { rows, .. } => {
            format!("the inbox's default partition has about {rows} events")
        }
        ServerFinding::Autovacuum { is_on } => format!("autovacuum is {}", on(is_on)),
        ServerFinding::DeadRows { table, dead, live } => format!("{table} has {dead} dead rows and {live} others"),
        ServerFinding::ClockDifference { millis } => {
            format!("the server's clock is {millis} ms ahead of this machine's")
        }
        ServerFinding::Role { name, is_superuser, bypasses_row_security, sees_all_rows } => {
            if *is_superuser {
                format!("the role {name} is a superuser, from whom no row is hidden")
            } else if *bypasses_row_security {
                format!("the role {name} bypasses row-level security")
            } else if *sees_all_rows {
                format!("the role {name} owns the tables and sees all workspaces")
            } else {
                format!("the role {name} sees this workspace only")
            }
        }
        ServerFinding::Connections { used, limit, per_process } => {
            format!("{used} of {limit} connections are in use; a process opens up to {per_process}")
        }
    }
}

/// The command that fixes it, or the one thing to do.
fn fix(found: &ServerFinding) -> Option<String> {
    Some(match found {
        ServerFinding::Version { .. } => "upgrade the server to PostgreSQL 15 or later".to_owned(),
        ServerFinding::Encoding { .. } => "createdb --encoding=UTF8 --template=template0 integ, and move the workspace".to_owned(),
        ServerFinding::SchemaVersion { found, known } if found > known => "cargo install integ".to_owned(),
        ServerFinding::SchemaVersion { .. } => "run any command as the role that owns the schema".to_owned(),
        ServerFinding::CrashSafety { .. } => {
            "psql -c 'ALTER SYSTEM SET fsync = on' -c 'ALTER SYSTEM SET full_page_writes = on' -c 'SELECT pg_reload_conf()'".to_owned()
        }
        ServerFinding::SynchronousCommit { .. } => "psql -c 'ALTER SYSTEM RESET synchronous_commit'".to_owned(),
        ServerFinding::IsStandby => "name the primary in store.toml, or add target_session_attrs=read-write to its URL".to_owned(),
        ServerFinding::Standbys { .. } => {
            "psql -c \"ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (STANDBY)'\" -c 'SELECT pg_reload_conf()'".to_owned()
        }
        ServerFinding::ReplicationLag { .. } => "psql -c 'SELECT * FROM pg_stat_replication'".to_owned(),
        ServerFinding::PartitionsAhead { .. } | ServerFinding::DefaultPartition { .. } => {
            "keep an `integ serve` running, which creates partitions ahead".to_owned()
        }
        ServerFinding::Autovacuum { .. } => "psql -c 'ALTER SYSTEM SET autovacuum = on' -c 'SELECT pg_reload_conf()'".to_owned(),
        ServerFinding::DeadRows { table, .. } => format!("psql -c 'VACUUM ANALYZE integ.{table}'"),
        ServerFinding::ClockDifference { .. } => "timedatectl set-ntp true, on both machines".to_owned(),
        ServerFinding::Role { .. } => "use another role: CREATE ROLE integ_worker LOGIN; GRANT integ_node TO integ_worker".to_owned(),
        ServerFinding::Connections { .. } => "put PgBouncer before the server, or raise max_connections".to_owned(),
    })
}
