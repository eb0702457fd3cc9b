//! Health checks: what they found, and for which share of a time a connection worked.

use std::time::Duration;

use super::name::ConnectionName;
use super::words::words;
use crate::clock::Timestamp;

/// The row of a health check. Later checks have greater ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HealthCheckId(pub i64);

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthOutcome {
    Healthy,
    /// The service accepts the token, but the token does not allow this call.
    Forbidden,
    /// The connector has no check for this authentication method.
    Unchecked,
    /// The vendor refused the token, and a refresh did not help.
    NeedsReauth,
    /// The network, a rate limit or the vendor's trouble.
    Temporary,
    Failed,
}

words!(HealthOutcome {
    Healthy => "healthy",
    Forbidden => "forbidden",
    Unchecked => "unchecked",
    NeedsReauth => "needs_reauth",
    Temporary => "temporary",
    Failed => "failed",
});

impl HealthOutcome {
    /// Whether the check found nothing to repair: a token that does not allow the check's call works, too.
    pub fn is_healthy(self) -> bool {
        matches!(self, Self::Healthy | Self::Forbidden | Self::Unchecked)
    }
}

/// A health check that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    pub at: Timestamp,
    pub outcome: HealthOutcome,
    /// Of the vendor's call alone; absent if there was none.
    pub duration: Option<Duration>,
    pub http_status: Option<u16>,
    /// What was wrong; absent if it passed.
    pub error: Option<String>,
}

impl HealthCheck {
    /// Creates a check without a call. What is said of one that passed is left out.
    pub fn new(at: Timestamp, outcome: HealthOutcome, error: Option<&str>) -> Self {
        let error = error.filter(|_| !outcome.is_healthy()).map(str::to_owned);
        Self { at, outcome, duration: None, http_status: None, error }
    }

    /// Whether the service refused the token.
    pub fn is_unauthorized(&self) -> bool {
        self.outcome == HealthOutcome::NeedsReauth
    }
}

/// A check of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHealthCheck {
    pub id: HealthCheckId,
    pub connection: ConnectionName,
    pub check: HealthCheck,
}

/// The share of a time for which a connection worked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Uptime {
    /// From 0 to 1.
    pub ratio: f64,
    /// The time about which something is known; the ratio is of this time.
    pub observed: Duration,
}

impl Uptime {
    /// Computes the uptime between two times from checks, the oldest first.
    ///
    /// What a check found holds until the next check, but no longer than `validity`: nothing is known of the time for
    /// which no check ran. Returns `None` if nothing is known at all. With a validity of two hours:
    ///
    /// ```text
    /// 0:00 healthy   1:00 failed   2:00 healthy   (none)    5:00
    /// |--- up 1 h ---|-- down 1 h -|--- up 2 h ---|unknown --|      3 of 4 h: 0.75
    /// ```
    pub fn compute(checks: &[HealthCheck], from: Timestamp, until: Timestamp, validity: Duration) -> Option<Self> {
        let (mut up, mut observed) = (0_i64, 0_i64);
        let validity = i64::try_from(validity.as_millis()).unwrap_or(i64::MAX);
        for (index, check) in checks.iter().enumerate() {
            let next = checks.get(index + 1).map_or(until, |next| next.at);
            let begin = check.at.max(from).as_millisecond();
            let end = next.min(until).as_millisecond().min(check.at.as_millisecond().saturating_add(validity));
            let length = (end - begin).max(0);
            observed += length;
            up += if check.outcome.is_healthy() { length } else { 0 };
        }
        let ratio = up as f64 / observed as f64;
        (observed > 0).then(|| Self { ratio, observed: Duration::from_millis(observed.unsigned_abs()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: f64) -> Timestamp {
        Timestamp::from_millisecond(1_795_000_000_000 + (hours * 3_600_000.0) as i64).unwrap()
    }

    fn uptime(checks: &[(f64, HealthOutcome)], from: f64, until: f64) -> Option<(f64, f64)> {
        let checks: Vec<_> =
            checks.iter().map(|(hours, outcome)| HealthCheck::new(at(*hours), *outcome, None)).collect();
        let uptime = Uptime::compute(&checks, at(from), at(until), Duration::from_secs(2 * 3600))?;
        Some((uptime.ratio, uptime.observed.as_secs_f64() / 3600.0))
    }

    #[test]
    fn a_result_holds_until_the_next_check_but_not_forever() {
        use HealthOutcome::{Failed, Healthy, NeedsReauth, Temporary};
        let checks = [(0.0, Healthy), (1.0, Failed), (2.0, Healthy)];
        assert_eq!(uptime(&checks, 0.0, 5.0), Some((0.75, 4.0)));
        assert_eq!(uptime(&checks, 0.5, 1.5), Some((0.5, 1.0)), "clipped at both ends");
        assert_eq!(uptime(&checks, 4.5, 5.0), None, "nothing is known of it");
        assert_eq!(uptime(&[], 0.0, 5.0), None);
        assert_eq!(uptime(&[(0.0, NeedsReauth), (0.5, Temporary)], 0.0, 1.0), Some((0.0, 1.0)));
        assert_eq!(uptime(&[(3.0, Healthy), (1.0, Failed)], 0.0, 5.0), Some((0.0, 2.0)), "a clock that was set back");
    }

    #[test]
    fn what_passed_has_no_error() {
        assert_eq!(HealthCheck::new(at(0.0), HealthOutcome::Forbidden, Some("not allowed")).error, None);
        assert!(HealthCheck::new(at(0.0), HealthOutcome::NeedsReauth, Some("401")).is_unauthorized());
    }
}
