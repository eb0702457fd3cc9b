//! The store, the vault, private files.

use integ::bundle::BundleError;
use integ::files::TrustError;
use integ::model::{ConsentError, ConsentPurpose, ConsentState};
use integ::runtime::EnvironmentError;
use integ::store::{LockKey, MalformedValue, PostgresServerError, SqliteError, StoreError};
use integ::vault::{ArmorError, KeyringError, PostgresVaultError, TokenVaultError, VaultError};
use rusqlite::ffi;
use std::sync::Arc;

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
        IntegrityCheck => [E::IntegrityCheck("row 3 missing from index".into())],
        ForeignSchema => [E::ForeignSchema { kind: "trigger".into(), name: "spy".into(), problem: "which integ did not make" }],
        Malformed => [
            E::Malformed(MalformedValue::Time(i64::MAX)),
            E::Malformed(MalformedValue::EnumValue("maybe".into())),
            E::Malformed(MalformedValue::Json(serde_json::from_str::<u8>("{").unwrap_err())),
            E::Malformed(MalformedValue::Name),
        ],
        WrongKey => [sqlite(ffi::SQLITE_NOTADB)],
        ReadOnlyNewer => [E::ReadOnlyNewer],
        Newer => [E::Newer { found: 9, known: 7 }],
        RolledBack => [E::RolledBack { found: 5, expected: 8 }],
        DiskFull => [sqlite(ffi::SQLITE_FULL)],
        ReadOnly => [sqlite(ffi::SQLITE_READONLY)],
        LogUnreadable => [E::LogUnreadable(cause())],
        Busy => [sqlite(ffi::SQLITE_BUSY)],
        Io => [sqlite(ffi::SQLITE_IOERR), E::Io(io())],
        Lock => [E::Lock { path: "/data/locks/stream-1.lock".into(), source: io() }],
        LeaseLost => [E::LeaseLost(LockKey::Deliveries)],
        Consent => [E::Consent(Box::new(ConsentError {
            connection: "slack".parse().unwrap(),
            user: "u_1".parse().unwrap(),
            purpose: ConsentPurpose::Sync,
            state: ConsentState::Revoked,
        }))],
        Closed => [E::Closed],
        ConnectionNotFound => [E::ConnectionNotFound],
        NameTaken => [E::NameTaken(slack())],
        OldSqlite => [E::OldSqlite("3.40.0")],
        Sqlite => [sqlite(ffi::SQLITE_ERROR)],
        Unreachable => [E::Unreachable(Arc::new(io()))],
        Contended => [E::Contended(Arc::new(io()))],
        WorkspaceNotFound => [E::WorkspaceNotFound("0011223344556677".to_owned())],
        Unsealable => [E::Unsealable { table: "grants", column: "secrets" }],
        UnknownKey => [E::UnknownKey(2)],
        KeyNumberTaken => [E::KeyNumberTaken(2)],
        InUse => [E::InUse],
        TransferDiffers => [E::TransferDiffers { table: "records", expected: 3, found: 2 }],
        Backend => [E::Backend(Arc::new(io()))],
    });
    assert_snap("errors_store", &text);
}

#[test]
fn postgres_server() {
    use integ::store::PostgresServer;
    let parse = |url: &str| PostgresServer::parse(url, None).unwrap_err();
    let text = errors!(PostgresServerError {
        Invalid => [parse("mysql://db.example/integ")],
        PasswordInUrl => [parse("postgres://integ:secret@db.example/integ")],
        TlsDisabled => [parse("postgres://integ@db.example/integ?sslmode=disable")],
    });
    assert_snap("errors_postgres_server", &text);
}

