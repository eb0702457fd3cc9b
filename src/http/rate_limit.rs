//! The request rate of a connection: the connector's budget, and limits reported in responses.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};

use super::Response;
use super::retry::MAX_RETRY_AFTER;
use crate::clock::{Timestamp, due_at};
use crate::connector::RateLimits;
use crate::model::Budget;

/// The pace of one connection within this process.
#[derive(Debug)]
pub struct RateLimiter {
    bucket: Option<DefaultDirectRateLimiter>,
    /// Units that the bucket holds.
    burst: u32,
    /// The vendor said that nothing is left before then.
    not_before: Mutex<Option<Timestamp>>,
    /// Requests that are left, as the vendor said last.
    remaining: Mutex<Option<u64>>,
}

impl RateLimiter {
    /// Creates a limiter with a full bucket; without a budget, only the vendor's answers limit it.
    pub fn new(budget: Option<Budget>) -> Self {
        let quota = |budget: Budget| {
            let each = Duration::from_secs(budget.secs.into()) / NonZeroU32::new(budget.units)?.get();
            let burst = NonZeroU32::new(budget.burst.unwrap_or(budget.units))?;
            Some((Quota::with_period(each)?.allow_burst(burst), burst.get()))
        };
        let quota = budget.and_then(quota);
        Self {
            bucket: quota.map(|(quota, _)| DefaultDirectRateLimiter::direct(quota)),
            burst: quota.map_or(u32::MAX, |(_, burst)| burst),
            not_before: Mutex::default(),
            remaining: Mutex::default(),
        }
    }

    /// Takes what a request costs from the budget; where that is not there, how long to wait before asking again.
    pub fn take(&self, cost: u32, now: Timestamp) -> Option<Duration> {
        let mut not_before = self.not_before();
        if let Some(until) = *not_before {
            // The clock may be set back while the process runs.
            let left = due_at(until, MAX_RETRY_AFTER, now).as_second() - now.as_second();
            if left > 0 {
                return Some(Duration::from_secs(left.unsigned_abs()));
            }
            *not_before = None;
        }
        let bucket = self.bucket.as_ref()?;
        // A request that costs more than the bucket ever holds waits until it is full.
        let cost = NonZeroU32::new(cost.min(self.burst))?;
        let not_until = bucket.check_n(cost).ok()?.err()?;
        Some(not_until.wait_time_from(DefaultClock::default().now()))
    }

    /// Learns from an answer: where nothing is left, the next request waits for as long as the vendor says.
    pub fn update(&self, rate: &RateLimits, response: &Response, now: Timestamp) {
        let left = rate.requests_left(response);
        if let Some(left) = left {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of requests")]
            let left = left.max(0.0) as u64;
            *self.remaining.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
        }
        if left.is_some_and(|left| left < 1.0)
            && let Some(wait) = response.retry_after(rate, now)
            && let Ok(wait) = i64::try_from(wait.as_secs())
        {
            *self.not_before() = Timestamp::from_second(now.as_second().saturating_add(wait)).ok();
        }
    }

    /// Requests that are left of the vendor's limit, where it says so.
    pub fn remaining(&self) -> Option<u64> {
        *self.remaining.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_before(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.not_before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::{RetryHint, RetryUnit};

    #[test]
    fn a_budget_lets_so_many_through_and_says_how_long_the_next_waits() {
        let pace = RateLimiter::new(Some(Budget { units: 3, secs: 60, burst: None }));
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!([(); 3].map(|()| pace.take(1, now)), [None; 3]);
        let wait = pace.take(1, now).unwrap();
        assert!(wait > Duration::from_secs(15) && wait <= Duration::from_secs(20), "{wait:?}");
        assert_eq!(RateLimiter::new(None).take(1, now), None);
    }

    #[test]
    fn a_request_takes_what_it_costs() {
        // 95 units a second; what a sending costs lets nineteen readings wait.
        let pace = RateLimiter::new(Some(Budget { units: 5700, secs: 60, burst: Some(300) }));
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!([(); 60].map(|()| pace.take(5, now)), [None; 60]);
        let wait = pace.take(100, now).unwrap();
        assert!(wait > Duration::from_millis(900) && wait <= Duration::from_millis(1060), "{wait:?}");
        let wait = pace.take(100_000, now).unwrap();
        assert!(wait <= Duration::from_millis(3200), "no longer than until the bucket is full: {wait:?}");
    }

    #[test]
    fn nothing_left_waits_for_the_vendors_hour() {
        let pace = RateLimiter::new(None);
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let hint =
            RetryHint { header: Some("x-ratelimit-reset".to_owned()), body: None, unit: RetryUnit::EpochSeconds };
        let rate = RateLimits {
            retry_hints: vec![hint],
            remaining: Some("X-RateLimit-Remaining".to_owned()),
            ..RateLimits::default()
        };
        let answer = |left: &str| {
            Response::new(200, &[("x-ratelimit-remaining", left), ("x-ratelimit-reset", "1700000030")], b"")
        };
        pace.update(&rate, &answer("1"), now);
        assert_eq!(pace.take(1, now), None);
        pace.update(&rate, &answer("0"), now);
        assert_eq!(pace.take(1, now), Some(Duration::from_secs(30)));
        let long_ago = Timestamp::from_second(1_600_000_000).unwrap();
        assert_eq!(pace.take(1, long_ago), None, "a clock that was set back keeps nothing waiting");
        pace.update(&rate, &answer("0"), now);
        assert_eq!(pace.take(1, Timestamp::from_second(1_700_000_030).unwrap()), None);
    }
}
