//! The store by itself: round trips, generations, markers and copies.

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
    self, Account, Check, ClientCredentials, ConnectionId, ConnectionMode, ConnectionName, ConnectionTransition,
    Expiry, Grant, GrantStatus, GrantWriteResult, HealthCheck, HealthOutcome, NewConnection, OAuthApp, RefreshAttempt,
    RefreshMethod, SecretStorage, SubscriptionRequest, SubscriptionResult, SubscriptionStatus, Transition,
};
use crate::secret::Secret;
use crate::store::{Lease, LockKey, state_key};

struct Fixture {
    folder: TempDir,
    key: StoreKey,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { folder: tempfile::tempdir().unwrap(), key: StoreKey::random() };
        SqliteStore::create(&fixture.path(), &fixture.key, at(0)).unwrap();
        fixture
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("vault.db")
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.path(), &self.key, LostWritesPolicy::Refuse).unwrap()
    }
}

fn at(second: i64) -> Timestamp {
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
async fn connect(store: &SqliteStore, new: &NewConnection, token: &str) -> (model::Connection, Option<Transition>) {
    let made = store.connections().connect(new, &grant(token), SecretStorage::Store).await.unwrap();
    (made.0, transition(made.1))
}

async fn connected(store: &SqliteStore, text: &str, token: &str) -> model::Connection {
    connect(store, &new_connection(text), token).await.0
}

async fn check(store: &SqliteStore, id: ConnectionId, outcome: HealthOutcome, error: &str) -> Option<Transition> {
    let check = HealthCheck::new(at(20), outcome, Some(error));
    transition(store.connections().record_check(id, &check).await.unwrap())
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
async fn a_connection_and_its_grant_come_back_as_they_were() {
    let fixture = Fixture::new();
    let made = connected(&fixture.open(), "slack@work", "xoxb").await;
    let store = fixture.open();
    let (connection, stored) = store.connections().find_with_grant(&name("slack@work")).await.unwrap().unwrap();
    assert_eq!(format!("{connection:?}"), format!("{made:?}"));
    assert_eq!(connection.params["subdomain"], "acme");
    assert_eq!(connection.origin.unwrap().as_str(), "http://127.0.0.1:9/x");
    assert_eq!(
        connection.expiry,
        Expiry {
            issued_at: Some(at(10)),
            expires_at: Some(at(3610)),
            is_refreshable: true,
            refresh_expires_at: Some(at(90_000)),
            refresh_started_at: None
        }
    );
    let stored = stored.unwrap();
    let found = stored.grant.as_ref().unwrap();
    assert_eq!(found.access_token.expose(), "xoxb");
    assert_eq!(found.refresh_token.as_ref().unwrap().expose(), "refresh \"quoted\"\n");
    assert_eq!(found.fields["user_token"].expose(), "xoxp");
    assert_eq!(found.client.as_ref().unwrap().secret.as_ref().unwrap().expose(), "shh");
    assert_eq!((found.refresh_expires_at, found.refresh_method), (Some(at(90_000)), RefreshMethod::RefreshToken));
    assert_eq!((stored.generation, stored.is_from_backup, stored.storage), (1, false, SecretStorage::Store));
    let shown = format!("{stored:?}{connections:?}", connections = store.connections().list().await.unwrap());
    assert!(!["xoxb", "xoxp", "shh", "quoted"].iter().any(|secret| shown.contains(secret)), "{shown}");
    assert!(store.connections().find(&name("slack")).await.unwrap().is_none());
    assert_eq!(store.connections().names().await.unwrap(), [name("slack@work")]);
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
async fn attack_a2_another_place_starts_empty_and_a_live_connection_is_never_replaced() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let at_place = |mode, origin: Option<&str>| NewConnection {
        mode,
        origin: origin.map(|origin| origin.parse().unwrap()),
        ..new_connection("slack")
    };
    let connect = async |mode, origin: Option<&str>| {
        let new = at_place(mode, origin);
        let made = store.connections().connect(&new, &grant("one"), SecretStorage::Store).await;
        made.map(|(connection, _)| connection)
    };
    let schedules = async || store.schedules().list().await.unwrap().len();
    let state = async || store.sandbox().get(&state_key("slack")).await.unwrap();
    let begin = async |id| store.schedules().set(id, None, "every 15m", 0, at(900)).await.unwrap();
    let sandbox = connect(ConnectionMode::Sandbox, None).await.unwrap();
    begin(sandbox.id).await;
    put(&store, &state_key("slack"), &json!({ "serial": 1 })).await.unwrap();
    assert_eq!(connect(ConnectionMode::Sandbox, None).await.unwrap().id, sandbox.id);
    assert_eq!((schedules().await, state().await.is_some()), (1, true), "the same place keeps everything");

    let emulated = connect(ConnectionMode::Live, Some("http://127.0.0.1:1")).await.unwrap();
    assert_ne!(emulated.id, sandbox.id);
    assert_eq!((schedules().await, state().await), (0, None), "nothing of the sandbox is left");
    begin(emulated.id).await;
    let other = connect(ConnectionMode::Live, Some("http://127.0.0.1:2")).await.unwrap();
    assert_eq!(schedules().await, 0, "another origin is another place");
    assert!(matches!(connect(ConnectionMode::Sandbox, None).await, Err(StoreError::NameTaken(_))));
    let real = connect(ConnectionMode::Live, None).await.unwrap();
    assert_ne!(real.id, other.id);
    begin(real.id).await;
    for (mode, origin) in [(ConnectionMode::Sandbox, None), (ConnectionMode::Live, Some("http://127.0.0.1:1"))] {
        assert!(matches!(connect(mode, origin).await, Err(StoreError::NameTaken(_))), "{mode:?} {origin:?}");
    }
    let left = store.connections().list().await.unwrap().len();
    assert_eq!((left, schedules().await), (1, 1), "a refusal changes nothing");
}

#[tokio::test]
async fn reconnecting_keeps_the_id_and_clears_the_errors() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let connections = store.connections();
    let first = connected(&store, "slack", "one").await;
    check(&store, first.id, HealthOutcome::Temporary, "HTTP 500").await;
    connections.record_failure(first.id, "timeout").await.unwrap();
    connections.set_grant_status(first.id, GrantStatus::NeedsReauth, Some("invalid_grant")).await.unwrap();
    let failed = connections.find(&first.name).await.unwrap().unwrap();
    assert_eq!((failed.error_count, failed.last_error.as_deref()), (2, Some("timeout")));
    assert_eq!(
        (failed.grant_status, failed.status_reason.as_deref()),
        (GrantStatus::NeedsReauth, Some("invalid_grant"))
    );
    assert_eq!(failed.last_check, Some(Check { at: at(20), passed: false }));

    let again = connected(&store, "slack", "two").await;
    assert_eq!(
        (again.id, again.error_count, again.grant_status, again.status_reason),
        (first.id, 0, GrantStatus::Active, None)
    );
    assert_eq!(store.grants().get(first.id).await.unwrap().unwrap().generation, 2);

    connections.record_failure(first.id, "x").await.unwrap();
    connections.record_check(first.id, &HealthCheck::new(at(30), HealthOutcome::Healthy, None)).await.unwrap();
    let scopes = ["a".to_owned()];
    let account = Account { id: "T1".to_owned(), name: Some("Acme".to_owned()) };
    connections.update_metadata(first.id, Some(&account), Some(&scopes), None).await.unwrap();
    let healthy = connections.find(&first.name).await.unwrap().unwrap();
    assert_eq!((healthy.error_count, healthy.last_error), (0, None));
    assert_eq!((healthy.account, healthy.scopes_granted), (Some(account), Some(scopes.to_vec())));
}

#[tokio::test]
async fn a_transition_is_returned_by_the_write_that_made_it_and_by_no_other() {
    let fixture = Fixture::new();
    let (ours, theirs) = (fixture.open(), fixture.open());
    let (connection, change) = connect(&ours, &new_connection("slack"), "one").await;
    assert_eq!(change, None, "a first connection is no news");
    let id = connection.id;
    let lease = lock(&ours, id).await;
    assert_eq!(check(&ours, id, HealthOutcome::Healthy, "").await, None);
    assert_eq!(check(&ours, id, HealthOutcome::Temporary, "HTTP 500").await, Some(Transition::Failure));
    assert_eq!(check(&theirs, id, HealthOutcome::Temporary, "HTTP 500").await, None);
    assert_eq!(transition(ours.connections().record_failure(id, "timeout").await.unwrap()), None);
    // A new token proves nothing of what the check found.
    let (result, change) = ours.grants().replace(id, 1, &grant("two"), lease.fence).await.unwrap();
    assert_eq!((result, transition(change)), (GrantWriteResult::Done { generation: 2 }, None));
    assert_eq!(check(&theirs, id, HealthOutcome::Temporary, "HTTP 500").await, None);

    assert_eq!(check(&theirs, id, HealthOutcome::NeedsReauth, "401").await, Some(Transition::NeedsReauth));
    assert_eq!(check(&ours, id, HealthOutcome::Temporary, "HTTP 500").await, None);
    assert_eq!(check(&ours, id, HealthOutcome::NeedsReauth, "401").await, None, "refused once");
    let refused = ours.connections().set_grant_status(id, GrantStatus::NeedsReauth, Some("invalid_grant")).await;
    assert_eq!(transition(refused.unwrap()), None, "refused once");
    let again = ours.connections().connect(&new_connection("slack"), &grant("three"), SecretStorage::Store).await;
    let change = again.unwrap().1.unwrap();
    assert_eq!(change.transition, Transition::Recovery);
    assert_eq!((change.connection.id, change.connection.grant_status), (id, GrantStatus::Active));

    // A refresh that failed is made up for by one that works.
    let failed = ours.connections().record_failure(id, "timeout").await.unwrap();
    assert_eq!(transition(failed), Some(Transition::Failure));
    let (result, change) = ours.grants().replace(id, 3, &grant("four"), lease.fence).await.unwrap();
    assert_eq!((result, transition(change)), (GrantWriteResult::Done { generation: 4 }, Some(Transition::Recovery)));

    // What is rolled back never happened.
    assert!(ours.connections().record_failure(ConnectionId(99), "x").await.is_err());
    let failing = ours.write_tracked(ConnectionRef::Id(id), move |transaction| {
        transaction.execute("UPDATE connections SET error_count = 1 WHERE id = ?1", [id.0])?;
        Err::<(), _>(StoreError::ConnectionNotFound)
    });
    assert!(failing.await.is_err());
    assert_eq!(check(&theirs, id, HealthOutcome::Healthy, "").await, None);
    assert_eq!(check(&theirs, id, HealthOutcome::Temporary, "HTTP 500").await, Some(Transition::Failure));
}

#[tokio::test]
async fn removing_a_connection_removes_its_grant_and_its_id_is_not_used_again() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let first = connected(&store, "slack", "one").await;
    store.connections().remove(first.id).await.unwrap();
    assert!(store.grants().get(first.id).await.unwrap().is_none());
    let missing = store.connections().remove(first.id).await.unwrap_err();
    assert_eq!((missing.kind(), missing.code()), (Kind::NotFound, "no_such_connection"));
    let second = connected(&store, "slack", "two").await;
    assert!(second.id > first.id);
}

