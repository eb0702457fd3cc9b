//! What the endpoints, the messages and the deliveries of every store do.

use std::time::Duration;

use integ::model::{
    AttemptRecord, BackoffPolicy, Budget, Delivery, DeliveryAttempt, DeliveryFilter, DeliveryId, DeliveryPolicy,
    DeliveryStatus, DeliveryUpdate, Endpoint, EndpointHealth, Message, MessageInsertResult,
};
use integ::secret::Secret;
use integ::store::{Fence, LockKey, Store, StoreError};
use url::Url;

use super::super::on_both_stores;
use super::at;

/// Adds an endpoint that accepts `invoice.*`.
async fn add_endpoint(store: &dyn Store) -> Endpoint {
    let policy = DeliveryPolicy {
        backoff: BackoffPolicy::Exponential,
        max_attempts: 8,
        ttl: Duration::from_secs(3600),
        timeout: Duration::from_secs(15),
        rate: Some(Budget { units: 5, secs: 1, burst: None }),
    };
    let url = Url::parse("https://example.com/hook").unwrap();
    let mut endpoint = Endpoint::new(url, Secret::from("whsec_MARKER"), policy, at(0));
    endpoint.events = vec!["invoice.*".parse().unwrap()];
    store.endpoints().add(&endpoint).await.unwrap();
    endpoint
}

#[test]
fn endpoints_come_back_and_keep_their_secrets_to_themselves() {
    on_both_stores(async |subject| {
        let store = subject.store();
        let added = add_endpoint(store).await;
        let found = store.endpoints().get(&added.id).await.unwrap().unwrap();
        assert_eq!(format!("{found:?}"), format!("{added:?}"));
        assert_eq!(found, added);
        assert!(!format!("{found:?}").contains("MARKER"));
        let mut rotated = found.clone();
        rotated.rotate(Secret::from("whsec_NEW"), at(100), at(10));
        assert!(store.endpoints().replace(&found, &rotated).await.unwrap());
        let rotated = store.endpoints().get(&added.id).await.unwrap().unwrap();
        let good = |second| rotated.secrets(at(second)).iter().map(|one| one.expose().clone()).collect::<Vec<_>>();
        assert_eq!(
            (good(99), good(100)),
            (vec!["whsec_NEW".to_owned(), "whsec_MARKER".to_owned()], vec!["whsec_NEW".to_owned()])
        );
        assert_eq!((rotated.overlap_until(at(99)), rotated.overlap_until(at(100))), (Some(at(100)), None));
        assert!(store.endpoints().remove(&added.id).await.unwrap());
        assert!(!store.endpoints().remove(&added.id).await.unwrap());
    });
}

#[test]
fn an_endpoint_that_was_changed_or_deleted_since_is_not_replaced() {
    on_both_stores(async |subject| {
        let (ours, theirs) = (subject.store(), subject.other());
        let old = add_endpoint(ours).await;
        let described = |text: &str| {
            let mut changed = old.clone();
            changed.description = Some(text.to_owned());
            changed
        };
        let mut rotated = old.clone();
        rotated.rotate(Secret::from("whsec_NEW"), at(100), at(10));
        assert!(ours.endpoints().replace(&old, &rotated).await.unwrap());
        assert!(!theirs.endpoints().replace(&old, &described("late")).await.unwrap(), "only the secrets differ");
        assert_eq!(theirs.endpoints().get(&old.id).await.unwrap(), Some(rotated.clone()));
        theirs.endpoints().remove(&old.id).await.unwrap();
        assert!(!ours.endpoints().replace(&rotated, &described("late")).await.unwrap());
        assert_eq!(ours.endpoints().list().await.unwrap(), []);
    });
}

fn message(id: &str, second: i64) -> Message {
    let kind = "invoice.paid".parse().unwrap();
    Message { id: id.to_owned(), kind, body: b"{}".to_vec(), created_at: at(second) }
}

