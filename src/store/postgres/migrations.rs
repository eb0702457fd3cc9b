//! Schema versions: forward only, each in one transaction, by one process at a time.
//!
//! Never change a migration that was released; add one, and append it to [`MIGRATIONS`]. Its place in the list is its
//! version number. A migration must leave the tables usable by nodes of the version before, which run on until they are
//! replaced.

use tokio_postgres::Client;

use super::error::failed;
use super::row::{get, number};
use crate::store::StoreError;

/// The steps from an empty database to the present schema, in the order of their version numbers, which begin at 1.
const MIGRATIONS: &[&str] = &[include_str!("migrations/0001_init.sql")];

/// The schema version that this program writes.
pub(super) const LATEST: u32 = MIGRATIONS.len() as u32;

/// Makes the steps that the database has not had yet. Of several processes one makes each step, and the others wait for it
/// at an advisory lock inside the step's transaction.
///
/// # Errors
/// [`StoreError::Newer`] if a newer version of integ has migrated it.
pub(super) async fn migrate(client: &Client) -> Result<(), StoreError> {
    let found = version(client).await?;
    if found > LATEST {
        return Err(StoreError::Newer { found, known: LATEST });
    }
    for (number, sql) in (1..=LATEST).zip(MIGRATIONS) {
        if number <= found {
            continue;
        }
        let made = step(client, number, sql).await;
        let end = if made.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = client.batch_execute(end).await.map_err(failed);
        made.and(ended)?;
    }
    Ok(())
}

async fn step(client: &Client, number: u32, sql: &str) -> Result<(), StoreError> {
    let begin = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('integ'), hashtext('migrations')); \
                 CREATE SCHEMA IF NOT EXISTS integ; \
                 CREATE TABLE IF NOT EXISTS integ.schema_versions \
                 (version BIGINT PRIMARY KEY, migrated_at TIMESTAMPTZ NOT NULL DEFAULT now())";
    client.batch_execute(begin).await.map_err(failed)?;
    if version(client).await? >= number {
        return Ok(());
    }
    client.batch_execute(sql).await.map_err(failed)?;
    let record = format!("INSERT INTO integ.schema_versions (version) VALUES ({number})");
    client.batch_execute(&record).await.map_err(failed)
}

/// A column of a table, as the migrations declare it.
#[cfg(test)]
pub(super) struct DeclaredColumn {
    pub(super) table: String,
    pub(super) name: String,
    /// Its type, without a collation.
    pub(super) kind: String,
}

/// Returns the columns of all tables, but for the workspace.
#[cfg(test)]
pub(super) fn columns() -> Vec<DeclaredColumn> {
    let mut columns = Vec::new();
    let mut table = None;
    for line in MIGRATIONS.iter().flat_map(|sql| sql.lines()) {
        if let Some(rest) = line.strip_prefix("CREATE TABLE integ.") {
            table = rest.strip_suffix(" (").map(str::to_owned);
        } else if !line.starts_with(' ') {
            table = None;
        }
        let mut words = line.split_whitespace();
        let (Some(table), Some(name), Some(kind)) = (&table, words.next(), words.next()) else { continue };
        let is_column = ["BIGINT", "TEXT", "BYTEA", "BOOLEAN"].contains(&kind.trim_end_matches(','));
        if is_column && name != "workspace_id" {
            let (table, name) = (table.clone(), name.to_owned());
            columns.push(DeclaredColumn { table, name, kind: kind.trim_end_matches(',').to_owned() });
        }
    }
    columns
}

/// Returns the version of the database's schema; 0 without one.
pub(super) async fn version(client: &Client) -> Result<u32, StoreError> {
    let sql = "SELECT to_regclass('integ.schema_versions') IS NOT NULL AS is_there";
    let row = client.query_typed_one(sql, &[]).await.map_err(failed)?;
    if !get::<bool>(&row, "is_there")? {
        return Ok(0);
    }
    let sql = "SELECT coalesce(max(version), 0) AS version FROM integ.schema_versions";
    number(&client.query_typed_one(sql, &[]).await.map_err(failed)?, "version")
}
