//! The scheduler by itself, and many deliveries in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + millis).unwrap()
}

fn secs(seconds: i64) -> Timestamp {
    at(seconds * 1000)
}

fn rules(policy: BackoffPolicy, most_attempts: u32) -> DeliveryPolicy {
    DeliveryPolicy {
        backoff: policy,
        max_attempts: most_attempts,
        ttl: Duration::from_secs(3 * 86_400),
        timeout: Duration::from_secs(15),
        rate: None,
    }
}

fn progress(attempts: u32) -> DeliveryProgress {
    DeliveryProgress { attempts, expires_at: secs(3 * 86_400) }
}

fn usual(health: EndpointHealth, attempts: u32, outcome: DeliveryOutcome, now: Timestamp) -> DeliveryUpdate {
    next_state(&rules(BackoffPolicy::Exponential, DEFAULT_ATTEMPTS), health, progress(attempts), outcome, now, 0)
}

#[test]
fn the_waits_are_those_of_the_schedule_and_the_eighth_failure_is_the_last() {
    for (attempts, expected) in (0..).zip([5, 300, 1_800, 7_200, 18_000, 36_000, 36_000]) {
        let verdict = usual(EndpointHealth::default(), attempts, DeliveryOutcome::Failed, secs(0));
        assert_eq!((verdict.status, verdict.due_at), (DeliveryStatus::Failed, Some(secs(expected))), "{attempts}");
        let late = next_state(
            &rules(BackoffPolicy::Exponential, 8),
            EndpointHealth::default(),
            progress(attempts),
            DeliveryOutcome::Failed,
            secs(0),
            u64::MAX,
        );
        let part =
            late.due_at.unwrap().duration_since(secs(0)).as_secs_f64() / f64::from(u32::try_from(expected).unwrap());
        assert!((1.0..=1.2).contains(&part), "{part}");
    }
    let last = usual(EndpointHealth::default(), 7, DeliveryOutcome::Failed, secs(0));
    assert_eq!((last.status, last.due_at), (DeliveryStatus::Dead, None));
    let linear = |attempts| backoff(BackoffPolicy::Linear, attempts, 0).map(|backoff| backoff.as_secs());
    assert_eq!(
        [1, 2, 3, 59, 60, 61, u32::MAX].map(linear),
        [600, 1200, 1800, 35_400, 36_000, 36_000, 36_000].map(Some)
    );
    let none = next_state(
        &rules(BackoffPolicy::None, 8),
        EndpointHealth::default(),
        progress(0),
        DeliveryOutcome::Failed,
        secs(0),
        0,
    );
    assert_eq!(none.status, DeliveryStatus::Dead);
}

#[test]
fn fault_079_gone_disables_and_later_is_obeyed_and_capped() {
    let gone = usual(EndpointHealth::default(), 0, DeliveryOutcome::Gone, secs(9));
    assert_eq!(
        (gone.status, gone.endpoint_health.disabled),
        (DeliveryStatus::Dead, Some((DisabledReason::Gone, secs(9))))
    );
    let later = |after: u64, whom| {
        let after = Duration::from_secs(after);
        usual(EndpointHealth::default(), 0, DeliveryOutcome::RetryAfter { after, scope: whom }, secs(0))
    };
    let one = later(120, RetryScope::Delivery);
    assert_eq!((one.due_at, one.endpoint_health.paused_until), (Some(secs(120)), None));
    let all = later(120, RetryScope::Endpoint);
    assert_eq!((all.due_at, all.endpoint_health.paused_until), (Some(secs(120)), Some(secs(120))));
    assert_eq!(later(0, RetryScope::Delivery).due_at, Some(secs(5)), "never earlier than the schedule");
    assert_eq!(later(86_400, RetryScope::Endpoint).due_at, Some(secs(36_000)));
}

#[test]
fn a_delivery_is_not_tried_beyond_its_time_to_live() {
    let progress = DeliveryProgress { attempts: 1, expires_at: secs(299) };
    let verdict = next_state(
        &rules(BackoffPolicy::Exponential, 8),
        EndpointHealth::default(),
        progress,
        DeliveryOutcome::Failed,
        secs(0),
        0,
    );
    assert_eq!((verdict.status, verdict.due_at), (DeliveryStatus::Dead, None));
}

