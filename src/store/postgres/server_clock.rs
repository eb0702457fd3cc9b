//! The server's clock, which judges for all nodes whether a token has expired, and when something is due.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio_postgres::SimpleQueryMessage;

use crate::clock::Clock;

/// The server's time in Unix milliseconds.
macro_rules! server_now {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

pub(super) use server_now;

/// A smaller difference, in milliseconds, is put down to the time that an answer takes: a time that went back and forth by it
/// would be worse.
const TOLERANCE_MS: i64 = 2000;

/// How far the server's clock is ahead of this machine's, as its answers say.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    ahead_ms: AtomicI64,
    /// The clock that is kept in step.
    attached: OnceLock<Clock>,
}

impl ServerClock {
    /// Keeps a clock in step with the server's from here on. The first one stays.
    pub(super) fn attach(&self, clock: &Clock) {
        self.attached.get_or_init(|| clock.clone()).correct_by(self.ahead_ms.load(Ordering::Relaxed));
    }

    /// Takes note of the server's time, in Unix milliseconds, of an answer that has just come.
    pub(super) fn set(&self, server_now: i64) {
        let ahead = server_now.saturating_sub(Clock::system().now_millis().as_millisecond());
        let known = self.ahead_ms.load(Ordering::Relaxed);
        let is_near = |other: i64| ahead.saturating_sub(other).saturating_abs() < TOLERANCE_MS;
        let ahead = [0, known].into_iter().find(|other| is_near(*other)).unwrap_or(ahead);
        self.ahead_ms.store(ahead, Ordering::Relaxed);
        if let Some(clock) = self.attached.get() {
            clock.correct_by(ahead);
        }
    }

    /// Takes note of the time in the column `now` of an answer, if it has one.
    pub(super) fn read(&self, answers: &[SimpleQueryMessage]) {
        let of_row = |answer: &SimpleQueryMessage| match answer {
            SimpleQueryMessage::Row(row) => row.try_get("now").ok().flatten()?.parse().ok(),
            _ => None,
        };
        if let Some(now) = answers.iter().find_map(of_row) {
            self.set(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead(clock: &Clock) -> i64 {
        let difference = clock.now_millis().as_millisecond() - Clock::system().now_millis().as_millisecond();
        // The two are read one after the other.
        (difference + 500).div_euclid(1000)
    }

    #[test]
    fn a_clock_follows_the_server_s_but_not_the_time_of_an_answer() {
        let (server, clock) = (ServerClock::default(), Clock::system());
        let now = || Clock::system().now_millis().as_millisecond();
        server.attach(&clock);
        server.set(now() - 1500);
        assert_eq!(ahead(&clock), 0);
        server.set(now() + 3_600_000);
        assert_eq!(ahead(&clock), 3600);
        server.set(now() + 3_598_500);
        assert_eq!(ahead(&clock), 3600, "an answer that took 1.5 s");
        server.set(now() + 1000);
        assert_eq!(ahead(&clock), 0, "this machine's clock was set right");
        assert_eq!(ahead(&clock.detached()), 0);
        server.set(now() - 86_400_000);
        assert_eq!(ahead(&clock), -86_400);
    }

    #[test]
    fn a_clock_that_is_attached_later_is_corrected_at_once() {
        let (server, clock) = (ServerClock::default(), Clock::system());
        server.set(Clock::system().now_millis().as_millisecond() - 7_200_000);
        let other = clock.detached();
        server.attach(&clock);
        assert_eq!((ahead(&clock), ahead(&clock.clone()), ahead(&other)), (-7200, -7200, 0));
        let fixed = Clock::fixed(clock.now());
        fixed.correct_by(7_200_000);
        assert!(fixed.now() <= clock.now());
    }
}
