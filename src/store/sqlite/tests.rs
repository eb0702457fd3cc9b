//! The store by itself: round trips, generations, markers, and many writers at once.

use std::collections::BTreeMap;
use std::thread;

use serde_json::json;
use tempfile::TempDir;
use url::Url;

use super::*;
use crate::clock::Timestamp;
use crate::error::{Kind, Remedy};
use crate::model::app::OAuthApp;
use crate::model::connection::{CheckRecord, NewConnection};
use crate::model::delivery::DeliveryFilter;
use crate::model::endpoint::{BackoffPolicy, DeliveryPolicy, Endpoint};
use crate::model::grant::{GrantWriteResult, RefreshAttempt, SecretStorage};
use crate::model::message::Message;
use crate::model::{
    Account, Check, ClientCredentials, ConnectionId, ConnectionMode, ConnectionName, Expiry, Grant, GrantStatus,
    RefreshMethod, Transition,
};
use crate::secret::Secret;

struct Fixture {
    folder: TempDir,
    key: StoreKey,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { folder: tempfile::tempdir().unwrap(), key: StoreKey::random() };
        Store::create(&fixture.path(), &fixture.key, at(0)).unwrap();
        fixture
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("vault.db")
    }

    fn open(&self) -> Store {
        Store::open(&self.path(), &self.key, LostWritesPolicy::Refuse).unwrap()
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

#[test]
fn a_connection_and_its_grant_come_back_as_they_were() {
    let fixture = Fixture::new();
    let made = fixture
        .open()
        .connections()
        .connect(&new_connection("slack@work"), &grant("xoxb"), SecretStorage::Store)
        .unwrap();
    let store = fixture.open();
    let (connection, stored) = store.connections().find_with_grant(&name("slack@work")).unwrap().unwrap();
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
    let shown = format!("{stored:?}{connection:?}", connection = store.connections().list().unwrap());
    assert!(!["xoxb", "xoxp", "shh", "quoted"].iter().any(|secret| shown.contains(secret)), "{shown}");
    assert!(store.connections().find(&name("slack")).unwrap().is_none());
    assert_eq!(store.connections().names().unwrap(), [name("slack@work")]);
}

#[test]
fn attack_a2_another_place_begins_anew_and_a_live_connection_gives_way_to_nothing() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let at_place = |mode, origin: Option<&str>| NewConnection {
        mode,
        origin: origin.map(|origin| origin.parse().unwrap()),
        ..new_connection("slack")
    };
    let connect =
        |mode, origin| store.connections().connect(&at_place(mode, origin), &grant("one"), SecretStorage::Store);
    let schedules = || store.schedules().list().unwrap().len();
    let state = || store.sandbox().get(&state_key("slack")).unwrap();
    let begin = |id| store.schedules().set(id, None, "every 15m", 0, at(900)).unwrap();
    let sandbox = connect(ConnectionMode::Sandbox, None).unwrap();
    begin(sandbox.id);
    store.sandbox().put(&state_key("slack"), &serde_json::json!({ "serial": 1 })).unwrap();
    assert_eq!(connect(ConnectionMode::Sandbox, None).unwrap().id, sandbox.id);
    assert_eq!((schedules(), state().is_some()), (1, true), "the same place keeps everything");

    let stand_in = connect(ConnectionMode::Live, Some("http://127.0.0.1:1")).unwrap();
    assert_ne!(stand_in.id, sandbox.id);
    assert_eq!((schedules(), state()), (0, None), "nothing of the sandbox is left");
    begin(stand_in.id);
    let other = connect(ConnectionMode::Live, Some("http://127.0.0.1:2")).unwrap();
    assert_eq!(schedules(), 0, "another origin is another place");
    assert!(matches!(connect(ConnectionMode::Sandbox, None), Err(StoreError::NameTaken(_))));
    let real = connect(ConnectionMode::Live, None).unwrap();
    assert_ne!(real.id, other.id);
    begin(real.id);
    for (mode, origin) in [(ConnectionMode::Sandbox, None), (ConnectionMode::Live, Some("http://127.0.0.1:1"))] {
        assert!(matches!(connect(mode, origin), Err(StoreError::NameTaken(_))), "{mode:?} {origin:?}");
    }
    assert_eq!((store.connections().list().unwrap().len(), schedules()), (1, 1), "a refusal changes nothing");
}

