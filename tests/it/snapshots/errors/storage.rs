//! The store, the vault, private files.

use integ::files::TrustError;
use integ::store::{MalformedValue, SqliteError, StoreError};
use integ::vault::{KeyringError, TokenVaultError, VaultError};
use rusqlite::ffi;

use super::{MINUTE, RECONNECT, errors, io, slack};
use crate::snapshots::assert_snap;

fn sqlite(code: i32) -> StoreError {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("what SQLite says".to_owned())).into()
}

fn cause() -> SqliteError {
    let StoreError::Sqlite(cause) = sqlite(ffi::SQLITE_ERROR) else { panic!("a statement fails") };
    cause
}

fn keyring() -> keyring_core::Error {
    keyring_core::Error::PlatformFailure(Box::new(io()))
}

#[test]
fn store() {
    let text = errors!(StoreError {
        Damaged => [sqlite(ffi::SQLITE_CORRUPT)],
        Check => [E::Check("row 3 missing from index".into())],
        ForeignSchema => [E::ForeignSchema { kind: "trigger".into(), name: "spy".into(), problem: "which integ did not make" }],
        MalformedValue => [
            E::Malformed(MalformedValue::Time(i64::MAX)),
            E::Malformed(MalformedValue::EnumValue("maybe".into())),
            E::Malformed(MalformedValue::Json(serde_json::from_str::<u8>("{").unwrap_err())),
            E::Malformed(MalformedValue::Name),
        ],
        WrongKey => [sqlite(ffi::SQLITE_NOTADB)],
        Unreleased => [E::Unreleased],
        ReadOnlyNewer => [E::ReadOnlyNewer],
        Newer => [E::Newer { found: 9, known: 7 }],
        RolledBack => [E::RolledBack { found: 5, expected: 8 }],
        DiskFull => [sqlite(ffi::SQLITE_FULL)],
        ReadOnly => [sqlite(ffi::SQLITE_READONLY)],
        LogUnreadable => [E::LogUnreadable(cause())],
        Busy => [sqlite(ffi::SQLITE_BUSY)],
        Io => [sqlite(ffi::SQLITE_IOERR), E::Io(io())],
        NoConnection => [E::NoConnection],
        NameTaken => [E::NameTaken(slack())],
        OldSqlite => [E::OldSqlite("3.40.0")],
        Sqlite => [sqlite(ffi::SQLITE_ERROR)],
    });
    assert_snap("errors_store", &text);
}

#[test]
fn vault() {
    let text = errors!(VaultError {
        Absent => [E::Absent("/data/workspaces/work".into())],
        Symlink => [E::Symlink("/data/identity".into())],
        NotAFile => [E::NotAFile("/data/identity".into())],
        ForeignOwner => [E::ForeignOwner("/data/identity".into())],
        WideRights => [E::WideRights { path: "/data/identity".into(), mode: "600" }],
        NetworkFileSystem => [E::NetworkFileSystem { path: "/data".into(), file_system: "NFS" }],
        Busy => [E::Busy("/data/workspaces/work".into())],
        Io => [E::Io { path: "/data".into(), source: io() }],
        StoreMissing => [E::StoreMissing("/data/vault.db".into())],
        SealMissing => [E::SealMissing("/data/vault.age".into())],
        SealDamaged => [E::SealDamaged { path: "/data/vault.age".into(), why: "it is no age file" }],
        NotSealedToUs => [E::NotSealedToUs { path: "/data/vault.age".into(), recipient: "age1me".into() }],
        IdentityMissing => [E::IdentityMissing("/data/identity".into())],
        IdentityInvalid => [E::IdentityInvalid { origin: "INTEG_IDENTITY".into(), why: "it is empty" }],
        ExcessiveWork => [E::ExcessiveWork { path: "/data/identity".into(), required: 30 }],
        WrongPassphrase => [E::WrongPassphrase("/data/identity".into())],
        NoPassphrase => [E::NoPassphrase],
        PassphraseMismatch => [E::PassphraseMismatch],
        PassphraseEmpty => [E::PassphraseEmpty],
        PassphraseCommand => [
            E::PassphraseCommand { why: "it printed nothing".into(), source: None },
            E::PassphraseCommand { why: "it could not be run".into(), source: Some(io()) },
        ],
        Ask => [E::Ask(io())],
        Keyring => [E::Keyring(KeyringError::TimedOut { after: MINUTE })],
        IdentityGiven => [E::IdentityGiven("INTEG_IDENTITY")],
        InvalidRecipient => [E::InvalidRecipient("nonsense".into())],
        KnownRecipient => [E::KnownRecipient("age1me".into())],
        NoSuchRecipient => [E::NoSuchRecipient("age1other".into())],
        LastRecipient => [E::LastRecipient("age1me".into())],
        OwnRecipient => [E::OwnRecipient("age1me".into())],
        BackupUnreadable => [E::BackupUnreadable { path: "out.age".into(), why: "it is no age file" }],
        BackupNeedsIdentity => [E::BackupNeedsIdentity("out.age".into())],
        Moved => [E::Moved { folder: "/data/workspaces/work".into(), made_as: "default".into() }],
        ForeignFiles => [E::ForeignFiles { folder: "/data/workspaces/work".into(), names: vec!["notes.txt".into()] }],
        OutputExists => [E::OutputExists("out.age".into())],
        NoFolder => [E::NoFolder("/nowhere".into())],
        IdentityExists => [E::IdentityExists { path: "/data/identity".into(), kept: "age1me".into() }],
        NotEmpty => [E::NotEmpty],
        Untrusted => [E::Untrusted(TrustError::NotText("/data/identity".into()))],
        Store => [E::Store(StoreError::Unreleased)],
    });
    let keyring = errors!(KeyringError {
        NoService => [E::NoService(keyring())],
        Locked => [E::Locked(keyring())],
        Hung => [E::Hung { after: MINUTE }],
        Absent => [E::Absent("integ".into())],
        Refused => [E::Refused(keyring())],
    });
    let custody = errors!(TokenVaultError {
        Keyring => [E::Keyring { connection: slack(), source: KeyringError::EntryNotFound("slack@work".into()) }],
        Lost => [E::Lost { connection: slack(), reconnect: RECONNECT.into() }],
        Store => [E::Store(StoreError::ConnectionNotFound)],
    });
    assert_snap("errors_vault", &(text + &keyring + &custody));
}

#[test]
fn files() {
    let text = errors!(TrustError {
        ForeignOwner => [E::ForeignOwner { path: "/data/config.toml".into(), owner: 1001 }],
        Writable => [E::Writable { path: "/data/config.toml".into(), owner: 1001 }],
        Readable => [E::Readable { path: "/data/identity".into() }],
        NotAFile => [E::NotAFile("/data/config.toml".into())],
        TooManyLinks => [E::TooManyLinks("/data/config.toml".into())],
        TooLarge => [E::TooLarge { path: "/data/config.toml".into(), limit: 1024 }],
        NotText => [E::NotText("/data/config.toml".into())],
        Read => [E::Read { path: "/data/config.toml".into(), source: io() }],
    });
    assert_snap("errors_files", &text);
}
