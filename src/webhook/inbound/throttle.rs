//! Limits reports of rejections: the first ones are shown, the others are summed up.
//!
//! Anyone who reaches the port can have a request refused, and must not fill a log that way.

use std::collections::HashMap;
use std::time::Duration;

use super::outcome::ReceiveOutcome;
use crate::clock::Stopwatch;
use crate::model::ConnectionName;
use crate::webhook::feed::ListenEvent;

/// Refusals of one kind that are shown one by one within [`WINDOW`].
const REPORTED_PER_WINDOW: u64 = 10;

const WINDOW: Duration = Duration::from_secs(10);

type Key = (Option<ConnectionName>, &'static str);

/// What was refused lately.
#[derive(Debug, Default)]
pub(in crate::webhook) struct OutcomeThrottle {
    windows: HashMap<Key, Window>,
}

#[derive(Debug)]
struct Window {
    since: Stopwatch,
    count: u64,
}

impl OutcomeThrottle {
    /// Whether this one is counted and not shown.
    pub(in crate::webhook) fn suppresses(&mut self, outcome: &ReceiveOutcome) -> bool {
        let key = match outcome {
            ReceiveOutcome::UnknownUrl => (None, "unknown_url"),
            ReceiveOutcome::Rejected { connection, error: why } => (Some(connection.clone()), why.as_str()),
            ReceiveOutcome::Unreadable { connection, reason, .. } => (Some(connection.clone()), *reason),
            ReceiveOutcome::Received { .. } | ReceiveOutcome::Handshake { .. } | ReceiveOutcome::NotStored { .. } => {
                return false;
            }
        };
        let window = self.windows.entry(key).or_insert_with(|| Window { since: Stopwatch::start(), count: 0 });
        window.count += 1;
        window.count > REPORTED_PER_WINDOW
    }

    /// The sums of the windows that are over.
    pub(in crate::webhook) fn drain_summaries(&mut self) -> Vec<ListenEvent> {
        let mut sums = Vec::new();
        self.windows.retain(|(connection, reason), window| {
            let lasts = window.since.elapsed() < WINDOW;
            if !lasts && window.count > REPORTED_PER_WINDOW {
                sums.push(ListenEvent::Summary {
                    connection: connection.clone(),
                    reason,
                    count: window.count - REPORTED_PER_WINDOW,
                });
            }
            lasts
        });
        sums
    }
}
