//! The stop request, observed by everything that runs in the process.
//!
//! Signals are converted to it in one place ([`forward_signals`]). A stop request drops an operation, unless it ends by
//! itself or defers the shutdown: while a grant is presented or a subscription created, the response must be stored
//! first.

use std::sync::Arc;

use tokio::sync::watch;

/// A stop request, shared by all who make or observe it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// Number of stop requests.
    requests: Arc<watch::Sender<u32>>,
    /// Number of operations that defer the shutdown.
    holds: Arc<watch::Sender<usize>>,
}

/// Defers the shutdown until it is dropped.
#[derive(Debug)]
#[must_use = "the shutdown is held off until this is dropped"]
pub struct ShutdownHold(Arc<watch::Sender<usize>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self { requests: Arc::new(watch::Sender::new(0)), holds: Arc::new(watch::Sender::new(0)) }
    }
}

impl Shutdown {
    /// Requests a stop.
    pub fn request(&self) {
        self.requests.send_modify(|requests| *requests += 1);
    }

    /// Returns whether a stop was requested, even if it is still deferred.
    pub fn is_requested(&self) -> bool {
        *self.requests.borrow() > 0
    }

    /// Resolves when a stop is requested, for work that then ends by itself.
    pub async fn requested(&self) {
        self.requested_more_than(0).await;
    }

    /// Resolves when a stop is requested again after this call.
    pub fn requested_again(&self) -> impl Future<Output = ()> {
        let seen = *self.requests.borrow();
        self.requested_more_than(seen)
    }

    /// Defers the shutdown: work is not interrupted until the guard is dropped.
    pub fn hold(&self) -> ShutdownHold {
        self.holds.send_modify(|holds| *holds += 1);
        ShutdownHold(Arc::clone(&self.holds))
    }

    /// Resolves when a stop is requested and nothing defers it.
    pub async fn ready(&self) {
        self.requested().await;
        self.released().await;
    }

    /// Resolves when nothing defers the shutdown.
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

/// Converts each Ctrl-C and SIGTERM to a stop request. Returns if signals cannot be observed; a signal then kills the
/// process, as by default.
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
