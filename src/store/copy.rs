//! Whole copies of a store: under another key, in the clear in memory, and back; and checking one.

use std::io;
use std::path::Path;

use rusqlite::Connection;
use zeroize::Zeroizing;

use super::open::{CIPHER, Key, keyed};
use super::{Store, StoreError, grants, meta, migrations};
use crate::clock::Timestamp;
use crate::connection::{ConnectionId, Grant};

/// What a plain SQLite file begins with.
const FILE_MAGIC: &[u8] = b"SQLite format 3\0";

/// What a restored store was made from, for the user to see before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub connections: u64,
    pub apps: u64,
    pub endpoints: u64,
    pub subscriptions: u64,
}

impl Store {
    /// Copies the store into a new file at `path` under `key`. Nobody else may have the store open.
    ///
    /// # Errors
    /// [`StoreError`]; a half-made file may be left.
    pub fn export(&self, path: &Path, key: &Key) -> Result<(), StoreError> {
        let connection = self.connection();
        export(&connection, path, key)
    }

    /// The store as a plain SQLite file, made in memory: nothing in the clear touches the disk. `entrusted` are the
    /// grants whose secrets are in the OS keyring, so that the copy has them all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn snapshot(&self, entrusted: &[(ConnectionId, u64, Grant)]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let connection = self.connection();
        connection.execute("ATTACH DATABASE ':memory:' AS plain KEY ''", [])?;
        let snapshot = snapshot(&connection, entrusted);
        let detached = connection.execute("DETACH DATABASE plain", []);
        let snapshot = snapshot?;
        detached?;
        Ok(snapshot)
    }

    /// Makes a store in a new file at `path` from a snapshot, which is checked first. Its grants are marked as
    /// restored, it gets another name in the OS keyring, and counts its writes on from `sequence` at least.
    ///
    /// # Errors
    /// [`StoreError::Check`] where the snapshot is not a sound store, [`StoreError::Newer`].
    pub fn import(
        snapshot: &[u8],
        path: &Path,
        key: &Key,
        sequence: u64,
        now: Timestamp,
    ) -> Result<Restored, StoreError> {
        let no_store = || StoreError::Check("the backup does not hold a store".to_owned());
        let unsound = |_: StoreError| no_store();
        if !snapshot.starts_with(FILE_MAGIC) {
            return Err(no_store());
        }
        let mut source = Connection::open_in_memory()?;
        source.deserialize_read_exact("main", snapshot, snapshot.len(), true)?;
        let version = migrations::version(&source).map_err(unsound)?;
        if version > migrations::LATEST {
            return Err(StoreError::Newer { found: version, known: migrations::LATEST });
        }
        sound(&source)?;
        meta::identify(&source).map_err(unsound)?;
        export(&source, path, key)?;
        let mut copy = keyed(path, key)?;
        migrations::migrate(&mut copy)?;
        let transaction = copy.transaction()?;
        transaction.execute("UPDATE grants SET restored = 1", [])?;
        transaction.execute(
            "UPDATE meta SET vault_id = ?1, restored_at = ?2, sequence = max(sequence, ?3) + 1",
            (meta::new_vault_id(), now.as_second(), sequence),
        )?;
        let count = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, u64>(0));
        let restored = Restored {
            connections: count("SELECT count(*) FROM connections")?,
            apps: count("SELECT count(*) FROM apps")?,
            endpoints: count("SELECT count(*) FROM endpoints")?,
            subscriptions: count("SELECT count(*) FROM subscriptions")?,
        };
        transaction.commit()?;
        copy.close().map_err(|(_, error)| error)?;
        Ok(restored)
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

    /// Reads every page: each is authentic, the tables and indexes agree, and every reference has its row.
    ///
    /// # Errors
    /// [`StoreError::Check`] or [`StoreError::Damaged`].
    pub fn check(&self) -> Result<(), StoreError> {
        self.read(|connection| {
            if let Some(problem) = first_line(connection, "PRAGMA cipher_integrity_check")? {
                return Err(StoreError::Check(problem));
            }
            sound(connection)
        })
    }

    /// Reads the store as [`Self::check`] does, without comparing indexes with their tables and without the pages'
    /// signatures, each of which was verified when it was read.
    ///
    /// # Errors
    /// [`StoreError::Check`] or [`StoreError::Damaged`].
    pub fn quick_check(&self) -> Result<(), StoreError> {
        self.read(|connection| match first_line(connection, "PRAGMA quick_check(1)")?.as_deref() {
            Some("ok") => Ok(()),
            problem => Err(StoreError::Check(problem.unwrap_or("it cannot be checked").to_owned())),
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
            let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            if busy == 0 { Ok(()) } else { Err(StoreError::Check("its log is in use".to_owned())) }
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

fn sound(connection: &Connection) -> Result<(), StoreError> {
    match first_line(connection, "PRAGMA integrity_check(1)")?.as_deref() {
        Some("ok") => {}
        problem => return Err(StoreError::Check(problem.unwrap_or("it cannot be checked").to_owned())),
    }
    match first_line(connection, "PRAGMA foreign_key_check")? {
        Some(table) => Err(StoreError::Check(format!("a row of {table} refers to one that is missing"))),
        None => Ok(()),
    }
}

fn first_line(connection: &Connection, sql: &str) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
}

fn export(connection: &Connection, path: &Path, key: &Key) -> Result<(), StoreError> {
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
    connection: &Connection,
    entrusted: &[(ConnectionId, u64, Grant)],
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    copy_into(connection, "plain")?;
    for (id, generation, grant) in entrusted {
        grants::fill_in(connection, "plain", *id, *generation, grant)?;
    }
    Ok(Zeroizing::new(connection.serialize("plain")?.to_vec()))
}
