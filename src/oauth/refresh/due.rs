//! When a grant is due for renewal.

use std::time::Duration;

use super::Freshness;
use crate::clock::Timestamp;
use crate::model::Expiry;

/// How long before its end a token counts as due, unless the caller says otherwise.
const REFRESH_MARGIN: Duration = Duration::from_secs(120);

/// Whether a grant is due for renewal.
pub fn is_refresh_due(expiry: &Expiry, want: Freshness, generation: u64, now: Timestamp) -> bool {
    let min_ttl = match want {
        Freshness::NewerThan { than } => return generation <= than,
        Freshness::MinTtl(min_ttl) => min_ttl,
        Freshness::Usable | Freshness::RefreshIfDue => refresh_margin(expiry),
    };
    expiry.remaining_secs(now).is_some_and(|left| left < least_secs(min_ttl))
}

/// When a grant becomes due for [`Freshness::RefreshIfDue`]: `now` at the earliest; `None` if its token has no known end.
pub fn refresh_due_at(expiry: &Expiry, now: Timestamp) -> Option<Timestamp> {
    // Due is the first second in which less than the margin is left.
    let wait = expiry.remaining_secs(now)?.saturating_sub(least_secs(refresh_margin(expiry))).saturating_add(1);
    Some(Timestamp::from_second(now.as_second().saturating_add(wait.max(0))).unwrap_or(Timestamp::MAX).max(now))
}

/// How long before its end a token is refreshed, of a short life a quarter.
fn refresh_margin(expiry: &Expiry) -> Duration {
    let quarter = expiry.lifetime_secs().map(|seconds| Duration::from_secs(u64::from(seconds) / 4));
    quarter.map_or(REFRESH_MARGIN, |quarter| quarter.min(REFRESH_MARGIN))
}

/// The minimum remaining lifetime of a token, in seconds. A token in its last second counts as expired, whatever is requested.
fn least_secs(min_ttl: Duration) -> i64 {
    i64::try_from(min_ttl.as_secs()).unwrap_or(i64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_due_two_minutes_or_a_quarter_of_its_life_before_its_end() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let expiry = |issued_at, expires_at| Expiry {
            issued_at: Timestamp::from_second(issued_at).ok(),
            expires_at: Timestamp::from_second(expires_at).ok(),
            is_refreshable: true,
            ..Expiry::default()
        };
        let due = |left: i64, lifetime: u32, want| {
            let expires_at = 1_000_000 + left;
            is_refresh_due(&expiry(expires_at - i64::from(lifetime), expires_at), want, 1, now)
        };
        assert!(!due(120, 3600, Freshness::Usable));
        assert!(due(119, 3600, Freshness::Usable));
        assert!(!due(20, 60, Freshness::Usable), "a quarter of a minute");
        assert!(due(14, 60, Freshness::Usable));
        assert!(due(3000, 3600, Freshness::MinTtl(Duration::from_secs(3001))));
        assert!(
            due(0, 1, Freshness::Usable) && due(0, 3600, Freshness::MinTtl(Duration::ZERO)),
            "its last second has come"
        );
        let endless = Expiry::default();
        assert!(!is_refresh_due(&endless, Freshness::Usable, 1, now), "no known end");
        assert!(is_refresh_due(&endless, Freshness::NewerThan { than: 1 }, 1, now));
        assert!(!is_refresh_due(&endless, Freshness::NewerThan { than: 1 }, 2, now));
        let fast = expiry(400_000_000, 400_003_600);
        assert!(is_refresh_due(&fast, Freshness::Usable, 1, now), "issued while the clock was fast");
        assert!(is_refresh_due(&fast, Freshness::MinTtl(Duration::ZERO), 1, now));
    }
}
