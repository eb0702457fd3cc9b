//! The loop around a worker: waits, retries after failures, and stops in order.

use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::FusedFuture;

use super::{NextWake, Worker};
use crate::backoff::Backoff;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::runtime::{Shutdown, Workspace};

/// The longest time without a look at the wall clock.
///
/// A timer follows the monotonic clock, which stands still while the machine is suspended and knows nothing of a wall clock
/// that is set. A timer set to a due time hours away would be late by as much. Short waits need no detection of either.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The delay after ticks that failed in a row.
const FAILURE_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), LONGEST_SLEEP);

/// Temporary failures in a row after which a worker that is to end by itself gives up.
const MAX_ONE_SHOT_FAILURES: u32 = 3;

/// How long a tick that runs when the worker is stopped may still take, and then what has begun.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

/// How much longer what must not be cut off may take: a vendor's answer that is on its way.
const HOLD_LIMIT: Duration = Duration::from_secs(60);

/// When a worker returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunUntil {
    /// Nothing is due, and what has begun has ended.
    Idle,
    /// It is stopped.
    Stopped,
}

/// Runs a worker until it is stopped or idle, then lets it [`finish`](Worker::finish).
///
/// The first failure of a row is logged, and so is the recovery.
///
/// # Errors
/// A failure that time does not repair: that of a damaged or locked vault ([`Kind::Vault`]). With [`RunUntil::Idle`] any
/// failure, unless it is temporary and another try succeeds.
pub async fn run(
    worker: &mut dyn Worker,
    workspace: &Workspace,
    until: RunUntil,
    stop: impl Future<Output = ()> + Send,
) -> Result<()> {
    let label = format!("{} in workspace {}", worker.name(), workspace.name);
    let (clock, shutdown) = (&workspace.clock, &workspace.engine.shutdown);
    let worker_loop = WorkerLoop { label, clock, shutdown, until, sleep: tokio::time::sleep };
    worker_loop.run(worker, stop).await
}

/// What a loop needs beside its worker.
struct WorkerLoop<'a, F> {
    /// What the log calls the worker.
    label: String,
    clock: &'a Clock,
    shutdown: &'a Shutdown,
    until: RunUntil,
    /// Sleeps on the monotonic clock; a test brings another.
    sleep: F,
}

impl<F, S> WorkerLoop<'_, F>
where
    F: Fn(Duration) -> S + Send + Sync,
    S: Future<Output = ()> + Send,
{
    async fn run(&self, worker: &mut dyn Worker, stop: impl Future<Output = ()> + Send) -> Result<()> {
        let mut stop = pin!(stop.fuse());
        let mut failures: u32 = 0;
        let result = loop {
            let now = self.clock.now_millis();
            let Some(ticked) = self.tick(worker, now, stop.as_mut()).await else {
                // It may have been cut off between a write and what it notes of that, so that nothing more is asked of it.
                tracing::warn!("{} did not end in time, and was cut off", self.label);
                return Ok(());
            };
            if stop.is_terminated() {
                break ticked.map(|_| ());
            }
            let pause = match ticked {
                Ok(NextWake::End) => break Ok(()),
                Ok(wake) if self.until == RunUntil::Idle && is_idle(wake, now) => break Ok(()),
                Ok(wake) => {
                    if failures > 0 {
                        tracing::warn!("{} works again", self.label);
                    }
                    failures = 0;
                    pause(wake, self.clock.now_millis(), worker.poll_interval())
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if gives_up(self.until, error.kind(), failures) {
                        break Err(error);
                    }
                    if failures == 1 {
                        self.warn(&error);
                    }
                    FAILURE_BACKOFF.delay(failures)
                }
            };
            self.wait(worker, pause, failures > 0, stop.as_mut()).await;
            if stop.is_terminated() {
                break Ok(());
            }
        };
        let finished = tokio::select! {
            biased;
            finished = worker.finish() => finished,
            () = self.shutdown_limit() => {
                tracing::warn!("{} was stopped before all that it had begun was done", self.label);
                Ok(())
            }
        };
        result.and(finished)
    }

    /// A tick; `None` if it did not end within the limit after the stop.
    async fn tick(
        &self,
        worker: &mut dyn Worker,
        now: Timestamp,
        stop: Pin<&mut (impl FusedFuture<Output = ()> + Send)>,
    ) -> Option<Result<NextWake>> {
        let overdue = async {
            stop.await;
            self.shutdown_limit().await;
        };
        tokio::select! {
            biased;
            ticked = worker.tick(now) => Some(ticked),
            () = overdue => None,
        }
    }

    /// Waits for so long, until something wakes the worker, or until the stop. While the worker fails, nothing wakes it.
    async fn wait(
        &self,
        worker: &mut dyn Worker,
        pause: Duration,
        is_failing: bool,
        mut stop: Pin<&mut (impl FusedFuture<Output = ()> + Send)>,
    ) {
        let mut timer = pin!((self.sleep)(pause));
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = worker.woken() => if !is_failing { return },
                () = &mut timer => return,
            }
        }
    }

    /// Resolves when what has begun may be cut off.
    async fn shutdown_limit(&self) {
        (self.sleep)(SHUTDOWN_LIMIT).await;
        tokio::select! {
            biased;
            () = self.shutdown.released() => {}
            () = (self.sleep)(HOLD_LIMIT) => {}
        }
    }

    fn warn(&self, error: &Error) {
        let hint = error.hint().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
        tracing::warn!("{} fails, and is tried again: {}{hint}", self.label, error.on_one_line());
    }
}

/// How long to wait after a tick. Pure.
fn pause(wake: NextWake, now: Timestamp, poll_interval: Duration) -> Duration {
    let longest = poll_interval.min(LONGEST_SLEEP);
    match wake {
        NextWake::Now => Duration::ZERO,
        NextWake::Busy(wait) => wait.min(longest),
        NextWake::At(at) => Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO).min(longest),
        NextWake::Idle | NextWake::End => longest,
    }
}

/// Whether a worker has nothing to do after a tick at `now`. Pure.
fn is_idle(wake: NextWake, now: Timestamp) -> bool {
    match wake {
        NextWake::Now | NextWake::Busy(_) => false,
        NextWake::At(at) => at > now,
        NextWake::Idle | NextWake::End => true,
    }
}

/// Whether so many failures in a row, the last of this kind, end a worker. Pure.
fn gives_up(until: RunUntil, kind: Kind, failures: u32) -> bool {
    match until {
        // A full disk may have room later; a damaged vault stays damaged.
        RunUntil::Stopped => kind == Kind::Vault,
        RunUntil::Idle => kind != Kind::Temporary || failures >= MAX_ONE_SHOT_FAILURES,
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