#[test]
fn five_days_of_nothing_but_failures_disable_and_one_success_forgives() {
    let mut health = EndpointHealth::default();
    let hours = |hours: i64| secs(hours * 3600);
    for hour in (0..120).step_by(12) {
        health = usual(health, 0, DeliveryOutcome::Failed, hours(hour)).endpoint_health;
        assert_eq!(health.disabled, None, "{hour}");
    }
    let disabled = usual(health, 0, DeliveryOutcome::Failed, hours(120)).endpoint_health;
    assert_eq!(disabled.disabled, Some((DisabledReason::Failing, hours(120))));
    let forgiven = usual(health, 0, DeliveryOutcome::Accepted, hours(119)).endpoint_health;
    assert_eq!(forgiven, EndpointHealth::default());
    // A second failure after it was disabled changes nothing of when and why.
    assert_eq!(usual(disabled, 0, DeliveryOutcome::Gone, hours(121)).endpoint_health.disabled, disabled.disabled);
}

#[test]
fn fault_083_a_clock_that_jumps_disables_nobody() {
    let failing = usual(EndpointHealth::default(), 0, DeliveryOutcome::Failed, secs(0)).endpoint_health;
    for jump in [30 * 86_400, -30 * 86_400] {
        let health = usual(failing, 0, DeliveryOutcome::Failed, secs(jump)).endpoint_health;
        assert_eq!((health.disabled, health.failing_since), (None, Some(secs(jump))), "{jump}");
    }
}

