//! What the inbox of every store does: each event once, with conflicts set apart.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use integ::model::{
    AttemptResult, ConflictResolution, EventFilter, EventId, EventInsertResult, EventStatus, EventVerification,
    InboundDelivery, NewEvent, PruneRequest,
};
use integ::store::{Events, LockKey};

use super::super::{new_delivery, new_event, on_both_stores};
use super::at;

async fn insert(events: &dyn Events, delivery: InboundDelivery) -> Vec<EventInsertResult> {
    events.insert(Arc::new(delivery)).await.unwrap()
}

#[test]
fn of_many_equal_deliveries_at_once_one_is_new() {
    on_both_stores(async |subject| {
        let (name, connection) = (subject.name, subject.connect("github").await.id);
        let inserts = (0..64).map(async |number: usize| {
            let events = subject.handles[number % subject.handles.len()].events();
            insert(events, new_delivery(connection, vec![new_event(&format!("evt_{}", number / 4), 1)])).await[0]
        });
        let results = join_all(inserts).await;
        let new: BTreeSet<EventId> =
            results.iter().filter(|result| matches!(result, EventInsertResult::New(_))).map(|one| one.id()).collect();
        assert_eq!(new.len(), 16, "{name}: {results:?}");
        let ids: BTreeSet<EventId> = results.iter().map(|one| one.id()).collect();
        assert_eq!(ids, new, "{name}");
        let listed = subject.store().events().list(&EventFilter { limit: 100, ..Default::default() }).await.unwrap();
        assert_eq!(listed.len(), 16, "{name}");
        let found = subject.other().events().find(connection, "evt_3").await.unwrap().unwrap();
        let stored = subject.store().events().get(found).await.unwrap().unwrap();
        assert_eq!((stored.delivery_id.as_str(), stored.account.as_deref()), ("evt_3", Some("acme")), "{name}");
        assert_eq!((stored.occurred_at, stored.received_at), (Some(at(1)), at(2)), "{name}");
    });
}

#[test]
fn the_events_of_a_request_share_its_body() {
    on_both_stores(async |subject| {
        let (name, connection) = (subject.name, subject.connect("github").await.id);
        let (own, other) = (subject.store().events(), subject.other().events());
        let items = ["{\"a\":1}", "{\"a\":2}"];
        let batch = items.iter().enumerate().map(|(number, item)| NewEvent {
            batch_item: Some((*item).to_owned()),
            ..new_event(&format!("evt_{number}"), 1)
        });
        let results = insert(own, new_delivery(connection, batch.collect())).await;
        for (number, result) in results.iter().enumerate() {
            let request = other.raw_request(result.id()).await.unwrap().unwrap();
            assert_eq!(request.body, new_delivery(connection, Vec::new()).body, "{name}");
            assert_eq!((request.query.as_str(), request.headers.len()), ("a=1", 1), "{name}");
            assert_eq!(request.batch_item.as_deref(), Some(items[number]), "{name}");
            assert_eq!(request.is_first_of_request, number == 0, "{name}");
        }
        let after = other.after(results[0].id(), Some(connection), at(0)).await.unwrap();
        assert_eq!(after.iter().map(|one| one.id).collect::<Vec<_>>(), [results[1].id()], "{name}");
        assert!(own.raw_request(EventId(1_000_000)).await.unwrap().is_none(), "{name}");
    });
}

#[test]
fn signed_bytes_are_one_event_under_any_id() {
    on_both_stores(async |subject| {
        let (name, connection) = (subject.name, subject.connect("github").await.id);
        let (own, other) = (subject.store().events(), subject.other().events());
        let signed = |id: &str, bytes: u8| NewEvent { signed_digest: Some([bytes; 32]), ..new_event(id, bytes) };
        let first = insert(own, new_delivery(connection, vec![signed("evt_1", 1)])).await[0];
        let again = insert(other, new_delivery(connection, vec![signed("evt_2", 1)])).await[0];
        assert_eq!(again, EventInsertResult::Duplicate(first.id()), "{name}");
        // One that was fetched first, and comes signed later.
        let fetched = NewEvent { digest: None, ..new_event("evt_3", 0) };
        let fetched = insert(own, new_delivery(connection, vec![fetched])).await[0];
        let came = insert(other, new_delivery(connection, vec![signed("evt_3", 3)])).await[0];
        assert_eq!(came, EventInsertResult::Duplicate(fetched.id()), "{name}");
        let captured = insert(own, new_delivery(connection, vec![signed("evt_4", 3)])).await[0];
        assert_eq!(captured, EventInsertResult::Duplicate(fetched.id()), "{name}");
        let elsewhere = subject.connect("stripe").await.id;
        let result = insert(own, new_delivery(elsewhere, vec![signed("evt_1", 1)])).await[0];
        assert!(matches!(result, EventInsertResult::New(_)), "{name}: another connection's");
    });
}