async fn insert(store: &dyn Store, message: &Message) -> MessageInsertResult {
    store.outbox().insert(message, None).await.unwrap()
}

async fn deliveries(store: &dyn Store) -> Vec<Delivery> {
    store.outbox().list(&DeliveryFilter { limit: 9, ..Default::default() }).await.unwrap()
}

async fn fence(store: &dyn Store) -> Fence {
    store.locks().try_acquire(LockKey::Deliveries, at(0)).await.unwrap().unwrap().fence
}

#[test]
fn fault_083_what_a_clock_put_too_far_away_is_brought_near_and_spread() {
    on_both_stores(async |subject| {
        let store = subject.store();
        let endpoint = add_endpoint(store).await;
        // Sent while the clock was a year ahead.
        let ahead = 365 * 86_400;
        for number in 0..100 {
            insert(store, &message(&format!("msg_{number}"), ahead)).await;
        }
        let (longest, spread) = (Duration::from_secs(43_200), Duration::from_secs(300));
        let due = async |second| store.outbox().due(&endpoint.id, at(second), 1000).await.unwrap().len();
        assert_eq!(due(0).await, 0);
        assert_eq!(store.outbox().clamp_due_times(at(0), longest, spread).await.unwrap(), 100);
        assert_eq!(store.outbox().clamp_due_times(at(0), longest, spread).await.unwrap(), 0);
        let half = due(150).await;
        assert!((20..80).contains(&half), "{half}");
        assert_eq!(due(300).await, 100);
    });
}

#[test]
fn old_messages_are_forgotten_unless_one_of_their_deliveries_waits() {
    on_both_stores(async |subject| {
        let store = subject.store();
        add_endpoint(store).await;
        let unwanted = Message { kind: "order.placed".parse().unwrap(), ..message("msg_nobody", 0) };
        for message in [message("msg_wanted", 0), unwanted] {
            insert(store, &message).await;
        }
        assert_eq!(store.outbox().prune(at(0), 10).await.unwrap(), 0);
        assert_eq!(store.outbox().prune(at(1), 10).await.unwrap(), 1);
        assert!(store.outbox().message("msg_wanted").await.unwrap().is_some());
        let waiting = deliveries(store).await;
        store.outbox().mark_dead(&[waiting[0].id], "enough", fence(store).await).await.unwrap();
        assert_eq!(store.outbox().prune(at(1), 10).await.unwrap(), 1);
        assert!(store.outbox().get(waiting[0].id).await.unwrap().is_none());
    });
}

