//! Work that is done again and again: handling, confirming, renewing, pruning, looking for connections.

use std::future::Future;
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// How long nothing is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// So long, or until it is woken.
    UntilWoken(Duration),
    /// So long, whatever happens.
    Exactly(Duration),
}

/// Work that is done again and again, by whoever runs it. It borrows from no other.
pub(super) trait Recurring: Sync {
    /// Does what is due. Returns early once `stop` holds, with nothing half done.
    fn tick(&self, stop: &watch::Receiver<bool>) -> impl Future<Output = Rest> + Send;

    /// What wakes it, if anything does.
    fn wakeup(&self) -> Option<&Notify> {
        None
    }
}

/// Does the work until it is to stop; what is begun is finished.
pub(super) async fn run(work: &impl Recurring, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let rest = work.tick(&stop).await;
        let (wait, wakeup) = match rest {
            Rest::UntilWoken(wait) => (wait, work.wakeup()),
            Rest::Exactly(wait) => (wait, None),
        };
        let woken = async {
            match wakeup {
                Some(wakeup) => wakeup.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = woken => {}
            () = tokio::time::sleep(wait) => {}
            _ = stop.changed() => {}
        }
    }
}
