//! What the queue of events of every store does.

use std::sync::Arc;
use std::time::Duration;

use integ::clock::Timestamp;
use integ::model::{
    AttemptResult, ConnectionId, EventId, EventProgress, EventStatus, EventVerification, HandlerKind, HandlerRun,
    InboundDelivery, PruneRequest, QueuedEvent,
};
use integ::store::{Events, LockKey};

use super::super::{new_delivery, new_event, on_both_stores};
use super::at;

const LONGEST: Duration = Duration::from_secs(300);

async fn insert(events: &dyn Events, connection: ConnectionId, id: u32, verification: EventVerification) -> EventId {
    let new = vec![new_event(&format!("evt_{id}"), 1)];
    let delivery = InboundDelivery { received_at: at(0), verification, ..new_delivery(connection, new) };
    events.insert(Arc::new(delivery)).await.unwrap()[0].id()
}

fn ids(events: &[QueuedEvent]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

fn failed(id: EventId, due_at: Timestamp, outputs: &[&str]) -> AttemptResult {
    let run = |output: &&str| HandlerRun {
        handler: HandlerKind::Forward,
        attempt: 1,
        started_at: at(1),
        duration: Duration::from_millis(12),
        status: Some(500),
        error: Some("no".to_owned()),
        output: output.as_bytes().to_vec(),
    };
    let runs = outputs.iter().map(run).collect();
    let (status, error) = (EventStatus::Failed, Some("no".to_owned()));
    AttemptResult { id, status, due_at: Some(due_at), error, completed_handlers: 0, runs }
}

#[test]
fn events_that_failed_wait_beside_those_that_have_just_come() {
    on_both_stores(async |subject| {
        let store = subject.store();
        let (events, connection) = (store.events(), subject.connect("github").await.id);
        let mut id = Vec::new();
        for number in 0..5 {
            id.push(insert(events, connection, number, EventVerification::Verified).await);
        }
        id.push(insert(events, connection, 5, EventVerification::Unconfirmed).await);
        let lease = store.locks().try_acquire(LockKey::Events(connection), at(0)).await.unwrap().unwrap();
        let attempts = [failed(id[0], at(10), &[]), failed(id[1], at(5), &[]), failed(id[2], at(9_999), &[])];
        events.record_attempts(&attempts, lease.fence).await.unwrap();

        let due = events.due(connection, at(4), LONGEST, 10).await.unwrap();
        assert_eq!((ids(&due.new), due.next_at), (vec![id[3], id[4]], Some(at(5))));
        assert_eq!(ids(&due.retries), [id[2]], "it was to wait for too long");
        let due = events.due(connection, at(20), LONGEST, 10).await.unwrap();
        assert_eq!(ids(&due.retries), [id[1], id[0], id[2]], "the longest overdue first");
        assert_eq!(ids(&events.queued(connection, 10).await.unwrap()), id, "in the order of arrival, all of them");
        assert_eq!(ids(&events.queued(connection, 2).await.unwrap()), id[..2]);

        let deferred = EventProgress { id: id[3], completed_handlers: 1, error: None, due_at: Some(at(30)) };
        events.record_progress(&deferred, lease.fence).await.unwrap();
        assert_eq!(ids(&events.due(connection, at(20), LONGEST, 10).await.unwrap().new), [id[4]]);
        let waiting = events.find_queued(id[3]).await.unwrap().unwrap();
        assert_eq!((waiting.attempts, waiting.completed_handlers, waiting.due_at), (0, 1, at(30)));
    });
}

#[test]
fn the_runs_of_an_event_are_bounded_and_go_with_it() {
    on_both_stores(async |subject| {
        let store = subject.store();
        let (events, connection) = (store.events(), subject.connect("github").await.id);
        let id = insert(events, connection, 1, EventVerification::Verified).await;
        let lease = store.locks().try_acquire(LockKey::Events(connection), at(0)).await.unwrap().unwrap();
        let long = "x".repeat(9000);
        events.record_attempts(&[failed(id, at(1), &["first", &long])], lease.fence).await.unwrap();
        let runs = events.handler_runs(id).await.unwrap();
        assert_eq!((runs.len(), runs[0].output.as_slice(), runs[1].output.len()), (2, &b"first"[..], 4096));
        assert_eq!(
            (runs[0].status, runs[0].duration, runs[0].started_at),
            (Some(500), Duration::from_millis(12), at(1))
        );
        for number in 0..70 {
            events.record_attempts(&[failed(id, at(1), &[&number.to_string()])], lease.fence).await.unwrap();
        }
        let runs = events.handler_runs(id).await.unwrap();
        assert_eq!((runs.len(), runs[63].output.as_slice()), (64, &b"69"[..]));
        let done = AttemptResult { status: EventStatus::Processed, due_at: None, ..failed(id, at(1), &[]) };
        events.record_attempts(&[done], lease.fence).await.unwrap();
        let prune = PruneRequest { connection, before: at(99), keeps_ids: true, include_dead: false };
        assert_eq!(events.prune(&prune, 10).await.unwrap(), 1);
        assert!(events.handler_runs(id).await.unwrap().is_empty());
        assert!(events.find_queued(id).await.unwrap().is_none());
    });
}