#[test]
fn reconnecting_keeps_the_id_and_forgets_the_errors() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let first = store.connections().connect(&new_connection("slack"), &grant("one"), SecretStorage::Store).unwrap();
    store.connections().record_check(first.id, at(20), CheckRecord::Failing("HTTP 500")).unwrap();
    store.connections().record_failure(first.id, "timeout").unwrap();
    store.connections().set_grant_status(first.id, GrantStatus::NeedsReauth, Some("invalid_grant")).unwrap();
    let failed = store.connections().find(&first.name).unwrap().unwrap();
    assert_eq!((failed.error_count, failed.last_error.as_deref()), (2, Some("timeout")));
    assert_eq!(
        (failed.grant_status, failed.status_reason.as_deref()),
        (GrantStatus::NeedsReauth, Some("invalid_grant"))
    );
    assert_eq!(failed.last_check, Some(Check { at: at(20), passed: false }));

    let again = store.connections().connect(&new_connection("slack"), &grant("two"), SecretStorage::Store).unwrap();
    assert_eq!(
        (again.id, again.error_count, again.grant_status, again.status_reason),
        (first.id, 0, GrantStatus::Active, None)
    );
    assert_eq!(store.grants().get(first.id).unwrap().unwrap().generation, 2);

    store.connections().record_failure(first.id, "x").unwrap();
    store.connections().record_check(first.id, at(30), CheckRecord::Healthy).unwrap();
    let scopes = ["a".to_owned()];
    let account = Account { id: "T1".to_owned(), name: Some("Acme".to_owned()) };
    store.connections().update_metadata(first.id, Some(&account), Some(&scopes), None).unwrap();
    let healthy = store.connections().find(&first.name).unwrap().unwrap();
    assert_eq!((healthy.error_count, healthy.last_error), (0, None));
    assert_eq!((healthy.account, healthy.scopes_granted), (Some(account), Some(scopes.to_vec())));
}

#[test]
fn a_change_is_seen_by_the_write_that_made_it_and_by_no_other() {
    let fixture = Fixture::new();
    let (ours, theirs) = (fixture.open(), fixture.open());
    let id = ours.connections().connect(&new_connection("slack"), &grant("one"), SecretStorage::Store).unwrap().id;
    let told =
        |store: &Store| store.drain_transitions().into_iter().map(|changed| changed.transition).collect::<Vec<_>>();
    let check = |store: &Store, finding| store.connections().record_check(id, at(20), finding).unwrap();
    assert_eq!(told(&ours), [], "a first connection is no news");
    check(&ours, CheckRecord::Healthy);
    assert_eq!(told(&ours), []);
    check(&ours, CheckRecord::Failing("HTTP 500"));
    check(&theirs, CheckRecord::Failing("HTTP 500"));
    ours.connections().record_failure(id, "timeout").unwrap();
    assert_eq!((told(&ours), told(&theirs)), (vec![Transition::Failure], vec![]));
    // A new token proves nothing of what the check found.
    assert_eq!(ours.grants().replace(id, 1, &grant("two")).unwrap(), GrantWriteResult::Done { generation: 2 });
    check(&theirs, CheckRecord::Failing("HTTP 500"));
    assert_eq!((told(&ours), told(&theirs)), (vec![], vec![]));
    check(&theirs, CheckRecord::Unauthorized("401"));
    check(&ours, CheckRecord::Failing("HTTP 500"));
    check(&ours, CheckRecord::Unauthorized("401"));
    ours.connections().set_grant_status(id, GrantStatus::NeedsReauth, Some("invalid_grant")).unwrap();
    assert_eq!((told(&ours), told(&theirs)), (vec![], vec![Transition::NeedsReauth]), "refused once");
    ours.connections().connect(&new_connection("slack"), &grant("three"), SecretStorage::Store).unwrap();
    let changed = ours.drain_transitions();
    assert_eq!(changed.iter().map(|changed| changed.transition).collect::<Vec<_>>(), [Transition::Recovery]);
    assert_eq!((changed[0].connection.id, changed[0].connection.grant_status), (id, GrantStatus::Active));
    // A refresh that failed is made up for by one that works.
    ours.connections().record_failure(id, "timeout").unwrap();
    assert_eq!(ours.grants().replace(id, 3, &grant("four")).unwrap(), GrantWriteResult::Done { generation: 4 });
    assert_eq!(told(&ours), [Transition::Failure, Transition::Recovery]);
    // What is rolled back was never so.
    assert!(ours.connections().record_failure(ConnectionId(99), "x").is_err());
    assert_eq!(told(&ours), []);
}

