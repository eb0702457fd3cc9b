//! Computes delays between attempts. Pure: the caller sleeps.

use std::time::Duration;

use super::Response;
use crate::backoff::Backoff;
use crate::clock::Timestamp;
use crate::connector::{RateLimits, RetryHint, RetryUnit};

/// One of several tries, from 0.
#[derive(Clone, Copy, Debug)]
pub struct RetryAttempt(pub u32);

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(20));

/// The longest wait that a vendor's answer can ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);

/// The least that an answer's hint is taken to ask for: limiters round down, and clocks differ.
pub const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Returns how long to wait before the next try: as long as the vendor asks. If it asks for no more than the shortest
/// wait, backoff adds to it, so that a limiter that keeps saying "0" is not asked every second.
pub fn pause(attempt: RetryAttempt, hinted: Option<Duration>, random: u64) -> Duration {
    let backoff = backoff(attempt, random);
    match hinted {
        Some(hint) if hint > MIN_RETRY_AFTER => hint,
        Some(hint) => hint.max(backoff),
        None => backoff,
    }
}

/// Full-jitter backoff: a random part of a ceiling that doubles from half a second to 20 s; `random` is any number.
pub fn backoff(attempt: RetryAttempt, random: u64) -> Duration {
    BACKOFF.jittered_delay(attempt.0.saturating_add(1), random)
}

impl Response {
    /// What the answer says of when to try again: the connector's own hints, then `Retry-After` in seconds or as a date
    /// (RFC 9110 section 10.2.3). Between a second and a day.
    ///
    /// While the primary limit has requests left, the header that says when it is full again says nothing about this
    /// answer: a secondary limit (GitHub's, for bursts) refused the request.
    pub fn retry_after(&self, rate: &RateLimits, now: Timestamp) -> Option<Duration> {
        let has_requests_left = rate.requests_left(self).is_some_and(|left| left >= 1.0);
        let applies = |hint: &&RetryHint| !(has_requests_left && hint.is_reset());
        let hinted = rate.retry_hints.iter().filter(applies).find_map(|hint| {
            let text = match (&hint.header, &hint.body) {
                (Some(name), _) => self.header(name)?.to_owned(),
                (None, Some(pointer)) => pointer.text(&self.json()?)?,
                (None, None) => return None,
            };
            let number: f64 = text.trim().parse().ok()?;
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double")]
            let now = now.as_second() as f64;
            Some(match hint.unit {
                RetryUnit::Seconds => number,
                RetryUnit::Milliseconds => number / 1000.0,
                RetryUnit::EpochSeconds => number - now,
                RetryUnit::EpochMilliseconds => number / 1000.0 - now,
            })
        });
        let plain = || {
            let text = self.header("retry-after")?.trim();
            if let Ok(seconds) = text.parse::<f64>() {
                return Some(seconds);
            }
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            #[expect(clippy::cast_precision_loss, reason = "a difference of seconds fits a double")]
            Some((date.as_second() - now.as_second()) as f64)
        };
        let seconds = hinted.or_else(plain).filter(|seconds| seconds.is_finite())?;
        Some(Duration::from_secs_f64(seconds.clamp(MIN_RETRY_AFTER.as_secs_f64(), MAX_RETRY_AFTER.as_secs_f64())))
    }
}

impl RetryHint {
    /// Whether it says when the primary limit is full again. `Retry-After` and bodies speak of the refused request itself.
    fn is_reset(&self) -> bool {
        self.header.as_ref().is_some_and(|name| !name.eq_ignore_ascii_case("retry-after"))
    }
}

impl RateLimits {
    /// Returns how many requests the primary limit has left, if the answer says so.
    pub(super) fn requests_left(&self, response: &Response) -> Option<f64> {
        response.header(self.remaining.as_ref()?)?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn response(headers: &[(&str, &str)]) -> Response {
        Response::new(429, headers, b"{\"parameters\":{\"retry_after\":7}}")
    }

    #[test]
    fn hints_come_in_seconds_milliseconds_epochs_bodies_and_dates() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let hint = |header: Option<&str>, body: Option<&str>, unit| RetryHint {
            header: header.map(str::to_owned),
            body: body.map(|path| crate::connector::Pointer::parse(path).unwrap()),
            unit,
        };
        let seconds = |response: &Response, hints: &[RetryHint]| {
            let rate = RateLimits { retry_hints: hints.to_vec(), ..RateLimits::default() };
            response.retry_after(&rate, now).map(|wait| wait.as_secs())
        };
        assert_eq!(seconds(&response(&[("Retry-After", "3")]), &[]), Some(3));
        assert_eq!(seconds(&response(&[("Retry-After", "Tue, 14 Nov 2023 22:13:30 GMT")]), &[]), Some(10));
        let epoch = hint(Some("x-ratelimit-reset"), None, RetryUnit::EpochSeconds);
        assert_eq!(seconds(&response(&[("X-RateLimit-Reset", "1700000060")]), &[epoch]), Some(60));
        let epoch = hint(Some("x-ratelimit-reset"), None, RetryUnit::EpochMilliseconds);
        assert_eq!(seconds(&response(&[("X-RateLimit-Reset", "1700000060000")]), &[epoch]), Some(60));
        let body = hint(None, Some("/parameters/retry_after"), RetryUnit::Seconds);
        assert_eq!(seconds(&response(&[]), &[body]), Some(7));
        for passed in ["0", "-5", "0.0", "Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 21:00:00 GMT"] {
            assert_eq!(seconds(&response(&[("Retry-After", passed)]), &[]), Some(1), "{passed}");
        }
        assert_eq!(seconds(&response(&[("Retry-After", "1e300")]), &[]), Some(86_400));
        assert_eq!(seconds(&response(&[("Retry-After", "soon")]), &[]), None);
    }

    #[test]
    fn a_secondary_limit_does_not_wait_for_the_reset_of_the_primary_one() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let hint = |name: &str, unit| RetryHint { header: Some(name.to_owned()), body: None, unit };
        let rate = RateLimits {
            retry_hints: vec![
                hint("retry-after", RetryUnit::Seconds),
                hint("x-ratelimit-reset", RetryUnit::EpochSeconds),
            ],
            remaining: Some("x-ratelimit-remaining".to_owned()),
            ..RateLimits::default()
        };
        let wait = |headers: &[(&str, &str)]| response(headers).retry_after(&rate, now).map(|wait| wait.as_secs());
        let reset = ("x-ratelimit-reset", "1700003000");
        assert_eq!(wait(&[("x-ratelimit-remaining", "0"), reset]), Some(3000));
        assert_eq!(wait(&[reset]), Some(3000));
        assert_eq!(wait(&[("x-ratelimit-remaining", "4321"), reset]), None);
        assert_eq!(wait(&[("x-ratelimit-remaining", "4321"), reset, ("retry-after", "60")]), Some(60));
    }

    #[test]
    fn a_hint_of_no_time_waits_a_second_and_then_longer() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(RetryAttempt(0), Some(seconds(1)), 0), seconds(1));
        assert_eq!(pause(RetryAttempt(4), Some(seconds(1)), 7_000), seconds(7));
        assert_eq!(pause(RetryAttempt(4), Some(seconds(2)), 7_000), seconds(2));
        assert_eq!(pause(RetryAttempt(0), None, 200), Duration::from_millis(200));
    }

    proptest! {
        #[test]
        fn backoff_is_bounded(attempt in 0u32..1000, random: u64) {
            prop_assert!(backoff(RetryAttempt(attempt), random) <= Duration::from_secs(20));
        }
    }
}
