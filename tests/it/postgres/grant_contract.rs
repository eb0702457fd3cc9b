//! What the connections and grants of every store do.

use futures_util::future::join_all;
use integ::model::{
    Account, Check, ConnectionId, ConnectionMode, ConnectionTransition, Expiry, Grant, GrantStatus, GrantWriteResult,
    HealthCheck, HealthOutcome, NewConnection, SecretStorage, Transition, connect_command,
};
use integ::store::{Fence, Lease, LockKey, Store, StoreError, from_keyring_entry, keyring_entry, state_key};
use serde_json::json;

use super::{Subject, at, grant, new_connection, on_both_stores};

const NOW: i64 = 1_700_000_000;

/// Takes the lock of a grant for as long as the test lasts.
async fn lock(subject: &Subject, id: ConnectionId) -> (Fence, Lease) {
    let lease = subject.store().locks().try_acquire(LockKey::Grant(id), at(NOW)).await.unwrap().unwrap();
    (lease.fence, lease)
}

/// Records a check, and returns the transition that came of it.
async fn check(store: &dyn Store, id: ConnectionId, outcome: HealthOutcome, error: &str) -> Option<Transition> {
    let check = HealthCheck::new(at(NOW), outcome, Some(error));
    store.connections().record_check(id, &check).await.unwrap().map(|found| found.transition)
}

#[test]
fn a_connection_and_its_grant_come_back_as_they_were() {
    on_both_stores(async |subject| {
        let name = subject.name;
        let new = NewConnection {
            origin: "http://127.0.0.1:9/x".parse().ok(),
            account: Some(Account { id: "T024".to_owned(), name: None }),
            ..new_connection("slack@work", ConnectionMode::Live)
        };
        let quoted = Grant {
            refresh_token: Some("refresh \"quoted\"\n".into()),
            refresh_expires_at: Some(at(NOW + 90_000)),
            ..grant("first")
        };
        let (made, change) = subject.store().connections().connect(&new, &quoted, SecretStorage::Store).await.unwrap();
        assert!(change.is_none(), "{name}: there was none before");
        let connections = subject.other().connections();
        let (connection, stored) = connections.find_with_grant(&new.name).await.unwrap().unwrap();
        assert_eq!(format!("{connection:?}"), format!("{made:?}"), "{name}");
        assert_eq!((&connection.params, &connection.origin), (&new.params, &new.origin), "{name}");
        assert_eq!(connection.account, new.account, "{name}");
        let expiry = Expiry {
            issued_at: Some(at(NOW)),
            expires_at: Some(at(NOW + 3600)),
            is_refreshable: true,
            refresh_expires_at: Some(at(NOW + 90_000)),
            refresh_started_at: None,
        };
        assert_eq!(connection.expiry, expiry, "{name}");
        let stored = stored.unwrap();
        let found = stored.grant.as_ref().unwrap();
        assert_eq!((&found.access_token, &found.fields), (&quoted.access_token, &quoted.fields), "{name}");
        assert_eq!(found.refresh_token, quoted.refresh_token, "{name}");
        let secret = |grant: &Grant| grant.client.as_ref().and_then(|client| client.secret.clone());
        assert_eq!(secret(found), secret(&quoted), "{name}");
        let times = (found.refresh_expires_at, found.refresh_method);
        assert_eq!(times, (quoted.refresh_expires_at, quoted.refresh_method), "{name}");
        let metadata = (stored.generation, stored.is_from_backup, stored.storage);
        assert_eq!(metadata, (1, false, SecretStorage::Store), "{name}");
        let shown = format!("{stored:?}{:?}", connections.list().await.unwrap());
        for hidden in ["access-first", "quoted", "user-first", "client secret"] {
            assert!(!shown.contains(hidden), "{name}: {shown}");
        }
        assert!(connections.find(&"slack".parse().unwrap()).await.unwrap().is_none(), "{name}");
        assert_eq!(connections.names().await.unwrap(), [new.name], "{name}");
    });
}