#[test]
fn a_removed_connection_takes_its_grant_along_and_its_id_is_not_used_again() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let first = store.connections().connect(&new_connection("slack"), &grant("one"), SecretStorage::Store).unwrap();
    store.connections().remove(first.id).unwrap();
    assert!(store.grants().get(first.id).unwrap().is_none());
    let gone = store.connections().remove(first.id).unwrap_err();
    assert_eq!((gone.kind(), gone.code()), (Kind::NotFound, "no_such_connection"));
    let second = store.connections().connect(&new_connection("slack"), &grant("two"), SecretStorage::Store).unwrap();
    assert!(second.id > first.id);
}

#[test]
fn of_two_writers_of_one_generation_the_second_is_superseded() {
    let fixture = Fixture::new();
    let (ours, theirs) = (fixture.open(), fixture.open());
    let id = ours.connections().connect(&new_connection("slack"), &grant("one"), SecretStorage::Store).unwrap().id;
    ours.connections().set_grant_status(id, GrantStatus::NeedsReauth, Some("x")).unwrap();
    assert_eq!(ours.grants().replace(id, 1, &grant("two")).unwrap(), GrantWriteResult::Done { generation: 2 });
    assert_eq!(theirs.grants().replace(id, 1, &grant("late")).unwrap(), GrantWriteResult::Superseded);
    assert_eq!(theirs.grants().begin_refresh(id, 1, at(50)).unwrap(), GrantWriteResult::Superseded);
    assert_eq!(theirs.grants().replace(ConnectionId(99), 1, &grant("x")).unwrap(), GrantWriteResult::Superseded);
    let stored = theirs.grants().get(id).unwrap().unwrap();
    assert_eq!(stored.grant.unwrap().access_token.expose(), "two");
    assert_eq!(ours.connections().find(&name("slack")).unwrap().unwrap().grant_status, GrantStatus::Active);
}

#[test]
fn a_marker_says_that_a_grant_was_presented_until_its_answer_is_stored() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let id = store.connections().connect(&new_connection("slack"), &grant("one"), SecretStorage::Store).unwrap().id;
    let marker = |store: &Store| store.grants().get(id).unwrap().unwrap().refresh_attempt;
    let _ = store.grants().begin_refresh(id, 1, at(50)).unwrap();
    drop(store);
    let store = fixture.open();
    assert_eq!(marker(&store), Some(RefreshAttempt { at: at(50) }));
    assert_eq!(store.connections().list().unwrap()[0].expiry.refresh_started_at, Some(at(50)));
    let _ = store.grants().cancel_refresh(id, 1).unwrap();
    assert_eq!(marker(&store), None);
    let _ = store.grants().begin_refresh(id, 1, at(60)).unwrap();
    let _ = store.grants().replace(id, 1, &grant("two")).unwrap();
    assert_eq!(marker(&store), None);
}

#[test]
fn apps_and_sandbox_entries_come_back() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let set = |id: &str, secret: Option<&str>, server: Option<&str>, second| {
        let client = ClientCredentials { id: id.to_owned(), secret: secret.map(Secret::from) };
        let server = server.map(str::to_owned);
        store.apps().set(&OAuthApp { connector: "oidc".to_owned(), server, client, updated_at: at(second) }).unwrap();
    };
    let ids = || -> Vec<String> {
        store.apps().for_connector("oidc").unwrap().into_iter().map(|app| app.client.id).collect()
    };
    set("id", Some("s3cret"), None, 1);
    set("id2", None, None, 2);
    set("id3", None, Some("https://as.example"), 3);
    let app = store.apps().for_connector("oidc").unwrap().remove(0);
    assert_eq!((app.client.id.as_str(), app.client.secret, app.updated_at), ("id2", None, at(2)));
    assert_eq!(ids(), ["id2", "id3"]);
    store.apps().assign("oidc", "https://b.example").unwrap();
    set("id4", None, None, 4);
    assert_eq!(ids(), ["id4", "id3", "id2"]);
    store.apps().remove("oidc", Some("https://as.example")).unwrap();
    store.apps().remove("oidc", None).unwrap();
    assert_eq!(ids(), ["id2"]);
    assert!(store.apps().for_connector("slack").unwrap().is_empty());

    store.sandbox().put("slack/a", &json!({"n": 1})).unwrap();
    store.sandbox().put("slacker", &json!(2)).unwrap();
    let old = store.sandbox().update("slack/a", |value| value.replace(json!(7))).unwrap();
    assert_eq!(old, Some(json!({"n": 1})));
    assert_eq!(store.sandbox().list("slack/").unwrap(), [("slack/a".to_owned(), json!(7))]);
    store.sandbox().update("slack/a", Option::take).unwrap();
    assert_eq!(store.sandbox().get("slack/a").unwrap(), None);
    assert_eq!(store.sandbox().clear("").unwrap(), 1);
}

