//! Stops network waits only: a started refresh must not be interrupted, or its grant is lost.

use tokio::sync::watch;

/// A request to stop that is noticed however late somebody begins to wait for it.
#[derive(Debug, Default)]
pub(super) struct StopSignal(watch::Sender<bool>);

/// The work was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopped;

impl StopSignal {
    pub(super) fn stop(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn stopped(&self) {
        // The sender is owned by this value, so that the channel cannot be closed.
        let _ = self.0.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// The output of `work`, unless it is stopped first.
    pub(super) async fn race<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        tokio::select! {
            biased;
            () = self.stopped() => Err(Stopped),
            done = work => Ok(done),
        }
    }
}
