//! A backup's plain SQLite file, which is untrusted: age does not say who encrypted it, and anyone who knows a recipient can.
//!
//! SQLite's advice for such files is followed (<https://www.sqlite.org/security.html>): the file is opened in memory with
//! everything switched off that a schema could run, its schema must be the one that the migrations make, and all of it
//! is checked before a row is read. The new store is then made by the migrations, and the rows are copied column by
//! column: no schema is ever copied.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Transaction, params_from_iter};
use zeroize::Zeroizing;

use super::export::{check_integrity, first_line};
use super::open::{StoreKey, keyed, limit_lengths};
use super::row::{Row, collect, get_json, query};
use super::{StoreError, meta, migrations, schema};
use crate::clock::Timestamp;

/// What a plain SQLite file begins with.
const FILE_MAGIC: &[u8] = b"SQLite format 3\0";

/// Counters stay below this, 2^53: one near the end of the 64-bit range would leave no number for the next row or write.
const LARGEST_COUNTER: i64 = 1 << 53;

/// The content of a backup, checked and not yet restored.
#[derive(Debug)]
pub struct Snapshot {
    source: Connection,
    version: u32,
}

/// What a backup holds, for the user to see before and after: above all where tokens and events would be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupContents {
    pub connections: Vec<BackupConnection>,
    pub apps: u64,
    /// Tokens of the HTTP API, which are disabled when they are restored.
    pub api_tokens: u64,
    /// URLs that events are sent to.
    pub endpoints: Vec<String>,
    /// URLs that are registered at vendors.
    pub subscriptions: Vec<String>,
    /// Public URLs at which vendors call this machine.
    pub webhooks: Vec<String>,
}

/// A connection of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupConnection {
    pub name: String,
    pub mode: String,
    /// What takes the place of the connector's hosts.
    pub origin: Option<String>,
    /// The user's parameters, which may be parts of hosts.
    pub params: BTreeMap<String, String>,
}

impl Snapshot {
    /// Opens and checks the bytes of a plain SQLite file.
    ///
    /// # Errors
    /// [`StoreError::IntegrityCheck`] unless it is a sound store, [`StoreError::ForeignSchema`] if it holds anything that integ
    /// does not make, [`StoreError::Newer`].
    pub fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::open(bytes).map_err(damage)
    }

    fn open(bytes: &[u8]) -> Result<Self, StoreError> {
        let no_store = || StoreError::IntegrityCheck("the backup does not hold a store".to_owned());
        if !bytes.starts_with(FILE_MAGIC) {
            return Err(no_store());
        }
        let mut source = Connection::open_in_memory()?;
        source.deserialize_read_exact("main", bytes, bytes.len(), true)?;
        harden(&source)?;
        let version = migrations::version(&source).map_err(|_| no_store())?;
        if version == 0 {
            return Err(no_store());
        }
        schema::verify(&source)?;
        check_integrity(&source)?;
        let (sequence, _) = meta::identify(&source).map_err(|_| no_store())?;
        if sequence > LARGEST_COUNTER.unsigned_abs() {
            return Err(StoreError::IntegrityCheck("its count of writes is out of range".to_owned()));
        }
        Ok(Self { source, version })
    }

    /// Returns what restoring it would bring.
    pub fn contents(&self) -> Result<BackupContents, StoreError> {
        contents(&self.source).map_err(damage)
    }

    /// Makes a store of it in a new file at `path`. Its grants are marked as restored, it gets another name in the OS
    /// keyring, and counts its writes on from `sequence` at least.
    ///
    /// # Errors
    /// [`StoreError::IntegrityCheck`] for a row that does not fit; a half-made file may be left.
    pub fn restore(
        &self,
        path: &Path,
        key: &StoreKey,
        sequence: u64,
        now: Timestamp,
    ) -> Result<(BackupContents, u64), StoreError> {
        self.copy(path, key, sequence, now).map_err(damage)
    }

    fn copy(
        &self,
        path: &Path,
        key: &StoreKey,
        sequence: u64,
        now: Timestamp,
    ) -> Result<(BackupContents, u64), StoreError> {
        crate::files::create_private(path)?;
        let mut target = keyed(path, key)?;
        target.pragma_update(None, "journal_mode", "WAL")?;
        migrations::migrate_to(&mut target, self.version)?;
        let transaction = target.transaction()?;
        // Tables refer to each other in both directions.
        transaction.pragma_update(None, "defer_foreign_keys", true)?;
        self.copy_rows(&transaction)?;
        transaction.commit().map_err(|error| misfit("a table", error))?;
        migrations::migrate_to(&mut target, migrations::LATEST)?;
        target.execute("UPDATE grants SET from_backup = 1", [])?;
        // The maker of the backup may know these tokens, and have granted what was never asked of this store's owner.
        target.execute("UPDATE api_tokens SET is_enabled = 0", [])?;
        // Whom it trusts gets new tokens.
        target.execute("DELETE FROM api_token_trusts", [])?;
        // And may hold links and sessions.
        target.execute("DELETE FROM operators", [])?;
        target.execute("UPDATE approvals SET status = 'expired' WHERE status IN ('pending', 'granted')", [])?;
        let set =
            "UPDATE meta SET vault_id = ?1, restored_at = ?2, sequence = max(sequence, ?3) + 1 RETURNING sequence";
        let sequence =
            target.query_row(set, (meta::new_vault_id(), now.as_second(), sequence), |row| row.get::<_, u64>(0))?;
        let restored = contents(&target)?;
        if let Some(table) = first_line(&target, "PRAGMA foreign_key_check")? {
            return Err(StoreError::IntegrityCheck(format!("a row of {table} refers to one that is missing")));
        }
        target.close().map_err(|(_, error)| error)?;
        Ok((restored, sequence))
    }

    /// Copies the columns that this program's own schema names, of the tables that it names.
    fn copy_rows(&self, target: &Transaction<'_>) -> Result<(), StoreError> {
        let tables =
            names(target, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'", "")?;
        for table in &tables {
            let columns = names(target, "SELECT name FROM pragma_table_info(?1)", table)?;
            let values = vec!["?"; columns.len()].join(", ");
            let columns = columns.join(", ");
            let mut select = self.source.prepare(&format!("SELECT {columns} FROM {table}"))?;
            let mut insert = target.prepare(&format!("INSERT INTO {table} ({columns}) VALUES ({values})"))?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let values: Vec<ValueRef<'_>> =
                    (0..row.as_ref().column_count()).map(|index| row.get_ref(index)).collect::<Result<_, _>>()?;
                if values
                    .iter()
                    .any(|value| matches!(value, ValueRef::Text(text) if std::str::from_utf8(text).is_err()))
                {
                    return Err(StoreError::IntegrityCheck(format!("a text of {table} is not UTF-8")));
                }
                let values = values.into_iter().map(rusqlite::types::ToSqlOutput::Borrowed);
                insert.execute(params_from_iter(values)).map_err(|error| misfit(table, error))?;
            }
        }
        self.copy_counters(target, &tables)
    }

    /// The numbers up to which ids were given out, so that none is given out again.
    fn copy_counters(&self, target: &Transaction<'_>, tables: &[String]) -> Result<(), StoreError> {
        let mut select = self.source.prepare("SELECT name, seq FROM sqlite_sequence")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let out_of_range = |_| StoreError::IntegrityCheck("a counter is not a number".to_owned());
            let (name, counter): (String, i64) =
                (row.get("name").map_err(out_of_range)?, row.get("seq").map_err(out_of_range)?);
            if !tables.contains(&name) {
                return Err(StoreError::IntegrityCheck("a counter is of no table".to_owned()));
            }
            let raise = "UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1";
            if target.execute(raise, (&name, counter))? == 0 {
                target.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)", (&name, counter))?;
            }
        }
        let outside = "SELECT count(*) FROM sqlite_sequence WHERE seq NOT BETWEEN 0 AND ?1";
        match target.query_row(outside, [LARGEST_COUNTER], |row| row.get(0))? {
            0_u32 => Ok(()),
            _ => Err(StoreError::IntegrityCheck("a counter is out of range".to_owned())),
        }
    }
}

