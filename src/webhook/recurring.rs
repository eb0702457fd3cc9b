//! Work that is done again and again: handling, confirming, looking for connections.

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

/// Work that is done again and again. Each piece runs independently of the others.
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    struct Counting {
        ticks: AtomicU32,
        wakeup: Notify,
        rest: Rest,
    }

    impl Counting {
        fn new(rest: Rest) -> Self {
            Self { ticks: AtomicU32::new(0), wakeup: Notify::new(), rest }
        }

        fn ticks(&self) -> u32 {
            self.ticks.load(Ordering::Relaxed)
        }
    }

    impl Recurring for Counting {
        async fn tick(&self, _stop: &watch::Receiver<bool>) -> Rest {
            self.ticks.fetch_add(1, Ordering::Relaxed);
            self.rest
        }

        fn wakeup(&self) -> Option<&Notify> {
            Some(&self.wakeup)
        }
    }

    #[tokio::test]
    async fn work_is_done_at_once_when_it_is_woken_and_ends_when_it_is_to_stop() {
        for (rest, ticks) in [(Rest::UntilWoken(LONG), 2), (Rest::Exactly(LONG), 1)] {
            let work = Counting::new(rest);
            let (stop, stopped) = watch::channel(false);
            tokio::join!(run(&work, stopped), async {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                work.wakeup.notify_one();
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                stop.send(true).unwrap();
            });
            assert_eq!(work.ticks(), ticks, "{rest:?}");
        }
    }
}
