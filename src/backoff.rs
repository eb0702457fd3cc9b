//! Growing delays for repeated failures. Pure: the caller sleeps, and passes the randomness.

use std::time::Duration;

/// Exponential backoff: a delay that doubles with each failure in a row, up to a longest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// Returns the delay after this many failures in a row; none if nothing has failed.
    pub(crate) fn delay(self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let delay = 2_u32.checked_pow(doublings).and_then(|factor| self.first.checked_mul(factor));
        delay.map_or(self.longest, |delay| delay.min(self.longest))
    }

    /// Returns a random part of the delay ("full jitter"), in whole milliseconds, so that what failed together does not come
    /// again together. `random` is any number.
    pub(crate) fn jittered_delay(self, failures: u32, random: u64) -> Duration {
        let ceiling = u64::try_from(self.delay(failures).as_millis()).unwrap_or(u64::MAX - 1);
        Duration::from_millis(random % (ceiling + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_doubles_up_to_the_longest() {
        let backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(3600));
        let delays = [0, 1, 2, 3, 6, 7, 33, u32::MAX].map(|failures| backoff.delay(failures).as_secs());
        assert_eq!(delays, [0, 60, 120, 240, 1920, 3600, 3600, 3600]);
    }

    #[test]
    fn jitter_is_a_part_of_the_delay() {
        let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(20));
        assert_eq!(backoff.jittered_delay(1, 500), Duration::from_millis(500));
        assert_eq!(backoff.jittered_delay(1, 501), Duration::ZERO);
        assert_eq!(backoff.jittered_delay(u32::MAX, 20_000), Duration::from_secs(20));
        assert_eq!(backoff.jittered_delay(0, u64::MAX), Duration::ZERO);
    }
}