/// Switches off what a schema or a damaged page could make SQLite do.
fn harden(source: &Connection) -> Result<(), StoreError> {
    for (setting, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
    ] {
        source.set_db_config(setting, on)?;
    }
    limit_lengths(source)?;
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 100_000),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 50),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 3),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 8),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1),
    ] {
        source.set_limit(limit, most)?;
    }
    Ok(source.execute_batch("PRAGMA cell_size_check = ON; PRAGMA query_only = ON")?)
}

fn contents(connection: &Connection) -> Result<BackupContents, StoreError> {
    let mut statement =
        connection.prepare("SELECT connector, account, mode, origin, params FROM connections ORDER BY 1, 2")?;
    let connections = collect(query(&mut statement, [])?, from_row)?;
    let urls = |sql: &str| names(connection, sql, "");
    Ok(BackupContents {
        connections,
        apps: connection.query_row("SELECT count(*) FROM apps", [], |row| row.get(0))?,
        api_tokens: connection.query_row("SELECT count(*) FROM api_tokens", [], |row| row.get(0))?,
        endpoints: urls("SELECT url FROM endpoints ORDER BY 1")?,
        subscriptions: urls("SELECT url FROM subscriptions ORDER BY 1")?,
        webhooks: urls("SELECT public_url FROM webhooks WHERE public_url IS NOT NULL ORDER BY 1")?,
    })
}

/// Takes names that no connection of ours could have as they are: they are shown, not used.
fn from_row(row: &Row<'_>) -> Result<BackupConnection, StoreError> {
    let (connector, account): (String, String) = (row.get("connector")?, row.get("account")?);
    Ok(BackupConnection {
        name: if account.is_empty() { connector } else { format!("{connector}@{account}") },
        mode: row.get("mode")?,
        origin: row.get("origin")?,
        params: get_json(row, "params")?,
    })
}

fn names(connection: &Connection, sql: &str, of: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare(sql)?;
    let parameters: &[&str] = if statement.parameter_count() == 0 { &[] } else { &[of] };
    let names = statement.query_map(params_from_iter(parameters), |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// What SQLite refuses to read of a backup is damage: a file format that it does not know, for one, is reported as a plain
/// error.
fn damage(error: StoreError) -> StoreError {
    match error {
        StoreError::Sqlite(source) => StoreError::Damaged(source),
        other => other,
    }
}

/// A row that the schema refuses is the backup's fault; everything else keeps its own error.
fn misfit(table: &str, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(
            rusqlite::ErrorCode::ConstraintViolation | rusqlite::ErrorCode::TypeMismatch | rusqlite::ErrorCode::TooBig,
        ) => StoreError::IntegrityCheck(format!("a row of {table} does not fit: {error}")),
        _ => error.into(),
    }
}

/// Returns the bytes of an attached in-memory database.
pub(super) fn serialized(connection: &mut Connection, schema: &str) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    Ok(Zeroizing::new(connection.serialize(schema)?.to_vec()))
}