#[test]
fn another_body_under_an_id_waits_until_it_is_resolved() {
    on_both_stores(async |subject| {
        let (name, connection) = (subject.name, subject.connect("github").await.id);
        let (own, other) = (subject.store().events(), subject.other().events());
        let first = insert(own, new_delivery(connection, vec![new_event("evt_1", 1)])).await[0].id();
        for digest in 2..10 {
            let result = insert(other, new_delivery(connection, vec![new_event("evt_1", digest)])).await[0];
            assert_eq!(result, EventInsertResult::Conflict(first), "{name}");
        }
        let repeated = insert(own, new_delivery(connection, vec![new_event("evt_1", 9)])).await[0];
        assert_eq!(repeated, EventInsertResult::Conflict(first), "{name}");
        let full = insert(own, new_delivery(connection, vec![new_event("evt_1", 99)])).await[0];
        assert_eq!(full, EventInsertResult::TooManyConflicts(first), "{name}");
        assert_eq!(
            (own.conflicts(first).await.unwrap().len(), own.get(first).await.unwrap().unwrap().conflict_count),
            (8, 8)
        );
        let only = EventFilter { only_conflicts: true, limit: 9, ..Default::default() };
        assert_eq!(own.list(&only).await.unwrap().len(), 1, "{name}");
        let none = other.resolve_conflict(first, ConflictResolution::KeepNumber(9), at(5)).await.unwrap();
        assert_eq!(none, None, "{name}");
        let made = other.resolve_conflict(first, ConflictResolution::KeepNumber(2), at(5)).await.unwrap().unwrap();
        assert_eq!(made.len(), 1, "{name}");
        let chosen = own.get(made[0]).await.unwrap().unwrap();
        assert_eq!((chosen.delivery_id.as_str(), chosen.status), ("evt_1", EventStatus::Pending), "{name}");
        assert_eq!(
            own.raw_request(made[0]).await.unwrap().unwrap().body,
            new_delivery(connection, Vec::new()).body,
            "{name}"
        );
        let left = own.get(first).await.unwrap().unwrap();
        assert_eq!((left.status, left.conflict_count), (EventStatus::Processed, 0), "{name}");
        // Both are known from now on.
        for digest in [1, 3] {
            let result = insert(own, new_delivery(connection, vec![new_event("evt_1", digest)])).await[0];
            assert!(matches!(result, EventInsertResult::Duplicate(_)), "{name}: {result:?}");
        }
    });
}

#[test]
fn what_the_vendor_did_not_send_takes_no_id() {
    on_both_stores(async |subject| {
        let (name, connection) = (subject.name, subject.connect("github").await.id);
        let (own, other) = (subject.store().events(), subject.other().events());
        let unconfirmed = |digest| InboundDelivery {
            verification: EventVerification::Unconfirmed,
            ..new_delivery(connection, vec![new_event("evt_1", digest)])
        };
        let forged = insert(own, unconfirmed(1)).await[0].id();
        let other_body = insert(own, unconfirmed(2)).await[0];
        assert_eq!(other_body, EventInsertResult::Unconfirmed(forged), "{name}");
        assert_eq!(other.unconfirmed(connection, 9).await.unwrap(), [forged], "{name}");
        other.set_verification(forged, EventVerification::Rejected, Some("never sent")).await.unwrap();
        assert_eq!(own.get(forged).await.unwrap().unwrap().status, EventStatus::Dead, "{name}");
        let genuine = insert(other, unconfirmed(2)).await[0];
        assert!(matches!(genuine, EventInsertResult::New(_)), "{name}: {genuine:?}");
        assert_eq!(own.requeue(&[forged], at(9)).await.unwrap(), 1, "{name}");
        let again = own.get(forged).await.unwrap().unwrap();
        assert_eq!(
            (again.status, again.verification),
            (EventStatus::Pending, EventVerification::Unconfirmed),
            "{name}"
        );
    });
}

#[test]
fn a_dead_event_that_comes_again_is_handled_again_and_a_pruned_one_is_known() {
    on_both_stores(async |subject| {
        let (name, connection) = (subject.name, subject.connect("github").await.id);
        let (own, other) = (subject.store().events(), subject.other().events());
        let id = insert(own, new_delivery(connection, vec![new_event("evt_1", 1)])).await[0].id();
        let fence =
            subject.store().locks().try_acquire(LockKey::Events(connection), at(0)).await.unwrap().unwrap().fence;
        let ended = |status| AttemptResult {
            id,
            status,
            due_at: None,
            error: Some("no".to_owned()),
            completed_handlers: 1,
            runs: Vec::new(),
        };
        own.record_attempts(&[ended(EventStatus::Dead)], fence).await.unwrap();
        let again = insert(other, new_delivery(connection, vec![new_event("evt_1", 1)])).await[0];
        assert_eq!(again, EventInsertResult::Requeued(id), "{name}");
        let queued = own.find_queued(id).await.unwrap().unwrap();
        assert_eq!((queued.attempts, queued.completed_handlers), (0, 1), "{name}");
        own.record_attempts(&[ended(EventStatus::Processed)], fence).await.unwrap();

        let prune = PruneRequest { connection, before: at(99), keeps_ids: true, include_dead: false };
        assert_eq!((own.count_prunable(&prune).await.unwrap(), own.prune(&prune, 9).await.unwrap()), (1, 1), "{name}");
        assert_eq!(own.count_prunable(&prune).await.unwrap(), 0, "{name}");
        assert!(other.raw_request(id).await.unwrap().is_none() && other.requeue(&[id], at(9)).await.unwrap() == 0);
        let known = insert(other, new_delivery(connection, vec![new_event("evt_1", 1)])).await[0];
        assert_eq!(known, EventInsertResult::Duplicate(id), "{name}");

        let second = insert(own, new_delivery(connection, vec![new_event("evt_2", 1)])).await[0].id();
        own.record_attempts(&[AttemptResult { id: second, ..ended(EventStatus::Processed) }], fence).await.unwrap();
        let forget = PruneRequest { keeps_ids: false, ..prune };
        assert_eq!(own.prune(&forget, 9).await.unwrap(), 1, "{name}");
        let new = insert(other, new_delivery(connection, vec![new_event("evt_2", 1)])).await[0];
        assert!(matches!(new, EventInsertResult::New(_)), "{name}: {new:?}");
    });
}
