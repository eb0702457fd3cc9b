//! The feed of a listener, for observers such as the terminal. A slow or ended observer delays nothing; entries without
//! room are counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::inbound::outcome::ReceiveOutcome;
use super::inbound::throttle::OutcomeThrottle;
use super::settings::ReceiveAddress;
use crate::clock::Timestamp;
use crate::model::{ConnectionName, EventId, EventStatus, HandlerRun};

/// Events that wait for the watcher.
const CAPACITY: usize = 1024;

/// How often what was held back is summed up.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(2);

/// Something that happened.
#[derive(Clone, Debug)]
pub enum ListenEvent {
    Request(ReceiveOutcome),
    Handled(Box<HandledReport>),
    /// Nothing listens at the forwarding target: events wait, and no attempt counts.
    Paused {
        connection: ConnectionName,
        id: EventId,
        error: String,
    },
    /// Somebody listens there again.
    Resumed {
        connection: ConnectionName,
    },
    /// The vendor's log of deliveries cannot be read; it is tried again.
    PollFailed {
        connection: ConnectionName,
        error: String,
    },
    /// It can be read again.
    PollResumed {
        connection: ConnectionName,
    },
    /// A connection is received for from now on.
    Connected(Box<ReceiveAddress>),
    /// A connection is no longer received for.
    Disconnected {
        connection: ConnectionName,
        /// Absent if it was disconnected.
        error: Option<String>,
    },
    /// The vendor said whether it sent an event.
    Confirmed {
        connection: ConnectionName,
        id: EventId,
        kind: String,
        verified: bool,
        error: Option<String>,
    },
    /// Several requests were rejected for the same reason.
    Summary {
        connection: Option<ConnectionName>,
        reason: &'static str,
        count: u64,
    },
    /// The observer was too slow: number of missing lines.
    Skipped {
        lines: u64,
    },
}

/// An event after an attempt to handle it.
#[derive(Clone, Debug)]
pub struct HandledReport {
    pub connection: ConnectionName,
    pub id: EventId,
    pub kind: String,
    /// The vendor's id of the delivery.
    pub delivery_id: String,
    /// What has become of the event.
    pub status: EventStatus,
    /// From 1.
    pub attempt: u32,
    pub max_attempts: u32,
    /// When it is handled again, if it failed and is not dead.
    pub next_attempt_at: Option<Timestamp>,
    pub error: Option<String>,
    /// What each handler did that ran, with what it was given the event for: a URL, a command, a file.
    pub runs: Vec<(HandlerRun, String)>,
}

impl ListenEvent {
    /// How many lines it is worth.
    fn lines(&self) -> u64 {
        match self {
            Self::Request(ReceiveOutcome::Received { events, .. }) => events.len() as u64,
            _ => 1,
        }
    }
}

/// Takes what happens, from any number of tasks, and never waits.
#[derive(Debug)]
pub struct ActivityFeed {
    sender: mpsc::Sender<ListenEvent>,
    throttle: Mutex<OutcomeThrottle>,
    skipped_lines: AtomicU64,
}

/// Gives what happened to one watcher.
#[derive(Debug)]
pub struct ActivityReader {
    feed: Arc<ActivityFeed>,
    events: mpsc::Receiver<ListenEvent>,
    summaries: VecDeque<ListenEvent>,
    /// Absent before the first wait: an interval needs the runtime.
    summary_due: Option<Interval>,
}

impl ActivityFeed {
    /// Creates a feed with its reader.
    pub fn new() -> (Arc<Self>, ActivityReader) {
        let (sender, events) = mpsc::channel(CAPACITY);
        let feed = Arc::new(Self { sender, throttle: Mutex::default(), skipped_lines: AtomicU64::new(0) });
        let reader = ActivityReader { feed: Arc::clone(&feed), events, summaries: VecDeque::new(), summary_due: None };
        (feed, reader)
    }

    /// Puts an event before the watcher, if there is room; refusals that come too fast are summed up.
    pub fn send(&self, event: ListenEvent) {
        if matches!(&event, ListenEvent::Request(outcome) if self.throttle().suppresses(outcome)) {
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(event)) = self.sender.try_send(event) {
            self.skipped_lines.fetch_add(event.lines(), Ordering::Relaxed);
        }
    }

    fn throttle(&self) -> MutexGuard<'_, OutcomeThrottle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what was held back since the last time.
    fn drain_summaries(&self) -> Vec<ListenEvent> {
        let mut summaries = self.throttle().drain_summaries();
        let lines = self.skipped_lines.swap(0, Ordering::Relaxed);
        summaries.extend((lines > 0).then_some(ListenEvent::Skipped { lines }));
        summaries
    }
}

impl ActivityReader {
    /// Waits for the next event, or the next sum of what was held back. Cancelling it loses nothing.
    pub async fn next(&mut self) -> ListenEvent {
        let due = self.summary_due.get_or_insert_with(|| {
            let mut interval = tokio::time::interval(SUMMARY_INTERVAL);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        loop {
            if let Some(summary) = self.summaries.pop_front() {
                return summary;
            }
            tokio::select! {
                // The feed has a sender of its own, so that the channel stays open.
                Some(event) = self.events.recv() => return event,
                _ = due.tick() => self.summaries.extend(self.feed.drain_summaries()),
            }
        }
    }

    /// Returns what has happened by now, and nothing more.
    pub fn drain(&mut self) -> Vec<ListenEvent> {
        let mut events: Vec<ListenEvent> = self.summaries.drain(..).collect();
        while let Ok(event) = self.events.try_recv() {
            events.push(event);
        }
        events.extend(self.feed.drain_summaries());
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resumed() -> ListenEvent {
        ListenEvent::Resumed { connection: "stripe".parse().unwrap() }
    }

    #[tokio::test]
    async fn a_watcher_that_does_not_look_costs_lines_and_no_time() {
        let (feed, mut reader) = ActivityFeed::new();
        for _ in 0..CAPACITY + 7 {
            feed.send(resumed());
        }
        let events = reader.drain();
        assert_eq!(events.iter().filter(|event| matches!(event, ListenEvent::Resumed { .. })).count(), CAPACITY);
        assert!(matches!(events.last(), Some(ListenEvent::Skipped { lines: 7 })), "{:?}", events.last());
        feed.send(resumed());
        assert!(matches!(reader.next().await, ListenEvent::Resumed { .. }));
        drop(reader);
        feed.send(resumed());
        assert_eq!(feed.skipped_lines.load(Ordering::Relaxed), 0, "nobody misses it");
    }

    #[test]
    fn a_flood_of_refusals_leaves_room_for_others() {
        let (feed, mut reader) = ActivityFeed::new();
        for _ in 0..CAPACITY * 2 {
            feed.send(ListenEvent::Request(ReceiveOutcome::UnknownUrl));
        }
        feed.send(resumed());
        let events = reader.drain();
        assert!(events.len() < 20 && matches!(events.last(), Some(ListenEvent::Resumed { .. })), "{}", events.len());
    }
}