#[test]
fn reconnecting_keeps_the_id_and_clears_the_errors() {
    on_both_stores(async |subject| {
        let (name, connections) = (subject.name, subject.store().connections());
        let find = async || subject.other().connections().find(&"slack".parse().unwrap()).await.unwrap().unwrap();
        let id = subject.connect("slack").await.id;
        check(subject.store(), id, HealthOutcome::Temporary, "HTTP 500").await;
        connections.record_failure(id, "timeout").await.unwrap();
        connections.set_grant_status(id, GrantStatus::NeedsReauth, Some("invalid_grant")).await.unwrap();
        let failed = find().await;
        assert_eq!((failed.error_count, failed.last_error.as_deref()), (2, Some("timeout")), "{name}");
        let status = (failed.grant_status, failed.status_reason.as_deref());
        assert_eq!(status, (GrantStatus::NeedsReauth, Some("invalid_grant")), "{name}");
        assert_eq!(failed.last_check, Some(Check { at: at(NOW), passed: false }), "{name}");

        let again = subject.connect("slack").await;
        assert_eq!((again.id, again.error_count, again.grant_status), (id, 0, GrantStatus::Active), "{name}");
        assert_eq!(again.status_reason, None, "{name}");
        assert_eq!(subject.other().grants().get(id).await.unwrap().unwrap().generation, 2, "{name}");

        connections.record_failure(id, "x").await.unwrap();
        check(subject.store(), id, HealthOutcome::Healthy, "").await;
        let scopes = vec!["a".to_owned()];
        let account = Account { id: "T1".to_owned(), name: Some("Acme".to_owned()) };
        connections.update_metadata(id, Some(&account), Some(&scopes), None).await.unwrap();
        let healthy = find().await;
        assert_eq!((healthy.error_count, healthy.last_error), (0, None), "{name}");
        assert_eq!((healthy.account, healthy.scopes_granted), (Some(account), Some(scopes)), "{name}");
    });
}

#[test]
fn the_id_of_a_removed_connection_is_not_used_again() {
    on_both_stores(async |subject| {
        let (name, connections) = (subject.name, subject.store().connections());
        let first = subject.connect("slack").await.id;
        connections.remove(first).await.unwrap();
        assert!(subject.other().grants().get(first).await.unwrap().is_none(), "{name}");
        let missing = connections.remove(first).await;
        assert!(matches!(missing, Err(StoreError::ConnectionNotFound)), "{name}: {missing:?}");
        assert!(subject.connect("slack").await.id > first, "{name}");
    });
}

#[test]
fn a_refresh_names_the_generation_that_it_replaces() {
    on_both_stores(async |subject| {
        let name = subject.name;
        let id = subject.connect("slack@work").await.id;
        let (fence, _lease) = lock(subject, id).await;
        let grants = subject.store().grants();
        let marker =
            async || subject.other().grants().get(id).await.unwrap().unwrap().refresh_attempt.map(|marker| marker.at);
        let superseded = grants.begin_refresh(id, 2, at(NOW), fence).await.unwrap();
        assert_eq!((superseded, marker().await), (GrantWriteResult::Superseded, None), "{name}");
        let begun = grants.begin_refresh(id, 1, at(NOW), fence).await.unwrap();
        assert_eq!((begun, marker().await), (GrantWriteResult::Done { generation: 1 }, Some(at(NOW))), "{name}");
        let listed = subject.other().connections().list().await.unwrap();
        assert_eq!(listed[0].expiry.refresh_started_at, Some(at(NOW)), "{name}");
        let other = grants.cancel_refresh(id, 2, fence).await.unwrap();
        assert_eq!((other, marker().await), (GrantWriteResult::Superseded, Some(at(NOW))), "{name}");
        let cancelled = grants.cancel_refresh(id, 1, fence).await.unwrap();
        assert_eq!((cancelled, marker().await), (GrantWriteResult::Done { generation: 1 }, None), "{name}");
        let _ = grants.begin_refresh(id, 1, at(NOW), fence).await.unwrap();
        let (done, transition) = grants.replace(id, 1, &grant("second"), fence).await.unwrap();
        assert_eq!((done, marker().await), (GrantWriteResult::Done { generation: 2 }, None), "{name}");
        assert!(transition.is_none(), "{name}: it worked before");
        let (again, _) = grants.replace(id, 1, &grant("third"), fence).await.unwrap();
        assert_eq!(again, GrantWriteResult::Superseded, "{name}");
        let stored = subject.other().grants().get(id).await.unwrap().unwrap();
        let (found, wanted) = (stored.grant.unwrap(), grant("second"));
        assert_eq!(stored.generation, 2, "{name}");
        assert_eq!(found.access_token, wanted.access_token, "{name}");
        assert_eq!((found.refresh_token, found.fields), (wanted.refresh_token, wanted.fields), "{name}");
        let (client, expected) = (found.client.unwrap(), wanted.client.unwrap());
        assert_eq!((client.id, client.secret), (expected.id, expected.secret), "{name}");
        let times = (found.issued_at, found.expires_at, found.refresh_expires_at, found.refresh_method);
        assert_eq!(times, (wanted.issued_at, wanted.expires_at, None, wanted.refresh_method), "{name}");
    });
}

