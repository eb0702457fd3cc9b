//! The work that a worker has begun and that has not ended.

use std::collections::VecDeque;
use std::pin::pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::runtime::BoxFuture;

/// Futures that run side by side in the worker's own task.
///
/// Such a future does not run while its worker waits for anything else. It may then hold what the worker waits for, a connection
/// of a pool or a turn in a queue, and both would wait for ever. A worker that has begun work therefore waits with
/// [`beside`](Self::beside) only.
pub struct Running<'a, T> {
    begun: FuturesUnordered<BoxFuture<'a, T>>,
    ended: VecDeque<T>,
}

impl<T> Default for Running<'_, T> {
    fn default() -> Self {
        Self { begun: FuturesUnordered::new(), ended: VecDeque::new() }
    }
}

impl<'a, T> Running<'a, T> {
    /// Begins work once it is driven.
    pub fn push(&mut self, work: BoxFuture<'a, T>) {
        self.begun.push(work);
    }

    /// Takes over what another has begun.
    pub fn append(&mut self, other: Self) {
        self.begun.extend(other.begun);
        self.ended.extend(other.ended);
    }

    /// Returns how much has begun, or has ended without being taken by [`next`](Self::next).
    pub fn len(&self) -> usize {
        self.begun.len() + self.ended.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drives what has begun until some of it has ended; `None` if there is none.
    pub async fn next(&mut self) -> Option<T> {
        match self.ended.pop_front() {
            Some(ended) => Some(ended),
            None => self.begun.next().await,
        }
    }

    /// Waits for a future, and drives what has begun meanwhile.
    pub async fn beside<O>(&mut self, work: impl Future<Output = O>) -> O {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                output = &mut work => return output,
                Some(ended) = self.begun.next(), if !self.begun.is_empty() => self.ended.push_back(ended),
            }
        }
    }

    /// Drops it all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::*;

    /// A fair semaphore gives its permit to whom it was promised, polled or not.
    #[tokio::test]
    async fn a_worker_may_wait_for_what_its_begun_work_holds() {
        let pool = Arc::new(Semaphore::new(1));
        let mut running = Running::default();
        for number in 0..3 {
            let pool = Arc::clone(&pool);
            running.push(Box::pin(async move {
                let _held = pool.acquire().await.unwrap();
                tokio::task::yield_now().await;
                number
            }));
        }
        assert_eq!(running.next().await, Some(0));
        let own = running.beside(pool.acquire());
        let permit = tokio::time::timeout(Duration::from_secs(10), own).await.expect("waits for ever").unwrap();
        drop(permit);
        assert_eq!((running.len(), running.next().await, running.next().await), (2, Some(1), Some(2)));
        assert!(running.is_empty() && running.next().await.is_none());
    }
}