#[test]
fn every_write_raises_the_sequence_and_notes_it() {
    let fixture = Fixture::new();
    let store = fixture.open();
    assert_eq!(store.meta().unwrap(), Meta { sequence: 0, created_at: at(0), restored_at: None });
    store.sandbox().put("a", &json!(1)).unwrap();
    store.sandbox().put("a", &json!(2)).unwrap();
    assert_eq!(store.meta().unwrap().sequence, 2);
    assert_eq!(store.sequence_files.inner().unwrap(), sequence::SequenceReading::Number(2));
}

#[test]
fn fault_054_a_newer_store_is_read_and_not_written() {
    let fixture = Fixture::new();
    fixture.open().connections().connect(&new_connection("slack"), &grant("one"), SecretStorage::Store).unwrap();
    fixture.open().connection().pragma_update(None, "user_version", migrations::LATEST + 1).unwrap();
    let store = fixture.open();
    assert!(store.is_read_only());
    assert_eq!(store.connections().names().unwrap().len(), 1);
    let refused = store.sandbox().put("a", &json!(1)).unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (Kind::Vault, "vault_newer"));
}

#[test]
fn many_writers_at_once_lose_no_write_and_never_find_it_locked() {
    const WRITERS: u64 = 64;
    const WRITES: u64 = 5;
    let fixture = Fixture::new();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let fixture = &fixture;
            scope.spawn(move || {
                for write in 0..WRITES {
                    // A store of its own each time, so that opening and closing meet recovery and checkpoints.
                    let store = fixture.open();
                    store.sandbox().put(&format!("{writer}/{write}"), &json!(1)).unwrap();
                    store
                        .sandbox()
                        .update("sum", |sum| *sum = Some(json!(sum.as_ref().map_or(0, |n| n.as_u64().unwrap()) + 1)))
                        .unwrap();
                }
            });
        }
    });
    let store = fixture.open();
    assert_eq!(store.sandbox().get("sum").unwrap(), Some(json!(WRITERS * WRITES)));
    assert_eq!(store.sandbox().list("").unwrap().len() as u64, WRITERS * WRITES + 1);
    assert_eq!(store.meta().unwrap().sequence, 2 * WRITERS * WRITES);
    store.check().unwrap();
}

#[test]
fn a_copy_under_another_key_and_a_snapshot_hold_the_same() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store.connections().connect(&new_connection("slack"), &grant("one"), SecretStorage::Store).unwrap();
    let (copy, other) = (fixture.folder.path().join("copy.db"), StoreKey::random());
    store.export(&copy, &other).unwrap();
    assert!(matches!(Store::open(&copy, &fixture.key, LostWritesPolicy::Refuse), Err(StoreError::WrongKey(_))));
    let copied = Store::open(&copy, &other, LostWritesPolicy::Refuse).unwrap();
    assert_eq!((copied.connections().names().unwrap(), copied.meta().unwrap().sequence), (vec![name("slack")], 1));

    let snapshot = store.snapshot(&[]).unwrap();
    assert!(snapshot.starts_with(b"SQLite format 3\0"));
    let restored = fixture.folder.path().join("restored.db");
    let (counts, sequence) = Snapshot::read(&snapshot).unwrap().restore(&restored, &other, 40, at(99)).unwrap();
    assert_eq!((counts.connections.len(), counts.connections[0].name.as_str(), sequence), (1, "slack", 41));
    let restored = Store::open(&restored, &other, LostWritesPolicy::Refuse).unwrap();
    let meta = restored.meta().unwrap();
    assert_eq!((meta.sequence, meta.restored_at), (41, Some(at(99))));
    assert_ne!(restored.vault_id(), store.vault_id());
    for junk in [b"".as_slice(), b"not a database", &snapshot[..5000]] {
        let error = Snapshot::read(junk).unwrap_err();
        assert_eq!(error.kind(), Kind::Vault, "{error}");
    }
}

