//! How long to wait before a request is repeated. Pure: the caller sleeps.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::connector::{RetryHint, RetryUnit};

use super::Response;

/// One of several tries, from 0.
#[derive(Clone, Copy, Debug)]
pub struct Attempt(pub u32);

/// The first wait is up to this; each further one up to twice the last.
const FIRST_MS: u64 = 500;
const LONGEST_MS: u64 = 20_000;

/// The longest wait that a vendor's answer can ask for.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(86_400);

/// Full-jitter backoff: a random part of a ceiling that doubles; `random` is any number.
pub fn backoff(attempt: Attempt, random: u64) -> Duration {
    let ceiling = FIRST_MS.saturating_mul(1 << attempt.0.min(16)).min(LONGEST_MS);
    Duration::from_millis(random % (ceiling + 1))
}

impl Response {
    /// What the answer says of when to try again: the connector's own hints, then `Retry-After` in seconds or as a date
    /// (RFC 9110 section 10.2.3). Never over a day.
    pub fn retry_after(&self, hints: &[RetryHint], now: Timestamp) -> Option<Duration> {
        let hinted = hints.iter().find_map(|hint| {
            let text = match (&hint.header, &hint.body) {
                (Some(name), _) => self.header(name)?.to_owned(),
                (None, Some(pointer)) => pointer.text(&self.json()?)?,
                (None, None) => return None,
            };
            let number: f64 = text.trim().parse().ok()?;
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double")]
            Some(match hint.unit {
                RetryUnit::Seconds => number,
                RetryUnit::Milliseconds => number / 1000.0,
                RetryUnit::EpochSeconds => number - now.as_second() as f64,
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
        Some(Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_RETRY_AFTER.as_secs_f64())))
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
        let seconds =
            |response: &Response, hints: &[RetryHint]| response.retry_after(hints, now).map(|wait| wait.as_secs());
        assert_eq!(seconds(&response(&[("Retry-After", "3")]), &[]), Some(3));
        assert_eq!(seconds(&response(&[("Retry-After", "Tue, 14 Nov 2023 22:13:30 GMT")]), &[]), Some(10));
        let epoch = hint(Some("x-ratelimit-reset"), None, RetryUnit::EpochSeconds);
        assert_eq!(seconds(&response(&[("X-RateLimit-Reset", "1700000060")]), &[epoch]), Some(60));
        let body = hint(None, Some("/parameters/retry_after"), RetryUnit::Seconds);
        assert_eq!(seconds(&response(&[]), &[body]), Some(7));
        assert_eq!(seconds(&response(&[("Retry-After", "-5")]), &[]), Some(0));
        assert_eq!(seconds(&response(&[("Retry-After", "1e300")]), &[]), Some(86_400));
        assert_eq!(seconds(&response(&[("Retry-After", "soon")]), &[]), None);
    }

    proptest! {
        #[test]
        fn backoff_is_bounded(attempt in 0u32..1000, random: u64) {
            prop_assert!(backoff(Attempt(attempt), random) <= Duration::from_millis(LONGEST_MS));
        }
    }
}
