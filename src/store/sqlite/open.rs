//! Creates and opens the file of a store.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, ffi};
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use super::locks::{self, MemoryLocks};
use super::readers::Readers;
use super::sequence::{SequenceFiles, SequenceReading};
use super::writer::Writer;
use super::{SqliteStore, StoreError, connections, meta, migrations, sandbox};
use crate::clock::{self, Stopwatch, Timestamp};
use crate::hex;
use crate::model::{Grant, NewConnection};
use crate::secret::Secret;

/// SQLite before 3.51.3 could lose writes when a write-ahead log was reset beside a checkpoint.
const OLDEST_SQLITE: i32 = 3_051_003;
const _: () = assert!(ffi::SQLITE_VERSION_NUMBER >= OLDEST_SQLITE, "built with an SQLite that may lose writes");

/// How long one writer waits for another: many processes, each holding the store for one fsync.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

/// How pages are made, in each file that is opened or attached from here on. Of SQLCipher's own choices SHA-512 takes more
/// than twice as long, for most processors have instructions for SHA-256 alone, and of 4 KiB a webhook's event would take
/// a page for itself.
pub(super) const CIPHER: &str =
    "PRAGMA cipher_default_hmac_algorithm = HMAC_SHA256; PRAGMA cipher_default_page_size = 8192";

/// The 256-bit key of a store, as 64 hexadecimal digits. Anything else SQLCipher would silently take for a passphrase,
/// which is why no other form can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreKey(Secret<String>);

impl StoreKey {
    /// Creates a key from the system's random numbers.
    pub fn random() -> Self {
        let bytes = Zeroizing::new(clock::random::<32>());
        let mut hex = String::with_capacity(64);
        for byte in bytes.iter() {
            for digit in [byte >> 4, byte & 0xf] {
                hex.extend(char::from_digit(digit.into(), 16));
            }
        }
        Self(Secret::new(hex))
    }

    /// Absent where the text is not 64 hexadecimal digits.
    pub fn from_hex(hex: &str) -> Option<Self> {
        (hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| Self(Secret::from(hex)))
    }

    /// Returns the key itself, as 64 hexadecimal digits.
    pub fn hex(&self) -> &str {
        self.0.expose()
    }

    /// As SQLCipher takes a raw key: no password stretching.
    pub(super) fn raw(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("x'{}'", self.hex()))
    }
}

/// What to do with a store that lost committed writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostWritesPolicy {
    Refuse,
    /// Go on from what is left: the number noted beside the store is set back.
    Accept,
}

impl SqliteStore {
    /// Opens the store at `path`. A damaged or foreign file is left as it is.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`], [`StoreError::Damaged`], [`StoreError::RolledBack`]…
    pub fn open(path: &Path, key: &StoreKey, lost: LostWritesPolicy) -> Result<Self, StoreError> {
        Self::open_with(path, key, SequenceFiles::new(Self::sequence_file(path), key), lost)
    }

