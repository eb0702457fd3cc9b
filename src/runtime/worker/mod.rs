//! The loop around recurring work: it waits, retries and stops.
//!
//! A [`Worker`] does what is due in a [`tick`](Worker::tick), and says when it wants the next one. [`run()`] is the one loop
//! around it. A one-shot command such as `integ sync --due` runs one worker until it is idle; a [`WorkerSet`] runs those of
//! several workspaces in one process until it is stopped.
//!
//! Invariants:
//! - What is due follows from the wall clock, and no wait is longer than half a minute of the monotonic clock. A suspend, or
//!   a clock that is set forward or back, delays no work by more than that and skips none.
//! - A tick begins work and does not wait for it, unless that is short. What has begun is [`Running`]: it goes on while the
//!   worker waits, also within a tick, and is ended in [`finish`](Worker::finish).

mod run;
mod running;
mod set;

use std::future;
use std::time::Duration;

use async_trait::async_trait;

pub use run::{LONGEST_SLEEP, RunUntil, run};
pub use running::Running;
pub use set::{WorkerEnd, WorkerSet};

use crate::clock::Timestamp;
use crate::error::Result;

/// A loop that does one kind of work of one workspace, seen from [`run()`].
#[async_trait]
pub trait Worker: Send {
    /// Returns the work's name, for the log: `delivery`, `retention`.
    fn name(&self) -> &'static str;

    /// Begins what is due at `now`, and returns when to be called again.
    ///
    /// # Errors
    /// What keeps all of the work from being done, such as a store that cannot be written: the tick is repeated after a
    /// growing delay. What fails of one item is the worker's own matter, and is in its reports.
    async fn tick(&mut self, now: Timestamp) -> Result<NextWake>;

    /// Drives the work that has begun, and resolves when some of it has ended, so that the next tick comes early. It may be
    /// dropped at any time and called again.
    async fn woken(&mut self) {
        future::pending::<()>().await;
    }

    /// Ends what has begun: waits for it if it must not be cut off, records it, and releases locks. No tick follows.
    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    /// Returns how soon it must see what other processes have changed; [`LONGEST_SLEEP`] at most is waited.
    fn poll_interval(&self) -> Duration {
        LONGEST_SLEEP
    }
}

#[async_trait]
impl<W: Worker + ?Sized> Worker for &mut W {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    async fn tick(&mut self, now: Timestamp) -> Result<NextWake> {
        (**self).tick(now).await
    }

    async fn woken(&mut self) {
        (**self).woken().await;
    }

    async fn finish(&mut self) -> Result<()> {
        (**self).finish().await
    }

    fn poll_interval(&self) -> Duration {
        (**self).poll_interval()
    }
}

/// When a worker is called again. Sooner in any case if something wakes it, and after its poll interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextWake {
    /// More is due than one tick did.
    Now,
    /// Work has begun and not ended, or is due and has to wait for so long: for a rate limit, or for room.
    Busy(Duration),
    /// Nothing is due before this time, which is later than the tick's.
    At(Timestamp),
    /// Nothing is planned.
    Idle,
    /// Nothing more can be done by this worker, whatever happens: another has taken its work over.
    End,
}
