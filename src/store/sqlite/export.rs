//! Whole copies of a store, under another key or in the clear in memory, and checking one. The way back is `snapshot`.

use std::io;
use std::path::Path;

use rusqlite::Connection;
use zeroize::Zeroizing;

use super::open::{CIPHER, StoreKey};
use super::{Store, StoreError, grants, migrations, schema, snapshot};
use crate::model::connection::ConnectionId;
use crate::model::grant::Grant;

impl Store {
    /// Copies the store into a new file at `path` under `key`. Nobody else may have the store open.
    ///
    /// # Errors
    /// [`StoreError`]; a half-made file may be left.
    pub fn export(&self, path: &Path, key: &StoreKey) -> Result<(), StoreError> {
        let connection = self.connection();
        // A copy has the whole schema, and a foreign trigger is not to be carried into the next store.
        schema::verify(&connection)?;
        export(&connection, path, key)
    }

    /// The store as a plain SQLite file, made in memory: nothing in the clear touches the disk. `entrusted` are the
    /// grants whose secrets are in the OS keyring, so that the copy has them all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn snapshot(&self, entrusted: &[(ConnectionId, u64, Grant)]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let mut connection = self.connection();
        schema::verify(&connection)?;
        connection.execute("ATTACH DATABASE ':memory:' AS plain KEY ''", [])?;
        let snapshot = snapshot(&mut connection, entrusted);
        let detached = connection.execute("DETACH DATABASE plain", []);
        let snapshot = snapshot?;
        detached?;
        Ok(snapshot)
    }

    /// Whether a backup may be restored over it: it holds no connection, no app and no endpoint.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM connections) AND NOT EXISTS (SELECT 1 FROM apps) \
                   AND NOT EXISTS (SELECT 1 FROM endpoints)";
        self.read(|connection| Ok(connection.query_row(sql, [], |row| row.get(0))?))
    }

    /// Reads every page: each is authentic, the schema is the one that integ makes, the tables and indexes agree, and
    /// every reference has its row.
    ///
    /// # Errors
    /// [`StoreError::IntegrityCheck`], [`StoreError::ForeignSchema`] or [`StoreError::Damaged`].
    pub fn check(&self) -> Result<(), StoreError> {
        self.read(|connection| {
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
        self.read(|connection| {
            if migrations::version(connection)? <= migrations::LATEST {
                schema::verify(connection)?;
            }
            match first_line(connection, "PRAGMA quick_check(1)")?.as_deref() {
                Some("ok") => Ok(()),
                problem => Err(StoreError::IntegrityCheck(problem.unwrap_or("it cannot be checked").to_owned())),
            }
        })
    }

    /// The version of the schema that the file has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn schema_version(&self) -> Result<u32, StoreError> {
        self.read(migrations::version)
    }

    /// Moves what is in the write-ahead log into the store's file, and empties the log.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        self.read(|connection| {
            let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get("busy"))?;
            if busy == 0 { Ok(()) } else { Err(StoreError::IntegrityCheck("its log is in use".to_owned())) }
        })
    }

    /// Closes the store, moving what the log holds into its file.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn close(self) -> Result<(), StoreError> {
        self.checkpoint()?;
        let connection = self.connection.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        Ok(connection.close().map_err(|(_, error)| error)?)
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
    // After a failure this fails as well, and what counts is why: a full disk, not the detaching.
    let detached = connection.execute("DETACH DATABASE fresh", []);
    copied?;
    detached?;
    Ok(())
}

/// Copies everything into an attached database, as it stood at one moment.
fn copy_into(connection: &Connection, schema: &str) -> Result<(), StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let version = migrations::version(&transaction)?;
    transaction.query_row("SELECT sqlcipher_export(?1)", [schema], |_| Ok(()))?;
    transaction.pragma_update(Some(schema), "user_version", version)?;
    Ok(transaction.commit()?)
}

fn snapshot(
    connection: &mut Connection,
    entrusted: &[(ConnectionId, u64, Grant)],
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    copy_into(connection, "plain")?;
    for (id, generation, grant) in entrusted {
        grants::fill_in(connection, "plain", *id, *generation, grant)?;
    }
    snapshot::serialized(connection, "plain")
}