#[test]
fn a_message_goes_to_the_endpoints_that_accept_it_or_to_the_one_that_is_named() {
    on_both_stores(async |subject| {
        let store = subject.store();
        let (invoices, orders) = (add_endpoint(store).await, add_endpoint(store).await);
        let mut changed = orders.clone();
        changed.events = vec!["order.*".parse().unwrap()];
        assert!(store.endpoints().replace(&orders, &changed).await.unwrap());
        insert(store, &message("msg_1", 0)).await;
        store.outbox().insert(&message("msg_2", 0), Some(&orders.id)).await.unwrap();
        let sent: Vec<_> = deliveries(store).await.into_iter().map(|sent| (sent.message, sent.endpoint)).collect();
        assert_eq!(sent, [("msg_2".to_owned(), orders.id), ("msg_1".to_owned(), invoices.id.clone())]);

        let body = |text: &str| Message { body: text.into(), ..message("msg_3", 0) };
        let stored = insert(store, &body(r#"{"type":"a","timestamp":"1","data":{"b":1,"c":2}}"#)).await;
        assert!(matches!(stored, MessageInsertResult::Stored { disabled_endpoints } if disabled_endpoints.is_empty()));
        let again = insert(store, &body(r#"{"type":"a","timestamp":"2","data":{"c":2,"b":1}}"#)).await;
        assert!(matches!(again, MessageInsertResult::Duplicate), "{again:?}");
        let other = insert(store, &body(r#"{"type":"a","timestamp":"1","data":{"b":1}}"#)).await;
        assert!(matches!(other, MessageInsertResult::Conflict), "{other:?}");
        assert_eq!(deliveries(store).await.len(), 3);
    });
}

fn failed(delivery: &Delivery, before: EndpointHealth, second: i64) -> AttemptRecord {
    let since = before.failing_since.or(Some(at(second)));
    AttemptRecord {
        delivery: delivery.id,
        attempt: DeliveryAttempt {
            started_at: at(second),
            error: Some("HTTP 500".to_owned()),
            ..DeliveryAttempt::default()
        },
        attempts_before: delivery.attempts,
        health_before: before,
        update: DeliveryUpdate {
            status: DeliveryStatus::Failed,
            due_at: Some(at(second + 60)),
            endpoint_health: EndpointHealth { failing_since: since, last_failed_at: Some(at(second)), ..before },
        },
    }
}

#[test]
fn attempts_are_recorded_only_on_what_they_were_computed_from() {
    on_both_stores(async |subject| {
        let store = subject.store();
        let endpoint = add_endpoint(store).await;
        for id in ["msg_1", "msg_2"] {
            insert(store, &message(id, 0)).await;
        }
        let (waiting, fence) = (deliveries(store).await, fence(store).await);
        let record = async |attempts: &[AttemptRecord]| store.outbox().record_attempts(attempts, fence).await.unwrap();
        let first = failed(&waiting[0], EndpointHealth::default(), 10);
        // Both were computed from the health of before the first of them.
        let stale = failed(&waiting[1], EndpointHealth::default(), 20);
        assert!(record(&[first.clone(), stale]).await.is_none());
        assert_eq!(store.outbox().attempts(waiting[0].id).await.unwrap().len(), 0, "not even the first");
        assert_eq!(store.endpoints().get(&endpoint.id).await.unwrap(), Some(endpoint.clone()));

        let mut second = failed(&waiting[1], first.update.endpoint_health, 20);
        // Times are stored to the millisecond.
        second.health_before.last_failed_at = Some(at(10) + Duration::from_nanos(5));
        let gone = AttemptRecord { delivery: DeliveryId(99), ..second.clone() };
        let recorded = record(&[first.clone(), gone, second.clone()]).await.unwrap();
        let summary: Vec<_> = recorded.iter().map(|one| (one.delivery.id, one.delivery.attempts)).collect();
        assert_eq!(summary, [(waiting[0].id, 1), (waiting[1].id, 1)]);
        let health = store.endpoints().get(&endpoint.id).await.unwrap().unwrap().health;
        assert_eq!((health.failing_since, health.last_failed_at), (Some(at(10)), Some(at(20))));
        assert_eq!(health, recorded[1].endpoint_health);

        // The health is right, and the delivery has had an attempt since.
        let repeated = failed(&waiting[0], health, 30);
        assert!(record(&[repeated]).await.is_none());
        assert_eq!(store.outbox().attempts(waiting[0].id).await.unwrap().len(), 1);
    });
}

#[test]
fn a_worker_that_lost_its_lock_records_nothing() {
    on_both_stores(async |subject| {
        let (ours, theirs) = (subject.store(), subject.other());
        add_endpoint(ours).await;
        insert(ours, &message("msg_1", 0)).await;
        let (waiting, lost) = (deliveries(ours).await, fence(ours).await);
        subject.expire_leases().await;
        fence(theirs).await;
        let attempts = [failed(&waiting[0], EndpointHealth::default(), 10)];
        let refused = ours.outbox().record_attempts(&attempts, lost).await;
        assert!(matches!(refused, Err(StoreError::LeaseLost(LockKey::Deliveries))));
        assert!(ours.outbox().mark_dead(&[waiting[0].id], "enough", lost).await.is_err());
        let delivery = ours.outbox().get(waiting[0].id).await.unwrap().unwrap();
        assert_eq!((delivery.status, delivery.attempts), (DeliveryStatus::Pending, 0));
    });
}
