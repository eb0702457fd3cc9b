//! What an attempt leads to. Pure: given how things stand, how it ended, the time and a random number, it says when the
//! delivery is tried again, and what becomes of its endpoint.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::store::outbox::{DeliveryStatus, Verdict};
use crate::store::{DisabledReason, Policy, Rules, Standing};

/// The waits after the first attempt and each further one, as Standard Webhooks recommends them (section "Retry
/// schedule"); the last one is repeated.
pub const WAITS_SECS: [u64; 7] = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];

/// The attempts of a delivery, unless its endpoint says otherwise: the first, and one after each wait.
pub const USUAL_ATTEMPTS: u32 = WAITS_SECS.len() as u32 + 1;

/// The wait that the linear policy adds each time.
const LINEAR_STEP_SECS: u64 = 600;

/// No wait is longer, before the jitter; nor is one that an endpoint asks for.
const LONGEST_SECS: u64 = 36_000;

/// A wait is longer by up to this part of it, so that what failed together does not come again together.
const JITTER_PERCENT: u64 = 20;

/// No delivery waits for longer than this: what does so was written under another clock.
pub const LONGEST_WAIT: Duration = Duration::from_secs(LONGEST_SECS * (100 + JITTER_PERCENT) / 100);

/// An endpoint that has done nothing but fail for so long is disabled.
pub const PATIENCE: Duration = Duration::from_secs(5 * 86_400);

/// Failures further apart do not make one row of failures: nothing was tried in between, or the clock jumped. Above the
/// longest wait, so that a single delivery's attempts belong together.
const FURTHEST_APART: Duration = Duration::from_secs(86_400);

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Any 2xx.
    Accepted,
    /// 410: the endpoint wants nothing any more.
    Gone,
    /// Any other status, or no answer.
    Failed,
    /// The same, and the endpoint says when to come again.
    Later { after: Duration, whom: Whom },
}

/// To whom a `Retry-After` applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// This delivery.
    Delivery,
    /// The whole endpoint: 429 and 503.
    Endpoint,
}

/// A delivery before the attempt.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    pub attempts: u32,
    pub expires_at: Timestamp,
}

/// How long to wait after so many attempts; absent where the policy allows no more. `random` is any number.
pub fn wait(policy: Policy, attempts: u32, random: u64) -> Option<Duration> {
    let secs = match policy {
        Policy::None => return None,
        Policy::Linear => LINEAR_STEP_SECS.saturating_mul(attempts.into()).min(LONGEST_SECS),
        Policy::Exponential => {
            let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
            WAITS_SECS[index.min(WAITS_SECS.len() - 1)]
        }
    };
    let millis = secs * 1000;
    Some(Duration::from_millis(millis + random % (millis * JITTER_PERCENT / 100 + 1)))
}

/// What follows from an attempt that ended at `now`.
pub fn judge(
    rules: &Rules,
    standing: Standing,
    course: Course,
    outcome: Outcome,
    now: Timestamp,
    random: u64,
) -> Verdict {
    let given_up = |standing: Standing| Verdict { status: DeliveryStatus::Dead, due_at: None, standing };
    let asked = match outcome {
        Outcome::Accepted => {
            let standing = Standing { failing_since: None, last_failed_at: None, ..standing };
            return Verdict { status: DeliveryStatus::Delivered, due_at: None, standing };
        }
        Outcome::Gone => {
            let disabled = standing.disabled.or(Some((DisabledReason::Gone, now)));
            return given_up(Standing { disabled, ..standing });
        }
        Outcome::Failed => Duration::ZERO,
        Outcome::Later { after, .. } => after.min(Duration::from_secs(LONGEST_SECS)),
    };
    let mut standing = failed(standing, now);
    if let Outcome::Later { whom: Whom::Endpoint, .. } = outcome {
        standing.paused_until = standing.paused_until.max(Some(after(now, asked)));
    }
    let attempts = course.attempts.saturating_add(1);
    let due_at = wait(rules.policy, attempts, random)
        .filter(|_| attempts < rules.most_attempts)
        .map(|wait| after(now, wait.max(asked)))
        .filter(|due_at| *due_at < course.expires_at);
    match due_at {
        Some(_) => Verdict { status: DeliveryStatus::Failed, due_at, standing },
        None => given_up(standing),
    }
}

/// The endpoint after one more failure.
fn failed(standing: Standing, now: Timestamp) -> Standing {
    let apart = |earlier: Timestamp| now.duration_since(earlier);
    let goes_on = |last: Timestamp| {
        // Before the last one is a clock that was set back.
        Duration::try_from(apart(last)).is_ok_and(|apart| apart <= FURTHEST_APART)
    };
    let since = standing.failing_since.filter(|_| standing.last_failed_at.is_some_and(goes_on)).unwrap_or(now);
    let too_long = Duration::try_from(apart(since)).is_ok_and(|apart| apart >= PATIENCE);
    Standing {
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