#[test]
fn fault_045_a_full_disk_has_its_own_error() {
    let fixture = Fixture::new();
    let store = fixture.open();
    // SQLite reports a limit on pages as it reports a full disk.
    store.connection().pragma_update(None, "max_page_count", 1).unwrap();
    let big = json!("x".repeat(200_000));
    let error = store.sandbox().put("big", &big).unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Failed, "disk_full"));
    assert_eq!(store.sandbox().get("big").unwrap(), None);
    store.check().unwrap();
}

fn endpoint(store: &Store) -> Endpoint {
    let rules = DeliveryPolicy {
        backoff: BackoffPolicy::Exponential,
        max_attempts: 8,
        ttl: std::time::Duration::from_secs(3600),
        timeout: std::time::Duration::from_secs(15),
        rate: Some(crate::model::Budget { units: 5, secs: 1, burst: None }),
    };
    let mut endpoint =
        Endpoint::new(Url::parse("https://example.com/hook").unwrap(), Secret::from("whsec_MARKER"), rules, at(0));
    endpoint.events = vec!["invoice.*".parse().unwrap()];
    store.endpoints().add(&endpoint).unwrap();
    endpoint
}

fn message(id: &str, second: i64) -> Message {
    let kind = "invoice.paid".parse().unwrap();
    Message { id: id.to_owned(), kind, body: b"{}".to_vec(), created_at: at(second) }
}

#[test]
fn endpoints_come_back_and_keep_their_secrets_to_themselves() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let added = endpoint(&store);
    let found = store.endpoints().get(&added.id).unwrap().unwrap();
    assert_eq!(format!("{found:?}"), format!("{added:?}"));
    assert!(!format!("{found:?}").contains("MARKER"));
    let rotated = store
        .endpoints()
        .update(&added.id, |endpoint| endpoint.rotate(Secret::from("whsec_NEW"), at(100), at(10)))
        .unwrap()
        .unwrap();
    let good = |second| rotated.secrets(at(second)).iter().map(|one| one.expose().clone()).collect::<Vec<_>>();
    assert_eq!(
        (good(99), good(100)),
        (vec!["whsec_NEW".to_owned(), "whsec_MARKER".to_owned()], vec!["whsec_NEW".to_owned()])
    );
    assert_eq!((rotated.overlap_until(at(99)), rotated.overlap_until(at(100))), (Some(at(100)), None));
    assert!(store.endpoints().remove(&added.id).unwrap() && !store.endpoints().remove(&added.id).unwrap());
}

#[test]
fn fault_083_what_a_clock_put_too_far_away_is_brought_near_and_spread() {
    use std::time::Duration;
    let fixture = Fixture::new();
    let store = fixture.open();
    let endpoint = endpoint(&store);
    // Sent while the clock was a year ahead.
    let ahead = 365 * 86_400;
    for number in 0..100 {
        let _ = store.outbox().insert(&message(&format!("msg_{number}"), ahead), |_| true, |_| true).unwrap();
    }
    let (longest, spread) = (Duration::from_secs(43_200), Duration::from_secs(300));
    assert!(store.outbox().due(&endpoint.id, at(0), 1000).unwrap().is_empty());
    assert_eq!(store.outbox().clamp_due_times(at(0), longest, spread).unwrap(), 100);
    assert_eq!(store.outbox().clamp_due_times(at(0), longest, spread).unwrap(), 0);
    let due = |second| store.outbox().due(&endpoint.id, at(second), 1000).unwrap().len();
    assert!((20..80).contains(&due(150)), "{}", due(150));
    assert_eq!(due(300), 100);
}

#[test]
fn old_messages_are_forgotten_unless_one_of_their_deliveries_waits() {
    let fixture = Fixture::new();
    let store = fixture.open();
    endpoint(&store);
    for (id, wanted) in [("msg_wanted", true), ("msg_nobody", false)] {
        let _ = store.outbox().insert(&message(id, 0), |_| wanted, |_| true).unwrap();
    }
    assert_eq!(store.outbox().prune(at(0), 10).unwrap(), 0);
    assert_eq!(store.outbox().prune(at(1), 10).unwrap(), 1);
    assert!(store.outbox().message("msg_wanted").unwrap().is_some());
    let waiting = store.outbox().list(&DeliveryFilter { limit: 9, ..Default::default() }).unwrap();
    store.outbox().mark_dead(&[waiting[0].id], "enough").unwrap();
    assert_eq!(store.outbox().prune(at(1), 10).unwrap(), 1);
    assert!(store.outbox().get(waiting[0].id).unwrap().is_none());
}