#[tokio::test]
async fn a_marker_says_that_a_grant_was_sent_until_its_answer_is_stored() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let id = connected(&store, "slack", "one").await.id;
    let marker = async |store: &SqliteStore| store.grants().get(id).await.unwrap().unwrap().refresh_attempt;
    let lease = lock(&store, id).await;
    let _ = store.grants().begin_refresh(id, 1, at(50), lease.fence).await.unwrap();
    drop((lease, store));
    let store = fixture.open();
    assert_eq!(marker(&store).await, Some(RefreshAttempt { at: at(50) }));
    assert_eq!(store.connections().list().await.unwrap()[0].expiry.refresh_started_at, Some(at(50)));
    let lease = lock(&store, id).await;
    let _ = store.grants().cancel_refresh(id, 1, lease.fence).await.unwrap();
    assert_eq!(marker(&store).await, None);
    let _ = store.grants().begin_refresh(id, 1, at(60), lease.fence).await.unwrap();
    let _ = store.grants().replace(id, 1, &grant("two"), lease.fence).await.unwrap();
    assert_eq!(marker(&store).await, None);
}

#[tokio::test]
async fn secrets_move_to_the_keyring_and_back() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let id = connected(&store, "slack", "one").await.id;
    let grants = store.grants();
    let stored = async || grants.get(id).await.unwrap().unwrap();
    grants.mark_all_in_keyring().await.unwrap();
    assert_eq!((stored().await.storage, stored().await.grant.is_some()), (SecretStorage::Keyring, true));
    assert_eq!(grants.move_to_keyring(id, 2).await.unwrap(), GrantWriteResult::Superseded);
    assert_eq!(grants.move_to_keyring(id, 1).await.unwrap(), GrantWriteResult::Done { generation: 1 });
    assert!(stored().await.grant.is_none());
    grants.clear_in_keyring(id).await.unwrap();
    assert_eq!(stored().await.storage, SecretStorage::Keyring, "no secret is in the store yet");
    let entry = keyring_entry(id, 1, &grant("one")).unwrap();
    let whole = from_keyring_entry(&stored().await, id, entry.expose()).unwrap().unwrap();
    assert!(from_keyring_entry(&stored().await, ConnectionId(99), entry.expose()).unwrap().is_none());
    assert_eq!(grants.move_to_store(id, 2, &whole).await.unwrap(), GrantWriteResult::Superseded);
    assert_eq!(grants.move_to_store(id, 1, &whole).await.unwrap(), GrantWriteResult::Done { generation: 1 });
    grants.clear_in_keyring(id).await.unwrap();
    let stored = stored().await;
    assert_eq!((stored.storage, stored.grant.unwrap().access_token.expose().as_str()), (SecretStorage::Store, "one"));
}

