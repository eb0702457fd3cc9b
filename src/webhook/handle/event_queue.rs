//! Events of a connection that were read from the store but not started.

use std::collections::VecDeque;
use std::time::Duration;

use super::attempt::{LONGEST_WAIT, wait_after};
use super::handlers::HandlingOrder;
use crate::clock::{self, Stopwatch, Timestamp};
use crate::model::{ConnectionId, EventId, QueuedEvent};
use crate::store::{Events, StoreError};

/// Events that are read at once.
const BATCH_SIZE: u32 = 96;

/// How old what was read may be: others wait in the store meanwhile.
const MAX_AGE: Duration = Duration::from_secs(1);

/// Events that wait to be begun.
#[derive(Default)]
pub(super) struct EventQueue {
    new: VecDeque<QueuedEvent>,
    retries: VecDeque<QueuedEvent>,
    next_at: Option<Timestamp>,
    read_at: Option<Stopwatch>,
}

/// What to begin next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextEvent {
    New(QueuedEvent),
    /// One that was handled before.
    Retry(QueuedEvent),
    /// The first one is not due before, and no other goes before it.
    WaitUntil(Timestamp),
    /// The first one keeps its place until the vendor has said whether it sent it.
    Unconfirmed,
    /// Nothing that was read: the store may have more.
    None,
}

impl EventQueue {
    /// Takes the next event: retries first, so long as there is room for them, and in the order of arrival the first one.
    pub(super) fn next(&mut self, order: HandlingOrder, takes_retries: bool, now: Timestamp) -> NextEvent {
        if order == HandlingOrder::Unordered {
            // Under a load of new events the others are looked for as well.
            if self.read_at.as_ref().is_none_or(|read| read.elapsed() > MAX_AGE) {
                self.clear();
            }
            if takes_retries && let Some(queued) = self.retries.pop_front() {
                return NextEvent::Retry(queued);
            }
            return self.new.pop_front().map_or(NextEvent::None, NextEvent::New);
        }
        let Some(first) = self.new.front() else { return NextEvent::None };
        if !first.verification.is_trusted() {
            self.clear();
            return NextEvent::Unconfirmed;
        }
        let due_at = clock::due_at(first.due_at, wait_after(first.attempts), now);
        if due_at > now {
            // What is before it by then is read then.
            self.clear();
            return NextEvent::WaitUntil(due_at);
        }
        self.new.pop_front().map_or(NextEvent::None, NextEvent::New)
    }

    /// Reads what is to be begun, in place of what was read before; without what was begun already.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn read(
        &mut self,
        events: &dyn Events,
        connection: ConnectionId,
        order: HandlingOrder,
        now: Timestamp,
        is_begun: impl Fn(EventId) -> bool + Send,
    ) -> Result<(), StoreError> {
        self.clear();
        match order {
            HandlingOrder::Unordered => {
                let due = events.due(connection, now, LONGEST_WAIT, BATCH_SIZE).await?;
                (self.new, self.retries, self.next_at) = (due.new.into(), due.retries.into(), due.next_at);
            }
            HandlingOrder::Arrival => self.new = events.queued(connection, BATCH_SIZE).await?.into(),
        }
        self.new.retain(|queued| !is_begun(queued.id));
        self.retries.retain(|queued| !is_begun(queued.id));
        self.read_at = Some(Stopwatch::start());
        Ok(())
    }

    /// When the next event is due that was not read.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.next_at
    }

    /// Forgets an event that is begun in another way.
    pub(super) fn remove(&mut self, id: EventId) {
        self.new.retain(|queued| queued.id != id);
        self.retries.retain(|queued| queued.id != id);
    }

    /// Forgets what was read.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventVerification;

    fn event(id: i64, due_at: i64, attempts: u32) -> QueuedEvent {
        QueuedEvent {
            id: EventId(id),
            due_at: at(due_at),
            verification: EventVerification::Verified,
            attempts,
            completed_handlers: 0,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn retries_leave_room_and_a_first_event_that_waits_holds_up_the_others_if_the_order_is_asked_for() {
        let queue = |new: &[QueuedEvent], retries: &[QueuedEvent]| EventQueue {
            new: new.iter().copied().collect(),
            retries: retries.iter().copied().collect(),
            next_at: None,
            read_at: Some(Stopwatch::start()),
        };
        let (new, failed) = (event(2, 0, 0), event(1, 110, 1));
        let mut unordered = queue(&[new], &[failed]);
        assert_eq!(unordered.next(HandlingOrder::Unordered, false, at(120)), NextEvent::New(new));
        assert_eq!(unordered.next(HandlingOrder::Unordered, false, at(120)), NextEvent::None);
        assert_eq!(unordered.next(HandlingOrder::Unordered, true, at(120)), NextEvent::Retry(failed));

        let waiting = event(1, 101, 1);
        let mut ordered = queue(&[waiting, new], &[]);
        assert_eq!(ordered.next(HandlingOrder::Arrival, true, at(100)), NextEvent::WaitUntil(at(101)));
        assert_eq!(ordered.next(HandlingOrder::Arrival, true, at(101)), NextEvent::None, "it is read again");
        let mut ordered = queue(&[event(1, 9_999, 1), new], &[]);
        let first = ordered.next(HandlingOrder::Arrival, true, at(100));
        assert!(matches!(first, NextEvent::New(event) if event.id == EventId(1)), "its time is of a fast clock");
        let unconfirmed = QueuedEvent { verification: EventVerification::Unconfirmed, ..new };
        assert_eq!(queue(&[unconfirmed], &[]).next(HandlingOrder::Arrival, true, at(1)), NextEvent::Unconfirmed);
    }
}
