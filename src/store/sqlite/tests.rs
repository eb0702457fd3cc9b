//! The store as a file: commits that are noted, copies under other keys, closing, and full disks.

mod concurrency;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use super::sequence::{SequenceFiles, SequenceReading};
use super::transitions::ConnectionRef;
use super::*;
use crate::clock::Timestamp;
use crate::error::{Kind, Remedy};
use crate::model::{
    self, Account, ClientCredentials, ConnectionId, ConnectionMode, ConnectionName, ConnectionTransition, Grant,
    NewConnection, RefreshMethod, SecretStorage, SubscriptionRequest, Transition,
};
use crate::secret::Secret;
use crate::store::{Lease, LockKey};

/// A new store in a folder of its own.
pub(super) struct Fixture {
    folder: TempDir,
    key: StoreKey,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let fixture = Self { folder: tempfile::tempdir().unwrap(), key: StoreKey::random() };
        SqliteStore::create(&fixture.path(), &fixture.key, at(0)).unwrap();
        fixture
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("vault.db")
    }

    /// Opens it as another process does.
    pub(super) fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.path(), &self.key, LostWritesPolicy::Refuse).unwrap()
    }
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn name(text: &str) -> ConnectionName {
    text.parse().unwrap()
}

fn new_connection(text: &str) -> NewConnection {
    NewConnection {
        name: name(text),
        mode: ConnectionMode::Live,
        auth: "oauth2".to_owned(),
        origin: Some(Url::parse("http://127.0.0.1:9/x").unwrap()),
        params: BTreeMap::from([("subdomain".to_owned(), "acme".to_owned())]),
        metadata: BTreeMap::new(),
        account: Some(Account { id: "T024".to_owned(), name: None }),
        user: None,
        scopes_requested: vec!["chat:write".to_owned()],
        scopes_granted: None,
        connected_at: at(10),
    }
}

fn grant(token: &str) -> Grant {
    Grant {
        access_token: Secret::from(token),
        refresh_token: Some(Secret::from("refresh \"quoted\"\n")),
        fields: BTreeMap::from([("user_token".to_owned(), Secret::from("xoxp"))]),
        client: Some(ClientCredentials { id: "client".to_owned(), secret: Some(Secret::from("shh")) }),
        issued_at: at(10),
        expires_at: Some(at(3610)),
        refresh_expires_at: Some(at(90_000)),
        refresh_method: RefreshMethod::RefreshToken,
    }
}

/// Connects an account whose secrets are in the store.
async fn connected(store: &SqliteStore, text: &str, token: &str) -> model::Connection {
    store.connections().connect(&new_connection(text), &grant(token), SecretStorage::Store).await.unwrap().0
}

/// Adds a connection without a grant.
pub(super) async fn add_connection(store: &SqliteStore) -> ConnectionId {
    let sql = "INSERT INTO connections (connector, mode, auth, params, metadata, scopes_requested, grant_status, connected_at) \
               VALUES ('github', 'sandbox', 'none', '{}', '{}', '[]', 'active', 0)";
    let insert = store.write(move |transaction| {
        transaction.execute(sql, [])?;
        Ok(ConnectionId(transaction.last_insert_rowid()))
    });
    insert.await.unwrap()
}

fn transition(changed: Option<ConnectionTransition>) -> Option<Transition> {
    changed.map(|changed| changed.transition)
}

async fn lock(store: &SqliteStore, id: ConnectionId) -> Lease {
    store.locks().try_acquire(LockKey::Grant(id), at(0)).await.unwrap().expect("nobody holds the lock")
}

fn subscription_request(connection: ConnectionId) -> SubscriptionRequest {
    SubscriptionRequest {
        connection,
        url: "https://example.com/in".to_owned(),
        events: Vec::new(),
        params: BTreeMap::new(),
        idempotency_key: "key".to_owned(),
    }
}

async fn put(store: &SqliteStore, key: &str, value: &Value) -> Result<(), StoreError> {
    let old = store.sandbox().get(key).await?;
    assert!(store.sandbox().replace(key, old.as_ref(), Some(value)).await?, "nobody else writes it");
    Ok(())
}

#[tokio::test]
async fn a_grant_is_the_same_by_every_path() {
    let fixture = Fixture::new();
    let store = fixture.open();
    for (text, token) in [("slack@b", "two"), ("github", "three"), ("slack@a", "one")] {
        connected(&store, text, token).await;
    }
    let token = |grant: &model::StoredGrant| grant.grant.as_ref().unwrap().access_token.expose().clone();
    let all = store.grants().list().await.unwrap();
    let listed: Vec<_> = all.iter().map(|(connection, grant)| (connection.name.clone(), token(grant))).collect();
    let expected = [("github", "three"), ("slack@a", "one"), ("slack@b", "two")];
    assert_eq!(listed, expected.map(|(text, token)| (name(text), token.to_owned())), "sorted by name");
    for (connection, grant) in &all {
        let blocking = store.find_with_grant_blocking(&connection.name).unwrap().unwrap();
        let awaited = store.connections().find_with_grant(&connection.name).await.unwrap().unwrap();
        assert_eq!(format!("{blocking:?}"), format!("{awaited:?}"));
        assert_eq!(token(&blocking.1.unwrap()), token(grant));
        assert_eq!(token(&store.grants().get(connection.id).await.unwrap().unwrap()), token(grant));
    }
    assert!(store.find_with_grant_blocking(&name("slack")).unwrap().is_none());
}

