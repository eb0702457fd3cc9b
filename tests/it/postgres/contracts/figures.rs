//! What the figures of every store count.

use std::sync::Arc;

use integ::model::{EventStatus, EventVerification, InboundDelivery, NewEvent, QueueState};

use super::super::on_both_stores;
use super::at;

#[test]
fn queues_and_counts_are_of_their_time() {
    on_both_stores(async |subject| {
        let (name, connection) = (subject.name, subject.connect("github").await.id);
        for second in [10, 20, 30] {
            let event = NewEvent {
                delivery_id: format!("evt_{second}"),
                has_delivery_id: true,
                digest: None,
                signed_digest: None,
                kind: "push".to_owned(),
                account: None,
                resource: None,
                actor: None,
                occurred_at: None,
                batch_item: None,
                merged: None,
            };
            let delivery = InboundDelivery {
                connection,
                received_at: at(second),
                headers: Vec::new(),
                query: String::new(),
                body: Vec::new(),
                events: vec![event],
                verification: EventVerification::Verified,
                needs_handling: second > 10,
            };
            subject.store().events().insert(Arc::new(delivery)).await.unwrap();
        }
        let figures = async |since, now| subject.other().figures().read_figures(at(since), at(now)).await.unwrap();
        let found = figures(20, 60).await;
        let queue = QueueState { depth: 2, oldest_at: Some(at(20)), overdue_since: Some(at(20)) };
        assert_eq!(found.event_queues[&connection], queue, "{name}");
        assert_eq!(found.events, [(connection, EventStatus::Pending, 2)], "{name}");
        let all = figures(0, 60).await.events;
        assert_eq!(all, [(connection, EventStatus::Pending, 2), (connection, EventStatus::Processed, 1)], "{name}");
        assert_eq!(figures(31, 60).await.events, [], "{name}");
        assert_eq!(
            (found.delivery_queue, found.jobs, found.deliveries),
            (QueueState::default(), vec![], vec![]),
            "{name}"
        );
    });
}
