//! What the figures of every store count.

use std::sync::Arc;

use integ::model::{AttemptResult, ConnectionId, EventId, EventStatus, InboundDelivery, QueueState};
use integ::store::{Events, LockKey, Store};

use super::super::{new_delivery, new_event, on_both_stores};
use super::at;

async fn insert(events: &dyn Events, connection: ConnectionId, second: i64, needs_handling: bool) -> EventId {
    let new = vec![new_event(&format!("evt_{second}"), 1)];
    let delivery = InboundDelivery { received_at: at(second), needs_handling, ..new_delivery(connection, new) };
    events.insert(Arc::new(delivery)).await.unwrap()[0].id()
}

/// Records that an attempt ended with each of these statuses, and when the event is due again.
async fn end(store: &dyn Store, connection: ConnectionId, ended: &[(EventId, EventStatus, Option<i64>)]) {
    let lease = store.locks().try_acquire(LockKey::Events(connection), at(0)).await.unwrap().unwrap();
    let attempt = |(id, status, due): &(EventId, EventStatus, Option<i64>)| AttemptResult {
        id: *id,
        status: *status,
        due_at: due.map(at),
        error: None,
        completed_handlers: 0,
        runs: Vec::new(),
    };
    let attempts: Vec<_> = ended.iter().map(attempt).collect();
    store.events().record_attempts(&attempts, lease.fence).await.unwrap();
}

#[test]
fn queues_and_counts_are_of_their_time() {
    on_both_stores(async |subject| {
        let (name, store, connection) = (subject.name, subject.store(), subject.connect("github").await.id);
        let mut ids = Vec::new();
        for second in [10, 20, 30, 40, 50, 60] {
            // Nothing handles the first and the last one, which are processed at once.
            ids.push(insert(store.events(), connection, second, ![10, 60].contains(&second)).await);
        }
        end(store, connection, &[(ids[3], EventStatus::Failed, Some(90)), (ids[4], EventStatus::Dead, None)]).await;
        let figures = async |since| subject.other().figures().read_figures(at(since), at(70)).await.unwrap();
        let found = figures(20).await;
        let queue = QueueState { depth: 3, oldest_at: Some(at(20)), overdue_since: Some(at(20)) };
        assert_eq!(found.event_queues[&connection], queue, "{name}");
        let count = |status, count: u64| (connection, status, count);
        let (dead, failed) = (count(EventStatus::Dead, 1), count(EventStatus::Failed, 1));
        let (pending, processed) = (count(EventStatus::Pending, 2), count(EventStatus::Processed, 1));
        assert_eq!(found.events, [dead, failed, pending, processed], "{name}");
        assert_eq!(figures(0).await.events, [dead, failed, pending, count(EventStatus::Processed, 2)], "{name}");
        assert_eq!(figures(40).await.events, [dead, failed, processed], "{name}");
        assert_eq!(figures(61).await.events, [], "{name}");
        assert_eq!(
            (found.delivery_queue, found.jobs, found.deliveries),
            (QueueState::default(), vec![], vec![]),
            "{name}"
        );
    });
}

#[test]
fn what_waits_for_a_retry_is_not_overdue() {
    on_both_stores(async |subject| {
        let (store, connection) = (subject.store(), subject.connect("github").await.id);
        let id = insert(store.events(), connection, 30, true).await;
        end(store, connection, &[(id, EventStatus::Failed, Some(90))]).await;
        let overdue = async |now| {
            let figures = subject.other().figures().read_figures(at(0), at(now)).await.unwrap();
            figures.event_queues[&connection].overdue_since
        };
        let found = (overdue(60).await, overdue(90).await, overdue(100).await);
        assert_eq!(found, (None, Some(at(90)), Some(at(90))), "{}", subject.name);
    });
}
