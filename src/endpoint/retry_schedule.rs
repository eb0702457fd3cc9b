//! Decides what follows an attempt. Pure: from the state, the result, the time and a random number, it computes the
//! next attempt and the endpoint's status.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::{BackoffPolicy, DeliveryPolicy, DeliveryStatus, DeliveryUpdate, DisabledReason, EndpointHealth};

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

/// Delay after this many attempts; absent if the policy allows no more. `random` is any number.
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
    policy: &DeliveryPolicy,
    health: EndpointHealth,
    progress: DeliveryProgress,
    outcome: DeliveryOutcome,
    now: Timestamp,
    random: u64,
) -> DeliveryUpdate {
    let given_up =
        |health: EndpointHealth| DeliveryUpdate { status: DeliveryStatus::Dead, due_at: None, endpoint_health: health };
    let asked = match outcome {
        DeliveryOutcome::Accepted => {
            let health = EndpointHealth { failing_since: None, last_failed_at: None, ..health };
            return DeliveryUpdate { status: DeliveryStatus::Delivered, due_at: None, endpoint_health: health };
        }
        DeliveryOutcome::Gone => {
            let disabled = health.disabled.or(Some((DisabledReason::Gone, now)));
            return given_up(EndpointHealth { disabled, ..health });
        }
        DeliveryOutcome::Failed => Duration::ZERO,
        DeliveryOutcome::RetryAfter { after, .. } => after.min(Duration::from_secs(LONGEST_SECS)),
    };
    let mut health = after_failure(health, now);
    if let DeliveryOutcome::RetryAfter { scope: RetryScope::Endpoint, .. } = outcome {
        health.paused_until = health.paused_until.max(Some(after(now, asked)));
    }
    let attempts = progress.attempts.saturating_add(1);
    let due_at = backoff(policy.backoff, attempts, random)
        .filter(|_| attempts < policy.max_attempts)
        .map(|wait| after(now, wait.max(asked)))
        .filter(|due_at| *due_at < progress.expires_at);
    match due_at {
        Some(_) => DeliveryUpdate { status: DeliveryStatus::Failed, due_at, endpoint_health: health },
        None => given_up(health),
    }
}

/// The endpoint after one more failure.
fn after_failure(health: EndpointHealth, now: Timestamp) -> EndpointHealth {
    let apart = |earlier: Timestamp| now.duration_since(earlier);
    let continues = |last: Timestamp| {
        // Before the last one is a clock that was set back.
        Duration::try_from(apart(last)).is_ok_and(|apart| apart <= FURTHEST_APART)
    };
    let since = health.failing_since.filter(|_| health.last_failed_at.is_some_and(continues)).unwrap_or(now);
    let too_long = Duration::try_from(apart(since)).is_ok_and(|apart| apart >= DISABLE_AFTER);
    EndpointHealth {
        failing_since: Some(since),
        last_failed_at: Some(now),
        disabled: health.disabled.or(too_long.then_some((DisabledReason::Failing, now))),
        ..health
    }
}

fn after(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