#[test]
fn of_many_writers_of_one_generation_one_is_done() {
    on_both_stores(async |subject| {
        let id = subject.connect("slack").await.id;
        let (fence, _lease) = lock(subject, id).await;
        for generation in 1..4 {
            let writers = (0..16).map(async |writer| {
                let store = &subject.handles[writer % subject.handles.len()];
                let new = grant(&format!("{generation}-{writer}"));
                let (result, _) = store.grants().replace(id, generation, &new, fence).await.unwrap();
                (result != GrantWriteResult::Superseded).then_some(new)
            });
            let done: Vec<_> = join_all(writers).await.into_iter().flatten().collect();
            let stored = subject.other().grants().get(id).await.unwrap().unwrap();
            assert_eq!((done.len(), stored.generation), (1, generation + 1), "{}", subject.name);
            assert_eq!(stored.grant.unwrap().access_token, done[0].access_token, "{}", subject.name);
        }
    });
}

/// Has every writer do something at once, each with a store of its own, and returns the transitions that came of it.
async fn transitions(
    subject: &Subject,
    write: impl AsyncFn(&dyn Store) -> Option<ConnectionTransition>,
) -> Vec<Transition> {
    let writers = (0..16).map(|writer| write(&*subject.handles[writer % subject.handles.len()]));
    join_all(writers).await.into_iter().flatten().map(|found| found.transition).collect()
}

