//! Refusals that come faster than anybody reads them: the first ones are told, the others in sum.
//!
//! Anyone who reaches the port can have a request refused, and must not fill a log that way.

use std::collections::HashMap;
use std::time::Duration;

use super::listen::Seen;
use super::receive::Outcome;
use crate::clock::Stopwatch;
use crate::model::ConnectionName;

/// Refusals of one kind that are told one by one within [`WINDOW`].
const TOLD: u64 = 10;

const WINDOW: Duration = Duration::from_secs(10);

type Key = (Option<ConnectionName>, &'static str);

/// What was refused lately.
#[derive(Debug, Default)]
pub(super) struct Flood {
    windows: HashMap<Key, Window>,
}

#[derive(Debug)]
struct Window {
    since: Stopwatch,
    count: u64,
}

impl Flood {
    /// Whether this one is counted and not told.
    pub(super) fn holds_back(&mut self, outcome: &Outcome) -> bool {
        let key = match outcome {
            Outcome::Unknown => (None, "unknown_url"),
            Outcome::Refused { connection, why } => (Some(connection.clone()), why.word()),
            Outcome::Unreadable { connection, reason, .. } => (Some(connection.clone()), *reason),
            Outcome::Received { .. } | Outcome::Handshake { .. } | Outcome::NotTaken { .. } => return false,
        };
        let window = self.windows.entry(key).or_insert_with(|| Window { since: Stopwatch::start(), count: 0 });
        window.count += 1;
        window.count > TOLD
    }

    /// The sums of the windows that are over.
    pub(super) fn over(&mut self) -> Vec<Seen> {
        let mut sums = Vec::new();
        self.windows.retain(|(connection, reason), window| {
            let lasts = window.since.elapsed() < WINDOW;
            if !lasts && window.count > TOLD {
                sums.push(Seen::Summary { connection: connection.clone(), reason, count: window.count - TOLD });
            }
            lasts
        });
        sums
    }
}