#[tokio::test]
async fn a_subscription_gives_the_webhook_its_secret_and_its_failure_is_the_connections() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let (subscriptions, webhooks) = (store.subscriptions(), store.webhooks());
    let id = connected(&store, "slack", "one").await.id;
    assert!(webhooks.get(id).await.unwrap().is_none());
    assert_eq!(webhooks.ensure(id, "slack-1").await.unwrap().path, "slack-1");
    assert_eq!(webhooks.ensure(id, "slack-2").await.unwrap().path, "slack-1", "it exists");
    let lease = store.locks().try_acquire(LockKey::Subscriptions(id), at(0)).await.unwrap().unwrap();
    let begun = subscriptions.begin(&subscription_request(id), at(1), lease.fence).await.unwrap();
    let subscription = subscriptions.get(begun).await.unwrap().unwrap();
    assert_eq!(subscription.status, SubscriptionStatus::Creating);
    let result = SubscriptionResult {
        metadata: BTreeMap::from([("id".to_owned(), "S1".to_owned())]),
        secret: Some(Secret::from("whsec")),
        expires_at: Some(at(100)),
    };
    let params = BTreeMap::from([("team".to_owned(), "T1".to_owned())]);
    let activated = subscriptions.activate(&subscription, &result, &params, None, at(2), lease.fence).await;
    assert_eq!(transition(activated.unwrap()), None);
    let webhook = webhooks.get(id).await.unwrap().unwrap();
    assert_eq!((webhook.subscription_secrets, webhook.params), (vec![Secret::from("whsec")], params));
    let active = subscriptions.list(Some(id)).await.unwrap().remove(0);
    assert_eq!(
        (active.status, active.metadata, active.expires_at),
        (SubscriptionStatus::Active, result.metadata, Some(at(100)))
    );

    let failed = subscriptions.record_failure(&subscription, "HTTP 500", at(3)).await.unwrap().unwrap();
    assert_eq!(failed.transition, Transition::Failure);
    assert_eq!(failed.connection.last_error.as_deref(), Some("HTTP 500"));
    assert_eq!(transition(subscriptions.record_failure(&subscription, "HTTP 500", at(4)).await.unwrap()), None);
    let ending = subscriptions.mark_deleting(&subscription).await.unwrap();
    assert_eq!(transition(ending), Some(Transition::Recovery));
    assert_eq!(transition(subscriptions.delete(&subscription).await.unwrap()), None);
    assert!(subscriptions.list(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn apps_come_back() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let apps = store.apps();
    let set = async |id: &str, secret: Option<&str>, server: Option<&str>, second| {
        let client = ClientCredentials { id: id.to_owned(), secret: secret.map(Secret::from) };
        let server = server.map(str::to_owned);
        apps.set(&OAuthApp { connector: "oidc".to_owned(), server, client, updated_at: at(second) }).await.unwrap();
    };
    let ids = async || -> Vec<String> {
        apps.for_connector("oidc").await.unwrap().into_iter().map(|app| app.client.id).collect()
    };
    set("id", Some("s3cret"), None, 1).await;
    set("id2", None, None, 2).await;
    set("id3", None, Some("https://as.example"), 3).await;
    let app = apps.for_connector("oidc").await.unwrap().remove(0);
    assert_eq!((app.client.id.as_str(), app.client.secret, app.updated_at), ("id2", None, at(2)));
    assert_eq!(ids().await, ["id2", "id3"]);
    apps.assign("oidc", "https://b.example").await.unwrap();
    set("id4", None, None, 4).await;
    assert_eq!(ids().await, ["id4", "id3", "id2"]);
    apps.remove("oidc", Some("https://as.example")).await.unwrap();
    apps.remove("oidc", None).await.unwrap();
    assert_eq!(ids().await, ["id2"]);
    assert!(apps.for_connector("slack").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_sandbox_entry_is_replaced_only_as_it_was_read() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let sandbox = store.sandbox();
    put(&store, "slack/a", &json!({"n": 1})).await.unwrap();
    put(&store, "slacker", &json!(2)).await.unwrap();
    assert!(!sandbox.replace("slack/a", None, Some(&json!(9))).await.unwrap(), "there is an entry");
    assert!(!sandbox.replace("slack/a", Some(&json!({"n": 2})), Some(&json!(9))).await.unwrap());
    assert!(!sandbox.replace("slack/b", Some(&json!(1)), Some(&json!(9))).await.unwrap(), "there is none");
    assert_eq!(sandbox.get("slack/a").await.unwrap(), Some(json!({"n": 1})));
    assert!(sandbox.replace("slack/a", Some(&json!({"n": 1})), Some(&json!(7))).await.unwrap());
    assert_eq!(sandbox.list("slack/").await.unwrap(), [("slack/a".to_owned(), json!(7))]);
    assert!(!sandbox.replace("slack/a", Some(&json!({"n": 1})), None).await.unwrap());
    assert!(sandbox.replace("slack/a", Some(&json!(7)), None).await.unwrap());
    assert_eq!(sandbox.get("slack/a").await.unwrap(), None);
    assert_eq!(sandbox.clear("").await.unwrap(), 1);
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