#[tokio::test]
async fn a_transition_that_is_rolled_back_never_happened() {
    let fixture = Fixture::new();
    let (ours, theirs) = (fixture.open(), fixture.open());
    let id = connected(&ours, "slack", "one").await.id;
    let failing = ours.write_tracked(ConnectionRef::Id(id), move |transaction| {
        transaction.execute("UPDATE connections SET error_count = 1 WHERE id = ?1", [id.0])?;
        Err::<(), _>(StoreError::ConnectionNotFound)
    });
    assert!(failing.await.is_err());
    let failed = theirs.connections().record_failure(id, "timeout").await.unwrap();
    assert_eq!(transition(failed), Some(Transition::Failure));
}

#[tokio::test]
async fn every_write_raises_the_sequence_and_notes_it() {
    let fixture = Fixture::new();
    let store = fixture.open();
    assert_eq!(store.meta().unwrap(), Meta { sequence: 0, created_at: at(0), restored_at: None });
    put(&store, "a", &json!(1)).await.unwrap();
    put(&store, "a", &json!(2)).await.unwrap();
    assert_eq!((store.meta().unwrap().sequence, store.version().await.unwrap()), (2, 2));
    let noted = SequenceFiles::new(SqliteStore::sequence_file(&fixture.path()), &fixture.key).inner();
    assert_eq!(noted.unwrap(), SequenceReading::Number(2));
}

#[tokio::test]
async fn fault_054_a_newer_store_is_read_and_not_written() {
    let fixture = Fixture::new();
    let store = fixture.open();
    connected(&store, "slack", "one").await;
    store.read_blocking(|sqlite| Ok(sqlite.pragma_update(None, "user_version", migrations::LATEST + 1)?)).unwrap();
    drop(store);
    let store = fixture.open();
    assert!(store.is_read_only());
    assert_eq!(store.connections().names().await.unwrap().len(), 1);
    let refused = put(&store, "a", &json!(1)).await.unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (Kind::Vault, "vault_newer"));
}

#[tokio::test]
async fn a_copy_under_another_key_and_a_snapshot_hold_the_same() {
    let fixture = Fixture::new();
    let store = fixture.open();
    connected(&store, "slack", "one").await;
    let (copy, other) = (fixture.folder.path().join("copy.db"), StoreKey::random());
    store.export(&copy, &other).unwrap();
    assert!(matches!(SqliteStore::open(&copy, &fixture.key, LostWritesPolicy::Refuse), Err(StoreError::WrongKey(_))));
    let copied = SqliteStore::open(&copy, &other, LostWritesPolicy::Refuse).unwrap();
    let names = copied.connections().names().await.unwrap();
    assert_eq!((names, copied.meta().unwrap().sequence), (vec![name("slack")], 1));

    let snapshot = store.snapshot(&[]).unwrap();
    assert!(snapshot.starts_with(b"SQLite format 3\0"));
    let restored = fixture.folder.path().join("restored.db");
    let (counts, sequence) = Snapshot::read(&snapshot).unwrap().restore(&restored, &other, 40, at(99)).unwrap();
    assert_eq!((counts.connections.len(), counts.connections[0].name.as_str(), sequence), (1, "slack", 41));
    let restored = SqliteStore::open(&restored, &other, LostWritesPolicy::Refuse).unwrap();
    let meta = restored.meta().unwrap();
    assert_eq!((meta.sequence, meta.restored_at), (41, Some(at(99))));
    assert_eq!(restored.grants().restored().await.unwrap().len(), 1);
    assert_ne!(restored.id(), store.id());
    for junk in [b"".as_slice(), b"not a database", &snapshot[..5000]] {
        let error = Snapshot::read(junk).unwrap_err();
        assert_eq!(error.kind(), Kind::Vault, "{error}");
    }
}

#[tokio::test]
async fn closing_moves_the_log_into_the_file_and_deletes_it() {
    let fixture = Fixture::new();
    let log = fixture.folder.path().join("vault.db-wal");
    let store = fixture.open();
    put(&store, "a", &json!(1)).await.unwrap();
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
    store.checkpoint().unwrap();
    assert!(std::fs::metadata(&log).map_or(0, |log| log.len()) == 0);
    put(&store, "a", &json!(2)).await.unwrap();
    store.close().unwrap();
    assert!(!log.exists());
    assert_eq!(fixture.open().sandbox().get("a").await.unwrap(), Some(json!(2)));
}

#[tokio::test]
async fn fault_045_a_full_disk_has_its_own_error() {
    let fixture = Fixture::new();
    let store = fixture.open();
    // SQLite reports a limit on pages as it reports a full disk. The limit is this connection's, which the writer takes.
    store.read_blocking(|sqlite| Ok(sqlite.pragma_update(None, "max_page_count", 1)?)).unwrap();
    let big = json!("x".repeat(200_000));
    let error = put(&store, "big", &big).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Failed, "disk_full"));
    assert_eq!(store.sandbox().get("big").await.unwrap(), None);
    store.check().unwrap();
}
