//! What can go wrong with a store, told apart by what mends it.

use std::fmt;
use std::io;

use rusqlite::{ErrorCode, ffi};
use thiserror::Error;

use crate::error::{Kind, Remedy};
use crate::model::ConnectionName;

/// SQLite's own account of a failure.
#[derive(Debug)]
pub struct SqliteError(rusqlite::Error);

impl fmt::Display for SqliteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for SqliteError {}

/// A value in the store that this program would not have written.
#[derive(Debug, Error)]
pub enum Malformed {
    #[error("{0} is not a time")]
    Time(i64),
    #[error("{0:?} is not one of the words that its column takes")]
    Word(String),
    #[error("a JSON column does not parse")]
    Json(#[source] serde_json::Error),
    #[error("a connection's name or address does not parse")]
    Name,
}

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("the store is damaged")]
    Damaged(#[source] SqliteError),
    #[error("the store is damaged: {0}")]
    Check(String),
    /// Somebody else added it: integ makes its schema by itself.
    #[error("the store holds the {kind} {name:?}, {problem}")]
    ForeignSchema { kind: String, name: String, problem: &'static str },
    #[error("the store holds what this version cannot read")]
    Malformed(#[from] Malformed),
    /// Another key's, or damaged in its first page: the two cannot be told apart.
    #[error("the store does not open with its key: it is another vault's, or damaged")]
    WrongKey(#[source] SqliteError),
    #[error("the store was made by an integ of before its first release, in a form that is not read any more")]
    Unreleased,
    #[error("the store was written by a newer version of integ, and can only be read")]
    ReadOnlyNewer,
    #[error("the store has schema version {found}, newer than this program's {known}")]
    Newer { found: u32, known: u32 },
    #[error("the store has lost {} of its last writes: it stands at write {found} of {expected}", expected - found)]
    RolledBack { found: u64, expected: u64 },
    #[error("the disk is full")]
    DiskFull(#[source] SqliteError),
    #[error("the store cannot be written, its file system is read-only or its files are not this user's")]
    ReadOnly(#[source] SqliteError),
    /// A process that was killed has left it.
    #[error("the store's last writes are in its log, which cannot be read in a folder that cannot be written")]
    LogUnreadable(#[source] SqliteError),
    #[error("another process has kept the store busy for too long")]
    Busy(#[source] SqliteError),
    #[error("the store cannot be read or written")]
    Io(#[from] io::Error),
    #[error("there is no such connection any more")]
    NoConnection,
    #[error("the name {0} is taken by a live connection")]
    NameTaken(ConnectionName),
    #[error("this SQLite, {0}, is older than 3.51.3 and may lose writes")]
    OldSqlite(&'static str),
    #[error("the store refused a statement")]
    Sqlite(#[source] SqliteError),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        // The index of the log could not be made as large as it has to be.
        let no_room = error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHMSIZE);
        let source = SqliteError(error);
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
                source.0,
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
    fn kind(&self) -> Kind {
        match self {
            Self::Damaged(_)
            | Self::Check(_)
            | Self::ForeignSchema { .. }
            | Self::Malformed(_)
            | Self::WrongKey(_)
            | Self::Unreleased
            | Self::ReadOnlyNewer
            | Self::Newer { .. }
            | Self::RolledBack { .. } => Kind::Vault,
            Self::Busy(_) => Kind::Temporary,
            Self::NoConnection => Kind::NotFound,
            Self::NameTaken(_) => Kind::Usage,
            Self::DiskFull(_)
            | Self::ReadOnly(_)
            | Self::LogUnreadable(_)
            | Self::Io(_)
            | Self::OldSqlite(_)
            | Self::Sqlite(_) => Kind::Failed,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Damaged(_) | Self::Check(_) | Self::Malformed(_) => "vault_damaged",
            Self::ForeignSchema { .. } => "foreign_schema",
            Self::WrongKey(_) => "vault_wrong_key",
            Self::Unreleased => "vault_unreleased",
            Self::ReadOnlyNewer | Self::Newer { .. } => "vault_newer",
            Self::RolledBack { .. } => "vault_rolled_back",
            Self::Busy(_) => "vault_busy",
            Self::NoConnection => "no_such_connection",
            Self::NameTaken(_) => "name_taken",
            Self::DiskFull(_) => "disk_full",
            Self::ReadOnly(_) | Self::LogUnreadable(_) => "read_only",
            Self::Io(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => "read_only",
            Self::Io(error) if error.kind() == io::ErrorKind::StorageFull => "disk_full",
            Self::Io(_) => "io",
            Self::OldSqlite(_) => "old_sqlite",
            Self::Sqlite(_) => "store",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(
            match self {
                // Nothing of it can be trusted, so nothing of it is to be carried over.
                Self::ForeignSchema { .. } => return None,
                Self::Damaged(_) | Self::Check(_) | Self::Malformed(_) | Self::WrongKey(_) => {
                    "integ vault check; a backup comes back with `integ -w NEW vault restore BACKUP.age`"
                }
                Self::Unreleased => {
                    "integ vault backup OUT.age with the integ that made it, then `integ -w NEW vault restore OUT.age`"
                }
                Self::ReadOnlyNewer | Self::Newer { .. } => {
                    "cargo install integ, or whatever installed the newer version"
                }
                Self::RolledBack { .. } => "integ vault check --accept, which goes on from what is left",
                Self::Busy(_) => "try again; `integ vault status` says whether the store answers",
                Self::NoConnection | Self::NameTaken(_) => "integ status",
                Self::DiskFull(_) => "free some space: `df -h` shows which disk is full",
                Self::LogUnreadable(_) => {
                    "`integ test --all` where the folder can be written: it writes the log into the store"
                }
                Self::ReadOnly(_) | Self::Io(_) => {
                    "integ config path, and `ls -ld` and `df -h` of the folders it names"
                }
                Self::OldSqlite(_) => "cargo install integ",
                Self::Sqlite(_) => "integ vault check",
            }
            .to_owned(),
        )
    }
}
