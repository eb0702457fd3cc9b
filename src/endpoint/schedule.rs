//! What an attempt leads to. Pure: given how things stand, how it ended, the time and a random number, it says when the
//! delivery is tried again, and what becomes of its endpoint.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::store::outbox::{DeliveryStatus, DeliveryUpdate};
use crate::store::{BackoffPolicy, DeliveryPolicy, DisabledReason, EndpointHealth};

/// The waits after the first attempt and each further one, as Standard Webhooks recommends them (section "Retry
/// schedule"); the last one is repeated.
pub const BACKOFF_SECS: [u64; 7] = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];

/// The attempts of a delivery, unless its endpoint says otherwise: the first, and one after each wait.
pub const DEFAULT_ATTEMPTS: u32 = BACKOFF_SECS.len() as u32 + 1;

/// The wait that the linear policy adds each time.
const LINEAR_STEP_SECS: u64 = 600;

/// No wait is longer, before the jitter; nor is one that an endpoint asks for.
const LONGEST_SECS: u64 = 36_000;

/// A wait is longer by up to this part of it, so that what failed together does not come again together.
const JITTER_PERCENT: u64 = 20;

/// No delivery waits for longer than this: what does so was written under another clock.
pub const MAX_WAIT: Duration = Duration::from_secs(LONGEST_SECS * (100 + JITTER_PERCENT) / 100);

/// An endpoint that has done nothing but fail for so long is disabled.
pub const DISABLE_AFTER: Duration = Duration::from_secs(5 * 86_400);

/// Failures further apart do not make one row of failures: nothing was tried in between, or the clock jumped. Above the
/// longest wait, so that a single delivery's attempts belong together.
const FURTHEST_APART: Duration = Duration::from_secs(86_400);

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// Any 2xx.
    Accepted,
    /// 410: the endpoint wants nothing any more.
    Gone,
    /// Any other status, or no answer.
    Failed,
    /// The same, and the endpoint says when to come again.
    RetryAfter { after: Duration, scope: RetryScope },
}

/// To whom a `Retry-After` applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryScope {
    /// This delivery.
    Delivery,
    /// The whole endpoint: 429 and 503.
    Endpoint,
}

/// A delivery before the attempt.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryProgress {
    pub attempts: u32,
    pub expires_at: Timestamp,
}

/// How long to wait after so many attempts; absent where the policy allows no more. `random` is any number.
pub fn backoff(policy: BackoffPolicy, attempts: u32, random: u64) -> Option<Duration> {
    let secs = match policy {
        BackoffPolicy::None => return None,
        BackoffPolicy::Linear => LINEAR_STEP_SECS.saturating_mul(attempts.into()).min(LONGEST_SECS),
        BackoffPolicy::Exponential => {
            let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
            BACKOFF_SECS[index.min(BACKOFF_SECS.len() - 1)]
        }
    };
    let millis = secs * 1000;
    Some(Duration::from_millis(millis + random % (millis * JITTER_PERCENT / 100 + 1)))
}

/// What follows from an attempt that ended at `now`.
pub fn next_state(
    rules: &DeliveryPolicy,
    standing: EndpointHealth,
    course: DeliveryProgress,
    outcome: DeliveryOutcome,
    now: Timestamp,
    random: u64,
) -> DeliveryUpdate {
    let given_up = |standing: EndpointHealth| DeliveryUpdate {
        status: DeliveryStatus::Dead,
        due_at: None,
        endpoint_health: standing,
    };
    let asked = match outcome {
        DeliveryOutcome::Accepted => {
            let standing = EndpointHealth { failing_since: None, last_failed_at: None, ..standing };
            return DeliveryUpdate { status: DeliveryStatus::Delivered, due_at: None, endpoint_health: standing };
        }
        DeliveryOutcome::Gone => {
            let disabled = standing.disabled.or(Some((DisabledReason::Gone, now)));
            return given_up(EndpointHealth { disabled, ..standing });
        }
        DeliveryOutcome::Failed => Duration::ZERO,
        DeliveryOutcome::RetryAfter { after, .. } => after.min(Duration::from_secs(LONGEST_SECS)),
    };
    let mut standing = after_failure(standing, now);
    if let DeliveryOutcome::RetryAfter { scope: RetryScope::Endpoint, .. } = outcome {
        standing.paused_until = standing.paused_until.max(Some(after(now, asked)));
    }
    let attempts = course.attempts.saturating_add(1);
    let due_at = backoff(rules.backoff, attempts, random)
        .filter(|_| attempts < rules.max_attempts)
        .map(|wait| after(now, wait.max(asked)))
        .filter(|due_at| *due_at < course.expires_at);
    match due_at {
        Some(_) => DeliveryUpdate { status: DeliveryStatus::Failed, due_at, endpoint_health: standing },
        None => given_up(standing),
    }
}

/// The endpoint after one more failure.
fn after_failure(standing: EndpointHealth, now: Timestamp) -> EndpointHealth {
    let apart = |earlier: Timestamp| now.duration_since(earlier);
    let goes_on = |last: Timestamp| {
        // Before the last one is a clock that was set back.
        Duration::try_from(apart(last)).is_ok_and(|apart| apart <= FURTHEST_APART)
    };
    let since = standing.failing_since.filter(|_| standing.last_failed_at.is_some_and(goes_on)).unwrap_or(now);
    let too_long = Duration::try_from(apart(since)).is_ok_and(|apart| apart >= DISABLE_AFTER);
    EndpointHealth {
        failing_since: Some(since),
        last_failed_at: Some(now),
        disabled: standing.disabled.or(too_long.then_some((DisabledReason::Failing, now))),
        ..standing
    }
}

fn after(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