    /// Opens the store with a second note of the number of its writes, at `outer`, outside its folder.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn open_with_outer_sequence(
        path: &Path,
        key: &StoreKey,
        outer: PathBuf,
        lost: LostWritesPolicy,
    ) -> Result<Self, StoreError> {
        Self::open_with(path, key, SequenceFiles::new(Self::sequence_file(path), key).with_outer(outer), lost)
    }

    fn open_with(
        path: &Path,
        key: &StoreKey,
        notes: SequenceFiles,
        lost: LostWritesPolicy,
    ) -> Result<Self, StoreError> {
        // Before the store, so that a write in between cannot make the store look old.
        let (inner, outer) = (notes.inner()?, notes.outer()?);
        let opened = patiently(|| verified(path, key))?;
        let noted = [inner, outer].into_iter().filter_map(|noted| match noted {
            SequenceReading::Number(number) => Some(number),
            SequenceReading::Absent | SequenceReading::Forged => None,
        });
        let noted = noted.max().unwrap_or(0);
        let mut doubt = notes.doubt(inner, outer);
        match lost {
            LostWritesPolicy::Refuse if opened.sequence < noted => {
                return Err(StoreError::RolledBack { found: opened.sequence, expected: noted });
            }
            // A store that nothing was ever written to, whose making was cut short before it was noted.
            LostWritesPolicy::Refuse if opened.sequence == 0 && doubt.is_some() => {
                doubt = None;
                let _ = notes.set(0);
            }
            LostWritesPolicy::Refuse => {}
            LostWritesPolicy::Accept => {
                doubt = None;
                notes.set(opened.sequence)?;
            }
        }
        let file = StoreFile::OnDisk { path: path.to_owned(), key: key.clone(), is_immutable: opened.is_immutable };
        let mut store = Self::new(file, Some(notes), opened)?;
        store.warning = doubt;
        Ok(store)
    }

    fn new(file: StoreFile, notes: Option<SequenceFiles>, opened: OpenedFile) -> Result<Self, StoreError> {
        let readers = Arc::new(Readers::new(file.clone(), opened.connection)?);
        Ok(Self {
            writer: Writer::new(file.clone(), notes.map(Arc::new), Arc::clone(&readers)),
            readers,
            file,
            warning: None,
            vault_id: opened.vault_id,
            holder: locks::new_holder(),
            is_read_only: opened.read_only,
            limited: Mutex::default(),
            pending: OnceLock::new(),
            lock: None,
        })
    }

    /// Opens a store that nobody else uses and that is put in its place later: its writes are not noted beside it.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn open_unplaced(path: &Path, key: &StoreKey) -> Result<Self, StoreError> {
        let opened = patiently(|| verified(path, key))?;
        let file = StoreFile::OnDisk { path: path.to_owned(), key: key.clone(), is_immutable: opened.is_immutable };
        Self::new(file, None, opened)
    }

    /// Makes a store that is in the memory of this process alone and ends with it. It holds these connections, of which no
    /// two may have the same name, and these documents of the sandbox by key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn in_memory(
        contents: &[(NewConnection, Grant)],
        sandbox_documents: &[(&str, Value)],
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let file = StoreFile::in_memory();
        let mut connection = file.open()?;
        migrations::migrate(&mut connection)?;
        meta::insert(&connection, now)?;
        let transaction = connection.transaction()?;
        for (new, grant) in contents {
            connections::insert(&transaction, new, grant)?;
        }
        for (key, document) in sandbox_documents {
            sandbox::insert(&transaction, key, document)?;
        }
        transaction.commit()?;
        let (sequence, vault_id) = meta::identify(&connection)?;
        let opened = OpenedFile { connection, is_immutable: false, sequence, vault_id, read_only: false };
        Self::new(file, None, opened)
    }

    /// Notes how many writes the store at `path` has, which has just been put in place.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn record_sequence(path: &Path, key: &StoreKey, outer: PathBuf, sequence: u64) -> Result<(), StoreError> {
        Ok(SequenceFiles::new(Self::sequence_file(path), key).with_outer(outer).set(sequence)?)
    }

    /// Makes a new, empty store in a new file at `path`, which no other process may use yet.
    ///
    /// # Errors
    /// [`StoreError::Io`] where something is at `path`, and others; a half-made file may be left.
    pub fn create(path: &Path, key: &StoreKey, now: Timestamp) -> Result<(), StoreError> {
        crate::files::create_private(path)?;
        let mut connection = keyed(path, key)?;
        // Kept in the file's header, so that no later opening has to ask for it.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        migrations::migrate(&mut connection)?;
        meta::insert(&connection, now)?;
        Ok(connection.close().map_err(|(_, error)| error)?)
    }
}

/// Where a store is, and how connections to it are opened.
#[derive(Clone, Debug)]
pub(super) enum StoreFile {
    OnDisk {
        path: PathBuf,
        key: StoreKey,
        /// Whether neither the log nor locks are looked at: see [`verified`].
        is_immutable: bool,
    },
    /// In the memory of this process, for as long as one of its connections is open.
    InMemory { uri: String, locks: MemoryLocks },
}

impl StoreFile {
    fn in_memory() -> Self {
        // The name distinguishes the stores of one process.
        let name = hex::encode(&clock::random::<16>());
        Self::InMemory { uri: format!("file:/{name}?vfs=memdb"), locks: MemoryLocks::default() }
    }

    /// Opens a further connection to a store that was identified before.
    pub(super) fn open(&self) -> Result<Connection, StoreError> {
        let connection = match self {
            Self::OnDisk { path, key, is_immutable: true } => keyed_immutable(path, key)?,
            Self::OnDisk { path, key, is_immutable: false } => keyed(path, key)?,
            Self::InMemory { uri, .. } => {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
                guarded(Path::new(uri), flags | OpenFlags::SQLITE_OPEN_URI)?
            }
        };
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(connection)
    }
}

struct OpenedFile {
    connection: Connection,
    is_immutable: bool,
    sequence: u64,
    vault_id: String,
    read_only: bool,
}

/// A connection to the file at `path` under `key`, of which nothing has been read yet.
pub(super) fn keyed(path: &Path, key: &StoreKey) -> Result<Connection, StoreError> {
    unlock(path, OpenFlags::SQLITE_OPEN_READ_WRITE, key)
}

