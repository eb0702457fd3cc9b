//! One request to stop, which everything that runs in the process hears.
//!
//! Signals are turned into it in one place ([`forward_signals`]). An operation is dropped when it is asked to stop, unless
//! it ends by itself then, or holds the shutdown off: while a grant is presented, or a subscription made, the answer must be
//! stored first.

use std::sync::Arc;

use tokio::sync::watch;

/// A request to stop, shared by all that may make it or hear it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// How often stopping was asked for.
    requests: Arc<watch::Sender<u32>>,
    /// How many operations hold it off.
    holds: Arc<watch::Sender<usize>>,
}

/// Holds the shutdown off until it is dropped.
#[derive(Debug)]
#[must_use = "the shutdown is held off until this is dropped"]
pub struct ShutdownHold(Arc<watch::Sender<usize>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self { requests: Arc::new(watch::Sender::new(0)), holds: Arc::new(watch::Sender::new(0)) }
    }
}

impl Shutdown {
    /// Asks everything to stop.
    pub fn request(&self) {
        self.requests.send_modify(|requests| *requests += 1);
    }

    /// Whether stopping was asked for, even if it is still held off.
    pub fn is_requested(&self) -> bool {
        *self.requests.borrow() > 0
    }

    /// Resolves when stopping is asked for: for what ends by itself then, in order.
    pub async fn requested(&self) {
        self.requested_more_than(0).await;
    }

    /// Resolves when stopping is asked for again, after what was asked when this is called.
    pub fn requested_again(&self) -> impl Future<Output = ()> {
        let seen = *self.requests.borrow();
        self.requested_more_than(seen)
    }

    /// Holds the shutdown off: what runs until the guard is dropped is not cut off.
    pub fn hold(&self) -> ShutdownHold {
        self.holds.send_modify(|holds| *holds += 1);
        ShutdownHold(Arc::clone(&self.holds))
    }

    /// Resolves when stopping is asked for and nothing holds it off.
    pub async fn ready(&self) {
        self.requested().await;
        self.released().await;
    }

    /// Resolves when nothing holds the shutdown off.
    pub async fn released(&self) {
        // The sender is owned by this value, so that the channel cannot be closed.
        let _ = self.holds.subscribe().wait_for(|holds| *holds == 0).await;
    }

    async fn requested_more_than(&self, seen: u32) {
        let _ = self.requests.subscribe().wait_for(|requests| *requests > seen).await;
    }
}

impl Drop for ShutdownHold {
    fn drop(&mut self) {
        self.0.send_modify(|holds| *holds -= 1);
    }
}

/// Turns each Ctrl-C and each SIGTERM of a service manager into a request to stop. Ends where no signal can be waited for:
/// the signal then kills the process, as it does by default.
pub(super) async fn forward_signals(shutdown: Shutdown) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        loop {
            tokio::select! {
                Some(()) = interrupt.recv() => shutdown.request(),
                Some(()) = terminate.recv() => shutdown.request(),
                else => return,
            }
        }
    }
    #[cfg(not(unix))]
    while tokio::signal::ctrl_c().await.is_ok() {
        shutdown.request();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_shutdown_waits_until_nothing_holds_it_off() {
        let shutdown = Shutdown::default();
        let (first, second) = (shutdown.hold(), shutdown.clone().hold());
        shutdown.request();
        assert!(shutdown.is_requested() && shutdown.requested().now_or_never().is_some());
        drop(first);
        assert!(shutdown.ready().now_or_never().is_none(), "one holds it still");
        drop(second);
        shutdown.ready().await;
        let again = shutdown.requested_again();
        shutdown.request();
        again.await;
    }
}