#[test]
fn vault() {
    let text = errors!(VaultError {
        NotFound => [E::NotFound("/data/workspaces/work".into())],
        Symlink => [E::Symlink("/data/identity".into())],
        NotAFile => [E::NotAFile("/data/identity".into())],
        ForeignOwner => [E::ForeignOwner("/data/identity".into())],
        InsecurePermissions => [E::InsecurePermissions { path: "/data/identity".into(), mode: "600" }],
        NetworkFileSystem => [E::NetworkFileSystem { path: "/data".into(), file_system: "NFS" }],
        Locked => [E::Locked("/data/workspaces/work".into())],
        Io => [E::Io { path: "/data".into(), source: io() }],
        MissingStore => [E::MissingStore("/data/vault.db".into())],
        MissingSealedKey => [E::MissingSealedKey("/data/vault.age".into())],
        DamagedSealedKey => [E::DamagedSealedKey { path: "/data/vault.age".into(), reason: "it is not an age file" }],
        NotARecipient => [E::NotARecipient { path: "/data/vault.age".into(), recipient: "age1me".into() }],
        MissingIdentity => [E::MissingIdentity("/data/identity".into())],
        InvalidIdentity => [E::InvalidIdentity { origin: "INTEG_IDENTITY".into(), reason: "it is empty" }],
        ExcessiveWork => [E::ExcessiveWork { path: "/data/identity".into(), required: 30 }],
        WrongPassphrase => [E::WrongPassphrase("/data/identity".into())],
        MissingPassphrase => [E::MissingPassphrase],
        NoPassphrase => [E::NoPassphrase],
        AgentStart => [E::AgentStart(io())],
        AgentStopped => [E::AgentStopped],
        PassphraseMismatch => [E::PassphraseMismatch],
        EmptyPassphrase => [E::EmptyPassphrase],
        PassphraseCommand => [
            E::PassphraseCommand { reason: "it printed nothing".into(), source: None },
            E::PassphraseCommand { reason: "it could not be run".into(), source: Some(io()) },
        ],
        PassphrasePrompt => [E::PassphrasePrompt(io())],
        Keyring => [E::Keyring(KeyringError::TimedOut { timeout: MINUTE })],
        IdentityFromEnvironment => [E::IdentityFromEnvironment("INTEG_IDENTITY")],
        InvalidRecipient => [E::InvalidRecipient("nonsense".into())],
        SecretKeyAsRecipient => [E::SecretKeyAsRecipient],
        DuplicateRecipient => [E::DuplicateRecipient("age1me".into())],
        RecipientNotFound => [E::RecipientNotFound("age1other".into())],
        LastRecipient => [E::LastRecipient("age1me".into())],
        OwnRecipient => [E::OwnRecipient("age1me".into())],
        InvalidBackup => [E::InvalidBackup { path: "out.age".into(), reason: "it is not an age file" }],
        BackupNeedsIdentity => [E::BackupNeedsIdentity("out.age".into())],
        WorkspaceMismatch => [E::WorkspaceMismatch { folder: "/data/workspaces/work".into(), sealed_workspace: "default".into() }],
        ForeignFiles => [E::ForeignFiles { folder: "/data/workspaces/work".into(), names: vec!["notes.txt".into()] }],
        OutputExists => [E::OutputExists("out.age".into())],
        FolderNotFound => [E::FolderNotFound("/nowhere".into())],
        IdentityExists => [E::IdentityExists { path: "/data/identity".into(), kept: "age1me".into() }],
        WorkspaceNotEmpty => [E::WorkspaceNotEmpty],
        Postgres => [E::Postgres(PostgresVaultError::NotAFile)],
        Untrusted => [E::Untrusted(TrustError::NotText("/data/identity".into()))],
        Store => [E::Store(StoreError::ReadOnlyNewer)],
    });
    let postgres = errors!(PostgresVaultError {
        Exists => [E::Exists("/data/team".into())],
        InvalidStoreFile => [E::InvalidStoreFile {
            path: "/data/team/store.toml".into(),
            source: Box::new(toml::from_str::<toml::Table>("url = ").unwrap_err()),
        }],
        MissingPasswordFile => [E::MissingPasswordFile("/run/secrets/db".into())],
        InvalidPasswordFile => [E::InvalidPasswordFile("/run/secrets/db".into())],
        NotAFile => [E::NotAFile],
        AlreadyInPostgres => [E::AlreadyInPostgres],
        AlreadyInFile => [E::AlreadyInFile],
        UnfinishedMove => [E::UnfinishedMove],
        UnfinishedRekey => [E::UnfinishedRekey { rows: 3 }],
        Server => [E::Server(PostgresServerError::PasswordInUrl)],
    });
    let keyring = errors!(KeyringError {
        Unavailable => [E::Unavailable(keyring())],
        Locked => [E::Locked(keyring())],
        TimedOut => [E::TimedOut { timeout: MINUTE }],
        EntryNotFound => [E::EntryNotFound("integ".into())],
        Rejected => [E::Rejected(keyring())],
    });
    let custody = errors!(TokenVaultError {
        Keyring => [E::Keyring { connection: slack(), source: KeyringError::EntryNotFound("slack@work".into()) }],
        MissingTokens => [E::MissingTokens { connection: slack(), reconnect: RECONNECT.into() }],
        Store => [E::Store(StoreError::ConnectionNotFound)],
    });
    assert_snap("errors_vault", &(text + &postgres + &keyring + &custody));
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

#[test]
fn bundles() {
    let recipient = || "age1examplexxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".to_owned();
    let bundle = errors!(BundleError {
        Unreadable => [E::Unreadable(ArmorError::NotArmored), E::Unreadable(ArmorError::Damaged("its lines are not base64"))],
        WrongIdentity => [E::WrongIdentity { recipient: recipient() }],
        MissingIdentity => [E::MissingIdentity],
        UnsupportedVersion => [E::UnsupportedVersion(2)],
        InvalidContent => [E::InvalidContent("it holds slack twice".into())],
        TooLarge => [E::TooLarge { size: 200_000 }],
        Vault => [E::Vault(VaultError::InvalidRecipient("age1nope".into()))],
    });
    let variable = || "INTEG_TOKEN_TWILIO".to_owned();
    let environment = errors!(EnvironmentError {
        ConnectorNotFound => [E::ConnectorNotFound { variable: variable() }],
        IncompleteCredential => [E::IncompleteCredential {
            variable: variable(),
            connector: "twilio".into(),
            missing: "account_sid".into(),
        }],
        EmptyVariable => [E::EmptyVariable { variable: variable() }],
        UnprintableToken => [E::UnprintableToken { variable: variable() }],
        WorkspaceRequired => [E::WorkspaceRequired { variables: vec!["INTEG_BUNDLE".into(), variable()] }],
    });
    assert_snap("errors_bundles", &(bundle + &environment));
}
