//! The only `now()` and the only `random()` of the program.
//!
//! Everything that depends on time takes a [`Clock`] or a [`Timestamp`], so that a test can stand at any moment. The
//! random source has no seed: keys, PKCE verifiers and `state` always come from the operating system.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

pub use jiff::Timestamp;

/// Where the present time comes from.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Unix seconds a test has set; the system's clock where absent.
    fixed: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The system's wall clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands still at `now` until [`Clock::set`] moves it.
    pub fn fixed(now: Timestamp) -> Self {
        Self { fixed: Some(Arc::new(AtomicI64::new(now.as_second()))) }
    }

    /// Moves a fixed clock; the system's clock is not moved.
    pub fn set(&self, now: Timestamp) {
        if let Some(fixed) = &self.fixed {
            fixed.store(now.as_second(), Ordering::SeqCst);
        }
    }

    /// The present time, to the millisecond: for what is told apart within a second.
    pub fn precise(&self) -> Timestamp {
        match &self.fixed {
            Some(_) => self.now(),
            None => Timestamp::from_millisecond(system_now().as_millisecond()).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }

    /// The present time, to the second: what is stored and compared needs no more.
    pub fn now(&self) -> Timestamp {
        let seconds = match &self.fixed {
            Some(fixed) => fixed.load(Ordering::SeqCst),
            None => system_now().as_second(),
        };
        Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn system_now() -> Timestamp {
    Timestamp::now()
}

/// A stopwatch on the monotonic clock, for deadlines and for timing calls.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
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
