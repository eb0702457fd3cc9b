//! The only source of the current time and of randomness.
//!
//! Everything that depends on time takes a [`Clock`] or a [`Timestamp`], so that a test can stand at any moment. The
//! random source has no seed: keys, PKCE verifiers and `state` always come from the operating system.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
pub use jiff::Timestamp;

/// Where the present time comes from.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Unix seconds set by a test; the system's clock if absent.
    fixed: Option<Arc<AtomicI64>>,
    /// Milliseconds that are added to the system's clock.
    correction: Arc<AtomicI64>,
}

impl Clock {
    /// The system's wall clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands still at `now` until [`Clock::set`] moves it.
    pub fn fixed(now: Timestamp) -> Self {
        Self { fixed: Some(Arc::new(AtomicI64::new(now.as_second()))), correction: Arc::default() }
    }

    /// Returns a clock that shows the same time and can be corrected by itself.
    #[must_use]
    pub fn detached(&self) -> Self {
        let correction = Arc::new(AtomicI64::new(self.correction.load(Ordering::Relaxed)));
        Self { fixed: self.fixed.clone(), correction }
    }

    /// Makes this clock and its clones differ from the system's clock by so many milliseconds. A fixed clock stays as it is.
    pub fn correct_by(&self, milliseconds: i64) {
        self.correction.store(milliseconds, Ordering::Relaxed);
    }