#[test]
fn of_many_writers_one_gets_the_transition() {
    on_both_stores(async |subject| {
        let name = subject.name;
        let id = subject.connect("slack").await.id;
        let failed = transitions(subject, async |store| store.connections().record_failure(id, "down").await.unwrap());
        assert_eq!(failed.await, [Transition::Failure], "{name}");
        let found = subject.store().connections().find(&"slack".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((found.error_count, found.last_error.as_deref()), (16, Some("down")), "{name}");
        let refused = transitions(subject, async |store| {
            let (status, reason) = (GrantStatus::NeedsReauth, Some("invalid_grant"));
            store.connections().set_grant_status(id, status, reason).await.unwrap()
        });
        assert_eq!(refused.await, [Transition::NeedsReauth], "{name}");
        let (fence, _lease) = lock(subject, id).await;
        let recovered =
            transitions(subject, async |store| store.grants().replace(id, 1, &grant("second"), fence).await.unwrap().1);
        assert_eq!(recovered.await, [Transition::Recovery], "{name}");
        let checked = transitions(subject, async |store| {
            let check = HealthCheck::new(at(NOW), HealthOutcome::NeedsReauth, Some("401"));
            store.connections().record_check(id, &check).await.unwrap()
        });
        assert_eq!(checked.await, [Transition::NeedsReauth], "{name}");
        let unclear = transitions(subject, async |store| {
            let check = HealthCheck::new(at(NOW), HealthOutcome::Temporary, Some("503"));
            store.connections().record_check(id, &check).await.unwrap()
        });
        assert_eq!(unclear.await, [], "{name}: it says nothing of the grant");
        let healthy = transitions(subject, async |store| {
            let check = HealthCheck::new(at(NOW), HealthOutcome::Healthy, None);
            store.connections().record_check(id, &check).await.unwrap()
        });
        assert_eq!(healthy.await, [Transition::Recovery], "{name}");
        subject.store().connections().remove(id).await.unwrap();
        let absent = subject.other().connections().record_failure(id, "down").await;
        assert!(matches!(absent, Err(StoreError::ConnectionNotFound)), "{name}: {absent:?}");
        assert!(subject.other().grants().get(id).await.unwrap().is_none(), "{name}: its grant is deleted with it");
    });
}

#[test]
fn a_transition_is_returned_by_the_write_that_made_it_and_by_no_other() {
    on_both_stores(async |subject| {
        let (name, ours, theirs) = (subject.name, subject.store(), subject.other());
        let id = subject.connect("slack").await.id;
        let (fence, _lease) = lock(subject, id).await;
        let replace = async |generation| {
            let (result, change) = ours.grants().replace(id, generation, &grant("next"), fence).await.unwrap();
            assert_eq!(result, GrantWriteResult::Done { generation: generation + 1 }, "{name}");
            change.map(|change| change.transition)
        };
        let fail = async || ours.connections().record_failure(id, "timeout").await.unwrap();
        assert_eq!(check(ours, id, HealthOutcome::Healthy, "").await, None, "{name}");
        assert_eq!(check(ours, id, HealthOutcome::Temporary, "500").await, Some(Transition::Failure), "{name}");
        assert_eq!(check(theirs, id, HealthOutcome::Temporary, "500").await, None, "{name}");
        assert!(fail().await.is_none(), "{name}");
        assert_eq!(replace(1).await, None, "{name}: a new token proves nothing of what the check found");
        assert_eq!(check(theirs, id, HealthOutcome::Temporary, "500").await, None, "{name}");

        assert_eq!(check(theirs, id, HealthOutcome::NeedsReauth, "401").await, Some(Transition::NeedsReauth), "{name}");
        assert_eq!(check(ours, id, HealthOutcome::Temporary, "500").await, None, "{name}");
        assert_eq!(check(ours, id, HealthOutcome::NeedsReauth, "401").await, None, "{name}: refused once");
        let refused = ours.connections().set_grant_status(id, GrantStatus::NeedsReauth, Some("invalid_grant")).await;
        assert!(refused.unwrap().is_none(), "{name}: refused once");
        let new = new_connection("slack", ConnectionMode::Live);
        let (_, change) = ours.connections().connect(&new, &grant("third"), SecretStorage::Store).await.unwrap();
        let change = change.unwrap();
        assert_eq!(change.transition, Transition::Recovery, "{name}");
        let connection = (change.connection.id, change.connection.grant_status);
        assert_eq!(connection, (id, GrantStatus::Active), "{name}");

        let failed = fail().await.map(|change| change.transition);
        assert_eq!(failed, Some(Transition::Failure), "{name}");
        assert_eq!(replace(3).await, Some(Transition::Recovery), "{name}: the refresh works again");
    });
}

#[test]
fn secrets_move_to_the_keyring_and_back_by_generation() {
    on_both_stores(async |subject| {
        let name = subject.name;
        let id = subject.connect("slack").await.id;
        let grants = subject.store().grants();
        grants.mark_all_in_keyring().await.unwrap();
        let marked = grants.get(id).await.unwrap().unwrap();
        assert!(marked.grant.is_some() && marked.storage == SecretStorage::Keyring, "{name}");
        assert_eq!(grants.move_to_keyring(id, 2).await.unwrap(), GrantWriteResult::Superseded, "{name}");
        assert_eq!(grants.move_to_keyring(id, 1).await.unwrap(), GrantWriteResult::Done { generation: 1 }, "{name}");
        let stored = grants.get(id).await.unwrap().unwrap();
        assert!(stored.grant.is_none() && stored.storage == SecretStorage::Keyring, "{name}");
        grants.clear_in_keyring(id).await.unwrap();
        let kept = grants.get(id).await.unwrap().unwrap().storage;
        assert_eq!(kept, SecretStorage::Keyring, "{name}: the secrets are nowhere else");
        let entry = keyring_entry(id, 1, &grant("first")).unwrap();
        let whole = from_keyring_entry(&stored, id, entry.expose()).unwrap().unwrap();
        let other = ConnectionId(id.0 + 1);
        assert!(from_keyring_entry(&stored, other, entry.expose()).unwrap().is_none(), "{name}: another's entry");
        assert_eq!(grants.move_to_store(id, 2, &whole).await.unwrap(), GrantWriteResult::Superseded, "{name}");
        let done = grants.move_to_store(id, 1, &whole).await.unwrap();
        grants.clear_in_keyring(id).await.unwrap();
        let (connection, stored) = subject.other().grants().list().await.unwrap().remove(0);
        assert_eq!((done, connection.id), (GrantWriteResult::Done { generation: 1 }, id), "{name}");
        assert_eq!(stored.storage, SecretStorage::Store, "{name}");
        assert_eq!(stored.grant.unwrap().access_token.expose(), "access-first", "{name}");
    });
}

#[test]
fn attack_a2_another_place_starts_empty_and_a_live_connection_is_never_replaced() {
    on_both_stores(async |subject| {
        let (name, store, other) = (subject.name, subject.store(), subject.other());
        let connect = async |mode, origin: Option<&str>| {
            let new =
                NewConnection { origin: origin.map(|origin| origin.parse().unwrap()), ..new_connection("slack", mode) };
            let made = store.connections().connect(&new, &grant("next"), SecretStorage::Store).await;
            made.map(|(connection, _)| connection)
        };
        let schedules = async || other.schedules().list().await.unwrap().len();
        let state = async || other.sandbox().get(&state_key("slack")).await.unwrap();
        let begin = async |id| store.schedules().set(id, None, "every 15m", 0, at(NOW + 900)).await.unwrap();
        let sandbox = connect(ConnectionMode::Sandbox, None).await.unwrap();
        begin(sandbox.id).await;
        assert!(store.sandbox().replace(&state_key("slack"), None, Some(&json!({"serial": 1}))).await.unwrap());
        let again = connect(ConnectionMode::Sandbox, None).await.unwrap();
        let generation = other.grants().get(sandbox.id).await.unwrap().unwrap().generation;
        assert_eq!((again.id, generation), (sandbox.id, 2), "{name}");
        assert_eq!((schedules().await, state().await.is_some()), (1, true), "{name}: the same place keeps everything");

        let emulated = connect(ConnectionMode::Live, Some("http://127.0.0.1:1")).await.unwrap();
        assert_ne!(emulated.id, sandbox.id, "{name}");
        assert_eq!((schedules().await, state().await), (0, None), "{name}: nothing of the sandbox is left");
        begin(emulated.id).await;
        let moved = connect(ConnectionMode::Live, Some("http://127.0.0.1:2")).await.unwrap();
        assert_eq!(schedules().await, 0, "{name}: another origin is another place");
        let taken = connect(ConnectionMode::Sandbox, None).await;
        assert!(matches!(taken, Err(StoreError::NameTaken(_))), "{name}: {taken:?}");
        let live = connect(ConnectionMode::Live, None).await.unwrap();
        assert!(moved.id != emulated.id && live.id != moved.id, "{name}");
        begin(live.id).await;
        for (mode, origin) in [(ConnectionMode::Sandbox, None), (ConnectionMode::Live, Some("http://127.0.0.1:1"))] {
            let taken = connect(mode, origin).await;
            assert!(matches!(taken, Err(StoreError::NameTaken(_))), "{name}: {mode:?} {origin:?}");
        }
        let all = other.connections().list().await.unwrap();
        assert_eq!((all.len(), schedules().await), (1, 1), "{name}: a refusal changes nothing");
        let command = connect_command(&all[0].name, all[0].mode, all[0].origin.as_ref());
        assert_eq!((all[0].id, command.as_str()), (live.id, "integ connect slack"), "{name}");
        assert_eq!((&all[0].params, &all[0].metadata), (&live.params, &live.metadata), "{name}");
    });
}
