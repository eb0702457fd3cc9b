//! Copies a whole store, with another key or unencrypted in memory, and checks one. `snapshot` restores.
//!
//! The vault calls all of this on threads for blocking work.

use std::io;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use zeroize::Zeroizing;

use super::open::{CIPHER, StoreKey};
use super::{SqliteStore, StoreError, grants, migrations, schema, snapshot};
use crate::model::{ConnectionId, Grant};

impl SqliteStore {
    /// Copies the store into a new file at `path` under `key`. No other process may have the store open. After an error, an
    /// incomplete file may be left.
    pub fn export(&self, path: &Path, key: &StoreKey) -> Result<(), StoreError> {
        // A connection of its own: what it attaches ends with it, whatever fails.
        let connection = self.file.open()?;
        // A copy has the whole schema, and a foreign trigger is not to be carried into the next store.
        schema::verify(&connection)?;
        export(&connection, path, key)
    }

    /// Returns the store as a plain SQLite file, made in memory: nothing in the clear touches the disk.
    /// `keyring_grants` are the grants whose secrets are in the OS keyring, so that the copy has them all.
    pub fn snapshot(&self, keyring_grants: &[(ConnectionId, u64, Grant)]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        // A connection of its own, as in `export`.
        let mut connection = self.file.open()?;
        schema::verify(&connection)?;
        connection.execute("ATTACH DATABASE ':memory:' AS plain KEY ''", [])?;
        let snapshot = snapshot(&mut connection, keyring_grants);
        let detached = connection.execute("DETACH DATABASE plain", []);
        let snapshot = snapshot?;
        detached?;
        Ok(snapshot)
    }

    /// Returns whether a backup may be restored over it: it holds no connection, no app and no endpoint.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM connections) AND NOT EXISTS (SELECT 1 FROM apps) \
                   AND NOT EXISTS (SELECT 1 FROM endpoints)";
        self.read_blocking(|connection| Ok(connection.query_row(sql, [], |row| row.get(0))?))
    }

    /// Reads every page: each is authentic, the schema is the one that integ makes, the tables and indexes agree, and
    /// every reference has its row.
    ///
    /// # Errors
    /// [`StoreError::IntegrityCheck`], [`StoreError::ForeignSchema`] or [`StoreError::Damaged`].
    pub fn check(&self) -> Result<(), StoreError> {
        self.read_blocking(|connection| {
            if let Some(problem) = first_line(connection, "PRAGMA cipher_integrity_check")? {
                return Err(StoreError::IntegrityCheck(problem));
            }
            if migrations::version(connection)? <= migrations::LATEST {
                schema::verify(connection)?;
            }
            check_integrity(connection)
        })
    }

    /// Reads the store as [`Self::check`] does, without comparing indexes with their tables and without the pages'
    /// signatures, each of which was verified when it was read.
    ///
    /// # Errors
    /// [`StoreError::IntegrityCheck`] or [`StoreError::Damaged`].
    pub fn quick_check(&self) -> Result<(), StoreError> {
        self.read_blocking(|connection| {
            if migrations::version(connection)? <= migrations::LATEST {
                schema::verify(connection)?;
            }
            match first_line(connection, "PRAGMA quick_check(1)")?.as_deref() {
                Some("ok") => Ok(()),
                problem => Err(StoreError::IntegrityCheck(problem.unwrap_or("it cannot be checked").to_owned())),
            }
        })
    }

    /// Returns the version of the schema that the file has.
    pub fn schema_version(&self) -> Result<u32, StoreError> {
        self.read_blocking(migrations::version)
    }

    /// Moves the write-ahead log into the store's file and empties the log. Stops the writer, whose connection would
    /// keep the log in use; a later write starts it again.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        self.writer.close();
        self.read_blocking(|connection| {
            let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get("busy"))?;
            if busy == 0 { Ok(()) } else { Err(StoreError::IntegrityCheck("its log is in use".to_owned())) }
        })
    }

    /// Closes the store, moving what the log holds into its file.
    pub(crate) fn close(self) -> Result<(), StoreError> {
        self.checkpoint()?;
        let last = self.readers.take().map_or_else(|| self.file.open(), Ok)?;
        self.readers.close();
        // The last connection that closes deletes the log, unless that is switched off, as it is for readers.
        last.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        Ok(last.close().map_err(|(_, error)| error)?)
    }
}

pub(super) fn check_integrity(connection: &Connection) -> Result<(), StoreError> {
    match first_line(connection, "PRAGMA integrity_check(1)")?.as_deref() {
        Some("ok") => {}
        problem => return Err(StoreError::IntegrityCheck(problem.unwrap_or("it cannot be checked").to_owned())),
    }
    match first_line(connection, "PRAGMA foreign_key_check")? {
        Some(table) => Err(StoreError::IntegrityCheck(format!("a row of {table} refers to one that is missing"))),
        None => Ok(()),
    }
}

pub(super) fn first_line(connection: &Connection, sql: &str) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
}

fn export(connection: &Connection, path: &Path, key: &StoreKey) -> Result<(), StoreError> {
    let unnameable = || io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8");
    crate::files::create_private(path)?;
    connection.execute_batch(CIPHER)?;
    connection
        .execute("ATTACH DATABASE ?1 AS fresh KEY ?2", (path.to_str().ok_or_else(unnameable)?, key.raw().as_str()))?;
    let copied = copy_into(connection, "fresh").and_then(|()| {
        connection.pragma_update(Some("fresh"), "journal_mode", "WAL")?;
        Ok(())
    });
    // After a failure this fails as well, and the first error is the one to report: a full disk, not the detaching.
    let detached = connection.execute("DETACH DATABASE fresh", []);
    copied?;
    detached?;
    Ok(())
}

/// Copies everything into an attached database, from one snapshot.
fn copy_into(connection: &Connection, schema: &str) -> Result<(), StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let version = migrations::version(&transaction)?;
    transaction.query_row("SELECT sqlcipher_export(?1)", [schema], |_| Ok(()))?;
    transaction.pragma_update(Some(schema), "user_version", version)?;
    Ok(transaction.commit()?)
}

fn snapshot(
    connection: &mut Connection,
    keyring_grants: &[(ConnectionId, u64, Grant)],
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    copy_into(connection, "plain")?;
    for (id, generation, grant) in keyring_grants {
        grants::fill_in(connection, "plain", *id, *generation, grant)?;
    }
    snapshot::serialized(connection, "plain")
}