    /// Returns the system's time, corrected.
    fn corrected(&self) -> Timestamp {
        let correction = SignedDuration::from_millis(self.correction.load(Ordering::Relaxed));
        system_now().saturating_add(correction).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Moves a fixed clock; the system's clock is not moved.
    pub fn set(&self, now: Timestamp) {
        if let Some(fixed) = &self.fixed {
            fixed.store(now.as_second(), Ordering::SeqCst);
        }
    }

    /// The present time, to the millisecond: for what must differ within a second.
    pub fn now_millis(&self) -> Timestamp {
        match &self.fixed {
            Some(_) => self.now(),
            None => Timestamp::from_millisecond(self.corrected().as_millisecond()).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }

    /// The present time, to the microsecond: for windows that count requests.
    pub fn now_micros(&self) -> Timestamp {
        match &self.fixed {
            Some(_) => self.now(),
            None => Timestamp::from_microsecond(self.corrected().as_microsecond()).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }

    /// Waits. A fixed clock moves on by the time at once.
    pub async fn sleep(&self, duration: Duration) {
        let Some(fixed) = &self.fixed else { return tokio::time::sleep(duration).await };
        let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        fixed.fetch_add(i64::try_from(seconds).unwrap_or(i64::MAX), Ordering::SeqCst);
        tokio::task::yield_now().await;
    }

    /// The present time, to the second: what is stored and compared needs no more.
    pub fn now(&self) -> Timestamp {
        let seconds = match &self.fixed {
            Some(fixed) => fixed.load(Ordering::SeqCst),
            None => self.corrected().as_second(),
        };
        Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn system_now() -> Timestamp {
    Timestamp::now()
}

/// The time zone of this machine, or of `TZ`.
pub fn local_zone() -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::system()
}

/// A stopwatch on the monotonic clock, for deadlines and for timing calls.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts the stopwatch.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the time since [`start`](Self::start); setting the wall clock does not change it.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A stopwatch that also counts the time for which the machine sleeps, where the system has such a clock.
#[derive(Clone, Copy, Debug)]
pub struct BootStopwatch {
    #[cfg(target_os = "linux")]
    started: Duration,
    #[cfg(not(target_os = "linux"))]
    started: Stopwatch,
}

impl BootStopwatch {
    /// Starts the stopwatch.
    pub fn start() -> Self {
        #[cfg(target_os = "linux")]
        let started = time_since_boot();
        #[cfg(not(target_os = "linux"))]
        let started = Stopwatch::start();
        Self { started }
    }

    /// Returns the time since [`start`](Self::start); setting the wall clock does not change it.
    pub fn elapsed(&self) -> Duration {
        #[cfg(target_os = "linux")]
        return time_since_boot().saturating_sub(self.started);
        #[cfg(not(target_os = "linux"))]
        return self.started.elapsed();
    }
}

/// CLOCK_BOOTTIME of clock_gettime(2).
#[cfg(target_os = "linux")]
fn time_since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

/// How far a clock may be set back without anything being suspected: network time corrects seconds, not minutes.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// When something that was to wait for `longest` at most is due. A stored time that is further off was written while the
/// clock was fast: waiting for it could take years, so that it counts as due now.
pub fn due_at(stored: Timestamp, longest: Duration, now: Timestamp) -> Timestamp {
    let latest = now.checked_add(longest).unwrap_or(Timestamp::MAX);
    if stored > latest { now } else { stored }
}

/// Whether a stored past time lies in the future: it was written while the clock was fast.
pub fn is_from_fast_clock(stored: Timestamp, now: Timestamp) -> bool {
    stored > now.checked_add(CLOCK_TOLERANCE).unwrap_or(Timestamp::MAX)
}

/// A time limit that counts only while the process runs.
///
/// A process that was stopped (Ctrl-Z, `docker pause`) finds every timer expired when it goes on, although what it waited
/// for may have happened long ago. Waits are therefore taken in short steps, and a step counts for no more than its
/// length, however long it took. After a step in which the process was stopped, at least one more follows.
#[derive(Clone, Debug)]
pub struct RunningLimit {
    left: Duration,
    /// Further steps that stops may still add; bounded, for a machine under load looks like one that stops.
    extra_steps: u32,
}

impl RunningLimit {
    /// The longest step.
    const STEP: Duration = Duration::from_millis(250);
    /// A step that takes longer by this much had a stop in it.
    const STOPPED: Duration = Duration::from_millis(50);
    const MOST_EXTRA_STEPS: u32 = 40;

    /// Creates a limit of which nothing is used yet.
    pub fn new(limit: Duration) -> Self {
        Self { left: limit, extra_steps: Self::MOST_EXTRA_STEPS }
    }

    /// Returns the running time that is left.
    pub fn remaining(&self) -> Duration {
        self.left
    }

    /// Whether no running time is left.
    pub fn is_over(&self) -> bool {
        self.left.is_zero()
    }

    /// Takes a step of a wait, which was to last `asked` and took `elapsed`, off the limit.
    pub fn spend(&mut self, asked: Duration, elapsed: Duration) {
        self.left = self.left.saturating_sub(elapsed.min(asked));
        if elapsed > asked + Self::STOPPED && self.left < Self::STEP && self.extra_steps > 0 {
            self.extra_steps -= 1;
            self.left = Self::STEP;
        }
    }

    /// The output of `work`, unless the limit is over first. Several calls share one limit.
    pub async fn wait<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let step = self.left.min(Self::STEP);
            let took = Stopwatch::start();
            // The work is asked first: what has arrived counts, whatever the timer says.
            let done = tokio::select! {
                biased;
                done = &mut work => Some(done),
                () = tokio::time::sleep(step) => None,
            };
            self.spend(step, took.elapsed());
            if done.is_some() || self.is_over() {
                return done;
            }
        }
    }
}

/// Bytes from the operating system's random source.
///
/// # Panics
/// Where the operating system has no random source: nothing safe can be done without one.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const MILLIS_100: Duration = Duration::from_millis(100);

    #[test]
    fn a_time_further_off_than_the_longest_wait_is_due_now() {
        let (now, hour) = (at(1_000_000), Duration::from_secs(3600));
        assert_eq!(due_at(at(1_003_600), hour, now), at(1_003_600));
        assert_eq!(due_at(at(1_003_601), hour, now), now);
        assert_eq!(due_at(at(999_000), hour, now), at(999_000));
        assert_eq!(due_at(Timestamp::MAX, Duration::MAX, now), Timestamp::MAX);
        assert!(!is_from_fast_clock(at(1_000_060), now) && is_from_fast_clock(at(1_000_061), now));
        assert!(!is_from_fast_clock(Timestamp::MAX, Timestamp::MAX));
    }

    #[test]
    fn a_limit_counts_only_while_the_process_runs() {
        let mut limit = RunningLimit::new(Duration::from_secs(1));
        for _ in 0..3 {
            limit.spend(MILLIS_100, Duration::from_secs(45));
        }
        assert_eq!(limit.left, Duration::from_millis(700), "three stops of 45 s cost three steps");
        for _ in 0..6 {
            limit.spend(MILLIS_100, MILLIS_100);
        }
        limit.spend(MILLIS_100, Duration::from_secs(45));
        assert!(!limit.is_over(), "after a stop there is another look");
        for _ in 0..3 {
            limit.spend(MILLIS_100, MILLIS_100);
        }
        assert!(limit.is_over());
    }

    #[test]
    fn a_machine_that_is_always_late_does_not_wait_for_ever() {
        let mut limit = RunningLimit::new(Duration::from_secs(1));
        let steps = (0..1000).take_while(|_| {
            limit.spend(RunningLimit::STEP, Duration::from_secs(1));
            !limit.is_over()
        });
        assert!(steps.count() <= 4 + RunningLimit::MOST_EXTRA_STEPS as usize);
    }

    #[tokio::test]
    async fn what_is_ready_when_the_timer_is_too_counts() {
        let mut limit = RunningLimit::new(Duration::ZERO);
        assert_eq!(limit.wait(std::future::ready(1)).await, Some(1));
        assert_eq!(limit.wait(std::future::pending::<()>()).await, None);
    }
}