/// A connection to a file without writers: its log and locks are ignored.
fn keyed_immutable(path: &Path, key: &StoreKey) -> Result<Connection, StoreError> {
    let mut uri = std::path::absolute(path)
        .and_then(|path| Url::from_file_path(path).map_err(|()| std::io::ErrorKind::InvalidFilename.into()))?;
    uri.set_query(Some("immutable=1"));
    unlock(Path::new(uri.as_str()), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI, key)
}

fn unlock(path: &Path, flags: OpenFlags, key: &StoreKey) -> Result<Connection, StoreError> {
    let connection = guarded(path, flags)?;
    // SQLCipher reports failures on stderr as well as by its result; the level is the process's, and set before the
    // first page is read. `synchronous=FULL` and `foreign_keys=ON` are the build's defaults (a test holds them to it).
    let setup = Zeroizing::new(format!(
        "PRAGMA cipher_log_level = NONE; {CIPHER}; PRAGMA key = \"{}\"; PRAGMA secure_delete = ON",
        *key.raw()
    ));
    connection.execute_batch(&setup)?;
    Ok(connection)
}

/// Opens a connection with the limits and the distrust of schemas that every store gets.
fn guarded(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(StoreError::OldSqlite(rusqlite::version()));
    }
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // No SQL may edit the schema's own table, and nothing in a schema is trusted (the latter is the build's default as
    // well). The key says who could write the file, not who did.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    limit_lengths(&connection)?;
    Ok(connection)
}

/// Bytes: the largest text, blob or row. What vendors answer is limited to far less.
const LARGEST_VALUE: i32 = 64 << 20;

/// Limits the size of a row, the same for a store and for a backup that is restored into one.
pub(super) fn limit_lengths(connection: &Connection) -> Result<(), StoreError> {
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LARGEST_VALUE)?;
    Ok(())
}

/// Opens and reads the first facts. Nothing is written, unless the schema is to be brought forward.
///
/// In a folder that cannot be written, SQLite cannot make the index of the log. It is not needed if the log holds nothing;
/// a log that holds writes is never left out.
fn verified(path: &Path, key: &StoreKey) -> Result<OpenedFile, StoreError> {
    match identified(keyed(path, key)?) {
        Err(StoreError::ReadOnly(source)) if has_log(path) => Err(StoreError::LogUnreadable(source)),
        Err(StoreError::ReadOnly(_)) => {
            Ok(OpenedFile { is_immutable: true, ..identified(keyed_immutable(path, key)?)? })
        }
        opened => opened,
    }
}

/// Whether there is a log that holds anything, or may hold anything.
fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    match std::fs::metadata(log) {
        Ok(metadata) => metadata.len() > 0,
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

fn identified(mut connection: Connection) -> Result<OpenedFile, StoreError> {
    // A reader leaves the log as it found it: a damaged one stays for `vault check`, and a reader's last
    // act is not an fsync. the writer takes this back.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let version = migrations::version(&connection)?;
    if version == 0 {
        return Err(StoreError::IntegrityCheck("its file is empty".to_owned()));
    }
    if version < migrations::LATEST {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        migrations::migrate(&mut connection)?;
    }
    let (sequence, vault_id) = meta::identify(&connection)?;
    Ok(OpenedFile { connection, is_immutable: false, sequence, vault_id, read_only: version > migrations::LATEST })
}

/// Repeats an opening that met another process's opening, closing or recovery of the log: SQLite's own waiting does not
/// cover all of these.
fn patiently<T>(mut open: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let waiting = Stopwatch::start();
    loop {
        match open() {
            Err(StoreError::Busy(_)) if waiting.elapsed() < BUSY_TIMEOUT => thread::sleep(Duration::from_millis(5)),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_hexadecimal_digits_and_nothing_else() {
        let key = StoreKey::random();
        assert_eq!(key.hex().len(), 64);
        assert_eq!(StoreKey::from_hex(key.hex()), Some(key.clone()));
        assert_eq!(StoreKey::from_hex(&key.hex()[1..]), None);
        assert_eq!(StoreKey::from_hex(&format!("{}'", &key.hex()[1..])), None);
        assert_eq!(format!("{key:?}"), "StoreKey([redacted])");
    }

    #[test]
    fn the_defaults_of_the_build_are_the_durable_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.db");
        let key = StoreKey::random();
        SqliteStore::create(&path, &key, Timestamp::UNIX_EPOCH).unwrap();
        let connection = keyed(&path, &key).unwrap();
        let setting = |name: &str| -> String {
            connection
                .query_row(&format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"), [], |row| row.get(0))
                .unwrap()
        };
        assert_eq!((setting("synchronous"), setting("foreign_keys")), ("2".to_owned(), "1".to_owned()));
        assert_eq!(setting("journal_mode"), "wal");
    }
}