fn outcome() -> impl Strategy<Value = DeliveryOutcome> {
    prop_oneof![
        Just(DeliveryOutcome::Accepted),
        Just(DeliveryOutcome::Gone),
        Just(DeliveryOutcome::Failed),
        (any::<u64>(), any::<bool>()).prop_map(|(secs, all)| DeliveryOutcome::RetryAfter {
            after: Duration::from_secs(secs),
            scope: if all { RetryScope::Endpoint } else { RetryScope::Delivery },
        }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_a_delivery_ends_or_is_due_within_the_longest_wait(
        policy in prop_oneof![Just(BackoffPolicy::Exponential), Just(BackoffPolicy::Linear), Just(BackoffPolicy::None)],
        most in 1u32..60, attempts in any::<u32>(), ttl in 0i64..10_000_000, outcome in outcome(),
        now in -1_000_000_000i64..200_000_000_000, since in proptest::option::of(-1_000_000_000i64..200_000_000_000),
        random: u64,
    ) {
        let (now, since) = (secs(now), since.map(secs));
        let health = EndpointHealth { failing_since: since, last_failed_at: since, ..EndpointHealth::default() };
        let progress = DeliveryProgress { attempts, expires_at: now.checked_add(Duration::from_secs(ttl.unsigned_abs())).unwrap() };
        let verdict = next_state(&rules(policy, most), health, progress, outcome, now, random);
        match verdict.status {
            DeliveryStatus::Delivered => prop_assert!(outcome == DeliveryOutcome::Accepted && verdict.due_at.is_none()),
            DeliveryStatus::Dead => prop_assert!(outcome != DeliveryOutcome::Accepted && verdict.due_at.is_none()),
            DeliveryStatus::Pending => prop_assert!(false),
            DeliveryStatus::Failed => {
                let due_at = verdict.due_at.unwrap();
                let backoff = Duration::try_from(due_at.duration_since(now)).unwrap();
                prop_assert!(backoff >= Duration::from_secs(5) && backoff <= MAX_WAIT && due_at < progress.expires_at);
                prop_assert!(attempts + 1 < most && policy != BackoffPolicy::None);
                if let DeliveryOutcome::RetryAfter { after, .. } = outcome {
                    prop_assert!(backoff >= after.min(Duration::from_secs(LONGEST_SECS)));
                }
            }
        }
        let pause = verdict.endpoint_health.paused_until.map(|until| Duration::try_from(until.duration_since(now)).unwrap());
        prop_assert!(pause.is_none_or(|pause| pause <= MAX_WAIT));
        prop_assert_eq!(verdict.endpoint_health.disabled.is_some_and(|(reason, _)| reason == DisabledReason::Gone), outcome == DeliveryOutcome::Gone);
    }
}

/// A small generator, so that a run of millions takes seconds and can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64* (Vigna 2016).
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn percent(&mut self) -> u64 {
        (self.next() >> 33) % 100
    }
}

/// Whether an attempt is received, and its outcome; none if the sender is killed before it has noted one.
///
/// Of a hundred attempts 70 are answered with 2xx; 24 fail; 3 say when to come again; 2 are received and answered, but the
/// sender is killed; 1 is received and the answer is cut off.
fn random_outcome(random: &mut Random) -> (bool, Option<DeliveryOutcome>) {
    match random.percent() {
        0..70 => (true, Some(DeliveryOutcome::Accepted)),
        70..94 => (false, Some(DeliveryOutcome::Failed)),
        94..97 => {
            let after = Duration::from_secs(random.next() % 7200);
            (false, Some(DeliveryOutcome::RetryAfter { after, scope: RetryScope::Delivery }))
        }
        97..99 => (true, None),
        _ => (true, Some(DeliveryOutcome::Failed)),
    }
}

/// `INTEG_TEST_DELIVERIES=10000000 cargo test --release virtual_time -- --nocapture` runs ten million of them.
#[test]
fn in_virtual_time_with_thirty_percent_faults_no_delivery_is_lost_and_the_schedule_is_kept() {
    #[expect(clippy::disallowed_methods, reason = "the size of this test")]
    let asked = std::env::var("INTEG_TEST_DELIVERIES").ok().and_then(|count| count.parse().ok());
    let count: usize = asked.unwrap_or(100_000);
    let rules = rules(BackoffPolicy::Exponential, DEFAULT_ATTEMPTS);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // What waits: when it is due, its number, how often it was tried. A new message comes each millisecond.
    let mut waiting: BinaryHeap<Reverse<(i64, u32, u8)>> = BinaryHeap::new();
    let mut received = vec![0u8; count];
    let mut ended = vec![false; count];
    let (mut attempts, mut dead, mut kept, mut next) = (0u64, 0u64, 0u64, 0usize);
    loop {
        let due = waiting.peek().map(|Reverse((due, ..))| *due);
        let (now, number, tried) = if next < count && due.is_none_or(|due| due >= i64::try_from(next).unwrap()) {
            next += 1;
            (i64::try_from(next - 1).unwrap(), u32::try_from(next - 1).unwrap(), 0)
        } else {
            let Some(Reverse(first)) = waiting.pop() else { break };
            first
        };
        let index = usize::try_from(number).unwrap();
        assert!(!ended[index], "what has ended is not tried again");
        attempts += 1;
        let (is_received, outcome) = random_outcome(&mut random);
        received[index] += u8::from(is_received);
        let Some(outcome) = outcome else {
            // The next worker finds it as it was.
            waiting.push(Reverse((now + 1000, number, tried)));
            continue;
        };
        let progress = DeliveryProgress { attempts: tried.into(), expires_at: at(i64::from(number)) + rules.ttl };
        let verdict = next_state(&rules, EndpointHealth::default(), progress, outcome, at(now), random.next());
        match verdict.due_at {
            None => {
                ended[index] = true;
                dead += u64::from(verdict.status == DeliveryStatus::Dead);
            }
            Some(due_at) => {
                let due = due_at.as_millisecond() - at(0).as_millisecond();
                let least = i64::try_from(BACKOFF_SECS[usize::from(tried)] * 1000).unwrap();
                let asked = match outcome {
                    DeliveryOutcome::RetryAfter { after, .. } => i64::try_from(after.as_millis()).unwrap(),
                    _ => 0,
                };
                let backoff = due - now;
                assert!(
                    backoff >= least.max(asked) && backoff <= (least + least / 5).max(asked),
                    "{tried}: {backoff} ms"
                );
                kept += 1;
                waiting.push(Reverse((due, number, tried + 1)));
            }
        }
    }
    let delivered = u64::try_from(received.iter().filter(|times| **times > 0).count()).unwrap();
    let twice = received.iter().map(|times| u64::from(times.saturating_sub(1))).sum::<u64>();
    let lost = ended.iter().filter(|ended| !**ended).count();
    let rate = twice as f64 * 100.0 / delivered as f64;
    println!(
        "{count} deliveries: {attempts} attempts, {kept} waits kept, {delivered} received, {dead} given up after \
         {DEFAULT_ATTEMPTS} attempts, {lost} lost, {twice} received again ({rate:.2} %)"
    );
    assert_eq!(lost, 0);
    assert_eq!(waiting.len(), 0);
    // What is given up has failed eight times: three in ten to the eighth power.
    assert!(dead <= 5 + u64::try_from(count).unwrap() / 5_000, "{dead}");
}
