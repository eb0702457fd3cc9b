//! Errors of the store, distinguished by their fix.

use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

use rusqlite::{ErrorCode, ffi};
use thiserror::Error;

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::files;
use crate::model::{ConnectionName, ConsentError};
use crate::store::LockKey;

/// SQLite's own account of a failure, which all writers of a failed commit share.
#[derive(Clone, Debug)]
pub struct SqliteError(Arc<rusqlite::Error>);

impl fmt::Display for SqliteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for SqliteError {}

/// A value in the store that this program would not have written.
#[derive(Debug, Error)]
pub enum MalformedValue {
    #[error("{0} is not a time")]
    Time(i64),
    #[error("{0:?} is not a value of its column")]
    EnumValue(String),
    #[error("{0} is out of its column's range")]
    Number(i64),
    #[error("a JSON column is not valid JSON")]
    Json(#[source] serde_json::Error),
    #[error("a connection's name or address is not valid")]
    Name,
}

/// An error of a store. Failures of SQLite are grouped by what the user can do about them.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("the store is damaged")]
    Damaged(#[source] SqliteError),
    #[error("the store is damaged: {0}")]
    IntegrityCheck(String),
    /// Somebody else added it: integ makes its schema by itself.
    #[error("the store contains the {kind} {name:?}, {problem}")]
    ForeignSchema { kind: String, name: String, problem: &'static str },
    #[error("the store contains a value that this version cannot read")]
    Malformed(#[from] MalformedValue),
    /// Another key's, or damaged in its first page: the two look the same.
    #[error("the key does not open the store: it belongs to another vault or is damaged")]
    WrongKey(#[source] SqliteError),
    #[error("the store was written by a newer version of integ and is read-only")]
    ReadOnlyNewer,
    #[error("the store has schema version {found}, newer than this program's {known}")]
    Newer { found: u32, known: u32 },
    #[error("the store has lost its last {} writes: it is at write {found} of {expected}", expected - found)]
    RolledBack { found: u64, expected: u64 },
    #[error("the disk is full")]
    DiskFull(#[source] SqliteError),
    #[error("cannot write the store: its file system is read-only or its files belong to another user")]
    ReadOnly(#[source] SqliteError),
    /// A process that was killed has left it.
    #[error("the store's last writes are in its log, which cannot be read because the folder is read-only")]
    LogUnreadable(#[source] SqliteError),
    #[error("another process has kept the store busy for too long")]
    Busy(#[source] SqliteError),
    #[error("cannot read or write the store")]
    Io(#[from] io::Error),
    #[error("cannot open the lock file {}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("another process has taken over the lock {0}, because this one was paused for too long")]
    LeaseLost(LockKey),
    /// What was to be committed needs it.
    #[error(transparent)]
    Consent(Box<ConsentError>),
    #[error("the store is closed")]
    Closed,
    #[error("the connection no longer exists")]
    ConnectionNotFound,
    #[error("{0} is already a live connection")]
    NameTaken(ConnectionName),
    #[error("this SQLite, {0}, is older than 3.51.3 and may lose writes")]
    OldSqlite(&'static str),
    #[error("the store refused a statement")]
    Sqlite(#[source] SqliteError),
    /// Of a store that is a server.
    #[error("cannot reach the store's server")]
    Unreachable(#[source] BackendError),
    /// Of a store that is a server: other writers were in the way, or it was too slow.
    #[error("the store's server was busy for too long")]
    Contended(#[source] BackendError),
    #[error("the store's server has no workspace {0:?}")]
    WorkspaceNotFound(String),
    /// It was changed, or copied from another row, column or workspace; or the key is another workspace's.
    #[error("a value of {table}.{column} in the store cannot be decrypted")]
    Unsealable { table: &'static str, column: &'static str },
    /// Its key file is to be read again: a node has given the workspace another key.
    #[error("the workspace's key number {0} is not known here")]
    UnknownKey(u16),
    #[error("the workspace has had a key with the number {0} or a greater one")]
    KeyNumberTaken(u16),
    #[error("the copy of the table {table} has {found} rows and differs from the original, which has {expected}")]
    TransferDiffers { table: &'static str, expected: u64, found: u64 },
    #[error("other programs are using the workspace")]
    InUse,
    /// Of a store that is not SQLite.
    #[error("the store failed")]
    Backend(#[source] BackendError),
}

/// What another store than SQLite says of a failure. All writers of a failed commit share it.
pub type BackendError = Arc<dyn std::error::Error + Send + Sync>;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::from(SqliteError(Arc::new(error)))
    }
}

impl StoreError {
    /// Returns the error of a commit for another of its writers.
    pub(super) fn another(&self) -> Self {
        match self {
            Self::Damaged(source)
            | Self::WrongKey(source)
            | Self::DiskFull(source)
            | Self::ReadOnly(source)
            | Self::LogUnreadable(source)
            | Self::Busy(source)
            | Self::Sqlite(source) => Self::from(source.clone()),
            Self::Io(error) => match error.get_ref().and_then(|source| source.downcast_ref::<SqliteError>()) {
                Some(source) => Self::from(source.clone()),
                None => Self::Io(io::Error::new(error.kind(), error.to_string())),
            },
            Self::ReadOnlyNewer => Self::ReadOnlyNewer,
            Self::IntegrityCheck(problem) => Self::IntegrityCheck(problem.clone()),
            Self::Unreachable(source) => Self::Unreachable(Arc::clone(source)),
            Self::Contended(source) => Self::Contended(Arc::clone(source)),
            // No commit fails with another one.
            _ => Self::Closed,
        }
    }
}

impl From<SqliteError> for StoreError {
    fn from(source: SqliteError) -> Self {
        let error = &source.0;
        let code = error.sqlite_error_code();
        // The index of the log could not be made as large as it has to be.
        let no_room = error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHMSIZE);
        match code {
            Some(ErrorCode::NotADatabase) => Self::WrongKey(source),
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged(source),
            Some(ErrorCode::DiskFull) => Self::DiskFull(source),
            Some(ErrorCode::SystemIoFailure) if no_room => Self::DiskFull(source),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Self::ReadOnly(source),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
                Self::Busy(source)
            }
            Some(ErrorCode::SystemIoFailure) => Self::Io(io::Error::other(source)),
            // A column of another type than was written.
            None if matches!(
                **error,
                rusqlite::Error::InvalidColumnType(..)
                    | rusqlite::Error::FromSqlConversionFailure(..)
                    | rusqlite::Error::IntegralValueOutOfRange(..)
            ) =>
            {
                Self::Damaged(source)
            }
            _ => Self::Sqlite(source),
        }
    }
}

impl Remedy for StoreError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Damaged(_) | Self::IntegrityCheck(_) | Self::Malformed(_) => {
                Diagnostic::new(Kind::Vault, "vault_damaged").hint(check_or_restore())
            }
            // Nothing of it can be trusted, so nothing of it is to be carried over.
            Self::ForeignSchema { .. } => Diagnostic::new(Kind::Vault, "foreign_schema"),
            Self::WrongKey(_) => Diagnostic::new(Kind::Vault, "vault_wrong_key").hint(check_or_restore()),
            Self::ReadOnlyNewer | Self::Newer { .. } => Diagnostic::new(Kind::Vault, "vault_newer")
                .hint(Hint::new("upgrade integ, for example with", "cargo install integ")),
            Self::RolledBack { .. } => {
                Diagnostic::new(Kind::Vault, "vault_rolled_back").run("integ vault check --accept")
            }
            Self::Consent(error) => error.diagnostic(),
            Self::LeaseLost(_) => Diagnostic::new(Kind::Temporary, "lease_lost"),
            Self::Closed => Diagnostic::new(Kind::Failed, "store_closed"),
            Self::Busy(_) => Diagnostic::new(Kind::Temporary, "vault_busy")
                .hint(Hint::new("try again; check whether the store responds:", "integ vault status")),
            Self::ConnectionNotFound => Diagnostic::new(Kind::NotFound, "no_such_connection").run("integ status"),
            Self::NameTaken(_) => Diagnostic::new(Kind::Usage, "name_taken").run("integ status"),
            Self::DiskFull(_) => Diagnostic::new(Kind::Failed, "disk_full")
                .hint(Hint::new("free some space; this shows which disk is full:", "df -h")),
            Self::LogUnreadable(_) => Diagnostic::new(Kind::Failed, "read_only").hint(Hint::new(
                "run this once with a writable folder to move the log into the store:",
                "integ test --all",
            )),
            Self::ReadOnly(_) => Diagnostic::new(Kind::Failed, "read_only").hint(look_at_folders()),
            Self::Io(error) | Self::Lock { source: error, .. } => {
                Diagnostic::new(Kind::Failed, io_code(error)).hint(look_at_folders())
            }
            Self::OldSqlite(_) => Diagnostic::new(Kind::Failed, "old_sqlite").run("cargo install integ"),
            Self::Sqlite(_) => Diagnostic::new(Kind::Failed, "store").run("integ vault check"),
            Self::Unreachable(_) => Diagnostic::new(Kind::Temporary, "store_unreachable")
                .hint(Hint::new("try again; check the server and the way to it:", "integ doctor")),
            Self::Contended(_) => Diagnostic::new(Kind::Temporary, "vault_busy")
                .hint(Hint::new("try again; check the server:", "integ doctor")),
            Self::WorkspaceNotFound(_) => Diagnostic::new(Kind::Vault, "store_workspace_not_found").hint(Hint::new(
                "the database is another one, or the workspace was deleted; see which one it is:",
                "integ config path",
            )),
            Self::Unsealable { .. } => {
                Diagnostic::new(Kind::Vault, "vault_damaged").hint(Hint::text("restore the database from its backup"))
            }
            Self::UnknownKey(_) => Diagnostic::new(Kind::Vault, "unknown_key")
                .hint(Hint::text("copy vault.age from the machine that ran `integ vault rekey`")),
            Self::KeyNumberTaken(_) => Diagnostic::new(Kind::Usage, "key_number_taken"),
            Self::TransferDiffers { .. } => Diagnostic::new(Kind::Failed, "copy_differs"),
            Self::InUse => Diagnostic::new(Kind::Temporary, "store_in_use")
                .hint(Hint::text("stop `integ` on all machines; a lock of one that was killed ends within a minute")),
            Self::Backend(_) => Diagnostic::new(Kind::Failed, "store"),
        }
    }
}

fn io_code(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if files::is_read_only(error) => "read_only",
        io::ErrorKind::StorageFull => "disk_full",
        _ => "io",
    }
}

fn check_or_restore() -> Hint {
    Hint::new(
        "restore a backup with `integ -w NEW vault restore BACKUP.age`, or see what is damaged:",
        "integ vault check",
    )
}

fn look_at_folders() -> Hint {
    Hint::new("check these folders with `ls -ld` and `df -h`:", "integ config path")
}
