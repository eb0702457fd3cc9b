//! What the connections and grants of every store do.

use futures_util::future::join_all;
use integ::model::{
    ConnectionId, ConnectionMode, ConnectionTransition, GrantStatus, GrantWriteResult, HealthCheck, HealthOutcome,
    NewConnection, SecretStorage, Transition, connect_command,
};
use integ::store::{Fence, Lease, LockKey, Store, StoreError};

use super::{Subject, at, grant, new_connection, on_both_stores};

const NOW: i64 = 1_700_000_000;

/// Takes the lock of a grant for as long as the test lasts.
async fn lock(subject: &Subject, id: ConnectionId) -> (Fence, Lease) {
    let lease = subject.store().locks().try_acquire(LockKey::Grant(id), at(NOW)).await.unwrap().unwrap();
    (lease.fence, lease)
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
fn secrets_move_to_the_keyring_and_back_by_generation() {
    on_both_stores(async |subject| {
        let name = subject.name;
        let id = subject.connect("slack").await.id;
        let grants = subject.store().grants();
        assert_eq!(grants.move_to_keyring(id, 2).await.unwrap(), GrantWriteResult::Superseded, "{name}");
        assert_eq!(grants.move_to_keyring(id, 1).await.unwrap(), GrantWriteResult::Done { generation: 1 }, "{name}");
        let stored = grants.get(id).await.unwrap().unwrap();
        assert!(stored.grant.is_none() && stored.storage == SecretStorage::Keyring, "{name}");
        grants.clear_in_keyring(id).await.unwrap();
        let kept = grants.get(id).await.unwrap().unwrap().storage;
        assert_eq!(kept, SecretStorage::Keyring, "{name}: the secrets are nowhere else");
        let done = grants.move_to_store(id, 1, &grant("first")).await.unwrap();
        grants.clear_in_keyring(id).await.unwrap();
        let (connection, stored) = subject.other().grants().list().await.unwrap().remove(0);
        assert_eq!((done, connection.id), (GrantWriteResult::Done { generation: 1 }, id), "{name}");
        assert_eq!(stored.storage, SecretStorage::Store, "{name}");
        assert_eq!(stored.grant.unwrap().access_token.expose(), "access-first", "{name}");
    });
}

#[test]
fn a_connection_keeps_its_id_at_the_same_place_and_is_another_elsewhere() {
    on_both_stores(async |subject| {
        let name = subject.name;
        let connections = subject.store().connections();
        let connect = async |mode, origin: Option<&str>| {
            let new =
                NewConnection { origin: origin.map(|origin| origin.parse().unwrap()), ..new_connection("slack", mode) };
            connections.connect(&new, &grant("next"), SecretStorage::Store).await
        };
        let (first, _) = connect(ConnectionMode::Sandbox, None).await.unwrap();
        let (again, _) = connect(ConnectionMode::Sandbox, None).await.unwrap();
        let generation = subject.other().grants().get(first.id).await.unwrap().unwrap().generation;
        assert_eq!((again.id, generation), (first.id, 2), "{name}");
        let (moved, _) = connect(ConnectionMode::Live, Some("http://127.0.0.1:9")).await.unwrap();
        let (live, _) = connect(ConnectionMode::Live, None).await.unwrap();
        assert!(moved.id != first.id && live.id != moved.id, "{name}");
        let taken = connect(ConnectionMode::Sandbox, None).await;
        assert!(matches!(taken, Err(StoreError::NameTaken(_))), "{name}: {taken:?}");
        let all = subject.other().connections().list().await.unwrap();
        assert_eq!(all.len(), 1, "{name}");
        let command = connect_command(&all[0].name, all[0].mode, all[0].origin.as_ref());
        assert_eq!((all[0].id, command.as_str()), (live.id, "integ connect slack"), "{name}");
        assert_eq!((&all[0].params, &all[0].metadata), (&live.params, &live.metadata), "{name}");
    });
}
