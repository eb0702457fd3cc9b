//! Locks of a workspace: waiting for one, and renewing its lease while it is held.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{Engine, Shutdown};
use crate::clock::{RunningLimit, Stopwatch};
use crate::store::{Fence, LEASE_DURATION, Lease, LockKey, Store, StoreError};

/// Delay before a held lock is tried again. A refresh takes about 100 ms.
const FIRST_WAIT: Duration = Duration::from_millis(10);

/// Maximum delay: many waiters that ask a server every 10 ms would delay the holder's requests.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// How long a release may take. A lease that cannot be released expires.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// A lock that is held until this is dropped. Its lease is renewed meanwhile.
///
/// A store that keeps leases in another process needs a request to release one, and `drop` cannot wait for it. The release
/// therefore begins in `drop` and goes on in the background; it holds the shutdown off until it is done. A store that only
/// lets go of something here, as SQLite's does, is done within `drop`: the lock can be taken again at once.
#[must_use = "the lock is released when this is dropped"]
pub struct LockGuard {
    fence: Fence,
    /// Absent once the release has begun.
    lease: Option<Lease>,
    store: Arc<dyn Store>,
    shutdown: Shutdown,
    renewal: JoinHandle<()>,
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.begin_release();
    }
}

impl LockGuard {
    /// Acquires a lock; `None` if it is held.
    ///
    /// # Errors
    /// The store's.
    pub async fn try_acquire(store: Arc<dyn Store>, engine: &Engine, key: LockKey) -> Result<Option<Self>, StoreError> {
        let clock = engine.clock.clone();
        let Some(lease) = store.locks().try_acquire(key, clock.now_millis()).await? else { return Ok(None) };
        let fence = lease.fence;
        // The guard keeps the store: a renewal that is being ended must not be the last to close it.
        let renewed = Arc::downgrade(&store);
        let renewal = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LEASE_DURATION / 3).await;
                let Some(store) = renewed.upgrade() else { return };
                if let Err(error) = store.locks().renew(fence, clock.now_millis()).await {
                    // Commits are refused once another has the lock; until then nothing is lost.
                    tracing::warn!("the lease of the lock {key} was not renewed: {error}");
                }
            }
        });
        Ok(Some(Self { fence, lease: Some(lease), store, shutdown: engine.shutdown.clone(), renewal }))
    }

    /// Acquires a lock, waiting for up to `limit`; `None` if it is still held then.
    ///
    /// The limit counts while this process runs: where the whole machine or container was paused, the holder needs time
    /// after the pause to finish.
    ///
    /// # Errors
    /// The store's.
    pub async fn acquire(
        store: Arc<dyn Store>,
        engine: &Engine,
        key: LockKey,
        limit: Duration,
    ) -> Result<Option<Self>, StoreError> {
        let mut patience = RunningLimit::new(limit);
        let mut wait = FIRST_WAIT;
        loop {
            if let Some(guard) = Self::try_acquire(Arc::clone(&store), engine, key).await? {
                return Ok(Some(guard));
            }
            if patience.is_over() {
                return Ok(None);
            }
            let slept = Stopwatch::start();
            tokio::time::sleep(wait).await;
            // Sleeping takes a little longer than asked, and that counts; a pause does not.
            patience.spend(wait * 2, slept.elapsed());
            wait = (wait * 3 / 2).min(LONGEST_WAIT);
        }
    }

    /// The number that commits under this lock name.
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Releases the lock, and returns when another can take it: for a caller that takes it again soon or waits for nothing else.
    pub async fn release(mut self) {
        if let Some(release) = self.begin_release() {
            // It warns of its own failure; it is cancelled only with the runtime.
            let _ = release.await;
        }
    }

    /// Returns the rest of the release, which goes on whether or not somebody waits for it.
    fn begin_release(&mut self) -> Option<JoinHandle<()>> {
        self.renewal.abort();
        let lease = self.lease.take()?;
        // Without a runtime the lease is dropped, which is all that a store without I/O needs; another's expires.
        let runtime = Handle::try_current().ok()?;
        let (key, store) = (self.fence.key, Arc::clone(&self.store));
        let mut release = Box::pin(async move {
            if let Err(error) = store.locks().release(lease).await {
                tracing::warn!("the lock {key} was not released, and stays taken until it expires: {error}");
            }
        });
        if release.as_mut().now_or_never().is_some() {
            return None;
        }
        let hold = self.shutdown.hold();
        Some(runtime.spawn(async move {
            if tokio::time::timeout(RELEASE_LIMIT, release).await.is_err() {
                tracing::warn!("the lock {key} was not released in time, and stays taken until it expires");
            }
            drop(hold);
        }))
    }
}
